"""A test message: seen while it is written, then sent; with scripts and without."""

import pytest

from instant_notifications.models import Shipment
from instant_notifications.simulator.models import SimulatedMessage
from tests.browser.operator import Operator

pytestmark = pytest.mark.django_db(transaction=True)

NUMBER = "+4799999966"


def test_the_preview_follows_what_is_written(operator: Operator) -> None:
    operator.open("shipment_test")
    operator.fill("Mobile number:", NUMBER)
    operator.fill("Text:", "æ" * 159)
    operator.sees("GSM-7", "Parts 1", "Left in the last part 1", "region NO", "simulator: well")
    operator.field("Text:").send_keys("€")
    operator.sees("U+20AC EURO SIGN", "counts twice", "Parts 2")
    operator.insert("Text:", "\N{BELL}")
    operator.sees("UCS-2", "U+1F514 BELL", "Parts 3")
    operator.take_picture("test-message-preview")
    assert not Shipment.objects.exists()
    operator.press("Send it now")
    operator.sees("The test message is sent.", "Story of a shipment")
    assert SimulatedMessage.objects.get().body == "æ" * 159 + "€\N{BELL}"


def test_without_scripts_a_button_shows_the_preview(operator: Operator) -> None:
    operator.without_scripts()
    operator.open("shipment_test")
    operator.fill("Mobile number:", NUMBER)
    operator.fill("Text:", "A €")
    operator.press("Preview")
    operator.sees("Units 4", "counts twice")
    assert not Shipment.objects.exists()
    operator.press("Send it now")
    operator.sees("The test message is sent.")
    assert SimulatedMessage.objects.get().body == "A €"
    assert NUMBER not in operator.history() + str(operator.requests)
