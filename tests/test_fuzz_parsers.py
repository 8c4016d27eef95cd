"""Whatever others say to us is understood or refused: it is no bug, and nothing of it is quoted.

Phone numbers, texts and times have such tests beside their own rules.
"""

import base64
import csv
import io
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from django.conf import settings as django_settings
from django.http import QueryDict
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jwt.utils import base64url_encode
from rest_framework.test import APIClient

from instant_notifications import conditions, http, rules, tokens
from instant_notifications.contacts import Identity
from instant_notifications.contacts.altinn_profile import AltinnProfileRegister
from instant_notifications.contacts.files import Line, Unreadable, read_csv, read_json
from instant_notifications.contacts.importing import RULES, Draft, Refused, draft_of
from instant_notifications.exceptions import HandoverFailed, NotConfigured
from instant_notifications.gateways import BaseGateway, Message, Receipt, UnreadableReceipts
from instant_notifications.gateways.altinn import AltinnGateway
from instant_notifications.gateways.link_mobility import LinkMobilityGateway
from instant_notifications.gateways.twilio import TwilioGateway, signature
from instant_notifications.models import StatusEvent
from instant_notifications.recipients import Kind
from instant_notifications.simulator.gateway import SimulatorGateway
from instant_notifications.statuses import STAGES, Channel
from instant_notifications.tokens import Caller, InvalidToken
from tests.conftest import API, sms

PERSONAL: Final = ("91824321", "kari.nordmann", "13854899999", "ZK7W2Q")
"""Thrown into everything that is said to us; it must not come out in what we raise."""

bounded = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

VOCABULARY: Final = (
    *("MSG", "MSGLST", "SESSION", "LOGON", "REF", "STATE", "STATUS", "INFO", "ID", "OK", "FAIL"),
    *("sid", "status", "code", "error_code", "queued", "delivered", "MessageSid", "ErrorCode"),
    *("shipmentId", "sendersReference", "sequenceNumber", "recipients", "notification", "errors"),
    *("contactPointsList", "nationalIdentityNumber", "isReserved", "mobileNumber", "email"),
    *("sendNotification", "reference", "word", "part", "parts", "access_token", "expires_in"),
    *(*STAGES, "IN-00001", "NOT-00003", "30003", "DELIVRD", "true"),
)
words = st.sampled_from(VOCABULARY + 4 * PERSONAL) | st.text(max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(words, inside, max_size=5),
    max_leaves=12,
)
documents = values.map(json.dumps).map(str.encode)


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> str:
    """XML, more or less."""
    tag = draw(st.sampled_from([*VOCABULARY[:9], "X"]))
    inside = st.sampled_from(
        [*VOCABULARY[4:11], *PERSONAL, "&#0;", "<![CDATA[x]]>", "&amp;", "&x;"]
    )
    content = inside | elements(depth - 1) if depth else inside
    written = "".join(draw(st.lists(content, max_size=4)))
    closed = draw(st.sampled_from([tag, tag, tag, tag, "X"]))
    return f"<{tag}>{written}</{closed}>"


ENCODINGS: Final = ("ISO-8859-1", "UTF-8", "UTF-16", "UTF-7", "x", "hex")
markup = st.builds(
    lambda encoding, written: f'<?xml version="1.0" encoding="{encoding}"?>{written}'.encode(),
    st.sampled_from(ENCODINGS),
    elements(),
)
forms = st.lists(st.tuples(words, words), max_size=6).map(
    lambda pairs: urlencode(pairs, errors="replace").encode()
)
likely = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("sid", "code", "status", "error_code", "shipmentId", "reference"), words),
        "errors": st.dictionaries(words, st.lists(words)),
        "notification": st.dictionaries(st.just("shipmentId"), words) | words,
    },
).map(lambda said: json.dumps(said).encode())
bodies = st.one_of(documents, likely, markup, forms, st.binary(max_size=60))

DEEP: Final = b"[" * 50_000
BILLION_LAUGHS: Final = (
    b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><MSGLST>&b;</MSGLST>'
)
FILE: Final = b'<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/hostname">]><MSGLST>&a;</MSGLST>'

