"""The life of one message, played through in a moment: the rows that the app would have left."""

import json
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from example_project.traffic.world import World, about, uuid7_of
from instant_notifications import dispatch, history, privacy
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


@dataclass(slots=True)
class Life:
    """One message from its order on. Each act plays at ``now`` and moves it on."""

    draft: Draft
    now: datetime
    world: World
    order: Order = field(init=False)
    idempotency: IdempotencyRecord = field(init=False)
    shipment: Shipment = field(init=False)
    delivery: Delivery = field(init=False)
    arrived: SimulatedMessage | None = None
    changes: list[tuple[datetime, Change]] = field(default_factory=list)
    lines: list[StatusEvent] = field(default_factory=list)
    entries: list[FeedEntry] = field(default_factory=list)
    receipts: list[SimulatedReceipt] = field(default_factory=list)
    acts: list[Intervention] = field(default_factory=list)
    successor: "Life | None" = None

    def __post_init__(self) -> None:
        """Reserve it, as ``orders`` does."""
        draft, now, chance = self.draft, self.now, self.world.chance
        self.order = Order(id=uuid7_of(now, chance), creator=draft.creator, created_at=now)
        self.idempotency = IdempotencyRecord(
            creator=draft.creator,
            scope=draft.channel,
            key=draft.idempotency_id,
            order=self.order,
            fingerprint=privacy.fingerprints([draft.destination, draft.content])[0],
            created_at=now,
        )
        self.shipment = Shipment(
            id=uuid7_of(now, chance),
            order=self.order,
            creator=draft.creator,
            type=ShipmentType.INSTANT,
            senders_reference=draft.senders_reference,
            created_at=now,
        )
        self.delivery = Delivery(
            id=uuid7_of(now, chance),
            shipment=self.shipment,
            channel=draft.channel,
            destination=draft.destination,
            destination_digest=privacy.digest(draft.destination),
            content=json.dumps(draft.content, ensure_ascii=False),
            segments=measure(draft.content["body"]).parts if self._is_sms else None,
            secret=draft.secret,
            status=WORDS[draft.channel].sending,
            handover=Handover.UNDER_WAY,
            attempts=1,
            lease_until=now + dispatch.lease(),
            created_at=now,
            updated_at=now,
            expires_at=now + timedelta(seconds=draft.time_to_live),
        )

    def wait(self, seconds: float) -> None:
        self.now += about(seconds, self.world.chance)

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
        content = self.draft.content
        self.arrived = SimulatedMessage(
            gateway=gateway,
            reference=str(self.delivery.pk),
            channel=self.draft.channel,
            destination=self.draft.destination,
            sender=content["sender"] or (self._is_sms and settings.DEFAULT_SMS_SENDER) or "",
            subject=content.get("subject", ""),
            body=content["body"],
            received_at=at,
        )

    def hear(self, word: Word) -> None:
        """A receipt comes; one that is still to come is left to the simulator's postman."""
        if self.arrived is None:
            return
        status = STATUSES[self.draft.channel][word]
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
        expired = WORDS[self.draft.channel].expired
        self._tell(Change(cause=Cause.EXPIRY, status=expired))

    def lapse(self) -> None:
        """The sweep finds that nobody is at it any more."""
        self.now += dispatch.lease() + about(20, self.world.chance)
        self._tell(Change(cause=Cause.LEASE, handover=Handover.UNKNOWN))

    def repeat_unsent(self) -> None:
        """Its id comes again, and it is tried once more."""
        self._tell(
            Change(
                cause=Cause.HANDOVER,
                status=WORDS[self.draft.channel].sending,
                handover=Handover.UNDER_WAY,
                attempt=self.delivery.attempts + 1,
            )
        )
        self.ask(Outcome.TAKEN)

    def repeat_sent(self) -> None:
        """Its id comes again, and is answered with what has become of it."""
        if not self.is_over:
            self.idempotency.repeated_at = self.now.replace(second=0, microsecond=0)

    def cancel(self, by: str, because: str) -> None:
        failed = WORDS[self.draft.channel].failed
        self._tell(Change(cause=Cause.OPERATOR, status=failed, handover=Handover.REFUSED))
        if not self.is_over:
            self._note(Intervention.Kind.CANCEL, by, because)

    def resend(self, by: str, because: str) -> "Life":
        """A new message for the life that is left, as ``orders.resend`` makes it."""
        left = self.delivery.expires_at - self.now
        again = replace(
            self.draft,
            idempotency_id=f"resend {self.delivery.pk} 1",
            time_to_live=int(left.total_seconds()),
        )
        self.successor = Life(again, self.now, self.world)
        self._note(Intervention.Kind.RESEND, by, because, self.successor.delivery)
        return self.successor

    @property
    def is_over(self) -> bool:
        """What would come now has not happened yet."""
        return self.now > self.world.end

    @property
    def _is_sms(self) -> bool:
        return self.draft.channel is Channel.SMS

    def _change_for(self, calls: Sequence[Call]) -> Change:
        asked = [call for call in calls if call.outcome is not Outcome.PASSED_OVER]
        last = (asked or calls)[-1]
        words, channel = WORDS[self.draft.channel], self.draft.channel
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
            attempt=self.delivery.attempts,
            calls=calls,
            gateway=last.gateway if asked else "",
            gateway_reference=taken.gateway_reference if taken else "",
            gateway_word="OK" if taken else last.reason,
        )

    def _tell(self, change: Change) -> None:
        """Write a change down, as ``record`` does."""
        if self.is_over:
            return
        seen, after = copy(self.delivery), self.delivery
        self.changes.append((self.now, change))
        _move(after, change, self.now)
        self.lines += history.lines(seen, after, change, self.now)
        if after.completed_at and after.status != seen.status:
            self.entries.append(self._entry())

    def _entry(self) -> FeedEntry:
        delivery = self.delivery
        return FeedEntry(
            creator=self.shipment.creator,
            shipment=self.shipment,
            delivery_id=delivery.pk,
            revision=delivery.revision,
            status=OrderStatus.COMPLETED,
            at=self.now,
            recipients=[
                {
                    "delivery": str(delivery.pk),
                    "channel": delivery.channel,
                    "status": delivery.status,
                    "at": delivery.updated_at.isoformat(),
                }
            ],
        )

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


def _move(delivery: Delivery, change: Change, now: datetime) -> None:
    moving = ("status", "handover", "attempts", "gateway", "gateway_reference")
    before = [getattr(delivery, name) for name in moving]
    if change.handover and delivery.handover not in _SETTLED:
        under_way = change.handover is Handover.UNDER_WAY
        delivery.handover = change.handover
        delivery.lease_until = now + dispatch.lease() if under_way else None
    if change.attempt and change.attempt != delivery.attempts:
        delivery.attempts, delivery.gateway = change.attempt, ""
    if change.gateway and not delivery.gateway_reference:
        delivery.gateway, delivery.gateway_reference = change.gateway, change.gateway_reference
    if change.status and may_follow(delivery.status, change.status):
        delivery.status = change.status
        delivery.completed_at = now if is_final(change.status) else None
    if before != [getattr(delivery, name) for name in moving]:
        delivery.updated_at = now
    delivery.revision += 1
    if delivery.secret and (delivery.completed_at or delivery.handover in _SETTLED):
        delivery.content = None
