"""An upstream's feed, stored by hand: fetch a page, upsert its statuses, move the cursor.

One transaction for each page, and nothing else: no message is looked for, none is changed, nobody
hears of anything, no failure is told apart.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from benchmarks.floor.models import Cursor, ShipmentStatus
from benchmarks.messages import PAGE, UPSTREAM
from instant_notifications import http

TIMEOUT: Final = 20.0


def store_page() -> int:
    """Store what comes next; how many entries that were."""
    cursor, _ = Cursor.objects.get_or_create(upstream=UPSTREAM)
    entries = _fetch(cursor.number)
    with transaction.atomic():
        ShipmentStatus.objects.bulk_create(
            [_row(entry) for entry in entries],
            update_conflicts=True,
            unique_fields=["shipment_id"],
            update_fields=["status", "last_update"],
        )
        Cursor.objects.filter(pk=UPSTREAM).update(number=entries[-1]["sequenceNumber"])
    return len(entries)


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


def _row(entry: Mapping[str, Any]) -> ShipmentStatus:
    (recipient,) = entry["recipients"]
    return ShipmentStatus(
        shipment_id=entry["shipmentId"],
        status=recipient["status"],
        last_update=datetime.fromisoformat(recipient["lastUpdate"]),
    )
