"""Measure on fresh databases and print tables: ``python -m benchmarks [--quick] [--only …]``."""

import os
import platform
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import databases, servers
from benchmarks.figures import FULL, QUICK, Effort, Figure, figures_of

PACKAGES = ("Django", "djangorestframework", "gunicorn", "psycopg", "requests")
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ROW = "  {:44} {:>9} {:>9} {:>7} {:>7}  {}"


def main() -> None:
    for number in ENDING:
        signal.signal(number, _stop)
    chosen = _arguments()
    try:
        _show_machine()
        for name in _databases(chosen.only):
            _show(name, _measured_on(name, QUICK if chosen.quick else FULL))
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing was left behind.")


def _stop(*_: object) -> None:
    """Unwinds once; nothing more may disturb the tidying up."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough answer in half a minute")
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


def _measured_on(name: str, effort: Effort) -> Iterable[Figure]:
    with (
        TemporaryDirectory(prefix="instant_benchmark_") as directory,
        databases.KINDS[name](Path(directory)) as database_url,
        servers.stub_gateway() as gateway_url,
        servers.application(Path(directory), database_url, gateway_url) as application,
    ):
        return figures_of(application, effort)


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


def _show(name: str, figures: Iterable[Figure]) -> None:
    print(f"\n{name}")
    print(ROW.format("", "ours", "floor", "ratio", "goal", "").rstrip())
    for figure in figures:
        row = ROW.format(
            figure.name,
            figure.ours,
            figure.floor,
            f"{figure.ratio:.2f}",
            f"≤ {figure.goal}",
            "" if figure.ratio <= figure.goal else "over",
        )
        print(row.rstrip(), flush=True)


if __name__ == "__main__":
    main()
