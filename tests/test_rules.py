from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instant_notifications import rules
from instant_notifications.rules import Broken, Rule
from tests.clock import Clock

Configure = Callable[..., None]

VALID_PHONES = {
    "+4799999999": "+4799999999",
    "004799999999": "+4799999999",
    "+4791234567": "+4791234567",
    "+4740000000": "+4740000000",
    "004790000002": "+4790000002",
    "+233242426224": "+233242426224",
    "+47 99999999": "+4799999999",
    "+47 9999 9999": "+4799999999",
    "+47 99 99 99 99 ": "+4799999999",
}
INVALID_PHONES = [
    "",
    "   ",
    "+47",
    "12345",
    "abcdefg",
    "+479999999",
    "+479999999999",
    "+4712345678",
    "40000000",
    "+4750000004",
    "++4740000000",
    " +4799999999",
]
NUMBERS_IN_DISGUISE = [
    "tel:+4799999999",
    "call +4799999999",
    "00+4799999999",
    "0000479999999",
    "+ +4799999999",
    "\N{LEFT-TO-RIGHT MARK}+4799999999",
    "+47 99999999 or 98888888",
    "+4799999999, +4798888888",
    "+99999999;phone-context=+47",
    "00",
    "+",
    "+" * 40,
    "0" * 10_000,
]
VALID_EMAILS = [
    "test@example.com",
    "user.name+tag@domain.co.uk",
    "æge_sjøåsen@domain.com",
    "john.doe@sub.domain.example",
]
INVALID_EMAILS = [
    "@example.com",
    "test@",
    "test.example.com",
    ".user@example.com",
    "user.@example.com",
    "user@example..com",
    "user@exa!mple.com",
    "one@example.com;two@example.com",
]
NOT_ONE_BARE_ADDRESS = [
    "Kari <kari@example.com>",
    "<kari@example.com>",
    "(a comment)kari@example.com",
    "kari@example.com,ola@example.com",
    "kari@example.com ola@example.com",
    "kari\N{LINE SEPARATOR}@example.com",
    "kari@[127.0.0.1]",
    "kari@localhost",
    "kari@a@b.no",
    "kari@.no",
    "kari@" + "a" * 64 + ".no",
    "kari@" + "a." * 130 + "no",
]
BLANK = ["", "   ", "\t\n", "\N{NO-BREAK SPACE}"]
NOT_STRINGS = [None, 5, 5.0, True, b"bytes", ["a"], {"a": "b"}]
UNSENDABLE = ["\0", "\x01", "\x08", "\x1b", "\x1f", "\x7f", "\x80", "\x9f", "\ud800", "\udfff"]
LINE_BREAKS = ["\r\n", *"\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"]

ONE_LINE_TEXTS: dict[str, Rule] = {
    "idempotency_id": rules.idempotency_id,
    "senders_reference": rules.senders_reference,
    "sms_sender": rules.sms_sender,
    "mobile_number": rules.mobile_number,
    "email_address": rules.email_address,
    "content_type": rules.content_type,
    "national_identity_number": rules.national_identity_number,
    "organisation_number": rules.organisation_number,
    "external_identity": rules.external_identity,
    "resource_id": rules.resource_id,
    "resource_action": rules.resource_action,
    "requested_time": rules.requested_time,
    "condition": rules.condition,
}
BODIES: dict[str, Rule] = {"sms_body": rules.sms_body, "email_body": rules.email_body}
TEXTS = {**ONE_LINE_TEXTS, **BODIES, "email_subject": rules.email_subject}

each_text = pytest.mark.parametrize("rule", TEXTS.values(), ids=TEXTS)
each_one_line_text = pytest.mark.parametrize("rule", ONE_LINE_TEXTS.values(), ids=ONE_LINE_TEXTS)
each_body = pytest.mark.parametrize("rule", BODIES.values(), ids=BODIES)


def complaint(rule: Rule, value: object, name: str = "member") -> str:
    with pytest.raises(Broken) as raised:
        rule(value, name)
    return str(raised.value)


@each_text
@pytest.mark.parametrize("value", BLANK)
def test_blank_counts_as_missing(rule: Rule, value: str) -> None:
    assert complaint(rule, value) == "The member field is required."


