import json
from collections.abc import Callable
from typing import Any

import pytest

from instant_notifications import recipients
from instant_notifications.recipients import WAYS, Kind, Recipient, Schema
from instant_notifications.rules import Broken
from instant_notifications.statuses import Channel

RESOURCE = "urn:altinn:resource:app"
EVERYBODY = [
    recipients.phone("+47 99 99 99 99"),
    recipients.mailbox(" kari@example.com"),
    recipients.person("01010112345"),
    recipients.person(
        "01010112345",
        "SmsPreferred",
        ignore_reservation=True,
        use_stale=True,
        resource_id=RESOURCE,
        resource_action="read",
    ),
    recipients.organisation("987654321", "EmailAndSms", resource_id=RESOURCE),
    recipients.external("urn:altinn:username:kari"),
    recipients.external("urn:altinn:person:idporten-email:kari@example.com"),
]
each_of_them = pytest.mark.parametrize("recipient", EVERYBODY, ids=lambda each: each.kind)


def complaint(make: Callable[..., Recipient], *values: Any, **more: Any) -> str:
    with pytest.raises(Broken) as raised:
        make(*values, **more)
    return str(raised.value)


@each_of_them
def test_what_is_stored_is_read_back(recipient: Recipient) -> None:
    read = Recipient.from_json(json.loads(json.dumps(recipient.to_json())))
    assert read == recipient
    assert (type(read.kind), type(read.schema)) == (Kind, Schema)


@each_of_them
def test_a_repr_holds_nothing_personal(recipient: Recipient) -> None:
    shown = f"{recipient!r} {recipient!s}"
    assert recipient.identity not in shown
    assert not any(word in shown for word in ("9999", "0101", "9876", "kari"))


@each_of_them
def test_equal_recipients_can_be_counted_as_one(recipient: Recipient) -> None:
    assert len({recipient, Recipient.from_json(recipient.to_json())}) == 1


def test_each_kind_keeps_its_identity_as_the_rules_do() -> None:
    assert [(each.kind, each.identity) for each in EVERYBODY] == [
        (Kind.PHONE, "+4799999999"),
        (Kind.MAILBOX, "kari@example.com"),
        (Kind.PERSON, "01010112345"),
        (Kind.PERSON, "01010112345"),
        (Kind.ORGANISATION, "987654321"),
        (Kind.EXTERNAL, "urn:altinn:party:username:kari"),
        (Kind.EXTERNAL, "urn:altinn:person:idporten-email:kari@example.com"),
    ]


def test_a_phone_and_a_mailbox_need_no_register() -> None:
    assert [each.is_looked_up for each in EVERYBODY] == [False, False, *[True] * 5]


def test_unless_told_otherwise_little_is_taken_for_granted() -> None:
    person = recipients.person("01010112345")
    assert person.schema is Schema.EMAIL_PREFERRED
    assert (person.ignore_reservation, person.use_stale) == (False, False)
    assert (person.resource_id, person.resource_action) == ("", "")
    assert recipients.external("urn:altinn:username:kari").schema is Schema.EMAIL
    assert recipients.phone("+4799999999").schema is Schema.SMS
    assert recipients.mailbox("kari@example.com").schema is Schema.EMAIL


@pytest.mark.parametrize("schema", Schema)
def test_a_schema_is_written_in_any_case(schema: Schema) -> None:
    for written in (schema, schema.lower(), schema.upper()):
        assert recipients.person("01010112345", written).schema is schema
        assert recipients.organisation("987654321", written).schema is schema
        assert recipients.external("urn:altinn:username:kari", written).schema is schema


@pytest.mark.parametrize(
    ("schema", "channels", "all_of_them"),
    [
        ("Email", ["email"], False),
        ("Sms", ["sms"], False),
        ("EmailPreferred", ["email", "sms"], False),
        ("SmsPreferred", ["sms", "email"], False),
        ("EmailAndSms", ["email", "sms"], True),
    ],
)
def test_a_schema_names_channels_in_order(
    schema: str, channels: list[str], all_of_them: bool
) -> None:
    way = WAYS[Schema(schema)]
    assert [*way.channels] == [Channel(each) for each in channels]
    assert way.all_of_them is all_of_them
    assert len(WAYS) == len(Schema)


