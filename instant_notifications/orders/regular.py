"""Order from Python what is worked off in the background, for one recipient or for thousands."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from instant_notifications import rules
from instant_notifications.conf import settings
from instant_notifications.exceptions import InvalidMessage
from instant_notifications.models import uuid7
from instant_notifications.orders.instant import check
from instant_notifications.orders.placing import NoticeDraft, OrderDraft, Placed, Progress, place
from instant_notifications.recipients import Recipient
from instant_notifications.statuses import Channel


@dataclass(frozen=True, slots=True)
class Sms:
    """What an SMS of a regular order says. ``daytime`` keeps it back at night."""

    body: str = field(repr=False)
    sender: str = ""
    daytime: bool = True


@dataclass(frozen=True, slots=True)
class Email:
    """What an e-mail of a regular order says; ``content_type`` is ``Plain`` or ``Html``."""

    subject: str = field(repr=False)
    body: str = field(repr=False)
    content_type: str = "Plain"
    sender: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """Sent to the same recipients, so many days after the message, or ``at`` its own time."""

    days: int | None = None
    at: datetime | None = None
    sms: Sms | None = None
    email: Email | None = None
    condition: str = field(default="", repr=False)
    senders_reference: str = field(default="", repr=False)


@sensitive_variables()
def place_order(
    to: Recipient | Iterable[Recipient],
    *,
    sms: Sms | None = None,
    email: Email | None = None,
    at: datetime | None = None,
    condition: str = "",
    reminders: Sequence[Reminder] = (),
    idempotency_id: str = "",
    senders_reference: str = "",
    creator: str = "",
    dialog: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Placed:
    """Place an order for one recipient, or for each of many; what is the same is taken once.

    It is all there or not at all, and may be placed inside a transaction of yours: then it counts
    once that is committed. Many recipients are read as they are needed, and ``progress`` hears
    after each few hundred how many there are by now. That somebody can be reached is looked up
    before for a recipient or a list, not for what can only be read once.

    Raises ``InvalidMessage``, ``MissingContact``, ``ContentMismatch`` or ``Unavailable``.
    """
    creator = creator or settings.DEFAULT_CREATOR
    checked = check(
        creator=(rules.creator, creator),
        idempotency_id=(rules.optional(rules.idempotency_id), idempotency_id),
        at=(rules.requested_time, at or timezone.now()),
    )
    main = Reminder(sms=sms, email=email, condition=condition, senders_reference=senders_reference)
    notices = [
        _notice("", creator, main, checked["at"], checked["at"].isoformat() if at else ""),
        *(
            _reminder(f"reminders[{place}].", creator, each, checked["at"])
            for place, each in enumerate(reminders)
        ),
    ]
    draft = OrderDraft(
        creator=creator,
        idempotency_id=checked["idempotency_id"] or str(uuid7()),
        notices=[replace(notices[0], recipients=_recipients(to)), *notices[1:]],
        dialog=dialog,
    )
    return place(draft, check_contacts=isinstance(to, Recipient | Sequence), progress=progress)


def _recipients(to: Recipient | Iterable[Recipient]) -> Iterable[Recipient]:
    """What is read only as it is needed is looked at only then."""
    if isinstance(to, Recipient):
        return [to]
    checked = map(_recipient, to)
    return list(checked) if isinstance(to, Sequence) else checked


def _recipient(each: object) -> Recipient:
    if not isinstance(each, Recipient):
        raise InvalidMessage({"to": [rules.NOT_RECIPIENT]})
    return each


def _reminder(path: str, creator: str, reminder: Reminder, main_at: datetime) -> NoticeDraft:
    if (reminder.days is None) == (reminder.at is None):
        raise InvalidMessage({path.rstrip("."): [rules.DELAY_OR_TIME]})
    if reminder.at is not None:
        at = check(**{f"{path}at": (rules.requested_time, reminder.at)})[f"{path}at"]
        return _notice(path, creator, reminder, at, at.isoformat())
    days = check(**{f"{path}days": (rules.delay_days, reminder.days)})[f"{path}days"]
    return _notice(path, creator, reminder, main_at + timedelta(days=days), f"{days} days")


def _notice(
    path: str, creator: str, said: Reminder, requested_at: datetime, given_time: str
) -> NoticeDraft:
    """``path`` stands before the names of what is wrong."""
    texts = {channel: text for channel, text in _texts(said) if text}
    names = {channel: _members(channel, creator) for channel in texts}
    members: dict[str, tuple[rules.Rule, object]] = {
        "condition": (rules.optional(rules.condition), said.condition),
        "senders_reference": (rules.optional(rules.senders_reference), said.senders_reference),
        **{
            f"{channel}.{name}": (rule, getattr(texts[channel], name))
            for channel, theirs in names.items()
            for name, rule in theirs.items()
        },
    }
    checked = check(**{f"{path}{name}": member for name, member in members.items()})
    return NoticeDraft(
        recipients=None,
        content={
            channel: {name: checked[f"{path}{channel}.{name}"] for name in theirs}
            for channel, theirs in names.items()
        },
        requested_at=requested_at,
        given_time=given_time,
        condition=checked[f"{path}condition"],
        senders_reference=checked[f"{path}senders_reference"],
    )


def _texts(said: Reminder) -> Sequence[tuple[Channel, Sms | Email | None]]:
    return (Channel.SMS, said.sms), (Channel.EMAIL, said.email)


def _members(channel: Channel, creator: str) -> Mapping[str, rules.Rule]:
    """What a text has, and the rules for it."""
    return {**_TEXT_RULES[channel], "sender": rules.optional(_SENDER_RULES[channel](creator))}


_TEXT_RULES: Final[Mapping[Channel, Mapping[str, rules.Rule]]] = {
    Channel.SMS: {"body": rules.sms_body, "daytime": rules.boolean},
    Channel.EMAIL: {
        "subject": rules.email_subject,
        "body": rules.email_body,
        "content_type": rules.content_type,
    },
}

_SENDER_RULES: Final = {Channel.SMS: rules.sms_sender_of, Channel.EMAIL: rules.email_sender_of}
