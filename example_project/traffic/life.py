"""The life of one message, played through in a moment: the rows that the app would have left."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from example_project.traffic.world import World, about, uuid7_of
from instant_notifications import dispatch, history, privacy, windows
from instant_notifications.conf import settings
from instant_notifications.history import Call, Change
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Intervention,
    Order,
    Shipment,
    StatusEvent,
)
from instant_notifications.orders import Draft
from instant_notifications.simulator.behaviours import REFUSAL, STATUSES, Word
from instant_notifications.simulator.models import SimulatedMessage, SimulatedReceipt
from instant_notifications.sms import measure
from instant_notifications.statuses import (
    WORDS,
    Cause,
    Channel,
    Handover,
    OrderStatus,
    Outcome,
    ShipmentType,
    is_final,
    may_follow,
)

_HANDOVERS: Final[Mapping[Outcome, Handover]] = {
    Outcome.TAKEN: Handover.TAKEN,
    Outcome.REFUSED: Handover.REFUSED,
    Outcome.NOT_SENT: Handover.OPEN,
    Outcome.UNKNOWN: Handover.UNKNOWN,
    Outcome.PASSED_OVER: Handover.OPEN,
}
_SETTLED: Final = (Handover.TAKEN, Handover.REFUSED)


class End(NamedTuple):
    """How a message stood when a last word had been spoken."""

    delivery: Delivery
    status: str
    revision: int
    at: datetime


@dataclass(slots=True)
class Life:
    """One message from its delivery's row on. Each act plays at ``now`` and moves it on."""

    delivery: Delivery
    content: Mapping[str, Any]
    now: datetime
    world: World
    arrived: SimulatedMessage | None = None
    changes: list[tuple[datetime, Change]] = field(default_factory=list)
    lines: list[StatusEvent] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    """More than one where a receipt has corrected the clock."""
    receipts: list[SimulatedReceipt] = field(default_factory=list)
    acts: list[Intervention] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        self.now += about(seconds, self.world.chance)

    def begin(self) -> None:
        """Claim it for a hand-over, as ``record`` does."""
        self._tell(
            Change(
                cause=Cause.HANDOVER,
                status=WORDS[self.channel].sending,
                handover=Handover.UNDER_WAY,
                attempt=self.delivery.attempts + 1,
            )
        )

    def ask(self, wanted: Outcome) -> None:
        """Hand it over, as ``dispatch`` does."""
        calls: list[Call] = []
        for gateway in self.world.gateways:
            calls.append(gateway.answer(self.now, wanted, self.world.chance))
            self.now += calls[-1].duration
            if calls[-1].outcome not in (Outcome.NOT_SENT, Outcome.PASSED_OVER):
                break
        if calls[-1].outcome is Outcome.TAKEN:
            self.arrive(calls[-1].gateway, calls[-1].started_at)
        self._tell(self._change_for(calls))

    def arrive(self, gateway: str, at: datetime) -> None:
        """The recipient gets it, whether or not the gateway manages to say so."""
        content = self.content
        self.arrived = SimulatedMessage(
            gateway=gateway,
            reference=str(self.delivery.pk),
            channel=self.channel,
            destination=self.delivery.destination,
            sender=content["sender"] or (self._is_sms and settings.DEFAULT_SMS_SENDER) or "",
            subject=content.get("subject", ""),
            body=content["body"],
            received_at=at,
        )

    def hear(self, word: Word) -> None:
        """A receipt comes; one that is still to come is left to the simulator's postman."""
        if self.arrived is None:
            return
        status = STATUSES[self.channel][word]
        self.receipts.append(
            SimulatedReceipt(
                message=self.arrived,
                status=status,
                word=word.value,
                due_at=self.now,
                sent_at=None if self.is_over else self.now,
            )
        )
        self._tell(
            Change(
                cause=Cause.RECEIPT,
                status=status,
                handover=Handover.TAKEN,
                gateway=self.arrived.gateway,
                gateway_reference=self.arrived.gateway_reference,
                gateway_word=word.value,
                reported_status=status,
            )
        )

    def run_out(self) -> None:
        """The sweep, which comes each minute, finds it expired."""
        self.now = self.delivery.overdue_at + about(20, self.world.chance)
        expired = WORDS[self.channel].expired
        self._tell(Change(cause=Cause.EXPIRY, status=expired))

    def lapse(self) -> None:
        """The sweep finds that nobody is at it any more."""
        self.now += dispatch.lease() + about(20, self.world.chance)
        self._tell(Change(cause=Cause.LEASE, handover=Handover.UNKNOWN))

    def fail(self, cause: Cause, status: str) -> None:
        """It is never to be handed over."""
        self._tell(Change(cause=cause, status=status, handover=Handover.REFUSED))

    def cancel(self, by: str, because: str) -> None:
        self.fail(Cause.OPERATOR, WORDS[self.channel].failed)
        if not self.is_over:
            self._note(Intervention.Kind.CANCEL, by, because)

    @property
    def is_over(self) -> bool:
        """What would come now has not happened yet."""
        return self.now > self.world.end

    @property
    def channel(self) -> Channel:
        return Channel(self.delivery.channel)

    @property
    def _is_sms(self) -> bool:
        return self.channel is Channel.SMS

    def _change_for(self, calls: Sequence[Call]) -> Change:
        asked = [call for call in calls if call.outcome is not Outcome.PASSED_OVER]
        last = (asked or calls)[-1]
        words, channel = WORDS[self.channel], self.channel
        status = {
            Outcome.TAKEN: words.accepted,
            Outcome.REFUSED: REFUSAL[channel],
            Outcome.UNKNOWN: None,
        }.get(last.outcome, words.new)
        taken = self.arrived if last.outcome is Outcome.TAKEN else None
        return Change(
            cause=Cause.HANDOVER,
            status=status,
            handover=_HANDOVERS[last.outcome],
            due_at=self._next_try if _HANDOVERS[last.outcome] is Handover.OPEN else None,
            attempt=self.delivery.attempts,
            calls=calls,
            gateway=last.gateway if asked else "",
            gateway_reference=taken.gateway_reference if taken else "",
            gateway_word="OK" if taken else last.reason,
        )

    @property
    def _next_try(self) -> datetime | None:
        """Of an instant message, whoever sends it decides."""
        if self.delivery.shipment.type == ShipmentType.INSTANT:
            return None
        moment = self.now + dispatch.pause_after(self.delivery.attempts)
        return windows.opening(moment) if self.delivery.daytime else moment

    def _tell(self, change: Change) -> None:
        """Write a change down, as ``record`` does."""
        if self.is_over:
            return
        seen, after = copy(self.delivery), self.delivery
        self.changes.append((self.now, change))
        _move(after, change, self.now)
        self.lines += history.lines(seen, after, change, self.now)
        if after.completed_at and after.status != seen.status:
            self.ends.append(End(after, after.status, after.revision, self.now))

    def _note(
        self, kind: Intervention.Kind, by: str, because: str, successor: Delivery | None = None
    ) -> None:
        self.acts.append(
            Intervention(
                delivery=self.delivery,
                at=self.now,
                kind=kind,
                by=by,
                because=because,
                successor=successor,
            )
        )


