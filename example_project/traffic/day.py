"""What happens on a day in the demo: how much, when, and what becomes of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from random import Random
from typing import Final
from uuid import UUID

from django.utils.timezone import localtime

from example_project.traffic.letters import (
    ALERT,
    APPOINTMENT,
    CODE,
    EVERYDAY,
    RECEIPT,
    Letter,
    write,
)
from example_project.traffic.life import Life
from example_project.traffic.world import Gateway, World
from instant_notifications.models import UnmatchedReceipt
from instant_notifications.simulator.behaviours import Word
from instant_notifications.statuses import Channel, Outcome

Act = Callable[[Life], None]


def delivered(life: Life) -> None:
    life.wait(_USUAL_WAIT[life.draft.channel])
    life.hear(Word.DELIVERED)


def accepted(life: Life) -> None:
    life.wait(1)
    life.hear(Word.ACCEPTED)


def bounced(life: Life) -> None:
    life.wait(4 * _USUAL_WAIT[life.draft.channel])
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


def repeated(life: Life) -> None:
    life.wait(240)
    life.repeat_sent()


def tried_again(life: Life) -> None:
    life.wait(8)
    life.repeat_unsent()


def hours_pass(life: Life) -> None:
    life.wait(5000)


def cancelled(life: Life, *, because: str) -> None:
    life.wait(200)
    life.cancel("kari", because)


def resent(life: Life, *, because: str) -> None:
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


@dataclass(frozen=True, slots=True)
class Scenario:
    sms: int
    """Of a thousand SMS, how many fare like this."""
    email: int
    acts: Sequence[Act]
    tag: str = ""
    """The simulator's recipient who does so."""


SCENARIOS: Final = (
    Scenario(868, 905, (taken, delivered)),
    Scenario(40, 0, (taken, accepted, delivered)),
    Scenario(20, 15, (taken, delivered, repeated)),
    Scenario(26, 0, (taken, Life.run_out)),  # the phone is off
    Scenario(0, 22, (taken,)),  # mailboxes often say nothing
    Scenario(9, 0, (taken, Life.run_out, hours_pass, delivered)),  # it was off, and is on again
    Scenario(12, 30, (taken, bounced)),
    Scenario(12, 10, (refused,), tag="reject"),
    Scenario(4, 8, (taken, barred), tag="spam"),
    Scenario(5, 6, (silently_taken, delivered)),
    Scenario(2, 2, (lost, Life.run_out)),
    Scenario(2, 2, (worker_killed, delivered)),
)


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that is to be seen every day."""

    after: float
    """Which part of the day's messages has been sent by then."""
    letter: Letter
    acts: Sequence[Act]
    tag: str = ""


INCIDENTS: Final = (
    Incident(0.15, CODE, (not_sent, tried_again, delivered)),
    Incident(
        0.35,
        APPOINTMENT,
        (taken, bounced, partial(resent, because="She says that her phone is on again.")),
    ),
    Incident(0.45, CODE, (worker_killed, delivered, repeated)),
    Incident(0.55, APPOINTMENT, (not_sent, partial(cancelled, because="Told by phone instead."))),
    Incident(
        0.75,
        RECEIPT,
        (taken, bounced, partial(resent, because="His mailbox was full; he has made room.")),
    ),
    Incident(0.82, CODE, (not_sent, Life.run_out)),
    Incident(0.94, CODE, (silently_taken, delivered)),
    Incident(0.97, RECEIPT, (lost,)),
)

MESSAGES_A_DAY: Final = 1700
RHYTHM: Final = (
    *(8, 5, 3, 2, 2, 4, 14, 40, 82, 100, 92, 80),
    *(66, 70, 68, 60, 50, 44, 40, 42, 46, 40, 28, 15),
)
"""How busy each hour of the day is, in comparison with the others."""
LAST_WORDS: Final = timedelta(minutes=1)
"""No message begins so late that its hand-over would not be over."""

OUTAGE: Final = timedelta(minutes=20)
OUTAGE_HOURS: Final = (12, 14)
"""It begins a few minutes past one of these, the last one that is well over."""
RECOVERED: Final = timedelta(minutes=30)
ALERTS: Final = 180
"""How many alerts are sent while it lasts: of all times, just then."""

