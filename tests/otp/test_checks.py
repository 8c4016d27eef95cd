"""What ``manage.py check`` says about codes."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks

from instant_notifications.otp.checks import PREFIX, check_deployment, check_texts


def ids(messages: Any) -> list[str]:
    return [str(message.id).removeprefix(f"{PREFIX}.") for message in messages]


@pytest.fixture
def templates(settings: Any, tmp_path: Path) -> Path:
    """A folder whose templates go before the app's own."""
    settings.TEMPLATES = [{**django_settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    folder = tmp_path / "instant_notifications" / "otp"
    folder.mkdir(parents=True)
    return folder


def test_the_shipped_texts_are_fine(configure: Any) -> None:
    configure(OTP_HOST="login.example-municipality.com", OTP_LENGTH=10)
    assert check_texts(None) == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("sms.txt", "{% nonsense %}", ["W001"]),
        ("sms.txt", "Your code!", ["W002"]),
        ("email.txt", "Your code!", ["W002"]),
        ("sms.txt", "{{ code }}" + "x" * 160, ["W003"]),
        ("sms.txt", "{{ code }} \N{HEAVY CHECK MARK}", ["W003"]),
        ("email.txt", "{{ code }} \N{HEAVY CHECK MARK}" + "x" * 160, []),
    ],
)
def test_a_hosts_own_text_is_linted(
    name: str, text: str, found: list[str], templates: Path, settings: Any, configure: Any
) -> None:
    settings.LANGUAGES = [("en", "English")]
    configure(OTP_HOST="example.com")
    (templates / name).write_text(text)
    assert ids(check_texts(None)) == found


def test_the_last_line_counts(configure: Any, templates: Path) -> None:
    (templates / "sms.txt").write_text("{{ code }}" + "x" * 140)
    assert check_texts(None) == []
    configure(OTP_HOST="example.com")
    assert set(ids(check_texts(None))) == {"W003"}


def test_every_language_of_the_host_is_looked_at(templates: Path, settings: Any) -> None:
    settings.LANGUAGES = [("de", "German"), ("nn", "Nynorsk")]
    (templates / "sms.txt").write_text(
        "{% load i18n %}{% get_current_language as language %}{% if language != 'de' %}{{ code }}"
        "{% endif %}"
    )
    (warning,) = check_texts(None)
    assert "'de'" in warning.msg


def test_the_chance_of_guessing_is_told_for_deployment_only(configure: Any) -> None:
    assert run_checks(tags=[PREFIX]) == []
    (told,) = run_checks(tags=[PREFIX], include_deployment_checks=True)
    assert not told.is_serious()
    assert "1 in 33,334" in told.msg
    configure(OTP_LENGTH=7)
    assert "1 in 333,334" in check_deployment(None)[-1].msg


def test_codes_without_a_route_for_sms_are_a_risk(configure: Any) -> None:
    configure(ROUTES={"email": ["simulator"]})
    assert ids(check_deployment(None)) == ["W004", "I001"]


@pytest.mark.parametrize(
    "loosened",
    [
        {"OTP_LENGTH": 5},
        {"OTP_LENGTH": 11},
        {"OTP_LIFETIME": 601},
        {"OTP_ATTEMPTS": 4},
        {"OTP_ATTEMPTS": True},
        {"OTP_RESEND_PAUSE": 29},
        {"OTP_SENDS_PER_HOUR": 6},
        {"OTP_SENDS_PER_DAY": 11},
        {"OTP_HOST": "https://example.com"},
    ],
    ids=str,
)
def test_what_goes_past_a_hard_limit_is_an_error_and_told_once(
    loosened: dict[str, Any], configure: Any
) -> None:
    configure(**loosened)
    found = run_checks(include_deployment_checks=True, tags=["instant_notifications", PREFIX])
    assert [message.id for message in found] == ["instant_notifications.E002"]


@pytest.mark.parametrize(
    "tightened", [{"OTP_LENGTH": 10}, {"OTP_LIFETIME": 60}, {"OTP_ATTEMPTS": 1}], ids=str
)
def test_settings_may_tighten(tightened: dict[str, Any], configure: Any) -> None:
    configure(**tightened)
    assert run_checks(tags=["instant_notifications", PREFIX]) == []
