"""SMS by LINK Mobility's XML gateway (PSWin): a session for each message, receipts pushed later.

LINK speaks ISO-8859-1 in both directions, counts lifetimes in minutes, and says whatever it has to
say of a message in words of its own, which may quote the receiver: none of them is passed on unless
it stands in a table here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import fromstring
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.http import HttpRequest, HttpResponse

from instant_notifications import http
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways.base import (
    BaseGateway,
    Message,
    Receipt,
    UnreadableReceipts,
    has_basic_credentials,
    only_asking,
)
from instant_notifications.sms import Alphabet, measure
from instant_notifications.statuses import Channel

STATES: Final[Mapping[str, str]] = {
    "DELIVRD": "SMS_Delivered",
    "EXPIRED": "SMS_Failed_Expired",
    "DELETED": "SMS_Failed_Deleted",
    "UNDELIV": "SMS_Failed_Undelivered",
    "BARRED": "SMS_Failed_BarredReceiver",
    "BARREDA": "SMS_Failed_BarredReceiver",
    "REJECTD": "SMS_Failed_Rejected",
    "FAILED": "SMS_Failed",
    "NULL": "SMS_Failed",
    "ZEROBAL": "SMS_Failed",
}
"""Our word for each STATE of a receipt."""

REFUSALS: Final[Mapping[str, str]] = {"Invalid RCV": "SMS_Failed_InvalidRecipient"}
"""Our word for a message that LINK did not take, by how its INFO begins."""

OTHER_REFUSAL: Final = "SMS_Failed_Rejected"

_ENCODING: Final = "ISO-8859-1"
_OK: Final = "OK"
_FAIL: Final = "FAIL"
_UNICODE: Final = "9"
"""The OP of a message whose TEXT is the hex of its UTF-16."""

_NOT_NOW: Final = frozenset({429, 503})
_OUR_FAULT: Final = range(400, 500)
_UNREADABLE: Final = "unreadable answer"

_LARGEST_ANSWER: Final = 100_000
"""Bytes; one about a single message is far smaller, and reading more could outlast a time-out."""

_TOO_DEEP: Final = "/".join("*" * 8)
"""Elements inside elements, far beyond any form of LINK's."""

_NOT_IN_XML: Final = (*range(0x20), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)
"""Characters that XML 1.0 cannot carry, not even as a reference; the table below lets three in."""

_ESCAPES: Final[Mapping[int, str]] = {
    **dict.fromkeys(_NOT_IN_XML, "?"),
    **str.maketrans({"\t": "\t", "\n": "\n", "&": "&amp;", "<": "&lt;", ">": "&gt;"}),
    ord("\r"): "&#13;",  # written as it is, it would be read as a line feed
}

Content: TypeAlias = "str | Sequence[tuple[str, Content]]"
"""What an element to be written holds: text, or further elements by their tags."""


