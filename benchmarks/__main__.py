"""Measure on fresh databases and print tables: ``python -m benchmarks [--what …] [--quick]``."""

import os
import platform
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import bulk, console, counter, databases, feed, figures, sync, upkeep
from benchmarks.tables import Table, show

PACKAGES = ("Django", "djangorestframework", "gunicorn", "psycopg", "requests")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Measurement = Callable[[str, Path, bool], Iterable[Table]]
"""Of a kind of database, with files in a directory, and perhaps quick."""

WHAT: Mapping[str, Measurement] = {
    "cost": lambda name, directory, quick: [
        figures.table_of(name, directory, figures.QUICK if quick else figures.FULL)
    ],
    "feed": lambda name, directory, quick: [
        feed.table_of(name, directory, feed.QUICK if quick else feed.FULL)
    ],
    "counter": lambda name, directory, quick: [
        counter.table_of(name, directory, counter.QUICK if quick else counter.FULL)
    ],
    "upkeep": lambda name, directory, quick: upkeep.tables_of(
        name, directory, upkeep.QUICK if quick else upkeep.FULL
    ),
    "sync": lambda name, directory, quick: [
        sync.table_of(name, directory, sync.QUICK if quick else sync.FULL)
    ],
    "bulk": lambda name, directory, quick: bulk.tables_of(
        name, directory, bulk.QUICK if quick else bulk.FULL
    ),
    "console": lambda name, directory, quick: [
        console.table_of(name, directory, console.QUICK if quick else console.FULL)
    ],
}
"""What can be measured; the first is what is measured unless something else is named."""


def main() -> None:
    for number in ENDING:
        signal.signal(number, _stop)
    chosen = _arguments()
    try:
        _show_machine()
        for name in _databases(chosen.only):
            _measure(WHAT[chosen.what], name, quick=chosen.quick)
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
    return parser.parse_args()


def _databases(only: str | None) -> Sequence[str]:
    if only != "sqlite" and not databases.postgresql_answers():
        note = f"PostgreSQL does not answer ({databases.POSTGRES_VARIABLE} says where to look)."
        if only:
            sys.exit(note)
        print(f"{note} Only SQLite is measured.")
        return ["sqlite"]
    return [only] if only else list(databases.KINDS)


def _measure(measurement: Measurement, name: str, *, quick: bool) -> None:
    with TemporaryDirectory(prefix="instant_benchmark_") as directory:
        for table in measurement(name, Path(directory), quick):
            show(table)


def _show_machine() -> None:
    print(f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{platform.platform()}, Python {platform.python_version()}")
    print(", ".join(f"{package} {version(package)}" for package in PACKAGES))


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
