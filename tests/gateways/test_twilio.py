"""Against a server on real sockets that reads forms and checks credentials as Twilio does."""

import base64
import hashlib
import hmac
import json
import logging
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from time import sleep
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import pytest
from django.http import HttpRequest, QueryDict
from django.test import Client, RequestFactory

from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import Message, Receipt
from instant_notifications.gateways.twilio import FAILURES, STATUSES, TwilioGateway, signature
from instant_notifications.models import Delivery, StatusEvent, UnmatchedReceipt
from instant_notifications.orders import send_sms
from instant_notifications.statuses import STAGES, Cause, Channel, Stage
from instant_notifications.testing import (
    GatewayContract,
    PushedReceipts,
    assert_impersonal,
    assert_says_nothing_of,
)
from tests.conftest import API
from tests.web import Server, Talk, free_port, hangs_up, keeps_silent, says

ROOT: Final = Path(__file__).parent.parent.parent
ACCOUNT: Final = f"AC{'0' * 32}"
TOKEN: Final = "insecure-token"
KEY: Final = f"SK{'1' * 32}"
SID: Final = f"SM{'2' * 32}"
PUBLIC: Final = f"https://notify.example.com{API}"
OPTIONS: Final = {
    "account_sid": ACCOUNT,
    "auth_token": TOKEN,
    "sender": "+15005550006",
    "public_url": PUBLIC,
}
SMS: Final = Message(
    reference="01900000-0000-7000-8000-000000000001",
    channel=Channel.SMS,
    destination="+4799999999",
    body="Din kode er 428516. Hilsen blåbær & co",
    time_to_live=300,
    timeout=5,
)
Serve = Callable[[Talk], Server]
Configure = Callable[..., None]


class Twilio:
    """Takes every message that comes with the right credentials, or answers as a test says."""

    credentials = (ACCOUNT, TOKEN)
    account: Any = {"sid": ACCOUNT, "status": "active"}
    status, answer, headers = 201, {"sid": SID, "status": "queued", "error_code": None}, ""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.forms: list[dict[str, str]] = []

    def __call__(self, server: Server, connection: socket.socket) -> None:
        while request := server.hear(connection).decode():
            status, answer = self.reply(request)
            body = answer if isinstance(answer, str) else json.dumps(answer)
            size = f"Content-Length: {len(body.encode())}"
            head = f"HTTP/1.1 {status} So\r\n{size}\r\n{self.headers}\r\n"
            connection.sendall(f"{head}{body}".encode())

    def reply(self, request: str) -> tuple[int, Any]:
        head, _, body = request.partition("\r\n\r\n")
        method, path, _ = head.split("\r\n")[0].split()
        self.paths.append(f"{method} {path}")
        known = base64.b64encode(":".join(self.credentials).encode()).decode()
        if f"Authorization: Basic {known}" not in head:
            return 401, {"code": 20003, "message": "Authenticate", "status": 401}
        if path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json":
            assert "Content-Type: application/x-www-form-urlencoded" in head
            self.forms.append(dict(parse_qsl(body, strict_parsing=True)))
            return self.status, self.answer
        if path == f"/2010-04-01/Accounts/{ACCOUNT}.json":
            return 200, self.account
        return 404, {"code": 20404, "message": "not found", "status": 404}


@pytest.fixture
def twilio() -> Twilio:
    return Twilio()


@pytest.fixture
def gateway(twilio: Twilio, serve: Serve) -> TwilioGateway:
    return made(base_url=serve(twilio).url)


def made(**options: Any) -> TwilioGateway:
    return TwilioGateway("twilio", **{**OPTIONS, **options})


def failure_of(gateway: TwilioGateway, message: Message = SMS) -> HandoverFailed:
    with pytest.raises(HandoverFailed) as raised:
        gateway.hand_over(message)
    assert_impersonal(raised.value, message)
    return raised.value


