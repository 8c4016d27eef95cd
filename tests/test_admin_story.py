"""The page of one shipment: what became of it, why, and what it says for those who must know."""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instant_notifications import health, orders, privacy
from instant_notifications.admin import story, timeline
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.models import (
    Delivery,
    IdempotencyRecord,
    Intervention,
    Shipment,
    StatusEvent,
    uuid7,
)
from instant_notifications.orders import Sent, instant, send_email, send_sms
from instant_notifications.receipts import record_receipt
from instant_notifications.record import settle_lapsed
from instant_notifications.statuses import Cause
from tests.clock import Clock
from tests.console import somebody
from tests.outcomes import expire, fails, gateways, in_turn
from tests.stub import take

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

PHONE = "+4799887766"
ADDRESS = "kari.nordmann@example.com"
BODY = "Your code is <428516>"
SUBJECT = "A word for you"
PERSONAL = ("99887766", "kari.nordmann", "428516", SUBJECT)


@pytest.fixture
def reader() -> Client:
    return somebody("view_shipment", name="reader")


@pytest.fixture
def revealer() -> Client:
    return somebody("view_shipment", "reveal_shipment", name="ola")


def an_sms(**more: Any) -> Sent:
    return send_sms(PHONE, BODY, **more)


def try_to_send(**more: Any) -> Delivery:
    with suppress(HandoverFailed):
        an_sms(**more)
    return Delivery.objects.latest("pk")


def page_of(shipment_id: object) -> str:
    return reverse("admin:instant_notifications_shipment_change", args=[shipment_id])


def told(client: Client, shipment_id: object | None = None) -> str:
    """The text of the page, without what is common to all pages."""
    answer = client.get(page_of(shipment_id or Shipment.objects.latest("pk").pk))
    assert answer.status_code == 200
    return text_of(answer)


