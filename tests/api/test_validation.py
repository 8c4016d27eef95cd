"""Contract §5: what bad input gets, and that it leaves nothing behind."""

import io
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest

from tests.api.conftest import (
    DEPRECATED,
    EMAIL,
    ROUTES,
    SMS,
    Route,
    every_route,
    invalid,
    post,
    problem,
)
from tests.outcomes import rows_left

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
MARK = "Zyx428516"
"""Part of a bad value; it must not come back, neither in an answer nor in a log."""

EXPECTED = {text: f"Expected {text}." for text in ("a string", "an integer", "an object")}
PHONE = "Recipient phone number is not a valid mobile number."
TIME_TO_LIVE = "Time-to-live must be between 60 and 172800 seconds (48 hours)."
ADDRESS = "Invalid email address format."
CONTENT_TYPE = "Email content type must be either Plain or HTML."
UNSENDABLE = "The {name} field contains characters that cannot be sent."
REQUIRED = "The {name} field is required."
TOO_LONG = "The {name} field must be at most {limit} characters."


@dataclass(frozen=True)
class Member:
    path: str
    kind: str = "a string"
    required: bool = True
    limit: int | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


COMMON = (Member("idempotencyId", limit=255), Member("sendersReference", required=False, limit=255))
RECIPIENT_SMS = (
    Member("recipientSms", "an object"),
    Member("recipientSms.phoneNumber"),
    Member("recipientSms.timeToLiveInSeconds", "an integer"),
    Member("recipientSms.smsSettings", "an object"),
    Member("recipientSms.smsSettings.sender", required=False, limit=64),
    Member("recipientSms.smsSettings.body"),
)
RECIPIENT_EMAIL = (
    Member("recipientEmail", "an object"),
    Member("recipientEmail.emailAddress"),
    Member("recipientEmail.emailSettings", "an object"),
    Member("recipientEmail.emailSettings.subject", limit=998),
    Member("recipientEmail.emailSettings.body"),
    Member("recipientEmail.emailSettings.senderEmailAddress", required=False),
    Member("recipientEmail.emailSettings.contentType", required=False),
)
DEEPER = tuple(
    Member(f"recipient.{member.path}", member.kind, member.required, member.limit)
    for member in RECIPIENT_SMS
)
MEMBERS = {
    SMS: (*COMMON, *RECIPIENT_SMS),
    EMAIL: (*COMMON, *RECIPIENT_EMAIL),
    DEPRECATED: (*COMMON, Member("recipient", "an object"), *DEEPER),
}

BLANKS = ("", " ", "\t\r\n")
WRONG = {
    "a string": (428516, 5.5, True, False, [MARK], {MARK: MARK}, []),
    "an integer": (MARK, "300", 300.5, 300.0, True, [300], {MARK: 300}),
    "an object": (MARK, 428516, True, [{MARK: MARK}], []),
}
UNSENDABLES = ("\x00", "\x01", "\x07", "\x1b", "\x7f", "\x9f", "\ud800", "\udfff", "\ud83d")


def with_member(route: Route, path: str, value: Any) -> dict[str, Any]:
    """A good request but for one member; ``...`` takes it out."""
    request = deepcopy(route.request())
    *parents, name = path.split(".")
    place = request
    for parent in parents:
        place = place[parent]
    if value is ...:
        place.pop(name, None)
    else:
        place[name] = value
    return request


def _bad_values(member: Member) -> Iterator[tuple[Any, str]]:
    if member.required:
        yield ..., REQUIRED
        yield None, REQUIRED
        if member.kind != "an object":
            yield from ((blank, REQUIRED) for blank in BLANKS)
    yield from ((value, EXPECTED[member.kind]) for value in WRONG[member.kind])
    if member.kind == "a string":
        yield from ((f"{MARK}{bad}x", UNSENDABLE) for bad in UNSENDABLES)
    if member.limit is not None:
        yield MARK.ljust(member.limit + 1, "x"), TOO_LONG