def signed(form: str, *, url: str = f"{PUBLIC}delivery-reports/twilio", token: str = TOKEN) -> str:
    """Twilio's algorithm once more, in other words than the gateway's."""
    pairs = sorted(set(parse_qsl(form, keep_blank_values=True)))
    data = "".join([url, *(f"{name}{value}" for name, value in pairs)])
    return base64.b64encode(hmac.new(token.encode(), data.encode(), hashlib.sha1).digest()).decode()


def form_of(word: str, sid: str = SID, **more: str) -> str:
    """A status callback, for ``word`` such as ``undelivered 30003``."""
    state, _, code = word.partition(" ")
    about = {"MessageSid": sid, "SmsSid": sid, "MessageStatus": state, "To": SMS.destination}
    return urlencode(about | ({"ErrorCode": code} if code else {}) | more)


def a_callback(form: str, sign: str | None = None, **meta: Any) -> HttpRequest:
    headers = {} if sign is None else {"X-Twilio-Signature": sign}
    kind = "application/x-www-form-urlencoded"
    return RequestFactory().generic("POST", "/anywhere", form, kind, headers=headers, **meta)


class TestTwilioGateway(PushedReceipts, GatewayContract):
    gateway_class = TwilioGateway
    messages = {Channel.SMS: SMS}
    # Twilio pushes one at a time.
    receipts = (Receipt(gateway_reference=SID, status="SMS_Delivered", word="delivered"),)

    @pytest.fixture(autouse=True)
    def provider(self, twilio: Twilio, serve: Serve) -> None:
        self.twilio, self.server = twilio, serve(twilio)
        self.options = {**OPTIONS, "base_url": self.server.url}

    def push(self, *receipts: Receipt) -> HttpRequest:
        (receipt,) = receipts
        form = form_of(receipt.word, receipt.gateway_reference)
        return a_callback(form, signed(form, url=f"{PUBLIC}delivery-reports/under-test"))

    def when_accepting(self, message: Message) -> Message:
        return message

    def when_refusing(self, message: Message) -> Message:
        said = f"The 'To' number {message.destination} is not a valid phone number."
        self.twilio.status, self.twilio.answer = 400, {"code": 21211, "message": said}
        return message

    def when_unreachable(self, message: Message) -> Message:
        self.options = {**self.options, "base_url": f"http://127.0.0.1:{free_port()}"}
        return message

    def when_silent(self, message: Message) -> Message:
        self.server.talk = keeps_silent
        return message


# What is handed on


def test_a_message_arrives_as_it_was_given(gateway: TwilioGateway, twilio: Twilio) -> None:
    assert gateway.hand_over(SMS) == Receipt(gateway_reference=SID, word="queued")
    assert twilio.forms == [
        {
            "To": SMS.destination,
            "From": "+15005550006",
            "Body": SMS.body,
            "ValidityPeriod": "300",
            "StatusCallback": f"{PUBLIC}delivery-reports/twilio",
        }
    ]


@pytest.mark.parametrize(
    ("seconds", "handed_on"),
    [(0, "1"), (1, "1"), (35_999, "35999"), (36_000, "36000"), (172_800, "36000")],
)
def test_the_rest_of_its_life_is_handed_on(
    seconds: int, handed_on: str, gateway: TwilioGateway, twilio: Twilio
) -> None:
    gateway.hand_over(replace(SMS, time_to_live=seconds))
    assert twilio.forms[0]["ValidityPeriod"] == handed_on


@pytest.mark.parametrize(
    ("options", "named", "expected"),
    [
        ({"sender": "Altinn"}, "", {"From": "Altinn"}),
        ({"sender": "Altinn"}, "NAV", {"From": "NAV"}),
        ({"messaging_service_sid": "MG1"}, "", {"MessagingServiceSid": "MG1"}),
        ({"messaging_service_sid": "MG1", "sender": ""}, "NAV", {"From": "NAV"}),
        ({"sender": "", "public_url": ""}, "", {}),
    ],
)
def test_whom_it_is_from(
    options: dict[str, str], named: str, expected: dict[str, str], twilio: Twilio, serve: Serve
) -> None:
    made(base_url=serve(twilio).url, **options).hand_over(replace(SMS, sender=named))
    (form,) = twilio.forms
    assert {name: form[name] for name in form.keys() & {"From", "MessagingServiceSid"}} == expected
    assert ("StatusCallback" in form) is ("public_url" not in options)


