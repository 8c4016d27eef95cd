"""The life of a regular order, from what its caller has placed to the last of its shipments."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from typing import Final

from example_project.traffic.life import Life, entry
from example_project.traffic.world import World, uuid7_of
from instant_notifications import privacy
from instant_notifications.contacts import Contact
from instant_notifications.feed import ENDS
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Notice,
    Order,
    Plan,
    Shipment,
)
from instant_notifications.orders import NoticeDraft, OrderDraft
from instant_notifications.planning.letters import letters
from instant_notifications.planning.planner import ASK_AGAIN_AFTER, delivery_of
from instant_notifications.recipients import Recipient, digests
from instant_notifications.statuses import WORDS, Cause, Ended, ShipmentType

Fate = Sequence[Callable[[Life], None]]
"""What happens to a message, from its hand-over on."""

BETWEEN: Final = timedelta(microseconds=40)
"""Between two identifiers that are made one after the other."""


@dataclass(slots=True)
class Errand:
    """One shipment of it, and the messages that were made of its plan."""

    plan: Plan
    recipient: Recipient
    lives: list[Life] = field(default_factory=list)

    @property
    def shipment(self) -> Shipment:
        return self.plan.shipment

    @property
    def entries(self) -> Sequence[FeedEntry]:
        """What the feed says of it once it has come to its end."""
        if not self.plan.ended_at or not all(life.ends for life in self.lives):
            return []
        if not self.lives:
            return [_entry_without_messages(self.plan, self.plan.ended_at)]
        return [entry(ENDS[Ended(self.plan.ended)], [life.ends[-1] for life in self.lives])]

    def end(self, ended: Ended, now: datetime) -> None:
        self.plan.ended, self.plan.ended_at = ended, now
        self.plan.due_at = self.plan.claimed_until = self.plan.recipient = None


@dataclass(slots=True)
class Chain:
    """One order: its message and its reminders. What comes after the world's end is left out."""

    draft: OrderDraft
    now: datetime
    world: World
    contacts: Mapping[Recipient, Contact]
    order: Order = field(init=False)
    idempotency: IdempotencyRecord = field(init=False)
    notices: Sequence[Notice] = field(init=False)
    errands: Sequence[Errand] = field(init=False)

    def __post_init__(self) -> None:
        """Register it, as ``orders`` does."""
        draft, now = self.draft, self.now
        self.order = Order(
            id=uuid7_of(now, self.world.chance),
            creator=draft.creator,
            created_at=now,
            dialog=draft.dialog,
        )
        self.idempotency = IdempotencyRecord(
            creator=draft.creator,
            scope=IdempotencyRecord.Scope.ORDER,
            key=draft.idempotency_id,
            order=self.order,
            fingerprint=privacy.fingerprints([*map(_told, draft.notices)])[0],
            created_at=now,
        )
        self.notices = [self._notice(place, said) for place, said in enumerate(draft.notices)]
        planned = product(zip(self.notices, draft.notices, strict=True), self._recipients)
        self.errands = [
            self._errand(made, notice, said, whom)
            for made, ((notice, said), whom) in enumerate(planned)
        ]

    @property
    def _recipients(self) -> Sequence[Recipient]:
        """Of the message, and so of its reminders."""
        return list(self.draft.notices[0].recipients or ())

    def _notice(self, place: int, said: NoticeDraft) -> Notice:
        return Notice(
            order=self.order,
            place=place,
            requested_at=said.requested_at,
            content=json.dumps(said.content, ensure_ascii=False),
            condition=said.condition or None,
            created_at=self.now,
        )

    def _errand(self, made: int, notice: Notice, said: NoticeDraft, whom: Recipient) -> Errand:
        shipment = Shipment(
            id=uuid7_of(self.now + made * BETWEEN, self.world.chance),
            order=self.order,
            creator=self.order.creator,
            type=ShipmentType.REMINDER if notice.place else ShipmentType.NOTIFICATION,
            senders_reference=said.senders_reference,
            created_at=self.now,
        )
        plan = Plan(
            shipment=shipment,
            notice=notice,
            recipient=json.dumps(whom.to_json(), ensure_ascii=False),
            recipient_digest=digests(whom.kind, whom.identity)[0],
            due_at=max(said.requested_at, self.now),
        )
        return Errand(plan, whom)

    def plan(self, place: int, at: datetime, answer: bool | None) -> None:
        """Make messages of what is due of a notice, unless its condition says otherwise.

        ``answer`` is what that says: ``None`` if nothing clear.
        """
        notice = self.notices[place]
        waiting = [each for each in self._of(notice) if not each.plan.ended]
        if notice.condition and answer is None:
            notice.condition_asked_at = at
            for each in waiting:
                each.plan.due_at = at + ASK_AGAIN_AFTER
            return
        if notice.condition:
            notice.condition_met = answer
        for each in waiting:
            if notice.condition_met is False:
                each.end(Ended.CONDITION_NOT_MET, at)
            else:
                self._make_messages(each, at)

    def hand_over(self, at: datetime, fates: Iterator[Fate]) -> None:
        """One worker does what is due by then, one message after the other."""
        for life in self.lives:
            if not _is_due(life.delivery, at) or at > self.world.last_call:
                continue
            life.now = at
            life.begin()
            asked, *later = next(fates)
            asked(life)
            at = life.now
            for act in later:
                act(life)

    def cancel(self, at: datetime) -> None:
        """Its caller calls off what has not been handed over."""
        for each in self.errands:
            if each.plan.ended and not all(life.delivery.unsent for life in each.lives):
                continue
            for life in each.lives:
                life.now = at
                life.fail(Cause.CALLER, WORDS[life.channel].failed)
            each.end(Ended.CANCELLED, at)

    def _of(self, notice: Notice) -> Sequence[Errand]:
        return [each for each in self.errands if each.plan.notice is notice]

    def _make_messages(self, errand: Errand, at: datetime) -> None:
        errand.end(Ended.PLANNED, at)
        texts = json.loads(errand.plan.notice.content or "")
        contact = self.contacts.get(errand.recipient)
        for letter in letters(errand.recipient, contact, texts):
            made = at + len(self.lives) * BETWEEN
            delivery = delivery_of(errand.plan, letter, at)
            delivery.pk = uuid7_of(made, self.world.chance)
            errand.lives.append(life := Life(delivery, letter.content or {}, at, self.world))
            if letter.failure:
                life.fail(Cause.LOOKUP, letter.failure)

    @property
    def lives(self) -> Sequence[Life]:
        return [life for errand in self.errands for life in errand.lives]


def _told(said: NoticeDraft) -> Sequence[object]:
    """What two orders are told apart by."""
    recipients = [whom.to_json() for whom in said.recipients or ()]
    return [recipients, said.content, said.given_time, said.condition]


def _is_due(delivery: Delivery, at: datetime) -> bool:
    return delivery.unsent and delivery.due_at is not None and delivery.due_at <= at


def _entry_without_messages(plan: Plan, at: datetime) -> FeedEntry:
    return FeedEntry(
        creator=plan.shipment.creator,
        shipment=plan.shipment,
        delivery_id=plan.shipment.pk,
        revision=0,
        status=ENDS[Ended(plan.ended)],
        at=at,
        recipients=[],
    )
