"""What can be watched from outside: spans for OpenTelemetry, counters for Prometheus.

Both are extras; without them nothing here does anything. What goes wrong with them is logged and
raised to nobody: a message matters more than what is told of it. Nothing personal is told. Labels
are words and aliases, of which there are few; ids are told to spans alone.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from instant_notifications import __version__, privacy

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

logger = logging.getLogger("instant_notifications")

NAME: Final = "instant_notifications"


def _tracer() -> "Tracer | None":
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace.get_tracer(NAME, __version__)


tracer = _tracer()
"""The host's, whenever it sets one up; ``None`` without the extra."""


@contextmanager
def _at_no_risk() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 (the SDK and its exporters are the host's)
        logger.warning("telemetry failed error=%s", privacy.place_of(error, frames=1))


class Span:
    """A stretch of work. This one tells nobody."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        """What is raised within goes on."""

    def tell(self, **facts: object) -> None:
        """What has become known since it began."""


class _Told(Span):
    """The text of an exception is not told: it may quote what must not be seen."""

    def __init__(self, name: str, facts: dict[str, object]) -> None:
        self._name, self._facts = name, facts
        self._span: Any = None

    def __enter__(self) -> Self:
        with _at_no_risk():
            assert tracer is not None  # noqa: S101 (for the type checker)
            self._opened = tracer.start_as_current_span(f"{NAME}.{self._name}")
            self._span = self._opened.__enter__()
        self.tell(**self._facts)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        if self._span is None:
            return
        with _at_no_risk():
            if kind is not None:
                from opentelemetry.trace import StatusCode

                self._span.set_attribute("error.type", kind.__name__)
                self._span.set_status(StatusCode.ERROR)
            self._opened.__exit__(None, None, None)  # never the error: it would be quoted

    def tell(self, **facts: object) -> None:
        if self._span is None or not self._span.is_recording():
            return
        with _at_no_risk():
            for name, value in facts.items():
                if value is not None:
                    plain = value if isinstance(value, int | float) else str(value)
                    self._span.set_attribute(f"{NAME}.{name}", plain)


_UNTOLD: Final = Span()


def span(name: str, **facts: object) -> Span:
    """Around a stretch of work: ``with span("send", channel="sms") as told: …``."""
    return _UNTOLD if tracer is None else _Told(name, facts)


def _prometheus() -> Any:
    try:
        import prometheus_client
    except ImportError:
        return None
    return prometheus_client


prometheus = _prometheus()


class _Metric:
    """One that the process counts; a Prometheus metric of the default registry."""

    _suffix = ""

    def __init__(self, name: str, meaning: str, *labels: str) -> None:
        self.name, self.meaning, self.labels = f"{NAME}_{name}{self._suffix}", meaning, labels
        self._metric = None if prometheus is None else self._made()

    def _made(self) -> Any:
        raise NotImplementedError


class Counter(_Metric):
    _suffix = "_total"

    def _made(self) -> Any:
        return prometheus.Counter(self.name, self.meaning, self.labels)

    def add(self, number: int = 1, **labels: str) -> None:
        if self._metric is not None and number:
            with _at_no_risk():
                self._metric.labels(**labels).inc(number)


class Histogram(_Metric):
    def _made(self) -> Any:
        return prometheus.Histogram(self.name, self.meaning, self.labels, buckets=SECONDS)

    def observe(self, seconds: float, **labels: str) -> None:
        if self._metric is not None:
            with _at_no_risk():
                self._metric.labels(**labels).observe(seconds)


SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

HANDOVERS: Final = Histogram(
    "handover_seconds",
    "How long gateways took to answer, and what came of it: taken, refused, not_sent, unknown, or "
    "passed_over where one was not asked.",
    *("gateway", "channel", "outcome"),
)
RECEIPTS: Final = Counter(
    "receipts",
    "Receipts that gateways pushed; unmatched belong to no message we know yet.",
    *("gateway", "result"),
)
PUSHES_REFUSED: Final = Counter(
    "receipt_pushes_refused",
    "Pushes of receipts that were answered with an error.",
    *("gateway", "status"),
)
FEED_ENTRIES: Final = Counter(
    "feed_sync_entries",
    "What was read of upstreams' feeds: known, unknown, unreadable or missed.",
    *("gateway", "result"),
)
API_ANSWERS: Final = Counter(
    "api_answers",
    "Answers of the API, with the problem's code where it is one.",
    *("route", "status", "problem"),
)
GUARD_REFUSALS: Final = Counter("guard_refusals", "What the guard refused, and why.", "reason")
CODES_SENT: Final = Counter(
    "codes_sent",
    "One-time codes asked for: sent, or what stood in the way.",
    *("channel", "outcome"),
)
CODES_TRIED: Final = Counter(
    "codes_tried", "One-time codes typed in: verified, or why not.", "result"
)
