"""Every setting of the app: name, type, default and meaning, in one place.

A host writes one dict, ``INSTANT_NOTIFICATIONS``. Each access reads through to it, so that
``override_settings`` works and nothing is ever stale.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import isfinite
from typing import Any, Final, Generic, Literal, TypeGuard, TypeVar, overload
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings as django_settings
from phonenumbers import SUPPORTED_REGIONS

T = TypeVar("T")

SETTINGS_NAME = "INSTANT_NOTIFICATIONS"
HOUR = 60 * 60


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One key of the dict; ``accepts`` says whether a host's value makes sense."""

    name: str
    default: T
    meaning: str
    accepts: Callable[[Any], bool]

    @overload
    def __get__(self, instance: None, owner: type) -> "Setting[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "Setting[T] | T":
        if instance is None:
            return self
        value: T = written().get(self.name, self.default)
        return value


def written() -> Mapping[str, Any]:
    """What the host wrote, unchecked."""
    value: object = getattr(django_settings, SETTINGS_NAME, {})
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> TypeGuard[Sequence[str]]:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _mapping_to(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(key, str) and accepts(each) for key, each in value.items())
    )


def _gateway(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("BACKEND"), str)
        and _mapping_to(lambda _: True)(value.get("OPTIONS", {}))
    )


def _issuers(value: object) -> bool:
    kinds: Mapping[str, Callable[[Any], bool]] = {
        "KEY": _text,
        "JWKS_URL": _text,
        "ISSUER": _text,
        "AUDIENCE": lambda audience: _text(audience) or _texts(audience),
        "ALGORITHMS": _texts,
    }
    return isinstance(value, list | tuple) and all(
        isinstance(issuer, Mapping)
        and all(name in kinds and kinds[name](each) for name, each in issuer.items())
        for issuer in value
    )


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _positive(value: object) -> bool:
    return _number(value) and value > 0


def _not_negative(value: object) -> bool:
    return _number(value) and value >= 0


def _recipient(value: str) -> bool:
    """A number as it is stored, an address, or a domain with its ``@``."""
    return re.fullmatch(r"\+[\d ]+|[^@\s]*@[^@\s]+", value) is not None


def _natural(value: object) -> bool:
    return type(value) is int and value > 0


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


def _one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: value in words


