"""What goes wrong in a campaign. Each fault lasts for its ``with`` block, and is mended then."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from tests.live.chaos import clock
from tests.live.chaos.machine import Cluster, Disk
from tests.live.chaos.provider import DELAYS, ERRORS, RESETS, Provider, Way
from tests.live.workers import Worker

GATEWAYS: Final = ("north", "south")
AHEAD: Final = (5.0, 60.0, 300.0)
BACK: Final = (-5.0, -60.0, -300.0)
"""Seconds by which the clock jumps: past a lease, past a breaker's pause, past an expiry."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that can be disturbed."""

    server: Worker
    sweep: Worker
    provider: Provider
    clock: Path
    disk: Disk
    cluster: Cluster | None
    chance: Random

    def mend(self) -> None:
        """As a supervisor does: what has ended is started again."""
        if self.cluster:
            self.cluster.start()
        for each in (self.server, self.sweep):
            if not each.lives:
                each.start()


Happens = Callable[[Scene], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    happens: Happens
    often: int = 1
    possible: Callable[[Scene], bool] = lambda _: True


@contextmanager
def kill_a_web_worker(scene: Scene) -> Iterator[None]:
    if children := scene.server.children():
        with suppress(ProcessLookupError):
            os.kill(scene.chance.choice(children), signal.SIGKILL)
    yield


@contextmanager
def kill_everything(scene: Scene, *, what: str) -> Iterator[None]:
    killed: Worker = getattr(scene, what)
    killed.kill()
    yield
    scene.mend()


@contextmanager
def restart_the_database(scene: Scene, *, by: signal.Signals) -> Iterator[None]:
    assert scene.cluster
    scene.cluster.stop(by)
    yield
    scene.mend()


@contextmanager
def kill_a_backend(scene: Scene) -> Iterator[None]:
    assert scene.cluster
    scene.cluster.kill_a_backend()
    yield


@contextmanager
def fill_the_disk(scene: Scene) -> Iterator[None]:
    scene.disk.fill()
    yield
    scene.disk.free()
    scene.mend()


@contextmanager
def trouble_a_gateway(scene: Scene, *, ways: Sequence[Way], many: int = 1) -> Iterator[None]:
    for gateway in scene.chance.sample(GATEWAYS, many):
        scene.provider.ways[gateway] = ways
    yield
    scene.provider.ways.clear()


@contextmanager
def close_the_port(scene: Scene) -> Iterator[None]:
    scene.provider.close_port()
    yield
    scene.provider.open_port()


@contextmanager
def set_the_clock(scene: Scene, *, by: Sequence[float]) -> Iterator[None]:
    clock.jump(scene.clock, scene.chance.choice(by))
    yield
    clock.jump(scene.clock, 0)


def _has_cluster(scene: Scene) -> bool:
    return scene.cluster is not None


def _can_be_full(scene: Scene) -> bool:
    return scene.disk.can_be_full


IN_THE_HOUSE: Final = (
    Fault("a web worker is killed", kill_a_web_worker, often=3),
    Fault("the web server is killed", partial(kill_everything, what="server")),
    Fault("the sweep is killed", partial(kill_everything, what="sweep")),
    Fault(
        "the database restarts",
        partial(restart_the_database, by=signal.SIGINT),
        possible=_has_cluster,
    ),
    Fault(
        "the database crashes",
        partial(restart_the_database, by=signal.SIGQUIT),
        possible=_has_cluster,
    ),
    Fault("a backend is killed", kill_a_backend, possible=_has_cluster),
    Fault("the disk is full", fill_the_disk, possible=_can_be_full),
)
OUTSIDE: Final = (
    Fault("a gateway resets connections", partial(trouble_a_gateway, ways=RESETS)),
    Fault("a gateway takes too long", partial(trouble_a_gateway, ways=DELAYS)),
    Fault("both gateways err", partial(trouble_a_gateway, ways=ERRORS, many=2), often=2),
    Fault("nobody answers at the gateways", close_the_port),
)
BY_THE_CLOCK: Final = (
    Fault("the clock jumps ahead", partial(set_the_clock, by=AHEAD)),
    Fault("the clock jumps back", partial(set_the_clock, by=BACK)),
)
LANES: Final = (IN_THE_HOUSE, OUTSIDE, BY_THE_CLOCK)
"""Faults of different lanes happen at the same time, those of one lane after each other."""


def dealt(faults: Sequence[Fault], chance: Random) -> Iterator[Fault]:
    """For ever, in any order: first each fault once, then each as often as it says."""
    yield from chance.sample(faults, len(faults))
    while True:
        deck = [fault for fault in faults for _ in range(fault.often)]
        yield from chance.sample(deck, len(deck))
