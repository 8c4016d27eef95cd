"""What is told of a shipment of a regular order: what was asked for, and how far its plan is."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.expressions import Combinable
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from instant_notifications.admin import words
from instant_notifications.admin.timeline import Line
from instant_notifications.admin.words import Tone
from instant_notifications.conf import settings
from instant_notifications.models import Delivery, Notice, Plan, Shipment
from instant_notifications.recipients import WAYS, Recipient
from instant_notifications.statuses import Channel, Ended


class Standing(Enum):
    """How far a plan has come."""

    LATER = auto()
    ASKED_IN_VAIN = auto()
    """Its condition has no clear answer yet."""
    NOT_LOOKED_UP = auto()
    """The contact register was away."""
    DUE = auto()
    QUEUED = auto()
    LEFT_LYING = auto()
    """A queue was told of it, and nobody has come."""
    PLANNED = auto()
    CANCELLED = auto()
    CANCELLED_BY = auto()
    CONDITION_NOT_MET = auto()


STANDINGS: Final[Mapping[Standing, Promise]] = {
    Standing.LATER: _("It waits for its time: %(due)s."),
    Standing.ASKED_IN_VAIN: _(
        "Its condition gave no clear answer at %(asked)s. It is asked once more at %(due)s; "
        "without a clear answer then, the message is sent."
    ),
    Standing.NOT_LOOKED_UP: _(
        "The contact register could not be asked (attempt %(attempt)s). The next try is at %(due)s."
    ),
    Standing.DUE: _("It has been due since %(due)s, and no worker has come for it."),
    Standing.QUEUED: _("It has been due since %(due)s, and a queue knows of it."),
    Standing.LEFT_LYING: _(
        "It has been due since %(due)s. A queue was told of it, but no worker has come for it."
    ),
    Standing.PLANNED: _("Its messages were made ready at %(ended)s, and are not here any more."),
    Standing.CANCELLED: _("Not sent: whoever had ordered it cancelled it at %(ended)s."),
    Standing.CANCELLED_BY: _("Not sent: %(by)s cancelled it at %(ended)s, because: %(because)s"),
    Standing.CONDITION_NOT_MET: _("Not sent: its condition was asked at %(ended)s, and said no."),
}
"""The headline of a shipment that has nothing to hand over."""

_TONES: Final = {
    Standing.LATER: Tone.OPEN,
    Standing.ASKED_IN_VAIN: Tone.OPEN,
    Standing.NOT_LOOKED_UP: Tone.DOUBT,
    Standing.DUE: Tone.OPEN,
    Standing.QUEUED: Tone.OPEN,
    Standing.LEFT_LYING: Tone.OPEN,
}
"""Of those that wait; the others have not been sent."""

_DUE_SINCE: Final = _("due since %(due)s")

IN_SHORT: Final[Mapping[Standing, Promise]] = {
    Standing.LATER: _("waits until %(due)s"),
    Standing.ASKED_IN_VAIN: _("asks its condition again at %(due)s"),
    Standing.NOT_LOOKED_UP: _("asks the contact register again at %(due)s"),
    Standing.DUE: _DUE_SINCE,
    Standing.QUEUED: _DUE_SINCE,
    Standing.LEFT_LYING: _DUE_SINCE,
    Standing.PLANNED: _("made ready"),
    Standing.CANCELLED: _("cancelled"),
    Standing.CANCELLED_BY: _("cancelled"),
    Standing.CONDITION_NOT_MET: _("condition not met"),
}


def standing(plan: Plan, now: datetime) -> Standing:
    if plan.ended:
        return _end(plan)
    if plan.due_at and plan.due_at > now:
        return _waits_for(plan)
    if plan.claimed_until is None:
        return Standing.DUE
    return Standing.QUEUED if plan.claimed_until > now else Standing.LEFT_LYING


def _end(plan: Plan) -> Standing:
    if plan.ended == Ended.CANCELLED:
        return Standing.CANCELLED_BY if plan.ended_by else Standing.CANCELLED
    return Standing.PLANNED if plan.ended == Ended.PLANNED else Standing.CONDITION_NOT_MET


def _waits_for(plan: Plan) -> Standing:
    notice = plan.notice
    if notice.condition_asked_at is not None and notice.condition_met is None:
        return Standing.ASKED_IN_VAIN
    return Standing.NOT_LOOKED_UP if plan.postponed else Standing.LATER


def in_short(plan: Plan, now: datetime) -> str:
    """For a list, where a shipment has no recipients to show yet, or never will."""
    due = words.clock_time(plan.due_at, now) if plan.due_at else ""
    return str(IN_SHORT[standing(plan, now)]) % {"due": due}


class Condition(Enum):
    NONE = auto()
    NOT_ASKED = auto()
    UNCLEAR = auto()
    MET = auto()
    MET_AT_LAST = auto()
    NOT_MET = auto()
    FORGOTTEN = auto()
    """It ended before it was asked, and what was not needed any more was erased."""


CONDITIONS: Final[Mapping[Condition, Promise]] = {
    Condition.NONE: _("none"),
    Condition.NOT_ASKED: _("there is one; it has not been asked"),
    Condition.UNCLEAR: _("no clear answer at %(asked)s; it is asked once more"),
    Condition.MET: _("met"),
    Condition.MET_AT_LAST: _("no clear answer at %(asked)s; then met, or unclear again"),
    Condition.NOT_MET: _("not met"),
    Condition.FORGOTTEN: _("none, or never asked"),
}
"""Its address is nobody's business here."""


