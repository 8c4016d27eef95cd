"""The only room that knows the task engine: Django's ``tasks``, or its backport on Django 5.2.

Whoever sets up no engine has an immediate one: what is put in the queue is done at once, in the
same process. Tasks carry ids and no more; the rows say what is still to do.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from instant_notifications import planning, privacy
from instant_notifications.conf import SETTINGS_NAME, settings
from instant_notifications.exceptions import NotConfigured
from instant_notifications.models import Delivery, Plan, primary
from instant_notifications.planning import Queued

logger = logging.getLogger("instant_notifications")

CHUNK: Final = 20
"""Rows to a task: few enough to be done within a claim's lease, even by a slow gateway."""


def _engines_decorator() -> Any:
    """``None`` on Django 5.2 without its backport: then there is no engine but this process."""
    for engine in ("django.tasks", "django_tasks"):
        with suppress(ImportError):
            return import_module(engine).task
    return None


_as_task: Final = _engines_decorator()


class StepFailed(Exception):  # noqa: N818
    """For the engine to show. It tells the place and nothing else: no text of a message."""


def _task(step: Callable[[Sequence[str]], None]) -> Any:
    if _as_task is None:
        return step
    try:
        return _as_task(backend=settings.TASK_BACKEND, queue_name=settings.TASK_QUEUE)(step)
    except Exception as error:
        raise NotConfigured(
            f"{SETTINGS_NAME}['TASK_BACKEND'] must name a backend of yours in TASKS, and "
            f"['TASK_QUEUE'] one of its QUEUES ({error})."
        ) from error


@_task
def plan_shipments(ids: Sequence[str]) -> None:
    enqueue(Delivery, _told(planning.plan, ids))


@_task
def hand_over_deliveries(ids: Sequence[str]) -> None:
    _told(planning.hand_over, ids)


def _told(step: Callable[[Sequence[UUID]], Any], ids: Sequence[str]) -> Any:
    try:
        return step([UUID(each) for each in ids])
    except Exception as error:  # noqa: BLE001 (what the engine keeps of it may be read by anybody)
        place = privacy.place_of(error)
        logger.error("task failed error=%s", place)  # noqa: TRY400
        raise StepFailed(place) from None


_STEPS: Final[Mapping[Queued, Any]] = {Plan: plan_shipments, Delivery: hand_over_deliveries}


def sweep(stopped: Callable[[], bool]) -> Iterator[int]:
    """Put what is due in the queue, chunk by chunk; yields how many rows each had.

    Messages come before plans, of which more messages are made. Raises what the engine raises.
    """
    for model in (Delivery, Plan):
        room = planning.room(model)
        while room > 0 and not stopped():
            claimed = planning.claim(model, min(CHUNK, room))
            if not claimed:
                break
            enqueue(model, claimed)
            room -= len(claimed)
            yield len(claimed)


def enqueue_on_commit(shipment_ids: Sequence[UUID]) -> None:
    """Put plans that were claimed for it in the queue once they are there for all to see.

    What goes wrong with that is made up for by the next sweep.
    """
    transaction.on_commit(partial(_try_to_enqueue, shipment_ids), using=primary(), robust=True)


def _try_to_enqueue(shipment_ids: Sequence[UUID]) -> None:
    try:
        enqueue(Plan, shipment_ids)
    except Exception as error:  # noqa: BLE001 (an engine may raise anything; the rows are safe)
        logger.warning("not put in the queue yet error=%s", privacy.place_of(error))


def enqueue(model: Queued, claimed: Sequence[UUID]) -> None:
    """Raises what the engine raises; what it was not told of is claimed no longer."""
    for begin in range(0, len(claimed), CHUNK):
        try:
            _enqueue(_STEPS[model], [str(each) for each in claimed[begin : begin + CHUNK]])
        except Exception:
            planning.release(model, claimed[begin:])
            raise


def _enqueue(step: Any, ids: Sequence[str]) -> None:
    if _as_task is None:
        with suppress(StepFailed):  # as an engine would: the rows come again after their claims
            step(ids)
    else:
        chosen = step.using(backend=settings.TASK_BACKEND, queue_name=settings.TASK_QUEUE)
        chosen.enqueue(ids)
