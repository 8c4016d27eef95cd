"""``import_contacts``: what it takes in, what it refuses, what it tells, and how it ends."""

import csv
import io
import json
import signal
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from instant_notifications.contacts import files, importing, local
from instant_notifications.contacts.files import LONGEST, read_csv, read_json
from instant_notifications.contacts.local import find
from instant_notifications.models import ContactEntry
from instant_notifications.recipients import Kind
from tests.contacts.registers import FIRM, GUEST, KARI, MAIL, OLA, PHONE, SECRETS

pytestmark = pytest.mark.django_db

COMMAND: Final = "import_contacts"
HEADER: Final = "kind;number;name;phone_numbers;email_addresses;reserved;confirmed_at"
KARIS: Final = f'person;{KARI.number};Kari Nordmann;"999 99 999;+4791234567";{MAIL};nei;2026-01-31'
FIRMS: Final = f"organisation;{FIRM.number};Firma AS;;post@firma.example;;"

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(*lines: str, name: str = "people.csv", encoding: str = "utf-8") -> str:
        path = tmp_path / name
        path.write_bytes("\r\n".join(lines).encode(encoding))
        return str(path)

    return to_file


def run(*words: str) -> tuple[str, int, str]:
    """What it prints, its exit status, and what it complains about."""
    out, err = io.StringIO(), io.StringIO()
    status, complaint = 0, ""
    try:
        call_command(COMMAND, *words, stdout=out, stderr=err)
    except CommandError as failure:
        status, complaint = failure.returncode, str(failure)
    said = f"{err.getvalue()}{complaint}"
    assert not [secret for secret in SECRETS if secret in said + out.getvalue()]
    return out.getvalue(), status, said


def names() -> dict[str | None, str | None]:
    """By number."""
    return {row.number: row.name for row in ContactEntry.objects.all()}


# What it takes in


def test_a_file_is_taken_in(write: Write) -> None:
    guests = f"External;{GUEST.number};;;{MAIL};JA;2026-01-31T12:00:00+02:00"
    assert run(write(HEADER, KARIS, FIRMS, guests)) == ("Imported: 3 contacts, 0 refused\n", 0, "")
    entries = find([KARI, FIRM, GUEST])
    assert entries[KARI].phone_numbers == [PHONE, "+4791234567"]
    assert entries[KARI].email_addresses == [MAIL]
    assert timezone.localdate(entries[KARI].confirmed_at) == date(2026, 1, 31)
    assert not entries[KARI].reserved
    assert entries[FIRM].confirmed_at > timezone.now() - timedelta(minutes=1)
    assert entries[GUEST].confirmed_at == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert entries[GUEST].reserved


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [";", ","])
def test_what_spreadsheets_write_is_read(delimiter: str, encoding: str, write: Write) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerow(["Kind ", "NUMBER", "name", "phone_numbers"])
    writer.writerow(["person", KARI.number, "Kåre, Nordmann; jr.", f"{PHONE};40000000"])
    writer.writerow([""] * 4)
    lines = buffer.getvalue().splitlines()
    assert run(write(*lines, "", encoding=encoding))[:2] == ("Imported: 1 contacts, 0 refused\n", 0)
    entry = find([KARI])[KARI]
    assert (entry.name, entry.phone_numbers) == ("Kåre, Nordmann; jr.", [PHONE, "+4740000000"])


JSON: Final = {
    "kind": "person",
    "number": KARI.number,
    "name": "Kari Nordmann",
    "phone_numbers": ["99999999", PHONE],
    "email_addresses": None,
    "reserved": True,
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["people.json", "people.JSON"])
def test_a_json_list_is_taken_in(indent: int | None, name: str, write: Write) -> None:
    firm = {"kind": "organisation", "number": FIRM.number, "phone_numbers": PHONE}
    path = write(json.dumps([JSON, firm], indent=indent), name=name)
    assert run(path) == ("Imported: 2 contacts, 0 refused\n", 0, "")
    entry = find([KARI])[KARI]
    assert (entry.phone_numbers, entry.email_addresses, entry.reserved) == ([PHONE], [], True)


