"""SMS and e-mail by another service that speaks Altinn's notification API, this app included.

Our reference is its idempotency id, so a message whose outcome is unknown may be handed over once
more; and its sender's reference, so that its feed tells which message an entry is about even if we
never heard the answer.
"""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from django.core.checks import CheckMessage, Error

from instant_notifications import http
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways.base import BaseGateway, FeedItem, FeedPage, Message, Receipt
from instant_notifications.gateways.maskinporten import Client, SharedToken, Token, exchange
from instant_notifications.statuses import STAGES, WORDS, Channel, is_word_of

SCOPE: Final = "altinn:serviceowner/notifications.create"
EXCHANGE_PATH: Final = "/authentication/api/v1/exchange/maskinporten"
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
_CLEARLY_NOT_SENT: Final = frozenset({400, 401, 403, 404, 405, 413, 415, 429, 503})
_BAD_CREDENTIALS: Final = frozenset({401, 403})


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
        self.url = url.rstrip("/") + "/"
        if bool(token) == bool(maskinporten):
            raise NotConfigured(
                f"Gateway {alias!r} needs either the option 'maskinporten' or, for development, "
                "'token'."
            )
        self._fixed_token = token
        self._client = Client(**{"scope": SCOPE, **maskinporten}) if maskinporten else None
        exchange_url = _beside(self.url, EXCHANGE_PATH) if exchange_url == "" else exchange_url
        self._shared_token = _token_of(self._client, exchange_url) if self._client else None

    def send(self, message: Message) -> Receipt:
        deadline = monotonic() + message.timeout
        answer = self._say("POST", _ROUTES[message.channel], deadline, json=_order_for(message))
        if answer.ok:
            return Receipt(gateway_reference=_shipment_of(answer), word=str(answer.status_code))
        raise self._failure(message.channel, answer, deadline)

    def look_up(self, shipment_id: str, deadline: float) -> Receipt:
        """What the service knows of one message at this moment."""
        answer = self._say("GET", f"future/shipment/{shipment_id}", deadline)
        if not answer.ok:
            raise Unavailable(f"HTTP {answer.status_code}", retry_after=answer.retry_after)
        return _receipt(_json(answer))

    def read_feed(self, after: int, *, timeout: float) -> FeedPage:
        answer = self._feed(f"seq={after}&pageSize={PAGE_SIZE}&orderBy=asc", timeout)
        entries = _json(answer)
        if not isinstance(entries, list):
            raise Unavailable("the feed is no list")
        return FeedPage(
            items=[_item(entry) for entry in entries],
            oldest=_number(answer.headers.get("X-Oldest-Sequence")),
            latest=_number(answer.headers.get("X-Latest-Sequence")),
        )

    def last_number(self, *, timeout: float) -> int:
        entries = _json(self._feed("seq=0&pageSize=1&orderBy=desc", timeout))
        if not isinstance(entries, list):
            raise Unavailable("the feed is no list")
        numbers = (_item(entry).number for entry in entries)
        return max((number for number in numbers if number is not None), default=0)

    def check(self) -> Iterator[CheckMessage]:
        if not http.is_private(self.url):
            yield Error(
                f"The option 'url' of gateway {self.alias!r} is no https address, so tokens and "
                "messages would travel in clear.",
                hint="Write it with https://; http:// is for this very machine only.",
                id="instant_notifications.E010",
            )
        if self._client:
            try:
                self._client.check()
            except NotConfigured as error:
                yield Error(
                    f"The option 'maskinporten' of gateway {self.alias!r} cannot be used: {error}",
                    id="instant_notifications.E010",
                )

    def probe(self, timeout: float) -> None:
        self._feed("seq=0&pageSize=1", timeout)

    def _feed(self, query: str, timeout: float) -> http.Answer:
        answer = self._say("GET", f"future/shipment/feed?{query}", monotonic() + timeout)
        if answer.ok:
            return answer
        if answer.status_code in _BAD_CREDENTIALS:
            raise NotConfigured(
                f"The service refuses the token of gateway {self.alias!r} (HTTP "
                f"{answer.status_code}). It must be in force, name an organisation and have the "
                f"scope {SCOPE}."
            )
        if answer.status_code == 404:
            raise NotConfigured(
                f"There is no feed below the option 'url' of gateway {self.alias!r} (HTTP 404). "
                "It ends with /notifications/api/v1/."
            )
        raise Unavailable(f"HTTP {answer.status_code}", retry_after=answer.retry_after)

    def _say(self, method: str, path: str, deadline: float, **named: Any) -> http.Answer:
        """The service's answer. A refused token sends nothing, so another one is tried."""
        token = self._token(deadline)
        answer = self._ask(method, path, deadline, token, **named)
        if answer.status_code != 401 or self._shared_token is None:
            return answer
        self._shared_token.forget(token)
        return self._ask(method, path, deadline, self._token(deadline), **named)

    def _ask(
        self, method: str, path: str, deadline: float, token: str, **named: Any
    ) -> http.Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        timeout = _left(deadline)
        return self.request(method, self.url + path, headers=headers, timeout=timeout, **named)

    def _token(self, deadline: float) -> str:
        left = _left(deadline)
        return self._shared_token.get(left) if self._shared_token else self._fixed_token

    def _failure(self, channel: Channel, answer: http.Answer, deadline: float) -> HandoverFailed:
        """What an answer means that is no success."""
        code = _code_of(answer)
        reason = f"HTTP {answer.status_code} {code}".strip()
        if answer.status_code == 400 and _blames_recipient(answer):
            return Rejected(reason, status=_INVALID_RECIPIENT[channel])
        if code == _REFUSED_FOR_GOOD:
            return Rejected(reason, status=self._word_of_refusal(channel, answer, deadline))
        if answer.status_code in _CLEARLY_NOT_SENT:
            return Unavailable(reason, retry_after=answer.retry_after)
        return OutcomeUnknown(reason, retry_after=answer.retry_after)

    def _word_of_refusal(self, channel: Channel, answer: http.Answer, deadline: float) -> str:
        """The word the shipment shows; the general one if it cannot be had in time."""
        try:
            said = self.look_up(_text(_object(_json(answer)), "shipmentId"), deadline).status
        except (HandoverFailed, NotConfigured):
            said = None
        return said if said and is_word_of(channel, said) else WORDS[channel].failed


def _token_of(client: Client, exchange_url: str | None) -> SharedToken:
    """One for all threads, each of which has a gateway of its own."""

    def fetch(timeout: float) -> Token:
        token = client.fetch(timeout)
        return exchange(token, exchange_url, timeout) if exchange_url else token

    return _shared_tokens.setdefault((client, exchange_url), SharedToken(fetch))


_shared_tokens: Final[dict[tuple[Client, str | None], SharedToken]] = {}


def _beside(url: str, path: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise Unavailable("out of time")
    return left


def _order_for(message: Message) -> Mapping[str, Any]:
    order = {"idempotencyId": message.reference, "sendersReference": message.reference}
    if message.channel is Channel.SMS:
        return order | {
            "recipientSms": {
                "phoneNumber": message.destination,
                "timeToLiveInSeconds": message.time_to_live,
                "smsSettings": {"sender": message.sender, "body": message.body},
            }
        }
    return order | {
        "recipientEmail": {
            "emailAddress": message.destination,
            "emailSettings": {
                "subject": message.subject,
                "body": message.body,
                "senderEmailAddress": message.sender,
                "contentType": message.content_type,
            },
        }
    }


def _json(answer: http.Answer) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _object(said: Any) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _number(said: object) -> int | None:
    if isinstance(said, str) and said.isascii() and said.isdecimal():
        said = int(said[:_DIGITS])
    return said if type(said) is int and 0 <= said < _BEYOND else None


_DIGITS: Final = 19
_BEYOND: Final = 2**63
"""No database can hold a larger one."""


def _shipment_of(answer: http.Answer) -> str:
    shipment_id = _text(_object(_object(_json(answer)).get("notification")), "shipmentId")
    if not shipment_id:
        raise OutcomeUnknown("an answer without a shipment")
    return shipment_id


def _code_of(answer: http.Answer) -> str:
    code = _text(_object(_json(answer)), "code")
    return code if code.startswith(("NOT-", "IN-")) and len(code) <= 16 else ""


def _blames_recipient(answer: http.Answer) -> bool:
    paths = _object(_object(_json(answer)).get("errors"))
    return any(path.lower().endswith(_RECIPIENT_MEMBERS) for path in paths)


def _item(entry: object) -> FeedItem:
    """An entry of the feed, as far as it can be understood."""
    said = _object(entry)
    receipt = _receipt(said)
    readable = receipt.gateway_reference and receipt.word
    return FeedItem(
        number=_number(said.get("sequenceNumber")), receipts=[receipt] if readable else []
    )


def _receipt(said: object) -> Receipt:
    """How a shipment stands. One of ours has one recipient; of others only the order's word."""
    shipment = _object(said)
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
