"""Against an upstream on a real socket that answers each path as a test says."""

import json
import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pytest

from instant_notifications import tokens
from instant_notifications.checks import check_settings
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import FeedItem, Message, Receipt
from instant_notifications.gateways.altinn import AltinnGateway
from instant_notifications.models import Delivery
from instant_notifications.orders import send_sms
from instant_notifications.simulator.postman import deliver_due_receipts
from instant_notifications.statuses import WORDS, Channel
from instant_notifications.testing import GRACE, GatewayContract, assert_impersonal
from tests.clock import Clock
from tests.conftest import API
from tests.gateways.test_maskinporten import (
    GRANTED,
    MASKINPORTENS,
    PEM,
    REFUSED,
    Reply,
    Serve,
    Service,
    altinns,
    answer,
    dribble,
    hang_up,
    heard,
    keep_silent,
    last_part,
    patience,
)
from tests.web import Server, Talk, free_port

Configure = Callable[..., None]

NUMBER: Final = "+4799999999"
CODE: Final = "428516"
FIXED: Final = "fixed-token"
SHIPMENT: Final = "01900000-0000-7000-8000-00000000000a"
SMS: Final = Message(
    reference="01900000-0000-7000-8000-000000000001",
    channel=Channel.SMS,
    destination=NUMBER,
    body=f"Your code is {CODE}",
    sender="Altinn",
    time_to_live=300,
)
EMAIL: Final = replace(
    SMS,
    channel=Channel.EMAIL,
    destination="kari@example.com",
    subject="Your code",
    sender="post@example.com",
    content_type="Html",
)
SECRETS: Final = (NUMBER[1:], CODE, "kari@", FIXED, MASKINPORTENS, PEM.splitlines()[1], "eyJ")
TAKEN: Final = {"notificationOrderId": "o", "notification": {"shipmentId": SHIPMENT}}
INVALID: Final = {"recipientSms.phoneNumber": [f"{NUMBER} is not valid."]}
BACKEND: Final = f"{AltinnGateway.__module__}.{AltinnGateway.__qualname__}"


def upstream(**replies: Reply | list[Reply]) -> Service:
    taken = answer(TAKEN, 201)
    return Service(**{"sms": taken, "email": taken, "feed": answer([]), **replies})


def gateway(url: str = "https://altinn.example/", **options: Any) -> AltinnGateway:
    return AltinnGateway("altinn", url=url, **{"token": FIXED, **options})


def by_maskinporten(server: Server, **options: Any) -> AltinnGateway:
    """With tokens that nobody else shares, as the server has a port of its own."""
    us = {"client_id": "us", "key": PEM, "key_id": "key-1", "issuer": server.url}
    return gateway(f"{server.url}api/", token="", maskinporten=us, **options)


def failure_of(gateway: AltinnGateway, message: Message = SMS) -> HandoverFailed:
    with pytest.raises(HandoverFailed) as raised:
        gateway.hand_over(message)
    assert_impersonal(raised.value, message)
    return raised.value


def bodies(server: Server, part: str = "sms") -> list[Any]:
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in heard(server, part)]


@pytest.fixture(autouse=True)
def _nothing_secret_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    said = [f"{record.getMessage()} {record.exc_text}" for record in caplog.get_records("call")]
    assert not [line for line in said if any(secret in line for secret in SECRETS)]


class TestAltinnGateway(GatewayContract):
    gateway_class = AltinnGateway
    messages = {Channel.SMS: SMS, Channel.EMAIL: EMAIL}

    @pytest.fixture(autouse=True)
    def _upstream(self, serve: Serve) -> None:
        self.service = upstream()
        self.options = {"url": serve(self.service).url, "token": FIXED}

    def answering(self, reply: Reply, message: Message) -> Message:
        self.service.replies |= {"sms": reply, "email": reply}
        return message

    def when_accepting(self, message: Message) -> Message:
        return message

    def when_refusing(self, message: Message) -> Message:
        return self.answering(answer({"code": "IN-00001", "shipmentId": SHIPMENT}, 422), message)

    def when_unreachable(self, message: Message) -> Message:
        self.options["url"] = f"http://127.0.0.1:{free_port()}/"
        return message

    def when_silent(self, message: Message) -> Message:
        return self.answering(keep_silent, message)


