"""What each simulated recipient does: the last four digits of a number, the tag of an address."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from instant_notifications.statuses import WORDS, Channel


class Answer(Enum):
    TAKEN = "takes it and says so"
    REFUSED = "refuses for good"
    DOWN = "cannot be reached"
    FLAKY = "cannot be reached the first time"
    SILENT = "takes it and does not answer"
    LOST = "neither takes it nor answers"


class Word(Enum):
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    BARRED = "barred"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    digits: str
    tag: str
    answer: Answer = Answer.TAKEN
    receipts: tuple[Word, ...] = (Word.DELIVERED,)
    pause: float = 0
    """Seconds before the answer."""
    late: bool = False
    """The receipts come after the message has expired."""


ORDINARY: Final = Behaviour(digits="", tag="")

ROWS: Final = (
    Behaviour(digits="0001", tag="reject", answer=Answer.REFUSED, receipts=()),
    Behaviour(digits="0002", tag="down", answer=Answer.DOWN, receipts=()),
    Behaviour(digits="0003", tag="flaky", answer=Answer.FLAKY),
    Behaviour(digits="0004", tag="timeout-taken", answer=Answer.SILENT),
    Behaviour(digits="0005", tag="timeout-lost", answer=Answer.LOST, receipts=()),
    Behaviour(digits="0006", tag="bounce", receipts=(Word.BOUNCED,)),
    Behaviour(digits="0007", tag="silent", receipts=()),
    Behaviour(digits="0008", tag="late", late=True),
    Behaviour(
        digits="0009", tag="shuffle", receipts=(Word.DELIVERED, Word.ACCEPTED, Word.DELIVERED)
    ),
    Behaviour(digits="0010", tag="slow", pause=2),
    Behaviour(digits="0011", tag="spam", receipts=(Word.BARRED,)),
)

REFUSAL: Final[Mapping[Channel, str]] = {
    Channel.SMS: "SMS_Failed_InvalidRecipient",
    Channel.EMAIL: "Email_Failed_InvalidFormat",
}

STATUSES: Final[Mapping[Channel, Mapping[Word, str]]] = {
    Channel.SMS: {
        Word.ACCEPTED: WORDS[Channel.SMS].accepted,
        Word.DELIVERED: WORDS[Channel.SMS].delivered,
        Word.BOUNCED: "SMS_Failed_Undelivered",
        Word.BARRED: "SMS_Failed_BarredReceiver",
    },
    Channel.EMAIL: {
        Word.ACCEPTED: WORDS[Channel.EMAIL].accepted,
        Word.DELIVERED: WORDS[Channel.EMAIL].delivered,
        Word.BOUNCED: "Email_Failed_Bounced",
        Word.BARRED: "Email_Failed_FilteredSpam",
    },
}

_BY_DIGITS: Final = {row.digits: row for row in ROWS}
_BY_TAG: Final = {row.tag: row for row in ROWS}


def behaviour_of(destination: str) -> Behaviour:
    if "@" not in destination:
        return _BY_DIGITS.get(destination[-4:], ORDINARY)
    tag = destination.rpartition("@")[0].partition("+")[2]
    return _BY_TAG.get(tag, ORDINARY)