@each_text
@pytest.mark.parametrize("value", NOT_STRINGS, ids=repr)
def test_only_a_string_is_a_text(rule: Rule, value: object) -> None:
    assert complaint(rule, value) == "Expected a string."


@each_text
@pytest.mark.parametrize("character", UNSENDABLE, ids=ascii)
def test_what_cannot_be_sent_is_refused(rule: Rule, character: str) -> None:
    said = complaint(rule, f"a{character}b")
    assert said == "The member field contains characters that cannot be sent."


@each_one_line_text
@pytest.mark.parametrize("character", ["\t", "\n", "\r"], ids=ascii)
def test_only_a_body_may_hold_line_breaks_and_tabs(rule: Rule, character: str) -> None:
    said = complaint(rule, f"a{character}b")
    assert said == "The member field contains characters that cannot be sent."


@each_body
def test_a_body_is_kept_as_it_was_written(rule: Rule) -> None:
    body = " Dear Kari,\r\n\tyour code is 428516 \N{SEE-NO-EVIL MONKEY}\n"
    assert rule(body, "body") == body


@pytest.mark.parametrize("rule", [rules.idempotency_id, rules.senders_reference])
def test_a_reference_has_at_most_255_characters(rule: Rule) -> None:
    assert rule("å" * 255, "reference") == "å" * 255
    said = complaint(rule, "å" * 256, "reference")
    assert said == "The reference field must be at most 255 characters."


@pytest.mark.parametrize("rule", [rules.idempotency_id, rules.senders_reference])
def test_a_reference_is_kept_as_it_was_written(rule: Rule) -> None:
    assert rule(" Ref-1 ", "reference") == " Ref-1 "


@pytest.mark.parametrize(("written", "kept"), VALID_PHONES.items())
def test_a_valid_number_is_kept_as_e164(written: str, kept: str) -> None:
    assert rules.mobile_number(written, "phoneNumber") == kept


@pytest.mark.parametrize("written", INVALID_PHONES)
def test_an_invalid_number_is_refused(written: str) -> None:
    said = complaint(rules.mobile_number, written, "phoneNumber")
    missing = "The phoneNumber field is required."
    invalid = "Recipient phone number is not a valid mobile number."
    assert said == (invalid if written.strip() else missing)


@pytest.mark.parametrize(
    "written",
    ["+4722222222", "+442079460000", "+4780012345", "+4782012345", "+390612345678"],
    ids=["landline", "landline abroad", "freephone", "premium rate", "landline in Rome"],
)
def test_a_number_that_receives_no_sms_is_refused(written: str) -> None:
    said = complaint(rules.mobile_number, written)
    assert said == "Recipient phone number is not a valid mobile number."


def test_a_number_that_may_be_mobile_is_taken() -> None:
    assert rules.mobile_number("+12025550123", "phoneNumber") == "+12025550123"


@pytest.mark.parametrize("extension", [" ext. 5", "x5", ";ext=5", "#5", " ext 12345"])
def test_an_extension_is_refused(extension: str) -> None:
    said = complaint(rules.mobile_number, f"+4799999999{extension}")
    assert said == "Recipient phone number is not a valid mobile number."


@pytest.mark.parametrize("written", NUMBERS_IN_DISGUISE)
def test_a_number_in_disguise_is_refused(written: str) -> None:
    said = complaint(rules.mobile_number, written)
    assert said == "Recipient phone number is not a valid mobile number."


@given(st.text())
def test_any_text_is_a_number_or_broken(written: str) -> None:
    try:
        kept = rules.mobile_number(written, "phoneNumber")
    except Broken:
        return
    assert kept.startswith("+")
    assert kept[1:].isdigit()


def test_a_number_outside_the_allowed_regions_is_refused(configure: Configure) -> None:
    configure(ALLOWED_REGIONS=["NO", "SE"])
    assert rules.mobile_number("+4799999999", "phoneNumber") == "+4799999999"
    assert rules.mobile_number("+46701234567", "phoneNumber") == "+46701234567"
    said = complaint(rules.mobile_number, "+4520123456")
    assert said == "Recipient phone number is in a region that is not allowed."


