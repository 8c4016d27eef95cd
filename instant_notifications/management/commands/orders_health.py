"""``manage.py orders_health [--max-age SECONDS] [--max-due N] [--max-stuck N]``"""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from instant_notifications.charts.queue import Queue, queue
from instant_notifications.charts.waiting import Count
from instant_notifications.management.lasting import seconds

LONGEST_WAIT: Final = 300.0


class Command(BaseCommand):
    """Exit status: 0 all is well, 1 a threshold is passed."""

    help = f"Tells how far the working off of regular orders is behind. {__doc__}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--max-age",
            type=seconds,
            default=LONGEST_WAIT,
            metavar="SECONDS",
            help="how long the oldest may have been due (default: %(default)g)",
        )
        parser.add_argument(
            "--max-due", type=int, metavar="N", help="how many may be due (default: any number)"
        )
        parser.add_argument(
            "--max-stuck",
            type=int,
            default=0,
            metavar="N",
            help="how many claims nobody may have come back to (default: %(default)d)",
        )

    def handle(self, **options: Any) -> None:
        found = queue(timezone.now())
        age = found.oldest.total_seconds() if found.oldest else 0.0
        self.stdout.write(
            f"{_written(found.due)} due, the oldest for {age:.0f} s; "
            f"{_written(found.later)} later; {_written(found.stuck)} stuck; "
            f"{_written(found.taken_a_minute)} taken in the last minute"
        )
        passed = ", ".join(_passed(found, age, options))
        if passed:
            raise CommandError(f"Past its threshold: {passed}.")


def _written(count: Count) -> str:
    return f"{count.number}{'+' if count.and_more else ''}"


def _passed(found: Queue, age: float, options: dict[str, Any]) -> Iterator[str]:
    if age > options["max_age"]:
        yield f"the oldest has been due for more than {options['max_age']:g} s"
    if options["max_due"] is not None and found.due.number > options["max_due"]:
        yield f"more than {options['max_due']} are due"
    if found.stuck.number > options["max_stuck"]:
        yield f"more than {options['max_stuck']} are stuck"
