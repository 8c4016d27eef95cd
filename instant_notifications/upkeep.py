"""What time makes necessary: write expiry down, and forget what is no longer needed.

Each chore works in batches, each batch in a short transaction or, where statuses are written, each
row in its own. Any number of processes may be at the same chore: rows that another one has in hand
are left to it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic, sleep
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.models import Count, Exists, Max, Model, OuterRef, Q, QuerySet
from django.utils import timezone

from instant_notifications import privacy, receipts, record
from instant_notifications.charts import rollup
from instant_notifications.conf import settings
from instant_notifications.guard import holds
from instant_notifications.models import (
    Allowance,
    Delivery,
    FeedEntry,
    Hold,
    IdempotencyRecord,
    ListEntry,
    Notice,
    Order,
    Plan,
    Refusals,
    Shipment,
    StatusEvent,
    UnmatchedReceipt,
    VerifiedShare,
    can_skip_locked,
    primary,
)
from instant_notifications.models.orders import idle, overdue
from instant_notifications.statuses import Handover

logger = logging.getLogger("instant_notifications")

BATCH: Final = 500
SMALL_STEP: Final = 5
LONGEST_REST: Final = 1.0
LONGEST_NAP: Final = 0.2
MOST_LEFT_OUT: Final = 1000
"""Past so many rows that fail, or that others have in hand, a chore ends its round."""


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
    lapsed = Delivery.objects.as_recorded().filter(lease_until__lte=now)
    return lapsed.order_by("lease_until", "pk")


def _overdue(now: datetime) -> QuerySet[Delivery]:
    return Delivery.objects.as_recorded().filter(overdue(now)).order_by("expires_at", "pk")


def _late_matches(now: datetime) -> QuerySet[UnmatchedReceipt]:  # noqa: ARG001
    """Kept receipts whose hand-over was recorded since, by a worker that died just after."""
    theirs = Delivery.objects.filter(
        gateway=OuterRef("gateway"), gateway_reference=OuterRef("gateway_reference")
    )
    kept = UnmatchedReceipt.objects.using(primary()).exclude(gateway_reference="")
    return kept.filter(Exists(theirs)).order_by("pk")


def _record_each(write: Callable[[Any], Any]) -> Callable[[QuerySet[Any]], Iterator[Tally]]:
    """One row after the other; one that fails is told and does not stop the rest.

    Each row is looked at once in a round, so that none can keep it busy.
    """

    def work_off(due: QuerySet[Any]) -> Iterator[Tally]:
        left_out: set[Any] = set()
        last: set[Any] = set()
        while batch := [row for row in due.exclude(pk__in=left_out)[:BATCH] if row.pk not in last]:
            last = {row.pk for row in batch}
            for begin in range(0, len(batch), step := _step()):
                results, away = _attempt_each(write, due, batch[begin : begin + step])
                left_out |= {key for key, result in results.items() if not result}
                failed = sum(result is False for result in results.values())
                yield Tally(done=sum(map(bool, results.values())), failed=failed)
                if away:
                    raise away
            if len(left_out) > MOST_LEFT_OUT:
                return

    return work_off


def _step() -> int:
    """Rows written between two rests: few where one writer locks out all others, as on SQLite."""
    return BATCH if connections[primary()].features.has_select_for_update else SMALL_STEP


Results = Mapping[Any, bool | None]
"""By primary key: done, failed, or nothing to do after all."""


def _attempt_each(
    write: Callable[[Any], Any], due: QuerySet[Any], batch: Sequence[Any]
) -> tuple[Results, Exception | None]:
    """What came of each row; and the error, if the database went away before the end."""
    results: dict[Any, bool | None] = {}
    for row in batch:
        key = row.pk
        try:
            results[key] = _write_if_still_due(write, due, row)
        except (InterfaceError, OperationalError) as error:
            return results, error
        except Exception as error:  # noqa: BLE001 (closed by default, row by row)
            logger.error("upkeep failed row=%s error=%s", key, privacy.place_of(error))  # noqa: TRY400
            results[key] = False
    return results, None


def _write_if_still_due(write: Callable[[Any], Any], due: QuerySet[Any], row: Any) -> bool | None:
    """Nothing to do for a row that another process has in hand, has dealt with, or has deleted."""
    with transaction.atomic(using=primary()):
        return True if _lock(due.filter(pk=row.pk)) and write(row) else None


def _no_longer_sent(now: datetime) -> Q:
    """Deliveries that no hand-over will ever need again."""
    settled = Q(handover__in=[Handover.TAKEN, Handover.REFUSED])
    too_late = Q(expires_at__lt=now) & idle(now)
    return settled | Q(completed_at__isnull=False) | too_late


def _secret_contents(now: datetime) -> QuerySet[Delivery]:
    """Left over where nobody has written down that their messages have expired."""
    return _erasable(now, content__isnull=False, secret=True)


def _old_contents(now: datetime) -> QuerySet[Delivery]:
    return _erasable(now, content__isnull=False, created_at__lt=now - settings.KEEP_CONTENT)


def _contents_to_erase(now: datetime) -> QuerySet[Delivery]:
    return _secret_contents(now) | _old_contents(now)


def _old_destinations(now: datetime) -> QuerySet[Delivery]:
    old = now - settings.KEEP_DESTINATIONS
    return _erasable(now, destination__isnull=False, created_at__lt=old)


def _erasable(now: datetime, **conditions: Any) -> QuerySet[Delivery]:
    deliveries = Delivery.objects.using(primary())
    return deliveries.filter(_no_longer_sent(now), **conditions).order_by("created_at")


def erase(by: str = "created_at", **blanks: Any) -> Callable[[QuerySet[Any]], Iterator[Tally]]:
    """``by`` is what the rows are ordered by, and has an index."""

    def work_off(due: QuerySet[Any]) -> Iterator[Tally]:
        ahead = due
        while True:
            with transaction.atomic(using=primary()):
                keys = _lock(ahead)
                erased = _rows(due).filter(pk__in=keys)
                erased.update(**blanks)
                last = erased.aggregate(last=Max(by))["last"]
            yield Tally(len(keys))
            if len(keys) < BATCH:
                return
            # Past what the index still holds of the erased, until a vacuum takes it away.
            ahead = due.filter(**{f"{by}__gte": last})

    return work_off


def _texts_to_erase(now: datetime) -> QuerySet[Notice]:  # noqa: ARG001
    """Of notices that need no planning any more: each delivery has a text of its own."""
    waiting = Plan.objects.filter(notice=OuterRef("pk"), ended="")
    notices = Notice.objects.using(primary()).filter(content__isnull=False)
    return notices.exclude(Exists(waiting)).order_by("created_at")


def _old_plans(now: datetime) -> QuerySet[Plan]:
    plans = Plan.objects.using(primary()).exclude(recipient_digest="")
    return plans.filter(ended_at__lt=now - settings.KEEP_DESTINATIONS).order_by("ended_at")


def _erase_contents(_due: QuerySet[Any]) -> Iterator[Tally]:
    """Two walks, each along an index of its own."""
    walk, now = erase(content=None), timezone.now()
    for due in (_old_contents(now), _secret_contents(now)):
        yield from walk(due)


Old = Callable[[datetime], QuerySet[Any]]
"""The rows of a table that have reached their age, whether or not each of them may go."""


def _old_feed_entries(now: datetime) -> QuerySet[FeedEntry]:
    return FeedEntry.objects.using(primary()).filter(at__lt=now - settings.KEEP_FEED)


def _old_receipts(now: datetime) -> QuerySet[UnmatchedReceipt]:
    kept = UnmatchedReceipt.objects.using(primary())
    return kept.filter(received_at__lt=now - settings.KEEP_UNMATCHED)


def _old_events(now: datetime) -> QuerySet[StatusEvent]:
    return StatusEvent.objects.using(primary()).filter(at__lt=now - settings.KEEP_HISTORY)


def _events_that_may_go(now: datetime) -> QuerySet[StatusEvent]:
    """Not those of a message that is still to come to its end: its parts are counted by them."""
    theirs = Delivery.objects.filter(pk=OuterRef("delivery"))
    return _old_events(now).exclude(Exists(theirs.filter(completed_at=None)))


def _old_ids(now: datetime) -> QuerySet[IdempotencyRecord]:
    ids = IdempotencyRecord.objects.using(primary())
    return ids.filter(created_at__lt=now - settings.KEEP_IDEMPOTENCY)


def _ids_that_may_go(now: datetime) -> QuerySet[IdempotencyRecord]:
    """Not those of a message that may still be sent."""
    theirs = Delivery.objects.filter(shipment__order=OuterRef("order"))
    waiting = Plan.objects.filter(shipment__order=OuterRef("order"), ended="")
    return _old_ids(now).exclude(Exists(theirs.exclude(_no_longer_sent(now))) | Exists(waiting))


def _old_orders(now: datetime) -> QuerySet[Order]:
    orders = Order.objects.using(primary())
    if settings.KEEP_ORDERS is None:
        return orders.none()
    return orders.filter(created_at__lt=now - settings.KEEP_ORDERS)


def _orders_that_may_go(now: datetime) -> QuerySet[Order]:
    """Those that have come to their end, and that nothing refers to any more."""
    theirs = Delivery.objects.filter(shipment__order=OuterRef("pk"))
    return _old_orders(now).exclude(
        Exists(IdempotencyRecord.objects.filter(order=OuterRef("pk")))
        | Exists(FeedEntry.objects.filter(shipment__order=OuterRef("pk")))
        | Exists(theirs.filter(completed_at=None))
        | Exists(Plan.objects.filter(shipment__order=OuterRef("pk"), ended=""))
    )


def _whole(batch: Sequence[Any]) -> Iterator[Sequence[Any]]:
    yield batch


def _by_recipients(orders: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Few at a time where they have many: with each order, all that belongs to it is deleted."""
    shipments = Shipment.objects.using(primary()).filter(order__in=orders).order_by()
    sizes = dict(shipments.values_list("order").annotate(Count("pk")))
    portion: list[Any] = []
    for order in orders:
        if portion and sum(sizes.get(each, 0) for each in (*portion, order)) > BATCH:
            yield portion
            portion = []
        portion.append(order)
    yield portion


