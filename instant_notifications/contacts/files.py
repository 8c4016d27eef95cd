"""Read a file of contacts without ever holding more than a piece of it.

Nothing that is raised or told here quotes the file.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TextIO

LONGEST: Final = 65_536
"""Characters of a line, or of an entry in a JSON list."""
COLUMNS: Final = (
    "kind",
    "number",
    "name",
    "phone_numbers",
    "email_addresses",
    "reserved",
    "confirmed_at",
)
REQUIRED: Final = frozenset({"kind", "number"})

_not_blank: Final = re.compile(r"[^ \t\r\n]").search


class Unreadable(Exception):  # noqa: N818
    """The file is not what it should be, so that nothing after this place can be trusted."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a file."""

    number: int
    """Of the line it begins in."""
    entry: int
    """Its place among the entries, from 1."""
    said: Mapping[str, object] = field(default_factory=dict, repr=False)
    problem: str = ""
    """Why it cannot be understood at all."""


def read_csv(file: TextIO) -> Iterator[Line]:
    """The first line names the columns. An entry is one line, whatever its quotes say."""
    lines = _lines(file)
    _, header = next(lines, (1, ""))
    delimiter = ";" if header.count(";") > header.count(",") else ","
    columns = _columns(_cells(header, delimiter) or [])
    entry = 0
    for number, text in lines:
        cells = _cells(text, delimiter)
        if cells is not None and not any(map(str.strip, cells)):
            continue
        entry += 1
        if cells is None:
            yield Line(number, entry, problem="This line is not CSV: look at its quotes.")
        elif len(cells) != len(columns):
            problem = f"Expected {len(columns)} columns, not {len(cells)}."
            yield Line(number, entry, problem=problem)
        else:
            yield Line(number, entry, dict(zip(columns, cells, strict=True)))


def _columns(header: Sequence[str]) -> Sequence[str]:
    columns = [each.strip().lower() for each in header]
    known = REQUIRED.issubset(columns) and set(COLUMNS).issuperset(columns)
    if not known or len(set(columns)) < len(columns):
        raise Unreadable(
            f"Line 1 must name the columns: kind, number, and any of {', '.join(COLUMNS[2:])}; "
            "each once, nothing else."
        )
    return columns


def _cells(text: str, delimiter: str) -> list[str] | None:
    """``None`` where the quotes make no sense."""
    try:
        return next(csv.reader([text.rstrip("\r\n")], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return None


def read_json(file: TextIO) -> Iterator[Line]:
    """A list of objects, or objects one to a line."""
    number, text = 1, _piece(file.readline, 1)
    while text and not text.strip():
        number += 1
        text = _piece(file.readline, number)
    if text.lstrip().startswith("["):
        return _entries_of_list(_Buffer(file, text, number))
    return _entries_by_line(_lines(file, number, text))


def _entries_by_line(lines: Iterator[tuple[int, str]]) -> Iterator[Line]:
    entry = 0
    for number, text in lines:
        if text.strip():
            entry += 1
            try:
                said = json.loads(text)
            except (ValueError, RecursionError):
                yield Line(number, entry, problem="This line is not JSON.")
            else:
                yield _line(number, entry, said)


def _entries_of_list(buffer: "_Buffer") -> Iterator[Line]:
    buffer.expect("[")
    entry = 0
    while buffer.sign() != "]":
        if entry:
            buffer.expect(",")
        entry += 1
        buffer.sign()
        number = buffer.line
        yield _line(number, entry, buffer.value())
    buffer.expect("]")
    if buffer.sign():
        raise Unreadable(f"The file goes on after the end of its list (line {buffer.line}).")


def _line(number: int, entry: int, said: object) -> Line:
    if isinstance(said, dict):
        return Line(number, entry, said)
    return Line(number, entry, problem="Expected an object.")


def _lines(file: TextIO, number: int = 1, text: str = "") -> Iterator[tuple[int, str]]:
    """Each with its number, from the one that was read already, if there is one."""
    while text := text or _piece(file.readline, number):
        if len(text) > LONGEST:
            raise Unreadable(f"Line {number} is longer than {LONGEST} characters.")
        yield number, text
        number, text = number + 1, ""


def _piece(read: Callable[[int], str], number: int) -> str:
    try:
        return read(LONGEST + 1)
    except UnicodeError:
        raise Unreadable(f"It is not UTF-8, from line {number} on.") from None


class _Buffer:
    """The part of a JSON text that is in hand, and the rest of the file."""

    def __init__(self, file: TextIO, text: str, line: int) -> None:
        self.line = line
        self._file = file
        self._text = text
        self._place = 0
        self._decode = json.JSONDecoder().raw_decode

    def sign(self) -> str:
        """The next one that is not blank, which stays; nothing at the end of the file."""
        while not (found := _not_blank(self._text, self._place)):
            self._go_to(len(self._text))
            if not self._read_on():
                return ""
        self._go_to(found.start())
        return found[0]

    def expect(self, sign: str) -> None:
        """Go past this sign."""
        if self.sign() != sign:
            raise Unreadable(f"Line {self.line} is not JSON, or the file ends there.")
        self._go_to(self._place + 1)

    def value(self) -> object:
        """Go past a whole value."""
        value, end = self._in_hand()
        while not 0 < end < len(self._text) and self._is_short() and self._read_on():
            value, end = self._in_hand()
        if not end:
            raise Unreadable(
                f"The entry in line {self.line} is not JSON, or longer than {LONGEST} characters."
            )
        self._go_to(end)
        return value

    def _in_hand(self) -> tuple[object, int]:
        """A value and where it ends; 0 if what is in hand is none."""
        try:
            return self._decode(self._text, self._place)
        except (ValueError, RecursionError):
            return None, 0

    def _is_short(self) -> bool:
        return len(self._text) - self._place <= LONGEST

    def _go_to(self, place: int) -> None:
        self.line += self._text.count("\n", self._place, place)
        self._place = place

    def _read_on(self) -> bool:
        piece = _piece(self._file.read, self.line)
        self._text, self._place = self._text[self._place :] + piece, 0
        return bool(piece)
