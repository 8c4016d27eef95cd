"""What the tests of the API share: the routes, and how to call and to read them."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest
from rest_framework.test import APIClient

from instant_notifications.statuses import WORDS, Channel, Words
from tests.conftest import API, email, instant, sms


@dataclass(frozen=True)
class Route:
    name: str
    path: str
    request: Callable[..., dict[str, Any]]
    channel: Channel

    def __str__(self) -> str:
        return self.name

    @property
    def words(self) -> Words:
        return WORDS[self.channel]


SMS = Route("sms", f"{API}future/orders/instant/sms", sms, Channel.SMS)
EMAIL = Route("email", f"{API}future/orders/instant/email", email, Channel.EMAIL)
DEPRECATED = Route(
    "deprecated",
    f"{API}future/orders/instant",
    lambda **changes: instant(sms(**changes)),
    Channel.SMS,
)
ROUTES = (SMS, EMAIL, DEPRECATED)
FEED = f"{API}future/shipment/feed"

every_route = pytest.mark.parametrize("route", ROUTES, ids=str)

SMS_TEXT = {"body": "Your tax return is ready.", "sender": "Skatt"}
EMAIL_TEXT = {"subject": "Tax return", "body": "It is ready.", "contentType": "Plain"}
BOTH_TEXTS = {"emailSettings": EMAIL_TEXT, "smsSettings": SMS_TEXT}
RECIPIENTS: dict[str, dict[str, Any]] = {
    "recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": EMAIL_TEXT},
    "recipientSms": {"phoneNumber": "+4799999999", "smsSettings": SMS_TEXT},
    "recipientPerson": {"nationalIdentityNumber": "13854899999", **BOTH_TEXTS},
    "recipientOrganization": {
        "orgNumber": "312508729",
        "channelSchema": "EmailAndSms",
        **BOTH_TEXTS,
    },
    "recipientExternalIdentity": {
        "externalIdentity": "urn:altinn:person:idporten-email:kari@example.com",
        **BOTH_TEXTS,
    },
}


def order(kind: str = "recipientEmail", **changes: Any) -> dict[str, Any]:
    """A good request for a regular order; ``changes`` are members of the order itself."""
    whom = {"recipient": {kind: RECIPIENTS[kind]}}
    request = {"idempotencyId": "id-1", "sendersReference": "ref-1", **whom, **changes}
    return {name: deepcopy(value) for name, value in request.items() if value is not ...}


def reminder(kind: str = "recipientEmail", **changes: Any) -> dict[str, Any]:
    """A good reminder for such an order."""
    request = {"delayDays": 7, "recipient": {kind: RECIPIENTS[kind]}, **changes}
    return {name: deepcopy(value) for name, value in request.items() if value is not ...}


ORDER = Route("order", f"{API}future/orders", order, Channel.EMAIL)


def post(client: APIClient, route: Route, request: Any = None, **headers: Any) -> Any:
    """POST a request (a good one by default); ``bytes`` go as they are."""
    body = route.request() if request is None else request
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers.setdefault("content_type", "application/json")
    return client.generic("POST", route.path, raw, **headers)


def shipment_path(answer: Any) -> str:
    """The address of the shipment that an answer, good or bad, speaks of."""
    body = answer.json()
    found = body.get("shipmentId") or body["notification"]["shipmentId"]
    return f"{API}future/shipment/{found}"


def cancel_path(path: str) -> str:
    """Where that order or that shipment is called off."""
    return path.replace("future/shipment/", "orders/") + "/cancel"


def standing(client: APIClient, answer: Any) -> tuple[str, str]:
    """Order status and delivery status that the manifest shows."""
    manifest = client.get(shipment_path(answer)).json()
    return manifest["status"], manifest["recipients"][0]["status"]


def problem(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """The problem document, but for its trace id, which differs each time."""
    assert answer.status_code == status, answer.content[:500]
    assert answer["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = dict(answer.json())
    assert body["status"] == status
    assert body["type"].startswith("https://tools.ietf.org/html/rfc")
    assert body["title"]
    assert body.get("code") == code
    assert len(body.pop("traceId")) == 32
    return body


def invalid(answer: Any) -> dict[str, list[str]]:
    """The messages of a 400 by JSON path."""
    body = problem(answer, 400)
    assert body["title"] == "One or more validation errors occurred."
    assert body["type"].endswith("#section-15.5.1")
    errors: dict[str, list[str]] = body["errors"]
    return errors