def delete_oldest(
    old: Old,
    lock: Callable[[QuerySet[Any]], Sequence[Any]] | None = None,
    portions: Callable[[Sequence[Any]], Iterator[Sequence[Any]]] = _whole,
) -> Callable[[QuerySet[Any]], Iterator[Tally]]:
    """Walk the table by primary key, which follows age, as far as it is old.

    Ages have no index of their own: the walk ends at the first batch in which nothing is old. What
    is old and must stay is stepped over. A portion of a batch is deleted in one transaction.
    """

    def work_off(due: QuerySet[Any]) -> Iterator[Tally]:
        rows = _rows(due)
        batch = _keys_after(rows, None)
        while batch and old(timezone.now()).filter(pk__in=batch).exists():
            for portion in portions(batch):
                with transaction.atomic(using=primary()):
                    keys = (lock or _lock)(due.filter(pk__in=portion))
                    rows.filter(pk__in=keys).delete()
                yield Tally(len(keys))
            batch = _keys_after(rows, batch[-1])

    return work_off


def _delete_all(due: QuerySet[Any]) -> Iterator[Tally]:
    """Of a small table, or along an index of its own; whatever its primary key says."""
    while True:
        with transaction.atomic(using=primary()):
            keys = _lock(due)
            _rows(due).filter(pk__in=keys).delete()
        yield Tally(len(keys))
        if len(keys) < BATCH:
            return


