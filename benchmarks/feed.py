"""Whether a page of the feed costs the same however long the feed is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import randrange
from statistics import median
from typing import Final

from benchmarks.figures import Figure, Table, in_turn, of_times
from benchmarks.messages import PAGE
from benchmarks.servers import ORGANISATION
from benchmarks.stored import Stored, stored

GOAL: Final = 1.3
BLOCK: Final = 2
"""Pages before it is the other's turn."""
JOBS: Final = {"read_feed, read_bounds": "read_pages", "the whole view": "get_pages"}
"""What is timed, and the worker's job that does it."""


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


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    with stored(name, directory, effort.many, effort.few) as (many, few):
        yield Table(
            f"{name}: a page of {PAGE} out of {effort.many:,} entries, and out of {effort.few:,}",
            [each for what in JOBS for each in figures(what, many, few, effort.rounds)],
            ours=f"{effort.many:,}",
            floor=f"{effort.few:,}",
        )


def figures(what: str, many: Stored, few: Stored, rounds: int) -> Iterable[Figure]:
    for place in PLACES:
        for each in (many, few):
            _page(each, JOBS[what], place)  # caches fill
        measured = in_turn(
            rounds, *(partial(_page, each, JOBS[what], place) for each in (many, few))
        )
        yield of_times(f"{place}: {what}", *measured, goal=GOAL)


def _page(feed: Stored, job: str, place: str) -> float:
    cursor, newest_first = PLACES[place]
    afters = [cursor(feed.messages) for _ in range(BLOCK)]
    seconds: Sequence[float] = feed.reader.ask(
        job, creator=ORGANISATION, afters=afters, newest_first=newest_first
    )
    return median(seconds)
