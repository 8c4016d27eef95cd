"""Who is told of which rows: oldest first, nobody twice, and again once a claim has lapsed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from instant_notifications import planning, tasks
from instant_notifications.models import Delivery, Plan
from instant_notifications.orders import cancel_order
from instant_notifications.planning import claims
from tests import regular
from tests.clock import Clock
from tests.regular import HOUR, MINUTE, order, phones, shipments
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]


@pytest.fixture(params=[Plan, Delivery])
def model(request: pytest.FixtureRequest) -> planning.Queued:
    chosen: planning.Queued = request.param
    return chosen


def waiting(model: planning.Queued, number: int = 3) -> list[Any]:
    """The keys of so many rows that no queue knows of, all due, the one with the first key last."""
    placed = order(phones(number))
    if model is Delivery:
        regular.planned(placed)
    regular.forget_claims()
    keys = list(model.objects.filter(due_at__isnull=False).order_by("-pk").values_list("pk"))
    for minutes, (key,) in enumerate(reversed(keys)):
        due_at = timezone.now() - minutes * MINUTE
        model.objects.filter(pk=key).update(due_at=due_at)
    return [key for (key,) in keys]


def test_the_oldest_are_claimed_first_and_no_more_than_asked_for(model: planning.Queued) -> None:
    keys = waiting(model)
    assert planning.claim(model, 2) == keys[:2]
    assert planning.claim(model, 2) == keys[2:]
    assert planning.claim(model, 2) == []


def test_a_claim_holds_for_its_lease(
    model: planning.Queued, clock: Clock, configure: Configure
) -> None:
    configure(CLAIM_LEASE=60)
    keys = waiting(model)
    assert planning.claim(model, 5) == keys
    clock.go(timedelta(seconds=59))
    assert planning.claim(model, 5) == []
    clock.go(timedelta(seconds=1))
    assert planning.claim(model, 5) == keys


def test_what_is_due_later_is_not_claimed(model: planning.Queued, clock: Clock) -> None:
    keys = waiting(model)
    model.objects.filter(pk=keys[0]).update(due_at=clock.now + timedelta(seconds=1))
    assert planning.claim(model, 5) == keys[1:]
    clock.go(timedelta(seconds=1))
    assert planning.claim(model, 5) == keys[:1]


def test_what_has_ended_is_not_claimed(model: planning.Queued) -> None:
    waiting(model)
    placed = order(phones(3), sms=regular.SMS)
    cancel_order("local", placed.order_id)
    assert not set(planning.claim(Plan, 10)) & set(shipments(placed))


def test_what_is_released_may_be_claimed_by_the_next(model: planning.Queued) -> None:
    first, *others = waiting(model)
    assert planning.claim(model, 3) == [first, *others]
    planning.release(model, [first])
    assert planning.claim(model, 3) == [first]


def test_release_does_not_wake_what_has_ended(model: planning.Queued) -> None:
    keys = waiting(model)
    planning.claim(model, 3)
    planning.plan(keys) if model is Plan else planning.hand_over(keys)
    planning.release(model, keys)
    assert planning.claim(model, 3) == []


def test_there_is_room_for_so_many_claims_and_lapsed_ones_take_none(
    model: planning.Queued, clock: Clock, monkeypatch: pytest.MonkeyPatch, configure: Configure
) -> None:
    configure(CLAIM_LEASE=60)
    monkeypatch.setattr(claims, "MOST_IN_QUEUE", 4)
    waiting(model, 6)
    assert planning.room(model) == 4
    planning.claim(model, 3)
    assert planning.room(model) == 1
    planning.claim(model, 3)
    assert planning.room(model) == 0
    clock.go(HOUR)
    assert planning.room(model) == 4


@pytest.mark.django_db(transaction=True)
def test_sweepers_share_the_work_and_none_gets_what_another_has(
    monkeypatch: pytest.MonkeyPatch, configure: Configure, stub: Any
) -> None:
    """Real threads; on SQLite they queue up, elsewhere they step over each other's rows."""
    placed = order(phones(60))
    regular.forget_claims()
    told: list[Any] = []
    monkeypatch.setattr(tasks, "CHUNK", 7)
    monkeypatch.setattr(tasks, "enqueue", lambda model, keys: told.extend(keys))
    at_once(*[lambda: list(tasks.sweep(lambda: False))] * 4)
    assert sorted(told) == sorted(shipments(placed))
