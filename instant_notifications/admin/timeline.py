"""What happened to a delivery, or to the plan of one, line by line, in order of time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Prefetch
from django.utils.functional import Promise

from instant_notifications.admin import words
from instant_notifications.admin.words import Ending, NoChange
from instant_notifications.models import Delivery, Intervention, StatusEvent, primary
from instant_notifications.statuses import (
    STAGES,
    WORDS,
    Cause,
    Channel,
    Handover,
    Outcome,
    Stage,
    is_final,
)

MOST: Final = 200
"""Lines of the history that are shown, and as many deeds: the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    begun_at: datetime
    """When there began to be something to tell of."""
    at: datetime
    sentence: str | Promise
    more: Sequence[str | Promise] = ()
    own_words: str = ""
    """What the gateway said, or why a person did it."""
    took: str = ""
    status: str = ""
    """The word that the delivery came to show."""
    leads_to: UUID | None = None
    """The shipment of another message that this is about."""

    @property
    def after(self) -> str:
        """How long after that it happened."""
        after = self.at - self.begun_at
        return words.duration(after) if after else ""

    @property
    def meaning(self) -> Promise | None:
        return words.MEANINGS.get(self.status)


def timeline(delivery: Delivery, now: datetime, *, was_planned: bool = False) -> Sequence[Line]:
    """Of a delivery that was read with ``prefetches()``.

    ``was_planned``: workers make and send it, and not whoever asks for it.
    """
    told = [
        *_beginning(delivery, was_planned=was_planned),
        *_history(delivery, was_planned=was_planned),
        *_deeds(delivery),
        *_clocks(delivery, now),
    ]
    return sorted(told, key=lambda line: line.at)


def prefetches() -> "Sequence[Prefetch[Any]]":
    """What a timeline needs to be read with its delivery: the newest of each, and one more."""
    events = StatusEvent.objects.using(primary()).order_by("-pk")
    deeds = Intervention.objects.using(primary()).select_related("successor").order_by("-pk")
    deeds = deeds.defer("successor__destination", "successor__content")
    resends = deeds.filter(kind=Intervention.Kind.RESEND, successor__isnull=False).order_by("pk")
    return (
        Prefetch("events", events[: MOST + 1], to_attr="newest_events"),
        Prefetch("interventions", deeds[: MOST + 1], to_attr="newest_deeds"),
        Prefetch("origin__delivery__interventions", resends, to_attr="resends"),
    )


def is_cut(delivery: Delivery) -> bool:
    return any(len(_newest(delivery, what)) > MOST for what in ("events", "deeds"))


def events_of(delivery: Delivery) -> Sequence[StatusEvent]:
    """The oldest first."""
    return _newest(delivery, "events")[:MOST][::-1]


def deeds_of(delivery: Delivery) -> Sequence[Intervention]:
    """What people did about it, the oldest first."""
    return _newest(delivery, "deeds")[:MOST][::-1]


def _newest(delivery: Delivery, what: str) -> Sequence[Any]:
    found: Sequence[Any] = getattr(delivery, f"newest_{what}")
    return found


def origin_of(delivery: Delivery) -> Intervention | None:
    """The resend that has made it."""
    return getattr(delivery, "origin", None)


def made_after(delivery: Delivery) -> Sequence[Intervention]:
    """The resends that were made after it, of it or of what it was made of itself."""
    origin = origin_of(delivery)
    of_family: Sequence[Intervention] = getattr(origin.delivery, "resends") if origin else []  # noqa: B009
    own = [deed for deed in deeds_of(delivery) if deed.successor]
    return [*own, *(deed for deed in of_family if origin and deed.pk > origin.pk)]


def ended_by(delivery: Delivery) -> Ending | None:
    """What somebody did so that it is never sent."""
    if delivery.handover != Handover.REFUSED or delivery.completed_at is None:
        return None
    if any(event.cause == Cause.CALLER for event in events_of(delivery)):
        return words.CALLER
    deeds = [deed for deed in deeds_of(delivery) if deed.kind == Intervention.Kind.CANCEL]
    # A person's deed is noted just before the message is refused for it.
    before = (each for each in [*deeds, *made_after(delivery)] if each.at <= delivery.completed_at)
    return next((Ending(deed.kind, deed.by) for deed in before), None)