# What the service is told


IN_SMS: Final = {"sender": "Altinn", "body": SMS.body}
IN_EMAIL: Final = {
    "subject": "Your code",
    "body": SMS.body,
    "senderEmailAddress": "post@example.com",
    "contentType": "Html",
}


def without(member: str, settings: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in settings.items() if name != member}


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        (SMS, IN_SMS),
        (replace(SMS, sender=""), without("sender", IN_SMS)),
        (EMAIL, IN_EMAIL),
        (replace(EMAIL, sender=""), without("senderEmailAddress", IN_EMAIL)),
    ],
)
@pytest.mark.parametrize("status", [201, 200])
def test_a_message_goes_as_the_contract_has_it(
    message: Message, settings: dict[str, str], status: int, serve: Serve
) -> None:
    taken = answer(TAKEN, status, "Idempotent-Replayed: true")
    server = serve(upstream(sms=taken, email=taken))
    receipt = gateway(f"{server.url}api").hand_over(message)
    assert receipt == Receipt(gateway_reference=SHIPMENT, word=str(status))
    (head,) = server.requests
    route = f"POST /api/future/orders/instant/{message.channel} HTTP/1.1\r\n"
    assert head.startswith(route.encode())
    assert b"\r\nAuthorization: Bearer fixed-token\r\n" in head
    assert b"\r\nContent-Type: application/json\r\n" in head
    to_phone = {"phoneNumber": NUMBER, "timeToLiveInSeconds": 300, "smsSettings": settings}
    to_address = {"emailAddress": "kari@example.com", "emailSettings": settings}
    recipients = {"sms": {"recipientSms": to_phone}, "email": {"recipientEmail": to_address}}
    ours = {"idempotencyId": SMS.reference, "sendersReference": SMS.reference}
    assert bodies(server, message.channel) == [ours | recipients[message.channel]]


# What the service answers

PHONE_ALTINN: Final = {"RecipientSms.PhoneNumber": ["no"], "RecipientSms.TimeToLive": ["no"]}
SENDER: Final = {"recipientSms.smsSettings.sender": [f"not for {NUMBER}"]}
U, Q, R = Unavailable, OutcomeUnknown, Rejected
OUTCOMES: Final[list[tuple[int, Any, type[HandoverFailed], str, bool]]] = [
    (400, {"errors": INVALID}, R, "400", True),
    (400, {"errors": PHONE_ALTINN}, R, "400", True),
    (400, {"errors": SENDER}, U, "400", True),
    (400, {"errors": None}, U, "400", True),
    (400, {"errors": [*INVALID]}, U, "400", True),
    (400, "<p>no</p>", U, "400", True),
    *((status, "", U, f"{status}", False) for status in (401, 403, 404, 405, 415, 429)),
    (413, "", U, "413", True),
    (409, {"code": "IN-00002"}, Q, "409 IN-00002", True),
    (422, {"code": "IN-00001"}, R, "422 IN-00001", True),
    (422, {"code": "IN-00004"}, Q, "422 IN-00004", True),
    (422, {"code": f"IN-{NUMBER}"}, Q, "422", True),
    (422, {"code": ["IN-00001"]}, Q, "422", True),
    *((status, {"errors": INVALID}, Q, f"{status}", False) for status in (301, 307, 499, 500, 502)),
    (503, {"code": "NOT-00004"}, U, "503 NOT-00004", False),
    (503, "<p>busy</p>", U, "503", False),
    (504, {"code": "IN-00003", "shipmentId": SHIPMENT}, Q, "504 IN-00003", False),
]


