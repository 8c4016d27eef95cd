"""Halts a worker at a chosen place, so that a test can kill it exactly there.

A message halts at the place that its recipient's local part names. Comparisons of one-time codes
leave a file each, so that they can be counted over all workers. What was certainly not sent is
tried again after ``RETRY_AFTER`` seconds; a queue is told of at most ``MOST_IN_QUEUE`` rows. The
package knows nothing of this: its functions are wrapped.
"""

import os
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

from django.apps import AppConfig


class Place(StrEnum):
    BEFORE_THE_RESERVATION = "before-the-reservation"
    BEFORE_THE_SEND = "before-the-send"
    BEFORE_THE_RECORD = "before-the-record"
    INSIDE_THE_RECORD = "inside-the-record"


class Halting(AppConfig):
    name = "tests.live"
    label = "live"

    def ready(self) -> None:
        if directory := os.environ.get("HALT_IN"):
            _wrap(Path(directory))
        if directory := os.environ.get("NOTE_COMPARISONS_IN"):
            _note_comparisons(Path(directory))
        if seconds := os.environ.get("RETRY_AFTER"):
            _retry_after(timedelta(seconds=float(seconds)))
        if number := os.environ.get("MOST_IN_QUEUE"):
            _keep_queues_short(int(number))


def _wrap(directory: Path) -> None:
    from instant_notifications import dispatch, orders, record
    from instant_notifications.gateways.mail import MailGateway

    def halt(place: Place, destination: str | None) -> None:
        if destination and destination.startswith(f"{place}@"):
            (directory / place).touch()
            Event().wait()

    send, hand_over, send_mail = orders.send, dispatch.hand_over, MailGateway.send
    follow_up = record._follow_up

    def halting_send(draft: Any, **named: Any) -> Any:
        halt(Place.BEFORE_THE_RESERVATION, draft.destination)
        return send(draft, **named)

    def halting_hand_over(delivery: Any, route: Any) -> Any:
        halt(Place.BEFORE_THE_SEND, delivery.destination)
        return hand_over(delivery, route)

    def halting_send_mail(gateway: Any, message: Any) -> Any:
        receipt = send_mail(gateway, message)
        halt(Place.BEFORE_THE_RECORD, message.destination)
        return receipt

    def halting_follow_up(steps: Any, now: Any) -> None:
        follow_up(steps, now)
        for step in steps:
            halt(Place.INSIDE_THE_RECORD, step.after.destination)

    orders.send = halting_send
    dispatch.hand_over = halting_hand_over
    MailGateway.send = halting_send_mail  # type: ignore[assignment,method-assign]
    record._follow_up = halting_follow_up


def _note_comparisons(directory: Path) -> None:
    from instant_notifications.otp import codes

    is_it = codes.is_it

    def noted(*args: Any, **named: Any) -> bool:
        (directory / str(uuid4())).touch()
        return is_it(*args, **named)

    codes.is_it = noted


def _retry_after(pause: timedelta) -> None:
    from instant_notifications import dispatch

    dispatch.RETRIES = (pause,)  # type: ignore[misc]


def _keep_queues_short(most: int) -> None:
    from instant_notifications.planning import claims

    claims.MOST_IN_QUEUE = most  # type: ignore[misc]
