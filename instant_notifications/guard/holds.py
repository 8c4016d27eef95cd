"""Groups of numbers whose codes nobody verifies: they are sent for the sake of being sent.

Somebody who earns by traffic to a range of numbers asks for codes and does not use them. Of honest
ones most are verified within a minute or two.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, InterfaceError
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from instant_notifications import privacy
from instant_notifications.conf import settings
from instant_notifications.guard.subjects import groups_of
from instant_notifications.history import storable
from instant_notifications.models import Hold, VerifiedShare, primary

logger = logging.getLogger("instant_notifications")

WINDOW: Final = timedelta(hours=1)
TIME_TO_ANSWER: Final = timedelta(minutes=2)
"""Nothing is concluded before those who have just got a code have had the time to type it."""

LEAST_PERCENT: Final = 5
OF_A_PREFIX: Final = 20
OF_A_COUNTRY: Final = 200
"""Codes in a window, from which on the share is looked at."""

AT_PEACE: Final = timedelta(days=1)
"""After a release."""


def note_sent(recipient: str) -> None:
    """A code has left, or may have; if it is one of too many that nobody verifies, hold them."""
    _note(recipient, "sent")


def note_verified(recipient: str) -> None:
    _note(recipient, "verified")


def _note(recipient: str, what: str) -> None:
    """It never raises: the code's own outcome is under way to its caller."""
    if settings.OTP_HOLD == "off":
        return
    subjects = sorted(filter(None, groups_of(recipient)))
    try:
        for subject in subjects:
            _add(subject, what, timezone.now())
        if what == "sent":
            _hold_the_suspicious(subjects, timezone.now())
    except (DatabaseError, InterfaceError) as error:
        logger.warning(
            "share of verified codes not kept error=%s", privacy.place_of(error, frames=1)
        )


def _add(subject: str, what: str, now: datetime) -> None:
    """In a window that began less than an hour ago, or else in a new one."""
    mine = _shares().filter(pk=subject)
    more = {what: F(what) + 1}
    anew = {"began_at": now, "sent": 0, "verified": 0, "suspected_at": None, what: 1}
    if mine.filter(began_at__gt=now - WINDOW).update(**more):
        return
    if not mine.filter(began_at__lte=now - WINDOW).update(**anew):
        _shares().bulk_create([VerifiedShare(pk=subject, began_at=now)], ignore_conflicts=True)
        mine.update(**more)


def _hold_the_suspicious(subjects: Sequence[str], now: datetime) -> None:
    """Those who look so, and have looked so for as long as honest people take to answer."""
    for share in _shares().filter(pk__in=subjects):
        is_suspicious = _is_suspicious(share)
        if is_suspicious and share.suspected_at and share.suspected_at <= now - TIME_TO_ANSWER:
            _hold(share, now)
        elif is_suspicious != bool(share.suspected_at):
            suspected_at = now if is_suspicious else None
            _shares().filter(pk=share.pk).update(suspected_at=suspected_at)


def _is_suspicious(share: VerifiedShare) -> bool:
    enough = share.sent >= (OF_A_PREFIX if share.subject.startswith("+") else OF_A_COUNTRY)
    return enough and 100 * share.verified < LEAST_PERCENT * share.sent


def _hold(share: VerifiedShare, now: datetime) -> None:
    facts = {"since": now, "sent": share.sent, "verified": share.verified}
    _, is_new = _holds().get_or_create(subject=share.subject, defaults=facts)
    long_released = Q(released_at__lte=now - AT_PEACE)
    freed = {"released_at": None, "released_by": "", "released_because": ""}
    again = _holds().filter(long_released, subject=share.subject)
    if is_new or again.update(**facts, **freed):
        logger.warning(
            "codes are not verified subject=%s sent=%s verified=%s policy=%s",
            share.subject,
            share.sent,
            share.verified,
            settings.OTP_HOLD,
        )


def is_held(recipient: str) -> bool:
    """Whether codes to it are to be refused."""
    if settings.OTP_HOLD != "block":
        return False
    return _holds().filter(subject__in=groups_of(recipient), released_at=None).exists()


def release(hold_id: int, *, by: str, because: str) -> Hold | None:
    """Let codes through again, and ask no more for a day; ``None`` if there is nothing to do."""
    held = _holds().filter(pk=hold_id, released_at=None)
    news = {"released_at": timezone.now(), "released_by": by, "released_because": storable(because)}
    return _holds().get(pk=hold_id) if held.update(**news) else None


def _shares() -> QuerySet[VerifiedShare]:
    return VerifiedShare.objects.using(primary())


def _holds() -> QuerySet[Hold]:
    return Hold.objects.using(primary())
