"""What tables are filled with, said without Django; ``rows.py`` does it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

GATEWAY: Final = "stub"
UPSTREAM: Final = "upstream"
"""The gateway that has a feed."""
PAGE: Final = 500
"""Entries of a feed that are read at once."""
HOUR: Final = 60 * 60.0
DAY: Final = 24 * HOUR


@dataclass(frozen=True, kw_only=True)
class Messages:
    """A stretch of messages of one creator, numbered on through the whole database."""

    creator: str
    first: int
    count: int
    oldest: float
    """Seconds ago."""
    newest: float
    completed: bool = True
    """With their receipts and feed entries; else they wait for both."""
    content: bool = True
    gateway: str = GATEWAY
    """Who has taken them."""
    reference: str = "text"
    """What that gateway calls each: its number (``text``), or the id of our row (``id_text``)."""

    @property
    def last(self) -> int:
        return self.first + self.count - 1


def as_plain(*messages: Messages) -> Sequence[Mapping[str, Any]]:
    """Fit for a job's arguments."""
    return [asdict(stretch) for stretch in messages]
