"""Where one-time codes may go at all."""

from collections.abc import Collection
from typing import Final

import phonenumbers
from django.conf import settings as django_settings

from instant_notifications import rules
from instant_notifications.conf import settings
from instant_notifications.guard.refusals import COSTLY_NUMBER, COUNTRY_NOT_ALLOWED, count


def require_country(number: str) -> None:
    """Raise ``rules.Broken`` for a number in a country that codes do not go to."""
    allowed = countries()
    if allowed is not None and rules.region_of(number) not in allowed:
        count(COUNTRY_NOT_ALLOWED)
        raise rules.Broken(rules.REGION)


def count_costly(written: str) -> None:
    """Count a refusal of a number of a kind that codes never go to: premium, shared cost, …"""
    try:
        number = phonenumbers.parse(written)
    except phonenumbers.NumberParseException:
        return
    if phonenumbers.is_valid_number(number) and phonenumbers.number_type(number) in COSTLY:
        count(COSTLY_NUMBER)


COSTLY: Final = frozenset(
    {
        phonenumbers.PhoneNumberType.PREMIUM_RATE,
        phonenumbers.PhoneNumberType.SHARED_COST,
        phonenumbers.PhoneNumberType.VOICEMAIL,
        phonenumbers.PhoneNumberType.UAN,
        phonenumbers.PhoneNumberType.PAGER,
        phonenumbers.PhoneNumberType.PERSONAL_NUMBER,
    }
)


def countries() -> Collection[str] | None:
    """Where codes may go: as set, or the country of the project's phones; ``None``: anywhere."""
    home = getattr(django_settings, "PHONENUMBER_DEFAULT_REGION", None)
    if settings.OTP_COUNTRIES is None:
        return None if home is None else [home]
    return settings.OTP_COUNTRIES
