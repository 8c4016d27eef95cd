"""An upstream's feed, stored by hand: fetch a page, upsert its statuses, move the cursor.

One transaction for each page, and nothing else: no message is looked for, none is changed, nobody
hears of anything, no failure is told apart.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction

from benchmarks.floor.models import Cursor, ShipmentStatus
from benchmarks.messages import PAGE
from instant_notifications import http

TIMEOUT: Final = 20.0

Row = tuple[str, str, datetime]


def store_page(way: str) -> int:
    """Store what comes next; how many entries that were. Each way has a cursor of its own."""
    cursor, _ = Cursor.objects.get_or_create(upstream=way)
    entries = _fetch(cursor.number)
    rows = [_row(entry) for entry in entries]
    with transaction.atomic():
        WAYS[way](rows)
        Cursor.objects.filter(pk=way).update(number=entries[-1]["sequenceNumber"])
    return len(rows)


def _fetch(after: int) -> Sequence[Mapping[str, Any]]:
    answer = http.request(
        "GET",
        f"{settings.BENCHMARK_UPSTREAM_URL}future/shipment/feed"
        f"?seq={after}&pageSize={PAGE}&orderBy=asc",
        timeout=TIMEOUT,
        headers={
            "Authorization": f"Bearer {settings.BENCHMARK_UPSTREAM_TOKEN}",
            "Accept": "application/json",
        },
    )
    entries: Sequence[Mapping[str, Any]] = answer.json()
    return entries


def _row(entry: Mapping[str, Any]) -> Row:
    (recipient,) = entry["recipients"]
    return (
        entry["shipmentId"],
        recipient["status"],
        datetime.fromisoformat(recipient["lastUpdate"]),
    )


def _by_model(rows: Sequence[Row]) -> None:
    ShipmentStatus.objects.bulk_create(
        [
            ShipmentStatus(shipment_id=shipment, status=status, last_update=at)
            for shipment, status, at in rows
        ],
        update_conflicts=True,
        unique_fields=["shipment_id"],
        update_fields=["status", "last_update"],
    )


_UPSERT: Final = (
    f"INSERT INTO {ShipmentStatus._meta.db_table} (shipment_id, status, last_update)"
    " VALUES (%s, %s, %s) ON CONFLICT (shipment_id) DO UPDATE"
    " SET status = excluded.status, last_update = excluded.last_update"
)


def _by_statement(rows: Sequence[Row]) -> None:
    moment = connection.ops.adapt_datetimefield_value
    with connection.cursor() as cursor:
        cursor.executemany(
            _UPSERT, [(shipment, status, moment(at)) for shipment, status, at in rows]
        )


WAYS: Final[Mapping[str, Callable[[Sequence[Row]], None]]] = {
    "bulk_create": _by_model,
    "executemany": _by_statement,
}