def test_an_api_key_sends_in_the_tokens_place(twilio: Twilio, serve: Serve) -> None:
    twilio.credentials = (KEY, "key-secret")
    url = serve(twilio).url
    assert failure_of(made(base_url=url)).reason == "401 20003"
    made(base_url=url, api_key_sid=KEY, api_key_secret="key-secret").hand_over(SMS)


# What is answered

LATER, UNKNOWN = Unavailable, OutcomeUnknown
NO_SUCH, BARRED = "SMS_Failed_InvalidRecipient", "SMS_Failed_BarredReceiver"
SAID = f"No: {SMS.destination}"


def error(code: Any) -> dict[str, Any]:
    return {"code": code, "message": SAID, "more_info": SAID, "status": 400}


def ended(state: Any, code: Any = None) -> dict[str, Any]:
    return {"sid": SID, "status": state, "error_code": code, "error_message": SAID}


@pytest.mark.parametrize(
    ("status", "answer", "outcome", "reason"),
    [
        *((400, error(code), NO_SUCH, f"400 {code}") for code in ("21211", 21211, 21614)),
        (400, error(21610), BARRED, "400 21610"),
        (400, error(21617), "SMS_Failed_Rejected", "400 21617"),
        (201, ended("failed", 30007), "SMS_Failed_Rejected", "201 failed 30007"),
        (201, ended("undelivered", 30005), NO_SUCH, "201 undelivered 30005"),
        (201, ended("failed", 30002), LATER, "201 failed 30002"),
        (201, ended("failed"), LATER, "201 failed"),
        *((400, error(c), LATER, f"400 {c}") for c in (21408, 21603, 21606, 21612, 21659, 29999)),
        (401, error(20003), LATER, "401 20003"),
        (404, error(20404), LATER, "404 20404"),
        (403, "<html>no</html>", LATER, "403"),
        (400, "", LATER, "400"),
        *((400, error(code), LATER, "400") for code in (None, True, [1], SMS.destination, 428516)),
        (400, [error(21211)], LATER, "400"),
        (429, error(20429), LATER, "429 20429"),
        (500, error(20500), LATER, "500 20500"),
        (500, "", LATER, "500"),
        (503, "", LATER, "503"),
        (502, error(20001), LATER, "502 20001"),
        *((status, body, UNKNOWN, f"{status}") for status in (502, 504) for body in ("", "{}")),
        *((status, "", UNKNOWN, f"{status}") for status in (301, 302, 303, 307, 308, 600)),
        *(
            (201, answer, UNKNOWN, "201 without a sid")
            for answer in ("", "null", "[]", "{", "<ok/>", {}, {"sid": ""}, {"sid": 5})
        ),
        (200, {"sid": "x" * 65}, UNKNOWN, "200 without a sid"),
        (200, {"sid": SID + "\0"}, UNKNOWN, "200 without a sid"),
    ],
)
def test_what_an_answer_means(
    status: int,
    answer: Any,
    outcome: type[HandoverFailed] | str,
    reason: str,
    gateway: TwilioGateway,
    twilio: Twilio,
) -> None:
    twilio.status, twilio.answer = status, answer
    failed = failure_of(gateway)
    came_of_it = failed.status if isinstance(failed, Rejected) else type(failed)
    assert (came_of_it, failed.reason) == (outcome, reason)
    assert len(twilio.forms) == 1


@pytest.mark.parametrize(
    ("state", "word"), [("accepted", "accepted"), (SAID, ""), (None, ""), ([1], "")]
)
def test_a_sid_is_enough_to_be_taken(
    state: Any, word: str, gateway: TwilioGateway, twilio: Twilio
) -> None:
    twilio.answer = ended(state)
    assert gateway.hand_over(SMS) == Receipt(gateway_reference=SID, word=word)


