"""What a person may do about a message that has been placed. Each act leaves its trace."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from instant_notifications import receipts, record, rules
from instant_notifications.exceptions import NotAllowed
from instant_notifications.history import storable
from instant_notifications.models import Delivery, Intervention, UnmatchedReceipt, primary
from instant_notifications.models.orders import NAME_LENGTH
from instant_notifications.orders import verdicts
from instant_notifications.orders.instant import Draft, Sent, send, what_came_of
from instant_notifications.orders.verdicts import Matter, May, Verdict
from instant_notifications.statuses import Channel


def resend(
    delivery_id: UUID, *, by: str, because: str, sure: bool = False, after: int | None = None
) -> Sent:
    """Make a new message of an old one, for the life that is left of it, and send it now.

    ``sure`` says that no harm is done if it arrives twice. ``after`` is the number of resends the
    caller knows of, of it or of what it was made of: of those who know the same, one sends, and the
    others get what came of it. Raises ``NotAllowed``, or what ``send_sms`` raises.
    """
    matter = _to_judge(delivery_id)
    known = len(matter.resends)
    after = known if after is None else min(after, known)
    if after < known:
        return what_came_of(matter.resends[after])
    _require(verdicts.may_resend(matter, timezone.now()), sure=sure)
    note = partial(_note, Intervention.Kind.RESEND, matter.original, by, because)
    return send(_again(matter), also=partial(_replace, matter, note))


def _again(matter: Matter) -> Draft:
    delivery = matter.delivery
    if delivery.content is None:  # no key in force opens it
        raise NotAllowed(verdicts.MISSING.why)
    left = delivery.expires_at - timezone.now()
    return Draft(
        creator=delivery.shipment.creator,
        channel=Channel(delivery.channel),
        idempotency_id=f"resend {matter.original.pk} {len(matter.family)}",
        senders_reference=delivery.shipment.senders_reference,
        destination=delivery.destination or "",
        content=json.loads(delivery.content),
        time_to_live=min(int(left.total_seconds()), rules.MAX_TIME_TO_LIVE),
        repeats_doubt=False,
    )


def _replace(matter: Matter, note: "partial[None]", successor: Delivery) -> None:
    """What is written in the transaction that reserves the new message.

    What it replaces and was never sent is cancelled by it, or its client's next try would be a
    second message.
    """
    note(successor=successor)
    for replaced in matter.family:
        if replaced.unsent:
            _cancel(replaced.pk)


def cancel(delivery_id: UUID, *, by: str, because: str) -> Delivery:
    """Let a message that was not sent never be sent. Raises ``NotAllowed``."""
    matter = _to_judge(delivery_id)
    _require(verdicts.may_cancel(matter, timezone.now()))
    with transaction.atomic(using=primary()):
        _note(Intervention.Kind.CANCEL, matter.delivery, by, because)
        return _cancel(delivery_id)


def _cancel(delivery_id: UUID) -> Delivery:
    """Judged again once it is locked: nobody may claim what somebody else has done meanwhile."""
    locked = record.lock(delivery_id)
    _require(verdicts.may_cancel(Matter(locked, [locked]), timezone.now()))
    return record.record_cancellation(locked)


def expire(delivery_id: UUID, *, by: str, because: str) -> Delivery:
    """Write down at once that no last word came in time. Raises ``NotAllowed``."""
    matter = _to_judge(delivery_id)
    _require(verdicts.may_expire(matter, timezone.now()))
    with transaction.atomic(using=primary()):
        locked = record.lock(delivery_id)
        _require(verdicts.may_expire(Matter(locked, [locked]), timezone.now()))
        _note(Intervention.Kind.EXPIRE, matter.delivery, by, because)
        return record.record_expiry(locked)


def match(
    receipt_id: int, delivery_id: UUID, *, by: str, because: str, sure: bool = False
) -> Delivery:
    """Write a receipt down that belongs to no message we know as this message's.

    Raises ``NotAllowed``, or ``UnmatchedReceipt.DoesNotExist`` if somebody was faster.
    """
    with transaction.atomic(using=primary()):
        kept = UnmatchedReceipt.objects.using(primary()).select_for_update().get(pk=receipt_id)
        matter = _to_judge(delivery_id)
        _require(verdicts.may_match(kept, matter, timezone.now()), sure=sure)
        _note(Intervention.Kind.MATCH, matter.delivery, by, because)
        return receipts.match_with(kept, record.lock(delivery_id))


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
        content={"subject": "", **json.loads(delivery.content or "")} if readable else None,
    )


def _to_judge(delivery_id: UUID) -> Matter:
    matters = verdicts.to_judge([delivery_id])
    if not matters:
        raise Delivery.DoesNotExist
    return matters[0]


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
