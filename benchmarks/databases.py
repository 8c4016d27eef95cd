"""Fresh databases, gone again when the measuring is over."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

POSTGRES_VARIABLE = "TEST_POSTGRES_URL"
POSTGRES_URL = os.environ.get(POSTGRES_VARIABLE, "postgres://postgres@127.0.0.1:5432/postgres")

_numbers = count(1)


@contextmanager
def sqlite(directory: Path) -> Iterator[str]:
    """The address of a file on a real disk, with the example project's options."""
    yield f"sqlite:///{directory / f'benchmark_{next(_numbers)}.sqlite3'}"


@contextmanager
def postgresql(directory: Path) -> Iterator[str]:  # noqa: ARG001 (PostgreSQL keeps its own files)
    """The address of a new database on the server that the tests use too."""
    name = f"instant_benchmark_{os.getpid()}_{next(_numbers)}"
    try:
        _administer("CREATE DATABASE {}", name)
        yield urlsplit(POSTGRES_URL)._replace(path=f"/{name}").geturl()
    finally:
        _administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _administer(statement: str, name: str) -> None:
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def postgresql_answers() -> bool:
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


KINDS: Mapping[str, Callable[[Path], AbstractContextManager[str]]] = {
    "sqlite": sqlite,
    "postgresql": postgresql,
}
