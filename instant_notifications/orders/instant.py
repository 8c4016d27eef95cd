"""Send one message now: reserve, send, record; or find out what became of the same message."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic, sleep
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, transaction
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from instant_notifications import dispatch, privacy, record, rules, telemetry
from instant_notifications.conf import settings
from instant_notifications.exceptions import (
    ContentMismatch,
    HandoverFailed,
    InvalidMessage,
    NotConfigured,
    NotificationError,
    OutcomeUnknown,
    Rejected,
    StillUnderWay,
    Unavailable,
)
from instant_notifications.models import (
    Delivery,
    IdempotencyRecord,
    Order,
    Shipment,
    find,
    insert,
    primary,
    refuse_open_transaction,
    release_pooled_connection,
    update,
    uuid7,
)
from instant_notifications.models.orders import SECRETS
from instant_notifications.route import require_route, safe_to_repeat
from instant_notifications.sms import measure
from instant_notifications.statuses import WORDS, Channel, Handover, ShipmentType

Also = Callable[[Delivery], None]

logger = logging.getLogger("instant_notifications")

DEFAULT_TIME_TO_LIVE: Final = 60 * 60

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25
_RETRY_UNKNOWN_AFTER: Final = 30
"""Seconds a caller waits before asking again about a message that may have been sent."""

_REPLAYS_NOTED_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message that has passed the rules. Its repr holds nothing personal."""

    creator: str
    channel: Channel
    idempotency_id: str = field(repr=False)
    senders_reference: str = field(default="", repr=False)
    destination: str = field(repr=False)
    content: Mapping[str, str] = field(repr=False)
    time_to_live: int
    secret: bool = False
    repeats_doubt: bool = True
    """Whether ``UNKNOWN_OUTCOME`` may have it sent twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that a gateway took."""

    order_id: UUID
    shipment_id: UUID
    senders_reference: str = field(repr=False)
    status: str
    """The delivery's word, e.g. ``SMS_Accepted``."""
    replayed: bool = False
    """An earlier call with the same idempotency id had sent it."""
    content_differs: bool = False
    """That earlier call carried other content; this one's was not sent."""


@sensitive_variables()  # whom it is for and what it says: no report of an error may quote them
def send_sms(
    to: str,
    body: str,
    *,
    time_to_live: int = DEFAULT_TIME_TO_LIVE,
    sender: str = "",
    secret: bool = False,
    idempotency_id: str = "",
    senders_reference: str = "",
    creator: str = "",
) -> Sent:
    """Send one SMS now.

    ``time_to_live`` is in seconds. The same ``idempotency_id`` never sends twice; without one,
    each call is a message of its own. The text of a ``secret`` message is erased as soon as it can
    no longer be needed. Raises ``InvalidMessage``, ``OpenTransaction``, or one of
    the three failures ``Rejected``, ``Unavailable``, ``OutcomeUnknown``.
    """
    creator = creator or settings.DEFAULT_CREATOR
    checked = check(
        to=(rules.mobile_number, to),
        body=(rules.sms_body, body),
        time_to_live=(rules.time_to_live, time_to_live),
        sender=(rules.optional(rules.sms_sender_of(creator)), sender),
        idempotency_id=(rules.optional(rules.idempotency_id), idempotency_id),
        senders_reference=(rules.optional(rules.senders_reference), senders_reference),
        creator=(rules.creator, creator),
    )
    return send(
        sms_draft(
            creator=creator,
            idempotency_id=checked["idempotency_id"] or str(uuid7()),
            senders_reference=checked["senders_reference"],
            destination=checked["to"],
            body=checked["body"],
            sender=checked["sender"],
            time_to_live=checked["time_to_live"],
            secret=secret,
        )
    )


@sensitive_variables()
def send_email(
    to: str,
    subject: str,
    body: str,
    *,
    content_type: str = "Plain",
    time_to_live: int | None = None,
    sender: str = "",
    secret: bool = False,
    idempotency_id: str = "",
    senders_reference: str = "",
    creator: str = "",
) -> Sent:
    """Send one e-mail now. ``content_type`` is ``Plain`` or ``Html``; else as ``send_sms``.

    Without a ``time_to_live`` it may be handed over for as long as ``EMAIL_LIFETIME`` says.
    """
    creator = creator or settings.DEFAULT_CREATOR
    checked = check(
        to=(rules.email_address, to),
        subject=(rules.email_subject, subject),
        body=(rules.email_body, body),
        content_type=(rules.content_type, content_type),
        time_to_live=(rules.optional(rules.time_to_live), time_to_live),
        sender=(rules.optional(rules.email_sender_of(creator)), sender),
        idempotency_id=(rules.optional(rules.idempotency_id), idempotency_id),
        senders_reference=(rules.optional(rules.senders_reference), senders_reference),
        creator=(rules.creator, creator),
    )
    return send(
        email_draft(
            creator=creator,
            idempotency_id=checked["idempotency_id"] or str(uuid7()),
            senders_reference=checked["senders_reference"],
            destination=checked["to"],
            subject=checked["subject"],
            body=checked["body"],
            content_type=checked["content_type"],
            sender=checked["sender"],
            secret=secret,
            **({"time_to_live": checked["time_to_live"]} if checked["time_to_live"] else {}),
        )
    )


