"""How messages stand: the manifest of one shipment, and each organisation's numbered feed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import F, Prefetch, QuerySet, Subquery
from django.utils import timezone

from instant_notifications.conf import settings
from instant_notifications.models import Delivery, FeedEntry, Organisation, Plan, Shipment, primary
from instant_notifications.statuses import Channel, Ended, Handover, OrderStatus, ShipmentType


def status_of(shipment: Shipment, deliveries: Iterable[Delivery], now: datetime) -> OrderStatus:
    """The word of a shipment at this moment; its ``plan`` should have been read with it."""
    plan = plan_of(shipment)
    if plan is None:
        return order_status(deliveries, now)
    if plan.ended:
        return order_status(deliveries, now, Ended(plan.ended))
    waits = now < plan.notice.requested_at
    return OrderStatus.REGISTERED if waits else OrderStatus.PROCESSING


def plan_of(shipment: Shipment) -> Plan | None:
    """``None`` for an instant one. It should have been read with its plan."""
    return None if shipment.type == ShipmentType.INSTANT else getattr(shipment, "plan", None)


def order_status(
    deliveries: Iterable[Delivery], now: datetime | None, ended: Ended = Ended.PLANNED
) -> OrderStatus:
    """An order's word follows from its deliveries, and from how its planning has ended.

    It is the truth of the moment ``now``, or, without one, what has been written down so far.
    """
    if all(each.completed_at or (now and each.overdue(now)) for each in deliveries):
        return ENDS[ended]
    if any(delivery.handover in _NOT_HANDED_OVER for delivery in deliveries):
        return OrderStatus.PROCESSING
    return OrderStatus.PROCESSED


_NOT_HANDED_OVER = frozenset({Handover.OPEN, Handover.UNDER_WAY})

ENDS: Final[Mapping[Ended, OrderStatus]] = {
    Ended.PLANNED: OrderStatus.COMPLETED,
    Ended.CANCELLED: OrderStatus.CANCELLED,
    Ended.CONDITION_NOT_MET: OrderStatus.SEND_CONDITION_NOT_MET,
}
"""An order's last word."""


def tell(changed: Sequence[Delivery], now: datetime) -> None:
    """Add what has become of each delivery's order, if its creator is to hear of it.

    The counters' rows are locked here, last in the transaction and always in the same order, so
    that numbers are dense and given in commit order.
    """
    heard = [each for each in changed if each.completed_at or settings.FEED == "every"]
    families = _families(heard)
    entries = (_entry(each, families[each.shipment_id], now) for each in heard)
    _store([entry for entry in entries if entry])


def tell_ended(shipments: Iterable[Shipment], ended: Ended, now: datetime) -> None:
    """Add that these have come to their end before there was anything to hand over."""
    _store(
        [
            FeedEntry(
                creator=shipment.creator,
                shipment=shipment,
                delivery_id=shipment.pk,
                revision=0,
                status=ENDS[ended],
                at=now,
                recipients=[],
            )
            for shipment in shipments
        ]
    )


def _store(entries: Sequence[FeedEntry]) -> None:
    """Numbered, and so the last thing that is done in a transaction."""
    by_creator: defaultdict[str, list[FeedEntry]] = defaultdict(list)
    for entry in entries:
        by_creator[entry.creator].append(entry)
    for creator in sorted(by_creator):
        theirs = by_creator[creator]
        last = _count_up(creator, len(theirs))
        for place, entry in enumerate(reversed(theirs)):
            entry.sequence_number = last - place if place else last
    FeedEntry.objects.using(primary()).bulk_create(entries)


@dataclass(slots=True)
class _Family:
    """All deliveries of a shipment, and how its planning has ended."""

    deliveries: list[Delivery]
    ended: Ended = Ended.PLANNED


def _entry(delivery: Delivery, family: _Family, now: datetime) -> FeedEntry | None:
    """What the feed is to say, still without its number."""
    status = order_status(family.deliveries, None, family.ended)
    if status not in ENDS.values() and settings.FEED != "every":
        return None
    return FeedEntry(
        creator=delivery.shipment.creator,
        shipment=delivery.shipment,
        delivery_id=delivery.pk,
        revision=delivery.revision,
        status=status,
        at=now,
        recipients=[
            {
                "delivery": str(each.pk),
                "channel": each.channel,
                "status": each.status,
                "at": each.updated_at.isoformat(),
            }
            for each in sorted(family.deliveries, key=_place)
        ],
    )


def _families(changed: Sequence[Delivery]) -> Mapping[UUID, _Family]:
    """By shipment. An instant one has one delivery, at no cost.

    Of several, the last two to come to their end must not miss each other, hence the lock; what
    holds is read once it is ours.
    """
    families = {each.shipment_id: _Family([each]) for each in changed}
    regular = [each.shipment_id for each in changed if each.shipment.type != ShipmentType.INSTANT]
    if not regular:
        return families
    shipments = Shipment.objects.using(primary()).filter(pk__in=regular).order_by("pk")
    list(shipments.select_for_update().values_list("pk", flat=True))
    theirs = Delivery.objects.using(primary()).without_secrets().filter(shipment__in=regular)
    known: Iterable[Any] = theirs.annotate(planned=F("shipment__plan__ended"))
    for each in known:
        family = families[each.shipment_id]
        family.ended = Ended(each.planned or Ended.PLANNED)
        if each.pk != family.deliveries[0].pk:
            family.deliveries.append(each)
    return families


