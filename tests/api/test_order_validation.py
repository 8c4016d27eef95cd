"""Contract for regular orders §1: each member, each rule, and what breaks them."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instant_notifications import orders
from instant_notifications.models import Order
from instant_notifications.orders import OrderDraft, Placed, PlacedShipment
from instant_notifications.recipients import Kind, Recipient, Schema
from instant_notifications.statuses import Channel
from tests.api.conftest import (
    BOTH_TEXTS,
    EMAIL_TEXT,
    ORDER,
    RECIPIENTS,
    SMS_TEXT,
    invalid,
    order,
    post,
    problem,
    reminder,
)
from tests.api.test_validation import (
    ADDRESS,
    BLANKS,
    CONTENT_TYPE,
    EXPECTED,
    FOREIGN,
    INVALID_ADDRESSES,
    INVALID_PHONES,
    MARK,
    PHONE,
    REQUIRED,
    TOO_LONG,
    UNREADABLE,
    UNSENDABLE,
    UNSENDABLES,
    VALID_ADDRESSES,
    VALID_PHONES,
    WRONG,
)
from tests.clock import Clock
from tests.outcomes import rows_left

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

ONE_RECIPIENT = "Must have exactly one recipient."
DELAY_OR_TIME = "Either DelayDays or RequestedSendTime must be defined, but not both."
DELAY = "DelayDays must be greater than or equal to 1 day."
TIME_ZONE = "The requested send time value must have specified a time zone."
PAST = "RequestedSendTime must be greater than or equal to now."
NOT_TIME = "Expected a date and time."
CONDITION = "ConditionEndpoint must be a valid absolute URI or null."
SMS_BODY = "SMS body cannot be null or empty."
SMS_POLICY = "SMS only supports send time daytime and anytime"
EMAIL_POLICY = "Email only supports send time anytime"
PERSON_NUMBER = "National identity number must be 11 digits long."
ORGANISATION_NUMBER = "Organization number must be 9 digits long."
URN = "Invalid external identity URN format."
SCHEMA = "Expected Email, Sms, EmailPreferred, SmsPreferred or EmailAndSms."
RESOURCE = "ResourceId must have a valid syntax."
ACTION_ALONE = "ResourceAction cannot be specified without a ResourceId."

NIL = UUID(int=0)
EXPECTED_HERE = EXPECTED | {
    "an array": "Expected an array.",
    "true or false": "Expected true or false.",
}
WRONG_HERE = WRONG | {
    "an array": (MARK, 428516, True, {MARK: MARK}),
    "true or false": (MARK, "true", 0, 1, [True], {MARK: True}),
}


@pytest.fixture
def drafts(monkeypatch: pytest.MonkeyPatch) -> list[OrderDraft]:
    """What is to be placed; nothing is."""
    placed: list[OrderDraft] = []
    nil = PlacedShipment(shipment_id=NIL, senders_reference="")

    def place(draft: OrderDraft) -> Placed:
        placed.append(draft)
        return Placed(order_id=NIL, notification=nil, reminders=[], recipients=1)

    monkeypatch.setattr(orders, "place", place)
    return placed


@dataclass(frozen=True)
class Member:
    """A member of an order to this kind of recipient, that has a reminder to a phone."""

    kind: str
    path: str
    type: str = "a string"
    required: bool = False
    limit: int | None = None
    missing: str = REQUIRED

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def _of_sms(kind: str, path: str, required: bool) -> Sequence[Member]:
    return (
        Member(kind, path, "an object", required=required),
        Member(kind, f"{path}.body", required=True, missing=SMS_BODY),
        Member(kind, f"{path}.sender", limit=64),
        Member(kind, f"{path}.sendingTimePolicy"),
    )


def _of_email(kind: str, path: str, required: bool) -> Sequence[Member]:
    return (
        Member(kind, path, "an object", required=required),
        Member(kind, f"{path}.subject", required=True, limit=998),
        Member(kind, f"{path}.body", required=True),
        Member(kind, f"{path}.senderEmailAddress"),
        Member(kind, f"{path}.contentType"),
        Member(kind, f"{path}.sendingTimePolicy"),
    )


def _of_resource(kind: str) -> Sequence[Member]:
    return (
        Member(kind, f"recipient.{kind}.resourceId"),
        Member(kind, f"recipient.{kind}.resourceAction"),
    )


EMAIL, PHONES, PERSON, ORGANISATION, EXTERNAL = RECIPIENTS
REMINDER = "reminders[0]"
MEMBERS = (
    Member(EMAIL, "idempotencyId", required=True, limit=255),
    Member(EMAIL, "sendersReference", limit=255),
    Member(EMAIL, "requestedSendTime"),
    Member(EMAIL, "conditionEndpoint"),
    Member(EMAIL, "dialogportenAssociation", "an object"),
    Member(EMAIL, "dialogportenAssociation.dialogId", limit=255),
    Member(EMAIL, "dialogportenAssociation.transmissionId", limit=255),
    Member(EMAIL, "recipient", "an object", required=True),
    Member(EMAIL, "reminders", "an array"),
    Member(EMAIL, REMINDER, "an object"),
    Member(EMAIL, f"{REMINDER}.sendersReference", limit=255),
    Member(EMAIL, f"{REMINDER}.conditionEndpoint"),
    Member(EMAIL, f"{REMINDER}.delayDays", "an integer"),
    Member(EMAIL, f"{REMINDER}.recipient", "an object", required=True),
    Member(EMAIL, f"{REMINDER}.recipient.recipientSms", "an object"),
    Member(EMAIL, f"{REMINDER}.recipient.recipientSms.phoneNumber", required=True),
    *_of_sms(EMAIL, f"{REMINDER}.recipient.recipientSms.smsSettings", required=True),
    Member(EMAIL, f"recipient.{EMAIL}", "an object"),
    Member(EMAIL, f"recipient.{EMAIL}.emailAddress", required=True),
    *_of_email(EMAIL, f"recipient.{EMAIL}.emailSettings", required=True),
    Member(PHONES, f"recipient.{PHONES}", "an object"),
    Member(PHONES, f"recipient.{PHONES}.phoneNumber", required=True),
    *_of_sms(PHONES, f"recipient.{PHONES}.smsSettings", required=True),
    Member(PERSON, f"recipient.{PERSON}", "an object"),
    Member(PERSON, f"recipient.{PERSON}.nationalIdentityNumber", required=True),
    Member(PERSON, f"recipient.{PERSON}.channelSchema"),
    Member(PERSON, f"recipient.{PERSON}.ignoreReservation", "true or false"),
    Member(PERSON, f"recipient.{PERSON}.useStaleContactInformation", "true or false"),
    *_of_resource(PERSON),
    *_of_email(PERSON, f"recipient.{PERSON}.emailSettings", required=False),
    *_of_sms(PERSON, f"recipient.{PERSON}.smsSettings", required=False),
    Member(ORGANISATION, f"recipient.{ORGANISATION}", "an object"),
    Member(ORGANISATION, f"recipient.{ORGANISATION}.orgNumber", required=True),
    Member(ORGANISATION, f"recipient.{ORGANISATION}.channelSchema", required=True),
    *_of_resource(ORGANISATION),
    *_of_email(ORGANISATION, f"recipient.{ORGANISATION}.emailSettings", required=False),
    *_of_sms(ORGANISATION, f"recipient.{ORGANISATION}.smsSettings", required=False),
    Member(EXTERNAL, f"recipient.{EXTERNAL}", "an object"),
    Member(EXTERNAL, f"recipient.{EXTERNAL}.externalIdentity", required=True, limit=320),
    Member(EXTERNAL, f"recipient.{EXTERNAL}.channelSchema"),
    *_of_email(EXTERNAL, f"recipient.{EXTERNAL}.emailSettings", required=False),
    *_of_sms(EXTERNAL, f"recipient.{EXTERNAL}.smsSettings", required=False),
)
every_member = pytest.mark.parametrize("member", MEMBERS, ids=str)


def full(kind: str) -> dict[str, Any]:
    """An order with every member that a test may change the members of."""
    request = order(kind, dialogportenAssociation={}, reminders=[reminder("recipientSms")])
    if kind in (PERSON, ORGANISATION):
        request["recipient"][kind]["resourceId"] = "urn:altinn:resource:tax"
    return request


def with_member(request: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The request but for one member; ``...`` takes it out."""
    changed = deepcopy(request)
    *parents, name = path.replace("[0]", ".0").split(".")
    place: Any = changed
    for parent in parents:
        place = place[int(parent) if parent == "0" else parent]
    if name == "0":
        place[0] = value
    elif value is ...:
        place.pop(name, None)
    else:
        place[name] = value
    return changed


