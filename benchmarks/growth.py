"""Whether the app stays as fast when a million messages are stored."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import console, feed, servers
from benchmarks.clients import clients, new_key, our_route
from benchmarks.figures import Figure, Table, in_turn, of_times
from benchmarks.sending import BLOCK, p50
from benchmarks.stored import Stored, stored

SEND_GOAL: Final = 1.2
READ_GOAL: Final = 1.3
MANIFESTS: Final = 5
"""Before it is the other's turn."""


@dataclass(frozen=True)
class Effort:
    many: int
    rounds: int
    few: int = 10_000
    """For those who read."""
    fewest: int = 1000
    """For those who send."""


FULL = Effort(many=1_000_000, rounds=40)
QUICK = Effort(many=100_000, rounds=20)


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    numbers = (effort.many, effort.few, effort.fewest)
    with (
        servers.stub_gateway() as gateway,
        stored(name, directory, *numbers, gateway=gateway) as (many, few, fewest),
    ):
        at = _at(many, few)
        size = many.reader.ask("bytes_stored") / many.messages
        sends = _sends(directory, many, fewest, effort.rounds)
        manifests = _manifests(many, few, effort.rounds)
        feed_pages = list(feed.figures("the whole view", many, few, effort.rounds // 2))
        # The console comes last, for it makes the messages less alike.
        console_pages = list(_console_pages(many, few, effort.rounds // 2))
    yield Table(
        f"{name}: {effort.many:,} messages stored, and {effort.fewest:,} (reading: {effort.few:,})",
        [
            sends,
            manifests,
            _worst(f"feed page{at}", feed_pages),
            replace(console_pages[0], name=f"console page{at}, the first"),
            _worst(f"console page{at}", console_pages),
        ],
        ours="many",
        floor="few",
        remarks=[
            f"the worst of the feed: {_worst_of(feed_pages).name}",
            f"the worst of the console: {_worst_of(console_pages).name}",
            f"{size:,.0f} bytes a message, with its indexes",
        ],
    )


def _sends(directory: Path, many: Stored, few: Stored, rounds: int) -> Figure:
    with ExitStack() as stack:
        blocks = [stack.enter_context(_sender(directory, each)) for each in (many, few)]
        for block in blocks:
            block()  # caches fill
        measured = in_turn(rounds, *blocks)
    what = f"first send, p50, at {many.messages:,} / {few.messages:,}"
    return of_times(what, *measured, goal=SEND_GOAL)


@contextmanager
def _sender(directory: Path, messages: Stored) -> Iterator[Callable[[], float]]:
    """Sends a block of messages to those stored; how long the middle one took."""
    logs = directory / str(messages.messages)
    logs.mkdir()
    with (
        servers.application(logs, messages.environment) as application,
        clients(application, 1) as (client,),
    ):
        route = our_route(application)
        yield lambda: p50(client, route, [new_key() for _ in range(BLOCK)])


def _manifests(many: Stored, few: Stored, rounds: int) -> Figure:
    def read(messages: Stored) -> float:
        seconds: Sequence[float] = messages.reader.ask("get_manifests", number=MANIFESTS)
        return median(seconds)

    for each in (many, few):
        read(each)  # caches fill
    measured = in_turn(rounds, lambda: read(many), lambda: read(few))
    return of_times(f"manifest, p50{_at(many, few)}", *measured, goal=READ_GOAL)


def _console_pages(many: Stored, few: Stored, rounds: int) -> Iterable[Figure]:
    with console.console(many) as of_many, console.console(few) as of_few:
        for page in console.PAGES:
            measured = console.in_turns(page, of_many, of_few, rounds)
            yield of_times(page, *measured, goal=READ_GOAL)


def _at(many: Stored, few: Stored) -> str:
    return f" at {many.messages:,} / {few.messages:,}"


def _worst(what: str, pages: Sequence[Figure]) -> Figure:
    return replace(_worst_of(pages), name=f"{what}, the worst of {len(pages)}")


def _worst_of(pages: Sequence[Figure]) -> Figure:
    return max(pages, key=lambda page: page.ratio or 0)
