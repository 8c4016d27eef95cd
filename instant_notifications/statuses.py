"""The status words of the wire, what they mean, and which may follow which."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class Channel(StrEnum):
    SMS = "sms"
    EMAIL = "email"


class OrderStatus(StrEnum):
    REGISTERED = "Order_Registered"
    PROCESSING = "Order_Processing"
    PROCESSED = "Order_Processed"
    COMPLETED = "Order_Completed"
    SEND_CONDITION_NOT_MET = "Order_SendConditionNotMet"
    CANCELLED = "Order_Cancelled"


class Ended(StrEnum):
    """Why a planned shipment waits no longer."""

    PLANNED = "planned"
    """It has its deliveries; what became of it they tell."""
    CANCELLED = "cancelled"
    CONDITION_NOT_MET = "condition_not_met"


class ShipmentType(StrEnum):
    INSTANT = "Instant"
    NOTIFICATION = "Notification"
    REMINDER = "Reminder"


class Handover(StrEnum):
    """How far the hand-over of one delivery to a gateway has come."""

    OPEN = "open"
    """Certainly with no gateway: it may be tried, or tried again."""
    UNDER_WAY = "under_way"
    """A worker holds the lease and may be talking to a gateway."""
    TAKEN = "taken"
    """A gateway took it."""
    REFUSED = "refused"
    """A gateway, or the clock, said no for good."""
    UNKNOWN = "unknown"
    """It may have been sent; nobody can tell yet."""


class Outcome(StrEnum):
    """What came of one gateway in a hand-over."""

    TAKEN = "taken"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    """It was asked and certainly did not send it."""
    UNKNOWN = "unknown"
    PASSED_OVER = "passed_over"
    """It was not asked."""


class Cause(StrEnum):
    """Why a status changed."""

    HANDOVER = "handover"
    RECEIPT = "receipt"
    EXPIRY = "expiry"
    LEASE = "lease"
    OPERATOR = "operator"
    """A person decided so, in the console."""
    CALLER = "caller"
    """Whoever had ordered it has called it off."""
    LOOKUP = "lookup"
    """The contact register has no way to the recipient."""


class Stage(Enum):
    """The place of a delivery's word in its life."""

    NEW = "new"
    SENDING = "sending"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    """Failed by our own clock: the only end that a genuine receipt may correct."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one channel that the app itself needs to name."""

    new: str
    sending: str
    accepted: str
    delivered: str
    failed: str
    expired: str
    reserved: str
    """The recipient wants no digital letters."""
    not_identified: str
    """Nobody knows how to reach the recipient."""


WORDS: Final[Mapping[Channel, Words]] = {
    Channel.SMS: Words(
        new="SMS_New",
        sending="SMS_Sending",
        accepted="SMS_Accepted",
        delivered="SMS_Delivered",
        failed="SMS_Failed",
        expired="SMS_Failed_TTL",
        reserved="SMS_Failed_RecipientReserved",
        not_identified="SMS_Failed_RecipientNotIdentified",
    ),
    Channel.EMAIL: Words(
        new="Email_New",
        sending="Email_Sending",
        accepted="Email_Succeeded",
        delivered="Email_Delivered",
        failed="Email_Failed",
        expired="Email_Failed_TTL",
        reserved="Email_Failed_RecipientReserved",
        not_identified="Email_Failed_RecipientNotIdentified",
    ),
}

_OTHER_FAILURES: Final[Mapping[Channel, tuple[str, ...]]] = {
    Channel.SMS: (
        "SMS_Failed_InvalidRecipient",
        "SMS_Failed_RecipientReserved",
        "SMS_Failed_BarredReceiver",
        "SMS_Failed_Deleted",
        "SMS_Failed_Expired",
        "SMS_Failed_Undelivered",
        "SMS_Failed_RecipientNotIdentified",
        "SMS_Failed_Rejected",
    ),
    Channel.EMAIL: (
        "Email_Failed_RecipientReserved",
        "Email_Failed_RecipientNotIdentified",
        "Email_Failed_InvalidFormat",
        "Email_Failed_SuppressedRecipient",
        "Email_Failed_TransientError",
        "Email_Failed_Bounced",
        "Email_Failed_FilteredSpam",
        "Email_Failed_Quarantined",
    ),
}


def _stages() -> Mapping[str, Stage]:
    stages: dict[str, Stage] = {}
    for channel, words in WORDS.items():
        stages |= {
            words.new: Stage.NEW,
            words.sending: Stage.SENDING,
            words.accepted: Stage.ACCEPTED,
            words.delivered: Stage.DELIVERED,
            words.failed: Stage.FAILED,
            **dict.fromkeys(_OTHER_FAILURES[channel], Stage.FAILED),
            words.expired: Stage.EXPIRED,
        }
    return stages


STAGES: Final[Mapping[str, Stage]] = _stages()
"""Every delivery word and its stage."""

FINAL_STAGES: Final = frozenset({Stage.DELIVERED, Stage.FAILED, Stage.EXPIRED})

_ENDS: Final = frozenset({Stage.DELIVERED, Stage.FAILED})

_MAY_FOLLOW: Final[Mapping[Stage, frozenset[Stage]]] = {
    Stage.NEW: _ENDS | {Stage.SENDING, Stage.ACCEPTED, Stage.EXPIRED},
    Stage.SENDING: _ENDS | {Stage.NEW, Stage.ACCEPTED, Stage.EXPIRED},
    Stage.ACCEPTED: _ENDS | {Stage.EXPIRED},
    Stage.DELIVERED: frozenset(),
    Stage.FAILED: frozenset(),
    Stage.EXPIRED: _ENDS,
}


def is_word_of(channel: str, word: str | None) -> bool:
    """Whether a delivery of this channel may show this word at all."""
    return word is not None and word in STAGES and word.startswith(_PREFIXES[Channel(channel)])


def may_be_reported(word: str | None) -> bool:
    """Whether a receipt can move a delivery to this; new, sending and expired are ours to say."""
    return word is not None and STAGES[word] in _REPORTABLE


_REPORTABLE: Final = _ENDS | {Stage.ACCEPTED}

_PREFIXES: Final[Mapping[Channel, str]] = {Channel.SMS: "SMS_", Channel.EMAIL: "Email_"}


def is_final(word: str) -> bool:
    return STAGES[word] in FINAL_STAGES


def may_follow(old: str, new: str) -> bool:
    """Whether a delivery that shows ``old`` may come to show ``new``; a repeat may not."""
    return STAGES[new] in _MAY_FOLLOW[STAGES[old]]