NO_SCHEMA = "Expected Email, Sms, EmailPreferred, SmsPreferred or EmailAndSms."
NO_PHONE = "Recipient phone number is not a valid mobile number."
NO_PERSON = "National identity number must be 11 digits long."
NO_ORGANISATION = "Organization number must be 9 digits long."
NO_URN = "Invalid external identity URN format."


@pytest.mark.parametrize(
    ("make", "values", "said"),
    [
        (recipients.phone, ["99999999"], NO_PHONE),
        (recipients.phone, [""], "The number field is required."),
        (recipients.phone, [4799999999], "Expected a string."),
        (recipients.mailbox, ["kari"], "Invalid email address format."),
        (recipients.mailbox, [""], "The address field is required."),
        (recipients.person, ["0101011234"], NO_PERSON),
        (recipients.person, ["0101011234x"], NO_PERSON),
        (recipients.person, [" "], "The number field is required."),
        (recipients.person, [1010112345], "Expected a string."),
        (recipients.person, ["01010112345", "Post"], NO_SCHEMA),
        (recipients.person, ["01010112345", ""], "The schema field is required."),
        (recipients.person, ["01010112345", None], "Expected a string."),
        (recipients.organisation, ["98765432", "Email"], NO_ORGANISATION),
        (recipients.organisation, ["", "Email"], "The number field is required."),
        (recipients.organisation, ["987654321", "EmailAndSms "], NO_SCHEMA),
        (recipients.external, ["kari"], NO_URN),
        (recipients.external, [""], "The urn field is required."),
        (recipients.external, ["urn:altinn:username:kari", "Fax"], NO_SCHEMA),
    ],
)
def test_what_breaks_a_rule_is_told(
    make: Callable[..., Recipient], values: list[Any], said: str
) -> None:
    assert complaint(make, *values) == said


MAKERS: dict[str, tuple[Callable[..., Recipient], list[str]]] = {
    "person": (recipients.person, ["01010112345"]),
    "organisation": (recipients.organisation, ["987654321", "Email"]),
}


@pytest.mark.parametrize(("make", "values"), MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("resource_id", "resource_action", "said"),
    [
        ("app", "", "ResourceId must have a valid syntax."),
        ("urn:altinn:resource:", "read", "ResourceId must have a valid syntax."),
        (5, "", "Expected a string."),
        ("", "read", "ResourceAction cannot be specified without a ResourceId."),
        (" ", "read", "ResourceAction cannot be specified without a ResourceId."),
        (None, "read", "ResourceAction cannot be specified without a ResourceId."),
        (RESOURCE, 5, "Expected a string."),
        (RESOURCE, "a" * 256, "The resource_action field must be at most 255 characters."),
        (RESOURCE, "\0", "The resource_action field contains characters that cannot be sent."),
    ],
)
def test_a_resource_that_breaks_a_rule_is_told(
    make: Callable[..., Recipient],
    values: list[str],
    resource_id: Any,
    resource_action: Any,
    said: str,
) -> None:
    about = {"resource_id": resource_id, "resource_action": resource_action}
    assert complaint(make, *values, **about) == said


@pytest.mark.parametrize("blank", ["", "  ", None], ids=repr)
def test_a_resource_and_an_action_may_be_left_blank(blank: Any) -> None:
    made = recipients.person("01010112345", resource_id=blank, resource_action=blank)
    assert made == recipients.person("01010112345")
    made = recipients.person("01010112345", resource_id=RESOURCE, resource_action=blank)
    assert (made.resource_id, made.resource_action) == (RESOURCE, "")


@pytest.mark.parametrize("name", ["ignore_reservation", "use_stale"])
@pytest.mark.parametrize("value", ["false", 1, None], ids=repr)
def test_a_reservation_is_not_ignored_by_a_slip(name: str, value: Any) -> None:
    assert complaint(recipients.person, "01010112345", **{name: value}) == "Expected true or false."