def test_regions_that_share_a_country_code_are_told_apart(configure: Configure) -> None:
    configure(ALLOWED_REGIONS=["CA"])
    assert rules.mobile_number("+15062345678", "phoneNumber") == "+15062345678"
    assert complaint(rules.mobile_number, "+12025550123") == rules.REGION


def test_no_regions_allow_nobody(configure: Configure) -> None:
    configure(ALLOWED_REGIONS=[])
    assert complaint(rules.mobile_number, "+4799999999") == rules.REGION


@pytest.mark.parametrize("seconds", [60, 61, 300, 172_799, 172_800])
def test_a_time_to_live_within_the_bounds_is_kept(seconds: int) -> None:
    assert rules.time_to_live(seconds, "timeToLiveInSeconds") == seconds


@pytest.mark.parametrize("seconds", [59, 0, -60, 172_801, 10**400])
def test_a_time_to_live_out_of_bounds_is_refused(seconds: int) -> None:
    said = complaint(rules.time_to_live, seconds)
    assert said == "Time-to-live must be between 60 and 172800 seconds (48 hours)."


@pytest.mark.parametrize("value", [True, False, 300.0, "300", None, [300], float("nan")], ids=repr)
def test_only_an_integer_is_a_time_to_live(value: object) -> None:
    assert complaint(rules.time_to_live, value) == "Expected an integer."


def test_a_sender_has_at_most_64_characters() -> None:
    assert rules.sms_sender("å" * 64, "sender") == "å" * 64
    said = complaint(rules.sms_sender, "å" * 65, "sender")
    assert said == "The sender field must be at most 64 characters."


@pytest.mark.parametrize(
    "sender", ["Altinn", "+4799999999", "2470", "A name beyond eleven", "Ærlig"]
)
def test_a_sender_is_passed_on_as_given(sender: str) -> None:
    assert rules.sms_sender(sender, "sender") == sender


@pytest.mark.parametrize("character", ["a", "[", "ç", "\N{SEE-NO-EVIL MONKEY}"])
def test_an_sms_has_at_most_16_parts(character: str) -> None:
    most = {"a": 153, "[": 76, "ç": 67}.get(character, 33) * 16
    assert rules.sms_body(character * most, "body") == character * most
    said = complaint(rules.sms_body, character * (most + 1), "body")
    assert said == "The body field needs 17 SMS parts; at most 16 are allowed."


@pytest.mark.parametrize("address", VALID_EMAILS)
def test_a_valid_address_is_kept(address: str) -> None:
    assert rules.email_address(address, "emailAddress") == address


@pytest.mark.parametrize("address", INVALID_EMAILS)
def test_an_invalid_address_is_refused(address: str) -> None:
    assert complaint(rules.email_address, address) == "Invalid email address format."


@pytest.mark.parametrize(
    "written", [" kari@example.com", "kari@example.com \n", "\t kari@example.com\u2028"], ids=ascii
)
def test_an_address_is_trimmed(written: str) -> None:
    assert rules.email_address(written, "emailAddress") == "kari@example.com"


@pytest.mark.parametrize("written", NOT_ONE_BARE_ADDRESS, ids=ascii)
def test_only_one_bare_address_is_taken(written: str) -> None:
    assert complaint(rules.email_address, written) == "Invalid email address format."


def test_an_international_domain_is_taken() -> None:
    assert rules.email_address("kari@blåbær.no", "emailAddress") == "kari@blåbær.no"


@given(st.text())
def test_any_text_is_an_address_or_broken(written: str) -> None:
    try:
        kept = rules.email_address(written, "emailAddress")
    except Broken:
        return
    assert "@" in kept


@pytest.mark.parametrize("line_break", LINE_BREAKS, ids=ascii)
def test_a_line_break_in_a_subject_becomes_a_single_blank(line_break: str) -> None:
    subject = f"Your code{line_break}Bcc: everybody@example.com"
    assert rules.email_subject(subject, "subject") == "Your code Bcc: everybody@example.com"


