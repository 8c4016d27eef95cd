"""Write down what became of a message: the only room that moves a delivery's status."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, OuterRef, Subquery
from django.utils import timezone

from instant_notifications import feed, history, signals
from instant_notifications.history import Change, storable
from instant_notifications.models import Delivery, Shipment, StatusEvent, primary, update
from instant_notifications.statuses import (
    STAGES,
    WORDS,
    Cause,
    Channel,
    Handover,
    ShipmentType,
    Stage,
    is_final,
    may_follow,
)

logger = logging.getLogger("instant_notifications")

_SETTLED: Final = frozenset({Handover.TAKEN, Handover.REFUSED})

_MOVING: Final = (
    "status",
    "handover",
    "attempts",
    "lease_until",
    "due_at",
    "claimed_until",
    "gateway",
    "gateway_reference",
    "completed_at",
    "may_have_left",
)
"""What changes in the life of a delivery."""


def record_status(delivery: Delivery, change: Change) -> Delivery:
    """Write one change down, in one short transaction, and return the delivery as it now stands.

    It takes from the change what may follow what is known, appends to the history, and tells the
    feed what it must hear. News that is old, repeated or outdated changes nothing. ``delivery`` may
    have been read at any time: if the row has moved since, it is locked and read again.
    """
    with transaction.atomic(using=primary()):
        written = _write(delivery, change)
        while written is None:
            written = _write(lock(delivery.pk), change)
        return written


def record_all(changes: Sequence[tuple[UUID, Change]]) -> None:
    """Write many changes down as ``record_status`` does each, in the caller's transaction.

    The number of statements hardly depends on theirs. Every row is locked before the first counter
    of a feed, so that nobody waits for us who holds what we want.
    """
    now = timezone.now()
    locked = _locked_all({delivery_id for delivery_id, _ in changes})
    rounds = _one_of_each_shipment(changes, locked)
    if len(rounds) > 1:
        feed.lock_counters({row.creator for row in locked.values()})
    for batch in rounds:
        _save_all([*_steps(batch, now)], now)


def settle_lapsed(delivery: Delivery) -> Delivery:
    """Its worker is dead or hopelessly late: from now on nobody knows whether it was sent."""
    return record_status(delivery, Change(cause=Cause.LEASE, handover=Handover.UNKNOWN))


def record_expiry(delivery: Delivery) -> Delivery:
    """Write down that no last word came in time; nothing if one did, or somebody is at it."""
    expired = WORDS[Channel(delivery.channel)].expired
    return record_status(
        delivery, Change(cause=Cause.EXPIRY, status=expired, handover=Handover.UNKNOWN)
    )


def record_cancellation(delivery: Delivery) -> Delivery:
    """Write down that it is never to be sent; nothing if it has left, or may be about to."""
    return record_status(delivery, cancellation(delivery, Cause.OPERATOR))


def cancellation(delivery: Delivery, cause: Cause) -> Change:
    failed = WORDS[Channel(delivery.channel)].failed
    return Change(cause=cause, status=failed, handover=Handover.REFUSED)


def claim(seen: Delivery, lease: timedelta) -> Delivery | None:
    """Begin a further hand-over of a delivery, unless somebody has moved it since it was seen."""
    delivery, now = copy(seen), timezone.now()
    delivery.attempts += 1
    delivery.may_have_left |= seen.handover == Handover.UNKNOWN
    delivery.handover = Handover.UNDER_WAY
    delivery.lease_until = now + lease
    delivery.due_at = delivery.claimed_until = None
    delivery.gateway = delivery.gateway_reference = ""
    delivery.status = WORDS[Channel(delivery.channel)].sending
    again = Change(cause=Cause.HANDOVER, attempt=delivery.attempts)
    with transaction.atomic(using=primary()):
        if not _save(_Step(seen, delivery, again), now):
            return None
        delivery.refresh_from_db(using=primary(), fields=delivery.get_deferred_fields())
        return delivery


@dataclass(frozen=True)
class _Step:
    """What a change makes of a delivery. ``seen`` stays as it was: the transaction may yet fail."""

    seen: Delivery
    after: Delivery
    change: Change
    whose: "Sequence[_Row]" = ()
    """Of all that stood like ``seen`` and heard the same; otherwise of that delivery alone."""

    @cached_property
    def moved(self) -> Mapping[str, Any]:
        values = {name: getattr(self.after, name) for name in _MOVING}
        return {name: value for name, value in values.items() if value != getattr(self.seen, name)}

    def columns(self, now: datetime) -> dict[str, Any]:
        """What to write into the row, besides its revision."""
        columns = dict(self.moved)
        if columns:
            columns["updated_at"] = now
        if self.after.secret and _never_sent_again(self.after):
            columns["content"] = None
        return columns

    def lines(self, now: datetime) -> Iterator[StatusEvent]:
        return history.lines(self.seen, self.after, self.change, now)


def _write(seen: Delivery, change: Change) -> Delivery | None:
    """The delivery after the change; ``None`` if it has moved since it was seen.

    What a change may do only shrinks while others move the row, so an old reading that leaves
    nothing to do is as good as a new one.
    """
    now = timezone.now()
    step = _step(seen, change, now, lambda: history.noted({seen.pk})[seen.pk])
    if step is None:
        history.append(history.lines_of_calls(change.calls, seen, change))
        return seen
    return step.after if _save(step, now) else None


def _step(
    seen: Delivery, change: Change, now: datetime, noted: Callable[[], Collection[history.Note]]
) -> _Step | None:
    """What the change makes of the delivery; ``None`` for nothing."""
    if _out_of_turn(seen, change, now):
        return None
    if _outdated(seen, change):
        logger.warning("late outcome ignored delivery=%s", seen.pk)
        return None
    after = copy(seen)
    change = history.of_all_parts(after, _doubted(after, change), noted)
    _move_handover(after, change)
    _move_status(after, change, now)
    step = _Step(seen, after, change)
    return step if step.moved or history.is_news(change, noted) else None


def _save(step: _Step, now: datetime) -> bool:
    """Write what has moved, unless somebody else has moved the row since it was seen.

    The row is locked from here to the commit; the feed's counter comes last.
    """
    seen = step.seen
    columns = {**step.columns(now), "revision": seen.revision + 1}
    if not update(Delivery, columns, where={"id": seen.pk, "revision": seen.revision}):
        return False
    _follow_up([step], now)
    return True


def _save_all(steps: Sequence[_Step], now: datetime) -> None:
    """The same for rows that are locked: those that change alike are written at once."""
    alike: defaultdict[tuple[Any, ...], list[UUID]] = defaultdict(list)
    for step in steps:
        alike[tuple(step.columns(now).items())] += [row.delivery_id for row in step.whose]
    rows = Delivery.objects.using(primary())
    for columns, keys in alike.items():
        rows.filter(pk__in=keys).update(**dict(columns), revision=F("revision") + 1)
    _follow_up(steps, now)
    for step in steps:
        for row in step.whose:
            row.become(step.after)


def _follow_up(steps: Sequence[_Step], now: datetime) -> None:
    """What else is to be written once the rows are, and who is to hear of it."""
    for step in steps:
        step.after.revision = step.seen.revision + 1
        for name, value in step.columns(now).items():
            setattr(step.after, name, value)
        if step.whose:
            history.append_to_each(step.lines(now), [row.delivery_id for row in step.whose])
        else:
            history.append(step.lines(now))
    if signals.status_changed.has_listeners(Delivery):
        _tell_observers([step for step in steps if step.after.status != step.seen.status])
    feed.tell([(step.after, step.whose) for step in steps if _concerns_the_feed(step)], now)


def _tell_observers(steps: Sequence[_Step]) -> None:
    keys = [row.delivery_id for step in steps for row in step.whose]
    read = Delivery.objects.as_recorded().in_bulk(keys) if keys else {}
    for step in steps:
        for delivery in [read[row.delivery_id] for row in step.whose] or [step.after]:
            signals.send_on_commit(
                primary(),
                delivery,
                old=step.seen.status,
                new=step.after.status,
                cause=step.change.cause,
            )


def _concerns_the_feed(step: _Step) -> bool:
    moved = step.moved
    return "status" in moved or ("handover" in moved and not step.after.completed_at)


def _never_sent_again(delivery: Delivery) -> bool:
    return delivery.handover in _SETTLED or delivery.completed_at is not None


def lock(delivery_id: UUID) -> Delivery:
    """As it stands, in nobody else's hands till the commit."""
    return Delivery.objects.as_recorded().select_for_update().get(pk=delivery_id)


