"""The story of a regular order's shipment: what was asked, how it stands, what belongs to it."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instant_notifications import conditions, contacts, orders, privacy, upkeep
from instant_notifications.admin import story
from instant_notifications.exceptions import Unavailable
from instant_notifications.models import Delivery, IdempotencyRecord, Notice, Plan, Shipment
from instant_notifications.orders import Placed, Reminder, send_sms
from instant_notifications.planning import claims
from tests import regular
from tests.clock import Clock
from tests.console import somebody
from tests.outcomes import fails
from tests.stub import StubGateway

pytestmark = pytest.mark.django_db

Stub = type[StubGateway]

NOON: Final = datetime(2026, 6, 10, 10, tzinfo=UTC)
NIGHT: Final = datetime(2026, 6, 10, 21, tzinfo=UTC)
CONDITION: Final = "https://case-428516.example.com/may-send"
PERSONAL: Final = ("01010112345", "987654321", "99999999", "kari@", "Tax return", "428516")


@pytest.fixture
def reader(stub: Stub, clock: Clock) -> Client:
    """At noon in Oslo, on a day in June."""
    clock.now = NOON
    return somebody("view_shipment", name="reader")


def page_of(shipment_id: object) -> str:
    return reverse("admin:instant_notifications_shipment_change", args=[shipment_id])


def html_of(client: Client, shipment_id: object) -> str:
    answer = client.get(page_of(shipment_id))
    assert answer.status_code == 200
    html = answer.content.decode()
    assert [each for each in PERSONAL if each in html] == []
    return html.partition('<div id="content-main"')[2]


def told(client: Client, placed: Placed | UUID) -> str:
    """The text of the page; nobody's number, address or text is ever in it."""
    key = placed.notification.shipment_id if isinstance(placed, Placed) else placed
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html_of(client, key))).split())


def headline(client: Client, placed: Placed) -> str:
    html = html_of(client, placed.notification.shipment_id)
    tone, text = re.findall(r'<div class="headline (\w+)">\s*<p>(.*?)</p>', html, re.S)[0]
    return f"{tone}: {unescape(text)}"


def says(answer: bool | None) -> Callable[..., bool | None]:
    return lambda _url, **_named: answer


@pytest.fixture
def register_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: Any) -> Any:
        raise Unavailable("503")

    monkeypatch.setattr(contacts, "look_up", look_up)


# Where it stands


def test_it_waits_for_its_time(reader: Client, clock: Clock) -> None:
    placed = regular.order(at=clock.now + timedelta(days=1))
    assert headline(reader, placed) == "open: It waits for its time: 06/11/2026 12:00."
    assert "Order status Order_Registered" in told(reader, placed)


def test_it_is_due_and_a_queue_may_know_of_it(reader: Client, clock: Clock) -> None:
    placed = regular.order(at=clock.now + regular.MINUTE)
    clock.go(2 * regular.MINUTE)
    assert headline(reader, placed) == (
        "open: It has been due since 12:01, and no worker has come for it."
    )
    assert "process_due_orders" not in told(reader, placed)
    clock.go(regular.MINUTE)
    assert headline(reader, placed).startswith("doubt: ")
    assert "Is manage.py process_due_orders running" in told(reader, placed)
    claims.claim(Plan, 10)
    assert headline(reader, placed) == "open: It has been due since 12:01, and a queue knows of it."
    assert "Order status Order_Processing" in told(reader, placed)
    clock.go(claims.lease())
    assert headline(reader, placed) == (
        "doubt: It has been due since 12:01. A queue was told of it, but no worker has come for it."
    )


def test_the_register_could_not_be_asked(reader: Client, clock: Clock, register_away: None) -> None:
    placed = regular.order(iter([regular.PERSON]))
    regular.planned(placed)
    clock.go(regular.MINUTE)
    regular.planned(placed)
    assert headline(reader, placed) == (
        "doubt: The contact register could not be asked (attempt 2). The next try is at 12:06."
    )
    assert "Contact register could not be asked 2 times" in told(reader, placed)


