"""How messages stand: the manifest of one shipment, and each organisation's numbered feed."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connections
from django.db.models import F, Prefetch, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from instant_notifications.conf import settings
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    Organisation,
    Plan,
    Shipment,
    insert,
    insert_for_each,
    primary,
)
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


@dataclass(slots=True)
class Shipped:
    """A delivery, and the shipment that it belongs to."""

    delivery_id: UUID
    shipment_id: UUID
    creator: str
    type: str


Told = tuple[Delivery, Sequence[Shipped]]
"""A delivery as it stands, and whose news that is: those that stand like it, or its alone."""


def tell(changed: Sequence[Told], now: datetime) -> None:
    """Add what has become of each delivery's order, if its creator is to hear of it.

    The counters' rows are locked here, last in the transaction and always in the same order, so
    that numbers are dense and given in commit order.
    """
    every = settings.FEED == "every"
    heard = [each for each in changed if each[0].completed_at or every]
    news = [*_news_of_instant(heard, now), *_news_of_regular(heard, now)]
    _store([each for each in news if every or each.entry.status in ENDS.values()])


def tell_ended(shipments: Iterable[Shipment], ended: Ended, now: datetime) -> None:
    """Add that these have come to their end before there was anything to hand over."""
    _store(
        [
            _News(
                FeedEntry(
                    creator=shipment.creator,
                    shipment=shipment,
                    delivery_id=shipment.pk,
                    revision=0,
                    status=ENDS[ended],
                    at=now,
                    recipients=[],
                )
            )
            for shipment in shipments
        ]
    )


def lock_counters(creators: Iterable[str]) -> None:
    """For those who tell more than once in a transaction: the order is kept over all of it."""
    for creator in sorted(creators):
        _count_up(creator, 0)


@dataclass(frozen=True, slots=True)
class _News:
    """An entry, still without its number; or what the entries of several deliveries share."""

    entry: FeedEntry
    delivery_ids: Sequence[UUID] = ()

    @property
    def quantity(self) -> int:
        return len(self.delivery_ids) or 1


def _store(news: Sequence[_News]) -> None:
    """Numbered, and so the last thing that is done in a transaction."""
    by_creator: defaultdict[str, list[_News]] = defaultdict(list)
    for each in news:
        by_creator[each.entry.creator].append(each)
    for creator in sorted(by_creator):
        theirs = by_creator[creator]
        last = _count_up(creator, sum(each.quantity for each in theirs))
        for each in reversed(theirs):
            each.entry.sequence_number = last
            last -= each.quantity
    entries = [each.entry for each in news if not each.delivery_ids]
    if len(entries) > 1:
        FeedEntry.objects.using(primary()).bulk_create(entries)
    else:
        insert(*entries)
    for each in news:
        if each.delivery_ids:
            _store_for_each(each.entry, each.delivery_ids)


def _store_for_each(entry: FeedEntry, delivery_ids: Sequence[UUID]) -> None:
    """What these deliveries' entries share is known, and the number of the last."""
    number: Any = entry.sequence_number
    if len(delivery_ids) > 1:
        number = number - len(delivery_ids) + Window(RowNumber(), order_by="pk")
    insert_for_each(
        Delivery.objects.using(primary()).filter(pk__in=delivery_ids),
        FeedEntry,
        creator=entry.creator,
        sequence_number=number,
        shipment=F("shipment"),
        delivery_id=F("pk"),
        revision=F("revision"),
        status=entry.status,
        at=entry.at,
        recipients=entry.recipients,
    )


def _news_of_instant(heard: Iterable[Told], now: datetime) -> Iterator[_News]:
    """An instant shipment has one delivery, so that those that stand alike make like entries."""
    for delivery, whose in heard:
        status, recipients = order_status([delivery], None), [_noted(delivery)]
        if not whose and delivery.shipment.type == ShipmentType.INSTANT:
            yield _News(_entry(delivery, delivery.shipment.creator, status, recipients, now))
        for creator, delivery_ids in _instant_ones(whose).items():
            shared = FeedEntry(creator=creator, status=status, at=now, recipients=recipients)
            yield _News(shared, delivery_ids)


def _instant_ones(whose: Iterable[Shipped]) -> Mapping[str, Sequence[UUID]]:
    by_creator: defaultdict[str, list[UUID]] = defaultdict(list)
    for each in whose:
        if each.type == ShipmentType.INSTANT:
            by_creator[each.creator].append(each.delivery_id)
    return by_creator


