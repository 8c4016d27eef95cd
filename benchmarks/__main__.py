"""Measure on fresh databases and print tables: ``python -m benchmarks [--what …] [--quick]``."""

import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final

from benchmarks import (
    bulk,
    console,
    counter,
    databases,
    feed,
    goals,
    growth,
    load,
    machine,
    page,
    parts,
    sending,
    slow_gateway,
    sync,
    upkeep,
)
from benchmarks.figures import Table, show

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

WHAT: Final[Mapping[str, ModuleType]] = {
    "goals": goals,
    "load": load,
    "parts": parts,
    "cost": sending,
    "gateway": slow_gateway,
    "growth": growth,
    "feed": feed,
    "counter": counter,
    "upkeep": upkeep,
    "sync": sync,
    "bulk": bulk,
    "console": console,
}
"""What can be measured; the first is what is measured unless something else is named.

Each has ``tables_of`` a kind of database, with files in a directory, at one of two efforts.
"""


def main() -> None:
    for number in ENDING:
        signal.signal(number, _stop)
    chosen = _arguments()
    try:
        print(*machine.described(), sep="\n")
        names = _databases(chosen.only)
        if chosen.write:
            _write(names, quick=chosen.quick)
        else:
            _measure(chosen.what, names, quick=chosen.quick)
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing was left behind.")


def _stop(*_: object) -> None:
    """Unwinds once; nothing more may disturb the tidying up."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--what", choices=WHAT, default=next(iter(WHAT)), help="(%(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="a rough answer, from a tenth of the rows or fewer"
    )
    parser.add_argument("--only", choices=databases.KINDS, help="leave the other database out")
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"measure all that {page.PAGE.name} tells, and write it there",
    )
    return parser.parse_args()


def _databases(only: str | None) -> Sequence[str]:
    if only != "sqlite" and not databases.postgresql_answers():
        note = f"PostgreSQL does not answer ({databases.POSTGRES_VARIABLE} says where to look)."
        if only:
            sys.exit(note)
        print(f"{note} Only SQLite is measured.")
        return ["sqlite"]
    return [only] if only else list(databases.KINDS)


def _measure(what: str, names: Sequence[str], *, quick: bool) -> Sequence[Table]:
    """The tables, shown as they come; last the one of the goals, if these were asked for."""
    measured = {name: list(_shown(WHAT[what], name, quick=quick)) for name in names}
    if what != "goals":
        return [table for tables in measured.values() for table in tables]
    table = goals.table_of(measured)
    show(table)
    return [table]


def _shown(module: ModuleType, name: str, *, quick: bool) -> Iterator[Table]:
    with _effort_and_directory(module, quick=quick) as (effort, directory):
        for table in module.tables_of(name, directory, effort):
            show(table)
            yield table


@contextmanager
def _effort_and_directory(module: ModuleType, *, quick: bool) -> Iterator[tuple[Any, Path]]:
    with TemporaryDirectory(prefix="instant_benchmark_") as directory:
        yield (module.QUICK if quick else module.FULL), Path(directory)


def _write(names: Sequence[str], *, quick: bool) -> None:
    tables = [
        table
        for what in ("goals", "parts", "counter")
        for table in _measure(what, names, quick=quick)
    ]
    curves = {}
    for name in names:
        with _effort_and_directory(load, quick=quick) as (effort, directory):
            curves[name] = load.curves_of(name, directory, effort)
            show(load.table_of(name, curves[name]))
    page.write(tables, curves, quick=quick)
    print(f"Written to {page.PAGE.name} and {page.PICTURE.name}.")


if __name__ == "__main__":
    main()
