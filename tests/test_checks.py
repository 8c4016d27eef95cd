import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, Warning, run_checks  # noqa: A004
from django.db import connection

from instant_notifications.checks import check_database, check_deployment, check_settings
from instant_notifications.gateways import BaseGateway
from instant_notifications.models import IdempotencyRecord, Order
from instant_notifications.statuses import Channel

Configure = Callable[..., None]

ROOT = Path(__file__).parent.parent
MAIL = {"BACKEND": "instant_notifications.gateways.mail.MailGateway"}
STUB = {"BACKEND": "tests.stub.StubGateway"}
SIMULATOR = {"BACKEND": "instant_notifications.simulator.gateway.SimulatorGateway"}
SECRET = "k7Jw0vTzqLr5Yx2uNb8sHd4mCf6gPa1e"


class NeedyGateway(BaseGateway):
    channels = frozenset(Channel)

    def __init__(self, alias: str, *, url: str) -> None:
        super().__init__(alias)


class WorriedGateway(BaseGateway):
    channels = frozenset(Channel)

    def check(self) -> list[CheckMessage]:
        return [Error("No TLS.", hint="Use TLS.", id="worried.E001")]


NEEDY = {"BACKEND": "tests.test_checks.NeedyGateway"}
WORRIED = {"BACKEND": "tests.test_checks.WorriedGateway"}


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "mysql", reason="is about MariaDB and MySQL")
def test_a_collation_that_takes_different_ids_for_equal_is_an_error() -> None:
    table = IdempotencyRecord._meta.db_table
    alter = f"ALTER TABLE {table} MODIFY `key` varchar(255) COLLATE %s NOT NULL"
    with connection.cursor() as cursor:
        try:
            cursor.execute(alter % "utf8mb4_general_ci")
            assert ids(check_database(None, databases=["default"])) == ["E009"]
        finally:
            cursor.execute(alter % "utf8mb4_nopad_bin")


@pytest.mark.django_db
def test_the_database_the_tests_run_on_tells_ids_apart() -> None:
    assert check_database(None, databases=["default"]) == []
    assert check_database(None) == []
    IdempotencyRecord.objects.bulk_create(
        IdempotencyRecord(
            order=Order.objects.create(creator="ttd"), creator="ttd", scope="sms", key=key
        )
        for key in ("a", "A", "a ", "å")
    )


def ids(messages: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("instant_notifications.") for message in messages]


def found() -> list[str]:
    return ids(check_settings(None))


def risks() -> list[str]:
    return ids(check_deployment(None))


@pytest.fixture
def deployed(settings: Any) -> dict[str, Any]:
    """Settings nobody has anything to say against; change them in place."""
    settings.SECRET_KEY = SECRET
    settings.INSTANT_NOTIFICATIONS = {
        "GATEWAYS": {"mail": MAIL, "sms": STUB},
        "ROUTES": {"sms": ["sms"], "email": ["mail"]},
        "TOKEN_SIGNING_KEY": SECRET,
        "TOKEN_ISSUERS": [{"JWKS_URL": "https://issuer.example/jwks", "ISSUER": "issuer"}],
        "ENCRYPTION_KEYS": [SECRET],
        "OTP_COUNTRIES": ["NO"],
    }
    written: dict[str, Any] = settings.INSTANT_NOTIFICATIONS
    return written


def test_good_settings_give_no_message(deployed: dict[str, Any]) -> None:
    assert found() == []
    assert [each for each in risks() if each != "W006"] == []


