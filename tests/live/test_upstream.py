"""Two copies of the example project, one upstream of the other; the sync is killed on its way."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, Final

import pytest

from instant_notifications.models import Delivery, FeedCursor, FeedEntry, Shipment, StatusEvent
from instant_notifications.simulator.behaviours import ROWS
from tests.live import harness
from tests.live.harness import API, ON_SQLITE, PATIENCE, ROOT, Database, Service, gunicorn, until

HOME, UPSTREAM = "home", "upstream"
COPIES: Final = 2
KINDS: Final = [("", "9999"), *((row.tag, row.digits) for row in ROWS)]
NEVER_TOLD: Final = {"down", "timeout-lost", "silent", "late"}
"""What comes to no end in the time of a test."""
TOLD: Final = 2 * COPIES * (len(KINDS) - len(NEVER_TOLD))

WITHOUT_CIRCUIT: Final = """
from tests.live.settings import *
INSTANT_NOTIFICATIONS["CIRCUIT_FAILURES"] = None
"""
"""Many of the messages fail on purpose, and are not to stand in the way of others."""

IN_SMALL_PAGES: Final = """
import sys
import django
django.setup()
from instant_notifications.gateways import altinn
altinn.PAGE_SIZE = 2
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "sync_status_feed", *sys.argv[1:]])
"""
"""The command, but for the size of a page: it can be caught between two."""


@pytest.fixture
def services(
    template: Database, token: str, tmp_path: Path, django_db_blocker: Any
) -> Iterator[tuple[Service, Service]]:
    """The one at home, and the upstream of it."""
    (tmp_path / "without_circuit.py").write_text(WITHOUT_CIRCUIT)
    same = {
        "DJANGO_SETTINGS_MODULE": "without_circuit",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "SIMULATOR_DELIVER_AFTER": "0.2",
    }
    with ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        made = {}
        for name in (HOME, UPSTREAM):
            database = stack.enter_context(harness.copy_of(template, tmp_path))
            stack.enter_context(harness.window(database, name))
            log = tmp_path / f"{name}.log"
            made[name] = Service(gunicorn(), database, token, log, **same)
            stack.callback(made[name].kill)
        made[UPSTREAM].start()
        url = "http://{}:{}".format(*made[UPSTREAM].address) + API
        routes = {"SMS_ROUTE": UPSTREAM, "EMAIL_ROUTE": UPSTREAM}
        made[HOME].start(UPSTREAM_URL=url, UPSTREAM_TOKEN=token, **routes)
        yield made[HOME], made[UPSTREAM]


@contextmanager
def asleep(service: Service) -> Iterator[None]:
    """It takes connections and does not answer."""
    assert service._process is not None
    os.killpg(service._process.pid, signal.SIGSTOP)
    yield
    os.killpg(service._process.pid, signal.SIGCONT)


def send_all(home: Service) -> None:
    """Of each kind some by each channel, and each a second time as a client would do it."""

    def send(name: str, tag: str, digits: str) -> None:
        for _ in range(2):
            home.post("sms", harness.sms(f"{name} {tag}", to=f"+479182{digits}"))
            home.post("email", harness.email(f"{name} {tag}", to=f"kari+{tag}@example.com"))

    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(send, str(n), *kind) for n in range(COPIES) for kind in KINDS]
        for each in sent:
            each.result(PATIENCE)


def start(home: Service) -> "Popen[str]":
    command = [sys.executable, "-c", IN_SMALL_PAGES]
    return Popen(command, cwd=ROOT, env=home.environment, stdout=PIPE, stderr=PIPE, text=True)


def end_of(sync: "Popen[str]") -> tuple[int, str, str]:
    said, complained = sync.communicate(timeout=PATIENCE)
    return sync.returncode, said, complained


def cursor() -> int:
    return sum(FeedCursor.objects.using(HOME).values_list("number", flat=True))


def held() -> bool:
    return FeedCursor.objects.using(HOME).exclude(holder="").exists()


def assert_each_was_written_once() -> None:
    """Whatever the cursor has passed, and nothing else."""
    heard = StatusEvent.objects.using(HOME).filter(cause="receipt")
    assert heard.count() == heard.values("delivery").distinct().count() == cursor()
    fed = FeedEntry.objects.using(HOME).order_by("sequence_number")
    assert [entry.sequence_number for entry in fed] == list(range(1, len(fed) + 1))
    assert len({entry.shipment_id for entry in fed}) == len(fed)


def kill(sync: "Popen[str]", home: Service) -> None:
    """As a power cut does it; what the database had been told by then may still happen."""
    others = 0 if ON_SQLITE else home.database.connections() - 1
    sync.kill()
    assert end_of(sync)[0] == -signal.SIGKILL
    until(lambda: ON_SQLITE or home.database.connections() <= others, "the end of its connection")
    assert held()
    assert_each_was_written_once()


def test_statuses_come_home_though_the_sync_is_killed(services: tuple[Service, Service]) -> None:
    home, upstream = services
    send_all(home)
    until(lambda: FeedEntry.objects.using(UPSTREAM).count() == TOLD, "all that can be told")
    with asleep(upstream):
        waiting = start(home)
        until(held, "the first run")
        status, said, complained = end_of(start(home))
        assert (status, said) == (2, "")
        assert "Another run is reading this feed." in complained
        kill(waiting, home)
    for passed in (1, TOLD // 4, TOLD // 2):
        killed = start(home)
        until(lambda: cursor() >= passed, "some entries")  # noqa: B023 (called here and now)
        kill(killed, home)
        assert cursor() < TOLD
    left = TOLD - cursor()
    status, said, _ = end_of(start(home))
    assert (status, re.findall(r"\d+", said)) == (0, [str(left), "0", "0", str(TOLD)])
    assert_each_was_written_once()
    assert cursor() == TOLD
    at_home = Delivery.objects.using(HOME).values_list("pk", "status")
    there = Shipment.objects.using(UPSTREAM).values_list("senders_reference", "deliveries__status")
    assert {str(key): word for key, word in at_home} == dict(there)
    assert len(there) == 2 * COPIES * len(KINDS)