def test_json_lines_are_taken_in(write: Write) -> None:
    path = write(
        "", json.dumps(JSON), "", json.dumps({**JSON, "number": OLA.number}), name="a.jsonl"
    )
    assert run(path)[0] == "Imported: 2 contacts, 0 refused\n"


def test_the_format_can_be_said(write: Write) -> None:
    assert run(write(json.dumps([JSON]), name="people.txt"), "--format=json")[1] == 0
    assert run(write(HEADER, KARIS, name="people.json"), "--format=csv")[1] == 0


def test_standard_input_is_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(f"{HEADER}\n{KARIS}\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("-")[:2] == ("Imported: 1 contacts, 0 refused\n", 0)
    assert not stdin.buffer.closed


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_of_the_same_person_twice_the_last_wins(
    batch: int, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", batch)
    again = KARIS.replace("Kari", "Marit")
    assert run(write(HEADER, KARIS, FIRMS, again))[0] == "Imported: 3 contacts, 0 refused\n"
    assert names() == {KARI.number: "Marit Nordmann", FIRM.number: "Firma AS"}


def test_what_a_file_does_not_speak_of_stays(write: Write) -> None:
    """Above all a reservation is not lifted by a file that has no such column."""
    run(write(HEADER, KARIS.replace(";nei;", ";ja;")))
    run(write("kind,number,phone_numbers", f"person,{KARI.number},40000000"))
    entry = find([KARI])[KARI]
    assert (entry.phone_numbers, entry.email_addresses) == (["+4740000000"], [MAIL])
    assert entry.reserved
    run(
        write(
            json.dumps([{**JSON, "reserved": None}, {"kind": "person", "number": KARI.number}]),
            name="a.json",
        )
    )
    entry = find([KARI])[KARI]
    assert (entry.phone_numbers, entry.reserved) == ([PHONE], False)


def test_a_dry_run_changes_nothing(write: Write) -> None:
    path = write(HEADER, KARIS, "planet;;;;;;")
    told, status, _ = run(path, "--dry-run")
    assert (told, status) == ("To import: 1 contacts, 1 refused\n", 1)
    assert names() == {}


# What it refuses


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("person;0101701234;;;;;", ["number: National identity number must be 11 digits long."]),
        ("organisation;12345678;;;;;", ["number: Organization number must be 9 digits long."]),
        ("external;guest;;;;;", ["number: Invalid external identity URN format."]),
        (";01017012345;;;;;", ["kind: The kind field is required."]),
        ("person;;;;;;", ["number: The number field is required."]),
        ("planet;01017012345;;;;;", ["kind: Expected person, organisation or external."]),
        (
            "person;01017012345;;22334455;kari@;maybe;soon",
            [
                "phone_numbers: Recipient phone number is not a valid mobile number.",
                "email_addresses: Invalid email address format.",
                "reserved: Expected true or false.",
                "confirmed_at: Expected a date and time.",
            ],
        ),
        (
            "person;01017012345;Kari\x00Nordmann;;;;",
            ["name: The name field contains characters that cannot be sent."],
        ),
        (
            f"person;01017012345;{'x' * 256};;;;",
            ["name: The name field must be at most 255 characters."],
        ),
        ("person;01017012345;;;;;2999-01-01", ["confirmed_at: Expected a time that has passed."]),
        ("person;01017012345;;;;;0001-01-01", ["confirmed_at: Expected a date and time."]),
        ("person;01017012345;;;;;9999-12-31", ["confirmed_at: Expected a time that has passed."]),
        ("person;01017012345", ["Expected 7 columns, not 2."]),
        ("person;01017012345;;99999999;40000000;;;", ["Expected 7 columns, not 8."]),
        ('person;01017012345;"Kari;;;;', ["This line is not CSV: look at its quotes."]),
        ('person;01017012345;"Kari" N;;;;', ["This line is not CSV: look at its quotes."]),
    ],
)
def test_what_breaks_a_rule_is_refused_by_its_place(
    line: str, problems: list[str], write: Write
) -> None:
    told, status, complaint = run(write(HEADER, FIRMS, line, KARIS))
    assert (told, status) == ("Imported: 2 contacts, 1 refused\n", 1)
    assert complaint == f"Line 3: {' '.join(problems)}\nSome lines were refused."
    assert len(names()) == 2


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("person", "Expected an object."),
        ({**JSON, "kari": 1}, "It has other members than kind, number"),
        ({**JSON, "number": 1017012345}, "number: Expected a string."),
        ({**JSON, "phone_numbers": [99999999]}, "phone_numbers: Expected a string."),
        ({**JSON, "phone_numbers": {"home": PHONE}}, "phone_numbers: Expected a list"),
        ({**JSON, "reserved": 1}, "reserved: Expected true or false."),
        ({**JSON, "name": "\ud800"}, "name: The name field contains"),
        ({**JSON, "kind": ["person"]}, "kind: Expected a string."),
    ],
)
def test_json_that_breaks_a_rule_is_refused(said: Any, problem: str, write: Write) -> None:
    path = write(json.dumps([said, JSON]), name="people.json")
    told, status, complaint = run(path)
    assert (told, status) == ("Imported: 1 contacts, 1 refused\n", 1)
    assert complaint.startswith(f"Line 1: {problem}")


