"""The circuit breaker and the operator's switch: who is asked, who is passed over, at what cost."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from threading import Semaphore
from typing import Any, Final

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import health
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.models import Delivery, GatewayState, StatusEvent
from instant_notifications.models.identifiers import uuid7
from tests.clock import Clock
from tests.conftest import API
from tests.conftest import sms as request
from tests.outcomes import Do, Killed, fails, meanwhile
from tests.stub import SecondGateway, take
from tests.test_dispatch import BOTH, email, sms
from tests.threads import at_once, in_thread

Configure = Callable[..., None]

PAUSE: Final = 30
DOWN: Final = fails(Unavailable, "down")
TABLE: Final = GatewayState._meta.db_table


@pytest.fixture
def both(stub: Any, configure: Configure) -> type[SecondGateway]:
    """Two gateways in each route; three failures in a row are too many. Returns the second."""
    configure(ROUTES=BOTH, CIRCUIT_FAILURES=3, CIRCUIT_PAUSE=PAUSE)
    return SecondGateway


def sent_by() -> str:
    """The gateway that took a new message, or the name of what was raised."""
    try:
        sent = sms(idempotency_id=str(uuid7()))
    except HandoverFailed as failure:
        return type(failure).__name__
    return Delivery.objects.get(shipment=sent.shipment_id).gateway


def failing(alias: str = "stub", *, since: float = 0, **state: Any) -> None:
    """It has failed too often; ``since`` so many seconds it is passed over."""
    until = timezone.now() + timedelta(seconds=PAUSE - since)
    GatewayState.objects.create(alias=alias, failures=3, passed_over_until=until, **state)


def state(alias: str = "stub") -> GatewayState:
    return GatewayState.objects.get(alias=alias)


OPENS: dict[str, tuple[list[Do], bool]] = {
    "two failures": ([DOWN] * 2, False),
    "three failures": ([DOWN] * 3, True),
    "three silences": ([fails(OutcomeUnknown)] * 3, True),
    "three bugs": ([fails(KeyError)] * 3, True),
    "three times not configured": ([fails(NotConfigured)] * 3, True),
    "one of each": ([DOWN, fails(OutcomeUnknown), fails(KeyError)], True),
    "a success in between": ([DOWN, DOWN, take, DOWN, DOWN], False),
    "a refusal in between": ([DOWN, DOWN, fails(Rejected), DOWN, DOWN], False),
    "refusals": ([fails(Rejected)] * 9, False),
    "not these messages": ([fails(Unavailable, only_this_message=True)] * 9, False),
    "silence about these messages": ([fails(OutcomeUnknown, only_this_message=True)] * 9, False),
}


@pytest.mark.django_db
@pytest.mark.parametrize(("steps", "opens"), OPENS.values(), ids=OPENS)
def test_failures_in_a_row_by_its_own_fault_open_the_circuit(
    steps: list[Do], opens: bool, stub: Any, both: Any
) -> None:
    for do in steps:
        stub.do = do
        sent_by()
    assert len(stub.seen) == len(steps)
    stub.do = take
    assert sent_by() == ("second" if opens else "stub")
    assert len(stub.seen) == len(steps) + (not opens)


@pytest.mark.django_db
@pytest.mark.parametrize(("passed", "wait"), [(0, 30), (0.5, 30), (10.5, 20), (29.9, 1), (30, 1)])
def test_the_caller_is_told_when_it_may_be_worth_while(
    passed: float, wait: int, stub: Any, configure: Configure, clock: Clock, both: Any
) -> None:
    configure(ROUTES={"sms": ["stub"]})
    failing()
    known = health.states_of(["stub"])
    clock.go(timedelta(seconds=passed))
    if passed == PAUSE:
        health.require_well(known["stub"])  # somebody else is trying it
    with pytest.raises(Unavailable) as raised:
        health.require_well(known["stub"])
    assert raised.value.retry_after == wait
    assert stub.seen == []


@pytest.mark.django_db
@pytest.mark.parametrize(("trial", "then"), [(take, "stub"), (DOWN, "second")])
def test_after_the_pause_one_message_tries_it(
    trial: Do, then: str, stub: Any, both: Any, clock: Clock
) -> None:
    stub.do = trial
    failing()
    clock.go(timedelta(seconds=PAUSE - 1))
    assert (sent_by(), len(stub.seen)) == ("second", 0)
    clock.go(timedelta(seconds=1))
    assert (sent_by(), len(stub.seen)) == (then, 1)
    clock.go(timedelta(seconds=PAUSE - 1))
    assert sent_by() == then
    assert len(stub.seen) == (2 if trial is take else 1)
    clock.go(timedelta(seconds=1))
    sent_by()
    assert len(stub.seen) == (3 if trial is take else 2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("route", "others"), [(["stub", "second"], "second"), (["stub"], "PassedOver")]
)
def test_of_twenty_threads_one_tries_it(
    route: list[str], others: str, stub: Any, both: Any, configure: Configure
) -> None:
    configure(ROUTES={"sms": route}, HANDOVER_BUDGET=30)
    failing(since=PAUSE + 1)
    done = Semaphore(0)

    def send() -> str:
        try:
            return sent_by()
        finally:
            done.release()

    stub.do = meanwhile(lambda: all(done.acquire(timeout=10) for _ in range(19)))
    assert Counter(at_once(*[send] * 20)) == {"stub": 1, others: 19}
    stub.do = take
    assert [sent_by() for _ in range(3)] == ["stub"] * 3


@pytest.mark.django_db
@pytest.mark.parametrize("is_told", [True, False], ids=["interrupted", "killed"])
def test_if_the_one_who_tries_dies_another_does_after_a_pause(
    is_told: bool, stub: Any, both: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(since=PAUSE)
    stub.do = fails(Killed)
    with monkeypatch.context() as dead:
        if not is_told:
            dead.setattr(health, "learn", lambda *_: None)
        with pytest.raises(Killed):
            sent_by()
    stub.do = take
    assert sent_by() == "second"
    clock.go(timedelta(seconds=PAUSE))
    assert [sent_by(), sent_by()] == ["stub", "stub"]


@pytest.mark.django_db
def test_messages_under_way_when_the_circuit_opens_do_not_stretch_the_pause(
    both: Any, clock: Clock
) -> None:
    failing()
    until = state().passed_over_until
    clock.go(timedelta(seconds=PAUSE - 1))
    health.learn({"stub": "late"}, {})
    assert (state().passed_over_until, state().failures) == (until, 4)


@pytest.mark.django_db
def test_a_clock_that_is_put_right_does_not_leave_a_gateway_out(
    stub: Any, both: Any, clock: Clock
) -> None:
    stub.do = DOWN
    clock.go(timedelta(days=1))
    for _ in range(3):
        sent_by()
    assert health.is_passed_over(state())
    stub.do = staticmethod(take)
    clock.go(-timedelta(days=1))
    assert not health.is_passed_over(state())
    assert sent_by() == "stub"
    assert state().failures == 0


@pytest.mark.django_db
def test_a_pause_of_a_clock_that_is_put_right_gives_way_to_a_true_one(
    both: Any, clock: Clock
) -> None:
    failing(since=-24 * 60 * 60)
    health.learn({"stub": "late"}, {})
    assert state().passed_over_until == clock.now + timedelta(seconds=PAUSE)


@pytest.mark.django_db
def test_none_switches_the_breaker_off(stub: Any, both: Any, configure: Configure) -> None:
    configure(CIRCUIT_FAILURES=None)
    failing()
    stub.do = DOWN
    assert [sent_by() for _ in range(9)] == ["second"] * 9
    assert len(stub.seen) == 9
    assert (state().failures, state().last_failure) == (12, "down")


@pytest.mark.django_db
@pytest.mark.parametrize(("send", "limit"), [(sms, 9), (email, 10)])
def test_the_happy_path_reads_once_and_writes_nothing(
    send: Any, limit: int, both: Any, configure: Configure
) -> None:
    options = {"reports_receipts": False}
    configure(GATEWAYS={"stub": {"BACKEND": "tests.stub.StubGateway", "OPTIONS": options}})
    send(idempotency_id="first")
    with CaptureQueriesContext(connection) as captured:
        send()
    said = [each["sql"] for each in captured if "SAVEPOINT" not in each["sql"]]
    # MariaDB cannot say what an update has written, and is asked.
    assert len(said) <= limit + (connection.vendor == "mysql"), "\n".join(said)
    assert [each.split()[0] for each in said if TABLE in each] == ["SELECT"]


def breaks(number: int, error: type[Exception]) -> Any:
    """The database goes away at this statement about gateways, and comes back at once."""
    heard = iter(range(1, 100))

    def execute(call: Any, statement: str, *arguments: Any) -> Any:
        if TABLE in statement and next(heard) == number:
            raise error("gone")
        return call(statement, *arguments)

    return connection.execute_wrapper(execute)


BEFORE: dict[str, Callable[[], Any]] = {
    "unknown": lambda: None,
    "failed before": lambda: GatewayState.objects.create(alias="stub", failures=1),
    "to be tried": lambda: failing(since=PAUSE + 1),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("do", [take, DOWN], ids=["taken", "down"])
def test_no_database_error_costs_a_messages_outcome(
    do: Do, before: str, error: type[Exception], stub: Any, both: Any
) -> None:
    stub.do = do
    for number in range(1, 7):
        GatewayState.objects.all().delete()
        BEFORE[before]()
        stub.seen.clear()
        with breaks(number, error):
            by = sent_by()
        delivery = Delivery.objects.latest("pk")
        # Where it cannot be known whether one is switched off, or to be tried, it is not asked.
        statements_of_the_first = 2 if before == "to be tried" else 1
        stayed_out = number <= statements_of_the_first
        assert len(stub.seen) == (not stayed_out)
        if do is take and not stayed_out:
            assert (by, delivery.handover, delivery.gateway) == ("stub", "taken", "stub")
        elif number == statements_of_the_first + 1:
            assert (by, delivery.handover) == ("Unavailable", "open")
        else:
            assert (by, delivery.handover, delivery.gateway) == ("second", "taken", "second")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("reason", ["x" * 10_000, "a\x00b", "\ud800", "\U0001f4a5"])
def test_whatever_the_reason_is_the_failure_counts(reason: str, stub: Any, both: Any) -> None:
    stub.do = fails(Unavailable, reason)
    assert [sent_by() for _ in range(4)] == ["second"] * 4
    assert (len(stub.seen), state().failures) == (3, 3)


@pytest.mark.django_db(transaction=True)
def test_a_switch_in_another_process_takes_effect_at_once(stub: Any, both: Any) -> None:
    assert sent_by() == "stub"
    in_thread(lambda: health.switch_off("stub", by="ola", because="invoice\x00 unpaid" * 99))
    assert sent_by() == "second"
    assert (state().switched_off_by, state().switched_off_because[:7]) == ("ola", "invoice")
    in_thread(lambda: health.switch_on("stub"))
    assert sent_by() == "stub"
    # by somebody else's code, so that nothing in this process can have heard of it
    in_thread(lambda: GatewayState.objects.update(switched_off_at=timezone.now()))
    assert sent_by() == "second"


@pytest.mark.django_db
def test_with_all_gateways_off_nothing_is_sent(stub: Any, both: Any, api: Any) -> None:
    for alias in BOTH["sms"]:
        health.switch_off(alias)
    answer = api.post(f"{API}future/orders/instant/sms", request(), format="json")
    assert (answer.status_code, answer.json()["code"]) == (503, "NOT-00004")
    assert int(answer["Retry-After"]) > 0
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.status) == ("open", "SMS_New")
    lines = StatusEvent.objects.order_by("pk").values_list("gateway", "outcome", "gateway_word")
    off = ("passed_over", "switched off")
    assert list(lines) == [("stub", *off), ("second", *off), ("", "", "switched off")]
    assert stub.seen == both.seen == []
    health.switch_on("second")
    assert api.post(f"{API}future/orders/instant/sms", request(), format="json").status_code == 201


@pytest.mark.django_db
def test_a_gateway_that_is_off_is_not_tried_after_its_pause(stub: Any, both: Any) -> None:
    failing(since=PAUSE + 1)
    seen_before = state()
    health.switch_off("stub")
    with pytest.raises(health.PassedOver):
        health.require_well(seen_before)
    assert sent_by() == "second"
    assert state().passed_over_until == seen_before.passed_over_until
    health.switch_on("stub")
    assert (sent_by(), state().failures, len(stub.seen)) == ("stub", 0, 1)


@pytest.mark.django_db
def test_the_next_gateway_may_be_switched_off_meanwhile(stub: Any, both: Any) -> None:
    stub.do = meanwhile(lambda: health.switch_off("second"), DOWN)
    assert sent_by() == "Unavailable"
    assert both.seen == []


@pytest.mark.django_db
def test_a_misspelt_gateway_is_not_thought_to_be_off(both: Any) -> None:
    with pytest.raises(NotConfigured):
        health.switch_off("stubb")
    assert not GatewayState.objects.exists()
