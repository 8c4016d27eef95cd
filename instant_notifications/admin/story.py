"""The story of one shipment: did the message leave, and if not, why?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.functional import Promise

from instant_notifications import feed, privacy
from instant_notifications.admin import plans, timeline, words
from instant_notifications.conf import settings
from instant_notifications.models import Delivery, IdempotencyRecord, Plan, Shipment, primary
from instant_notifications.orders import Revealed
from instant_notifications.statuses import WORDS, Channel, ShipmentType

MOST_DELIVERIES: Final = 50
MOST_RELATIVES: Final = 20

_BY_AGE: Final = ("created_at", "pk")
"""By the key alone, PostgreSQL would look for those of a large shipment along the whole table."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What is told of one delivery."""

    delivery: Delivery
    now: datetime
    revealed: Revealed | None
    was_planned: bool

    @property
    def headline(self) -> str:
        ended_by = timeline.ended_by(self.delivery)
        return words.headline(self.delivery, self.now, ended_by, was_planned=self.was_planned)

    @property
    def afterwords(self) -> Sequence[str | Promise]:
        ended_by = timeline.ended_by(self.delivery)
        resent = (link.sentence for link in _successors(self.delivery) if not ended_by)
        return [*words.afterwords(self.delivery, self.now, ended_by), *resent]

    @property
    def tone(self) -> str:
        return words.tone(self.delivery, self.now).value

    @property
    def status(self) -> str:
        return self.delivery.status_at(self.now)

    @property
    def channel(self) -> Promise:
        return words.CHANNELS[self.delivery.channel]

    @property
    def title(self) -> str:
        to, channel = privacy.mask(self.delivery.destination), self.channel
        sentence = words.TO_BY if self.delivery.destination else words.BY
        return str(sentence) % {"to": to, "channel": channel}

    @property
    def destination(self) -> str | Promise:
        if self.delivery.destination is None:
            return _absent(self.delivery, "destination")
        return privacy.mask(self.delivery.destination)

    @property
    def life(self) -> str:
        return words.life(self.delivery, self.now)

    @property
    def lines(self) -> Sequence[timeline.Line]:
        return timeline.timeline(self.delivery, self.now, was_planned=self.was_planned)

    @property
    def is_cut(self) -> bool:
        return timeline.is_cut(self.delivery)

    @property
    def handover(self) -> Promise:
        return words.HANDOVERS[self.delivery.handover]

    @property
    def text(self) -> Promise | None:
        """Why the text is not, or not simply, kept; ``None`` where it is."""
        kept = _is_kept(self.delivery, "content")
        if _never_had_one(self.delivery):
            return words.NEVER_THERE
        if self.delivery.secret:
            return words.SECRET_KEPT if kept else words.SECRET_ERASED
        return None if kept else words.ERASED

    @property
    def kept_until(self) -> datetime:
        return self.delivery.created_at + settings.KEEP_CONTENT

    @property
    def hidden_destination(self) -> Promise | None:
        """Why a revealed destination is not to be seen; ``None`` where it is."""
        if self.revealed is None or self.revealed.destination is not None:
            return None
        return _absent(self.delivery, "destination")

    @property
    def hidden_text(self) -> Promise | None:
        if self.revealed is None or self.revealed.content is not None:
            return None
        return words.NEVER_SHOWN if self.delivery.secret else _absent(self.delivery, "content")


@dataclass(frozen=True, slots=True)
class Link:
    """To another shipment that has to do with this one."""

    at: datetime
    sentence: str
    shipment_id: UUID


@dataclass(frozen=True, slots=True)
class Story:
    now: datetime
    shipment: Shipment
    known_as: IdempotencyRecord | None
    planned: plans.Planned | None
    """Of a regular order."""
    tellings: Sequence[Telling]
    has_more: bool
    """Only the first deliveries are told of."""
    links: Sequence[Link]
    has_more_links: bool

    @property
    def type(self) -> Promise:
        return words.TYPES[self.shipment.type]

    @property
    def order_status(self) -> str:
        """The word of all deliveries, where all are here to tell it."""
        deliveries = [telling.delivery for telling in self.tellings]
        return "" if self.has_more else feed.status_of(self.shipment, deliveries, self.now)