def _bad_values(member: Member) -> Iterator[tuple[Any, str]]:
    if member.required:
        yield ..., member.missing
        yield None, member.missing
        if member.type == "a string":
            yield from ((blank, member.missing) for blank in BLANKS)
    yield from ((value, EXPECTED_HERE[member.type]) for value in WRONG_HERE[member.type])
    if member.type == "a string":
        yield from ((f"{MARK}{bad}x", UNSENDABLE) for bad in UNSENDABLES)
    if member.limit is not None:
        yield MARK.ljust(member.limit + 1, "x"), TOO_LONG


@every_member
def test_every_bad_value_of_every_member_is_named_by_its_path(
    member: Member, api: Any, caplog: Any
) -> None:
    for value, message in _bad_values(member):
        answer = post(api, ORDER, with_member(full(member.kind), member.path, value))
        expected = message.format(name=member.name, limit=member.limit)
        assert invalid(answer) == {member.path: [expected]}, ascii(value)
        assert MARK not in answer.content.decode()
    assert rows_left() == []
    assert MARK not in caplog.text


OPTIONAL = [
    member
    for member in MEMBERS
    if not member.required
    and member.path not in (REMINDER, f"{REMINDER}.delayDays")
    and member.name not in RECIPIENTS
    and not (member.kind in (PERSON, ORGANISATION) and member.name in BOTH_TEXTS)
    and not (member.kind == EXTERNAL and member.name == "emailSettings")
]


