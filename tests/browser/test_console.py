"""An operator at night: find the message, see what the gateways say, do something about it."""

import csv
from pathlib import Path

import pytest

from instant_notifications.exceptions import Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.models import Delivery, Shipment, UnmatchedReceipt
from instant_notifications.orders import Sent, send_email, send_sms
from instant_notifications.receipts import record_receipt
from instant_notifications.simulator.models import SimulatedMessage, SimulatedReceipt
from tests.browser.operator import Operator

pytestmark = pytest.mark.django_db(transaction=True)

NUMBER = "+4799999966"
SURE = "Also those where I must be sure: a second message would do no harm."
PERSONAL = ("99999966", "999 99 966", "kari", "428516")


def an_sms(to: str = NUMBER) -> Sent:
    return send_sms(to, "It is 428516")


def find(operator: Operator, term: str) -> None:
    operator.fill("Find", term)
    operator.press("Search")


def test_log_in_and_search_lead_to_the_message(visitor: Operator) -> None:
    an_sms("+4799999967")
    sent = an_sms()
    visitor.open("shipment_changelist")
    visitor.fill("Username:", "ola")
    visitor.fill("Password:", "sesame")
    visitor.press("Log in")
    find(visitor, "999 99 966")
    visitor.sees("Nothing is known by this.")
    find(visitor, "+47 999 99 966")
    assert visitor.chrome.current_url.endswith(f"/{sent.shipment_id}/change/")
    visitor.sees("simulator took it.", "+47 ** ** ** 66")
    told = visitor.chrome.page_source + visitor.history() + str(visitor.requests)
    assert [each for each in PERSONAL if each in told] == []


def test_a_story_is_found_and_opened_with_the_keyboard_alone(operator: Operator) -> None:
    older, _newer = an_sms(), an_sms()
    operator.open("shipment_changelist")
    operator.tab_to("Find")
    assert operator.focus_is_visible()
    operator.keys(NUMBER)
    operator.enter()
    operator.take_picture("search")
    operator.tab_to(str(older.shipment_id))
    assert operator.focus_is_visible()
    operator.enter()
    operator.sees("Story of a shipment", str(older.shipment_id))


def test_a_gateway_is_switched_off_and_on(operator: Operator) -> None:
    operator.open("gatewaystate_changelist")
    operator.fill("Why switch simulator off?", "the invoice")
    operator.press("Switch simulator off")
    operator.sees("Nothing is sent by simulator until it is switched on.", "by ola: the invoice")
    operator.take_picture("gateway-off")
    with pytest.raises(Unavailable, match="switched off"):
        an_sms()
    operator.press("Switch simulator on")
    operator.sees("Gateway simulator is asked again.")
    assert an_sms().status == "SMS_Accepted"


def test_a_receipt_is_matched_by_hand(operator: Operator) -> None:
    sent = an_sms()
    record_receipt(
        "simulator", Receipt(gateway_reference="lost-17", status="SMS_Delivered", word="DELIVRD")
    )
    operator.open("unmatchedreceipt_changelist")
    operator.follow("Find its message")
    operator.fill("Which message?", NUMBER)
    operator.press("Search")
    operator.field(str(sent.shipment_id)).click()
    operator.fill("Why?", "The phone company says so.")
    operator.take_picture("match-found")
    operator.field("I am sure, also where its reference is another.").click()
    operator.press("Match")
    operator.sees("Delivered to +47 ** ** ** 66", "ola matched a receipt with it by hand.")
    assert Delivery.objects.get().status == "SMS_Delivered"
    assert not UnmatchedReceipt.objects.exists()


def test_the_list_is_narrowed_and_exported_without_scripts(
    operator: Operator, tmp_path: Path
) -> None:
    an_sms()
    mail = send_email("kari@example.com", "A word", "It is 428516")
    operator.without_scripts()
    operator.receive_files_in(tmp_path)
    operator.open("shipment_changelist")
    operator.follow("E-mail")
    operator.button("Export as CSV (masked)").click()
    file = operator.wait.until(lambda _: next(tmp_path.glob("shipments-*.csv"), None))
    with file.open(encoding="utf-8-sig", newline="") as lines:
        [row] = csv.DictReader(lines)
    assert row["shipment"] == str(mail.shipment_id)
    assert row["destination"] == "k***@example.com"
    assert [each for each in PERSONAL if each in file.read_text()] == []


def test_the_phone_shows_what_has_arrived(operator: Operator) -> None:
    an_sms("+4799999967")
    sent = an_sms()
    operator.open("simulator_simulatedmessage_changelist")
    operator.sees("+47 ** ** ** 67", "+47 ** ** ** 66", "It is 428516")
    operator.press("Deliver due receipts now")
    operator.sees("2 receipts have come.")
    assert not SimulatedReceipt.objects.filter(sent_at=None).exists()
    assert {each.status for each in Delivery.objects.all()} == {"SMS_Delivered"}
    operator.fill("Messages to", NUMBER)
    operator.press("Show")
    assert len(operator.elements(".phone-bubble")) == 1
    operator.follow("What became of it")
    operator.sees("Delivered to +47 ** ** ** 66", str(sent.shipment_id))
    assert NUMBER not in operator.history() + str(operator.requests)


def test_whatever_breaks_the_policy_is_noticed(operator: Operator) -> None:
    operator.open("shipment_changelist")
    operator.chrome.execute_script("document.body.append(document.createElement('style'))")
    assert "Content Security Policy" in str(operator.complaints())


def test_a_message_is_sent_again_without_scripts(operator: Operator) -> None:
    an_sms()
    operator.without_scripts()
    operator.open("shipment_changelist")
    operator.tick_all()
    operator.run("Send again")
    operator.fill("Why?", "She has lost it.")
    operator.field(SURE).click()
    operator.press("Send again (1)")
    operator.sees("Sent again.")
    assert Shipment.objects.count() == SimulatedMessage.objects.count() == 2
