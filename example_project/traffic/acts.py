"""What may become of a message, act by act."""

from functools import partial
from typing import Final

from example_project.traffic.life import Instant, Life
from instant_notifications.simulator.behaviours import Word
from instant_notifications.statuses import Channel, Outcome


def delivered(life: Life) -> None:
    life.wait(_USUAL_WAIT[life.channel])
    life.hear(Word.DELIVERED)


def accepted(life: Life) -> None:
    life.wait(1)
    life.hear(Word.ACCEPTED)


def bounced(life: Life) -> None:
    life.wait(4 * _USUAL_WAIT[life.channel])
    life.hear(Word.BOUNCED)


def barred(life: Life) -> None:
    life.wait(2)
    life.hear(Word.BARRED)


def silently_taken(life: Life) -> None:
    """The recipient gets it, but the gateway's answer does not come in time."""
    life.ask(Outcome.UNKNOWN)
    life.arrive(life.delivery.gateway, life.delivery.created_at)


def worker_killed(life: Life) -> None:
    """The gateway has it, but nobody was left to write that down."""
    life.arrive(life.world.reachable(life.now).alias, life.now)
    life.lapse()


def repeated(life: Instant) -> None:
    life.wait(240)
    life.repeat_sent()


def tried_again(life: Instant) -> None:
    life.wait(8)
    life.repeat_unsent()


def swept_up(life: Life) -> None:
    """It is due again, and the next sweep finds it."""
    if life.delivery.due_at and life.delivery.due_at < life.world.last_call:
        life.now = life.delivery.due_at
        life.wait(2)
        life.begin()
        life.ask(Outcome.TAKEN)


def hours_pass(life: Life) -> None:
    life.wait(5000)


def cancelled(life: Life, *, because: str) -> None:
    life.wait(200)
    life.cancel("kari", because)


def resent(life: Instant, *, because: str) -> None:
    life.wait(300)
    if not life.is_over:
        successor = life.resend("kari", because)
        taken(successor)
        delivered(successor)


taken, refused, not_sent, lost = (
    partial(Life.ask, wanted=outcome)
    for outcome in (Outcome.TAKEN, Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN)
)
_USUAL_WAIT: Final = {Channel.SMS: 2.6, Channel.EMAIL: 7.0}
"""Seconds to the receipt."""
