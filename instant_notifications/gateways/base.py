"""The contract between the app and a gateway, readable in one file.

A gateway sees no model: a ``Message`` goes in, a ``Receipt`` comes out, or one of the three
failures is raised. Subclasses implement ``send`` and raise what they know; whatever else escapes
from them counts as ``OutcomeUnknown``, because it may have left.
"""

import base64
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ClassVar, final

from django.core.checks import CheckMessage
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

from instant_notifications import http, privacy
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Unavailable,
)
from instant_notifications.statuses import Channel

logger = logging.getLogger("instant_notifications.gateways")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Everything a gateway needs to know. Its repr holds nothing personal."""

    reference: str
    """Ours, unique to the delivery and the same in each attempt."""
    channel: Channel
    destination: str = field(repr=False)
    body: str = field(repr=False)
    sender: str = field(default="", repr=False)
    subject: str = field(default="", repr=False)
    content_type: str = "Plain"
    time_to_live: int = 0
    """Whole seconds that remain of the message's life, at least the gateway's unit."""
    attempt: int = 1
    timeout: float = 10.0
    """Seconds this gateway may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a gateway says of a message: on taking it, or later."""

    gateway_reference: str = ""
    reference: str = ""
    """Ours, where the gateway repeats it."""
    status: str | None = None
    """Our word for it; ``None`` for a word we do not know."""
    word: str = ""
    """The gateway's own word: a code, nothing personal."""
    part: str = ""
    """Of a gateway that reports each part of a long SMS by itself: which part this is about."""
    parts: int | None = None
    """How many parts there are, where the gateway says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedItem:
    """One entry of a provider's own feed of statuses."""

    number: int | None
    """Its place in the feed; ``None`` if it cannot be read."""
    receipts: Sequence[Receipt] = ()
    """What it says; nothing if it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPage:
    """Some entries of a provider's feed, in the order of their numbers."""

    items: Sequence[FeedItem]
    oldest: int | None = None
    """The first number that can still be read, where the provider says so."""
    latest: int | None = None
    """The last number there is, where the provider says so."""


class UnreadableReceipts(Exception):  # noqa: N818
    """A push that is not what the provider sends. The text is logged: nothing personal in it."""


