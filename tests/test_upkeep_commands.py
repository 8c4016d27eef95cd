"""``expire_notifications`` and ``purge_notifications``: what they tell, and how they end."""

import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from threading import Event
from typing import Any, Final

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.db import OperationalError, connections
from django.db.models import QuerySet

from instant_notifications import record, upkeep
from instant_notifications.gateways import Receipt
from instant_notifications.management.commands import expire_notifications, purge_notifications
from instant_notifications.management.lasting import stopped_by_signal
from instant_notifications.models import Delivery, UnmatchedReceipt
from instant_notifications.receipts import record_receipt
from instant_notifications.upkeep import Chore, Tally
from tests.clock import Clock
from tests.outcomes import fails
from tests.test_upkeep import (
    DAY,
    PERSONAL,
    after,
    brought_to,
    completed,
    everything,
    poison,
    raises,
    receipt,
    unmatched,
    with_threads,
)
from tests.threads import at_once, in_thread

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

EXPIRE: Final = "expire_notifications"
PURGE: Final = "purge_notifications"
COMMANDS: Final[dict[str, type[BaseCommand]]] = {
    EXPIRE: expire_notifications.Command,
    PURGE: purge_notifications.Command,
}
NOTHING_DONE: Final = {
    EXPIRE: (
        "0 late receipts matched, 0 dead hand-overs settled, 0 deliveries expired, "
        "0 history lines summed up, 0 failed\n"
    ),
    PURGE: (
        "0 contents erased, 0 planned texts erased, 0 recipients forgotten, "
        "0 destinations erased, "
        "0 feed entries deleted, 0 idempotency ids deleted, 0 history lines deleted, "
        "0 unmatched receipts deleted, 0 orders deleted, 0 rows of the guard deleted, 0 failed\n"
    ),
}

each_command = pytest.mark.parametrize("command", COMMANDS)


