from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from instant_notifications import conf
from instant_notifications.conf import SETTINGS, Setting

Configure = Callable[..., None]

DEFAULTS = {
    "GATEWAYS": {"mail": {"BACKEND": "instant_notifications.gateways.mail.MailGateway"}},
    "ROUTES": {"sms": [], "email": ["mail"]},
    "HANDOVER_BUDGET": 10,
    "WAIT_FOR_DUPLICATE": None,
    "IDEMPOTENCY_MISMATCH": "replay",
    "UNKNOWN_OUTCOME": "keep",
    "EXPIRY_GRACE": 60,
    "EMAIL_LIFETIME": 172_800,
    "FEED": "completed",
    "CIRCUIT_FAILURES": 5,
    "CIRCUIT_PAUSE": 30.0,
    "SANDBOX_RECIPIENTS": None,
    "SANDBOX_GATEWAY": "simulator",
    "KEEP_CONTENT": timedelta(days=1),
    "KEEP_DESTINATIONS": timedelta(days=90),
    "KEEP_IDEMPOTENCY": timedelta(days=90),
    "KEEP_FEED": timedelta(days=90),
    "KEEP_HISTORY": timedelta(days=90),
    "KEEP_UNMATCHED": timedelta(days=30),
    "KEEP_ORDERS": None,
    "CONDITION_HOSTS": {},
    "CONDITION_REDIRECTS": 0,
    "CONTACT_REGISTER": {"BACKEND": "instant_notifications.contacts.local.LocalRegister"},
    "DAYTIME": ("09:00", "17:00"),
    "DAYTIME_ZONE": "Europe/Oslo",
    "DAYTIME_CLOSED": (),
    "CLAIM_LEASE": 300,
    "TASK_BACKEND": "default",
    "TASK_QUEUE": "default",
    "DEFAULT_CREATOR": "local",
    "DEFAULT_SMS_SENDER": "",
    "DEFAULT_EMAIL_SENDER": "",
    "APPROVED_SENDERS": {},
    "ALLOWED_REGIONS": None,
    "MAX_REQUEST_BYTES": 1_000_000,
    "ENCRYPTION_KEYS": (),
    "OTP_LENGTH": 6,
    "OTP_LIFETIME": 300,
    "OTP_ATTEMPTS": 3,
    "OTP_RESEND_PAUSE": 30,
    "OTP_SENDS_PER_HOUR": 5,
    "OTP_SENDS_PER_DAY": 10,
    "OTP_HOST": "",
    "OTP_COUNTRIES": None,
    "OTP_HOLD": "warn",
    "LIMITS": {
        "creator": (1200, 60),
        "recipient": (50, 7 * 24 * 3600),
        "address": (30, 3600),
        "prefix": (100, 3600),
        "country": (3000, 600),
    },
    "TOKEN_SIGNING_KEY": "",
    "TOKEN_ISSUERS": (),
}

