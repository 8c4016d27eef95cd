from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.test import TransactionTestCase
from django.utils import timezone
from rest_framework.test import APIClient

from instant_notifications import tokens, upkeep
from tests import emptying
from tests import stub as stubs
from tests.clock import Clock
from tests.outcomes import gateways
from tests.web import Server, Talk

API = "/notifications/api/v1/"


@pytest.fixture(scope="session", autouse=True)
def quickly_emptied() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", emptying.empty)
        yield


@pytest.fixture
def configure(settings: Any) -> Callable[..., None]:
    """Changes keys of INSTANT_NOTIFICATIONS for one test."""

    def change(**changes: Any) -> None:
        settings.INSTANT_NOTIFICATIONS = {**django_settings.INSTANT_NOTIFICATIONS, **changes}

    return change


@pytest.fixture
def stub(configure: Callable[..., None]) -> Iterator[type[stubs.StubGateway]]:
    """Both channels go by a gateway that does what ``stub.do`` says and keeps ``stub.seen``."""
    classes = (stubs.StubGateway, stubs.SecondGateway)
    configure(GATEWAYS=gateways(), ROUTES={"sms": ["stub"], "email": ["stub"]})
    yield stubs.StubGateway
    for each in classes:
        each.seen.clear()
        each.do = staticmethod(stubs.take)


@pytest.fixture
def client_of() -> Callable[..., APIClient]:
    """An API client that calls with a good token of the organisation."""

    def make(organisation: str = "ttd", **token: Any) -> APIClient:
        client = APIClient(raise_request_exception=False)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(organisation, **token)}")
        return client

    return make


@pytest.fixture
def api(client_of: Callable[..., APIClient]) -> APIClient:
    return client_of("ttd")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timezone, "now", clock)
    return clock


@pytest.fixture
def tiny_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)


@pytest.fixture
def serve() -> Iterator[Callable[[Talk], Server]]:
    servers = []

    def start(talk: Talk) -> Server:
        servers.append(Server(talk))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def replica(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It lags so far behind that it has no tables: who reads from it gets an error."""
    empty = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3"}
    monkeypatch.setitem(
        connections.settings, "replica", empty | {"NAME": ":memory:", "OPTIONS": {}}
    )

    class Router:
        def db_for_read(self, model: Any, **_hints: Any) -> str:
            return "replica"

        def db_for_write(self, model: Any, **_hints: Any) -> str:
            return "default"

    settings.DATABASE_ROUTERS = [Router()]
    yield
    connections["replica"].close()
    del connections["replica"]


def sms(**changes: Any) -> dict[str, Any]:
    """A good request for the SMS route; ``sms(phoneNumber=…)`` changes the member of that name."""
    settings = {"sender": "Altinn", "body": "Your code is 428516"}
    recipient = {"phoneNumber": "+4799999999", "timeToLiveInSeconds": 300, "smsSettings": settings}
    order = {"idempotencyId": "id-1", "sendersReference": "ref-1", "recipientSms": recipient}
    return _changed(order, (order, recipient, settings), changes)


def email(**changes: Any) -> dict[str, Any]:
    """A good request for the e-mail route, changed likewise."""
    settings = {"subject": "Your code", "body": "It is 428516", "contentType": "Plain"}
    recipient = {"emailAddress": "kari@example.com", "emailSettings": settings}
    order = {"idempotencyId": "id-1", "sendersReference": "ref-1", "recipientEmail": recipient}
    return _changed(order, (order, recipient, settings), changes)


def _changed(order: dict[str, Any], places: Any, changes: dict[str, Any]) -> dict[str, Any]:
    for name, value in changes.items():
        place = next((place for place in places if name in place), places[-1])
        if value is ...:
            place.pop(name, None)
        else:
            place[name] = value
    return order


def instant(request: dict[str, Any]) -> dict[str, Any]:
    """An SMS request in the form of the deprecated route."""
    return {
        **{name: value for name, value in request.items() if name != "recipientSms"},
        "recipient": {"recipientSms": request["recipientSms"]},
    }
