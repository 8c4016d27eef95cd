"""What became of a message: written by one function, read back as manifest and feed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, Prefetch, Subquery
from django.utils import timezone

from instant_notifications.conf import settings
from instant_notifications.gateways import Receipt
from instant_notifications.models import (
    Delivery,
    DeliveryQuerySet,
    FeedEntry,
    Organisation,
    Shipment,
    StatusEvent,
    primary,
)
from instant_notifications.statuses import (
    STAGES,
    WORDS,
    Cause,
    Channel,
    Handover,
    OrderStatus,
    ShipmentType,
    Stage,
    is_final,
    may_follow,
)

logger = logging.getLogger("instant_notifications")

_SETTLED: Final = frozenset({Handover.TAKEN, Handover.REFUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """News of one delivery, from a hand-over, a receipt or the clock."""

    cause: Cause
    status: str | None = None
    """The word to show from now on; ``None`` leaves it."""
    handover: Handover | None = None
    """How the hand-over stands; ``None`` leaves it."""
    attempt: int | None = None
    """Which hand-over speaks; ``None`` for anybody else."""
    last_word: bool = False
    """Nothing more will be heard, whatever the word."""
    gateway: str = ""
    gateway_reference: str = ""
    gateway_word: str = ""


def record_status(delivery_id: UUID, change: Change) -> Delivery:
    """Write one change down: the only place that does.

    In one short transaction it locks the row, takes from the change what may follow what is known,
    appends to the history, and when the order's state moves, moves it and tells the feed. News
    that is old, repeated or outdated changes nothing. Returns the delivery as it now stands.
    """
    with transaction.atomic(using=primary()):
        delivery = _locked(delivery_id)
        if _outdated(delivery, change):
            logger.warning("late outcome ignored delivery=%s", delivery.pk)
        else:
            _apply(delivery, change)
        return delivery


def claim(seen: Delivery, lease: timedelta) -> Delivery | None:
    """Begin a further hand-over of a delivery, unless somebody has moved it since it was seen."""
    with transaction.atomic(using=primary()):
        delivery = _locked(seen.pk)
        if _version(delivery) != _version(seen):
            return None
        delivery.refresh_from_db(fields=["destination", "content"])
        old_status, now = delivery.status, timezone.now()
        delivery.attempts += 1
        delivery.handover = Handover.UNDER_WAY
        delivery.lease_until = now + lease
        delivery.status = WORDS[Channel(delivery.channel)].sending
        delivery.updated_at = now
        delivery.save(update_fields=(*_WRITTEN, "attempts"))
        if delivery.status != old_status:
            again = Change(cause=Cause.HANDOVER, attempt=delivery.attempts)
            _append_to_history(delivery, old_status, again, now)
        return delivery


def _version(delivery: Delivery) -> tuple[object, ...]:
    return delivery.attempts, delivery.handover, delivery.completed_at


def _locked(delivery_id: UUID) -> Delivery:
    return (
        Delivery.objects.using(primary())
        .without_secrets()
        .select_for_update()
        .select_related("shipment")
        .get(pk=delivery_id)
    )


def _outdated(delivery: Delivery, change: Change) -> bool:
    """An earlier hand-over speaks while a later one has begun.

    That it was taken is worth knowing all the same: it must keep others from sending again.
    """
    superseded = change.attempt is not None and change.attempt != delivery.attempts
    return superseded and change.handover is not Handover.TAKEN


_WRITTEN: Final = (
    "status",
    "handover",
    "lease_until",
    "gateway",
    "gateway_reference",
    "completed_at",
    "updated_at",
)


def _apply(delivery: Delivery, change: Change) -> None:
    now = timezone.now()
    old_status = delivery.status
    handover_moved = _move_handover(delivery, change)
    status_moved = _move_status(delivery, change, now)
    if not (handover_moved or status_moved):
        return
    delivery.updated_at = now
    delivery.save(update_fields=_WRITTEN)
    if status_moved:
        _append_to_history(delivery, old_status, change, now)
    _move_shipment(delivery, status_moved=status_moved, now=now)


def _move_handover(delivery: Delivery, change: Change) -> bool:
    before = (delivery.handover, delivery.gateway_reference)
    if change.handover is not None and _may_move_handover(delivery, change):
        delivery.handover = change.handover
        delivery.lease_until = None
    if change.gateway and not delivery.gateway_reference:
        delivery.gateway = change.gateway
        delivery.gateway_reference = change.gateway_reference
    return before != (delivery.handover, delivery.gateway_reference)


def _may_move_handover(delivery: Delivery, change: Change) -> bool:
    if change.cause is Cause.LEASE:
        return delivery.handover == Handover.UNDER_WAY and not delivery.leased
    return delivery.handover not in _SETTLED


def _move_status(delivery: Delivery, change: Change, now: datetime) -> bool:
    if change.status is None or not may_follow(delivery.status, change.status):
        return False
    if delivery.completed_at and not _corrects_expiry(delivery, change):
        return False
    delivery.status = change.status
    if is_final(change.status) or change.last_word:
        delivery.completed_at = now
    return True


def _corrects_expiry(delivery: Delivery, change: Change) -> bool:
    """Expiry is our own assumption; only somebody who knows better may replace it."""
    return STAGES[delivery.status] is Stage.EXPIRED and change.cause is not Cause.EXPIRY


def _append_to_history(delivery: Delivery, old: str, change: Change, now: datetime) -> None:
    StatusEvent.objects.using(primary()).create(
        delivery=delivery,
        at=now,
        from_status=old,
        to_status=delivery.status,
        cause=change.cause,
        attempt=change.attempt,
        gateway=change.gateway,
        gateway_word=change.gateway_word,
    )


def _move_shipment(delivery: Delivery, *, status_moved: bool, now: datetime) -> None:
    shipment = delivery.shipment
    status = _order_status(delivery)
    shipment_moved = shipment.status != status
    if not (status_moved or shipment_moved):
        return
    shipment.status = status
    shipment.updated_at = now
    shipment.save(update_fields=("status", "updated_at"))
    if status == OrderStatus.COMPLETED or settings.FEED == "every":
        _append_to_feed(delivery, now)


def _order_status(delivery: Delivery) -> OrderStatus:
    if delivery.completed_at and not _siblings(delivery).filter(completed_at=None).exists():
        return OrderStatus.COMPLETED
    if delivery.handover in (Handover.TAKEN, Handover.UNKNOWN):
        return OrderStatus.PROCESSED
    return OrderStatus.PROCESSING


def _siblings(delivery: Delivery) -> DeliveryQuerySet:
    """The other deliveries of the shipment; an instant one has none, which costs no query."""
    others = Delivery.objects.using(primary()).without_secrets()
    if delivery.shipment.type == ShipmentType.INSTANT:
        return others.none()
    return others.filter(shipment_id=delivery.shipment_id).exclude(pk=delivery.pk)


def _append_to_feed(delivery: Delivery, now: datetime) -> None:
    """One more numbered entry. The counter's row is locked here, last, until the commit."""
    shipment = delivery.shipment
    counters = Organisation.objects.using(primary()).filter(name=shipment.creator)
    if not counters.update(last_sequence_number=F("last_sequence_number") + 1):
        Organisation.objects.using(primary()).get_or_create(name=shipment.creator)
        counters.update(last_sequence_number=F("last_sequence_number") + 1)
    FeedEntry.objects.using(primary()).create(
        creator=shipment.creator,
        sequence_number=Subquery(counters.values("last_sequence_number")),
        shipment=shipment,
        status=shipment.status,
        at=now,
        recipients=[
            {
                "delivery": str(each.pk),
                "channel": each.channel,
                "status": each.status,
                "at": each.updated_at.isoformat(),
            }
            for each in sorted((delivery, *_siblings(delivery)), key=_place)
        ],
    )


