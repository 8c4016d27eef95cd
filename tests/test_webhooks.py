"""Pushed receipts: who is let in, what is read, what is answered, and that nothing leaks."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connections
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from instant_notifications import tokens, webhooks
from instant_notifications.exceptions import NotConfigured
from instant_notifications.gateways import BaseGateway, Receipt, UnreadableReceipts, base
from instant_notifications.models import Delivery, FeedEntry, StatusEvent, UnmatchedReceipt
from instant_notifications.orders import send_email, send_sms
from instant_notifications.receipts import record_receipt
from instant_notifications.signals import status_changed
from instant_notifications.statuses import Channel
from tests.conftest import API
from tests.outcomes import rows_left
from tests.stub import StubGateway
from tests.threads import at_once, in_thread

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("simulator")]

Configure = Callable[..., None]

COPIES = 46
NUMBER = "+4791824321"
CODE = "ZK7W2Q"
PASSWORD = "let-me-in~?>~~~"
"""Its Base64 holds a slash, a plus and padding."""

SIMULATOR = "instant_notifications.simulator.gateway.SimulatorGateway"
HERE = "tests.test_webhooks"


def basic(pair: str | bytes, scheme: str = "Basic") -> str:
    raw = pair.encode() if isinstance(pair, str) else pair
    return f"{scheme} {base64.b64encode(raw).decode()}"


GOOD = basic(f"simulator:{PASSWORD}")
BARE = GOOD.removeprefix("Basic ")


class Told(BaseGateway):
    """A gateway that trusts, reads and answers as a test tells it."""

    channels = frozenset(Channel)
    trusts: ClassVar[Callable[[HttpRequest], Any]] = lambda request: True
    reads: ClassVar[Callable[[HttpRequest], Any]] = lambda request: []
    answers: ClassVar[Callable[[Any], Any]] = lambda receipts: HttpResponse("OK", status=202)

    def authenticates(self, request: HttpRequest) -> Any:
        return type(self).trusts(request)

    def read_receipts(self, request: HttpRequest) -> Any:
        return type(self).reads(request)

    def acknowledge(self, receipts: Any) -> Any:
        return type(self).answers(receipts)


class Needy(BaseGateway):
    def __init__(self, alias: str, *, url: str) -> None:
        super().__init__(alias)


class Choosy(BaseGateway):
    def __init__(self, alias: str) -> None:
        raise ValueError(f"no good: {CODE}")


def simulated(**options: Any) -> dict[str, Any]:
    return {"BACKEND": SIMULATOR, "OPTIONS": {"deliver_after": None, **options}}


@pytest.fixture
def simulator(configure: Configure) -> Iterator[None]:
    """Messages go by the simulator, whose receipts have a password; others stand beside it."""
    configure(
        GATEWAYS={
            "simulator": simulated(receipts_password=PASSWORD),
            "other": simulated(receipts_password="another-password"),
            "silent": simulated(),
            "mail": {"BACKEND": "instant_notifications.gateways.mail.MailGateway"},
            "stub": {"BACKEND": "tests.stub.StubGateway"},
            "told": {"BACKEND": f"{HERE}.Told"},
        },
        ROUTES={"sms": ["simulator"], "email": ["simulator"]},
    )
    yield
    StubGateway.seen.clear()


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Tells the gateway ``told`` what to do."""

    def change(**steps: Callable[..., Any]) -> None:
        for name, step in steps.items():
            monkeypatch.setattr(Told, name, staticmethod(step))

    return change


def raising(error: Exception) -> Callable[..., Any]:
    def step(*args: Any, **named: Any) -> Any:
        raise error

    return step