def test_a_region_that_is_not_allowed_is_refused(write: Write, configure: Any) -> None:
    configure(ALLOWED_REGIONS=["SE"])
    assert "in a region that is not allowed" in run(write(HEADER, KARIS))[2]


def test_a_report_has_every_refused_line(write: Write, tmp_path: Path) -> None:
    report = tmp_path / "refused.csv"
    bad = ["person;1;;2;;;"] * 30
    told, status, complaint = run(write(HEADER, *bad, KARIS), f"--report={report}")
    assert (told, status, complaint) == (
        "Imported: 1 contacts, 30 refused\n",
        1,
        "Some lines were refused.",
    )
    with report.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 60
    assert lines[0] == {
        "line": "2",
        "entry": "1",
        "problem": "number: National identity number must be 11 digits long.",
    }


def test_without_a_report_only_the_first_are_told(write: Write) -> None:
    complaint = run(write(HEADER, *["person;1;;;;;"] * 30))[2]
    assert complaint.count("Line ") == 20
    assert complaint.endswith("\nSome lines were refused.")


def test_the_place_in_a_list_without_lines_is_told(write: Write) -> None:
    complaint = run(write(json.dumps([JSON, 17]), name="a.json"))[2]
    assert complaint.startswith("Line 1 (entry 2): Expected an object.")