statuses = st.sampled_from([200, 201, 202, 204, 301, 400, 401, 404, 409, 422, 429, 500, 503, 504])
headers = st.dictionaries(
    st.sampled_from(["Retry-After", "X-Oldest-Sequence", "X-Latest-Sequence", "Location"]),
    st.sampled_from(
        ["", "5", "-1", "٣", "²", "9" * 5000, "1e9", str(2**63), "Wed, 21 Oct 2099 07:28:00 GMT"]
    )
    | st.text(max_size=30),
)
answers = st.builds(http.Answer, statuses, headers, bodies)


def said_in(error: BaseException) -> str:
    """All that a log could show of it."""
    return f"{error!s} {error!r} {''.join(traceback.format_exception_only(error))}"


def assert_impersonal(error: BaseException) -> None:
    assert not [secret for secret in PERSONAL if secret in said_in(error)]


# What a provider answers

ACCOUNT: Final = f"AC{'0' * 32}"
OUTGOING: Final[Mapping[str, Callable[[], BaseGateway]]] = {
    "link": lambda: LinkMobilityGateway(
        "link", url="https://link.example.com/", user="u", password="p", sender="Altinn"
    ),
    "twilio": lambda: TwilioGateway(
        "twilio", account_sid=ACCOUNT, auth_token="insecure-token", sender="Altinn"
    ),
    "altinn": lambda: AltinnGateway("altinn", url="https://altinn.example.com/", token="t"),
}
SMS: Final = Message(
    reference="01900000-0000-7000-8000-000000000001",
    channel=Channel.SMS,
    destination="+4791824321",
    body="Your code is ZK7W2Q",
    time_to_live=300,
)
each_gateway = pytest.mark.parametrize("alias", OUTGOING)


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[http.Answer], None]:
    return lambda answer: monkeypatch.setattr(http, "request", lambda *_, **__: answer)


@each_gateway
@given(answer=answers)
@example(answer=http.Answer(201, {}, DEEP))
@example(answer=http.Answer(200, {}, BILLION_LAUGHS))
@example(answer=http.Answer(200, {}, b"9" * 5000))
@example(answer=http.Answer(200, {}, b"{}"))
@example(answer=http.Answer(400, {}, b'{"code": "+4791824321", "errors": {"kari.nordmann": []}}'))
@bounded
def test_whatever_a_provider_answers_is_one_of_the_outcomes(
    alias: str, answer: http.Answer, answer_with: Callable[[http.Answer], None]
) -> None:
    answer_with(answer)
    try:
        receipt = OUTGOING[alias]().send(SMS)
    except HandoverFailed as failure:
        assert_impersonal(failure)
    else:
        assert answer.ok
        assert isinstance(receipt, Receipt)


@each_gateway
@given(answer=answers)
@example(answer=http.Answer(200, {}, DEEP))
@bounded
def test_whatever_a_provider_answers_a_probe_says_what_is_wrong(
    alias: str, answer: http.Answer, answer_with: Callable[[http.Answer], None]
) -> None:
    answer_with(answer)
    try:
        OUTGOING[alias]().probe(5)
    except (HandoverFailed, NotConfigured) as problem:
        assert_impersonal(problem)
    else:
        assert answer.ok


numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from(["17", "-1", "9" * 30, 2**63, str(2**63), "٣", "²", None])
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "sequenceNumber": numbers,
        "shipmentId": words,
        "sendersReference": words,
        "status": words,
        "recipients": st.lists(st.fixed_dictionaries({}, optional={"status": words}) | values),
    },
)
pages = st.lists(entries | values, max_size=4).map(json.dumps).map(str.encode)


@given(answer=st.builds(http.Answer, st.just(200), headers, pages | bodies) | answers)
@example(answer=http.Answer(200, {}, DEEP))
@example(answer=http.Answer(200, {"X-Latest-Sequence": str(2**63)}, b"[]"))
@example(answer=http.Answer(200, {}, b'[{"sequenceNumber": 9223372036854775808}]'))
@bounded
def test_whatever_an_upstreams_feed_says_is_read_as_far_as_it_can_be(
    answer: http.Answer, answer_with: Callable[[http.Answer], None]
) -> None:
    answer_with(answer)
    gateway = OUTGOING["altinn"]()
    try:
        page = gateway.read_feed(0, timeout=5)
    except (HandoverFailed, NotConfigured) as problem:
        assert_impersonal(problem)
        return
    assert all(each is None or 0 <= each < 2**63 for each in (page.oldest, page.latest))
    for item in page.items:
        assert item.number is None or 0 <= item.number < 2**63
        assert all(each.status is None or each.status in STAGES for each in item.receipts)
    with suppress(HandoverFailed):
        assert 0 <= gateway.last_number(timeout=5) < 2**63
    with suppress(HandoverFailed):
        assert isinstance(gateway.look_up("x", timeout=5), Receipt)


