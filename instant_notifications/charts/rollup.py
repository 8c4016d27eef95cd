"""Sums up the history, five minutes to a row, each of its lines once."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final

from django.db import transaction
from django.db.models import Max, QuerySet
from django.utils import timezone

from instant_notifications.charts.sums import Line, Sums
from instant_notifications.conf import settings
from instant_notifications.models import Figures, StatusEvent, can_skip_locked, primary

WIDTH: Final = timedelta(minutes=5)
KEPT: Final = timedelta(days=8)
BATCH: Final = 5000
MOST_COUNTED: Final = 100_000

CURSOR: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The row of these five minutes tells how far the history is counted. It is locked by whoever
counts, from its first reading to the commit, and never deleted."""

SLOWEST_COMMIT: Final = timedelta(seconds=10)


def uncounted(now: datetime) -> QuerySet[StatusEvent]:
    """Lines that are still to be counted, at most ``MOST_COUNTED`` of them."""
    cursor = _rows().filter(pk=CURSOR).values_list("last_event", flat=True).first()
    ahead = _lines_after(_last_before(now - KEPT) if cursor is None else cursor)
    return ahead.filter(at__lte=_settled(now))[:MOST_COUNTED]


def sum_up() -> Iterator[int]:
    """Count what waits, batch by batch, and forget what is old; yields the numbers of lines.

    On a history older than the figures it begins as far back as they go.
    """
    _set_out()
    while number := _sum_up_batch():
        yield number
    _rows().filter(began_at__gt=CURSOR, began_at__lt=timezone.now() - KEPT).delete()


def _set_out() -> None:
    if not _rows().filter(pk=CURSOR).exists():
        start = _last_before(timezone.now() - KEPT)
        _rows().get_or_create(pk=CURSOR, defaults={"last_event": start, "sums": {}})


def _sum_up_batch() -> int:
    """Nothing while another process is at it."""
    with transaction.atomic(using=primary()):
        cursor = _rows().select_for_update(skip_locked=can_skip_locked()).filter(pk=CURSOR).first()
        lines = _settled_after(cursor.last_event) if cursor else []
        if lines:
            _add(lines)
            _rows().filter(pk=CURSOR).update(last_event=lines[-1].pk)
        return len(lines)


def _settled_after(key: int) -> Sequence[Line]:
    """The lines after this one up to the first that may still have an uncommitted one before it."""
    settled = _settled(timezone.now())
    batch = _lines_after(key).values_list(*Line._fields)[:BATCH]
    # One from a clock that is ahead would hold the others up until its time comes.
    ahead = timezone.now() + SLOWEST_COMMIT
    is_settled = lambda line: line.at <= settled or line.at > ahead  # noqa: E731
    return list(takewhile(is_settled, map(Line._make, batch)))


def _settled(now: datetime) -> datetime:
    """Keys are given before the commit, so that a later one may be seen first. A call's line may
    moreover be written as late as the end of its hand-over."""
    return now - timedelta(seconds=settings.HANDOVER_BUDGET) - SLOWEST_COMMIT


def _add(lines: Sequence[Line]) -> None:
    """To the rows of their five minutes, which nobody else writes meanwhile."""
    sums: defaultdict[datetime, Sums] = defaultdict(Sums)
    for line in lines:
        sums[began_at(line.at)].add(line)
    known = _rows().in_bulk(sums)
    for began, row in known.items():
        sums[began].merge(Sums.from_json(row.sums))
    rows = [
        Figures(began_at=began, last_event=lines[-1].pk, sums=each.to_json())
        for began, each in sums.items()
    ]
    _rows().bulk_update([row for row in rows if row.pk in known], ["last_event", "sums"])
    _rows().bulk_create([row for row in rows if row.pk not in known])


def began_at(moment: datetime) -> datetime:
    """The beginning of the five minutes that it falls into."""
    return moment - (moment - CURSOR) % WIDTH


def _last_before(moment: datetime) -> int:
    """The key of the last line from before this moment: by halves, as times have no index."""
    low, high = 0, _lines_after(0).aggregate(last=Max("pk"))["last"] or 0
    while low < high:
        middle = (low + high + 1) // 2
        line = _lines_after(middle - 1).values_list("at", flat=True).first()
        if line is not None and line < moment:
            low = middle
        else:
            high = middle - 1
    return low


def _lines_after(key: int) -> QuerySet[StatusEvent]:
    return StatusEvent.objects.using(primary()).filter(pk__gt=key).order_by("pk")


def _rows() -> QuerySet[Figures]:
    return Figures.objects.using(primary())
