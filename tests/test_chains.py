"""How a regular order stands, and how it is called off: all of it that has not left."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from instant_notifications import planning
from instant_notifications.exceptions import NotFound, OutcomeUnknown, TooLate, Unavailable
from instant_notifications.models import Delivery, FeedEntry, Plan, StatusEvent
from instant_notifications.orders import (
    Chain,
    Placed,
    Reminder,
    cancel_order,
    cancel_shipment,
    chains,
    read_order,
    send_sms,
)
from tests.clock import Clock
from tests.outcomes import Killed, fails, gateways, in_turn, meanwhile
from tests.regular import (
    ADDRESS,
    COMPANY,
    EMAIL,
    HOUR,
    NUMBER,
    SMS,
    deliveries,
    keep_contact,
    order,
    phones,
    planned,
    sent,
    shipments,
    standing,
    told,
    work_off,
)
from tests.stub import take
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

REMINDER = Reminder(days=7, sms=SMS, email=EMAIL)
WEEK = timedelta(days=7)


def words(chain: Chain) -> list[str]:
    """Of the message's shipments, then of the reminders'."""
    return [each.report.status for each in (*chain.notifications, *chain.reminders)]


def read(placed: Placed, creator: str = "local") -> Chain:
    chain = read_order(creator, placed.order_id)
    assert chain is not None
    return chain


def call_off(placed: Placed, **more: Any) -> list[str]:
    return words(cancel_order("local", placed.order_id, **more))


# Reading


def test_an_order_is_read_with_all_its_shipments(stub: Any, clock: Clock) -> None:
    other = Reminder(at=clock.now + HOUR, sms=SMS, email=EMAIL, senders_reference="soon")
    placed = order(phones(2), reminders=[REMINDER, other], dialog={"dialogId": "d"})
    work_off()
    chain = read(placed)
    assert chain.order.pk == placed.order_id
    assert chain.order.dialog == {"dialogId": "d"}
    assert [each.report.shipment.pk for each in (*chain.notifications, *chain.reminders)] == list(
        shipments(placed)
    )
    assert [each.requested_at for each in chain.notifications] == [clock.now] * 2
    asked_for = [clock.now + WEEK] * 2 + [clock.now + HOUR] * 2
    assert [each.requested_at for each in chain.reminders] == asked_for
    assert chain.reminders[2].report.shipment.senders_reference == "soon"
    assert words(chain) == ["Order_Processed"] * 2 + ["Order_Registered"] * 4
    assert chain.notifications[0].report.recipients[0].status == "SMS_Accepted"


def test_what_is_not_the_callers_regular_order_is_not_read(stub: Any) -> None:
    placed = order(creator="ttd")
    instant = send_sms(NUMBER, "hello", creator="ttd")
    assert read(placed, "ttd")
    for creator, key in (("nav", placed.order_id), ("ttd", uuid4()), ("ttd", instant.order_id)):
        assert read_order(creator, key) is None
        with pytest.raises(NotFound):
            cancel_order(creator, key)
    shipment, other = placed.notification.shipment_id, instant.shipment_id
    for creator, key in (("nav", shipment), ("ttd", uuid4()), ("ttd", other)):
        with pytest.raises(NotFound):
            cancel_shipment(creator, key)


def test_the_statements_it_takes_do_not_depend_on_the_recipients() -> None:
    counts = []
    for number in (2, 20):
        placed = order(phones(number), reminders=[REMINDER])
        planned(placed)
        with CaptureQueriesContext(connection) as captured:
            read(placed)
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 6


def test_of_very_many_the_first_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MOST_READ", 3)
    assert len(words(read(order(phones(5), reminders=[REMINDER])))) == 6


# Calling off


def test_what_waits_is_cancelled_with_its_reminders_and_never_sent(stub: Any, clock: Clock) -> None:
    placed = order(phones(2), reminders=[REMINDER])
    assert call_off(placed) == ["Order_Cancelled"] * 4
    assert sorted(told()) == sorted((key, "Order_Cancelled", []) for key in shipments(placed))
    clock.go(WEEK)
    work_off()
    assert planned(placed) == []
    assert stub.seen == []
    assert not Plan.objects.exclude(due_at=None).exists()


def test_a_cancelled_order_may_be_cancelled_again(stub: Any) -> None:
    placed = order(reminders=[REMINDER])
    first = call_off(placed)
    assert call_off(placed) == first
    assert len(told()) == 2
    shipment = placed.notification.shipment_id
    assert cancel_shipment("local", shipment).status == "Order_Cancelled"


def test_what_has_a_delivery_that_waits_is_cancelled_too(stub: Any, clock: Clock) -> None:
    stub.do = in_turn(fails(Unavailable))
    placed = order(phones(2))
    keys = planned(placed)
    planning.hand_over(keys[:1])
    assert call_off(placed) == ["Order_Cancelled"] * 2
    assert sorted(told()) == sorted(
        (key, "Order_Cancelled", ["SMS_Failed"]) for key in shipments(placed)
    )
    clock.go(HOUR)
    work_off()
    planning.hand_over(keys)
    assert len(stub.seen) == 1
    last = StatusEvent.objects.order_by("pk").last()
    assert last
    assert (last.cause, last.to_status) == ("caller", "SMS_Failed")


@pytest.mark.parametrize("do", [take, fails(OutcomeUnknown), fails(Killed)])
def test_what_has_left_or_may_have_cannot_be_cancelled(do: Any, stub: Any) -> None:
    stub.do = do
    placed = order()
    with suppress(Killed):
        sent(placed)
    before = standing(placed.notification.shipment_id)
    with pytest.raises(TooLate):
        call_off(placed)
    with pytest.raises(TooLate):
        cancel_shipment("local", placed.notification.shipment_id)
    assert standing(placed.notification.shipment_id) == before
    assert told() == []


def test_the_reminder_of_what_has_left_is_cancelled(stub: Any, clock: Clock) -> None:
    placed = order(reminders=[REMINDER])
    sent(placed)
    assert call_off(placed) == ["Order_Processed", "Order_Cancelled"]
    assert call_off(placed) == ["Order_Processed", "Order_Cancelled"]
    clock.go(WEEK)
    work_off()
    assert len(stub.seen) == 1


def test_one_shipment_is_cancelled_without_the_others(stub: Any, clock: Clock) -> None:
    placed = order(phones(2), reminders=[REMINDER])
    first, second, *reminders = shipments(placed)
    report = cancel_shipment("local", first)
    assert (report.shipment.pk, report.status, report.recipients) == (first, "Order_Cancelled", [])
    work_off()
    assert standing(second)[0] == "Order_Processed"
    clock.go(WEEK)
    work_off()
    assert [standing(key)[0] for key in reminders] == ["Order_Processed"] * 2
    assert standing(first) == ("Order_Cancelled", [])
    assert len(stub.seen) == 3


def test_of_a_shipment_that_has_left_in_part_the_rest_is_cancelled(
    stub: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"reports_receipts": False}))
    keep_contact(COMPANY, phones=["40000000"], emails=[ADDRESS])
    placed = order(COMPANY)
    keys = planned(placed)
    planning.hand_over([key for key in keys if Delivery.objects.get(pk=key).channel == "email"])
    assert call_off(placed) == ["Order_Completed"]
    shipment = placed.notification.shipment_id
    assert standing(shipment) == ("Order_Completed", ["Email_Succeeded", "SMS_Failed"])
    assert told() == [(shipment, "Order_Completed", ["Email_Succeeded", "SMS_Failed"])]
    assert call_off(placed) == ["Order_Completed"]
    assert len(told()) == 1
    planning.hand_over(keys)
    assert len(stub.seen) == 1


def test_what_comes_back_unsent_after_it_was_called_off_is_not_tried_again(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"reports_receipts": False}))
    keep_contact(COMPANY, phones=["40000000"], emails=[ADDRESS])
    placed = order(COMPANY)
    stub.do = meanwhile(lambda: call_off(placed), then=fails(Unavailable))
    planning.hand_over(planned(placed))
    stub.do = take
    assert len(stub.seen) == 1
    clock.go(HOUR)
    work_off()
    assert len(stub.seen) == 1
    shipment = placed.notification.shipment_id
    assert standing(shipment) == ("Order_Completed", ["Email_Failed", "SMS_Failed"])
    assert len(told()) == 1
    assert call_off(placed) == ["Order_Completed"]


def test_of_a_shipment_whose_other_half_led_nowhere_nothing_is_left(stub: Any) -> None:
    keep_contact(COMPANY, phones=["40000000"])
    placed = order(COMPANY)
    planned(placed)
    assert call_off(placed) == ["Order_Cancelled"]
    words = ["Email_Failed_RecipientNotIdentified", "SMS_Failed"]
    assert told() == [(placed.notification.shipment_id, "Order_Cancelled", words)]


def test_what_was_not_to_be_sent_anyway_cannot_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning.planner.conditions, "ask", lambda url, for_="": False)  # type: ignore[attr-defined]
    placed = order(condition="https://example.com")
    planned(placed)
    with pytest.raises(TooLate):
        call_off(placed)
    assert standing(placed.notification.shipment_id)[0] == "Order_SendConditionNotMet"


def test_a_person_who_cancels_is_named_and_says_why() -> None:
    waiting, under_way = order(), order()
    planned(under_way)
    for placed in (waiting, under_way):
        call_off(placed, by="kari" * 99, because="wrong\x00 text")
        plan = Plan.objects.get(pk=placed.notification.shipment_id)
        assert plan.ended_by == ("kari" * 99)[:150]
        assert plan.ended_because == "wrong\ufffd text"
        assert plan.recipient is None
    assert StatusEvent.objects.get().cause == "operator"


def test_many_are_cancelled_batch_by_batch(monkeypatch: pytest.MonkeyPatch, stub: Any) -> None:
    monkeypatch.setattr(chains, "BATCH", 3)
    placed = order(phones(10))
    planning.plan(shipments(placed)[:5])
    call_off(placed)
    assert {standing(key)[0] for key in shipments(placed)} == {"Order_Cancelled"}
    assert len(told()) == 10


def test_the_statements_of_a_batch_do_not_depend_on_its_length() -> None:
    call_off(order())  # its organisation is known by now
    counts = []
    for number in (6, 20):
        placed = order(phones(number))
        planning.plan(shipments(placed)[: number // 2])
        with CaptureQueriesContext(connection) as captured:
            cancel_order("local", placed.order_id)
        counts.append(len(captured))
    assert counts[0] == counts[1] <= 40


@pytest.mark.django_db(transaction=True)
def test_wherever_a_cancellation_dies_another_finishes_it(stub: Any) -> None:
    for statement in count():
        with transaction.atomic():
            placed = order(phones(2), reminders=[REMINDER])
            connection.run_on_commit.clear()
        keys = planning.plan(shipments(placed)[:1])
        before = FeedEntry.objects.count()
        numbers = count()

        def dies(run: Any, *query: Any, at: int = statement, numbers: Any = numbers) -> Any:
            if next(numbers) >= at:
                raise Killed
            return run(*query)

        done = False
        with suppress(Killed), connection.execute_wrapper(dies):
            call_off(placed)
            done = True
        assert call_off(placed) == ["Order_Cancelled"] * 4
        assert FeedEntry.objects.count() == before + 4
        planning.hand_over(keys)
        if done:
            break
    assert stub.seen == []
    assert statement > 8


@pytest.mark.django_db(transaction=True)
def test_cancelled_by_several_at_once_it_is_told_once(stub: Any) -> None:
    with transaction.atomic():
        placed = order(phones(4), reminders=[REMINDER])
        connection.run_on_commit.clear()
    planning.plan(shipments(placed)[:2])
    ends = at_once(*[lambda: call_off(placed)] * 4)
    assert ends == [["Order_Cancelled"] * 8] * 4
    assert len(told()) == 8


def test_a_cancelled_order_leaves_no_claims() -> None:
    placed = order(phones(2))
    planning.plan(shipments(placed)[:1])
    call_off(placed)
    for model in (Plan, Delivery):
        assert not model.objects.exclude(claimed_until=None, due_at=None).exists()
    assert {each.handover for each in deliveries(placed)} == {"refused"}
