"""What a measurement hands back, and how it is printed."""

from collections.abc import Sequence
from dataclasses import dataclass

ROW = "  {:44} {:>10} {:>10} {:>7} {:>7}  {}"


@dataclass(frozen=True)
class Figure:
    """One line of a table: two things measured in one run, and their ratio."""

    name: str
    ours: str
    floor: str
    """What ours is held against."""
    ratio: float | None = None
    goal: float | None = None
    """The most that the ratio should be; ``None`` where it is only told."""

    @property
    def over(self) -> bool:
        return self.goal is not None and self.ratio is not None and self.ratio > self.goal


@dataclass(frozen=True)
class Table:
    title: str
    figures: Sequence[Figure]
    ours: str = "ours"
    floor: str = "floor"
    remarks: Sequence[str] = ()
    """What belongs to the figures and is no ratio."""


def show(table: Table) -> None:
    print(f"\n{table.title}")
    print(ROW.format("", table.ours, table.floor, "ratio", "goal", "").rstrip())
    for figure in table.figures:
        print(_row(figure), flush=True)
    for remark in table.remarks:
        print(f"  {remark}", flush=True)


def _row(figure: Figure) -> str:
    return ROW.format(
        figure.name,
        figure.ours,
        figure.floor,
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if figure.goal is None else f"≤ {figure.goal}",
        "over" if figure.over else "",
    ).rstrip()


def in_ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def per_second(number: float) -> str:
    return f"{number:.0f}/s"