def test_a_rate_limit_says_when_to_come_back(gateway: TwilioGateway, twilio: Twilio) -> None:
    twilio.status, twilio.answer, twilio.headers = 429, error(20429), "Retry-After: 7\r\n"
    failed = failure_of(gateway)
    assert (type(failed), failed.retry_after) == (Unavailable, 7)


@pytest.mark.parametrize(("status", "alone"), [(400, True), (401, False), (503, False)])
def test_fault_found_with_one_message_says_nothing_of_the_next(
    status: int, alone: bool, gateway: TwilioGateway, twilio: Twilio
) -> None:
    twilio.status, twilio.answer = status, error(29999)
    assert failure_of(gateway).only_this_message is alone


def hangs_up_early(server: Server, connection: socket.socket) -> None:
    connection.recv(1)


def test_half_a_request_is_no_message(serve: Serve) -> None:
    long = replace(SMS, body="x" * 30_000_000)
    assert isinstance(failure_of(made(base_url=serve(hangs_up_early).url), long), Unavailable)


@pytest.mark.parametrize("talk", [hangs_up, says(body="{", status="nonsense"), keeps_silent])
def test_a_whole_request_without_an_answer_may_be_one(talk: Talk, serve: Serve) -> None:
    hasty = replace(SMS, timeout=0.5)
    assert isinstance(failure_of(made(base_url=serve(talk).url), hasty), OutcomeUnknown)


def test_nothing_personal_is_logged(
    gateway: TwilioGateway, twilio: Twilio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    twilio.status, twilio.answer = 400, error(21211)
    failure_of(gateway)
    assert "outcome=Rejected" in caplog.text
    for secret in (TOKEN, ACCOUNT):
        assert secret not in caplog.text
    assert_says_nothing_of(SMS, caplog.text)


# Receipts: who is let in

PUBLISHED: Final = (
    "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309"
    "&To=%2B18005551212"
)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (PUBLISHED, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        (
            "SidAccount=AC123&Sid=CA123&Digits=5678&Digits=1234&Digits=1234",
            "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
        ),
    ],
)
def test_the_signature_is_the_one_twilio_publishes(form: str, expected: str) -> None:
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert signature("12345", url, QueryDict(form)) == expected


FORM: Final = form_of("delivered", Note="blå & æ+")
AT: Final = "delivery-reports/twilio"


@pytest.mark.parametrize(
    ("public_url", "signed_for"),
    [
        (PUBLIC, PUBLIC + AT),
        (PUBLIC.rstrip("/"), PUBLIC + AT),
        ("https://a.example", f"https://a.example/{AT}"),
        ("https://a.example", f"https://a.example:443/{AT}"),
        ("https://a.example:8443/x", f"https://a.example:8443/x/{AT}"),
        ("https://a.example:8443/x", f"https://a.example/x/{AT}"),
        ("http://[::1]:8000/", f"http://[::1]:8000/{AT}"),
        ("https://a.example/?a=1&b=%20", f"https://a.example/{AT}?a=1&b=%20"),
        ("https://a.example/#rc=5&rp=all", f"https://a.example/{AT}"),
        ("https://a.example/#rc=5&rp=all", f"https://a.example/{AT}#rc=5&rp=all"),
    ],
)
def test_the_public_address_is_what_counts(public_url: str, signed_for: str) -> None:
    push = a_callback(FORM, signed(FORM, url=signed_for), HTTP_HOST="10.0.0.7:8000")
    assert made(public_url=public_url).authenticates(push) is True
    assert made(public_url="https://b.example").authenticates(push) is False


@pytest.mark.parametrize(
    "form", ["", "a=", "MessageSid=1&MessageSid=2&MessageSid=1", "a=%00&%FF=1"]
)
def test_odd_forms_are_signed_like_any_other(form: str) -> None:
    assert made().authenticates(a_callback(form, signed(form))) is True