def _place(delivery: Delivery) -> tuple[bool, UUID]:
    """E-mail comes before SMS, each in the order of creation."""
    return delivery.channel != Channel.EMAIL, delivery.pk


@dataclass(frozen=True, slots=True)
class Recipient:
    """How one recipient's delivery stands, or stood when a feed entry was made."""

    channel: Channel
    destination: str
    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """How a shipment stands (the manifest), or stood when a feed entry was made."""

    shipment: Shipment
    status: str
    at: datetime
    recipients: Sequence[Recipient]
    sequence_number: int | None = None


def read_manifest(creator: str, shipment_id: UUID) -> Report | None:
    """The truth about a shipment at this moment; ``None`` if it is not this creator's."""
    shipment = (
        Shipment.objects.filter(pk=shipment_id, creator=creator)
        .prefetch_related(Prefetch("deliveries", Delivery.objects.defer("content")))
        .first()
    )
    if shipment is None:
        return None
    now = timezone.now()
    deliveries = sorted(shipment.deliveries.all(), key=_place)
    ended = all(delivery.completed_at or delivery.overdue(now) for delivery in deliveries)
    return Report(
        shipment=shipment,
        status=OrderStatus.COMPLETED if ended and deliveries else shipment.status,
        at=shipment.updated_at,
        recipients=[
            Recipient(
                channel=Channel(delivery.channel),
                destination=delivery.destination or "",
                status=delivery.status_at(now),
                at=delivery.updated_at,
            )
            for delivery in deliveries
        ],
    )


