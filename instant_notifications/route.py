"""The way of one message: which gateways may carry it, and asking them in turn, within the budget.

While a gateway is talked to no transaction is open, and a pooled database connection goes back to
its pool.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from instant_notifications import health, rules, telemetry
from instant_notifications.conf import settings
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import BaseGateway, Message, Receipt, gateways
from instant_notifications.history import Call
from instant_notifications.models import Delivery, GatewayState, release_pooled_connection
from instant_notifications.statuses import WORDS, Channel, Outcome

logger = logging.getLogger("instant_notifications")


def require_route(channel: Channel) -> Sequence[str]:
    """The channel's gateway aliases, in order of preference; at least one."""
    aliases = settings.ROUTES.get(channel, ())
    if not aliases:
        raise NotConfigured(
            f"No gateway carries {channel} yet. "
            f"List at least one in INSTANT_NOTIFICATIONS['ROUTES']['{channel}']."
        )
    return aliases


def safe_to_repeat(delivery: Delivery) -> Sequence[str]:
    """The route by which a message that may have been sent can go again, if there is one.

    Only the gateway it may have gone by knows it; so it must be that one, and it must send a
    reference once however often it is asked.
    """
    route = settings.ROUTES.get(delivery.channel, ())
    if settings.UNKNOWN_OUTCOME == "resend":
        return route
    candidates = [delivery.gateway] if delivery.gateway else route
    return candidates if len(candidates) == 1 and _deduplicates(candidates[0]) else ()


def _deduplicates(alias: str) -> bool:
    try:
        return gateways[alias].deduplicates
    except NotConfigured:
        return False


class Walk:
    """The way of one message along its route, within the budget."""

    def __init__(self, delivery: Delivery, route: Sequence[str]) -> None:
        self.calls: Sequence[Call] = ()
        self._delivery, self._route = delivery, _kept_in_sandbox(delivery, route)
        self._deadline = monotonic() + settings.HANDOVER_BUDGET
        self._states: dict[str, GatewayState] = {}
        self._faults: dict[str, str | None] = {}

    def to_a_taker(self) -> tuple[BaseGateway, Receipt]:
        """Who took it, and their receipt. It goes on to the next only where nothing was sent."""
        failure: Unavailable | None = None
        for alias in self._route:
            try:
                with telemetry.span("gateway", gateway=alias, channel=self._delivery.channel):
                    return self._ask(alias)
            except Unavailable as unavailable:
                failure = unavailable if unavailable.gateway or not failure else failure
        raise failure or Unavailable("no route")

    def tell_health(self) -> None:
        health.learn(self._faults, self._states)

    def _require_well(self, alias: str) -> None:
        """Asked when its turn comes: it may have been switched off a moment ago."""
        try:
            state = health.state_of(alias)
        except (DatabaseError, InterfaceError) as error:
            raise Unavailable(f"database: {type(error).__name__}", retry_after=1) from None
        if state:
            self._states[alias] = state
        health.require_well(state)

    def _ask(self, alias: str) -> tuple[BaseGateway, Receipt]:
        started_at, began = timezone.now(), monotonic()
        try:
            gateway = _gateway(alias, self._delivery.channel)
            message = _message(self._delivery, gateway, self._deadline)
            self._require_well(alias)
            release_pooled_connection()
            receipt = gateway.hand_over(message)
        except HandoverFailed as failure:
            if failure.gateway or isinstance(failure, health.PassedOver):
                self._note(alias, failure, started_at, monotonic() - began)
            raise
        self._note(alias, None, started_at, monotonic() - began)
        return gateway, receipt

    def _note(
        self, alias: str, failure: HandoverFailed | None, started_at: datetime, seconds: float
    ) -> None:
        call = Call(
            gateway=alias,
            started_at=started_at,
            duration=timedelta(seconds=seconds),
            outcome=_outcome(failure),
            reason=failure.reason if failure else "",
        )
        self.calls = (*self.calls, call)
        telemetry.HANDOVERS.observe(
            seconds, gateway=alias, channel=self._delivery.channel, outcome=call.outcome
        )
        if call.outcome is not Outcome.PASSED_OVER:
            provider_is_well = failure is None or failure.only_this_message
            self._faults[alias] = None if provider_is_well else call.reason


def _kept_in_sandbox(delivery: Delivery, route: Sequence[str]) -> Sequence[str]:
    """The route itself only where the recipient may get real messages."""
    if rules.gets_real_messages(delivery.destination or ""):
        return route
    return [settings.SANDBOX_GATEWAY]


def _outcome(failure: HandoverFailed | None) -> Outcome:
    if failure is None:
        return Outcome.TAKEN
    kinds = (kind for kind in type(failure).__mro__ if kind in _OUTCOMES)
    return _OUTCOMES[next(kinds, OutcomeUnknown)]


_OUTCOMES: Final[Mapping[type, Outcome]] = {
    Rejected: Outcome.REFUSED,
    Unavailable: Outcome.NOT_SENT,
    OutcomeUnknown: Outcome.UNKNOWN,
    health.PassedOver: Outcome.PASSED_OVER,
}


def _gateway(alias: str, channel: str) -> BaseGateway:
    try:
        return _carrier(alias, channel)
    except NotConfigured as error:
        logger.error("gateway not configured gateway=%s reason=%s", alias, error)  # noqa: TRY400
        failure = Unavailable("not configured")
        failure.gateway = alias
        raise failure from None


def _carrier(alias: str, channel: str) -> BaseGateway:
    gateway = gateways[alias]
    if channel not in gateway.channels:
        raise NotConfigured(f"Gateway {alias!r} cannot carry {channel}.")
    return gateway


def _message(delivery: Delivery, gateway: BaseGateway, deadline: float) -> Message:
    """What the gateway needs to know, with the life and the time that remain."""
    timeout = deadline - monotonic()
    if timeout <= 0:
        raise Unavailable("out of time")
    life = (delivery.expires_at - timezone.now()).total_seconds()
    if life <= 0:
        raise Rejected("expired", status=WORDS[Channel(delivery.channel)].expired)
    if not (delivery.destination and delivery.content):
        raise Rejected("erased", status=WORDS[Channel(delivery.channel)].failed)
    unit = gateway.time_to_live_unit
    shortest = max(unit, gateway.shortest_time_to_live)
    content = json.loads(delivery.content)
    is_sms = delivery.channel == Channel.SMS
    default_sender = settings.DEFAULT_SMS_SENDER if is_sms else settings.DEFAULT_EMAIL_SENDER
    return Message(
        reference=str(delivery.pk),
        channel=Channel(delivery.channel),
        destination=delivery.destination,
        body=content["body"],
        sender=content["sender"] or default_sender,
        subject=content.get("subject", ""),
        content_type=content.get("content_type", "Plain"),
        time_to_live=max(shortest, math.floor(life / unit) * unit),
        attempt=delivery.attempts,
        timeout=min(timeout, gateway.timeout or timeout),
    )
