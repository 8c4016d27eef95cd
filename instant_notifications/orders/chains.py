"""How a regular order stands, and how it is called off."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from instant_notifications import feed, record
from instant_notifications.exceptions import NotFound, TooLate
from instant_notifications.feed import Report
from instant_notifications.history import storable
from instant_notifications.models import Delivery, Intervention, Order, Plan, Shipment, primary
from instant_notifications.models.orders import NAME_LENGTH
from instant_notifications.statuses import Cause, Ended, Handover, ShipmentType

MOST_READ: Final = 500
BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Planned:
    """One shipment of a regular order, and when it was asked to be sent."""

    requested_at: datetime
    report: Report


@dataclass(frozen=True, slots=True)
class Chain:
    """How a regular order stands: its message and the reminders of it."""

    order: Order
    notifications: Sequence[Planned]
    """One for each recipient, the first ``MOST_READ`` of them."""
    reminders: Sequence[Planned]
    """Likewise, the reminders of one notice after those of another."""


def read_order(creator: str, order_id: UUID, *, using: str | None = None) -> Chain | None:
    """``None`` for an instant order, an unknown one, or somebody else's."""
    orders = Order.objects.using(using).filter(pk=order_id, creator=creator, notices__place=0)
    order = orders.first()
    notifications = _planned(order, ShipmentType.NOTIFICATION) if order else ()
    if not order or not notifications:  # or it was purged between two looks at it
        return None
    reminders = _planned(order, ShipmentType.REMINDER)
    return Chain(order=order, notifications=notifications, reminders=reminders)


def _planned(order: Order, kind: ShipmentType) -> Sequence[Planned]:
    now = timezone.now()
    rows = Shipment.objects.using(order._state.db).filter(order=order, type=kind)
    shipments = feed.with_all_of_it(rows)
    return [
        Planned(each.plan.notice.requested_at, feed.report_on(each, now))
        for each in shipments.order_by("plan__notice__place", "pk")[:MOST_READ]
    ]


def cancel_order(creator: str, order_id: UUID, *, by: str = "", because: str = "") -> Chain:
    """Let what has not been handed over never be sent, reminders included.

    An order that was cancelled before may be cancelled again. ``by`` and ``because`` are for a
    person who does it; without them its caller did. Raises ``NotFound`` or ``TooLate``.
    """
    orders = Order.objects.using(primary()).filter(pk=order_id, creator=creator)
    if not orders.filter(notices__place=0).exists():
        raise NotFound
    if not any([_cancel(batch, by, because) for batch in _batches(order_id)]):  # noqa: C419
        raise TooLate
    _recall(Plan.objects.using(primary()).filter(shipment__order=order_id))
    chain = read_order(creator, order_id, using=primary())
    if chain is None:
        raise NotFound
    return chain


def cancel_shipment(creator: str, shipment_id: UUID, *, by: str = "", because: str = "") -> Report:
    """The same for one shipment of a regular order."""
    if not _plans([shipment_id]).filter(shipment__creator=creator).exists():
        raise NotFound
    if not _cancel([shipment_id], by, because):
        raise TooLate
    _recall(_plans([shipment_id]))
    report = feed.read_manifest(creator, shipment_id, using=primary())
    if report is None:
        raise NotFound
    return report


def _batches(order_id: UUID) -> Iterator[Sequence[UUID]]:
    plans = Plan.objects.using(primary()).filter(shipment__order=order_id).order_by("pk")
    batch = list(plans.values_list("pk", flat=True)[:BATCH])
    while batch:
        yield batch
        batch = list(plans.filter(pk__gt=batch[-1]).values_list("pk", flat=True)[:BATCH])


def _cancel(shipment_ids: Sequence[UUID], by: str, because: str) -> bool:
    """Whether any of them is cancelled now, or was before.

    Plans are locked before deliveries, as by those who make deliveries of them.
    """
    now, cause = timezone.now(), Cause.OPERATOR if by else Cause.CALLER
    with transaction.atomic(using=primary()):
        plans = list(_plans(shipment_ids).select_for_update().order_by("pk").defer("recipient"))
        waiting = [each.pk for each in plans if not each.ended]
        unsent, wholly = _unsent([each.pk for each in plans if each.ended == Ended.PLANNED])
        _plans([*waiting, *wholly]).update(
            ended=Ended.CANCELLED,
            ended_at=now,
            ended_by=by[:NAME_LENGTH],
            ended_because=storable(because),
            due_at=None,
            claimed_until=None,
            recipient=None,
        )
        if by:
            _note(unsent, now, by, because)
        record.record_all([(each.pk, record.cancellation(each, cause)) for each in unsent])
        shipments = Shipment.objects.using(primary()).in_bulk(waiting)
        feed.tell_ended((shipments[key] for key in waiting), Ended.CANCELLED, now)
    before = any(each.ended == Ended.CANCELLED or each.recalled_at for each in plans)
    return bool(waiting or unsent or before)


def _recall(plans: QuerySet[Plan]) -> None:
    """What is being handed over at this moment may yet come back unsent: that is the end of it."""
    underway = plans.filter(ended=Ended.PLANNED, recalled_at=None)
    underway.update(recalled_at=timezone.now())


def _note(unsent: Sequence[Delivery], now: datetime, by: str, because: str) -> None:
    """As when a person cancels one delivery alone."""
    kind, because = Intervention.Kind.CANCEL, storable(because)
    Intervention.objects.using(primary()).bulk_create(
        Intervention(delivery=each, at=now, kind=kind, by=by[:NAME_LENGTH], because=because)
        for each in unsent
    )


def _plans(shipment_ids: Sequence[UUID]) -> QuerySet[Plan]:
    return Plan.objects.using(primary()).filter(pk__in=shipment_ids)


def _unsent(shipment_ids: Sequence[UUID]) -> tuple[Sequence[Delivery], Sequence[UUID]]:
    """Deliveries that were not sent, and the shipments of which nothing was.

    They are locked till the commit.
    """
    rows = Delivery.objects.as_recorded().filter(shipment__in=shipment_ids)
    keys = rows.select_for_update().order_by("pk").values_list("pk", flat=True)
    by_shipment = defaultdict[UUID, list[Delivery]](list)
    for each in rows.filter(pk__in=list(keys)).order_by("pk"):
        by_shipment[each.shipment_id].append(each)
    unsent = [each for theirs in by_shipment.values() for each in theirs if each.unsent]
    with_unsent = {each.shipment_id for each in unsent}
    wholly = [key for key in with_unsent if all(map(_has_not_left, by_shipment[key]))]
    return unsent, wholly


def _has_not_left(delivery: Delivery) -> bool:
    return delivery.handover in (Handover.OPEN, Handover.REFUSED) and not delivery.may_have_left
