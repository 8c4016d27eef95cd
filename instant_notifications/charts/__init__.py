"""How things go: figures of the last hour, day or week, read without scanning the history.

They are the sums of ``rollup`` and, so that they are right without it too, the newest lines that it
has not counted yet.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from instant_notifications.charts.rollup import CURSOR
from instant_notifications.charts.sums import Line, Sums
from instant_notifications.models import Figures, StatusEvent, primary

MOST_LIVE: Final = 20_000
"""Lines read that have not been summed up."""


@dataclass(frozen=True, slots=True)
class Span:
    step: timedelta
    """A whole number of the five minutes that figures are kept of."""
    steps: int


SPANS: Final[Mapping[str, Span]] = {
    "hour": Span(timedelta(minutes=5), 12),
    "day": Span(timedelta(hours=1), 24),
    "week": Span(timedelta(hours=6), 28),
}


@dataclass(frozen=True, slots=True)
class Period:
    began_at: datetime
    sums: Sums = field(default_factory=Sums)


@dataclass(frozen=True, slots=True)
class Course:
    """How things went, period by period."""

    periods: Sequence[Period]
    total: Sums
    is_behind: bool
    """More lines wait to be summed up than were looked at: the figures are too low."""


def course(span: Span, now: datetime) -> Course:
    """The whole span and the period that has begun; periods keep to the clock in force."""
    periods = [Period(begin) for begin in _beginnings(span, now)]
    begin = periods[0].began_at
    cursor = 0
    for began_at, last_event, stored in _rows_since(begin):
        if began_at == CURSOR:
            cursor = last_event
        elif period := _period_of(began_at, periods, span):
            period.sums.merge(Sums.from_json(stored))
    live = _live_lines(cursor)
    for line in live[:MOST_LIVE]:
        if period := _period_of(line.at, periods, span):
            period.sums.add(line)
    is_behind = len(live) > MOST_LIVE and live[-1].at >= begin
    return Course(periods, _total(periods), is_behind)


def _beginnings(span: Span, now: datetime) -> Sequence[datetime]:
    midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0, microsecond=0)
    midnight = midnight.astimezone(now.tzinfo)
    last = midnight + (now - midnight) // span.step * span.step
    return [last - back * span.step for back in range(span.steps, -1, -1)]


def _rows_since(begin: datetime) -> Iterable[tuple[datetime, int, dict[str, object]]]:
    """With the cursor that they agree with: one statement sees one moment."""
    rows = Figures.objects.using(primary()).filter(Q(began_at__gte=begin) | Q(began_at=CURSOR))
    return rows.values_list("began_at", "last_event", "sums")


def _live_lines(cursor: int) -> Sequence[Line]:
    """The newest first, and one more than is looked at if there are more."""
    lines = StatusEvent.objects.using(primary()).filter(pk__gt=cursor).order_by("-pk")
    return list(map(Line._make, lines.values_list(*Line._fields)[: MOST_LIVE + 1]))


def _period_of(moment: datetime, periods: Sequence[Period], span: Span) -> Period | None:
    index = (moment - periods[0].began_at) // span.step
    return periods[index] if 0 <= index < len(periods) else None


def _total(periods: Sequence[Period]) -> Sums:
    total = Sums()
    for period in periods:
        total.merge(period.sums)
    return total