def test_a_tab_in_a_subject_becomes_a_blank() -> None:
    assert rules.email_subject("Your\tcode", "subject") == "Your code"


def test_a_subject_of_line_breaks_is_blank() -> None:
    assert complaint(rules.email_subject, "\r\n\N{LINE SEPARATOR}") == rules.REQUIRED.format(
        name="member"
    )


def test_a_subject_fits_on_one_line_of_a_mail() -> None:
    assert rules.email_subject("a" * 998, "subject") == "a" * 998
    said = complaint(rules.email_subject, "a" * 999, "subject")
    assert said == "The subject field must be at most 998 characters."


@given(st.text())
def test_a_subject_that_is_kept_has_one_line(subject: str) -> None:
    try:
        kept = rules.email_subject(subject, "subject")
    except Broken:
        return
    assert len(kept.splitlines()) == 1


@pytest.mark.parametrize("written", ["Plain", "plain", "PLAIN", "Html", "html", "HTML", "hTmL"])
def test_a_content_type_matches_in_any_case(written: str) -> None:
    assert rules.content_type(written, "contentType") == written.capitalize()


@pytest.mark.parametrize("written", ["text/html", "Markdown", "Html ", "Plain,Html", "0"])
def test_another_content_type_is_refused(written: str) -> None:
    said = complaint(rules.content_type, written)
    assert said == "Email content type must be either Plain or HTML."


@pytest.mark.parametrize("value", [None, *BLANK])
def test_an_optional_member_may_be_left_blank(value: object) -> None:
    assert rules.optional(rules.sms_sender)(value, "sender") == ""


@pytest.mark.parametrize("value", [0, False, [], {}], ids=repr)
def test_an_optional_member_of_another_type_is_not_blank(value: object) -> None:
    assert complaint(rules.optional(rules.sms_sender), value) == "Expected a string."


APPROVED = {"ttd": {"sms": ["Altinn"], "email": ["Post@example.com"]}, "nav": {"sms": ["NAV"]}}


@pytest.mark.parametrize(
    ("rule_of", "creator", "sender"),
    [
        (rules.sms_sender_of, "ttd", "Altinn"),
        (rules.sms_sender_of, "skd", "anything"),
        (rules.email_sender_of, "ttd", "Post@example.com"),
        (rules.email_sender_of, "ttd", " Post@example.com "),
        (rules.email_sender_of, "nav", "any@example.com"),
        (rules.email_sender_of, "skd", "any@example.com"),
    ],
)
def test_an_approved_sender_may_be_named(
    rule_of: Callable[[str], Rule], creator: str, sender: str, configure: Configure
) -> None:
    configure(APPROVED_SENDERS=APPROVED)
    assert rule_of(creator)(sender, "sender") == sender.strip()


@pytest.mark.parametrize(
    ("rule_of", "creator", "sender"),
    [
        (rules.sms_sender_of, "ttd", "NAV"),
        (rules.sms_sender_of, "ttd", "altinn"),
        (rules.sms_sender_of, "ttd", "Altinn2"),
        (rules.sms_sender_of, "nav", "Altinn"),
        (rules.email_sender_of, "ttd", "other@example.com"),
        (rules.email_sender_of, "ttd", "Post@example.com.evil.example"),
    ],
)
def test_a_sender_that_is_not_approved_is_refused(
    rule_of: Callable[[str], Rule], creator: str, sender: str, configure: Configure
) -> None:
    configure(APPROVED_SENDERS=APPROVED)
    said = complaint(rule_of(creator), sender, "sender")
    assert said == "This sender is not approved for the organisation."


def test_an_organisation_with_no_approved_sender_may_name_none(configure: Configure) -> None:
    configure(APPROVED_SENDERS={"ttd": {"sms": []}})
    assert complaint(rules.sms_sender_of("ttd"), "Altinn") == rules.SENDER


@pytest.mark.parametrize("written", ["Post@Example.COM", "post@BLÅBÆR.no", "post@xn--blbr-roah.no"])
def test_an_approved_address_matches_as_the_host_wrote_it(
    written: str, configure: Configure
) -> None:
    configure(APPROVED_SENDERS={"ttd": {"email": [written]}})
    assert rules.email_sender_of("ttd")(written, "senderEmailAddress")


