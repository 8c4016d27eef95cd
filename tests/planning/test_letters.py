"""To whom by which channel, in which words. Pure: no database."""

from typing import Any

import pytest

from instant_notifications import recipients, rules
from instant_notifications.contacts.base import Contact
from instant_notifications.planning.letters import Letter, letters
from instant_notifications.recipients import Recipient

PHONE, OTHER_PHONE = "+4799999999", "+4740000000"
EMAIL, OTHER_EMAIL = "kari@example.com", "ola@example.com"
TEXTS: dict[str, Any] = {
    "sms": {"body": "Hello $recipientName$", "sender": "", "daytime": True},
    "email": {"subject": "Hi", "body": "Hello", "content_type": "Plain", "sender": ""},
}


def person(schema: str = "EmailPreferred", **more: Any) -> Recipient:
    return recipients.person("01010112345", schema, **more)


def contact(**known: Any) -> Contact:
    nothing: dict[str, Any] = {"phone_numbers": (), "email_addresses": ()}
    return Contact(**nothing | known)


def destinations(recipient: Recipient, known: Contact | None) -> list[str]:
    """Where it goes, or the word that says why not."""
    return [each.destination or each.failure for each in letters(recipient, known, TEXTS)]


BOTH = contact(phone_numbers=(PHONE,), email_addresses=(EMAIL,))
PHONE_ONLY = contact(phone_numbers=(PHONE,))
EMAIL_ONLY = contact(email_addresses=(EMAIL,))
NO_SMS = "SMS_Failed_RecipientNotIdentified"
NO_EMAIL = "Email_Failed_RecipientNotIdentified"


@pytest.mark.parametrize(
    ("schema", "known", "goes_to"),
    [
        ("Email", BOTH, [EMAIL]),
        ("Email", PHONE_ONLY, [NO_EMAIL]),
        ("Sms", BOTH, [PHONE]),
        ("Sms", EMAIL_ONLY, [NO_SMS]),
        ("EmailPreferred", BOTH, [EMAIL]),
        ("EmailPreferred", PHONE_ONLY, [PHONE]),
        ("SmsPreferred", BOTH, [PHONE]),
        ("SmsPreferred", EMAIL_ONLY, [EMAIL]),
        ("EmailAndSms", BOTH, [EMAIL, PHONE]),
        ("EmailAndSms", PHONE_ONLY, [NO_EMAIL, PHONE]),
        ("EmailAndSms", EMAIL_ONLY, [EMAIL, NO_SMS]),
    ],
)
def test_the_schema_and_what_is_known_say_where_it_goes(
    schema: str, known: Contact, goes_to: list[str]
) -> None:
    assert destinations(person(schema), known) == goes_to


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ("Email", NO_EMAIL),
        ("EmailPreferred", NO_EMAIL),
        ("EmailAndSms", NO_EMAIL),
        ("Sms", NO_SMS),
        ("SmsPreferred", NO_SMS),
    ],
)
def test_of_somebody_nobody_knows_there_is_one_failure_in_the_preferred_channel(
    schema: str, word: str
) -> None:
    assert destinations(person(schema), None) == [word]


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        ("EmailPreferred", "Email_Failed_RecipientReserved"),
        ("EmailAndSms", "Email_Failed_RecipientReserved"),
        ("SmsPreferred", "SMS_Failed_RecipientReserved"),
    ],
)
def test_to_somebody_reserved_nothing_goes_unless_that_is_ignored(schema: str, word: str) -> None:
    reserved = contact(phone_numbers=(PHONE,), email_addresses=(EMAIL,), reserved=True)
    (letter,) = letters(person(schema), reserved, TEXTS)
    assert (letter.destination, letter.content, letter.failure) == (None, None, word)
    assert destinations(person("EmailAndSms", ignore_reservation=True), reserved) == [EMAIL, PHONE]


