"""The two commands as processes: several at once, stopped, killed, and without their database."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import connections
from django.utils import timezone

from instant_notifications import upkeep
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Order,
    Organisation,
    Shipment,
    StatusEvent,
    UnmatchedReceipt,
)
from tests.live import harness
from tests.live.conftest import Serve
from tests.live.harness import (
    LIVE,
    ON_SQLITE,
    PATIENCE,
    ROOT,
    SECRET_KEY,
    Database,
    gunicorn,
    shipment_of,
    sms,
    states_of,
    until,
)

EXPIRE: Final = "expire_notifications"
PURGE: Final = "purge_notifications"
OLD: Final = timedelta(days=200)
BATCH: Final = 20
STEP: Final = upkeep.SMALL_STEP if ON_SQLITE else BATCH
"""So many rows are finished when a sweep is asked to stop."""

MANY: Final = 6 * BATCH
"""So many that what works on them can be caught in the middle."""

IN_SMALL_BATCHES: Final = f"""
import sys
import django
django.setup()
from instant_notifications import upkeep
upkeep.BATCH = {BATCH}
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""
"""``manage.py``, but for the size of a batch: the tests need not fill large tables."""

Fill = Callable[..., None]


@dataclass(frozen=True)
class Running:
    """A command in a process of its own."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def lines(self) -> list[str]:
        return self.out.read_text().splitlines()

    def counts(self) -> Counter[str]:
        """What its lines tell, all in all."""
        told = re.findall(r"(\d+) ([a-z -]+?)(?:, |$)", "\n".join(self.lines()), re.M)
        return +sum((Counter({name: int(number)}) for number, name in told), Counter[str]())

    def ends(self) -> int:
        return self.process.wait(PATIENCE)

    def ask(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


Start = Callable[..., Running]


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Iterator[Start]:
    """Starts a command of the example project; it ends with the test."""
    started: list[Running] = []

    def run(*words: str, **environment: str) -> Running:
        out, err = (tmp_path / f"command-{len(started)}.{kind}" for kind in ("out", "err"))
        with out.open("wb") as to, err.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", IN_SMALL_BATCHES, *words],
                cwd=ROOT,
                env=environment_of(database, **environment),
                stdout=to,
                stderr=errors,
            )
        started.append(Running(process, out, err))
        return started[-1]

    yield run
    for each in started:
        each.process.kill()
        each.process.wait(PATIENCE)


def environment_of(database: Database, **changes: str) -> dict[str, str]:
    return harness.environment(
        DATABASE_URL=database.url,
        SECRET_KEY=SECRET_KEY,
        DJANGO_SETTINGS_MODULE="tests.live.settings",
        **changes,
    )


@pytest.fixture
def fill(window: str) -> Fill:
    """Makes the commands' database full of old messages."""
    return old_messages


def old_messages(number: int, *handovers: str) -> None:
    """Long expired, and nobody has heard of them since."""
    created_at = timezone.now() - OLD
    orders, ids, shipments, deliveries = [], [], [], []
    for each in range(number):
        handover = handovers[each % len(handovers)]
        leased = handover == "under_way"
        order = Order(creator="old", created_at=created_at)
        shipment = Shipment(order=order, creator="old", type="Instant", created_at=created_at)
        delivery = Delivery(
            shipment=shipment,
            channel="sms",
            destination="+4791825364",
            destination_digest="0" * 64,
            content="Your code is ZK7W2Q",
            status="SMS_Accepted" if handover == "taken" else "SMS_Sending",
            handover=handover,
            attempts=1,
            lease_until=created_at if leased else None,
            created_at=created_at,
            updated_at=created_at,
            expires_at=created_at + timedelta(minutes=5),
        )
        idempotency = IdempotencyRecord(
            creator="old", scope="sms", key=str(each), order=order, created_at=created_at
        )
        orders.append(order)
        ids.append(idempotency)
        shipments.append(shipment)
        deliveries.append(delivery)
    for rows in (orders, ids, shipments, deliveries):
        type(rows[0])._default_manager.using(LIVE).bulk_create(rows)  # type: ignore[attr-defined]


def rows(model: Any, **conditions: Any) -> int:
    return int(model._default_manager.using(LIVE).filter(**conditions).count())


def expired() -> int:
    return rows(Delivery, status="SMS_Failed_TTL")


