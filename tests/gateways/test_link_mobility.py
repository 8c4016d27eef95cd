"""Against a provider on a real socket that reads the XML it is sent, as LINK does."""

import base64
import logging
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Final
from xml.etree.ElementTree import Element, fromstring

import pytest
from django.http import HttpRequest
from django.test import Client

from instant_notifications.checks import check_settings
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import Message, Receipt, UnreadableReceipts
from instant_notifications.gateways.link_mobility import (
    OTHER_REFUSAL,
    REFUSALS,
    STATES,
    LinkMobilityGateway,
)
from instant_notifications.models import Delivery, StatusEvent, UnmatchedReceipt
from instant_notifications.orders import send_sms
from instant_notifications.statuses import Channel
from instant_notifications.testing import GRACE, GatewayContract, PushedReceipts, a_push
from tests.conftest import API
from tests.web import Server, Talk, free_port, hangs_up, keeps_silent

NUMBER: Final = "+4799999999"
CODE: Final = "428516"
SECRETS: Final = (NUMBER[1:], CODE, "open-sesame")
OPTIONS: Final = {
    "user": "altinn",
    "password": "open-sesame",
    "sender": "Altinn",
    "receipts_user": "link",
    "receipts_password": "let-me-in",
}
MESSAGE: Final = Message(
    reference="0190-sms",
    channel=Channel.SMS,
    destination=NUMBER,
    body=f"Your code is {CODE}",
    time_to_live=300,
)
BACKEND: Final = f"{LinkMobilityGateway.__module__}.{LinkMobilityGateway.__qualname__}"
PAGE: Final = Path(__file__).parents[2] / "docs" / "gateways" / "link_mobility.md"

Serve = Callable[[Talk], Server]
Configure = Callable[..., None]


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


GENUINE: Final = basic("link:let-me-in")


def session(*parts: str, logon: str = "<LOGON>OK</LOGON>") -> bytes:
    """An answer of LINK's with these MSGs."""
    messages = "".join(f"<MSG><ID>1</ID>{part}</MSG>" for part in parts)
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>'
        f"<SESSION>{logon}<REASON/><MSGLST>{messages}</MSGLST></SESSION>"
    ).encode("iso-8859-1")


def refused(info: str, status: str = "FAIL") -> bytes:
    return session(f"<STATUS>{status}</STATUS><INFO>{info}</INFO>")


OK: Final = "<REF>link-1</REF><STATUS>OK</STATUS><INFO/>"
TAKEN: Final = session(OK)


def replies(content: bytes, *headers: str, status: str = "200 OK") -> Talk:
    head = "\r\n".join(
        [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers, "\r\n"]
    ).encode()

    def talk(server: Server, connection: socket.socket) -> None:
        while server.hear(connection):
            connection.sendall(head + content)

    return talk


def hangs_up_half_way(server: Server, connection: socket.socket) -> None:
    connection.recv(1)


