"""Which rows wait for a worker, and which a queue has been told of.

A claim is no more than a note that a queue knows of the row, good for ``CLAIM_LEASE``: a queue that
forgets it is told again, and one that is told twice does nothing the second time.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from instant_notifications.conf import settings
from instant_notifications.models import Delivery, Plan, can_skip_locked, primary
from instant_notifications.models.planning import due

Queued = type[Plan] | type[Delivery]

MOST_IN_QUEUE: Final = 2000
"""Rows of a kind that a queue is told of at one time, so that a slow one does not grow for ever."""
PATIENCE: Final = 60.0
"""Seconds after which a task begins nothing more: engines kill those that last too long."""


class Patience:
    """From now on."""

    def __init__(self) -> None:
        self._end = monotonic() + PATIENCE

    @property
    def is_over(self) -> bool:
        return monotonic() > self._end


def claim(model: Queued, most: int) -> Sequence[UUID]:
    """Claim the oldest that are due; those that another process is claiming are left to it."""
    now = timezone.now()
    waiting = model._default_manager.using(primary()).filter(due(now)).order_by("due_at")
    with transaction.atomic(using=primary()):
        oldest = waiting.select_for_update(skip_locked=can_skip_locked()).values_list(
            "pk", flat=True
        )
        keys = list(oldest[:most])
        _rows(model, keys).update(claimed_until=now + lease())
    return keys


def release(model: Queued, keys: Collection[UUID]) -> None:
    """No queue knows of them after all."""
    _rows(model, keys).update(claimed_until=None)


def room(model: Queued) -> int:
    """How many more a queue may be told of now."""
    now = timezone.now()
    claimed = model._default_manager.using(primary()).filter(due_at__lte=now, claimed_until__gt=now)
    return MOST_IN_QUEUE - claimed[:MOST_IN_QUEUE].count()


def lease() -> timedelta:
    return timedelta(seconds=settings.CLAIM_LEASE)


def _rows(model: Queued, keys: Collection[UUID]) -> QuerySet[Any]:
    return model._default_manager.using(primary()).filter(pk__in=keys, due_at__isnull=False)
