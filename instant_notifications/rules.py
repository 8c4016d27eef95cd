"""What a message must look like: the limits, and the words a caller is told.

Each rule takes a value and the name the caller gave it, and returns the value to keep or raises
``Broken``. The HTTP API and the Python API share them. No text here repeats the value.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import email_validator
import phonenumbers
from django.utils import timezone
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
MAX_CONDITION_LENGTH: Final = 2048
MAX_DELAY_DAYS: Final = 3650
MAX_URN_LENGTH: Final = 320  # room for the longest address
CLOCK_LEEWAY: Final = timedelta(seconds=10)

REQUIRED: Final = gettext_noop("The {name} field is required.")
UNSENDABLE: Final = gettext_noop("The {name} field contains characters that cannot be sent.")
TOO_LONG: Final = gettext_noop("The {name} field must be at most {limit} characters.")
TOO_MANY_PARTS: Final = gettext_noop(
    "The {name} field needs {parts} SMS parts; at most {limit} are allowed."
)
NOT_TEXT: Final = gettext_noop("Expected a string.")
NOT_INTEGER: Final = gettext_noop("Expected an integer.")
NOT_OBJECT: Final = "Expected an object."
NOT_RECIPIENT: Final = "Expected recipients as the functions of the module recipients make them."
PHONE: Final = gettext_noop("Recipient phone number is not a valid mobile number.")
REGION: Final = gettext_noop("Recipient phone number is in a region that is not allowed.")
TIME_TO_LIVE: Final = gettext_noop("Time-to-live must be between 60 and 172800 seconds (48 hours).")
EMAIL: Final = gettext_noop("Invalid email address format.")
CHANNEL: Final = "Expected sms or email."
CONTENT_TYPE: Final = gettext_noop("Email content type must be either Plain or HTML.")
SENDER: Final = gettext_noop("This sender is not approved for the organisation.")
ONE_RECIPIENT: Final = "Must have exactly one recipient."
TIME_ZONE: Final = "The requested send time value must have specified a time zone."
NOT_TIME: Final = "Expected a date and time."
NOT_BOOLEAN: Final = "Expected true or false."
PAST: Final = "RequestedSendTime must be greater than or equal to now."
CONDITION: Final = "ConditionEndpoint must be a valid absolute URI or null."
NO_SMS_BODY: Final = "SMS body cannot be null or empty."
SMS_POLICY: Final = "SMS only supports send time daytime and anytime"
EMAIL_POLICY: Final = "Email only supports send time anytime"
NO_SETTINGS: Final = "{kind}Settings must be set when ChannelSchema is {schema}"
PERSON_NUMBER: Final = gettext_noop("National identity number must be 11 digits long.")
ORGANISATION_NUMBER: Final = gettext_noop("Organization number must be 9 digits long.")
URN: Final = gettext_noop("Invalid external identity URN format.")
SCHEMA: Final = "Expected Email, Sms, EmailPreferred, SmsPreferred or EmailAndSms."
RESOURCE: Final = "ResourceId must have a valid syntax."
ACTION_ALONE: Final = "ResourceAction cannot be specified without a ResourceId."
DELAY_OR_TIME: Final = "Either DelayDays or RequestedSendTime must be defined, but not both."
DELAY: Final = "DelayDays must be greater than or equal to 1 day."
DELAY_TOO_LONG: Final = "DelayDays must be at most {limit} days."

Rule = Callable[[Any, str], Any]
Word = TypeVar("Word", bound=str)

# Where a backslash stands, parsers do not agree about which host an address names.
_ambiguous = re.compile(r"[\s\\]").search

# Unicode's control characters (Cc), and surrogates (Cs), which no encoding can carry.
_SUSPICIOUS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
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
    if any(character not in allowed for character in _SUSPICIOUS.findall(value)):
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


def one_of(words: Iterable[Word], otherwise: str) -> Callable[[Any, str], Word]:
    """The rule for one of these words, in any case."""
    by_lower = {word.lower(): word for word in words}

    def word(value: object, name: str) -> Word:
        written = text(value, name).lower()
        if written not in by_lower:
            raise Broken(otherwise)
        return by_lower[written]

    return word


def on_one_line(written: str) -> str:
    """A text from elsewhere, such as a name, with a blank for all that cannot be sent on a line."""
    return " ".join(_SUSPICIOUS.sub(" ", written).split())


def boolean(value: object, name: str) -> bool:  # noqa: ARG001 (a rule's signature)
    if not isinstance(value, bool):
        raise Broken(NOT_BOOLEAN)
    return value


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


content_type: Final = one_of(CONTENT_TYPES, CONTENT_TYPE)


def national_identity_number(value: object, name: str) -> str:
    return _digits(value, name, 11, PERSON_NUMBER)


def organisation_number(value: object, name: str) -> str:
    return _digits(value, name, 9, ORGANISATION_NUMBER)


def _digits(value: object, name: str, number: int, otherwise: str) -> str:
    written = text(value, name).strip()
    if not (len(written) == number and written.isascii() and written.isdigit()):
        raise Broken(otherwise)
    return written


def external_identity(value: object, name: str) -> str:
    """The URN, in its canonical form."""
    written = text(value, name, limit=MAX_URN_LENGTH).strip()
    for prefix, canonical in _URNS.items():
        if written.lower().startswith(prefix):
            identity = written[len(prefix) :]
            if not identity or any(map(str.isspace, identity)):
                raise Broken(URN)
            return canonical + (_address_in_urn(identity) if "email" in prefix else identity)
    raise Broken(URN)


_USERNAME: Final = "urn:altinn:party:username:"
_URNS: Final[Mapping[str, str]] = {
    "urn:altinn:person:idporten-email:": "urn:altinn:person:idporten-email:",
    "urn:altinn:username:": _USERNAME,
    "urn:altinn:person:legacy-selfidentified:": _USERNAME,
    _USERNAME: _USERNAME,
}
"""What an external identity may begin with, and the same in its canonical form."""


def _address_in_urn(identity: str) -> str:
    try:
        return email_address(identity, "")
    except Broken:
        raise Broken(URN) from None


def resource_id(value: object, name: str) -> str:
    written = text(value, name, limit=MAX_REFERENCE_LENGTH)
    if not written.startswith(_RESOURCE) or not written.removeprefix(_RESOURCE).strip():
        raise Broken(RESOURCE)
    return written


_RESOURCE: Final = "urn:altinn:resource:"


def resource_action(value: object, name: str) -> str:
    return text(value, name, limit=MAX_REFERENCE_LENGTH)


def requested_time(value: object, name: str) -> datetime:
    """A moment that has not passed, but for what clocks may differ."""
    requested = moment(value, name)
    if requested < timezone.now() - CLOCK_LEEWAY:
        raise Broken(PAST)
    return requested


def moment(value: object, name: str) -> datetime:
    """A moment in UTC, also one that has passed."""
    read = value if isinstance(value, datetime) else _written_moment(text(value, name))
    if timezone.is_naive(read):
        raise Broken(TIME_ZONE)
    if not _EARLIEST <= read <= _LATEST:
        raise Broken(NOT_TIME)
    return read.astimezone(UTC)


_EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""What is reckoned from it has to be a date as well."""


def _written_moment(written: str) -> datetime:
    try:
        return datetime.fromisoformat(written.strip())
    except (ValueError, OverflowError):
        raise Broken(NOT_TIME) from None


def delay_days(value: object, name: str) -> int:  # noqa: ARG001 (a rule's signature)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Broken(NOT_INTEGER)
    if value < 1:
        raise Broken(DELAY)
    if value > MAX_DELAY_DAYS:
        raise Broken(DELAY_TOO_LONG, limit=MAX_DELAY_DAYS)
    return value


def condition(value: object, name: str) -> str:
    """An absolute address: https, or http where the host's settings allow it."""
    written = text(value, name, limit=MAX_CONDITION_LENGTH)
    try:
        parts = urlsplit(written)
        host = parts.hostname
        parts.port  # noqa: B018 (it raises for one that is none)
    except ValueError:
        raise Broken(CONDITION) from None
    may_be_http = bool(settings.CONDITION_HOSTS.get(host or "", {}).get("http"))
    schemes = ("https", "http") if may_be_http else ("https",)
    if not host or parts.scheme not in schemes or _ambiguous(written):
        raise Broken(CONDITION)
    return written


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
