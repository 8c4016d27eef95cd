"""Compares, message by message, what gateways saw with what tables, answers and feed say."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Final

from instant_notifications.statuses import WORDS, Channel, Handover

SUCCEEDED: Final = frozenset({200, 201})
REFUSED: Final = (422, "IN-00001")
NOT_SENT: Final = (503, "NOT-00004")
UNDER_WAY: Final = (409, "IN-00002")
UNKNOWN: Final = (504, "IN-00003")
MAY_BE_ANSWERED: Final = frozenset({(200, ""), (201, ""), REFUSED, NOT_SENT, UNDER_WAY, UNKNOWN})

MAY_HAVE_BEEN_TAKEN: Final = frozenset({Handover.TAKEN, Handover.UNKNOWN})
EXPIRED: Final = WORDS[Channel.SMS].expired

PERSONAL: Final = re.compile(r"(?<![0-9a-f])\+?4790[0-9]{6}(?![0-9a-f])|your code is", re.I)
"""A number, or the text, of a message that the clients send."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that a gateway took; ``at`` is of the same clock as the times of a ``Try``."""

    reference: str
    key: str
    at: float


@dataclass(frozen=True, slots=True)
class Try:
    """One request of a client, and its answer; ``status`` is 0 where none came."""

    key: str
    began: float
    ended: float
    status: int
    code: str = ""
    shipment: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A delivery as our tables have it."""

    reference: str
    key: str
    shipment: str
    handover: str
    status: str
    completed: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """What the feed said of a shipment with one recipient."""

    number: int
    shipment: str
    status: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known once the faults have ended and every message has come to its end."""

    taken: Sequence[Taken]
    tries: Sequence[Try]
    rows: Sequence[Row]
    followed: Sequence[Entry]
    """The feed as somebody has read it who followed it all the time."""
    feed: Sequence[Entry]
    """The feed as it is read from the beginning."""
    logs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def by_reference(self) -> Mapping[str, Row]:
        return {row.reference: row for row in self.rows}

    @cached_property
    def by_key(self) -> Mapping[str, Row]:
        return {row.key: row for row in self.rows}

    @cached_property
    def taken_by_key(self) -> Mapping[str, Sequence[Taken]]:
        found = defaultdict(list)
        for each in self.taken:
            found[each.key].append(each)
        return found

    @cached_property
    def tries_by_key(self) -> Mapping[str, Sequence[Try]]:
        found = defaultdict(list)
        for each in self.tries:
            found[each.key].append(each)
        return found


def audit(evidence: Evidence) -> list[str]:
    """Every broken promise, in words; none if all were kept."""
    return [finding for check in CHECKS for finding in check(evidence)]


def sent_twice(evidence: Evidence) -> Iterator[str]:
    for key, taken in evidence.taken_by_key.items():
        if len(taken) > 1:
            yield f"{key}: sent {len(taken)} times"


def lost(evidence: Evidence) -> Iterator[str]:
    """A gateway took what we know nothing of, or are sure that it did not leave."""
    for taken in evidence.taken:
        row = evidence.by_reference.get(taken.reference)
        if row is None or row.key != taken.key:
            yield f"{taken.key}: taken, and there is no trace of it"
        elif row.handover not in MAY_HAVE_BEEN_TAKEN:
            yield f"{taken.key}: taken, and the row says {row.handover}"


def invented(evidence: Evidence) -> Iterator[str]:
    references = {taken.reference for taken in evidence.taken}
    for row in evidence.rows:
        if row.handover == Handover.TAKEN and row.reference not in references:
            yield f"{row.key}: the row says taken, and no gateway took it"


def not_one_row_each(evidence: Evidence) -> Iterator[str]:
    for key, count in Counter(row.key for row in evidence.rows).items():
        if count > 1:
            yield f"{key}: has {count} rows"


def not_ended(evidence: Evidence) -> Iterator[str]:
    for row in evidence.rows:
        if row.handover == Handover.UNDER_WAY:
            yield f"{row.key}: still under way"
        elif not row.completed:
            yield f"{row.key}: has not come to its end"


def unexpected_answers(evidence: Evidence) -> Iterator[str]:
    for each in evidence.tries:
        if each.status and (each.status, each.code) not in MAY_BE_ANSWERED:
            yield f"{each.key}: answered {each.status} {each.code}"


