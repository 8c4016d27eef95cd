"""What Prometheus is given: gauges of the tables, asked of the database by each scrape.

They are the same in every process, and right whichever of them is asked. What processes count by
themselves is in ``telemetry``. This module needs the extra ``prometheus``.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import DatabaseError, InterfaceError, connections
from django.utils import timezone
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from instant_notifications import health, privacy, telemetry
from instant_notifications.charts import waiting
from instant_notifications.charts.queue import queue
from instant_notifications.conf import settings
from instant_notifications.models import FeedCursor, GatewayState, primary

logger = logging.getLogger("instant_notifications")

Values = Mapping[str, float]
"""By gateway; blank where there is but one."""


@dataclass(frozen=True, slots=True)
class Gauge:
    name: str
    meaning: str
    labels: Sequence[str] = ()

    def filled(self, values: Values) -> Metric:
        family = GaugeMetricFamily(self.name, self.meaning, labels=self.labels)
        for gateway, value in values.items():
            family.add_metric([gateway] if self.labels else [], value)
        return family


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    return Gauge(f"{telemetry.NAME}_{name}", meaning, labels)


READABLE: Final = _gauge(
    "tables_readable", "1 if the database let the other gauges be read, else 0."
)
DUE: Final = _gauge("due", "Shipments to plan and messages to hand over now.")
LATER: Final = _gauge("due_later", "Those that wait for their time.")
OLDEST: Final = _gauge("oldest_due_seconds", "How long the oldest has been due; 0 for none.")
STUCK: Final = _gauge("claims_stuck", "Put in a queue, and nobody came back to them.")
TAKEN: Final = _gauge("taken_a_minute", "Messages that gateways took in the last minute.")
WAITING: Final[Mapping[str, Gauge]] = {
    "lapsed": _gauge("handovers_lapsed", "Hand-overs whose worker has not come back."),
    "overdue": _gauge("overdue", "Messages past their expiry without a last word."),
    "in_doubt": _gauge("in_doubt", "Messages that may or may not have been sent."),
    "unmatched": _gauge("receipts_unmatched", "Receipts that match no message."),
}
SWITCHED_OFF: Final = _gauge("gateway_switched_off", "1 if an operator has, else 0.", "gateway")
PASSED_OVER: Final = _gauge(
    "gateway_passed_over", "1 while it is not asked because it keeps failing, else 0.", "gateway"
)
FAILURES: Final = _gauge("gateway_failures", "Calls in a row that failed by its fault.", "gateway")
FEED_NUMBER: Final = _gauge("feed_number", "How far an upstream's feed was read.", "gateway")
FEED_READ: Final = _gauge(
    "feed_read_timestamp_seconds", "When an upstream's feed last had something new.", "gateway"
)
GAUGES: Final = (
    *(READABLE, DUE, LATER, OLDEST, STUCK, TAKEN, *WAITING.values()),
    *(SWITCHED_OFF, PASSED_OVER, FAILURES, FEED_NUMBER, FEED_READ),
)


class Tables(Collector):
    """Costs the same few statements at each scrape, none of which reads a table through."""

    def describe(self) -> Iterable[Metric]:
        """So that no database is needed to register it."""
        return [gauge.filled({}) for gauge in GAUGES]

    def collect(self) -> Iterator[Metric]:
        try:
            found = _read(timezone.now())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("tables not read error=%s", privacy.place_of(error, frames=1))
            found = {READABLE: {"": 0}}
        yield from (gauge.filled(values) for gauge, values in found.items())


TABLES: Final = Tables()
# For whoever asks the default registry: our view, django-prometheus, prometheus-client's server.
REGISTRY.register(TABLES)


def page(accept: str) -> tuple[bytes, str]:
    """All metrics of this process, or of all if they share a directory, and their media type."""
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it names a version that is none
        encode, content_type = choose_encoder("")
    return encode(_registry()), content_type


def _registry() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(TABLES)
    return registry


def _read(now: datetime) -> Mapping[Gauge, Values]:
    connection = connections[primary()]
    found_open = connection.connection is not None
    try:
        return {READABLE: {"": 1}, **_queue(now), **_waiting(now), **_gateways(), **_feeds()}
    finally:
        if not found_open:  # a server of prometheus-client's has a new thread for each scrape
            connection.close()


def _queue(now: datetime) -> Mapping[Gauge, Values]:
    state = queue(now)
    return {
        DUE: {"": state.due.number},
        LATER: {"": state.later.number},
        OLDEST: {"": state.oldest.total_seconds() if state.oldest else 0},
        STUCK: {"": state.stuck.number},
        TAKEN: {"": state.taken_a_minute.number},
    }


def _waiting(now: datetime) -> Mapping[Gauge, Values]:
    return {WAITING[name]: {"": count.number} for name, count in waiting.counts(now).items()}


def _gateways() -> Mapping[Gauge, Values]:
    aliases = list(settings.GATEWAYS)
    known = health.states_of(aliases)
    states = {alias: known.get(alias, GatewayState()) for alias in aliases}

    def of_each(what: Callable[[GatewayState], float]) -> Values:
        return {alias: what(state) for alias, state in states.items()}

    return {
        SWITCHED_OFF: of_each(lambda state: bool(state.switched_off_at)),
        PASSED_OVER: of_each(health.is_passed_over),
        FAILURES: of_each(lambda state: state.failures),
    }


def _feeds() -> Mapping[Gauge, Values]:
    cursors = list(FeedCursor.objects.using(primary()).filter(pk__in=list(settings.GATEWAYS)))
    return {
        FEED_NUMBER: {each.gateway: each.number for each in cursors},
        FEED_READ: {each.gateway: each.read_at.timestamp() for each in cursors if each.read_at},
    }
