"""What codes are sent in."""

from typing import Any

import pytest

from instant_notifications.otp.texts import text_of
from instant_notifications.sms import Alphabet, measure
from instant_notifications.statuses import Channel

HOST = "login.example-municipality.com"
OPENINGS = {"en": "Your code is", "nb": "Koden din er", "nn": "Koden din er"}


def text(channel: Channel, language: str, code: str = "428516") -> Any:
    return text_of(code, channel=channel, purpose="login", language=language)


@pytest.mark.parametrize("language", OPENINGS)
@pytest.mark.parametrize("lifetime", [60, 600])
def test_an_sms_is_one_part_whatever_the_settings(
    lifetime: int, language: str, configure: Any
) -> None:
    assert len(HOST) == 30
    configure(OTP_HOST=HOST, OTP_LENGTH=10, OTP_LIFETIME=lifetime)
    body = text(Channel.SMS, language, "4285160937").body
    length = measure(body)
    assert (length.parts, length.alphabet) == (1, Alphabet.GSM)
    assert body.startswith(f"{OPENINGS[language]} 4285160937")
    assert body.endswith(f"\n\n@{HOST} #4285160937")


@pytest.mark.parametrize("language", OPENINGS)
def test_a_mail_tells_the_code_and_its_lifetime_in_the_recipients_language(language: str) -> None:
    mail = text(Channel.EMAIL, language)
    assert mail.body.startswith(f"{OPENINGS[language]} 428516.")
    assert " 5 minut" in mail.body
    assert mail.subject == OPENINGS[language].removesuffix(" is").removesuffix(" er")


def test_nynorsk_is_not_bokmal() -> None:
    assert text(Channel.SMS, "nn").body != text(Channel.SMS, "nb").body


def test_without_a_host_there_is_no_last_line() -> None:
    assert "@" not in text(Channel.SMS, "en").body


def test_its_repr_holds_no_code() -> None:
    assert "428516" not in repr(text(Channel.SMS, "en"))
