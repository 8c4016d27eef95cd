"""Every operation of the published OpenAPI document, called as it allows, forbids and ignores."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import cycle
from typing import Any, Final

import pytest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings

from instant_notifications import contacts, otp, rules, tokens
from instant_notifications.contacts import Contact
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Message, Receipt
from tests import regular
from tests.conftest import API
from tests.outcomes import fails, rows_left
from tests.stub import take

pytest.importorskip("drf_spectacular", reason="the extra `openapi` is not installed")
schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from schemathesis.core.parameters import ParameterLocation  # noqa: E402
from schemathesis.generation import GenerationMode  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

pytestmark = pytest.mark.django_db

SENT: Final = {201, 422, 503, 504}
"""What a gateway that takes, refuses, fails and falls silent in turn leads to."""

# What each operation must have answered at least once, lest the test be about nothing.
OPERATIONS: Final[Mapping[tuple[str, str], set[int]]] = {
    ("POST", "/future/orders/instant/sms"): SENT,
    ("POST", "/future/orders/instant/email"): SENT,
    ("POST", "/future/orders/instant"): SENT,
    ("POST", "/future/orders"): {201},
    ("GET", "/future/orders/{order_id}"): {200},
    ("PUT", "/future/orders/{order_id}/cancel"): {200},
    ("PUT", "/orders/{shipment_id}/cancel"): {200},
    ("GET", "/future/shipment/{shipment_id}"): {200},
    ("GET", "/future/shipment/feed"): {200},
    ("POST", "/otp/challenges"): {201},
    ("POST", "/otp/challenges/{challenge_id}/resend"): {201},
    ("POST", "/otp/challenges/{challenge_id}/verify"): {400},
}
AS_DOCUMENTED: Final = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
every_operation = pytest.mark.parametrize(
    ("method", "path"), OPERATIONS, ids=[" ".join(each) for each in OPERATIONS]
)
each_kind = pytest.mark.parametrize("kind", GenerationMode)
bounded = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# What is any string to the document, and has to exist for the routes.
REAL: Final[Mapping[str, Iterator[str]]] = {
    "phoneNumber": cycle(["+4799999999", "+47 99 99 99 98", "004799999997"]),
    "emailAddress": cycle(["kari@example.com", " Ola.Nordmann@EXAMPLE.com "]),
    "senderEmailAddress": cycle(["post@example.com"]),
    "conditionEndpoint": cycle(["https://example.com/unread?id=17"]),
    "requestedSendTime": cycle(["2100-01-04T08:00:00Z", "2100-07-04T08:00:00.5+02:00"]),
    "resourceId": cycle(["urn:altinn:resource:taxes"]),
    "externalIdentity": cycle(["urn:altinn:party:username:kari"]),
    "purpose": cycle(["login"]),
}
RECIPIENTS: Final[Mapping[str, Iterator[str]]] = {
    "sms": (f"+479{number}" for number in range(1_000_000, 9_999_999)),
    "email": (f"kari{number}@example.com" for number in range(9_999_999)),
}
EVERYBODY: Final = Contact(phone_numbers=["+4799999999"], email_addresses=["kari@example.com"])
TOGETHER: Final = re.compile(
    f"{rules.NO_SETTINGS.format(kind='.*', schema='.*')}|{rules.ACTION_ALONE}"
)
"""What is wrong with members together, which the document does not say."""


def with_real_ones(body: Any) -> Any:
    """The same with recipients that exist, and texts that can be sent."""
    if isinstance(body, list):
        return [with_real_ones(each) for each in body]
    if isinstance(body, str):
        return "".join(each if each.isprintable() else "?" for each in body).strip() or "x"
    if not isinstance(body, dict):
        return body
    real = {**REAL, "recipient": RECIPIENTS.get(str(body.get("channel")))}
    return {
        name: next(known)
        if (known := real.get(name)) and isinstance(value, str)
        else with_real_ones(value)
        for name, value in body.items()
    }


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    """The published one; who may call is a test of its own, so here nothing is said of it."""
    read: dict[str, Any] = client.get(f"{API}schema/").json()
    for methods in read["paths"].values():
        for operation in methods.values():
            del operation["security"]
    return read


@pytest.fixture
def operation(document: dict[str, Any], method: str, path: str) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(document)
    schema.app = get_wsgi_application()
    # As Django's own test client does: a request must not end the test's transaction.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield schema[path][method]
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def moody(stub: Any, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway takes what it is given, or does not; there are no limits; all have an address."""
    refused, down = fails(Rejected), fails(Unavailable, only_this_message=True)
    silent = fails(OutcomeUnknown, only_this_message=True)
    moods = cycle([take, take, refused, take, down, take, silent])

    def do(message: Message) -> Receipt:
        return next(moods)(message)

    stub.do = staticmethod(do)
    configure(
        LIMITS=dict.fromkeys(["creator", "recipient", "address", "prefix", "country"]),
        WAIT_FOR_DUPLICATE=0,
        OTP_RESEND_PAUSE=0,
    )
    monkeypatch.setattr(contacts, "look_up", lambda them: dict.fromkeys(them, EVERYBODY))


