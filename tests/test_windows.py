from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.test import override_settings
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from instant_notifications import conf
from instant_notifications.exceptions import NotConfigured
from instant_notifications.windows import easter, is_open, norwegian_holidays, opening

Configure = Callable[..., None]

MINUTE = timedelta(minutes=1)
OSLO = ZoneInfo("Europe/Oslo")
SUMMER_TIME_BEGINS = date(2026, 3, 29)
SUMMER_TIME_ENDS = date(2026, 10, 25)

# From the tables of the almanac: earliest (1818), latest (1943, 2038), and leap years among them.
EASTERS = [
    "1818-03-22",
    "1886-04-25",
    "1900-04-15",
    "1913-03-23",
    "1943-04-25",
    "1954-04-18",
    "1961-04-02",
    "1981-04-19",
    "1997-03-30",
    "1999-04-04",
    "2000-04-23",
    "2001-04-15",
    "2004-04-11",
    "2008-03-23",
    "2011-04-24",
    "2016-03-27",
    "2018-04-01",
    "2019-04-21",
    "2020-04-12",
    "2021-04-04",
    "2022-04-17",
    "2023-04-09",
    "2024-03-31",
    "2025-04-20",
    "2026-04-05",
    "2027-03-28",
    "2028-04-16",
    "2029-04-01",
    "2030-04-21",
    "2035-03-25",
    "2038-04-25",
    "2049-04-18",
    "2076-04-19",
]


def oslo(written: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(written).replace(tzinfo=OSLO, fold=fold)


def utc(written: str) -> datetime:
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def shown(moment: datetime) -> str:
    assert moment.tzinfo is UTC
    return moment.astimezone(OSLO).isoformat(" ", "minutes")


@pytest.mark.parametrize(
    ("moment", "is_daytime"),
    [
        ("2026-01-14 00:00", False),
        ("2026-01-14 08:59:59.999999", False),
        ("2026-01-14 09:00", True),
        ("2026-01-14 12:00", True),
        ("2026-01-14 16:59:59.999999", True),
        ("2026-01-14 17:00", False),
        ("2026-01-14 23:59", False),
        ("2026-07-14 08:59", False),
        ("2026-07-14 09:00", True),
        ("2026-01-17 12:00", True),  # a Saturday
        ("2026-12-25 12:00", True),
    ],
)
def test_daytime_begins_at_nine_and_ends_before_five_each_day(
    moment: str, is_daytime: bool
) -> None:
    assert is_open(oslo(moment)) is is_daytime
    assert is_open(oslo(moment).astimezone(UTC)) is is_daytime
    assert is_open(oslo(moment).astimezone(ZoneInfo("Asia/Tokyo"))) is is_daytime


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-01-14 08:59:59.999999", "2026-01-14 09:00+01:00"),
        ("2026-01-14 17:00", "2026-01-15 09:00+01:00"),
        ("2026-01-31 18:00", "2026-02-01 09:00+01:00"),
        ("2026-12-31 18:00", "2027-01-01 09:00+01:00"),
        ("2024-02-28 18:00", "2024-02-29 09:00+01:00"),
        ("2026-03-28 18:00", "2026-03-29 09:00+02:00"),
        ("2026-03-29 01:59", "2026-03-29 09:00+02:00"),
        ("2026-10-24 18:00", "2026-10-25 09:00+01:00"),
        ("2026-10-25 02:30", "2026-10-25 09:00+01:00"),
    ],
)
def test_it_opens_at_nine_on_the_clock_of_oslo(moment: str, opens: str) -> None:
    assert shown(opening(oslo(moment))) == opens


def test_the_night_is_an_hour_shorter_or_longer_when_the_clock_is_changed() -> None:
    assert opening(oslo("2026-03-28 17:00")) - oslo("2026-03-28 17:00").astimezone(
        UTC
    ) == timedelta(hours=15)
    assert opening(oslo("2026-10-24 17:00")) - oslo("2026-10-24 17:00").astimezone(
        UTC
    ) == timedelta(hours=17)


def test_a_moment_in_daytime_is_its_own_opening() -> None:
    moment = oslo("2026-07-14 16:59:59.999999")
    assert opening(moment) == utc("2026-07-14 14:59:59.999999")
    assert opening(moment).tzinfo is UTC


def test_a_moment_without_a_time_zone_is_refused() -> None:
    naive = datetime.fromisoformat("2026-07-14T12:00")
    for each in (is_open, opening):
        with pytest.raises(ValueError, match="needs a time zone"):
            each(naive)


def closed_in_2026(configure: Configure, *closed: str) -> set[str]:
    configure(DAYTIME_CLOSED=closed)
    days = (date(2026, 1, 1) + timedelta(days=n) for n in range(365))
    return {str(day) for day in days if not is_open(oslo(f"{day} 12:00"))}


HOLIDAYS_2026 = {
    "2026-01-01",
    "2026-04-02",
    "2026-04-03",
    "2026-04-05",
    "2026-04-06",
    "2026-05-01",
    "2026-05-14",
    "2026-05-17",
    "2026-05-24",
    "2026-05-25",
    "2026-12-25",
    "2026-12-26",
}