def test_an_entry_that_is_no_address_does_not_spoil_the_others(configure: Configure) -> None:
    approved = ["Altinn <post@example.com>", "Post@example.com"]
    configure(APPROVED_SENDERS={"ttd": {"email": approved}})
    assert rules.email_sender_of("ttd")("Post@example.com", "sender") == "Post@example.com"
    assert complaint(rules.email_sender_of("ttd"), "other@example.com") == rules.SENDER


def test_a_bad_sender_address_is_told_like_a_recipients(configure: Configure) -> None:
    configure(APPROVED_SENDERS=APPROVED)
    said = complaint(rules.email_sender_of("ttd"), "not-an-address")
    assert said == "Invalid email address format."


NUMBERS: dict[Rule, tuple[int, str]] = {
    rules.national_identity_number: (11, "National identity number must be 11 digits long."),
    rules.organisation_number: (9, "Organization number must be 9 digits long."),
}
each_number = pytest.mark.parametrize(
    ("rule", "digits", "said"),
    [(rule, digits, said) for rule, (digits, said) in NUMBERS.items()],
    ids=["person", "organisation"],
)


@each_number
def test_a_number_of_so_many_digits_is_kept(rule: Rule, digits: int, said: str) -> None:
    assert rule("0" * digits, "number") == "0" * digits
    assert rule(f" {'1' * digits} ", "number") == "1" * digits


@each_number
@pytest.mark.parametrize("written", ["{}1", "{:.3}", "-{:.8}", "+{}", "{:.5} {:.5}", "{:.8}x"])
def test_a_number_of_other_digits_is_refused(
    rule: Rule, digits: int, said: str, written: str
) -> None:
    number = "12345678901"[:digits]
    assert complaint(rule, written.format(number, number)) == said


@each_number
@pytest.mark.parametrize("digit", ["\N{ARABIC-INDIC DIGIT ONE}", "\N{SUPERSCRIPT TWO}"])
def test_only_ascii_has_digits(rule: Rule, digits: int, said: str, digit: str) -> None:
    assert complaint(rule, digit * digits) == said


@each_number
@given(written=st.text() | st.text(st.characters(categories=["Nd"]), min_size=9, max_size=11))
def test_any_text_is_a_number_of_digits_or_broken(
    rule: Rule, digits: int, said: str, written: str
) -> None:
    try:
        kept = rule(written, "number")
    except Broken:
        return
    assert len(kept) == digits
    assert {*kept} <= {*"0123456789"}


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("urn:altinn:party:username:kari", "urn:altinn:party:username:kari"),
        ("urn:altinn:username:kari", "urn:altinn:party:username:kari"),
        ("urn:altinn:person:legacy-selfidentified:kari", "urn:altinn:party:username:kari"),
        (
            "urn:altinn:person:idporten-email:kari@example.com",
            "urn:altinn:person:idporten-email:kari@example.com",
        ),
        ("URN:Altinn:UserName:Kari:Ås", "urn:altinn:party:username:Kari:Ås"),
        (" urn:altinn:username:kari ", "urn:altinn:party:username:kari"),
        (
            "urn:altinn:person:idporten-email:Kari@BLÅBÆR.no",
            "urn:altinn:person:idporten-email:Kari@blåbær.no",
        ),
    ],
)
def test_an_external_identity_is_kept_in_its_canonical_form(written: str, kept: str) -> None:
    assert rules.external_identity(written, "externalIdentity") == kept
    assert rules.external_identity(kept, "externalIdentity") == kept


@pytest.mark.parametrize(
    "written",
    [
        "kari",
        "urn:altinn:username",
        "urn:altinn:username:",
        "urn:altinn:username: ",
        "urn:altinn:username:kari nordmann",
        "urn:altinn:username:kari\N{NO-BREAK SPACE}nordmann",
        "urn:altinn:user:kari",
        "xurn:altinn:username:kari",
        "urn:altinn:person:identifier-no:01010112345",
        "urn:altinn:person:idporten-email:",
        "urn:altinn:person:idporten-email:kari",
        "urn:altinn:person:idporten-email:Kari <kari@example.com>",
    ],
)
def test_another_urn_is_refused(written: str) -> None:
    said = complaint(rules.external_identity, written)
    assert said == "Invalid external identity URN format."


