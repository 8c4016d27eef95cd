"""What a worker does, which has Django and one database.

It reads a job in each line (JSON: its name and arguments) and answers with a line.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from random import sample
from resource import RUSAGE_SELF, getrusage
from time import perf_counter
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test import Client
from django.utils import timezone

from benchmarks.clients import API
from benchmarks.floor import bulk
from benchmarks.messages import GATEWAY, PAGE, UPSTREAM
from benchmarks.rows import fill, plan_all, refresh, write_feed
from benchmarks.servers import ORGANISATION
from benchmarks.spans import parts_of_sends
from instant_notifications import feed, planning, privacy, receipts, tasks, tokens
from instant_notifications.charts.queue import queue
from instant_notifications.gateways import Receipt
from instant_notifications.models import Delivery, FeedEntry, Organisation, Plan, Shipment
from instant_notifications.orders import Sms, place_order
from instant_notifications.recipients import phone
from instant_notifications.sync import sync
from instant_notifications.upkeep import Stop

TEXT: Final = "Your application has been received. Log in to read our answer."


def main() -> None:
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(JOBS[name](**arguments)), flush=True)


def read_pages(creator: str, *, afters: Sequence[int], newest_first: bool) -> Sequence[float]:
    """Seconds for each page: what the view asks of the feed."""
    measured = []
    for after in afters:
        began = perf_counter()
        page = feed.read_feed(creator, after=after, limit=PAGE, newest_first=newest_first)
        feed.read_bounds(creator)
        measured.append(perf_counter() - began)
        assert len(page) == PAGE, f"{len(page)} entries after {after}"
        assert page[0].recipients[0].destination
    return measured


def get_pages(creator: str, *, afters: Sequence[int], newest_first: bool) -> Sequence[float]:
    """Seconds for each page: the whole view, from the request to the rendered answer."""
    client = Client(headers={"authorization": f"Bearer {tokens.issue(creator)}"})
    order = "desc" if newest_first else "asc"
    address = f"{API}future/shipment/feed?orderBy={order}&seq="
    return [_timed(partial(_get, client, f"{address}{after}")) for after in afters]


def get_manifests(number: int) -> Sequence[float]:
    """Seconds for each of so many shipments, chosen at random: the whole view."""
    client = Client(headers={"authorization": f"Bearer {tokens.issue(ORGANISATION)}"})
    entries = FeedEntry.objects.filter(creator=ORGANISATION)
    last = entries.latest("sequence_number").sequence_number
    chosen = entries.filter(sequence_number__in=sample(range(1, last), number))
    return [
        _timed(partial(_get, client, f"{API}future/shipment/{shipment}"))
        for shipment in chosen.values_list("shipment_id", flat=True)
    ]


def _get(client: Any, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200, (address, answer.status_code, answer.content[:500])


def bytes_stored() -> int:
    """How large the database is, indexes and all."""
    sizes = {
        "postgresql": "SELECT pg_database_size(current_database())",
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    }
    with connection.cursor() as cursor:
        cursor.execute(sizes[connection.vendor])
        return int(cursor.fetchone()[0])


def vary() -> str:
    """Make the messages that ``fill`` has made less alike; the id of one of them."""
    variety: Sequence[tuple[str, Mapping[str, Any]]] = [
        ("1", {"status": "SMS_Failed_Undelivered"}),
        ("2", {"status": "Email_Delivered", "channel": "email"}),
        ("03", {"status": "SMS_Sending", "handover": "unknown", "completed_at": None}),
        ("4", {"gateway": "second"}),
        ("05", {"destination_digest": privacy.digest("+4799999999")}),
    ]
    for ending, columns in variety:
        Delivery.objects.filter(gateway_reference__endswith=ending).update(**columns)
    Delivery.objects.filter(gateway_reference="1").update(gateway="rare")
    Shipment.objects.filter(senders_reference__endswith="5").update(creator="another")
    refresh()
    return str(Shipment.objects.order_by("-pk").values_list("pk", flat=True)[500])


def open_page(address: str) -> float:
    """Seconds until somebody who may see everything has opened a page of the console."""
    client = Client()
    client.force_login(
        User.objects.get_or_create(username="r", is_staff=True, is_superuser=True)[0]
    )
    page, _, term = address.partition("#")

    def opened() -> None:
        answer = client.post(page, {"term": term}) if term else client.get(page)
        assert answer.status_code == 200, (address, answer.status_code)

    return _timed(opened)


def complete(numbers: Sequence[int]) -> None:
    """Write the last receipt of each of these messages down; each makes a feed entry."""
    for number in numbers:
        receipt = Receipt(gateway_reference=str(number), status="SMS_Delivered", word="DELIVRD")
        delivery = receipts.record_receipt(GATEWAY, receipt)
        assert delivery, number
        assert delivery.completed_at, number


def count_up(creator: str, times: int) -> None:
    """The least that a numbered feed needs: one committed update of one counter."""
    counters = Organisation.objects.filter(name=creator)
    for _ in range(times):
        assert counters.update(last_sequence_number=F("last_sequence_number") + 1)


def sync_pages(pages: int) -> float:
    """Seconds to write so many further pages of the upstream's feed down."""
    began = perf_counter()
    with closing(sync(UPSTREAM, stop=Stop())) as progress:
        known = [page.known for page in islice(progress, pages)]
    seconds = perf_counter() - began
    assert known == pages * [PAGE], known
    return seconds


