"""Whether the console is as fast on a million messages as on ten thousand.

Two databases, each with a process of its own that opens the pages as a browser would; both are
asked in turn.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Final
from uuid import UUID

from benchmarks import databases
from benchmarks.messages import DAY, Messages, as_plain
from benchmarks.servers import ORGANISATION, manage, migrated
from benchmarks.tables import Figure, Table, in_ms
from benchmarks.workers import Worker, worker

LIST: Final = "/admin/instant_notifications/shipment/"
DAYS: Final = 80
MOST_MS: Final = 300
BLOCK: Final = 2
"""Pages before it is the other's turn."""


@dataclass(frozen=True)
class Effort:
    few: int
    many: int
    rounds: int


FULL = Effort(few=10_000, many=1_000_000, rounds=10)
QUICK = Effort(few=10_000, many=100_000, rounds=5)


def _before(days: float) -> str:
    """The key of that time."""
    milliseconds = int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 1000)
    return str(UUID(int=milliseconds << 80 | 0x7 << 76 | 0b10 << 62))


def _day(days: float) -> str:
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}T00:00"


def _pages(shipment: str) -> Mapping[str, str]:
    """Addresses; a term to search for stands behind ``#``, for it goes by POST."""
    a_month_back = f"since={_day(31)}&until={_day(30)}"
    return {
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
        "a day, a month back": f"{LIST}?{a_month_back}",
        "a day, a month back, failed": f"{LIST}?{a_month_back}&group=failed",
        "newer than an old one, none": f"{LIST}?gateway=nowhere&after={_before(DAYS * 0.9)}",
        "a message's own page": f"{LIST}{shipment}/change/",
        "search by number": f"{LIST}search/#+4799999999",
    }


def table_of(name: str, directory: Path, effort: Effort) -> Table:
    with ExitStack() as stack:
        few, many = (
            Console(stack.enter_context(worker(_environment(name, directory, stack))), messages)
            for messages in (effort.few, effort.many)
        )
        figures = [each for page in few.pages for each in _of(page, many, few, effort.rounds)]
        return Table(
            f"{name}: the console on {effort.many:,} messages, and on {effort.few:,}",
            figures,
            ours=f"{effort.many:,}",
            floor=f"{effort.few:,}",
            remarks=[f"over {MOST_MS} ms: {', '.join(many.slow) or 'none'}"],
        )


def _environment(name: str, directory: Path, stack: ExitStack) -> Mapping[str, str]:
    """Of the example project, for the others' settings leave the console out."""
    database_url = stack.enter_context(databases.KINDS[name](directory))
    settings = {"DJANGO_SETTINGS_MODULE": "example_project.settings"}
    environment = {**migrated(database_url), **settings}
    manage(environment, "migrate", "--verbosity=0")
    return environment


class Console:
    """The long or the short list, and the process that opens its pages."""

    def __init__(self, reader: Worker, messages: int) -> None:
        self._reader = reader
        stretch = Messages(
            creator=ORGANISATION, first=1, count=messages, oldest=DAYS * DAY, newest=60.0
        )
        reader.ask("fill", messages=as_plain(stretch))
        self.pages = _pages(reader.ask("vary"))
        self.slow: list[str] = []

    def open(self, page: str, times: int) -> Sequence[float]:
        measured: Sequence[float] = self._reader.ask(
            "open_pages", address=self.pages[page], times=times
        )
        return measured


def _of(page: str, many: Console, few: Console, rounds: int) -> Iterable[Figure]:
    for each in (many, few):
        each.open(page, 1)  # caches fill
    blocks = [(many.open(page, BLOCK), few.open(page, BLOCK)) for _ in range(rounds)]
    of_many = [seconds for block, _ in blocks for seconds in block]
    of_few = [seconds for _, block in blocks for seconds in block]
    for percent in (50, 95):
        ours, floor = (_quantile(seconds, percent) for seconds in (of_many, of_few))
        if ours * 1000 > MOST_MS:
            many.slow.append(f"{page}, p{percent}")
        yield Figure(f"{page}, p{percent}", in_ms(ours), in_ms(floor), ours / floor)


def _quantile(seconds: Sequence[float], percent: int) -> float:
    return quantiles(seconds, n=100, method="inclusive")[percent - 1]
