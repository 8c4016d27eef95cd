"""The simulated recipients' phone in the console."""

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instant_notifications.models import Delivery
from instant_notifications.orders import send_email, send_sms
from instant_notifications.simulator import admin as inbox
from instant_notifications.simulator.models import SimulatedMessage, SimulatedReceipt
from tests.console import somebody

pytestmark = pytest.mark.django_db

NAME: Final = "admin:instant_notifications_simulator_simulatedmessage_{}"
PHONE, SEARCH, DELIVER = (
    reverse(NAME.format(view)) for view in ("changelist", "search", "deliver")
)


@pytest.fixture
def viewer() -> Client:
    return somebody("view_simulatedmessage")


@pytest.fixture
def operator() -> Client:
    return somebody("view_simulatedmessage", "change_simulatedmessage", "view_shipment")


def shown(answer: Any) -> str:
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_it_shows_what_has_arrived(viewer: Client) -> None:
    send_sms("+4799887766", "Your code is 428516\n<b>", sender="Bank")
    send_email("kari@example.com", "A <i>word</i>", "<p>It is 17</p>", content_type="Html")
    html = shown(viewer.get(PHONE))
    assert html.index("k***@example.com") < html.index("+47 ** ** ** 66")
    for text in ("From Bank", "Your code is 428516 &lt;b&gt;", "&lt;p&gt;It is 17&lt;/p&gt;"):
        assert text in html
    assert "A &lt;i&gt;word&lt;/i&gt;" in html
    assert "99887766" not in html
    assert "kari@" not in html


def test_a_thread_reads_from_top_to_bottom(viewer: Client) -> None:
    for text in ("first", "second"):
        send_sms("+4799887766", text)
    html = shown(viewer.get(PHONE))
    assert html.count("+47 ** ** ** 66") == 1
    assert html.index(">first<") < html.index(">second<")


@pytest.mark.parametrize("written", ["+47 998 87 766", "004799887766", " tel:+4799887766 "])
def test_one_number_can_be_chosen_in_any_spelling(written: str, viewer: Client) -> None:
    send_sms("+4799887766", "this one")
    send_sms("+4799887767", "another")
    html = shown(viewer.post(SEARCH, {"recipient": written}))
    assert ("this one" in html, "another" in html) == (True, False)


def test_an_address_is_found_and_a_stranger_is_not(viewer: Client) -> None:
    send_email("Kari@example.com", "this one", "x")
    assert "this one" in shown(viewer.post(SEARCH, {"recipient": "kari@EXAMPLE.com"}))
    for nobody in ("", "ola@example.com", "\0"):
        html = shown(viewer.post(SEARCH, {"recipient": nobody}))
        assert "None of the newest 1000 messages went there." in html
    assert viewer.get(SEARCH, {"recipient": "kari@example.com"}).status_code == 405


def test_due_receipts_come_when_asked_for(operator: Client) -> None:
    send_sms("+4799887766", "x")
    send_sms("+4799880007", "y")
    SimulatedReceipt.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    html = shown(operator.get(PHONE))
    assert "delivered: to be reported" in html
    assert "No receipt will come." in html
    assert operator.get(DELIVER).status_code == 405
    assert operator.post(DELIVER).headers["Location"] == PHONE
    html = shown(operator.get(PHONE))
    assert "1 receipt has come." in html
    assert "delivered: reported" in html
    assert Delivery.objects.filter(status="SMS_Delivered").count() == 1


def test_who_may_only_look_brings_no_receipts(viewer: Client) -> None:
    send_sms("+4799887766", "x")
    assert DELIVER not in shown(viewer.get(PHONE))
    assert viewer.post(DELIVER).status_code == 403
    assert not SimulatedReceipt.objects.exclude(sent_at=None).exists()


def test_a_message_leads_to_its_story(operator: Client) -> None:
    sent = send_sms("+4799887766", "x")
    page = reverse("admin:instant_notifications_shipment_change", args=[sent.shipment_id])
    assert f'<a href="{page}">' in shown(operator.get(PHONE))
    SimulatedMessage.objects.update(reference="none of ours")
    assert "/shipment/" not in shown(operator.get(PHONE)).partition('class="phone"')[2]
    SimulatedMessage.objects.update(reference=uuid4())
    assert "/shipment/" not in shown(operator.get(PHONE)).partition('class="phone"')[2]


def test_who_may_not_read_stories_gets_no_link(viewer: Client) -> None:
    send_sms("+4799887766", "x")
    assert "/shipment/" not in shown(viewer.get(PHONE))


def test_it_stays_short_and_quick(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "SHOWN", 2)
    counts = set()
    for text in ("one", "two", "three"):
        send_sms("+4799887766", text)
        with CaptureQueriesContext(connection) as queries:
            html = shown(operator.get(PHONE))
        counts.add(len(queries))
    assert len(counts) == 1
    assert (">one<" in html, ">two<" in html) == (False, True)
    assert "Only the newest 2 are shown." in html


def test_what_cannot_be_read_breaks_nothing(viewer: Client, configure: Any) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    send_sms("+4799887766", "x")
    configure(ENCRYPTION_KEYS=["new"])
    assert "<h2>—</h2>" in shown(viewer.get(PHONE))
    assert "None of" in shown(viewer.post(SEARCH, {"recipient": "+4799887766"}))
