"""Receipts that are forged, repeated, or of another gateway: they change nothing."""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from django.http import QueryDict
from django.test import Client

from instant_notifications import tokens
from instant_notifications.gateways.twilio import signature
from instant_notifications.models import Delivery, StatusEvent, UnmatchedReceipt
from instant_notifications.orders import send_sms
from tests.conftest import API
from tests.console import rows

pytestmark = pytest.mark.django_db

PUBLIC: Final = f"https://notify.example.com{API}"
REFERENCE: Final = "SM0000000000000000000000000000000a"


def link(user: str, password: str) -> dict[str, Any]:
    return {
        "BACKEND": "instant_notifications.gateways.link_mobility.LinkMobilityGateway",
        "OPTIONS": {
            "url": "https://link.example.com/",
            "user": "u",
            "password": "only-for-sending",
            "receipts_user": user,
            "receipts_password": password,
        },
    }


def twilio(token: str) -> dict[str, Any]:
    return {
        "BACKEND": "instant_notifications.gateways.twilio.TwilioGateway",
        "OPTIONS": {
            "account_sid": f"AC{'0' * 32}",
            "auth_token": token,
            "api_key_sid": f"SK{'1' * 32}",
            "api_key_secret": "only-for-sending",
            "sender": "Altinn",
            "public_url": PUBLIC,
        },
    }


def simulator(password: str) -> dict[str, Any]:
    return {
        "BACKEND": "instant_notifications.simulator.gateway.SimulatorGateway",
        "OPTIONS": {"deliver_after": None, "receipts_password": password},
    }


GATEWAYS: Final = {
    "link": link("link", "link-password"),
    "other-link": link("other", "other-password"),
    "twilio": twilio("twilio-token"),
    "other-twilio": twilio("other-token"),
    "simulator": simulator("simulator-password"),
    "other-simulator": simulator("other-simulator-password"),
}
BODIES: Final[Mapping[str, Callable[[str], bytes]]] = {
    "link": lambda state: (
        f"<MSGLST><MSG><ID>1</ID><REF>{REFERENCE}</REF>"
        f"<STATE>{state}</STATE></MSG></MSGLST>".encode()
    ),
    "twilio": lambda state: urlencode(
        {"MessageSid": REFERENCE, "MessageStatus": state, "To": "+4799999999"}
    ).encode(),
    "simulator": lambda state: f'{{"reference": "{REFERENCE}", "status": "{state}"}}'.encode(),
}
DELIVERED: Final = {"link": "DELIVRD", "twilio": "delivered", "simulator": "SMS_Delivered"}
FAILED: Final = {"link": "UNDELIV", "twilio": "undelivered", "simulator": "SMS_Failed_Undelivered"}
KINDS: Final = tuple(BODIES)
each_kind = pytest.mark.parametrize("kind", KINDS)


def basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def signed(token: str, url: str, body: bytes) -> dict[str, str]:
    form = QueryDict(body, encoding="utf-8")
    return {"X-Twilio-Signature": signature(token, url, form)}


def genuine(alias: str, body: bytes) -> dict[str, str]:
    return {
        "link": basic("link", "link-password"),
        "other-link": basic("other", "other-password"),
        "twilio": signed("twilio-token", address("twilio"), body),
        "other-twilio": signed("other-token", address("other-twilio"), body),
        "simulator": basic("simulator", "simulator-password"),
        "other-simulator": basic("simulator", "other-simulator-password"),
    }[alias]


def address(alias: str) -> str:
    return f"{PUBLIC}delivery-reports/{alias}"


def push(alias: str, body: bytes, headers: Mapping[str, str], query: str = "") -> int:
    client = Client(raise_request_exception=False)
    answer = client.generic(
        "POST",
        f"{API}delivery-reports/{alias}{query}",
        body,
        content_type="application/x-www-form-urlencoded",
        headers=dict(headers),
    )
    return answer.status_code


@pytest.fixture
def delivery(configure: Callable[..., None], request: Any) -> Delivery:
    """What the gateway of this kind has taken."""
    kind = request.getfixturevalue("kind")
    configure(GATEWAYS=GATEWAYS, ROUTES={"sms": ["simulator"], "email": []})
    send_sms("+4799999999", "hello")
    Delivery.objects.update(gateway=kind, gateway_reference=REFERENCE)
    return Delivery.objects.get()


def everything() -> list[Any]:
    return rows(Delivery, StatusEvent, UnmatchedReceipt)


def status() -> str:
    return Delivery.objects.get().status


@dataclass(frozen=True)
class Forgery:
    name: str
    headers: Mapping[str, str]
    query: str = ""

    def __str__(self) -> str:
        return self.name