@dataclass(slots=True, kw_only=True)
class Instant(Life):
    """One that is sent at once."""

    draft: Draft
    idempotency: IdempotencyRecord
    successor: "Instant | None" = None

    @property
    def shipment(self) -> Shipment:
        return self.delivery.shipment

    @property
    def order(self) -> Order:
        return self.shipment.order

    @property
    def entries(self) -> Sequence[FeedEntry]:
        return [entry(OrderStatus.COMPLETED, [end]) for end in self.ends]

    def repeat_unsent(self) -> None:
        """Its id comes again, and it is tried once more."""
        self.begin()
        self.ask(Outcome.TAKEN)

    def repeat_sent(self) -> None:
        """Its id comes again, and is answered with what has become of it."""
        if not self.is_over:
            self.idempotency.repeated_at = self.now.replace(second=0, microsecond=0)

    def resend(self, by: str, because: str) -> "Instant":
        """A new message for the life that is left, as ``orders.resend`` makes it."""
        left = self.delivery.expires_at - self.now
        again = replace(
            self.draft,
            idempotency_id=f"resend {self.delivery.pk} 1",
            time_to_live=int(left.total_seconds()),
        )
        self.successor = reserve(again, self.now, self.world)
        self._note(Intervention.Kind.RESEND, by, because, self.successor.delivery)
        return self.successor


