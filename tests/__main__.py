"""Run the suite on SQLite and on each database that answers; with words, what they say to pytest.

``TEST_POSTGRES_URL`` and ``TEST_MARIADB_URL`` say where to look; their users must be able to create
databases. Tests that touch no database run on SQLite's turn only; those with real servers are left
out on MariaDB.
"""

import os
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pymysql

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
MARIADB_URL = os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test")
WITH_SERVERS = ["tests/live", "tests/browser"]
SIDE_BY_SIDE = ["-n", "auto", "--maxprocesses", "4"]
"""Those without servers of their own; the others time things, and run one after the other."""
ABOUT_DATABASES = ["-m", "django_db"]


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


def run_all(name: str, database_url: str, *, servers: bool) -> bool:
    ignored = [f"--ignore={folder}" for folder in WITH_SERVERS]
    chosen = [] if database_url.startswith("sqlite") else ABOUT_DATABASES
    failed = run(name, database_url, [*SIDE_BY_SIDE, *ignored, *chosen])
    if servers:
        failed |= run(f"{name}, with servers", database_url, WITH_SERVERS)
    return bool(failed)


def main() -> int:
    words = sys.argv[1:]
    failed = []
    for name, answers, url, servers in (
        ("PostgreSQL", postgres_answers, POSTGRES_URL, True),
        ("MariaDB", mariadb_answers, MARIADB_URL, False),
        ("SQLite", lambda: True, "sqlite://:memory:", True),
    ):
        if not answers():
            print(f"{name} does not answer, so the suite is not run on it.")
        elif run(name, url, words) if words else run_all(name, url, servers=servers):
            failed.append(name)
    if failed:
        print(f"Failed on {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
