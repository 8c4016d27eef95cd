"""What a code is sent in: templates, in the language of whoever gets it."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from django.conf import settings as django_settings
from django.template.loader import render_to_string
from django.utils import translation

from instant_notifications.conf import settings
from instant_notifications.statuses import Channel

PLACE: Final = "instant_notifications/otp"


@dataclass(frozen=True, slots=True)
class Text:
    """Its repr holds no code."""

    body: str = field(repr=False)
    subject: str = field(default="", repr=False)


def language_for(wanted: str) -> str:
    """The wanted one if the project speaks it, else the one it speaks now.

    Django keeps every language that it was ever told to speak, made up or not.
    """
    for each in (wanted, translation.get_language() or "", django_settings.LANGUAGE_CODE):
        with suppress(LookupError):
            return translation.get_supported_language_variant(each.lower())
    return "en"


def text_of(code: str, *, channel: Channel, purpose: str, language: str) -> Text:
    """The message for a code. Browsers fill in what the last line of an SMS says for the host."""
    context = {
        "code": code,
        "purpose": purpose,
        "minutes": settings.OTP_LIFETIME // 60,
        "host": settings.OTP_HOST,
    }
    with translation.override(language):
        if channel is Channel.EMAIL:
            subject = _rendered("email_subject.txt", context)
            return Text(body=_rendered("email.txt", context), subject=" ".join(subject.split()))
        body = _rendered("sms.txt", context)
    last_line = f"\n\n@{settings.OTP_HOST} #{code}" if settings.OTP_HOST else ""
    return Text(body=body + last_line)


def _rendered(name: str, context: dict[str, object]) -> str:
    return render_to_string(f"{PLACE}/{name}", context).strip()
