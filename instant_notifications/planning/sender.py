"""Hand over the deliveries of regular orders that are due, one after the other."""

import logging
from collections.abc import Sequence
from datetime import datetime
from time import monotonic, sleep
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from instant_notifications import dispatch, privacy, record, rules, windows
from instant_notifications.exceptions import HandoverFailed
from instant_notifications.models import Delivery, Plan, primary, refuse_open_transaction
from instant_notifications.planning import claims
from instant_notifications.route import require_route
from instant_notifications.statuses import Cause, Channel

logger = logging.getLogger("instant_notifications")

LONGEST_REST: Final = 0.02


def hand_over(delivery_ids: Sequence[UUID]) -> None:
    """What has been handed over, is under way or is not due is left alone.

    What goes wrong with one does not keep the others from being sent. Raises ``OpenTransaction``:
    a claim that is rolled back would be a message without a trace, and sent again.
    """
    refuse_open_transaction()
    patience = claims.Patience()
    for delivery in _due(delivery_ids):
        if patience.is_over:
            claims.release(Delivery, [delivery.pk])
            continue
        began = monotonic()
        try:
            _hand_over(delivery)
        except (InterfaceError, OperationalError):
            raise
        except Exception as error:  # noqa: BLE001 (closed by default, one by one)
            logger.error(  # noqa: TRY400
                "not handed over delivery=%s error=%s", delivery.pk, privacy.place_of(error)
            )
            # Behind those that wait, or so many like it would be all that a queue is told of.
            _wait_for(delivery, timezone.now() + claims.lease())
        _rest(began)


def _due(delivery_ids: Sequence[UUID]) -> Sequence[Delivery]:
    due = Delivery.objects.using(primary()).filter(
        pk__in=delivery_ids, due_at__lte=timezone.now() + rules.CLOCK_LEEWAY
    )
    return list(due.select_related("shipment").order_by("due_at", "pk"))


def _hand_over(delivery: Delivery) -> None:
    now = timezone.now()
    if delivery.daytime and not windows.is_open(now):
        _wait_for(delivery, windows.opening(now))
        return
    if delivery.attempts and _is_recalled(delivery):
        record.record_status(delivery, record.cancellation(delivery, Cause.CALLER))
        return
    route = require_route(Channel(delivery.channel))
    claimed = record.claim(delivery, dispatch.lease())
    if claimed is None:
        return
    try:
        dispatch.hand_over(claimed, route)
    except HandoverFailed as failure:
        logger.info("not taken delivery=%s outcome=%s", delivery.pk, type(failure).__name__)


def _is_recalled(delivery: Delivery) -> bool:
    """It was under way when its order was called off, and has come back unsent."""
    plans = Plan.objects.using(primary()).filter(pk=delivery.shipment_id)
    return plans.filter(recalled_at__isnull=False).exists()


def _rest(began: float) -> None:
    """Where one writer locks out all others, as on SQLite, let others have their turn."""
    if not connections[primary()].features.has_select_for_update:
        sleep(min(monotonic() - began, LONGEST_REST))


def _wait_for(delivery: Delivery, moment: datetime) -> None:
    """Its turn came, and nobody has begun to hand it over."""
    unmoved = Delivery.objects.using(primary()).filter(pk=delivery.pk, revision=delivery.revision)
    unmoved.update(due_at=moment, claimed_until=None)
