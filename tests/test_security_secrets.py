"""No secret of the settings comes out, and what is shipped is fit for production."""

import inspect
import logging
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import django
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core import mail
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import include, path
from django.utils.log import AdminEmailHandler
from django.utils.module_loading import import_string
from django.views.debug import SafeExceptionReporterFilter
from packaging.requirements import Requirement
from packaging.version import Version

from instant_notifications import orders, privacy, recipients, tokens
from instant_notifications.contacts.altinn_profile import AltinnProfileRegister
from instant_notifications.exceptions import NotConfigured
from instant_notifications.gateways import gateways
from tests.conftest import API, sms

ROOT: Final = Path(__file__).parent.parent
PEM: Final = (
    rsa.generate_private_key(65537, 2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
PLACE: Final = "https://altinn.example.com/notifications/api/v1/"
OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "instant_notifications.gateways.link_mobility.LinkMobilityGateway": {
        "url": PLACE,
        "user": "shown",
        "password": "sesame-link",
        "receipts_user": "shown",
        "receipts_password": "sesame-link-receipts",
    },
    "instant_notifications.gateways.twilio.TwilioGateway": {
        "account_sid": f"AC{'0' * 32}",
        "auth_token": "sesame-twilio",
        "sender": "Altinn",
        "api_key_sid": "sesame-sid",
        "api_key_secret": "sesame-api-key",
    },
    "instant_notifications.gateways.altinn.AltinnGateway": {"url": PLACE, "token": "sesame-altinn"},
    "instant_notifications.gateways.mail.MailGateway": {},
    "instant_notifications.simulator.gateway.SimulatorGateway": {
        "receipts_password": "sesame-simulator"
    },
}
MASKINPORTEN: Final = {"client_id": "shown", "key": PEM, "key_id": "sesame-key-id"}
UPSTREAM: Final = {"url": PLACE, "maskinporten": MASKINPORTEN}
SETTINGS: Final = {
    "GATEWAYS": {
        **{
            path.rpartition(".")[2]: {"BACKEND": path, "OPTIONS": dict(options)}
            for path, options in OPTIONS.items()
        },
        "upstream": {
            "BACKEND": "instant_notifications.gateways.altinn.AltinnGateway",
            "OPTIONS": UPSTREAM,
        },
    },
    "ROUTES": {"sms": ["SimulatorGateway"], "email": []},
    "TOKEN_SIGNING_KEY": "sesame-of-more-than-thirty-two-bytes",
    "TOKEN_ISSUERS": [{"KEY": "sesame-of-another-issuer-with-32-bytes", "ISSUER": "x"}],
    "ENCRYPTION_KEYS": ["sesame-that-encrypts", "sesame-that-decrypts"],
    "CONDITION_HOSTS": {"conditions.example.com": {"token": "sesame-condition"}},
    "CONTACT_REGISTER": {
        "BACKEND": "instant_notifications.contacts.altinn_profile.AltinnProfileRegister",
        "OPTIONS": {**UPSTREAM, "scope": "shown"},
    },
}
SECRETS: Final = ("sesame", PEM.splitlines()[3])


def secrets_in(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


# Reports of errors

NUMBER: Final = "+4791824321"
CODE: Final = "ZK7W2Q"


def broken(request: HttpRequest) -> HttpResponse:
    raise LookupError("a bug of the host's")


ORDERS: Final[Mapping[str, Callable[[], object]]] = {
    "sms": lambda: orders.send_sms(NUMBER, CODE),
    "email": lambda: orders.send_email(f"{CODE}@example.com", CODE, CODE),
    "order": lambda: orders.place_order(recipients.phone(NUMBER), sms=orders.Sms(CODE)),
}


def ordering(request: HttpRequest, what: str) -> HttpResponse:
    return HttpResponse(ORDERS[what]())


urlpatterns = [
    path("broken/", broken),
    path("ordering/<str:what>/", ordering),
    path("notifications/api/v1/", include("instant_notifications.api.urls")),
]


@pytest.fixture
def configured(settings: Any) -> Any:
    settings.INSTANT_NOTIFICATIONS = SETTINGS
    settings.ROOT_URLCONF = __name__
    return settings


@pytest.fixture
def reports(configured: Any) -> Iterator[Callable[[], str]]:
    """All that the admins are sent, in the form that shows most."""
    ops = "ops@example.com"
    configured.ADMINS = [ops if django.VERSION >= (6, 0) else ("Ops", ops)]
    handler = AdminEmailHandler(include_html=True)
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)

    def sent() -> str:
        parts = [part for each in mail.outbox for part in each.message().walk()]
        texts = [part for part in parts if part.get_content_maintype() == "text"]
        return "\n".join(bytes(part.get_payload(decode=True)).decode() for part in texts)

    yield sent
    logger.removeHandler(handler)


def test_djangos_report_of_a_bug_hides_every_secret_of_ours(reports: Callable[[], str]) -> None:
    assert Client(raise_request_exception=False).get("/broken/").status_code == 500
    assert "INSTANT_NOTIFICATIONS" in reports()
    assert "LinkMobilityGateway" in reports()
    assert secrets_in(reports()) == []


def test_the_page_of_a_bug_while_developing_does_so_too(configured: Any) -> None:
    configured.DEBUG = True
    answer = Client(raise_request_exception=False).get("/broken/")
    page = answer.content.decode()
    assert answer.status_code == 500
    assert "INSTANT_NOTIFICATIONS" in page
    assert "LinkMobilityGateway" in page
    assert secrets_in(page) == []


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [False, True], ids=["deployed", "developing"])
def test_a_bug_behind_the_api_is_reported_without_what_was_said(
    debug: bool, reports: Callable[[], str], configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **named: Any) -> None:
        raise LookupError(f"{NUMBER} {CODE}")

    configured.DEBUG = debug
    monkeypatch.setattr(orders, "send", fail)
    token = tokens.issue("ttd")
    answer = Client(raise_request_exception=False).post(
        f"{API}future/orders/instant/sms",
        sms(phoneNumber=NUMBER, body=f"Your code is {CODE}"),
        content_type="application/json",
        headers={"authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 500
    assert answer.json()["traceId"]
    said = reports() + answer.content.decode()
    assert debug or "Internal Server Error" in said
    assert secrets_in(said) == []
    assert not [each for each in (NUMBER, CODE, token.rpartition(".")[2]) if each in said]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ORDERS)
def test_a_bug_of_ours_below_a_view_of_the_hosts_is_reported_without_what_was_ordered(
    what: str, reports: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **named: Any) -> None:
        raise LookupError("a bug of ours")

    monkeypatch.setattr(privacy, "fingerprints", fail)
    answer = Client(raise_request_exception=False).get(f"/ordering/{what}/")
    assert answer.status_code == 500
    assert re.search(r"orders/(instant|placing)\.py", reports())
    assert not [each for each in (NUMBER, CODE) if each in reports()]


# Options

SHOWN: Final = frozenset(
    {
        *("self", "alias", "options", "url", "user", "sender", "receipts_user", "account_sid"),
        *("messaging_service_sid", "public_url", "base_url", "exchange_url", "mailer", "tracking"),
        *("deliver_after", "scope", "timeout"),
    }
)
"""What anybody may see. A new option is a secret until it stands here."""


@pytest.mark.parametrize(
    "backend", [*OPTIONS, f"{AltinnProfileRegister.__module__}.AltinnProfileRegister"]
)
def test_each_secret_option_has_a_name_that_django_hides(backend: str) -> None:
    reporter = SafeExceptionReporterFilter()
    names = {
        name
        for each in import_string(backend).__mro__[:-1]
        for name in inspect.signature(each.__init__).parameters
    }
    for name in names - SHOWN:
        shown = reporter.cleanse_setting(name, MASKINPORTEN if name == "maskinporten" else "sesame")
        assert secrets_in(str(shown)) == [], name


def test_no_gateway_shows_its_secrets(configured: Any) -> None:
    for alias in SETTINGS["GATEWAYS"]:  # type: ignore[attr-defined]
        gateway = gateways.create(alias)
        said = [f"{gateway!r} {gateway!s}", *map(str, gateway.check())]
        said += [repr(each) for each in vars(gateway).values() if not isinstance(each, str | dict)]
        assert secrets_in("\n".join(said)) == [], alias
    register = AltinnProfileRegister(**UPSTREAM, scope="shown")  # type: ignore[arg-type]
    assert secrets_in(f"{register!r} {list(register.check())}") == []


@pytest.mark.parametrize("backend", OPTIONS)
def test_no_complaint_about_an_option_quotes_a_secret(backend: str, configured: Any) -> None:
    """Whatever is wrong with it: a line feed at its end, or another option beside it."""
    options = OPTIONS[backend]
    for changed in (
        {**options, "sesame_option": "sesame"},
        *({**options, name: f"{options[name]}\n"} for name in options),
        *({**options, name: "sesame ["} for name in options),
        *({key: options[key] for key in options if key != name} for name in options),
    ):
        configured.INSTANT_NOTIFICATIONS = {
            "GATEWAYS": {"x": {"BACKEND": backend, "OPTIONS": changed}}
        }
        try:
            said = "\n".join(map(str, gateways.create("x").check()))
        except NotConfigured as error:
            said = str(error)
        assert secrets_in(said.replace("sesame_option", "")) == []


# What is shipped

SECRET: Final = "7f0Yl2QkT9sVbN4mXc8ZrWq1uJh6GdPe3aKiOtLyCxBvMnSwRf5EgHj"
PRODUCTION: Final = {
    "DEBUG": "false",
    "BEHIND_TLS": "true",
    "SECRET_KEY": SECRET,
    "ENCRYPTION_KEYS": SECRET[::-1],
    "ALLOWED_HOSTS": "notify.example.com",
    "OTP_COUNTRIES": "NO",
    "SMS_ROUTE": "upstream",
    "EMAIL_ROUTE": "upstream,mail",
    "UPSTREAM_URL": PLACE,
    "UPSTREAM_TOKEN": "t",
    "EMAIL_URL": "smtp+tls://user:password@mail.example.com:587",
}
BARE: Final = {name: PRODUCTION[name] for name in ("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS")}


def complaints(environment: Mapping[str, str]) -> set[str]:
    """The ids of what Django finds wrong with the example project as it would be deployed."""
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": "sqlite://:memory:", **environment},
        capture_output=True,
        text=True,
    )
    found = set(re.findall(r"\((\S+\.[EW]\d+)\)", done.stderr))
    assert (done.returncode == 0) is not bool(found), done.stderr
    return found


