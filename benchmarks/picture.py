"""Latency and throughput against the number of clients, drawn as SVG for light and dark pages."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log2, log10
from typing import Final

from benchmarks.load import CLIENTS, Curves, Point

WIDTH: Final = 360
HEIGHT: Final = 250
"""Of one chart with its margins."""
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 40, 40
LEGEND: Final = 30

STYLE: Final = """
  text { font: 12px system-ui, sans-serif; fill: #333 }
  .title { font-weight: 600 }
  .paper { fill: #fff }
  .grid { stroke: #ddd }
  .line { fill: none; stroke-width: 2 }
  .wide { stroke-dasharray: 5 4 }
  .ours { stroke: #0a5fb4 }
  .floor { stroke: #b35900 }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd }
    .paper { fill: #161b22 }
    .grid { stroke: #3a414b }
    .ours { stroke: #6cb0f5 }
    .floor { stroke: #f0a35e }
  }
"""

Scale = Callable[[float], float]
"""From a value to its height, 0 at the bottom and 1 at the top."""


@dataclass(frozen=True)
class Axis:
    title: str
    marks: Sequence[float]
    scale: Scale
    lines: Mapping[str, Callable[[Point], float]]
    """What is drawn, by its class; the same for ours and for the floor."""


def drawn(curves: Mapping[str, Curves]) -> str:
    """A row for each database: latency, and throughput."""
    width, height = 2 * WIDTH, len(curves) * HEIGHT + LEGEND
    charts = [
        _moved(column * WIDTH, row * HEIGHT + LEGEND, _chart(f"{name}: {axis.title}", each, axis))
        for row, (name, each) in enumerate(curves.items())
        for column, axis in enumerate((_latency(each), _throughput(each)))
    ]
    begin = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' aria-label="Latency and throughput of ours and of the floor against clients">'
    )
    paper = f'<rect class="paper" width="{width}" height="{height}" rx="8"/>'
    return "\n".join([begin, f"<style>{STYLE}</style>", paper, *_legend(), *charts, "</svg>\n"])


def _points(curves: Curves) -> Iterable[Point]:
    return [point for curve in curves.values() for point in curve]


def _latency(curves: Curves) -> Axis:
    """In decades, for it grows with the clients."""
    lowest = floor(log10(min(point.p50 for point in _points(curves)) * 1000))
    highest = ceil(log10(max(point.p95 for point in _points(curves)) * 1000))
    return Axis(
        "milliseconds",
        [10.0**decade for decade in range(lowest, highest + 1)],
        lambda value: (log10(value) - lowest) / (highest - lowest),
        {"line": lambda point: point.p50 * 1000, "line wide": lambda point: point.p95 * 1000},
    )


def _throughput(curves: Curves) -> Axis:
    highest = max(point.rate for point in _points(curves))
    step = next(step for step in _round_numbers() if 5 * step >= highest)
    marks = [float(step * number) for number in range(ceil(highest / step) + 1)]
    return Axis(
        "messages a second",
        marks,
        lambda value: value / marks[-1],
        {"line": lambda point: point.rate},
    )


def _round_numbers() -> Iterator[int]:
    size = 1
    while True:
        yield from (size, 2 * size, 5 * size)
        size *= 10


def _legend() -> Iterable[str]:
    words = {
        "line ours": "ours, p50",
        "line wide ours": "ours, p95",
        "line floor": "floor, p50",
        "line wide floor": "floor, p95",
    }
    for place, (classes, text) in enumerate(words.items()):
        x = LEFT + place * 130
        yield f'<path class="{classes}" d="M{x} 22h28"/><text x="{x + 34}" y="26">{text}</text>'


def _chart(title: str, curves: Curves, axis: Axis) -> Iterator[str]:
    yield f'<text class="title" x="{LEFT}" y="{TOP - 14}">{title}</text>'
    for mark in axis.marks:
        y = _y(axis.scale(mark))
        yield f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{mark:,g}</text>'
    for number in CLIENTS:
        place = f'x="{_x(number)}" y="{HEIGHT - BOTTOM + 18}"'
        yield f'<text {place} text-anchor="middle">{number}</text>'
    yield f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">clients</text>'
    for who, curve in curves.items():
        for classes, value in axis.lines.items():
            places = " ".join(f"{_x(each.clients)},{_y(axis.scale(value(each)))}" for each in curve)
            yield f'<polyline class="{classes} {who}" points="{places}"/>'


def _moved(x: int, y: int, parts: Iterable[str]) -> str:
    return "\n".join([f'<g transform="translate({x} {y})">', *parts, "</g>"])


def _x(clients: int) -> float:
    """Each doubling is one step."""
    return round(LEFT + (WIDTH - LEFT - RIGHT) * log2(clients) / log2(CLIENTS[-1]), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)
