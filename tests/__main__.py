"""Run the suite on SQLite and on each database that answers; with words, what they say to pytest.

``TEST_POSTGRES_URL`` and ``TEST_MARIADB_URL`` say where to look; their users must be able to create
databases. Tests that touch no database, and those in a browser, run on SQLite's turn only; MariaDB
gets those of what is written, read and locked. Those with servers of their own mostly wait, and run
beside the others; what they say is printed when they have ended.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any, Final
from urllib.parse import urlsplit

import psycopg
import pymysql
from kombu import Connection
from kombu.exceptions import OperationalError

from tests.live.celery_app import AMQP_URL

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
MARIADB_URL = os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test")
SIDE_BY_SIDE = [
    "-n",
    "auto",
    "--maxprocesses",
    "4",
    "--ignore=tests/live",
    "--ignore=tests/browser",
    "--ignore=tests/package",
]
"""Those without servers of their own; the others time things, and run one after the other."""
ABOUT_DATABASES = [*SIDE_BY_SIDE, "--ignore-glob=tests/test_fuzz_*", "-m", "django_db"]
ROWS = (
    *(f"tests/{folder}" for folder in ("contacts", "otp", "planning")),
    *(
        f"tests/test_{name}.py"
        for name in (
            *("admin_list", "attack_orders", "chains", "charts", "dispatch", "failover", "feed"),
            *("fields", "guard", "health", "interventions", "migrations", "models", "orders"),
            *("receipts", "record", "regular_orders", "search", "sync", "upkeep"),
        )
    ),
)
"""What is written, read and locked; without whole requests, pages and commands."""
LIVE = ("tests/live", "tests/browser")
LIVE_AGAIN = (
    "tests/live/chaos",
    *(f"tests/live/test_{name}.py" for name in ("concurrency", "crash", "workers")),
    "tests/browser",
)
"""On SQLite, where PostgreSQL has had the rest."""


def postgres_answers() -> bool:
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def mariadb_answers() -> bool:
    url = urlsplit(MARIADB_URL)
    try:
        pymysql.connect(
            host=url.hostname,
            port=url.port or 3306,
            user=url.username,
            password=url.password or "",
            connect_timeout=3,
        ).close()
    except pymysql.OperationalError:
        return False
    return True


def rabbitmq_answers() -> bool:
    with Connection(AMQP_URL, connect_timeout=3) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
        except OperationalError:
            return False
    return True


@dataclass(frozen=True)
class Database:
    url: str
    answers: Callable[[], bool]
    turns: AbstractContextManager[Any]
    """Two at once would use up the connections of one server."""


POSTGRESQL, MARIADB, SQLITE = "PostgreSQL", "MariaDB", "SQLite"
DATABASES: Final = {
    POSTGRESQL: Database(POSTGRES_URL, postgres_answers, Lock()),
    MARIADB: Database(MARIADB_URL, mariadb_answers, Lock()),
    SQLITE: Database("sqlite://:memory:", lambda: True, nullcontext()),
}

Turn = tuple[str, Sequence[str]]
"""A database, and what it says to pytest."""

BUSY: Final[Sequence[Turn]] = (
    (POSTGRESQL, ABOUT_DATABASES),
    (SQLITE, SIDE_BY_SIDE),
    (MARIADB, [*ABOUT_DATABASES, *ROWS]),
)
WAITING: Final[Sequence[Turn]] = ((SQLITE, LIVE_AGAIN), (POSTGRESQL, ["tests/live"]))
WAITING_ALONE: Final[Sequence[Turn]] = ((SQLITE, LIVE),)


def run(turn: Turn, output: IO[bytes] | None = None) -> int:
    """What pytest returns."""
    name, words = turn
    environment = {**os.environ, "DATABASE_URL": DATABASES[name].url}
    with DATABASES[name].turns:
        return subprocess.call(
            [sys.executable, "-m", "pytest", *words],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
        )


def run_visibly(turn: Turn) -> int:
    print(f"\n──── {turn[0]} ────", flush=True)
    return run(turn)


def run_beside(turn: Turn) -> int:
    with TemporaryFile() as output:
        status = run(turn, output)
        output.seek(0)
        said = output.read().decode()
    print(f"\n──── {turn[0]}, beside the others: {' '.join(turn[1])} ────\n{said}", flush=True)
    return status


def failed(run_one: Callable[[Turn], int], turns: Iterable[Turn], there: set[str]) -> set[str]:
    return {turn[0] for turn in turns if turn[0] in there and run_one(turn)}


def main() -> int:
    words = sys.argv[1:]
    there = {name for name, database in DATABASES.items() if database.answers()}
    for name in DATABASES.keys() - there:
        print(f"{name} does not answer, so the suite is not run on it.")
    if words:
        wrong = failed(run_visibly, [(name, words) for name in DATABASES], there)
    else:
        waiting = WAITING if POSTGRESQL in there else WAITING_ALONE
        with ThreadPoolExecutor(1) as beside:
            later = beside.submit(failed, run_beside, waiting, there)
            wrong = failed(run_visibly, BUSY, there) | later.result()
    if wrong:
        print(f"Failed on {', '.join(sorted(wrong))}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
