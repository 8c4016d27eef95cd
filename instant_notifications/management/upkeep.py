"""What the commands that keep the tables in order have in common."""

import signal
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from instant_notifications import upkeep


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError("must be greater than 0")
    return seconds


class UpkeepCommand(BaseCommand):
    """Any number may run at once. Exit status: 0 all done, 1 something failed (the log tells)."""

    chores: ClassVar[Sequence[upkeep.Chore]]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--loop",
            type=_seconds,
            metavar="SECONDS",
            help="go on until stopped (SIGTERM, Ctrl-C), with this pause between the rounds",
        )
        parser.add_argument("--dry-run", action="store_true", help="only count what there is to do")

    def handle(self, *, loop: float | None, dry_run: bool, **options: Any) -> None:  # noqa: ARG002
        with _stopped_by_signal() as stop:
            while True:
                failed = self._round(stop, dry_run=dry_run)
                if not loop:
                    break
                _let_go_of_connections()
                if stop.wait(loop):
                    break
        if failed:
            raise CommandError(f"{failed} failed; the log says where.")

    def _round(self, stop: upkeep.Stop, *, dry_run: bool) -> int:
        """Do what is due now, and tell it in one line; returns how many failed."""
        done: Counter[str] = Counter({chore.name: 0 for chore in self.chores})
        failed = 0
        steps = upkeep.count(self.chores) if dry_run else upkeep.run(self.chores, stop)
        for chore, tally in steps:
            done[chore.name] += tally.done
            failed += tally.failed
            self._show_progress(f"{done[chore.name]} {chore.name}")
        self._show_progress("")
        counts = ", ".join(f"{count} {name}" for name, count in done.items())
        self.stdout.write(f"{'To do: ' if dry_run else ''}{counts}, {failed} failed")
        self.stdout.flush()
        return failed

    def _show_progress(self, text: str) -> None:
        """On a terminal, a line that is written over."""
        if self.stderr.isatty():
            self.stderr.write(f"\r\033[K{text}", style_func=str, ending="")
            self.stderr.flush()


def _let_go_of_connections() -> None:
    """A pause can be long, and others may need them. One in a transaction is somebody else's."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


@contextmanager
def _stopped_by_signal() -> Iterator[upkeep.Stop]:
    """Set by the first signal that asks to stop: the batch in hand is finished. A second kills."""
    stop = upkeep.Stop()
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