@pytest.mark.parametrize("member", OPTIONAL, ids=str)
def test_an_optional_member_may_be_missing_null_or_blank(
    member: Member, api: Any, drafts: list[OrderDraft]
) -> None:
    blanks = BLANKS if member.type == "a string" else ()
    values = (..., None, *blanks)
    for value in values:
        request = with_member(full(member.kind), member.path, value)
        assert post(api, ORDER, request).status_code == 201, value
    assert len(drafts) == len(values)


FUTURE = "2100-01-04T08:00:00Z"
VALID_URNS = {
    "urn:altinn:person:idporten-email:kari@example.com": None,
    "urn:altinn:username:kari": "urn:altinn:party:username:kari",
    "urn:altinn:person:legacy-selfidentified:kari": "urn:altinn:party:username:kari",
    "urn:altinn:party:username:kari": None,
}
RULES: tuple[tuple[str, str, str, tuple[Any, ...], tuple[Any, ...]], ...] = (
    (EMAIL, f"recipient.{EMAIL}.emailAddress", ADDRESS, INVALID_ADDRESSES, VALID_ADDRESSES),
    (PHONES, f"recipient.{PHONES}.phoneNumber", PHONE, INVALID_PHONES, VALID_PHONES),
    (
        EMAIL,
        f"recipient.{EMAIL}.emailSettings.senderEmailAddress",
        ADDRESS,
        INVALID_ADDRESSES,
        VALID_ADDRESSES,
    ),
    (
        EMAIL,
        f"recipient.{EMAIL}.emailSettings.contentType",
        CONTENT_TYPE,
        ("Markdown", "text/html"),
        ("Plain", "html", "HTML"),
    ),
    (
        EMAIL,
        f"recipient.{EMAIL}.emailSettings.sendingTimePolicy",
        EMAIL_POLICY,
        ("Daytime", "daytime", "Never", "1"),
        ("Anytime", "anytime", "ANYTIME"),
    ),
    (
        PHONES,
        f"recipient.{PHONES}.smsSettings.sendingTimePolicy",
        SMS_POLICY,
        ("Night", "2", "day time"),
        ("Daytime", "Anytime", "daytime", "ANYTIME"),
    ),
    (
        PERSON,
        f"recipient.{PERSON}.nationalIdentityNumber",
        PERSON_NUMBER,
        ("1385489999", "138548999990", "1385489999x", "13854 899999", "١٣٨٥٤٨٩٩٩٩٩", "-1385489999"),
        ("13854899999", "00000000000"),
    ),
    (
        ORGANISATION,
        f"recipient.{ORGANISATION}.orgNumber",
        ORGANISATION_NUMBER,
        ("31250872", "3125087290", "31250872x", "312 508 729"),
        ("312508729",),
    ),
    *[
        (
            kind,
            f"recipient.{kind}.channelSchema",
            SCHEMA,
            ("Fax", "0", "Email,Sms", "email preferred"),
            ("Email", "sms", "EMAILPREFERRED", "SmsPreferred", "emailAndSms"),
        )
        for kind in (PERSON, ORGANISATION, EXTERNAL)
    ],
    (
        EXTERNAL,
        f"recipient.{EXTERNAL}.externalIdentity",
        URN,
        (
            *("kari", "urn:altinn:username:", "urn:altinn:username: ", "urn:altinn:person:kari"),
            *("urn:altinn:person:idporten-email:kari", "urn:altinn:username:ka ri", "urn:"),
        ),
        tuple(VALID_URNS),
    ),
    *[
        (
            kind,
            f"recipient.{kind}.resourceId",
            RESOURCE,
            ("tax", "urn:altinn:resource:", "urn:altinn:resource", "URN:X", "urn:altinn:app:tax"),
            ("urn:altinn:resource:t", "urn:altinn:resource:tax-return"),
        )
        for kind in (PERSON, ORGANISATION)
    ],
    (
        EMAIL,
        "conditionEndpoint",
        CONDITION,
        (
            *("x", "/relative", "example.com", "//example.com/x", "https://", "https:///x"),
            *("ftp://example.com", "http://example.com/x", "https://example.com:99999/"),
            *("https://[::1", "javascript:alert(1)", "https://exa mple.com/", "file:///etc/passwd"),
        ),
        ("https://example.com", "https://example.com:8443/x?y=z", "https://[2001:db8::1]/x"),
    ),
    (
        EMAIL,
        "requestedSendTime",
        TIME_ZONE,
        ("2100-01-04T08:00:00", "2100-01-04", "2020-01-04T08:00:00"),
        (FUTURE, "2100-01-04T08:00:00+01:00", "2100-01-04T08:00:00.1234567-00:30"),
    ),
    (
        EMAIL,
        "requestedSendTime",
        PAST,
        ("2020-01-04T08:00:00Z", "1970-01-01T00:00:00+14:00"),
        (FUTURE,),
    ),
    (
        EMAIL,
        "requestedSendTime",
        NOT_TIME,
        (
            *("soon", "2100-13-01T00:00:00Z", "2100-02-30T00:00:00Z", "08:00:00Z"),
            *(
                "2100-01-04T08:00:00+99:00",
                "9999-12-31T23:59:59-12:00",
                "0001-01-01T00:00:00+14:00",
            ),
            *("2100-01-04T08:00:60Z", "4102732800", "2100-01-04T25:00:00Z"),
        ),
        (FUTURE,),
    ),
    (EMAIL, f"{REMINDER}.delayDays", DELAY, (0, -1, -(2**63), -(10**300)), (1, 7, 3650)),
    (
        EMAIL,
        f"{REMINDER}.delayDays",
        "DelayDays must be at most 3650 days.",
        (3651, 2**31, 2**64, 10**300),
        (3650,),
    ),
)
every_rule = pytest.mark.parametrize(
    ("kind", "path", "message", "bad", "good"),
    RULES,
    ids=[f"{kind} {path.rpartition('.')[2]}" for kind, path, *_ in RULES],
)


