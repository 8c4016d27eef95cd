"""What it costs to bring an upstream's statuses home, and that it takes no memory to speak of.

The feed is read through the Altinn gateway and written down by ``sync``; and, in turn, the same
pages are fetched with the same HTTP client and merely stored, as a project would do that by hand.
Each has a process of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import databases
from benchmarks.figures import Figure, Table, of_rates
from benchmarks.messages import PAGE, UPSTREAM, Messages, as_plain
from benchmarks.servers import Worker, migrated, stub_upstream, worker, workers

CREATORS: Final = ("ttd", "skd", "nav", "digdir")
TURNS: Final = 10
GOAL: Final = 2.0


@dataclass(frozen=True)
class Effort:
    entries: int

    @property
    def pages(self) -> int:
        """Of one turn."""
        return self.entries // TURNS // PAGE


FULL = Effort(entries=100_000)
QUICK = Effort(entries=10_000)


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    with ExitStack() as stack:
        enter = stack.enter_context
        environment = enter(_upstream(name, directory, effort.entries))
        ours, bare = enter(workers(environment, 2))
        turns = [_turn(ours, bare, effort.pages) for _ in range(TURNS)]
        assert not (left := ours.ask("waiting")), f"{left} statuses were not written down"
    yield Table(
        f"{name}: a feed of {effort.entries:,} entries, {len(CREATORS)} creators",
        [_figure(turns, effort.pages * PAGE)],
        remarks=[_memory(turns)],
    )


@contextmanager
def _upstream(name: str, directory: Path, entries: int) -> Iterator[Mapping[str, str]]:
    """The environment of those who read the feed of an upstream that has taken our messages."""
    file = directory / "feed.jsonl"
    with databases.KINDS[name](directory) as database_url:
        environment = migrated(database_url)
        with worker(environment) as clerk:
            clerk.ask("fill", messages=as_plain(*_taken(entries)))
            clerk.ask("write_feed", path=str(file))
        with stub_upstream(file) as url:
            yield {**environment, "BENCHMARK_UPSTREAM_URL": url, "LOG_LEVEL": "WARNING"}


def _taken(entries: int) -> Iterable[Messages]:
    """Made side by side, so that a page of the feed is about messages of all creators."""
    share = entries // len(CREATORS)
    for place, creator in enumerate(CREATORS):
        yield Messages(
            creator=creator,
            first=1 + place * share,
            count=share,
            oldest=600.0,
            newest=60.0,
            completed=False,
            gateway=UPSTREAM,
            reference="id_text",
        )


@dataclass(frozen=True)
class Turn:
    """The same pages read by both, one after the other."""

    ours: float
    """Seconds."""
    bare: float
    peak_megabytes: float
    """The most that ours has held until now."""


def _turn(ours: Worker, bare: Worker, pages: int) -> Turn:
    stored = bare.ask("store_pages", pages=pages)
    written = ours.ask("sync_pages", pages=pages)
    return Turn(written, stored, ours.ask("peak_megabytes"))


def _figure(turns: Sequence[Turn], entries: int) -> Figure:
    return of_rates(
        "feed sync, entries, floor: bulk_create",
        [entries / turn.ours for turn in turns],
        [entries / turn.bare for turn in turns],
        goal=GOAL,
    )


def _memory(turns: Sequence[Turn]) -> str:
    first, last = turns[0].peak_megabytes, turns[-1].peak_megabytes
    return f"ours held at most {first:.1f} MB by a tenth of the feed, {last:.1f} MB by its end"