def reserve(draft: Draft, now: datetime, world: World) -> Instant:
    """As ``orders`` does it."""
    chance = world.chance
    order = Order(id=uuid7_of(now, chance), creator=draft.creator, created_at=now)
    idempotency = IdempotencyRecord(
        creator=draft.creator,
        scope=draft.channel,
        key=draft.idempotency_id,
        order=order,
        fingerprint=privacy.fingerprints([draft.destination, draft.content])[0],
        created_at=now,
    )
    shipment = Shipment(
        id=uuid7_of(now, chance),
        order=order,
        creator=draft.creator,
        type=ShipmentType.INSTANT,
        senders_reference=draft.senders_reference,
        created_at=now,
    )
    delivery = Delivery(
        id=uuid7_of(now, chance),
        shipment=shipment,
        channel=draft.channel,
        destination=draft.destination,
        destination_digest=privacy.digest(draft.destination),
        content=json.dumps(draft.content, ensure_ascii=False),
        segments=measure(draft.content["body"]).parts if draft.channel is Channel.SMS else None,
        secret=draft.secret,
        status=WORDS[draft.channel].sending,
        handover=Handover.UNDER_WAY,
        attempts=1,
        lease_until=now + dispatch.lease(),
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(seconds=draft.time_to_live),
    )
    return Instant(delivery, draft.content, now, world, draft=draft, idempotency=idempotency)


def entry(status: OrderStatus, ends: Sequence[End]) -> FeedEntry:
    """What the feed says of a shipment once the last of its messages has come to its end."""
    last = max(ends, key=attrgetter("at"))
    return FeedEntry(
        creator=last.delivery.shipment.creator,
        shipment=last.delivery.shipment,
        delivery_id=last.delivery.pk,
        revision=last.revision,
        status=status,
        at=last.at,
        recipients=[
            {
                "delivery": str(end.delivery.pk),
                "channel": end.delivery.channel,
                "status": end.status,
                "at": end.at.isoformat(),
            }
            for end in sorted(ends, key=_place)
        ],
    )


def _place(end: End) -> tuple[bool, UUID]:
    """E-mail comes before SMS."""
    return end.delivery.channel != Channel.EMAIL, end.delivery.pk


def _move(delivery: Delivery, change: Change, now: datetime) -> None:
    moving = ("status", "handover", "attempts", "gateway", "gateway_reference")
    before = [getattr(delivery, name) for name in moving]
    if change.handover and delivery.handover not in _SETTLED:
        under_way = change.handover is Handover.UNDER_WAY
        delivery.handover = change.handover
        delivery.due_at, delivery.claimed_until = change.due_at, None
        delivery.lease_until = now + dispatch.lease() if under_way else None
    if change.attempt and change.attempt != delivery.attempts:
        delivery.attempts, delivery.gateway = change.attempt, ""
    if change.gateway and not delivery.gateway_reference:
        delivery.gateway, delivery.gateway_reference = change.gateway, change.gateway_reference
    if change.status and may_follow(delivery.status, change.status):
        delivery.status = change.status
        delivery.completed_at = now if is_final(change.status) else None
        if delivery.completed_at:
            delivery.due_at = delivery.claimed_until = None
    if before != [getattr(delivery, name) for name in moving]:
        delivery.updated_at = now
    delivery.revision += 1
    if delivery.secret and (delivery.completed_at or delivery.handover in _SETTLED):
        delivery.content = None
