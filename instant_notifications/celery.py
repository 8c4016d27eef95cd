"""Celery for Django's ``tasks``, or for its backport on Django 5.2: as little of it as works.

Whoever names it in ``TASKS`` gives it the dotted path of a Celery app. It keeps no results, and of
the signals it sends only that something is in the queue; Celery has its own for the rest.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import django
from celery import Celery, shared_task
from django.core.checks import CheckMessage, Error
from django.core.exceptions import SuspiciousOperation
from django.utils import timezone
from django.utils.module_loading import import_string

from instant_notifications.exceptions import NotConfigured

if TYPE_CHECKING or django.VERSION >= (6,):
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskResult, TaskResultStatus
    from django.tasks.exceptions import InvalidTask
    from django.tasks.signals import task_enqueued
else:
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskResult, TaskResultStatus
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.signals import task_enqueued

_RUN: Final = "instant_notifications.celery.run"
_ONCE_MORE: Final = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
"""For a connection that died while nobody used it. ``retry=False`` would wait longer: it does
without these, and kombu then goes on trying to connect."""


class CeleryBackend(BaseTaskBackend):
    """``enqueue`` raises what kombu raises, and soon, if the broker cannot be told."""

    supports_async_task = True

    @cached_property
    def app(self) -> Celery:
        """Found when it is first needed: its module may be the one that imports the tasks."""
        try:
            found = import_string(self.options.get("app", ""))
        except (ImportError, AttributeError, TypeError) as error:
            raise self._not_configured(f" ({type(error).__name__}: {error})") from error
        if not isinstance(found, Celery):
            raise self._not_configured()
        return found

    def _not_configured(self, why: str = "") -> NotConfigured:
        return NotConfigured(
            f"TASKS[{self.alias!r}] has no usable OPTIONS['app']{why}. "
            "Write the dotted path of your Celery app."
        )

    def validate_task(self, task: "Task[..., Any]") -> None:
        super().validate_task(task)
        if task.takes_context:
            raise InvalidTask("Backend does not support tasks that take a context.")

    def enqueue(self, task: "Task[..., Any]", args: Any, kwargs: Any) -> Any:
        self.validate_task(task)
        result = TaskResult(
            task=task,
            id=str(uuid4()),
            status=TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        self.app.tasks[_RUN].apply_async(
            (task.module_path, result.args, result.kwargs),
            task_id=result.id,
            queue=task.queue_name,
            retry=True,
            retry_policy=_ONCE_MORE,
        )
        task_enqueued.send(type(self), task_result=result)
        return result

    def check(self, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG002
        try:
            _ = self.app
        except NotConfigured as error:
            return [Error(str(error), id="instant_notifications.E012")]
        return []


# Late, as a task that is done twice does nothing the second time: what a dead worker had in hand
# goes to the next at once, and need not wait until its claims lapse.
@shared_task(  # type: ignore[untyped-decorator]
    name=_RUN, acks_late=True, reject_on_worker_lost=True, ignore_result=True, serializer="json"
)
def run(path: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """What the worker does: the task at this path, and nothing that is none."""
    task = import_string(path)
    if not isinstance(task, Task):
        raise SuspiciousOperation(f"{path} is not a task.")
    task.call(*args, **kwargs)
