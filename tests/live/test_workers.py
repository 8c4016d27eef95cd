"""Workers share orders, on each engine; they are killed, and so is Redis, and nobody gets two."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final
from uuid import uuid4

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from instant_notifications.models import Delivery, FeedEntry, Plan, Shipment
from instant_notifications.simulator.models import SimulatedMessage
from instant_notifications.statuses import Ended, Handover
from tests.live import harness, placing
from tests.live.celery_app import AMQP_URL
from tests.live.harness import LIVE, ON_SQLITE, SECRET_KEY, Database, manage, until
from tests.live.workers import RedisServer, Worker

LARGE: Final = bool(os.environ.get("LARGE_ORDERS"))
BUDGET: Final = 1.0
CLAIM_LEASE: Final = 10.0
PATIENCE: Final = 300.0
MANY: Final = 10
FEW: Final = 6
"""Of so many kills one meets a message on its way, if they meet any."""

SWEEP: Final = ("manage.py", "process_due_orders", "--loop", "1")
EXPIRE: Final = ("manage.py", "expire_notifications", "--loop", "3")
PLACE: Final = ("-c", placing.IN_A_PROCESS)


@dataclass(frozen=True)
class Engine:
    """One way to run it."""

    backend: str
    workers: Sequence[Sequence[str]]
    recipients: int
    kills: int
    others: Sequence[Sequence[str]] = (EXPIRE,)
    """What runs beside the workers."""

    orders: int = 50
    """How many more orders there are, with one recipient each."""

    broker: str = ""
    """The fixture that has one, and says in which environment it is found."""


FORKING: Final = ("manage.py", "rqworker", "--job-class", "django_tasks_rq.Job", "-v", "0")
"""It has each task done by a child; its simpler sister does them itself, and faster."""
SIMPLE: Final = (*FORKING, "--worker-class", "rq.SimpleWorker")
RQ: Final = Engine(
    backend="rq",
    workers=(FORKING, *3 * (SIMPLE,)),
    recipients=5000 if LARGE else 1500,
    kills=12,
    others=(SWEEP, EXPIRE),
    broker="redis_answers",
)
QUEUE: Final = f"test-{uuid4()}"
CELERY: Final = ("-m", "celery", "-A", "tests.live.celery_app", "worker", "-Q", QUEUE, "-c", "1")
QUIET: Final = ("-l", "warning", "--without-gossip", "--without-mingle", "--without-heartbeat")
ON_POSTGRESQL: Final = (
    RQ,
    Engine(
        backend="celery",
        workers=[
            (*CELERY, *QUIET, "--pool", pool) for pool in ("prefork", "solo", "prefork", "solo")
        ],
        recipients=5000 if LARGE else 300,
        kills=FEW,
        others=(SWEEP, EXPIRE),
        broker="rabbitmq",
    ),
    Engine(
        backend="database",
        workers=4 * [("manage.py", "db_worker", "--interval", "0.1")],
        recipients=5000 if LARGE else 600,
        kills=MANY if LARGE else FEW,
        others=(SWEEP, EXPIRE),
    ),
    Engine(
        backend="immediate",
        workers=4 * [SWEEP],
        recipients=5000 if LARGE else 600,
        kills=MANY if LARGE else FEW,
    ),
)
SQLITE: Final = (Engine(backend="immediate", workers=2 * [SWEEP], recipients=300, kills=3),)
ENGINES: Final = SQLITE if ON_SQLITE else ON_POSTGRESQL


@dataclass
class Company:
    """Everybody who works on one database."""

    engine: Engine
    environment: Mapping[str, str]
    directory: Path
    members: list[Worker] = field(default_factory=list)
    fallen: int = 0
    """How many ended by themselves and were started again, as a supervisor does."""

    def employ(self, words: Sequence[str]) -> Worker:
        log = self.directory / f"worker-{len(self.members)}.log"
        self.members.append(Worker(words, self.environment, log))
        self.members[-1].start()
        return self.members[-1]

    def employ_all(self) -> Sequence[Worker]:
        """Returns those who work; the others see to it that there is work."""
        for words in self.engine.others:
            self.employ(words)
        return [self.employ(words) for words in self.engine.workers]

    def tend(self) -> None:
        for each in self.members:
            if not each.lives:
                self.fallen += 1
                each.start()

    def dismiss(self) -> None:
        for each in self.members:
            each.kill()


Employ = Callable[..., Company]
on_redis = pytest.mark.skipif(ON_SQLITE, reason="one database will do")


@pytest.fixture
def company(database: Database, window: str, tmp_path: Path) -> Iterator[Employ]:
    made: list[Company] = []

    def make(engine: Engine, **changes: str) -> Company:
        ours = {
            "DATABASE_URL": database.url,
            "SECRET_KEY": SECRET_KEY,
            "DEBUG": "false",
            "DJANGO_SETTINGS_MODULE": "tests.live.settings",
            "TASKS_BACKEND": "immediate" if engine.backend == "celery" else engine.backend,
            "CLAIM_LEASE": str(CLAIM_LEASE),
            "HANDOVER_BUDGET": str(BUDGET),
            "MOST_IN_QUEUE": "800",
            "RETRY_AFTER": "1",
            "SMS_ROUTE": "paced",
            "EMAIL_ROUTE": "paced",
            "LOG_LEVEL": "WARNING",
        }
        environment = harness.environment(**{**ours, **changes})
        if engine.backend == "database":
            manage("migrate", "--verbosity=0", **environment)
        made.append(Company(engine, environment, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.dismiss()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def redis_answers(redis: RedisServer) -> Mapping[str, str]:
    redis.start()
    return {"REDIS_URL": redis.url}


@pytest.fixture
def rabbitmq() -> Iterator[Mapping[str, str]]:
    with Connection(AMQP_URL, connect_timeout=3) as connection:
        try:
            connection.ensure_connection(max_retries=1, interval_start=0)
        except OperationalError:
            pytest.skip("no RabbitMQ answers; TEST_AMQP_URL says where to look")
        yield {"CELERY_QUEUE": QUEUE}
        with connection.clone() as fresh, fresh.channel() as channel:
            channel.queue_delete(QUEUE)
            channel.exchange_delete(QUEUE)


# What must be true in the end


def waiting() -> int:
    plans = Plan.objects.using(LIVE).filter(due_at__isnull=False)
    return plans.count() + not_settled()


def not_settled() -> int:
    unsettled = [Handover.OPEN, Handover.UNDER_WAY]
    return Delivery.objects.using(LIVE).filter(handover__in=unsettled).count()


def handed_over() -> int:
    return Delivery.objects.using(LIVE).exclude(handover=Handover.OPEN).count()


def audit(recipients: int, orders: int) -> Counter[str]:
    """Compare what we say with what arrived, delivery by delivery. Returns how many are how."""
    arrived = Counter(SimulatedMessage.objects.using(LIVE).values_list("reference", flat=True))
    ours = {
        str(pk): handover
        for pk, handover in Delivery.objects.using(LIVE).values_list("pk", "handover")
    }
    known = Counter(ours.values())
    assert set(arrived) <= set(ours)
    may_arrive = {Handover.TAKEN: {1}, Handover.REFUSED: {0}, Handover.UNKNOWN: {0, 1}}
    wrong = [
        (key, handover, arrived[key])
        for key, handover in ours.items()
        if arrived[key] not in may_arrive.get(Handover(handover), ())
    ]
    assert wrong == []
    assert len(ours) == placing.expected_deliveries(recipients, orders)
    assert known[Handover.REFUSED] <= placing.expected_refusals(recipients)
    assert_nothing_is_forgotten(recipients + orders)
    assert_the_feed_is_dense_and_complete()
    return known


def assert_nothing_is_forgotten(shipments: int) -> None:
    plans = Plan.objects.using(LIVE).filter(ended=Ended.PLANNED, recipient__isnull=True)
    assert plans.count() == Plan.objects.using(LIVE).count() == shipments
    assert Shipment.objects.using(LIVE).filter(deliveries=None).count() == 0
    left = Delivery.objects.using(LIVE).exclude(due_at=None, claimed_until=None, lease_until=None)
    assert left.count() == 0


def assert_the_feed_is_dense_and_complete() -> None:
    entries = FeedEntry.objects.using(LIVE).filter(creator=placing.CREATOR)
    numbers = entries.order_by("sequence_number").values_list("sequence_number", flat=True)
    told = entries.values_list("shipment_id", flat=True)
    unfinished = Delivery.objects.using(LIVE).filter(completed_at=None).values("shipment")
    completed = Shipment.objects.using(LIVE).exclude(pk__in=unfinished)
    assert list(numbers) == list(range(1, len(numbers) + 1))
    assert sorted(told) == sorted(completed.values_list("pk", flat=True))


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.backend)
def test_workers_that_are_killed_send_nothing_twice_and_forget_nothing(
    engine: Engine, company: Employ, request: pytest.FixtureRequest
) -> None:
    there = request.getfixturevalue(engine.broker) if engine.broker else {}
    us = company(engine, **there)
    workers = us.employ_all()
    placer = us.employ([*PLACE, str(engine.recipients), str(engine.orders)])
    kill_now_and_then(engine, workers)
    assert placer.ends() == 0, placer.said()
    us.members.remove(placer)
    until(lambda: not waiting(), "the end of all work", patience=PATIENCE)
    known = audit(engine.recipients, engine.orders)
    assert known[Handover.UNKNOWN] <= engine.kills
    assert known[Handover.UNKNOWN] or engine.kills < MANY, "no kill met a message on its way"
    stop(us)


@on_redis
def test_a_redis_that_is_emptied_and_one_that_is_killed_lose_nothing(
    company: Employ, redis: RedisServer
) -> None:
    redis.start()
    us = company(RQ, REDIS_URL=redis.url, CLAIM_LEASE="5")
    us.employ_all()
    placer = us.employ([*PLACE, "400", "0"])
    assert placer.ends() == 0, placer.said()
    us.members.remove(placer)
    handed_over_at_least(100)
    assert redis.tell("FLUSHALL") == "+OK"
    handed_over_at_least(250)
    redis.kill()
    until(lambda: "the task engine" in us.members[0].said(), "somebody who misses it")
    redis.start()
    until(lambda: us.tend() or not waiting(), "the end of all work", patience=PATIENCE)
    audit(400, 0)


@on_redis
def test_an_order_that_is_placed_without_redis_is_done_once_it_is_there(
    company: Employ, redis: RedisServer
) -> None:
    us = company(RQ, REDIS_URL=redis.url, CLAIM_LEASE="5")
    loop = us.employ(SWEEP)
    placer = us.employ([*PLACE, "40", "3"])
    assert placer.ends() == 0, placer.said()
    once = us.employ(SWEEP[:2])
    assert once.ends() == 1
    assert "Not all was seen to: the task engine" in once.said()
    until(lambda: "not all: the task engine" in loop.said(), "somebody who misses it")
    assert (waiting(), handed_over()) == (43, 0)
    redis.start()
    us.employ(FORKING)
    until(lambda: not waiting(), "the end of all work", patience=PATIENCE)
    assert loop.lives
    audit(40, 3)


def handed_over_at_least(number: int) -> None:
    until(lambda: handed_over() >= number, f"{number} hand-overs", patience=PATIENCE)


def kill_now_and_then(engine: Engine, workers: Sequence[Worker]) -> None:
    """Spread over all the work. Every third kill is of a child that does tasks, if there is one."""
    chance = Random(1)
    total = placing.expected_deliveries(engine.recipients, engine.orders)
    for kill in range(engine.kills):
        handed_over_at_least(total * (kill + 1) // (engine.kills + 2))
        with_children = [each for each in workers if kill % 3 == 2 and each.children()]
        victim = chance.choice(with_children or workers)
        if with_children:
            victim.kill_children()
        else:
            victim.kill()
            victim.start()


def stop(us: Company) -> None:
    for each in us.members:
        each.ask(signal.SIGTERM)
    assert [each.ends() for each in us.members] == [0] * len(us.members)
    assert us.fallen == 0
