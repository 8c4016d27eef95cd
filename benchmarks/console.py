"""Whether the console is as fast on a million messages as on ten thousand."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from benchmarks.figures import Figure, Table, in_ms, in_turn, of_times, quantile
from benchmarks.servers import Worker, manage, worker
from benchmarks.stored import DAYS, Stored, stored

LIST: Final = "/admin/instant_notifications/shipment/"
MOST_MS: Final = 300


@dataclass(frozen=True)
class Effort:
    few: int
    many: int
    rounds: int


FULL = Effort(few=10_000, many=1_000_000, rounds=20)
QUICK = Effort(few=10_000, many=100_000, rounds=10)


def _before(days: float) -> str:
    """The key of that time."""
    milliseconds = int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62))


def _day(days: float) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}T00:00"


A_WEEK: Final = f"since={_day(35)}&until={_day(28)}"
"""Long enough to fill a page, also of the failed among few."""

PAGES: Final[Mapping[str, str]] = {
    "first page": LIST,
    "deep page": f"{LIST}?before={_before(DAYS * 0.9)}",
    "failed": f"{LIST}?group=failed",
    "in doubt (1 %)": f"{LIST}?group=doubt",
    "being sent (none; overdue)": f"{LIST}?group=sending",
    "an exact status": f"{LIST}?status=Email_Delivered",
    "a channel": f"{LIST}?channel=email",
    "an organisation": f"{LIST}?creator=another",
    "a gateway": f"{LIST}?gateway=second",
    "a kind (none)": f"{LIST}?kind=Reminder",
    "no such organisation": f"{LIST}?creator=nobody",
    "no such gateway": f"{LIST}?gateway=nowhere",
    "a gateway with one message": f"{LIST}?gateway=rare",
    "the same, deep": f"{LIST}?gateway=rare&before={_before(DAYS * 0.5)}",
    "four filters, none": f"{LIST}?group=doubt&channel=sms&creator=another&gateway=nowhere",
    "a week, a month back": f"{LIST}?{A_WEEK}",
    "a week, a month back, failed": f"{LIST}?{A_WEEK}&group=failed",
    "newer than an old one, none": f"{LIST}?gateway=nowhere&after={_before(DAYS * 0.9)}",
    "a message's own page": LIST + "{shipment}/change/",
    "search by number": f"{LIST}search/#+4799999999",
}
"""Addresses; a term to search for stands behind ``#``, for it goes by POST."""


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    with stored(name, directory, effort.many, effort.few) as (many, few), ExitStack() as stack:
        of_many, of_few = (stack.enter_context(console(each)) for each in (many, few))
        pages = {page: in_turns(page, of_many, of_few, effort.rounds) for page in PAGES}
    slow = [page for page, (ours, _) in pages.items() if quantile(ours, 95) * 1000 > MOST_MS]
    yield Table(
        f"{name}: the console on {effort.many:,} messages, and on {effort.few:,}",
        [each for page, measured in pages.items() for each in _figures(page, *measured)],
        ours=f"{effort.many:,}",
        floor=f"{effort.few:,}",
        remarks=[f"p95 over {MOST_MS} ms: {', '.join(slow) or 'none'}"],
    )


def _figures(page: str, many: Sequence[float], few: Sequence[float]) -> Iterable[Figure]:
    yield of_times(f"{page}, p50", many, few)
    ours, floor = quantile(many, 95), quantile(few, 95)
    yield Figure(f"{page}, p95", in_ms(ours), in_ms(floor), ours / floor)


@dataclass(frozen=True)
class Console:
    """A process that opens pages as a browser would, and a message that it can show."""

    reader: Worker
    shipment: str

    def open(self, page: str) -> float:
        address = PAGES[page].format(shipment=self.shipment)
        return float(self.reader.ask("open_page", address=address))


@contextmanager
def console(messages: Stored) -> Iterator[Console]:
    """Makes the messages less alike first, so that there is something to filter.

    With the example project's settings, for the others' leave the console out.
    """
    settings = {"DJANGO_SETTINGS_MODULE": "example_project.settings"}
    environment = {**messages.environment, **settings}
    manage(environment, "migrate", "--verbosity=0")
    with worker(environment) as reader:
        yield Console(reader, reader.ask("vary"))


def in_turns(page: str, many: Console, few: Console, rounds: int) -> Sequence[Sequence[float]]:
    for each in (many, few):
        each.open(page)  # caches fill
    return in_turn(rounds, lambda: many.open(page), lambda: few.open(page))
