"""What time makes necessary: write expiry down, and forget what is no longer needed.

Each chore works in batches, each batch in a short transaction or, where statuses are written, each
row in its own. Any number of processes may be at the same chore: rows that another one has in hand
are left to it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from time import monotonic
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.models import Exists, Model, OuterRef, Q, QuerySet
from django.utils import timezone

from instant_notifications import privacy, record
from instant_notifications.conf import settings
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Order,
    StatusEvent,
    UnmatchedReceipt,
    primary,
)
from instant_notifications.statuses import Handover

logger = logging.getLogger("instant_notifications")

BATCH: Final = 500
LONGEST_REST: Final = 1.0
MOST_FAILURES: Final = 100
"""A chore that fails for more rows than this ends its round: something is wrong with the whole."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of one batch."""

    done: int
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Chore:
    name: str
    """What it counts, for people: "contents erased"."""
    due: Callable[[datetime], QuerySet[Any]]
    """Everything that needs it at that time, oldest first."""
    work_off: Callable[[QuerySet[Any]], Iterator[Tally]]
    """Do it, batch by batch."""


def _lapsed(now: datetime) -> QuerySet[Delivery]:
    lapsed = _deliveries().filter(lease_until__lt=now)
    return lapsed.select_related("shipment").order_by("lease_until", "pk")


def _overdue(now: datetime) -> QuerySet[Delivery]:
    grace = timedelta(seconds=settings.EXPIRY_GRACE)
    incomplete = _deliveries().filter(completed_at=None, expires_at__lt=now - grace)
    return (
        incomplete.filter(_nobody_at_it(now))
        .select_related("shipment")
        .order_by("expires_at", "pk")
    )


def _deliveries() -> QuerySet[Delivery]:
    return Delivery.objects.using(primary()).without_secrets()


def _late_matches(now: datetime) -> QuerySet[UnmatchedReceipt]:  # noqa: ARG001
    """Kept receipts whose hand-over was recorded since, by a worker that died just after."""
    theirs = Delivery.objects.filter(
        gateway=OuterRef("gateway"), gateway_reference=OuterRef("gateway_reference")
    )
    kept = UnmatchedReceipt.objects.using(primary()).exclude(gateway_reference="")
    return kept.filter(Exists(theirs)).order_by("pk")


def _record_each(write: Callable[[Any], Any]) -> Callable[[QuerySet[Any]], Iterator[Tally]]:
    """One row after the other; one that fails is told, left out, and does not stop the rest."""

    def work_off(due: QuerySet[Any]) -> Iterator[Tally]:
        left_out: set[Any] = set()
        while batch := list(due.exclude(pk__in=left_out)[:BATCH]):
            failed = {row.pk for row in batch if not _attempt(write, row)}
            yield Tally(done=len(batch) - len(failed), failed=len(failed))
            left_out |= failed
            if len(left_out) > MOST_FAILURES:
                return

    return work_off


def _attempt(write: Callable[[Any], Any], row: Any) -> bool:
    key = row.pk
    try:
        write(row)
    except (InterfaceError, OperationalError):
        raise  # about the database, not about this row
    except Exception as error:  # noqa: BLE001 (closed by default, row by row)
        logger.error("upkeep failed row=%s %s", key, privacy.place_of(error))  # noqa: TRY400
        return False
    return True


def _no_longer_sent(now: datetime) -> Q:
    """Deliveries that no hand-over will ever need again."""
    settled = Q(handover__in=[Handover.TAKEN, Handover.REFUSED])
    too_late = Q(expires_at__lt=now) & _nobody_at_it(now)
    return settled | Q(completed_at__isnull=False) | too_late


def _nobody_at_it(now: datetime) -> Q:
    return Q(lease_until__isnull=True) | Q(lease_until__lt=now)


def _old_contents(now: datetime) -> QuerySet[Delivery]:
    old = Delivery.objects.using(primary()).filter(
        content__isnull=False, created_at__lt=now - settings.KEEP_CONTENT
    )
    return old.filter(_no_longer_sent(now)).order_by("created_at")


def _old_destinations(now: datetime) -> QuerySet[Delivery]:
    old = Delivery.objects.using(primary()).filter(
        destination__isnull=False, created_at__lt=now - settings.KEEP_DESTINATIONS
    )
    return old.filter(_no_longer_sent(now)).order_by("created_at")


def _erase(**blanks: Any) -> Callable[[QuerySet[Any]], Iterator[Tally]]:
    def work_off(due: QuerySet[Any]) -> Iterator[Tally]:
        done = BATCH
        while done == BATCH:
            with transaction.atomic(using=primary()):
                keys = _lock(due)
                _rows(due).filter(pk__in=keys).update(**blanks)
            done = len(keys)
            yield Tally(done)

    return work_off