def test_an_organisation_is_written_to_at_each_of_its_addresses() -> None:
    several = contact(phone_numbers=(PHONE, OTHER_PHONE), email_addresses=(EMAIL, OTHER_EMAIL))
    company = recipients.organisation("987654321", "EmailAndSms")
    assert destinations(company, several) == [EMAIL, OTHER_EMAIL, PHONE, OTHER_PHONE]
    company = recipients.organisation("987654321", "SmsPreferred")
    assert destinations(company, several) == [PHONE, OTHER_PHONE]


@pytest.mark.parametrize(
    ("whom", "destination"),
    [(recipients.phone(PHONE), PHONE), (recipients.mailbox(EMAIL), EMAIL)],
    ids=["phone", "mailbox"],
)
def test_an_address_that_was_given_needs_no_register(whom: Recipient, destination: str) -> None:
    assert destinations(whom, None) == [destination]


def body_for(whom: Recipient, known: Contact) -> str:
    (letter,) = letters(whom, known, TEXTS)
    assert letter.content is not None
    return str(letter.content["body"])


def test_keywords_are_filled_in_where_the_name_is_known() -> None:
    named = contact(phone_numbers=(PHONE,), name="Kari Nordmann")
    assert body_for(person("Sms"), named) == "Hello Kari Nordmann"
    assert body_for(person("Sms"), PHONE_ONLY) == "Hello $recipientName$"


def test_the_letters_to_two_people_do_not_share_their_words() -> None:
    for name in ("Kari", "Ola"):
        named = contact(phone_numbers=(PHONE,), name=name)
        assert body_for(person("Sms"), named) == f"Hello {name}"
    assert TEXTS["sms"]["body"] == "Hello $recipientName$"


def letter_with(channel: str, name: str = "Kari", **text: str) -> Letter:
    texts = {**TEXTS, channel: TEXTS[channel] | text}
    known = contact(phone_numbers=(PHONE,), email_addresses=(EMAIL,), name=name)
    (letter,) = letters(person("Sms" if channel == "sms" else "Email"), known, texts)
    return letter


@pytest.mark.parametrize(
    ("channel", "text", "name"),
    [
        ("sms", {"body": "x" * (153 * 16 - 10) + "$recipientName$"}, "K" * 60),
        ("sms", {"body": "$recipientNumber$"}, "Kari"),
        ("sms", {"body": " $recipientNumber$\n"}, "Kari"),
        ("email", {"subject": "$recipientNumber$"}, "Kari"),
        ("email", {"body": "$recipientNumber$"}, "Kari"),
        ("email", {"subject": "x" * (rules.MAX_SUBJECT_LENGTH - 10) + "$recipientName$"}, "K" * 60),
    ],
    ids=["long sms", "blank sms", "only blanks", "blank subject", "blank body", "long subject"],
)
def test_what_cannot_be_sent_once_it_is_filled_in_fails_at_once(
    channel: str, text: dict[str, str], name: str
) -> None:
    letter = letter_with(channel, name, **text)
    assert letter.failure == ("SMS_Failed" if channel == "sms" else "Email_Failed")
    assert letter.content is None


def test_what_just_fits_once_it_is_filled_in_is_sent() -> None:
    assert letter_with("sms", "K" * 20, body="x" * (153 * 16 - 20) + "$recipientName$").content
    subject = "x" * (rules.MAX_SUBJECT_LENGTH - 20) + "$recipientName$"
    assert letter_with("email", "K" * 20, subject=subject).content


def test_only_an_sms_has_parts_and_a_daytime() -> None:
    sms, email = letter_with("sms"), letter_with("email")
    assert (sms.segments, sms.daytime) == (1, True)
    assert (email.segments, email.daytime) == (None, False)
    assert not letter_with("sms", body="$recipientNumber$").daytime


def test_the_repr_of_a_letter_holds_nothing_personal() -> None:
    assert "99999999" not in repr(letter_with("sms"))
    assert "Kari" not in repr(letter_with("sms"))
