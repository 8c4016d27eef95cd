"""What is measured on, and how busy it is."""

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("Django", "djangorestframework", "gunicorn", "psycopg", "requests")
IDLE = (3, 4)
"""Where the kernel's counts of idle time stand: idle, and waiting for a disk."""
GUEST = 8
"""From here on they are contained in earlier ones."""


def described() -> Sequence[str]:
    return [
        f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        f"{platform.platform()}, Python {platform.python_version()}",
        ", ".join(f"{package} {version(package)}" for package in PACKAGES),
    ]


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


class Busy:
    """The part of all cores' time that was used since this was made; 0 where nobody counts it."""

    def __init__(self) -> None:
        self._before = _ticks()

    def __call__(self) -> float:
        spent = [after - before for before, after in zip(self._before, _ticks(), strict=True)]
        return 1 - sum(spent[place] for place in IDLE) / sum(spent) if any(spent) else 0.0


def _ticks() -> Sequence[int]:
    with suppress(OSError):
        first, *_ = Path("/proc/stat").read_text().splitlines()
        return [int(ticks) for ticks in first.split()[1 : GUEST + 1]]
    return [0] * GUEST
