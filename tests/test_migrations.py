"""Every way from the first release's tables to today's and back, over rows that it wrote itself.

``first_release.json`` is what its own code left in its tables: messages of every fate, and whom
they went to under the key that tests have.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any, Final

import pytest
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.executor import MigrationExecutor
from django.db.transaction import atomic
from django.utils import timezone

from example_project.settings import LOCAL_SECRET_KEY
from instant_notifications import feed, otp
from instant_notifications.admin import story
from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.fields import EncryptedTextField
from instant_notifications.gateways import Receipt
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    GatewayState,
    IdempotencyRecord,
    ListEntry,
    StatusEvent,
    UnmatchedReceipt,
)
from instant_notifications.orders import interventions, send_sms
from tests import regular
from tests.clock import Clock
from tests.outcomes import fails
from tests.stub import take
from tests.threads import begin

APP: Final = "instant_notifications"
APPS: Final = ("instant_notifications_otp", "instant_notifications_simulator", APP)
FIRST_RELEASE: Final = Path(__file__).parent / "first_release.json"
NUMBER: Final = "+4799999999"
TEXT: Final = "Your code is 428516"
SOON_AFTER: Final = datetime(2026, 11, 22, 3, 15, tzinfo=UTC)
FATES: Final = {
    "accepted": "SMS_Accepted",
    "delivered": "SMS_Delivered",
    "rejected": "SMS_Failed_BarredReceiver",
    "unavailable": "SMS_New",
    "unknown": "SMS_Sending",
    "killed": "SMS_Sending",
    "late": "SMS_Failed_Undelivered",
    "expired": "SMS_Failed_TTL",
}
"""The messages by their idempotency ids, with the word that each had come to."""
IN_THE_FEED: Final = 5

on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="elsewhere nothing is promised of locks"
)

Rows = dict[str, list[dict[str, Any]]]


@pytest.mark.django_db
def test_no_model_has_changed_without_a_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())


@pytest.mark.django_db
def test_no_setting_changes_the_schema(settings: Any) -> None:
    settings.DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    settings.INSTANT_NOTIFICATIONS = {}
    call_command("makemigrations", *APPS, check=True, dry_run=True, stdout=StringIO())


@pytest.mark.django_db(transaction=True)
def test_every_migration_goes_back_and_forth_again() -> None:
    before = schema()
    assert before
    try:
        for app in APPS:
            call_command("migrate", app, "zero", verbosity=0)
        assert schema() == {}
    finally:
        call_command("migrate", verbosity=0)
    assert schema() == before


# The rows of the first release, on their way


class FirstRelease:
    """Its tables with its rows in them, and a way to read them whatever has been added since."""

    def __init__(self) -> None:
        self.models = state_of("0001_initial", but_also=APPS[:2])
        self.rows: Rows = json.loads(FIRST_RELEASE.read_text())

    def fill(self) -> None:
        for model in self._tables():
            for row in self.rows[model._meta.db_table]:
                model.objects.create(**{n: _as_stored(model, n, v) for n, v in row.items()})
        with connection.cursor() as cursor:
            for statement in connection.ops.sequence_reset_sql(no_style(), self._tables()):
                cursor.execute(statement)

    def read(self) -> dict[str, list[Any]]:
        return {
            model._meta.db_table: list(
                model.objects.filter(pk__in=[row[model._meta.pk.attname] for row in rows])
                .order_by("pk")
                .values_list(*(field.attname for field in model._meta.concrete_fields))
            )
            for model in self._tables()
            if (rows := self.rows[model._meta.db_table])
        }

    def _tables(self) -> list[Any]:
        by_table = {model._meta.db_table: model for model in self.models.get_models()}
        return [by_table[table] for table in self.rows]


def _as_stored(model: Any, name: str, value: Any) -> Any:
    field = next(field for field in model._meta.concrete_fields if field.attname == name)
    if value is None:
        return None
    if isinstance(field, EncryptedTextField):
        return models.Value(value, models.TextField())
    if isinstance(field, models.JSONField):
        return json.loads(value)
    if isinstance(field, models.DateTimeField):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return value


@pytest.fixture
def todays_schema(transactional_db: None) -> dict[str, Any]:
    return schema()


@pytest.fixture
def first_release(settings: Any, transactional_db: None) -> Iterator[FirstRelease]:
    settings.SECRET_KEY = LOCAL_SECRET_KEY
    to("0001_initial")
    first = FirstRelease()
    first.fill()
    yield first
    call_command("migrate", verbosity=0)


def to(name: str) -> None:
    MigrationExecutor(connection).migrate([(APP, name)])


def names() -> list[str]:
    nodes = MigrationExecutor(connection).loader.graph.nodes
    return sorted(name for app, name in nodes if app == APP)


def state_of(name: str, but_also: Sequence[str] = ()) -> Any:
    loader = MigrationExecutor(connection).loader
    return loader.project_state([(APP, name), *((app, "0001_initial") for app in but_also)]).apps


def test_all_is_there_and_of_use_after_each_way(
    first_release: FirstRelease, stub: Any, clock: Clock
) -> None:
    clock.now = SOON_AFTER
    before = first_release.read()
    for name in names()[1:]:
        to(name)
        assert first_release.read() == before, name
        _add_what_is_new_in(name)
    changes = FeedEntry.objects.order_by("pk").values_list("delivery_id", "revision")
    assert list(changes) == list(FeedEntry.objects.values_list("shipment_id", "sequence_number"))
    assert [model.objects.count() for model in (UnmatchedReceipt, GatewayState, ListEntry)] == [
        1
    ] * 3
    _is_of_use(stub)
    what_is_left = _use_what_is_new(stub)
    before = first_release.read()
    for name in reversed(names()[:-1]):
        to(name)
        assert first_release.read() == before, name
    to(names()[-1])
    assert first_release.read() == before
    _is_of_use(stub)
    what_is_left()
    _is_forgotten_in_time(clock)


def _add_what_is_new_in(name: str) -> None:
    model, row = {
        "0002": ("UnmatchedReceipt", {"gateway": "stub", "word": "DELIVRD"}),
        "0003": ("GatewayState", {"alias": "away", "switched_off_by": "ola"}),
        "0006": ("ListEntry", {"verdict": "block", "kind": "country", "key": "k", "by": "ola"}),
    }.get(name[:4], ("", {}))
    if model:
        state_of(name).get_model(APP, model).objects.create(**row)


def _is_of_use(stub: Any) -> None:
    _replays_without_sending(stub)
    for key, word in FATES.items():
        delivery = Delivery.objects.to(NUMBER).get(shipment__senders_reference=f"ref-{key}")
        assert (delivery.status, delivery.destination) == (word, NUMBER)
        assert TEXT in str(delivery.content)
        manifest = feed.read_manifest("ttd", delivery.shipment_id)
        assert manifest
        assert [each.destination for each in manifest.recipients] == [NUMBER]
        told = story.story_of(delivery.shipment_id)
        assert told
        assert told.tellings[0].lines
    stub.do = lambda message: Receipt(status="SMS_Delivered")
    send_sms(NUMBER, TEXT, creator="ttd")
    page = feed.read_feed("ttd", after=0, limit=100, newest_first=False)
    assert [entry.sequence_number for entry in page] == list(range(1, len(page) + 1))
    assert len(page) > IN_THE_FEED


def _replays_without_sending(stub: Any) -> None:
    before = len(stub.seen)
    for key in ("accepted", "delivered", "late", "expired"):
        sent = again(key)
        assert (sent.replayed, sent.content_differs, sent.status) == (True, False, FATES[key])
    with pytest.raises(Rejected):
        again("rejected")
    for key in ("unknown", "killed"):
        with pytest.raises(OutcomeUnknown):
            again(key)
    assert len(stub.seen) == before


def again(key: str) -> Any:
    reference = f"ref-{key}"
    return send_sms(NUMBER, TEXT, idempotency_id=key, creator="ttd", senders_reference=reference)


def _use_what_is_new(stub: Any) -> Callable[[], None]:
    """Writes what the older tables have no room for. Returns a look at what is left of it."""
    stub.do = fails(Unavailable)
    with pytest.raises(Unavailable):
        send_sms(NUMBER, TEXT, idempotency_id="dropped", creator="ttd")
    dropped = Delivery.objects.latest("pk")
    interventions.cancel(dropped.pk, by="ola", because="asked for")
    for cause in ("caller", "lookup"):
        dropped.events.create(from_status="SMS_New", to_status="SMS_Failed", cause=cause)
    later = regular.order(creator="ttd", idempotency_id="later")
    stub.do = take
    code = otp.issue(NUMBER, purpose="login")
    typed = re.findall(r"\d{6}", stub.seen[-1].body)[0]

    def look() -> None:
        causes = StatusEvent.objects.filter(delivery=dropped).order_by("pk").values_list("cause")
        assert [cause for (cause,) in causes] == ["handover", "expiry", "expiry", "handover"]
        assert Delivery.objects.get(pk=dropped.pk).status == "SMS_Failed"
        assert IdempotencyRecord.objects.filter(key="dropped").exists()
        assert not IdempotencyRecord.objects.filter(key="later").exists()
        assert feed.read_manifest("ttd", later.notification.shipment_id)
        assert story.story_of(later.notification.shipment_id)
        assert otp.verify(code.id, typed, purpose="login").verified

    return look


def _is_forgotten_in_time(clock: Clock) -> None:
    clock.go(timedelta(days=100))
    for command in ("expire_notifications", "purge_notifications"):
        call_command(command, stdout=StringIO())
    assert not Delivery.objects.filter(content__isnull=False).exists()
    assert not Delivery.objects.filter(destination__isnull=False).exists()
    assert not IdempotencyRecord.objects.exists()
    assert not FeedEntry.objects.filter(at__lt=clock.now).exists()


# Cut short


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_at(target: Any, method: str, number: int) -> Iterator[None]:
    """At the call of this number, counted from 1, of any object of the class."""
    calls = iter(range(1, number + 1))
    real = getattr(target, method)

    def count(self: Any, *given: Any, **named: Any) -> Any:
        if next(calls, number) == number:
            raise Killed
        return real(self, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, method, count)
        yield


def run_until_through(name: str, target: Any, method: str, step: int) -> int:
    """Runs a migration, killed later each time. Returns how often it took."""
    runs = 0
    while True:
        runs += 1
        with killed_at(target, method, runs * step), suppress(Killed):
            to(name)
            return runs


@pytest.mark.skipif(
    not connection.features.can_rollback_ddl, reason="each statement is committed by itself"
)
def test_a_migration_that_was_cut_short_can_be_run_again(
    todays_schema: Any, first_release: FirstRelease
) -> None:
    """Killed at each of its statements on PostgreSQL, at some on SQLite."""
    step = 1 if connection.vendor == "postgresql" else 10
    before, runs = first_release.read(), []
    for name in names()[1:]:
        if MigrationExecutor(connection).loader.graph.nodes[APP, name].atomic:
            to(name)
        else:
            runs.append(run_until_through(name, BaseDatabaseSchemaEditor, "execute", step))
        assert first_release.read() == before, name
    assert max(runs) > 2
    assert schema() == todays_schema


def schema() -> dict[str, Any]:
    """All of our tables, down to the defaults and to what PostgreSQL says of them."""
    tables = [
        name for name in connection.introspection.table_names() if name.startswith("instant_")
    ]
    with connection.cursor() as cursor:
        return {table: [*_described(cursor, table)] for table in sorted(tables)}


def _described(cursor: Any, table: str) -> Iterator[Any]:
    yield sorted(map(repr, connection.introspection.get_table_description(cursor, table)))
    found = connection.introspection.get_constraints(cursor, table)
    yield sorted((name, sorted(map(repr, what.items()))) for name, what in found.items())
    if connection.vendor == "postgresql":
        cursor.execute(
            "SELECT conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint"
            " WHERE conrelid = %s::regclass UNION ALL"
            " SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid"
            " FROM pg_index WHERE indrelid = %s::regclass",
            [table, table],
        )
        yield sorted(cursor.fetchall())


# Beside those who go on sending


@on_postgresql
def test_no_row_of_a_table_in_use_is_looked_at_under_a_lock(first_release: FirstRelease) -> None:
    """What PostgreSQL does concurrently, or validates, it does beside the others."""
    under_a_lock = [
        (name, statement)
        for name in names()[1:]
        for statement, in_transaction in looks_at_rows(name, first_release.rows)
        if in_transaction or not re.search("CONCURRENTLY|VALIDATE CONSTRAINT|^UPDATE", statement)
    ]
    assert under_a_lock == []


def looks_at_rows(name: str, tables: Collection[str]) -> list[tuple[str, bool]]:
    """The statements of a migration that go through all of one of these tables, and whether locks
    of others were kept meanwhile, being part of a transaction."""
    said: list[str] = []
    looks: list[tuple[str, bool]] = []

    def watch(execute: Any, sql: str, *given: Any) -> Any:
        said.clear()
        in_transaction = connection.in_atomic_block
        result = execute(sql, *given)
        found = re.search(r'(?:ALTER TABLE|ON|^UPDATE) "(\w+)"', sql)
        if found and found[1] in tables and (sql.startswith("UPDATE") or _is_told_of(said)):
            looks.append((sql, in_transaction))
        return result

    connection.ensure_connection()
    connection.connection.add_notice_handler(lambda told: said.append(told.message_primary))
    with connection.cursor() as cursor:
        cursor.execute("SET client_min_messages TO debug1")
    with connection.execute_wrapper(watch):
        to(name)
    connection.close()
    return looks


def _is_told_of(said: Iterable[str]) -> bool:
    work = "^(verifying|rewriting) table|^building index|^validating foreign key"
    return any(re.search(work, each) for each in said)


@on_postgresql
def test_the_first_release_goes_on_sending_and_hardly_waits(first_release: FirstRelease) -> None:
    """While all that has been added since is added to its tables, which are full."""
    for table, changes in {
        "delivery": {"id": "gen_random_uuid()"},
        "statusevent": {"id": "1000 + number"},
        "feedentry": {
            "id": "1000 + number",
            "creator": "'nav'",
            "sequence_number": "1000 + number",
        },
    }.items():
        multiply(f"{APP}_{table}", changes, 30_000)
    stop, sent = Event(), FeedEntry._base_manager.values("pk").filter(creator="skd")
    sender = begin(partial(keep_sending, first_release.models, stop))
    try:
        began = monotonic()
        to(names()[1])
        took = monotonic() - began
        to(names()[-1])
    finally:
        stop.set()
    waits = sender.result(timeout=30)
    assert max(waits) < took / 3
    assert sent.count() == len(waits)


def multiply(table: str, changes: Mapping[str, str], by: int) -> None:
    """So many more rows like the first one."""
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, table)
        columns = [column.name for column in described]
        values = ", ".join(changes.get(name, name) for name in columns)
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values}"
            f" FROM (SELECT * FROM {table} LIMIT 1) AS one, generate_series(1, {by}) AS number"
        )


def keep_sending(first: Any, stop: Event) -> list[float]:
    """As many messages as there is time for. Returns how long each has waited for the database."""
    waits: list[float] = []
    while not stop.wait(0.005):
        began = monotonic()
        send_as(first, len(waits) + 1)
        waits.append(monotonic() - began)
    return waits


def send_as(first: Any, number: int) -> None:
    """The two transactions of a message, in the words of these models."""
    rows = {name: first.get_model(APP, name).objects for name in ("Order", "Shipment", "Delivery")}
    with atomic():
        order = rows["Order"].create(creator="skd")
        shipment = rows["Shipment"].create(order=order, creator="skd", type="Instant")
        delivery = rows["Delivery"].create(
            shipment=shipment,
            channel="sms",
            status="SMS_New",
            handover="open",
            expires_at=timezone.now(),
        )
    with atomic():
        rows["Delivery"].filter(pk=delivery.pk).update(status="SMS_Delivered", handover="taken")
        first.get_model(APP, "StatusEvent").objects.create(
            delivery=delivery, from_status="SMS_New", to_status="SMS_Delivered", cause="handover"
        )
        first.get_model(APP, "FeedEntry").objects.create(
            shipment=shipment,
            creator="skd",
            sequence_number=number,
            status="Order_Completed",
            recipients=[],
        )
