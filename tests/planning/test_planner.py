"""Plans become deliveries: conditions are asked, recipients looked up, and all is written once."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from instant_notifications import conditions, contacts, planning, recipients
from instant_notifications.exceptions import NotConfigured, TooLate, Unavailable
from instant_notifications.models import Delivery, FeedEntry, Notice, Plan, StatusEvent
from instant_notifications.orders import Placed, Reminder, Sms, cancel_order, place_order
from instant_notifications.planning import claims
from tests import regular
from tests.clock import Clock
from tests.outcomes import Killed
from tests.regular import (
    COMPANY,
    LIFETIME,
    MAILBOX,
    MINUTE,
    PAUSES,
    PERSON,
    PHONE,
    deliveries,
    keep_contact,
    order,
    phones,
    planned,
    shipments,
    standing,
    told,
)
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

URL = "https://conditions.example.com/42"
SECOND = timedelta(seconds=1)


class Conditions:
    """Answers in turn, the last one for ever, and counts how often it was asked."""

    def __init__(self) -> None:
        self.answers: list[bool | None] = [True]
        self.asked: list[str] = []

    def __call__(self, url: str, *, for_: object = "") -> bool | None:
        self.asked.append(url)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Conditions:
    answering = Conditions()
    monkeypatch.setattr(conditions, "ask", answering)
    return answering


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What the register raises; nothing once the list is empty."""
    failures: list[Exception] = [Unavailable("register")]
    really = contacts.look_up

    def look_up(whom: Any) -> Any:
        whom = list(whom)
        if failures and any(each.is_looked_up for each in whom):
            raise failures[0]
        return really(whom)

    monkeypatch.setattr(contacts, "look_up", look_up)
    return failures


def due_at(placed: Placed) -> datetime | None:
    return Plan.objects.get(pk=placed.notification.shipment_id).due_at


def word(placed: Placed) -> str:
    return standing(placed.notification.shipment_id)[0]


# Conditions


def test_what_has_no_condition_is_not_asked_about(endpoint: Conditions) -> None:
    assert len(planned(order())) == 1
    assert endpoint.asked == []


def test_what_meets_its_condition_is_sent(endpoint: Conditions) -> None:
    assert len(planned(order(condition=URL))) == 1
    assert endpoint.asked == [URL]


def test_the_condition_of_many_recipients_is_asked_once(endpoint: Conditions) -> None:
    placed = order(phones(30), condition=URL)
    keys = shipments(placed)
    assert len(planning.plan(keys[:15])) == 15
    assert len(planning.plan(keys[15:])) == 15
    assert endpoint.asked == [URL]


def test_what_does_not_meet_it_ends_and_the_feed_names_nobody(endpoint: Conditions) -> None:
    endpoint.answers = [False]
    placed = order(phones(2), condition=URL)
    assert planned(placed) == []
    assert not Delivery.objects.exists()
    keys = shipments(placed)
    assert [standing(key) for key in keys] == [("Order_SendConditionNotMet", [])] * 2
    assert told() == [(key, "Order_SendConditionNotMet", []) for key in sorted(keys)]
    assert planned(placed) == []
    assert len(told()) == 2


def test_nobody_is_looked_up_for_what_is_not_to_be_sent(
    endpoint: Conditions, away: list[Exception]
) -> None:
    away.clear()
    keep_contact(phones=["+4740000000"])
    placed = order(PERSON, condition=URL)
    away.append(AssertionError("looked up"))
    endpoint.answers = [False]
    assert planned(placed) == []
    assert word(placed) == "Order_SendConditionNotMet"


@pytest.mark.parametrize(
    ("second", "sent"), [(None, True), (True, True), (False, False)], ids=["none", "yes", "no"]
)
def test_without_an_answer_it_is_asked_again_after_a_minute_and_then_sent(
    second: bool | None, sent: bool, endpoint: Conditions, clock: Clock
) -> None:
    endpoint.answers = [None, second]
    placed = order(condition=URL)
    assert planned(placed) == []
    assert (due_at(placed), word(placed)) == (clock.now + MINUTE, "Order_Processing")
    clock.go(MINUTE - SECOND)
    assert planned(placed) == []
    assert len(endpoint.asked) == 1
    clock.go(SECOND)
    assert bool(planned(placed)) is sent
    assert len(endpoint.asked) == 2
    if not sent:
        assert word(placed) == "Order_SendConditionNotMet"