class LinkMobilityGateway(BaseGateway):
    """``OPTIONS``: the ``url`` of LINK's XML gateway, and the ``user`` and ``password`` for it.

    ``sender`` stands in where a message names none. LINK pushes its receipts as ``receipts_user``
    with ``receipts_password``; blank, the default, nobody may.
    """

    channels = frozenset({Channel.SMS})
    time_to_live_unit = 60
    shortest_time_to_live = 60

    def __init__(
        self,
        alias: str,
        *,
        url: str,
        user: str,
        password: str,
        sender: str = "",
        receipts_user: str = "",
        receipts_password: str = "",
        **options: Any,
    ) -> None:
        super().__init__(alias, **options)
        self.url = url
        self.user = user
        self.password = password
        self.sender = sender
        self.receipts_user = receipts_user
        self.receipts_password = receipts_password

    def send(self, message: Message) -> Receipt:
        session = self._converse([("MSG", self._written(message))], message.timeout)
        if not _logged_on(session):
            raise Unavailable("log-on refused")
        return _taken(session)

    def authenticates(self, request: HttpRequest) -> bool:
        return has_basic_credentials(request, self.receipts_user, self.receipts_password)

    def read_receipts(self, request: HttpRequest) -> Iterator[Receipt]:
        """One for each MSG, in their order: ``acknowledge`` counts on it."""
        for each in _pushed(request.body):
            state = _text(each, "STATE")
            yield Receipt(
                gateway_reference=_text(each, "REF"), status=STATES.get(state), word=state
            )

    def acknowledge(self, receipts: Sequence[Receipt]) -> HttpResponse:
        """Every MSG of the push by its ID.

        LINK numbers them from 1 in each push, and all of them have been read, in order, before
        anything is acknowledged; so their IDs are what counting gives, and need not be carried
        along. Should it ever number otherwise, it repeats the push, which changes nothing.
        """
        numbers = range(1, len(receipts) + 1)
        messages = [("MSG", [("ID", str(number)), ("STATUS", _OK)]) for number in numbers]
        return HttpResponse(
            _document([("MSGLST", messages)]), content_type=f"application/xml; charset={_ENCODING}"
        )

    def check(self) -> Iterator[CheckMessage]:
        if not http.is_private(self.url):
            yield Error(
                f"The option 'url' of gateway {self.alias!r} is no https address, so passwords and "
                "messages would travel in clear.",
                hint="Write LINK's address with https://; http:// is for this very machine only.",
                id="instant_notifications.E010",
            )
        for name in ("user", "password"):
            if not getattr(self, name):
                yield Error(
                    f"The option {name!r} of gateway {self.alias!r} is blank.",
                    hint="Write what LINK has given you to log on to its XML gateway.",
                    id="instant_notifications.E010",
                )
        if not (self.receipts_user and self.receipts_password):
            yield Warning(
                f"Gateway {self.alias!r} lets no receipts in, so all its messages end as expired.",
                hint="Set the options 'receipts_user' and 'receipts_password', and tell LINK.",
                id="instant_notifications.W008",
            )

    def probe(self, timeout: float) -> None:
        with only_asking():
            welcome = _logged_on(self._converse([], timeout))
        if not welcome:
            raise NotConfigured(
                f"LINK refuses the log-on of gateway {self.alias!r}. Set its options 'user' and "
                "'password' to those of your account at this 'url'."
            )

    def _converse(self, messages: Content, timeout: float) -> Element:
        """What LINK answers to a session with these messages."""
        log_on = [("CLIENT", self.user), ("PW", self.password)]
        answer = self.request(
            "POST",
            self.url,
            data=_document([("SESSION", [*log_on, ("MSGLST", messages)])]),
            headers={"Content-Type": f"text/xml; charset={_ENCODING}"},
            timeout=timeout,
        )
        _require_success(answer)
        return _session(answer.content)

    def _written(self, message: Message) -> Content:
        """The parts of MSG, in the order of LINK's document type."""
        plain = _fits_plain_text(message.body)
        return [
            ("ID", "1"),
            ("TEXT", message.body if plain else _hex(message.body)),
            ("SND", message.sender or self.sender),
            ("RCV", message.destination.removeprefix("+")),
            *([] if plain else [("OP", _UNICODE)]),
            ("TTL", str(message.time_to_live // self.time_to_live_unit)),
        ]


def _fits_plain_text(text: str) -> bool:
    """Whether both the session's encoding and the network's alphabet have every character.

    The euro sign is in the network's alone, and ç in the encoding's alone: LINK would spoil either.
    """
    in_encoding = text.encode(_ENCODING, "replace").decode(_ENCODING) == text
    return in_encoding and measure(text).alphabet is Alphabet.GSM


def _hex(text: str) -> str:
    return text.encode("utf-16-be", "replace").hex().upper()


def _require_success(answer: http.Answer) -> None:
    """What LINK turned away unread was not sent; of any other failure nobody knows."""
    reason = f"HTTP {answer.status_code}"
    if answer.status_code in _NOT_NOW:
        raise Unavailable(reason, retry_after=answer.retry_after)
    if answer.status_code in _OUR_FAULT:
        raise Unavailable(reason)
    if not answer.ok:
        raise OutcomeUnknown(reason)


def _session(answered: bytes) -> Element:
    """The session of an answer. One that is too long is cut off, and so unreadable."""
    try:
        return _parse(answered[:_LARGEST_ANSWER], "SESSION")
    except ValueError:
        raise OutcomeUnknown(_UNREADABLE) from None


def _logged_on(session: Element) -> bool:
    """``OutcomeUnknown`` if LINK does not clearly say."""
    said = {_OK: True, _FAIL: False}.get(_text(session, "LOGON"))
    if said is None:
        raise OutcomeUnknown(_UNREADABLE)
    return said


def _taken(session: Element) -> Receipt:
    """The receipt for the one message of the session, if LINK took it.

    An OK without REF counts as taken as well: LINK has the message, though no receipt will find it.
    """
    messages = session.findall("MSGLST/MSG")
    if len(messages) != 1:
        raise OutcomeUnknown(_UNREADABLE)
    (message,) = messages
    status, info = _text(message, "STATUS"), _text(message, "INFO")
    if status != _OK:
        raise _failure(status, info)
    return Receipt(gateway_reference=_text(message, "REF"), word=_OK)


def _failure(status: str, info: str) -> HandoverFailed:
    for beginning, word in REFUSALS.items():
        if info.startswith(beginning):
            return Rejected(beginning, status=word)
    return Rejected(_FAIL, status=OTHER_REFUSAL) if status == _FAIL else OutcomeUnknown(_UNREADABLE)


def _pushed(body: bytes) -> Sequence[Element]:
    """Every MSG of a push, be it a list of them or a single one."""
    try:
        root = _parse(body, "MSGLST", "MSG")
    except ValueError as error:
        raise UnreadableReceipts(str(error)) from None
    return [root] if root.tag == "MSG" else root.findall("MSG")


def _parse(xml: bytes, *roots: str) -> Element:
    """The root element, one of ``roots``; ``ValueError``, which quotes nothing, if it is not."""
    try:
        root = fromstring(xml, forbid_dtd=True)
    except Exception as error:  # noqa: BLE001 (the parser, codecs and defusedxml each raise others)
        raise ValueError(f"not XML: {type(error).__name__}") from None
    if root.tag not in roots:
        raise ValueError(f"no {' or '.join(roots)}")
    if root.find(_TOO_DEEP) is not None:
        raise ValueError("nested too deep")
    return root


def _text(element: Element, tag: str) -> str:
    return element.findtext(tag, "").strip()


def _document(content: Content) -> bytes:
    declared = f'<?xml version="1.0" encoding="{_ENCODING}"?>{_markup(content)}'
    return declared.encode(_ENCODING, "xmlcharrefreplace")


def _markup(content: Content) -> str:
    if isinstance(content, str):
        return content.translate(_ESCAPES)
    return "".join(f"<{tag}>{_markup(inside)}</{tag}>" for tag, inside in content)