@pytest.mark.parametrize(("status", "said", "kind", "reason", "only_this"), OUTCOMES)
def test_each_answer_has_its_meaning(
    status: int, said: Any, kind: type[HandoverFailed], reason: str, only_this: bool, serve: Serve
) -> None:
    headers = ["Retry-After: 30", "Location: http://[/"]
    server = serve(upstream(sms=answer(said, status, *headers)))
    failure = failure_of(gateway(server.url))
    assert (type(failure), failure.reason) == (kind, f"HTTP {reason}")
    assert failure.retry_after == (None if kind is Rejected else 30)
    assert failure.only_this_message is only_this
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("message", "path", "expected"),
    [
        (SMS, "recipientSms.phoneNumber", "SMS_Failed_InvalidRecipient"),
        (SMS, "Recipient.RecipientSms.PhoneNumber", "SMS_Failed_InvalidRecipient"),
        (EMAIL, "recipientEmail.emailAddress", "Email_Failed_InvalidFormat"),
        (EMAIL, "RecipientEmail.EmailAddress", "Email_Failed_InvalidFormat"),
        (EMAIL, "recipientEmail.emailSettings.senderEmailAddress", None),
    ],
)
def test_a_400_that_blames_the_recipient_is_final(
    message: Message, path: str, expected: str | None, serve: Serve
) -> None:
    invalid = answer({"errors": {path: ["no"]}}, 400)
    failure = failure_of(gateway(serve(upstream(sms=invalid, email=invalid)).url), message)
    assert getattr(failure, "status", None) == expected


def shipment(word: Any, *more: Any, **members: Any) -> dict[str, Any]:
    recipients = [{"type": "SMS", "status": word}, *more]
    return {"shipmentId": SHIPMENT, "status": "Order_Completed", "recipients": recipients} | members


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        *(
            (answer(shipment(word)), word)
            for word in ("SMS_Failed_BarredReceiver", "SMS_Failed_InvalidRecipient")
        ),
        (answer(shipment("SMS_Failed_TTL")), "SMS_Failed_TTL"),
        *(
            (answer(shipment(word)), "SMS_Failed")
            for word in ("SMS_Delivered", "SMS_New", "Email_Failed_Bounced", "Odd", "", None, [])
        ),
        (answer([]), "SMS_Failed"),
        (answer("", 404), "SMS_Failed"),
        (answer("", 401), "SMS_Failed"),
        (hang_up, "SMS_Failed"),
        (keep_silent, "SMS_Failed"),
        (dribble, "SMS_Failed"),
    ],
)
def test_a_refusal_has_the_word_of_its_shipment(reply: Reply, expected: str, serve: Serve) -> None:
    refused = answer({"code": "IN-00001", "shipmentId": SHIPMENT}, 422)
    server, started = serve(upstream(sms=refused, **{SHIPMENT: reply})), monotonic()
    timeout = patience(reply)
    failure = failure_of(gateway(server.url), replace(SMS, timeout=timeout))
    assert isinstance(failure, Rejected)
    assert failure.status == expected
    assert monotonic() - started < timeout + GRACE
    assert [last_part(request) for request in server.requests] == ["sms", SHIPMENT]


@pytest.mark.parametrize("odd", ["", None, 5, "../feed?a#b"])
def test_no_shipment_leads_the_look_up_astray(odd: Any, serve: Serve) -> None:
    refused = answer({"code": "IN-00001", "shipmentId": odd}, 422)
    server = serve(upstream(sms=refused, feed=answer(shipment("SMS_Failed_Deleted"))))
    failure = failure_of(gateway(server.url))
    assert isinstance(failure, Rejected)
    assert failure.status == "SMS_Failed"
    assert not heard(server, "feed")


MALFORMED: Final = [
    *("", "OK", "null", "[]", "{", "[" * 100_000, "9" * 5000, '"notification"'),
    *({"notification": odd} for odd in (None, [], "x", {}, {"shipmentId": None})),
    *({"notification": {"shipmentId": odd}} for odd in ("", 5, [SHIPMENT])),
]


@pytest.mark.parametrize("said", MALFORMED, ids=lambda said: str(said)[:40])
def test_a_success_that_names_no_shipment_is_ambiguous(said: Any, serve: Serve) -> None:
    failure = failure_of(gateway(serve(upstream(sms=answer(said, 201))).url))
    assert (type(failure), failure.reason) == (OutcomeUnknown, "an answer without a shipment")


