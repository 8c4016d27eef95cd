"""Contract §7 and §10: the manifest, and its truth at the moment it is read."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.models import Delivery, FeedEntry, Shipment, StatusEvent
from instant_notifications.receipts import record_receipt
from tests.api.conftest import EMAIL, FEED, SMS, Route, every_route, post, shipment_path, standing
from tests.outcomes import Do, Killed, expire, fails, gateways, lapse_lease
from tests.stub import take

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

UTC_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")
DESTINATIONS = {"sms": "+4799999999", "email": "kari@example.com"}
TYPES = {"sms": "SMS", "email": "Email"}


@every_route
def test_the_manifest_has_exactly_the_documented_members(route: Route, api: Any, stub: Any) -> None:
    path = shipment_path(post(api, route))
    answer = api.get(path)
    body = answer.json()
    times = body.pop("lastUpdate"), body["recipients"][0].pop("lastUpdate")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    assert body == {
        "shipmentId": path.rpartition("/")[2],
        "sendersReference": "ref-1",
        "type": "Instant",
        "status": "Order_Processed",
        "recipients": [
            {
                "type": TYPES[route.channel],
                "destination": DESTINATIONS[route.channel],
                "status": route.words.accepted,
            }
        ],
    }
    assert all(UTC_TIME.fullmatch(each) for each in times)
    age = datetime.now(UTC) - datetime.fromisoformat(times[0])
    assert timedelta(0) <= age < timedelta(seconds=30)


@pytest.mark.parametrize("spelling", [str.upper, str.lower])
def test_the_id_may_be_written_in_either_case(
    spelling: Callable[[str], str], api: Any, stub: Any
) -> None:
    shipment_id = post(api, SMS).json()["notification"]["shipmentId"]
    path = shipment_path(post(api, SMS)).replace(shipment_id, spelling(shipment_id))
    assert api.get(path).json()["shipmentId"] == shipment_id


SITUATIONS: dict[str, tuple[Do, str, str]] = {
    "taken": (take, "Order_Processed", "accepted"),
    "delivered at once": (
        lambda message: Receipt(status=_word(message, "delivered")),
        "Order_Completed",
        "delivered",
    ),
    "failed at once": (
        lambda message: Receipt(status=_word(message, "failed")),
        "Order_Completed",
        "failed",
    ),
    "refused": (fails(Rejected), "Order_Completed", "failed"),
    "not reached": (fails(Unavailable), "Order_Processing", "new"),
    "no answer": (fails(OutcomeUnknown), "Order_Processed", "sending"),
    "unforeseen": (fails(ZeroDivisionError), "Order_Processed", "sending"),
    "worker died": (fails(Killed), "Order_Processing", "sending"),
}


def _word(message: Any, name: str) -> str:
    route = SMS if message.channel == "sms" else EMAIL
    return str(getattr(route.words, name))


every_situation = pytest.mark.parametrize(
    ("do", "order", "word"), SITUATIONS.values(), ids=SITUATIONS
)


def send(api: Any, route: Route, stub: Any, do: Do) -> str:
    """The shipment's address, also when the worker died."""
    stub.do = do
    if do is SITUATIONS["worker died"][0]:
        with pytest.raises(Killed):
            post(api, route)
    else:
        post(api, route)
    return f"{FEED.removesuffix('feed')}{Shipment.objects.get().pk}"


@every_route
@every_situation
def test_the_manifest_tells_how_the_order_stands(
    route: Route, do: Do, order: str, word: str, api: Any, stub: Any
) -> None:
    body = api.get(send(api, route, stub, do)).json()
    assert body["status"] == order
    assert body["recipients"][0]["status"] == getattr(route.words, word)


@every_route
def test_without_receipts_to_come_acceptance_is_the_last_word(
    route: Route, api: Any, stub: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"reports_receipts": False}))
    answer = post(api, route)
    assert standing(api, answer) == ("Order_Completed", route.words.accepted)
    assert len(api.get(FEED).json()) == 1
    expire(seconds_ago=10**6)
    assert standing(api, answer) == ("Order_Completed", route.words.accepted)