def test_the_example_is_fit_for_production() -> None:
    assert complaints(PRODUCTION) == set()


def test_of_an_example_that_is_not_it_is_told() -> None:
    assert complaints(BARE) == {
        *("security.W004", "security.W008", "security.W012", "security.W016"),
        *(f"instant_notifications.{number}" for number in ("W002", "W004", "W011")),
    }


def test_the_example_does_not_start_with_the_key_that_everybody_knows() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DEBUG": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Set SECRET_KEY" in done.stderr


# Of each dependency the first version without a flaw that is publicly known to reach us, and which.
SOUND: Final[Mapping[str, tuple[str, str]]] = {
    "cryptography": ("44.0.1", "CVE-2024-12797: OpenSSL in the wheels"),
    "defusedxml": ("0.5.0", "entities and DTDs refused"),
    "django": ("5.2", "its own patch releases: see docs/security.md"),
    "django-phonenumber-field": ("8.1", "none known"),
    "djangorestframework": (
        "3.15.2",
        "CVE-2024-21520, in its browsable pages, which we do not use",
    ),
    "email-validator": ("2.2", "none known"),
    "idna": ("3.7", "CVE-2024-3651: quadratic time"),
    "phonenumbers": ("8.13.50", "none known"),
    "pyjwt": ("2.10.1", "CVE-2024-53861: part of an issuer's name is enough, in 2.10.0"),
    "requests": ("2.32.4", "CVE-2024-35195, CVE-2024-47081: certificates, and .netrc"),
    "urllib3": ("2.6.3", "CVE-2025-66418, CVE-2026-21441: decompression without bounds"),
}


