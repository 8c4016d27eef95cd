"""What a worker does: ``python -m benchmarks.jobs`` has Django and one database.

It reads a job in each line (JSON: its name and arguments) and answers with a line.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final

import django


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
    measured = []
    for after in afters:
        began = perf_counter()
        address = f"/notifications/api/v1/future/shipment/feed?seq={after}&orderBy={order}"
        answer = client.get(address)
        measured.append(perf_counter() - began)
        assert answer.status_code == 200, answer.content[:500]
    return measured


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
    job.__name__: job for job in (fill, read_pages, get_pages, complete, count_up, deadlocks)
}


if __name__ == "__main__":
    main()
