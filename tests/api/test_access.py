"""Contract §2: who may call, and that nothing else in a request or a host decides it."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from django.apps import apps
from django.conf import settings as django_settings
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import FormParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import StaticHTMLRenderer
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from instant_notifications import tokens
from instant_notifications.api import views
from instant_notifications.api.urls import urlpatterns
from instant_notifications.exceptions import Unavailable
from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery, IdempotencyRecord, Order, Shipment
from tests.api.conftest import (
    DEPRECATED,
    EMAIL,
    FEED,
    ORDER,
    ROUTES,
    SMS,
    Route,
    cancel_path,
    every_route,
    invalid,
    post,
    problem,
    shipment_path,
)
from tests.conftest import API
from tests.outcomes import fails, rows_left
from tests.stub import take
from tests.threads import in_thread

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Call = Callable[..., Any]

NOBODYS = "018f0000-0000-7000-8000-000000000000"
SHIPMENT = f"{API}future/shipment/{NOBODYS}"
NO_ORDER = f"{ORDER.path}/{NOBODYS}"
CANCELLATIONS = (cancel_path(NO_ORDER), cancel_path(SHIPMENT))
CALLS: dict[str, Call] = {
    **{
        f"{route} {kind}": lambda client, route=route, body=body, **headers: post(
            client, route, body, **headers
        )
        for route in (*ROUTES, ORDER)
        for kind, body in {"good": None, "invalid": b"{}", "not json": b"\xff"}.items()
    },
    **{
        f"{route} as text": lambda client, route=route, **headers: post(
            client, route, content_type="text/plain", **headers
        )
        for route in (*ROUTES, ORDER)
    },
    "shipment": lambda client, **headers: client.get(SHIPMENT, **headers),
    "shipment not a uuid": lambda client, **headers: client.get(
        f"{API}future/shipment/x", **headers
    ),
    "order chain": lambda client, **headers: client.get(NO_ORDER, **headers),
    "order chain not a uuid": lambda client, **headers: client.get(f"{ORDER.path}/x", **headers),
    **{
        f"cancel {path}": lambda client, path=path, **headers: client.put(path, **headers)
        for path in (*CANCELLATIONS, f"{ORDER.path}/x/cancel", f"{API}orders/x/cancel")
    },
    "feed": lambda client, **headers: client.get(FEED, **headers),
    "feed badly asked": lambda client, **headers: client.get(f"{FEED}?seq=x", **headers),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def token(key: str = "", algorithm: str = "HS256", **claims: Any) -> str:
    """A good token but for what is named; ``...`` takes a claim out."""
    good = {
        "iss": "instant-notifications",
        "exp": int(time()) + 60,
        "urn:altinn:org": "ttd",
        "scope": tokens.SCOPE,
    }
    chosen = {name: value for name, value in (good | claims).items() if value is not ...}
    return jwt.encode(chosen, key or django_settings.SECRET_KEY, algorithm=algorithm)


def _without_signature() -> str:
    _, payload, _ = token().split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{none}.{payload}."


UNKNOWN_CALLERS: dict[str, Callable[[], str | None]] = {
    "nothing": lambda: None,
    "blank": lambda: "",
    "only the scheme": lambda: "Bearer",
    "no token": lambda: "Bearer ",
    "not a token": lambda: "Bearer x.y.z",
    "not ascii": lambda: "Bearer æ",
    "too long": lambda: "Bearer " + "x" * 100_000,
    "token without scheme": token,
    "another scheme": lambda: f"Token {token()}",
    "basic": lambda: "Basic " + base64.b64encode(b"admin:admin").decode(),
    "two tokens": lambda: f"Bearer {token()} {token()}",
    "another key": lambda: f"Bearer {token('k' * 40)}",
    "another algorithm": lambda: f"Bearer {token(algorithm='HS384')}",
    "changed signature": lambda: f"Bearer {token()[:-4]}AAAA",
    "alg none": lambda: f"Bearer {jwt.encode({'exp': time() + 60}, None, algorithm='none')}",
    "alg none over good claims": lambda: f"Bearer {_without_signature()}",
    "expired": lambda: f"Bearer {token(exp=int(time()) - 11)}",
    "without expiry": lambda: f"Bearer {token(exp=...)}",
    "not valid yet": lambda: f"Bearer {token(nbf=int(time()) + 60)}",
    "another issuer": lambda: f"Bearer {token(iss='elsewhere')}",
    "no issuer": lambda: f"Bearer {token(iss=...)}",
}
FORBIDDEN_CALLERS: dict[str, dict[str, Any]] = {
    "no scope": {"scope": ...},
    "blank scope": {"scope": ""},
    "another scope": {"scope": "altinn:serviceowner/notifications"},
    "longer scope": {"scope": f"{tokens.SCOPE}.all"},
    "scope in capitals": {"scope": tokens.SCOPE.upper()},
    "scope as a list": {"scope": [tokens.SCOPE]},
    "altinn's claim overrules": {"urn:altinn:scope": "other"},
    "no organisation": {"urn:altinn:org": ...},
    "null organisation": {"urn:altinn:org": None},
    "blank organisation": {"urn:altinn:org": ""},
    "organisation is a number": {"urn:altinn:org": 42},
    "organisation is a list": {"urn:altinn:org": ["ttd"]},
    "organisation under another name": {"urn:altinn:org": ..., "org": "ttd", "sub": "ttd"},
}


@pytest.mark.parametrize("authorization", UNKNOWN_CALLERS.values(), ids=UNKNOWN_CALLERS)
def test_an_unknown_caller_gets_401_whatever_the_request(
    authorization: Callable[[], str | None], stub: Any
) -> None:
    header = authorization()
    headers = {} if header is None else {"HTTP_AUTHORIZATION": header}
    for name, call in CALLS.items():
        answer = call(APIClient(raise_request_exception=False), **headers)
        assert (name, answer.status_code) == (name, 401)
        problem(answer, 401)
        assert answer["WWW-Authenticate"] == "Bearer"
    assert stub.seen == []
    assert rows_left() == []


@pytest.mark.parametrize("claims", FORBIDDEN_CALLERS.values(), ids=FORBIDDEN_CALLERS)
def test_a_caller_without_scope_or_organisation_gets_403_whatever_the_request(
    claims: dict[str, Any], stub: Any
) -> None:
    header = f"Bearer {token(**claims)}"
    for name, call in CALLS.items():
        answer = call(APIClient(raise_request_exception=False), HTTP_AUTHORIZATION=header)
        assert (name, answer.status_code) == (name, 403)
        problem(answer, 403)
        assert "WWW-Authenticate" not in answer
    assert stub.seen == []
    assert rows_left() == []


@pytest.mark.parametrize(
    "name", ["   ", "a\x00b", "\ud800", "x" * 256], ids=["blank", "NUL", "surrogate", "long"]
)
def test_an_organisation_that_is_no_name_is_no_organisation(name: str, stub: Any) -> None:
    header = f"Bearer {token(**{'urn:altinn:org': name})}"
    for call in CALLS.values():
        problem(call(APIClient(raise_request_exception=False), HTTP_AUTHORIZATION=header), 403)
    assert rows_left() == []


@pytest.mark.parametrize(
    "header",
    [
        lambda: f"Bearer {token()}",
        lambda: f"bearer {token()}",
        lambda: f"BEARER  {token()}",
        lambda: f"Bearer {token(exp=int(time()) - 5)}",
        lambda: f"Bearer {token(**{'urn:altinn:scope': f'a {tokens.SCOPE} b', 'scope': ...})}",
        lambda: f"Bearer {token(scope=f'a {tokens.SCOPE}')}",
    ],
    ids=["plain", "lower", "upper", "within leeway", "altinn's claim", "several scopes"],
)
def test_a_good_token_is_let_in(header: Callable[[], str], stub: Any) -> None:
    assert post(APIClient(), SMS, HTTP_AUTHORIZATION=header()).status_code == 201


def test_a_good_token_is_worth_nothing_without_the_key_that_made_it(
    stub: Any, configure: Configure
) -> None:
    header = f"Bearer {token()}"
    configure(TOKEN_SIGNING_KEY="")
    problem(post(APIClient(), SMS, HTTP_AUTHORIZATION=header), 401)


@every_route
def test_a_foreign_shipment_is_as_unknown_as_any_other(
    route: Route, client_of: Any, stub: Any
) -> None:
    ours, theirs = client_of("ttd"), client_of("skd")
    shipment = shipment_path(post(ours, route))
    assert ours.get(shipment).status_code == 200
    nobodys = [theirs.get(path) for path in (shipment, SHIPMENT, f"{API}future/shipment/nonsense")]
    bodies = [problem(answer, 404, "NOT-00003") for answer in nobodys]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["title"] == "Shipment not found"
    assert [dict(answer.headers) for answer in nobodys[1:]] == [dict(nobodys[0].headers)] * 2


@pytest.mark.parametrize(
    "name", ["x", "0", "feeds", "%00", "%ff", "..", "'", "null", "9" * 5000, "é", "a b"]
)
def test_what_is_no_shipment_id_is_404(name: str, api: Any) -> None:
    problem(api.get(f"{API}future/shipment/{name}"), 404, "NOT-00003")


def test_each_organisation_sees_its_own_feed(client_of: Any, stub: Any) -> None:
    stub.do = lambda message: Receipt(status="SMS_Delivered")
    sent = {name: post(client_of(name), SMS).json() for name in ("ttd", "skd")}
    for name, body in sent.items():
        (entry,) = client_of(name).get(FEED).json()
        assert entry["shipmentId"] == body["notification"]["shipmentId"]
        assert entry["sequenceNumber"] == 1
    assert client_of("nav").get(FEED).json() == []


@pytest.mark.parametrize("route", [*ROUTES, ORDER], ids=str)
def test_only_the_token_names_the_organisation(route: Route, client_of: Any, stub: Any) -> None:
    names = ("creator", "org", "organisation", "urn:altinn:org", "X-Organisation")
    request = route.request() | dict.fromkeys(names, "skd")
    headers = {f"HTTP_{name.upper()}": "skd" for name in ("CREATOR", "ORG", "X_ORG", "X_CREATOR")}
    query = "&".join(f"{name}=skd" for name in names)
    asked = Route(route.name, f"{route.path}?{query}", route.request, route.channel)
    shipment = shipment_path(post(client_of("ttd"), asked, request, **headers))
    assert set(Shipment.objects.values_list("creator", flat=True)) == {"ttd"}
    assert set(Order.objects.values_list("creator", flat=True)) == {"ttd"}
    assert set(IdempotencyRecord.objects.values_list("creator", flat=True)) == {"ttd"}
    other = client_of("skd")
    assert client_of("ttd").get(f"{shipment}?{query}", **headers).status_code == 200
    assert other.get(shipment.replace("skd", "ttd"), **headers).status_code == 404


METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
# Pushed receipts are let in by their gateway's own file; see tests/test_webhooks.py.
OPEN_ROUTES = {"delivery-reports/<str:gateway>"}
if apps.is_installed("drf_spectacular"):
    OPEN_ROUTES |= {"schema/", "schema/swagger/"}


def routes_answering_strangers(
    patterns: Sequence[URLPattern | URLResolver], prefix: str = ""
) -> Iterator[str]:
    """Every route that answers an anonymous request, by any method, with anything but 401."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes_answering_strangers(pattern.url_patterns, route)
            continue
        named = {name: str(uuid4()) for name in pattern.pattern.converters}
        for method in METHODS:
            request = APIRequestFactory().generic(method.upper(), "/", b"{}")
            if pattern.callback(request, **named).status_code != 401:
                yield route
                break