def test_holidays_can_be_left_out(configure: Configure) -> None:
    assert closed_in_2026(configure, "holidays") == HOLIDAYS_2026


def test_weekends_can_be_left_out(configure: Configure) -> None:
    closed = closed_in_2026(configure, "weekends")
    assert len(closed) == 104
    assert {date.fromisoformat(day).strftime("%A") for day in closed} == {"Saturday", "Sunday"}


def test_single_days_can_be_left_out(configure: Configure) -> None:
    assert closed_in_2026(configure, "2026-12-24", "2027-12-24") == {"2026-12-24"}


def test_days_can_be_left_out_for_several_reasons(configure: Configure) -> None:
    closed = closed_in_2026(configure, "holidays", "2026-12-24", "weekends")
    assert {*HOLIDAYS_2026, "2026-12-24", "2026-12-27"} < closed
    configure(DAYTIME_CLOSED=["weekends", "holidays", "2026-12-24"])
    assert shown(opening(oslo("2026-04-01 17:00"))) == "2026-04-07 09:00+02:00"
    assert shown(opening(oslo("2026-12-23 17:00"))) == "2026-12-28 09:00+01:00"
    assert shown(opening(oslo("2026-12-31 17:00"))) == "2027-01-04 09:00+01:00"


def test_a_day_is_closed_by_the_date_of_the_zone(configure: Configure) -> None:
    configure(DAYTIME=("00:00", "01:00"), DAYTIME_CLOSED=["2026-07-14"])
    assert is_open(utc("2026-07-14 22:30"))
    assert not is_open(utc("2026-07-13 22:30"))


def test_every_day_of_a_year_closed_is_told(configure: Configure) -> None:
    days = [str(date(2026, 1, 1) + timedelta(days=n)) for n in range(366)]
    configure(DAYTIME_CLOSED=days[:300])
    assert shown(opening(oslo("2026-01-01 00:00"))) == "2026-10-28 09:00+01:00"
    configure(DAYTIME_CLOSED=days)
    assert shown(opening(oslo("2026-01-01 00:00"))) == "2027-01-02 09:00+01:00"
    configure(DAYTIME_CLOSED=[*days, "2027-01-02"])
    with pytest.raises(NotConfigured, match="DAYTIME_CLOSED"):
        opening(oslo("2026-01-01 00:00"))


def test_the_hours_and_the_zone_can_be_set(configure: Configure) -> None:
    configure(DAYTIME=["07:30", "08:15"], DAYTIME_ZONE="Asia/Kolkata")
    assert is_open(utc("2026-07-14 02:00"))
    assert not is_open(utc("2026-07-14 02:45"))
    assert opening(utc("2026-07-14 02:45")) == utc("2026-07-15 02:00")


def test_a_zone_that_is_unknown_here_is_told(configure: Configure) -> None:
    configure(DAYTIME_ZONE="Europe/Nowhere")
    with pytest.raises(NotConfigured, match="tzdata"):
        is_open(utc("2026-07-14 02:00"))


FORWARD = [
    # The clock goes from 02:00 to 03:00, at 01:00 UTC.
    (("02:30", "03:30"), "2026-03-29 01:00"),  # the opening time is skipped
    (("02:00", "03:30"), "2026-03-29 01:00"),
    (("02:15", "02:45"), "2026-03-30 00:15"),  # all of it is skipped
    (("02:00", "03:00"), "2026-03-30 00:00"),
    (("03:00", "04:00"), "2026-03-29 01:00"),
    (("01:30", "02:30"), "2026-03-29 00:30"),  # the closing time is skipped
]


@pytest.mark.parametrize(("hours", "opens"), FORWARD)
def test_a_window_in_the_hour_that_is_skipped(
    hours: tuple[str, str], opens: str, configure: Configure
) -> None:
    configure(DAYTIME=hours)
    assert opening(oslo(f"{SUMMER_TIME_BEGINS} 01:00")) == utc(opens)


def test_a_closing_time_that_is_skipped_closes_at_the_change(configure: Configure) -> None:
    configure(DAYTIME=("01:30", "02:30"))
    assert is_open(utc("2026-03-29 00:59:59.999999"))
    assert not is_open(utc("2026-03-29 01:00"))


BACK = [
    # The clock goes from 03:00 back to 02:00, at 01:00 UTC.
    (("02:30", "03:30"), ["2026-10-25 00:30", "2026-10-25 01:30"], "2026-10-25 02:30"),
    (("02:15", "02:45"), ["2026-10-25 00:15", "2026-10-25 01:15"], "2026-10-25 01:45"),
    (("01:30", "02:30"), ["2026-10-24 23:30", "2026-10-25 01:00"], "2026-10-25 01:30"),
    (("01:30", "03:00"), ["2026-10-24 23:30"], "2026-10-25 02:00"),
    (("02:00", "03:00"), ["2026-10-25 00:00"], "2026-10-25 02:00"),
]