def test_an_external_identity_has_a_limit() -> None:
    longest = "urn:altinn:party:username:" + "a" * 294
    assert rules.external_identity(longest, "externalIdentity") == longest
    said = complaint(rules.external_identity, longest + "a")
    assert said == "The member field must be at most 320 characters."


@pytest.mark.parametrize("written", ["urn:altinn:resource:a", "urn:altinn:resource:app_ttd_x:y"])
def test_a_resource_is_kept_as_it_was_written(written: str) -> None:
    assert rules.resource_id(written, "resourceId") == written


@pytest.mark.parametrize(
    "written",
    ["a", "burn:altinn:resource:a", "urn:altinn:resource", "urn:altinn:resource: ", "urn:altinn:"],
)
def test_another_resource_is_refused(written: str) -> None:
    assert complaint(rules.resource_id, written) == "ResourceId must have a valid syntax."
    assert complaint(rules.resource_id, "urn:altinn:resource:") == rules.RESOURCE


def test_a_resource_and_an_action_have_at_most_255_characters() -> None:
    said = "The member field must be at most 255 characters."
    assert complaint(rules.resource_id, "urn:altinn:resource:" + "a" * 236) == said
    assert complaint(rules.resource_action, "a" * 256) == said
    assert rules.resource_action("a" * 255, "resourceAction") == "a" * 255


NOW = datetime(2026, 7, 14, 12, tzinfo=UTC)


@pytest.fixture
def noon(clock: Clock) -> Clock:
    clock.now = NOW
    return clock


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2026-07-14T12:00:00Z", NOW),
        (" 2026-07-14T12:00Z ", NOW),
        ("2026-07-14T14:00:00+02:00", NOW),
        ("2026-07-14 05:00:00-07:00", NOW),
        ("2026-07-14T12:00:00.0000000Z", NOW),  # as .NET writes it
        ("20260714T120000Z", NOW),
        ("2026-07-14T12:00:00.25Z", NOW + timedelta(milliseconds=250)),
        (NOW.astimezone(timezone(timedelta(hours=9))), NOW),
        ("2026-07-14T11:59:50Z", NOW - timedelta(seconds=10)),
    ],
)
def test_a_requested_time_is_kept_in_utc(written: object, kept: datetime, noon: Clock) -> None:
    requested = rules.requested_time(written, "requestedSendTime")
    assert (requested, requested.tzinfo) == (kept, UTC)


class Vague(tzinfo):
    def utcoffset(self, moment: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    "written",
    [
        "2026-07-15T12:00:00",
        "2026-07-15",
        datetime(2026, 7, 15, 12),  # noqa: DTZ001
        datetime(2026, 7, 15, 12, tzinfo=Vague()),
    ],
    ids=str,
)
def test_a_requested_time_without_a_time_zone_is_refused(written: object, noon: Clock) -> None:
    said = complaint(rules.requested_time, written)
    assert said == "The requested send time value must have specified a time zone."


@pytest.mark.parametrize(
    "written",
    ["2026-07-14T11:59:49Z", "2026-07-14T12:00:00+02:00", "1970-01-01T00:00Z", "0002-01-01T00:00Z"],
)
def test_a_requested_time_in_the_past_is_refused(written: str, noon: Clock) -> None:
    said = complaint(rules.requested_time, written)
    assert said == "RequestedSendTime must be greater than or equal to now."


@pytest.mark.parametrize(
    "written",
    [
        "tomorrow",
        "12:00Z",
        "2026-02-30T12:00Z",
        "2026-07-15T25:00Z",
        "2026-07-15T12:00:00+24:00",
        "1784116800",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
    ],
)
def test_what_is_no_time_is_refused(written: str, noon: Clock) -> None:
    assert complaint(rules.requested_time, written) == "Expected a date and time."


