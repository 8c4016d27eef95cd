"""The demo's day of traffic: such rows as the app itself would have written."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from io import StringIO
from operator import itemgetter
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from django.db.models import Model
from django.utils import timezone

from example_project import traffic
from example_project.management.commands import demo
from example_project.traffic import cast
from example_project.traffic.chain import Chain
from example_project.traffic.day import Day, imagine
from example_project.traffic.life import Instant, Life, reserve
from example_project.traffic.world import World
from instant_notifications import (
    conditions,
    dispatch,
    feed,
    orders,
    planning,
    record,
    rules,
    upkeep,
)
from instant_notifications.history import Change
from instant_notifications.models import (
    ContactEntry,
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Order,
    Organisation,
    Plan,
    Shipment,
    StatusEvent,
)
from instant_notifications.models.identifiers import made_at
from instant_notifications.orders import send_sms
from instant_notifications.recipients import Kind
from instant_notifications.statuses import Cause, Ended, Handover, Outcome, ShipmentType
from tests.clock import Clock

A_DAY = timedelta(days=1)
EVENING = datetime(2026, 3, 4, 19, 30, tzinfo=UTC)


@cache
def evening() -> Day:
    return imagine(EVENING - A_DAY, EVENING, traffic.SEED)


def columns(row: Model) -> dict[str, Any]:
    """What a row says, whichever message it belongs to."""
    its_own = ("id", "delivery_id", "sequence_number", "recipients")
    found = {
        each.attname: getattr(row, each.attname)
        for each in row._meta.concrete_fields
        if not each.is_relation and each.attname not in its_own
    }
    if isinstance(row, FeedEntry):
        found["told"] = [{**each, "delivery": ""} for each in row.recipients]
    return found


def every(rows: Iterable[Model]) -> list[dict[str, Any]]:
    return [columns(row) for row in rows]


def kind(life: Instant) -> tuple[Any, ...]:
    """Lives of one kind are told by the same changes."""
    told = [
        (change.cause, change.status, change.handover, len(change.calls), change.gateway)
        for _, change in life.changes
    ]
    return (life.draft.channel, life.draft.secret, *told)


ONE_OF_EACH_KIND = {kind(life): life for life in evening().lives}.values()

WRITERS: dict[Cause, Callable[[Delivery], Any]] = {
    Cause.EXPIRY: record.record_expiry,
    Cause.LEASE: record.settle_lapsed,
    Cause.OPERATOR: record.record_cancellation,
}


def write(delivery: Delivery, change: Change) -> None:
    if change.handover is Handover.UNDER_WAY:
        record.claim(delivery, dispatch.lease())
    elif change.cause in WRITERS:
        WRITERS[change.cause](delivery)
    else:
        record.record_status(delivery, change)


@pytest.mark.django_db
def test_every_kind_of_life_leaves_what_the_app_would_have_left(clock: Clock) -> None:
    for life in ONE_OF_EACH_KIND:
        twin = reserve(life.draft, life.order.created_at, World(Random(5), (), EVENING))
        for row in (twin.order, twin.shipment, twin.delivery):
            row.save(force_insert=True)
        for clock.now, change in life.changes:
            write(Delivery.objects.as_recorded().get(pk=twin.delivery.pk), change)
        delivery = Delivery.objects.get(pk=twin.delivery.pk)
        assert columns(life.delivery) == columns(delivery)
        assert every(life.lines) == every(delivery.events.order_by("pk"))
        assert every(life.entries) == every(twin.shipment.feed_entries.order_by("pk"))


@pytest.mark.django_db
@pytest.mark.parametrize("chain", evening().chains, ids=lambda chain: chain.draft.idempotency_id)
def test_every_regular_order_leaves_what_the_app_would_have_left(
    chain: Chain, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast.introduce(EVENING - A_DAY)
    clock.now = chain.now
    twin = Order.objects.get(pk=orders.place(chain.draft).order_id)
    for clock.now, step in sorted(steps(chain, twin, monkeypatch), key=itemgetter(0)):
        step()
    assert columns(chain.order) == columns(twin)
    assert columns(chain.idempotency) == columns(twin.idempotency)
    assert every(chain.notices) == every(twin.notices.order_by("place"))
    for errand, shipment in zip(chain.errands, shipments_of(twin), strict=True):
        assert columns(errand.shipment) == columns(shipment)
        assert columns(errand.plan) == columns(shipment.plan)
        assert every(errand.entries) == every(shipment.feed_entries.order_by("pk"))
        assert every(life.delivery for life in errand.lives) == every(deliveries_of(shipment))
        for life, delivery in zip(errand.lives, deliveries_of(shipment), strict=True):
            assert every(life.lines) == every(delivery.events.order_by("pk"))


Step = tuple[datetime, Callable[[], object]]


def steps(chain: Chain, twin: Order, monkeypatch: pytest.MonkeyPatch) -> Iterator[Step]:
    """What the app itself is to do, and when, for the same to happen."""
    shipments = shipments_of(twin)

    def plan(answer: bool | None) -> None:
        monkeypatch.setattr(conditions, "ask", lambda address, for_: answer)
        planning.plan([each.pk for each in shipments])

    for notice in chain.notices:
        if notice.condition_asked_at:
            yield notice.condition_asked_at, partial(plan, None)
    for errand, shipment in zip(chain.errands, shipments, strict=True):
        for place, life in enumerate(errand.lives):
            yield life.delivery.created_at, partial(plan, True)
            yield from told(life, shipment, place)
        if errand.plan.ended_at and errand.plan.ended in ENDS:
            yield errand.plan.ended_at, partial(ENDS[errand.plan.ended], plan, twin)


def told(life: Life, shipment: Shipment, place: int) -> Iterator[Step]:
    """What others than the planner and the caller have told of a message."""

    def tell(change: Change) -> None:
        delivery = deliveries_of(shipment)[place]
        write(Delivery.objects.as_recorded().get(pk=delivery.pk), change)

    for at, change in life.changes:
        if change.cause not in (Cause.LOOKUP, Cause.CALLER):
            yield at, partial(tell, change)


ENDS: dict[str, Callable[[Callable[[bool], None], Order], object]] = {
    Ended.CONDITION_NOT_MET: lambda plan, twin: plan(False),
    Ended.CANCELLED: lambda plan, twin: orders.cancel_order(twin.creator, twin.pk),
}


def shipments_of(order: Order) -> Sequence[Shipment]:
    rows = order.shipments.select_related("plan__notice")
    return list(rows.order_by("plan__notice__place", "pk"))


def deliveries_of(shipment: Shipment) -> Sequence[Delivery]:
    return list(shipment.deliveries.order_by("pk"))


def test_ids_carry_the_moment_they_pretend_to_be_made_at() -> None:
    for life in evening().lives:
        for row in (life.order, life.shipment, life.delivery):
            milliseconds = round(row.created_at.timestamp() * 1_000_000) // 1000
            assert (row.pk.version, row.pk.int >> 80) == (7, milliseconds)
    for chain in evening().chains:
        deliveries = [life.delivery for life in chain.lives]
        for row in (chain.order, *(each.shipment for each in chain.errands), *deliveries):
            late = made_at(row.pk) - row.created_at
            assert timedelta(milliseconds=-1) < late < timedelta(milliseconds=5)


def test_it_is_the_same_day_each_time() -> None:
    def shape(seed: int) -> list[Any]:
        lives = imagine(EVENING - timedelta(hours=4), EVENING, seed).lives
        return [(life.delivery.pk, life.draft, life.changes) for life in lives]

    assert shape(1) == shape(1) != shape(2)


def test_another_day_is_another_day() -> None:
    """Even at the same time of it: what must not come twice does not."""
    ends = (EVENING, EVENING + A_DAY)
    days = [imagine(end - timedelta(hours=4), end, 1) for end in ends]
    references = [{each.gateway_reference for each in day.unmatched} for day in days]
    assert references[0].isdisjoint(references[1])


NOBODYS = re.compile(r"\+47(99999\d{3}|9999\d{4})|[a-z]+\d+(\+[a-z]+)?@example\.com")


def test_nobody_real_is_written_to() -> None:
    lives = evening().all_lives
    destinations = {life.delivery.destination for life in lives} - {None}
    for contact in cast.EVERYBODY.values():
        destinations |= {*contact.phone_numbers, *contact.email_addresses}
    assert [each for each in destinations if not NOBODYS.fullmatch(each or "")] == []
    creators = {life.delivery.shipment.creator for life in lives}
    assert creators | {chain.order.creator for chain in evening().chains} == set(traffic.CREATORS)
    assert all(creator.endswith("-demo") for creator in traffic.CREATORS)


@pytest.mark.parametrize("hour", [8, 12])
def test_there_is_an_outage_to_be_seen_at_any_hour(hour: int) -> None:
    now = datetime(2026, 3, 4, hour, 2, tzinfo=UTC)
    lines = [line for life in imagine(now - A_DAY, now, 1).lives for line in life.lines]
    outcomes = [(line.gateway, line.outcome) for line in lines]
    assert outcomes.count(("simulator", Outcome.PASSED_OVER)) > 50
    assert outcomes.count(("simulator", Outcome.NOT_SENT)) > 10
    assert outcomes.count(("standby", Outcome.TAKEN)) > 100
    assert all(line.at <= now for line in lines)


def test_a_day_has_something_of_everything() -> None:
    lives, gateways = evening().all_lives, evening().gateways
    lines = [line for life in lives for line in life.lines]
    assert {line.outcome for line in lines} == {"", *Outcome}
    assert {line.cause for line in lines} == set(Cause)
    assert ("SMS_Failed_TTL", "SMS_Delivered") in {(x.from_status, x.to_status) for x in lines}
    deliveries = [life.delivery for life in lives]
    assert any(x.handover == Handover.UNKNOWN and not x.completed_at for x in deliveries)
    assert any(x.attempts == 2 and x.status == "SMS_Delivered" for x in deliveries)
    assert any(life.idempotency.repeated_at for life in evening().lives)
    acts = [act for life in lives for act in life.acts]
    assert sorted(act.kind for act in acts) == ["cancel", "resend", "resend"]
    successors = {act.successor.status for act in acts if act.successor}
    assert successors == {"SMS_Delivered", "Email_Delivered"}
    assert all(gateway.last_failure for gateway in gateways)
    assert any(gateway.failures for gateway in gateways)
    assert evening().unmatched


def test_a_day_has_every_kind_of_regular_order() -> None:
    chains = evening().chains
    errands = [errand for chain in chains for errand in chain.errands]
    assert 50 < len(errands) < 70
    assert {each.recipient.kind for each in errands} == set(Kind)
    types = {(each.shipment.type, each.plan.ended) for each in errands}
    assert types >= {
        (ShipmentType.NOTIFICATION, Ended.PLANNED),
        (ShipmentType.NOTIFICATION, ""),
        (ShipmentType.NOTIFICATION, Ended.CANCELLED),
        (ShipmentType.REMINDER, Ended.CONDITION_NOT_MET),
        (ShipmentType.REMINDER, ""),
    }
    deliveries = [life.delivery for errand in errands for life in errand.lives]
    words = {each.status for each in deliveries}
    assert words >= {"SMS_Failed_RecipientReserved", "SMS_Failed_RecipientNotIdentified"}
    sent_by_day = [each for each in deliveries if each.daytime and each.attempts]
    assert any(each.updated_at - each.created_at > timedelta(hours=2) for each in sent_by_day)
    assert any(each.attempts == 2 for each in deliveries)
    assert any(len(errand.lives) == 2 for errand in errands)
    assert any(chain.order.dialog for chain in chains)
    assert any(notice.condition_asked_at for chain in chains for notice in chain.notices)


@pytest.mark.parametrize("hour", [1, 5, 8, 11, 17])
def test_nothing_waits_that_should_have_been_done_by_now(hour: int) -> None:
    now = datetime(2026, 3, 4, hour, 0, 3, tzinfo=UTC)
    chains = imagine(now - A_DAY, now, 1).chains
    plans = [errand.plan for chain in chains for errand in chain.errands]
    assert [each for each in plans if each.due_at and each.due_at <= now] == []
    deliveries = [life.delivery for chain in chains for life in chain.lives]
    just_now = now - timedelta(minutes=1)
    assert [each for each in deliveries if each.due_at and each.due_at <= just_now] == []
    assert [each for each in deliveries if each.unsent and not each.due_at] == []
    assert [each for each in deliveries if each.handover == Handover.UNDER_WAY] == []


def test_no_stranger_is_asked_for_a_condition() -> None:
    noted = [notice.condition for chain in evening().chains for notice in chain.notices]
    addresses = [each for each in noted if each]
    assert addresses
    for address in addresses:
        assert rules.condition(address, "condition") == address
        assert (urlsplit(address).hostname or "").endswith(".invalid")


@pytest.fixture
def allowed(settings: Any) -> None:
    settings.DEBUG = True


@pytest.mark.django_db
def test_a_day_hangs_together(
    allowed: None, clock: Clock, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(250):
        added = traffic.fill(clock.now)
    assert 1500 < added < 3000
    regular = Order.objects.filter(notices__place=0).count()
    sent_at_once = Shipment.objects.filter(type=ShipmentType.INSTANT).count()
    assert Delivery.objects.count() == added
    assert IdempotencyRecord.objects.count() == Order.objects.count() == sent_at_once + regular
    assert Plan.objects.count() == Shipment.objects.count() - sent_at_once
    moments = list(StatusEvent.objects.order_by("pk").values_list("at", flat=True))
    assert moments == sorted(moments)
    assert clock.now - A_DAY < moments[0]
    assert moments[-1] <= clock.now
    require_dense_feeds()
    require_true_feeds()
    for delivery in {each.status: each for each in Delivery.objects.exclude(attempts=0)}.values():
        shipment = delivery.shipment
        report = feed.read_manifest(shipment.creator, shipment.pk)
        assert report
        assert delivery.destination in [each.destination for each in report.recipients]
    due = {chore.name: tally for chore, tally in upkeep.count(upkeep.EXPIRY)}
    assert due["late receipts matched"].done == due["dead hand-overs settled"].done == 0
    assert due["deliveries expired"].done < 5
    assert [traffic.fill(clock.now), Delivery.objects.count()] == [0, added]


@pytest.mark.django_db
def test_what_somebody_has_changed_in_the_contact_register_stays() -> None:
    cast.introduce(EVENING)
    assert ContactEntry.objects.count() == len(cast.EVERYBODY)
    ContactEntry.objects.filter(reserved=True).update(reserved=False)
    cast.introduce(EVENING + A_DAY)
    assert ContactEntry.objects.filter(reserved=False).count() == len(cast.EVERYBODY)


@pytest.mark.django_db
def test_it_goes_on_after_what_is_there_and_touches_none_of_it(allowed: None, clock: Clock) -> None:
    now = clock.now
    clock.now -= timedelta(hours=4)
    mine = send_sms("+4799999999", "Hello").shipment_id
    before = every(rows_of(mine))
    assert traffic.fill(now - timedelta(hours=2)) == 0
    assert traffic.fill(now)
    assert every(rows_of(mine)) == before
    others = StatusEvent.objects.exclude(delivery__shipment=mine)
    assert not others.filter(at__lt=clock.now).exists()
    assert traffic.fill(now + timedelta(hours=5))
    moments = list(StatusEvent.objects.order_by("pk").values_list("at", flat=True))
    assert moments == sorted(moments)
    require_dense_feeds()


@pytest.mark.django_db
def test_no_order_is_placed_twice_of_which_nothing_is_sent_yet(allowed: None) -> None:
    night = datetime(2026, 3, 4, 1, 16, tzinfo=UTC)
    assert traffic.fill(night)
    StatusEvent.objects.filter(at__gt=night - timedelta(minutes=10)).delete()
    ordered = Order.objects.filter(creator="beredskap-demo", notices__place=0)
    assert ordered.count() == 1
    assert traffic.fill(night + timedelta(hours=4))
    assert ordered.count() == 1


@pytest.mark.django_db
def test_it_keeps_away_from_real_messages() -> None:
    with pytest.raises(traffic.Refused, match="DEBUG"):
        traffic.fill(timezone.now())
    assert not Order.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("flags", "told"), [((), True), (("--no-traffic",), False)])
def test_the_demonstration_can_leave_it_out(
    flags: Sequence[str], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "PATIENCE", 0)
    monkeypatch.setattr(traffic, "fill", lambda now: 1234)
    shown = StringIO()
    call_command("demo", *flags, stdout=shown)
    assert ("1234 made-up messages" in shown.getvalue()) == told


def rows_of(shipment_id: Any) -> list[Model]:
    delivery = Delivery.objects.get(shipment=shipment_id)
    return [delivery.shipment, delivery, *delivery.events.order_by("pk")]


def require_dense_feeds() -> None:
    demos = Organisation.objects.filter(name__in=traffic.CREATORS)
    assert demos
    for organisation in demos:
        entries = FeedEntry.objects.filter(creator=organisation.name).order_by("pk")
        numbers = list(entries.values_list("sequence_number", flat=True))
        assert numbers == list(range(1, organisation.last_sequence_number + 1))


def require_true_feeds() -> None:
    """One entry for each regular shipment that has come to its end, and it says how it ended."""
    theirs = Shipment.objects.exclude(type=ShipmentType.INSTANT)
    for shipment in theirs.prefetch_related("deliveries", "feed_entries"):
        report = feed.read_manifest(shipment.creator, shipment.pk)
        entries = list(shipment.feed_entries.all())
        assert report
        assert [each.status for each in entries] == [report.status] * is_end(report.status)
        for entry in entries:
            told = [(each["channel"], each["status"]) for each in entry.recipients]
            assert told == [(each.channel, each.status) for each in report.recipients]
            its_own = {str(each.pk) for each in shipment.deliveries.all()}
            assert {each["delivery"] for each in entry.recipients} == its_own
            assert str(entry.delivery_id) in (its_own or {str(shipment.pk)})


def is_end(status: str) -> bool:
    return status in feed.ENDS.values()
