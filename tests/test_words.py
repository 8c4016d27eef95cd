"""What the console says in plain words: complete, and true of each state."""

from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.utils import timezone

from instant_notifications.admin import plans, words
from instant_notifications.models import Delivery, IdempotencyRecord, Intervention
from instant_notifications.recipients import Kind, Schema
from instant_notifications.statuses import (
    STAGES,
    Cause,
    Channel,
    Handover,
    Outcome,
    ShipmentType,
    is_final,
)

NOW = timezone.now()
PHONE = "+4799887766"


def a_delivery(status: str, handover: str = Handover.TAKEN, **columns: Any) -> Delivery:
    ended = NOW if is_final(status) else None
    created_at = NOW - timedelta(seconds=2.3)
    defaults = {
        "channel": Channel.SMS if status.startswith("SMS") else Channel.EMAIL,
        "destination": PHONE,
        "gateway": "link",
        "created_at": created_at,
        "expires_at": created_at + timedelta(minutes=5),
        "completed_at": ended,
    }
    return Delivery(status=status, handover=handover, **{**defaults, **columns})


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        (words.MEANINGS, STAGES),
        (words.HANDOVERS, Handover),
        (words.EXPIRIES, Handover),
        (words.FAILURES, Handover),
        (words.STANDINGS, words.Standing),
        (words.CALLS, Outcome),
        (words.CAUSES, Cause),
        (words.NO_CHANGES, words.NoChange),
        (words.DEEDS, Intervention.Kind),
        (words.CHANNELS, Channel),
        (words.SAME_IDS, IdempotencyRecord.Scope),
        (words.TYPES, ShipmentType),
        (words.KINDS, Kind),
        (words.SCHEMAS, Schema),
        (plans.STANDINGS, plans.Standing),
        (plans.IN_SHORT, plans.Standing),
        (plans.CONDITIONS, plans.Condition),
    ],
)
def test_there_are_words_for_everything(table: Any, keys: Any) -> None:
    assert set(table) == set(keys)


@pytest.mark.parametrize("word", STAGES)
def test_there_is_a_headline_whatever_the_word_and_the_hand_over(word: str) -> None:
    gone, ahead = NOW - timedelta(hours=1), NOW + timedelta(minutes=1)
    for handover, lease, expires_at, destination, gateway in product(
        Handover, (None, gone, ahead), (gone, ahead), (None, PHONE), ("", "link")
    ):
        delivery = a_delivery(
            word,
            handover,
            lease_until=lease,
            expires_at=expires_at,
            destination=destination,
            gateway=gateway,
        )
        said = words.headline(delivery, NOW)
        assert said.endswith(".")
        assert not [each for each in ("%", "None", "—") if each in said]
        assert PHONE not in said
        assert words.tone(delivery, NOW)


FAR = NOW + timedelta(days=1)
DUE = {"due_at": NOW - timedelta(seconds=5)}
FORGOTTEN = {"due_at": NOW - timedelta(hours=1), "expires_at": NOW + timedelta(days=1)}
AHEAD = {"due_at": NOW + timedelta(minutes=1)}
LAPSED = {"lease_until": NOW - timedelta(seconds=1)}
LEASED = {"lease_until": NOW + timedelta(days=1)}  # longer than any run of the tests
OVERDUE = {"expires_at": NOW - timedelta(hours=1)}


