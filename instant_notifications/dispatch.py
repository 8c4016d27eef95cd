"""Hand one delivery over: send it on its way, then write down what came of it."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Final

from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from instant_notifications import privacy, telemetry, windows
from instant_notifications.conf import settings
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.history import Change
from instant_notifications.models import Delivery, primary
from instant_notifications.receipts import match_kept_receipts
from instant_notifications.record import record_status
from instant_notifications.route import Walk
from instant_notifications.statuses import WORDS, Cause, Channel, Handover, ShipmentType, is_word_of

logger = logging.getLogger("instant_notifications")

LEASE_FACTOR: Final = 2
"""A lease outlasts its hand-over's budget by as much again, for a slow machine's sake."""

RECORD_PAUSES: Final = (0.1, 0.4, 1.5)
"""Seconds between the tries to write an outcome down while the database is away."""

RECORD_PATIENCE: Final = 2.0
"""Seconds after which no further try is begun: each may itself have to wait for a connection."""

RETRIES: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 10, 30))
"""Pauses after each hand-over of a regular order's message that certainly sent nothing; the last
one again and again, until it expires."""


def pause_after(tries: int) -> timedelta:
    return RETRIES[min(max(tries, 1), len(RETRIES)) - 1]


def lease() -> timedelta:
    return timedelta(seconds=LEASE_FACTOR * settings.HANDOVER_BUDGET)


def hand_over(delivery: Delivery, route: Sequence[str]) -> Delivery:
    """Send a delivery that the caller has claimed, by the first gateway of ``route`` that can.

    Returns it as recorded; raises one of the three failures once that is recorded.
    """
    walk = Walk(delivery, route)
    try:
        with telemetry.span("hand_over", **_facts(delivery)) as told:
            recorded = _hand_over(delivery, walk)
            told.tell(outcome=recorded.status)
            return recorded
    finally:
        walk.tell_health()


def _facts(delivery: Delivery) -> dict[str, object]:
    return {
        "channel": delivery.channel,
        "creator": delivery.shipment.creator,
        "delivery": delivery.pk,
        "shipment": delivery.shipment_id,
        "attempt": delivery.attempts,
    }


def _hand_over(delivery: Delivery, walk: Walk) -> Delivery:
    try:
        gateway, receipt = walk.to_a_taker()
    except HandoverFailed as failure:
        change = _change_for(failure, delivery)
        recorded = _record(delivery, replace(change, calls=walk.calls))
        if recorded.handover == Handover.TAKEN:
            return recorded  # a receipt, or another attempt, knows better
        if recorded.handover == Handover.UNKNOWN and not isinstance(failure, OutcomeUnknown):
            raise OutcomeUnknown("an earlier attempt may have sent it") from None
        raise
    words = WORDS[Channel(delivery.channel)]
    change = Change(
        cause=Cause.HANDOVER,
        status=_own_word(delivery, receipt.status, words.accepted),
        handover=Handover.TAKEN,
        attempt=delivery.attempts,
        calls=walk.calls,
        last_word=not gateway.reports_receipts,
        gateway=gateway.alias,
        gateway_reference=receipt.gateway_reference,
        gateway_word=receipt.word,
    )
    recorded = _record(delivery, change)
    return _with_early_receipts(recorded) if gateway.reports_receipts else recorded


def _with_early_receipts(delivery: Delivery) -> Delivery:
    """A gateway may report before it answers. What fails here is made up for by the sweep."""
    if not delivery.gateway_reference:
        return delivery
    try:
        return match_kept_receipts(delivery)
    except Exception as error:  # noqa: BLE001 (the hand-over is done, whatever happens now)
        logger.warning("receipts wait delivery=%s error=%s", delivery.pk, privacy.place_of(error))
        return delivery


def _change_for(failure: HandoverFailed, delivery: Delivery) -> Change:
    words = WORDS[Channel(delivery.channel)]
    status: str | None
    if isinstance(failure, Rejected):
        handover, status = Handover.REFUSED, _own_word(delivery, failure.status, words.failed)
    elif isinstance(failure, Unavailable):
        handover, status = Handover.OPEN, words.new
    else:
        handover, status = Handover.UNKNOWN, None
    return Change(
        cause=Cause.HANDOVER,
        status=status,
        handover=handover,
        due_at=_next_try(delivery) if handover is Handover.OPEN else None,
        attempt=delivery.attempts,
        gateway=failure.gateway,
        gateway_word=failure.reason,
    )


def _next_try(delivery: Delivery) -> datetime | None:
    """Of an instant message, whoever sends it decides."""
    if delivery.shipment.type == ShipmentType.INSTANT:
        return None
    moment = timezone.now() + pause_after(delivery.attempts)
    return windows.opening(moment) if delivery.daytime else moment


def _own_word(delivery: Delivery, said: str | None, otherwise: str) -> str:
    """What the gateway called it; for a word that is none of this channel's, the general one."""
    return said if said and is_word_of(delivery.channel, said) else otherwise


def _record(delivery: Delivery, change: Change) -> Delivery:
    """Write the outcome down, also when the database has to come back first."""
    give_up = monotonic() + RECORD_PATIENCE
    for pause in (*RECORD_PAUSES, None):
        try:
            with telemetry.span("record"):
                return record_status(delivery, change)
        except (InterfaceError, OperationalError) as error:
            logger.warning(
                "outcome not recorded yet delivery=%s error=%s", delivery.pk, type(error).__name__
            )
            connections[primary()].close()
            if pause is None or monotonic() > give_up:
                break
            sleep(pause)
        except Exception as error:  # noqa: BLE001 (it may have left, so nothing else may escape)
            logger.error(  # noqa: TRY400
                "outcome not recorded delivery=%s error=%s", delivery.pk, privacy.place_of(error)
            )
            break
    raise OutcomeUnknown("the outcome could not be recorded")