def kill(running: Running, database: Database) -> None:
    """As a power cut does it; what the database server had already been told may still happen."""
    running.process.kill()
    assert running.ends() == -signal.SIGKILL
    until(lambda: ON_SQLITE or database.connections() == 1, "the end of its connections")


def finish(*loops: Running) -> None:
    for loop in loops:
        loop.ask(signal.SIGTERM)
    assert [loop.ends() for loop in loops] == [0] * len(loops)


def assert_each_expiry_was_written_once(number: int) -> None:
    """Status, history and feed are of one transaction."""
    events = StatusEvent.objects.using(LIVE).filter(cause="expiry")
    entries = FeedEntry.objects.using(LIVE).filter(creator="old").order_by("sequence_number")
    assert expired() == number
    assert events.count() == number == events.values("delivery").distinct().count()
    assert list(entries.values_list("sequence_number", flat=True)) == list(range(1, number + 1))
    assert rows(Delivery, status="SMS_Failed_TTL", completed_at=None) == 0
    assert rows(Organisation, name="old", last_sequence_number=number) == 1


seen: Final = partial(until, pause=0.002)
"""For moments that pass quickly."""


def test_several_sweeps_at_once_write_each_expiry_once(start: Start, fill: Fill) -> None:
    fill(100, "taken", "unknown", "open", "under_way")
    sweeps = [start(EXPIRE) for _ in range(3)]
    assert [each.ends() for each in sweeps] == [0] * 3
    assert [len(each.lines()) for each in sweeps] == [1] * 3
    assert sum((each.counts() for each in sweeps), Counter[str]()) == {
        "deliveries expired": 100,
        "dead hand-overs settled": 25,
    }
    assert_each_expiry_was_written_once(100)
    assert rows(StatusEvent, cause="lease") == 25
    assert rows(Delivery, handover="under_way") == 0


def test_a_sweep_that_is_killed_leaves_nothing_half_done(
    start: Start, fill: Fill, database: Database
) -> None:
    fill(MANY, "taken")
    killed = start(EXPIRE)
    seen(lambda: expired() > 5, "a few expiries")
    kill(killed, database)
    done = expired()
    assert done < MANY
    assert_each_expiry_was_written_once(done)
    other = start(EXPIRE)
    assert (other.ends(), other.counts()) == (0, {"deliveries expired": MANY - done})
    assert_each_expiry_was_written_once(MANY)


def test_a_sweep_that_is_stopped_finishes_its_batch_and_ends_well(start: Start, fill: Fill) -> None:
    fill(MANY, "taken")
    stopped = start(EXPIRE, "--loop", "60")
    seen(expired, "the first expiry")
    finish(stopped)
    (line,) = stopped.lines()
    done = stopped.counts()["deliveries expired"]
    assert line.endswith(f" {done} deliveries expired, 0 history lines summed up, 0 failed")
    assert done in range(STEP, MANY, STEP)
    assert_each_expiry_was_written_once(done)
    other = start(EXPIRE)
    assert (other.ends(), other.counts()) == (0, {"deliveries expired": MANY - done})
    assert_each_expiry_was_written_once(MANY)


def test_a_loop_that_is_stopped_in_its_pause_ends_at_once(start: Start, fill: Fill) -> None:
    fill(3, "taken")
    loops = [
        (start(command, "--loop", "600"), number)
        for command, number in ((EXPIRE, signal.SIGTERM), (PURGE, signal.SIGINT))
    ]
    for loop, number in loops:
        until(loop.lines, "the end of a round")
        loop.ask(number)
    for loop, _ in loops:
        assert loop.ends() == 0
        assert len(loop.lines()) == 1
        assert "Traceback" not in loop.err.read_text()


PURGED: Final = ("contents erased", "destinations erased", "idempotency ids deleted")


def assert_purged(*purges: Counter[str], number: int) -> None:
    together = sum(purges, Counter[str]())
    assert {name: together[name] for name in PURGED} == dict.fromkeys(PURGED, number)
    old = Delivery.objects.using(LIVE).filter(shipment__creator="old")
    assert not old.filter(content__isnull=False).exists()
    assert not old.filter(destination__isnull=False).exists()
    assert rows(IdempotencyRecord, creator="old") == 0


