from collections.abc import Callable
from datetime import timedelta
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
    ("DEFAULT_CREATOR", None),
    ("DEFAULT_SMS_SENDER", 5),
    ("DEFAULT_EMAIL_SENDER", None),
    ("APPROVED_SENDERS", ["Altinn"]),
    ("ALLOWED_REGIONS", "NO"),
    ("ALLOWED_REGIONS", [47]),
    ("MAX_REQUEST_BYTES", 0),
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
