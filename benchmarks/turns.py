"""What a command's processes do to those who send: some clients send at a steady pace, and note how
long each send takes, with the processes and without them in turn.
"""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event
from time import perf_counter, sleep
from typing import Final

from benchmarks import servers
from benchmarks.clients import Client, Route, clients, new_key
from benchmarks.figures import Figure, in_ms, quantile
from benchmarks.servers import Application

CLIENTS: Final = 4
PERIOD: Final = 0.25
"""Seconds from one send of a client to its next."""


@dataclass(frozen=True)
class Send:
    due: float
    """When it was to begin; a send that had to wait for the one before counts from here."""
    seconds: float
    error: str = ""


@dataclass
class Traffic:
    """All sends so far; each client appends, which a list bears."""

    sends: list[Send] = field(default_factory=list)

    def between(self, began: float, ended: float) -> Sequence[Send]:
        return [send for send in list(self.sends) if began <= send.due < ended]


@contextmanager
def traffic(application: Application, route: Route) -> Iterator[Traffic]:
    going, stop = Traffic(), Event()
    with clients(application, CLIENTS) as many, ThreadPoolExecutor(CLIENTS) as threads:
        began = perf_counter()
        sending = [
            threads.submit(_send, client, route, began + PERIOD * place / CLIENTS, going, stop)
            for place, client in enumerate(many)
        ]
        try:
            yield going
        finally:
            stop.set()
        for each in sending:
            each.result()


def _send(client: Client, route: Route, due: float, going: Traffic, stop: Event) -> None:
    while not stop.wait(max(due - perf_counter(), 0)):
        error = ""
        try:
            client.post(route.request(new_key()), expected=201)
        except RuntimeError as unexpected:
            error = str(unexpected)
        going.sends.append(Send(due, perf_counter() - due, error))
        due += PERIOD


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


def turns(
    command: str, processes: int, environment: Mapping[str, str], *, seconds: float, most: int
) -> Iterator[Turn]:
    """Until all is done, or it has been seen often enough."""
    for _ in range(most):
        began = perf_counter()
        runs, stopped = _run(command, processes, environment, seconds)
        over = perf_counter()
        sleep((over - began) / 2)
        yield Turn(began, over, perf_counter(), runs)
        if not stopped:
            return


def _run(
    command: str, processes: int, environment: Mapping[str, str], seconds: float
) -> tuple[Sequence[Run], bool]:
    """All processes at once, and whether any had to be stopped."""
    words = [sys.executable, "-m", "django", command]
    options = {"env": environment, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        started = [stack.enter_context(servers.running(words, **options)) for _ in range(processes)]
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


def latencies(sent: Traffic, seen: Sequence[Turn]) -> Iterable[Figure]:
    ours = _seconds(sent.between(turn.began, turn.over) for turn in seen)
    floor = _seconds(sent.between(turn.over, turn.ended) for turn in seen)
    for percent in (50, 95, 99):
        yield _figure(f"send, p{percent}", quantile(ours, percent), quantile(floor, percent))
    yield _figure("send, longest", ours[-1], floor[-1])


def _seconds(stretches: Iterable[Sequence[Send]]) -> Sequence[float]:
    return sorted(send.seconds for sends in stretches for send in sends)


def _figure(name: str, ours: float, floor: float) -> Figure:
    return Figure(name, in_ms(ours), in_ms(floor), ours / floor)


def remarks(seen: Sequence[Turn]) -> Iterable[str]:
    runs = [run for turn in seen for run in turn.runs]
    counts = sum((run.counts for run in runs), Counter[str]())
    seconds = sum(turn.seconds for turn in seen)
    yield ", ".join(f"{number:,} {name}" for name, number in counts.items())
    yield (
        f"{counts.total():,} rows in {seconds:.0f} s, {len(seen)} starts included:"
        f" {counts.total() / seconds:,.0f} rows a second;"
        f" at most {max(run.peak_megabytes for run in runs):.0f} MB a process"
    )


def errors(sent: Traffic, deadlocks: int | None) -> str:
    failed = [send for send in sent.sends if send.error]
    counted = "not counted here" if deadlocks is None else deadlocks
    text = f"{len(sent.sends)} sends, {len(failed)} failed; deadlocks: {counted}"
    return f"{text}; the first: {failed[0].error}" if failed else text
