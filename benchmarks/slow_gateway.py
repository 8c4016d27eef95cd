"""Whether threads that wait for a slow gateway are all that a server needs: many clients, a gateway
that takes a while, and how much of what could be sent at most is sent.

Clients of whom each waits so long for its gateway can send that many each second, and no more. What
is missing is our own work, until the processor is full; then nothing but a larger one helps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import databases, servers
from benchmarks.clients import Client, Route, clients, our_route, under_load
from benchmarks.figures import Figure, Table, of_rates
from benchmarks.machine import Busy

DELAY: Final = 0.1
IN_MS: Final = f"{DELAY * 1000:.0f} ms"
PROCESSES: Final = 4
THREADS: Final = 16
STEPS: Final = (4, 8, 16, 32, 64)
"""Clients; the last are as many as there are threads, and the goal is about them."""
GOAL: Final = 1 / 0.9
FULL_PROCESSOR: Final = 0.9


@dataclass(frozen=True)
class Effort:
    rounds: int
    seconds: float


FULL = Effort(rounds=5, seconds=4.0)
QUICK = Effort(rounds=2, seconds=2.0)


def tables_of(name: str, directory: Path, effort: Effort) -> Iterable[Table]:
    with (
        databases.KINDS[name](directory) as database_url,
        servers.stub_gateway(DELAY) as gateway_url,
        servers.application(
            directory,
            servers.migrated(database_url, gateway_url),
            processes=PROCESSES,
            threads=THREADS,
        ) as application,
        clients(application, max(STEPS)) as many,
    ):
        route = our_route(application)
        under_load(many, route, 2.0)  # connections and caches fill
        rounds = [
            [_turn(many[:number], route, effort.seconds) for number in STEPS]
            for _ in range(effort.rounds)
        ]
    steps = dict(zip(STEPS, zip(*rounds, strict=True), strict=True))
    yield Table(
        f"{name}: a gateway that takes {IN_MS}, {PROCESSES} x {THREADS} threads",
        [_figure(number, turns) for number, turns in steps.items()],
        floor="at most",
        remarks=[
            "the processor, with all that ran on it: "
            + ", ".join(f"{_busy(turns):.0%} at {number}" for number, turns in steps.items())
        ],
    )


@dataclass(frozen=True)
class Turn:
    rate: float
    busy: float


def _turn(some: Sequence[Client], route: Route, seconds: float) -> Turn:
    busy = Busy()
    return Turn(under_load(some, route, seconds).rate, busy())


def _figure(number: int, turns: Sequence[Turn]) -> Figure:
    rates, at_most = [turn.rate for turn in turns], [number / DELAY] * len(turns)
    goal = GOAL if number == max(STEPS) else None
    used_up = f"processor {_busy(turns):.0%}" if _busy(turns) >= FULL_PROCESSOR else ""
    figure = of_rates(f"gateway of {IN_MS}, {number} clients", rates, at_most, goal=goal)
    return replace(figure, used_up=used_up)


def _busy(turns: Sequence[Turn]) -> float:
    return median(turn.busy for turn in turns)
