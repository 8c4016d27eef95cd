"""The demo's day of traffic: such rows as the app itself would have written."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from io import StringIO
from random import Random
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Model
from django.utils import timezone

from example_project import traffic
from example_project.management.commands import demo
from example_project.traffic.day import Day, imagine
from example_project.traffic.life import Life
from example_project.traffic.world import World
from instant_notifications import dispatch, feed, record, upkeep
from instant_notifications.history import Change
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Order,
    Organisation,
    StatusEvent,
)
from instant_notifications.orders import send_sms
from instant_notifications.statuses import Cause, Handover, Outcome
from tests.clock import Clock

A_DAY = timedelta(days=1)
EVENING = datetime(2026, 3, 4, 19, 30, tzinfo=UTC)


@cache
def evening() -> Day:
    return imagine(EVENING - A_DAY, EVENING, traffic.SEED)


def columns(row: Model) -> dict[str, Any]:
    """What a row says, whichever message it belongs to."""
    its_own = ("id", "shipment_id", "delivery_id", "sequence_number", "recipients")
    found = {
        each.attname: getattr(row, each.attname)
        for each in row._meta.concrete_fields
        if each.attname not in its_own
    }
    if isinstance(row, FeedEntry):
        found["told"] = [{**each, "delivery": ""} for each in row.recipients]
    return found


def every(rows: Iterable[Model]) -> list[dict[str, Any]]:
    return [columns(row) for row in rows]


def kind(life: Life) -> tuple[Any, ...]:
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
        twin = Life(life.draft, life.order.created_at, World(Random(5), (), EVENING))
        for row in (twin.order, twin.shipment, twin.delivery):
            row.save(force_insert=True)
        for clock.now, change in life.changes:
            write(Delivery.objects.as_recorded().get(pk=twin.delivery.pk), change)
        delivery = Delivery.objects.get(pk=twin.delivery.pk)
        assert columns(life.delivery) == columns(delivery)
        assert every(life.lines) == every(delivery.events.order_by("pk"))
        assert every(life.entries) == every(twin.shipment.feed_entries.order_by("pk"))


def test_ids_carry_the_moment_they_pretend_to_be_made_at() -> None:
    for life in evening().lives:
        for row in (life.order, life.shipment, life.delivery):
            milliseconds = round(row.created_at.timestamp() * 1_000_000) // 1000
            assert (row.pk.version, row.pk.int >> 80) == (7, milliseconds)


def test_it_is_the_same_day_each_time() -> None:
    def shape(seed: int) -> list[Any]:
        lives = imagine(EVENING - timedelta(hours=4), EVENING, seed).lives
        return [(life.delivery.pk, life.draft, life.changes) for life in lives]

    assert shape(1) == shape(1) != shape(2)


def test_nobody_real_is_written_to() -> None:
    lives = evening().lives
    nobodys = re.compile(r"\+47(99999\d{3}|9999\d{4})|[a-z]+\d+(\+[a-z]+)?@example\.com")
    assert all(nobodys.fullmatch(life.draft.destination) for life in lives)
    assert {life.draft.creator for life in lives} == set(traffic.CREATORS)
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
    lives, gateways = evening().lives, evening().gateways
    lines = [line for life in lives for line in life.lines]
    assert {line.outcome for line in lines} == {"", *Outcome}
    assert {line.cause for line in lines} == set(Cause)
    assert ("SMS_Failed_TTL", "SMS_Delivered") in {(x.from_status, x.to_status) for x in lines}
    deliveries = [life.delivery for life in lives]
    assert any(x.handover == Handover.UNKNOWN and not x.completed_at for x in deliveries)
    assert any(x.attempts == 2 and x.status == "SMS_Delivered" for x in deliveries)
    assert any(life.idempotency.repeated_at for life in lives)
    acts = [act for life in lives for act in life.acts]
    assert sorted(act.kind for act in acts) == ["cancel", "resend", "resend"]
    successors = {act.successor.status for act in acts if act.successor}
    assert successors == {"SMS_Delivered", "Email_Delivered"}
    assert all(gateway.last_failure for gateway in gateways)
    assert any(gateway.failures for gateway in gateways)
    assert evening().unmatched


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
    assert {model.objects.count() for model in (Order, IdempotencyRecord, Delivery)} == {added}
    moments = list(StatusEvent.objects.order_by("pk").values_list("at", flat=True))
    assert moments == sorted(moments)
    assert clock.now - A_DAY < moments[0]
    assert moments[-1] <= clock.now
    require_dense_feeds()
    for delivery in {each.status: each for each in Delivery.objects.all()}.values():
        shipment = delivery.shipment
        report = feed.read_manifest(shipment.creator, shipment.pk)
        assert report
        assert report.recipients[0].destination == delivery.destination
    due = {chore.name: tally for chore, tally in upkeep.count(upkeep.EXPIRY)}
    assert due["late receipts matched"].done == due["dead hand-overs settled"].done == 0
    assert due["deliveries expired"].done < 5
    assert [traffic.fill(clock.now), Delivery.objects.count()] == [0, added]


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