@pytest.mark.parametrize("reply", [hang_up, keep_silent, dribble])
def test_no_answer_in_time_is_ambiguous(reply: Talk, serve: Serve) -> None:
    server, started = serve(upstream(sms=reply)), monotonic()
    failure = failure_of(gateway(server.url), replace(SMS, timeout=0.4))
    assert type(failure) is OutcomeUnknown
    assert monotonic() - started < 0.4 + GRACE
    assert len(server.requests) == 1


def hangs_up_half_way(server: Server, connection: socket.socket) -> None:
    connection.recv(1)


def test_what_left_only_in_part_was_not_sent(serve: Serve) -> None:
    message = replace(SMS, body="x" * 20_000_000)
    assert type(failure_of(gateway(serve(hangs_up_half_way).url), message)) is Unavailable


# Whose token it is


def authorizations(server: Server, part: str = "sms") -> list[str]:
    heads = [request.decode().split("\r\n") for request in heard(server, part)]
    return [line[22:] for head in heads for line in head if line.startswith("Authorization")]


def test_a_token_is_exchanged_beside_the_service_and_kept(serve: Serve) -> None:
    given = altinns()
    server = serve(upstream(maskinporten=answer(f'"{given}"')))
    for message in (SMS, EMAIL, SMS):
        by_maskinporten(server).hand_over(message)
    paths = [request.split(b" ")[1].decode() for request in server.requests]
    exchange = "/authentication/api/v1/exchange/maskinporten"
    assert paths[:2] == ["/token", exchange]
    assert len(paths) == 5
    assert authorizations(server) == [given, given]
    assert authorizations(server, "maskinporten") == [MASKINPORTENS]


def test_without_an_exchange_maskinportens_own_token_serves(serve: Serve) -> None:
    server = serve(upstream())
    by_maskinporten(server, exchange_url=None).hand_over(SMS)
    assert [last_part(request) for request in server.requests] == ["token", "sms"]
    assert authorizations(server) == [MASKINPORTENS]


def test_a_refused_token_is_replaced_once(serve: Serve) -> None:
    tokens = [altinns(jti="1"), altinns(jti="2"), altinns(jti="3")]
    refused, taken = answer("", 401), answer(TAKEN, 201)
    service = upstream(maskinporten=[*map(answer, tokens)], sms=[refused, taken, refused])
    server = serve(service)
    assert by_maskinporten(server).hand_over(SMS).gateway_reference == SHIPMENT
    assert authorizations(server) == tokens[:2]
    failure = failure_of(by_maskinporten(server))
    assert (type(failure), failure.reason) == (Unavailable, "HTTP 401")
    assert authorizations(server) == [*tokens[:2], *tokens[1:]]


@pytest.mark.parametrize("step", ["token", "maskinporten"])
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer(REFUSED, 400), "not configured"),
        (answer("", 429, "Retry-After: 7"), "HTTP 429"),
        (answer("", 503), "HTTP 503"),
        (answer(f"<p>{CODE}"), "gave no token"),
        (hang_up, "ConnectionError"),
        (keep_silent, "no token in time"),
        (dribble, "no token in time"),
    ],
)
def test_without_a_token_nothing_is_sent(
    reply: Reply, reason: str, step: str, serve: Serve
) -> None:
    server, started, timeout = serve(upstream(**{step: reply})), monotonic(), patience(reply)
    failure = failure_of(by_maskinporten(server), replace(SMS, timeout=timeout))
    assert type(failure) is Unavailable
    assert reason in failure.reason
    assert failure.retry_after == (7 if "429" in reason else None)
    assert monotonic() - started < timeout + GRACE
    assert not heard(server, "sms")


# What its feed tells