@pytest.mark.parametrize(("hours", "openings", "closes"), BACK)
def test_a_window_in_the_hour_that_comes_twice(
    hours: tuple[str, str], openings: Sequence[str], closes: str, configure: Configure
) -> None:
    configure(DAYTIME=hours)
    assert openings_between(utc("2026-10-24 22:30"), utc(closes)) == [*map(utc, openings)]
    assert is_open(utc(closes) - MINUTE)
    assert not is_open(utc(closes))


def openings_between(first: datetime, last: datetime) -> Sequence[datetime]:
    """Each opening, found from the end of the daytime before it."""
    found = []
    while (start := opening(first)) < last:
        found.append(start)
        first = next(minute for minute in minutes(start, last + MINUTE) if not is_open(minute))
    return found


def minutes(first: datetime, last: datetime) -> Iterator[datetime]:
    while first < last:
        yield first
        first += MINUTE


def test_a_change_of_the_clock_tomorrow_is_no_opening_of_today(configure: Configure) -> None:
    configure(DAYTIME=("00:30", "06:00"))
    assert shown(opening(oslo("2026-03-28 07:00"))) == "2026-03-29 00:30+01:00"
    assert shown(opening(oslo("2026-10-24 07:00"))) == "2026-10-25 00:30+02:00"


ZONES = [
    "Europe/Oslo",
    "UTC",
    "Australia/Lord_Howe",  # half an hour
    "Africa/Cairo",  # at midnight
    "America/Santiago",  # at midnight, the other way round
    "Pacific/Apia",  # a day was skipped
    "America/St_Johns",
    "Asia/Kolkata",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
]
CLOCK = st.times().map(lambda each: each.strftime("%H:%M"))
HOURS = st.tuples(CLOCK, CLOCK).filter(lambda hours: hours[0] < hours[1])
CLOSED = st.lists(
    st.sampled_from(["weekends", "holidays", "2026-03-29", "2026-10-24", "2011-12-31"]), unique=True
)
ABOUT_A_CHANGE = st.sampled_from(
    [
        utc("2026-03-29 01:00"),
        utc("2026-10-25 01:00"),
        utc("2026-10-03 15:30"),
        utc("2026-04-04 15:00"),
        utc("2026-04-23 22:00"),
        utc("2026-10-29 21:00"),
        utc("2026-09-06 04:00"),
        utc("2026-04-05 03:00"),
        utc("2011-12-30 10:00"),
    ]
).flatmap(
    lambda change: st.timedeltas(timedelta(hours=-30), timedelta(hours=30)).map(
        lambda away: change + away
    )
)
MOMENTS = ABOUT_A_CHANGE | st.datetimes(
    datetime.fromisoformat("1980-01-01"),
    datetime.fromisoformat("2100-01-01"),
    timezones=st.just(UTC),
)


@effort(deadline=None)
@given(MOMENTS, HOURS, st.sampled_from(ZONES), CLOSED)
@example(utc("2026-03-28 20:00"), ("02:30", "03:30"), "Europe/Oslo", [])
@example(utc("2026-10-25 00:59"), ("01:30", "02:30"), "Europe/Oslo", [])
@example(utc("2011-12-30 09:59"), ("00:00", "00:01"), "Pacific/Apia", [])
@example(utc("2026-04-23 12:00"), ("00:15", "00:45"), "Africa/Cairo", [])
@example(utc("2026-10-03 10:00"), ("02:15", "03:00"), "Australia/Lord_Howe", [])
@example(utc("2026-04-05 02:45"), ("22:30", "23:30"), "America/Santiago", [])
@example(utc("2026-10-24 20:00"), ("00:30", "06:00"), "Europe/Oslo", ["2026-10-24"])
def test_nothing_is_open_from_a_moment_to_its_opening(
    moment: datetime, hours: tuple[str, str], zone: str, closed: list[str]
) -> None:
    changed = {"DAYTIME": hours, "DAYTIME_ZONE": zone, "DAYTIME_CLOSED": closed}
    with override_settings(INSTANT_NOTIFICATIONS=changed):
        opens = opening(moment)
        assert is_open(opens)
        assert opens >= moment
        assert opening(opens) == opens
        assert not any(map(is_open, minutes(moment, opens)))
        assert opens == moment or not is_open(opens - timedelta(microseconds=1))


@pytest.mark.parametrize("sunday", EASTERS)
def test_easter_falls_as_the_almanac_says(sunday: str) -> None:
    assert str(easter(int(sunday[:4]))) == sunday


@given(st.integers(1583, 9999))
def test_easter_is_a_sunday_of_spring(year: int) -> None:
    assert easter(year).strftime("%A") == "Sunday"
    assert date(year, 3, 22) <= easter(year) <= date(year, 4, 25)


def test_holidays_that_fall_together_are_one_day() -> None:
    assert len(norwegian_holidays(2026)) == 12
    assert len(norwegian_holidays(2008)) == 11  # Ascension on the first of May


@pytest.mark.parametrize("word", ["weekends", "holidays", "2026-12-24"])
def test_every_word_a_host_may_write_closes_some_day(word: str, configure: Configure) -> None:
    assert conf.SETTINGS["DAYTIME_CLOSED"].accepts([word])
    assert closed_in_2026(configure, word)