def text_of(answer: HttpResponse) -> str:
    html = answer.content.decode().partition('<div id="content-main"')[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def lines_of(delivery: Delivery) -> list[timeline.Line]:
    found = story.story_of(delivery.shipment_id)
    assert found
    return list(found.tellings[0].lines)


def sentences_of(delivery: Delivery) -> list[str]:
    return [" ".join(map(str, (line.sentence, *line.more))) for line in lines_of(delivery)]


def record(said: str, status: str | None, **more: Any) -> None:
    delivery = Delivery.objects.latest("pk")
    record_receipt("stub", Receipt(reference=str(delivery.pk), word=said, status=status, **more))


def test_the_page_answers_from_top_to_bottom(reader: Client, stub: Any) -> None:
    an_sms(senders_reference="ref-1", idempotency_id="id-1", creator="nav", time_to_live=300)
    record("DELIVRD", "SMS_Delivered")
    text = told(reader)
    for said in (
        *("Delivered to +47 ** ** ** 66", "The request Asked for by nav", "Kind instant"),
        *("ref-1", "id-1", "Order_Completed", "To +47 ** ** ** 66 by SMS", "taken by a gateway"),
        *("left of 5 min", "SMS parts 1", "Kept until", "It was asked for.", "stub took it. OK"),
        *("SMS_Accepted A gateway took it.", "A receipt came from stub. DELIVRD SMS_Delivered"),
    ):
        start = text.find(said)
        assert start >= 0, said
        text = text[start:]


def test_a_failover_is_told_call_by_call(stub: Any, configure: Configure) -> None:
    configure(GATEWAYS=gateways(), ROUTES={"sms": ["stub", "second"]})
    stub.do = fails(Unavailable, "connection refused")
    an_sms()
    asked, first, second = lines_of(Delivery.objects.get())
    assert (first.sentence, first.own_words, first.status) == (
        "stub was asked, and certainly did not send it.",
        "connection refused",
        "",
    )
    assert (second.sentence, second.status) == ("second took it.", "SMS_Accepted")
    assert first.took
    assert asked.after == ""


def test_attempts_and_gateways_passed_over_are_told(stub: Any) -> None:
    stub.do = fails(Unavailable, "503")
    try_to_send(idempotency_id="id-1")
    health.switch_off("stub", by="ola", because="the invoice")
    delivery = try_to_send(idempotency_id="id-1")
    assert sentences_of(delivery) == [
        "It was asked for.",
        "stub was asked, and certainly did not send it.",
        "It was asked for again, and attempt 2 began.",
        "stub was passed over: it was not asked. An operator had switched it off.",
        "The hand-over ended.",
    ]


def test_receipts_that_changed_nothing_say_why(stub: Any) -> None:
    an_sms()
    Delivery.objects.update(segments=2)
    for said, status, part in (
        *(
            ("ACK", "SMS_Accepted", ""),
            ("MOVING", "SMS_Sending", ""),
            ("TTL", "SMS_Failed_TTL", ""),
        ),
        *(("HMM", None, ""), ("OK", "SMS_Delivered", "1"), ("OK", "SMS_Delivered", "2")),
        ("NO", "SMS_Failed", ""),
    ):
        record(said, status, part=part)
    reasons = [
        each.removeprefix("A receipt came from stub.").strip()
        for each in sentences_of(Delivery.objects.get())[2:]
    ]
    assert reasons == [
        "It said what was known already.",
        "The message had come further by then.",
        "Whether its time has run out is for our own clock to say.",
        "That word says nothing to us about the status.",
        "Part 1 of 2. The message is delivered when each of its parts is.",
        "Part 2 of 2.",
        "It came too late: the last word had been spoken.",
    ]


def test_the_lines_stand_in_order_of_time(stub: Any) -> None:
    an_sms()
    delivery = Delivery.objects.get()
    orders.reveal(delivery.pk, by="ola", because="a complaint")
    record("DELIVRD", "SMS_Delivered")
    assert sentences_of(delivery)[2:] == ["ola looked at it in clear.", "A receipt came from stub."]


def test_a_dead_worker_is_told_before_and_after_it_is_written_down(stub: Any) -> None:
    an_sms()
    Delivery.objects.update(handover="under_way", lease_until="2020-01-01T00:00Z")
    before = sentences_of(Delivery.objects.get())
    settle_lapsed(Delivery.objects.select_related("shipment").get())
    after = sentences_of(Delivery.objects.get())
    for sentences in (before, after):
        assert [each for each in sentences if each.startswith("Its worker died")]
    assert Delivery.objects.get().lease_until is None


def test_our_clock_is_part_of_the_story(stub: Any) -> None:
    an_sms()
    delivery = Delivery.objects.get()
    expire(seconds_ago=1)
    assert [line.sentence for line in lines_of(delivery)].count("Its time to live ran out.") == 1
    expire(seconds_ago=3600)
    assert "SMS_Failed_TTL" in [line.status for line in lines_of(delivery)]
    record("DELIVRD", "SMS_Delivered")
    Delivery.objects.update(
        expires_at=Delivery.objects.get().completed_at + timedelta(microseconds=1)
    )
    assert "Its time to live ran out." not in sentences_of(delivery)


def test_a_resend_and_its_original_lead_to_each_other(reader: Client, stub: Any) -> None:
    stub.do = in_turn(fails(OutcomeUnknown, "no answer in time"), take)
    original = try_to_send()
    resent = orders.resend(original.pk, by="kari", because="nothing came", sure=True)
    for shipment_id, other, said in (
        (original.shipment_id, resent.shipment_id, "kari had a new message made of it."),
        (
            resent.shipment_id,
            original.shipment_id,
            "kari had it made, in place of an earlier message.",
        ),
    ):
        assert said in told(reader, shipment_id)
        assert "nothing came" in told(reader, shipment_id)
        html = reader.get(page_of(shipment_id)).content.decode()
        assert html.count(f'href="{page_of(other)}"') == 2  # in the timeline, among the links
    assert "kari had a new message made of this one." in told(reader, original.shipment_id)


def test_what_a_person_ended_names_the_person(reader: Client, stub: Any) -> None:
    stub.do = fails(Unavailable, "503")
    orders.cancel(try_to_send().pk, by="kari", because="by mistake")
    assert "Not sent: kari cancelled it." in told(reader)
    stub.do = in_turn(fails(Unavailable, "503"), take)
    original = try_to_send()
    orders.resend(original.pk, by="kari", because="they wait")
    assert "kari had a new message made in its place." in told(reader, original.shipment_id)


def test_others_under_the_same_id_are_linked(reader: Client, stub: Any) -> None:
    sent = an_sms(idempotency_id="id-1")
    others = (
        send_email(ADDRESS, SUBJECT, BODY, idempotency_id="id-1"),
        an_sms(idempotency_id="id-1", creator="nav"),
    )
    unrelated = an_sms(idempotency_id="id-2")
    html = reader.get(page_of(sent.shipment_id)).content.decode()
    for other in others:
        assert f'href="{page_of(other.shipment_id)}"' in html
    assert str(unrelated.shipment_id) not in html
    assert "nav used the same idempotency id for this SMS." in told(reader, sent.shipment_id)


def test_a_purged_id_and_an_empty_shipment_break_nothing(reader: Client, stub: Any) -> None:
    an_sms()
    IdempotencyRecord.objects.all().delete()
    assert "Idempotency id \N{EN DASH}" in told(reader)
    Delivery.objects.all().delete()
    assert "The request" in told(reader)


def test_a_repeat_of_the_id_is_noted_once_a_minute(reader: Client, stub: Any, clock: Clock) -> None:
    an_sms(idempotency_id="id-1")
    assert "The same id came again" not in told(reader)
    for seconds, noted in ((0, True), (59, False), (2, True)):
        clock.go(timedelta(seconds=seconds))
        with CaptureQueriesContext(connection) as queries:
            assert an_sms(idempotency_id="id-1").replayed
        writes = [each for each in queries if each["sql"].startswith("UPDATE")]
        assert len(writes) == noted
        assert (IdempotencyRecord.objects.get().repeated_at == clock.now) is noted
    assert "and nothing was sent" in told(reader)


def test_a_repeat_is_answered_though_it_cannot_be_noted(
    stub: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent = an_sms(idempotency_id="id-1")

    def fail(*args: Any, **named: Any) -> int:
        raise DatabaseError(PHONE)

    with monkeypatch.context() as broken:
        broken.setattr(instant, "update", fail)
        again = an_sms(idempotency_id="id-1")
    assert (again.shipment_id, again.replayed) == (sent.shipment_id, True)
    assert "replay not noted" in caplog.text
    assert PHONE not in caplog.text


def test_a_page_says_nothing_personal_and_decrypts_only_what_it_masks(
    reader: Client, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.do = in_turn(fails(OutcomeUnknown, "no answer in time"), take)
    original = try_to_send()
    orders.resend(original.pk, by="kari", because="nothing came", sure=True)
    opened: list[str] = []
    decrypt = privacy.decrypt
    monkeypatch.setattr(privacy, "decrypt", lambda text: opened.append(text) or decrypt(text))
    for shipment in Shipment.objects.all():
        html = reader.get(page_of(shipment.pk)).content.decode()
        assert not [each for each in PERSONAL if each in html]
    assert len(opened) == 2


def test_a_long_story_takes_no_more_queries_and_is_cut(
    reader: Client, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_sms()
    (delivery,) = Delivery.objects.all()
    told(reader)
    with CaptureQueriesContext(connection) as short:
        told(reader)
    line = {"from_status": "SMS_Sending", "to_status": "SMS_Sending", "cause": Cause.RECEIPT}
    events = [StatusEvent(delivery=delivery, gateway_word=f"w{n}", **line) for n in range(7)]
    StatusEvent.objects.bulk_create(events)
    for number in range(7):
        delivery.pk = uuid7()
        delivery.save(force_insert=True)
        orders.reveal(delivery.pk, by="ola", because=f"r{number}")
    with CaptureQueriesContext(connection) as long:
        told(reader)
    assert len(long) == len(short) <= 12
    assert not [each for each in long if "COUNT(*)" in each["sql"]]
    monkeypatch.setattr(timeline, "MOST", 3)
    monkeypatch.setattr(story, "MOST_DELIVERIES", 5)
    text = told(reader)
    assert "There are more: only the first 5 are shown." in text
    assert "Older lines are left out." in text
    assert "w6" in text
    assert "w3" not in text


def reveal(client: Client, delivery: Delivery, because: str = "the customer phones") -> Any:
    url = reverse("admin:instant_notifications_shipment_reveal", args=[delivery.pk])
    return client.post(url, {"because": because})


def test_who_may_and_says_why_sees_it_in_clear(revealer: Client, stub: Any) -> None:
    send_email(ADDRESS, SUBJECT, BODY)
    delivery = Delivery.objects.get()
    answer = reveal(revealer, delivery)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    for shown in (ADDRESS, SUBJECT, BODY, "ola looked at it in clear. the customer phones"):
        assert shown in text_of(answer)
    assert "<428516>" not in answer.content.decode()
    assert "&lt;428516&gt;" in answer.content.decode()
    deed = Intervention.objects.get()
    assert (deed.kind, deed.by, deed.because) == ("reveal", "ola", "the customer phones")
    entry = LogEntry.objects.get()
    assert "the customer phones" in entry.change_message
    assert not [each for each in PERSONAL if each in entry.change_message + entry.object_repr]


def test_nothing_of_it_stays(revealer: Client, stub: Any) -> None:
    an_sms()
    reveal(revealer, Delivery.objects.get())
    left = told(revealer) + str(dict(revealer.session)) + str(revealer.cookies)
    assert not [each for each in PERSONAL if each in left]


def test_nothing_is_shown_without_a_reason_or_by_get(revealer: Client, stub: Any) -> None:
    an_sms()
    delivery = Delivery.objects.get()
    answer = reveal(revealer, delivery, because=" ")
    assert answer.headers["Location"] == page_of(delivery.shipment_id)
    assert "Say why" in revealer.get(answer.headers["Location"]).content.decode()
    url = reverse("admin:instant_notifications_shipment_reveal", args=[delivery.pk])
    assert revealer.get(url, {"because": "x"}).status_code == 405
    assert not Intervention.objects.exists()
    assert not LogEntry.objects.exists()


def test_who_may_not_is_neither_asked_nor_answered(reader: Client, stub: Any) -> None:
    an_sms()
    html = reader.get(page_of(Shipment.objects.get().pk)).content.decode()
    assert "Show in clear" not in html
    for client in (reader, somebody("reveal_shipment", name="blind")):
        assert reveal(client, Delivery.objects.get()).status_code == 403
    assert not Intervention.objects.exists()


def test_a_delivery_that_does_not_exist_leads_back(revealer: Client, stub: Any) -> None:
    an_sms()
    delivery = Delivery(pk=Shipment.objects.get().pk)
    assert reveal(revealer, delivery).headers["Location"] == reverse("admin:index")


def test_a_delivery_that_is_purged_meanwhile_leads_back(
    revealer: Client, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_sms()
    delivery = Delivery.objects.get()

    def purged(*args: Any, **named: Any) -> None:
        raise Delivery.DoesNotExist

    monkeypatch.setattr(orders, "reveal", purged)
    assert reveal(revealer, delivery).headers["Location"] == reverse("admin:index")


def test_a_secret_is_never_shown(revealer: Client, stub: Any) -> None:
    stub.do = fails(Unavailable, "503")
    delivery = try_to_send(secret=True)
    answer = reveal(revealer, delivery)
    assert "A secret is never shown." in text_of(answer)
    assert PHONE in text_of(answer)
    assert "428516" not in answer.content.decode()
    assert "Secret: it is erased" in text_of(answer)


def test_what_was_erased_or_cannot_be_read_is_told_apart(
    revealer: Client, stub: Any, configure: Configure
) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    an_sms()
    configure(ENCRYPTION_KEYS=["new"])
    answer = text_of(reveal(revealer, Delivery.objects.get()))
    assert answer.count("It cannot be read") >= 3  # where it is masked, the number, the text
    Delivery.objects.update(destination=None, content=None)
    answer = text_of(reveal(revealer, Delivery.objects.get()))
    assert answer.count("Erased.") >= 3
    assert "Delivered" not in answer