def _beginning(delivery: Delivery, *, was_planned: bool) -> Iterator[Line]:
    at, origin = delivery.created_at, origin_of(delivery)
    if origin is None:
        sentence = words.MADE_READY if was_planned else words.ASKED
        yield Line(begun_at=at, at=at, sentence=sentence)
        return
    yield Line(
        begun_at=at,
        at=at,
        sentence=str(words.ASKED_BY) % {"by": origin.by},
        own_words=origin.because,
        leads_to=origin.delivery.shipment_id,
    )


def _history(delivery: Delivery, *, was_planned: bool) -> Iterator[Line]:
    for event in events_of(delivery):
        passed_over = event.outcome == Outcome.PASSED_OVER
        yield Line(
            begun_at=delivery.created_at,
            at=event.started_at or event.at,
            sentence=str(_sentence(event, was_planned=was_planned)) % _particulars(event),
            more=list(_more(event, delivery)),
            own_words="" if _reason(event) else event.gateway_word,
            took="" if event.duration is None or passed_over else words.duration(event.duration),
            status=event.to_status if _changes(event) else "",
        )


def _sentence(event: StatusEvent, *, was_planned: bool) -> Promise:
    if event.outcome:
        return words.CALLS[event.outcome]
    if event.cause == Cause.HANDOVER and not event.gateway_word:
        return words.TURN if was_planned else words.ATTEMPT
    return words.CAUSES[event.cause]


def _particulars(event: StatusEvent) -> Mapping[str, object]:
    return {"gateway": event.gateway, "attempt": event.attempt}


def _reason(event: StatusEvent) -> Promise | None:
    """Our own reason, where it was not the gateway that spoke."""
    passed_over = event.outcome == Outcome.PASSED_OVER
    return words.REASONS.get(event.gateway_word) if passed_over else None


def _changes(event: StatusEvent) -> bool:
    return event.from_status != event.to_status


def _more(event: StatusEvent, delivery: Delivery) -> Iterator[str | Promise]:
    if reason := _reason(event):
        yield reason
    if event.part:
        sentence = words.PART_OF if delivery.segments else words.PART
        yield str(sentence) % {"part": event.part, "parts": delivery.segments}
    if event.cause == Cause.RECEIPT and not _changes(event):
        yield words.NO_CHANGES[_why_nothing_changed(event, Channel(delivery.channel))]


def _why_nothing_changed(event: StatusEvent, channel: Channel) -> NoChange:
    said, shown = event.reported_status, event.to_status
    if not said:
        return NoChange.STRANGE
    if said == shown:
        return NoChange.REPEATED
    if STAGES[said] is Stage.EXPIRED:
        return NoChange.OURS
    can_still_arrive = not is_final(shown) or STAGES[shown] is Stage.EXPIRED
    if event.part and said == WORDS[channel].delivered and can_still_arrive:
        return NoChange.PART
    return NoChange.LATE if is_final(shown) else NoChange.PASSED


def _deeds(delivery: Delivery) -> Iterator[Line]:
    for deed in deeds_of(delivery):
        yield Line(
            begun_at=delivery.created_at,
            at=deed.at,
            sentence=str(words.DEEDS[deed.kind]) % {"by": deed.by},
            own_words=deed.because,
            leads_to=deed.successor.shipment_id if deed.successor else None,
        )


def _clocks(delivery: Delivery, now: datetime) -> Iterator[Line]:
    """What the clock has done, also where nobody has written it down yet."""
    begun_at = delivery.created_at
    if delivery.expires_at <= min(now, delivery.completed_at or now):
        yield Line(begun_at=begun_at, at=delivery.expires_at, sentence=words.TIME_OUT)
    if delivery.lease_until is not None and not delivery.leased:
        yield Line(begun_at=begun_at, at=delivery.lease_until, sentence=words.CAUSES[Cause.LEASE])
    if delivery.overdue(now):
        yield Line(
            begun_at=begun_at,
            at=delivery.overdue_at,
            sentence=words.CAUSES[Cause.EXPIRY],
            status=delivery.status_at(now),
        )