def run(command: str, *words: str, **named: Any) -> tuple[str, int]:
    """What it prints, and its exit status."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command(command, *words, stdout=out, stderr=err, **named)
    except CommandError as failure:
        told, status = str(failure), failure.returncode
    if status:
        assert re.fullmatch(r"[1-9]\d* failed; the log says where\.", told)
    assert err.getvalue() == ""
    return out.getvalue(), status


def line(command: str, failed: int = 0, **counts: int) -> str:
    """What a round with these counts tells; ``deliveries_expired=2``, for example."""
    told = NOTHING_DONE[command]
    for name, number in counts.items():
        words = name.replace("_", " ").replace("hand overs", "hand-overs")
        assert f"0 {words}" in told
        told = told.replace(f"0 {words}", f"{number} {words}")
    return told.replace("0 failed", f"{failed} failed")


# What it tells


@each_command
@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["in earnest", "dry run"])
def test_with_nothing_to_do_it_says_so_in_one_line(command: str, words: tuple[str, ...]) -> None:
    told = "To do: " if words else ""
    assert run(command, *words) == (told + NOTHING_DONE[command], 0)


def much_to_do(stub: Any, clock: Clock) -> None:
    """Of everything a few, all of it old."""
    for situation in ("open", "unknown", "lapsed", "taken", "lapsed"):
        brought_to(situation, stub)
    completed(stub, 3)
    unmatched(clock, 2)
    clock.go(91 * DAY)


TO_EXPIRE: Final = {"dead_hand_overs_settled": 2, "deliveries_expired": 5}
TO_PURGE: Final = {
    "contents_erased": 8,
    "destinations_erased": 8,
    "feed_entries_deleted": 3,
    "idempotency_ids_deleted": 8,
    "history_lines_deleted": 3,
    "unmatched_receipts_deleted": 2,
}
MUCH: Final = {EXPIRE: TO_EXPIRE, PURGE: TO_PURGE}


@each_command
@pytest.mark.parametrize("batch", [1, 2, 500])
def test_it_tells_in_one_line_what_it_has_done(
    command: str, batch: int, stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", batch)
    much_to_do(stub, clock)
    assert run(command) == (line(command, **MUCH[command]), 0)
    assert run(command) == (NOTHING_DONE[command], 0)


@each_command
@pytest.mark.usefixtures("tiny_batches")
def test_a_dry_run_counts_what_a_real_one_then_does_and_changes_nothing(
    command: str, stub: Any, clock: Clock
) -> None:
    much_to_do(stub, clock)
    before = everything()
    dry, status = run(command, "--dry-run")
    assert (dry, status) == (f"To do: {line(command, **MUCH[command])}", 0)
    assert everything() == before
    real, _ = run(command)
    assert dry == f"To do: {real}"


def test_a_dry_run_does_not_foresee_what_one_chore_makes_due_for_the_next(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_ORDERS=DAY)
    completed(stub, 2)
    clock.go(91 * DAY)
    assert "0 orders deleted" in run(PURGE, "--dry-run")[0]
    assert "2 orders deleted" in run(PURGE)[0]


def test_a_late_receipt_speaks_before_our_clock_does(stub: Any, clock: Clock) -> None:
    record_receipt("stub", Receipt(gateway_reference="ref", status="SMS_Delivered"))
    brought_to("taken", stub)
    Delivery.objects.update(gateway_reference="ref")
    clock.go(DAY)
    assert run(EXPIRE) == (line(EXPIRE, late_receipts_matched=1, history_lines_summed_up=1), 0)


@each_command
def test_it_can_be_called_with_python_values(command: str, stub: Any, clock: Clock) -> None:
    much_to_do(stub, clock)
    before = everything()
    assert run(command, dry_run=True)[0].startswith("To do: ")
    assert everything() == before
    assert run(command, dry_run=False, loop=None) == (line(command, **MUCH[command]), 0)


# Progress


@contextmanager
def terminal() -> Iterator[tuple[Any, Callable[[], str]]]:
    """A terminal to write to, and, once it is closed, all that it was sent."""
    master, slave = os.openpty()
    screen = open(slave, "w")  # noqa: PTH123, SIM115 (a descriptor)

    def shown() -> str:
        screen.close()
        return b"".join(iter(lambda: read_on(master), b"")).decode().replace("\r\n", "\n")

    try:
        yield screen, shown
    finally:
        screen.close()
        os.close(master)


def read_on(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:  # Linux says so at the end
        return b""


@pytest.mark.usefixtures("tiny_batches")
def test_on_a_terminal_it_shows_how_far_it_has_come(stub: Any, clock: Clock) -> None:
    for _ in range(5):
        brought_to("taken", stub)
    clock.go(DAY)
    out = io.StringIO()
    with terminal() as (screen, shown):
        call_command(EXPIRE, stdout=out, stderr=screen)
        steps = shown().split("\r\033[K")
    expired = [f"{number} deliveries expired" for number in (2, 4, 5)]
    assert steps == ["", *expired, "5 history lines summed up", ""]
    assert out.getvalue() == line(EXPIRE, deliveries_expired=5, history_lines_summed_up=5)


@each_command
def test_on_a_terminal_the_last_line_stands_alone(command: str, stub: Any, clock: Clock) -> None:
    much_to_do(stub, clock)
    with terminal() as (screen, shown):
        call_command(command, stdout=screen, stderr=screen)
        _, _, last = shown().rpartition("\r\033[K")
    assert last == line(command, **MUCH[command])


@each_command
def test_where_only_the_result_goes_to_a_terminal_there_is_no_progress(
    command: str, stub: Any, clock: Clock
) -> None:
    much_to_do(stub, clock)
    err = io.StringIO()
    with terminal() as (screen, shown):
        call_command(command, stdout=screen, stderr=err)
        assert shown() == line(command, **MUCH[command])
    assert err.getvalue() == ""


# What fails


@pytest.mark.usefixtures("tiny_batches")
def test_a_row_that_fails_is_told_and_the_exit_status_is_one(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries = [brought_to("taken", stub) for _ in range(5)]
    clock.go(DAY)
    with monkeypatch.context() as poisoned:
        poison(poisoned, deliveries[0], deliveries[3])
        done = {"deliveries_expired": 3, "history_lines_summed_up": 5}
        assert run(EXPIRE) == (line(EXPIRE, **done, failed=2), 1)
    assert run(EXPIRE) == (line(EXPIRE, deliveries_expired=2), 0)


@with_threads
@pytest.mark.parametrize("place", ["_lock", "_rows"])
def test_a_chore_that_fails_as_a_whole_is_told_and_the_others_are_done(
    place: str, stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed(stub, 2)
    clock.go(91 * DAY)
    gone = raises(OperationalError("gone"))
    with monkeypatch.context() as away:
        away.setattr(upkeep, place, after(gone, getattr(upkeep, place)))
        told, status = run(PURGE)
    assert told == line(
        PURGE,
        destinations_erased=2,
        feed_entries_deleted=2,
        idempotency_ids_deleted=2,
        history_lines_deleted=2,
        failed=1,
    )
    assert status == 1
    assert run(PURGE) == (line(PURGE, contents_erased=2), 0)


@with_threads
@each_command
def test_without_a_database_every_chore_fails_once(
    command: str, stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    much_to_do(stub, clock)
    before = everything()
    with monkeypatch.context() as away:
        away.setattr(QuerySet, "_fetch_all", fails(OperationalError, *PERSONAL))
        told, status = run(command)
    assert (told, status) == (line(command, failed=len(COMMANDS[command].chores)), 1)  # type: ignore[attr-defined]
    assert everything() == before
    assert run(command) == (line(command, **MUCH[command]), 0)


@each_command
def test_a_dry_run_without_a_database_fails_in_order(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuerySet, "count", fails(OperationalError, "gone"))
    assert run(command, "--dry-run")[1] == 1


@pytest.fixture
def open_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command run as from a shell would close the test's own."""
    monkeypatch.setattr(connections, "close_all", lambda: None)