def test_a_requested_time_leaves_room_for_what_is_reckoned_from_it(noon: Clock) -> None:
    last = datetime(9000, 1, 1, tzinfo=UTC)
    assert rules.requested_time(last, "requestedSendTime") == last
    for written in (last + timedelta(seconds=1), "9999-12-31T23:59:59Z"):
        assert complaint(rules.requested_time, written) == "Expected a date and time."


def test_a_repeat_may_have_been_asked_for_a_time_that_has_passed(noon: Clock) -> None:
    assert rules.moment("2026-07-14T11:00:00+01:00", "at") == NOW - timedelta(hours=2)


@pytest.mark.parametrize("days", [1, 2, 3650])
def test_a_delay_of_days_is_kept(days: int) -> None:
    assert rules.delay_days(days, "delayDays") == days


@pytest.mark.parametrize("days", [0, -1, -(10**400)])
def test_a_delay_is_at_least_a_day(days: int) -> None:
    said = complaint(rules.delay_days, days)
    assert said == "DelayDays must be greater than or equal to 1 day."


@pytest.mark.parametrize("days", [3651, 10**400])
def test_a_delay_has_a_limit(days: int) -> None:
    assert complaint(rules.delay_days, days) == rules.DELAY_TOO_LONG.format(limit=3650)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]], ids=repr)
def test_only_an_integer_is_a_delay(value: object) -> None:
    assert complaint(rules.delay_days, value) == "Expected an integer."


@given(st.text() | st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat))
def test_any_text_is_a_time_or_broken(written: str) -> None:
    try:
        kept = rules.requested_time(written, "requestedSendTime")
    except Broken:
        return
    assert kept.tzinfo is UTC


CONDITIONS = [
    "https://example.com",
    "https://example.com:8443/a/b?c=d&e=%20#f",
    "HTTPS://Example.COM/a",
    "https://blåbær.no/æ",
    "https://[2001:db8::1]:443/",
    "https://kari@example.com/",
]


@pytest.mark.parametrize("written", CONDITIONS)
def test_a_condition_is_an_absolute_address(written: str) -> None:
    assert rules.condition(written, "conditionEndpoint") == written


@pytest.mark.parametrize(
    "written",
    [
        "example.com/a",
        "/a",
        "//example.com/a",
        "https:",
        "https://",
        "https:///a",
        "https:example.com",
        "https://:443/a",
        "https://example.com:port/",
        "https://example.com:65536/",
        "https://[::1",
        "https://exa mple.com/",
        " https://example.com/",
        "https://example.com/a b",
        "https://evil.example\\@example.com/",
        "http://example.com/",
        "ftp://example.com/",
        "javascript:alert(1)",
        "file:///etc/passwd",
    ],
)
def test_another_condition_is_refused(written: str) -> None:
    said = complaint(rules.condition, written)
    assert said == "ConditionEndpoint must be a valid absolute URI or null."


def test_a_condition_by_plain_http_only_where_a_setting_allows_it(configure: Configure) -> None:
    configure(CONDITION_HOSTS={"conditions.internal": {"http": True}, "other": {"private": True}})
    allowed = "http://Conditions.Internal:8080/a"
    assert rules.condition(allowed, "conditionEndpoint") == allowed
    assert complaint(rules.condition, "http://other/a") == rules.CONDITION
    assert complaint(rules.condition, "http://conditions.internal.evil.example/") == rules.CONDITION
    assert complaint(rules.condition, "http://conditions.internal@evil.example/") == rules.CONDITION


def test_a_condition_has_at_most_2048_characters() -> None:
    longest = "https://example.com/" + "a" * 2028
    assert rules.condition(longest, "conditionEndpoint") == longest
    said = complaint(rules.condition, longest + "a")
    assert said == "The member field must be at most 2048 characters."


@given(st.text() | st.text(st.sampled_from("https:/[]@.%a1\\ ")).map(lambda end: "https://" + end))
def test_any_text_is_a_condition_or_broken(written: str) -> None:
    try:
        kept = rules.condition(written, "conditionEndpoint")
    except Broken:
        return
    assert kept == written
    assert kept.lower().startswith("https://")


@pytest.mark.parametrize("value", [True, False])
def test_a_boolean_is_kept(value: bool) -> None:
    assert rules.boolean(value, "ignoreReservation") is value


