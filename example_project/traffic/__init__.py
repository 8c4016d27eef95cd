"""A day of made-up traffic, so that a newcomer sees the console alive."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings as django_settings
from django.db import transaction
from django.db.models import Model

from example_project.traffic.cast import introduce
from example_project.traffic.chain import Chain, Errand
from example_project.traffic.day import Day, imagine
from example_project.traffic.letters import CREATORS
from example_project.traffic.life import Instant
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    GatewayState,
    IdempotencyRecord,
    Intervention,
    Notice,
    Order,
    Organisation,
    Plan,
    Shipment,
    StatusEvent,
    UnmatchedReceipt,
)
from instant_notifications.simulator.models import SimulatedMessage, SimulatedReceipt

__all__ = ["CREATORS", "Refused", "fill"]

LONGEST: Final = timedelta(days=1)
SHORTEST: Final = timedelta(hours=3)
SEED: Final = 4


class Refused(Exception):  # noqa: N818
    """Made-up messages do not belong here."""


def fill(now: datetime, seed: int = SEED) -> int:
    """Add what the demo's organisations might have sent up to now; returns how many messages.

    It begins after the newest order and the newest line of the history, since those are in order
    of time; so what is there already is neither touched nor added to twice. A gap of a few hours is
    left as it is.
    """
    if not django_settings.DEBUG:
        raise Refused("DEBUG is false, and made-up messages belong among no real ones.")
    begin = max([now - LONGEST, *_newest()])
    if now - begin < SHORTEST:
        return 0
    day = imagine(begin, now, seed)
    with transaction.atomic():
        introduce(begin)
        _write(day)
    return len(day.all_lives)


def _newest() -> Iterator[datetime]:
    """An order that waits has left no line yet."""
    yield from StatusEvent.objects.order_by("-pk").values_list("at", flat=True)[:1]
    yield from Order.objects.order_by("-created_at").values_list("created_at", flat=True)[:1]


def _write(day: Day) -> None:
    lives, errands = day.all_lives, [each for chain in day.chains for each in chain.errands]
    orders: Sequence[Instant | Chain] = [*day.lives, *day.chains]
    shipments: Sequence[Instant | Errand] = [*day.lives, *errands]
    _insert(Order, [each.order for each in orders])
    _insert(IdempotencyRecord, [each.idempotency for each in orders])
    _insert(Notice, [notice for chain in day.chains for notice in chain.notices])
    _insert(Shipment, [each.shipment for each in shipments])
    _insert(Plan, [errand.plan for errand in errands])
    _insert(Delivery, [life.delivery for life in lives])
    _insert(StatusEvent, sorted((line for life in lives for line in life.lines), key=_when))
    _insert(SimulatedMessage, [life.arrived for life in lives if life.arrived])
    _insert(SimulatedReceipt, [receipt for life in lives for receipt in life.receipts])
    _insert(Intervention, sorted((act for life in lives for act in life.acts), key=_when))
    _insert(UnmatchedReceipt, day.unmatched)
    # What is known of a gateway may already be more than a play can tell.
    GatewayState.objects.bulk_create(
        (gateway.state() for gateway in day.gateways), ignore_conflicts=True
    )
    _publish(sorted((entry for each in shipments for entry in each.entries), key=_when))


def _insert(model: type[Model], rows: Iterable[Any]) -> None:
    model._default_manager.bulk_create(rows)


def _when(row: Any) -> datetime:
    at: datetime = row.at
    return at


def _publish(entries: Sequence[FeedEntry]) -> None:
    """Number the entries of each feed on from its last."""
    by_creator: defaultdict[str, list[FeedEntry]] = defaultdict(list)
    for entry in entries:
        by_creator[entry.creator].append(entry)
    for creator in sorted(by_creator):
        theirs = by_creator[creator]
        Organisation.objects.get_or_create(name=creator)
        counter = Organisation.objects.select_for_update().get(name=creator)
        for number, entry in enumerate(theirs, counter.last_sequence_number + 1):
            entry.sequence_number = counter.last_sequence_number = number
        counter.save(update_fields=["last_sequence_number"])
    _insert(FeedEntry, entries)
