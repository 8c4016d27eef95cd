"""The routes of regular orders: place one, see how it stands, call it off."""

from functools import partial
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from instant_notifications import guard, orders, rules
from instant_notifications.api.authentication import creator_of
from instant_notifications.api.order_requests import NotificationOrder
from instant_notifications.api.problems import InvalidRequest
from instant_notifications.api.views import ContractView, id_of, manifest_body, shipment_body
from instant_notifications.api.wire import json_time
from instant_notifications.exceptions import NotFound


class OrdersView(ContractView):
    """Place an order that is worked off in the background."""

    def post(self, request: Request) -> Response:
        draft = _draft(request)
        guard.admit_send(draft.creator, unless=partial(orders.is_known_order, draft))
        placed = orders.place(draft)
        path = self.path_of("order", order_id=placed.order_id)
        return self.answer_to_order(placed, _placed_body(placed), path)


class OrderView(ContractView):
    """How an order stands, with all its shipments."""

    def get(self, request: Request, order_id: str) -> Response:
        chain = orders.read_order(creator_of(request), id_of(order_id))
        if chain is None:
            raise NotFound
        return Response(_chain_body(chain))


class CancelOrderView(ContractView):
    """Call off what has not been handed over, reminders included. A body is not looked at."""

    def put(self, request: Request, order_id: str) -> Response:
        return Response(_chain_body(orders.cancel_order(creator_of(request), id_of(order_id))))


class CancelShipmentView(ContractView):
    """The same for one shipment of an order."""

    def put(self, request: Request, shipment_id: str) -> Response:
        report = orders.cancel_shipment(creator_of(request), id_of(shipment_id))
        return Response(manifest_body(report))


def _draft(request: Request) -> orders.OrderDraft:
    """What is asked for. Times that have passed are no hindrance to a repeat of what was placed."""
    asked, creator = NotificationOrder(data=request.data), creator_of(request)
    try:
        return asked.draft(creator)
    except InvalidRequest as refusal:
        if {message for said in refusal.errors.values() for message in said} != {rules.PAST}:
            raise
        draft = NotificationOrder(data=request.data).draft(creator, is_repeat=True)
        if not orders.is_known_order(draft):
            raise
        return draft


def _placed_body(placed: orders.Placed) -> dict[str, Any]:
    notification: dict[str, Any] = shipment_body(placed.notification)
    if placed.reminders:
        notification["reminders"] = [shipment_body(each) for each in placed.reminders]
    return {"notificationOrderId": str(placed.order_id), "notification": notification}


def _chain_body(chain: orders.Chain) -> dict[str, Any]:
    """Several recipients, which only an order placed from Python has, are told one by one."""
    order, (first, *others) = chain.order, chain.notifications
    body = {"notificationOrderId": str(order.pk), "created": json_time(order.created_at)}
    return {
        **body,
        **({"dialogportenAssociation": order.dialog} if order.dialog else {}),
        "notification": _planned_body(first),
        **({"notifications": list(map(_planned_body, chain.notifications))} if others else {}),
        **({"reminders": list(map(_planned_body, chain.reminders))} if chain.reminders else {}),
    }


def _planned_body(planned: orders.Planned) -> dict[str, Any]:
    return {**manifest_body(planned.report), "requestedSendTime": json_time(planned.requested_at)}