every_member = pytest.mark.parametrize(
    ("route", "member"),
    [(route, member) for route in ROUTES for member in MEMBERS[route]],
    ids=lambda value: value.path if isinstance(value, Member) else str(value),
)


@every_member
def test_every_bad_value_of_every_member_is_named_by_its_path(
    route: Route, member: Member, api: Any, stub: Any, caplog: Any
) -> None:
    for value, message in _bad_values(member):
        answer = post(api, route, with_member(route, member.path, value))
        expected = message.format(name=member.name, limit=member.limit)
        assert invalid(answer) == {member.path: [expected]}, ascii(value)
        assert MARK not in answer.content.decode()
    assert stub.seen == []
    assert rows_left() == []
    assert MARK not in caplog.text


@every_member
def test_an_optional_member_may_be_missing_null_or_blank(
    route: Route, member: Member, api: Any, stub: Any
) -> None:
    values = () if member.required else (..., None, *BLANKS)
    for number, value in enumerate(values):
        request = with_member(route, member.path, value) | {"idempotencyId": f"id-{number}"}
        assert post(api, route, request).status_code == 201, value
    assert len(stub.seen) == len(values)


@every_member
def test_a_member_may_be_as_long_as_its_limit(
    route: Route, member: Member, api: Any, stub: Any
) -> None:
    if member.limit is not None:
        request = with_member(route, member.path, "æ" * member.limit)
        assert post(api, route, request).status_code == 201


INVALID_PHONES = (
    *("+47", "12345", "abcdefg", "+479999999", "+479999999999", "+4712345678", "40000000"),
    *("+4750000004", "++4740000000", " +4799999999", "+4722000000", "+4799999999;ext=5"),
    *("+4799999999 ext. 5", "tel:+4799999999", "004799", "00+4799999999", "+", "00", "0", "+x"),
    *("+4799999999,+4740000000", "+47999999990000000", "4799999999", "99999999"),
)
VALID_PHONES = (
    *("+4799999999", "004799999999", "+4791234567", "+4740000000", "004790000002"),
    *("+233242426224", "+47 99999999", "+47 9999 9999", "+47 99 99 99 99 "),
)
INVALID_ADDRESSES = (
    *("@example.com", "test@", "test.example.com", ".user@example.com", "user.@example.com"),
    *("user@example..com", "user@exa!mple.com", "one@example.com;two@example.com"),
    *("one@example.com,two@example.com", "Kari <kari@example.com>", "kari@example.com>", "@", "a"),
    *("kari@example.com kari@example.com", "kari@-example.com", f"kari@{'x' * 64}.com"),
)
VALID_ADDRESSES = (
    *("test@example.com", "user.name+tag@domain.co.uk", "æge_sjøåsen@domain.com"),
    *("john.doe@sub.domain.example", " kari@example.com", "kari@example.com\r\n", "kari@blåbær.no"),
)
RULES: tuple[tuple[Route, str, str, tuple[Any, ...], tuple[Any, ...]], ...] = (
    (SMS, "recipientSms.phoneNumber", PHONE, INVALID_PHONES, VALID_PHONES),
    (
        SMS,
        "recipientSms.timeToLiveInSeconds",
        TIME_TO_LIVE,
        (59, 172_801, 0, -1, -300, 2**31, 2**64, 10**300),
        (60, 61, 172_799, 172_800),
    ),
    (EMAIL, "recipientEmail.emailAddress", ADDRESS, INVALID_ADDRESSES, VALID_ADDRESSES),
    (
        EMAIL,
        "recipientEmail.emailSettings.senderEmailAddress",
        ADDRESS,
        INVALID_ADDRESSES,
        VALID_ADDRESSES,
    ),
    (
        EMAIL,
        "recipientEmail.emailSettings.contentType",
        CONTENT_TYPE,
        ("Markdown", "text/html", "Plain Html", "0"),
        ("Plain", "html"),
    ),
)
every_rule = pytest.mark.parametrize(
    ("route", "path", "message", "bad", "good"),
    RULES,
    ids=[path.rpartition(".")[2] for _, path, *_ in RULES],
)