def dribbles(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        server.wait(0.05)


def gateway(url: str = "https://link.example/", **options: Any) -> LinkMobilityGateway:
    return LinkMobilityGateway("link", url=url, **{**OPTIONS, **options})


def failure_at(url: str, message: Message = MESSAGE) -> HandoverFailed:
    with pytest.raises(HandoverFailed) as raised:
        gateway(url).hand_over(message)
    return raised.value


def heard(server: Server) -> tuple[bytes, Element]:
    """The only request, raw and as LINK reads it."""
    (request,) = server.requests
    raw = request.partition(b"\r\n\r\n")[2]
    assert raw.startswith(b'<?xml version="1.0" encoding="ISO-8859-1"?>')
    return raw, fromstring(raw)


def parts(element: Element) -> dict[str, str | None]:
    return {part.tag: part.text for part in element}


def the_message(server: Server) -> dict[str, str | None]:
    (message,) = heard(server)[1].findall("MSGLST/MSG")
    return parts(message)


@pytest.fixture(autouse=True)
def _no_person_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    said = [f"{record.getMessage()} {record.exc_text}" for record in caplog.get_records("call")]
    assert not [line for line in said if any(secret in line for secret in SECRETS)]


def pushed(*receipts: Receipt) -> bytes:
    """As LINK would push them, numbered from 1."""
    messages = "".join(
        f"<MSG><ID>{number}</ID><REF>{receipt.gateway_reference}</REF><RCV>{NUMBER[1:]}</RCV>"
        f"<STATE>{receipt.word}</STATE><DELIVERYTIME>2026.02.23 15:23:23</DELIVERYTIME></MSG>"
        for number, receipt in enumerate(receipts, start=1)
    )
    return f'<?xml version="1.0"?>\n<MSGLST>{messages}</MSGLST>'.encode()


class TestLinkMobilityGateway(PushedReceipts, GatewayContract):
    gateway_class = LinkMobilityGateway
    messages = {Channel.SMS: MESSAGE}
    receipts = (
        Receipt(gateway_reference="link-1", status="SMS_Delivered", word="DELIVRD"),
        Receipt(gateway_reference="link-2", status="SMS_Failed_BarredReceiver", word="BARREDA"),
        Receipt(gateway_reference="link-3", status=None, word="UNKNOWN"),
    )

    @pytest.fixture(autouse=True)
    def _provider(self, serve: Serve) -> None:
        self.server = serve(replies(TAKEN))
        self.options = {"url": self.server.url, **OPTIONS}

    def behaving(self, talk: Talk, message: Message) -> Message:
        self.server.talk = talk
        return message

    def when_accepting(self, message: Message) -> Message:
        return message

    def when_refusing(self, message: Message) -> Message:
        return self.behaving(replies(refused(f"Invalid RCV: {NUMBER}")), message)

    def when_unreachable(self, message: Message) -> Message:
        self.options["url"] = f"http://127.0.0.1:{free_port()}/"
        return message

    def when_silent(self, message: Message) -> Message:
        return self.behaving(keeps_silent, message)

    def push(self, *receipts: Receipt) -> HttpRequest:
        return a_push(pushed(*receipts), headers={"Authorization": GENUINE})


# What LINK is told


def test_a_message_is_one_session(serve: Serve) -> None:
    server = serve(replies(TAKEN))
    receipt = gateway(server.url).hand_over(MESSAGE)
    assert receipt == Receipt(gateway_reference="link-1", word="OK")
    assert b"\r\nContent-Type: text/xml; charset=ISO-8859-1\r\n" in server.requests[0]
    told = heard(server)[1]
    assert (told.tag, [part.tag for part in told]) == ("SESSION", ["CLIENT", "PW", "MSGLST"])
    assert (told.findtext("CLIENT"), told.findtext("PW")) == ("altinn", "open-sesame")
    assert list(the_message(server).items()) == [
        ("ID", "1"),
        ("TEXT", MESSAGE.body),
        ("SND", "Altinn"),
        ("RCV", "4799999999"),
        ("TTL", "5"),
    ]


@pytest.mark.parametrize(("seconds", "minutes"), [(60, "1"), (120, "2"), (172_800, "2880")])
def test_the_lifetime_goes_in_minutes(seconds: int, minutes: str, serve: Serve) -> None:
    server = serve(replies(TAKEN))
    gateway(server.url).hand_over(replace(MESSAGE, time_to_live=seconds))
    assert the_message(server)["TTL"] == minutes


@pytest.mark.parametrize(
    "body", ["æøå ÆØÅ", "]]>", "<b>&amp;</b>", "{[~^|\\]}", "one\r\ntwo\nthree\rfour", "@£¥èéÇ¤"]
)
def test_what_both_alphabets_have_goes_as_it_is(body: str, serve: Serve) -> None:
    server = serve(replies(TAKEN))
    gateway(server.url).hand_over(replace(MESSAGE, body=body))
    assert the_message(server)["TEXT"] == body
    assert "OP" not in the_message(server)


UNICODE: Final = {
    "€": "20AC",
    "ç": "00E7",
    "Φ": "03A6",
    "“ja”": "201C006A0061201D",
    "😀": "D83DDE00",
    "a\tb": "006100090062",
    "\r\n\u2028": "000D000A2028",
    "\x00\x80": "00000080",
    "a\ud800": "0061003F",
}


@pytest.mark.parametrize(("body", "text"), UNICODE.items(), ids=UNICODE.values())
def test_what_one_of_them_lacks_goes_as_unicode(body: str, text: str, serve: Serve) -> None:
    server = serve(replies(TAKEN))
    gateway(server.url).hand_over(replace(MESSAGE, body=body))
    told = the_message(server)
    assert list(told) == ["ID", "TEXT", "SND", "RCV", "OP", "TTL"]
    assert (told["OP"], told["TEXT"]) == ("9", text)


@pytest.mark.parametrize(
    ("written", "read"),
    [("R&D <€> ]]>", None), ("Blåbær\r\n", None), ("\x00a\x1b\ud800\uffff", "?a???")],
)
def test_no_text_breaks_the_xml(written: str, read: str | None, serve: Serve) -> None:
    server = serve(replies(TAKEN))
    odd = gateway(server.url, user=written, password=written)
    odd.hand_over(replace(MESSAGE, sender=written))
    told = heard(server)[1]
    texts = {told.findtext("CLIENT"), told.findtext("PW"), told.findtext("MSGLST/MSG/SND")}
    assert texts == {read or written}


# What LINK answers


@pytest.mark.parametrize(
    ("said", "info", "reason", "status"),
    [
        ("FAIL", f"Invalid RCV: {NUMBER}", "Invalid RCV", "SMS_Failed_InvalidRecipient"),
        ("NO", "Invalid RCV", "Invalid RCV", "SMS_Failed_InvalidRecipient"),
        ("FAIL", f"{NUMBER} has no route; Invalid RCV", "FAIL", "SMS_Failed_Rejected"),
        ("FAIL", "Invalid SND", "FAIL", "SMS_Failed_Rejected"),
        ("FAIL", "", "FAIL", "SMS_Failed_Rejected"),
    ],
)
def test_a_refused_message_is_refused_for_good(
    said: str, info: str, reason: str, status: str, serve: Serve
) -> None:
    failure = failure_at(serve(replies(refused(info, said))).url)
    assert isinstance(failure, Rejected)
    assert (failure.reason, failure.status) == (reason, status)


@pytest.mark.parametrize("rest", ["", f"<REASON>{NUMBER}</REASON>", "<MSGLST/>"])
def test_a_refused_log_on_is_no_fault_of_the_message(rest: str, serve: Serve) -> None:
    answer = f"<SESSION><LOGON>FAIL</LOGON>{rest}</SESSION>".encode()
    failure = failure_at(serve(replies(answer)).url)
    assert isinstance(failure, Unavailable)
    assert failure.reason == "log-on refused"
    assert not failure.only_this_message


STATUSES: Final = {
    **dict.fromkeys([429, 503], (Unavailable, 30)),
    **dict.fromkeys([400, 401, 403, 404, 408, 422, 499], (Unavailable, None)),
    **dict.fromkeys([301, 302, 500, 502, 504], (OutcomeUnknown, None)),
}


@pytest.mark.parametrize(("code", "expected"), STATUSES.items())
def test_an_http_failure_outweighs_what_the_answer_says(
    code: int, expected: tuple[type[HandoverFailed], int | None], serve: Serve
) -> None:
    failure = failure_at(serve(replies(TAKEN, "Retry-After: 30", status=f"{code} So")).url)
    assert (type(failure), failure.retry_after) == expected
    assert failure.reason == f"HTTP {code}"


def test_an_ok_without_a_reference_is_taken(serve: Serve) -> None:
    server = serve(replies(session("<STATUS>OK</STATUS>")))
    assert gateway(server.url).hand_over(MESSAGE) == Receipt(word="OK")


def spoilt(root: str, inside: str) -> dict[str, bytes]:
    """A good document in ways in which nobody may read it."""
    good = f"<{root}>{inside}</{root}>"
    texts = {
        "nothing": "",
        "no XML": f"OK {NUMBER}",
        "cut short": good[:-1],
        "two roots": good * 2,
        "another root": f"<NUMBER{CODE}>{inside}</NUMBER{CODE}>",
        "a name space": good.replace(">", " xmlns='urn:x'>", 1),
        "a document type": f"<!DOCTYPE {root} SYSTEM 'x.dtd'>{good}",
        "an entity": f"<!DOCTYPE {root} [<!ENTITY a 'a'>]>{good}",
        "a billion laughs": f"<!DOCTYPE {root} [<!ENTITY a 'ha'><!ENTITY b '&a;&a;'>]>{good}&b;",
        "an external entity": f"<!DOCTYPE {root} [<!ENTITY a SYSTEM '/etc/passwd'>]>{good}",
        "an unknown entity": f"<{root}>{inside}&a;</{root}>",
        "deep nesting": f"<{root}>{inside}{'<X>' * 10}{'</X>' * 10}</{root}>",
        "abysmal nesting": f"<{root}>{inside}{'<X>' * 14_000}{'</X>' * 14_000}</{root}>",
        "an unknown encoding": f"<?xml version='1.0' encoding='x{CODE}'?>{good}",
        "an encoding of words": f"<?xml version='1.0' encoding='idna'?>{good}",
        "NUL": f"<{root}>{inside}\x00</{root}>",
    }
    return {
        **{name: text.encode() for name, text in texts.items()},
        "another encoding": f"<{root}>{inside}ø</{root}>".encode("iso-8859-1"),
        "a wider encoding": f"<?xml version='1.0' encoding='utf-8'?>{good}".encode("utf-16"),
    }


HOSTILE: Final = spoilt("MSGLST", "<MSG><ID>1</ID><REF>link-1</REF><STATE>DELIVRD</STATE></MSG>")
UNCLEAR: Final = {
    **spoilt("SESSION", f"<LOGON>OK</LOGON><MSGLST><MSG>{OK}</MSG></MSGLST>"),
    "no log-on": session(OK, logon=""),
    "an unknown log-on": session(OK, logon="<LOGON>PERHAPS</LOGON>"),
    "no list": b"<SESSION><LOGON>OK</LOGON></SESSION>",
    "no message": session(),
    "two messages": session(OK, OK),
    "no status": session("<REF>link-1</REF>"),
    "an unknown status": session("<STATUS>QUEUED</STATUS>"),
    "too much": session(OK + f"<INFO>{'x' * 100_000}</INFO>"),
}


@pytest.mark.parametrize("answer", UNCLEAR.values(), ids=UNCLEAR)
def test_an_answer_that_nobody_understands_is_ambiguous(answer: bytes, serve: Serve) -> None:
    failure = failure_at(serve(replies(answer)).url)
    assert type(failure) is OutcomeUnknown
    assert failure.reason == "unreadable answer"


@pytest.mark.parametrize("talk", [hangs_up, keeps_silent, dribbles])
def test_no_answer_in_time_is_ambiguous(talk: Talk, serve: Serve) -> None:
    server, started = serve(talk), monotonic()
    assert type(failure_at(server.url, replace(MESSAGE, timeout=0.5))) is OutcomeUnknown
    assert monotonic() - started < 0.5 + GRACE
    assert len(server.requests) == 1


def test_what_left_only_in_part_was_not_sent(serve: Serve) -> None:
    message = replace(MESSAGE, body="x" * 20_000_000)
    assert isinstance(failure_at(serve(hangs_up_half_way).url, message), Unavailable)


# What LINK reports


def test_the_states_and_refusals_are_those_of_the_docs() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(SMS_\w+)` \|", PAGE.read_text(), re.M))
    assert rows == STATES
    assert all(f"`{status}`" in PAGE.read_text() for status in (*REFUSALS.values(), OTHER_REFUSAL))


def read(body: bytes) -> list[Receipt]:
    return list(gateway().read_receipts(a_push(body)))


@pytest.mark.parametrize("state", [*STATES, "UNKNOWN", "delivrd", ""])
def test_each_state_has_its_word(state: str) -> None:
    expected = Receipt(gateway_reference="link-1", status=STATES.get(state), word=state)
    assert read(pushed(expected)) == [expected]


@pytest.mark.parametrize(
    ("body", "receipts"),
    [
        (b"<MSGLST/>", []),
        (b"<MSG><REF> r </REF><STATE>\n ODD </STATE></MSG>", [("r", "ODD")]),
        (b"<MSGLST><MSG/><MSG><REF>r</REF></MSG></MSGLST>", [("", ""), ("r", "")]),
        (b"<MSGLST><MSG><NEW><X/></NEW><REF>r</REF></MSG><MORE/></MSGLST>", [("r", "")]),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><MSG><REF>ø</REF></MSG>", [("ø", "")]),
    ],
)
def test_a_push_is_read_as_far_as_it_can_be(
    body: bytes | str, receipts: list[tuple[str, str]]
) -> None:
    raw = body if isinstance(body, bytes) else body.encode("iso-8859-1")
    assert [(each.gateway_reference, each.word) for each in read(raw)] == receipts


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_push_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableReceipts) as raised:
        read(body)
    assert raised.value.__cause__ is None
    assert not [secret for secret in (*SECRETS, "passwd") if secret in str(raised.value)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_each_receipt_is_acknowledged_by_its_number(count: int) -> None:
    answer = gateway().acknowledge([Receipt()] * count)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/xml; charset=ISO-8859-1"
    told = fromstring(answer.content)
    expected = [{"ID": str(number), "STATUS": "OK"} for number in range(1, count + 1)]
    assert (told.tag, [parts(each) for each in told.iterfind("MSG")]) == ("MSGLST", expected)


@pytest.fixture
def delivery(serve: Serve, configure: Configure, db: None) -> Delivery:
    """One that LINK has taken."""
    options = {"url": serve(replies(TAKEN)).url, **OPTIONS}
    configure(GATEWAYS={"link": {"BACKEND": BACKEND, "OPTIONS": options}}, ROUTES={"sms": ["link"]})
    send_sms(NUMBER, MESSAGE.body)
    return Delivery.objects.get()


def push(body: bytes, authorization: str = GENUINE) -> Any:
    headers = {"Authorization": authorization}
    return Client().generic("POST", f"{API}delivery-reports/link", body, headers=headers)


def test_receipts_find_their_message_however_often_they_come(delivery: Delivery) -> None:
    assert (delivery.status, delivery.gateway_reference) == ("SMS_Accepted", "link-1")
    receipts = [
        Receipt(gateway_reference=reference, word=word)
        for reference, word in [("link-1", "NEW"), ("nobody's", "DELIVRD"), ("link-1", "DELIVRD")]
    ]
    for _ in range(2):
        answer = push(pushed(*receipts))
        assert answer.status_code == 200
        assert [each.text for each in fromstring(answer.content).iter("ID")] == ["1", "2", "3"]
    delivery.refresh_from_db()
    assert delivery.status == "SMS_Delivered"
    words = StatusEvent.objects.filter(cause="receipt").order_by("pk")
    assert list(words.values_list("gateway_word", flat=True)) == ["NEW", "DELIVRD"]
    assert UnmatchedReceipt.objects.get().gateway_reference == "nobody's"


@pytest.mark.parametrize(
    "authorization", ["", basic("link:another"), basic("altinn:let-me-in"), f"Bearer {GENUINE[6:]}"]
)
def test_a_forged_push_changes_nothing(authorization: str, delivery: Delivery) -> None:
    good = pushed(Receipt(gateway_reference="link-1", word="DELIVRD"))
    assert push(good, authorization).status_code == 401
    assert Delivery.objects.get().status == "SMS_Accepted"
    assert push(good).status_code == 200
    assert Delivery.objects.get().status == "SMS_Delivered"


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_push_is_400_and_changes_nothing(body: bytes, delivery: Delivery) -> None:
    answer = push(body)
    assert (answer.status_code, answer.content) == (400, b"")
    assert StatusEvent.objects.filter(cause="receipt").count() == 0
    assert UnmatchedReceipt.objects.count() == 0


# What is configured


E010, W008 = "instant_notifications.E010", "instant_notifications.W008"
OVERHEARD: Final = (
    *("http://link.example/", "http://localhost.example/", "http://127.0.0.1@link.example/"),
    *("ftp://localhost/", "https://", "link.example", "http://[", "", None),
)
PRIVATE: Final = (
    "https://link.example/",
    "http://127.0.0.1:80/",
    "http://localhost/",
    "http://[::1]",
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        *(({"url": url}, []) for url in PRIVATE),
        *(({"url": url}, [E010]) for url in OVERHEARD),
        ({"user": "", "password": None}, [E010, E010]),
        ({"receipts_user": ""}, [W008]),
        ({"receipts_password": ""}, [W008]),
    ],
)
def test_each_problem_of_the_options_is_said(options: Any, expected: list[str]) -> None:
    found = list(gateway(**options).check())
    assert [each.id for each in found] == expected
    assert all("'link'" in each.msg and each.hint for each in found)


@pytest.mark.parametrize("missing", ["url", "user", "password"])
def test_a_missing_option_is_named(missing: str, configure: Configure) -> None:
    given = {"url": "https://link.example/", **OPTIONS}
    del given[missing]
    configure(GATEWAYS={"link": {"BACKEND": BACKEND, "OPTIONS": given}}, ROUTES={})
    assert any(f"'{missing}'" in problem.msg for problem in check_settings(None))


def test_a_probe_carries_no_message(serve: Serve) -> None:
    server = serve(replies(session()))
    gateway(server.url).probe(timeout=5)
    assert heard(server)[1].findall("MSGLST") != []
    assert heard(server)[1].findall("MSGLST/*") == []


@pytest.mark.parametrize(
    ("talk", "kind", "text"),
    [
        (replies(session(logon="<LOGON>FAIL</LOGON>")), NotConfigured, "'link'.*'user'.*'pass"),
        (replies(b"<html/>"), Unavailable, "unreadable answer"),
        (replies(TAKEN, status="503 Busy"), Unavailable, "HTTP 503"),
        (replies(TAKEN, status="500 Ouch"), Unavailable, "HTTP 500"),
        (keeps_silent, Unavailable, "no answer in time"),
    ],
)
def test_a_probe_tells_what_is_wrong(
    talk: Talk, kind: type[Exception], text: str, serve: Serve
) -> None:
    with pytest.raises(kind, match=text):
        gateway(serve(talk).url).probe(timeout=0.5)
