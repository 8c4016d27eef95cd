"""Statements that every message takes: their SQL is written once for each table, not each time.

Signals tell nobody of what they write.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar

from django.db import connections, models
from django.db.models import Value

from instant_notifications.models.databases import primary

Model = TypeVar("Model", bound=models.Model)


def insert(*rows: models.Model) -> None:
    """Insert rows in this order, and on PostgreSQL in one go, where psycopg can.

    A key that the database makes is not read back.
    """
    alias = primary()
    connection = connections[alias]
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        _in_one_go(connection, len(rows)),
    ):
        for row in rows:
            sql, fields = _insertion(type(row), alias)
            values = [
                field.get_db_prep_save(field.pre_save(row, True), connection) for field in fields
            ]
            cursor.execute(sql, values)
    for row in rows:
        row._state.adding, row._state.db = False, alias


@lru_cache(maxsize=64)
def _insertion(model: type[models.Model], alias: str) -> tuple[str, Sequence[Any]]:
    quote = connections[alias].ops.quote_name
    fields = [
        field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)
    ]
    columns = ", ".join(quote(str(field.column)) for field in fields)
    values = ", ".join(["%s"] * len(fields))
    # Of the names of a table and its columns, quoted; each value is a parameter.
    return f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES ({values})", fields  # noqa: S608


@contextmanager
def _in_one_go(connection: Any, many: int) -> Iterator[None]:
    """The statements within wait for each other's answers only at the end of it."""
    pipeline = getattr(connection.Database, "Pipeline", None)
    if many < 2 or not (pipeline and pipeline.is_supported()):
        yield
        return
    with connection.connection.pipeline() as statements:
        try:
            yield
        except Exception:
            with suppress(connection.Database.Error):  # of those behind the one refused
                statements.sync()
            raise


def update(
    model: type[models.Model], columns: Mapping[str, Any], *, where: Mapping[str, Any]
) -> int:
    """Write these columns of the rows in which those ones are; how many there are."""
    alias = primary()
    connection = connections[alias]
    sql, fields = _updating(model, alias, tuple(columns), tuple(where))
    values = zip(fields, (*columns.values(), *where.values()), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(sql, [field.get_db_prep_save(value, connection) for field, value in values])
        return int(cursor.rowcount)


@lru_cache(maxsize=256)
def _updating(
    model: type[models.Model], alias: str, columns: Sequence[str], where: Sequence[str]
) -> tuple[str, Sequence[Any]]:
    quote = connections[alias].ops.quote_name
    fields = [model._meta.get_field(name) for name in (*columns, *where)]
    given = [f"{quote(str(field.column))} = %s" for field in fields]  # type: ignore[union-attr]
    written, known = ", ".join(given[: len(columns)]), " AND ".join(given[len(columns) :])
    return f"UPDATE {quote(model._meta.db_table)} SET {written} WHERE {known}", fields  # noqa: S608 (names, as above)


def find(model: type[Model], *, without: Sequence[str] = (), **where: Any) -> Sequence[Model]:
    """The rows in which these columns are so, read where they are written.

    Columns ``without`` which they are read are looked up if they are asked for.
    """
    alias = primary()
    sql, fields = _selection(model, alias, tuple(where), tuple(without))
    values = [
        field.get_db_prep_value(value, connections[alias])
        for field, value in zip(fields, where.values(), strict=True)
    ]
    return list(model._default_manager.using(alias).raw(sql, values))


@lru_cache(maxsize=64)
def _selection(
    model: type[models.Model], alias: str, where: Sequence[str], without: Sequence[str]
) -> tuple[str, Sequence[Any]]:
    quote = connections[alias].ops.quote_name
    read = [field for field in model._meta.concrete_fields if field.name not in without]
    columns = ", ".join(quote(str(field.column)) for field in read)
    fields: list[Any] = [model._meta.get_field(name) for name in where]
    known = " AND ".join(f"{quote(field.column)} = %s" for field in fields)
    return f"SELECT {columns} FROM {quote(model._meta.db_table)} WHERE {known}", fields  # noqa: S608 (names, as above)


def insert_for_each(rows: models.QuerySet[Any], model: type[models.Model], **columns: Any) -> None:
    """One new row for each of ``rows``, in one statement.

    Each column is a value, the same for all, or an expression over the row that it is made for.
    """
    connection = connections[rows.db]
    quote = connection.ops.quote_name
    fields = [model._meta.get_field(name) for name in columns]
    chosen = rows.values_list(*map(_expression, fields, columns.values()))
    select, parameters = chosen.query.get_compiler(connection=connection).as_sql()
    names = ", ".join(quote(str(field.column)) for field in fields)  # type: ignore[union-attr]
    insert = f"INSERT INTO {quote(model._meta.db_table)} ({names}) {select}"
    with connection.cursor() as cursor:
        cursor.execute(insert, parameters)


def _expression(field: Any, value: Any) -> Any:
    return value if hasattr(value, "resolve_expression") else Value(value, output_field=field)