def ids_for(path: str) -> Iterator[str]:
    """Each of something that is there."""
    while True:
        if "challenge" not in path:
            placed = regular.order(creator="ttd")
            yield str(placed.order_id if "order_id" in path else placed.notification.shipment_id)
            continue
        with suppress(HandoverFailed):
            yield str(otp.issue(next(RECIPIENTS["sms"]), purpose="login", creator="ttd").pk)


@pytest.mark.usefixtures("moody")
@every_operation
def test_what_the_document_allows_is_done(method: str, path: str, operation: Any) -> None:
    answered = Counter[int]()
    ids = ids_for(path)
    headers = {"Authorization": f"Bearer {tokens.issue('ttd')}"}

    @bounded
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def ask(case: Any) -> None:
        case.body = with_real_ones(case.body)
        case.path_parameters = {name: next(ids) for name in case.path_parameters}
        response = case.call(headers=headers)
        answered[response.status_code] += 1
        assert response.status_code != 500
        case.validate_response(response, checks=AS_DOCUMENTED)
        faults = response.json().get("errors", {}) if response.status_code == 400 else {}
        assert all(TOGETHER.fullmatch(each) for said in faults.values() for each in said)

    ask()
    assert set(answered) >= OPERATIONS[method, path]


@pytest.mark.usefixtures("moody")
@every_operation
def test_what_it_forbids_is_refused(method: str, path: str, operation: Any, stub: Any) -> None:
    answered = Counter[int]()
    ids = ids_for(path)
    headers = {"Authorization": f"Bearer {tokens.issue('ttd')}"}

    @bounded
    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def ask(case: Any) -> None:
        if is_wrong(case, ParameterLocation.BODY):
            case.path_parameters = {name: next(ids) for name in case.path_parameters}
        response = case.call(headers=headers)
        answered[response.status_code] += 1
        strict = [] if holds_nothing(case.body) else [checks.negative_data_rejection]
        case.validate_response(response, checks=AS_DOCUMENTED + strict)

    ask()
    assert 500 not in answered
    assert answered[400] or answered[404]


def is_wrong(case: Any, location: ParameterLocation) -> bool:
    component = case.meta.components.get(location)
    return component is not None and component.mode is GenerationMode.NEGATIVE


def holds_nothing(body: Any) -> bool:
    """Somewhere: what is null or blank counts as absent, which the document does not say."""
    if isinstance(body, dict):
        return any(map(holds_nothing, body.values()))
    if isinstance(body, list):
        return any(map(holds_nothing, body))
    return body is None or (isinstance(body, str) and not body.strip())


@every_operation
@each_kind
def test_who_does_not_say_who_they_are_learns_nothing(
    kind: Any, method: str, path: str, operation: Any, stub: Any
) -> None:
    answered = Counter[int]()

    @settings(bounded, max_examples=4)
    @given(case=operation.as_strategy(generation_mode=kind))
    def ask(case: Any) -> None:
        response = case.call()
        answered[response.status_code] += 1
        case.validate_response(response, checks=AS_DOCUMENTED)

    ask()
    assert set(answered) == {401}
    assert rows_left() == []
    assert stub.seen == []