@every_rule
def test_values_that_break_a_rule_get_its_message(
    route: Route,
    path: str,
    message: str,
    bad: tuple[Any, ...],
    good: tuple[Any, ...],
    api: Any,
    stub: Any,
) -> None:
    for value in bad:
        assert invalid(post(api, route, with_member(route, path, value))) == {path: [message]}, (
            value
        )
    assert stub.seen == []
    assert rows_left() == []


@every_rule
def test_values_that_keep_a_rule_are_sent(
    route: Route,
    path: str,
    message: str,
    bad: tuple[Any, ...],
    good: tuple[Any, ...],
    api: Any,
    stub: Any,
) -> None:
    for number, value in enumerate(good):
        request = with_member(route, path, value) | {"idempotencyId": f"id-{number}"}
        assert post(api, route, request).status_code == 201, value
    assert len(stub.seen) == len(good)


@pytest.mark.parametrize("written", VALID_PHONES)
def test_a_phone_number_is_shown_and_sent_as_e164(written: str, api: Any, stub: Any) -> None:
    answer = post(api, SMS, SMS.request(phoneNumber=written))
    plain = "+" + written.replace(" ", "").removeprefix("00").removeprefix("+")
    assert stub.seen[0].destination == plain
    assert api.get(answer["Location"]).json()["recipients"][0]["destination"] == plain


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ("x" * 153 * 16, 16),
        ("x" * (153 * 16 + 1), 17),
        ("€" * (76 * 16), 16),
        ("€" * (76 * 16 + 1), 17),
        ("ç" * 67 * 16, 16),
        ("ç" * (67 * 16 + 1), 17),
        ("😀" * (33 * 16), 16),
        ("😀" * (33 * 16 + 1), 17),
    ],
)
def test_an_sms_of_more_than_16_parts_is_refused_with_the_count(
    body: str, parts: int, api: Any, stub: Any
) -> None:
    answer = post(api, SMS, SMS.request(body=body))
    if parts <= 16:
        assert answer.status_code == 201
    else:
        message = f"The body field needs {parts} SMS parts; at most 16 are allowed."
        assert invalid(answer) == {"recipientSms.smsSettings.body": [message]}
        assert rows_left() == []


@pytest.mark.parametrize("route", [SMS, EMAIL], ids=str)
def test_bodies_may_hold_tabs_and_line_breaks(route: Route, api: Any, stub: Any) -> None:
    assert post(api, route, route.request(body="a\tb\nc\r\nd")).status_code == 201
    assert stub.seen[0].body == "a\tb\nc\r\nd"


def test_no_header_can_be_smuggled_in_behind_a_subject(api: Any, stub: Any) -> None:
    post(api, EMAIL, EMAIL.request(subject="Hi\r\nBcc: x@example.com\nA\rB\x0bC\x0cD\x85E\u2028F"))
    assert stub.seen[0].subject == "Hi Bcc: x@example.com A B C D E F"


@pytest.mark.parametrize(
    ("setting", "route", "path", "message"),
    [
        (
            {"ALLOWED_REGIONS": ["SE"]},
            SMS,
            "recipientSms.phoneNumber",
            "Recipient phone number is in a region that is not allowed.",
        ),
        (
            {"APPROVED_SENDERS": {"ttd": {"sms": ["Skatt"]}}},
            SMS,
            "recipientSms.smsSettings.sender",
            "This sender is not approved for the organisation.",
        ),
        (
            {"APPROVED_SENDERS": {"ttd": {"email": ["a@example.com"]}}},
            EMAIL,
            "recipientEmail.emailSettings.senderEmailAddress",
            "This sender is not approved for the organisation.",
        ),
    ],
    ids=["region", "sms sender", "email sender"],
)
def test_what_the_host_does_not_allow_is_refused(
    setting: Any,
    route: Route,
    path: str,
    message: str,
    api: Any,
    client_of: Any,
    stub: Any,
    configure: Configure,
) -> None:
    configure(**setting)
    changes = {"senderEmailAddress": "b@example.com"} if route is EMAIL else {}
    request = route.request(**changes)
    assert invalid(post(api, route, request)) == {path: [message]}
    assert rows_left() == []
    if "APPROVED_SENDERS" in setting:
        assert post(client_of("skd"), route, request).status_code == 201


