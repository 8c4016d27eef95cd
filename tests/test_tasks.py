"""What the engine is told, when, and what becomes of the rows where it cannot be told."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from traceback import format_exception
from typing import Any, Final
from uuid import UUID, uuid4

import django
import pytest
from django.db import transaction

from instant_notifications import planning, tasks
from instant_notifications.models import Delivery, Order, Plan
from instant_notifications.planning import claims
from instant_notifications.statuses import Handover
from tests import regular
from tests.apart import run_apart
from tests.regular import order, phones
from tests.stub import StubGateway

pytestmark = pytest.mark.django_db

PERSONAL: Final = "kari@example.com"


class EngineAwayError(Exception):
    """Any engine has its own."""


@dataclass
class Queue:
    """An engine that does nothing but remember what it was told."""

    told: list[tuple[planning.Queued, Sequence[UUID]]] = field(default_factory=list)
    room: int | None = None
    """How many tasks more it takes; ``None`` for any number."""

    def put(self, step: Any, ids: Sequence[str]) -> None:
        if self.room == 0:
            raise EngineAwayError(PERSONAL)
        if self.room is not None:
            self.room -= 1
        (model,) = (model for model, its in tasks._STEPS.items() if its is step)
        self.told.append((model, [UUID(each) for each in ids]))

    def sizes(self) -> list[tuple[planning.Queued, int]]:
        return [(model, len(ids)) for model, ids in self.told]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()
    monkeypatch.setattr(tasks, "_enqueue", queue.put)
    return queue


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Any) -> Callable[..., Any]:
    """What a call returns, once what waits for its commit is done too."""

    def do(call: Callable[[], Any]) -> Any:
        with django_capture_on_commit_callbacks(execute=True):
            return call()

    return do


def swept(**named: Any) -> list[int]:
    return list(tasks.sweep(named.get("stopped", lambda: False)))


def claimed(model: planning.Queued) -> int:
    return int(model._default_manager.filter(claimed_until__isnull=False).count())


# How much at a time


def test_a_task_has_no_more_rows_than_can_be_done_within_a_lease(queue: Queue) -> None:
    ids = [uuid4() for _ in range(2 * tasks.CHUNK + 5)]
    tasks.enqueue(Plan, ids)
    assert queue.sizes() == [(Plan, tasks.CHUNK), (Plan, tasks.CHUNK), (Plan, 5)]
    assert [each for _, chunk in queue.told for each in chunk] == ids


def test_with_nothing_due_nobody_is_told(queue: Queue) -> None:
    tasks.enqueue(Plan, [])
    assert swept() == []
    assert queue.told == []


def test_a_sweep_tells_of_all_that_is_due_chunk_by_chunk(queue: Queue) -> None:
    placed = order(phones(2 * tasks.CHUNK + 1))
    assert swept() == [tasks.CHUNK, tasks.CHUNK, 1]
    assert {each for _, ids in queue.told for each in ids} == set(regular.shipments(placed))
    assert swept() == []


def test_a_queue_that_is_full_is_told_of_no_more(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MOST_IN_QUEUE", tasks.CHUNK + 3)
    order(phones(2 * tasks.CHUNK))
    assert swept() == [tasks.CHUNK, 3]
    assert swept() == []
    planning.release(Plan, queue.told[0][1])
    assert swept() == [tasks.CHUNK]


def test_what_is_nearly_done_comes_before_what_makes_more_of_it(queue: Queue) -> None:
    regular.planned(order(phones(2)))
    regular.forget_claims()
    order(phones(3), idempotency_id="another")
    regular.forget_claims()
    swept()
    assert queue.sizes() == [(Delivery, 2), (Plan, 3)]


def test_a_sweep_that_is_stopped_claims_no_more(queue: Queue) -> None:
    order(phones(3 * tasks.CHUNK))
    assert swept(stopped=lambda: bool(queue.told)) == [tasks.CHUNK]
    assert claimed(Plan) == tasks.CHUNK


# An engine that is away


def test_what_the_engine_was_not_told_of_is_claimed_no_longer(queue: Queue) -> None:
    order(phones(3 * tasks.CHUNK))
    ids = planning.claim(Plan, 3 * tasks.CHUNK)
    queue.room = 1
    with pytest.raises(EngineAwayError):
        tasks.enqueue(Plan, ids)
    assert claimed(Plan) == tasks.CHUNK
    assert set(planning.claim(Plan, 3 * tasks.CHUNK)) == set(ids[tasks.CHUNK :])


def test_a_sweep_says_that_the_engine_is_away_and_the_next_does_the_work(queue: Queue) -> None:
    order(phones(tasks.CHUNK + 1))
    queue.room = 0
    with pytest.raises(EngineAwayError):
        swept()
    assert claimed(Plan) == 0
    queue.room = None
    assert swept() == [tasks.CHUNK, 1]


def test_deliveries_that_a_planner_cannot_pass_on_are_left_to_the_sweep(queue: Queue) -> None:
    placed = order(phones(3))
    queue.room = 0
    with pytest.raises(EngineAwayError):
        _run(tasks.plan_shipments, regular.shipments(placed))
    assert Delivery.objects.filter(handover=Handover.OPEN, claimed_until=None).count() == 3
    queue.room = None
    assert swept() == [3]
    assert queue.sizes() == [(Delivery, 3)]


def _run(task: Any, ids: Sequence[UUID]) -> None:
    """As a worker does it."""
    getattr(task, "func", task)([str(each) for each in ids])


# On commit


def test_a_small_order_is_put_in_the_queue_when_it_is_committed(
    queue: Queue, committed: Callable[..., Any]
) -> None:
    def place() -> Any:
        placed = order(phones(3))
        assert queue.told == []
        assert claimed(Plan) == 3
        return placed

    placed = committed(place)
    assert [(model, set(ids)) for model, ids in queue.told] == [
        (Plan, set(regular.shipments(placed)))
    ]


def test_a_large_one_is_left_to_the_sweep(queue: Queue, committed: Callable[..., Any]) -> None:
    committed(lambda: order(phones(tasks.CHUNK + 1)))
    assert (queue.told, claimed(Plan)) == ([], 0)


def test_one_that_is_due_later_is_left_alone(
    queue: Queue, committed: Callable[..., Any], clock: Any
) -> None:
    committed(lambda: order(phones(2), at=clock() + regular.HOUR))
    assert (queue.told, claimed(Plan), swept()) == ([], 0, [])
    clock.go(regular.HOUR)
    assert swept() == [2]


@pytest.mark.django_db(transaction=True)
def test_an_order_that_is_rolled_back_is_never_heard_of(queue: Queue) -> None:
    with transaction.atomic():
        order()
        transaction.set_rollback(True)
    assert queue.told == []
    assert not Order.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_order_is_placed_though_the_engine_is_away(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    queue.room = 0
    order(phones(2))
    assert claimed(Plan) == 0
    (line,) = [line for line in caplog.messages if line.startswith("not put in the queue yet ")]
    assert "EngineAway" in line
    assert PERSONAL not in caplog.text
    queue.room = None
    assert swept() == [2]


# What the engine keeps of a failure


@pytest.mark.parametrize("task", [tasks.plan_shipments, tasks.hand_over_deliveries])
def test_a_task_that_fails_tells_the_place_and_nobody(
    task: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(ids: Sequence[UUID]) -> None:
        raise KeyError(PERSONAL)

    monkeypatch.setattr(planning, "plan", stumble)
    monkeypatch.setattr(planning, "hand_over", stumble)
    with pytest.raises(tasks.StepFailed) as raised:
        _run(task, [uuid4()])
    kept = "".join(format_exception(raised.value))
    assert "KeyError" in kept
    assert "test_tasks.py" in kept
    assert PERSONAL not in kept
    assert caplog.record_tuples[0][1] == logging.ERROR
    assert PERSONAL not in caplog.text


# Without an engine


@pytest.mark.django_db(transaction=True)
def test_by_default_everything_is_done_as_the_order_is_committed(stub: type[StubGateway]) -> None:
    with transaction.atomic():
        placed = order(phones(3))
        assert stub.seen == []
    assert [each.handover for each in regular.deliveries(placed)] == [Handover.TAKEN] * 3
    assert len(stub.seen) == 3


@pytest.mark.django_db(transaction=True)
def test_the_same_where_there_is_nothing_to_import(
    stub: type[StubGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = {model: step.func for model, step in tasks._STEPS.items()}
    monkeypatch.setattr(tasks, "_as_task", None)
    monkeypatch.setattr(tasks, "_STEPS", bare)
    placed = order(phones(3))
    assert [each.handover for each in regular.deliveries(placed)] == [Handover.TAKEN] * 3


WITHOUT_THE_BACKPORT: Final = """
import sys
sys.modules["django_tasks"] = None
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from instant_notifications import recipients, tasks
from instant_notifications.models import Delivery
from instant_notifications.orders import Sms, place_order
place_order(recipients.phone("+4799999999"), sms=Sms("hello", daytime=False))
print(Delivery.objects.get().handover, tasks._as_task is None)
"""


def test_it_needs_no_package_for_that() -> None:
    done = run_apart(WITHOUT_THE_BACKPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["taken", str(django.VERSION < (6,))]
