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

from example_project.traffic.acts import (
    accepted,
    barred,
    bounced,
    cancelled,
    delivered,
    hours_pass,
    lost,
    not_sent,
    refused,
    repeated,
    resent,
    silently_taken,
    taken,
    tried_again,
    worker_killed,
)
from example_project.traffic.chain import Chain
from example_project.traffic.letters import (
    ALERT,
    APPOINTMENT,
    CODE,
    EVERYDAY,
    RECEIPT,
    Letter,
    write,
)
from example_project.traffic.life import Instant, Life, reserve
from example_project.traffic.orders import Turn, place_orders
from example_project.traffic.world import Gateway, World
from instant_notifications.models import UnmatchedReceipt
from instant_notifications.statuses import Channel

Act = Callable[[Instant], None]


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
    lives: Sequence[Instant]
    """What was sent at once."""
    chains: Sequence[Chain]
    """What was ordered to be worked off."""
    unmatched: Sequence[UnmatchedReceipt]
    gateways: Sequence[Gateway]

    @property
    def all_lives(self) -> Sequence[Life]:
        return [*self.lives, *(life for chain in self.chains for life in chain.lives)]


def imagine(begin: datetime, end: datetime, seed: int) -> Day:
    """The rows of a day, alike for the same arguments; nothing is written."""
    chance = Random(f"{seed} {begin}")  # noqa: S311 (nothing here is a secret)
    outage = _outage(end)
    gateways = (Gateway("simulator", 0.16, outage, outage + OUTAGE), Gateway("standby", 0.45))
    world = World(chance, gateways, end)
    everyday = list(_everyday(world, begin))
    beginnings = [*everyday, *_alerts(world, begin, outage), *_incidents(everyday)]
    lives: list[Instant] = []
    chains, turns = _placed(world, begin)
    turns += [(each[0], partial(_live, world, *each, lives)) for each in beginnings]
    for moment, play in sorted(turns, key=itemgetter(0)):
        if moment <= end:
            play()
    return Day(lives, chains, list(_unmatched(world, begin)), gateways)


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
    while moment < world.last_call:
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


def _placed(world: World, begin: datetime) -> tuple[list[Chain], list[Turn]]:
    placed = list(place_orders(world, begin))
    return [chain for chain, _ in placed], [turn for _, turns in placed for turn in turns]


def _live(
    world: World, moment: datetime, letter: Letter, plot: Scenario | Incident, lives: list[Instant]
) -> None:
    draft = write(letter, world.chance, f"{moment:%Y%m%d%H%M%S}", plot.tag)
    life = reserve(draft, moment, world)
    for act in plot.acts:
        act(life)
    lives.append(life)
    if life.successor:
        lives.append(life.successor)


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