ENTRY: Final = shipment("SMS_Delivered", sequenceNumber=7, sendersReference="r")
OURS: Final = Receipt(
    gateway_reference=SHIPMENT, reference="r", status="SMS_Delivered", word="SMS_Delivered"
)
OF_ANOTHER: Final = replace(OURS, status=None, word="Order_Completed")
NO_NUMBERS: Final = (None, -1, 2**63, True, 7.5, "-7", "\u0667", str(10**20), "9" * 5000, [7])
ENTRIES: Final[list[tuple[Any, int | None, Receipt | None]]] = [
    (ENTRY, 7, OURS),
    (ENTRY | {"sequenceNumber": "7"}, 7, OURS),
    *((ENTRY | {"sequenceNumber": odd}, None, OURS) for odd in NO_NUMBERS),
    (ENTRY | {"sendersReference": None}, 7, replace(OURS, reference="")),
    (ENTRY | {"shipmentId": None}, 7, None),
    *((ENTRY | {"recipients": odd}, 7, OF_ANOTHER) for odd in (None, [], [{}, {}], "x")),
    *((ENTRY | {"recipients": odd}, 7, None) for odd in ([None], [{}], [{"status": 7}])),
    (ENTRY | shipment("SMS_Odd"), 7, replace(OURS, status=None, word="SMS_Odd")),
    *((odd, None, None) for odd in (None, 7, "x", [], {})),
]


@pytest.mark.parametrize(("entry", "number", "receipt"), ENTRIES, ids=range(len(ENTRIES)))
def test_an_entry_is_read_as_far_as_it_can_be(
    entry: Any, number: int | None, receipt: Receipt | None, serve: Serve
) -> None:
    server = serve(upstream(feed=answer([entry, ENTRY])))
    page = gateway(server.url).read_feed(6, timeout=5)
    odd = FeedItem(number=number, receipts=(receipt,) if receipt else ())
    assert page.items == [odd, FeedItem(number=7, receipts=(OURS,))]
    assert (page.oldest, page.latest) == (None, None)
    asked = b"GET /future/shipment/feed?seq=6&pageSize=500&orderBy=asc HTTP/1.1\r\n"
    assert server.requests[0].startswith(asked)


@pytest.mark.parametrize(
    ("entries", "oldest", "latest", "reach", "last"),
    [
        ([], "0", "0", (0, 0), 0),
        ([], "43", "42", (43, 42), 42),
        ([], "-1", "x", (None, None), 0),
        ([], "", "9" * 19, (None, None), 0),
        ([{"sequenceNumber": 41}], "3", "42", (3, 42), 42),
        ([{"sequenceNumber": 41}], "3", "", (3, None), 41),
        ([], "", "", (None, None), 0),
    ],
)
def test_the_headers_tell_how_far_the_feed_reaches(
    entries: Any, oldest: str, latest: str, reach: tuple[Any, Any], last: int, serve: Serve
) -> None:
    headers = [f"x-oldest-sequence: {oldest}", f"X-Latest-Sequence: {latest}"]
    server = serve(upstream(feed=answer(entries, 200, *headers)))
    page = gateway(server.url).read_feed(0, timeout=5)
    assert (page.oldest, page.latest) == reach
    assert gateway(server.url).last_number(timeout=5) == last
    assert b"&pageSize=1&orderBy=desc " in server.requests[1]


def test_without_the_newest_number_nobody_says_where_the_feed_ends(serve: Serve) -> None:
    server = serve(upstream(feed=answer([None])))
    with pytest.raises(Unavailable, match="newest entry"):
        gateway(server.url).last_number(timeout=5)


FEED_FAILURES: Final[list[tuple[Reply, type[Exception], str]]] = [
    (answer("", 401), NotConfigured, "token of gateway 'altinn'.*HTTP 401.*notifications.create"),
    (answer("", 403), NotConfigured, "token of gateway 'altinn'.*HTTP 403"),
    (answer("", 404), NotConfigured, "'url' of gateway 'altinn'.*/notifications/api/v1/"),
    (answer("", 429, "Retry-After: 7"), Unavailable, "HTTP 429"),
    (answer("", 503), Unavailable, "HTTP 503"),
    (answer("", 302), Unavailable, "HTTP 302"),
    (answer({}), Unavailable, "no list"),
    (answer("<p>"), Unavailable, "no list"),
    (hang_up, Unavailable, "ConnectionError"),
    (keep_silent, Unavailable, "(?i)time"),
]