def test_no_dependency_may_be_older_than_its_known_flaws() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {each.name: each for each in map(Requirement, project["dependencies"])}
    assert required.keys() == SOUND.keys()
    for name, (sound, why) in SOUND.items():
        (least,) = (each.version for each in required[name].specifier if each.operator == ">=")
        assert Version(least) >= Version(sound), f"{name}: {why}"


SILENCED: Final = re.compile(r"# noqa: [A-Z0-9, ]*\bS\d+[A-Z0-9, ]*(?P<reason>\(.+\))?$")


def test_each_rule_that_is_broken_for_security_says_why() -> None:
    """Of ruff's S: behind the rule's name, or on a line of its own above."""
    unexplained = []
    for file in [
        *ROOT.glob("instant_notifications/**/*.py"),
        *ROOT.glob("example_project/**/*.py"),
    ]:
        lines = file.read_text().splitlines()
        for number, (above, line) in enumerate(pairwise(["", *lines]), 1):
            silenced = SILENCED.search(line)
            if silenced and not silenced["reason"] and not above.lstrip().startswith("# "):
                unexplained.append(f"{file.relative_to(ROOT)}:{number}")
    assert unexplained == []


def test_what_the_threat_model_points_to_is_there() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(tests/[\w/.]*)`", page))
    assert len(named) > 10
    assert [each for each in named if not (ROOT / each).exists()] == []
    shown = {f"tests/{each.name}" for each in (ROOT / "tests").glob("test_security_*.py")}
    assert shown | {"tests/test_fuzz_api.py", "tests/test_fuzz_parsers.py"} <= named
