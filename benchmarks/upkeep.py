"""What sending suffers while upkeep goes on, and how fast upkeep is.

The real commands run as processes of their own, while clients send through the served application.
They are stopped and started again, so that the same clients are timed with and without them in
turn.
"""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from time import perf_counter, sleep
from typing import Final

from benchmarks import databases, servers
from benchmarks.figures import OURS
from benchmarks.load import Route
from benchmarks.messages import DAY, HOUR, Messages, as_plain
from benchmarks.servers import ORGANISATION
from benchmarks.tables import Figure, Table, in_ms
from benchmarks.traffic import Send, Traffic, traffic
from benchmarks.workers import worker

WARMING_UP: Final = 3.0


@dataclass(frozen=True)
class Effort:
    purged: int
    """Messages, each with two fields to erase and four rows to delete."""
    overdue: int
    turn: float
    """Seconds with; half as many without follow."""


FULL = Effort(purged=200_000, overdue=100_000, turn=30.0)
QUICK = Effort(purged=25_000, overdue=10_000, turn=8.0)

MOST_TURNS: Final = {"purge_notifications": 40, "expire_notifications": 2}
"""A purge comes to its end; expiry is seen at work long enough."""


@dataclass(frozen=True)
class Case:
    title: str
    command: str
    processes: int
    messages: Sequence[Messages]


def cases(effort: Effort) -> Iterable[Case]:
    for processes, share in ((1, 1), (2, 5)):
        yield _purge(processes, effort.purged // share)
        yield _expiry(processes, effort.overdue // share)


def _purge(processes: int, number: int) -> Case:
    """A fifth as many younger ones stay."""
    old = Messages(creator=ORGANISATION, first=1, count=number, oldest=180 * DAY, newest=91 * DAY)
    young = Messages(
        creator=ORGANISATION,
        first=number + 1,
        count=number // 5,
        oldest=80 * DAY,
        newest=2 * DAY,
        content=False,
    )
    return Case(
        f"{processes} x purge_notifications, {number:,} old messages",
        "purge_notifications",
        processes,
        [old, young],
    )


def _expiry(processes: int, number: int) -> Case:
    overdue = Messages(
        creator=ORGANISATION,
        first=1,
        count=number,
        oldest=12 * HOUR,
        newest=2 * HOUR,
        completed=False,
    )
    return Case(
        f"{processes} x expire_notifications, {number:,} overdue messages",
        "expire_notifications",
        processes,
        [overdue],
    )


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    for case in cases(effort):
        yield _table(name, directory, case, effort.turn)


def _table(name: str, directory: Path, case: Case, turn: float) -> Table:
    with ExitStack() as stack:
        enter = stack.enter_context
        database_url = enter(databases.KINDS[name](directory))
        environment = servers.migrated(database_url, enter(servers.stub_gateway()))
        observer = enter(worker(environment))
        observer.ask("fill", messages=as_plain(*case.messages))
        application = enter(servers.application(directory, environment))
        sent = enter(traffic(application, Route(OURS, application.token)))
        sleep(WARMING_UP)
        before = observer.ask("deadlocks")
        turns = list(_turns(case, environment, turn))
        after = observer.ask("deadlocks")
    return Table(
        f"{name}: {case.title}",
        list(_latencies(sent, turns)),
        ours="during",
        floor="without",
        remarks=[*_remarks(turns), _errors(sent, None if after is None else after - before)],
    )


@dataclass(frozen=True)
class Run:
    """One process of a command, over."""

    counts: Counter[str]
    """What it says that it has done."""
    peak_megabytes: float


@dataclass(frozen=True)
class Turn:
    """All processes of a command at work, then none."""

    began: float
    over: float
    ended: float
    runs: Sequence[Run]

    @property
    def seconds(self) -> float:
        return self.over - self.began


def _turns(case: Case, environment: Mapping[str, str], seconds: float) -> Iterator[Turn]:
    """Until all is done, or it has been seen often enough."""
    for _ in range(MOST_TURNS[case.command]):
        began = perf_counter()
        runs, stopped = _run(case, environment, seconds)
        over = perf_counter()
        sleep((over - began) / 2)
        yield Turn(began, over, perf_counter(), runs)
        if not stopped:
            return


def _run(case: Case, environment: Mapping[str, str], seconds: float) -> tuple[Sequence[Run], bool]:
    """All processes at once, and whether any had to be stopped."""
    command = [sys.executable, "-m", "django", case.command]
    options = {"env": environment, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        started = [
            stack.enter_context(servers.running(command, **options)) for _ in range(case.processes)
        ]
        stopped = _stop_after(seconds, started)
        return [_ended(process) for process in started], stopped


def _stop_after(seconds: float, started: "Sequence[subprocess.Popen[str]]") -> bool:
    """They finish the batch in hand."""
    deadline = perf_counter() + seconds
    while perf_counter() < deadline:
        if all(_is_over(process) for process in started):
            return False
        sleep(0.05)
    for process in started:
        os.kill(process.pid, signal.SIGTERM)  # Popen would reap one that is just over
    return True


def _is_over(process: "subprocess.Popen[str]") -> bool:
    """Without reaping it: what it used is asked for later."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _ended(process: "subprocess.Popen[str]") -> Run:
    assert process.stdout
    told = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    if exit_code := os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"It ended with {exit_code}: {told}")
    counts = Counter({name: int(number) for number, name in _counted(told)})
    return Run(counts, usage.ru_maxrss / 1024)


_counted: Final = re.compile(r"(\d+) ([^,]+)").findall


def _latencies(sent: Traffic, turns: Sequence[Turn]) -> Iterable[Figure]:
    ours = _seconds(sent.between(turn.began, turn.over) for turn in turns)
    floor = _seconds(sent.between(turn.over, turn.ended) for turn in turns)
    for percent in (50, 95, 99):
        yield _figure(f"send, p{percent}", _quantile(ours, percent), _quantile(floor, percent))
    yield _figure("send, longest", ours[-1], floor[-1])


def _seconds(stretches: Iterable[Sequence[Send]]) -> Sequence[float]:
    return sorted(send.seconds for sends in stretches for send in sends)


def _quantile(seconds: Sequence[float], percent: int) -> float:
    return quantiles(seconds, n=100, method="inclusive")[percent - 1]


def _figure(name: str, ours: float, floor: float) -> Figure:
    return Figure(name, in_ms(ours), in_ms(floor), ours / floor)


def _remarks(turns: Sequence[Turn]) -> Iterable[str]:
    runs = [run for turn in turns for run in turn.runs]
    counts = sum((run.counts for run in runs), Counter[str]())
    seconds = sum(turn.seconds for turn in turns)
    yield ", ".join(f"{number:,} {name}" for name, number in counts.items())
    yield (
        f"{counts.total():,} rows in {seconds:.0f} s, {len(turns)} starts included:"
        f" {counts.total() / seconds:,.0f} rows a second;"
        f" at most {max(run.peak_megabytes for run in runs):.0f} MB a process"
    )


def _errors(sent: Traffic, deadlocks: int | None) -> str:
    failed = [send for send in sent.sends if send.error]
    counted = "not counted here" if deadlocks is None else deadlocks
    text = f"{len(sent.sends)} sends, {len(failed)} failed; deadlocks: {counted}"
    return f"{text}; the first: {failed[0].error}" if failed else text