@every_route
@every_situation
def test_after_expiry_and_grace_nothing_is_left_open(
    route: Route, do: Do, order: str, word: str, api: Any, stub: Any
) -> None:
    path = send(api, route, stub, do)
    lapse_lease()
    expire(seconds_ago=59)
    before = api.get(path).json()
    assert (before["status"], before["recipients"][0]["status"]) == (
        order,
        getattr(route.words, word),
    )
    expire(seconds_ago=61)
    after = api.get(path).json()
    final = getattr(route.words, word) if order == "Order_Completed" else route.words.expired
    assert (after["status"], after["recipients"][0]["status"]) == ("Order_Completed", final)


def test_the_grace_is_a_setting(api: Any, stub: Any, configure: Configure) -> None:
    answer = post(api, SMS)
    expire(seconds_ago=100)
    configure(EXPIRY_GRACE=1000)
    assert standing(api, answer)[1] == "SMS_Accepted"
    configure(EXPIRY_GRACE=0)
    assert standing(api, answer)[1] == "SMS_Failed_TTL"


def test_while_a_worker_holds_it_nothing_is_over(api: Any, stub: Any) -> None:
    path = send(api, SMS, stub, SITUATIONS["worker died"][0])
    expire(seconds_ago=10**6)
    held = api.get(path).json()
    assert (held["status"], held["recipients"][0]["status"]) == ("Order_Processing", "SMS_Sending")
    lapse_lease()
    assert api.get(path).json()["recipients"][0]["status"] == "SMS_Failed_TTL"


def test_reading_the_truth_writes_nothing_down(api: Any, stub: Any) -> None:
    answer = post(api, SMS)
    expire(seconds_ago=1000)
    events = StatusEvent.objects.count()
    assert standing(api, answer)[1] == "SMS_Failed_TTL"
    assert Delivery.objects.get().status == "SMS_Accepted"
    assert (StatusEvent.objects.count(), FeedEntry.objects.count()) == (events, 0)


def test_a_genuine_receipt_after_expiry_is_shown(api: Any, stub: Any) -> None:
    answer = post(api, SMS)
    expire(seconds_ago=1000)
    assert standing(api, answer)[1] == "SMS_Failed_TTL"
    reference = str(Delivery.objects.get().pk)
    record_receipt("stub", Receipt(reference=reference, status="SMS_Delivered"))
    assert standing(api, answer) == ("Order_Completed", "SMS_Delivered")


def test_email_recipients_come_before_sms(api: Any, stub: Any) -> None:
    shipment_id = UUID(post(api, SMS).json()["notification"]["shipmentId"])
    Shipment.objects.update(type="Reminder")
    first = Delivery.objects.get()
    for channel, word in (("email", "Email_New"), ("sms", "SMS_New"), ("email", "Email_New")):
        Delivery.objects.create(
            shipment_id=shipment_id,
            channel=channel,
            destination=DESTINATIONS[channel],
            status=word,
            handover="open",
            expires_at=timezone.now() + timedelta(hours=1),
        )
    body = api.get(f"{FEED.removesuffix('feed')}{shipment_id}").json()
    assert body["type"] == "Reminder"
    assert [each["type"] for each in body["recipients"]] == ["Email", "Email", "SMS", "SMS"]
    record_receipt("stub", Receipt(reference=str(first.pk), status="SMS_Delivered"))
    assert api.get(FEED).json() == []
    for delivery in Delivery.objects.exclude(pk=first.pk):
        word = "SMS_Delivered" if delivery.channel == "sms" else "Email_Delivered"
        record_receipt("stub", Receipt(reference=str(delivery.pk), status=word))
    (entry,) = api.get(FEED).json()
    assert [each["type"] for each in entry["recipients"]] == ["Email", "Email", "SMS", "SMS"]


def test_an_erased_destination_is_blank(api: Any, stub: Any) -> None:
    answer = post(api, SMS)
    Delivery.objects.update(destination=None)
    assert api.get(shipment_path(answer)).json()["recipients"][0]["destination"] == ""