UNMATCHED: Final = (
    (0.12, "simulator", "SMS_Delivered", "delivered"),
    (0.41, "simulator", "SMS_Failed_Undelivered", "bounced"),
    (0.66, "standby", "SMS_Delivered", "delivered"),
    (0.67, "standby", "", "QUEUED"),
    (0.99, "simulator", "Email_Delivered", "delivered"),
)
"""Receipts of messages that nobody here has sent: when, by whom, what they say."""


@dataclass(frozen=True, slots=True)
class Day:
    lives: Sequence[Life]
    unmatched: Sequence[UnmatchedReceipt]
    gateways: Sequence[Gateway]


def imagine(begin: datetime, end: datetime, seed: int) -> Day:
    """The rows of a day, alike for the same arguments; nothing is written."""
    chance = Random(seed)  # noqa: S311 (nothing here is a secret)
    outage = _outage(end)
    gateways = (Gateway("simulator", 0.16, outage, outage + OUTAGE), Gateway("standby", 0.45))
    world = World(chance, gateways, end)
    everyday = list(_everyday(world, begin))
    beginnings = [*everyday, *_alerts(world, begin, outage), *_incidents(everyday)]
    beginnings.sort(key=itemgetter(0))
    lives = [life for beginning in beginnings for life in _live(world, *beginning)]
    return Day(lives, list(_unmatched(world, begin)), gateways)


Beginning = tuple[datetime, Letter, Scenario | Incident]


def _outage(end: datetime) -> datetime:
    today = localtime(end).replace(minute=7, second=12, microsecond=0)
    begins = [
        today.replace(hour=hour) - timedelta(days=days) for days in (0, 1) for hour in OUTAGE_HOURS
    ]
    over = max(begin for begin in begins if begin + OUTAGE + RECOVERED <= end)
    return over.astimezone(UTC)


def _everyday(world: World, begin: datetime) -> Iterator[Beginning]:
    """One after the other, more or less as many an hour as it has."""
    chance, moment = world.chance, begin + _gap(begin, world.chance)
    while moment < world.end - LAST_WORDS:
        letter = chance.choices(EVERYDAY, [each.weight for each in EVERYDAY])[0]
        yield moment, letter, _scenario(letter, chance)
        moment += _gap(moment, chance)


def _gap(moment: datetime, chance: Random) -> timedelta:
    an_hour = MESSAGES_A_DAY * RHYTHM[localtime(moment).hour] / sum(RHYTHM)
    return timedelta(hours=chance.expovariate(an_hour))


def _alerts(world: World, begin: datetime, outage: datetime) -> Iterator[Beginning]:
    if outage < begin:
        return
    for _ in range(ALERTS):
        moment = outage + world.chance.random() * OUTAGE
        yield moment, ALERT, _scenario(ALERT, world.chance)


def _incidents(everyday: Sequence[Beginning]) -> Iterator[Beginning]:
    for each in INCIDENTS if everyday else ():
        moment, *_ = everyday[int(each.after * len(everyday))]
        yield moment + timedelta(seconds=1), each.letter, each


def _scenario(letter: Letter, chance: Random) -> Scenario:
    weights = [each.sms if letter.channel is Channel.SMS else each.email for each in SCENARIOS]
    return chance.choices(SCENARIOS, weights)[0]


def _live(
    world: World, moment: datetime, letter: Letter, plot: Scenario | Incident
) -> Iterator[Life]:
    draft = write(letter, world.chance, f"{moment:%Y%m%d%H%M%S}", plot.tag)
    life = Life(draft, moment, world)
    for act in plot.acts:
        act(life)
    yield life
    if life.successor:
        yield life.successor


def _unmatched(world: World, begin: datetime) -> Iterator[UnmatchedReceipt]:
    for when, gateway, status, word in UNMATCHED:
        reference = UUID(int=world.chance.getrandbits(128), version=4)
        yield UnmatchedReceipt(
            gateway=gateway,
            gateway_reference=f"sim-{reference}",
            status=status,
            word=word,
            received_at=begin + when * (world.end - begin),
        )