def _news_of_regular(heard: Iterable[Told], now: datetime) -> Iterator[_News]:
    """Of each with all deliveries of its shipment, and with how its planning has ended.

    The last two to come to their end must not miss each other, hence the lock; what holds is read
    once it is ours.
    """
    regular = [
        each
        for delivery, whose in heard
        for each in whose or [_shipped(delivery)]
        if each.type != ShipmentType.INSTANT
    ]
    families = _families({each.shipment_id for each in regular}) if regular else {}
    for each in regular:
        family = families[each.shipment_id]
        delivery = family[each.delivery_id]
        status = order_status(family.values(), None, Ended(delivery.planned or Ended.PLANNED))
        recipients = [_noted(one, delivery) for one in sorted(family.values(), key=_place)]
        yield _News(_entry(delivery, each.creator, status, recipients, now))


def _families(shipment_ids: Collection[UUID]) -> Mapping[UUID, Mapping[UUID, Any]]:
    shipments = Shipment.objects.using(primary()).filter(pk__in=shipment_ids).order_by("pk")
    list(shipments.select_for_update().values_list("pk", flat=True))
    theirs = Delivery.objects.using(primary()).without_secrets().filter(shipment__in=shipment_ids)
    families: defaultdict[UUID, dict[UUID, Any]] = defaultdict(dict)
    for each in theirs.annotate(planned=F("shipment__plan__ended")):
        families[each.shipment_id][each.pk] = each
    return families


def _shipped(delivery: Delivery) -> Shipped:
    shipment = delivery.shipment
    return Shipped(delivery.pk, shipment.pk, shipment.creator, shipment.type)


def _entry(
    delivery: Delivery,
    creator: str,
    status: OrderStatus,
    recipients: Sequence[Mapping[str, str]],
    now: datetime,
) -> FeedEntry:
    return FeedEntry(
        creator=creator,
        shipment_id=delivery.shipment_id,
        delivery_id=delivery.pk,
        revision=delivery.revision,
        status=status,
        at=now,
        recipients=recipients,
    )


def _noted(delivery: Delivery, told: Delivery | None = None) -> Mapping[str, str]:
    """How a recipient's delivery stands; named by its id unless the entry is about itself."""
    name = {} if told is None or told is delivery else {"delivery": str(delivery.pk)}
    return name | {
        "channel": delivery.channel,
        "status": delivery.status,
        "at": delivery.updated_at.isoformat(),
    }


def _count_up(creator: str, by: int) -> int:
    """The creator's new last number, counted and read in the same transaction.

    One statement makes the row too, or those who first need it at once would deadlock on MariaDB.
    """
    connection = connections[primary()]
    is_mysql = connection.vendor == "mysql"
    tells = connection.features.can_return_rows_from_bulk_insert and not is_mysql
    counted = f"{_COUNT} {_ON_DUPLICATE if is_mysql else _ON_CONFLICT}"
    with connection.cursor() as cursor:
        cursor.execute(f"{counted} RETURNING {_LAST}" if tells else counted, [creator, by])
        if not tells:
            cursor.execute(f"SELECT {_LAST} FROM {_COUNTERS} WHERE name = %s", [creator])  # noqa: S608 (names)
        return int(cursor.fetchone()[0])


_COUNTERS: Final = Organisation._meta.db_table
_LAST: Final = "last_sequence_number"
_COUNT: Final = f"INSERT INTO {_COUNTERS} (name, {_LAST}) VALUES (%s, %s)"  # noqa: S608 (names)
_ON_CONFLICT: Final = (
    f"ON CONFLICT (name) DO UPDATE SET {_LAST} = {_COUNTERS}.{_LAST} + excluded.{_LAST}"
)
_ON_DUPLICATE: Final = f"ON DUPLICATE KEY UPDATE {_LAST} = {_LAST} + VALUES({_LAST})"


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
    ids = [_delivery_of(recipient, entry) for entry in page for recipient in entry.recipients]
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
                destination=destinations.get(_delivery_of(recipient, entry)) or "",
                status=recipient["status"],
                at=datetime.fromisoformat(recipient["at"]),
            )
            for recipient in entry.recipients
        ],
    )


def _delivery_of(recipient: Mapping[str, str], entry: FeedEntry) -> UUID:
    named = recipient.get("delivery")
    return UUID(named) if named else entry.delivery_id