IDENTITIES: Final = (Identity(Kind.PERSON, "13854899999"), Identity(Kind.ORGANISATION, "312508729"))
contact_points = st.lists(
    st.dictionaries(st.sampled_from(VOCABULARY[32:37]), words | st.booleans() | values), max_size=3
)


@given(
    answer=st.builds(
        lambda said: http.Answer(200, {}, json.dumps({"contactPointsList": said}).encode()),
        contact_points | values,
    )
    | answers
)
@bounded
def test_whatever_a_register_answers_somebody_is_known_or_it_is_said_why_not(
    answer: http.Answer, answer_with: Callable[[http.Answer], None]
) -> None:
    answer_with(answer)
    register = AltinnProfileRegister(url="https://altinn.example.com/", token="t")
    try:
        found = register.look_up(IDENTITIES, include_stale=False, timeout=5)
    except (HandoverFailed, NotConfigured) as problem:
        assert_impersonal(problem)
        return
    assert set(found) <= set(IDENTITIES)
    for contact in found.values():
        assert isinstance(contact.reserved, bool)
        assert all(isinstance(each, str) for each in contact.phone_numbers)


def naively(answer: http.Answer) -> bool | None:
    """What a condition says, read in the most simple-minded way."""
    try:
        said = json.loads(answer.content)["sendNotification"]
    except Exception:  # noqa: BLE001
        return None
    return said if said in (True, False) and isinstance(said, bool) and answer.ok else None


yes_and_no = st.builds(
    lambda said: json.dumps(said).encode(),
    st.fixed_dictionaries({"sendNotification": st.booleans() | st.integers(0, 1) | words}),
)


@given(answer=st.builds(http.Answer, statuses, headers, yes_and_no) | answers)
@example(answer=http.Answer(200, {}, DEEP))
@bounded
def test_a_condition_is_met_only_by_a_plain_true(
    answer: http.Answer, answer_with: Callable[[http.Answer], None], caplog: Any
) -> None:
    answer_with(answer)
    assert conditions.ask("https://example.com/91824321") is naively(answer)
    assert not [secret for secret in PERSONAL if secret in caplog.text]


# What a provider pushes

PUBLIC: Final = f"https://notify.example.com{API}"
INCOMING: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "link": (
        "instant_notifications.gateways.link_mobility.LinkMobilityGateway",
        {
            "url": "https://link.example.com/",
            "user": "u",
            "password": "p",
            "receipts_user": "link",
            "receipts_password": "let-me-in",
        },
    ),
    "twilio": (
        "instant_notifications.gateways.twilio.TwilioGateway",
        {
            "account_sid": ACCOUNT,
            "auth_token": "insecure-token",
            "sender": "Altinn",
            "public_url": PUBLIC,
        },
    ),
    "simulator": (
        "instant_notifications.simulator.gateway.SimulatorGateway",
        {"deliver_after": None, "receipts_password": "let-me-in"},
    ),
}
READERS: Final[Mapping[str, Callable[[], BaseGateway]]] = {
    "link": lambda: LinkMobilityGateway("link", **INCOMING["link"][1]),
    "twilio": lambda: TwilioGateway("twilio", **INCOMING["twilio"][1]),
    "simulator": lambda: SimulatorGateway("simulator", **INCOMING["simulator"][1]),
}
each_reader = pytest.mark.parametrize("alias", READERS)


@each_reader
@given(body=bodies)
@example(body=BILLION_LAUGHS)
@example(body=FILE)
@example(body=b"9" * 5000)
@example(body=b"")
@bounded
def test_whatever_is_pushed_is_receipts_or_unreadable(alias: str, body: bytes) -> None:
    request = RequestFactory().generic("POST", "/", body, content_type="text/plain")
    try:
        read = list(READERS[alias]().read_receipts(request))
    except UnreadableReceipts as problem:
        assert_impersonal(problem)
        return
    for receipt in read:
        assert isinstance(receipt, Receipt)
        assert receipt.status is None or receipt.status in STAGES


