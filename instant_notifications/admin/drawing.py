"""Where the parts of a chart stand. The templates draw them; what they look like is CSS."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, floor, log, log10
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from instant_notifications.charts.sums import EDGES, Cells, end_of

WIDTH: Final = 640
HEIGHT: Final = 250
LEFT: Final = 50
RIGHT: Final = 10
TOP: Final = 16
BOTTOM: Final = 30
FLOOR: Final = HEIGHT - BOTTOM
GAP: Final = 0.16
"""The part of a bar's room that stays free."""


@dataclass(frozen=True, slots=True)
class Block:
    """One part of a bar."""

    fill: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    """Shown when one points at it."""
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the chart, and what it says."""

    at: float
    label: str
    is_minor: bool = False
    """Left out where there is little room."""


@dataclass(frozen=True, slots=True)
class Chart:
    bars: Sequence[Bar]
    heights: Sequence[Mark]
    marks: Sequence[Mark]
    """Along the bottom."""
    flags: Sequence[Mark] = ()
    """Standing out from the rest."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    floor: int = FLOOR


Stack = tuple[str, Mapping[str, int]]
"""The label of a bar, and how many there are of each fill."""


def stacked(stacks: Sequence[Stack], marks: Sequence[Mark] = ()) -> Chart:
    """A bar for each, with a block for each of its fills, the first at the bottom."""
    highest = max(sum(numbers.values()) for _, numbers in stacks)
    heights = _round_heights(highest)
    scale = (FLOOR - TOP) / heights[-1]
    return Chart(
        bars=[
            Bar(label, list(_blocks(numbers, n, len(stacks), scale)))
            for n, (label, numbers) in enumerate(stacks)
        ],
        heights=[Mark(round(FLOOR - each * scale, 1), count(each)) for each in heights],
        marks=marks,
    )


def _blocks(numbers: Mapping[str, int], n: int, bars: int, scale: float) -> Iterator[Block]:
    left, right = _x(n + GAP / 2, bars), _x(n + 1 - GAP / 2, bars)
    y: float = FLOOR
    for fill, number in numbers.items():
        height = number * scale
        y -= height
        if number:
            yield Block(fill, left, round(y, 1), round(right - left, 1), round(height, 1))


def _x(place: float, bars: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * place / bars, 1)


def count(number: int) -> str:
    return number_format(number, 0, force_grouping=True)


def _round_heights(highest: int) -> Sequence[int]:
    """Whole and round numbers from nought to the highest bar or just above it, five at most."""
    step = next(step for step in _round_numbers() if step * 4 >= highest)
    return range(0, step * max(1, ceil(highest / step)) + 1, step)


def _round_numbers() -> Iterator[int]:
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


def clock_marks(
    begins: Sequence[datetime], step: timedelta, every: timedelta, written: str
) -> Sequence[Mark]:
    """At the bars in which a round time of the reader's clock falls; every second one is minor."""
    marks = []
    for n, begin in enumerate(begins):
        wall = timezone.localtime(begin).replace(tzinfo=None)
        round_time = wall + (MIDNIGHT - wall) % every
        if round_time < wall + step:
            is_minor = (round_time - MIDNIGHT) // every % 2 == 1
            marks.append(Mark(_x(n, len(begins)), date_format(round_time, written), is_minor))
    return marks


MIDNIGHT: Final = datetime(2000, 1, 1)  # noqa: DTZ001 (of any wall clock)


def distribution(times: Cells, flags: Mapping[str, float]) -> Chart:
    """A bar for each cell of durations, from the shortest to the longest that occur."""
    first, last = min(times), max(max(times), min(times) + FEWEST_CELLS)
    bars = [(_up_to(cell, times[cell]), {"times": times[cell]}) for cell in range(first, last + 1)]
    placed = {seconds: _edge(seconds) + 1 - first for seconds in (*ROUND_TIMES, *flags.values())}
    return replace(
        stacked(bars),
        marks=[
            Mark(_x(placed[seconds], len(bars)), duration(seconds))
            for seconds in ROUND_TIMES
            if 0 <= placed[seconds] <= len(bars)
        ],
        flags=[Mark(_x(placed[seconds], len(bars)), name) for name, seconds in flags.items()],
    )


def _up_to(cell: int, number: int) -> str:
    written = {"time": duration(end_of(cell)), "number": count(number)}
    return str(_("up to about %(time)s: %(number)s")) % written


FEWEST_CELLS: Final = 12
ROUND_TIMES: Final = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 36000.0, 172800.0)


def _edge(seconds: float) -> float:
    """Where it stands among the edges, which grow by the same factor."""
    return log(seconds / EDGES[0]) / log(EDGES[-1] / EDGES[0]) * (len(EDGES) - 1)


def duration(seconds: float) -> str:
    """Two figures and a unit: 420 ms, 2.1 s, 15 min."""
    unit, written = next(each[1:] for each in _UNITS if seconds < each[0])
    return str(written) % {"number": _two_figures(seconds / unit)}


def _two_figures(number: float) -> str:
    decimals = 1 - floor(log10(number)) if number else 0
    rounded = round(number, decimals)
    return number_format(rounded, max(0, decimals) if rounded % 1 else 0)


_UNITS: Final[Sequence[tuple[float, float, Promise]]] = (
    (0.9995, 0.001, _("%(number)s ms")),
    (60, 1, _("%(number)s s")),
    (3600, 60, _("%(number)s min")),
    (86400, 3600, _("%(number)s h")),
    (float("inf"), 86400, _("%(number)s d")),
)
"""Durations below so many seconds, in units of so many, and how they are written."""
