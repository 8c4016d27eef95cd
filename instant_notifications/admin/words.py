"""The status words, the states and the deeds, in plain sentences for people."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final, NamedTuple

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from instant_notifications import health, privacy
from instant_notifications.models import Delivery, IdempotencyRecord, Intervention
from instant_notifications.recipients import Kind, Schema
from instant_notifications.statuses import (
    STAGES,
    Cause,
    Channel,
    Handover,
    Outcome,
    ShipmentType,
    Stage,
)

Sentences = Mapping[str, Promise]

CHANNELS: Final[Sentences] = {Channel.SMS: _("SMS"), Channel.EMAIL: _("e-mail")}

TYPES: Final[Sentences] = {
    ShipmentType.INSTANT: _("instant"),
    ShipmentType.NOTIFICATION: _("notification"),
    ShipmentType.REMINDER: _("reminder"),
}

KINDS: Final[Sentences] = {
    Kind.PHONE: _("a phone"),
    Kind.MAILBOX: _("a mailbox"),
    Kind.PERSON: _("a person"),
    Kind.ORGANISATION: _("an organisation"),
    Kind.EXTERNAL: _("somebody with an external identity"),
}
"""Whom a regular order is for; never by their number."""

SCHEMAS: Final[Sentences] = {
    Schema.EMAIL: _("e-mail"),
    Schema.SMS: _("SMS"),
    Schema.EMAIL_PREFERRED: _("e-mail, or else SMS"),
    Schema.SMS_PREFERRED: _("SMS, or else e-mail"),
    Schema.EMAIL_AND_SMS: _("e-mail and SMS"),
}
"""By which channels they are to be reached."""

HANDOVERS: Final[Sentences] = {
    Handover.OPEN: _("open: no gateway has it"),
    Handover.UNDER_WAY: _("under way"),
    Handover.TAKEN: _("taken by a gateway"),
    Handover.REFUSED: _("refused for good"),
    Handover.UNKNOWN: _("unknown: it may have left"),
}

_OPTED_OUT: Final = _("Not delivered: the recipient has opted out of such messages.")
_UNKNOWN_PERSON: Final = _("Not delivered: nothing is known of how to reach the recipient.")
_FAILED: Final = _("Not delivered. The status does not tell why.")
_EXPIRED: Final = _("Its time ran out, and nobody had said that it arrived.")
_NEW: Final = _("It has not been sent.")
_SENDING: Final = _("It is being sent.")

MEANINGS: Final[Sentences] = {
    "SMS_New": _NEW,
    "SMS_Sending": _SENDING,
    "SMS_Accepted": _("A gateway took it. Whether it arrives is not known yet."),
    "SMS_Delivered": _("It reached the phone."),
    "SMS_Failed": _FAILED,
    "SMS_Failed_TTL": _EXPIRED,
    "SMS_Failed_InvalidRecipient": _("Not delivered: the phone number is not valid."),
    "SMS_Failed_RecipientReserved": _OPTED_OUT,
    "SMS_Failed_BarredReceiver": _(
        "Not delivered: the recipient or the phone company bars such messages."
    ),
    "SMS_Failed_Deleted": _("Not delivered: it was deleted on its way."),
    "SMS_Failed_Expired": _(
        "The phone company gave up: the phone was off or out of reach until the message had "
        "expired."
    ),
    "SMS_Failed_Undelivered": _("Not delivered: the phone company could not reach the phone."),
    "SMS_Failed_RecipientNotIdentified": _UNKNOWN_PERSON,
    "SMS_Failed_Rejected": _("Not delivered: the gateway or the phone company rejected it."),
    "Email_New": _NEW,
    "Email_Sending": _SENDING,
    "Email_Succeeded": _("A mail server took it. Whether it arrives is not known yet."),
    "Email_Delivered": _("It reached the recipient's mail server."),
    "Email_Failed": _FAILED,
    "Email_Failed_TTL": _EXPIRED,
    "Email_Failed_RecipientReserved": _OPTED_OUT,
    "Email_Failed_RecipientNotIdentified": _UNKNOWN_PERSON,
    "Email_Failed_InvalidFormat": _("Not delivered: the e-mail address is not valid."),
    "Email_Failed_SuppressedRecipient": _(
        "Not delivered: the mail provider sends nothing to this address any more, because earlier "
        "messages came back or were unwanted."
    ),
    "Email_Failed_TransientError": _(
        "Not delivered: a passing problem at the recipient's mail server lasted too long."
    ),
    "Email_Failed_Bounced": _("Not delivered: the recipient's mail server sent it back."),
    "Email_Failed_FilteredSpam": _("Not delivered: it was taken for spam."),
    "Email_Failed_Quarantined": _("Not delivered: a mail filter put it in quarantine."),
}
"""What each status word says."""


class Standing(Enum):
    """How far a message without a last word has come."""

    WAITING = auto()
    NIGHT = auto()
    """It has not been tried: its recipient is not to be woken."""
    NEXT_TRY = auto()
    DUE = auto()
    QUEUED = auto()
    LEFT_LYING = auto()
    """A queue was told of it, and nobody has come."""
    TOO_LATE = auto()
    UNDER_WAY = auto()
    ABANDONED = auto()
    TAKEN = auto()
    TAKEN_FOR_GOOD = auto()
    REFUSED = auto()
    UNKNOWN = auto()
    UNKNOWN_BY_WHOM = auto()


STANDINGS: Final[Mapping[Standing, Promise]] = {
    Standing.WAITING: _(
        "Not sent: no gateway could take it. If the same request comes again before %(until)s, it "
        "is sent then."
    ),
    Standing.NIGHT: _("Not sent yet: it goes by day only, and waits until %(due)s."),
    Standing.NEXT_TRY: _(
        "Not sent yet: no gateway could be reached (attempt %(attempt)s). The next try is at "
        "%(due)s."
    ),
    Standing.DUE: _("Not sent yet: it has been due since %(due)s, and no worker has come for it."),
    Standing.QUEUED: _("Not sent yet: it has been due since %(due)s, and a queue knows of it."),
    Standing.LEFT_LYING: _(
        "Not sent yet: it has been due since %(due)s. A queue was told of it, but no worker has "
        "come for it."
    ),
    Standing.TOO_LATE: _("Not sent: no gateway could take it before its time ran out."),
    Standing.UNDER_WAY: _("It is being handed to a gateway at this moment."),
    Standing.ABANDONED: _(
        "It may have left: its worker died, or is hopelessly late, and left no word of what the "
        "gateway said. Nothing is sent again by itself."
    ),
    Standing.TAKEN: _("%(gateway)s took it. Whether it arrived is not known yet."),
    Standing.TAKEN_FOR_GOOD: _("%(gateway)s took it, and will not tell whether it arrived."),
    Standing.REFUSED: _("Not sent: it was refused for good."),
    Standing.UNKNOWN: _(
        "It may have left: %(gateway)s was asked, and gave no clear answer. Nothing is sent again "
        "by itself."
    ),
    Standing.UNKNOWN_BY_WHOM: _(
        "It may have left: what came of the hand-over is not known. Nothing is sent again by "
        "itself."
    ),
}

TO_BY: Final = _("To %(to)s by %(channel)s")
BY: Final = _("By %(channel)s")

DELIVERED: Final = _("Delivered to %(to)s, %(after)s after it was asked for.")
DELIVERED_TO_ERASED: Final = _("Delivered, %(after)s after it was asked for.")
DELIVERED_AT: Final = _("Delivered to %(to)s at %(at)s.")
DELIVERED_TO_ERASED_AT: Final = _("Delivered at %(at)s.")

EXPIRIES: Final[Mapping[Handover, Promise]] = {
    Handover.OPEN: STANDINGS[Standing.TOO_LATE],
    Handover.UNDER_WAY: _(
        "It may have left: its worker died, and left no word of what the gateway said before the "
        "message's time ran out."
    ),
    Handover.TAKEN: _("%(gateway)s took it, but its time ran out with no word that it arrived."),
    Handover.REFUSED: _("Not sent: its time had run out before a gateway could take it."),
    Handover.UNKNOWN: _("It may have left, but its time ran out with no word that it arrived."),
}


class Ending(NamedTuple):
    """What somebody did so that a message is never sent."""

    how: str
    by: str = ""


CALLER: Final = Ending("caller")

ENDED_BY: Final[Sentences] = {
    Intervention.Kind.CANCEL: _("Not sent: %(by)s cancelled it."),
    Intervention.Kind.RESEND: _("Not sent: %(by)s had a new message made in its place."),
    CALLER.how: _("Not sent: whoever had ordered it cancelled it."),
}

FAILURES: Final[Mapping[Handover, Promise]] = {
    Handover.OPEN: _("It never left."),
    Handover.UNDER_WAY: _("It may have left."),
    Handover.TAKEN: _("It had left: a gateway took it."),
    Handover.REFUSED: _("It never left: it was refused when it was to be handed over."),
    Handover.UNKNOWN: _("It may have left."),
}
"""Of a message that was not delivered: did it leave?"""

NEVER_TRIED: Final = _("It never left: no gateway was asked.")

FAILED_AFTER_DOUBT: Final = _(
    "It may have arrived: it failed at last, but an earlier attempt ended in doubt."
)
TWICE: Final = _("An earlier attempt ended in doubt, so a gateway may have been given it twice.")


def headline(
    delivery: Delivery, now: datetime, ended_by: Ending | None = None, *, was_planned: bool = False
) -> str:
    """What became of it, in a sentence or two.

    ``ended_by`` is what somebody did to end it. ``was_planned``: it was made when a regular order
    fell due, so that its age says nothing of when it was asked for.
    """
    ended = ended_by and ENDED_BY[ended_by.how]
    sentence = ended or _sentence(delivery, now, was_planned=was_planned)
    ended_at = delivery.completed_at or delivery.updated_at
    return str(sentence) % {
        "to": privacy.mask(delivery.destination),
        "after": duration(ended_at - delivery.created_at),
        "at": clock_time(ended_at, now),
        "gateway": delivery.gateway or _("A gateway"),
        "until": clock_time(delivery.expires_at, now),
        "due": clock_time(delivery.due_at, now) if delivery.due_at else "",
        "attempt": delivery.attempts,
        "by": ended_by.by if ended_by else "",
    }


_DELIVERED: Final = {
    (False, True): DELIVERED,
    (False, False): DELIVERED_TO_ERASED,
    (True, True): DELIVERED_AT,
    (True, False): DELIVERED_TO_ERASED_AT,
}
"""By whether it was planned, and whether its recipient is still known."""


def _sentence(delivery: Delivery, now: datetime, *, was_planned: bool) -> Promise:
    word = delivery.status_at(now)
    stage = STAGES[word]
    if stage is Stage.DELIVERED:
        return _DELIVERED[was_planned, bool(delivery.destination)]
    if stage is Stage.EXPIRED:
        return EXPIRIES[Handover(delivery.handover)]
    if stage is Stage.FAILED:
        return FAILED_AFTER_DOUBT if delivery.may_have_left else MEANINGS[word]
    return STANDINGS[standing(delivery, now)]


def standing(delivery: Delivery, now: datetime) -> Standing:
    return {
        Handover.OPEN: _unsent(delivery, now),
        Handover.UNDER_WAY: Standing.UNDER_WAY if delivery.leased else Standing.ABANDONED,
        Handover.TAKEN: Standing.TAKEN_FOR_GOOD if delivery.completed_at else Standing.TAKEN,
        Handover.REFUSED: Standing.REFUSED,
        Handover.UNKNOWN: Standing.UNKNOWN if delivery.gateway else Standing.UNKNOWN_BY_WHOM,
    }[Handover(delivery.handover)]


def _unsent(delivery: Delivery, now: datetime) -> Standing:
    if delivery.expires_at <= now:
        return Standing.TOO_LATE
    if delivery.due_at is None:
        return Standing.WAITING
    if delivery.due_at > now:
        return Standing.NEXT_TRY if delivery.attempts else Standing.NIGHT
    if delivery.claimed_until is None:
        return Standing.DUE
    return Standing.QUEUED if delivery.claimed_until > now else Standing.LEFT_LYING


NO_WORKER: Final = _("Is manage.py process_due_orders running, and are there workers?")

SLOW: Final = timedelta(minutes=1)
"""What is due longer than this should not be."""


def is_left_lying(due_at: datetime | None, claimed_until: datetime | None, now: datetime) -> bool:
    """Whether somebody should ask where the workers are."""
    is_claimed = claimed_until is not None and claimed_until > now
    return due_at is not None and due_at < now - SLOW and not is_claimed


def afterwords(
    delivery: Delivery, now: datetime, ended_by: Ending | None = None
) -> Sequence[Promise]:
    """What should not be missed beside the headline."""
    failed = STAGES[delivery.status_at(now)] is Stage.FAILED and ended_by is None
    said = [_failure(delivery)] if failed else []
    if is_left_lying(delivery.due_at, delivery.claimed_until, now):
        said.append(NO_WORKER)
    twice = delivery.may_have_left and delivery.handover == Handover.TAKEN
    return [*said, TWICE] if twice else said


def _failure(delivery: Delivery) -> Promise:
    handover = Handover(delivery.handover)
    never_tried = handover is Handover.REFUSED and not delivery.attempts
    return NEVER_TRIED if never_tried else FAILURES[handover]


class Tone(Enum):
    """How good the news is; for colours, which never tell it alone."""

    GOOD = "good"
    BAD = "bad"
    DOUBT = "doubt"
    OPEN = "open"


_PATIENT: Final = frozenset(
    {Standing.NIGHT, Standing.NEXT_TRY, Standing.DUE, Standing.QUEUED, Standing.LEFT_LYING}
)
"""Nothing is lost: it will be sent by itself."""

_TONES: Final = {Stage.DELIVERED: Tone.GOOD, Stage.FAILED: Tone.BAD}


def tone(delivery: Delivery, now: datetime) -> Tone:
    stage = STAGES[delivery.status_at(now)]
    if stage is Stage.FAILED and delivery.may_have_left:
        return Tone.DOUBT
    if stage in _TONES:
        return _TONES[stage]
    if delivery.handover == Handover.UNKNOWN or standing(delivery, now) is Standing.ABANDONED:
        return Tone.DOUBT
    if standing(delivery, now) in _PATIENT:
        lying = is_left_lying(delivery.due_at, delivery.claimed_until, now)
        return Tone.DOUBT if lying else Tone.OPEN
    never_left = delivery.handover in (Handover.OPEN, Handover.REFUSED)
    return Tone.BAD if stage is Stage.EXPIRED or never_left else Tone.OPEN


CALLS: Final[Sentences] = {
    Outcome.TAKEN: _("%(gateway)s took it."),
    Outcome.REFUSED: _("%(gateway)s refused it for good."),
    Outcome.NOT_SENT: _("%(gateway)s was asked, and certainly did not send it."),
    Outcome.UNKNOWN: _("%(gateway)s was asked, and gave no clear answer: it may have left."),
    Outcome.PASSED_OVER: _("%(gateway)s was passed over: it was not asked."),
}
"""What came of one gateway in a hand-over."""

REASONS: Final[Sentences] = {
    health.SWITCHED_OFF: _("An operator had switched it off."),
    health.FAILING: _("It had failed too often of late."),
}
"""Why a gateway was passed over."""

CAUSES: Final[Sentences] = {
    Cause.HANDOVER: _("The hand-over ended."),
    Cause.RECEIPT: _("A receipt came from %(gateway)s."),
    Cause.EXPIRY: _("No last word had come in time, so it counts as expired."),
    Cause.LEASE: _(
        "Its worker died or was hopelessly late: from here on nobody knows whether it was sent."
    ),
    Cause.OPERATOR: _("A person decided so: it will not be sent."),
    Cause.CALLER: _("Whoever had ordered it cancelled it: it will not be sent."),
    Cause.LOOKUP: _("When it was made ready, there was no way to send it."),
}
"""What the lines of the history that are no calls tell."""

ATTEMPT: Final = _("It was asked for again, and attempt %(attempt)s began.")
TURN: Final = _("A worker came for it, and attempt %(attempt)s began.")


class NoChange(Enum):
    """Why a receipt has changed nothing."""

    STRANGE = auto()
    PART = auto()
    REPEATED = auto()
    LATE = auto()
    OURS = auto()
    PASSED = auto()


NO_CHANGES: Final[Mapping[NoChange, Promise]] = {
    NoChange.STRANGE: _("That word says nothing to us about the status."),
    NoChange.PART: _("The message is delivered when each of its parts is."),
    NoChange.REPEATED: _("It said what was known already."),
    NoChange.LATE: _("It came too late: the last word had been spoken."),
    NoChange.OURS: _("Whether its time has run out is for our own clock to say."),
    NoChange.PASSED: _("The message had come further by then."),
}

PART: Final = _("Part %(part)s.")
PART_OF: Final = _("Part %(part)s of %(parts)s.")

ASKED: Final = _("It was asked for.")
MADE_READY: Final = _("It was made ready to be sent.")
ASKED_BY: Final = _("%(by)s had it made, in place of an earlier message.")
TIME_OUT: Final = _("Its time to live ran out.")

LIFE_LEFT: Final = _("%(left)s left of %(whole)s")
LIFE_OVER: Final = _("%(whole)s; it ran out %(ago)s ago")

SECRET_KEPT: Final = _("Secret: it is erased as soon as it can no longer be needed.")
SECRET_ERASED: Final = _("Secret: it was erased as soon as it could no longer be needed.")
ERASED: Final = _("Erased.")
NEVER_THERE: Final = _("There was none.")
UNREADABLE: Final = _("It cannot be read: none of the keys in force opens it.")
NEVER_SHOWN: Final = _("A secret is never shown.")

ORIGIN: Final = _("%(by)s had this message made in place of another one.")
SUCCESSOR: Final = _("%(by)s had a new message made of this one.")
SAME_ORDER: Final = _("It belongs to the same order.")
REMINDED_OF: Final = _("It is the message that this one reminds of.")
REMINDER: Final = _("It reminds the same recipient.")

SAME_ID: Final = _("%(creator)s used the same idempotency id for this %(channel)s.")
SAME_IDS: Final[Sentences] = {
    **dict.fromkeys(CHANNELS, SAME_ID),
    IdempotencyRecord.Scope.ORDER: _("%(creator)s used the same idempotency id for this order."),
}
"""By the scope of the other id."""

DEEDS: Final[Sentences] = {
    Intervention.Kind.RESEND: _("%(by)s had a new message made of it."),
    Intervention.Kind.CANCEL: _("%(by)s cancelled it."),
    Intervention.Kind.EXPIRE: _("%(by)s had it written down as expired."),
    Intervention.Kind.REVEAL: _("%(by)s looked at it in clear."),
    Intervention.Kind.MATCH: _("%(by)s matched a receipt with it by hand."),
}

_UNITS: Final = ((24 * 60 * 60, _("%s d")), (60 * 60, _("%s h")), (60, _("%s min")), (1, _("%s s")))


def duration(time: timedelta) -> str:
    """In people's words: ``0.34 s``, ``2.3 s``, ``2 min 5 s``, ``3 d 4 h``."""
    seconds = max(time.total_seconds(), 0)
    if seconds < 0.005:
        return str(_("%s s")) % 0
    if seconds < 9.95:
        return str(_("%s s")) % number_format(round(seconds, 1 if seconds >= 0.995 else 2))
    left, counted = round(seconds), []
    for unit, form in _UNITS:
        count, left = divmod(left, unit)
        counted.append(str(form) % count if count else "")
    first = next(place for place, said in enumerate(counted) if said)
    return " ".join(filter(None, counted[first : first + 2]))


def life(delivery: Delivery, now: datetime) -> str:
    """How much is left of its time to live, or since when nothing is."""
    whole, left = delivery.expires_at - delivery.created_at, delivery.expires_at - now
    if left > timedelta(0):
        return str(LIFE_LEFT) % {"left": duration(left), "whole": duration(whole)}
    return str(LIFE_OVER) % {"ago": duration(-left), "whole": duration(whole)}


def clock_time(moment: datetime, now: datetime) -> str:
    """The time of day, with the date where that is another than today's."""
    local = timezone.localtime(moment)
    if local.date() == timezone.localtime(now).date():
        return f"{local:%H:%M}"
    return f"{date_format(local, 'SHORT_DATE_FORMAT')} {local:%H:%M}"