@pytest.mark.parametrize("ask", ["read_feed", "last_number", "probe"])
@pytest.mark.parametrize(("reply", "kind", "text"), FEED_FAILURES)
def test_a_feed_that_cannot_be_read_tells_why(
    reply: Reply, kind: type[Exception], text: str, ask: str, serve: Serve
) -> None:
    asked = gateway(serve(upstream(feed=reply)).url)
    first = [0] if ask == "read_feed" else []
    with pytest.raises(kind, match=text) as raised:
        getattr(asked, ask)(*first, timeout=patience(reply))
    assert type(raised.value) is kind
    assert getattr(raised.value, "retry_after", None) == (7 if "429" in text else None)


def test_a_probe_sends_nothing(serve: Serve) -> None:
    server = serve(upstream(token=[answer(REFUSED, 400), GRANTED]))
    with pytest.raises(NotConfigured, match=r"invalid_grant.*client_id"):
        by_maskinporten(server).probe(5)
    by_maskinporten(server).probe(5)
    assert {last_part(request) for request in server.requests} == {"token", "maskinporten", "feed"}


# What is configured


US: Final = {"client_id": "us", "key": PEM, "key_id": "key-1"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"token": FIXED}, ""),
        ({"maskinporten": US}, ""),
        ({"maskinporten": US, "exchange_url": None}, ""),
        ({"token": FIXED, "url": "http://altinn.example/"}, "option 'url'.*no https"),
        ({"token": FIXED, "url": "altinn.example"}, "option 'url'.*no https"),
        ({"maskinporten": US, "exchange_url": "http://a.example/"}, "'exchange_url'.*no https"),
        ({"maskinporten": US | {"key": f"{PEM[:200]}"}}, "'altinn' would get no token.*'key'"),
        ({"maskinporten": US | {"key": ""}}, "'altinn' would get no token.*'key'.*blank"),
        ({"maskinporten": US | {"issuer": "http://a.example/"}}, "no token.*'issuer'.*no https"),
        ({"maskinporten": {"client_id": "us"}}, "'altinn' do not fit:.*key"),
        ({"maskinporten": US | {"kid": "key-1"}}, "'altinn' do not fit:.*kid"),
        ({"maskinporten": PEM}, "'altinn' do not fit"),
        ({}, "'altinn' needs.*'maskinporten'.*'token'"),
        ({"maskinporten": US, "token": FIXED}, "needs.*'maskinporten'.*'token'.*not both"),
    ],
)
def test_what_is_wrong_with_the_options_is_told(
    options: Any, expected: str, configure: Configure
) -> None:
    entry = {"BACKEND": BACKEND, "OPTIONS": {"url": "https://altinn.example/", **options}}
    configure(GATEWAYS={"altinn": entry}, ROUTES={"sms": ["altinn"], "email": ["altinn"]})
    found = check_settings(None)
    assert len(found) == bool(expected)
    for problem in found:
        assert re.search(expected, problem.msg)
        assert problem.hint
        assert not [secret for secret in SECRETS if secret in f"{problem.msg} {problem.hint}"]


# The way from ``send_sms``


@pytest.fixture
def route(configure: Configure) -> Callable[[Server], None]:
    def lead_to(server: Server) -> None:
        entry = {"BACKEND": BACKEND, "OPTIONS": {"url": server.url, "token": FIXED}}
        configure(GATEWAYS={"altinn": entry}, ROUTES={"sms": ["altinn"]})

    return lead_to


