"""Every event that this app logs, and how a formatter gets at its fields.

The text of each is a template, ``some words key=%s key=%d``: the words before the first key are its
name and stay what they are, the keys are its fields. A person reads the line; a program need not
take it apart: ``AddEvent`` on a handler names both, ``JsonFormatter`` writes them.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

NAME: Final = "instant_notifications"

_template = re.compile(r"([a-z]+(?: [a-z]+)*)((?: \w+=%[.\d]*[a-z])*)").fullmatch
_key = re.compile(r" (\w+)=%").findall


@dataclass(frozen=True, slots=True)
class Event:
    level: int
    meaning: str
    fields: Sequence[str] = ()


def _info(meaning: str, *fields: str) -> Event:
    return Event(logging.INFO, meaning, fields)


def _warning(meaning: str, *fields: str) -> Event:
    return Event(logging.WARNING, meaning, fields)


def _error(meaning: str, *fields: str) -> Event:
    return Event(logging.ERROR, meaning, fields)


EVENTS: Final[Mapping[str, Event]] = {
    "handover": _info(
        "A gateway was asked to take a message.",
        *("gateway", "channel", "reference", "attempt", "outcome", "duration_ms"),
    ),
    "not taken": _info(
        "No gateway took a message of a regular order this time.", "delivery", "outcome"
    ),
    "not handed over": _error(
        "A message of a regular order could not be seen to; it is tried again.", "delivery", "error"
    ),
    "outcome not recorded yet": _warning(
        "The database was away when an outcome was to be written down; it is tried again.",
        *("delivery", "error"),
    ),
    "outcome not recorded": _error(
        "An outcome could not be written down: the message counts as unknown.", "delivery", "error"
    ),
    "late outcome ignored": _warning(
        "A hand-over came back after a later one had begun.", "delivery"
    ),
    "gateway not configured": _error(
        "A gateway in a route cannot be used as it is set up.", "gateway", "reason"
    ),
    "gateway health not recorded": _warning(
        "Whether gateways fail or are well again could not be written down.", "error"
    ),
    "gateway switched off": _warning("An operator wants nothing sent by it.", "gateway"),
    "gateway switched on": _warning("It may be asked again.", "gateway"),
    "idempotency content differs": _warning(
        "A known idempotency id came with other content.", "order"
    ),
    "replay not noted": _warning(
        "The console does not know of a repeat; it was answered.", "order", "error"
    ),
    "receipts": _info("A push of receipts was read.", "gateway", "count", "failed"),
    "receipts refused": _warning(
        "A push of receipts was turned away.", "gateway", "status", "reason"
    ),
    "receipt not recorded": _error(
        "A receipt could not be written down; its gateway is to send it again.", "gateway", "error"
    ),
    "receipts wait": _warning(
        "Receipts that came early are matched by the next sweep.", "delivery", "error"
    ),
    "simulated receipts wait": _warning("The simulator could not deliver receipts yet.", "error"),
    "feed read": _info(
        "Entries of an upstream's feed were written down.",
        *("gateway", "number", "known", "unknown", "unreadable", "missed"),
    ),
    "feed page not written": _error(
        "A part of an upstream's feed is written down in smaller parts.", "gateway", "error"
    ),
    "feed sync waits": _warning(
        "The upstream, or the database, is away; it is tried again.", "seconds", "reason"
    ),
    "contacts asked": _info(
        "The contact register was asked.", "kind", "number", "outcome", "duration_ms"
    ),
    "contacts not looked up": _warning(
        "The contact register did not answer; the plans are postponed.", "plans", "reason"
    ),
    "condition answered": _info("A condition endpoint said yes or no.", "asker", "met"),
    "condition inconclusive": _info(
        "A condition endpoint gave no clear answer.", "asker", "reason"
    ),
    "condition failed": _warning("Asking a condition endpoint went wrong.", "asker", "error"),
    "plan not understood": _error(
        "The recipient of a plan cannot be read; it is postponed.", "shipment", "error"
    ),
    "not planned": _error("A plan went wrong; it is postponed.", "shipment", "error"),
    "task failed": _error("A task for the queue failed; its rows come again.", "error"),
    "not put in the queue yet": _warning("A sweep makes up for it.", "error"),
    "signal receiver failed": _error(
        "A receiver of `status_changed` raised; nothing else is changed by that.",
        *("receiver", "error"),
    ),
    "upkeep failed": _error("A row could not be seen to; the others were.", "row", "error"),
    "upkeep chore failed": _error("The database did not let a chore go on.", "chore", "error"),
    "token refused": _info("A bearer token proves nothing.", "reason"),
    "token keys not fetched": _warning(
        "The keys of a token issuer could not be fetched; the old ones hold.", "error"
    ),
    "unexpected": _error("The API answered 500.", "trace_id", "error"),
    "not configured": _error("The API answered 503: a setting is missing.", "trace_id", "reason"),
    "database away": _error("The API answered 503.", "trace_id", "error"),
    "codes are not verified": _warning(
        "Codes to a prefix or country are asked for and not verified.",
        *("subject", "sent", "verified", "policy"),
    ),
    "share of verified codes not kept": _warning(
        "A code sent or verified is missing in the guard's figures.", "error"
    ),
    "refusal not counted": _warning("A refusal is missing in the console's figures.", "error"),
    "ciphertext unreadable": _error("No key in force opens a stored value.", "field"),
    "tables not read": _warning("The gauges of the tables are missing in a scrape.", "error"),
    "telemetry failed": _warning("A span or a metric is lost; the work itself went on.", "error"),
}
"""By name. Names and fields stay; there may come more."""


@lru_cache(maxsize=256)
def read(template: str) -> tuple[str, Sequence[str]] | None:
    """The event's name and its fields; ``None`` for a text that is none of ours."""
    found = _template(template)
    return (found[1], _key(found[2])) if found else None


def fields_of(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """The event's name and its fields' values; a blank name for what is none of ours."""
    if record.name.partition(".")[0] != NAME or not isinstance(record.msg, str):
        return "", {}
    name, keys = read(record.msg) or ("", ())
    values = record.args if isinstance(record.args, tuple) else ()
    return name, dict(zip(keys, map(_plain, values), strict=False))


def _plain(value: object) -> object:
    return value if isinstance(value, int | float | None) else str(value)


class AddEvent(logging.Filter):
    """Lets every record through, with ``event`` and ``fields`` for the formatter."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.event, record.fields = fields_of(record)
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object to a line: time, level, logger, event, the event's fields, message."""

    def format(self, record: logging.LogRecord) -> str:
        event, fields = fields_of(record)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": event,
            "fields": fields,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