_STANDING: Final = (
    *(name for name in _MOVING if name != "gateway_reference"),
    "channel",
    "segments",
    "secret",
)
"""With the reference, all that decides what a change makes of a delivery, but for its expiry."""


@dataclass(slots=True)
class _Row(feed.Shipped):
    """A locked row as it stands."""

    reference: str
    standing: tuple[Any, ...]

    def as_delivery(self) -> Delivery:
        named = dict(zip(_STANDING, self.standing, strict=True))
        return Delivery(pk=self.delivery_id, gateway_reference=self.reference, **named)

    def become(self, after: Delivery) -> None:
        """As one has that stood like it."""
        self.standing = _standing_of(after)
        self.reference = self.reference or after.gateway_reference


_standing_of = attrgetter(*_STANDING)


def _locked_all(delivery_ids: Collection[UUID]) -> Mapping[UUID, _Row]:
    """Those that are still there. Deliveries are locked before shipments, each in their order."""
    rows = Delivery.objects.using(primary()).filter(pk__in=delivery_ids).order_by("pk")
    shipment = Shipment.objects.filter(pk=OuterRef("shipment"))  # joined, it would be locked too
    read = rows.select_for_update().values_list(
        "pk",
        "shipment",
        Subquery(shipment.values("creator")),
        Subquery(shipment.values("type")),
        "gateway_reference",
        *_STANDING,
    )
    locked = {
        key: _Row(key, shipment_id, creator, kind, reference, tuple(standing))
        for key, shipment_id, creator, kind, reference, *standing in read
    }
    several = {row.shipment_id for row in locked.values() if row.type != ShipmentType.INSTANT}
    theirs = Shipment.objects.using(primary()).filter(pk__in=several)
    list(theirs.order_by("pk").select_for_update().values_list("pk", flat=True))
    return locked


