"""The durable work of one instant message, by hand: insert, call, update and feed entry.

Two commits, as the promise needs them, and nothing else: no authentication, no rules, no
encryption, no idempotency, no history, no numbered feed, no failures told apart.
"""

import json
from typing import Final

import requests
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from requests.adapters import HTTPAdapter

from benchmarks.floor.models import Entry, Message

TIMEOUT: Final = 10.0


def _pooled_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_maxsize=64))
    return session


_session: Final = _pooled_session()


@csrf_exempt
def send_sms(request: HttpRequest) -> JsonResponse:
    message = _insert(json.loads(request.body))
    reference = _call_gateway(message)
    _record(message, reference)
    return JsonResponse({"id": message.pk, "key": message.key}, status=201)


def _insert(order: dict[str, dict[str, dict[str, str]]]) -> Message:
    recipient = order["recipientSms"]
    return Message.objects.create(
        key=order["idempotencyId"],
        creator="floor",
        destination=recipient["phoneNumber"],
        sender=recipient["smsSettings"]["sender"],
        body=recipient["smsSettings"]["body"],
        status="sending",
    )


def _call_gateway(message: Message) -> str:
    order = {
        "reference": message.key,
        "to": message.destination,
        "from": message.sender,
        "text": message.body,
    }
    answer = _session.post(settings.BENCHMARK_GATEWAY_URL, json=order, timeout=TIMEOUT)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _record(message: Message, reference: str) -> None:
    with transaction.atomic():
        Message.objects.filter(pk=message.pk).update(status="sent", gateway_reference=reference)
        Entry.objects.create(message=message, status="sent")


urlpatterns: Final = [
    path("notifications/api/v1/", include("instant_notifications.api.urls")),
    path("floor/sms", send_sms),
]
"""Of the project that is measured: our routes, and the floor's beside them."""