GOOD: list[tuple[str, Any]] = [
    ("GATEWAYS", {}),
    ("ROUTES", {"sms": ["a", "b"]}),
    ("HANDOVER_BUDGET", 0.5),
    ("WAIT_FOR_DUPLICATE", 0),
    ("WAIT_FOR_DUPLICATE", None),
    ("IDEMPOTENCY_MISMATCH", "reject"),
    ("UNKNOWN_OUTCOME", "resend"),
    ("EXPIRY_GRACE", 0),
    ("EMAIL_LIFETIME", 60),
    ("FEED", "every"),
    ("CIRCUIT_FAILURES", 1),
    ("CIRCUIT_FAILURES", None),
    ("CIRCUIT_PAUSE", 0.5),
    ("SANDBOX_RECIPIENTS", []),
    ("SANDBOX_RECIPIENTS", ["+4799999999", "+47 99 99 99 99", "kari@example.com", "@example.com"]),
    ("SANDBOX_GATEWAY", "simulator"),
    ("KEEP_CONTENT", timedelta(0)),
    ("KEEP_DESTINATIONS", timedelta(days=7)),
    ("KEEP_IDEMPOTENCY", timedelta(hours=49)),
    ("KEEP_FEED", timedelta(days=365)),
    ("KEEP_HISTORY", timedelta(days=1)),
    ("KEEP_UNMATCHED", timedelta(days=1)),
    ("KEEP_ORDERS", timedelta(days=400)),
    ("KEEP_ORDERS", None),
    ("CONDITION_HOSTS", {}),
    ("CONDITION_HOSTS", {"conditions.internal": {"http": True, "private": True, "token": "a-b"}}),
    ("CONDITION_HOSTS", {"localhost": {}, "10.0.0.1": {}, "::1": {"token": ""}}),
    ("CONDITION_REDIRECTS", 0),
    ("CONDITION_REDIRECTS", 5),
    ("CONTACT_REGISTER", {"BACKEND": "a.b.Register", "OPTIONS": {"url": "https://a.example"}}),
    ("DAYTIME", ("08:00", "20:30")),
    ("DAYTIME", ["00:00", "23:59"]),
    ("DAYTIME_ZONE", "Asia/Kolkata"),
    ("DAYTIME_ZONE", "UTC"),
    ("DAYTIME_CLOSED", []),
    ("DAYTIME_CLOSED", ["weekends", "holidays", "2026-12-24", "2028-02-29"]),
    ("CLAIM_LEASE", 0.5),
    ("TASK_BACKEND", "notifications"),
    ("TASK_QUEUE", "notifications"),
    ("DEFAULT_CREATOR", "ttd"),
    ("DEFAULT_SMS_SENDER", "Altinn"),
    ("DEFAULT_EMAIL_SENDER", "a@example.com"),
    ("APPROVED_SENDERS", {"ttd": {"sms": ["Altinn"]}}),
    ("ALLOWED_REGIONS", ["NO"]),
    ("ALLOWED_REGIONS", None),
    ("MAX_REQUEST_BYTES", 1),
    ("ENCRYPTION_KEYS", ["new", "old"]),
    ("ENCRYPTION_KEYS", ("new",)),
    ("OTP_LENGTH", 10),
    ("OTP_LIFETIME", 600),
    ("OTP_ATTEMPTS", 1),
    ("OTP_RESEND_PAUSE", 3600),
    ("OTP_SENDS_PER_HOUR", 1),
    ("OTP_SENDS_PER_DAY", 1),
    ("OTP_HOST", "login.example.com"),
    ("OTP_COUNTRIES", None),
    ("OTP_COUNTRIES", []),
    ("OTP_COUNTRIES", ["NO", "SE"]),
    ("OTP_HOLD", "off"),
    ("OTP_HOLD", "block"),
    ("LIMITS", {}),
    ("LIMITS", {"creator": None, "prefix": [1, 0.5]}),
    ("TOKEN_SIGNING_KEY", "secret"),
    ("TOKEN_ISSUERS", [{"KEY": "secret"}]),
]
BAD: list[tuple[str, Any]] = [
    ("CIRCUIT_FAILURES", 0),
    ("CIRCUIT_FAILURES", 2.5),
    ("CIRCUIT_FAILURES", True),
    ("CIRCUIT_PAUSE", 0),
    ("SANDBOX_RECIPIENTS", "+4799999999"),
    ("SANDBOX_RECIPIENTS", ["004799999999"]),
    ("SANDBOX_RECIPIENTS", ["99999999"]),
    ("SANDBOX_RECIPIENTS", ["example.com"]),
    ("SANDBOX_RECIPIENTS", ["a@b@example.com"]),
    ("SANDBOX_RECIPIENTS", [None]),
    ("SANDBOX_GATEWAY", None),
    ("GATEWAYS", ["mail"]),
    ("GATEWAYS", None),
    ("ROUTES", "sms"),
    ("ROUTES", None),
    ("HANDOVER_BUDGET", 0),
    ("HANDOVER_BUDGET", "10"),
    ("HANDOVER_BUDGET", True),
    ("HANDOVER_BUDGET", None),
    ("HANDOVER_BUDGET", float("nan")),
    ("WAIT_FOR_DUPLICATE", -1),
    ("WAIT_FOR_DUPLICATE", "1"),
    ("IDEMPOTENCY_MISMATCH", "refuse"),
    ("UNKNOWN_OUTCOME", None),
    ("EXPIRY_GRACE", -1),
    ("EMAIL_LIFETIME", 0),
    ("FEED", "all"),
    ("KEEP_CONTENT", timedelta(seconds=-1)),
    ("KEEP_CONTENT", 24),
    ("KEEP_DESTINATIONS", None),
    ("KEEP_IDEMPOTENCY", timedelta(hours=48)),
    ("KEEP_FEED", 90),
    ("KEEP_HISTORY", None),
    ("KEEP_UNMATCHED", "30 days"),
    ("KEEP_ORDERS", timedelta(days=-1)),
    ("CONDITION_HOSTS", None),
    ("CONDITION_HOSTS", ["conditions.internal"]),
    ("CONDITION_HOSTS", {"conditions.internal": "token"}),
    ("CONDITION_HOSTS", {"conditions.internal": {"https": True}}),
    ("CONDITION_HOSTS", {"conditions.internal": {"http": "no"}}),
    ("CONDITION_HOSTS", {"conditions.internal": {"token": "two words"}}),
    ("CONDITION_HOSTS", {"conditions.internal": {"token": "line\n"}}),
    ("CONDITION_HOSTS", {"https://conditions.internal": {}}),
    ("CONDITION_HOSTS", {"conditions.internal:8080": {}}),
    ("CONDITION_HOSTS", {"Conditions.internal": {}}),
    ("CONDITION_HOSTS", {"conditions.internal.": {}}),
    ("CONDITION_HOSTS", {"[::1]": {}}),
    ("CONDITION_HOSTS", {"": {}}),
    ("CONDITION_REDIRECTS", -1),
    ("CONDITION_REDIRECTS", 6),
    ("CONDITION_REDIRECTS", True),
    ("CONTACT_REGISTER", None),
    ("CONTACT_REGISTER", "a.b.Register"),
    ("CONTACT_REGISTER", {"OPTIONS": {}}),
    ("DAYTIME", None),
    ("DAYTIME", "09:00-17:00"),
    ("DAYTIME", ("09:00",)),
    ("DAYTIME", (9, 17)),
    ("DAYTIME", ("9:00", "17:00")),
    ("DAYTIME", ("09:00", "24:00")),
    ("DAYTIME", ("09:00", "16:60")),
    ("DAYTIME", ("09:00:00", "17:00:00")),
    ("DAYTIME", ("09:00", "\N{FULLWIDTH DIGIT ONE}7:00")),
    ("DAYTIME", ("1\N{ARABIC-INDIC DIGIT ONE}:00", "17:00")),
    ("DAYTIME", ("09:00", "17:00\n")),
    ("DAYTIME", ("17:00", "09:00")),
    ("DAYTIME", ("09:00", "09:00")),
    ("DAYTIME_ZONE", None),
    ("DAYTIME_ZONE", ""),
    ("DAYTIME_ZONE", "Europe"),
    ("DAYTIME_ZONE", "Europe/Nowhere"),
    ("DAYTIME_ZONE", "../../etc/passwd"),
    ("DAYTIME_ZONE", "/etc/localtime"),
    ("DAYTIME_ZONE", "Europe/Oslo\0"),
    ("DAYTIME_ZONE", "\ud800"),
    ("DAYTIME_ZONE", "zone.tab"),
    ("DAYTIME_ZONE", "a" * 5000),
    ("DAYTIME_CLOSED", None),
    ("DAYTIME_CLOSED", "weekends"),
    ("DAYTIME_CLOSED", ["Weekends"]),
    ("DAYTIME_CLOSED", ["sunday"]),
    ("DAYTIME_CLOSED", ["2026-02-29"]),
    ("DAYTIME_CLOSED", ["20261224"]),
    ("DAYTIME_CLOSED", ["2026-W52-4"]),
    ("DAYTIME_CLOSED", [date(2026, 12, 24)]),
    ("CLAIM_LEASE", 0),
    ("TASK_BACKEND", None),
    ("TASK_QUEUE", None),
    ("DEFAULT_CREATOR", None),
    ("DEFAULT_SMS_SENDER", 5),
    ("DEFAULT_EMAIL_SENDER", None),
    ("APPROVED_SENDERS", ["Altinn"]),
    ("ALLOWED_REGIONS", "NO"),
    ("ALLOWED_REGIONS", [47]),
    ("MAX_REQUEST_BYTES", 0),
    ("MAX_REQUEST_BYTES", 1e6),
    ("ENCRYPTION_KEYS", "a single secret"),
    ("ENCRYPTION_KEYS", [b"bytes"]),
    ("OTP_LENGTH", 5),
    ("OTP_LENGTH", 11),
    ("OTP_LENGTH", "6"),
    ("OTP_LIFETIME", 59),
    ("OTP_LIFETIME", 601),
    ("OTP_ATTEMPTS", 0),
    ("OTP_ATTEMPTS", 4),
    ("OTP_RESEND_PAUSE", 29),
    ("OTP_SENDS_PER_HOUR", 6),
    ("OTP_SENDS_PER_DAY", 11),
    ("OTP_HOST", "https://example.com/"),
    ("OTP_COUNTRIES", "NO"),
    ("OTP_COUNTRIES", ["Norway"]),
    ("OTP_HOLD", "on"),
    ("LIMITS", None),
    ("LIMITS", {"planet": (1, 1)}),
    ("LIMITS", {"creator": 10}),
    ("LIMITS", {"creator": (0, 60)}),
    ("LIMITS", {"creator": (1.5, 60)}),
    ("LIMITS", {"creator": (1, 0)}),
    ("LIMITS", {"creator": (1, 60, 2)}),
    ("TOKEN_SIGNING_KEY", None),
    ("TOKEN_SIGNING_KEY", b"bytes"),
    ("TOKEN_ISSUERS", {"KEY": "secret"}),
    ("TOKEN_ISSUERS", ["https://issuer.example/jwks"]),
]


