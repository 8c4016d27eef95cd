"""Write down what became of a message: the only room that moves a delivery's status."""

import logging
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from instant_notifications import feed
from instant_notifications.gateways import Receipt
from instant_notifications.models import Delivery, StatusEvent, primary
from instant_notifications.statuses import (
    STAGES,
    WORDS,
    Cause,
    Channel,
    Handover,
    Stage,
    is_final,
    may_follow,
)

logger = logging.getLogger("instant_notifications")

_SETTLED: Final = frozenset({Handover.TAKEN, Handover.REFUSED})

_MOVING: Final = (
    "status",
    "handover",
    "attempts",
    "lease_until",
    "gateway",
    "gateway_reference",
    "completed_at",
    "may_have_left",
)
"""What changes in the life of a delivery."""


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


def record_status(delivery: Delivery, change: Change) -> Delivery:
    """Write one change down, in one short transaction, and return the delivery as it now stands.

    It takes from the change what may follow what is known, appends to the history, and tells the
    feed what it must hear. News that is old, repeated or outdated changes nothing. ``delivery`` may
    have been read at any time: if the row has moved since, it is locked and read again.
    """
    with transaction.atomic(using=primary()):
        written = _write(delivery, change)
        while written is None:
            written = _write(_locked(delivery.pk), change)
        return written


def record_receipt(gateway: str, receipt: Receipt) -> Delivery | None:
    """Write a gateway's later word down; ``None`` if it belongs to no delivery we know."""
    delivery = _find(gateway, receipt)
    if delivery is None:
        return None
    change = Change(
        cause=Cause.RECEIPT,
        status=receipt.status,
        handover=Handover.TAKEN,
        gateway=gateway,
        gateway_reference=receipt.gateway_reference,
        gateway_word=receipt.word,
    )
    return record_status(delivery, change)


def claim(seen: Delivery, lease: timedelta) -> Delivery | None:
    """Begin a further hand-over of a delivery, unless somebody has moved it since it was seen."""
    delivery, now = copy(seen), timezone.now()
    delivery.attempts += 1
    delivery.may_have_left |= seen.handover == Handover.UNKNOWN
    delivery.handover = Handover.UNDER_WAY
    delivery.lease_until = now + lease
    delivery.gateway = delivery.gateway_reference = ""
    delivery.status = WORDS[Channel(delivery.channel)].sending
    again = Change(cause=Cause.HANDOVER, attempt=delivery.attempts)
    with transaction.atomic(using=primary()):
        if not _save(seen, delivery, again, now):
            return None
        delivery.refresh_from_db(fields=["destination", "content"])
        return delivery


def _write(seen: Delivery, change: Change) -> Delivery | None:
    """The delivery after the change; ``None`` if it has moved since it was seen.

    What a change may do only shrinks while others move the row, so an old reading that leaves
    nothing to do is as good as a new one. ``seen`` stays as it is: the transaction may yet fail.
    """
    if _outdated(seen, change):
        logger.warning("late outcome ignored delivery=%s", seen.pk)
        return seen
    delivery, now = copy(seen), timezone.now()
    change = _doubted(delivery, change)
    _move_handover(delivery, change)
    _move_status(delivery, change, now)
    if not _moved(seen, delivery):
        return seen
    return delivery if _save(seen, delivery, change, now) else None


def _moved(seen: Delivery, delivery: Delivery) -> dict[str, Any]:
    values = {name: getattr(delivery, name) for name in _MOVING}
    return {name: value for name, value in values.items() if value != getattr(seen, name)}


def _save(seen: Delivery, delivery: Delivery, change: Change, now: datetime) -> bool:
    """Write what has moved, unless somebody else has moved the row since it was seen.

    The row is locked from here to the commit; the feed's counter comes last.
    """
    delivery.updated_at = now
    delivery.revision = seen.revision + 1
    row = Delivery.objects.using(primary()).filter(pk=seen.pk, revision=seen.revision)
    moved = _moved(seen, delivery)
    if not row.update(**moved, updated_at=now, revision=delivery.revision):
        return False
    if "status" in moved or "handover" in moved:
        _append_to_history(delivery, seen.status, change, now)
    if "status" in moved or ("handover" in moved and not delivery.completed_at):
        feed.tell(delivery, now)
    return True


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


def _doubted(delivery: Delivery, change: Change) -> Change:
    """What one attempt says for sure holds no longer where another may have sent the message."""
    if delivery.may_have_left and change.handover in (Handover.OPEN, Handover.REFUSED):
        return replace(change, handover=Handover.UNKNOWN, status=None)
    return change


def _move_handover(delivery: Delivery, change: Change) -> None:
    if change.handover is not None and _may_move_handover(delivery, change):
        delivery.handover = change.handover
        delivery.lease_until = None
    if change.gateway and not delivery.gateway_reference:
        delivery.gateway = change.gateway
        delivery.gateway_reference = storable(change.gateway_reference)


def _may_move_handover(delivery: Delivery, change: Change) -> bool:
    if change.cause is Cause.LEASE:
        return delivery.handover == Handover.UNDER_WAY and not delivery.leased
    if change.cause is Cause.RECEIPT:
        return delivery.handover != Handover.TAKEN
    return delivery.handover not in _SETTLED


def _move_status(delivery: Delivery, change: Change, now: datetime) -> None:
    if change.status is None or not may_follow(delivery.status, change.status):
        return
    if delivery.completed_at and not _corrects_expiry(delivery, change):
        return
    delivery.status = change.status
    if is_final(change.status) or change.last_word:
        delivery.completed_at = now


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
        gateway_word=storable(change.gateway_word),
    )


def storable(text: str) -> str:
    """A gateway's own text, fit for a column of any database whatever the gateway sent."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text[:255])


def _find(gateway: str, receipt: Receipt) -> Delivery | None:
    """By the gateway's reference, then by ours."""
    rows = Delivery.objects.using(primary()).without_secrets().select_related("shipment")
    found: Delivery | None = None
    if receipt.gateway_reference:
        reference = storable(receipt.gateway_reference)
        found = rows.filter(gateway=gateway, gateway_reference=reference).first()
    if found is None and receipt.reference:
        try:
            found = rows.filter(pk=UUID(receipt.reference)).first()
        except ValueError:
            return None
    return found