def test_no_route_answers_a_stranger() -> None:
    assert set(routes_answering_strangers(urlpatterns)) == OPEN_ROUTES
    assert len(urlpatterns) > len(OPEN_ROUTES)


def test_a_route_left_open_would_be_noticed() -> None:
    class Open(views.FeedView):
        permission_classes = [AllowAny]

        def get(self, request: Any) -> Response:
            return Response([])

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    patterns = [path("feed", Open.as_view()), path("page/<str:name>", lambda r, name: page(r))]
    assert list(routes_answering_strangers(patterns)) == ["feed", "page/<str:name>"]


def broken_handler(exception: Exception, context: Any) -> Response:
    return Response("broken", status=299)


class NoNegotiation(DefaultContentNegotiation):
    pass


HOSTILE_REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.FormParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.StaticHTMLRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "tests.api.test_access.NoNegotiation",
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"anon": "1/day", "user": "1/day"},
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "ALLOWED_VERSIONS": ["9"],
    "DEFAULT_SCHEMA_CLASS": "rest_framework.schemas.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tests.api.test_access.broken_handler",
    "NON_FIELD_ERRORS_KEY": "nothing",
    "UNAUTHENTICATED_USER": None,
    "UNICODE_JSON": False,
    "STRICT_JSON": False,
    "COMPACT_JSON": False,
    "PAGE_SIZE": 1,
    "URL_FORMAT_OVERRIDE": "format",
    "DATETIME_FORMAT": "%Y",
    "COERCE_DECIMAL_TO_STRING": False,
}


