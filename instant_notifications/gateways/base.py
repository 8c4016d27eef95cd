"""The contract between the app and a gateway, readable in one file.

A gateway sees no model: a ``Message`` goes in, a ``Receipt`` comes out, or one of the three
failures is raised. Subclasses implement ``send`` and raise what they know; whatever else escapes
from them counts as ``OutcomeUnknown``, because it may have left.
"""

import base64
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, ClassVar, final

from django.core.checks import CheckMessage
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

from instant_notifications import privacy
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


class UnreadableReceipts(Exception):  # noqa: N818
    """A push that is not what the provider sends. The text is logged: nothing personal in it."""


def has_basic_credentials(request: HttpRequest, user: str, password: str) -> bool:
    """Whether the push carries this user and password (HTTP Basic); never for a blank password."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    expected = base64.b64encode(f"{user}:{password}".encode()).decode()
    same = constant_time_compare(given.strip(), expected)
    return same and scheme.lower() == "basic" and bool(password)


class BaseGateway:
    """One provider: both directions, its vocabulary and its options."""

    channels: ClassVar[frozenset[Channel]]
    """What it can carry."""

    reports_receipts: bool = True
    """Does it say later what became of a message? If not, its acceptance is the last word."""

    deduplicates: bool = False
    """Does it send a message once however often it is given the same reference?"""

    time_to_live_unit: int = 1
    """Seconds in the unit its lifetimes are counted in."""

    def __init__(self, alias: str, **options: Any) -> None:
        self.alias = alias
        if options:
            names = ", ".join(sorted(options))
            raise NotConfigured(f"Gateway {alias!r} does not know the option(s) {names}.")

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
            logger.error("gateway not configured gateway=%s: %s", self.alias, error)  # noqa: TRY400
            raise Unavailable("not configured") from None
        except Exception as error:  # noqa: BLE001 (closed by default)
            raise OutcomeUnknown(privacy.place_of(error, frames=1)) from None
