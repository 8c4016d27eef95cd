"""What the commands that keep the tables in order have in common."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from django.core.management.base import CommandError

from instant_notifications import upkeep
from instant_notifications.management.lasting import LastingCommand, in_rounds, seconds


class UpkeepCommand(LastingCommand):
    """Any number may run at once. Exit status: 0 all done, 1 something failed (the log tells)."""

    chores: ClassVar[Sequence[upkeep.Chore]]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--loop",
            type=seconds,
            metavar="SECONDS",
            help="go on until stopped (SIGTERM, Ctrl-C), with this pause between the rounds",
        )
        parser.add_argument("--dry-run", action="store_true", help="only count what there is to do")

    def handle(self, *, loop: float | None, dry_run: bool, **options: Any) -> None:  # noqa: ARG002
        if failed := in_rounds(partial(self._round, dry_run=dry_run), loop):
            raise CommandError(f"{failed} failed; the log says where.")

    def _round(self, stop: upkeep.Stop, *, dry_run: bool) -> int:
        """Do what is due now, and tell it in one line; returns how many failed."""
        done: Counter[str] = Counter({chore.name: 0 for chore in self.chores})
        failed = 0
        steps = upkeep.count(self.chores) if dry_run else upkeep.run(self.chores, stop)
        for chore, tally in steps:
            done[chore.name] += tally.done
            failed += tally.failed
            self.show_progress(f"{done[chore.name]} {chore.name}")
        self.show_progress("")
        counts = ", ".join(f"{count} {name}" for name, count in done.items())
        self.stdout.write(f"{'To do: ' if dry_run else ''}{counts}, {failed} failed")
        self.stdout.flush()
        return failed