def _whole_allowances(now: datetime) -> QuerySet[Allowance]:
    """Those of which nothing is used up any more: without a row they are the same."""
    return Allowance.objects.using(primary()).filter(full_at__lt=now.timestamp())


def _old_shares(now: datetime) -> QuerySet[VerifiedShare]:
    return VerifiedShare.objects.using(primary()).filter(began_at__lt=now - holds.WINDOW)


def _old_refusals(now: datetime) -> QuerySet[Refusals]:
    return Refusals.objects.using(primary()).filter(began_at__lt=now - settings.KEEP_HISTORY)


def _old_holds(now: datetime) -> QuerySet[Hold]:
    kept = max(settings.KEEP_HISTORY, holds.AT_PEACE)
    return Hold.objects.using(primary()).filter(released_at__lt=now - kept)


def _ended_entries(now: datetime) -> QuerySet[ListEntry]:
    return ListEntry.objects.using(primary()).filter(until__lt=now - settings.KEEP_HISTORY)


def _delete_prefixes(due: QuerySet[FeedEntry]) -> Iterator[Tally]:
    """As ``delete_oldest``, but in each feed up to its first entry that stays: it gets no holes.

    Ages follow the numbers of a feed only nearly: they are taken before the counter is locked.
    """
    rows = _rows(due)
    stays: set[str] = set()
    batch = _keys_after(rows, None)
    while batch and due.filter(pk__in=batch).exists():
        with transaction.atomic(using=primary()):
            locked, keys = set(_lock(due.filter(pk__in=batch))), []
            entries = rows.filter(pk__in=batch).order_by("pk")
            for key, creator in entries.values_list("pk", "creator"):
                if key in locked and creator not in stays:
                    keys.append(key)
                else:
                    stays.add(creator)
            rows.filter(pk__in=keys).delete()
        yield Tally(len(keys))
        batch = _keys_after(rows, batch[-1])


def _keys_after(rows: QuerySet[Any], key: Any) -> Sequence[Any]:
    ahead = rows if key is None else rows.filter(pk__gt=key)
    return list(ahead.order_by("pk").values_list("pk", flat=True)[:BATCH])


def _rows(due: QuerySet[Any]) -> QuerySet[Any]:
    model: type[Model] = due.model
    return model._default_manager.using(primary())


def _lock(due: QuerySet[Any]) -> Sequence[Any]:
    """The keys of a batch that nobody else has in hand, locked to the end of the transaction."""
    locked = due.select_for_update(skip_locked=can_skip_locked())
    return list(locked.values_list("pk", flat=True)[:BATCH])