def forgeries(kind: str, body: bytes) -> Iterator[Forgery]:
    url, other_url = address(kind), address(f"other-{kind}")
    good = genuine(kind, body)
    yield Forgery("nothing", {})
    yield Forgery("that of another gateway", genuine(f"other-{kind}", body))
    for other in set(KINDS) - {kind}:
        yield Forgery(f"that of {other}", genuine(other, body))
    yield Forgery("a token of the API", {"Authorization": f"Bearer {tokens.issue('ttd')}"})
    for user, password in (
        (kind, ""),
        ("", ""),
        ("", f"{kind}-password"),
        (kind, "only-for-sending"),
        (kind, f"{kind}-password "),
        (kind, f"{kind}-password".upper()),
        (f"AC{'0' * 32}", "twilio-token"),
    ):
        yield Forgery(f"{user}:{password}", basic(user, password))
    for name, value in good.items():
        yield Forgery("the right one in another header", {f"X-{name}": value})
        yield Forgery("the right one in the address", {}, f"?{urlencode({name: value})}")
        yield Forgery("the right one cut short", {name: value[:-5]})
        yield Forgery("the right one twice", {name: f"{value}, {value}"})
        yield Forgery("one that is not ASCII", {name: f"{value}\xe6"})
    for what, headers in {
        "of another body": signed("twilio-token", url, body + b"&x=1"),
        "of no body": signed("twilio-token", url, b""),
        "of another gateway's address": signed("twilio-token", other_url, body),
        "of the address behind the proxy": signed(
            "twilio-token", f"http://testserver{API}delivery-reports/{kind}", body
        ),
        "without encryption": signed("twilio-token", url.replace("https", "http"), body),
        "of a longer address": signed("twilio-token", f"{url}/", body),
        "of an address with a query": signed("twilio-token", f"{url}?a=1", body),
        "with the sending key": signed("only-for-sending", url, body),
        "with a blank token": signed("", url, body),
    }.items():
        yield Forgery(f"a signature {what}", headers)


@each_kind
def test_a_forged_receipt_is_not_let_in(kind: str, delivery: Delivery) -> None:
    body, before = BODIES[kind](DELIVERED[kind]), everything()
    tried = [
        (str(forgery), push(kind, body, forgery.headers, forgery.query))
        for forgery in forgeries(kind, body)
    ]
    assert {outcome for _, outcome in tried} == {401}, tried
    assert everything() == before
    assert push(kind, body, genuine(kind, body)) in {200, 204}
    assert status() == "SMS_Delivered"


@each_kind
def test_a_receipt_may_be_played_again_as_often_as_one_likes(kind: str, delivery: Delivery) -> None:
    first, second = (BODIES[kind](word[kind]) for word in (FAILED, DELIVERED))
    for body in (first, second):
        assert push(kind, body, genuine(kind, body)) in {200, 204}
    before = everything()
    for body in (first, second, first, first):
        assert push(kind, body, genuine(kind, body)) in {200, 204}
    assert everything() == before


@each_kind
def test_a_genuine_receipt_of_one_gateway_is_not_about_a_message_of_another(
    kind: str, delivery: Delivery
) -> None:
    for other in GATEWAYS.keys() - {kind}:
        body = BODIES[other.removeprefix("other-")](FAILED[other.removeprefix("other-")])
        assert push(other, body, genuine(other, body)) in {200, 204}
    assert status() == delivery.status
    assert StatusEvent.objects.filter(cause="receipt").count() == 0
    kept = UnmatchedReceipt.objects.values_list("gateway", flat=True)
    assert set(kept) == GATEWAYS.keys() - {kind}


@each_kind
def test_a_body_that_was_changed_on_the_way_is_not_let_in(kind: str, delivery: Delivery) -> None:
    """Of those who sign what they push; the others prove only who they are, over TLS."""
    body, forged = BODIES[kind](FAILED[kind]), BODIES[kind](DELIVERED[kind])
    outcome = push(kind, forged, genuine(kind, body))
    assert (outcome == 401) is (kind == "twilio")


@each_kind
def test_a_gateway_whose_secret_is_blank_lets_nobody_in(
    kind: str, delivery: Delivery, configure: Callable[..., None]
) -> None:
    for name in ("receipts_password", "auth_token"):
        options = GATEWAYS[kind]["OPTIONS"]
        if name in options:
            blank = {**GATEWAYS[kind], "OPTIONS": {**options, name: ""}}
            configure(GATEWAYS={**GATEWAYS, kind: blank})
    body, before = BODIES[kind](DELIVERED[kind]), everything()
    for headers in (
        {},
        basic(kind, ""),
        basic("", ""),
        {"Authorization": "Basic"},
        signed("", address(kind), body),
    ):
        assert push(kind, body, headers) == 401
    assert everything() == before
