"""Everything goes wrong for a while, under load; then each message is accounted for.

``CHAOS_SECONDS`` says for how long, ``CHAOS_SEED`` which faults come in which order: the seed is
printed. What the threads and processes make of them is different each time.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from shutil import copyfile
from threading import Event
from time import monotonic
from typing import Any, Final

import environ
import pytest
from django.db import connections

from instant_notifications.models import Delivery
from tests.live import harness
from tests.live.chaos import clock, machine
from tests.live.chaos.audit import Evidence, Row, audit
from tests.live.chaos.clients import Clients, Follower
from tests.live.chaos.faults import GATEWAYS, LANES, Scene, dealt
from tests.live.chaos.machine import Cluster, Disk
from tests.live.chaos.provider import Postman, Provider
from tests.live.harness import API, LIVE, ON_SQLITE, SECRET_KEY, Database, manage, until
from tests.live.workers import Worker

SECONDS: Final = float(os.environ.get("CHAOS_SECONDS") or (8 if ON_SQLITE else 18))
SEED: Final = os.environ.get("CHAOS_SEED") or str(Random().randrange(10**6))
BUDGET: Final = 1.5
CLIENTS: Final = 10
SHORTEST, LONGEST = 0.3, 1.2
"""Seconds that a fault lasts."""

MESSAGES: Final = 3
"""So many must get through after each fault, before the next one of its kind."""

SWEEP: Final = ("manage.py", "expire_notifications", "--loop", "0.5")

PAST_EVERY_END: Final = 60 * 60.0
"""Seconds after which every message has expired, whatever the clock has done before."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass(frozen=True)
class Campaign:
    """The scene, who uses it, and where to look afterwards."""

    scene: Scene
    api: str
    token: str
    environment: dict[str, str]
    logs: Path
    clients: Clients
    follower: Follower
    postman: Postman


@pytest.fixture
def campaign(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Campaign]:
    if not ON_SQLITE and (why := machine.why_no_cluster()):
        pytest.skip(why)
    with ExitStack() as stack:
        disk = stack.enter_context(machine.disk())
        cluster = None
        if not ON_SQLITE:
            log = tmp_path / "postgresql.log"
            cluster = stack.enter_context(machine.cluster(disk.path / "data", log))
        url, token = _database(request, disk, cluster)
        yield stack.enter_context(_begun(tmp_path, disk, cluster, url, token))


def _database(
    request: pytest.FixtureRequest, disk: Disk, cluster: Cluster | None
) -> tuple[str, str]:
    """The address of a new database with every migration, and a token."""
    if cluster is None:
        template: Database = request.getfixturevalue("template")
        copyfile(template.name, disk.path / "chaos.sqlite3")
        return f"sqlite:///{disk.path / 'chaos.sqlite3'}", request.getfixturevalue("token")
    secrets = {"DATABASE_URL": cluster.url, "SECRET_KEY": SECRET_KEY}
    manage("migrate", "--verbosity=0", **secrets)
    return cluster.url, manage("issue_token", "--org", "ttd", **secrets)


@contextmanager
def _begun(
    directory: Path, disk: Disk, cluster: Cluster | None, url: str, token: str
) -> Iterator[Campaign]:
    chance, time = Random(SEED), directory / "clock"
    clock.jump(time, 0)
    with closing(Provider(chance, delay=BUDGET + 0.5)) as provider:
        port = machine.lasting_port()
        api = f"http://127.0.0.1:{port}{API}"
        command = [word.format(port=port) for word in harness.gunicorn(processes=2, threads=8)]
        environment = _environment(url, time, provider)
        scene = Scene(
            server=Worker(["-m", *command], environment, directory / "server.log"),
            sweep=Worker(SWEEP, environment, directory / "sweep.log"),
            provider=provider,
            clock=time,
            disk=disk,
            cluster=cluster,
            chance=chance,
        )
        clients = Clients(api, token, many=CLIENTS, chance=chance)
        follower, postman = Follower(api, token), Postman(provider, api)
        try:
            scene.mend()
            until(follower.is_answered, "an answer from the web server")
            yield Campaign(scene, api, token, environment, directory, clients, follower, postman)
        finally:
            scene.server.kill()
            scene.sweep.kill()
            for each in (clients, follower, postman):
                each.end()


