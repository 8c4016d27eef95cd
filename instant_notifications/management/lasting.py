"""What the commands that may run for long have in common."""

import signal
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any, Final, TypeVar

from django.core.management.base import BaseCommand
from django.db import connections, reset_queries

from instant_notifications.upkeep import Stop

T = TypeVar("T")

BAR_WIDTH: Final = 30


def seconds(text: str) -> float:
    """An argument's type."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ArgumentTypeError("must be greater than 0")
    return number


class LastingCommand(BaseCommand):
    def show_progress(self, text: str) -> None:
        """After each step. On a terminal, a line that is written over."""
        reset_queries()  # under DEBUG Django would keep them all
        if self.stderr.isatty():
            self.stderr.write(f"\r\033[K{text}", style_func=str, ending="")
            self.stderr.flush()


def bar(done: float) -> str:
    """How far it has come, from 0 to 1."""
    return f"[{'#' * int(min(1.0, done) * BAR_WIDTH):<{BAR_WIDTH}}]"


def in_rounds(work: Callable[[Stop], T], pause: float | None) -> T:
    """Once, or with pauses until stopped; returns what the last round did."""
    with stopped_by_signal() as stop:
        while True:
            result = work(stop)
            if not pause:
                return result
            _let_go_of_connections()
            if stop.wait(pause):
                return result


def _let_go_of_connections() -> None:
    """A pause can be long, and others may need them. One in a transaction is somebody else's."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


@contextmanager
def stopped_by_signal() -> Iterator[Stop]:
    """Set by the first signal that asks to stop: the batch in hand is finished. A second kills."""
    stop = Stop()
    if current_thread() is not main_thread():
        yield stop  # only a main thread hears signals
        return
    previous: dict[signal.Signals, Any] = {}

    def ask(number: int, _frame: Any) -> None:
        stop.set()
        signal.signal(number, previous[signal.Signals(number)])

    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.getsignal(number)
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for asked, handler in previous.items():
            signal.signal(asked, handler)
