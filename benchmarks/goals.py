"""What we want to reach, and whether we do: the figures of several measurements that have goals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import growth, sending, slow_gateway, sync
from benchmarks.figures import Table

PARTS: Final = (sending, slow_gateway, growth, sync)
FULL: Final = [part.FULL for part in PARTS]
QUICK: Final = [part.QUICK for part in PARTS]


def tables_of(name: str, directory: Path, efforts: Sequence[Any]) -> Iterable[Table]:
    for part, effort in zip(PARTS, efforts, strict=True):
        yield from part.tables_of(name, directory, effort)


def table_of(measured: Mapping[str, Sequence[Table]]) -> Table:
    """A row for each goal and database, from what was measured of each database."""
    rows = [
        (figure, name)
        for name, tables in measured.items()
        for table in tables
        for figure in table.figures
        if figure.goal is not None
    ]
    order = list(dict.fromkeys(figure.name for figure, _ in rows))
    rows.sort(key=lambda row: order.index(row[0].name))
    return Table(
        "The goals",
        [replace(figure, name=f"{figure.name}: {name}") for figure, name in rows],
        floor="against",
        remarks=[
            f"{name}: {remark}"
            for name, tables in measured.items()
            for table in tables
            for remark in table.remarks
        ],
    )
