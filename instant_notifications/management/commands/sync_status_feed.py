"""``manage.py sync_status_feed [--gateway ALIAS] [--from-tail | --from-seq N] [--max-pages N]
[--follow SECONDS] [--dry-run]``
"""

from argparse import ArgumentParser, ArgumentTypeError
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.core.management.base import CommandError

from instant_notifications import privacy, sync
from instant_notifications.exceptions import HandoverFailed, NotConfigured, NotificationError
from instant_notifications.management.lasting import LastingCommand, bar, seconds, stopped_by_signal
from instant_notifications.upkeep import Stop

EXIT_KEPT_ASIDE = 1
EXIT_NOT_READ = 2

LARGEST_NUMBER = 2**63 - 1


def _number(text: str) -> int:
    number = int(text)
    if not 0 <= number <= LARGEST_NUMBER:
        raise ArgumentTypeError(f"must be between 0 and {LARGEST_NUMBER}")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ArgumentTypeError("must be greater than 0")
    return number


@dataclass
class Totals:
    """What came of a run so far."""

    known: int = 0
    unknown: int = 0
    unreadable: int = 0
    missed: int = 0
    number: int = 0
    pages: int = 0

    def add(self, page: sync.Progress) -> None:
        for name in ("known", "unknown", "unreadable", "missed"):
            setattr(self, name, getattr(self, name) + getattr(page, name))
        self.number = page.number
        self.pages += 1

    def __str__(self) -> str:
        counts = (
            f"{self.known} statuses of our messages, {self.unknown} of messages we do not know, "
            f"{self.unreadable} unreadable"
        )
        missed = f", {self.missed} gone before they were read" if self.missed else ""
        return f"{counts}{missed}; {self._reach()}"

    def _reach(self) -> str:
        if not self.pages:
            return "nothing new"
        return f"read up to {self.number}" if self.number else "asked one by one"


class Command(LastingCommand):
    """Exit status: 0 read to the end, or until told to stop; 1 so, but entries were unreadable or
    gone (they are counted); 2 not so: not configured, refused, away, or another run is at it.
    """

    help = f"Brings home what an upstream says of the messages it has taken. {__doc__}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--gateway", metavar="ALIAS", help="whose feed; needed where several have one"
        )
        start = parser.add_mutually_exclusive_group()
        start.add_argument(
            "--from-tail", action="store_true", help="pass over everything there is by now"
        )
        start.add_argument(
            "--from-seq", type=_number, metavar="N", help="read (again) what comes after number N"
        )
        start.add_argument(
            "--each",
            action="store_true",
            help="leave the feed alone, and ask for each message that waits for its last word",
        )
        parser.add_argument("--max-pages", type=_count, metavar="N", help="stop after so many")
        end = parser.add_mutually_exclusive_group()
        end.add_argument(
            "--follow",
            type=seconds,
            metavar="SECONDS",
            help="go on until stopped (SIGTERM, Ctrl-C), with this pause at the end of the feed",
        )
        end.add_argument("--dry-run", action="store_true", help="only tell what there is to do")

    def handle(self, *, gateway: str | None, **options: Any) -> None:
        if options["each"] and (options["follow"] or options["dry_run"]):
            raise CommandError("--each goes with neither --follow nor --dry-run.", returncode=2)
        totals = Totals()
        try:
            alias = gateway or _only_feed()
            with stopped_by_signal() as stop, suppress(sync.Stopped):
                self._run(alias, totals, stop, **options)
        except Exception as error:  # noqa: BLE001 (its text may quote what must not be seen)
            self.show_progress("")
            so_far = f" So far: {totals}." if totals.pages else ""
            raise CommandError(f"{_told(error)}{so_far}", returncode=EXIT_NOT_READ) from None
        self.show_progress("")
        self.stdout.write(f"{'To do: ' if options['dry_run'] else ''}{alias}: {totals}")
        if totals.unreadable or totals.missed:
            raise CommandError(
                "Some entries could not be used. The places of those that were unreadable are kept "
                "with the unmatched receipts.",
                returncode=EXIT_KEPT_ASIDE,
            )

    def _run(
        self,
        alias: str,
        totals: Totals,
        stop: Stop,
        *,
        from_tail: bool,
        from_seq: int | None,
        each: bool,
        max_pages: int | None,
        follow: float | None,
        dry_run: bool,
        **_: Any,
    ) -> None:
        begin = sync.last_number(alias, stop=stop) if from_tail else from_seq
        if each:
            pages = sync.ask_for_each(alias, stop=stop)
        elif dry_run:
            pages = sync.preview(alias, begin=begin, stop=stop)
        else:
            pages = sync.sync(alias, begin=begin, follow=follow, stop=stop)
        with closing(pages):
            for page in islice(pages, max_pages):
                totals.add(page)
                self.show_progress(_bar(alias, page))


def _told(error: Exception) -> str:
    match error:
        case HandoverFailed():
            return f"The feed cannot be read now ({error.reason})."
        case NotificationError():
            return str(error)
        case _:
            return privacy.place_of(error)


def _only_feed() -> str:
    aliases = sync.gateways_with_feed()
    if len(aliases) != 1:
        among = f"one of {', '.join(aliases)} with --gateway" if aliases else "one in GATEWAYS"
        raise NotConfigured(f"{len(aliases)} gateways have a feed to read. Name {among}.")
    return aliases[0]


def _bar(alias: str, page: sync.Progress) -> str:
    if not page.latest:
        return f"{alias}: {page.number or 'asking one by one'}"
    return f"{alias}: {bar(page.number / page.latest)} {page.number}/{page.latest}"
