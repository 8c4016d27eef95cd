"""Whether a page of the feed costs the same however long the feed is.

Two databases, one with few entries and one with many, each with a process of its own; both are
asked in turn.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import randrange
from statistics import median
from typing import Final

from benchmarks import databases
from benchmarks.messages import DAY, PAGE, Messages, as_plain
from benchmarks.servers import ORGANISATION, migrated
from benchmarks.tables import Figure, Table, in_ms
from benchmarks.workers import Worker, worker

GOAL: Final = 1.3
BLOCK: Final = 2
"""Pages before it is the other's turn."""


@dataclass(frozen=True)
class Effort:
    few: int
    many: int
    rounds: int


FULL = Effort(few=10_000, many=1_000_000, rounds=25)
QUICK = Effort(few=10_000, many=100_000, rounds=10)

Place = Callable[[int], int]
"""A cursor somewhere in a feed of so many entries."""


def _middle(entries: int) -> int:
    return randrange(entries * 2 // 5, entries * 3 // 5)


PLACES: Final[Mapping[str, tuple[Place, bool]]] = {
    "ascending, beginning": (lambda _: 0, False),
    "ascending, middle": (_middle, False),
    "ascending, end": (lambda entries: entries - PAGE, False),
    "descending, newest": (lambda _: 0, True),
    "descending, middle": (_middle, True),
    "descending, oldest": (lambda _: PAGE + 1, True),
}
"""Where a page is read, and whether newest first."""


def table_of(name: str, directory: Path, effort: Effort) -> Table:
    with ExitStack() as stack:
        few, many = (
            Feed(
                stack.enter_context(
                    worker(migrated(stack.enter_context(databases.KINDS[name](directory))))
                ),
                entries,
            )
            for entries in (effort.few, effort.many)
        )
        return Table(
            f"{name}: a page of {PAGE} out of {many.entries:,} entries, and out of {few.entries:,}",
            list(_figures(many, few, effort.rounds)),
            ours=f"{many.entries:,}",
            floor=f"{few.entries:,}",
        )


class Feed:
    """The long or the short feed, and the process that reads it."""

    def __init__(self, reader: Worker, entries: int) -> None:
        self._reader = reader
        self.entries = entries
        messages = Messages(
            creator=ORGANISATION, first=1, count=entries, oldest=80 * DAY, newest=60.0
        )
        reader.ask("fill", messages=as_plain(messages))

    def read(self, job: str, place: str, pages: int) -> Sequence[float]:
        cursor, newest_first = PLACES[place]
        afters = [cursor(self.entries) for _ in range(pages)]
        measured: Sequence[float] = self._reader.ask(
            job, creator=ORGANISATION, afters=afters, newest_first=newest_first
        )
        return measured


def _figures(many: Feed, few: Feed, rounds: int) -> Iterable[Figure]:
    for place in PLACES:
        yield _in_turn(f"{place}: read_feed, read_bounds", "read_pages", place, many, few, rounds)
        yield _in_turn(f"{place}: the whole view", "get_pages", place, many, few, rounds)


def _in_turn(name: str, job: str, place: str, many: Feed, few: Feed, rounds: int) -> Figure:
    """The ratio is the median of those of pages that were read right after each other."""
    for each in (many, few):
        each.read(job, place, 1)  # caches fill
    blocks = [(many.read(job, place, BLOCK), few.read(job, place, BLOCK)) for _ in range(rounds)]
    ours = median(seconds for block, _ in blocks for seconds in block)
    floor = median(seconds for _, block in blocks for seconds in block)
    ratio = median(sum(of_many) / sum(of_few) for of_many, of_few in blocks)
    return Figure(name, in_ms(ours), in_ms(floor), ratio, GOAL)
