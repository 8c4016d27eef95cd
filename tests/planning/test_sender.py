"""Deliveries are handed over when their time has come: once, in daytime, again only if unsent."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import planning, record
from instant_notifications.exceptions import (
    NotAllowed,
    OpenTransaction,
    OutcomeUnknown,
    Rejected,
    TooLate,
    Unavailable,
)
from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery, StatusEvent
from instant_notifications.orders import Placed, cancel, cancel_order, resend
from instant_notifications.planning import claims
from instant_notifications.receipts import record_receipt
from instant_notifications.statuses import WORDS
from tests import regular
from tests.clock import Clock
from tests.outcomes import Killed, fails, gateways, in_turn, lapse_lease, meanwhile
from tests.regular import (
    COMPANY,
    DAYTIME,
    HOUR,
    LIFETIME,
    MAILBOX,
    MINUTE,
    PAUSES,
    PHONE,
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
from tests.stub import StubGateway, take
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Stub = type[StubGateway]

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def no_circuit(stub: Stub, configure: Configure) -> None:
    """Gateways that fail are asked all the same."""
    configure(CIRCUIT_FAILURES=None)


@pytest.fixture
def plain(configure: Configure) -> None:
    """The gateway's acceptance is the last word."""
    configure(GATEWAYS=gateways(stub={"reports_receipts": False}))


def oslo(hour: int, minute: int = 0, day: int = 1) -> datetime:
    """That time of day in July 2026, when the clock in Oslo is two hours ahead."""
    return datetime(2026, 7, day, hour, minute, tzinfo=UTC) - 2 * HOUR


def only(placed: Placed) -> Delivery:
    (delivery,) = deliveries(placed)
    return delivery


def words(placed: Placed) -> tuple[str, list[str]]:
    return standing(placed.notification.shipment_id)


# The way


def test_a_gateway_gets_what_was_ordered(stub: Stub) -> None:
    placed = order()
    (delivery,) = sent(placed)
    (message,) = stub.seen
    assert message.reference == str(delivery.pk)
    assert (message.channel, message.destination) == ("sms", regular.NUMBER)
    assert (message.body, message.sender) == (regular.SMS.body, "Altinn")
    assert LIFETIME - MINUTE < timedelta(seconds=message.time_to_live) <= LIFETIME
    assert message.attempt == 1


def test_an_email_has_its_subject_and_kind(stub: Stub) -> None:
    placed = order(MAILBOX, email=regular.Email("Hi", "<b>x</b>", "html", "post@example.org"))
    assert len(sent(placed)) == 1
    (message,) = stub.seen
    assert (message.channel, message.destination) == ("email", regular.ADDRESS)
    assert (message.subject, message.body) == ("Hi", "<b>x</b>")
    assert (message.content_type, message.sender) == ("Html", "post@example.org")


def test_what_was_taken_is_never_handed_over_again(stub: Stub) -> None:
    placed = order()
    keys = planned(placed)
    for _ in range(3):
        planning.hand_over(keys)
        work_off()
    assert len(stub.seen) == 1
    assert words(placed) == ("Order_Processed", ["SMS_Accepted"])


def test_it_takes_three_words_to_the_end(stub: Stub, plain: None, clock: Clock) -> None:
    placed = order(at=clock.now + HOUR)
    assert words(placed) == ("Order_Registered", [])
    clock.go(HOUR)
    assert words(placed) == ("Order_Processing", [])
    keys = planned(placed)
    assert words(placed) == ("Order_Processing", ["SMS_New"])
    seen_meanwhile: list[Any] = []
    stub.do = meanwhile(lambda: seen_meanwhile.append(words(placed)))
    planning.hand_over(keys)
    assert seen_meanwhile == [("Order_Processing", ["SMS_Sending"])]
    assert words(placed) == ("Order_Completed", ["SMS_Accepted"])
    assert told() == [(shipments(placed)[0], "Order_Completed", ["SMS_Accepted"])]


# Again, only if it certainly was not sent


