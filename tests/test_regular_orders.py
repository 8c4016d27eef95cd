"""``place_order``: for one or for thousands, all or nothing, once for each id."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import planning, recipients
from instant_notifications.exceptions import (
    ContentMismatch,
    InvalidMessage,
    MissingContact,
    Unavailable,
)
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Notice,
    Order,
    Plan,
    Shipment,
)
from instant_notifications.orders import (
    Email,
    Placed,
    Reminder,
    Sms,
    cancel_order,
    cancel_shipment,
    place_order,
    placing,
    send_sms,
)
from instant_notifications.signals import status_changed
from instant_notifications.statuses import Cause
from tests.clock import Clock
from tests.outcomes import Killed, fails, gateways, in_turn, rows_left
from tests.regular import (
    ADDRESS,
    COMPANY,
    EMAIL,
    HOUR,
    LIFETIME,
    MAILBOX,
    MINUTE,
    NUMBER,
    PERSON,
    PHONE,
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

DAY = timedelta(days=1)
REMINDER = Reminder(days=7, sms=SMS, email=EMAIL, senders_reference="again")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "BATCH", 4)


# What is placed


def test_an_order_for_one_recipient_has_one_shipment_which_is_registered(clock: Clock) -> None:
    placed = order(senders_reference="case-7", creator="ttd", at=clock.now + HOUR)
    shipment = Shipment.objects.get()
    assert (placed.notification.shipment_id, placed.order_id) == (shipment.pk, shipment.order_id)
    assert placed.notification.senders_reference == shipment.senders_reference == "case-7"
    assert (placed.recipients, placed.reminders, placed.replayed) == (1, [], False)
    assert (shipment.type, shipment.creator) == ("Notification", "ttd")
    assert standing(shipment.pk, "ttd") == ("Order_Registered", [])
    assert told("ttd") == []


def test_a_reminder_is_a_shipment_of_its_own(clock: Clock) -> None:
    at = clock.now + HOUR
    other = Reminder(at=clock.now + 3 * HOUR, sms=SMS, email=EMAIL)
    placed = order(phones(2), at=at, reminders=[REMINDER, other], senders_reference="first")
    assert [each.senders_reference for each in placed.reminders] == ["again", ""]
    types = [Shipment.objects.get(pk=key).type for key in shipments(placed)]
    assert types == ["Notification"] * 2 + ["Reminder"] * 4
    dues = [Plan.objects.get(pk=key).due_at for key in shipments(placed)]
    assert dues == [at, at, at + 7 * DAY, at + 7 * DAY, *[clock.now + 3 * HOUR] * 2]
    assert placed.recipients == 2


def test_texts_and_recipients_are_ciphertext_in_the_database() -> None:
    order(PHONE, condition="https://example.com/?case=4711")
    with connection.cursor() as cursor:
        for model, columns in ((Plan, "recipient"), (Notice, "content, condition")):
            quoted = ", ".join(connection.ops.quote_name(each) for each in columns.split(", "))
            cursor.execute(f"SELECT {quoted} FROM {model._meta.db_table}")
            stored = str(cursor.fetchall())
            assert not any(word in stored for word in ("99999999", "Tax", "4711", "phone"))


def test_no_statement_holds_a_recipient_or_a_text() -> None:
    keep_contact(phones=["40000000"])
    with CaptureQueriesContext(connection) as captured:
        sent(order([PERSON, PHONE]))
    statements = " ".join(each["sql"] for each in captured)
    assert not any(word in statements for word in (PERSON.identity, NUMBER, "Tax return"))


BAD: dict[str, tuple[dict[str, Any], set[str]]] = {
    "no text": ({"sms": None, "email": None}, {"sms"}),
    "text of another channel": ({"sms": None}, {"sms"}),
    "blank text": ({"sms": Sms(" ")}, {"sms.body"}),
    "neither day nor night": ({"sms": Sms("x", daytime="no")}, {"sms.daytime"}),  # type: ignore[arg-type]
    "no moment": ({"at": "tomorrow"}, {"at"}),
    "blank subject and body": ({"email": Email("", "")}, {"email.subject", "email.body"}),
    "past": ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, {"at"}),
    "no time zone": ({"at": datetime(2099, 1, 1)}, {"at"}),  # noqa: DTZ001
    "http condition": ({"condition": "http://example.com"}, {"condition"}),
    "long id": ({"idempotency_id": "x" * 256}, {"idempotency_id"}),
    "nobody": ({"to": []}, {"to"}),
    "nobody to iterate over": ({"to": iter(())}, {"to"}),
    "a number": ({"to": NUMBER}, {"to"}),
    "numbers": ({"to": [NUMBER]}, {"to"}),
    "numbers to iterate over": ({"to": iter([PHONE, NUMBER])}, {"to"}),
    "reminder without a time": ({"reminders": [Reminder(sms=SMS)]}, {"reminders[0]"}),
    "reminder with two": (
        {"reminders": [Reminder(sms=SMS, days=1, at=datetime(2099, 1, 1, tzinfo=UTC))]},
        {"reminders[0]"},
    ),
    "reminder too early": ({"reminders": [Reminder(sms=SMS, days=0)]}, {"reminders[0].days"}),
    "reminder in the past": (
        {"reminders": [Reminder(sms=SMS, at=datetime(2020, 1, 1, tzinfo=UTC))]},
        {"reminders[0].at"},
    ),
    "reminder without text": ({"reminders": [Reminder(days=1)]}, {"sms"}),
}


@pytest.mark.parametrize(("changes", "names"), BAD.values(), ids=BAD)
def test_a_bad_order_is_refused_and_leaves_nothing(changes: Any, names: set[str]) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        order(**{"to": PHONE} | changes)
    assert set(refusal.value.errors) == names
    assert "99999999" not in str(refusal.value)
    assert rows_left() == []


def test_of_many_one_that_does_not_fit_refuses_all(small_batches: None) -> None:
    with pytest.raises(InvalidMessage):
        place_order(iter([*phones(9), MAILBOX]), sms=SMS)
    assert rows_left() == []


def test_whoever_nobody_knows_is_missing() -> None:
    keep_contact(phones=["40000000"])
    with pytest.raises(MissingContact) as missing:
        order([PHONE, COMPANY, PERSON])
    assert list(missing.value.places) == [1]
    assert not Order.objects.exists()


def test_a_register_that_is_away_is_no_reason_to_store_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*args: Any) -> Any:
        raise Unavailable("register")

    monkeypatch.setattr(placing.contacts, "look_up", away)
    with pytest.raises(Unavailable):
        order(PERSON)
    assert not Order.objects.exists()


# Many


def test_what_is_the_same_is_taken_once_wherever_it_comes_again(small_batches: None) -> None:
    ten = phones(10)
    placed = order(iter([*ten[:3], ten[0], *ten, ten[9], MAILBOX, MAILBOX]), reminders=[REMINDER])
    assert placed.recipients == 11
    assert len(shipments(placed)) == 22
    sent(placed)
    assert len({each.destination for each in deliveries(placed)}) == 11


def test_one_in_two_spellings_is_one() -> None:
    both = [recipients.mailbox("Kari@Example.com"), recipients.mailbox("kari@example.com")]
    assert order(both).recipients == 1


def test_the_same_number_of_a_person_and_an_organisation_is_not_the_same() -> None:
    keep_contact(phones=["40000000"])
    keep_contact(COMPANY, phones=["40000000"])
    assert order([PERSON, COMPANY]).recipients == 2


def test_progress_is_told_as_recipients_are_read(small_batches: None) -> None:
    read, heard = count(), []

    def one_by_one() -> Iterator[recipients.Recipient]:
        for each in phones(10):
            next(read)
            yield each

    order(one_by_one(), progress=lambda number: heard.append((number, next(read) - len(heard))))
    assert heard == [(4, 4), (8, 8), (10, 10)]


def test_a_source_that_breaks_leaves_nothing(small_batches: None) -> None:
    def broken() -> Iterator[recipients.Recipient]:
        yield from phones(9)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        order(broken())
    assert rows_left() == []


def test_so_does_a_progress_callback_that_breaks() -> None:
    with pytest.raises(ZeroDivisionError):
        order(phones(2), progress=lambda number: number // 0)
    assert rows_left() == []


def test_the_statements_of_each_five_hundred_are_few_and_always_the_same() -> None:
    counts: list[int] = []
    with CaptureQueriesContext(connection) as captured:
        place_order(
            iter(phones(2000)), sms=SMS, progress=lambda number: counts.append(len(captured))
        )
    each = {later - earlier for earlier, later in pairwise(counts)}
    assert len(counts) == 4
    assert len(each) == 1
    assert each.pop() <= 16  # SQLite takes few values in one statement; others need 3


def test_thousands_need_hardly_more_memory_than_hundreds() -> None:
    """What a batch leaves behind is garbage; when that is collected is not for us to say."""

    def source(number: int) -> Iterator[recipients.Recipient]:
        for each in range(number):
            yield recipients.phone(f"+4791{each:06}")

    def peak(number: int) -> int:
        tracemalloc.start()
        try:
            placed = place_order(source(number), sms=SMS, progress=lambda _: gc.collect())
            assert placed.recipients == number
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    some, many = peak(600), peak(3000)
    assert many < 2 * some


# Inside a transaction of the host's


@pytest.mark.django_db(transaction=True)
def test_what_the_host_rolls_back_was_never_placed(stub: Any) -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        order()
        raise ZeroDivisionError
    assert not Order.objects.exists()
    assert stub.seen == []


@pytest.mark.django_db(transaction=True)
def test_what_the_host_commits_goes_at_once_but_not_before(stub: Any) -> None:
    with transaction.atomic():
        placed = order()
        assert stub.seen == []
    assert len(stub.seen) == 1
    assert standing(placed.notification.shipment_id) == ("Order_Processed", ["SMS_Accepted"])


@pytest.mark.django_db(transaction=True)
def test_an_id_that_is_used_again_does_not_break_the_hosts_transaction() -> None:
    order(idempotency_id="a")
    with transaction.atomic():
        assert order(idempotency_id="a").replayed
        Order.objects.create(creator="still usable")
    assert Order.objects.filter(creator="still usable").exists()


@pytest.mark.django_db(transaction=True)
def test_many_go_by_the_sweep(stub: Any) -> None:
    order(phones(25))
    assert stub.seen == []
    work_off()
    assert len(stub.seen) == 25


@pytest.mark.django_db(transaction=True)
def test_what_the_queue_never_heard_of_is_found_by_the_sweep(
    stub: Any, monkeypatch: pytest.MonkeyPatch, clock: Clock, configure: Configure
) -> None:
    with transaction.atomic():
        placed = order()
        connection.run_on_commit.clear()  # as if the process had died at the commit
    assert planning.claim(Plan, 5) == []
    clock.go(timedelta(seconds=300))
    call_command("process_due_orders", verbosity=0)
    assert len(stub.seen) == 1
    assert standing(placed.notification.shipment_id)[0] == "Order_Processed"


@pytest.mark.django_db(transaction=True)
def test_wherever_placing_dies_there_is_nothing_or_all_of_it(stub: Any) -> None:
    for statement in count():
        numbers = count()

        def dies(run: Any, *query: Any, at: int = statement, numbers: Any = numbers) -> Any:
            if next(numbers) == at:
                raise Killed
            return run(*query)

        with suppress(Killed), connection.execute_wrapper(dies):
            order([PHONE, MAILBOX], reminders=[REMINDER], idempotency_id="a")
        found = (Order.objects.count(), Notice.objects.count(), Plan.objects.count())
        assert found in ((0, 0, 0), (1, 2, 4))
        if found[0]:
            break
    assert order([PHONE, MAILBOX], reminders=[REMINDER], idempotency_id="a").replayed
    assert statement > 5


# The same id again


def test_the_same_id_is_the_same_order(stub: Any) -> None:
    first = order(idempotency_id="a", reminders=[REMINDER], senders_reference="case")
    again = order(idempotency_id="a", reminders=[REMINDER], senders_reference="case")
    assert (first.replayed, again.replayed, again.content_differs) == (False, True, False)
    assert again.order_id == first.order_id
    assert again.notification == first.notification
    assert again.reminders == first.reminders
    assert again.recipients == first.recipients == 1
    assert Order.objects.count() == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"to": MAILBOX},
        {"to": [PHONE, MAILBOX]},
        {"sms": Sms("Other")},
        {"at": datetime(2099, 1, 1, tzinfo=UTC)},
        {"condition": "https://example.com"},
        {"reminders": [REMINDER]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_content_with_the_same_id_is_told_and_refused_in_strict_mode(
    changes: dict[str, Any], configure: Configure
) -> None:
    first = order(idempotency_id="a")
    again = order(**{"to": PHONE, "idempotency_id": "a"} | changes)
    assert (again.order_id, again.content_differs) == (first.order_id, True)
    configure(IDEMPOTENCY_MISMATCH="reject")
    with pytest.raises(ContentMismatch):
        order(**{"to": PHONE, "idempotency_id": "a"} | changes)
    assert order(idempotency_id="a").replayed


def test_a_repeat_asks_no_register_and_reads_no_recipients() -> None:
    keep_contact(phones=["40000000"])
    order(PERSON, idempotency_id="a")
    keep_contact(phones=[])
    assert order(PERSON, idempotency_id="a").replayed

    def unread() -> Iterator[recipients.Recipient]:
        raise AssertionError("read")
        yield

    assert order(unread(), idempotency_id="a").replayed


def test_ids_of_instant_messages_and_other_organisations_do_not_meet(stub: Any) -> None:
    send_sms(NUMBER, "hello", idempotency_id="a")
    assert not order(idempotency_id="a").replayed
    assert not order(idempotency_id="a", creator="nav").replayed
    assert IdempotencyRecord.objects.filter(key="a").count() == 3


def test_the_same_moment_in_another_zone_is_no_other_content() -> None:
    moment = datetime(2099, 1, 1, 12, tzinfo=UTC)
    order(idempotency_id="a", at=moment)
    again = order(idempotency_id="a", at=moment.astimezone(ZoneInfo("Europe/Oslo")))
    assert not again.content_differs


def test_without_an_id_each_call_is_an_order_of_its_own() -> None:
    assert order().order_id != order().order_id


@pytest.mark.django_db(transaction=True)
def test_placed_at_once_with_one_id_there_is_one_order(stub: Any) -> None:
    for name in "abc":
        placed: list[Placed] = at_once(
            *[lambda name=name: order([PHONE, MAILBOX], idempotency_id=name)] * 4
        )
        assert len({each.order_id for each in placed}) == 1
        assert sorted(each.replayed for each in placed) == [False, True, True, True]
    assert Order.objects.count() == 3
    assert len(stub.seen) == 6


# Its life


def test_a_reminder_goes_whatever_became_of_the_message(stub: Any, clock: Clock) -> None:
    stub.do = in_turn(fails(ZeroDivisionError), take)
    placed = order(reminders=[REMINDER])
    sent(placed)
    clock.go(7 * DAY - MINUTE)
    assert planned(placed) == []
    clock.go(MINUTE)
    work_off()
    assert standing(placed.reminders[0].shipment_id) == ("Order_Processed", ["SMS_Accepted"])
    main, reminder = deliveries(placed)
    assert main.handover == "unknown"
    assert reminder.expires_at == clock.now + LIFETIME
    assert len(stub.seen) == 2


def test_an_order_that_was_due_long_ago_expires_unsent(stub: Any, clock: Clock) -> None:
    """As when nobody worked for days."""
    placed = order()
    clock.go(LIFETIME + MINUTE)
    work_off()
    assert stub.seen == []
    shipment = placed.notification.shipment_id
    assert standing(shipment) == ("Order_Completed", ["SMS_Failed_TTL"])
    assert told() == [(shipment, "Order_Completed", ["SMS_Failed_TTL"])]


def test_each_shipment_has_one_entry_in_the_feed_when_it_ends(
    stub: Any, configure: Configure, clock: Clock
) -> None:
    configure(GATEWAYS=gateways(stub={"reports_receipts": False}))
    keep_contact(COMPANY, phones=["40000000"], emails=[ADDRESS])
    placed = order([COMPANY, PHONE], reminders=[REMINDER])
    work_off()
    assert len(told()) == 2
    clock.go(7 * DAY)
    work_off()
    assert sorted(told()) == sorted(
        (key, "Order_Completed", ["Email_Succeeded", "SMS_Accepted"][2 - number :])
        for key, number in zip(shipments(placed), (2, 1, 2, 1), strict=True)
    )


def test_every_change_of_a_status_can_be_told(stub: Any, configure: Configure) -> None:
    configure(FEED="every", GATEWAYS=gateways(stub={"reports_receipts": False}))
    placed = order()
    sent(placed)
    shipment = placed.notification.shipment_id
    assert told() == [
        (shipment, "Order_Processing", ["SMS_Sending"]),
        (shipment, "Order_Completed", ["SMS_Accepted"]),
    ]
    other = order()
    planned(other)
    cancel_order("local", other.order_id)
    third = order()
    cancel_order("local", third.order_id)
    assert told()[2:] == [
        (other.notification.shipment_id, "Order_Cancelled", ["SMS_Failed"]),
        (third.notification.shipment_id, "Order_Cancelled", []),
    ]


def test_observers_hear_of_each_change_once_it_is_committed(stub: Any) -> None:
    heard: list[tuple[str, str, Cause]] = []

    def hear(old: str, new: str, cause: Cause, **_: Any) -> None:
        heard.append((old, new, cause))

    status_changed.connect(hear, weak=False)
    try:
        with TestCase.captureOnCommitCallbacks(execute=True):
            sent(order())
            keep_contact(reserved=True)
            planned(order(PERSON))
            cancelled = order()
            planned(cancelled)
            cancel_order("local", cancelled.order_id)
            assert heard == []
    finally:
        status_changed.disconnect(hear)
    assert heard[:5] == [
        ("SMS_New", "SMS_Sending", Cause.HANDOVER),
        ("SMS_Sending", "SMS_Accepted", Cause.HANDOVER),
        ("Email_New", "Email_Failed_RecipientReserved", Cause.LOOKUP),
        ("SMS_New", "SMS_Failed", Cause.CALLER),
    ]


# Upkeep


@pytest.mark.parametrize("step", ["placed", "planned", "waiting for the next try"])
def test_upkeep_takes_nothing_away_from_what_is_still_to_be_sent(
    step: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    """However long before its time it was ordered."""
    configure(KEEP_ORDERS=90 * DAY)
    stub.do = in_turn(*[fails(Unavailable)] * (step == "waiting for the next try"), take)
    placed = order(at=clock.now + 400 * DAY, idempotency_id="a")
    clock.go(400 * DAY)
    if step != "placed":
        keys = planned(placed)
    if step == "waiting for the next try":
        planning.hand_over(keys)
        clock.go(MINUTE)
    created = clock.now - 400 * DAY
    Delivery.objects.update(created_at=created)
    call_command("purge_notifications", verbosity=0)
    call_command("expire_notifications", verbosity=0)
    work_off()
    assert standing(placed.notification.shipment_id) == ("Order_Processed", ["SMS_Accepted"])
    assert stub.seen[-1].body == SMS.body
    assert order(idempotency_id="a").replayed


def test_what_has_ended_goes_with_its_order_when_it_is_old(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_ORDERS=180 * DAY, GATEWAYS=gateways(stub={"reports_receipts": False}))
    sent(order(reminders=[REMINDER]))
    cancel_order("local", order().order_id)
    clock.go(8 * DAY)
    work_off()
    clock.go(400 * DAY)
    for _ in range(2):
        call_command("purge_notifications", verbosity=0)
    left = {Order, Notice, Plan, Shipment, Delivery, FeedEntry, IdempotencyRecord}
    assert not any(model.objects.exists() for model in left)  # type: ignore[attr-defined]


# Databases


@pytest.mark.usefixtures("replica")
def test_nothing_that_decides_is_read_from_a_replica_that_lags(stub: Any) -> None:
    keep_contact(COMPANY, phones=["40000000"])
    placed = order([COMPANY, PHONE], idempotency_id="a")
    assert order([COMPANY, PHONE], idempotency_id="a").replayed
    planned_by_claims = planning.plan(claimed_anew(Plan))
    planning.hand_over(planned_by_claims[:1])
    planning.hand_over(claimed_anew(Delivery))
    assert len(stub.seen) == placed.recipients == 2
    later = order(at=timezone.now() + HOUR)
    chain = cancel_order("local", later.order_id)
    assert [each.report.status for each in chain.notifications] == ["Order_Cancelled"]
    report = cancel_shipment("local", later.notification.shipment_id)
    assert report.status == "Order_Cancelled"


def claimed_anew(model: planning.Queued) -> Sequence[UUID]:
    model.objects.using("default").update(claimed_until=None)
    return planning.claim(model, 10)
