"""System checks: what is wrong with the texts codes are sent in, and how safe the codes are."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Info, Warning, register  # noqa: A004
from django.template import TemplateDoesNotExist, TemplateSyntaxError

from instant_notifications.conf import SETTINGS, SETTINGS_NAME, settings, written
from instant_notifications.otp import codes
from instant_notifications.otp.texts import text_of
from instant_notifications.sms import Alphabet, measure
from instant_notifications.statuses import Channel

PREFIX: Final = "instant_notifications_otp"
SHIPPED: Final = ("en", "nb", "nn")
"""Languages that the texts are written in."""
SAMPLE: Final = "4285160937"
WHERE: Final = "See the templates in instant_notifications/otp/, and their translations."


@register(PREFIX)
def check_texts(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    if _misspelt():
        return []
    return [
        message
        for channel in Channel
        for language in languages()
        for message in _faults(channel, language)
    ]


def _misspelt() -> bool:
    """``instant_notifications.E002`` tells."""
    return not all(
        SETTINGS[name].accepts(value) for name, value in written().items() if name in SETTINGS
    )


def languages() -> Sequence[str]:
    """The host's, where it has chosen some: Django's own list is every language there is."""
    if django_settings.USE_I18N and django_settings.is_overridden("LANGUAGES"):
        return [code for code, _ in django_settings.LANGUAGES]
    return sorted({django_settings.LANGUAGE_CODE, *SHIPPED})


def _faults(channel: Channel, language: str) -> Iterator[CheckMessage]:
    code = SAMPLE[: settings.OTP_LENGTH]
    named = f"The {channel} text of a code in {language!r}"
    try:
        body = text_of(code, channel=channel, purpose="login", language=language).body
    except (TemplateDoesNotExist, TemplateSyntaxError) as error:
        yield Warning(f"{named} cannot be rendered: {error}", hint=WHERE, id=f"{PREFIX}.W001")
        return
    last_line = f"@{settings.OTP_HOST} #{code}"
    if code not in body.removesuffix(last_line):
        yield Warning(f"{named} lacks the code: {{{{ code }}}}.", hint=WHERE, id=f"{PREFIX}.W002")
    length = measure(body)
    if channel is Channel.SMS and (length.parts > 1 or length.alphabet is not Alphabet.GSM):
        yield Warning(
            f"{named} takes {length.units} characters of {length.alphabet}, {length.parts} SMS.",
            hint="One SMS in GSM-7 costs least and arrives most surely: shorten the text, or leave "
            "out what is not in that alphabet.",
            id=f"{PREFIX}.W003",
        )


@register(PREFIX, deploy=True)
def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG001
    return [] if _misspelt() else [*_routes(), _chance()]


def _routes() -> Iterator[CheckMessage]:
    if not settings.ROUTES.get(Channel.SMS):
        yield Warning(
            "No gateway carries SMS, so codes can go out by e-mail only.",
            hint=f"List gateways in {SETTINGS_NAME}['ROUTES']['sms'], or silence this.",
            id=f"{PREFIX}.W004",
        )


def _chance() -> CheckMessage:
    """Nothing to mend: what is to be weighed against what a code opens."""
    return Info(
        f"The chance of guessing one of a day's codes to one recipient is "
        f"1 in {round(1 / codes.chance_of_guessing()):,} "
        f"({settings.OTP_LENGTH} digits, {settings.OTP_ATTEMPTS} attempts at each of "
        f"{settings.OTP_SENDS_PER_DAY} codes).",
        hint="A digit more makes it ten times smaller: OTP_LENGTH.",
        id=f"{PREFIX}.I001",
    )