GOOD: Final = signed(FORM)
FORGED: Final[dict[str, tuple[str, str | None]]] = {
    "no signature": (FORM, None),
    "blank": (FORM, ""),
    "nonsense": (FORM, "æøå"),
    "its beginning": (FORM, GOOD[:-1]),
    "another case": (FORM, GOOD.swapcase()),
    "another body": (form_of("failed"), GOOD),
    "something added": (f"{FORM}&ErrorCode=30003", GOOD),
    "a value added": (f"{FORM}&MessageStatus=failed", GOOD),
    "nothing said": ("", GOOD),
    "another token": (FORM, signed(FORM, token="another")),
    "the blank token": (FORM, signed(FORM, token="")),
    "another alias": (FORM, signed(FORM, url=f"{PUBLIC}delivery-reports/other")),
    "where the request came to": (FORM, signed(FORM, url="http://testserver/anywhere")),
    "not encrypted": (FORM, signed(FORM, url=f"{PUBLIC}{AT}".replace("https", "http"))),
}


@pytest.mark.parametrize(("form", "sign"), FORGED.values(), ids=FORGED)
def test_a_forged_push_is_not_let_in(form: str, sign: str | None) -> None:
    assert made().authenticates(a_callback(FORM, GOOD)) is True
    assert made().authenticates(a_callback(form, sign)) is False


@pytest.mark.parametrize(
    ("options", "sign"),
    [
        ({"auth_token": ""}, signed(FORM, token="")),
        ({"public_url": ""}, signed(FORM, url=AT)),
        ({"public_url": ""}, signed(FORM, url=f"/{AT}")),
        ({"public_url": ""}, signed(FORM, url="")),
    ],
)
def test_without_token_or_address_nobody_is_let_in(options: dict[str, str], sign: str) -> None:
    assert made(**options).authenticates(a_callback(FORM, sign)) is False


# Receipts: what they say


@pytest.mark.parametrize(
    ("word", "status"),
    [
        *((state, "SMS_Accepted") for state in ("accepted", "scheduled", "queued", "sent")),
        ("read", "SMS_Delivered"),
        ("canceled", "SMS_Failed_Deleted"),
        ("undelivered", "SMS_Failed_Undelivered"),
        ("undelivered 30003", "SMS_Failed_Undelivered"),
        ("failed 30003", "SMS_Failed_Undelivered"),
        ("undelivered 30004", "SMS_Failed_BarredReceiver"),
        ("undelivered 30005", "SMS_Failed_InvalidRecipient"),
        ("undelivered 30006", "SMS_Failed_InvalidRecipient"),
        ("undelivered 30007", "SMS_Failed_Rejected"),
        ("failed 30036", "SMS_Failed_Expired"),
        ("failed 30008", "SMS_Failed"),
        ("undelivered 30008", "SMS_Failed_Undelivered"),
        ("delivered 30005", "SMS_Delivered"),
        ("received", None),
        ("Delivered", None),
        ("", None),
    ],
)
def test_what_a_state_means(word: str, status: str | None) -> None:
    read = list(made().read_receipts(a_callback(form_of(word))))
    assert read == [Receipt(gateway_reference=SID, status=status, word=word)]


@pytest.mark.parametrize("code", ["0", "", "30005x", "+4799999999", "٣٠٠٠٥", "null"])
def test_what_is_no_code_is_not_repeated(code: str) -> None:
    (receipt,) = made().read_receipts(a_callback(form_of("failed", ErrorCode=code)))
    assert (receipt.status, receipt.word) == ("SMS_Failed", "failed")


def test_the_tables_of_the_page_are_the_code() -> None:
    page = (ROOT / "docs" / "gateways" / "twilio.md").read_text()
    said: dict[str, str] = {}
    for left, right in re.findall(r"^\| (.+) \| (.*`SMS_.+`) \|$", page, re.M):
        names, shown = re.findall(r"`[a-z]+`|[0-9]{5}", left), re.findall(r"SMS_\w+", right)
        said |= zip((name.strip("`") for name in names), cycle(shown), strict=False)
    assert said == {**STATUSES, **FAILURES}
    assert {STAGES[status] for status in FAILURES.values()} == {Stage.FAILED}