def story_of(shipment_id: UUID, revealed: Mapping[UUID, Revealed] | None = None) -> Story | None:
    """What is known of a shipment; of the deliveries in ``revealed``, in clear too."""
    now, shown = timezone.now(), revealed or {}
    shipments = Shipment.objects.using(primary()).select_related("order__idempotency")
    shipment = plans.with_plan(shipments).filter(pk=shipment_id).first()
    if shipment is None:
        return None
    found = list(_deliveries_of(shipment)[: MOST_DELIVERIES + 1])
    deliveries, plan = found[:MOST_DELIVERIES], feed.plan_of(shipment)
    known_as = getattr(shipment.order, "idempotency", None)
    relatives = list(_relatives(shipment, plan, known_as))
    return Story(
        now=now,
        shipment=shipment,
        known_as=known_as,
        planned=plans.Planned(plan, shipment, deliveries, now) if plan else None,
        tellings=[Telling(each, now, shown.get(each.pk), bool(plan)) for each in deliveries],
        has_more=len(found) > MOST_DELIVERIES,
        links=[
            *(link for each in deliveries for link in _resends(each)),
            *relatives[:MOST_RELATIVES],
        ],
        has_more_links=len(relatives) > MOST_RELATIVES,
    )


def _deliveries_of(shipment: Shipment) -> QuerySet[Delivery]:
    return (
        Delivery.objects.using(primary())
        .filter(shipment=shipment)
        .select_related("origin__delivery")
        .defer("content", "origin__delivery__destination", "origin__delivery__content")
        .annotate(**{f"has_{column}": plans.kept(column) for column in ("destination", "content")})
        .prefetch_related(*timeline.prefetches())
        .order_by(*_BY_AGE)
    )


def _is_kept(delivery: Delivery, column: str) -> bool:
    kept: bool = getattr(delivery, f"has_{column}")
    return kept


def _absent(delivery: Delivery, column: str) -> Promise:
    """Why something reads as nothing."""
    if _never_had_one(delivery):
        return words.NEVER_THERE
    return words.UNREADABLE if _is_kept(delivery, column) else words.ERASED


def _never_had_one(delivery: Delivery) -> bool:
    """Whether there was nowhere to send it from the beginning."""
    its = WORDS[Channel(delivery.channel)]
    return not delivery.attempts and delivery.status in (its.reserved, its.not_identified)


def _resends(delivery: Delivery) -> Iterator[Link]:
    """What it is a resend of, and what was made of it."""
    if origin := timeline.origin_of(delivery):
        sentence = str(words.ORIGIN) % {"by": origin.by}
        yield Link(origin.at, sentence, origin.delivery.shipment_id)
    yield from _successors(delivery)


def _successors(delivery: Delivery) -> Iterator[Link]:
    for deed in timeline.made_after(delivery):
        if deed.successor:
            sentence = str(words.SUCCESSOR) % {"by": deed.by}
            yield Link(deed.at, sentence, deed.successor.shipment_id)


def _relatives(
    shipment: Shipment, plan: Plan | None, known_as: IdempotencyRecord | None
) -> Iterator[Link]:
    """Others that have to do with this one, and what they are to it: those for the same recipient
    first, and one more than are shown if there are more."""
    sentences = {shipment.order_id: str(words.SAME_ORDER), **_of_namesakes(known_as)}
    whole = Shipment.objects.using(primary()).order_by(*_BY_AGE)
    closest = _of_the_same_recipient(whole, plan)
    for each in closest:
        sentence = words.REMINDER if each.type == ShipmentType.REMINDER else words.REMINDED_OF
        yield Link(each.created_at, str(sentence), each.pk)
    known = [shipment.pk, *(each.pk for each in closest)]
    others = whole.filter(order__in=sentences).exclude(pk__in=known)
    for other in others[: MOST_RELATIVES + 1]:
        yield Link(other.created_at, sentences[other.order_id], other.pk)


def _of_namesakes(known_as: IdempotencyRecord | None) -> Mapping[UUID, str]:
    """The orders of those who used the same idempotency id, and what is said of them."""
    if known_as is None:
        return {}
    records = IdempotencyRecord.objects.using(primary()).filter(key=known_as.key)
    namesakes = records.exclude(pk=known_as.pk).order_by("creator", "scope")
    return {
        each.order_id: str(words.SAME_IDS[each.scope])
        % {"creator": each.creator, "channel": words.CHANNELS.get(each.scope, "")}
        for each in namesakes[:MOST_RELATIVES]
    }


def _of_the_same_recipient(whole: QuerySet[Shipment], plan: Plan | None) -> Sequence[Shipment]:
    """The message and its reminders, as long as it is known whose they are."""
    if plan is None or not plan.recipient_digest:
        return []
    theirs = whole.filter(
        plan__recipient_digest=plan.recipient_digest, plan__notice__order=plan.notice.order_id
    )
    return list(theirs.exclude(pk=plan.pk)[:MOST_RELATIVES])