def has_basic_credentials(request: HttpRequest, user: str, password: str) -> bool:
    """Whether the push carries this user and password (HTTP Basic); never for a blank password."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    expected = base64.b64encode(f"{user}:{password}".encode()).decode()
    same = constant_time_compare(given.strip(), expected)
    return same and scheme.lower() == "basic" and bool(password)


@contextmanager
def only_asking() -> Iterator[None]:
    """Around a question, by which nothing can have been sent whatever became of it."""
    try:
        yield
    except OutcomeUnknown as failure:
        raise Unavailable(failure.reason) from None


def ask(method: str, url: str, **named: Any) -> http.Answer:
    """``http.request``, its failures sorted into those of a hand-over."""
    try:
        return http.request(method, url, **named)
    except http.NotSent as error:
        raise Unavailable(str(error)) from None
    except http.NoAnswer as error:
        raise OutcomeUnknown(str(error)) from None


class BaseGateway:
    """One provider: both directions, its vocabulary and its options.

    Every gateway has the option ``timeout``: the seconds it gets for one message, at most what is
    left of the hand-over's budget.
    """

    channels: ClassVar[frozenset[Channel]]
    """What it can carry."""

    reports_receipts: bool = True
    """Does it say later what became of a message? If not, its acceptance is the last word."""

    deduplicates: bool = False
    """Does it send a message once however often it is given the same reference?"""

    time_to_live_unit: int = 1
    """Seconds in the unit its lifetimes are counted in."""

    shortest_time_to_live: int = 1
    """Seconds of the shortest lifetime it takes, if that is more than its unit."""

    has_feed: bool = False
    """Can the statuses of all its messages be read from it as one numbered list?"""

    answers_for_each: bool = False
    """Can it be asked for the status of a single message?"""

    def __init__(self, alias: str, *, timeout: float | None = None, **options: Any) -> None:
        self.alias = alias
        self.timeout = timeout
        if options:
            names = ", ".join(sorted(options))
            raise NotConfigured(f"Gateway {alias!r} does not know the option(s) {names}.")
        if timeout is not None and not timeout > 0:
            raise NotConfigured(f"The timeout of gateway {alias!r} must be greater than 0.")

    def send(self, message: Message) -> Receipt:
        """Hand ``message`` to the provider within ``message.timeout`` seconds.

        Raises ``Rejected``, ``Unavailable`` or ``OutcomeUnknown``.
        """
        raise NotImplementedError

    def authenticates(self, request: HttpRequest) -> bool:  # noqa: ARG002
        """Does this push of receipts truly come from the provider?

        Nobody's does unless the gateway says so. Secrets are compared in constant time; see
        ``has_basic_credentials``.
        """
        return False

    def read_receipts(self, request: HttpRequest) -> Iterable[Receipt]:  # noqa: ARG002
        """The receipts in a push, one or many; ``UnreadableReceipts`` if it is none.

        A receipt that lacks something, or says a word we do not know, is returned as far as it can
        be understood: with its raw ``word`` and no ``status``.
        """
        raise UnreadableReceipts("this gateway has no receipts")

    def acknowledge(self, receipts: Sequence[Receipt]) -> HttpResponse:  # noqa: ARG002
        """What the provider wants to hear once its receipts are written down."""
        return HttpResponse(status=204)

    def check(self) -> Iterable[CheckMessage]:
        """Problems of the configuration that can be seen without any traffic."""
        return ()

    def probe(self, timeout: float) -> None:
        """Ask the provider whether it would take messages, without giving it one.

        Raises ``NotConfigured`` with what to set, or ``Unavailable``. Without a harmless question
        to ask, there is nothing to do here.
        """

    def read_feed(self, after: int, *, timeout: float) -> FeedPage:
        """The next entries of the provider's feed; an empty page at its end.

        Raises ``NotConfigured`` with what to set, or another failure if asking again may help.
        """
        raise NotImplementedError

    def look_up(self, gateway_reference: str, *, timeout: float) -> Receipt | None:
        """What the provider says of one message at this moment; ``None`` if it knows of none.

        Raises as ``read_feed`` does.
        """
        raise NotImplementedError

    def last_number(self, *, timeout: float) -> int:
        """The number of the newest entry in the provider's feed; 0 if there is none."""
        raise NotImplementedError

    def request(self, method: str, url: str, **named: Any) -> http.Answer:
        """``http.request``, its failures sorted into those of a hand-over."""
        return ask(method, url, **named)

    @final
    def hand_over(self, message: Message) -> Receipt:
        """``send``, timed, logged, and with every failure sorted into the three."""
        started = monotonic()
        outcome = "interrupted"
        try:
            receipt = self._send_or_fail(message)
        except HandoverFailed as failure:
            failure.gateway = self.alias
            outcome = type(failure).__name__
            raise
        else:
            outcome = "taken"
            return receipt
        finally:
            logger.info(
                "handover gateway=%s channel=%s reference=%s attempt=%d outcome=%s duration_ms=%d",
                self.alias,
                message.channel,
                message.reference,
                message.attempt,
                outcome,
                (monotonic() - started) * 1000,
            )

    def _send_or_fail(self, message: Message) -> Receipt:
        try:
            return self.send(message)
        except HandoverFailed:
            raise
        except NotConfigured as error:
            logger.error("gateway not configured gateway=%s reason=%s", self.alias, error)  # noqa: TRY400
            raise Unavailable("not configured") from None
        except Exception as error:  # noqa: BLE001 (closed by default)
            raise OutcomeUnknown(privacy.place_of(error, frames=1)) from None
