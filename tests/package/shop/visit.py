"""One look at everything the package offers, in a project that knows nothing but the package."""

import re
from http import HTTPStatus
from typing import Any, Final

import django

django.setup()

from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils.translation import gettext, override

import instant_notifications
from instant_notifications import otp, recipients, tokens
from instant_notifications.celery import CeleryBackend
from instant_notifications.models import Delivery
from instant_notifications.orders import Email, place_order, send_email
from instant_notifications.simulator.models import SimulatedMessage
from instant_notifications.simulator.postman import deliver_due_receipts

API: Final = "/notifications/api/v1/"
STATIC: Final = ("story.css", "trial.js", "otp.css", "otp.js", "swagger.js")
NUMBER: Final = "+4799999999"


def inbox() -> str:
    return str(SimulatedMessage.objects.latest("pk").body)


def the_api_answers() -> None:
    client = Client(headers={"authorization": f"Bearer {tokens.issue('ttd')}"})
    order = {
        "idempotencyId": "visit",
        "recipientSms": {
            "phoneNumber": NUMBER,
            "timeToLiveInSeconds": 300,
            "smsSettings": {"body": "Hello"},
        },
    }
    answers: list[Any] = [
        client.post(f"{API}future/orders/instant/sms", order, content_type="application/json")
        for _ in range(2)
    ]
    assert [each.status_code for each in answers] == [HTTPStatus.CREATED, HTTPStatus.OK]
    assert SimulatedMessage.objects.count() == 2  # one is send_sms's
    deliver_due_receipts()
    shipment = answers[0].json()["notification"]["shipmentId"]
    for path, word in (
        (f"future/shipment/{shipment}", "SMS_Delivered"),
        ("future/shipment/feed", "SMS_Delivered"),
        ("schema/", "Instant notifications"),
        ("schema/swagger/", "swagger-ui"),
    ):
        answer = client.get(API + path)
        assert (answer.status_code, word in answer.content.decode()) == (HTTPStatus.OK, True), path


def the_console_renders() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("ola"))
    names = ("shipment", "figures", "gatewaystate", "hold", "listentry", "unmatchedreceipt")
    pages = [reverse(f"admin:instant_notifications_{name}_changelist") for name in names]
    pages += [
        reverse("admin:instant_notifications_simulator_simulatedmessage_changelist"),
        reverse(
            "admin:instant_notifications_shipment_change",
            args=[Delivery.objects.latest("pk").shipment_id],
        ),
    ]
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == HTTPStatus.OK, page
        assert 'lang="nb"' in answer.content.decode()


def files_and_translations_are_there() -> None:
    assert all(finders.find(f"instant_notifications/{name}") for name in STATIC)
    with override("nb"):
        assert gettext("Send again") == "Send på nytt"
        assert gettext("Mobile number") == "Mobilnummer"


def codes_work() -> None:
    challenge = otp.issue(NUMBER, purpose="login")
    (code,) = re.findall(r"\b\d{6}\b", inbox())
    assert otp.verify(challenge.id, code, purpose="login").verified

    client = Client()
    assert client.get("/login/").status_code == HTTPStatus.OK
    answer: Any = client.post("/login/", {"recipient": "+4798888888"}, follow=True)
    assert 'autocomplete="one-time-code"' in answer.content.decode()


def extras_work() -> None:
    assert send_email("kari@example.com", "Hello", "It works.").status == "Email_Succeeded"
    place_order(recipients.mailbox("kari@example.com"), email=Email("Hello", "Later."))
    call_command("process_due_orders")
    assert set(Delivery.objects.filter(channel="email").values_list("status", flat=True)) == {
        "Email_Succeeded"
    }
    assert CeleryBackend


assert "site-packages" in instant_notifications.__file__
the_api_answers()
the_console_renders()
files_and_translations_are_there()
codes_work()
extras_work()
print("All of it works.")