def answers_about_another(evidence: Evidence) -> Iterator[str]:
    for each in evidence.tries:
        row = evidence.by_key.get(each.key)
        if each.shipment and (row is None or each.shipment != row.shipment):
            yield f"{each.key}: answered with a shipment that is not its own"


def successes_taken_back(evidence: Evidence) -> Iterator[str]:
    for key, tries in evidence.tries_by_key.items():
        successes = [each for each in tries if each.status in SUCCEEDED]
        if not successes:
            continue
        row = evidence.by_key.get(key)
        if row is None or row.handover != Handover.TAKEN:
            yield f"{key}: answered as sent, and the row says {row.handover if row else 'nothing'}"
        if sum(each.status == 201 for each in successes) > 1:
            yield f"{key}: answered twice as just sent"
        known_at = min(each.ended for each in successes)
        for each in tries:
            if each.began > known_at and _denies_it(each):
                yield f"{key}: answered as sent, later with {each.status}"


def _denies_it(answer: Try) -> bool:
    """Without a shipment it says only that the database could not be asked."""
    denials = {REFUSED, NOT_SENT, UNDER_WAY, UNKNOWN}
    return bool(answer.shipment) and (answer.status, answer.code) in denials


def refusals_that_were_sent(evidence: Evidence) -> Iterator[str]:
    for each in evidence.tries:
        if (each.status, each.code) == REFUSED and evidence.taken_by_key.get(each.key):
            yield f"{each.key}: answered as refused, and taken"


def sent_all_the_same(evidence: Evidence) -> Iterator[str]:
    """Answered as certainly not sent when a gateway had it already."""
    for each in evidence.tries:
        if (each.status, each.code) != NOT_SENT:
            continue
        for taken in evidence.taken_by_key.get(each.key, ()):
            if taken.at < each.ended and not _by_another_try(each, evidence):
                yield f"{each.key}: answered as not sent, and taken before that"


def _by_another_try(answer: Try, evidence: Evidence) -> bool:
    """Another request may have had it sent: one at the same time; or, where the answer names no
    shipment and so speaks for its own request alone, an earlier one that did not hear the same."""
    others = [each for each in evidence.tries_by_key[answer.key] if each is not answer]
    beside = any(each.began < answer.ended and answer.began < each.ended for each in others)
    before = [each for each in others if each.ended <= answer.began]
    by_an_earlier = not answer.shipment and any(each.status != 503 for each in before)
    return beside or by_an_earlier


def holes_in_the_feed(evidence: Evidence) -> Iterator[str]:
    for name, entries in (("followed", evidence.followed), ("read", evidence.feed)):
        numbers = [0, *(entry.number for entry in entries)]
        yield from (
            f"the feed as {name}: {after} comes after {before}"
            for before, after in pairwise(numbers)
            if after != before + 1
        )
    if list(evidence.followed) != list(evidence.feed):
        yield "the feed reads otherwise than it did when it was followed"


def not_told_once(evidence: Evidence) -> Iterator[str]:
    """Each end comes once in the feed; once more only where a receipt corrects our own expiry."""
    told = defaultdict(list)
    for entry in evidence.feed:
        told[entry.shipment].append(entry.status)
    for row in evidence.rows:
        statuses = told.pop(row.shipment, [])
        if row.completed and statuses not in ([row.status], [EXPIRED, row.status]):
            yield f"{row.key}: ended as {row.status}, and the feed tells {statuses}"
    yield from (f"the feed tells of {shipment}, which is unknown" for shipment in told)


def personal_data_in_logs(evidence: Evidence) -> Iterator[str]:
    for name, text in evidence.logs.items():
        if count := len(PERSONAL.findall(text)):
            yield f"the log of {name} holds personal data {count} times"


CHECKS: Final[Sequence[Callable[[Evidence], Iterator[str]]]] = (
    sent_twice,
    lost,
    invented,
    not_one_row_each,
    not_ended,
    unexpected_answers,
    answers_about_another,
    successes_taken_back,
    refusals_that_were_sent,
    sent_all_the_same,
    holes_in_the_feed,
    not_told_once,
    personal_data_in_logs,
)