@every_route
def test_all_errors_are_reported_together(route: Route, api: Any, stub: Any) -> None:
    leaves = [
        member
        for member in MEMBERS[route]
        if not any(other.path.startswith(f"{member.path}.") for other in MEMBERS[route])
    ]
    request = route.request()
    for member in leaves:
        *parents, name = member.path.split(".")
        place = request
        for parent in parents:
            place = place[parent]
        place[name] = {MARK: MARK}
    assert invalid(post(api, route, request)) == {
        member.path: [EXPECTED[member.kind]] for member in leaves
    }


@every_route
def test_an_empty_object_lacks_what_is_required(route: Route, api: Any, stub: Any) -> None:
    outermost = [m.path for m in MEMBERS[route] if "." not in m.path and m.required]
    errors = invalid(post(api, route, {}))
    assert errors == {path: [REQUIRED.format(name=path)] for path in outermost}


@every_route
def test_a_refused_request_does_not_use_up_its_id(route: Route, api: Any, stub: Any) -> None:
    assert post(api, route, route.request(body=" ")).status_code == 400
    assert post(api, route).status_code == 201


NOT_JSON = {"$": ["Expected valid JSON in UTF-8."]}
NOT_OBJECT = {"$": ["Expected an object."]}
GOOD = json.dumps(SMS.request()).encode()
UNREADABLE: dict[str, tuple[bytes, dict[str, list[str]]]] = {
    "array": (b"[]", NOT_OBJECT),
    "array of requests": (b"[" + GOOD + b"]", NOT_OBJECT),
    "string": (b'"Zyx428516"', NOT_OBJECT),
    "number": (b"428516", NOT_OBJECT),
    "null": (b"null", NOT_OBJECT),
    "true": (b"true", NOT_OBJECT),
    "blank": (b"   ", NOT_JSON),
    "cut off": (GOOD[:-1], NOT_JSON),
    "two documents": (GOOD + GOOD, NOT_JSON),
    "single quotes": (b"{'Zyx428516': 1}", NOT_JSON),
    "trailing comma": (GOOD[:-1] + b",}", NOT_JSON),
    "raw line break": (GOOD.replace(b"Altinn", b"Zyx428516\n"), NOT_JSON),
    "raw NUL": (GOOD.replace(b"Altinn", b"Zyx428516\x00"), NOT_JSON),
    "byte order mark": (b"\xef\xbb\xbf" + GOOD, NOT_JSON),
    "invalid UTF-8": (GOOD.replace(b"Altinn", b"Zyx428516\xff\xfe"), NOT_JSON),
    "overlong UTF-8": (GOOD.replace(b"Altinn", b"Zyx428516\xc0\x80"), NOT_JSON),
    "UTF-8 surrogate": (GOOD.replace(b"Altinn", b"Zyx428516\xed\xa0\x80"), NOT_JSON),
    "UTF-16": (GOOD.decode().encode("utf-16"), NOT_JSON),
    "deep arrays": (b"[" * 100_000 + b"]" * 100_000, NOT_JSON),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, NOT_JSON),
    "deep member": (GOOD.replace(b"300", b"[" * 100_000 + b"]" * 100_000), NOT_JSON),
    "deep unknown member": (
        GOOD[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        NOT_JSON,
    ),
    "huge integer": (GOOD.replace(b"300", b"9" * 10_000), NOT_JSON),
    "NaN": (GOOD.replace(b"300", b"NaN"), NOT_JSON),
    "Infinity": (GOOD.replace(b"300", b"-Infinity"), NOT_JSON),
}


