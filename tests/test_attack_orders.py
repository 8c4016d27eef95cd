"""What a stranger tried to break in regular orders."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import django
import pytest
from django.utils import timezone

from instant_notifications import planning, record, tasks, upkeep
from instant_notifications.exceptions import Unavailable
from instant_notifications.models import Delivery, Order, Plan
from instant_notifications.planning import claims
from tests.apart import run_apart
from tests.clock import Clock
from tests.outcomes import expire, fails, lapse_lease, meanwhile
from tests.regular import (
    DAYTIME,
    MAILBOX,
    deliveries,
    forget_claims,
    order,
    phones,
    planned,
    sent,
    shipments,
    told,
    work_off,
)
from tests.stub import StubGateway

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Stub = type[StubGateway]

BY_EMAIL_ALONE = {"sms": [], "email": ["stub"]}


@pytest.fixture(autouse=True)
def no_circuit(stub: Stub, configure: Configure) -> None:
    """Gateways that fail are asked all the same."""
    configure(CIRCUIT_FAILURES=None)


def test_what_has_expired_meanwhile_is_not_begun_again_by_a_late_failure(stub: Stub) -> None:
    def clock_strikes() -> None:
        lapse_lease()
        expire(seconds_ago=120)
        record.record_expiry(record.settle_lapsed(Delivery.objects.as_recorded().get()))

    stub.do = staticmethod(meanwhile(clock_strikes, then=fails(Unavailable, "down")))
    (delivery,) = sent(placed := order())
    assert (delivery.status, delivery.due_at) == ("SMS_Failed_TTL", None)
    heard = told()
    work_off()
    assert [each.status for each in deliveries(placed)] == ["SMS_Failed_TTL"]
    assert (len(stub.seen), told()) == (1, heard)


def test_those_that_cannot_be_handed_over_do_not_keep_all_others_out_of_the_queue(
    stub: Stub, clock: Clock, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MOST_IN_QUEUE", 2)
    planned(order(phones(2)))
    clock.go(timedelta(seconds=1))
    planned(order(MAILBOX))
    forget_claims()
    configure(ROUTES=BY_EMAIL_ALONE)
    _sweep_till_nothing_is_due()
    clock.go(claims.lease())
    _sweep_till_nothing_is_due()
    assert [message.channel for message in stub.seen] == ["email"]


def _sweep_till_nothing_is_due() -> None:
    while list(tasks.sweep(lambda: False)):
        pass


def test_a_text_for_which_it_is_never_daytime_does_not_keep_the_others(
    stub: Stub, configure: Configure
) -> None:
    today = timezone.now().date()
    never = [(today + timedelta(days=each)).isoformat() for each in range(-2, 400)]
    by_day, email = order(sms=DAYTIME), order(MAILBOX)
    configure(DAYTIME_CLOSED=never)
    keys = planning.plan([*shipments(by_day), *shipments(email)])
    assert [each.pk for each in deliveries(email)] == keys
    waiting = Plan.objects.get(pk__in=shipments(by_day))
    assert (waiting.ended, waiting.claimed_until) == ("", None)
    assert waiting.due_at is not None
    assert waiting.due_at > timezone.now()


def test_without_an_engine_a_step_that_fails_does_not_keep_the_others(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = order(phones(3))
    forget_claims()
    first, really = shipments(placed)[0], planning.plan

    def plan(ids: Sequence[UUID]) -> Any:
        return 1 / 0 if first in ids else really(ids)

    bare = {model: getattr(step, "func", step) for model, step in tasks._STEPS.items()}
    monkeypatch.setattr(tasks, "_as_task", None)
    monkeypatch.setattr(tasks, "_STEPS", bare)
    monkeypatch.setattr(tasks, "CHUNK", 1)
    monkeypatch.setattr(planning, "plan", plan)
    _sweep_till_nothing_is_due()
    assert len(stub.seen) == 2


def test_old_orders_for_many_are_deleted_a_few_at_a_time(
    stub: Stub, clock: Clock, configure: Configure, tiny_batches: None
) -> None:
    for number in (1, 3, 1):
        sent(order(phones(number)))
    Delivery.objects.update(completed_at=clock())
    clock.go(timedelta(days=100))
    configure(KEEP_ORDERS=timedelta(days=99))
    done = [
        tally.done
        for chore, tally in upkeep.run(upkeep.RETENTION, upkeep.Stop())
        if chore.name == "orders deleted"
    ]
    assert done == [1, 1, 1]
    assert not Order.objects.exists()


OWN_QUEUES: Final = """
import django
from django.conf import settings
settings.TASKS = {"default": {
    "BACKEND": "django_tasks.backends.immediate.ImmediateBackend", "QUEUES": ["mail"],
}}
django.setup()
import instant_notifications.tasks
"""


def test_a_queue_that_the_engine_does_not_have_is_named_with_what_to_set() -> None:
    code = (
        OWN_QUEUES if django.VERSION < (6,) else OWN_QUEUES.replace("django_tasks", "django.tasks")
    )
    done = run_apart(code)
    last = done.stderr.strip().splitlines()[-1]
    assert "NotConfigured" in last
    assert "['TASK_QUEUE']" in last
