"""Empty the database after a test that commits, at the price of what it has written.

Django truncates every table and makes content types and permissions anew; with thousands of tests
that is most of the time they take.
"""

from collections.abc import Iterator
from typing import Any, Final

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

KEPT: Final = {"django_content_type", "auth_permission"}
"""They are made by migrating, and no test changes them."""


def empty(case: Any) -> None:
    """Takes the place of ``TransactionTestCase._fixture_teardown``."""
    for alias in case._databases_names(include_mirrors=False):
        _empty(connections[alias])


def _empty(database: BaseDatabaseWrapper) -> None:
    filled = list(_filled(database))
    if not filled:
        return
    with (
        database.constraint_checks_disabled(),
        transaction.atomic(database.alias),
        database.cursor() as cursor,
    ):
        for table in filled:
            cursor.execute(f"DELETE FROM {table}")


def _filled(database: BaseDatabaseWrapper) -> Iterator[str]:
    names = database.introspection.django_table_names(only_existing=True, include_views=False)
    tables = [database.ops.quote_name(name) for name in sorted({*names} - KEPT)]
    looks = (f"SELECT {n} WHERE EXISTS (SELECT 1 FROM {each})" for n, each in enumerate(tables))
    with database.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(looks))
        yield from [tables[n] for (n,) in cursor.fetchall()]
