"""What sending suffers while upkeep goes on, and how fast upkeep is.

The real commands run as processes of their own, while clients send through the served application.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Final

from benchmarks import databases, servers
from benchmarks.clients import our_route
from benchmarks.figures import Table
from benchmarks.messages import DAY, HOUR, Messages, as_plain
from benchmarks.servers import ORGANISATION, worker
from benchmarks.turns import errors, latencies, remarks, traffic, turns

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
        sent = enter(traffic(application, our_route(application)))
        sleep(WARMING_UP)
        before = observer.ask("deadlocks")
        seen = list(
            turns(
                case.command,
                case.processes,
                environment,
                seconds=turn,
                most=MOST_TURNS[case.command],
            )
        )
        after = observer.ask("deadlocks")
    return Table(
        f"{name}: {case.title}",
        list(latencies(sent, seen)),
        ours="during",
        floor="without",
        remarks=[*remarks(seen), errors(sent, None if after is None else after - before)],
    )