def test_a_form_that_somebody_has_read_can_still_be_read() -> None:
    boundary = "multipart/form-data; boundary=b"
    part = f'--b\r\nContent-Disposition: form-data; name="MessageSid"\r\n\r\n{SID}\r\n--b--\r\n'
    push = RequestFactory().generic("POST", "/", part, boundary)
    assert push.POST["MessageSid"] == SID
    push.META["HTTP_X_TWILIO_SIGNATURE"] = signed(f"MessageSid={SID}")
    assert made().authenticates(push) is True
    assert [each.gateway_reference for each in made().read_receipts(push)] == [SID]


# Through the route


@pytest.fixture
def delivery(twilio: Twilio, serve: Serve, configure: Configure, db: None) -> Delivery:
    """A message that Twilio has taken."""
    taker = {
        "BACKEND": "instant_notifications.gateways.twilio.TwilioGateway",
        "OPTIONS": {**OPTIONS, "base_url": serve(twilio).url},
    }
    configure(GATEWAYS={"twilio": taker, "other": taker}, ROUTES={"sms": ["twilio"]})
    send_sms(SMS.destination, SMS.body)
    return Delivery.objects.get()


def post(form: str, sign: str | None = None, *, to: str = "twilio", **meta: Any) -> int:
    headers = {"X-Twilio-Signature": signed(form) if sign is None else sign}
    client, kind = Client(raise_request_exception=False), "application/x-www-form-urlencoded"
    answer = client.generic(
        "POST", f"{API}delivery-reports/{to}", form, kind, headers=headers, **meta
    )
    assert answer.content == b""
    return answer.status_code


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["sent", "delivered"], "SMS_Delivered"),
        (["delivered", "sent", "sent"], "SMS_Delivered"),
        (["delivered", "delivered", "undelivered 30003"], "SMS_Delivered"),
        (["failed 30005", "delivered", "failed 30005"], NO_SUCH),
        (["brand-new"], "SMS_Accepted"),
    ],
)
def test_a_delivery_follows_its_receipts(words: list[str], status: str, delivery: Delivery) -> None:
    assert [post(form_of(word)) for word in words] == [204] * len(words)
    delivery.refresh_from_db()
    assert delivery.status == status
    heard = StatusEvent.objects.filter(cause=Cause.RECEIPT).order_by("pk")
    assert [event.gateway_word for event in heard] == list(dict.fromkeys(words))


def test_a_proxy_may_call_us_what_it_likes(delivery: Delivery) -> None:
    proxied = {"HTTP_HOST": "127.0.0.1:8000", "HTTP_X_FORWARDED_HOST": "evil.example"}
    assert post(form_of("delivered"), **proxied) == 204
    delivery.refresh_from_db()
    assert delivery.status == "SMS_Delivered"


