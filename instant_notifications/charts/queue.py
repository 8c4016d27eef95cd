"""How far the working off of regular orders is behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import models
from django.db.models import Q, QuerySet

from instant_notifications.charts.waiting import Count, bounded
from instant_notifications.models import Delivery, Plan, StatusEvent, primary
from instant_notifications.statuses import Outcome

MOST: Final = 100_000
MOST_LINES: Final = 20_000
A_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Queue:
    due: Count
    """Plans and messages whose time has come."""
    later: Count
    """Those that wait for theirs."""
    oldest: timedelta | None
    """How long the first of those that are due has been so."""
    first: UUID | None
    """The shipment that is."""
    stuck: Count
    """Claims that lapsed more than a minute ago, so that nobody has made a round since."""
    taken_a_minute: Count
    """Messages that gateways took in the last minute, instant ones included."""


def queue(now: datetime) -> Queue:
    due = [rows.filter(due_at__lte=now) for rows in _rows()]
    firsts = [rows.order_by("due_at").values_list("due_at", "shipment").first() for rows in due]
    due_at, first = min((each for each in firsts if each), default=(None, None))
    return Queue(
        due=_sum(due),
        later=_sum([rows.filter(due_at__gt=now) for rows in _rows()]),
        oldest=now - due_at if due_at else None,
        first=first,
        stuck=_sum([rows.filter(claimed_until__lt=now - A_MINUTE) for rows in _rows()]),
        taken_a_minute=_taken_since(now - A_MINUTE),
    )


def _rows() -> Sequence[QuerySet[Any]]:
    waiting = {"due_at__isnull": False}
    return (
        Plan.objects.using(primary()).filter(**waiting),
        Delivery.objects.using(primary()).filter(**waiting),
    )


def _sum(groups: Sequence[QuerySet[Any]]) -> Count:
    counts = [bounded(rows.order_by(), MOST) for rows in groups]
    return Count(
        sum(count.number for count in counts), and_more=any(count.and_more for count in counts)
    )


def _taken_since(moment: datetime) -> Count:
    """Times have no index, so the newest lines are read, by key."""
    since = Q(at__gte=moment)
    newest = StatusEvent.objects.using(primary()).order_by("-pk")[:MOST_LINES]
    found = newest.aggregate(
        lines=models.Count("pk", filter=since),
        taken=models.Count("pk", filter=since & Q(outcome=Outcome.TAKEN)),
    )
    return Count(found["taken"], and_more=found["lines"] == MOST_LINES)
