"""What is told of a delivery, and the lines it leaves in the delivery's history."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F

from instant_notifications.models import Delivery, StatusEvent, insert, insert_for_each, primary
from instant_notifications.models.orders import PART_LENGTH, REFERENCE_LENGTH
from instant_notifications.statuses import WORDS, Cause, Channel, Handover, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One gateway that was asked to take a message, or passed over, and what came of it."""

    gateway: str
    started_at: datetime
    duration: timedelta = timedelta(0)
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """News of one delivery, from a hand-over, a receipt or the clock."""

    cause: Cause
    status: str | None = None
    """The word to show from now on; ``None`` leaves it."""
    handover: Handover | None = None
    """How the hand-over stands; ``None`` leaves it."""
    due_at: datetime | None = None
    """When it is to be tried again, if it was not sent; ``None`` leaves that to its sender."""
    attempt: int | None = None
    """Which hand-over speaks; ``None`` for anybody else."""
    calls: Sequence[Call] = ()
    """Whom that hand-over has asked, in turn."""
    last_word: bool = False
    """Nothing more will be heard, whatever the word."""
    gateway: str = ""
    gateway_reference: str = field(default="", compare=False)
    """Not compared: what differs in nothing else says the same of two deliveries."""
    gateway_word: str = ""
    reported_status: str = ""
    """What a receipt said, whether or not it may be shown."""
    part: str = ""
    parts: int | None = None
    """Which part of a long SMS this is about, of how many."""


def append(lines: Iterable[StatusEvent]) -> None:
    """Each to the history of its own delivery."""
    if rows := list(lines):
        insert(*rows)


def append_to_each(lines: Iterable[StatusEvent], whose: Collection[UUID]) -> None:
    """The same lines to the history of each of these deliveries."""
    deliveries = Delivery.objects.using(primary()).filter(pk__in=whose).order_by("pk")
    for line in lines:
        columns = {name: getattr(line, name) for name in _ALIKE}
        insert_for_each(deliveries, StatusEvent, delivery=F("pk"), **columns)


_ALIKE: Final = [
    each.name for each in StatusEvent._meta.fields if each.name not in ("id", "delivery")
]


def lines(seen: Delivery, after: Delivery, change: Change, now: datetime) -> Iterator[StatusEvent]:
    """What there is to say: a line for each gateway called, and one for the change itself.

    The last call and the change share a line where they tell of the same gateway.
    """
    moved = (seen.status, seen.handover) != (after.status, after.handover)
    telling = moved or change.cause is Cause.RECEIPT
    shared = telling and change.calls and change.calls[-1].gateway == change.gateway
    yield from lines_of_calls(change.calls[:-1] if shared else change.calls, seen, change)
    if telling:
        yield StatusEvent(
            delivery=after,
            at=now,
            from_status=seen.status,
            to_status=after.status,
            cause=change.cause,
            attempt=change.attempt,
            gateway=change.gateway,
            gateway_word=storable(change.gateway_word),
            reported_status=change.reported_status,
            part=storable(change.part, PART_LENGTH),
            **(_columns(change.calls[-1]) if shared else {}),
        )


def lines_of_calls(
    calls: Iterable[Call], delivery: Delivery, change: Change
) -> Iterator[StatusEvent]:
    for call in calls:
        yield StatusEvent(
            delivery=delivery,
            at=call.started_at + call.duration,
            from_status=delivery.status,
            to_status=delivery.status,
            cause=change.cause,
            attempt=change.attempt,
            gateway=call.gateway,
            gateway_word=storable(call.reason),
            **_columns(call),
        )


def _columns(call: Call) -> dict[str, Any]:
    return {"outcome": call.outcome, "started_at": call.started_at, "duration": call.duration}


class Note(NamedTuple):
    """What a line of the history says that came of a receipt."""

    gateway: str
    gateway_word: str
    reported_status: str
    part: str


def is_news(change: Change, noted: Callable[[], Collection[Note]]) -> bool:
    """A receipt that moves nothing is noted all the same, the first time its word is heard."""
    note = Note(
        gateway=change.gateway,
        gateway_word=storable(change.gateway_word),
        reported_status=change.reported_status,
        part=storable(change.part, PART_LENGTH),
    )
    return change.cause is Cause.RECEIPT and any(note[1:]) and note not in noted()


def of_all_parts(
    delivery: Delivery, change: Change, noted: Callable[[], Collection[Note]]
) -> Change:
    """A long SMS is delivered when each of its parts is; one that failed speaks for the whole."""
    delivered = WORDS[Channel(delivery.channel)].delivered
    if not change.part or change.status != delivered:
        return change
    arrived = {note.part for note in noted() if note.part and note.reported_status == delivered}
    arrived.add(storable(change.part, PART_LENGTH))
    missing = len(arrived) < (change.parts or delivery.segments or 1)
    return replace(change, status=None) if missing else change


def noted(delivery_ids: Collection[UUID]) -> Mapping[UUID, Collection[Note]]:
    """What receipts have said of each."""
    lines = StatusEvent.objects.using(primary()).filter(
        delivery__in=delivery_ids, cause=Cause.RECEIPT
    )
    found: defaultdict[UUID, set[Note]] = defaultdict(set)
    for delivery_id, *line in lines.values_list("delivery", *Note._fields):
        found[delivery_id].add(Note(*line))
    return found


def storable(text: str, length: int = REFERENCE_LENGTH) -> str:
    """A gateway's own text, fit for a column of any database whatever the gateway sent."""
    text = text[:length]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\ufffd" for each in text)
