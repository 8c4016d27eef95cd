"""How long a send takes, and how many a second there are, the more clients send at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import databases, servers
from benchmarks.clients import FLOOR, Client, Load, Route, clients, our_route, under_load
from benchmarks.figures import Figure, Table, in_ms, per_second, quantile

CLIENTS: Final = (1, 2, 4, 8, 16, 32, 64)
WHO: Final = ("ours", "floor")


@dataclass(frozen=True)
class Effort:
    rounds: int
    seconds: float


FULL = Effort(rounds=4, seconds=2.5)
QUICK = Effort(rounds=1, seconds=1.5)


@dataclass(frozen=True)
class Point:
    """What so many clients met."""

    clients: int
    p50: float
    """Seconds."""
    p95: float
    rate: float
    """Answers each second."""


Curves = Mapping[str, Sequence[Point]]
"""Ours and the floor's, from one client to many."""


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    yield table_of(name, curves_of(name, directory, effort))


def table_of(name: str, curves: Curves) -> Table:
    ours, floor = (curves[who] for who in WHO)
    return Table(
        f"{name}: the more clients send at once",
        [each for pair in zip(ours, floor, strict=True) for each in _figures(*pair)],
    )


def _figures(ours: Point, floor: Point) -> Iterable[Figure]:
    name = f"{ours.clients} at once"
    yield Figure(f"{name}, p50", in_ms(ours.p50), in_ms(floor.p50), ours.p50 / floor.p50)
    yield Figure(f"{name}, p95", in_ms(ours.p95), in_ms(floor.p95), ours.p95 / floor.p95)
    rates = per_second(ours.rate), per_second(floor.rate)
    yield Figure(f"{name}, throughput", rates[0], rates[1], floor.rate / ours.rate)


def curves_of(name: str, directory: Path, effort: Effort) -> Curves:
    with (
        databases.KINDS[name](directory) as database_url,
        servers.stub_gateway() as gateway_url,
        servers.application(directory, servers.migrated(database_url, gateway_url)) as application,
        clients(application, max(CLIENTS)) as many,
    ):
        routes = dict(zip(WHO, (our_route(application), FLOOR), strict=True))
        for route in routes.values():
            under_load(many, route, 1.0)  # connections and caches fill
        rounds = [_round(many, routes, effort.seconds) for _ in range(effort.rounds)]
    return {
        who: [_point(number, [each[who, number] for each in rounds]) for number in CLIENTS]
        for who in WHO
    }


def _round(
    many: Sequence[Client], routes: Mapping[str, Route], seconds: float
) -> Mapping[tuple[str, int], Load]:
    return {
        (who, number): under_load(many[:number], route, seconds)
        for number in CLIENTS
        for who, route in routes.items()
    }


def _point(number: int, loads: Sequence[Load]) -> Point:
    latencies = [seconds for load in loads for seconds in load.latencies]
    return Point(
        clients=number,
        p50=quantile(latencies, 50),
        p95=quantile(latencies, 95),
        rate=sum(load.rate for load in loads) / len(loads),
    )
