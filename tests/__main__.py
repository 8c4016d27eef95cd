"""Run the suite on SQLite and on each database that answers; further words go to pytest.

``TEST_POSTGRES_URL`` and ``TEST_MARIADB_URL`` say where to look; their users must be able to create
databases. On MariaDB the tests with real servers are left out.
"""

import os
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pymysql

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
MARIADB_URL = os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/test")
WITHOUT_SERVERS = ["--ignore", "tests/live", "--ignore", "tests/browser"]


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
    for name, answers, url, left_out in (
        ("PostgreSQL", postgres_answers, POSTGRES_URL, []),
        ("MariaDB", mariadb_answers, MARIADB_URL, WITHOUT_SERVERS),
        ("SQLite", lambda: True, "sqlite://:memory:", []),
    ):
        if not answers():
            print(f"{name} does not answer, so the suite is not run on it.")
        elif run(name, url, [*left_out, *words]):
            failed.append(name)
    if failed:
        print(f"Failed on {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