# What it cannot read


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "Line 1 must name the columns"),
        ("a.csv", f"{KARIS}\n".encode(), "Line 1 must name the columns"),
        ("a.csv", b"kind;number;shoe_size\n", "Line 1 must name the columns"),
        ("a.csv", b"kind;name\n", "Line 1 must name the columns"),
        ("a.csv", b"kind;number;kind\n", "Line 1 must name the columns"),
        ("a.csv", f"{HEADER}\n{KARIS}\nperson;{'x' * LONGEST}".encode(), "Line 3 is longer"),
        ("a.csv", f"{HEADER}\n".encode() + "person;ø".encode("latin-1"), "not UTF-8"),
        ("a.csv", HEADER.encode("utf-16"), "not UTF-8"),
        ("a.json", b"[", "The entry in line 1 is not JSON"),
        ("a.json", b"[{}", "Line 1 is not JSON, or the file ends there"),
        ("a.json", b'[{"kind": "person"', "The entry in line 1 is not JSON"),
        ("a.json", b"[{}\n{}]", "Line 2 is not JSON"),
        ("a.json", b"[{},]", "The entry in line 1 is not JSON"),
        ("a.json", b"[{}]\n[{}]", "goes on after the end of its list (line 2)"),
        ("a.json", b"[" * 1000, "The entry in line 1 is not JSON"),
        ("a.json", f'[{{"kind": "{"x" * 3 * LONGEST}"}}]'.encode(), "longer than"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(
    name: str, content: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    told, status, complaint = run(str(path))
    assert (told, status) == ("", 2)
    assert expected in complaint


def test_what_came_before_is_kept_and_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    told, status, complaint = run(write(HEADER, KARIS, "x" * (LONGEST + 1)))
    assert (told, status) == ("", 2)
    assert complaint.endswith("So far: 1 contacts, 0 refused, up to line 2.")
    assert len(names()) == 1


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert run(str(tmp_path / "none.csv"))[1:] == (
        2,
        "A file cannot be used: No such file or directory.",
    )


def test_a_report_that_cannot_be_written_is_told_before_anything_is_done(
    write: Write, tmp_path: Path
) -> None:
    assert run(write(HEADER, KARIS), f"--report={tmp_path}/none/report.csv")[1] == 2
    assert names() == {}


def test_a_report_does_not_overwrite_the_file(write: Write) -> None:
    path = write(HEADER, KARIS)
    assert "overwrite" in run(path, f"--report={path}")[2]
    assert KARIS in Path(path).read_text()


def test_a_database_that_is_away_is_told_without_a_word_of_its_own(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> None:
        raise OperationalError(f"cannot write {KARI.number}")

    monkeypatch.setattr(local, "keep", away)
    told, status, complaint = run(write(HEADER, KARIS))
    assert (told, status) == ("", 2)
    assert complaint.startswith("OperationalError at")


# How it goes


def test_a_signal_lets_it_finish_the_batch_in_hand(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = local.keep

    def and_stop(*args: Any) -> None:
        keep(*args)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(local, "keep", and_stop)
    monkeypatch.setattr(importing, "BATCH", 2)
    people = [KARIS.replace(KARI.number, f"{each:011d}") for each in range(5)]
    before = signal.getsignal(signal.SIGTERM)
    told, status, complaint = run(write(HEADER, *people))
    assert (told, status) == ("Imported: 2 contacts, 0 refused\n", 3)
    assert complaint == "Stopped after line 3."
    assert len(names()) == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_terminal_sees_how_far_it_is(write: Write) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    err = Terminal()
    call_command(COMMAND, write(HEADER, KARIS), stdout=io.StringIO(), stderr=err)
    assert f"[{'#' * 30}] line 2" in err.getvalue()


class Endless(io.TextIOBase):
    """Text that is made as it is read."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._left = ""

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        return next(self._pieces, "")

    def read(self, size: int | None = -1) -> str:
        return next(self._pieces, "")


@pytest.mark.parametrize("read", [read_csv, read_json], ids=["csv", "json"])
def test_a_long_file_is_never_held_in_memory(read: Any) -> None:
    entries = 20_000
    firm = json.dumps({"kind": "organisation", "number": FIRM.number, "name": "x" * 100})
    if read is read_csv:
        pieces = (f"{KARIS}\n" if at else f"{HEADER}\n" for at in range(entries + 1))
    else:
        pieces = (f"{firm}{',' if at < entries - 1 else ']'}" for at in range(entries))
        pieces = chain("[", pieces)
    tracemalloc.start()
    try:
        assert sum(not each.problem for each in read(Endless(pieces))) == entries
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_the_kinds_of_the_table_are_those_that_are_looked_up() -> None:
    assert (
        set(importing.NUMBERS) == set(ContactEntry.Kind.values) == set(Kind) - {"phone", "mailbox"}
    )


def test_every_column_has_a_rule() -> None:
    assert tuple(importing.RULES) == files.COLUMNS