def push(
    body: Any,
    *,
    to: str = "simulator",
    authorization: str | None = GOOD,
    client: Client | None = None,
    method: str = "POST",
    at: str = API,
    **headers: Any,
) -> Any:
    """The answer to a push of receipts; ``bytes`` go as they are."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    if authorization is not None:
        headers["HTTP_AUTHORIZATION"] = authorization
    headers.setdefault("content_type", "application/json")
    client = client or Client(raise_request_exception=False)
    return client.generic(method, f"{at}delivery-reports/{to}", raw, **headers)


def a_delivery(body: str = "hello") -> Delivery:
    """A message that the simulator has taken."""
    send_sms(NUMBER, body)
    return Delivery.objects.latest("pk")


def delivered(delivery: Delivery, **members: Any) -> dict[str, Any]:
    """A receipt as the simulator reads it."""
    good = {"reference": delivery.gateway_reference, "status": "SMS_Delivered", "word": "DELIVRD"}
    return good | members


def everything() -> list[Any]:
    """All that receipts may write."""
    tables = (Delivery, StatusEvent, FeedEntry, UnmatchedReceipt)
    return [list(table.objects.order_by("pk").values()) for table in tables]


def refused(answer: Any, status: int) -> None:
    assert answer.status_code == status
    assert answer.content == b""


def to_come_again(answer: Any) -> None:
    refused(answer, 503)
    assert int(answer["Retry-After"]) > 0


# Who is let in


@pytest.mark.parametrize(
    "header", [GOOD, f"basic {BARE}", f"BASIC {BARE}", f"Basic   {BARE}", f"Basic {BARE}  "]
)
def test_who_knows_the_password_is_let_in(header: str) -> None:
    delivery = a_delivery()
    answer = push(delivered(delivery), authorization=header)
    assert (answer.status_code, answer.content) == (204, b"")
    assert Delivery.objects.get().status == "SMS_Delivered"


STRANGERS: dict[str, str | None] = {
    "nothing": None,
    "blank": "",
    "only the scheme": "Basic",
    "no credentials": "Basic ",
    "another password": basic("simulator:open sesame"),
    "longer password": basic(f"simulator:{PASSWORD}x"),
    "shorter password": basic(f"simulator:{PASSWORD[:-1]}"),
    "password in capitals": basic(f"simulator:{PASSWORD.upper()}"),
    "password and a line break": basic(f"simulator:{PASSWORD}\n"),
    "password and NUL": basic(f"simulator:{PASSWORD}\0"),
    "blank password": basic("simulator:"),
    "no password": basic("simulator"),
    "only a colon": basic(":"),
    "another user": basic(f"other:{PASSWORD}"),
    "user in capitals": basic(f"Simulator:{PASSWORD}"),
    "user and a blank": basic(f"simulator :{PASSWORD}"),
    "blank user": basic(f":{PASSWORD}"),
    "user and password changed over": basic(f"{PASSWORD}:simulator"),
    "two users": basic(f"simulator:simulator:{PASSWORD}"),
    "bearer": f"Bearer {BARE}",
    "digest": f"Digest {BARE}",
    "no scheme": BARE,
    "the scheme twice": f"Basic {GOOD}",
    "a longer scheme": f"Basics {BARE}",
    "a long s": f"Ba\u017fic {BARE}",
    "full width": f"\uff22asic {BARE}",
    "a tab": f"Basic\t{BARE}",
    "in clear": f"Basic simulator:{PASSWORD}",
    "not base64": "Basic %%%",
    "base64 of nothing": "Basic ====",
    "base64 of no text": basic(b"\xff\xfe\x00"),
    "without padding": GOOD.rstrip("="),
    "with more padding": f"{GOOD}==",
    "another alphabet": GOOD.replace("+", "-").replace("/", "_"),
    "base64 in capitals": f"Basic {BARE.upper()}",
    "broken in two": f"Basic {BARE[:8]}\r\n {BARE[8:]}",
    "twice": f"{GOOD}, {GOOD}",
    "huge": f"Basic {'A' * 1_000_000}",
    "right at first": f"{GOOD}{'A' * 100_000}",
    "not ascii": "Basic æøå",
    "NUL": f"Basic {BARE}\0",
}
each_stranger = pytest.mark.parametrize("header", STRANGERS.values(), ids=STRANGERS)


def test_the_password_puts_base64_to_the_test() -> None:
    assert {"+", "/", "="}.issubset(BARE)


@each_stranger
def test_a_stranger_gets_401_and_changes_nothing(header: str | None) -> None:
    delivery = a_delivery()
    before = everything()
    for body in (delivered(delivery), b"{"):
        answer = push(body, authorization=header)
        refused(answer, 401)
        assert answer["WWW-Authenticate"].startswith("Basic ")
    assert everything() == before


def test_every_stranger_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    compare = base.constant_time_compare
    monkeypatch.setattr(
        base, "constant_time_compare", lambda *both: compared.append(both) or compare(*both)
    )
    for header in STRANGERS.values():
        refused(push({}, authorization=header), 401)
    assert len(compared) == len(STRANGERS)
    assert all(BARE in both for both in compared)


def test_a_header_that_cannot_be_compared_lets_nobody_in() -> None:
    refused(push({}, authorization="Basic \ud800"), 401)


@pytest.mark.parametrize("password", ["", None, ...], ids=["blank", "none", "left out"])
@pytest.mark.parametrize("pair", ["simulator:", "simulator", ":", "", "simulator:None"])
def test_a_blank_password_lets_nobody_in(password: Any, pair: str, configure: Configure) -> None:
    options = {} if password is ... else {"receipts_password": password}
    configure(GATEWAYS={"simulator": simulated(**options)})
    delivery = a_delivery()
    before = everything()
    for header in (basic(pair), None, ""):
        refused(push(delivered(delivery), authorization=header), 401)
    assert everything() == before


def test_each_gateway_has_a_password_of_its_own() -> None:
    delivery = a_delivery()
    theirs = basic("simulator:another-password")
    refused(push(delivered(delivery), authorization=theirs), 401)
    refused(push(delivered(delivery), to="other"), 401)
    assert push(delivered(delivery), to="other", authorization=theirs).status_code == 204
    assert Delivery.objects.get().status == "SMS_Accepted"
    assert UnmatchedReceipt.objects.get().gateway == "other"


def test_an_api_token_does_not_let_receipts_in() -> None:
    delivery = a_delivery()
    for organisation in ("ttd", "simulator", "local"):
        header = f"Bearer {tokens.issue(organisation)}"
        refused(push(delivered(delivery), authorization=header), 401)
    assert Delivery.objects.get().status == "SMS_Accepted"


@pytest.mark.parametrize("path", ["feed", "01900000-0000-7000-8000-000000000001"])
def test_what_lets_receipts_in_does_not_open_the_api(path: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=GOOD)
    assert client.get(f"{API}future/shipment/{path}").status_code == 401
    for kind in ("sms", "email"):
        asked = client.post(f"{API}future/orders/instant/{kind}", {}, format="json")
        assert asked.status_code == 401
    assert rows_left() == []


@pytest.mark.parametrize("alias", ["mail", "stub", "silent"])
@pytest.mark.parametrize("header", [GOOD, basic(":"), basic("mail:"), basic("stub:stub"), None])
def test_a_gateway_without_receipts_lets_nobody_in(alias: str, header: str | None) -> None:
    for body in ([], {"reference": "x", "status": "SMS_Delivered"}, b"", b"not json"):
        refused(push(body, to=alias, authorization=header), 401)
    assert rows_left() == []


BREAKDOWNS = [
    RuntimeError(CODE),
    KeyError(CODE),
    RecursionError(CODE),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, CODE),
    UnreadableReceipts(CODE),
    NotConfigured(CODE),
    PermissionDenied(CODE),
    SuspiciousOperation(CODE),
    Http404(CODE),
    OperationalError(CODE),
    AssertionError(CODE),
]
each_breakdown = pytest.mark.parametrize(
    "error", BREAKDOWNS, ids=lambda error: type(error).__name__
)


@each_breakdown
def test_who_cannot_be_examined_is_not_let_in(error: Exception, tell: Any) -> None:
    tell(trusts=raising(error), reads=lambda request: [Receipt(gateway_reference="x")])
    refused(push([], to="told"), 401)
    assert rows_left() == []


def test_each_401_names_the_scheme(tell: Any) -> None:
    tell(trusts=raising(RuntimeError()))
    assert "WWW-Authenticate" in push([], to="told")


@pytest.mark.parametrize(
    "said", [False, None, 0, 1, "", "yes", [True], {"ok": True}, NotImplemented, HttpRequest()]
)
def test_only_a_plain_true_lets_in(said: Any, tell: Any) -> None:
    tell(trusts=lambda request: said, reads=lambda request: [Receipt(gateway_reference="x")])
    refused(push([], to="told"), 401)
    assert rows_left() == []


def test_nothing_is_read_before_the_sender_is_known(tell: Any) -> None:
    read: list[HttpRequest] = []
    tell(trusts=lambda request: False, reads=read.append)
    refused(push([], to="told"), 401)
    assert read == []


def test_a_signature_of_the_body_can_be_examined(tell: Any) -> None:
    tell(
        trusts=lambda request: request.body == b"signed",
        reads=lambda request: [Receipt(gateway_reference=request.body.decode())],
    )
    refused(push(b"forged", to="told"), 401)
    assert push(b"signed", to="told").status_code == 202
    assert UnmatchedReceipt.objects.get().gateway_reference == "signed"


# Which gateway


@pytest.mark.parametrize("header", [GOOD, None], ids=["known", "stranger"])
@pytest.mark.parametrize(
    "alias",
    [
        "nobody",
        "Simulator",
        "SIMULATOR",
        "simulator%20",
        "simulator%0A",
        "simulator%00",
        "%00",
        "%ff",
        "é",
        "%F0%9F%98%80",
        "..",
        "__class__",
        "'",
        "<script>",
        "x" * 5_000,
    ],
)
def test_an_unknown_gateway_is_404(alias: str, header: str | None, settings: Any) -> None:
    for debug in (False, True):
        settings.DEBUG = debug
        refused(push({"reference": "x"}, to=alias, authorization=header), 404)
    assert rows_left() == []


@pytest.mark.parametrize("alias", ["", "/", "simulator/", "simulator/x"])
def test_what_is_not_the_route_is_404(alias: str) -> None:
    assert push({"reference": "x"}, to=alias).status_code == 404
    assert rows_left() == []


MISCONFIGURED: dict[str, Any] = {
    "an option it does not know": simulated(nonsense=CODE),
    "an option it misses": {"BACKEND": f"{HERE}.Needy"},
    "options that are none": {"BACKEND": SIMULATOR, "OPTIONS": 5},
    "no backend": {"OPTIONS": {}},
    "nothing": {},
    "a path": SIMULATOR,
    "null": None,
    "a backend that is nowhere": {"BACKEND": "no.such.Gateway"},
    "a backend without a module": {"BACKEND": "Gateway"},
    "a backend of another kind": {"BACKEND": "builtins.dict"},
    "a backend that is no class": {"BACKEND": "tests.stub.take"},
}


@pytest.mark.parametrize("configured", MISCONFIGURED.values(), ids=MISCONFIGURED)
def test_a_misconfigured_gateway_has_its_receipts_come_again(
    configured: Any, configure: Configure, settings: Any, caplog: Any
) -> None:
    configure(GATEWAYS={"broken": configured})
    settings.DEBUG = True
    for header in (GOOD, None):
        to_come_again(push({"reference": "x"}, to="broken", authorization=header))
    assert rows_left() == []
    assert "gateway=broken" in caplog.text
    assert CODE not in caplog.text


def test_a_gateway_that_cannot_be_made_has_its_receipts_come_again(configure: Configure) -> None:
    configure(GATEWAYS={"broken": {"BACKEND": f"{HERE}.Choosy"}})
    to_come_again(push({"reference": "x"}, to="broken", authorization=None))


@pytest.mark.parametrize("header", [GOOD, None], ids=["known", "stranger"])
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
)
def test_any_other_method_is_405(method: str, header: str | None) -> None:
    for alias in ("simulator", "mail", "nobody"):
        answer = push({"reference": "x"}, to=alias, method=method, authorization=header)
        refused(answer, 405)
        assert answer["Allow"] == "POST"
        assert rows_left() == []


# What is read


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(configure: Configure) -> None:
    configure(MAX_REQUEST_BYTES=200)
    assert push(b"{}" + b" " * 198).status_code == 204
    UnmatchedReceipt.objects.all().delete()
    refused(push(b"{}" + b" " * 199), 413)
    assert rows_left() == []


@pytest.mark.parametrize("header", [GOOD, None], ids=["known", "stranger"])
def test_djangos_own_limit_is_answered_alike(header: str | None, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    refused(push(b" " * 101, authorization=header), 413)
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
    refused(push(b" " * 1_000_001, authorization=header), 413)
    assert rows_left() == []


def test_the_announced_size_is_enough_to_be_refused(configure: Configure) -> None:
    refused(push(b"{}", CONTENT_LENGTH="99999999"), 413)
    refused(push(b"{}", CONTENT_LENGTH="9" * 100), 413)


@pytest.mark.parametrize("length", ["", "0", "-1"])
def test_a_push_without_a_length_is_a_push_without_a_body(length: str) -> None:
    refused(push(b'{"reference": "x"}', CONTENT_LENGTH=length), 400)
    assert rows_left() == []


@pytest.mark.parametrize("length", ["abc", "1.5", "1e3", "0x10", "\u00b2", "9" * 5_000])
def test_a_length_that_is_no_number_is_the_callers_fault(length: str) -> None:
    answer = push(b"{}", authorization=None, CONTENT_LENGTH=length)
    assert answer.status_code in range(400, 500)


class TornOff:
    def read(self, *args: Any) -> bytes:
        raise OSError("connection reset")

    readline = read


def test_a_body_that_does_not_arrive_whole_is_400() -> None:
    stream = {"wsgi.input": TornOff(), "CONTENT_LENGTH": "20"}
    for header in (GOOD, None):
        refused(push(b"", authorization=header, **stream), 400)
    assert rows_left() == []


class ReadsForms:
    """A host's middleware that looks at the form of each request."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.POST.get("x")
        return self.get_response(request)


