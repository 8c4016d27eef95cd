"""``process_due_orders`` and ``orders_health``: what they tell, and how they end."""

import io
import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from instant_notifications import tasks
from instant_notifications.models import Delivery, Plan
from instant_notifications.statuses import Handover
from tests import regular
from tests.clock import Clock
from tests.regular import HOUR, MINUTE, order, phones
from tests.stub import StubGateway

pytestmark = pytest.mark.django_db

PERSONAL: Final = "+4799999999"
PROCESS: Final = "process_due_orders"
HEALTH: Final = "orders_health"
NOTHING_DUE: Final = "0 due, the oldest for 0 s; 0 later; 0 stuck; 0 taken in the last minute\n"

Sweep = Callable[[Callable[[], bool]], Iterator[int]]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(command: str, *words: str, terminal: bool = False) -> tuple[str, str]:
    """What it prints, and what it fails with."""
    out, err = io.StringIO(), Terminal() if terminal else io.StringIO()
    failure, status = "", 0
    try:
        call_command(command, *words, stdout=out, stderr=err)
    except CommandError as error:
        failure, status = str(error), error.returncode
    assert status == (1 if failure else 0)
    return out.getvalue() + err.getvalue(), failure


def does(*numbers: int, then: Exception | None = None) -> Sweep:
    def sweep(stopped: Callable[[], bool]) -> Iterator[int]:
        yield from numbers
        if then:
            raise then

    return sweep