def check(**arguments: tuple[rules.Rule, object]) -> Mapping[str, Any]:
    """The arguments as their rules keep them; raises ``InvalidMessage`` with every broken rule."""
    checked, errors = {}, {}
    for name, (rule, value) in arguments.items():
        try:
            checked[name] = rule(value, name)
        except rules.Broken as broken:
            errors[name] = [str(broken)]
    if errors:
        raise InvalidMessage(errors)
    return checked


def sms_draft(*, sender: str, body: str, **draft: Any) -> Draft:
    return Draft(channel=Channel.SMS, content={"body": body, "sender": sender}, **draft)


def email_draft(*, sender: str, subject: str, body: str, content_type: str, **draft: Any) -> Draft:
    return Draft(
        channel=Channel.EMAIL,
        content={"subject": subject, "body": body, "content_type": content_type, "sender": sender},
        **{"time_to_live": settings.EMAIL_LIFETIME, **draft},
    )


def _nothing_else(delivery: Delivery) -> None:
    pass


def send(draft: Draft, *, also: Also = _nothing_else) -> Sent:
    """Reserve, send, record; or find out what became of the same message.

    ``also`` is done in the transaction that reserves it.
    """
    with telemetry.span("send", channel=draft.channel, creator=draft.creator) as told:
        try:
            sent = _send(draft, also)
        except _Forgotten:
            sent = _send(draft, also)
        told.tell(shipment=sent.shipment_id, outcome=sent.status, replayed=sent.replayed)
        return sent


class _Forgotten(NotificationError):  # noqa: N818
    """What the id stands for was purged between two looks at it: to be sent anew."""


def _send(draft: Draft, also: Also) -> Sent:
    unusable: NotConfigured | None = None
    delivery: Delivery | None = None
    with _database_needed(Unavailable):
        refuse_open_transaction()
        try:
            with telemetry.span("reserve"):
                delivery = _reserve(draft, also)
        except IntegrityError:
            pass  # left at once: its text quotes the id
        except NotConfigured as error:
            unusable = error
    if delivery is None:
        return _again(draft, otherwise=unusable or _Forgotten("The reservation failed."))
    return _hand_over(delivery, require_route(draft.channel))


@contextmanager
def _database_needed(failure: type[HandoverFailed]) -> Iterator[None]:
    """Without the database nothing is sent by this call; ``failure`` says what that means."""
    try:
        yield
    except (InterfaceError, OperationalError) as error:
        raise failure(f"database: {type(error).__name__}", retry_after=1) from None


def _reserve(draft: Draft, also: Also) -> Delivery:
    """One committed transaction that leaves the trace; ``IntegrityError`` if the id is known."""
    require_route(draft.channel)
    now = timezone.now()
    order = Order(creator=draft.creator, created_at=now)
    shipment = Shipment(
        order=order,
        creator=draft.creator,
        type=ShipmentType.INSTANT,
        senders_reference=draft.senders_reference,
        created_at=now,
    )
    delivery = Delivery(
        shipment=shipment,
        channel=draft.channel,
        destination=draft.destination,
        destination_digest=privacy.digest(draft.destination),
        content=json.dumps(draft.content, ensure_ascii=False),
        secret=draft.secret,
        segments=measure(draft.content["body"]).parts if draft.channel is Channel.SMS else None,
        status=WORDS[draft.channel].sending,
        handover=Handover.UNDER_WAY,
        attempts=1,
        lease_until=now + dispatch.lease(),
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(seconds=draft.time_to_live),
    )
    idempotency = IdempotencyRecord(
        creator=draft.creator,
        scope=draft.channel,
        key=draft.idempotency_id,
        order=order,
        fingerprint=_fingerprints(draft)[0],
        created_at=now,
    )
    with transaction.atomic(using=primary(), durable=True):
        insert(order, idempotency, shipment, delivery)
        also(delivery)
    return delivery


def _fingerprints(draft: Draft) -> Sequence[str]:
    return privacy.fingerprints([draft.destination, draft.content])


def _hand_over(delivery: Delivery, route: Sequence[str]) -> Sent:
    with _failures_name(delivery):
        return sent_as(dispatch.hand_over(delivery, route))


def sent_as(delivery: Delivery, *, replayed: bool = False, differs: bool = False) -> Sent:
    shipment = delivery.shipment
    return Sent(
        order_id=shipment.order_id,
        shipment_id=shipment.pk,
        senders_reference=shipment.senders_reference,
        status=delivery.status,
        replayed=replayed,
        content_differs=differs,
    )


def what_came_of(delivery: Delivery) -> Sent:
    """The answer to one who wants sent what somebody else has just sent, or is at."""
    delivery = _no_longer_under_way(delivery)
    with _failures_name(delivery):
        if delivery.handover == Handover.TAKEN:
            return sent_as(delivery, replayed=True)
        if delivery.handover == Handover.OPEN:
            raise Unavailable("tried before")
        if delivery.handover == Handover.REFUSED:
            raise _refused_before(delivery)
        raise StillUnderWay(retry_after=1) if delivery.leased else _in_doubt()


