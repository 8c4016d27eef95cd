"""What a message must look like: the limits, and the words a caller is told.

Each rule takes a value and the name the caller gave it, and returns the value to keep or raises
``Broken``. The HTTP API and the Python API share them. No text here repeats the value.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import email_validator
import phonenumbers
from django.utils.translation import gettext_noop
from phonenumber_field.phonenumber import PhoneNumber

from instant_notifications.conf import settings
from instant_notifications.sms import measure
from instant_notifications.statuses import Channel

MAX_REFERENCE_LENGTH: Final = 255
MAX_SENDER_LENGTH: Final = 64
MAX_SUBJECT_LENGTH: Final = 998  # RFC 5322 §2.1.1
MAX_PARTS: Final = 16
MIN_TIME_TO_LIVE: Final = 60
MAX_TIME_TO_LIVE: Final = 172_800
CONTENT_TYPES: Final = ("Plain", "Html")

REQUIRED: Final = gettext_noop("The {name} field is required.")
UNSENDABLE: Final = gettext_noop("The {name} field contains characters that cannot be sent.")
TOO_LONG: Final = gettext_noop("The {name} field must be at most {limit} characters.")
TOO_MANY_PARTS: Final = gettext_noop(
    "The {name} field needs {parts} SMS parts; at most {limit} are allowed."
)
NOT_TEXT: Final = gettext_noop("Expected a string.")
NOT_INTEGER: Final = gettext_noop("Expected an integer.")
NOT_OBJECT: Final = "Expected an object."
PHONE: Final = gettext_noop("Recipient phone number is not a valid mobile number.")
REGION: Final = gettext_noop("Recipient phone number is in a region that is not allowed.")
TIME_TO_LIVE: Final = gettext_noop("Time-to-live must be between 60 and 172800 seconds (48 hours).")
EMAIL: Final = gettext_noop("Invalid email address format.")
CHANNEL: Final = "Expected sms or email."
CONTENT_TYPE: Final = gettext_noop("Email content type must be either Plain or HTML.")
SENDER: Final = gettext_noop("This sender is not approved for the organisation.")

Rule = Callable[[Any, str], Any]

# Unicode's control characters (Cc), and surrogates (Cs), which no encoding can carry.
_suspicious = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]").findall
_LINE_BREAKS: Final = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CAN_RECEIVE_SMS: Final = frozenset(
    {phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE}
)


class Broken(ValueError):  # noqa: N818 (a rule is broken)
    """A value breaks a rule; the text is for the caller and does not repeat the value.

    ``rule`` is the text before ``about`` is filled in: what a catalogue of translations knows.
    """

    def __init__(self, rule: str, **about: object) -> None:
        self.rule, self.about = rule, about
        super().__init__(rule.format(**about))


def text(
    value: object, name: str, *, limit: int | None = None, allowed: str = "", required: bool = True
) -> str:
    """A string of sendable characters, not blank when ``required``."""
    if not isinstance(value, str):
        raise Broken(NOT_TEXT)
    if required and not value.strip():
        raise Broken(REQUIRED, name=name)
    if any(character not in allowed for character in _suspicious(value)):
        raise Broken(UNSENDABLE, name=name)
    if limit is not None and len(value) > limit:
        raise Broken(TOO_LONG, name=name, limit=limit)
    return value


def optional(rule: Rule) -> Rule:
    """The rule for a member that may be absent, null or blank, which all mean ''."""

    def rule_or_blank(value: object, name: str) -> object:
        blank = value is None or (isinstance(value, str) and not value.strip())
        return "" if blank else rule(value, name)

    return rule_or_blank


def idempotency_id(value: object, name: str) -> str:
    return text(value, name, limit=MAX_REFERENCE_LENGTH)


def senders_reference(value: object, name: str) -> str:
    return text(value, name, limit=MAX_REFERENCE_LENGTH)


def creator(value: object, name: str) -> str:
    return text(value, name, limit=MAX_REFERENCE_LENGTH)


def mobile_number(value: object, name: str) -> str:
    """The number as E.164."""
    written = text(value, name)
    if written.startswith("00"):
        written = "+" + written[2:]
    if not written.startswith("+") or written.startswith("++") or any(map(str.isalpha, written)):
        raise Broken(PHONE)
    try:
        number = PhoneNumber.from_string(written, region=None)
    except phonenumbers.NumberParseException:
        raise Broken(PHONE) from None
    if number.extension or not number.is_valid():
        raise Broken(PHONE)
    if phonenumbers.number_type(number) not in _CAN_RECEIVE_SMS:
        raise Broken(PHONE)
    allowed = settings.ALLOWED_REGIONS
    if allowed is not None and phonenumbers.region_code_for_number(number) not in allowed:
        raise Broken(REGION)
    return str(number.as_e164)


def region_of(number: str) -> str:
    """The region that a number in E.164 belongs to, as in "NO"; blank where none does."""
    return phonenumbers.region_code_for_number(phonenumbers.parse(number)) or ""


def time_to_live(value: object, name: str) -> int:  # noqa: ARG001 (a rule's signature)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Broken(NOT_INTEGER)
    if not MIN_TIME_TO_LIVE <= value <= MAX_TIME_TO_LIVE:
        raise Broken(TIME_TO_LIVE)
    return value


def sms_sender(value: object, name: str) -> str:
    return text(value, name, limit=MAX_SENDER_LENGTH)


def sms_body(value: object, name: str) -> str:
    body = text(value, name, allowed="\t\n\r")
    parts = measure(body).parts
    if parts > MAX_PARTS:
        raise Broken(TOO_MANY_PARTS, name=name, parts=parts, limit=MAX_PARTS)
    return body


def email_address(value: object, name: str) -> str:
    """The address, trimmed."""
    if isinstance(value, str):
        value = value.strip()
    written = text(value, name)
    try:
        checked = email_validator.validate_email(written, check_deliverability=False, strict=True)
    except email_validator.EmailNotValidError:
        raise Broken(EMAIL) from None
    return checked.normalized


def email_subject(value: object, name: str) -> str:
    """The subject on one line, so that no header can be smuggled in behind it."""
    if isinstance(value, str):
        value = _LINE_BREAKS.sub(" ", value).replace("\t", " ")
    return text(value, name, limit=MAX_SUBJECT_LENGTH)


def email_body(value: object, name: str) -> str:
    return text(value, name, allowed="\t\n\r")


def content_type(value: object, name: str) -> str:
    written = text(value, name)
    for word in CONTENT_TYPES:
        if word.lower() == written.lower():
            return word
    raise Broken(CONTENT_TYPE)


def gets_real_messages(destination: str) -> bool:
    """Whether the sandbox, where there is one, lets messages out to this recipient."""
    allowed = settings.SANDBOX_RECIPIENTS
    if allowed is None:
        return True
    written = {"".join(each.split()).lower() for each in allowed}
    lowered = destination.lower()  # not folded: "ß" is not "ss" to a mail server
    domain = "@" + lowered.rpartition("@")[2]
    return lowered in written or ("@" in lowered and domain in written)


def sms_sender_of(organisation: str) -> Rule:
    """The rule for what this organisation may send SMS as."""
    return lambda value, name: _approved(sms_sender(value, name), Channel.SMS, organisation)


def email_sender_of(organisation: str) -> Rule:
    """The rule for the address this organisation may send e-mail from."""
    return lambda value, name: _approved(email_address(value, name), Channel.EMAIL, organisation)


def _approved(sender: str, channel: Channel, organisation: str) -> str:
    approved = settings.APPROVED_SENDERS.get(organisation, {}).get(channel)
    if approved is None:
        return sender
    if sender not in approved and sender not in map(_normal_address, approved):
        raise Broken(SENDER)
    return sender


def _normal_address(written: str) -> str:
    """A host's own spelling of an address, as a caller's would be kept."""
    try:
        return email_address(written, "APPROVED_SENDERS")
    except Broken:
        return written


RECIPIENT: Final[Mapping[str, Rule]] = {Channel.SMS: mobile_number, Channel.EMAIL: email_address}
"""What a recipient must look like, by channel."""