def asks_to_stop(number: signal.Signals, *, then: Exception | None = None) -> Sweep:
    """The signal comes in the midst of a round."""

    def sweep(stopped: Callable[[], bool]) -> Iterator[int]:
        yield 5
        os.kill(os.getpid(), number)
        if then:
            raise then
        if not stopped():
            yield 7

    return sweep


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what the sweeps do, one after the other; then nothing is left."""

    def make(*sweeps: Sweep) -> None:
        left = iter(sweeps)
        monkeypatch.setattr(tasks, "sweep", lambda stopped: next(left, does())(stopped))

    return make


ENGINE_AWAY: Final = ConnectionError(PERSONAL)
DATABASE_AWAY: Final = OperationalError(PERSONAL)

away = pytest.mark.parametrize(
    ("error", "what"),
    [(ENGINE_AWAY, "the task engine, ConnectionError"), (DATABASE_AWAY, "the database, Operation")],
    ids=["engine", "database"],
)


# One round


def test_with_nothing_due_it_says_nothing() -> None:
    assert run(PROCESS) == ("", "")


def test_it_does_what_is_due_and_tells_how_much(stub: type[StubGateway]) -> None:
    placed = order(phones(25))
    said, failure = run(PROCESS)
    assert (said, failure) == ("25 seen to\n", "")
    assert [each.handover for each in regular.deliveries(placed)] == [Handover.TAKEN] * 25
    assert run(PROCESS) == ("", "")


def test_it_leaves_alone_what_is_due_later(stub: type[StubGateway], clock: Clock) -> None:
    order(at=clock() + HOUR)
    assert run(PROCESS) == ("", "")
    clock.go(HOUR)
    assert run(PROCESS) == ("1 seen to\n", "")


@away
def test_it_says_what_was_away_and_quotes_nothing(
    rounds: Callable[..., None], error: Exception, what: str
) -> None:
    rounds(does(20, 3), does(20, then=error))
    said, failure = run(PROCESS)
    assert said.startswith(f"43 seen to; not all: {what}")
    assert failure.startswith(f"Not all was seen to: {what}")
    assert PERSONAL not in said + failure


def test_on_a_terminal_it_shows_how_far_it_has_come(rounds: Callable[..., None]) -> None:
    rounds(does(20, 20), does(2))
    said, _ = run(PROCESS, terminal=True)
    assert re.findall(r"\033\[K([^\r\n]*)", said) == ["20 seen to", "40 seen to", "42 seen to", ""]
    assert said.startswith("42 seen to\n")


# For ever


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_that_is_stopped_finishes_the_chunk_in_hand_and_ends_well(
    rounds: Callable[..., None], number: signal.Signals
) -> None:
    handler = signal.getsignal(number)
    rounds(asks_to_stop(number))
    assert run(PROCESS, "--loop", "600") == ("5 seen to\n", "")
    assert signal.getsignal(number) is handler


@away
def test_a_loop_outlives_what_was_away(
    rounds: Callable[..., None], error: Exception, what: str
) -> None:
    rounds(does(then=error), does(4), does(), asks_to_stop(signal.SIGTERM))
    said, failure = run(PROCESS, "--loop", "0.01")
    first, *others = said.splitlines()
    assert first.startswith(f"0 seen to; not all: {what}")
    assert (others, failure) == (["4 seen to", "5 seen to"], "")


@away
def test_of_a_loop_the_last_round_counts(
    rounds: Callable[..., None], error: Exception, what: str
) -> None:
    rounds(does(3), does(), asks_to_stop(signal.SIGTERM, then=error))
    said, failure = run(PROCESS, "--loop", "0.01")
    assert said.startswith("3 seen to\n5 seen to; not all: ")
    assert failure.startswith(f"Not all was seen to: {what}")


@pytest.mark.parametrize("words", ["0", "-1", "nan", "soon"])
def test_a_pause_that_is_none_is_refused(words: str) -> None:
    said, failure = run(PROCESS, "--loop", words)
    assert (said, "--loop" in failure) == ("", True)


# Whether all is well


def test_with_nothing_due_all_is_well() -> None:
    assert run(HEALTH) == (NOTHING_DUE, "")


def test_it_tells_how_far_the_work_is_behind(stub: type[StubGateway], clock: Clock) -> None:
    regular.sent(order(phones(2), idempotency_id="sent"))
    order(phones(3), at=clock() + HOUR, idempotency_id="later")
    order(phones(4))
    clock.go(timedelta(seconds=30))
    assert run(HEALTH) == (
        "4 due, the oldest for 30 s; 3 later; 0 stuck; 2 taken in the last minute\n",
        "",
    )


def test_messages_wait_too(stub: type[StubGateway], clock: Clock) -> None:
    regular.planned(order(phones(2)))
    clock.go(timedelta(seconds=10))
    assert run(HEALTH)[0].startswith("2 due, the oldest for 10 s; 0 later; ")


@pytest.mark.parametrize(
    ("words", "seconds", "failure"),
    [
        ((), 299, ""),
        ((), 301, "the oldest has been due for more than 300 s"),
        (("--max-age", "10"), 11, "the oldest has been due for more than 10 s"),
        (("--max-age", "10"), 9, ""),
        (("--max-due", "2"), 1, "more than 2 are due"),
        (("--max-due", "3"), 1, ""),
        (
            ("--max-due", "0", "--max-age", "1"),
            2,
            "the oldest has been due for more than 1 s, more than 0 are due",
        ),
    ],
)
def test_past_a_threshold_it_fails_and_names_it(
    clock: Clock, words: tuple[str, ...], seconds: float, failure: str
) -> None:
    order(phones(3))
    regular.forget_claims()
    clock.go(timedelta(seconds=seconds))
    _, said = run(HEALTH, *words)
    assert said == (f"Past its threshold: {failure}." if failure else "")


@pytest.mark.parametrize("model", [Plan, Delivery])
def test_claims_that_nobody_came_back_to_are_stuck(model: Any, clock: Clock) -> None:
    regular.planned(order(phones(2), idempotency_id="planned"))
    order(phones(2))
    now = clock()
    model.objects.filter(due_at__isnull=False).update(claimed_until=now - timedelta(seconds=59))
    assert run(HEALTH)[1] == ""
    model.objects.filter(due_at__isnull=False).update(claimed_until=now - 2 * MINUTE)
    said, failure = run(HEALTH)
    assert "; 2 stuck; " in said
    assert failure == "Past its threshold: more than 0 are stuck."
    assert run(HEALTH, "--max-stuck", "2")[1] == ""


@pytest.mark.parametrize("words", [("--max-age", "0"), ("--max-due", "many"), ("--max-stuck", "")])
def test_a_threshold_that_is_none_is_refused(words: tuple[str, str]) -> None:
    said, failure = run(HEALTH, *words)
    assert (said, words[0] in failure) == ("", True)
