"""What sending costs: our route against the floor's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks import databases, servers
from benchmarks.load import Client, Route, clients, latencies, new_key, throughput
from benchmarks.servers import Application
from benchmarks.tables import Figure, Table, in_ms, per_second

OURS = "/notifications/api/v1/future/orders/instant/sms"
FLOOR = "/floor/sms"

CLIENTS = 32
BLOCK = 10
"""Requests before it is the other's turn."""


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    requests: int
    rounds: int
    seconds: float


FULL = Effort(requests=300, rounds=6, seconds=2.0)
QUICK = Effort(requests=100, rounds=3, seconds=1.0)


def table_of(name: str, directory: Path, effort: Effort) -> Table:
    with (
        databases.KINDS[name](directory) as database_url,
        servers.stub_gateway() as gateway_url,
        servers.application(directory, servers.migrated(database_url, gateway_url)) as application,
    ):
        return Table(name, _figures(application, effort))


def _figures(application: Application, effort: Effort) -> Sequence[Figure]:
    ours, floor = Route(OURS, application.token), Route(FLOOR)
    with clients(application, CLIENTS) as many:
        _throughputs(many, ours, floor, rounds=1, seconds=1.0)  # connections and caches fill
        alone = _alone(many[0], ours, floor, effort.requests)
        crowded = _throughputs(many, ours, floor, rounds=effort.rounds, seconds=effort.seconds)
    return [*_latency_figures(alone), _throughput_figure(crowded)]


@dataclass
class Alone:
    """Seconds for each request of a single client."""

    ours: list[float] = field(default_factory=list)
    replay: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)


def _alone(client: Client, ours: Route, floor: Route, requests: int) -> Alone:
    measured = Alone()
    for _ in range(requests // BLOCK):
        keys = [new_key() for _ in range(BLOCK)]
        to_us = [ours.request(key) for key in keys]
        measured.ours += latencies(client, to_us, expected=201)
        measured.floor += latencies(client, [floor.request(key) for key in keys], expected=201)
        measured.replay += latencies(client, to_us, expected=200)
    return measured


def _latency_figures(alone: Alone) -> Iterable[Figure]:
    first, floor, replay = (median(each) for each in (alone.ours, alone.floor, alone.replay))
    yield Figure("first send, p50, 1 client", in_ms(first), in_ms(floor), first / floor, 1.5)
    yield Figure(
        "replay, p50, 1 client (floor: a first send)",
        in_ms(replay),
        in_ms(first),
        replay / first,
        0.6,
    )


@dataclass(frozen=True)
class Round:
    """Answers each second, measured one right after the other."""

    ours: float
    floor: float


def _throughputs(
    many: Sequence[Client], ours: Route, floor: Route, *, rounds: int, seconds: float
) -> Sequence[Round]:
    return [
        Round(throughput(many, ours, 201, seconds), throughput(many, floor, 201, seconds))
        for _ in range(rounds)
    ]


def _throughput_figure(rounds: Sequence[Round]) -> Figure:
    return Figure(
        f"first sends, throughput, {CLIENTS} clients",
        per_second(median(each.ours for each in rounds)),
        per_second(median(each.floor for each in rounds)),
        median(each.floor / each.ours for each in rounds),
        1.5,
    )