def credentials(alias: str, body: bytes) -> dict[str, Any]:
    if alias == "twilio":
        url = f"{PUBLIC}delivery-reports/twilio"
        signed = signature("insecure-token", url, QueryDict(body, encoding="utf-8"))
        return {"HTTP_X_TWILIO_SIGNATURE": signed}
    pair = base64.b64encode(f"{alias}:let-me-in".encode()).decode()
    return {"HTTP_AUTHORIZATION": f"Basic {pair}"}


@pytest.mark.django_db
@each_reader
@given(body=bodies)
@example(body=DEEP)
@example(body=BILLION_LAUGHS)
@example(body=b'[{"reference": "\\ud800", "word": "\\u0000", "part": "\\ud800", "parts": 1e400}]')
@example(body=b'{"reference": {"a": [1]}, "status": ["SMS_Delivered"], "parts": -1}')
@settings(bounded, max_examples=25)
def test_whatever_a_genuine_push_says_it_is_taken_or_refused(
    alias: str, body: bytes, configure: Callable[..., None], caplog: Any
) -> None:
    backend, options = INCOMING[alias]
    configure(GATEWAYS={alias: {"BACKEND": backend, "OPTIONS": options}})
    answer = Client(raise_request_exception=False).generic(
        "POST",
        f"{API}delivery-reports/{alias}",
        body,
        content_type="text/plain",
        **credentials(alias, body),
    )
    assert answer.status_code in {200, 204, 400}
    assert not [secret for secret in PERSONAL if secret in caplog.text]


@pytest.mark.django_db
@given(body=bodies, authorization=st.text(st.characters(codec="latin-1"), max_size=40) | words)
@settings(bounded, max_examples=25)
def test_whatever_a_stranger_pushes_nothing_changes(
    body: bytes, authorization: str, configure: Callable[..., None]
) -> None:
    configure(
        GATEWAYS={
            alias: {"BACKEND": backend, "OPTIONS": options}
            for alias, (backend, options) in INCOMING.items()
        }
    )
    for alias in INCOMING:
        answer = Client(raise_request_exception=False).generic(
            "POST",
            f"{API}delivery-reports/{alias}",
            body,
            content_type="text/plain",
            HTTP_AUTHORIZATION=authorization,
            HTTP_X_TWILIO_SIGNATURE=authorization,
        )
        assert answer.status_code == 401
    assert not StatusEvent.objects.exists()


@pytest.fixture
def read_event() -> Any:
    pytest.importorskip("anymail", reason="the extra `anymail` is not installed")
    from instant_notifications.gateways.anymail import receipt_from

    return receipt_from


@given(
    event=st.builds(
        SimpleNamespace,
        event_type=words | st.sampled_from(["delivered", "bounced", "rejected", "opened"]),
        reject_reason=st.none() | words | st.sampled_from(["bounced", "spam", "other"]),
        message_id=values,
        metadata=values,
        recipient=words,
    )
)
@bounded
def test_whatever_anymail_makes_of_an_event_it_is_a_receipt_or_none(
    event: Any, read_event: Any
) -> None:
    receipt = read_event(event)
    if receipt is not None:
        assert receipt.status is None or receipt.status in STAGES
        assert isinstance(receipt.gateway_reference + receipt.reference + receipt.word, str)


# What a caller says


def hand_signed(head: bytes, body: bytes) -> str:
    """A token of the right key, whatever it holds."""
    signed = b".".join(map(base64url_encode, (head, body)))
    mac = hmac.HMAC(django_settings.SECRET_KEY.encode(), hashes.SHA256())
    mac.update(signed)
    return b".".join((signed, base64url_encode(mac.finalize()))).decode()


def is_read(token: str) -> bool:
    try:
        caller = tokens.read(token)
    except InvalidToken as refusal:
        assert_impersonal(refusal)
        return False
    assert isinstance(caller, Caller)
    assert isinstance(caller.organisation, str)
    return True


