"""One message: what became of it, who may see it in clear, and what sending it again does."""

from datetime import UTC

import pytest

from instant_notifications.models import Delivery, Intervention, Shipment
from instant_notifications.orders import send_sms
from instant_notifications.simulator.models import SimulatedMessage
from instant_notifications.simulator.postman import deliver_due_receipts
from tests.browser.operator import Operator

pytestmark = pytest.mark.django_db(transaction=True)

NUMBER, SLOW_NUMBER = "+4799999966", "+4799990010"
TEXT = "It is 428516"
SURE = "Also those where I must be sure: a second message would do no harm."
REASON = "Why must you see the number and the text?"


def test_a_story_tells_all_but_shows_it_in_clear_only_once(operator: Operator) -> None:
    sent = send_sms(NUMBER, TEXT)
    deliver_due_receipts()
    operator.open("shipment_change", sent.shipment_id)
    operator.sees("Delivered to +47 ** ** ** 66", "It was asked for.", "A receipt came from")
    written = operator.elements(".timeline time")[0].get_attribute("title")
    at = Shipment.objects.get().created_at.astimezone(UTC)
    assert written == f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03} UTC"
    operator.fill(REASON, "She has complained.")
    operator.press("Show in clear")
    operator.sees(NUMBER, TEXT)
    operator.take_picture("revealed")
    assert Intervention.objects.get().because == "She has complained."
    operator.open("shipment_change", sent.shipment_id)
    operator.sees("ola looked at it in clear.", "She has complained.")
    assert NUMBER not in operator.chrome.page_source
    assert TEXT not in operator.chrome.page_source


def test_a_double_click_sends_each_message_again_once(operator: Operator) -> None:
    sent = [send_sms(to, TEXT) for to in (SLOW_NUMBER, NUMBER)]
    operator.open("shipment_changelist")
    operator.tick_all()
    operator.run("Send again")
    operator.sees("+47 ** ** ** 10", "+47 ** ** ** 66")
    operator.fill("Why?", "They have lost it.")
    operator.field(SURE).click()
    operator.take_picture("resend-review")
    operator.double_click("Send again (2)")
    operator.take_picture("resend-done")
    clicks = [each for each in operator.requests if each.startswith("POST") and "/resend/" in each]
    assert len(clicks) == 2
    operator.wait.until(lambda _: not Delivery.objects.exclude(lease_until=None).exists())
    assert Shipment.objects.count() == SimulatedMessage.objects.count() == 4
    assert Intervention.objects.filter(kind=Intervention.Kind.RESEND).count() == 2
    [successor] = Delivery.objects.filter(origin__delivery__shipment=sent[0].shipment_id)
    operator.open("shipment_change", sent[0].shipment_id)
    operator.sees("ola had a new message made of this one.")
    operator.follow(str(successor.shipment_id))
    operator.sees("ola had this message made in place of another one.")