def _or_none(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or accepts(value)


Limit = tuple[int, float]
"""So many in so many seconds."""


def _limit(value: object) -> bool:
    if not (isinstance(value, list | tuple) and len(value) == 2):
        return False
    number, seconds = value
    return _natural(number) and _positive(seconds)


def _limits(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        name in DEFAULT_LIMITS and (limit is None or _limit(limit)) for name, limit in value.items()
    )


def _condition_hosts(value: object) -> bool:
    kinds: Mapping[str, Callable[[Any], bool]] = {
        "http": _yes_or_no,
        "private": _yes_or_no,
        "token": _sendable_token,
    }
    return isinstance(value, Mapping) and all(
        _bare_host(host)
        and isinstance(known, Mapping)
        and all(name in kinds and kinds[name](each) for name, each in known.items())
        for host, known in value.items()
    )


def _yes_or_no(value: object) -> bool:
    return isinstance(value, bool)


def _bare_host(value: object) -> bool:
    """As it is compared: in lower case, without scheme, port or brackets."""
    return isinstance(value, str) and bool(
        re.fullmatch(r"[a-z0-9._-]*[a-z0-9]|[0-9a-f.]*:[0-9a-f.:]*:[0-9a-f.:]*", value)
    )


def _sendable_token(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[!-~]*", value) is not None


def _daytime(value: object) -> bool:
    if not (_texts(value) and len(value) == 2 and all(map(_clock, value))):
        return False
    opens, closes = value
    return opens < closes


def _clock(value: str) -> bool:
    return re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]", value) is not None


def _zone(value: object) -> bool:
    try:
        return bool(isinstance(value, str) and ZoneInfo(value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False


def _closed_day(value: str) -> bool:
    if value in ("weekends", "holidays"):
        return True
    try:
        return date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _at_least(shortest: timedelta) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, timedelta) and value >= shortest


NOTHING: Final = timedelta(0)
QUARTER: Final = timedelta(days=90)
DEFAULT_LIMITS: Final[Mapping[str, Limit | None]] = {
    "creator": (1200, 60),
    "recipient": (50, 7 * 24 * HOUR),
    "address": (30, HOUR),
    "prefix": (100, HOUR),
    "country": (3000, 600),
}


class Settings:
    """Attribute access to the settings in force."""

    GATEWAYS = Setting[Mapping[str, Mapping[str, Any]]](
        "GATEWAYS",
        {"mail": {"BACKEND": "instant_notifications.gateways.mail.MailGateway"}},
        'Gateways by alias, written like `CACHES`: `{alias: {"BACKEND": path, "OPTIONS": {…}}}`.',
        _mapping_to(_gateway),
    )
    ROUTES = Setting[Mapping[str, Sequence[str]]](
        "ROUTES",
        {"sms": [], "email": ["mail"]},
        "For each channel (`sms`, `email`) the gateway aliases in order of preference.",
        _mapping_to(_texts),
    )
    HANDOVER_BUDGET = Setting[float](
        "HANDOVER_BUDGET",
        10.0,
        "Seconds one hand-over may take in all, whatever the number of gateways. "
        "A reservation's lease is twice this.",
        _positive,
    )
    CIRCUIT_FAILURES = Setting[int | None](
        "CIRCUIT_FAILURES",
        5,
        "After so many failures in a row, by its own fault, a gateway is passed over for a while; "
        "`None`: never.",
        _or_none(_natural),
    )
    CIRCUIT_PAUSE = Setting[float](
        "CIRCUIT_PAUSE",
        30.0,
        "Seconds a failing gateway is passed over before one message tries it again.",
        _positive,
    )
    SANDBOX_RECIPIENTS = Setting[Sequence[str] | None](
        "SANDBOX_RECIPIENTS",
        None,
        "For test environments: only these numbers (`+4799999999`), addresses and domains "
        "(`@example.com`) get real messages, all others go to `SANDBOX_GATEWAY`; `None`: no "
        "sandbox.",
        _or_none(lambda value: _texts(value) and all(map(_recipient, value))),
    )
    SANDBOX_GATEWAY = Setting[str](
        "SANDBOX_GATEWAY", "simulator", "The gateway that the sandbox keeps messages in.", _text
    )
    WAIT_FOR_DUPLICATE = Setting[float | None](
        "WAIT_FOR_DUPLICATE",
        None,
        "Seconds a request waits for an equal one that is still being sent; "
        "`None` means the hand-over budget.",
        _or_none(_not_negative),
    )
    IDEMPOTENCY_MISMATCH = Setting[Literal["replay", "reject"]](
        "IDEMPOTENCY_MISMATCH",
        "replay",
        "A known id with other content: `replay` answers as before and marks the answer; "
        "`reject` answers 422 `IN-00004`.",
        _one_of("replay", "reject"),
    )
    UNKNOWN_OUTCOME = Setting[Literal["keep", "resend"]](
        "UNKNOWN_OUTCOME",
        "keep",
        "A repeat of a message that may have been sent: `keep` answers 504 again; `resend` sends "
        "it once more, for messages where a duplicate is better than none.",
        _one_of("keep", "resend"),
    )
    EXPIRY_GRACE = Setting[float](
        "EXPIRY_GRACE",
        60.0,
        "Seconds after expiry before a delivery without a final receipt counts as `*_Failed_TTL`.",
        _not_negative,
    )
    EMAIL_LIFETIME = Setting[int](
        "EMAIL_LIFETIME",
        48 * HOUR,
        "Seconds an e-mail may be handed over after its creation.",
        _positive,
    )
    FEED = Setting[Literal["completed", "every"]](
        "FEED",
        "completed",
        "What makes a feed entry: an order's `completed` state, or `every` status change.",
        _one_of("completed", "every"),
    )
    KEEP_CONTENT = Setting[timedelta](
        "KEEP_CONTENT",
        timedelta(hours=24),
        "How long the text of a message is kept after its creation. One that may still have to be "
        "sent is kept longer; a secret one only until it is handed over.",
        _at_least(NOTHING),
    )
    KEEP_DESTINATIONS = Setting[timedelta](
        "KEEP_DESTINATIONS",
        QUARTER,
        "How long it can be seen, or searched for, who a message went to.",
        _at_least(NOTHING),
    )
    KEEP_IDEMPOTENCY = Setting[timedelta](
        "KEEP_IDEMPOTENCY",
        QUARTER,
        "How long an idempotency id is known, at least 49 hours; after that it sends again.",
        _at_least(timedelta(hours=49)),
    )
    KEEP_FEED = Setting[timedelta](
        "KEEP_FEED", QUARTER, "How long the status feed keeps its entries.", _at_least(NOTHING)
    )
    KEEP_HISTORY = Setting[timedelta](
        "KEEP_HISTORY",
        QUARTER,
        "How long the changes of a delivery that has come to its end are kept, with the gateway's "
        "own words.",
        _at_least(NOTHING),
    )
    KEEP_UNMATCHED = Setting[timedelta](
        "KEEP_UNMATCHED",
        timedelta(days=30),
        "How long a receipt is kept that belongs to no message we know.",
        _at_least(NOTHING),
    )
    KEEP_ORDERS = Setting[timedelta | None](
        "KEEP_ORDERS",
        None,
        "How long orders, shipments and deliveries themselves are kept, once neither the feed nor "
        "an idempotency id refers to them; `None`: for ever.",
        _or_none(_at_least(NOTHING)),
    )
    CONTACT_REGISTER = Setting[Mapping[str, Any]](
        "CONTACT_REGISTER",
        {"BACKEND": "instant_notifications.contacts.local.LocalRegister"},
        "Who tells how persons and organisations can be reached, written like a gateway.",
        _gateway,
    )
    CONDITION_HOSTS = Setting[Mapping[str, Mapping[str, Any]]](
        "CONDITION_HOSTS",
        {},
        "What is different for the condition endpoints of some hosts, on each port of them: "
        '`{"conditions.internal": {"http": True, "private": True, "token": "…"}}` allows plain '
        "http, an address inside your own network, and sends a bearer token. Names are written in "
        "lower case.",
        _condition_hosts,
    )
    CONDITION_REDIRECTS = Setting[int](
        "CONDITION_REDIRECTS",
        0,
        "How many redirects of a condition endpoint are followed, at most 5.",
        _whole(0, 5),
    )
    DAYTIME = Setting[tuple[str, str]](
        "DAYTIME",
        ("09:00", "17:00"),
        "From which time of the day on, and until before which, an SMS with the policy `Daytime` "
        "may be handed over.",
        _daytime,
    )
    DAYTIME_ZONE = Setting[str](
        "DAYTIME_ZONE", "Europe/Oslo", "The time zone whose clock `DAYTIME` goes by.", _zone
    )
    DAYTIME_CLOSED = Setting[Sequence[str]](
        "DAYTIME_CLOSED",
        (),
        "Days that are no daytime at all: `weekends`, `holidays` (Norway's), and dates like "
        "`2026-12-24`.",
        lambda value: _texts(value) and all(map(_closed_day, value)),
    )
    CLAIM_LEASE = Setting[float](
        "CLAIM_LEASE",
        300.0,
        "Seconds after which what a queue was told of, and nobody has done, is put in it again.",
        _positive,
    )
    TASK_BACKEND = Setting[str](
        "TASK_BACKEND",
        "default",
        "Which backend of Django's `TASKS` works regular orders off.",
        _text,
    )
    TASK_QUEUE = Setting[str](
        "TASK_QUEUE", "default", "The queue of that backend that they go through.", _text
    )
    DEFAULT_CREATOR = Setting[str](
        "DEFAULT_CREATOR",
        "local",
        "The organisation that messages sent from Python or the command line belong to.",
        _text,
    )
    DEFAULT_SMS_SENDER = Setting[str](
        "DEFAULT_SMS_SENDER",
        "",
        "SMS sender where a message names none; blank: the gateway's.",
        _text,
    )
    DEFAULT_EMAIL_SENDER = Setting[str](
        "DEFAULT_EMAIL_SENDER",
        "",
        "From-address where a message names none; blank: Django's `DEFAULT_FROM_EMAIL`.",
        _text,
    )
    APPROVED_SENDERS = Setting[Mapping[str, Mapping[str, Sequence[str]]]](
        "APPROVED_SENDERS",
        {},
        'Senders an organisation may name: `{"ttd": {"sms": ["Altinn"], "email": ["a@b.no"]}}`. '
        "Organisations and channels not listed may name any.",
        _mapping_to(
            lambda value: _mapping_to(_texts)(value) and {"sms", "email"}.issuperset(value)
        ),
    )
    ALLOWED_REGIONS = Setting[Sequence[str] | None](
        "ALLOWED_REGIONS",
        None,
        'Regions SMS may go to, e.g. `["NO", "SE"]`; `None` allows all.',
        _or_none(lambda value: _texts(value) and SUPPORTED_REGIONS.issuperset(value)),
    )
    MAX_REQUEST_BYTES = Setting[int](
        "MAX_REQUEST_BYTES", 1_000_000, "A larger request body is answered 413.", _natural
    )
    ENCRYPTION_KEYS = Setting[Sequence[str]](
        "ENCRYPTION_KEYS",
        (),
        "Secrets that destinations and contents are encrypted with: the first writes, all read. "
        "`SECRET_KEY` and `SECRET_KEY_FALLBACKS` stand behind them.",
        lambda value: _texts(value) and all(value),
    )
    OTP_LENGTH = Setting[int]("OTP_LENGTH", 6, "Digits of a one-time code, 6 to 10.", _whole(6, 10))
    OTP_LIFETIME = Setting[int](
        "OTP_LIFETIME", 300, "Seconds a one-time code is good for, 60 to 600.", _whole(60, 600)
    )
    OTP_ATTEMPTS = Setting[int](
        "OTP_ATTEMPTS", 3, "How often one code may be tried, at most 3 times.", _whole(1, 3)
    )
    OTP_RESEND_PAUSE = Setting[int](
        "OTP_RESEND_PAUSE",
        30,
        "Seconds between two codes to the same recipient, at least 30; twice as long after each.",
        _whole(30, HOUR),
    )
    OTP_SENDS_PER_HOUR = Setting[int](
        "OTP_SENDS_PER_HOUR", 5, "Codes to one recipient in an hour, at most 5.", _whole(1, 5)
    )
    OTP_SENDS_PER_DAY = Setting[int](
        "OTP_SENDS_PER_DAY", 10, "Codes to one recipient in 24 hours, at most 10.", _whole(1, 10)
    )
    OTP_HOST = Setting[str](
        "OTP_HOST",
        "",
        "The host for whose pages browsers fill in codes by themselves, as in `example.com`; "
        "blank: they are not told.",
        lambda value: _text(value) and re.fullmatch(r"[a-z0-9.-]*", value) is not None,
    )
    OTP_COUNTRIES = Setting[Sequence[str] | None](
        "OTP_COUNTRIES",
        None,
        'Countries one-time codes may go to, e.g. `["NO", "SE"]`; `None`: that of '
        "`PHONENUMBER_DEFAULT_REGION`, or, where that is not set either, all.",
        _or_none(lambda value: _texts(value) and SUPPORTED_REGIONS.issuperset(value)),
    )
    OTP_HOLD = Setting[Literal["off", "warn", "block"]](
        "OTP_HOLD",
        "warn",
        "Prefixes and countries whose codes nobody verifies: `warn` shows them in the console, "
        "`block` sends them no codes until they are released, `off` does not look.",
        _one_of("off", "warn", "block"),
    )
    LIMITS = Setting[Mapping[str, Limit | None]](
        "LIMITS",
        DEFAULT_LIMITS,
        "So many in so many seconds: requests of an organisation (`creator`), and codes by "
        "`recipient`, `address` of the caller, number `prefix` and `country`. What is left out "
        "stays at its default; `None` switches a limit off.",
        _limits,
    )
    TOKEN_SIGNING_KEY = Setting[str](
        "TOKEN_SIGNING_KEY",
        "",
        "Secret of at least 32 bytes for the project's own tokens (`manage.py issue_token`); "
        "blank: none are issued or accepted.",
        _text,
    )
    TOKEN_ISSUERS = Setting[Sequence[Mapping[str, Any]]](
        "TOKEN_ISSUERS",
        (),
        "Issuers whose tokens are accepted, each with `JWKS_URL` or `KEY`, and optionally `ISSUER`,"
        " `AUDIENCE` and `ALGORITHMS`.",
        _issuers,
    )


SETTINGS: Mapping[str, Setting[Any]] = {
    name: value for name, value in vars(Settings).items() if isinstance(value, Setting)
}

settings = Settings()
