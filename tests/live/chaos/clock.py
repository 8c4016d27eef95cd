"""What time it is for the processes of a campaign: the true time, and what a file adds to it.

Only what is asked of the wall clock moves; spans are measured on one that nobody can set.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from django.utils import timezone

_true_now: Final[Callable[[], datetime]] = timezone.now
_true_time_ns: Final[Callable[[], int]] = time.time_ns


def jump(file: Path, seconds: float) -> None:
    """From now on the clocks that follow the file are off by so much."""
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)


def follow(file: Path) -> None:
    """Let this process's clock be off by what the file says, from before the models are loaded."""

    def seconds() -> float:
        with suppress(OSError):
            return float(file.read_text())
        return 0.0

    timezone.now = lambda: _true_now() + timedelta(seconds=seconds())
    time.time_ns = lambda: _true_time_ns() + int(seconds() * 1e9)
