"""Run the suite on SQLite and, where one answers, on PostgreSQL; further words go to pytest.

``TEST_POSTGRES_URL`` says where to look for PostgreSQL; its user must be able to create databases.
"""

import os
import subprocess
import sys

import psycopg

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")


def postgres_answers() -> bool:
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def run(name: str, database_url: str, words: list[str]) -> int:
    print(f"\n──── {name} ────", flush=True)
    environment = {**os.environ, "DATABASE_URL": database_url}
    return subprocess.call([sys.executable, "-m", "pytest", *words], env=environment)


def main() -> int:
    words = sys.argv[1:]
    databases = {}
    if postgres_answers():
        databases["PostgreSQL"] = POSTGRES_URL
    else:
        print("PostgreSQL does not answer, so the suite is not run on it: only SQLite is tested.")
    databases["SQLite"] = "sqlite://:memory:"
    results = {name: run(name, url, words) for name, url in databases.items()}
    failed = [name for name, status in results.items() if status]
    if failed:
        print(f"Failed on {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
