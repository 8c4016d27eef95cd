"""Fill tables with messages as the app leaves them, quickly: one INSERT … SELECT for each table.
And tell, as an upstream would, what became of those that it has taken.

The columns come from the models, so that a new one needs no word here. Ids follow age, as UUIDs of
version 7 do; the destinations share one ciphertext.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Model
from django.utils import timezone

from benchmarks.messages import UPSTREAM, Messages
from benchmarks.servers import ORGANISATION
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Notice,
    Order,
    Organisation,
    Plan,
    Shipment,
    StatusEvent,
    uuid7,
)
from instant_notifications.statuses import (
    Cause,
    Channel,
    Ended,
    Handover,
    OrderStatus,
    ShipmentType,
)


@dataclass(frozen=True)
class Dialect:
    """How one database counts and converts. ``n`` is the number of the message."""

    series: str
    moment: str
    """Out of seconds since 1970."""
    identifier: str
    """Out of milliseconds since 1970."""
    identifier_text: str
    json: str
    text: str
    before: Sequence[str] = ()
    after: Sequence[str] = ()


DIALECTS: Final[Mapping[str, Dialect]] = {
    "postgresql": Dialect(
        series="generate_series({first}::bigint, {last}::bigint) AS numbers(n)",
        moment="to_timestamp({seconds})",
        identifier=(
            "(lpad(to_hex(({milliseconds})::bigint), 12, '0')"
            " || '70008000' || lpad(to_hex(n), 12, '0'))::uuid"
        ),
        identifier_text="{identifier}::text",
        json="({text})::jsonb",
        text="n::text",
        before=["SET session_replication_role = replica"],  # the foreign keys are right
        after=["SET session_replication_role = DEFAULT", "VACUUM (ANALYZE)", "CHECKPOINT"],
    ),
    "sqlite": Dialect(
        series=(
            "(WITH RECURSIVE numbers(n) AS (VALUES ({first}) UNION ALL"
            " SELECT n + 1 FROM numbers WHERE n < {last}) SELECT n FROM numbers)"
        ),
        moment="strftime('%%Y-%%m-%%d %%H:%%M:%%f', {seconds}, 'unixepoch')",
        identifier="printf('%%012x70008000%%012x', {milliseconds}, n)",
        identifier_text=(
            "substr({identifier}, 1, 8) || '-' || substr({identifier}, 9, 4)"
            " || '-7000-8000-' || substr({identifier}, 21)"
        ),
        json="{text}",
        text="cast(n AS text)",
        before=["PRAGMA foreign_keys=OFF", "PRAGMA synchronous=OFF"],
        after=[
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA synchronous=FULL",
            "PRAGMA foreign_keys=ON",
        ],
    ),
}


def fill(messages: Sequence[Mapping[str, Any]]) -> None:
    """Insert these stretches, given as plain mappings, and leave the tables well known."""
    dialect = DIALECTS[connection.vendor]
    with _in_haste(dialect):
        for stretch in messages:
            _fill(Messages(**stretch), dialect)


def plan_all() -> None:
    """Give every shipment a plan: due where its delivery has no last word, else ended."""
    notice = Notice.objects.create(
        order=Order.objects.create(creator=ORGANISATION), place=0, requested_at=timezone.now()
    )
    common = {"notice": notice, "shipment_id": uuid7(), "recipient": "{}"}
    ended = Plan(**common, ended=Ended.PLANNED, ended_at=timezone.now())
    deliveries = connection.ops.quote_name(Delivery._meta.db_table)
    with _in_haste(DIALECTS[connection.vendor]):
        _insert(
            ended, {"shipment_id": "shipment_id"}, f"{deliveries} WHERE completed_at IS NOT NULL"
        )
        _insert(
            Plan(**common),
            {"shipment_id": "shipment_id", "due_at": "created_at"},
            f"{deliveries} WHERE completed_at IS NULL",
        )


def refresh() -> None:
    """Leave the tables well known once more, after changes."""
    with _in_haste(DIALECTS[connection.vendor]):
        pass


@contextmanager
def _in_haste(dialect: Dialect) -> Iterator[None]:
    with connection.cursor() as cursor:
        for statement in dialect.before:
            cursor.execute(statement)
        yield
        for statement in dialect.after:
            cursor.execute(statement)


def _fill(messages: Messages, dialect: Dialect) -> None:
    with transaction.atomic():
        for instance, expressions in _tables(messages, _Expressions(messages, dialect)):
            _insert(
                instance,
                expressions,
                dialect.series.format(first=messages.first, last=messages.last),
            )
        _count_up(messages)


class _Expressions:
    """The columns that differ from row to row, in SQL."""

    def __init__(self, messages: Messages, dialect: Dialect) -> None:
        now = timezone.now().timestamp()
        began = now - messages.oldest
        step = (messages.oldest - messages.newest) / messages.count
        seconds = f"({began:.3f} + (n - {messages.first}) * {step:.6f})"
        milliseconds = f"({int(began * 1000)} + (n - {messages.first}) * {int(step * 1000)})"
        self.number = "n"
        self.text = dialect.text
        self.at = dialect.moment.format(seconds=seconds)
        self.an_hour_later = dialect.moment.format(seconds=f"{seconds} + 3600")
        self.id = dialect.identifier.format(milliseconds=milliseconds)
        self.id_text = dialect.identifier_text.format(identifier=self.id)
        self.recipients = dialect.json.format(
            text=f"""replace('[{{"delivery": "<id>", "channel": "sms", "status": "SMS_Delivered","""
            f""" "at": "2026-08-20T10:11:12.131415+00:00"}}]', '<id>', {self.id_text})"""
        )