@pytest.fixture
def hostile_host(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a host may set for its own API: read late, or when the view classes are made."""
    settings.REST_FRAMEWORK = HOSTILE_REST_FRAMEWORK
    for name, value in {
        "authentication_classes": [],
        "permission_classes": [AllowAny],
        "parser_classes": [FormParser],
        "renderer_classes": [StaticHTMLRenderer],
        "content_negotiation_class": NoNegotiation,
    }.items():
        monkeypatch.setattr(APIView, name, value)


@pytest.mark.usefixtures("hostile_host")
def test_the_hosts_rest_framework_settings_change_nothing(api: Any, stub: Any) -> None:
    first, second = post(api, SMS, SMS.request(sendersReference="ærlig")), post(api, SMS)
    assert (first.status_code, second.status_code) == (201, 200)
    assert "ærlig" in first.content.decode()
    assert first["Content-Type"] == "application/json"
    for asked in (shipment_path(first), f"{shipment_path(first)}?format=api"):
        assert api.get(asked).json()["lastUpdate"].endswith("Z")
    assert api.get(FEED).json() == []
    assert invalid(post(api, EMAIL, b"[]")) == {"$": ["Expected an object."]}
    problem(post(api, EMAIL, content_type="application/x-www-form-urlencoded"), 415)
    problem(api.get(SMS.path), 405)
    problem(api.options(FEED), 405)
    problem(api.get(SHIPMENT), 404, "NOT-00003")
    stub.do = fails(Unavailable)
    problem(post(api, DEPRECATED, DEPRECATED.request(idempotencyId="id-2")), 503, "NOT-00004")
    assert len(stub.seen) == 2
    placed = post(api, ORDER)
    assert placed.status_code == 201
    assert api.get(placed["Location"]).json()["created"].endswith("Z")
    assert api.put(cancel_path(placed["Location"])).status_code == 200
    problem(api.get(NO_ORDER), 404, "NOT-00003")


@pytest.mark.usefixtures("hostile_host")
def test_the_hosts_rest_framework_settings_let_nobody_in(client_of: Any, stub: Any) -> None:
    for call in CALLS.values():
        assert problem(call(APIClient()), 401)["status"] == 401
        assert problem(call(client_of(scope="other")), 403)["status"] == 403
    assert set(routes_answering_strangers(urlpatterns)) == OPEN_ROUTES
    assert rows_left() == []


@pytest.mark.urls("tests.api.urls_elsewhere")
@pytest.mark.parametrize("mount", ["/elsewhere/", "/outer/deep/"])
def test_addresses_follow_the_mount(mount: str, api: Any, stub: Any) -> None:
    def at(route: Route) -> Route:
        return Route(route.name, route.path.replace(API, mount), route.request, route.channel)

    answer = post(api, at(DEPRECATED))
    shipment_id = answer.json()["notification"]["shipmentId"]
    assert answer["Location"] == f"http://testserver{mount}future/shipment/{shipment_id}"
    assert answer["Link"].startswith(f"<{mount}future/orders/instant/sms>;")
    assert api.get(answer["Location"]).status_code == 200
    assert post(api, at(SMS))["Location"] == answer["Location"]
    assert api.get(f"{mount}future/shipment/feed").json() == []
    problem(post(APIClient(), at(EMAIL)), 401)


@pytest.fixture
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("atomic_requests")
@every_route
def test_atomic_requests_do_not_keep_the_reservation_from_being_committed(
    route: Route, api: Any, stub: Any
) -> None:
    committed: list[tuple[int, int]] = []

    def look(message: Message) -> Receipt:
        counts = (
            IdempotencyRecord.objects.count,
            Delivery.objects.filter(handover="under_way", lease_until__isnull=False).count,
        )
        committed.append(in_thread(lambda: tuple(count() for count in counts)))
        return take(message)

    stub.do = look
    assert post(api, route).status_code == 201
    assert committed == [(1, 1)]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "nonsense", "", "*"])
def test_there_is_only_json_to_have(accept: str, api: Any, stub: Any) -> None:
    answer = post(api, SMS, HTTP_ACCEPT=accept)
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert api.get(answer["Location"], HTTP_ACCEPT=accept)["Content-Type"] == "application/json"
    problem(api.get(SHIPMENT, HTTP_ACCEPT=accept), 404, "NOT-00003")


TRACE = "0af7651916cd43dd8448eb211c80319c"


@every_call
def test_the_callers_trace_id_is_used(call: Call) -> None:
    answer = call(APIClient(), HTTP_TRACEPARENT=f"00-{TRACE}-b7ad6b7169203331-01")
    assert answer.json()["traceId"] == TRACE


@pytest.mark.parametrize(
    "given", ["", "x", f"00-{TRACE}", f"00-{TRACE.upper()}-b7ad6b7169203331-01"]
)
def test_a_malformed_trace_header_is_ignored(given: str) -> None:
    first, second = (APIClient().get(FEED, HTTP_TRACEPARENT=given).json() for _ in range(2))
    assert first["traceId"] != second["traceId"]
    assert TRACE not in json.dumps(first).lower()


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "options"])
@every_route
def test_another_method_is_405(route: Route, method: str, api: Any, stub: Any) -> None:
    answer = getattr(api, method)(route.path)
    problem(answer, 405)
    assert "POST" in answer["Allow"]
    assert rows_left() == []


def test_an_order_is_only_posted(api: Any) -> None:
    for method in ("get", "put", "patch", "delete", "options"):
        answer = getattr(api, method)(ORDER.path)
        problem(answer, 405)
        assert "POST" in answer["Allow"]


@pytest.mark.parametrize("path_", CANCELLATIONS, ids=["order", "shipment"])
@pytest.mark.parametrize("method", ["get", "post", "patch", "delete", "options"])
def test_what_cancels_is_only_put(path_: str, method: str, api: Any) -> None:
    answer = getattr(api, method)(path_)
    problem(answer, 405)
    assert "PUT" in answer["Allow"]


@pytest.mark.parametrize("path_", [SHIPMENT, FEED, NO_ORDER], ids=["shipment", "feed", "order"])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
def test_reading_is_all_that_can_be_done_there(path_: str, method: str, api: Any) -> None:
    problem(getattr(api, method)(path_), 405)


@pytest.mark.parametrize("route", [*ROUTES, ORDER], ids=str)
@pytest.mark.parametrize("checked_early", [True, False], ids=["middleware", "no middleware"])
def test_a_forged_host_is_refused_before_anything_is_sent(
    route: Route, checked_early: bool, api: Any, stub: Any, settings: Any
) -> None:
    if not checked_early:
        settings.MIDDLEWARE = []
    answer = post(api, route, HTTP_HOST="evil.example")
    assert answer.status_code == 400
    assert stub.seen == []
    assert rows_left() == []
    if not checked_early:
        problem(answer, 400)


@pytest.mark.parametrize(
    ("at", "call"),
    [
        *[("orders.send", CALLS[f"{route} good"]) for route in ROUTES],
        ("orders.place", CALLS["order good"]),
        ("orders.read_order", CALLS["order chain"]),
        ("orders.cancel_order", CALLS[f"cancel {CANCELLATIONS[0]}"]),
        ("orders.cancel_shipment", CALLS[f"cancel {CANCELLATIONS[1]}"]),
        ("feed.read_manifest", CALLS["shipment"]),
        ("feed.read_feed", CALLS["feed"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bug_answers_a_trace_id_and_nothing_else(
    at: str, call: Call, api: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def bug(*args: Any, **named: Any) -> None:
        raise RuntimeError("secret +4799999999")

    monkeypatch.setattr(f"instant_notifications.{at}", bug)
    answer = call(api)
    assert set(problem(answer, 500)) == {"type", "title", "status"}
    assert answer.json()["traceId"] in caplog.text
    assert "secret" not in answer.content.decode() + caplog.text