def test_what_was_certainly_not_sent_is_tried_until_it_expires(stub: Stub, clock: Clock) -> None:
    stub.do = fails(Unavailable, "down")
    placed = order()
    tries = []
    begun = clock.now
    work_off()
    while (due_at := only(placed).due_at) is not None:
        tries.append(due_at - clock.now)
        assert words(placed) == ("Order_Processing", ["SMS_New"])
        clock.now = due_at - SECOND
        before = len(stub.seen)
        work_off()
        assert len(stub.seen) == before
        clock.go(SECOND)
        work_off()
    assert tries[:5] == PAUSES
    assert set(tries[5:]) == {30 * MINUTE}
    assert len(stub.seen) == len(tries)
    assert begun + LIFETIME <= clock.now < begun + LIFETIME + 30 * MINUTE
    assert words(placed) == ("Order_Completed", ["SMS_Failed_TTL"])
    assert told() == [(shipments(placed)[0], "Order_Completed", ["SMS_Failed_TTL"])]
    assert [message.attempt for message in stub.seen] == list(range(1, len(tries) + 1))


def test_once_a_gateway_is_back_the_next_try_goes(stub: Stub, clock: Clock) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    placed = order()
    sent(placed)
    clock.go(MINUTE)
    work_off()
    assert words(placed) == ("Order_Processed", ["SMS_Accepted"])
    assert len(stub.seen) == 2


def test_expiry_is_written_down_by_the_sweep_where_no_try_comes_after_it(
    stub: Stub, clock: Clock
) -> None:
    stub.do = fails(Unavailable)
    placed = order()
    sent(placed)
    clock.go(LIFETIME + HOUR)
    call_command("expire_notifications", verbosity=0)
    assert words(placed) == ("Order_Completed", ["SMS_Failed_TTL"])
    assert only(placed).due_at is None
    work_off()
    assert len(stub.seen) == 1
    assert len(told()) == 1


def test_the_expiry_sweep_leaves_what_still_waits(stub: Stub, clock: Clock) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    placed = order()
    sent(placed)
    clock.go(HOUR)
    call_command("expire_notifications", verbosity=0)
    work_off()
    assert words(placed) == ("Order_Processed", ["SMS_Accepted"])


@pytest.mark.parametrize("failure", [OutcomeUnknown, ZeroDivisionError, TimeoutError])
def test_what_may_have_been_sent_is_never_tried_again(
    failure: type[Exception], stub: Stub, clock: Clock
) -> None:
    stub.do = fails(failure)
    placed = order()
    sent(placed)
    assert words(placed) == ("Order_Processed", ["SMS_Sending"])
    for _ in range(4):
        clock.go(20 * HOUR)
        work_off()
        call_command("expire_notifications", verbosity=0)
    assert len(stub.seen) == 1
    assert words(placed) == ("Order_Completed", ["SMS_Failed_TTL"])


def test_what_was_refused_is_never_tried_again(stub: Stub, clock: Clock) -> None:
    stub.do = fails(Rejected, status="SMS_Failed_InvalidRecipient")
    placed = order()
    sent(placed)
    clock.go(HOUR)
    work_off()
    assert len(stub.seen) == 1
    assert words(placed) == ("Order_Completed", ["SMS_Failed_InvalidRecipient"])


def test_a_worker_that_dies_in_mid_call_leaves_it_unknown(stub: Stub, clock: Clock) -> None:
    stub.do = fails(Killed)
    placed = order()
    keys = planned(placed)
    with pytest.raises(Killed):
        planning.hand_over(keys)
    assert only(placed).handover == "under_way"
    clock.go(MINUTE)
    work_off()
    call_command("expire_notifications", verbosity=0)
    assert words(placed) == ("Order_Processed", ["SMS_Sending"])
    assert only(placed).handover == "unknown"
    work_off()
    assert len(stub.seen) == 1