def read_feed(creator: str, *, after: int, limit: int, newest_first: bool) -> Sequence[Report]:
    """The creator's entries on one side of a cursor; newest first, 0 means from the end."""
    entries = FeedEntry.objects.filter(creator=creator).select_related("shipment")
    if not newest_first:
        entries = entries.filter(sequence_number__gt=after).order_by("sequence_number")
    elif after:
        entries = entries.filter(sequence_number__lt=after).order_by("-sequence_number")
    else:
        entries = entries.order_by("-sequence_number")
    page = list(entries[:limit])
    ids = [UUID(recipient["delivery"]) for entry in page for recipient in entry.recipients]
    destinations = dict(Delivery.objects.filter(pk__in=ids).values_list("pk", "destination"))
    return [_report(entry, destinations) for entry in page]


def _report(entry: FeedEntry, destinations: Mapping[UUID, str | None]) -> Report:
    return Report(
        shipment=entry.shipment,
        status=entry.status,
        at=entry.at,
        sequence_number=entry.sequence_number,
        recipients=[
            Recipient(
                channel=Channel(recipient["channel"]),
                destination=destinations.get(UUID(recipient["delivery"])) or "",
                status=recipient["status"],
                at=datetime.fromisoformat(recipient["at"]),
            )
            for recipient in entry.recipients
        ],
    )


def record_receipt(gateway: str, receipt: Receipt) -> Delivery | None:
    """Write a gateway's later word down; ``None`` if it belongs to no delivery we know."""
    delivery_id = _find(gateway, receipt)
    if delivery_id is None:
        return None
    return record_status(
        delivery_id,
        Change(
            cause=Cause.RECEIPT,
            status=receipt.status,
            handover=Handover.TAKEN,
            gateway=gateway,
            gateway_reference=receipt.gateway_reference,
            gateway_word=receipt.word,
        ),
    )


def _find(gateway: str, receipt: Receipt) -> UUID | None:
    """By the gateway's reference, then by ours."""
    ids = Delivery.objects.using(primary()).values_list("pk", flat=True)
    found: UUID | None = None
    if receipt.gateway_reference:
        by_theirs = ids.filter(gateway=gateway, gateway_reference=receipt.gateway_reference)
        found = by_theirs.first()
    if found is None and receipt.reference:
        try:
            found = ids.filter(pk=UUID(receipt.reference)).first()
        except ValueError:
            return None
    return found