def test_every_setting_has_a_documented_default(settings: Any) -> None:
    settings.INSTANT_NOTIFICATIONS = {}
    assert {name: getattr(conf.settings, name) for name in SETTINGS} == DEFAULTS


def test_a_host_need_not_write_the_dict(settings: Any) -> None:
    del settings.INSTANT_NOTIFICATIONS
    assert conf.settings.HANDOVER_BUDGET == 10


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_each_access_reads_through(name: str, value: Any, configure: Configure) -> None:
    configure(**{name: value})
    assert getattr(conf.settings, name) is value
    configure(**{name: DEFAULTS[name]})
    assert getattr(conf.settings, name) is DEFAULTS[name]


def test_a_change_in_place_is_seen_at_once(settings: Any) -> None:
    written = {"DEFAULT_CREATOR": "one"}
    settings.INSTANT_NOTIFICATIONS = written
    assert conf.settings.DEFAULT_CREATOR == "one"
    written["DEFAULT_CREATOR"] = "two"
    assert conf.settings.DEFAULT_CREATOR == "two"


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_value_that_makes_sense_is_accepted(name: str, value: Any) -> None:
    assert SETTINGS[name].accepts(value)


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_value_that_makes_no_sense_is_not(name: str, value: Any) -> None:
    assert not SETTINGS[name].accepts(value)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_says_what_it_means(setting: Setting[Any]) -> None:
    assert len(setting.meaning) > 20
    assert setting.accepts(setting.default)


def test_every_setting_has_data_above() -> None:
    assert {name for name, _ in GOOD} == {name for name, _ in BAD} == set(SETTINGS)


def test_an_unknown_setting_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = conf.settings.NO_SUCH_SETTING  # type: ignore[attr-defined]