heads = st.fixed_dictionaries(
    {"alg": st.just("HS256") | words},
    optional=dict.fromkeys(("typ", "kid", "jku", "jwk", "x5u", "x5c", "crit", "b64"), values),
)
CLAIMS: Final = ("nbf", "iat", "aud", "sub", "scope", "urn:altinn:org", "urn:altinn:scope")
claims = st.fixed_dictionaries(
    {"iss": st.just(tokens.OWN_ISSUER) | values, "exp": st.just(2**40) | values},
    optional=dict.fromkeys(CLAIMS, values),
)


@given(head=heads, body=claims)
@example(head={"alg": "HS256"}, body={"iss": tokens.OWN_ISSUER, "exp": 1e400})
@example(head={"alg": "HS256"}, body={"iss": tokens.OWN_ISSUER, "exp": 10**4000})
@example(head={"alg": "HS256"}, body={"iss": tokens.OWN_ISSUER, "exp": 2**40, "nbf": "1e400"})
@settings(bounded, max_examples=100)
def test_whatever_a_genuine_token_says_it_is_read_or_refused(head: Any, body: Any) -> None:
    is_read(hand_signed(json.dumps(head).encode(), json.dumps(body).encode()))


@given(token=st.text() | st.lists(words, min_size=3, max_size=5).map(".".join) | words)
@example(token=".." + "." * 5000)
@bounded
def test_whatever_is_no_token_is_refused(token: str) -> None:
    assert not is_read(token)


@given(place=st.integers(0), character=st.sampled_from("AZaz09-_.=%\n\0æ"))
@settings(bounded, max_examples=100)
def test_a_token_with_any_character_changed_is_refused(place: int, character: str) -> None:
    good = tokens.issue("ttd")
    place %= len(good)
    changed = good[:place] + character + good[place + 1 :]
    # Of the last character, only some bits count.
    same = base64.urlsafe_b64decode(good.rpartition(".")[2] + "=")
    with suppress(ValueError):
        if base64.urlsafe_b64decode(changed.rpartition(".")[2] + "=") == same:
            return
    assert not is_read(changed)


@pytest.mark.django_db
@given(
    query=st.dictionaries(
        st.sampled_from(["seq", "pageSize", "orderBy", "SEQ", "pagesize"]),
        st.integers().map(str)
        | st.sampled_from(["", "0", "-0", "+1", " 1", "1e3", "٣", "²", "9" * 5000, "ASC", "desc"])
        | st.text(max_size=10),
    )
)
@settings(bounded, max_examples=40)
def test_whatever_cursor_is_given_the_feed_answers_or_says_what_is_wrong(
    query: dict[str, str], api: APIClient
) -> None:
    written = {name: value.encode("utf-8", "replace") for name, value in query.items()}
    answer = api.get(f"{API}future/shipment/feed?{urlencode(written)}")
    assert answer.status_code in {200, 400}
    if answer.status_code == 400:
        assert set(answer.json()["errors"]) <= {"seq", "pageSize", "orderBy"}


sendable_ids = st.text(min_size=1, max_size=40).filter(
    lambda written: written.strip() and not rules._SUSPICIOUS.search(written)
)


@pytest.mark.django_db
@given(ids=st.lists(sendable_ids, min_size=2, max_size=3, unique=True))
@example(ids=["a", "A", "á"])
@example(ids=["a", "a ", " a"])
@example(ids=["ß", "ss", "ẞ"])
@example(ids=["e\N{COMBINING ACUTE ACCENT}", "é"])
@settings(bounded, max_examples=12)
def test_each_idempotency_id_is_another_and_the_same_is_the_same(
    ids: Sequence[str], stub: Any, client_of: Callable[..., APIClient]
) -> None:
    api = client_of(f"after {len(stub.seen)}")
    first, second = (
        [
            api.post(
                f"{API}future/orders/instant/sms", sms(idempotencyId=each), format="json"
            ).json()
            for each in ids
        ]
        for _ in range(2)
    )
    assert first == second
    assert len({each["notification"]["shipmentId"] for each in first}) == len(ids)


NUMBERS: Final = ("+4791824321", "+46701234567", "+4520123456", "+12025550123", "+447911123456")


