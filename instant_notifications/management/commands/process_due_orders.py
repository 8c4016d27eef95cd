"""``manage.py process_due_orders [--loop SECONDS]``"""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError, connections

from instant_notifications import privacy, tasks
from instant_notifications.management.lasting import LastingCommand, in_rounds, seconds
from instant_notifications.models import primary
from instant_notifications.upkeep import Stop


class Command(LastingCommand):
    """Any number may run at once. Exit status: 0 nothing is left that is due, 1 the database or the
    task engine was away in the last round.
    """

    help = (
        "Puts what is due of regular orders in the queue of the task engine; where there is none, "
        f"does it at once. {__doc__}"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--loop",
            type=seconds,
            metavar="SECONDS",
            help="go on until stopped (SIGTERM, Ctrl-C), with this pause where nothing is due",
        )

    def handle(self, *, loop: float | None, **options: Any) -> None:  # noqa: ARG002
        if failure := in_rounds(self._round, loop):
            raise CommandError(f"Not all was seen to: {failure}")

    def _round(self, stop: Stop) -> str:
        """See to everything that is due; returns what went wrong, or nothing."""
        total, failure = 0, ""
        try:
            for number in _until_nothing_is_due(stop):
                total += number
                self.show_progress(f"{total} seen to")
        except (DatabaseError, InterfaceError) as error:
            connections[primary()].close()
            failure = f"the database, {privacy.place_of(error, frames=1)}"
        except Exception as error:  # noqa: BLE001 (an engine may raise anything)
            failure = f"the task engine, {privacy.place_of(error, frames=1)}"
        self.show_progress("")
        if total or failure:
            self.stdout.write(f"{total} seen to{f'; not all: {failure}' if failure else ''}")
            self.stdout.flush()
        return failure


def _until_nothing_is_due(stop: Stop) -> Iterator[int]:
    found = True
    while found:
        found = False
        for number in tasks.sweep(stop.is_set):
            found = True
            yield number
