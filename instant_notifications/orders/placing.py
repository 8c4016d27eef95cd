"""Register an order that has passed the rules: its notices, and a plan for each recipient."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from instant_notifications import contacts, privacy, rules, tasks
from instant_notifications.exceptions import InvalidMessage, MissingContact, Unavailable
from instant_notifications.models import IdempotencyRecord, Notice, Order, Plan, Shipment, primary
from instant_notifications.orders.instant import differs, known
from instant_notifications.planning import claims
from instant_notifications.recipients import WAYS, Recipient, digests
from instant_notifications.statuses import Channel, ShipmentType

BATCH: Final = 500
SCOPE: Final = IdempotencyRecord.Scope.ORDER

Content = Mapping[Channel, Mapping[str, object]]
"""The texts by channel. Of an SMS ``body``, ``sender`` and ``daytime``; of an e-mail ``subject``,
``body``, ``content_type`` and ``sender``."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeDraft:
    """A message or a reminder that has passed the rules. Its repr holds nothing personal."""

    recipients: Iterable[Recipient] | None = field(repr=False)
    """``None`` for those of the order's message."""
    content: Content = field(repr=False)
    requested_at: datetime
    given_time: str = ""
    """How the caller has said when, to tell two orders apart by; blank if not at all."""
    condition: str = field(default="", repr=False)
    senders_reference: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDraft:
    """A regular order that has passed the rules."""

    creator: str
    idempotency_id: str = field(repr=False)
    notices: Sequence[NoticeDraft]
    """The message first, then its reminders."""
    dialog: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedShipment:
    shipment_id: UUID
    senders_reference: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An order that is registered, and will be worked off."""

    order_id: UUID
    notification: PlacedShipment
    """Of the first recipient."""
    reminders: Sequence[PlacedShipment]
    """Of the same."""
    recipients: int
    """How many different ones there are."""
    replayed: bool = False
    content_differs: bool = False


def place(
    draft: OrderDraft, *, check_contacts: bool = True, progress: Progress | None = None
) -> Placed:
    """Raises ``MissingContact``, ``ContentMismatch`` or ``Unavailable``."""
    if record := _known(draft):
        return _replayed(draft, record)
    if check_contacts:
        _require_contacts(draft)
    try:
        with transaction.atomic(using=primary()):
            return _store(draft, progress)
    except IntegrityError:
        pass  # left at once: its text quotes the id
    if record := _known(draft):
        return _replayed(draft, record)
    raise Unavailable("the order could not be stored", retry_after=1)


def is_known_order(draft: OrderDraft) -> bool:
    """Whether its id was used before."""
    return _known(draft) is not None


def _known(draft: OrderDraft) -> IdempotencyRecord | None:
    return known(draft.creator, SCOPE, draft.idempotency_id)


def _replayed(draft: OrderDraft, record: IdempotencyRecord) -> Placed:
    firsts = _firsts(record.order_id)
    plans = Plan.objects.using(primary()).filter(notice__order=record.order_id, notice__place=0)
    return Placed(
        order_id=record.order_id,
        notification=firsts[0],
        reminders=firsts[1:],
        recipients=plans.count(),
        replayed=True,
        content_differs=differs(record, _fingerprints(draft)),
    )


def _firsts(order_id: UUID) -> Sequence[PlacedShipment]:
    """The first shipment of each notice."""
    notices = Notice.objects.using(primary()).filter(order=order_id).order_by("place")
    firsts = []
    for key in notices.values_list("pk", flat=True):
        shipments = Shipment.objects.using(primary()).filter(plan__notice=key).order_by("pk")
        pk, reference = shipments.values_list("pk", "senders_reference")[0]
        firsts.append(PlacedShipment(shipment_id=pk, senders_reference=reference))
    return firsts


def _fingerprints(draft: OrderDraft) -> Sequence[str]:
    """Without the recipients where they can be read only once."""
    return privacy.fingerprints(
        [
            [
                [each.to_json() for each in notice.recipients]
                if isinstance(notice.recipients, Sequence)
                else [],
                {str(channel): dict(text) for channel, text in notice.content.items()},
                notice.given_time,
                notice.condition,
            ]
            for notice in draft.notices
        ]
    )


def _require_contacts(draft: OrderDraft) -> None:
    whom = [each for notice in draft.notices for each in notice.recipients or ()]
    looked_up = {place: each for place, each in enumerate(whom) if each.is_looked_up}
    if looked_up:
        found = contacts.look_up(looked_up.values())
        missing = [place for place, each in looked_up.items() if each not in found]
        if missing:
            raise MissingContact(missing)


def _store(draft: OrderDraft, progress: Progress | None) -> Placed:
    """In the caller's transaction; ``IntegrityError`` if the id is known."""
    now = timezone.now()
    order = Order(creator=draft.creator, created_at=now, dialog=draft.dialog)
    order.save(using=primary(), force_insert=True)
    IdempotencyRecord(
        creator=draft.creator,
        scope=SCOPE,
        key=draft.idempotency_id,
        order=order,
        fingerprint=_fingerprints(draft)[0],
        created_at=now,
    ).save(using=primary(), force_insert=True)
    writer = _Writer(order, now)
    main, *reminders = [
        (notice, writer.write_notice(place, notice)) for place, notice in enumerate(draft.notices)
    ]
    follow = [each for each in reminders if each[0].recipients is None]
    recipients = 0
    for batch in _batches(main[0].recipients or ()):
        recipients += writer.write_plans(batch, [main, *follow])
        if progress:
            progress(recipients)
    for own in [each for each in reminders if each[0].recipients is not None]:
        for batch in _batches(own[0].recipients or ()):
            writer.write_plans(batch, [own])
    if not recipients:
        raise InvalidMessage({"to": [rules.REQUIRED.format(name="to")]})
    writer.put_in_queue()
    firsts = [writer.firsts[row.pk] for _, row in (main, *reminders)]
    return Placed(
        order_id=order.pk, notification=firsts[0], reminders=firsts[1:], recipients=recipients
    )


