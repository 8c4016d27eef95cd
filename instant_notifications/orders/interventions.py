"""What a person may do about a message that has been placed. Each act leaves its trace."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from instant_notifications import receipts, record
from instant_notifications.exceptions import NotAllowed
from instant_notifications.history import storable
from instant_notifications.models import Delivery, Intervention, UnmatchedReceipt, primary
from instant_notifications.models.interventions import NAME_LENGTH
from instant_notifications.orders import verdicts
from instant_notifications.orders.instant import Draft, Sent, send, sent_as
from instant_notifications.orders.verdicts import May, Verdict
from instant_notifications.statuses import Channel, Handover


def resend(
    delivery_id: UUID, *, by: str, because: str, sure: bool = False, after: int | None = None
) -> Sent:
    """Make a new message of an old one, for the life that is left of it, and send it now.

    ``sure`` says that no harm is done if it arrives twice. ``after`` is the number of resends the
    caller knows of: of those who have seen the same, one sends, and the others get what came of it.
    Raises ``NotAllowed``, or what ``send_sms`` raises.
    """
    original = _to_judge(delivery_id)
    successors = verdicts.successors_of(original)
    after = len(successors) if after is None else min(after, len(successors))
    if after < len(successors):
        return sent_as(successors[after], replayed=True)
    _require(verdicts.may_resend(original, timezone.now()), sure=sure)
    note = partial(_note, Intervention.Kind.RESEND, original, by, because)
    return send(_again(original, after), also=partial(_replace, original, note))


def _again(original: Delivery, after: int) -> Draft:
    if original.content is None:  # no key in force opens it
        raise NotAllowed(verdicts.ERASED.why)
    left = original.expires_at - timezone.now()
    return Draft(
        creator=original.shipment.creator,
        channel=Channel(original.channel),
        idempotency_id=f"resend {original.pk} {after + 1}",
        senders_reference=original.shipment.senders_reference,
        destination=original.destination or "",
        content=json.loads(original.content),
        time_to_live=int(left.total_seconds()),
    )


def _replace(original: Delivery, note: "partial[None]", successor: Delivery) -> None:
    """What is written in the transaction that reserves the new message.

    What it replaces and was never sent is cancelled by it, or its client's next try would be a
    second message.
    """
    note(successor=successor)
    for replaced in filter(verdicts.is_unsent, [original, *verdicts.successors_of(original)]):
        _cancel(replaced.pk)


def cancel(delivery_id: UUID, *, by: str, because: str) -> Delivery:
    """Let a message that was not sent never be sent. Raises ``NotAllowed``."""
    delivery = _to_judge(delivery_id)
    _require(verdicts.may_cancel(delivery, timezone.now()))
    with transaction.atomic(using=primary()):
        cancelled = _cancel(delivery_id)
        _note(Intervention.Kind.CANCEL, delivery, by, because)
    return cancelled


def _cancel(delivery_id: UUID) -> Delivery:
    cancelled = record.record_cancellation(Delivery.objects.as_recorded().get(pk=delivery_id))
    if cancelled.handover != Handover.REFUSED:
        raise NotAllowed(verdicts.may_cancel(cancelled, timezone.now()).why)
    return cancelled


def expire(delivery_id: UUID, *, by: str, because: str) -> Delivery:
    """Write down at once that no last word came in time. Raises ``NotAllowed``."""
    delivery = _to_judge(delivery_id)
    _require(verdicts.may_expire(delivery, timezone.now()))
    with transaction.atomic(using=primary()):
        expired = record.record_expiry(Delivery.objects.as_recorded().get(pk=delivery_id))
        _note(Intervention.Kind.EXPIRE, delivery, by, because)
    return expired


def match(
    receipt_id: int, delivery_id: UUID, *, by: str, because: str, sure: bool = False
) -> Delivery:
    """Write a receipt down that belongs to no message we know as this message's.

    Raises ``NotAllowed``, or ``UnmatchedReceipt.DoesNotExist`` if somebody was faster.
    """
    with transaction.atomic(using=primary()):
        kept = UnmatchedReceipt.objects.using(primary()).select_for_update().get(pk=receipt_id)
        delivery = _to_judge(delivery_id)
        _require(verdicts.may_match(kept, delivery, timezone.now()), sure=sure)
        matched = receipts.match_with(kept, Delivery.objects.as_recorded().get(pk=delivery_id))
        _note(Intervention.Kind.MATCH, delivery, by, because)
    return matched


@dataclass(frozen=True, slots=True)
class Revealed:
    """What a message says and to whom, as far as it is kept. Its repr holds nothing personal."""

    destination: str | None = field(repr=False)
    content: Mapping[str, str] | None = field(repr=False)
    """``None`` where it has been erased, and always of a secret message."""


def reveal(delivery_id: UUID, *, by: str, because: str) -> Revealed:
    """Show a destination and a text in clear, once it is written down who wanted to see them."""
    delivery = Delivery.objects.using(primary()).get(pk=delivery_id)
    _note(Intervention.Kind.REVEAL, delivery, by, because)
    readable = delivery.content is not None and not delivery.secret
    return Revealed(
        destination=delivery.destination,
        content=json.loads(delivery.content or "") if readable else None,
    )


def _to_judge(delivery_id: UUID) -> Delivery:
    return verdicts.to_judge([delivery_id]).get()


def _require(verdict: Verdict, *, sure: bool = False) -> None:
    if verdict.may is May.NO or (verdict.may is May.IF_SURE and not sure):
        raise NotAllowed(verdict.why)


def _note(
    kind: Intervention.Kind,
    delivery: Delivery,
    by: str,
    because: str,
    successor: Delivery | None = None,
) -> None:
    Intervention.objects.using(primary()).create(
        delivery=delivery,
        at=timezone.now(),
        kind=kind,
        by=by[:NAME_LENGTH],
        because=storable(because),
        successor=successor,
    )
