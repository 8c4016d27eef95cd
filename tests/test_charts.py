"""Figures: the same as one would count by hand, whoever has summed up how much of them."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import charts
from instant_notifications.charts import rollup, sums, waiting
from instant_notifications.charts.sums import EDGES, Line, Sums
from instant_notifications.models import (
    Delivery,
    Figures,
    Order,
    Shipment,
    StatusEvent,
    UnmatchedReceipt,
)
from instant_notifications.models.identifiers import first_uuid7
from instant_notifications.statuses import STAGES, Outcome
from tests.clock import Clock
from tests.threads import at_once, in_thread

pytestmark = pytest.mark.django_db

SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

with_threads = pytest.mark.django_db(transaction=True)
with_several_writers = pytest.mark.skipif(
    "sqlite" in connection.settings_dict["ENGINE"], reason="SQLite has one writer at a time"
)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollup, "BATCH", 7)


def a_delivery(asked_at: datetime, **columns: Any) -> Delivery:
    key = first_uuid7(asked_at).int | random.getrandbits(60)
    order = Order.objects.create(creator="ttd")
    return Delivery.objects.create(
        id=UUID(int=key),
        shipment=Shipment.objects.create(order=order, creator="ttd", type="Instant"),
        channel="sms",
        **{"status": "SMS_Accepted", "handover": "taken", "expires_at": asked_at + HOUR, **columns},
    )


def a_line(delivery: Delivery, at: datetime, **columns: Any) -> StatusEvent:
    accepted = {"from_status": "SMS_Sending", "to_status": "SMS_Accepted", "cause": "handover"}
    taken = {"gateway": "link", "outcome": "taken"}
    return StatusEvent(delivery=delivery, at=at, **{**accepted, **taken, **columns})


def lines(number: int, begin: datetime, end: datetime) -> None:
    """So many of all kinds, oldest first."""
    chance = random.Random(number)
    deliveries = [a_delivery(begin - chance.random() * HOUR) for _ in range(5)]
    moments = sorted(begin + chance.random() * (end - begin) for _ in range(number))
    StatusEvent.objects.bulk_create(
        a_line(
            chance.choice(deliveries),
            at,
            from_status=chance.choice(["SMS_Sending", "SMS_Accepted", "SMS_Failed_TTL"]),
            to_status=chance.choice([word for word in STAGES if word.startswith("SMS")]),
            gateway=chance.choice(["link", "twilio", ""]),
            outcome=chance.choice([*Outcome, ""]),
            gateway_word=chance.choice(["DELIVRD", "17", ""]),
        )
        for at in moments
    )


def by_hand(begin: datetime) -> dict[str, Counter[Any]]:
    """What the figures should be, each by a rule of its own."""
    since = list(StatusEvent.objects.filter(at__gte=begin))
    ends = [
        event
        for event in since
        if event.from_status != event.to_status
        and STAGES[event.to_status].value in ("delivered", "failed", "expired")
    ]
    return {
        "calls": Counter((each.gateway, each.outcome) for each in since if each.outcome),
        "ends": Counter(STAGES[each.to_status].value for each in ends),
        "handover_times": Counter(_cell(each) for each in since if each.outcome == "taken"),
        "delivery_times": Counter(_cell(each) for each in ends if "Delivered" in each.to_status),
        "reasons": Counter(
            (each.to_status, each.gateway, each.gateway_word)
            for each in ends
            if "Delivered" not in each.to_status
        ),
    }


def _cell(event: StatusEvent) -> int:
    asked_at = datetime.fromtimestamp((event.delivery_id.int >> 80) / 1000, UTC)
    taken = (event.at - asked_at).total_seconds()
    return sum(taken >= edge for edge in EDGES)


def total(span: str = "day") -> dict[str, Counter[Any]]:
    found = charts.course(charts.SPANS[span], timezone.now()).total
    return {name: getattr(found, name) for name in Sums.__dataclass_fields__}


def calls(span: str = "day") -> int:
    return total(span)["calls"].total()


def summed_up() -> int:
    return sum(rollup.sum_up())


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("span", charts.SPANS)
def test_figures_are_what_one_would_count_by_hand(span: str, clock: Clock) -> None:
    the_span = charts.SPANS[span]
    began = charts.course(the_span, clock.now).periods[0].began_at
    lines(60, began - the_span.step, clock.now - 2 * MINUTE)
    assert total(span) == by_hand(began), "nothing is summed up"
    assert summed_up() == 60
    assert total(span) == by_hand(began), "everything is"
    lines(30, clock.now - 2 * MINUTE, clock.now)
    assert total(span) == by_hand(began), "the newest are not"
    assert 0 < summed_up() < 30
    assert total(span) == by_hand(began), "the rows have been added to"


def test_periods_keep_to_the_clock_of_the_reader(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    now = datetime(2026, 11, 21, 20, 18, tzinfo=UTC)
    zone = ZoneInfo("Asia/Kolkata")
    for span, last, first in (
        ("hour", "22 01:45", "22 00:45"),
        ("day", "22 01:00", "21 01:00"),
        ("week", "22 00:00", "15 00:00"),
    ):
        periods = charts.course(charts.SPANS[span], now).periods
        told = [f"{each.began_at.astimezone(zone):%d %H:%M}" for each in periods]
        assert (told[-1], told[0]) == (last, first)


# Counting each line once


@pytest.mark.usefixtures("small_batches")
def test_what_may_still_have_an_uncommitted_line_before_it_waits(clock: Clock) -> None:
    delivery = a_delivery(clock.now)
    ages = (60, 45, 15, 60, 50)
    for age in ages:
        a_line(delivery, clock.now - age * SECOND).save()
    assert summed_up() == 2, "the rest stands behind a line that is new"
    assert calls() == 5
    clock.go(20 * SECOND)
    assert summed_up() == 3
    assert summed_up() == 0
    assert calls() == 5


@pytest.mark.usefixtures("small_batches")
@with_threads
def test_several_at_once_count_each_line_once(clock: Clock) -> None:
    lines(100, clock.now - 2 * HOUR, clock.now - MINUTE)
    expected = total()
    assert sum(at_once(summed_up, summed_up, summed_up)) == 100
    assert total() == expected
    assert Figures.objects.get(pk=rollup.CURSOR).last_event == StatusEvent.objects.latest("pk").pk


@pytest.mark.usefixtures("small_batches")
@with_threads
@with_several_writers
def test_what_another_has_in_hand_is_left_to_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(20, clock.now - 2 * HOUR, clock.now - MINUTE)
    expected, add = total(), rollup._add
    meanwhile: list[int] = []

    def slowly(batch: Sequence[Line]) -> None:
        with monkeypatch.context() as undone:
            undone.setattr(rollup, "_add", add)
            meanwhile.append(in_thread(summed_up))
            seen = in_thread(total)
        assert seen == expected, "what is under way is counted from the history"
        add(batch)

    monkeypatch.setattr(rollup, "_add", slowly)
    assert summed_up() == 20
    assert meanwhile == [0] * 3
    assert total() == expected


@pytest.mark.usefixtures("small_batches")
def test_a_batch_that_fails_leaves_nothing_half_counted(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(20, clock.now - 2 * HOUR, clock.now - MINUTE)
    expected, add = total(), rollup._add

    def fail(batch: Sequence[Line]) -> None:
        add(batch)
        if batch[-1].pk == StatusEvent.objects.latest("pk").pk:
            raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(rollup, "_add", fail)
        with pytest.raises(ZeroDivisionError):
            summed_up()
    assert total() == expected
    assert summed_up() == 20 % 7
    assert total() == expected


# What is old


def test_the_first_run_over_an_old_history_begins_eight_days_back(clock: Clock) -> None:
    delivery = a_delivery(clock.now - 20 * DAY)
    StatusEvent.objects.bulk_create(
        a_line(delivery, clock.now - days * DAY - HOUR) for days in range(19, -1, -1)
    )
    StatusEvent.objects.filter(at__range=(clock.now - 15 * DAY, clock.now - 11 * DAY)).delete()
    assert rollup.uncounted(clock.now).count() == 8
    with CaptureQueriesContext(connection) as queries:
        assert summed_up() == 8
    assert len(queries) < 30
    assert Figures.objects.exclude(pk=rollup.CURSOR).count() == 8
    assert rollup.uncounted(clock.now).count() == 0


def test_old_rows_are_forgotten_and_their_lines_not_counted_again(clock: Clock) -> None:
    lines(10, clock.now - HOUR, clock.now - MINUTE)
    assert summed_up() == 10
    clock.go(7 * DAY)
    assert summed_up() == 0
    assert Figures.objects.count() > 1
    clock.go(DAY)
    assert summed_up() == 0
    assert list(Figures.objects.values_list("pk", flat=True)) == [rollup.CURSOR]
    assert rollup.uncounted(clock.now).count() == 0


# What is not summed up


def test_only_so_many_of_the_newest_lines_are_read(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charts, "MOST_LIVE", 5)
    delivery = a_delivery(clock.now)
    for minutes in (300, 50, 40, 30, 20, 10):
        a_line(delivery, clock.now - minutes * MINUTE).save()
    behind = charts.course(charts.SPANS["day"], clock.now)
    assert (behind.total.calls.total(), behind.is_behind) == (5, True)
    recent = charts.course(charts.SPANS["hour"], clock.now)
    assert (recent.total.calls.total(), recent.is_behind) == (5, False)
    summed_up()
    whole = charts.course(charts.SPANS["day"], clock.now)
    assert (whole.total.calls.total(), whole.is_behind) == (6, False)


# Numbers


def test_durations_are_told_to_within_a_fifth() -> None:
    assert {1.0, 10.0} <= set(EDGES)
    assert EDGES[0] <= 0.05
    assert EDGES[-1] >= 2 * 24 * 3600
    chance = random.Random(5)
    durations = sorted(chance.lognormvariate(1, 2) + 0.05 for _ in range(999))
    cells = Counter(map(sums.cell_of, durations))
    for share in (0.5, 0.95, 0.99):
        exact = durations[ceil(share * 999) - 1]
        assert exact <= sums.percentile(cells, share) <= exact * 1.2
    for limit in (1.0, 10.0):
        assert sums.number_under(cells, limit) == sum(each < limit for each in durations)


@pytest.mark.parametrize(("seconds", "cell"), [(-5.0, 0), (0.0, 0), (1e9, len(EDGES))])
def test_absurd_durations_have_their_cells_too(seconds: float, cell: int) -> None:
    assert sums.cell_of(seconds) == cell
    assert sums.percentile(Counter([cell]), 0.5) in (EDGES[0], EDGES[-1])


def test_too_many_reasons_are_counted_as_other() -> None:
    reasons = Counter({("SMS_Failed", "link", str(n)): n for n in range(1, 41)})
    kept = Sums.from_json(Sums(reasons=reasons).to_json()).reasons
    assert len(kept) == sums.MOST_REASONS + 1
    assert kept.total() == reasons.total()
    assert kept[sums.OTHER] == sum(range(1, 11))


# What waits


def test_what_waits_is_told_apart(clock: Clock) -> None:
    asked, soon = clock.now - 2 * HOUR, clock.now + HOUR
    lease = {"handover": "under_way", "expires_at": soon}
    a_delivery(asked)
    a_delivery(asked, completed_at=clock.now)
    a_delivery(asked, handover="unknown")
    a_delivery(asked, handover="unknown", expires_at=soon)
    a_delivery(asked, lease_until=clock.now - SECOND, **lease)
    a_delivery(asked, lease_until=clock.now + MINUTE, **lease)
    UnmatchedReceipt.objects.create(gateway="link", gateway_reference="x")
    counts = {name: count.number for name, count in waiting.counts(clock.now).items()}
    assert counts == {"lapsed": 1, "overdue": 2, "in_doubt": 1, "unmatched": 1}


def test_nobody_counts_without_end(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST", 2)
    for reference in "ab":
        UnmatchedReceipt.objects.create(gateway="link", gateway_reference=reference)
    assert waiting.counts(clock.now)["unmatched"] == waiting.Count(2, and_more=False)
    UnmatchedReceipt.objects.create(gateway="link", gateway_reference="c")
    with CaptureQueriesContext(connection) as queries:
        assert waiting.counts(clock.now)["unmatched"] == waiting.Count(2, and_more=True)
    assert all("LIMIT 3" in each["sql"] for each in queries)
