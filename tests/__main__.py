"""Run the suite on SQLite and on each database that answers; with words, what they say to pytest.

``TEST_POSTGRES_URL`` and ``TEST_MARIADB_URL`` say where to look; their users must be able to create
databases. Tests that touch no database, and those in a browser, run on SQLite's turn only; MariaDB
gets those of what is written, read and locked.
"""

import os
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pymysql

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
MARIADB_URL = os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test")
SIDE_BY_SIDE = [
    "-n",
    "auto",
    "--maxprocesses",
    "4",
    "--ignore=tests/live",
    "--ignore=tests/browser",
]
"""Those without servers of their own; the others time things, and run one after the other."""
ABOUT_DATABASES = [*SIDE_BY_SIDE, "-m", "django_db"]
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


def run(name: str, database_url: str, words: list[str]) -> int:
    print(f"\n──── {name} ────", flush=True)
    environment = {**os.environ, "DATABASE_URL": database_url}
    return subprocess.call([sys.executable, "-m", "pytest", *words], env=environment)


def main() -> int:
    words = sys.argv[1:]
    failed = []
    live = LIVE_AGAIN if postgres_answers() else LIVE
    for name, answers, url, rounds in (
        ("PostgreSQL", postgres_answers, POSTGRES_URL, [ABOUT_DATABASES, ["tests/live"]]),
        ("MariaDB", mariadb_answers, MARIADB_URL, [[*ABOUT_DATABASES, *ROWS]]),
        ("SQLite", lambda: True, "sqlite://:memory:", [SIDE_BY_SIDE, list(live)]),
    ):
        if not answers():
            print(f"{name} does not answer, so the suite is not run on it.")
        elif any([run(name, url, each) for each in ([words] if words else rounds)]):  # noqa: C419
            failed.append(name)
    if failed:
        print(f"Failed on {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