ERRORS: list[tuple[str, dict[str, Any]]] = [
    ("E001", {"HANDOVER_BUGDET": 5}),
    ("E002", {"HANDOVER_BUDGET": "5"}),
    ("E002", {"ROUTES": None}),
    ("E002", {"GATEWAYS": {"mail": MAIL, "sms": {}}}),
    ("E003", {"ROUTES": {"fax": ["mail"]}}),
    ("E004", {"ROUTES": {"email": ["male"]}}),
    ("E005", {"ROUTES": {"sms": ["mail"]}}),
    ("E006", {"GATEWAYS": {"mail": MAIL, "sms": {"BACKEND": "tests.no_such_module.Gateway"}}}),
    ("E006", {"GATEWAYS": {"mail": MAIL, "sms": {"BACKEND": "tests.stub.NoSuchGateway"}}}),
    ("E006", {"GATEWAYS": {"mail": MAIL, "sms": {"BACKEND": "tests.stub.take"}}}),
    ("E006", {"GATEWAYS": {"mail": MAIL, "sms": {**STUB, "OPTIONS": {"colour": "red"}}}}),
    ("E006", {"GATEWAYS": {"mail": MAIL, "sms": STUB, "needy": NEEDY}}),
    ("E007", {"TOKEN_SIGNING_KEY": "x" * 31}),
    ("E008", {"TOKEN_ISSUERS": [{}]}),
    ("E008", {"TOKEN_ISSUERS": [{"KEY": SECRET, "JWKS_URL": "https://issuer.example/jwks"}]}),
    ("E008", {"TOKEN_ISSUERS": [{"KEY": SECRET, "ALGORITHMS": ["RS256"]}]}),
    ("E008", {"TOKEN_ISSUERS": [{"JWKS_URL": "https://i.example/", "ALGORITHMS": ["HS256"]}]}),
    ("E008", {"TOKEN_ISSUERS": [{"KEY": SECRET, "ALGORITHMS": ["none"]}]}),
    ("E011", {"CONTACT_REGISTER": STUB}),
]


@pytest.mark.parametrize(("number", "changes"), ERRORS)
def test_an_error_is_found(number: str, changes: dict[str, Any], deployed: dict[str, Any]) -> None:
    deployed.update(changes)
    assert found() == [number]


@pytest.mark.parametrize(("number", "changes"), ERRORS)
def test_an_error_has_a_hint(
    number: str, changes: dict[str, Any], deployed: dict[str, Any]
) -> None:
    deployed.update(changes)
    for message in check_settings(None):
        assert isinstance(message, Error)
        assert message.hint


def test_the_hint_of_a_misspelt_setting_names_the_right_one(deployed: dict[str, Any]) -> None:
    deployed["HANDOVER_BUGDET"] = 5
    (message,) = check_settings(None)
    assert "HANDOVER_BUGDET" in message.msg
    assert "HANDOVER_BUDGET" in str(message.hint)


def test_no_message_repeats_a_secret(deployed: dict[str, Any]) -> None:
    deployed.update(TOKEN_SIGNING_KEY="short-sesame", TOKEN_ISSUERS=[{"KEY": "open sesame"}])
    deployed["TOKEN_ISSUERS"][0]["ALGORITHMS"] = ["RS256"]
    messages = check_settings(None)
    assert ids(messages) == ["E007", "E008"]
    assert "sesame" not in repr(messages)
    deployed.update(ENCRYPTION_KEYS="sesame")
    assert "sesame" not in repr(check_settings(None))


def test_every_mistake_is_told_at_once(deployed: dict[str, Any]) -> None:
    deployed.update(HANDOVER_BUGDET=5, FEED="all", EXPIRY_GRACE=-1)
    assert found() == ["E001", "E002", "E002"]


def test_a_broken_gateway_is_told_once(deployed: dict[str, Any]) -> None:
    deployed["GATEWAYS"] = {"mail": MAIL, "sms": {"BACKEND": "tests.stub.NoSuchGateway"}}
    assert found() == ["E006"]


def test_a_gateway_may_check_itself(deployed: dict[str, Any]) -> None:
    deployed["GATEWAYS"] = {"mail": MAIL, "sms": WORRIED}
    assert found() == ["worried.E001"]


def test_a_secret_of_32_bytes_is_long_enough(deployed: dict[str, Any]) -> None:
    deployed["TOKEN_SIGNING_KEY"] = "å" * 16
    assert found() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"ROUTES": {"sms": None}},
        {"ROUTES": {"sms": "sms"}},
        {"GATEWAYS": {"mail": MAIL, "sms": None}},
        {"GATEWAYS": {"mail": MAIL, "sms": {"BACKEND": 5}}},
        {"GATEWAYS": {"mail": MAIL, "sms": {**STUB, "OPTIONS": None}}},
        {"TOKEN_ISSUERS": [{"KEY": SECRET.encode()}]},
        {"TOKEN_ISSUERS": [{"KEY": SECRET, "ALGORITHMS": None}]},
    ],
    ids=repr,
)
def test_a_mistake_inside_a_value_is_an_error_and_not_a_crash(
    changes: dict[str, Any], deployed: dict[str, Any]
) -> None:
    deployed.update(changes)
    assert found()