def _batches(recipients: Iterable[Recipient]) -> Iterator[Sequence[Recipient]]:
    ahead = iter(recipients)
    while batch := list(islice(ahead, BATCH)):
        yield batch


class _Writer:
    """Writes the rows of one order, batch by batch."""

    def __init__(self, order: Order, now: datetime) -> None:
        self.firsts: dict[int, PlacedShipment] = {}
        """Of each notice, by its key."""
        self._order, self._now = order, now
        self._due_now: list[UUID] = []
        """As many as one task has; more are left to the sweep."""

    def write_notice(self, place: int, draft: NoticeDraft) -> Notice:
        notice = Notice(
            order=self._order,
            place=place,
            requested_at=draft.requested_at,
            content=json.dumps(draft.content, ensure_ascii=False),
            condition=draft.condition or None,
            created_at=self._now,
        )
        notice.save(using=primary(), force_insert=True)
        return notice

    def write_plans(
        self, batch: Sequence[Recipient], notices: Sequence[tuple[NoticeDraft, Notice]]
    ) -> int:
        """One for each recipient that is new to them; returns how many are."""
        new = self._new(batch, notices[0][1])
        plans = [
            self._plan(draft, notice, digest, whom)
            for draft, notice in notices
            for digest, whom in new.items()
        ]
        Shipment.objects.using(primary()).bulk_create([each.shipment for each in plans])
        Plan.objects.using(primary()).bulk_create(plans)
        room = tasks.CHUNK - len(self._due_now) + 1
        self._due_now += [each.pk for each in plans if each.due_at == self._now][:room]
        return len(new)

    def _new(self, batch: Sequence[Recipient], notice: Notice) -> Mapping[str, Recipient]:
        """By their digests, without those that the notice has already."""
        by_digest: dict[str, Recipient] = {}
        for each in batch:
            by_digest.setdefault(_digest(each), each)
        theirs = Plan.objects.using(primary()).filter(
            notice=notice, recipient_digest__in=list(by_digest)
        )
        for digest in theirs.values_list("recipient_digest", flat=True):
            del by_digest[digest]
        return by_digest

    def _plan(self, draft: NoticeDraft, notice: Notice, digest: str, whom: Recipient) -> Plan:
        _require_texts(draft, whom)
        shipment = Shipment(
            order=self._order,
            creator=self._order.creator,
            type=ShipmentType.REMINDER if notice.place else ShipmentType.NOTIFICATION,
            senders_reference=draft.senders_reference,
            created_at=self._now,
        )
        placed = PlacedShipment(shipment_id=shipment.pk, senders_reference=draft.senders_reference)
        self.firsts.setdefault(notice.pk, placed)
        return Plan(
            shipment=shipment,
            notice=notice,
            recipient=json.dumps(whom.to_json(), ensure_ascii=False),
            recipient_digest=digest,
            due_at=max(draft.requested_at, self._now),
        )

    def put_in_queue(self) -> None:
        if self._due_now and len(self._due_now) <= tasks.CHUNK:
            mine = Plan.objects.using(primary()).filter(pk__in=self._due_now)
            mine.update(claimed_until=self._now + claims.lease())
            tasks.enqueue_on_commit(self._due_now)


def _digest(recipient: Recipient) -> str:
    return digests(recipient.kind, recipient.identity)[0]


def _require_texts(draft: NoticeDraft, recipient: Recipient) -> None:
    """Each channel by which it may go needs its words."""
    for channel in WAYS[recipient.schema].channels:
        if channel not in draft.content:
            kind = "Sms" if channel is Channel.SMS else "Email"
            said = rules.NO_SETTINGS.format(kind=kind, schema=recipient.schema)
            raise InvalidMessage({str(channel): [said]})