@every_route
@pytest.mark.parametrize(("body", "errors"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_not_one_json_object_is_400(
    route: Route, body: bytes, errors: Any, api: Any, stub: Any, caplog: Any
) -> None:
    answer = post(api, route, body)
    assert invalid(answer) == errors
    assert MARK not in answer.content.decode() + caplog.text
    assert stub.seen == []
    assert rows_left() == []


def test_a_number_beyond_all_bounds_is_no_integer(api: Any, stub: Any) -> None:
    answer = post(api, SMS, GOOD.replace(b"300", b"1e999"))
    assert invalid(answer) == {"recipientSms.timeToLiveInSeconds": ["Expected an integer."]}


def test_an_empty_body_is_an_empty_object(api: Any, stub: Any) -> None:
    assert set(invalid(post(api, SMS, b""))) == {"idempotencyId", "recipientSms"}
    assert rows_left() == []


def test_a_body_sent_in_chunks_is_read(api: Any, stub: Any) -> None:
    """Without a length, as .NET's JsonContent sends it and gunicorn hands it on."""
    chunked = {
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(GOOD),
    }
    assert post(api, SMS, **chunked).status_code == 201


def test_of_duplicate_members_the_last_one_counts(api: Any, stub: Any) -> None:
    doubled = GOOD[:-1] + b',"recipientSms":null}'
    assert set(invalid(post(api, SMS, doubled))) == {"recipientSms"}
    assert rows_left() == []


@pytest.mark.parametrize("content_type", ["application/json", "APPLICATION/JSON; charset=utf-8"])
def test_json_is_json_in_any_spelling(content_type: str, api: Any, stub: Any) -> None:
    assert post(api, SMS, content_type=content_type).status_code == 201


FOREIGN: dict[str, tuple[str, bytes]] = {
    "form": ("application/x-www-form-urlencoded", b"idempotencyId=id-1"),
    "multipart": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="idempotencyId"\r\n\r\nid-1\r\n--b--\r\n',
    ),
    "text": ("text/plain", GOOD),
    "xml": ("text/xml", b"<idempotencyId>id-1</idempotencyId>"),
    "problem": ("application/problem+json", GOOD),
    "patch": ("application/json-patch+json", GOOD),
    "binary": ("application/octet-stream", GOOD),
    "any": ("*/*", GOOD),
    "missing": ("", GOOD),
    "nonsense": (";;;", GOOD),
}


@every_route
@pytest.mark.parametrize(("content_type", "body"), FOREIGN.values(), ids=FOREIGN)
def test_another_content_type_is_415(
    route: Route, content_type: str, body: bytes, api: Any, stub: Any
) -> None:
    problem(post(api, route, body, content_type=content_type), 415)
    assert stub.seen == []
    assert rows_left() == []


@every_route
def test_a_request_larger_than_allowed_is_413(
    route: Route, api: Any, stub: Any, configure: Configure
) -> None:
    size = len(json.dumps(route.request()).encode())
    configure(MAX_REQUEST_BYTES=size - 1)
    problem(post(api, route), 413)
    assert stub.seen == []
    assert rows_left() == []
    configure(MAX_REQUEST_BYTES=size)
    assert post(api, route).status_code == 201


MEGABYTE = MARK * (1_000_000 // len(MARK))


@every_member
def test_a_megabyte_in_any_member_is_refused(
    route: Route, member: Member, api: Any, stub: Any, configure: Configure, caplog: Any
) -> None:
    request = with_member(route, member.path, MEGABYTE)
    problem(post(api, route, request), 413)
    configure(MAX_REQUEST_BYTES=2_000_000)
    if member.path != "recipientEmail.emailSettings.body":
        answer = post(api, route, request)
        assert set(invalid(answer)) == {member.path}
        assert MARK not in answer.content.decode()
    assert MARK not in caplog.text
    assert stub.seen == []
    assert rows_left() == []


class _HungUp(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        raise ConnectionResetError


def test_a_caller_who_hangs_up_is_no_bug_of_ours(api: Any, stub: Any) -> None:
    answer = post(api, SMS, **{"wsgi.input": _HungUp()})
    assert answer.status_code < 500
    assert rows_left() == []
