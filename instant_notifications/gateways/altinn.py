"""SMS and e-mail by another service that speaks Altinn's notification API, this app included.

Our reference is its idempotency id, so a message whose outcome is unknown may be handed over once
more; and its sender's reference, so that its feed tells which message an entry is about even if we
never heard the answer.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

from django.core.checks import CheckMessage

from instant_notifications import http
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways.altinn_service import AltinnService, left
from instant_notifications.gateways.base import (
    BaseGateway,
    FeedItem,
    FeedPage,
    Message,
    Receipt,
    only_asking,
)
from instant_notifications.statuses import STAGES, WORDS, Channel, Stage, is_word_of

SCOPE: Final = "altinn:serviceowner/notifications.create"
PAGE_SIZE: Final = 500

_INVALID_RECIPIENT: Final[Mapping[Channel, str]] = {
    Channel.SMS: "SMS_Failed_InvalidRecipient",
    Channel.EMAIL: "Email_Failed_InvalidFormat",
}
_ROUTES: Final[Mapping[Channel, str]] = {
    Channel.SMS: "future/orders/instant/sms",
    Channel.EMAIL: "future/orders/instant/email",
}
_RECIPIENT_MEMBERS: Final = ("phonenumber", "recipientemail.emailaddress")
"""How the paths of errors end that find fault with the recipient, in lower case."""

_REFUSED_FOR_GOOD: Final = "IN-00001"
_NO_SUCH_SHIPMENT: Final = "NOT-00003"
_CLEARLY_NOT_SENT: Final = frozenset({400, 401, 403, 404, 405, 413, 415, 429, 503})
_ABOUT_THIS_MESSAGE: Final = frozenset({400, 409, 413, 422})
"""The service is well and takes others."""
_BAD_CREDENTIALS: Final = frozenset({401, 403})

_ENDS_OF_REFUSED: Final = frozenset({Stage.FAILED, Stage.EXPIRED})

_BEYOND: Final = 2**63
"""No database can hold a larger number."""

_is_number = re.compile(r"[0-9]{1,19}").fullmatch
_is_code = re.compile(r"(?:NOT|IN)-[0-9]{5}").fullmatch
"""Nothing else is passed on: it might be about a person."""


class AltinnGateway(BaseGateway):
    """``OPTIONS``: the ``url`` of the service, up to and including ``/notifications/api/v1/``.

    Its token comes from ``maskinporten``, a dict with ``client_id``, ``key`` (an RSA private key in
    PEM form), ``key_id`` and optionally ``scope``, ``issuer`` and ``token_url``; and from
    ``exchange_url``, which lies beside the service unless told otherwise, and which ``None`` leaves
    out. For development there is the fixed ``token`` instead.
    """

    channels = frozenset(Channel)
    deduplicates = True
    has_feed = True
    answers_for_each = True
    shortest_time_to_live = 60

    def __init__(
        self,
        alias: str,
        *,
        url: str,
        token: str = "",
        maskinporten: Mapping[str, str] | None = None,
        exchange_url: str | None = "",
        **options: Any,
    ) -> None:
        super().__init__(alias, **options)
        self._service = AltinnService(
            url,
            whose=f"gateway {alias!r}",
            token=token,
            maskinporten={"scope": SCOPE, **maskinporten} if maskinporten else None,
            exchange_url=exchange_url,
        )

    def send(self, message: Message) -> Receipt:
        deadline = monotonic() + message.timeout
        answer = self._service.say(
            "POST", _ROUTES[message.channel], deadline, json=_order_for(message)
        )
        if answer.ok:
            return Receipt(gateway_reference=_shipment_of(answer), word=str(answer.status_code))
        raise self._failure(message.channel, answer, deadline)

    def look_up(self, gateway_reference: str, *, timeout: float) -> Receipt | None:
        """By the shipment's own address."""
        answer = self._inquire(f"future/shipment/{quote(gateway_reference, safe='')}", timeout)
        if answer.ok:
            return _receipt(answer.json_object())
        if _code_in(answer.json_object()) == _NO_SUCH_SHIPMENT:
            return None
        raise self._failure_of_inquiry(answer)

    def read_feed(self, after: int, *, timeout: float) -> FeedPage:
        return self._feed(f"seq={after}&pageSize={PAGE_SIZE}&orderBy=asc", timeout)

    def last_number(self, *, timeout: float) -> int:
        """Also of a feed from which everything has been purged, where the service tells it."""
        page = self._feed("seq=0&pageSize=1&orderBy=desc", timeout)
        numbers = (page.latest, *(item.number for item in page.items))
        known = [number for number in numbers if number is not None]
        if page.items and not known:
            raise Unavailable("the newest entry of the feed cannot be read")
        return max(known, default=0)

    def check(self) -> Iterable[CheckMessage]:
        return self._service.check()

    def probe(self, timeout: float) -> None:
        self._feed("seq=0&pageSize=1", timeout)

    def _feed(self, query: str, timeout: float) -> FeedPage:
        answer = self._inquire(f"future/shipment/feed?{query}", timeout)
        if not answer.ok:
            raise self._failure_of_inquiry(answer)
        entries = _list(answer)
        return FeedPage(
            items=[_item(entry) for entry in entries],
            oldest=_number(answer.headers.get("X-Oldest-Sequence")),
            latest=_number(answer.headers.get("X-Latest-Sequence")),
        )

    def _failure_of_inquiry(self, answer: http.Answer) -> NotConfigured | Unavailable:
        if answer.status_code in _BAD_CREDENTIALS:
            return NotConfigured(
                f"The service refuses the token of gateway {self.alias!r} (HTTP "
                f"{answer.status_code}). It must be in force, name an organisation and have the "
                f"scope {SCOPE}."
            )
        if answer.status_code == 404:
            return NotConfigured(
                f"The API is not below the option 'url' of gateway {self.alias!r} (HTTP 404). It "
                "ends with /notifications/api/v1/."
            )
        return Unavailable(f"HTTP {answer.status_code}", retry_after=answer.retry_after)

    def _inquire(self, path: str, timeout: float) -> http.Answer:
        with only_asking():
            return self._service.say("GET", path, monotonic() + timeout)

    def _failure(self, channel: Channel, answer: http.Answer, deadline: float) -> HandoverFailed:
        """What an answer means that is no success."""
        status, said = answer.status_code, answer.json_object()
        code = _code_in(said)
        reason = f"HTTP {status} {code}".strip()
        if status == 400 and _blames_recipient(said):
            return Rejected(reason, status=_INVALID_RECIPIENT[channel])
        if code == _REFUSED_FOR_GOOD:
            word = self._word_of_refusal(channel, _text(said, "shipmentId"), deadline)
            return Rejected(reason, status=word)
        kind = Unavailable if status in _CLEARLY_NOT_SENT else OutcomeUnknown
        return kind(
            reason, retry_after=answer.retry_after, only_this_message=status in _ABOUT_THIS_MESSAGE
        )

    def _word_of_refusal(self, channel: Channel, shipment_id: str, deadline: float) -> str:
        """The word the shipment shows; the general one if it cannot be had in time."""
        try:
            said = self.look_up(shipment_id, timeout=left(deadline)) if shipment_id else None
        except (HandoverFailed, NotConfigured):
            said = None
        word = said.status if said else None
        if word and is_word_of(channel, word) and STAGES[word] in _ENDS_OF_REFUSED:
            return word
        return WORDS[channel].failed


def _order_for(message: Message) -> Mapping[str, Any]:
    order = {"idempotencyId": message.reference, "sendersReference": message.reference}
    if message.channel is Channel.SMS:
        return order | {
            "recipientSms": {
                "phoneNumber": message.destination,
                "timeToLiveInSeconds": message.time_to_live,
                "smsSettings": _filled(sender=message.sender, body=message.body),
            }
        }
    return order | {
        "recipientEmail": {
            "emailAddress": message.destination,
            "emailSettings": _filled(
                subject=message.subject,
                body=message.body,
                senderEmailAddress=message.sender,
                contentType=message.content_type,
            ),
        }
    }


def _filled(**members: str) -> Mapping[str, str]:
    """Without the blank ones, for which the service has its defaults."""
    return {name: value for name, value in members.items() if value}


def _list(answer: http.Answer) -> Sequence[object]:
    try:
        said = answer.json()
    except ValueError:
        said = None
    if not isinstance(said, list):
        raise Unavailable("the feed is no list")
    return said


def _object(said: object) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _number(said: object) -> int | None:
    if isinstance(said, str) and _is_number(said):
        said = int(said)
    return said if type(said) is int and 0 <= said < _BEYOND else None


def _shipment_of(answer: http.Answer) -> str:
    notification = answer.json_object().get("notification")
    shipment_id = _text(_object(notification), "shipmentId")
    if not shipment_id:
        raise OutcomeUnknown("an answer without a shipment")
    return shipment_id


def _code_in(said: Mapping[str, Any]) -> str:
    code = _text(said, "code")
    return code if _is_code(code) else ""


def _blames_recipient(said: Mapping[str, Any]) -> bool:
    paths = _object(said.get("errors"))
    return any(path.lower().endswith(_RECIPIENT_MEMBERS) for path in paths)


def _item(entry: object) -> FeedItem:
    """An entry of the feed, as far as it can be understood."""
    said = _object(entry)
    receipt = _receipt(said)
    readable = receipt.gateway_reference and receipt.word
    return FeedItem(
        number=_number(said.get("sequenceNumber")), receipts=(receipt,) if readable else ()
    )


def _receipt(shipment: Mapping[str, Any]) -> Receipt:
    """How a shipment stands. One of ours has one recipient; of others only the order's word."""
    match shipment.get("recipients"):
        case [alone]:
            word = _text(_object(alone), "status")
        case _:
            word = _text(shipment, "status")
    return Receipt(
        gateway_reference=_text(shipment, "shipmentId"),
        reference=_text(shipment, "sendersReference"),
        status=word if word in STAGES else None,
        word=word,
    )
