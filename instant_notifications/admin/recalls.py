"""Cancelling what a regular order has not sent yet: some of its shipments, or all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from instant_notifications import feed, orders
from instant_notifications.charts.waiting import Count, bounded
from instant_notifications.exceptions import NotAllowed, TooLate
from instant_notifications.models import Delivery, Plan, Shipment, primary
from instant_notifications.orders.verdicts import May, Verdict
from instant_notifications.statuses import Ended, Handover, OrderStatus, ShipmentType

MOST_COUNTED: Final = 1000

SHIPMENT: Final = "shipment"
WHOLE_ORDER: Final = "whole_order_of"
"""How forms name what is to be cancelled: either by a shipment of it."""

_WAITS: Final = Verdict(May.YES, _("It waits, and then will never be sent."))
_IS_UNSENT: Final = Verdict(
    May.YES, _("What was not sent yet never will be. What has left, nobody can call back.")
)
_IS_CANCELLED: Final = Verdict(May.NO, _("It is cancelled already."))
_HAS_ENDED: Final = Verdict(May.NO, _("It has come to its end."))
_HAS_LEFT: Final = Verdict(
    May.NO, _("It has left, or is about to, or may have: nobody can call it back.")
)

_OF_ORDER: Final = _(
    "Shipments that wait: {waiting}. Messages that are not sent yet: {unsent}. None of them will "
    "be sent. What has left, nobody can call back."
)
_DONE: Final = _("Cancelled: it will not be sent.")
_DONE_IN_PART: Final = _("Cancelled: what had not left will not be sent.")
_DONE_BEFORE: Final = _("It was cancelled already.")
_TOO_LATE: Final = _("Too late: nothing is left that could be cancelled.")


@dataclass(frozen=True, slots=True)
class Recall:
    """What a person may want to cancel, and what would come of it."""

    field: str
    shipment: Shipment
    status: str
    verdict: Verdict

    needs_certainty: ClassVar = False
    recipient: ClassVar = ""

    @property
    def shipment_id(self) -> UUID:
        return self.shipment.pk

    @property
    def token(self) -> str:
        return str(self.shipment.pk)

    @property
    def is_of_order(self) -> bool:
        return self.field == WHOLE_ORDER

    @property
    def may_be_done(self) -> bool:
        return self.verdict.may is May.YES

    @property
    def logged(self) -> str:
        return f" the whole order {self.shipment.order_id}" if self.is_of_order else ""

    @property
    def is_done_already(self) -> bool:
        return self.verdict is _IS_CANCELLED

    def carry_out(self, by: str, because: str) -> Promise:
        """Returns what came of it. Raises ``NotAllowed`` or ``NotFound``."""
        if self.is_done_already:
            return _DONE_BEFORE
        creator = self.shipment.creator
        try:
            if self.is_of_order:
                orders.cancel_order(creator, self.shipment.order_id, by=by, because=because)
                return _DONE_IN_PART
            report = orders.cancel_shipment(creator, self.shipment.pk, by=by, because=because)
        except TooLate:
            raise NotAllowed(_TOO_LATE) from None
        return _DONE if report.status == OrderStatus.CANCELLED else _DONE_IN_PART


def of_shipments(shipment_ids: Sequence[UUID]) -> Sequence[Recall]:
    """Of those among these that belong to regular orders."""
    now = timezone.now()
    return [
        Recall(SHIPMENT, each, feed.status_of(each, each.deliveries.all(), now), _judge(each))
        for each in _regular(shipment_ids)
    ]


def of_whole_orders(shipment_ids: Sequence[UUID]) -> Sequence[Recall]:
    """Of the orders that these belong to."""
    return [Recall(WHOLE_ORDER, each, "", _judge_order(each)) for each in _regular(shipment_ids)]


def is_alone(shipment: Shipment) -> bool:
    """Whether its order has no other."""
    others = Shipment.objects.using(primary()).filter(order=shipment.order_id)
    return not others.exclude(pk=shipment.pk).exists()


def _regular(shipment_ids: Sequence[UUID]) -> QuerySet[Shipment]:
    deliveries = Delivery.objects.using(primary()).without_secrets()
    shipments = Shipment.objects.using(primary()).filter(pk__in=shipment_ids)
    planned = feed.with_plan(shipments.exclude(type=ShipmentType.INSTANT)).filter(
        plan__isnull=False
    )
    return planned.prefetch_related(Prefetch("deliveries", deliveries)).order_by("pk")


def _judge(shipment: Shipment) -> Verdict:
    deliveries, ended = shipment.deliveries.all(), shipment.plan.ended
    if ended == Ended.CANCELLED:
        return _IS_CANCELLED
    if not ended:
        return _WAITS
    if any(each.unsent for each in deliveries):
        return _IS_UNSENT
    has_ended = all(each.completed_at for each in deliveries)
    return _HAS_ENDED if has_ended else _HAS_LEFT


def _judge_order(shipment: Shipment) -> Verdict:
    plans = Plan.objects.using(primary()).filter(shipment__order=shipment.order_id)
    deliveries = Delivery.objects.using(primary()).filter(shipment__order=shipment.order_id)
    waiting = bounded(plans.filter(ended=""), MOST_COUNTED)
    unsent = bounded(
        deliveries.filter(handover=Handover.OPEN, completed_at__isnull=True), MOST_COUNTED
    )
    if waiting.number or unsent.number:
        counted = {"waiting": _written(waiting), "unsent": _written(unsent)}
        return Verdict(May.YES, format_lazy(_OF_ORDER, **counted))
    return _IS_CANCELLED if plans.filter(ended=Ended.CANCELLED).exists() else _HAS_LEFT


def _written(count: Count) -> str:
    return f"{count.number}{'+' if count.and_more else ''}"