@pytest.mark.parametrize("value", ["true", "", 0, 1, None, []], ids=repr)
def test_nothing_else_is_a_boolean(value: object) -> None:
    assert complaint(rules.boolean, value) == "Expected true or false."


@given(st.text())
def test_a_text_on_one_line_can_be_sent(written: str) -> None:
    line = rules.on_one_line(written)
    assert line == line.strip()
    assert rules.optional(rules.email_subject)(line, "subject") == line


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (rules.ONE_RECIPIENT, "Must have exactly one recipient."),
        (rules.NO_SMS_BODY, "SMS body cannot be null or empty."),
        (rules.SMS_POLICY, "SMS only supports send time daytime and anytime"),
        (rules.EMAIL_POLICY, "Email only supports send time anytime"),
        (rules.ACTION_ALONE, "ResourceAction cannot be specified without a ResourceId."),
        (
            rules.DELAY_OR_TIME,
            "Either DelayDays or RequestedSendTime must be defined, but not both.",
        ),
        (rules.DELAY, "DelayDays must be greater than or equal to 1 day."),
        (
            str(Broken(rules.NO_SETTINGS, kind="Email", schema="Email")),
            "EmailSettings must be set when ChannelSchema is Email",
        ),
    ],
)
def test_a_rule_about_several_members_is_told_in_the_words_of_the_contract(
    said: str, words: str
) -> None:
    assert said == words


LOUD = "zq7731"
BROKEN_VALUES: list[tuple[Rule, Any]] = [
    (rules.idempotency_id, LOUD + "\0"),
    (rules.idempotency_id, LOUD * 50),
    (rules.senders_reference, LOUD * 50),
    (rules.mobile_number, f"+47{LOUD}"),
    (rules.mobile_number, [LOUD]),
    (rules.sms_sender, LOUD * 50),
    (rules.sms_sender_of("ttd"), LOUD),
    (rules.sms_body, LOUD * 1000),
    (rules.sms_body, {LOUD: LOUD}),
    (rules.email_address, f"{LOUD}@example..com"),
    (rules.email_address, f"{LOUD}@{LOUD}.local"),
    (rules.email_sender_of("ttd"), f"{LOUD}@example.com"),
    (rules.email_subject, LOUD * 200),
    (rules.email_body, LOUD + "\x1b"),
    (rules.content_type, LOUD),
    (rules.time_to_live, LOUD),
    (rules.time_to_live, 7_731_000),
    (rules.national_identity_number, "0101773114"),
    (rules.organisation_number, "98773114"),
    (rules.external_identity, f"urn:{LOUD}"),
    (rules.external_identity, f"urn:altinn:person:idporten-email:{LOUD}@example..com"),
    (rules.external_identity, f"urn:altinn:username:{LOUD} {LOUD}"),
    (rules.external_identity, LOUD * 60),
    (rules.resource_id, LOUD),
    (rules.resource_action, LOUD * 60),
    (rules.requested_time, LOUD),
    (rules.requested_time, "7731-07-31T07:73Z"),
    (rules.requested_time, "9999-01-01T07:00:00.7731Z"),
    (rules.delay_days, 7_731_000),
    (rules.requested_time, "7731-01-01"),
    (rules.condition, f"http://{LOUD}.example/"),
    (rules.condition, f"https://example.com:{LOUD}/"),
    (rules.condition, f"https://[{LOUD}/"),
    (rules.boolean, LOUD),
]


@pytest.mark.parametrize(("rule", "value"), BROKEN_VALUES)
def test_no_message_repeats_the_value(rule: Rule, value: object, configure: Configure) -> None:
    configure(APPROVED_SENDERS=APPROVED)
    with pytest.raises(Broken) as raised:
        rule(value, "member")
    assert "7731" not in f"{raised.value!s}{raised.value!r}{raised.value.__cause__!r}"
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_message_names_the_member_as_the_caller_does() -> None:
    assert complaint(rules.sms_body, "", "text") == "The text field is required."
    assert complaint(rules.sms_body, "\0a", "text").startswith("The text field")
