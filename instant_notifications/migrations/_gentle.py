"""Operations for tables that are large and in use.

On PostgreSQL each of them holds a lock that others wait for only as long as it takes to change the
catalogue, whatever the number of rows, and lets go of it before the next one begins. Each looks
first whether it has been done, so that a migration that was cut short can be run again. On
databases with one writer, or without transactions for their schema, they do what Django's do.

The locks are those of going forwards; backwards is Django's own way.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.transaction import atomic


class Migration(migrations.Migration):
    """Commits each step on PostgreSQL, all together on SQLite, whose writers wait anyway."""

    atomic = False

    def apply(self, project_state: Any, schema_editor: Any, collect_sql: bool = False) -> Any:
        with _whole(schema_editor):
            return super().apply(project_state, schema_editor, collect_sql)

    def unapply(self, project_state: Any, schema_editor: Any, collect_sql: bool = False) -> Any:
        with _whole(schema_editor):
            return super().unapply(project_state, schema_editor, collect_sql)


def _whole(schema_editor: BaseDatabaseSchemaEditor) -> Any:
    return nullcontext() if is_postgresql(schema_editor) else _at_once(schema_editor)


@contextmanager
def _at_once(schema_editor: Any) -> Iterator[None]:
    """All of it or nothing, where the database can; with what Django puts off to the end."""
    connection = schema_editor.connection
    with atomic(connection.alias) if connection.features.can_rollback_ddl else nullcontext():
        yield
        for statement in schema_editor.deferred_sql:
            schema_editor.execute(statement, None)
        schema_editor.deferred_sql.clear()


def is_postgresql(schema_editor: BaseDatabaseSchemaEditor) -> bool:
    return schema_editor.connection.vendor == "postgresql"


def run(schema_editor: BaseDatabaseSchemaEditor, statement: str, *names: str) -> None:
    """Runs a statement with these names put in, quoted."""
    schema_editor.execute(statement.format(*map(schema_editor.quote_name, names)), None)


class _Once:
    """Does nothing where it has been done."""

    leaves = True
    """Whether what it is about is there afterwards."""

    def database_forwards(self, app: str, schema_editor: Any, before: Any, after: Any) -> None:
        model = self._model(app, after)
        if self._is_left_to_do(schema_editor, model, not self.leaves):
            self._do(app, schema_editor, before, after)

    def database_backwards(self, app: str, schema_editor: Any, before: Any, after: Any) -> None:
        model = self._model(app, before if self.leaves else after)
        if self._is_left_to_do(schema_editor, model, self.leaves):
            with _at_once(schema_editor):
                super().database_backwards(app, schema_editor, before, after)  # type: ignore[misc]

    def _do(self, *given: Any) -> None:
        with _at_once(given[1]):
            super().database_forwards(*given)  # type: ignore[misc]

    def _model(self: Any, app: str, state: Any) -> type[models.Model]:
        return state.apps.get_model(app, self.model_name)

    def _is_left_to_do(self: Any, schema_editor: Any, model: Any, while_there: bool) -> bool:
        connection = schema_editor.connection
        # What is one transaction cannot be half done, and SQLite is slow to tell.
        is_certain = schema_editor.collect_sql or connection.vendor == "sqlite"
        return self.allow_migrate_model(connection.alias, model) and (
            is_certain or self._is_there(schema_editor, model) == while_there
        )

    def _is_there(self: Any, schema_editor: Any, model: Any) -> bool:
        return self._name() in constraints(schema_editor, model)

    def _name(self: Any) -> str:
        return self.name


def constraints(schema_editor: Any, model: type[models.Model]) -> dict[str, dict[str, Any]]:
    """Indexes and constraints by their names."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        return connection.introspection.get_constraints(cursor, model._meta.db_table)


class CreateModel(_Once, migrations.CreateModel):
    def _model(self, app: str, state: Any) -> type[models.Model]:
        return state.apps.get_model(app, self.name)

    def _is_there(self, schema_editor: Any, model: Any) -> bool:
        return model._meta.db_table in schema_editor.connection.introspection.table_names()


class AddField(_Once, migrations.AddField):
    """On PostgreSQL the database keeps the default, for the release before, which knows nothing of
    the column and goes on writing rows. A check of the field's own, as of a positive number, would
    be looked for in every row: it is left to ``AlterFieldToNotNull``.
    """

    def _is_there(self, schema_editor: Any, model: Any) -> bool:
        connection = schema_editor.connection
        with connection.cursor() as cursor:
            table = connection.introspection.get_table_description(cursor, model._meta.db_table)
        return model._meta.get_field(self.name).column in {column.name for column in table}

    def _do(self, app: str, schema_editor: Any, before: Any, after: Any) -> None:
        if not is_postgresql(schema_editor):
            return super()._do(app, schema_editor, before, after)
        model = self._model(app, after)
        field = model._meta.get_field(self.name)
        default = schema_editor.effective_default(field)
        with _at_once(schema_editor), _unchecked(field):
            super()._do(app, schema_editor, before, after)
            if default is not None:
                statement = "ALTER TABLE {} ALTER COLUMN {} SET DEFAULT "
                statement += schema_editor.quote_value(default)
                run(schema_editor, statement, model._meta.db_table, field.column)
        return None


@contextmanager
def _unchecked(field: Any) -> Iterator[None]:
    field.db_check = lambda connection: None  # noqa: ARG005
    try:
        yield
    finally:
        del field.db_check