@pytest.mark.django_db(transaction=True)
def test_an_unknown_outcome_is_asked_again_under_the_same_id(serve: Serve, route: Any) -> None:
    server = serve(upstream(sms=[hang_up, answer(TAKEN, 200)]))
    route(server)
    with pytest.raises(OutcomeUnknown):
        send_sms(NUMBER, SMS.body, idempotency_id="id-1")
    sent = send_sms(NUMBER, SMS.body, idempotency_id="id-1")
    assert sent.status == "SMS_Accepted"
    delivery = Delivery.objects.get()
    assert delivery.gateway_reference == SHIPMENT
    told = [(said["idempotencyId"], said["sendersReference"]) for said in bodies(server)]
    assert told == [(str(delivery.pk),) * 2] * 2
    assert send_sms(NUMBER, SMS.body, idempotency_id="id-1").replayed
    assert len(server.requests) == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("life", "passed"), [(60, 0), (89, 0), (90, 0), (100, 0), (150, 0), (90, 45)]
)
def test_the_lifetime_that_remains_is_handed_on(
    life: int, passed: int, serve: Serve, route: Any, clock: Clock
) -> None:
    server = serve(upstream(sms=[answer("", 503), answer(TAKEN, 201)]))
    route(server)
    for _ in range(2):
        with suppress(Unavailable):
            send_sms(NUMBER, SMS.body, idempotency_id="id-1", time_to_live=life)
        clock.go(timedelta(seconds=passed))
    told = [said["recipientSms"]["timeToLiveInSeconds"] for said in bodies(server)]
    assert told == [life, max(60, life - passed)]


def test_the_settings_of_the_docs_are_sound_where_the_key_is(tmp_path: Path, settings: Any) -> None:
    key = tmp_path / "maskinporten.pem"
    key.write_text(PEM)
    page = Path(__file__).parents[2] / "docs" / "howto" / "behind-altinn.md"
    (block,) = [each for each in page.read_text().split("```") if "/run/secrets/" in each]
    namespace: dict[str, Any] = {}
    exec(block.removeprefix("python").replace("/run/secrets", str(tmp_path)), namespace)
    settings.INSTANT_NOTIFICATIONS = namespace["INSTANT_NOTIFICATIONS"]
    assert check_settings(None) == []
    assert settings.INSTANT_NOTIFICATIONS["ROUTES"]["sms"] == ["altinn"]


# In front of this very app


@pytest.fixture
def to_ourselves(live_server: Any) -> AltinnGateway:
    return gateway(f"{live_server.url}{API}", token=tokens.issue("ttd"))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("message", [SMS, EMAIL], ids=["sms", "email"])
def test_this_app_takes_a_message_once_and_tells_of_it(
    message: Message, to_ourselves: AltinnGateway
) -> None:
    receipts = [to_ourselves.hand_over(message) for _ in range(2)]
    assert [receipt.word for receipt in receipts] == ["201", "200"]
    (shipment_id,) = {receipt.gateway_reference for receipt in receipts}
    taken = to_ourselves.look_up(shipment_id, timeout=5)
    assert (taken.status, taken.reference) == (WORDS[message.channel].accepted, SMS.reference)
    deliver_due_receipts()
    (item,) = to_ourselves.read_feed(0, timeout=5).items
    delivered = WORDS[message.channel].delivered
    expected = replace(taken, status=delivered, word=delivered)
    assert (item.number, item.receipts) == (1, (expected,))
    assert to_ourselves.last_number(timeout=5) == 1
    to_ourselves.probe(timeout=5)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("number", "kind", "reason", "status"),
    [
        ("+4799990001", Rejected, "HTTP 422 IN-00001", "SMS_Failed_InvalidRecipient"),
        ("+4799990002", Unavailable, "HTTP 503 NOT-00004", None),
        ("+4799990005", OutcomeUnknown, "HTTP 504 IN-00003", None),
        ("+4712345678", Rejected, "HTTP 400", "SMS_Failed_InvalidRecipient"),
    ],
)
def test_this_apps_refusals_are_understood(
    number: str, kind: Any, reason: str, status: str | None, to_ourselves: AltinnGateway
) -> None:
    failure = failure_of(to_ourselves, replace(SMS, destination=number))
    assert (type(failure), failure.reason) == (kind, reason)
    assert getattr(failure, "status", None) == status