def _one_of_each_shipment(
    changes: Sequence[tuple[UUID, Change]], locked: Mapping[UUID, _Row]
) -> Sequence[Sequence[tuple[_Row, Change]]]:
    """The first change of each shipment, then the second of each, …; none of rows that are gone."""
    rounds: defaultdict[int, list[tuple[_Row, Change]]] = defaultdict(list)
    heard: Counter[UUID] = Counter()
    for delivery_id, change in changes:
        if row := locked.get(delivery_id):
            rounds[heard[row.shipment_id]].append((row, change))
            heard[row.shipment_id] += 1
    return list(rounds.values())


def _steps(batch: Sequence[tuple[_Row, Change]], now: datetime) -> Iterator[_Step]:
    """One for all that stand alike and hear the same; nothing is decided twice.

    What was noted before is only looked up where it matters.
    """
    unclear: list[tuple[_Row, Change]] = []
    for change, _, rows in _alike(batch, {}):
        step = _step(rows[0].as_delivery(), change, now, frozenset)
        if step and step.moved and not change.part:
            yield replace(step, whose=rows)
        else:
            unclear += [(row, change) for row in rows]
    noted = history.noted([row.delivery_id for row, _ in unclear]) if unclear else {}
    for change, notes, rows in _alike(unclear, noted):
        if step := _step(rows[0].as_delivery(), change, now, partial(frozenset, notes)):
            yield replace(step, whose=rows)


def _alike(
    batch: Iterable[tuple[_Row, Change]], noted: Mapping[UUID, Collection[history.Note]]
) -> Iterator[tuple[Change, Collection[history.Note], Sequence[_Row]]]:
    """A reference is only looked at where there is none."""
    groups: defaultdict[tuple[Any, ...], list[_Row]] = defaultdict(list)
    for row, change in batch:
        reference = None if row.reference else change.gateway_reference
        notes = frozenset(noted.get(row.delivery_id, ()))
        groups[change, notes, reference, row.standing].append(row)
    for (change, notes, *_), rows in groups.items():
        yield change, notes, rows


def _out_of_turn(delivery: Delivery, change: Change, now: datetime) -> bool:
    """The clock speaks too early, or a person too late."""
    if change.cause is Cause.EXPIRY:
        return not delivery.overdue(now)
    return change.cause in (Cause.OPERATOR, Cause.CALLER) and not delivery.unsent


def _outdated(delivery: Delivery, change: Change) -> bool:
    """An earlier hand-over speaks while a later one has begun.

    That it was taken is worth knowing all the same: it must keep others from sending again.
    """
    superseded = change.attempt is not None and change.attempt != delivery.attempts
    return superseded and change.handover is not Handover.TAKEN


def _doubted(delivery: Delivery, change: Change) -> Change:
    """What one attempt says for sure holds no longer where another may have sent the message."""
    if delivery.may_have_left and change.handover in (Handover.OPEN, Handover.REFUSED):
        return replace(change, handover=Handover.UNKNOWN, status=None, due_at=None)
    return change


def _move_handover(delivery: Delivery, change: Change) -> None:
    if change.handover is not None and _may_move_handover(delivery, change):
        delivery.handover = change.handover
        delivery.lease_until = delivery.claimed_until = None
        delivery.due_at = None if delivery.completed_at else change.due_at
    if change.gateway and _says_more_of_the_gateway(delivery, change):
        delivery.gateway = change.gateway
        delivery.gateway_reference = storable(change.gateway_reference)


def _may_move_handover(delivery: Delivery, change: Change) -> bool:
    if change.cause in (Cause.LEASE, Cause.EXPIRY):
        return delivery.handover == Handover.UNDER_WAY and not delivery.leased
    if change.cause is Cause.RECEIPT and _corrects_expiry(delivery, change):
        return True
    return delivery.handover not in _SETTLED


def _says_more_of_the_gateway(delivery: Delivery, change: Change) -> bool:
    if delivery.gateway_reference:
        return False
    hearsay = change.cause is Cause.RECEIPT and not change.gateway_reference
    return not (hearsay and delivery.gateway)


def _move_status(delivery: Delivery, change: Change, now: datetime) -> None:
    if change.status is None or not _may_show(delivery, change, change.status):
        return
    delivery.status = change.status
    if is_final(change.status) or change.last_word:
        delivery.completed_at = now
        delivery.due_at = delivery.claimed_until = None


def _may_show(delivery: Delivery, change: Change, word: str) -> bool:
    if not delivery.completed_at:
        return may_follow(delivery.status, word)
    is_last = change.last_word or may_follow(delivery.status, word)
    return is_last and _corrects_expiry(delivery, change)


def _corrects_expiry(delivery: Delivery, change: Change) -> bool:
    """Expiry is our own assumption; only somebody who knows better may replace it."""
    return STAGES[delivery.status] is Stage.EXPIRED and change.cause is not Cause.EXPIRY
