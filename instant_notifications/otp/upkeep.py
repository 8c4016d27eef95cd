"""What time makes necessary for one-time codes: forget whom they were for, and then that they were.

The chores are worked off as those of ``instant_notifications.upkeep``.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Exists, OuterRef, QuerySet

from instant_notifications.conf import settings
from instant_notifications.models import primary
from instant_notifications.otp.models import Challenge, Recipient
from instant_notifications.upkeep import Chore, delete_oldest, erase

MAY_BE_RENEWED_FOR: Final = timedelta(hours=1)
"""After it has expired, a newer code can still be sent in its place."""

COUNTS_FOR: Final = timedelta(days=2)
"""The limits on sending count the rows of a day; the rest is for clocks that differ."""


def _destinations_of_the_past(now: datetime) -> QuerySet[Challenge]:
    over = _challenges().filter(expires_at__lt=now - MAY_BE_RENEWED_FOR)
    return over.filter(destination__isnull=False).order_by("created_at")


def _old_challenges(now: datetime) -> QuerySet[Challenge]:
    kept_for = max(settings.KEEP_DESTINATIONS, COUNTS_FOR)
    return _challenges().filter(created_at__lt=now - kept_for)


def _recipients(_now: datetime) -> QuerySet[Recipient]:
    return Recipient.objects.using(primary())


def _recipients_without_codes(now: datetime) -> QuerySet[Recipient]:
    """A row too many or too few does no harm: whoever sends makes it."""
    theirs = Challenge.objects.filter(destination_digest=OuterRef("pk"))
    return _recipients(now).exclude(Exists(theirs))


def _challenges() -> QuerySet[Challenge]:
    return Challenge.objects.using(primary())


CODES: Final = (
    Chore("destinations erased", _destinations_of_the_past, erase(destination=None)),
    Chore("codes deleted", _old_challenges, delete_oldest(_old_challenges)),
    Chore("recipients deleted", _recipients_without_codes, delete_oldest(_recipients)),
)
