"""What a worker does: ``python -m benchmarks.jobs`` has Django and one database.

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

import django

from benchmarks.clients import API
from benchmarks.messages import PAGE, UPSTREAM
from benchmarks.servers import ORGANISATION

TEXT: Final = "Your application has been received. Log in to read our answer."


def main() -> None:
    django.setup()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(JOBS[name](**arguments)), flush=True)


def fill(messages: Sequence[Mapping[str, Any]]) -> None:
    from benchmarks.rows import fill

    fill(messages)


def read_pages(creator: str, *, afters: Sequence[int], newest_first: bool) -> Sequence[float]:
    """Seconds for each page: what the view asks of the feed."""
    from instant_notifications import feed

    measured = []
    for after in afters:
        began = perf_counter()
        page = feed.read_feed(creator, after=after, limit=500, newest_first=newest_first)
        feed.read_bounds(creator)
        measured.append(perf_counter() - began)
        assert len(page) == 500, f"{len(page)} entries after {after}"
        assert page[0].recipients[0].destination
    return measured


def get_pages(creator: str, *, afters: Sequence[int], newest_first: bool) -> Sequence[float]:
    """Seconds for each page: the whole view, from the request to the rendered answer."""
    from django.test import Client

    from instant_notifications import tokens

    client = Client(headers={"authorization": f"Bearer {tokens.issue(creator)}"})
    order = "desc" if newest_first else "asc"
    address = f"{API}future/shipment/feed?orderBy={order}&seq="
    return [_timed(partial(_get, client, f"{address}{after}")) for after in afters]


def get_manifests(number: int) -> Sequence[float]:
    """Seconds for each of so many shipments, chosen at random: the whole view."""
    from django.test import Client

    from instant_notifications import tokens
    from instant_notifications.models import FeedEntry

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


def parts_of_sends(times: int) -> Mapping[str, Sequence[float]]:
    from benchmarks.spans import parts_of_sends

    return parts_of_sends(times)


def bytes_stored() -> int:
    """How large the database is, indexes and all."""
    from django.db import connection

    sizes = {
        "postgresql": "SELECT pg_database_size(current_database())",
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    }
    with connection.cursor() as cursor:
        cursor.execute(sizes[connection.vendor])
        return int(cursor.fetchone()[0])


def vary() -> str:
    """Make the messages that ``fill`` has made less alike; the id of one of them."""
    from benchmarks.rows import refresh
    from instant_notifications import privacy
    from instant_notifications.models import Delivery, Shipment

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


def open_pages(address: str, times: int) -> Sequence[float]:
    """Seconds for each time that somebody who may see everything opens a page of the console."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(
        User.objects.get_or_create(username="r", is_staff=True, is_superuser=True)[0]
    )
    page, _, term = address.partition("#")

    def opened() -> None:
        answer = client.post(page, {"term": term}) if term else client.get(page)
        assert answer.status_code == 200, (address, answer.status_code)

    return [_timed(opened) for _ in range(times)]


def complete(numbers: Sequence[int]) -> None:
    """Write the last receipt of each of these messages down; each makes a feed entry."""
    from benchmarks.messages import GATEWAY
    from instant_notifications import receipts
    from instant_notifications.gateways import Receipt

    for number in numbers:
        receipt = Receipt(gateway_reference=str(number), status="SMS_Delivered", word="DELIVRD")
        delivery = receipts.record_receipt(GATEWAY, receipt)
        assert delivery, number
        assert delivery.completed_at, number


def count_up(creator: str, times: int) -> None:
    """The least that a numbered feed needs: one committed update of one counter."""
    from django.db.models import F

    from instant_notifications.models import Organisation

    counters = Organisation.objects.filter(name=creator)
    for _ in range(times):
        assert counters.update(last_sequence_number=F("last_sequence_number") + 1)


def write_feed(path: str) -> None:
    """What the upstream says of all that it has taken: an entry in each line of a file."""
    from benchmarks.upstream import write_feed

    write_feed(path)


def sync_pages(pages: int) -> float:
    """Seconds to write so many further pages of the upstream's feed down."""
    from instant_notifications.sync import sync
    from instant_notifications.upkeep import Stop

    began = perf_counter()
    with closing(sync(UPSTREAM, stop=Stop())) as progress:
        known = [page.known for page in islice(progress, pages)]
    seconds = perf_counter() - began
    assert known == pages * [PAGE], known
    return seconds


def waiting() -> int:
    """How many messages that the upstream has taken still wait for their last word."""
    from instant_notifications.models import Delivery

    return Delivery.objects.filter(gateway=UPSTREAM, completed_at=None).count()


def store_pages(way: str, pages: int) -> float:
    """Seconds to fetch so many further pages and store what they say, in one way of the floor's."""
    from benchmarks.floor.upstream import store_page

    began = perf_counter()
    stored = [store_page(way) for _ in range(pages)]
    seconds = perf_counter() - began
    assert stored == pages * [PAGE], stored
    return seconds


def place(first: int, count: int) -> float:
    """Seconds to place an order for so many; the recipients are checked as they are read."""
    from instant_notifications.orders import place_order
    from instant_notifications.orders.regular import Sms
    from instant_notifications.recipients import phone

    began = perf_counter()
    place_order(map(phone, _numbers(first, count)), sms=Sms(TEXT, daytime=False))
    return perf_counter() - began


def place_by_hand(first: int, count: int) -> float:
    from benchmarks.floor.bulk import place

    began = perf_counter()
    place(_numbers(first, count), TEXT)
    return perf_counter() - began


def _numbers(first: int, count: int) -> Sequence[str]:
    """None of which the simulator treats in a special way."""
    numbers = (divmod(number, 9000) for number in range(first, first + count))
    return [f"+479{block:03}{1000 + rest}" for block, rest in numbers]


def work_off(seconds: float) -> int:
    """What ``process_due_orders`` does, for so long; how many messages have left."""
    from instant_notifications import tasks

    deadline, done = perf_counter() + seconds, 0
    while number := sum(tasks.sweep(lambda: perf_counter() > deadline)):
        done += number
    return done


def work_off_some(count: int) -> None:
    """The same, until so many have left."""
    from instant_notifications import tasks

    while count > 0 and (number := sum(islice(tasks.sweep(lambda: False), 1))):
        count -= number


def work_off_by_hand(seconds: float) -> int:
    from benchmarks.floor.bulk import work_off

    deadline, done = perf_counter() + seconds, 0
    while perf_counter() < deadline and (number := work_off()):
        done += number
    return done


def statements_of(of: str, **arguments: Any) -> int:
    """How many another job asks the database to carry out."""
    from django.db import connection

    statements = []

    def count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        JOBS[of](**arguments)
    return len(statements)


def plan_all() -> None:
    """Make a plan of each message that ``fill`` has made; those with no last word are due."""
    from benchmarks.rows import plan_all

    plan_all()


def claim_times(times: int) -> Mapping[str, Sequence[float]]:
    """Seconds for each claim of a chunk, while those before are kept; and for the queue's chart."""
    from django.utils import timezone

    from instant_notifications import planning, tasks
    from instant_notifications.charts.queue import queue
    from instant_notifications.models import Plan

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
    from django.db import connection

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
        open_pages,
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


if __name__ == "__main__":
    main()