class AddIndex(_Once, migrations.AddIndex):
    def _name(self) -> str:
        return self.index.name

    def _is_there(self, schema_editor: Any, model: Any) -> bool:
        return super()._is_there(schema_editor, model) and is_valid(schema_editor, self._name())

    def _do(self, app: str, schema_editor: Any, before: Any, after: Any) -> None:
        if not is_postgresql(schema_editor):
            return super()._do(app, schema_editor, before, after)
        run(schema_editor, "DROP INDEX CONCURRENTLY IF EXISTS {}", self._name())
        schema_editor.add_index(self._model(app, after), self.index, concurrently=True)
        return None


class RemoveIndex(_Once, migrations.RemoveIndex):
    leaves = False


class AddConstraint(_Once, migrations.AddConstraint):
    def _name(self) -> str:
        return self.constraint.name

    def _is_there(self, schema_editor: Any, model: Any) -> bool:
        if not is_postgresql(schema_editor):
            return super()._is_there(schema_editor, model)
        found = constraints(schema_editor, model).get(self._name(), {"index": True})
        return not found["index"] and is_valid(schema_editor, self._name())

    def _do(self, app: str, schema_editor: Any, before: Any, after: Any) -> None:
        if not is_postgresql(schema_editor):
            return super()._do(app, schema_editor, before, after)
        add = _add_check if isinstance(self.constraint, models.CheckConstraint) else _add_unique
        return add(schema_editor, self._model(app, after), self.constraint)


class RemoveConstraint(_Once, migrations.RemoveConstraint):
    leaves = False


class _AlterField(migrations.AlterField):
    """Can be done again as it is."""

    def _alter(self, app: str, schema_editor: Any, after: Any) -> None:
        raise NotImplementedError

    def database_forwards(self, app: str, schema_editor: Any, before: Any, after: Any) -> None:
        if not self.allow_migrate_model(
            schema_editor.connection.alias, after.apps.get_model(app, self.model_name)
        ):
            return
        if is_postgresql(schema_editor):
            self._alter(app, schema_editor, after)
        else:
            super().database_forwards(app, schema_editor, before, after)

    def database_backwards(self, *given: Any) -> None:
        """Django's way, which is its way forwards."""
        with _at_once(given[1]):
            super().database_forwards(*given)


class AlterFieldToNotNull(_AlterField):
    """PostgreSQL believes a valid check, so that it need not read the table under a lock."""

    def _alter(self, app: str, schema_editor: Any, after: Any) -> None:
        model = after.apps.get_model(app, self.model_name)
        table, field = model._meta.db_table, model._meta.get_field(self.name)
        known, bounds = f"instant_{self.name}_known", f"{table}_{field.column}_check"
        checks = {known: f"{schema_editor.quote_name(field.column)} IS NOT NULL"}
        if its_own := field.db_check(schema_editor.connection):
            checks[bounds] = its_own
        for name, condition in checks.items():
            with _at_once(schema_editor):
                run(schema_editor, "ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", table, name)
                check = f"ALTER TABLE {{}} ADD CONSTRAINT {{}} CHECK ({condition}) NOT VALID"
                run(schema_editor, check, table, name)
            run(schema_editor, "ALTER TABLE {} VALIDATE CONSTRAINT {}", table, name)
        with _at_once(schema_editor):
            run(schema_editor, "ALTER TABLE {} ALTER COLUMN {} SET NOT NULL", table, field.column)
            run(schema_editor, "ALTER TABLE {} DROP CONSTRAINT {}", table, known)


class AlterForeignKeyToUnindexed(_AlterField):
    """Only drops the index, where Django would make the foreign key anew and check every row."""

    def _alter(self, app: str, schema_editor: Any, after: Any) -> None:
        model = after.apps.get_model(app, self.model_name)
        columns = [model._meta.get_field(self.name).column]
        for name, found in constraints(schema_editor, model).items():
            if found["index"] and not found["unique"] and found["columns"] == columns:
                run(schema_editor, "DROP INDEX CONCURRENTLY IF EXISTS {}", name)


def is_valid(schema_editor: Any, name: str) -> bool:
    """Whether PostgreSQL has built this index, or checked this constraint, to the end."""
    if not is_postgresql(schema_editor):
        return True
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_constraint WHERE conname = %s AND NOT convalidated UNION ALL"
            " SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid",
            [name, schema_editor.quote_name(name)],
        )
        return cursor.fetchone() is None


def _add_check(schema_editor: Any, model: Any, check: models.CheckConstraint) -> None:
    if check.name not in constraints(schema_editor, model):
        schema_editor.execute(f"{check.create_sql(model, schema_editor)} NOT VALID", None)
    run(schema_editor, "ALTER TABLE {} VALIDATE CONSTRAINT {}", model._meta.db_table, check.name)


def _add_unique(schema_editor: Any, model: Any, unique: models.UniqueConstraint) -> None:
    """Its index is built first; one from a run that was cut short is taken if it is whole."""
    table, name = model._meta.db_table, unique.name
    columns = [model._meta.get_field(field).column for field in unique.fields]
    if not (name in constraints(schema_editor, model) and is_valid(schema_editor, name)):
        run(schema_editor, "DROP INDEX CONCURRENTLY IF EXISTS {}", name)
        index = (
            f"CREATE UNIQUE INDEX CONCURRENTLY {{}} ON {{}} ({', '.join(['{}'] * len(columns))})"
        )
        run(schema_editor, index, name, table, *columns)
    run(schema_editor, "ALTER TABLE {} ADD CONSTRAINT {} UNIQUE USING INDEX {}", table, name, name)