def _no_longer_under_way(delivery: Delivery) -> Delivery:
    """As it stands once nobody is at it any more, or patience is at its end."""
    deadline = monotonic() + _patience()
    for pause in _pauses():
        if not delivery.leased or monotonic() >= deadline:
            break
        release_pooled_connection()
        sleep(pause)
        delivery = Delivery.objects.as_recorded().get(pk=delivery.pk)
    return delivery


def _in_doubt() -> OutcomeUnknown:
    return OutcomeUnknown("it may have been sent before", retry_after=_RETRY_UNKNOWN_AFTER)


def _refused_before(delivery: Delivery) -> Rejected:
    return Rejected("refused before", status=delivery.status)


@contextmanager
def _failures_name(delivery: Delivery) -> Iterator[None]:
    """A failure tells the caller where to look."""
    try:
        yield
    except HandoverFailed as failure:
        failure.order_id = delivery.shipment.order_id
        failure.shipment_id = delivery.shipment_id
        raise


def _again(draft: Draft, otherwise: Exception) -> Sent:
    """The answer for an id that is known: what became of its message, or a new attempt at it.

    For one that is not known after all, ``otherwise`` is raised.
    """
    deadline = monotonic() + _patience()
    with _database_needed(OutcomeUnknown):
        earlier = known(draft.creator, draft.channel, draft.idempotency_id)
        delivery = _delivery_of(earlier) if earlier else None
    if earlier is None or delivery is None:
        raise otherwise
    other_content = differs(earlier, _fingerprints(draft))
    for pause in _pauses():
        with _database_needed(OutcomeUnknown):
            if delivery.handover == Handover.TAKEN:
                _note_replay(earlier)
                return sent_as(delivery, replayed=True, differs=other_content)
            with _failures_name(delivery):
                attempt = _next_attempt(draft, delivery)
        if attempt:
            return replace(_hand_over(*attempt), content_differs=other_content)
        if monotonic() >= deadline:
            with _failures_name(delivery):
                raise StillUnderWay(retry_after=1)
        release_pooled_connection()
        sleep(pause)
        with _database_needed(OutcomeUnknown):
            delivery = Delivery.objects.as_recorded().filter(pk=delivery.pk).first()
        if delivery is None:
            raise _Forgotten("The order is gone.")
    raise AssertionError("the pauses never end")


def _patience() -> float:
    configured = settings.WAIT_FOR_DUPLICATE
    return settings.HANDOVER_BUDGET if configured is None else configured


def _pauses() -> Iterator[float]:
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def known(creator: str, scope: str, key: str) -> IdempotencyRecord | None:
    records = find(IdempotencyRecord, creator=creator, scope=scope, key=key)
    return records[0] if records else None


def _delivery_of(record: IdempotencyRecord) -> Delivery | None:
    """That of an instant order, with its shipment."""
    for shipment in find(Shipment, order=record.order_id):
        for delivery in find(Delivery, shipment=shipment.pk, without=SECRETS):
            delivery.shipment = shipment
            return delivery
    return None


def differs(record: IdempotencyRecord, fingerprints: Sequence[str]) -> bool:
    """Whether the id was used before with other content; in strict mode that is refused."""
    if record.fingerprint in fingerprints:
        return False
    logger.warning("idempotency content differs order=%s", record.order_id)
    if settings.IDEMPOTENCY_MISMATCH == "reject":
        raise ContentMismatch
    return True


def _note_replay(record: IdempotencyRecord) -> None:
    """For the console; once a minute, and whatever goes wrong with it the answer goes out."""
    now, noted_at = timezone.now(), record.repeated_at
    if noted_at is not None and now - noted_at < _REPLAYS_NOTED_EVERY:
        return
    try:
        update(IdempotencyRecord, {"repeated_at": now}, where={"id": record.pk})
    except (DatabaseError, InterfaceError) as error:
        place = privacy.place_of(error, frames=1)
        logger.warning("replay not noted order=%s error=%s", record.order_id, place)


def _next_attempt(draft: Draft, delivery: Delivery) -> tuple[Delivery, Sequence[str]] | None:
    """A claimed attempt and its route; ``None`` while somebody else is at it."""
    if delivery.handover == Handover.UNDER_WAY and not delivery.leased:
        delivery = record.settle_lapsed(delivery)
    if delivery.handover in (Handover.UNDER_WAY, Handover.TAKEN):
        return None
    if delivery.handover == Handover.UNKNOWN:
        may_repeat = draft.repeats_doubt and not delivery.completed_at
        route = safe_to_repeat(delivery) if may_repeat else ()
        if not route:
            raise _in_doubt()
    elif delivery.completed_at:
        raise _refused_before(delivery)
    else:
        route = require_route(Channel(delivery.channel))
    claimed = record.claim(delivery, dispatch.lease())
    return (claimed, route) if claimed else None