def _environment(url: str, time: Path, provider: Provider) -> dict[str, str]:
    return harness.environment(
        DATABASE_URL=url,
        SECRET_KEY=SECRET_KEY,
        DEBUG="false",
        DJANGO_SETTINGS_MODULE="tests.live.chaos.settings",
        CLOCK=str(time),
        PROVIDER_URL=provider.url,
        SMS_ROUTE=",".join(GATEWAYS),
        HANDOVER_BUDGET=str(BUDGET),
        WAIT_FOR_DUPLICATE="0.2",
        **({"SQLITE_PATIENCE": "1"} if ON_SQLITE else {}),
    )


def disturb(campaign: Campaign) -> Counter[str]:
    """Returns how often each fault has happened: at least once."""
    end, stopped = monotonic() + SECONDS, Event()

    def one_after_the_other(number: int) -> Counter[str]:
        happened: Counter[str] = Counter()
        chance = Random(f"{SEED} {number}")
        scene = replace(campaign.scene, chance=chance)
        possible = [fault for fault in LANES[number] if fault.possible(scene)]
        for fault in dealt(possible, chance):
            if stopped.is_set() or (monotonic() > end and len(happened) == len(possible)):
                break
            say(f"{monotonic() - end + SECONDS:6.1f} s  {fault.name}")
            with fault.happens(scene):
                stopped.wait(chance.uniform(SHORTEST, LONGEST))
            happened[fault.name] += 1
            until_some_are_taken(scene.provider)
        return happened

    def or_stop_all(number: int) -> Counter[str]:
        try:
            return one_after_the_other(number)
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(len(LANES)) as pool:
        try:
            counts = list(pool.map(or_stop_all, range(len(LANES))))
        finally:
            stopped.set()
    return sum(counts, Counter())


def until_some_are_taken(provider: Provider) -> None:
    enough = len(provider.taken) + MESSAGES
    until(lambda: len(provider.taken) >= enough, "messages that are taken")


def settle(campaign: Campaign) -> None:
    """Every message comes to its end: by its receipt, or because it has expired."""
    campaign.scene.mend()
    until(campaign.follower.is_answered, "an answer from the web server")
    until_some_are_taken(campaign.scene.provider)
    campaign.clients.end()
    until(lambda: not campaign.scene.provider.receipts, "the last receipt")
    campaign.postman.end()
    clock.jump(campaign.scene.clock, PAST_EVERY_END)
    manage("expire_notifications", **campaign.environment)
    campaign.follower.end()


def evidence(campaign: Campaign) -> Evidence:
    again = Follower(campaign.api, campaign.token)
    while again.read_on():
        pass
    return Evidence(
        taken=campaign.scene.provider.taken,
        tries=campaign.clients.tries,
        rows=list(_rows()),
        followed=campaign.follower.entries,
        feed=again.entries,
        logs={log.name: log.read_text() for log in campaign.logs.glob("*.log")},
    )


def _rows() -> Iterator[Row]:
    deliveries = Delivery.objects.using(LIVE).without_secrets()
    for each in deliveries.select_related("shipment__order__idempotency"):
        yield Row(
            reference=str(each.pk),
            key=each.shipment.order.idempotency.key,
            shipment=str(each.shipment_id),
            handover=each.handover,
            status=each.status,
            completed=each.completed_at is not None,
        )


@contextmanager
def window_into(url: str, blocker: Any) -> Iterator[None]:
    """This process's look into the database at an address."""
    default, there = connections["default"], environ.Env.db_url_config(url)
    connections[LIVE] = type(default)({**default.settings_dict, **there}, LIVE)
    try:
        with blocker.unblock():
            yield
            connections[LIVE].close()
    finally:
        del connections[LIVE]


def test_whatever_goes_wrong_each_message_is_accounted_for(
    campaign: Campaign, django_db_blocker: Any
) -> None:
    say(f"\nCHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}")
    campaign.clients.begin()
    campaign.follower.begin()
    happened = disturb(campaign)
    settle(campaign)
    with window_into(campaign.environment["DATABASE_URL"], django_db_blocker):
        known = evidence(campaign)
    tell(known, happened)
    findings = audit(known)
    assert not findings, "\n".join([f"CHAOS_SEED={SEED}", *findings[:20]])
    assert campaign.postman.refused == []


def test_no_fault_is_left_out() -> None:
    with machine.disk() as disk:
        if not disk.can_be_full:
            pytest.skip("no small disk may be mounted here, so none was full in the campaign")


def tell(known: Evidence, happened: Counter[str]) -> None:
    say(f"faults: {dict(happened)}")
    say(f"answers: {dict(Counter(f'{each.status} {each.code}' for each in known.tries))}")
    say(f"rows: {dict(Counter(f'{each.handover} {each.status}' for each in known.rows))}")
    say(f"{len(known.taken)} taken, {len(known.feed)} entries in the feed")