class Stop:
    """Set from anywhere, a signal handler included, where a ``threading.Event`` might deadlock."""

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        self._asked = True

    def is_set(self) -> bool:
        return self._asked

    def wait(self, seconds: float) -> bool:
        """Rest so long, or until it is set; returns whether it is."""
        end = monotonic() + seconds
        while not self._asked and (left := end - monotonic()) > 0:
            sleep(min(left, LONGEST_NAP))
        return self._asked


def run(chores: Sequence[Chore], stop: Stop) -> Iterator[tuple[Chore, Tally]]:
    """Work the chores off, one batch for each step, until all is done or ``stop`` is set.

    After each batch it rests as long as the batch took, so that those who send find the database
    free at least half of the time. What goes wrong with a chore as a whole counts as one failure.
    """
    now = timezone.now()
    for chore in chores:
        steps = _guarded(chore, _worked_off(chore, now))
        began = monotonic()
        while not stop.is_set() and (tally := next(steps, None)):
            yield chore, tally
            stop.wait(min(monotonic() - began, LONGEST_REST))
            began = monotonic()


def count(chores: Sequence[Chore]) -> Iterator[tuple[Chore, Tally]]:
    """What there is to do at this moment. What one chore makes due for another is not foreseen."""
    now = timezone.now()
    for chore in chores:
        yield from ((chore, tally) for tally in _guarded(chore, _counted(chore, now)))


def _worked_off(chore: Chore, now: datetime) -> Iterator[Tally]:
    yield from chore.work_off(chore.due(now))


def _counted(chore: Chore, now: datetime) -> Iterator[Tally]:
    yield Tally(chore.due(now).count())


def _guarded(chore: Chore, steps: Iterator[Tally]) -> Iterator[Tally]:
    """Ends a chore that the database does not let go on, with one failure."""
    try:
        yield from steps
    except (DatabaseError, InterfaceError) as error:
        logger.error("upkeep chore failed chore=%s error=%s", chore.name, privacy.place_of(error))  # noqa: TRY400
        connections[primary()].close()
        yield Tally(0, failed=1)


def _lock_whole_orders(due: QuerySet[Order]) -> Sequence[Any]:
    """Orders, each with its deliveries: one that a receipt has, or had, in hand is left for later.

    Once they are locked it is asked again whether they may go: an entry may just have been made.
    """
    orders = _lock(due)
    shipments = Shipment.objects.using(primary()).filter(order__in=orders)
    order_of = dict(shipments.values_list("pk", "order"))
    theirs = Delivery.objects.using(primary()).filter(shipment__in=list(order_of))
    locked = theirs.select_for_update(skip_locked=can_skip_locked()).values_list("pk", flat=True)
    in_hand = theirs.exclude(pk__in=list(locked)).values_list("shipment", flat=True)
    left = {order_of[shipment] for shipment in in_hand}
    whole = due.filter(pk__in=[order for order in orders if order not in left])
    return list(whole.values_list("pk", flat=True))


def _sum_up(_due: QuerySet[Any]) -> Iterator[Tally]:
    return map(Tally, rollup.sum_up())


EXPIRY: Final = (
    Chore("late receipts matched", _late_matches, _record_each(receipts.match_kept)),
    Chore("dead hand-overs settled", _lapsed, _record_each(record.settle_lapsed)),
    Chore("deliveries expired", _overdue, _record_each(record.record_expiry)),
)
"""In this order: a receipt that is here already speaks before our clock does."""

FIGURES: Final = (Chore("history lines summed up", rollup.uncounted, _sum_up),)

RETENTION: Final = (
    Chore("contents erased", _contents_to_erase, _erase_contents),
    Chore("planned texts erased", _texts_to_erase, erase(content=None, condition=None)),
    Chore("recipients forgotten", _old_plans, erase("ended_at", recipient_digest="")),
    Chore("destinations erased", _old_destinations, erase(destination=None, destination_digest="")),
    Chore("feed entries deleted", _old_feed_entries, _delete_prefixes),
    Chore("idempotency ids deleted", _ids_that_may_go, delete_oldest(_old_ids)),
    Chore("history lines deleted", _events_that_may_go, delete_oldest(_old_events)),
    Chore("unmatched receipts deleted", _old_receipts, delete_oldest(_old_receipts)),
    Chore(
        "orders deleted",
        _orders_that_may_go,
        delete_oldest(_old_orders, _lock_whole_orders, _by_recipients),
    ),
)

GUARD: Final = tuple(
    Chore("rows of the guard deleted", due, _delete_all)
    for due in (_whole_allowances, _old_shares, _old_refusals, _old_holds, _ended_entries)
)
"""Counted as one: to those who read the line they are."""