@pytest.mark.parametrize(
    ("delivery", "said", "tone"),
    [
        (a_delivery("SMS_Delivered"), "Delivered to +47 ** ** ** 66, 2.3 s after", "good"),
        (a_delivery("SMS_Delivered", destination=None), "Delivered, 2.3 s after", "good"),
        (a_delivery("SMS_New", Handover.OPEN), "If the same request comes again", "bad"),
        (a_delivery("SMS_New", Handover.OPEN, expires_at=NOW), "before its time ran out", "bad"),
        (a_delivery("SMS_New", Handover.OPEN, **AHEAD), "by day only, and waits until", "open"),
        (a_delivery("SMS_New", Handover.OPEN, **AHEAD, attempts=2), "(attempt 2). The", "open"),
        (a_delivery("SMS_New", Handover.OPEN, **DUE), "and no worker has come for it.", "open"),
        (a_delivery("SMS_New", Handover.OPEN, **FORGOTTEN), "no worker has come for", "doubt"),
        (
            a_delivery("SMS_New", Handover.OPEN, **FORGOTTEN, claimed_until=FAR),
            "and a queue knows of it.",
            "open",
        ),
        (
            a_delivery("SMS_New", Handover.OPEN, **FORGOTTEN, claimed_until=NOW),
            "A queue was told of it, but",
            "doubt",
        ),
        (a_delivery("SMS_New", Handover.OPEN, **DUE, **OVERDUE), "Not sent: no gateway", "bad"),
        (a_delivery("SMS_Sending", Handover.UNDER_WAY, **LEASED), "at this moment", "open"),
        (a_delivery("SMS_Sending", Handover.UNDER_WAY, **LAPSED), "its worker died", "doubt"),
        (a_delivery("SMS_Sending", Handover.UNKNOWN), "It may have left: link was", "doubt"),
        (
            a_delivery("SMS_Sending", Handover.UNKNOWN, gateway=""),
            "It may have left: what",
            "doubt",
        ),
        (a_delivery("SMS_Accepted"), "link took it. Whether", "open"),
        (a_delivery("SMS_Accepted", completed_at=NOW), "will not tell", "open"),
        (a_delivery("SMS_Accepted", **OVERDUE), "its time ran out with no word", "bad"),
        (a_delivery("SMS_New", Handover.OPEN, **OVERDUE), "Not sent: no gateway", "bad"),
        (a_delivery("SMS_Sending", Handover.UNKNOWN, **OVERDUE), "It may have left, but", "doubt"),
        (a_delivery("SMS_Failed_TTL", Handover.REFUSED), "Not sent: its time", "bad"),
        (a_delivery("SMS_Failed_Expired"), "The phone company gave up", "bad"),
    ],
)
def test_the_headline_tells_what_became_of_it(delivery: Delivery, said: str, tone: str) -> None:
    assert said in words.headline(delivery, NOW)
    assert words.tone(delivery, NOW).value == tone


def test_who_ended_it_is_named() -> None:
    deed = words.Ending(Intervention.Kind.CANCEL, "ola")
    cancelled = a_delivery("SMS_Failed", Handover.REFUSED)
    assert words.headline(cancelled, NOW, deed) == "Not sent: ola cancelled it."
    assert words.headline(cancelled, NOW, words.CALLER).startswith("Not sent: whoever had ordered")
    assert words.afterwords(cancelled, NOW, deed) == []


def test_of_a_failure_it_is_said_whether_it_had_left() -> None:
    said = [words.afterwords(a_delivery("SMS_Failed", each), NOW) for each in Handover]
    assert [str(each[0]).startswith("It never left") for each in said] == [
        each in (Handover.OPEN, Handover.REFUSED) for each in Handover
    ]


def test_what_no_gateway_was_asked_to_send_has_not_left() -> None:
    unreachable = a_delivery("SMS_Failed_RecipientReserved", Handover.REFUSED, destination=None)
    assert words.afterwords(unreachable, NOW) == [words.NEVER_TRIED]


def test_who_waits_too_long_is_told_whom_to_look_for() -> None:
    said = [
        words.afterwords(a_delivery("SMS_New", Handover.OPEN, **due), NOW)
        for due in (DUE, FORGOTTEN, {**FORGOTTEN, "claimed_until": FAR})
    ]
    assert said == [[], [words.NO_WORKER], []]


def test_of_a_planned_one_the_time_of_its_arrival_is_told() -> None:
    for destination, said in ((PHONE, "Delivered to +47 ** ** ** 66 at"), (None, "Delivered at")):
        delivery = a_delivery("SMS_Delivered", destination=destination)
        told = words.headline(delivery, NOW, was_planned=True)
        assert told == f"{said} {words.clock_time(NOW, NOW)}."


def test_a_message_that_may_have_gone_twice_says_so() -> None:
    assert words.afterwords(a_delivery("SMS_Accepted", may_have_left=True), NOW) == [words.TWICE]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *[(0, "0 s"), (-3, "0 s"), (0.34, "0.34 s"), (0.999, "1.0 s"), (2.34, "2.3 s")],
        *[(9.97, "10 s"), (59.7, "1 min"), (125, "2 min 5 s"), (300, "5 min")],
        *[(3605, "1 h"), (11_100, "3 h 5 min"), (273_600, "3 d 4 h")],
    ],
)
def test_durations_are_short_and_round(seconds: float, said: str) -> None:
    assert words.duration(timedelta(seconds=seconds)) == said


def test_the_time_to_live_is_what_is_left_or_when_it_ran_out() -> None:
    delivery = a_delivery("SMS_Accepted")
    assert words.life(delivery, delivery.created_at + timedelta(seconds=48)) == (
        "4 min 12 s left of 5 min"
    )
    assert words.life(delivery, delivery.expires_at + timedelta(minutes=3)) == (
        "5 min; it ran out 3 min ago"
    )


def test_another_day_is_named() -> None:
    noon = timezone.localtime(NOW).replace(hour=12, minute=5)
    assert words.clock_time(noon, noon) == "12:05"
    assert words.clock_time(noon + timedelta(days=1), noon).endswith(" 12:05")
