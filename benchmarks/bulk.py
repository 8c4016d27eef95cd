"""What regular orders cost: placing one for many recipients, working it off by one worker and by
several, and what that does to those who send at once.

Each process asks the database as the commands do, with an immediate engine. By hand, the floor
writes the same rows and makes the same calls; both take turns on the same tables. The gateways:
one that answers at once and costs nothing, the simulator, which writes down what it has taken, and
one behind HTTP that needs some time, as real ones do.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Final

from benchmarks import databases, servers
from benchmarks.clients import our_route
from benchmarks.figures import Figure, Table, in_ms, in_turn, of_rates, of_times, quantile
from benchmarks.messages import DAY, Messages, as_plain
from benchmarks.servers import ORGANISATION, Worker, worker, workers
from benchmarks.turns import errors, latencies, remarks, traffic, turns

CROWDS: Final = (1, 2, 4)
WARMING_UP: Final = 3.0
GATEWAY_DELAY: Final = 0.05
GOAL: Final = 2.0
GOAL_WITH_RESTS: Final = 4.0
"""On SQLite a worker rests after each message about as long as that took it."""

GATEWAYS: Final[Mapping[str, str]] = {
    "at_once": "at once",
    "simulator": "the simulator",
    "stub": f"HTTP, {in_ms(GATEWAY_DELAY)}",
}
"""What each is called in the tables."""


@dataclass(frozen=True)
class Effort:
    recipients: int
    """Of one order."""
    rounds: int
    turn: float
    """Seconds."""
    due: int
    """Plans in a table of many."""
    finished: int
    claims: int = 100


FULL = Effort(recipients=10_000, rounds=3, turn=8.0, due=100_000, finished=1_000_000)
QUICK = Effort(recipients=2_000, rounds=2, turn=3.0, due=10_000, finished=50_000)


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    yield _placing(name, directory, effort)
    for gateway in GATEWAYS:
        yield _working_off(name, directory, effort, gateway)
    for processes in (1, 2):
        yield _sending_meanwhile(name, directory, effort, processes)
    yield _claiming(name, directory, effort)


def _placing(name: str, directory: Path, effort: Effort) -> Table:
    with ExitStack() as stack:
        enter = stack.enter_context
        environment = servers.migrated(enter(databases.KINDS[name](directory)))
        ours, floor = enter(workers(environment, 2))
        numbers = _Numbers()
        for each in (ours, floor):
            each.ask("place", first=numbers.next(500), count=500)
        before = ours.ask("peak_megabytes")
        seconds = in_turn(
            effort.rounds,
            lambda: float(
                ours.ask("place", first=numbers.next(effort.recipients), count=effort.recipients)
            ),
            lambda: float(floor.ask("place_by_hand", first=1, count=effort.recipients)),
        )
        after = ours.ask("peak_megabytes")
        first = numbers.next(effort.recipients)
        statements = ours.ask("statements_of", of="place", first=first, count=effort.recipients)
    return Table(
        f"{name}: an order for {effort.recipients:,} recipients",
        [of_times("placed", *seconds, goal=GOAL)],
        remarks=[
            f"{statements / effort.recipients:.4f} statements a recipient",
            f"{before:.1f} MB held after 500 recipients, at most {after:.1f} MB later",
        ],
    )


class _Numbers:
    """Recipients that nobody had before."""

    def __init__(self) -> None:
        self._next = 1

    def next(self, count: int) -> int:
        self._next += count
        return self._next - count


@dataclass(frozen=True)
class Round:
    """Deliveries a second, measured one after the other."""

    ours: float
    floor: float
    crowds: Mapping[int, float]


def _working_off(name: str, directory: Path, effort: Effort, gateway: str) -> Table:
    with ExitStack() as stack:
        enter = stack.enter_context
        url = enter(servers.stub_gateway(GATEWAY_DELAY))
        environment = {
            **servers.migrated(enter(databases.KINDS[name](directory)), url),
            "BENCHMARK_ROUTE": gateway,
            "LOG_LEVEL": "WARNING",
        }
        many = enter(workers(environment, max(CROWDS)))
        floor = enter(worker(environment))
        numbers = _Numbers()
        rounds = [_round(many, floor, effort, numbers) for _ in range(effort.rounds)]
        many[0].ask("place", first=numbers.next(200), count=200)
        statements = many[0].ask("statements_of", of="work_off_some", count=200)
    return Table(
        f"{name}: deliveries worked off, gateway: {GATEWAYS[gateway]}",
        [
            of_rates(
                "1 worker, floor: by hand",
                [each.ours for each in rounds],
                [each.floor for each in rounds],
                goal=GOAL_WITH_RESTS if name == "sqlite" else GOAL,
            ),
            *(_crowd_figure(crowd, rounds) for crowd in CROWDS[1:]),
        ],
        remarks=[f"{statements / 200:.2f} statements a delivery"],
    )


def _round(many: Sequence[Worker], floor: Worker, effort: Effort, numbers: _Numbers) -> Round:
    many[0].ask("place", first=numbers.next(effort.recipients), count=effort.recipients)
    floor.ask("place_by_hand", first=1, count=effort.recipients)
    crowds = {crowd: _speed(many[:crowd], "work_off", effort.turn) for crowd in CROWDS}
    by_hand = _speed([floor], "work_off_by_hand", effort.turn)
    return Round(crowds[1], by_hand, crowds)


def _speed(busy: Sequence[Worker], job: str, seconds: float) -> float:
    began = perf_counter()
    for each in busy:
        each.begin(job, seconds=seconds)
    done = sum(int(each.answer()) for each in busy)
    return done / (perf_counter() - began)


def _crowd_figure(crowd: int, rounds: Sequence[Round]) -> Figure:
    return of_rates(
        f"{crowd} workers, floor: 1 worker",
        [each.crowds[crowd] for each in rounds],
        [each.ours for each in rounds],
    )


def _sending_meanwhile(name: str, directory: Path, effort: Effort, processes: int) -> Table:
    with ExitStack() as stack:
        enter = stack.enter_context
        url = enter(servers.stub_gateway())
        environment = servers.migrated(enter(databases.KINDS[name](directory)), url)
        quiet = {**environment, "LOG_LEVEL": "WARNING"}
        clerk = enter(worker(environment))
        clerk.ask("place", first=1, count=effort.recipients)
        application = enter(servers.application(directory, environment))
        sent = enter(traffic(application, our_route(application)))
        sleep(WARMING_UP)
        command = "process_due_orders"
        seen = list(turns(command, processes, quiet, seconds=effort.turn * 2, most=effort.rounds))
    return Table(
        f"{name}: {processes} x {command}, {effort.recipients:,} due",
        list(latencies(sent, seen)),
        ours="during",
        floor="without",
        remarks=[*remarks(seen), errors(sent, None)],
    )


def _claiming(name: str, directory: Path, effort: Effort) -> Table:
    many = _claims(name, directory, effort, effort.finished, effort.due)
    few = _claims(name, directory, effort, finished=0, due=3000)
    return Table(
        f"{name}: {effort.due:,} due among {effort.finished:,} finished",
        list(_claim_figures(many, few)),
        ours="many",
        floor="few",
    )


def _claims(
    name: str, directory: Path, effort: Effort, finished: int, due: int
) -> Mapping[str, Sequence[float]]:
    with ExitStack() as stack:
        environment = servers.migrated(stack.enter_context(databases.KINDS[name](directory)))
        clerk = stack.enter_context(worker(environment))
        clerk.ask("fill", messages=as_plain(*_messages(finished, due)))
        clerk.ask("plan_all")
        measured: dict[str, Any] = clerk.ask("claim_times", times=effort.claims)
    return measured


def _messages(finished: int, due: int) -> Iterator[Messages]:
    if finished:
        yield Messages(
            creator=ORGANISATION, first=1, count=finished, oldest=80 * DAY, newest=2 * DAY
        )
    yield Messages(
        creator=ORGANISATION,
        first=finished + 1,
        count=due,
        oldest=DAY,
        newest=60.0,
        completed=False,
    )


def _claim_figures(
    many: Mapping[str, Sequence[float]], few: Mapping[str, Sequence[float]]
) -> Iterator[Figure]:
    for what in many:
        for percent in (50, 95):
            mine, floor = (quantile(each[what], percent) for each in (many, few))
            yield Figure(f"{what}, p{percent}", in_ms(mine), in_ms(floor), mine / floor)