@pytest.mark.parametrize("value", [None, []], ids=repr)
def test_something_else_than_a_dict_is_an_error_and_not_a_crash(
    value: object, settings: Any
) -> None:
    settings.INSTANT_NOTIFICATIONS = value
    assert found()


WARNINGS: list[tuple[str, dict[str, Any]]] = [
    ("W001", {"TOKEN_SIGNING_KEY": "", "TOKEN_ISSUERS": []}),
    ("W002", {"GATEWAYS": {"mail": MAIL, "sms": SIMULATOR}}),
    ("W003", {"TOKEN_SIGNING_KEY": f"insecure-{SECRET}"}),
    ("W003", {"ENCRYPTION_KEYS": [SECRET, "insecure"]}),
    ("W003", {"TOKEN_ISSUERS": [{"KEY": f"insecure-{SECRET}"}]}),
    ("W004", {"ENCRYPTION_KEYS": []}),
    ("W005", {"ROUTES": {}}),
    ("W005", {"ROUTES": {"sms": [], "email": ()}}),
    ("W011", {"OTP_COUNTRIES": None}),
]


@pytest.mark.parametrize(("number", "changes"), WARNINGS)
def test_a_risk_of_the_deployment_is_told(
    number: str, changes: dict[str, Any], deployed: dict[str, Any]
) -> None:
    deployed.update(changes)
    messages = [each for each in check_deployment(None) if not str(each.id).endswith("W006")]
    assert ids(messages) == [number]
    assert all(isinstance(each, Warning) and each.hint for each in messages)
    assert "insecure" not in messages[0].msg


@pytest.mark.parametrize(
    ("vendor", "options", "told"),
    [
        ("postgresql", {}, False),
        ("postgresql", {"isolation_level": 2}, False),
        ("postgresql", {"isolation_level": 3}, True),
        ("postgresql", {"isolation_level": 4}, True),
        ("mysql", {}, False),
        ("mysql", {"isolation_level": "READ COMMITTED"}, False),
        ("mysql", {"isolation_level": "repeatable read"}, True),
        ("mysql", {"isolation_level": None}, True),
        ("sqlite", {"isolation_level": None}, False),
    ],
)
def test_an_isolation_that_hides_what_others_commit_is_a_risk(
    vendor: str, options: dict[str, Any], told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "vendor", vendor)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    assert ("W007" in risks()) is told


def test_djangos_own_default_secret_is_a_risk(deployed: dict[str, Any], settings: Any) -> None:
    settings.SECRET_KEY = "django-insecure-0123456789"
    assert "W003" in risks()


@pytest.mark.parametrize("changes", [{"TOKEN_SIGNING_KEY": ""}, {"TOKEN_ISSUERS": []}], ids=repr)
def test_one_kind_of_token_is_enough(changes: dict[str, Any], deployed: dict[str, Any]) -> None:
    deployed.update(changes)
    assert "W001" not in risks()


def test_a_simulator_outside_the_routes_is_no_risk(deployed: dict[str, Any]) -> None:
    deployed["GATEWAYS"] = {"mail": MAIL, "sms": STUB, "simulator": SIMULATOR}
    assert "W002" not in risks()


@pytest.mark.parametrize(
    ("vendor", "mode", "told"),
    [
        ("sqlite", "IMMEDIATE", False),
        ("sqlite", "immediate", False),
        ("sqlite", "EXCLUSIVE", False),
        ("sqlite", "DEFERRED", True),
        ("sqlite", None, True),
        ("postgresql", None, False),
    ],
)
def test_sqlite_with_deferred_transactions_is_a_risk(
    vendor: str, mode: str | None, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "vendor", vendor)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"transaction_mode": mode})
    assert ("W006" in risks()) is told


@pytest.mark.parametrize("changes", [{"ROUTES": None}, {"GATEWAYS": 5}, {"TOKEN_ISSUERS": None}])
def test_an_unusable_value_does_not_break_the_checks_for_deployment(
    changes: dict[str, Any], deployed: dict[str, Any]
) -> None:
    deployed.update(changes)
    messages = run_checks(include_deployment_checks=True, tags=["instant_notifications"])
    assert "E002" in ids(messages)


def test_the_checks_for_deployment_only_run_when_asked(deployed: dict[str, Any]) -> None:
    deployed["ROUTES"] = {}
    assert run_checks(tags=["instant_notifications"]) == []


def test_the_example_passes_its_checks() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": "sqlite://:memory:"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout
