"""To whom a notice goes by which channel, and with which words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from instant_notifications import keywords, rules
from instant_notifications.contacts.base import Contact
from instant_notifications.recipients import WAYS, Recipient, Way
from instant_notifications.sms import measure
from instant_notifications.statuses import WORDS, Channel

Texts = Mapping[str, Mapping[str, Any]]
"""What to say, by channel, before keywords are filled in."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One delivery to be; or, with a ``failure``, one that can never be handed over."""

    channel: Channel
    destination: str | None = field(default=None, repr=False)
    content: Mapping[str, Any] | None = field(default=None, repr=False)
    failure: str = ""

    @property
    def daytime(self) -> bool:
        return bool(self.content and self.content.get("daytime"))

    @property
    def segments(self) -> int | None:
        is_sms = self.content is not None and self.channel is Channel.SMS
        return measure(self.content["body"]).parts if self.content and is_sms else None


def letters(recipient: Recipient, contact: Contact | None, texts: Texts) -> Sequence[Letter]:
    """What is to be sent; at least one. ``contact`` is what the register knows, if it was asked."""
    way = WAYS[recipient.schema]
    if not recipient.is_looked_up:
        channel = way.channels[0]
        return [_letter(channel, recipient.identity, texts[channel])]
    if contact is None:
        return [Letter(way.channels[0], failure=WORDS[way.channels[0]].not_identified)]
    if contact.reserved and not recipient.ignore_reservation:
        return [Letter(way.channels[0], failure=WORDS[way.channels[0]].reserved)]
    return list(_to_contact(recipient, contact, texts, way))


def _to_contact(recipient: Recipient, contact: Contact, texts: Texts, way: Way) -> Iterator[Letter]:
    for channel in _channels(way, contact):
        filled = keywords.fill(texts[channel], recipient, name=contact.name)
        for address in _addresses(contact, channel):
            yield _letter(channel, address, filled)
        if not _addresses(contact, channel):
            yield Letter(channel, failure=WORDS[channel].not_identified)


def _channels(way: Way, contact: Contact) -> Sequence[Channel]:
    """Those to use: all of them, or the first that leads to the recipient."""
    if way.all_of_them:
        return way.channels
    leading = [channel for channel in way.channels if _addresses(contact, channel)]
    return (leading or way.channels)[:1]


def _addresses(contact: Contact, channel: Channel) -> Sequence[str]:
    return contact.phone_numbers if channel is Channel.SMS else contact.email_addresses


def _letter(channel: Channel, destination: str, content: Mapping[str, Any]) -> Letter:
    """Filled in, a text may have become too long, or blank."""
    try:
        for member, rule in _TEXT_RULES[channel].items():
            rule(content[member], member)
    except rules.Broken:
        return Letter(channel, destination, failure=WORDS[channel].failed)
    return Letter(channel, destination, content)


_TEXT_RULES: Final[Mapping[Channel, Mapping[str, rules.Rule]]] = {
    Channel.SMS: {"body": rules.sms_body},
    Channel.EMAIL: {"subject": rules.email_subject, "body": rules.email_body},
}
