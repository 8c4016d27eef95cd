"""Where the time of one send goes: each statement, each commit, the gateway's call, the rest."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import databases, servers
from benchmarks.figures import Figure, Table, in_ms
from benchmarks.servers import worker


@dataclass(frozen=True)
class Effort:
    sends: int


FULL = Effort(sends=600)
QUICK = Effort(sends=100)


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    with (
        databases.KINDS[name](directory) as database_url,
        servers.stub_gateway() as gateway_url,
        worker({**servers.migrated(database_url, gateway_url), "LOG_LEVEL": "WARNING"}) as sender,
    ):
        parts: Mapping[str, Sequence[float]] = sender.ask("parts_of_sends", times=effort.sends)
    medians = {part: median(seconds) for part, seconds in parts.items()}
    whole = sum(medians.values())
    yield Table(
        f"{name}: the parts of one send, in one process and with no server before it",
        [Figure(part, in_ms(each), f"{each / whole:.0%}") for part, each in medians.items()],
        ours="p50",
        floor="share",
    )