def _tables(messages: Messages, each: _Expressions) -> Iterator[tuple[Model, Mapping[str, str]]]:
    """One row of each table, and the columns in which its fellows differ from it."""
    creator, key, now = messages.creator, uuid7(), timezone.now()
    own = {"id": each.id, "created_at": each.at}
    yield Order(creator=creator), own
    yield (
        IdempotencyRecord(creator=creator, scope="sms", order_id=key, fingerprint="f" * 64),
        {"key": each.text, "order_id": each.id, "created_at": each.at},
    )
    yield (
        Shipment(order_id=key, creator=creator, type=ShipmentType.INSTANT),
        {**own, "order_id": each.id, "senders_reference": each.text},
    )
    yield (
        _delivery(messages),
        {
            **own,
            "shipment_id": each.id,
            "gateway_reference": getattr(each, messages.reference),
            "updated_at": each.at,
            "expires_at": each.an_hour_later,
            **({"completed_at": each.at} if messages.completed else {}),
        },
    )
    theirs = {"delivery_id": each.id, "at": each.at}
    yield _event(messages, "SMS_Sending", "SMS_Accepted", Cause.HANDOVER), theirs
    if messages.completed:
        yield _event(messages, "SMS_Accepted", "SMS_Delivered", Cause.RECEIPT), theirs
        yield (
            FeedEntry(
                creator=creator,
                shipment_id=key,
                delivery_id=key,
                revision=2,
                status=OrderStatus.COMPLETED,
                at=now,
            ),
            {
                **theirs,
                "shipment_id": each.id,
                "sequence_number": each.number,
                "recipients": each.recipients,
            },
        )


def _delivery(messages: Messages) -> Delivery:
    now = timezone.now()
    return Delivery(
        shipment_id=uuid7(),
        channel=Channel.SMS,
        destination="+4799999999",
        destination_digest="d" * 64,
        content='{"body": "Your code is 428516", "sender": "Altinn"}' if messages.content else None,
        segments=1,
        status="SMS_Delivered" if messages.completed else "SMS_Accepted",
        handover=Handover.TAKEN,
        attempts=1,
        revision=2 if messages.completed else 1,
        gateway=messages.gateway,
        expires_at=now + timedelta(hours=1),
    )


def _event(messages: Messages, old: str, new: str, cause: Cause) -> StatusEvent:
    return StatusEvent(
        delivery_id=uuid7(),
        from_status=old,
        to_status=new,
        cause=cause,
        gateway=messages.gateway,
        gateway_word="OK",
        reported_status=new if cause is Cause.RECEIPT else "",
    )


def _insert(instance: Model, expressions: Mapping[str, str], series: str) -> None:
    columns, values, parameters = [], [], []
    for field in instance._meta.concrete_fields:
        if field.attname in expressions:
            values.append(expressions[field.attname])
        elif field.primary_key:
            continue  # the database counts
        else:
            values.append("%s")
            value = getattr(instance, field.attname)
            parameters.append(field.get_db_prep_save(value, connection))
        columns.append(connection.ops.quote_name(str(field.column)))
    table = connection.ops.quote_name(instance._meta.db_table)
    statement = (
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {series}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def _count_up(messages: Messages) -> None:
    Organisation.objects.update_or_create(
        name=messages.creator,
        defaults={"last_sequence_number": messages.last if messages.completed else 0},
    )


_WORDS: Final = (*["SMS_Delivered"] * 9, "SMS_Failed_Undelivered")


def write_feed(path: str) -> None:
    """An entry in each line for each message that it has taken, in the order of their making."""
    taken = Delivery.objects.filter(gateway=UPSTREAM).order_by("created_at", "pk")
    rows = taken.values_list("gateway_reference", "pk", "expires_at")
    with Path(path).open("w") as file:
        for number, word, row in zip(count(1), cycle(_WORDS), rows.iterator()):
            file.write(json.dumps(_entry(number, word, *row), separators=(",", ":")) + "\n")


def _entry(number: int, word: str, shipment: str, ours: object, at: Any) -> Mapping[str, Any]:
    time = at.isoformat().replace("+00:00", "Z")
    recipient = {"type": "SMS", "destination": "+4799999999", "status": word, "lastUpdate": time}
    return {
        "sequenceNumber": number,
        "shipmentType": "Instant",
        "shipmentId": shipment,
        "sendersReference": str(ours),
        "type": "Instant",
        "status": "Order_Completed",
        "lastUpdate": time,
        "recipients": [recipient],
    }