@given(
    number=st.sampled_from(NUMBERS),
    between=st.lists(st.sampled_from(["", "", " ", "-", ".", "\N{NO-BREAK SPACE}"]), min_size=16),
    prefix=st.sampled_from(["+", "00"]),
)
@bounded
def test_a_number_is_the_same_however_it_is_spelt(
    number: str, between: Sequence[str], prefix: str
) -> None:
    first, others = number[1], number[2:]
    spelt = first + "".join(map("".join, zip(between, others, strict=False)))
    assert rules.mobile_number(prefix + spelt, "phoneNumber") == number


# What a file of contacts says

GOOD: Final = datetime(2026, 1, 31, tzinfo=UTC)
names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30)
good_entries = st.fixed_dictionaries(
    {
        "kind": st.just("person"),
        "number": st.text(st.sampled_from("0123456789"), min_size=11, max_size=11),
    },
    optional={
        "name": names,
        "phone_numbers": st.lists(st.sampled_from(NUMBERS), max_size=3),
        "email_addresses": st.lists(st.sampled_from(["kari@example.com", "a@b.no"]), max_size=2),
        "reserved": st.booleans(),
        "confirmed_at": st.integers(0, 10**6).map(
            lambda minutes: (GOOD - timedelta(minutes=minutes)).isoformat()
        ),
    },
)


def understood(line: Line) -> Draft | None:
    try:
        return draft_of(line)
    except Refused as refusal:
        assert_impersonal(refusal)
        return None


READ: Final = {"csv": read_csv, "json": read_json}


@pytest.mark.parametrize("form", READ)
@given(
    text=st.text(max_size=200)
    | st.lists(good_entries | values, max_size=4).map(json.dumps)
    | st.lists(values, max_size=4).map(lambda each: "\n".join(map(json.dumps, each)))
    | st.lists(st.lists(words, min_size=2, max_size=4).map(";".join), max_size=4).map(
        lambda lines: "\r\n".join(["kind;number;name", *lines])
    )
)
@example(text="[" * 70_000)
@example(text='{"kind":' * 20_000)
@example(text="kind;number\n" + '"' * 70_000)
@example(text="[" + "9" * 5000 + "]")
@bounded
def test_whatever_a_file_says_each_entry_is_taken_or_refused(form: str, text: str) -> None:
    try:
        for line in READ[form](io.StringIO(text)):
            understood(line)
    except Unreadable as problem:
        assert_impersonal(problem)


@given(said=st.dictionaries(st.sampled_from([*RULES, "other"]), values))
@settings(bounded, max_examples=100)
def test_whatever_an_entry_says_it_is_taken_or_refused(said: dict[str, Any]) -> None:
    draft = understood(Line(1, 1, said))
    if draft is not None:
        assert draft.columns == set(said)
        assert draft.entry.confirmed_at.tzinfo is UTC or "confirmed_at" not in said


def content(draft: Draft | None) -> Any:
    assert draft is not None
    columns = sorted(draft.columns)
    return {name: getattr(draft.entry, name) for name in columns}


@given(people=st.lists(good_entries, min_size=1, max_size=4), indent=st.none() | st.integers(0, 3))
@bounded
def test_what_is_written_as_json_is_read_as_it_was(people: Any, indent: int | None) -> None:
    expected = [content(draft_of(Line(1, 1, each))) for each in people]
    a_list = json.dumps(people, indent=indent)
    by_line = "\n".join(json.dumps(each, ensure_ascii=False) for each in people)
    for text in (a_list, by_line):
        read = [content(understood(line)) for line in read_json(io.StringIO(text))]
        assert read == expected


@given(people=st.lists(good_entries, min_size=1, max_size=4), delimiter=st.sampled_from(";,"))
@bounded
def test_what_is_written_as_csv_is_read_as_it_was(people: Any, delimiter: str) -> None:
    columns = [name for name in RULES if any(name in each for each in people)]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerow(columns)
    for each in people:
        flat = {**each, "reserved": {True: "ja", False: "nei"}.get(each.get("reserved"), "")}
        flat |= {name: ";".join(each.get(name, [])) for name in columns if name.endswith("s")}
        writer.writerow([flat.get(name, "") for name in columns])
    file.seek(0)
    known = [understood(line) for line in read_csv(file)]
    assert len(known) == len(people)
    for draft, each in zip(known, people, strict=True):
        expected = content(draft_of(Line(1, 1, each)))
        assert {name: content(draft)[name] for name in expected} == expected
