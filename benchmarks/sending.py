"""What sending costs: our route against the floor's."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import databases, servers
from benchmarks.clients import (
    FLOOR,
    Client,
    Route,
    clients,
    latencies,
    new_key,
    our_route,
    under_load,
)
from benchmarks.figures import Figure, Table, in_turn, of_rates, of_times

CLIENTS = 32
BLOCK = 10
"""Requests before it is the other's turn."""


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    blocks: int
    rounds: int
    seconds: float


FULL = Effort(blocks=40, rounds=8, seconds=2.0)
QUICK = Effort(blocks=12, rounds=3, seconds=1.0)


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    with (
        databases.KINDS[name](directory) as database_url,
        servers.stub_gateway() as gateway_url,
        servers.application(directory, servers.migrated(database_url, gateway_url)) as application,
        clients(application, CLIENTS) as many,
    ):
        route = our_route(application)
        for each in (route, FLOOR):
            under_load(many, each, 1.0)  # connections and caches fill
        yield Table(
            f"{name}: sending",
            [*_alone(many[0], route, effort.blocks), _crowded(many, route, effort)],
        )


def _alone(client: Client, ours: Route, blocks: int) -> Iterable[Figure]:
    """Each turn is a block of requests; its median counts."""
    sent: deque[Sequence[str]] = deque()

    def first() -> float:
        sent.append([new_key() for _ in range(BLOCK)])
        return p50(client, ours, sent[-1])

    def replay() -> float:
        """Each id is repeated once: the first repeat is noted, further ones are not."""
        return p50(client, ours, sent.popleft(), expected=200)

    def floor() -> float:
        return p50(client, FLOOR, [new_key() for _ in range(BLOCK)])

    first()  # so that there is something to repeat
    firsts, floors, replays = in_turn(blocks, first, floor, replay)
    yield of_times("first send, p50, 1 client", firsts, floors, goal=1.5)
    yield of_times("replay, p50, 1 client (floor: a first send)", replays, firsts, goal=0.6)


def p50(client: Client, route: Route, keys: Sequence[str], expected: int = 201) -> float:
    return median(latencies(client, [route.request(key) for key in keys], expected))


def _crowded(many: Sequence[Client], ours: Route, effort: Effort) -> Figure:
    rates, floor = in_turn(
        effort.rounds,
        lambda: under_load(many, ours, effort.seconds).rate,
        lambda: under_load(many, FLOOR, effort.seconds).rate,
    )
    return of_rates(f"first sends, throughput, {CLIENTS} clients", rates, floor, goal=1.5)