FORMS = {
    "multipart/form-data; boundary=b": b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    b"1\r\n--b--\r\n",
    "application/x-www-form-urlencoded": b"a=1",
    "application/json": b"[1]",
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_form_that_a_middleware_has_read_is_no_bug_of_ours(kind: str, settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{HERE}.ReadsForms"]
    refused(push(FORMS[kind], authorization=None, content_type=kind), 401)
    refused(push(FORMS[kind], content_type=kind), 400)


UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "a blank": b" ",
    "a null": b"null",
    "a number": b"1",
    "a word": b'"SMS_Delivered"',
    "true": b"true",
    "not a number": b"NaN",
    "half an object": b'{"reference": "x"',
    "two objects": b"{}{}",
    "single quotes": b"{'reference': 'x'}",
    "a form": b"reference=x&status=SMS_Delivered",
    "xml": b"<receipts/>",
    "NUL": b"\x00",
    "not UTF-8": b'{"reference": "\xff"}',
    "half UTF-16": b"\xff\xfe{",
    "compressed": b"\x1f\x8b\x08\x00",
    "a list of lists": b"[[]]",
    "a list of nulls": b"[null]",
    "a list of words": b'["x"]',
    "deep lists": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and whole": b"[" * 50_000 + b"]" * 50_000,
    "a deep word": b'{"word":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of many digits": b'{"reference": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_push_is_400(body: bytes, settings: Any) -> None:
    for debug in (False, True):
        settings.DEBUG = debug
        refused(push(body), 400)
    assert rows_left() == []


def test_what_is_no_receipt_spoils_the_push_before_anything_is_written() -> None:
    delivery = a_delivery()
    before = everything()
    refused(push([delivered(delivery), 1]), 400)
    assert everything() == before


@pytest.mark.parametrize("kind", ["", "text/plain", "application/xml", "nonsense", "multipart/x"])
def test_the_content_type_is_the_gateways_affair(kind: str) -> None:
    delivery = a_delivery()
    assert push(delivered(delivery), content_type=kind).status_code == 204
    assert Delivery.objects.get().status == "SMS_Delivered"


def test_one_receipt_or_many_or_none_may_come_at_once() -> None:
    first, second, third = (a_delivery() for _ in range(3))
    assert push([]).status_code == 204
    assert push(delivered(first)).status_code == 204
    assert push([delivered(second), delivered(third, status="SMS_Failed")]).status_code == 204
    words = Delivery.objects.order_by("pk").values_list("status", flat=True)
    assert list(words) == ["SMS_Delivered", "SMS_Delivered", "SMS_Failed"]


def test_a_thousand_receipts_may_come_at_once() -> None:
    deliveries = [a_delivery() for _ in range(20)]
    receipts = [delivered(deliveries[number % 20]) for number in range(980)]
    receipts += [{"reference": f"nobody's {number}"} for number in range(20)]
    assert push(receipts).status_code == 204
    assert set(Delivery.objects.values_list("status", flat=True)) == {"SMS_Delivered"}
    counts = (StatusEvent.objects.count(), FeedEntry.objects.count())
    assert (*counts, UnmatchedReceipt.objects.count()) == (40, 20, 20)


ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.5,
    1e308,
    10**30,
    [],
    ["x"],
    [[["x"]]],
    {},
    {"a": None},
    "",
    " ",
    "  padded  ",
    "\x00",
    "a\x00b",
    "\x1b[31m",
    "two\nlines\r\n",
    "\ud800",
    "\udfff\ud800",
    "\u202e\ufeff\u200b",
    "\U0001f600" * 300,
    "\U0010ffff",
    "æ" * 256,
    "x" * 100_000,
    "NULL",
    "'; DROP TABLE x; --",
    "%s %(x)s {0.__class__}",
]


@pytest.mark.parametrize("member", ["status", "word", "part", "parts"])
def test_an_odd_value_leaves_the_status_alone(member: str) -> None:
    for odd in ODD:
        delivery = a_delivery()
        said = delivered(delivery, **{"status": "SMS_Accepted", member: odd})
        answers = {push(said).status_code for _ in range(2)}
        delivery.refresh_from_db()
        assert (answers, delivery.status) == ({204}, "SMS_Accepted"), odd
        noted = StatusEvent.objects.filter(delivery=delivery, cause="receipt")
        assert noted.count() == 1, odd
    assert UnmatchedReceipt.objects.count() == 0


def test_an_odd_reference_is_nobodys() -> None:
    delivery = a_delivery()
    before = everything()[:3]
    for odd in ODD:
        said = delivered(delivery, reference=odd)
        assert {push(said).status_code for _ in range(2)} == {204}, odd
    assert everything()[:3] == before
    kept = UnmatchedReceipt.objects.values_list("gateway_reference", flat=True)
    assert len(kept) == len(set(kept))


@pytest.mark.parametrize(
    "status",
    [
        None,
        "",
        "Delivered",
        "sms_delivered",
        "SMS_Delivered ",
        "SMS_",
        "SMS_Arrived_Somewhere",
        "Order_Completed",
        "Email_Delivered",
        "Email_Failed_Bounced",
        "Email_Failed_TTL",
        ["SMS_Delivered"],
        {"SMS_Delivered": 1},
    ],
)
def test_a_status_that_is_none_of_the_channel_leaves_the_delivery_as_it_is(status: Any) -> None:
    delivery = a_delivery()
    for _ in range(2):
        assert push(delivered(delivery, status=status)).status_code == 204
    after = Delivery.objects.get()
    assert (after.status, after.updated_at) == (delivery.status, delivery.updated_at)
    noted = StatusEvent.objects.get(cause="receipt")
    assert (noted.gateway_word, noted.reported_status) == ("DELIVRD", "")
    assert FeedEntry.objects.count() == 0


def test_an_email_takes_the_words_of_an_email_alone() -> None:
    send_email("kari@example.com", "hello", "hello")
    delivery = Delivery.objects.get()
    push(delivered(delivery, status="SMS_Failed"))
    assert Delivery.objects.get().status == "Email_Succeeded"
    push(delivered(delivery, status="Email_Delivered"))
    assert Delivery.objects.get().status == "Email_Delivered"


def test_a_bad_receipt_does_not_hold_up_the_good_ones() -> None:
    first, second = a_delivery(), a_delivery()
    bad = [
        {},
        {"reference": None, "status": None, "word": None},
        delivered(first, status=[], word={"a": 1}),
        delivered(second, status="\x00", word="\ud800" * 1_000, part="\x00"),
        {"reference": ["x"], "parts": "many", "unknown": {"deep": [1]}},
    ]
    assert push([*bad, delivered(first), *bad, delivered(second), *bad]).status_code == 204
    assert set(Delivery.objects.values_list("status", flat=True)) == {"SMS_Delivered"}


def test_the_simulators_parts_may_be_counted_from_nought() -> None:
    delivery = a_delivery("x" * 400)
    push(delivered(delivery, part=0, parts=3))
    assert Delivery.objects.get().status == "SMS_Accepted"


def test_the_simulators_number_of_parts_is_a_number() -> None:
    delivery = a_delivery("x" * 400)
    push(delivered(delivery, part=1, parts=True))
    assert Delivery.objects.get().status == "SMS_Accepted"


def test_the_simulators_word_may_be_nought() -> None:
    push(delivered(a_delivery(), status="SMS_Mystery", word=0))
    assert StatusEvent.objects.get(cause="receipt").gateway_word == "0"


@each_breakdown
def test_a_push_that_the_gateway_cannot_read_is_400(error: Exception, tell: Any) -> None:
    tell(reads=raising(error))
    refused(push([], to="told"), 400)
    assert rows_left() == []


@pytest.mark.parametrize("read", [None, 1, Receipt(), object()])
def test_a_gateway_that_reads_nonsense_writes_nothing(read: Any, tell: Any) -> None:
    tell(reads=lambda request: read)
    refused(push([], to="told"), 400)
    assert rows_left() == []


def test_a_reading_that_breaks_off_writes_nothing(tell: Any) -> None:
    def read(request: HttpRequest) -> Iterator[Receipt]:
        yield Receipt(gateway_reference="first")
        raise RuntimeError

    tell(reads=read)
    refused(push([], to="told"), 400)
    assert rows_left() == []


@pytest.mark.parametrize(
    "odd",
    [None, {}, "x", Receipt(word=3), Receipt(gateway_reference=7)],  # type: ignore[arg-type]
    ids=repr,
)
def test_what_a_gateway_took_for_a_receipt_holds_up_none(odd: Any, tell: Any) -> None:
    good = [Receipt(gateway_reference=name) for name in ("first", "last")]
    tell(reads=lambda request: [good[0], odd, good[1]])
    to_come_again(push([], to="told"))
    kept = UnmatchedReceipt.objects.values_list("gateway_reference", flat=True)
    assert set(kept) == {"first", "last"}


# What is answered


def test_the_gateway_answers_its_provider_once_all_is_written_down(tell: Any) -> None:
    seen: list[tuple[int, list[str]]] = []

    def answer(receipts: Any) -> HttpResponse:
        names = [receipt.gateway_reference for receipt in receipts]
        seen.append((UnmatchedReceipt.objects.count(), names))
        return HttpResponse("<ok/>", content_type="text/xml", status=200)

    tell(
        reads=lambda request: (Receipt(gateway_reference=name) for name in ("a", "b")),
        answers=answer,
    )
    answered = push([], to="told")
    assert (answered.status_code, answered.content) == (200, b"<ok/>")
    assert answered["Content-Type"] == "text/xml"
    assert seen == [(2, ["a", "b"])]


@pytest.mark.parametrize("answers", [raising(RuntimeError(CODE)), lambda receipts: None])
def test_a_gateway_that_cannot_answer_has_its_receipts_come_again(
    answers: Callable[..., Any], tell: Any
) -> None:
    tell(reads=lambda request: [Receipt(gateway_reference="a")], answers=answers)
    to_come_again(push([], to="told"))
    assert UnmatchedReceipt.objects.count() == 1


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the record of the receipts with this word fail."""
    write = record_receipt

    def fail(error: Exception, *, word: str) -> None:
        def written(gateway: str, receipt: Receipt) -> Any:
            if receipt.word == word:
                raise error
            return write(gateway, receipt)

        monkeypatch.setattr(webhooks.receipts, "record_receipt", written)

    return fail


def three() -> list[dict[str, Any]]:
    """Receipts of three messages; the second one has a word of its own."""
    words = ("DELIVRD", "POISON", "DELIVRD")
    return [delivered(a_delivery(), word=word) for word in words]


def words_shown() -> list[str]:
    return list(Delivery.objects.order_by("pk").values_list("status", flat=True))


UNRECORDABLE = [
    DataError(CODE),
    IntegrityError(CODE),
    ValueError(CODE),
    AttributeError(CODE),
    RecursionError(CODE),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, CODE),
    Http404(CODE),
    UnreadableReceipts(CODE),
]


@pytest.mark.parametrize("error", UNRECORDABLE, ids=lambda error: type(error).__name__)
def test_a_receipt_that_cannot_be_recorded_comes_again_and_holds_up_no_other(
    error: Exception, failing: Any, caplog: Any
) -> None:
    receipts = three()
    failing(error, word="POISON")
    to_come_again(push(receipts))
    assert words_shown() == ["SMS_Delivered", "SMS_Accepted", "SMS_Delivered"]
    assert "not recorded" in caplog.text
    assert CODE not in caplog.text
    failing(error, word="nothing")
    assert push(receipts).status_code == 204
    assert words_shown() == ["SMS_Delivered"] * 3
    assert StatusEvent.objects.filter(cause="receipt").count() == 3


@pytest.mark.parametrize("error", [OperationalError(CODE), InterfaceError(CODE)])
def test_while_the_database_is_away_receipts_come_again_and_a_repeat_completes(
    error: Exception, failing: Any, caplog: Any
) -> None:
    receipts = three()
    failing(error, word="POISON")
    to_come_again(push(receipts))
    assert words_shown() == ["SMS_Delivered", "SMS_Accepted", "SMS_Accepted"]
    assert CODE not in caplog.text
    before = everything()
    to_come_again(push(receipts))
    assert everything() == before
    failing(error, word="nothing")
    assert push(receipts).status_code == 204
    assert words_shown() == ["SMS_Delivered"] * 3
    assert StatusEvent.objects.filter(cause="receipt").count() == 3
    assert FeedEntry.objects.count() == 3


@pytest.mark.parametrize("error", [OperationalError(CODE), InterfaceError(CODE)])
@pytest.mark.parametrize("step", ["_find", "_keep", "match_kept", "record_status"])
def test_wherever_the_database_leaves_receipts_come_again(
    error: Exception, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts = [delivered(a_delivery()), {"reference": "nobody's"}]
    with monkeypatch.context() as away:
        away.setattr(webhooks.receipts, step, raising(error))
        to_come_again(push(receipts))
    assert push(receipts).status_code == 204
    assert Delivery.objects.get().status == "SMS_Delivered"
    assert StatusEvent.objects.filter(cause="receipt").count() == 1
    assert UnmatchedReceipt.objects.count() == 1


def test_an_observer_that_raises_does_not_change_the_answer(
    django_capture_on_commit_callbacks: Any, caplog: Any
) -> None:
    observer = raising(RuntimeError(CODE))
    status_changed.connect(observer)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            answer = push(delivered(a_delivery()))
    finally:
        status_changed.disconnect(observer)
    assert answer.status_code == 204
    assert Delivery.objects.get().status == "SMS_Delivered"
    assert "signal receiver failed" in caplog.text
    assert CODE not in caplog.text


# Whatever the host is like


def test_a_provider_needs_no_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    assert push(delivered(a_delivery()), client=client).status_code == 204


def test_a_provider_need_not_log_in(settings: Any) -> None:
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    assert push(delivered(a_delivery())).status_code == 204
    refused(push([], authorization=None), 401)


def test_a_host_without_any_middleware_takes_receipts(settings: Any) -> None:
    settings.MIDDLEWARE = []
    assert push(delivered(a_delivery())).status_code == 204
    refused(push([], authorization=None), 401)


@pytest.mark.urls("tests.urls_webhooks_alone")
def test_the_route_can_be_mounted_without_the_api() -> None:
    assert reverse("delivery-reports", args=["simulator"]) == "/only/delivery-reports/simulator"
    assert push(delivered(a_delivery()), at="/only/").status_code == 204
    assert Delivery.objects.get().status == "SMS_Delivered"
    refused(push([], at="/only/", authorization=None), 401)
    assert push([], at=API).status_code == 404
    assert Client().get("/only/future/shipment/feed").status_code == 404


def test_the_route_is_part_of_the_api() -> None:
    name = "instant_notifications:delivery-reports"
    assert reverse(name, args=["simulator"]) == f"{API}delivery-reports/simulator"


@pytest.fixture
def atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("atomic_requests")
def test_each_receipt_is_committed_by_itself_whatever_the_host_wraps_requests_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receipts, write = three(), record_receipt
    committed: list[list[str]] = []

    def look(gateway: str, receipt: Receipt) -> Any:
        committed.append(in_thread(words_shown))
        if receipt.word == "POISON":
            raise OperationalError
        return write(gateway, receipt)

    monkeypatch.setattr(webhooks.receipts, "record_receipt", look)
    to_come_again(push(receipts))
    assert committed == [["SMS_Accepted"] * 3, ["SMS_Delivered", *["SMS_Accepted"] * 2]]
    assert in_thread(words_shown) == committed[-1]


# That nothing leaks


SECRETS = (NUMBER, NUMBER.removeprefix("+47"), CODE, PASSWORD, BARE, BARE[:12])


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Everything that any logger writes at DEBUG."""
    for name in ("", *logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    return lambda: caplog.text


def leaked(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def talkative(delivery: Delivery) -> dict[str, Any]:
    """A receipt that tells more than anybody asked for."""
    return delivered(delivery, to=NUMBER, text=f"Your code is {CODE}", password=PASSWORD)


@pytest.mark.parametrize("debug", [False, True], ids=["production", "DEBUG"])
def test_neither_the_log_nor_an_answer_repeats_what_came(
    debug: bool, log: Callable[[], str], settings: Any, failing: Any, monkeypatch: Any
) -> None:
    settings.DEBUG = debug
    receipt = talkative(a_delivery(f"Your code is {CODE}"))
    raw = json.dumps(receipt).encode()
    answers = [
        push(receipt),
        push([receipt, {"reference": "nobody's", "to": NUMBER}]),
        push(raw[:-1]),
        push([receipt, CODE]),
        push(receipt, authorization=f"{GOOD}x"),
        push(receipt, authorization=basic(f"{CODE}:{PASSWORD}")),
        push(receipt, to="nobody"),
        push(receipt, to="mail"),
        push(receipt, to="told", method="PUT"),
        push(raw + b" " * 1_000_000),
    ]
    for error in (DataError(raw), OperationalError(raw)):
        failing(error, word="DELIVRD")
        answers.append(push(receipt))
    statuses = [204, 204, 400, 400, 401, 401, 404, 401, 405, 413, 503, 503]
    assert [answer.status_code for answer in answers] == statuses
    assert {answer.content for answer in answers} == {b""}
    assert "receipts gateway=simulator count=2 failed=0" in log()
    assert leaked(log() + "".join(str(dict(answer.headers)) for answer in answers)) == []


@pytest.mark.parametrize("debug", [False, True], ids=["production", "DEBUG"])
@pytest.mark.parametrize("step", ["trusts", "reads"])
def test_an_error_in_a_gateway_is_not_quoted(
    step: str, debug: bool, tell: Any, log: Callable[[], str], settings: Any
) -> None:
    def quote_everything(request: HttpRequest) -> Any:
        try:
            raise ConnectionError(f"{request.headers['Authorization']} {PASSWORD}")
        except ConnectionError as error:
            raise RuntimeError(f"cannot read {request.body!r}") from error

    settings.DEBUG = debug
    tell(**{step: quote_everything})
    answer = push(talkative(a_delivery()), to="told")
    refused(answer, {"trusts": 401, "reads": 400}[step])
    assert "RuntimeError at " in log()
    assert leaked(log() + str(dict(answer.headers))) == []


def test_a_stranger_cannot_write_lines_into_the_log(log: Callable[[], str]) -> None:
    push([], to="nobody%0AERROR forged", authorization="Basic x\r\nERROR forged")
    assert "ERROR forged" not in [line[:12] for line in log().splitlines()]
    assert "receipts refused gateway=? status=404" in log()


# Copies


def copies_by_turns(receipt: Any) -> list[int]:
    return [push(receipt).status_code for _ in range(COPIES)]


def copies_in_one_push(receipt: Any) -> list[int]:
    return [push([receipt] * COPIES).status_code]


def copies_at_once(receipt: Any) -> list[int]:
    """From eight threads, as many again as make the number full."""
    shares = at_once(*[lambda: [push(receipt).status_code for _ in range(COPIES // 8 + 1)]] * 8)
    return [status for share in shares for status in share]


ways = pytest.mark.parametrize(
    "copies",
    [
        copies_by_turns,
        copies_in_one_push,
        pytest.param(copies_at_once, marks=pytest.mark.django_db(transaction=True)),
    ],
)


@ways
@pytest.mark.parametrize(
    ("status", "entries"), [("SMS_Delivered", 1), ("SMS_Failed", 1), ("SMS_Mystery", 0)]
)
def test_copies_of_a_receipt_change_nothing(
    copies: Callable[[Any], list[int]], status: str, entries: int
) -> None:
    delivery = a_delivery()
    assert set(copies(delivered(delivery, status=status))) == {204}
    assert StatusEvent.objects.filter(cause="receipt").count() == 1
    assert FeedEntry.objects.count() == entries
    assert UnmatchedReceipt.objects.count() == 0
    before = everything()
    push([delivered(delivery, status=status)] * 2)
    assert everything() == before


@ways
def test_copies_of_a_receipt_without_a_message_are_kept_once(
    copies: Callable[[Any], list[int]],
) -> None:
    receipt = {"reference": "nobody's", "status": "SMS_Delivered", "word": "DELIVRD"}
    assert set(copies(receipt)) == {204}
    kept = UnmatchedReceipt.objects.get()
    before = everything()
    push([receipt] * 2)
    assert everything() == before
    assert (kept.gateway, kept.gateway_reference) == ("simulator", "nobody's")
    assert (kept.status, kept.word) == ("SMS_Delivered", "DELIVRD")