def test_the_condition_gave_no_clear_answer(
    reader: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = regular.order(condition=CONDITION)
    assert "Condition there is one; it has not been asked" in told(reader, placed)
    monkeypatch.setattr(conditions, "ask", says(None))
    regular.planned(placed)
    assert headline(reader, placed) == (
        "open: Its condition gave no clear answer at 12:00. It is asked once more at 12:01; "
        "without a clear answer then, the message is sent."
    )
    text = told(reader, placed)
    assert "Condition no clear answer at 12:00; it is asked once more" in text
    assert "Its condition was asked, and gave no clear answer." in text
    assert "Contact register" not in text
    clock.go(regular.MINUTE)
    regular.sent(placed)
    text = told(reader, placed)
    assert "Condition no clear answer at 12:00; then met, or unclear again" in text


@pytest.mark.parametrize(("answer", "said"), [(True, "met"), (False, "not met")])
def test_the_condition_was_answered(
    answer: bool, said: str, reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "ask", says(answer))
    placed = regular.order(condition=CONDITION)
    regular.sent(placed)
    assert f"Condition {said} Order status" in told(reader, placed)


def test_the_condition_said_no(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "ask", says(False))
    placed = regular.order(condition=CONDITION)
    regular.planned(placed)
    said = "Not sent: its condition was asked at 12:00, and said no."
    assert headline(reader, placed) == f"bad: {said}"
    assert "Order_SendConditionNotMet" in told(reader, placed)


def test_a_person_or_the_caller_cancelled_it(reader: Client, clock: Clock) -> None:
    later = clock.now + timedelta(days=1)
    by_ola, by_caller = regular.order(at=later), regular.order(at=later)
    orders.cancel_order("local", by_ola.order_id, by="ola", because="the wrong letter")
    orders.cancel_order("local", by_caller.order_id)
    assert headline(reader, by_ola) == (
        "bad: Not sent: ola cancelled it at 12:00, because: the wrong letter"
    )
    text = told(reader, by_ola)
    assert "+0.01 s" not in text
    assert "ola cancelled it. the wrong letter" in text
    assert "Order_Cancelled" in text
    assert headline(reader, by_caller) == (
        "bad: Not sent: whoever had ordered it cancelled it at 12:00."
    )


def test_a_text_message_waits_for_the_day(reader: Client, clock: Clock) -> None:
    clock.now = NIGHT
    placed = regular.order(sms=regular.DAYTIME)
    regular.planned(placed)
    assert headline(reader, placed) == (
        "open: Not sent yet: it goes by day only, and waits until 06/11/2026 09:00."
    )
    assert "SMS may be sent by day only, from 09:00 until 17:00 (Europe/Oslo)" in told(
        reader, placed
    )


def test_no_gateway_could_be_reached(reader: Client, stub: Stub) -> None:
    stub.do = fails(Unavailable, "503")
    placed = regular.order()
    regular.sent(placed)
    assert headline(reader, placed) == (
        "open: Not sent yet: no gateway could be reached (attempt 1). The next try is at 12:01."
    )
    assert "A worker came for it, and attempt 1 began." in told(reader, placed)


def test_a_message_that_was_cancelled_before_it_left(
    reader: Client, clock: Clock, stub: Stub
) -> None:
    stub.do = fails(Unavailable, "503")
    by_ola, by_caller = regular.order(), regular.order()
    for placed in (by_ola, by_caller):
        regular.sent(placed)
    orders.cancel_order("local", by_ola.order_id, by="ola", because="the wrong letter")
    orders.cancel_order("local", by_caller.order_id)
    assert headline(reader, by_ola) == "bad: Not sent: ola cancelled it."
    assert "ola cancelled it. the wrong letter" in told(reader, by_ola)
    assert headline(reader, by_caller) == "bad: Not sent: whoever had ordered it cancelled it."
    assert "Whoever had ordered it cancelled it: it will not be sent." in told(reader, by_caller)


def test_what_was_sent_tells_it_as_ever(reader: Client) -> None:
    placed = regular.order()
    regular.sent(placed)
    assert headline(reader, placed) == ("open: stub took it. Whether it arrived is not known yet.")
    text = told(reader, placed)
    for said in ("Its messages were made ready.", "It was made ready to be sent.", "stub took it."):
        assert said in text
    assert "It was asked for again" not in text


def test_who_could_not_be_reached_is_told_as_it_is(reader: Client) -> None:
    regular.keep_contact(reserved=True)
    reserved, unknown = (regular.order(iter([whom])) for whom in (regular.PERSON, regular.COMPANY))
    for placed in (reserved, unknown):
        regular.sent(placed)
    assert "the recipient has opted out" in headline(reader, reserved)
    assert "nothing is known of how to reach the recipient" in headline(reader, unknown)
    text = told(reader, unknown)
    for said in (
        "It never left: no gateway was asked.",
        "When it was made ready, there was no way to send it.",
        "Recipient There was none.",
        "Text There was none.",
    ):
        assert said in text


# What was asked for


@pytest.mark.parametrize(
    ("whom", "kind", "channels", "hours"),
    [
        (regular.PHONE, "a phone", "SMS", "at any time"),
        (regular.MAILBOX, "a mailbox", "e-mail", "\N{EN DASH}"),
        (regular.PERSON, "a person", "e-mail, or else SMS", "at any time"),
        (regular.COMPANY, "an organisation", "e-mail and SMS", "at any time"),
    ],
)
def test_kinds_and_channels_are_told_and_nobodys_number(
    whom: Any, kind: str, channels: str, hours: str, reader: Client
) -> None:
    text = told(reader, regular.order(iter([whom])))
    assert f"Recipient {kind} Channels {channels} SMS may be sent {hours}" in text
    assert "Condition none" in text


def test_times_and_the_dialog_are_told(reader: Client, clock: Clock) -> None:
    dialog = {"dialogId": "d-17", "transmissionId": "t-18"}
    text = told(reader, regular.order(at=clock.now + timedelta(days=1), dialog=dialog))
    assert "Requested send time 06/11/2026 12:00:00 Due 06/11/2026 12:00:00" in text
    assert "Dialog d-17 / t-18" in text


def test_what_was_erased_or_cannot_be_read_is_told_apart(
    reader: Client, configure: Any, clock: Clock
) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    waiting = regular.order(at=clock.now + timedelta(days=1))
    cancelled = regular.order(at=clock.now + timedelta(days=1), condition=CONDITION)
    orders.cancel_order("local", cancelled.order_id)
    configure(ENCRYPTION_KEYS=["new"])
    assert "Recipient It cannot be read" in told(reader, waiting)
    for chore in upkeep.RETENTION:
        list(chore.work_off(chore.due(clock.now)))
    text = told(reader, cancelled)
    assert "Recipient Erased. Channels \N{EN DASH} SMS may be sent \N{EN DASH}" in text
    assert "Condition none, or never asked" in text


def test_only_what_is_shown_is_decrypted(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = regular.order(condition=CONDITION)
    opened: list[str] = []
    decrypt = privacy.decrypt

    def note(text: str) -> str:
        opened.append(decrypt(text))
        return opened[-1]

    monkeypatch.setattr(privacy, "decrypt", note)
    told(reader, placed)
    assert CONDITION not in opened
    assert [next(iter(json.loads(each))) for each in opened] == ["kind", "sms"]


# What belongs to it


def test_a_message_and_its_reminders_lead_to_each_other(reader: Client, clock: Clock) -> None:
    reminders = [Reminder(days=days, sms=regular.SMS) for days in (1, 2)]
    to = [regular.PHONE, *regular.phones(1)]
    placed = regular.order(to, email=None, reminders=reminders)
    main, other, first, other_first, second, other_second = regular.shipments(placed)
    html = html_of(reader, main)
    linked = re.findall(r"</time> (.*?) <a href=\"[^\"]*/([0-9a-f-]{36})/change/\"", html)
    assert linked == [
        ("It reminds the same recipient.", str(first)),
        ("It reminds the same recipient.", str(second)),
        *(
            ("It belongs to the same order.", str(each))
            for each in sorted([other, other_first, other_second])
        ),
    ]
    assert f"{story.words.REMINDED_OF}" in told(reader, second)
    assert "Kind reminder" in told(reader, second)


def test_of_a_large_order_only_some_are_linked(
    reader: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "MOST_RELATIVES", 3)
    placed = regular.order(regular.phones(4), email=None)
    assert "There are more" not in told(reader, placed)
    placed = regular.order(regular.phones(5), email=None)
    assert "There are more: search for the order to see them." in told(reader, placed)


def test_ids_of_orders_and_of_instant_messages_are_told_apart(reader: Client) -> None:
    placed = regular.order(idempotency_id="id-1")
    instant = send_sms(regular.NUMBER, "x", idempotency_id="id-1")
    assert {each.scope for each in IdempotencyRecord.objects.all()} == {"order", "sms"}
    assert "local used the same idempotency id for this SMS." in told(reader, placed)
    text = told(reader, instant.shipment_id)
    assert "local used the same idempotency id for this order." in text


def test_a_large_order_takes_no_more_queries(reader: Client) -> None:
    def statements(number: int) -> int:
        placed = regular.order(regular.phones(number), email=None)
        regular.sent(placed)
        with CaptureQueriesContext(connection) as queries:
            told(reader, placed)
        assert not [each for each in queries if "COUNT(*)" in each["sql"]]
        return len(queries)

    statements(2)
    assert statements(2) == statements(7) <= 16


def test_a_shipment_whose_messages_are_gone_has_a_page(reader: Client) -> None:
    placed = regular.order()
    regular.sent(placed)
    Delivery.objects.all().delete()
    assert "and are not here any more." in headline(reader, placed)
    Notice.objects.all().delete()
    assert Shipment.objects.exists()
    assert "The request" in told(reader, placed)
