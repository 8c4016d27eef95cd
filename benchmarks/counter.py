"""What one counter row for each creator costs when many write at once.

Receipts are written down by some processes in parallel: all for one creator, and each for one of
its own, in turn. Beside them the least that a dense numbering needs, one committed update, done by
the same processes in the same two ways. The ratio says how many times more could be written
without the shared row.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from benchmarks import databases
from benchmarks.figures import Figure, Table, in_ms, of_rates
from benchmarks.messages import Messages, as_plain
from benchmarks.servers import Worker, migrated, workers

SHARED: Final = "shared"
WRITERS: Final = {"postgresql": (1, 2, 4, 8, 16), "sqlite": (1, 2, 4)}


@dataclass(frozen=True)
class Effort:
    commits: int
    """For each turn, shared out among the writers."""
    rounds: int


FULL = Effort(commits=320, rounds=5)
QUICK = Effort(commits=240, rounds=3)


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    steps = WRITERS[name]
    with databases.KINDS[name](directory) as url, workers(migrated(url), max(steps)) as crew:
        measurement = _Measurement(crew, effort)
        measurement.prepare(steps)
        figures = [figure for number in steps for figure in measurement.figures(number)]
        yield Table(
            f"{name}: commits each second, all for one creator and each for its own",
            figures,
            ours="one",
            floor="own",
            remarks=[f"one bare UPDATE and COMMIT by one writer: {in_ms(measurement.bare_commit)}"],
        )


class _Measurement:
    def __init__(self, crew: Sequence[Worker], effort: Effort) -> None:
        self._crew = crew
        self._effort = effort
        self._waiting: dict[str, Iterator[int]] = {}
        self.bare_commit = 0.0

    def prepare(self, steps: Sequence[int]) -> None:
        """Deliveries that wait for their receipts, as many as all turns will take."""
        turns = self._effort.rounds + 1
        own = turns * sum(self._effort.commits // writers for writers in steps)
        needed = {SHARED: turns * self._effort.commits * len(steps)}
        needed |= {self._own(place): own for place in range(len(self._crew))}
        stretches, first = [], 1
        for creator, number in needed.items():
            stretches.append(_waiting(creator, first, number))
            self._waiting[creator] = iter(range(first, first + number))
            first += number
        self._crew[0].ask("fill", messages=as_plain(*stretches))

    def figures(self, writers: int) -> Iterable[Figure]:
        some = self._crew[:writers]
        self._receipts(some, shared=True)  # connections and caches fill
        self._receipts(some, shared=False)
        rounds = [
            (
                self._receipts(some, shared=True),
                self._receipts(some, shared=False),
                self._updates(some, shared=True),
                self._updates(some, shared=False),
            )
            for _ in range(self._effort.rounds)
        ]
        one, own, bare_one, bare_own = (list(column) for column in zip(*rounds, strict=True))
        if writers == 1:
            self.bare_commit = 1 / median(bare_one)
        yield of_rates(f"{writers} writers, receipts", one, own)
        yield of_rates(f"{writers} writers, bare counter updates", bare_one, bare_own)

    def _receipts(self, some: Sequence[Worker], *, shared: bool) -> float:
        share = self._effort.commits // len(some)
        numbers = [
            [next(self._waiting[SHARED if shared else self._own(place)]) for _ in range(share)]
            for place in range(len(some))
        ]
        began = perf_counter()
        for each, theirs in zip(some, numbers, strict=True):
            each.begin("complete", numbers=theirs)
        return _rate(some, share, began)

    def _updates(self, some: Sequence[Worker], *, shared: bool) -> float:
        share = self._effort.commits // len(some)
        began = perf_counter()
        for place, each in enumerate(some):
            each.begin("count_up", creator=SHARED if shared else self._own(place), times=share)
        return _rate(some, share, began)

    def _own(self, place: int) -> str:
        return f"own{place}"


def _waiting(creator: str, first: int, number: int) -> Messages:
    return Messages(
        creator=creator, first=first, count=number, oldest=600.0, newest=300.0, completed=False
    )


def _rate(some: Sequence[Worker], share: int, began: float) -> float:
    """Commits each second, once all are done."""
    for each in some:
        each.answer()
    return share * len(some) / (perf_counter() - began)
