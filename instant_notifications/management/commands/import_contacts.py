"""``manage.py import_contacts FILE|- [--format csv|json] [--dry-run] [--report FILE]``"""

import csv
import os
import stat
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, TextIO

from django.core.management.base import CommandError

from instant_notifications import privacy
from instant_notifications.contacts.files import Line, Unreadable, read_csv, read_json
from instant_notifications.contacts.importing import Refusal, Step, take_in
from instant_notifications.management.lasting import LastingCommand, bar, stopped_by_signal

EXIT_REFUSED: Final = 1
EXIT_UNREADABLE: Final = 2
EXIT_STOPPED: Final = 3

READERS: Final[Mapping[str, Callable[[TextIO], Iterator[Line]]]] = {
    "csv": read_csv,
    "json": read_json,
}
ENDINGS: Final[Mapping[str, str]] = {".json": "json", ".jsonl": "json", ".ndjson": "json"}

MOST_TOLD: Final = 20
"""Refused lines that are told where there is no report."""

Tell = Callable[[Step], None]


@dataclass
class Totals:
    kept: int = 0
    refused: int = 0
    line: int = 0

    def add(self, step: Step) -> None:
        self.kept += step.kept
        self.refused += len(step.refused)
        self.line = step.line

    def __str__(self) -> str:
        return f"{self.kept} contacts, {self.refused} refused"


class Command(LastingCommand):
    """Exit status: 0 all of it; 1 so, but lines were refused; 2 the file, or the report, cannot be
    used, or the database is away; 3 stopped by a signal, after the line that is told. What came
    before in the file is kept in any case, and may be imported again.
    """

    help = f"Takes contacts into the local register. {__doc__}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="in UTF-8; - for standard input")
        parser.add_argument(
            "--format", choices=sorted(READERS), help="without it, as the file's name ends; or CSV"
        )
        parser.add_argument("--dry-run", action="store_true", help="only check the lines")
        parser.add_argument(
            "--report", metavar="FILE", help="write here, as CSV, which lines are refused and why"
        )

    def handle(
        self,
        *,
        file: str,
        format: str | None,  # noqa: A002 (the option's name)
        dry_run: bool,
        report: str | None,
        **options: Any,  # noqa: ARG002
    ) -> None:
        totals = Totals()
        try:
            with ExitStack() as opened:
                source = opened.enter_context(_source(file))
                tell = opened.enter_context(self._report(report, source))
                lines = _reader(file, format)(source)
                is_whole = self._take_in(lines, source, totals, tell, dry_run=dry_run)
        except Exception as error:  # noqa: BLE001 (its text may quote what must not be seen)
            self.show_progress("")
            so_far = f" So far: {totals}, up to line {totals.line}." if totals.line else ""
            raise CommandError(f"{_told(error)}{so_far}", returncode=EXIT_UNREADABLE) from None
        self.show_progress("")
        self.stdout.write(f"{'To import' if dry_run else 'Imported'}: {totals}")
        if not is_whole:
            raise CommandError(f"Stopped after line {totals.line}.", returncode=EXIT_STOPPED)
        if totals.refused:
            raise CommandError("Some lines were refused.", returncode=EXIT_REFUSED)

    def _take_in(
        self, lines: Iterator[Line], source: TextIOWrapper, totals: Totals, tell: Tell, **how: bool
    ) -> bool:
        """Whether all of it has been read; not so if a signal came."""
        with stopped_by_signal() as stop:
            for step in take_in(lines, **how):
                totals.add(step)
                tell(step)
                self.show_progress(_bar(source, totals))
                if stop.is_set():
                    return False
        return True

    @contextmanager
    def _report(self, path: str | None, source: TextIOWrapper) -> Iterator[Tell]:
        """Tells of refused lines: all of them in a file, or the first on the terminal."""
        if path is None:
            yield self._first_refused()
            return
        _refuse_same_file(path, source)
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["line", "entry", "problem"])
            yield lambda step: writer.writerows(
                (each.line, each.entry, problem)
                for each in step.refused
                for problem in each.problems
            )

    def _first_refused(self) -> Tell:
        told = 0

        def tell(step: Step) -> None:
            nonlocal told
            for each in step.refused[: max(0, MOST_TOLD - told)]:
                self.show_progress("")
                self.stderr.write(f"{_place(each)}: {' '.join(each.problems)}")
            told += len(step.refused)

        return tell


@contextmanager
def _source(file: str) -> Iterator[TextIOWrapper]:
    with ExitStack() as closing:
        binary = sys.stdin.buffer if file == "-" else closing.enter_context(Path(file).open("rb"))
        text = TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        closing.callback(text.detach)  # standard input is not ours to close
        yield text


def _reader(file: str, format: str | None) -> Callable[[TextIO], Iterator[Line]]:  # noqa: A002
    return READERS[format or ENDINGS.get(Path(file).suffix.lower(), "csv")]


def _refuse_same_file(path: str, source: TextIOWrapper) -> None:
    with suppress(OSError):
        if os.path.samestat(Path(path).stat(), os.fstat(source.fileno())):
            raise Unreadable("The report would overwrite the file itself.")


def _place(refusal: Refusal) -> str:
    """A list may be all in one line."""
    entry = f" (entry {refusal.entry})" if refusal.entry > refusal.line else ""
    return f"Line {refusal.line}{entry}"


def _told(error: Exception) -> str:
    match error:
        case Unreadable():
            return str(error)
        case OSError():
            return f"A file cannot be used: {error.strerror}."
        case _:
            return privacy.place_of(error)


def _bar(source: TextIOWrapper, totals: Totals) -> str:
    size = _size(source)
    if not size:
        return f"line {totals.line}"
    return f"{bar(os.lseek(source.fileno(), 0, os.SEEK_CUR) / size)} line {totals.line}"


def _size(source: TextIOWrapper) -> int:
    """In bytes; 0 of what may go on."""
    try:
        status = os.fstat(source.fileno())
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