def test_a_stranger_changes_nothing(delivery: Delivery, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    good = form_of("delivered")
    assert post(good, "forged") == post(good, "") == 401
    assert post(good, signed(good), to="other") == 401
    assert post("&".join(f"a{n}=1" for n in range(2000)), "many fields") == 401
    delivery.refresh_from_db()
    assert delivery.status == "SMS_Accepted"
    assert_says_nothing_of(SMS, caplog.text)


def test_a_genuine_push_of_something_else_leaves_no_trace(delivery: Delivery) -> None:
    assert [post(form) for form in ("", "a=1", "\0", "MessageStatus=delivered")] == [400] * 4
    assert not UnmatchedReceipt.objects.exists()
    assert post(form_of("delivered", sid="SM" + "9" * 500)) == 204
    assert UnmatchedReceipt.objects.count() == 1


# Before the first message

NOTHING: Final[list[str]] = []
WRONG: Final = ["E010"]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, NOTHING),
        ({"sender": "Altinn"}, NOTHING),
        ({"sender": "", "messaging_service_sid": "MG1"}, NOTHING),
        ({"base_url": "http://localhost:4010", "public_url": "http://[::1]/"}, NOTHING),
        ({"public_url": ""}, ["W008"]),
        *(({"account_sid": value}, WRONG) for value in ("", KEY, ACCOUNT + "\n")),
        *(({"sender": value}, WRONG) for value in ("", "A name too long", "004799999999999")),
        *(
            ({"base_url": value}, WRONG)
            for value in ("", "http://api.twilio.com", "api.twilio.com")
        ),
        *(({"public_url": value}, WRONG) for value in ("http://a.example", "a.example/x")),
        ({"base_url": "http://localhost.example.com"}, WRONG),
        ({"auth_token": ""}, WRONG),
        ({"api_key_sid": KEY}, WRONG),
        ({"api_key_secret": "x"}, WRONG),
    ],
)
def test_what_the_system_check_finds(
    options: dict[str, str], ids: list[str], configure: Configure
) -> None:
    configure(DEFAULT_SMS_SENDER="")
    found = list(made(**options).check())
    assert [message.id for message in found] == [f"instant_notifications.{each}" for each in ids]
    assert all(TOKEN not in f"{message.msg}{message.hint}" for message in found)


def test_a_default_sender_of_the_app_is_a_sender(configure: Configure) -> None:
    configure(DEFAULT_SMS_SENDER="Altinn")
    assert not list(made(sender="").check())


@pytest.mark.parametrize("address", ["https://[", "https://a.example:b/"])
def test_an_address_that_cannot_be_read_shows_before_any_message(address: str) -> None:
    with pytest.raises(NotConfigured, match=r"public_url.*'twilio'"):
        made(public_url=address)


def test_a_probe_asks_for_the_account_and_sends_nothing(
    gateway: TwilioGateway, twilio: Twilio
) -> None:
    gateway.probe(5)
    assert (twilio.forms, twilio.paths) == ([], [f"GET /2010-04-01/Accounts/{ACCOUNT}.json"])


@pytest.mark.parametrize(
    ("talk", "failure"),
    [
        *((says(status=status), NotConfigured) for status in ("401 No", "403 No", "404 No")),
        (says(body='{"status": "suspended"}'), NotConfigured),
        (says(body='{"status": "closed"}'), NotConfigured),
        *(
            (says(status=status), Unavailable)
            for status in ("200 OK", "302 So", "429 No", "503 No")
        ),
        (says(body="[]"), Unavailable),
        (hangs_up, Unavailable),
        (keeps_silent, Unavailable),
    ],
)
def test_a_probe_says_what_is_wrong(talk: Talk, failure: type[Exception], serve: Serve) -> None:
    with pytest.raises(failure) as raised:
        made(base_url=serve(talk).url).probe(0.5)
    assert ("auth_token of gateway 'twilio'" in str(raised.value)) is (failure is NotConfigured)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (404, error(20404), None),
        (200, {"sid": SID}, None),
        (401, error(70051), None),
        (401, error(20003), NotConfigured),
        (503, "", Unavailable),
    ],
)
def test_a_probe_asks_with_the_key_as_well(
    status: int, body: Any, failure: type[Exception] | None, serve: Serve
) -> None:
    class KnowsBoth(Twilio):
        def reply(self, request: str) -> tuple[int, Any]:
            known = super().reply(request)
            return known if known[0] == 200 else (status, body)

    gateway = made(base_url=serve(KnowsBoth()).url, api_key_sid=KEY, api_key_secret="x")
    if failure is None:
        gateway.probe(5)
    else:
        with pytest.raises(failure):
            gateway.probe(5)


def test_both_questions_of_a_probe_share_its_time(serve: Serve) -> None:
    class Slow(Twilio):
        def reply(self, request: str) -> tuple[int, Any]:
            sleep(0.4)
            return 200, self.account

    with pytest.raises(Unavailable):
        made(base_url=serve(Slow()).url, api_key_sid=KEY, api_key_secret="x").probe(0.6)
