"""Write down what became of a message: the only room that moves a delivery's status."""

import logging
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from instant_notifications import feed, signals
from instant_notifications.models import Delivery, StatusEvent, primary
from instant_notifications.models.orders import PART_LENGTH, REFERENCE_LENGTH
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
    reported_status: str = ""
    """What a receipt said, whether or not it may be shown."""
    part: str = ""
    parts: int | None = None
    """Which part of a long SMS this is about, of how many."""


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


def settle_lapsed(delivery: Delivery) -> Delivery:
    """Its worker is dead or hopelessly late: from now on nobody knows whether it was sent."""
    return record_status(delivery, Change(cause=Cause.LEASE, handover=Handover.UNKNOWN))


def record_expiry(delivery: Delivery) -> Delivery:
    """Write down that no last word came in time; nothing if one did, or somebody is at it."""
    expired = WORDS[Channel(delivery.channel)].expired
    return record_status(
        delivery, Change(cause=Cause.EXPIRY, status=expired, handover=Handover.UNKNOWN)
    )


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
    if change.cause is Cause.EXPIRY and not seen.overdue(timezone.now()):
        return seen
    if _outdated(seen, change):
        logger.warning("late outcome ignored delivery=%s", seen.pk)
        return seen
    delivery, now = copy(seen), timezone.now()
    change = _of_all_parts(delivery, _doubted(delivery, change))
    _move_handover(delivery, change)
    _move_status(delivery, change, now)
    if not _moved(seen, delivery) and not _is_news(delivery, change):
        return seen
    return delivery if _save(seen, delivery, change, now) else None


def _moved(seen: Delivery, delivery: Delivery) -> dict[str, Any]:
    values = {name: getattr(delivery, name) for name in _MOVING}
    return {name: value for name, value in values.items() if value != getattr(seen, name)}


def _save(seen: Delivery, delivery: Delivery, change: Change, now: datetime) -> bool:
    """Write what has moved, unless somebody else has moved the row since it was seen.

    The row is locked from here to the commit; the feed's counter comes last.
    """
    moved = _moved(seen, delivery)
    delivery.revision = seen.revision + 1
    written = {**moved, "revision": delivery.revision}
    if moved:
        delivery.updated_at = written["updated_at"] = now
    if delivery.secret and _never_sent_again(delivery):
        delivery.content = written["content"] = None
    row = Delivery.objects.using(primary()).filter(pk=seen.pk, revision=seen.revision)
    if not row.update(**written):
        return False
    told = "status" in moved or "handover" in moved
    if told or change.cause is Cause.RECEIPT:
        _append_to_history(delivery, seen.status, change, now)
    if "status" in moved:
        signals.send_on_commit(
            primary(), delivery, old=seen.status, new=delivery.status, cause=change.cause
        )
    if "status" in moved or ("handover" in moved and not delivery.completed_at):
        feed.tell(delivery, now)
    return True


def _never_sent_again(delivery: Delivery) -> bool:
    return delivery.handover in _SETTLED or delivery.completed_at is not None


def _locked(delivery_id: UUID) -> Delivery:
    return Delivery.objects.as_recorded().select_for_update().get(pk=delivery_id)


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
    if change.gateway and _says_more_of_the_gateway(delivery, change):
        delivery.gateway = change.gateway
        delivery.gateway_reference = storable(change.gateway_reference)


def _may_move_handover(delivery: Delivery, change: Change) -> bool:
    if change.cause in (Cause.LEASE, Cause.EXPIRY):
        return delivery.handover == Handover.UNDER_WAY and not delivery.leased
    if change.cause is Cause.RECEIPT and _corrects_expiry(delivery, change):
        return True
    return delivery.handover not in _SETTLED


def _says_more_of_the_gateway(delivery: Delivery, change: Change) -> bool:
    if delivery.gateway_reference:
        return False
    hearsay = change.cause is Cause.RECEIPT and not change.gateway_reference
    return not (hearsay and delivery.gateway)


def _move_status(delivery: Delivery, change: Change, now: datetime) -> None:
    if change.status is None or not _may_show(delivery, change, change.status):
        return
    delivery.status = change.status
    if is_final(change.status) or change.last_word:
        delivery.completed_at = now


def _may_show(delivery: Delivery, change: Change, word: str) -> bool:
    if not delivery.completed_at:
        return may_follow(delivery.status, word)
    is_last = change.last_word or may_follow(delivery.status, word)
    return is_last and _corrects_expiry(delivery, change)


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
        reported_status=change.reported_status,
        part=storable(change.part, PART_LENGTH),
    )


def _is_news(delivery: Delivery, change: Change) -> bool:
    """A receipt that moves nothing is noted all the same, the first time its word is heard."""
    return (
        change.cause is Cause.RECEIPT
        and any((change.gateway_word, change.reported_status, change.part))
        and not _noted(delivery)
        .filter(
            gateway=change.gateway,
            gateway_word=storable(change.gateway_word),
            reported_status=change.reported_status,
            part=storable(change.part, PART_LENGTH),
        )
        .exists()
    )


def _of_all_parts(delivery: Delivery, change: Change) -> Change:
    """A long SMS is delivered when each of its parts is; one that failed speaks for the whole."""
    delivered = WORDS[Channel(delivery.channel)].delivered
    if not change.part or change.status != delivered:
        return change
    noted = _noted(delivery).filter(reported_status=delivered).exclude(part="")
    arrived = {*noted.values_list("part", flat=True), storable(change.part, PART_LENGTH)}
    missing = len(arrived) < (change.parts or delivery.segments or 1)
    return replace(change, status=None) if missing else change


def _noted(delivery: Delivery) -> QuerySet[StatusEvent]:
    return StatusEvent.objects.using(primary()).filter(delivery=delivery, cause=Cause.RECEIPT)


def storable(text: str, length: int = REFERENCE_LENGTH) -> str:
    """A gateway's own text, fit for a column of any database whatever the gateway sent."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text[:length])