def _count_up(creator: str, by: int) -> int | Subquery:
    """The creator's new last number, counted and read in the same transaction.

    A single one is read by the statement that inserts it; of many, each row would read it again.
    """
    counters = Organisation.objects.using(primary()).filter(name=creator)
    if not counters.update(last_sequence_number=F("last_sequence_number") + by):
        Organisation.objects.using(primary()).get_or_create(name=creator)
        counters.update(last_sequence_number=F("last_sequence_number") + by)
    number = counters.values_list("last_sequence_number", flat=True)
    return Subquery(number) if by == 1 else number.get()


def _place(delivery: Delivery) -> tuple[bool, UUID]:
    """E-mail comes before SMS, each in the order of creation."""
    return delivery.channel != Channel.EMAIL, delivery.pk


@dataclass(frozen=True, slots=True)
class Recipient:
    """How one recipient's delivery stands, or stood when a feed entry was made."""

    channel: Channel
    destination: str
    status: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Report:
    """How a shipment stands (the manifest), or stood when a feed entry was made."""

    shipment: Shipment
    status: str
    at: datetime
    recipients: Sequence[Recipient]
    sequence_number: int | None = None


def read_manifest(creator: str, shipment_id: UUID, *, using: str | None = None) -> Report | None:
    """The truth about a shipment at this moment; ``None`` if it is not this creator's."""
    shipments = Shipment.objects.using(using).filter(pk=shipment_id, creator=creator)
    shipment = with_all_of_it(shipments).first()
    return report_on(shipment, timezone.now()) if shipment else None


def with_all_of_it(shipments: QuerySet[Shipment]) -> QuerySet[Shipment]:
    """With what it takes to report on them."""
    deliveries = Delivery.objects.using(shipments.db).defer("content")
    return with_plan(shipments).prefetch_related(Prefetch("deliveries", deliveries))


def with_plan(shipments: QuerySet[Shipment]) -> QuerySet[Shipment]:
    """With what ``status_of`` looks at, and nothing that would have to be decrypted."""
    joined = shipments.select_related("plan__notice")
    return joined.defer("plan__recipient", "plan__notice__content", "plan__notice__condition")


def report_on(shipment: Shipment, now: datetime) -> Report:
    deliveries = sorted(shipment.deliveries.all(), key=_place)
    recipients = [_recipient(delivery, now) for delivery in deliveries]
    return Report(
        shipment=shipment,
        status=status_of(shipment, deliveries, now),
        at=max((recipient.at for recipient in recipients), default=_last_change(shipment)),
        recipients=recipients,
    )


def _last_change(shipment: Shipment) -> datetime:
    """Of one without deliveries."""
    plan = plan_of(shipment)
    return (plan and plan.ended_at) or shipment.created_at


def _recipient(delivery: Delivery, now: datetime) -> Recipient:
    return Recipient(
        channel=Channel(delivery.channel),
        destination=delivery.destination or "",
        status=delivery.status_at(now),
        at=delivery.overdue_at if delivery.overdue(now) else delivery.updated_at,
    )


def read_feed(creator: str, *, after: int, limit: int, newest_first: bool) -> Sequence[Report]:
    """The creator's entries on one side of a cursor; newest first, 0 means from the end."""
    entries = FeedEntry.objects.filter(creator=creator).select_related("shipment")
    if not newest_first:
        entries = entries.filter(sequence_number__gt=after).order_by("sequence_number")
    elif after:
        entries = entries.filter(sequence_number__lt=after).order_by("-sequence_number")
    else:
        entries = entries.order_by("-sequence_number")
    page = list(entries[:limit])
    ids = [UUID(recipient["delivery"]) for entry in page for recipient in entry.recipients]
    destinations = dict(Delivery.objects.filter(pk__in=ids).values_list("pk", "destination"))
    return [_report(entry, destinations) for entry in page]


def read_bounds(creator: str) -> tuple[int, int]:
    """The oldest number that can still be read and the latest that was given.

    Where every entry has been purged, the oldest is the next to come; where none was ever made,
    both are 0. So a cursor is too old exactly if it is more than one below the oldest; to be asked
    after the page was read, or a purge in between would go unnoticed.
    """
    counters = Organisation.objects.filter(name=creator)
    latest = counters.values_list("last_sequence_number", flat=True).first() or 0
    kept = FeedEntry.objects.filter(creator=creator).order_by("sequence_number")
    oldest = kept.values_list("sequence_number", flat=True).first() or (latest and latest + 1)
    return oldest, max(latest, oldest - 1)


def _report(entry: FeedEntry, destinations: Mapping[UUID, str | None]) -> Report:
    return Report(
        shipment=entry.shipment,
        status=entry.status,
        at=entry.at,
        sequence_number=entry.sequence_number,
        recipients=[
            Recipient(
                channel=Channel(recipient["channel"]),
                destination=destinations.get(UUID(recipient["delivery"])) or "",
                status=recipient["status"],
                at=datetime.fromisoformat(recipient["at"]),
            )
            for recipient in entry.recipients
        ],
    )
