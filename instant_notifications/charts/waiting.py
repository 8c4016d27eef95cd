"""What has come to a stop and waits for somebody."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import QuerySet

from instant_notifications.conf import settings
from instant_notifications.models import Delivery, UnmatchedReceipt, primary
from instant_notifications.models.orders import overdue
from instant_notifications.statuses import Handover

MOST: Final = 1000
"""Nobody counts further, so that the count stays fast on a big table."""


@dataclass(frozen=True, slots=True)
class Count:
    number: int
    and_more: bool = False


def counts(now: datetime) -> Mapping[str, Count]:
    return {name: bounded(rows(now), MOST) for name, rows in _WAITING.items()}


def bounded(rows: QuerySet[Any], most: int) -> Count:
    number = rows[: most + 1].count()
    return Count(min(number, most), and_more=number > most)


def _lapsed(now: datetime) -> QuerySet[Delivery]:
    return _deliveries().filter(lease_until__lte=now)


def _overdue(now: datetime) -> QuerySet[Delivery]:
    return _deliveries().filter(overdue(now))


def _in_doubt(now: datetime) -> QuerySet[Delivery]:
    """Those that are overdue as well are counted as such, and so the index bounds the search."""
    unknown = _deliveries().filter(handover=Handover.UNKNOWN)
    grace = timedelta(seconds=settings.EXPIRY_GRACE)
    return unknown.filter(completed_at=None, expires_at__gte=now - grace)


def _unmatched(now: datetime) -> QuerySet[UnmatchedReceipt]:  # noqa: ARG001
    return UnmatchedReceipt.objects.using(primary())


def _deliveries() -> QuerySet[Delivery]:
    return Delivery.objects.using(primary())


_WAITING: Final[Mapping[str, Callable[[datetime], QuerySet[Any]]]] = {
    "lapsed": _lapsed,
    "overdue": _overdue,
    "in_doubt": _in_doubt,
    "unmatched": _unmatched,
}