def condition(notice: Notice, *, is_kept: bool) -> Condition:
    if notice.condition_met is not None:
        at_last = Condition.MET_AT_LAST if notice.condition_asked_at else Condition.MET
        return at_last if notice.condition_met else Condition.NOT_MET
    if notice.condition_asked_at is not None:
        return Condition.UNCLEAR
    if is_kept:
        return Condition.NOT_ASKED
    return Condition.NONE if notice.content else Condition.FORGOTTEN


DAYTIME: Final = _("by day only, from %(opens)s until %(closes)s (%(zone)s)")
ANYTIME: Final = _("at any time")

TIME_CAME: Final = _("Its time came.")
CONDITION_UNCLEAR: Final = _("Its condition was asked, and gave no clear answer.")
ENDS: Final[Mapping[Standing, Promise]] = {
    Standing.PLANNED: _("Its messages were made ready."),
    Standing.CANCELLED: _("Whoever had ordered it cancelled it."),
    Standing.CANCELLED_BY: words.DEEDS["cancel"],
    Standing.CONDITION_NOT_MET: _("Its condition was asked, and said no: it is not sent."),
}
"""How a plan ends, in a line of its history."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What is told of the plan of a shipment; nothing personal."""

    plan: Plan
    shipment: Shipment
    """Read ``with_plan``."""
    deliveries: Sequence[Delivery]
    now: datetime

    @property
    def standing(self) -> Standing:
        return standing(self.plan, self.now)

    @property
    def headline(self) -> str:
        return str(STANDINGS[self.standing]) % {
            "due": self._clock(self.plan.due_at),
            "asked": self._clock(self.plan.notice.condition_asked_at),
            "attempt": self.plan.postponed,
            "ended": self._clock(self.plan.ended_at),
            "by": self.plan.ended_by,
            "because": self.plan.ended_because,
        }

    def _clock(self, moment: datetime | None) -> str:
        return words.clock_time(moment, self.now) if moment else ""

    @property
    def afterwords(self) -> Sequence[Promise]:
        return [words.NO_WORKER] if self._is_left_lying else []

    @property
    def _is_left_lying(self) -> bool:
        return words.is_left_lying(self.plan.due_at, self.plan.claimed_until, self.now)

    @property
    def tone(self) -> str:
        tone = Tone.DOUBT if self._is_left_lying else _TONES.get(self.standing, Tone.BAD)
        return tone.value

    @property
    def lines(self) -> Sequence[Line]:
        return sorted(self._told(), key=lambda line: line.at)

    def _told(self) -> Iterator[Line]:
        begun_at, notice = self.shipment.created_at, self.plan.notice
        yield Line(begun_at=begun_at, at=begun_at, sentence=words.ASKED)
        if begun_at < notice.requested_at <= (self.plan.ended_at or self.now):
            yield Line(begun_at=begun_at, at=notice.requested_at, sentence=TIME_CAME)
        if notice.condition_asked_at:
            at = notice.condition_asked_at
            yield Line(begun_at=begun_at, at=at, sentence=CONDITION_UNCLEAR)
        if self.plan.ended_at:
            yield Line(
                begun_at=begun_at,
                at=self.plan.ended_at,
                sentence=str(ENDS[self.standing]) % {"by": self.plan.ended_by},
                own_words=self.plan.ended_because,
            )

    @property
    def recipient(self) -> Promise:
        """What kind of a recipient it is, never who."""
        if whom := self._whom:
            return words.KINDS[whom.kind]
        is_kept: bool = self.shipment.has_recipient  # type: ignore[attr-defined]
        return words.UNREADABLE if is_kept else words.ERASED

    @property
    def channels(self) -> Promise | str:
        return words.SCHEMAS[self._whom.schema] if self._whom else ""

    @property
    def _whom(self) -> Recipient | None:
        stored = self.plan.recipient
        return Recipient.from_json(json.loads(stored)) if stored else None

    @property
    def sms_hours(self) -> Promise | str:
        """When an SMS of it may be handed over; nothing where there is none, or nobody knows."""
        if self._is_by_day is None:
            return ""
        if not self._is_by_day:
            return ANYTIME
        opens, closes = settings.DAYTIME
        zone = settings.DAYTIME_ZONE
        return str(DAYTIME) % {"opens": opens, "closes": closes, "zone": zone}

    @property
    def _is_by_day(self) -> bool | None:
        """As its deliveries have it, or, before there are any, its texts."""
        if self._whom and Channel.SMS not in WAYS[self._whom.schema].channels:
            return None
        theirs = [each.daytime for each in self.deliveries if each.channel == Channel.SMS]
        stored = self.plan.notice.content
        texts: Mapping[str, Any] = json.loads(stored) if stored and not theirs else {}
        if text := texts.get(Channel.SMS):
            theirs = [bool(text.get("daytime"))]
        return any(theirs) if theirs else None

    @property
    def condition(self) -> str:
        notice = self.plan.notice
        is_kept: bool = self.shipment.has_condition  # type: ignore[attr-defined]
        said = CONDITIONS[condition(notice, is_kept=is_kept)]
        return str(said) % {"asked": self._clock(notice.condition_asked_at)}

    @property
    def dialog(self) -> Sequence[str]:
        """Of the order: its dialog's id, and that of the transmission."""
        return [str(value) for value in (self.shipment.order.dialog or {}).values() if value]


def with_plan(shipments: QuerySet[Shipment]) -> QuerySet[Shipment]:
    """With what is told of their plans; to see whether a text is there, nobody decrypts it."""
    return (
        shipments.select_related("plan__notice")
        .defer("plan__notice__condition")
        .annotate(
            has_recipient=kept("plan__recipient"), has_condition=kept("plan__notice__condition")
        )
    )


def lean() -> QuerySet[Plan]:
    """Plans with what a list shows of them, and nothing that would have to be decrypted."""
    whole = Plan.objects.select_related("notice")
    return whole.defer("recipient", "notice__content", "notice__condition")


def kept(column: str) -> Combinable:
    """Asked of the database: to see whether a text is there, nobody has to decrypt it."""
    return ExpressionWrapper(Q(**{f"{column}__isnull": False}), BooleanField())