def waiting() -> int:
    """How many messages that the upstream has taken still wait for their last word."""
    return Delivery.objects.filter(gateway=UPSTREAM, completed_at=None).count()


def store_pages(pages: int) -> float:
    """Seconds to fetch so many further pages and merely store what they say."""
    from benchmarks.floor.upstream import store_page  # the console's settings lack its models

    began = perf_counter()
    stored = [store_page() for _ in range(pages)]
    seconds = perf_counter() - began
    assert stored == pages * [PAGE], stored
    return seconds


def place(first: int, count: int) -> float:
    """Seconds to place an order for so many; the recipients are checked as they are read."""
    began = perf_counter()
    place_order(map(phone, _numbers(first, count)), sms=Sms(TEXT, daytime=False))
    return perf_counter() - began


def place_by_hand(first: int, count: int) -> float:
    began = perf_counter()
    bulk.place(_numbers(first, count), TEXT)
    return perf_counter() - began


def _numbers(first: int, count: int) -> Sequence[str]:
    """None of which the simulator treats in a special way."""
    numbers = (divmod(number, 9000) for number in range(first, first + count))
    return [f"+479{block:03}{1000 + rest}" for block, rest in numbers]


def work_off(seconds: float) -> int:
    """What ``process_due_orders`` does, for so long; how many messages have left."""
    deadline, done = perf_counter() + seconds, 0
    while number := sum(tasks.sweep(lambda: perf_counter() > deadline)):
        done += number
    return done


def work_off_some(count: int) -> None:
    """The same, until so many have left."""
    while count > 0 and (number := sum(islice(tasks.sweep(lambda: False), 1))):
        count -= number


def work_off_by_hand(seconds: float) -> int:
    deadline, done = perf_counter() + seconds, 0
    while perf_counter() < deadline and (number := bulk.work_off()):
        done += number
    return done


def statements_of(of: str, **arguments: Any) -> int:
    """How many another job asks the database to carry out."""
    statements = []

    def count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        JOBS[of](**arguments)
    return len(statements)


def claim_times(times: int) -> Mapping[str, Sequence[float]]:
    """Seconds for each claim of a chunk, while those before are kept; and for the queue's chart."""

    def charted() -> None:
        queue(timezone.now())

    def claimed() -> None:
        assert len(planning.claim(Plan, tasks.CHUNK)) == tasks.CHUNK

    return {
        "chart of the queue": [_timed(charted) for _ in range(times // 5)],
        "claim": [_timed(claimed) for _ in range(times)],
    }


def _timed(act: Callable[[], None]) -> float:
    began = perf_counter()
    act()
    return perf_counter() - began


def peak_megabytes() -> float:
    """The most memory that this process has ever held."""
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024


def deadlocks() -> int | None:
    """So many has the database seen; ``None`` if it does not count them."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        (number,) = cursor.fetchone()
        return int(number)


JOBS: Final[Mapping[str, Callable[..., Any]]] = {
    job.__name__: job
    for job in (
        fill,
        read_pages,
        get_pages,
        get_manifests,
        parts_of_sends,
        bytes_stored,
        vary,
        open_page,
        complete,
        count_up,
        write_feed,
        sync_pages,
        waiting,
        store_pages,
        place,
        place_by_hand,
        work_off,
        work_off_some,
        work_off_by_hand,
        statements_of,
        plan_all,
        claim_times,
        peak_megabytes,
        deadlocks,
    )
}