def test_one_that_goes_wrong_does_not_keep_the_others(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    placed = order(phones(3))
    keys = planned(placed)
    really, calls = record.claim, count()

    def claim(seen: Delivery, lease: timedelta) -> Delivery | None:
        if next(calls) == 0:
            raise ZeroDivisionError(seen.destination)
        return really(seen, lease)

    monkeypatch.setattr(record, "claim", claim)
    planning.hand_over(keys)
    assert len(stub.seen) == 2
    assert "ZeroDivisionError" in caplog.text
    assert "+479" not in caplog.text


def test_without_a_route_it_is_told_and_comes_again(
    stub: Stub, clock: Clock, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    placed = order()
    keys = planned(placed)
    configure(ROUTES={"sms": [], "email": ["stub"]})
    with caplog.at_level(logging.ERROR):
        planning.hand_over(keys)
    assert str(keys[0]) in caplog.text
    assert words(placed) == ("Order_Processing", ["SMS_New"])
    configure(ROUTES={"sms": ["stub"], "email": ["stub"]})
    assert planning.claim(Delivery, 5) == []
    clock.go(timedelta(seconds=300))
    assert planning.claim(Delivery, 5) == keys
    planning.hand_over(keys)
    assert words(placed) == ("Order_Processed", ["SMS_Accepted"])


@pytest.mark.parametrize("lost", ["content", "destination"])
def test_what_was_erased_or_cannot_be_read_fails_visibly(lost: str, stub: Stub) -> None:
    erased, closed = order(), order()
    keys = [*planned(erased), *planned(closed)]
    Delivery.objects.filter(pk=keys[0]).update(**{lost: None})
    with override_settings(SECRET_KEY="of days gone by" * 3):
        Delivery.objects.filter(pk=keys[1]).update(**{lost: "{}"})
    planning.hand_over(keys)
    assert stub.seen == []
    for placed in (erased, closed):
        assert words(placed) == ("Order_Completed", ["SMS_Failed"])
    assert len(told()) == 2


def test_it_is_not_sent_inside_a_transaction_that_may_yet_be_rolled_back(stub: Stub) -> None:
    """What is claimed in it would be forgotten, and sent again."""
    keys = planned(order())
    with pytest.raises(OpenTransaction), transaction.atomic():
        planning.hand_over(keys)
    assert stub.seen == []


def test_a_workers_clock_that_is_a_little_behind_does_not_make_it_wait(
    stub: Stub, clock: Clock
) -> None:
    keys = planned(order())
    clock.go(-2 * SECOND)
    planning.hand_over(keys)
    assert len(stub.seen) == 1


def test_a_try_that_is_due_later_is_left_whoever_was_told_of_it(stub: Stub, clock: Clock) -> None:
    """A queue may deliver the same task twice."""
    stub.do = fails(Unavailable)
    keys = planned(order())
    planning.hand_over(keys)
    clock.go(30 * SECOND)
    planning.hand_over(keys)
    assert len(stub.seen) == 1


# Day and night


@pytest.mark.parametrize(
    ("placed_at", "goes_at", "expires_at"),
    [
        (oslo(12), oslo(12), oslo(12, day=3)),
        (oslo(8, 59), oslo(9), oslo(9, day=3)),
        (oslo(16, 59), oslo(16, 59), oslo(16, 59, day=3)),
        (oslo(17), oslo(9, day=2), oslo(9, day=4)),
        (oslo(23), oslo(9, day=2), oslo(9, day=4)),
    ],
    ids=str,
)
def test_a_daytime_sms_waits_for_the_day_and_its_life_begins_there(
    placed_at: datetime, goes_at: datetime, expires_at: datetime, stub: Stub, clock: Clock
) -> None:
    clock.now = placed_at
    placed = order(sms=DAYTIME)
    work_off()
    assert only(placed).expires_at == expires_at
    if goes_at > placed_at:
        assert words(placed) == ("Order_Processing", ["SMS_New"])
        clock.now = goes_at - SECOND
        work_off()
        assert stub.seen == []
        clock.now = goes_at
        work_off()
    (message,) = stub.seen
    assert message.time_to_live == LIFETIME.total_seconds()


def test_at_night_email_and_what_may_disturb_go_at_once(stub: Stub, clock: Clock) -> None:
    clock.now = oslo(23)
    keep_contact(COMPANY, phones=["40000000"], emails=[regular.ADDRESS])
    sent(order(COMPANY, sms=DAYTIME))
    sent(order(sms=regular.SMS))
    assert [message.channel for message in stub.seen] == ["email", "sms"]


def test_a_try_that_would_fall_into_the_night_waits_for_the_morning(
    stub: Stub, clock: Clock
) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    clock.now = oslo(16, 59)
    placed = order(sms=DAYTIME)
    sent(placed)
    assert only(placed).due_at == oslo(9, day=2)
    clock.now = oslo(9, day=2)
    work_off()
    assert words(placed) == ("Order_Processed", ["SMS_Accepted"])


def test_a_queue_that_is_late_does_not_send_at_night(stub: Stub, clock: Clock) -> None:
    clock.now = oslo(16, 59)
    placed = order(sms=DAYTIME)
    keys = planned(placed)
    clock.now = oslo(17)
    planning.hand_over(keys)
    assert stub.seen == []
    waiting = only(placed)
    assert (waiting.due_at, waiting.claimed_until) == (oslo(9, day=2), None)
    clock.now = oslo(9, day=2)
    work_off()
    assert len(stub.seen) == 1


def test_a_retry_after_the_end_of_its_life_does_not_send(stub: Stub, clock: Clock) -> None:
    stub.do = in_turn(fails(Unavailable))
    clock.now = oslo(16, 59)
    placed = order(sms=DAYTIME)
    sent(placed)
    clock.now = oslo(10, day=5)
    work_off()
    assert len(stub.seen) == 1
    assert words(placed) == ("Order_Completed", ["SMS_Failed_TTL"])


# Others step in


def test_the_console_sends_a_waiting_message_again_and_the_plan_does_not(
    stub: Stub, clock: Clock
) -> None:
    clock.now = oslo(20)
    placed = order(sms=DAYTIME)
    sent(placed)
    resend(only(placed).pk, by="kari", because="it cannot wait")
    assert len(stub.seen) == 1
    assert stub.seen[0].time_to_live <= LIFETIME.total_seconds()
    assert (only(placed).due_at, only(placed).status) == (None, "SMS_Failed")
    clock.now = oslo(9, day=2)
    work_off()
    assert len(stub.seen) == 1


def test_what_the_console_cancels_is_not_handed_over(stub: Stub) -> None:
    placed = order()
    keys = planned(placed)
    cancel(keys[0], by="kari", because="a mistake")
    planning.hand_over(keys)
    work_off()
    assert stub.seen == []
    assert only(placed).due_at is None


def test_what_is_being_handed_over_cannot_be_cancelled(stub: Stub) -> None:
    def too_late() -> None:
        with pytest.raises(TooLate):
            cancel_order("local", placed.order_id)
        with pytest.raises(NotAllowed):
            cancel(only(placed).pk, by="kari", because="a mistake")

    stub.do = meanwhile(too_late)
    placed = order()
    sent(placed)
    assert words(placed) == ("Order_Processed", ["SMS_Accepted"])


# Crashes and races


def unheard_of(to: Any = PHONE, **changes: Any) -> Placed:
    """An order that is stored, and that no worker has heard of."""
    with transaction.atomic():
        placed = order(to, **changes)
        connection.run_on_commit.clear()
    return placed


def dies_at(statement: int) -> Any:
    """The process dies instead of running the statement of that number, counted from 0."""
    numbers = count()

    def execute(run: Any, *query: Any) -> Any:
        if next(numbers) >= statement:
            raise Killed
        return run(*query)

    return connection.execute_wrapper(execute)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("do", [take, fails(Unavailable)], ids=["taken", "unavailable"])
def test_wherever_a_sender_dies_it_is_sent_once_or_visibly_unknown(do: Any, stub: Stub) -> None:
    """It may die before any of its statements; the next workers see to what is left."""
    unknown = 0
    for statement in count():
        stub.seen.clear()
        stub.do = do
        placed = unheard_of()
        keys = planned(placed)
        with suppress(Killed), dies_at(statement):
            planning.hand_over(keys)
        done = only(placed).handover in ("taken", "open") and bool(stub.seen)
        stub.do = take
        called = bool(stub.seen)
        lapse_lease()
        call_command("expire_notifications", verbosity=0)
        Delivery.objects.exclude(due_at=None).update(due_at=timezone.now())
        work_off()
        ended = only(placed)
        taken_by_now = len(stub.seen) - (called and do is not take)
        assert taken_by_now <= 1
        if ended.handover == "unknown":
            assert ended.due_at is None
            unknown += 1
        else:
            assert (ended.handover, taken_by_now) == ("taken", 1)
        if done:
            break
    assert unknown >= 2


@pytest.mark.django_db(transaction=True)
def test_a_database_that_goes_away_leaves_the_rest_for_later(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = unheard_of(phones(3))
    keys = planned(placed)

    def away(seen: Delivery, lease: timedelta) -> Delivery:
        raise OperationalError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(record, "claim", away)
        with pytest.raises(OperationalError):
            planning.hand_over(keys)
    assert Delivery.objects.exclude(due_at=None).count() == 3
    work_off()
    assert len(stub.seen) == 3


@pytest.mark.django_db(transaction=True)
def test_hand_overs_of_the_same_deliveries_at_once_send_each_once(stub: Stub) -> None:
    placed = unheard_of(phones(12))
    keys = planned(placed)
    at_once(*[lambda: planning.hand_over(keys)] * 4)
    numbers = [message.destination for message in stub.seen]
    assert len(numbers) == len(set(numbers)) == 12
    assert {each.attempts for each in deliveries(placed)} == {1}


@pytest.mark.django_db(transaction=True)
def test_of_a_cancellation_and_a_hand_over_at_once_one_wins_each_message(
    stub: Stub, plain: None
) -> None:
    for _ in range(5):
        placed = unheard_of(phones(10))
        keys = planned(placed)

        def call_off(order_id: UUID = placed.order_id) -> None:
            with suppress(TooLate):
                cancel_order("local", order_id)

        def go(keys: Sequence[UUID] = keys) -> None:
            planning.hand_over(keys)

        stub.seen.clear()
        at_once(call_off, go)
        sent_to = {message.destination for message in stub.seen}
        for each in deliveries(placed):
            word = ("Order_Completed", ["SMS_Accepted"])
            if each.destination not in sent_to:
                word = ("Order_Cancelled", ["SMS_Failed"])
            assert standing(each.shipment_id) == word
        assert len(stub.seen) == len(sent_to)
    assert len(told()) == 50


@pytest.mark.django_db(transaction=True)
def test_both_recipients_of_a_shipment_at_once_end_it_once(stub: Stub, plain: None) -> None:
    keep_contact(COMPANY, phones=["40000000"], emails=[regular.ADDRESS])
    for _ in range(5):
        keys = planned(unheard_of(COMPANY))
        at_once(*[lambda key=key: planning.hand_over([key]) for key in keys])
    assert len(told()) == 5


# Cost


@pytest.mark.django_db(transaction=True)
def test_the_statements_of_a_hand_over_are_few_and_do_not_grow(stub: Stub) -> None:
    counts = []
    for number in (5, 20):
        keys = planned(unheard_of(phones(number)))
        with CaptureQueriesContext(connection) as captured:
            planning.hand_over(keys)
        frame = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
        counts.append(sum(not each["sql"].startswith(frame) for each in captured))
    reading_them, each_one = 1, (counts[1] - counts[0]) / 15
    assert counts == [reading_them + 5 * each_one, reading_them + 20 * each_one]
    assert each_one <= 14
    assert StatusEvent.objects.count() == 2 * 25


def test_more_than_it_was_told_of_is_not_handed_over(stub: Stub) -> None:
    told_of, other = order(), order()
    keys = planned(told_of)
    planned(other)
    planning.hand_over(keys)
    assert len(stub.seen) == 1


@pytest.mark.django_db(transaction=True)
def test_hand_overs_receipts_and_a_cancellation_at_once_agree_in_the_end(
    stub: Stub, configure: Configure
) -> None:
    """Each locks deliveries, shipments and the feed's counter: nobody waits in a circle."""
    configure(FEED="every")
    keep_contact(COMPANY, phones=["40000000"], emails=[regular.ADDRESS])
    stub.do = report_at_once
    for _ in range(3):
        placed = unheard_of([COMPANY, *phones(5), MAILBOX])
        keys = planned(placed)

        def call_off(order_id: UUID = placed.order_id) -> None:
            with suppress(TooLate):
                cancel_order("local", order_id)

        def go(keys: Sequence[UUID] = keys) -> None:
            planning.hand_over(keys)

        def go_back(keys: Sequence[UUID] = keys) -> None:
            for key in reversed(keys):
                planning.hand_over([key])

        at_once(go, go_back, call_off)
        for each in deliveries(placed):
            assert each.status in ("SMS_Delivered", "Email_Delivered", "SMS_Failed", "Email_Failed")
            assert (each.due_at, each.claimed_until, each.lease_until) == (None, None, None)
        last = {shipment: (status, words) for shipment, status, words in told()}
        for key in shipments(placed):
            assert standing(key) == last[key]


def report_at_once(message: Message) -> Receipt:
    """Before its answer is heard."""
    word = WORDS[message.channel].delivered
    record_receipt("stub", Receipt(reference=message.reference, status=word, word="there"))
    return take(message)


def test_a_task_that_has_lasted_too_long_leaves_the_rest_to_another(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = order(phones(3))
    keys = planned(placed)
    stub.do = meanwhile(lambda: monkeypatch.setattr(claims.Patience, "is_over", True))
    planning.hand_over(keys)
    assert len(stub.seen) == 1
    monkeypatch.undo()
    assert len(planning.claim(Delivery, 5)) == 2
