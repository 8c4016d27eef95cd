"""The auditor finds each thing that it is there to find, and nothing where all is well."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.live.chaos.audit import (
    CHECKS,
    EXPIRED,
    NOT_SENT,
    REFUSED,
    UNKNOWN,
    Entry,
    Evidence,
    Row,
    Taken,
    Try,
    answers_about_another,
    audit,
    holes_in_the_feed,
    invented,
    lost,
    not_ended,
    not_one_row_each,
    not_told_once,
    personal_data_in_logs,
    refusals_that_were_sent,
    sent_all_the_same,
    sent_twice,
    successes_taken_back,
    unexpected_answers,
)

DELIVERED: Final = "SMS_Delivered"


def tried(number: int, answer: tuple[int, str], *, began: float = 0, shipment: str = "") -> Try:
    return Try(f"message-{number}", began, began + 1, *answer, shipment)


def row(number: int, handover: str = "taken", status: str = DELIVERED, **changes: Any) -> Row:
    names = (f"delivery-{number}", f"message-{number}", f"shipment-{number}")
    return replace(Row(*names, handover, status, completed=True), **changes)


WELL: Final = Evidence(
    taken=[
        Taken("delivery-1", "message-1", 0.5),
        Taken("delivery-2", "message-2", 2.5),
        Taken("delivery-4", "message-4", 0.5),
    ],
    tries=[
        tried(1, (201, ""), shipment="shipment-1"),
        tried(1, (200, ""), began=1, shipment="shipment-1"),
        tried(2, NOT_SENT, shipment="shipment-2"),
        tried(2, (201, ""), began=2, shipment="shipment-2"),
        tried(3, REFUSED, shipment="shipment-3"),
        tried(4, (0, "")),
        tried(4, NOT_SENT, began=2),
        tried(4, UNKNOWN, began=4, shipment="shipment-4"),
    ],
    rows=[
        row(1),
        row(2),
        row(3, "refused", "SMS_Failed_InvalidRecipient"),
        row(4, "unknown", EXPIRED),
    ],
    followed=[
        Entry(1, "shipment-2", EXPIRED),
        Entry(2, "shipment-1", DELIVERED),
        Entry(3, "shipment-3", "SMS_Failed_InvalidRecipient"),
        Entry(4, "shipment-4", EXPIRED),
        Entry(5, "shipment-2", DELIVERED),
    ],
    feed=[
        Entry(1, "shipment-2", EXPIRED),
        Entry(2, "shipment-1", DELIVERED),
        Entry(3, "shipment-3", "SMS_Failed_InvalidRecipient"),
        Entry(4, "shipment-4", EXPIRED),
        Entry(5, "shipment-2", DELIVERED),
    ],
    logs={"server": "2026-11-22 handover gateway=north reference=0190-479012345678 outcome=taken"},
)


def test_nothing_is_found_where_all_is_well() -> None:
    assert audit(WELL) == []


def having(name: str, items: Sequence[Any]) -> Evidence:
    changed: Any = {name: items}
    return replace(WELL, **changed)


def more(name: str, *items: Any) -> Evidence:
    return having(name, [*getattr(WELL, name), *items])


def without(name: str, place: int) -> Evidence:
    items: Sequence[Any] = getattr(WELL, name)
    return having(name, [*items[:place], *items[place + 1 :]])


def of_feed(entries: Sequence[Entry]) -> Evidence:
    return replace(WELL, feed=entries, followed=entries)


def rows_with(place: int, changed: Row) -> Evidence:
    return replace(WELL, rows=[*WELL.rows[:place], changed, *WELL.rows[place + 1 :]])


TAKEN_AGAIN: Final = Taken("delivery-1", "message-1", 9)
BROKEN: Final = {
    "doubled": (sent_twice, more("taken", TAKEN_AGAIN)),
    "doubled by a second row": (
        sent_twice,
        more("taken", replace(TAKEN_AGAIN, reference="delivery-9")),
    ),
    "lost": (lost, without("rows", 0)),
    "lost under the id of another": (lost, rows_with(0, row(1, key="message-9"))),
    "certainly not sent, and taken": (lost, rows_with(3, row(4, "open", EXPIRED))),
    "refused, and taken": (lost, rows_with(3, row(4, "refused", EXPIRED))),
    "taken by nobody": (invented, without("taken", 1)),
    "two rows": (not_one_row_each, more("rows", row(1, reference="delivery-9"))),
    "under way for ever": (not_ended, rows_with(3, row(4, "under_way", EXPIRED))),
    "without an end": (not_ended, rows_with(0, row(1, completed=False))),
    "a crash of ours": (unexpected_answers, more("tries", tried(1, (500, "")))),
    "an answer of nobody's": (unexpected_answers, more("tries", tried(1, (503, "not JSON")))),
    "two shipments": (
        answers_about_another,
        more("tries", tried(1, (200, ""), shipment="shipment-2")),
    ),
    "a success that was none": (successes_taken_back, rows_with(0, row(1, "unknown"))),
    "a success without a row": (successes_taken_back, without("rows", 0)),
    "a success twice": (
        successes_taken_back,
        more("tries", tried(1, (201, ""), shipment="shipment-1")),
    ),
    "a success denied": (
        successes_taken_back,
        more("tries", tried(1, UNKNOWN, began=8, shipment="shipment-1")),
    ),
    "a refusal that was sent": (refusals_that_were_sent, more("tries", tried(4, REFUSED, began=8))),
    "not sent, and taken before": (
        sent_all_the_same,
        more("tries", tried(4, NOT_SENT, began=8, shipment="shipment-4")),
    ),
    "not sent by itself, and taken": (sent_all_the_same, without("tries", 5)),
    "a hole": (holes_in_the_feed, of_feed([*WELL.feed[:1], *WELL.feed[2:]])),
    "no beginning": (holes_in_the_feed, of_feed(WELL.feed[1:])),
    "out of order": (holes_in_the_feed, of_feed([*WELL.feed[:3], WELL.feed[4], WELL.feed[3]])),
    "seen by one reader only": (holes_in_the_feed, without("followed", 4)),
    "an end that is not told": (not_told_once, of_feed(WELL.feed[:3])),
    "an end that is told twice": (not_told_once, of_feed([*WELL.feed, WELL.feed[1]])),
    "an end that is corrected for no reason": (
        not_told_once,
        of_feed([*WELL.feed, Entry(6, "shipment-1", "SMS_Failed")]),
    ),
    "an end that is another": (not_told_once, rows_with(0, row(1, status="SMS_Failed"))),
    "a shipment of nobody's": (
        not_told_once,
        of_feed([*WELL.feed, Entry(6, "shipment-9", DELIVERED)]),
    ),
    "a number in a log": (
        personal_data_in_logs,
        replace(WELL, logs={"server": "Traceback: 422 for +4790000017"}),
    ),
    "a text in a log": (personal_data_in_logs, replace(WELL, logs={"sql": "Your code is 000017"})),
}


@pytest.mark.parametrize(("check", "evidence"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_found(check: Callable[..., Any], evidence: Evidence) -> None:
    assert list(check(evidence))


def test_no_check_is_without_a_test() -> None:
    assert {check for check, _ in BROKEN.values()} == set(CHECKS)
