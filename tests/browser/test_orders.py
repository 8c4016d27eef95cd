"""A regular order at night: see that it waits, cancel it, and find it by whom it is for."""

from datetime import timedelta

import pytest
from django.utils import timezone

from instant_notifications.models import Plan
from instant_notifications.orders import Placed, Reminder
from tests import regular
from tests.browser.operator import Operator

pytestmark = pytest.mark.django_db(transaction=True)

PERSONAL = ("01010112345", "010101 12345", "99999999", "kari", "Tax return")


@pytest.fixture
def tomorrow() -> Placed:
    """To a person, with a reminder."""
    regular.keep_contact(phones=[regular.NUMBER], emails=[regular.ADDRESS])
    reminder = Reminder(days=1, sms=regular.SMS, email=regular.EMAIL)
    at = timezone.now() + timedelta(days=1)
    return regular.order(regular.PERSON, at=at, reminders=[reminder])


def test_what_waits_is_seen_found_and_cancelled_with_its_reminder(
    operator: Operator, tomorrow: Placed
) -> None:
    operator.open("figures_changelist")
    operator.sees("Waiting for their time")
    operator.take_picture("overview-queue")
    operator.follow("Waiting for their time")
    operator.sees("waits until")
    [table], [room] = map(operator.elements, ("#result_list", ".results"))
    assert 500 < table.rect["width"] <= room.rect["width"], "some of it is cut off"
    operator.take_picture("list-planned")
    operator.fill("Find", "010101 12345")
    operator.press("Search")
    operator.sees("Found")
    operator.follow(str(tomorrow.notification.shipment_id))
    operator.sees("It waits for its time", "a person", "It reminds the same recipient.")
    operator.take_picture("story-planned")
    operator.press("Cancel the whole order …")
    operator.sees(f"The whole order {tomorrow.order_id}", "Shipments that wait: 2.")
    operator.fill("Why?", "the wrong letter")
    operator.take_picture("cancel-order")
    operator.double_click("Cancel (1)")
    operator.wait.until(lambda _: not Plan.objects.filter(ended="").exists())
    operator.open("shipment_change", tomorrow.notification.shipment_id)
    operator.sees("Not sent: ola cancelled it", "the wrong letter", "Order_Cancelled")
    operator.take_picture("story-cancelled")
    told = operator.chrome.page_source + operator.history() + str(operator.requests)
    assert [each for each in PERSONAL if each in told] == []
