"""What was refused, and why: counted, not kept one by one, so that a flood leaves few rows."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, InterfaceError
from django.db.models import F, Sum
from django.utils import timezone

from instant_notifications import privacy, telemetry
from instant_notifications.exceptions import Blocked, TooManyRequests
from instant_notifications.models import Refusals, primary

logger = logging.getLogger("instant_notifications")

PERIOD: Final = timedelta(minutes=5)
COUNTRY_NOT_ALLOWED: Final = "country not allowed"
COSTLY_NUMBER: Final = "costly number"
LISTED: Final = "listed"
HELD: Final = "held"


@contextmanager
def counted() -> Iterator[None]:
    """Counts what the guard refuses within, once its transaction is over."""
    try:
        yield
    except TooManyRequests as refusal:
        count(refusal.limit)
        raise
    except Blocked as refusal:
        count(refusal.reason)
        raise


def count(reason: str) -> None:
    """Whatever goes wrong with it, the refusal itself goes out."""
    telemetry.GUARD_REFUSALS.add(reason=reason)
    try:
        _count(reason)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("refusal not counted error=%s", privacy.place_of(error, frames=1))


def _count(reason: str) -> None:
    rows = Refusals.objects.using(primary())
    place = {"began_at": _period_of(timezone.now()), "reason": reason}
    if not rows.filter(**place).update(number=F("number") + 1):
        rows.bulk_create([Refusals(**place)], ignore_conflicts=True)
        rows.filter(**place).update(number=F("number") + 1)


def _period_of(moment: datetime) -> datetime:
    return moment - (moment - datetime.min.replace(tzinfo=moment.tzinfo)) % PERIOD


def refusals_since(moment: datetime) -> Mapping[str, int]:
    """How many by reason, the most frequent first; of a period that had begun, all."""
    rows = Refusals.objects.using(primary()).filter(began_at__gte=_period_of(moment))
    sums = rows.values("reason").annotate(sum=Sum("number")).order_by("-sum", "reason")
    return {each["reason"]: each["sum"] for each in sums}
