"""What the tests of the API share: the routes, and how to call and to read them."""

import json
from collections.abc import Callable
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