def _old_feed_entries(now: datetime) -> QuerySet[FeedEntry]:
    return FeedEntry.objects.using(primary()).filter(at__lt=now - settings.KEEP_FEED)


def _old_events(now: datetime) -> QuerySet[StatusEvent]:
    return StatusEvent.objects.using(primary()).filter(at__lt=now - settings.KEEP_HISTORY)


def _old_receipts(now: datetime) -> QuerySet[UnmatchedReceipt]:
    return UnmatchedReceipt.objects.using(primary()).filter(
        received_at__lt=now - settings.KEEP_UNMATCHED
    )


def _old_ids(now: datetime) -> QuerySet[IdempotencyRecord]:
    old = IdempotencyRecord.objects.using(primary()).filter(
        created_at__lt=now - settings.KEEP_IDEMPOTENCY
    )
    theirs = Delivery.objects.filter(shipment__order=OuterRef("order"))
    return old.exclude(Exists(theirs.exclude(_no_longer_sent(now))))


def _old_orders(now: datetime) -> QuerySet[Order]:
    orders = Order.objects.using(primary())
    if settings.KEEP_ORDERS is None:
        return orders.none()
    old = orders.filter(created_at__lt=now - settings.KEEP_ORDERS)
    theirs = Delivery.objects.filter(shipment__order=OuterRef("pk"))
    return old.exclude(
        Exists(IdempotencyRecord.objects.filter(order=OuterRef("pk")))
        | Exists(FeedEntry.objects.filter(shipment__order=OuterRef("pk")))
        | Exists(theirs.exclude(_no_longer_sent(now)))
    )


def _delete_oldest(due: QuerySet[Any]) -> Iterator[Tally]:
    """Walk the table by primary key, which follows age, as far as it is due.

    Ages have no index of their own: the walk ends at the first batch that holds nothing old. What
    is old and must stay (an id still in flight) is stepped over.
    """
    rows, after = _rows(due).order_by("pk"), None
    while True:
        ahead = rows if after is None else rows.filter(pk__gt=after)
        batch = list(ahead.values_list("pk", flat=True)[:BATCH])
        if not batch:
            return
        after, due_here = batch[-1], due.filter(pk__in=batch)
        with transaction.atomic(using=primary()):
            keys = _lock(due_here)
            rows.filter(pk__in=keys).delete()
        if not keys and not due_here.exists():
            return
        yield Tally(len(keys))


def _rows(due: QuerySet[Any]) -> QuerySet[Any]:
    model: type[Model] = due.model
    return model._default_manager.using(primary())


def _lock(due: QuerySet[Any]) -> Sequence[Any]:
    """The keys of a batch that nobody else has in hand, locked to the end of the transaction."""
    return list(due.select_for_update(skip_locked=True).values_list("pk", flat=True)[:BATCH])


def run(chores: Sequence[Chore], stop: Event) -> Iterator[tuple[Chore, Tally]]:
    """Work the chores off, one batch for each step, until all is done or ``stop`` is set.

    After each batch it rests as long as the batch took, so that those who send find the database
    free at least half of the time. What goes wrong with a chore as a whole counts as one failure.
    """
    now = timezone.now()
    for chore in chores:
        steps = chore.work_off(chore.due(now))
        while not stop.is_set():
            began = monotonic()
            try:
                tally = next(steps, None)
            except (DatabaseError, InterfaceError) as error:
                logger.error("upkeep failed: %s: %s", chore.name, privacy.place_of(error))  # noqa: TRY400
                connections[primary()].close()
                yield chore, Tally(0, failed=1)
                break
            if tally is None:
                break
            yield chore, tally
            stop.wait(min(monotonic() - began, LONGEST_REST))


EXPIRY: Final = (
    Chore("late receipts matched", _late_matches, _record_each(record.match_kept)),
    Chore("dead hand-overs settled", _lapsed, _record_each(record.settle_lapsed)),
    Chore("deliveries expired", _overdue, _record_each(record.record_expiry)),
)
"""In this order: a receipt that is here already speaks before our clock does."""

RETENTION: Final = (
    Chore("contents erased", _old_contents, _erase(content=None)),
    Chore(
        "destinations erased", _old_destinations, _erase(destination=None, destination_digest="")
    ),
    Chore("feed entries deleted", _old_feed_entries, _delete_oldest),
    Chore("idempotency ids deleted", _old_ids, _delete_oldest),
    Chore("history lines deleted", _old_events, _delete_oldest),
    Chore("unmatched receipts deleted", _old_receipts, _delete_oldest),
    Chore("orders deleted", _old_orders, _delete_oldest),
)
