"""Daytime: when an SMS that is to disturb nobody at night may be handed over.

It is daytime while the clock of ``DAYTIME_ZONE`` shows the opening time or later, and not yet the
closing time, on a day that is not closed. So 09:00 sharp belongs to it, that it may have a first
moment, and 17:00 sharp does not. The clock on the wall decides, also when it is put forward or
back: a window that holds that hour is shorter or longer then, or opens twice, or not at all.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils import timezone

from instant_notifications.conf import SETTINGS_NAME, settings
from instant_notifications.exceptions import NotConfigured

DAY: Final = timedelta(days=1)
SEARCHED: Final = 366
"""Days after which nobody waits for one that is open."""


def is_open(moment: datetime) -> bool:
    """Whether it is daytime then."""
    clock = _utc(moment).astimezone(_zone())
    opens, closes = _hours()
    return opens <= clock.time() < closes and not _is_closed(clock.date())


def opening(moment: datetime) -> datetime:
    """The first moment from ``moment`` on at which it is daytime, in UTC; mostly ``moment`` itself.

    Raises ``NotConfigured`` when no day of a year is open.
    """
    moment = _utc(moment)
    if is_open(moment):
        return moment
    first = moment.astimezone(_zone()).date()
    for days in range(SEARCHED + 1):
        for start in _starts(first + days * DAY):
            if start >= moment and is_open(start):
                return start
    raise NotConfigured(
        f"It is never daytime in the year to come: {SETTINGS_NAME}['DAYTIME_CLOSED'] closes every "
        "day of it. Take some out."
    )


@cache
def norwegian_holidays(year: int) -> frozenset[date]:
    """The public holidays of Norway."""
    fixed = {date(year, month, day) for month, day in _FIXED_HOLIDAYS}
    return frozenset(fixed | {easter(year) + days * DAY for days in _DAYS_AFTER_EASTER})


def easter(year: int) -> date:
    """Easter Sunday in the Gregorian calendar (J. Meeus, Astronomical Algorithms, ch. 8)."""
    century, year_of_century = divmod(year, 100)
    skipped_leap_days = century - century // 4
    moon_correction = (century - (century + 8) // 25 + 1) // 3
    full_moon = (19 * (year % 19) + skipped_leap_days - moon_correction + 15) % 30
    weekday = (
        32 + 2 * (century % 4) + 2 * (year_of_century // 4) - full_moon
    ) - year_of_century % 4
    to_sunday = weekday % 7
    late = (year % 19 + 11 * full_moon + 22 * to_sunday) // 451
    return date(year, 3, 22) + (full_moon + to_sunday - 7 * late) * DAY


_FIXED_HOLIDAYS: Final = ((1, 1), (5, 1), (5, 17), (12, 25), (12, 26))
_DAYS_AFTER_EASTER: Final = (-3, -2, 0, 1, 39, 49, 50)
"""Maundy Thursday, Good Friday, Easter Sunday and Monday, Ascension, Whit Sunday and Monday."""

_SATURDAY: Final = 5
_KINDS_OF_DAYS: Final[Mapping[str, Callable[[date], bool]]] = {
    "weekends": lambda day: day.weekday() >= _SATURDAY,
    "holidays": lambda day: day in norwegian_holidays(day.year),
}


def _is_closed(day: date) -> bool:
    closed = settings.DAYTIME_CLOSED
    return day.isoformat() in closed or any(
        word in closed and is_one(day) for word, is_one in _KINDS_OF_DAYS.items()
    )


def _starts(day: date) -> Sequence[datetime]:
    """The moments of that day at which its window may open, and perhaps some more, in order.

    It opens when the clock gets to the opening time, which it may do twice, or when it is put
    forward over that time, or back into the window from beyond its end.
    """
    zone, (opens, _) = _zone(), _hours()
    on_time = (
        datetime.combine(day, opens.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1)
    )
    starts = {*on_time, *_clock_changes(day)}
    return sorted(start for start in starts if start.astimezone(zone).date() == day)


def _clock_changes(day: date) -> Iterator[datetime]:
    """The moment about that day, if there is one, at which the clock is put forward or back."""
    midnight = datetime.combine(day, time.min, UTC)
    # Whatever the zone, its day lies within these three.
    first, last = midnight - DAY, midnight + 2 * DAY
    if _offset(first) == _offset(last):
        return
    seconds = range(int((last - first).total_seconds()))
    yield first + timedelta(
        seconds=bisect_left(
            seconds,
            True,
            key=lambda second: _offset(first + timedelta(seconds=second)) != _offset(first),
        )
    )


def _offset(moment: datetime) -> timedelta | None:
    return moment.astimezone(_zone()).utcoffset()


def _utc(moment: datetime) -> datetime:
    if timezone.is_naive(moment):
        raise ValueError("A moment needs a time zone.")
    return moment.astimezone(UTC)  # moments of one other zone are compared by the clock (PEP 495)


def _zone() -> ZoneInfo:
    try:
        return ZoneInfo(settings.DAYTIME_ZONE)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise NotConfigured(
            f"{SETTINGS_NAME}['DAYTIME_ZONE'] is in no time zone database of this machine. Correct "
            "it, or install the package tzdata."
        ) from None


def _hours() -> tuple[time, time]:
    opens, closes = settings.DAYTIME
    return time.fromisoformat(opens), time.fromisoformat(closes)