def test_what_waits_for_a_second_answer_is_free_for_any_worker(
    endpoint: Conditions, clock: Clock, stub: Any
) -> None:
    endpoint.answers = [None, True]
    placed = order(condition=URL)
    planned(placed)
    clock.go(MINUTE)
    assert planning.claim(Plan, 5) == shipments(placed)


def test_all_recipients_wait_for_the_same_second_answer(endpoint: Conditions, clock: Clock) -> None:
    endpoint.answers = [None, False]
    placed = order(phones(4), condition=URL)
    keys = shipments(placed)
    planning.plan(keys[:2])
    clock.go(10 * SECOND)
    planning.plan(keys[2:])
    assert {each.due_at for each in Plan.objects.all()} == {clock.now + 50 * SECOND}
    clock.go(50 * SECOND)
    planning.plan(keys[:2])
    planning.plan(keys[2:])
    assert len(endpoint.asked) == 2
    assert not Delivery.objects.exists()


def test_the_first_answer_holds_for_all_whoever_asks_at_the_same_time(
    endpoint: Conditions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order must not reach half of its recipients because its endpoint changed its mind."""
    placed = order(phones(2), condition=URL)
    first, second = shipments(placed)

    def no_but_another_worker_hears_yes(url: str, *, for_: object = "") -> bool:
        monkeypatch.setattr(conditions, "ask", lambda url, for_="": True)
        assert len(planning.plan([second])) == 1
        return False

    monkeypatch.setattr(conditions, "ask", no_but_another_worker_hears_yes)
    assert len(planning.plan([first])) == 1
    assert Delivery.objects.count() == 2


def test_a_reminder_has_its_own_condition(endpoint: Conditions, clock: Clock) -> None:
    endpoint.answers = [False]
    placed = order(reminders=[Reminder(days=7, sms=regular.SMS, email=regular.EMAIL)])
    conditional = order(
        reminders=[Reminder(days=7, sms=regular.SMS, email=regular.EMAIL, condition=URL)]
    )
    assert planned(placed)
    assert planned(conditional)
    assert endpoint.asked == []
    clock.go(timedelta(days=7))
    assert planned(placed)
    assert planned(conditional) == []
    assert standing(conditional.notification.shipment_id)[0] == "Order_Completed"
    assert standing(conditional.reminders[0].shipment_id)[0] == "Order_SendConditionNotMet"


def test_a_reminder_goes_though_the_message_was_not_to_be_sent(
    endpoint: Conditions, clock: Clock
) -> None:
    endpoint.answers = [False]
    reminder = Reminder(days=7, sms=regular.SMS, email=regular.EMAIL)
    placed = order(condition=URL, reminders=[reminder])
    assert planned(placed) == []
    clock.go(timedelta(days=7))
    assert len(planned(placed)) == 1


# Contacts


def test_a_person_is_looked_up_again_when_it_falls_due(clock: Clock) -> None:
    keep_contact(emails=["old@example.com"])
    placed = order(PERSON, at=clock.now + regular.HOUR)
    keep_contact(emails=["new@example.com"])
    clock.go(regular.HOUR)
    planned(placed)
    assert [each.destination for each in deliveries(placed)] == ["new@example.com"]


@pytest.mark.parametrize(
    ("contact", "words"),
    [
        (None, ["Email_Failed_RecipientNotIdentified"]),
        ({"reserved": True, "emails": [regular.ADDRESS]}, ["Email_Failed_RecipientReserved"]),
    ],
    ids=["forgotten", "reserved"],
)
def test_whoever_cannot_be_reached_any_more_is_one_failed_recipient(
    contact: Any, words: list[str], clock: Clock
) -> None:
    keep_contact(emails=[regular.ADDRESS])
    placed = order(PERSON, at=clock.now + regular.HOUR)
    keep_contact(**contact or {"emails": []})
    clock.go(regular.HOUR)
    assert planned(placed) == []
    shipment = placed.notification.shipment_id
    assert standing(shipment) == ("Order_Completed", words)
    assert told() == [(shipment, "Order_Completed", words)]
    (delivery,) = deliveries(placed)
    assert (delivery.destination, delivery.handover, delivery.due_at) == (None, "refused", None)
    assert StatusEvent.objects.get().cause == "lookup"


def test_a_reserved_person_is_placed_and_shown_as_reserved() -> None:
    keep_contact(reserved=True)
    placed = order(PERSON)
    assert planned(placed) == []
    assert standing(placed.notification.shipment_id)[1] == ["Email_Failed_RecipientReserved"]


def test_both_channels_are_two_recipients_of_one_shipment() -> None:
    keep_contact(COMPANY, phones=["40000000"], emails=[regular.ADDRESS])
    placed = order(COMPANY)
    assert len(planned(placed)) == 2
    words = ["Email_New", "SMS_New"]
    assert standing(placed.notification.shipment_id) == ("Order_Processing", words)


def test_of_both_channels_one_may_lead_nowhere() -> None:
    keep_contact(COMPANY, phones=["40000000"])
    placed = order(COMPANY)
    assert len(planned(placed)) == 1
    words = ["Email_Failed_RecipientNotIdentified", "SMS_New"]
    assert standing(placed.notification.shipment_id) == ("Order_Processing", words)
    assert told() == []


@pytest.mark.parametrize("failure", [Unavailable("register"), NotConfigured("set it")], ids=repr)
def test_while_the_register_is_away_plans_wait_longer_and_longer(
    failure: Exception, away: list[Exception], clock: Clock
) -> None:
    placed = place_unchecked()
    away[:] = [failure]
    for pause in PAUSES:
        planned(placed)
        assert due_at(placed) == clock.now + pause
        assert word(placed) == "Order_Processing"
        clock.go(pause)
    away.clear()
    assert len(planned(placed)) == 1


def place_unchecked() -> Placed:
    """For a person whom the register knows, whether or not it can be asked."""
    keep_contact(emails=[regular.ADDRESS])
    return order(iter([PERSON]))


def test_a_register_that_stays_away_lets_the_message_expire(
    away: list[Exception], clock: Clock
) -> None:
    placed = place_unchecked()
    while due_at(placed) is not None:
        assert planned(placed) == []
        clock.now = due_at(placed) or clock.now
    shipment = placed.notification.shipment_id
    assert standing(shipment) == ("Order_Completed", ["Email_Failed_TTL"])
    assert told() == [(shipment, "Order_Completed", ["Email_Failed_TTL"])]
    assert Plan.objects.get().ended_at
    assert clock.now - Delivery.objects.get().expires_at < 31 * MINUTE


def test_waiting_for_a_condition_does_not_count_as_waiting_for_the_register(
    endpoint: Conditions, away: list[Exception], clock: Clock
) -> None:
    keep_contact(emails=[regular.ADDRESS])
    placed = order(iter([PERSON]), condition=URL)
    endpoint.answers = [None, True]
    planned(placed)
    clock.go(MINUTE)
    planned(placed)
    assert due_at(placed) == clock.now + MINUTE


def test_those_whose_address_was_given_do_not_wait_for_the_register(away: list[Exception]) -> None:
    keep_contact(emails=[regular.ADDRESS])
    placed = order(iter([PERSON, PHONE, MAILBOX]))
    assert len(planned(placed)) == 2
    assert Plan.objects.filter(ended="").count() == 1


def test_those_who_do_not_know_the_register_go_on_without_it(away: list[Exception]) -> None:
    """Another order's recipients, which happen to be in the same task."""
    waits, goes = place_unchecked(), order()
    assert len(planning.plan([*shipments(waits), *shipments(goes)])) == 1


# What is written


def test_a_delivery_is_what_was_ordered(clock: Clock) -> None:
    keep_contact(phones=["40000000"], name="Kari Nordmann")
    asked_at = clock.now + regular.HOUR
    placed = order(PERSON, sms=Sms("Hi $recipientName$", "Skatt", daytime=False), at=asked_at)
    clock.go(2 * regular.HOUR)
    (key,) = planned(placed)
    (delivery,) = deliveries(placed)
    assert delivery.pk == key
    assert (delivery.channel, delivery.destination) == ("sms", "+4740000000")
    assert json.loads(delivery.content or "")["body"] == "Hi Kari Nordmann"
    assert json.loads(delivery.content or "")["sender"] == "Skatt"
    assert (delivery.status, delivery.handover, delivery.attempts) == ("SMS_New", "open", 0)
    assert (delivery.segments, delivery.daytime) == (1, False)
    assert delivery.due_at == clock.now
    assert delivery.expires_at == asked_at + LIFETIME
    assert (delivery.claimed_until or clock.now) > clock.now
    assert list(Delivery.objects.to("+4740000000")) == [delivery]


def test_what_is_not_due_is_left_alone(clock: Clock) -> None:
    placed = order(at=clock.now + regular.HOUR)
    assert planned(placed) == []
    assert word(placed) == "Order_Registered"
    assert Plan.objects.get().due_at == clock.now + regular.HOUR


def test_what_was_planned_or_cancelled_is_not_planned_again() -> None:
    placed, cancelled = order(), order()
    cancel_order("local", cancelled.order_id)
    assert len(planned(placed)) == 1
    assert planned(placed) == []
    assert planned(cancelled) == []
    assert Delivery.objects.count() == 1


def test_it_forgets_whom_it_was_for_once_that_is_planned() -> None:
    placed = order()
    planned(placed)
    ended = Plan.objects.get()
    assert (ended.ended, ended.due_at, ended.claimed_until) == ("planned", None, None)
    assert ended.recipient is None
    assert ended.ended_at


def test_a_workers_clock_that_is_a_little_behind_does_not_make_it_wait(
    clock: Clock, configure: Configure
) -> None:
    """Whoever was told of a plan would leave it, and nobody is told again before the lease ends."""
    placed = order()
    clock.go(-2 * SECOND)
    assert len(planned(placed)) == 1


@pytest.mark.parametrize("lost", ["recipient", "content"])
def test_what_no_key_opens_any_more_fails_visibly(lost: str) -> None:
    placed = order()
    rows: Any = Plan.objects if lost == "recipient" else Notice.objects
    with override_settings(SECRET_KEY="of days gone by" * 3):
        rows.update(**{lost: "{}"})
    assert planned(placed) == []
    shipment = placed.notification.shipment_id
    assert standing(shipment) == ("Order_Completed", ["SMS_Failed"])
    assert told() == [(shipment, "Order_Completed", ["SMS_Failed"])]


def test_rotated_keys_open_what_the_older_ones_have_closed(
    settings: Any, configure: Configure
) -> None:
    placed = order()
    configure(ENCRYPTION_KEYS=["a new one"])
    (key,) = planned(placed)
    assert Delivery.objects.get(pk=key).destination == regular.NUMBER


def test_one_plan_that_nobody_understands_does_not_keep_the_others(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes again, as it may have been written by a newer version, and expires at last."""
    placed = order(phones(3))
    first, *others = shipments(placed)
    rows = Plan.objects.filter(pk=first)
    rows.update(recipient='{"kind": "fax", "schema": "Sms", "identity": "55544433322"}')
    with caplog.at_level(logging.ERROR):
        assert len(planned(placed)) == 2
    assert sorted(each.shipment_id for each in deliveries(placed)) == sorted(others)
    assert str(first) in caplog.text
    assert "55544433322" not in caplog.text
    assert rows.get().due_at == clock.now + MINUTE
    clock.go(LIFETIME)
    assert planned(placed) == []
    assert standing(first) == ("Order_Completed", ["SMS_Failed_TTL"])


def test_neither_does_one_whose_texts_nobody_understands(clock: Clock) -> None:
    odd, good = order(), order()
    Notice.objects.filter(order=odd.order_id).update(content="[1]")
    assert len(planning.plan([*shipments(odd), *shipments(good)])) == 1
    assert due_at(odd) == clock.now + MINUTE
    clock.go(LIFETIME)
    planned(odd)
    assert standing(odd.notification.shipment_id)[1] == ["SMS_Failed_TTL"]


# Crashes and races


@contextmanager
def dies_at(statement: int) -> Iterator[None]:
    """The process dies instead of running the statement of that number, counted from 0."""
    numbers = count()

    def execute(run: Any, *query: Any) -> Any:
        if next(numbers) >= statement:
            raise Killed
        return run(*query)

    with connection.execute_wrapper(execute), suppress(Killed):
        yield


@pytest.mark.django_db(transaction=True)
def test_wherever_a_planner_dies_all_is_done_once_by_the_next(
    stub: Any, endpoint: Conditions
) -> None:
    """It may die before any of its statements: what it had not committed never was."""
    keep_contact(COMPANY, phones=["40000000"])
    counts = []
    for statement in count():
        placed = unheard_of([COMPANY, PHONE], condition=URL)
        keys = shipments(placed)
        with dies_at(statement):
            planning.plan(keys)
        made = len(deliveries(placed))
        assert made in (0, 3)
        counts.append(made)
        planning.plan(keys)
        words = [standing(key)[1] for key in keys]
        assert words == [["Email_Failed_RecipientNotIdentified", "SMS_New"], ["SMS_New"]]
        assert not Plan.objects.filter(pk__in=keys, ended="").exists()
        if made:
            break
    assert len(counts) > 8


@pytest.mark.django_db(transaction=True)
def test_two_planners_of_the_same_plans_make_one_set_of_deliveries() -> None:
    placed = unheard_of(phones(20))
    keys = shipments(placed)
    made = at_once(*[lambda: planning.plan(keys)] * 4)
    assert sorted(len(each) for each in made) == [0, 0, 0, 20]
    assert Delivery.objects.count() == 20


def unheard_of(to: Any, **changes: Any) -> Placed:
    """An order that is stored, and that no worker has heard of."""
    with transaction.atomic():
        placed = order(to, **changes)
        connection.run_on_commit.clear()
    return placed


@pytest.mark.django_db(transaction=True)
def test_of_a_cancellation_and_a_planner_at_once_one_wins_each_shipment(stub: Any) -> None:
    for _ in range(5):
        placed = unheard_of(phones(10))
        keys = shipments(placed)

        def call_off(order_id: UUID = placed.order_id) -> None:
            with suppress(TooLate):
                cancel_order("local", order_id)

        def go(keys: Any = keys) -> None:
            planning.hand_over(planning.plan(keys[:5]))
            planning.hand_over(planning.plan(keys[5:]))

        at_once(call_off, go)
        ends = [standing(key)[0] for key in keys]
        taken = [message.destination for message in stub.seen]
        assert set(ends) <= {"Order_Cancelled", "Order_Processed"}
        assert ends.count("Order_Processed") == len(taken) == len(set(taken))
        stub.seen.clear()
    assert FeedEntry.objects.count() == Plan.objects.filter(ended="cancelled").count()
    assert len(told()) == FeedEntry.objects.count()


# Cost


def test_the_statements_of_a_chunk_do_not_depend_on_its_length() -> None:
    counts = []
    for number in (2, 20):
        placed = order(phones(number))
        keys = shipments(placed)
        with CaptureQueriesContext(connection) as captured:
            planning.plan(keys)
        counts.append(len(captured))
    assert counts[0] == counts[1]
    assert counts[0] <= 12


def test_an_organisation_that_nobody_knows_is_no_hindrance() -> None:
    placed = place_order(
        iter([recipients.organisation("987654321", "Sms"), PHONE]), sms=regular.SMS
    )
    assert len(planned(placed)) == 1
    assert [standing(key)[1] for key in shipments(placed)] == [
        ["SMS_Failed_RecipientNotIdentified"],
        ["SMS_New"],
    ]


def test_a_task_that_has_lasted_too_long_asks_nobody_any_more(
    endpoint: Conditions, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """What needs nobody's answer is planned; the rest comes again, as if never begun."""
    keep_contact(emails=[regular.ADDRESS])
    asks, looks, goes = order(condition=URL), order(PERSON), order()
    monkeypatch.setattr(claims.Patience, "is_over", True)
    assert len(planning.plan([key for each in (asks, looks, goes) for key in shipments(each)])) == 1
    assert endpoint.asked == []
    monkeypatch.setattr(claims.Patience, "is_over", False)
    endpoint.answers = [None, False]
    clock.go(MINUTE)
    assert len(planned(looks)) == 1
    assert planned(asks) == []
    clock.go(MINUTE)
    assert planned(asks) == []
    assert len(endpoint.asked) == 2