def test_a_purge_that_is_killed_has_done_whole_batches(
    start: Start, fill: Fill, database: Database
) -> None:
    fill(MANY, "taken", "unknown")
    killed = start(PURGE)
    seen(lambda: rows(Delivery, content__isnull=True), "the first batch")
    kill(killed, database)
    done = Counter(
        {
            "contents erased": rows(Delivery, content__isnull=True),
            "destinations erased": rows(Delivery, destination__isnull=True),
            "idempotency ids deleted": MANY - rows(IdempotencyRecord),
        }
    )
    assert not any(number % BATCH for number in done.values())
    others = [start(PURGE), start(PURGE)]
    assert [each.ends() for each in others] == [0, 0]
    assert_purged(done, *(each.counts() for each in others), number=MANY)


def test_messages_are_sent_while_both_commands_run_in_several_places(
    start: Start, fill: Fill, serve: Serve
) -> None:
    service = serve(gunicorn(), SIMULATOR_DELIVER_AFTER="0.2")
    fill(100, "taken", "unknown", "open", "under_way")
    for each in range(50):
        UnmatchedReceipt.objects.using(LIVE).create(
            gateway="gone", word=str(each), received_at=timezone.now() - OLD
        )
    loops = [start(command, "--loop", "0.5") for command in (EXPIRE, PURGE) * 2]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda each: service.post("sms", sms(f"id-{each}")), range(40)))
    assert [answer.status_code for answer in answers] == [201] * 40
    until(lambda: expired() == 100, "the last expiry")
    until(lambda: rows(IdempotencyRecord, creator="old") == 0, "the last old id")
    until(lambda: len(service.feed()) == 40, "the receipts")
    until(lambda: all(len(loop.lines()) > 1 for loop in loops), "a further round")
    finish(*loops)
    assert all(line.endswith(", 0 failed") for loop in loops for line in loop.lines())

    assert [entry["sequenceNumber"] for entry in service.feed()] == list(range(1, 41))
    for answer in answers:
        manifest = service.manifest(shipment_of(answer))
        assert states_of(manifest) == ("Order_Completed", "SMS_Delivered")
    again = [service.post("sms", sms(f"id-{each}")).status_code for each in range(0, 40, 8)]
    assert again == [200] * 5
    assert_each_expiry_was_written_once(100)
    assert_purged(*(loop.counts() for loop in loops), number=100)
    assert rows(UnmatchedReceipt) == 0
    told = "".join(loop.err.read_text() + loop.out.read_text() for loop in loops)
    assert "91825364" not in told + service.said()


def test_a_loop_outlives_its_database_and_one_that_is_stopped_meanwhile_says_that_it_failed(
    start: Start, fill: Fill, database: Database
) -> None:
    patience = {"SQLITE_PATIENCE": "0.2"} if ON_SQLITE else {}
    loop, stopped = (start(EXPIRE, "--loop", "0.2", **patience) for _ in range(2))
    for each in (loop, stopped):
        until(each.lines, "the first round")
    fill(1, "taken")
    due_soon = timezone.now() - timedelta(seconds=56)
    Delivery.objects.using(LIVE).update(expires_at=due_soon)
    connections[LIVE].close()
    with database.taken_away():
        for each in (loop, stopped):
            until(lambda: "upkeep chore failed " in each.err.read_text(), "a failure")  # noqa: B023
        stopped.ask(signal.SIGTERM)
        assert stopped.ends() == 1
    until(lambda: loop.counts()["deliveries expired"], "a round that does the work")
    until(lambda: loop.lines()[-1].endswith(" 0 failed"), "a good round")
    finish(loop)
    assert_each_expiry_was_written_once(1)
    assert stopped.counts()["deliveries expired"] == 0
    assert stopped.err.read_text().endswith(" failed; the log says where.\n")
    assert not any("Traceback" in each.err.read_text() for each in (loop, stopped))


def test_on_a_terminal_it_shows_its_progress(fill: Fill, database: Database) -> None:
    fill(3, "taken")
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "manage.py", EXPIRE],
        cwd=ROOT,
        env=environment_of(database),
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    assert process.wait(PATIENCE) == 0
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert shown.split("\r\033[K") == [
        "",
        "3 deliveries expired",
        (
            "0 late receipts matched, 0 dead hand-overs settled, 3 deliveries expired, "
            "0 history lines summed up, 0 failed\r\n"
        ),
    ]
