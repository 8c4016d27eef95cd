"""What lines of the history say, in numbers that can be added to each other."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import accumulate
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from instant_notifications.models.identifiers import made_at
from instant_notifications.statuses import FINAL_STAGES, STAGES, Outcome, Stage

MOST_REASONS: Final = 30
"""Different reasons kept of five minutes; what comes after them is counted as other."""
LONGEST_WORD: Final = 80
OTHER: Final = ("", "", "")
"""Stands for the reasons that were too many."""

EDGES: Final[Sequence[float]] = tuple(round(10 ** (step / 13), 4) for step in range(-17, 70))
"""Seconds at which one cell ends and the next begins: 50 ms to two days in steps of 19 %, exact at
1 and at 10. Stored figures name cells by their number, so that another table would misread them.
"""

Cells = Counter[int]
"""How many durations fell into each cell: cell ``n`` ends at ``EDGES[n]``, the last has no end."""


class Line(NamedTuple):
    """What is read of a line of the history, by the names of its columns."""

    pk: int
    at: datetime
    delivery_id: UUID
    from_status: str
    to_status: str
    gateway: str
    outcome: str
    gateway_word: str
    delivery__daytime: bool
    """It had to wait for the morning, which says nothing of how fast we are."""

    @property
    def end(self) -> Stage | None:
        """The end that the message came to with this line."""
        stage = STAGES[self.to_status]
        return stage if self.from_status != self.to_status and stage in FINAL_STAGES else None

    @property
    def seconds_since_asked(self) -> float:
        """The id of a delivery tells when it was made."""
        return (self.at - made_at(self.delivery_id)).total_seconds()


@dataclass(frozen=True, slots=True)
class Sums:
    """Every field is a count by something, so that sums are merged by addition."""

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By gateway and outcome; one that was passed over has its line too."""
    ends: Counter[str] = field(default_factory=Counter)
    """By stage, each as it happened: an expiry that a receipt corrects counts as both."""
    handover_times: Cells = field(default_factory=Counter)
    """From the request until a gateway took it."""
    delivery_times: Cells = field(default_factory=Counter)
    """From the request until it was known to have arrived."""
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Of failures and expiries, by status word, gateway and the gateway's own word."""

    def add(self, line: Line) -> None:
        if line.outcome:
            self.calls[line.gateway, line.outcome] += 1
        is_timed = not line.delivery__daytime
        if line.outcome == Outcome.TAKEN and is_timed:
            self.handover_times[cell_of(line.seconds_since_asked)] += 1
        if end := line.end:
            self.ends[end.value] += 1
            if end is Stage.DELIVERED:
                self.delivery_times.update([cell_of(line.seconds_since_asked)] * is_timed)
            else:
                word = line.gateway_word[:LONGEST_WORD]
                self.reasons[line.to_status, line.gateway, word] += 1

    def merge(self, other: Self) -> None:
        for each in fields(self):
            getattr(self, each.name).update(getattr(other, each.name))

    @property
    def outcomes(self) -> Counter[str]:
        """The calls of all gateways."""
        outcomes: Counter[str] = Counter()
        for (_, outcome), number in self.calls.items():
            outcomes[outcome] += number
        return outcomes

    def to_json(self) -> dict[str, Any]:
        """To be stored; the rarest of too many reasons lose their names."""
        whole = {each.name: list(getattr(self, each.name).items()) for each in fields(self)}
        return {**whole, "reasons": list(_bounded(self.reasons).items())}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        return cls(
            **{
                each.name: Counter({_key(key): n for key, n in stored.get(each.name, ())})
                for each in fields(cls)
            }
        )


def cell_of(seconds: float) -> int:
    return bisect_right(EDGES, seconds)


def end_of(cell: int) -> float:
    return EDGES[min(cell, len(EDGES) - 1)]


def percentile(times: Cells, share: float) -> float:
    """About how many seconds this share of the durations took at most, to within a cell's width."""
    reached = accumulate(times[cell] for cell in sorted(times))
    enough = share * times.total()
    return next(end_of(cell) for cell, n in zip(sorted(times), reached, strict=True) if n >= enough)


def number_under(times: Cells, seconds: float) -> int:
    """How many took less than so long, which must be an edge."""
    return sum(n for cell, n in times.items() if cell <= EDGES.index(seconds))


def _bounded(reasons: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str, str]]:
    named = [(reason, n) for reason, n in reasons.most_common() if reason != OTHER]
    bounded = Counter(dict(named[:MOST_REASONS]))
    if rest := reasons.total() - bounded.total():
        bounded[OTHER] = rest
    return bounded


def _key(stored: Any) -> Any:
    return tuple(stored) if isinstance(stored, list) else stored
