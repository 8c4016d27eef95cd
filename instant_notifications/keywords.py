"""Words in a text that stand for the recipient, and what they are replaced by.

Only regular orders know them; in an instant one they are text like any other.
"""

import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Final

from instant_notifications import rules
from instant_notifications.recipients import Kind, Recipient

NAME: Final = "$recipientName$"
NUMBER: Final = "$recipientNumber$"

_keyword: Final = re.compile("|".join(map(re.escape, (NAME, NUMBER))))
_MEMBERS: Final = frozenset({"subject", "body"})

_NUMBERS: Final[Mapping[Kind, Callable[[Recipient], str]]] = {
    Kind.ORGANISATION: lambda recipient: recipient.identity,
    Kind.PERSON: lambda _: "",
    Kind.EXTERNAL: lambda _: "",
}
"""What the number is replaced by. The number of a person is nobody else's business."""


def fill(content: Mapping[str, Any], recipient: Recipient, *, name: str) -> dict[str, Any]:
    """The texts of an SMS or an e-mail, as this recipient gets them.

    ``name`` as a register tells it: blank, the keyword for it is left as it is; with line breaks
    or control characters, it comes to stand on one line without them. Of somebody who is known by
    nothing but a phone or a mailbox, both keywords are left.

    A long name, or a number that is not told, may leave a text that is too long or blank: see by
    ``rules.sms_body``, ``rules.email_subject`` and ``rules.email_body`` whether it can be sent.
    """
    values = _values(recipient, name)
    in_body = _in_html(values) if content.get("content_type") == "Html" else values
    by_member = {"subject": values, "body": in_body}
    return dict(content) | {
        member: _filled(content[member], by_member[member]) for member in _MEMBERS & content.keys()
    }


def _values(recipient: Recipient, name: str) -> Mapping[str, str]:
    if recipient.kind not in _NUMBERS:
        return {}
    number = {NUMBER: _NUMBERS[recipient.kind](recipient)}
    shown = rules.on_one_line(name)
    return number | ({NAME: shown} if shown else {})


def _in_html(values: Mapping[str, str]) -> Mapping[str, str]:
    return {keyword: escape(value) for keyword, value in values.items()}


def _filled(text: str, values: Mapping[str, str]) -> str:
    """All at once, so that a name that looks like a keyword is only a name."""
    return _keyword.sub(lambda found: values.get(found[0], found[0]), text)