@every_rule
def test_values_that_break_a_rule_get_its_message(
    kind: str, path: str, message: str, bad: tuple[Any, ...], good: tuple[Any, ...], api: Any
) -> None:
    for value in bad:
        answer = post(api, ORDER, with_member(full(kind), path, value))
        assert invalid(answer) == {path: [message]}, value
    assert rows_left() == []


@every_rule
def test_values_that_keep_a_rule_are_taken(
    kind: str,
    path: str,
    message: str,
    bad: tuple[Any, ...],
    good: tuple[Any, ...],
    api: Any,
    drafts: list[OrderDraft],
) -> None:
    for value in good:
        assert post(api, ORDER, with_member(full(kind), path, value)).status_code == 201, value
    assert len(drafts) == len(good)


def without(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def test_plain_http_is_for_condition_endpoints_that_the_host_has_named(
    api: Any, drafts: list[OrderDraft], configure: Configure
) -> None:
    configure(CONDITION_HOSTS={"conditions.internal": {"http": True}})
    inside = order(conditionEndpoint="http://conditions.internal/x")
    assert post(api, ORDER, inside).status_code == 201
    outside = order(conditionEndpoint="http://example.com/x")
    assert invalid(post(api, ORDER, outside)) == {"conditionEndpoint": [CONDITION]}


@pytest.mark.parametrize("place", ["", "reminders[0]."], ids=["message", "reminder"])
@pytest.mark.parametrize(
    "recipient",
    [
        {},
        {"recipientFax": {"faxNumber": MARK}},
        dict.fromkeys(RECIPIENTS),
        {name: RECIPIENTS[name] for name in (EMAIL, PHONES)},
        RECIPIENTS,
    ],
    ids=["none", "unknown", "nulls", "two", "all"],
)
def test_there_is_exactly_one_recipient(place: str, recipient: Any, api: Any) -> None:
    request = with_member(full(EMAIL), f"{place}recipient", recipient)
    assert invalid(post(api, ORDER, request)) == {f"{place}recipient": [ONE_RECIPIENT]}
    assert rows_left() == []


def test_what_is_wrong_within_several_recipients_is_told_too(api: Any) -> None:
    both = {EMAIL: RECIPIENTS[EMAIL], PHONES: RECIPIENTS[PHONES] | {"phoneNumber": "12345"}}
    assert invalid(post(api, ORDER, order(recipient=both))) == {
        "recipient": [ONE_RECIPIENT],
        "recipient.recipientSms.phoneNumber": [PHONE],
    }


def test_a_recipient_beside_nulls_is_the_one(api: Any, drafts: list[OrderDraft]) -> None:
    recipient = dict.fromkeys(RECIPIENTS) | {PHONES: RECIPIENTS[PHONES]}
    assert post(api, ORDER, order(recipient=recipient)).status_code == 201


NEEDED = {
    "Email": {"emailSettings"},
    "Sms": {"smsSettings"},
    "EmailPreferred": {"emailSettings", "smsSettings"},
    "SmsPreferred": {"emailSettings", "smsSettings"},
    "EmailAndSms": {"emailSettings", "smsSettings"},
}
DEFAULTS = {PERSON: "EmailPreferred", EXTERNAL: "Email"}


def _unset(name: str, schema: str) -> list[str]:
    return [f"{name[0].upper()}{name[1:]} must be set when ChannelSchema is {schema}"]


@pytest.mark.parametrize("kind", [PERSON, ORGANISATION, EXTERNAL])
@pytest.mark.parametrize("schema", NEEDED)
@pytest.mark.parametrize("written", [str, str.upper], ids=["as is", "upper"])
@pytest.mark.parametrize("absent", [..., None], ids=["missing", "null"])
def test_each_schema_needs_its_settings(
    kind: str, schema: str, written: Callable[[str], str], absent: Any, api: Any, drafts: Any
) -> None:
    base = with_member(order(kind), f"recipient.{kind}.channelSchema", written(schema))
    for name in BOTH_TEXTS:
        path = f"recipient.{kind}.{name}"
        answer = post(api, ORDER, with_member(base, path, absent))
        if name in NEEDED[schema]:
            assert invalid(answer) == {path: _unset(name, schema)}
        else:
            assert answer.status_code == 201


@pytest.mark.parametrize(("kind", "schema"), DEFAULTS.items())
def test_a_schema_that_is_not_said_needs_its_settings_as_well(
    kind: str, schema: str, api: Any
) -> None:
    request = order(kind)
    request["recipient"][kind] = without(request["recipient"][kind], *BOTH_TEXTS)
    assert invalid(post(api, ORDER, request)) == {
        f"recipient.{kind}.{name}": _unset(name, schema) for name in NEEDED[schema]
    }


@pytest.mark.parametrize("kind", [PERSON, ORGANISATION])
def test_an_action_needs_a_resource(kind: str, api: Any, drafts: list[OrderDraft]) -> None:
    base = with_member(order(kind), f"recipient.{kind}.resourceAction", "read")
    for absent in (..., None, "", " "):
        request = with_member(base, f"recipient.{kind}.resourceId", absent)
        assert invalid(post(api, ORDER, request)) == {
            f"recipient.{kind}.resourceAction": [ACTION_ALONE]
        }
    good = with_member(base, f"recipient.{kind}.resourceId", "urn:altinn:resource:tax")
    assert post(api, ORDER, good).status_code == 201
    recipient = whom(drafts[0])
    assert (recipient.resource_id, recipient.resource_action) == ("urn:altinn:resource:tax", "read")


@pytest.mark.parametrize(
    "given",
    [
        {"delayDays": ...},
        {"delayDays": None},
        {"requestedSendTime": FUTURE},
        {"delayDays": None, "requestedSendTime": " "},
    ],
    ids=["none", "null", "both", "blank"],
)
def test_a_reminder_says_when_in_exactly_one_way(given: Any, api: Any) -> None:
    request = order(reminders=[reminder(), reminder(**given)])
    assert invalid(post(api, ORDER, request)) == {"reminders[1]": [DELAY_OR_TIME]}


@pytest.mark.parametrize(
    ("time", "message"),
    [("2020-01-04T08:00:00Z", PAST), ("2100-01-04T08:00:00", TIME_ZONE), ("soon", NOT_TIME)],
)
def test_a_reminders_own_time_keeps_the_rules_of_the_messages(
    time: str, message: str, api: Any
) -> None:
    request = order(reminders=[reminder(delayDays=..., requestedSendTime=time)])
    assert invalid(post(api, ORDER, request)) == {"reminders[0].requestedSendTime": [message]}


@pytest.mark.parametrize("each", [None, "x", 5, []], ids=repr)
def test_each_reminder_is_an_object(each: Any, api: Any) -> None:
    request = order(reminders=[reminder(), each])
    assert invalid(post(api, ORDER, request)) == {"reminders[1]": ["Expected an object."]}


def test_there_are_at_most_a_hundred_reminders(api: Any, drafts: list[OrderDraft]) -> None:
    assert post(api, ORDER, order(reminders=[reminder()] * 100)).status_code == 201
    assert len(drafts[0].notices) == 101
    many = order(reminders=[{}] * 101)
    assert invalid(post(api, ORDER, many)) == {"reminders": ["At most 100 are allowed."]}


def test_an_sms_of_more_than_16_parts_is_refused_with_the_count(api: Any) -> None:
    path = f"recipient.{PHONES}.smsSettings.body"
    request = with_member(order(PHONES), path, "x" * (153 * 16 + 1))
    message = "The body field needs 17 SMS parts; at most 16 are allowed."
    assert invalid(post(api, ORDER, request)) == {path: [message]}


@pytest.mark.parametrize(
    ("setting", "kind", "path", "message"),
    [
        (
            {"ALLOWED_REGIONS": ["SE"]},
            PHONES,
            "phoneNumber",
            "Recipient phone number is in a region that is not allowed.",
        ),
        (
            {"APPROVED_SENDERS": {"ttd": {"sms": ["Altinn"]}}},
            PHONES,
            "smsSettings.sender",
            "This sender is not approved for the organisation.",
        ),
        (
            {"APPROVED_SENDERS": {"ttd": {"email": ["a@example.com"]}}},
            EMAIL,
            "emailSettings.senderEmailAddress",
            "This sender is not approved for the organisation.",
        ),
    ],
    ids=["region", "sms sender", "email sender"],
)
@pytest.mark.parametrize("place", ["", "reminders[0]."], ids=["message", "reminder"])
def test_what_the_host_does_not_allow_is_refused(
    setting: Any,
    kind: str,
    path: str,
    message: str,
    place: str,
    api: Any,
    client_of: Any,
    drafts: list[OrderDraft],
    configure: Configure,
) -> None:
    configure(**setting)
    other = EXTERNAL
    request = order(other, reminders=[reminder(kind)]) if place else order(kind)
    for name in ("smsSettings", "emailSettings"):
        if place:
            request["recipient"][other][name] = without(request["recipient"][other][name], "sender")
    path = f"{place}recipient.{kind}.{path}"
    if kind == EMAIL:
        request = with_member(request, path, "b@example.com")
    assert invalid(post(api, ORDER, request)) == {path: [message]}
    assert drafts == []
    if "APPROVED_SENDERS" in setting:
        assert post(client_of("skd"), ORDER, request).status_code == 201


def test_all_errors_are_reported_together(api: Any) -> None:
    request = {
        "idempotencyId": " ",
        "requestedSendTime": "2020-01-01T00:00:00Z",
        "conditionEndpoint": "x",
        "dialogportenAssociation": {"dialogId": 5},
        "recipient": {
            PERSON: {
                "nationalIdentityNumber": "1",
                "smsSettings": {"body": None, "sendingTimePolicy": "x"},
                "ignoreReservation": "yes",
                "resourceAction": "read",
            }
        },
        "reminders": [
            {"recipient": {}},
            reminder(),
            {"delayDays": 0, "recipient": {PHONES: {"phoneNumber": "x"}}},
        ],
    }
    person = f"recipient.{PERSON}"
    assert invalid(post(api, ORDER, request)) == {
        "idempotencyId": [REQUIRED.format(name="idempotencyId")],
        "requestedSendTime": [PAST],
        "conditionEndpoint": [CONDITION],
        "dialogportenAssociation.dialogId": ["Expected a string."],
        f"{person}.nationalIdentityNumber": [PERSON_NUMBER],
        f"{person}.emailSettings": _unset("emailSettings", "EmailPreferred"),
        f"{person}.smsSettings.body": [SMS_BODY],
        f"{person}.smsSettings.sendingTimePolicy": [SMS_POLICY],
        f"{person}.ignoreReservation": ["Expected true or false."],
        f"{person}.resourceAction": [ACTION_ALONE],
        "reminders[0]": [DELAY_OR_TIME],
        "reminders[0].recipient": [ONE_RECIPIENT],
        "reminders[2].delayDays": [DELAY],
        f"reminders[2].recipient.{PHONES}.phoneNumber": [PHONE],
        f"reminders[2].recipient.{PHONES}.smsSettings": [REQUIRED.format(name="smsSettings")],
    }
    assert rows_left() == []


def test_an_empty_object_lacks_what_is_required(api: Any) -> None:
    assert invalid(post(api, ORDER, {})) == {
        name: [REQUIRED.format(name=name)] for name in ("idempotencyId", "recipient")
    }


def whom(draft: OrderDraft, place: int = 0) -> Recipient:
    (recipient,) = draft.notices[place].recipients or ()
    return recipient


WHOM = {
    EMAIL: Recipient(Kind.MAILBOX, "kari@example.com", Schema.EMAIL),
    PHONES: Recipient(Kind.PHONE, "+4799999999", Schema.SMS),
    PERSON: Recipient(Kind.PERSON, "13854899999", Schema.EMAIL_PREFERRED),
    ORGANISATION: Recipient(Kind.ORGANISATION, "312508729", Schema.EMAIL_AND_SMS),
    EXTERNAL: Recipient(
        Kind.EXTERNAL, "urn:altinn:person:idporten-email:kari@example.com", Schema.EMAIL
    ),
}
SMS_CONTENT = {"body": SMS_TEXT["body"], "sender": "Skatt", "daytime": True}
EMAIL_CONTENT = {
    "subject": EMAIL_TEXT["subject"],
    "body": EMAIL_TEXT["body"],
    "content_type": "Plain",
    "sender": "",
}
CONTENTS = {
    EMAIL: {Channel.EMAIL: EMAIL_CONTENT},
    PHONES: {Channel.SMS: SMS_CONTENT},
    PERSON: {Channel.EMAIL: EMAIL_CONTENT, Channel.SMS: SMS_CONTENT},
    ORGANISATION: {Channel.EMAIL: EMAIL_CONTENT, Channel.SMS: SMS_CONTENT},
    EXTERNAL: {Channel.EMAIL: EMAIL_CONTENT},
}


@pytest.mark.parametrize("kind", RECIPIENTS)
def test_each_kind_of_recipient_is_understood(
    kind: str, api: Any, drafts: list[OrderDraft], clock: Clock
) -> None:
    assert post(api, ORDER, order(kind)).status_code == 201
    (draft,) = drafts
    (notice,) = draft.notices
    assert (draft.creator, draft.idempotency_id, draft.dialog) == ("ttd", "id-1", None)
    assert whom(draft) == WHOM[kind]
    assert notice.content == CONTENTS[kind]
    assert (notice.condition, notice.senders_reference) == ("", "ref-1")
    assert notice.requested_at == clock()


def test_texts_that_cannot_be_sent_are_not_kept(api: Any, drafts: list[OrderDraft]) -> None:
    request = with_member(order(PERSON), f"recipient.{PERSON}.channelSchema", "Sms")
    post(api, ORDER, request)
    assert set(drafts[0].notices[0].content) == {Channel.SMS}


@pytest.mark.parametrize(("written", "canonical"), VALID_URNS.items())
def test_an_external_identity_is_kept_in_its_canonical_form(
    written: str, canonical: str | None, api: Any, drafts: list[OrderDraft]
) -> None:
    post(
        api, ORDER, with_member(order(EXTERNAL), f"recipient.{EXTERNAL}.externalIdentity", written)
    )
    assert whom(drafts[0]).identity == (canonical or written)


def test_what_is_said_of_a_person_is_passed_on(api: Any, drafts: list[OrderDraft]) -> None:
    said = {"ignoreReservation": True, "useStaleContactInformation": True, "channelSchema": "sms"}
    person = RECIPIENTS[PERSON] | said
    post(api, ORDER, order(recipient={PERSON: person}))
    recipient = whom(drafts[0])
    assert (recipient.ignore_reservation, recipient.use_stale) == (True, True)
    assert recipient.schema == Schema.SMS


@pytest.mark.parametrize(
    ("policy", "daytime"), [(..., True), ("daytime", True), ("Anytime", False)], ids=str
)
def test_an_sms_waits_for_the_day_unless_it_need_not(
    policy: Any, daytime: bool, api: Any, drafts: list[OrderDraft]
) -> None:
    path = f"recipient.{PHONES}.smsSettings.sendingTimePolicy"
    post(api, ORDER, with_member(order(PHONES), path, policy))
    assert drafts[0].notices[0].content[Channel.SMS]["daytime"] is daytime


def test_a_reminder_is_due_so_many_days_after_the_message_or_at_its_own_time(
    api: Any, drafts: list[OrderDraft]
) -> None:
    own = reminder(
        PHONES,
        delayDays=...,
        requestedSendTime="2100-02-01T10:00:00+02:00",
        sendersReference="ref-2",
        conditionEndpoint="https://example.com/two",
    )
    request = order(
        requestedSendTime="2100-01-04T09:30:00+01:00",
        conditionEndpoint="https://example.com/one",
        reminders=[reminder(), own],
        dialogportenAssociation={"dialogId": "d-1", "transmissionId": " "},
    )
    assert post(api, ORDER, request).status_code == 201
    (draft,) = drafts
    main_at = datetime(2100, 1, 4, 8, 30, tzinfo=UTC)
    assert [each.requested_at for each in draft.notices] == [
        main_at,
        main_at + timedelta(days=7),
        datetime(2100, 2, 1, 8, tzinfo=UTC),
    ]
    assert [each.senders_reference for each in draft.notices] == ["ref-1", "", "ref-2"]
    assert [each.condition for each in draft.notices] == [
        "https://example.com/one",
        "",
        "https://example.com/two",
    ]
    assert [whom(draft, place) for place in range(3)] == [WHOM[EMAIL], WHOM[EMAIL], WHOM[PHONES]]
    assert draft.dialog == {"dialogId": "d-1"}


def test_days_are_of_24_hours_whatever_the_clocks_do(api: Any, drafts: list[OrderDraft]) -> None:
    before_summer_time = "2099-03-28T12:00:00+01:00"
    post(api, ORDER, order(requestedSendTime=before_summer_time, reminders=[reminder(delayDays=1)]))
    main, reminded = drafts[0].notices
    assert reminded.requested_at - main.requested_at == timedelta(hours=24)


def test_a_clock_that_is_a_little_behind_is_no_past(
    api: Any, drafts: list[OrderDraft], clock: Clock
) -> None:
    at = (clock() - timedelta(seconds=9)).isoformat()
    assert post(api, ORDER, order(requestedSendTime=at)).status_code == 201


def test_unknown_members_are_ignored(api: Any, drafts: list[OrderDraft]) -> None:
    request = order(reminders=[reminder(x=1)], x={MARK: 1})
    request["recipient"] |= {"x": 1}
    request["recipient"][EMAIL] |= {"x": [], "timeToLiveInSeconds": "x"}
    assert post(api, ORDER, request).status_code == 201


@pytest.mark.parametrize(("body", "errors"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_not_one_json_object_is_400(body: bytes, errors: Any, api: Any) -> None:
    assert invalid(post(api, ORDER, body)) == errors
    assert rows_left() == []


@pytest.mark.parametrize(("content_type", "body"), FOREIGN.values(), ids=FOREIGN)
def test_another_content_type_is_415(content_type: str, body: bytes, api: Any) -> None:
    problem(post(api, ORDER, body, content_type=content_type), 415)
    assert rows_left() == []


def test_a_request_larger_than_allowed_is_413(api: Any) -> None:
    problem(post(api, ORDER, order(sendersReference="x" * 1_000_000)), 413)
    assert rows_left() == []


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([FUTURE, "Email", "Sms", "13854899999", "+4799999999", "https://x.example"]),
    lambda deeper: (
        st.lists(deeper, max_size=3)
        | st.dictionaries(st.text(max_size=4), deeper, max_size=3)
        | st.dictionaries(st.sampled_from(sorted({m.name for m in MEMBERS})), deeper, max_size=6)
    ),
    max_leaves=12,
)


@given(
    kind=st.sampled_from(sorted(RECIPIENTS)),
    changes=st.lists(
        st.tuples(st.sampled_from([member.path for member in MEMBERS]), ANY_JSON), max_size=4
    ),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_stands_in_a_request_is_taken_or_refused_but_breaks_nothing(
    kind: str, changes: list[tuple[str, Any]], api: Any, drafts: list[OrderDraft]
) -> None:
    request = full(kind)
    for path, value in changes:
        try:
            request = with_member(request, path, value)
        except (LookupError, TypeError, AttributeError, ValueError):
            continue  # an earlier change has taken away what this one belongs to
    answer = post(api, ORDER, request)
    assert answer.status_code in (201, 400), answer.content
    if answer.status_code == 400:
        invalid(answer)
    assert not Order.objects.exists()