@pytest.mark.usefixtures("open_connections")
def test_in_the_shell_a_failure_shows_nothing_personal(
    stub: Any,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    deliveries = [brought_to(situation, stub) for situation in ("taken", "open", "lapsed")]
    clock.go(DAY)
    poison(monkeypatch, *deliveries)
    with caplog.at_level(logging.DEBUG), pytest.raises(SystemExit) as ended:
        COMMANDS[EXPIRE]().run_from_argv(["manage.py", EXPIRE])
    printed = capfd.readouterr()
    assert ended.value.code == 1
    assert printed.out == line(EXPIRE, failed=4, history_lines_summed_up=2)
    assert "CommandError: 4 failed; the log says where." in printed.err
    assert "Traceback" not in printed.err
    shown = printed.out + printed.err + caplog.text
    assert all(str(delivery.pk) in shown for delivery in deliveries)
    assert not [word for word in PERSONAL if word in shown]


@each_command
def test_all_that_it_logs_and_prints_is_nothing_personal(
    command: str, stub: Any, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        much_to_do(stub, clock)
        told, _ = run(command)
    assert not [word for word in PERSONAL if word in told + caplog.text]


# In a loop, until it is stopped


@each_command
@pytest.mark.parametrize("seconds", ["0", "-1", "-0.5", "nan", "inf", "soon", ""])
def test_a_pause_must_be_a_time(command: str, seconds: str) -> None:
    with pytest.raises(CommandError, match="--loop"):
        call_command(command, f"--loop={seconds}")


@contextmanager
def handlers_are_put_back() -> Iterator[None]:
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == before


def rounds(monkeypatch: pytest.MonkeyPatch, *ends: Callable[[], Any]) -> None:
    """As many rounds as there are ends; each end happens when its round is done."""
    work, left = upkeep.run, iter(ends)

    def work_then(chores: Sequence[Chore], stop: Event) -> Iterator[tuple[Chore, Tally]]:
        yield from work(chores, stop)
        next(left)()

    monkeypatch.setattr(upkeep, "run", work_then)


def nothing() -> None:
    pass


def stop(number: signal.Signals = signal.SIGTERM) -> None:
    """Unless nobody listens: that would end the tests."""
    assert signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)
    signal.raise_signal(number)


@each_command
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_loop_goes_on_until_it_is_stopped_and_ends_well(
    command: str, number: signal.Signals, stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    much_to_do(stub, clock)
    rounds(monkeypatch, nothing, nothing, lambda: stop(number))
    with handlers_are_put_back():
        told, status = run(command, "--loop", "0.01")
    assert told == line(command, **MUCH[command]) + NOTHING_DONE[command] * 2
    assert status == 0


def test_a_loop_does_what_has_become_due_meanwhile(
    stub: Any, clock: Clock, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the settings of that time."""
    completed(stub, 2)
    clock.go(DAY)
    rounds(
        monkeypatch,
        lambda: clock.go(timedelta(seconds=1)),
        lambda: configure(KEEP_DESTINATIONS=DAY),
        lambda: configure(KEEP_FEED=timedelta(0)),
        stop,
    )
    told, _ = run(PURGE, "--loop", "0.01")
    assert told.splitlines(keepends=True) == [
        NOTHING_DONE[PURGE],
        line(PURGE, contents_erased=2),
        line(PURGE, destinations_erased=2),
        line(PURGE, feed_entries_deleted=2),
    ]


@each_command
@pytest.mark.usefixtures("tiny_batches")
@pytest.mark.parametrize("words", [(), ("--loop", "60")], ids=["once", "loop"])
def test_when_stopped_in_the_middle_it_finishes_the_batch_in_hand(
    command: str, words: tuple[str, ...], stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handlers that were there before are back at once: a second signal ends it."""
    completed(stub, 1)
    for _ in range(5):
        brought_to("taken", stub)
    clock.go(91 * DAY)
    before = signal.getsignal(signal.SIGTERM)

    def stop_once() -> None:
        assert signal.getsignal(signal.SIGTERM) is not before
        stop()
        assert signal.getsignal(signal.SIGTERM) is before

    room, name = {EXPIRE: (record, "record_status"), PURGE: (upkeep, "_lock")}[command]
    monkeypatch.setattr(room, name, after(stop_once, getattr(room, name)))
    with handlers_are_put_back():
        told, status = run(command, *words)
    done = {EXPIRE: {"deliveries_expired": 2}, PURGE: {"contents_erased": 2}}[command]
    assert (told, status) == (line(command, **done), 0)
    written = {EXPIRE: {"status": "SMS_Failed_TTL"}, PURGE: {"content__isnull": True}}
    for each, conditions in written.items():
        assert Delivery.objects.filter(**conditions).count() == (2 if each == command else 0)


def test_when_stopped_it_still_says_that_something_failed(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = brought_to("taken", stub)
    clock.go(DAY)
    poison(monkeypatch, delivery)
    rounds(monkeypatch, nothing, stop)
    first, second = line(EXPIRE, failed=1, history_lines_summed_up=1), line(EXPIRE, failed=1)
    assert run(EXPIRE, "--loop", "0.01") == (first + second, 1)


@with_threads
def test_a_loop_outlives_a_database_that_was_away(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought_to("taken", stub)
    clock.go(DAY)
    gone = raises(OperationalError("gone"))
    monkeypatch.setattr(record, "record_status", after(gone, record.record_status))
    rounds(monkeypatch, nothing, stop)
    told, status = run(EXPIRE, "--loop", "0.01")
    first = line(EXPIRE, failed=1, history_lines_summed_up=1)
    assert told == first + line(EXPIRE, deliveries_expired=1)
    assert status == 0


@each_command
def test_a_dry_run_in_a_loop_counts_each_time(
    command: str, stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    much_to_do(stub, clock)
    before, left = everything(), iter([nothing, stop])
    number = QuerySet.count

    def count_then_stop(rows: QuerySet[Any]) -> int:
        if rows.model is UnmatchedReceipt:  # once in each round
            next(left)()
        return number(rows)

    monkeypatch.setattr(QuerySet, "count", count_then_stop)
    told, status = run(command, "--dry-run", "--loop", "0.01")
    assert (told, status) == (f"To do: {line(command, **MUCH[command])}" * 2, 0)
    assert everything() == before


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """What takes longer is broken off, also where it waits for a lock that nobody will release."""

    def give_up(*_: Any) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def hears_a_signal(lines: int) -> bool:
    """Whether it is to stop, once it was asked so many lines into its pause; not asked: false."""
    line_of_the_pause = count()

    def ask(frame: Any, event: str, _: Any) -> Any:
        if event == "line" and next(line_of_the_pause) == lines:
            stop()
        return ask

    with stopped_by_signal() as asked:
        previous = sys.gettrace()
        sys.settrace(ask)
        try:
            asked.wait(0.001)
        finally:
            sys.settrace(previous)
        return asked.is_set()


def test_a_signal_is_heard_at_whatever_moment_of_a_pause_it_comes() -> None:
    """Event is not reentrant: the process would hang, and nothing but SIGKILL would end it."""
    lines = 0
    with handlers_are_put_back(), at_most(1):
        while hears_a_signal(lines):
            lines += 1
    assert lines > 0


# In several places


@each_command
@pytest.mark.parametrize("words", [(), ("--dry-run",)], ids=["in earnest", "dry run"])
def test_a_transaction_in_which_it_is_called_goes_on(
    command: str, words: tuple[str, ...], stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a host's ``TestCase``, for example."""
    delivery = brought_to("taken", stub)
    call_command(command, *words, stdout=io.StringIO())
    assert Delivery.objects.filter(pk=delivery.pk).exists()


@with_threads
@each_command
def test_it_works_in_a_thread_and_leaves_signals_alone(
    command: str, stub: Any, clock: Clock
) -> None:
    much_to_do(stub, clock)
    with handlers_are_put_back():
        assert in_thread(lambda: run(command)) == (line(command, **MUCH[command]), 0)


@with_threads
@pytest.mark.usefixtures("tiny_batches")
def test_both_at_once_in_several_places_do_all_and_fail_nowhere(stub: Any, clock: Clock) -> None:
    much_to_do(stub, clock)
    told = at_once(*[lambda command=command: run(command) for command in (EXPIRE, PURGE) * 2])
    assert [status for _, status in told] == [0] * 4
    assert all(re.fullmatch(r"(\d+ [a-z -]+, )+0 failed\n", text) for text, _ in told)
    run(EXPIRE)  # what others had in hand was left to them
    run(PURGE)
    assert Delivery.objects.filter(status="SMS_Failed_TTL").count() == 5
    assert not Delivery.objects.filter(content__isnull=False).exists()
    assert not UnmatchedReceipt.objects.exists()


def test_the_commands_and_receipts_take_turns(stub: Any, clock: Clock) -> None:
    delivery = brought_to("taken", stub)
    clock.go(DAY)
    assert run(EXPIRE) == (line(EXPIRE, deliveries_expired=1, history_lines_summed_up=1), 0)
    receipt(delivery, "SMS_Delivered")
    assert run(EXPIRE) == (NOTHING_DONE[EXPIRE], 0)
    assert Delivery.objects.get().status == "SMS_Delivered"
