"""What a measurement hands back, and how it is printed.

Two things are measured in turn, so that whatever else the machine does slows both. A figure's ratio
is the median of those of turns that followed each other; it says how many times as long ours takes,
so that less is better wherever it stands.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

ROW = "  {:52} {:>10} {:>10} {:>7} {:>14} {:>7}  {}"


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
    spread: tuple[float, float] | None = None
    """Between these lies the middle half of the ratios."""
    used_up: str = ""
    """What was at its end, so that a goal that was missed says nothing of ours."""

    @property
    def verdict(self) -> str:
        if self.goal is None or self.ratio is None:
            return ""
        return "met" if self.ratio <= self.goal else self.used_up or "missed"

    def cells(self) -> Sequence[str]:
        """All but the name, as they are read."""
        return (
            self.ours,
            self.floor,
            "" if self.ratio is None else f"{self.ratio:.2f}",
            "" if self.spread is None else "{:.2f} to {:.2f}".format(*self.spread),
            "" if self.goal is None else f"≤ {self.goal:.2f}",
            self.verdict,
        )


@dataclass(frozen=True)
class Table:
    title: str
    figures: Sequence[Figure]
    ours: str = "ours"
    floor: str = "floor"
    remarks: Sequence[str] = ()
    """What belongs to the figures and is no ratio."""


def in_turn(rounds: int, *acts: Callable[[], float]) -> Sequence[Sequence[float]]:
    """What each act measures, round for round; in every second round they go the other way."""
    measured: Sequence[list[float]] = [[] for _ in acts]
    pairs = list(zip(acts, measured, strict=True))
    for number in range(rounds):
        for act, results in pairs if number % 2 else reversed(pairs):
            results.append(act())
    return measured


def of_times(
    name: str, ours: Sequence[float], floor: Sequence[float], *, goal: float | None = None
) -> Figure:
    """Of the seconds that each took, turn for turn."""
    ratios = [mine / theirs for mine, theirs in zip(ours, floor, strict=True)]
    return _figure(name, in_ms(median(ours)), in_ms(median(floor)), ratios, goal)


def of_rates(
    name: str, ours: Sequence[float], floor: Sequence[float], *, goal: float | None = None
) -> Figure:
    """Of how many each did in a second, turn for turn."""
    ratios = [theirs / mine for mine, theirs in zip(ours, floor, strict=True)]
    return _figure(name, per_second(median(ours)), per_second(median(floor)), ratios, goal)


def _figure(
    name: str, ours: str, floor: str, ratios: Sequence[float], goal: float | None
) -> Figure:
    return Figure(name, ours, floor, median(ratios), goal, _middle_half(ratios))


def _middle_half(ratios: Sequence[float]) -> tuple[float, float] | None:
    if len(ratios) < 2:
        return None
    low, _, high = quantiles(ratios, n=4, method="inclusive")
    return low, high


def quantile(numbers: Sequence[float], percent: int) -> float:
    return quantiles(numbers, n=100, method="inclusive")[percent - 1]


def show(table: Table) -> None:
    print(f"\n{table.title}")
    _print_row("", [table.ours, table.floor, "ratio", "middle half", "goal", ""])
    for figure in table.figures:
        _print_row(figure.name, figure.cells())
    for remark in table.remarks:
        print(f"  {remark}", flush=True)


def _print_row(name: str, cells: Iterable[str]) -> None:
    print(ROW.format(name, *cells).rstrip(), flush=True)


def in_ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def per_second(number: float) -> str:
    return f"{number:,.0f}/s"
