"""What Celery is told of a task, what its worker does with that, and a broker that is away."""

from collections.abc import Iterator
from importlib import import_module
from time import monotonic
from typing import Any, Final

import django
import pytest
from celery import Celery
from django.core.exceptions import SuspiciousOperation
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.simple import SimpleQueue

from instant_notifications import celery, planning, tasks
from instant_notifications.celery import CeleryBackend
from instant_notifications.exceptions import NotConfigured
from instant_notifications.models import Plan
from tests import regular
from tests.apart import run_apart
from tests.regular import order, phones
from tests.web import free_port

ENGINE: Final = "django.tasks" if django.VERSION >= (6,) else "django_tasks"
task: Final = import_module(ENGINE).task
signals: Final = import_module(f"{ENGINE}.signals")

there = Celery("there", broker="memory://", set_as_current=False)
away = Celery("away", broker=f"amqp://127.0.0.1:{free_port()}//", set_as_current=False)
done: list[Any] = []


@task
def note(*args: Any, **kwargs: Any) -> None:
    done.append((args, kwargs))


@task
async def note_later(*args: Any) -> None:
    done.append((args, {}))


def note_context(context: Any) -> None:
    done.append(context)


def uses(app: Any) -> dict[str, Any]:
    backend = f"{CeleryBackend.__module__}.{CeleryBackend.__qualname__}"
    return {"default": {"BACKEND": backend, "OPTIONS": {"app": app}}}


@pytest.fixture(autouse=True)
def _over_celery(settings: Any) -> None:
    settings.TASKS = uses(f"{__name__}.there")
    done.clear()


@pytest.fixture
def queue() -> Iterator[SimpleQueue]:
    with Connection("memory://") as connection:
        queue = connection.SimpleQueue("default")
        queue.clear()
        yield queue
        queue.close()


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """The results that receivers of the signal got."""
    found: list[Any] = []

    def receive(task_result: Any, **named: Any) -> None:
        found.append(task_result)

    signals.task_enqueued.connect(receive)
    yield found
    signals.task_enqueued.disconnect(receive)


# A broker that answers


def test_a_task_is_one_message_that_names_it(queue: SimpleQueue, told: list[Any]) -> None:
    result = note.enqueue("a", b=[2])
    message = queue.get_nowait()
    assert message.headers["id"] == result.id
    assert message.headers["task"] == "instant_notifications.celery.run"
    assert message.headers["ignore_result"] is True
    assert message.payload[0] == ["tests.test_celery.note", ["a"], {"b": [2]}]
    assert queue.qsize() == 0
    assert (told, done) == ([result], [])


@pytest.mark.parametrize("step", [note, note_later], ids=lambda step: step.name)
def test_a_worker_does_what_the_message_names(queue: SimpleQueue, step: Any) -> None:
    step.enqueue("a")
    message = queue.get_nowait()
    there.tasks[message.headers["task"]](*message.payload[0])
    assert done == [(("a",), {})]


@pytest.mark.parametrize("path", ["os.getcwd", "tests.test_celery.note_context"])
def test_a_worker_calls_nothing_that_is_no_task(path: str) -> None:
    with pytest.raises(SuspiciousOperation, match=f"{path} is not a task"):
        celery.run(path, [], {})
    assert done == []


def test_what_cannot_be_written_down_is_refused(queue: SimpleQueue, told: list[Any]) -> None:
    with pytest.raises(TypeError):
        note.enqueue(object())
    assert (queue.qsize(), told) == (0, [])


def test_a_task_that_takes_a_context_is_refused() -> None:
    with pytest.raises(Exception, match="does not support tasks that take a context"):
        task(takes_context=True)(note_context)


# One that does not


def test_a_broker_that_is_away_is_not_waited_for(settings: Any, told: list[Any]) -> None:
    settings.TASKS = uses(f"{__name__}.away")
    before = monotonic()
    with pytest.raises(OperationalError):
        note.enqueue()
    assert monotonic() - before < 10  # it would be tried again for minutes
    assert told == []


@pytest.mark.django_db
def test_what_it_was_not_told_of_is_claimed_no_longer(settings: Any) -> None:
    order(phones(3))
    regular.forget_claims()
    settings.TASKS = uses(f"{__name__}.away")
    with pytest.raises(OperationalError):
        list(tasks.sweep(lambda: False))
    assert len(planning.claim(Plan, 10)) == 3


# Settings that lack something


@pytest.mark.parametrize("app", [None, "", 5, "nowhere.app", "tests.test_celery.nothing", "os.sep"])
def test_an_app_that_is_none_is_told_of(settings: Any, app: Any) -> None:
    settings.TASKS = uses(app)
    (problem,) = note.get_backend().check()
    assert problem.id == "instant_notifications.E012"
    assert "TASKS['default'] has no usable OPTIONS['app']" in problem.msg
    with pytest.raises(NotConfigured, match="dotted path of your Celery app"):
        note.enqueue()


def test_with_an_app_nothing_is_wrong() -> None:
    assert note.get_backend().check() == []


WITHOUT_CELERY: Final = """
import sys
sys.modules["celery"] = None
import django
django.setup()
from django.core.management import call_command
call_command("check")
from instant_notifications import tasks
"""


def test_nobody_else_needs_the_package() -> None:
    done = run_apart(WITHOUT_CELERY)
    assert done.returncode == 0, done.stderr
