"""What the OpenAPI document says about regular orders, where drf-spectacular is installed."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from instant_notifications.api import order_requests, orders
from instant_notifications.api.openapi import (
    BODY_ANSWERS,
    CHALLENGE,
    COMMON_ANSWERS,
    INVALID,
    NOT_YOURS,
    TOO_MANY,
    Answers,
    NotificationAnswer,
    ShipmentAnswer,
    extend,
    header,
    id_in_path,
    problem,
)

TAGS: Final = ["Regular orders"]


class PlacedNotificationAnswer(NotificationAnswer):
    reminders = NotificationAnswer(many=True, required=False)


class OrderAnswer(serializers.Serializer[Any]):
    notificationOrderId = serializers.UUIDField()  # noqa: N815
    notification = PlacedNotificationAnswer()


class PlannedShipmentAnswer(ShipmentAnswer):
    requestedSendTime = serializers.DateTimeField()  # noqa: N815


class DialogportenAnswer(serializers.Serializer[Any]):
    dialogId = serializers.CharField(required=False)  # noqa: N815
    transmissionId = serializers.CharField(required=False)  # noqa: N815


class OrderChainAnswer(serializers.Serializer[Any]):
    notificationOrderId = serializers.UUIDField()  # noqa: N815
    created = serializers.DateTimeField()
    dialogportenAssociation = DialogportenAnswer(required=False)  # noqa: N815
    notification = PlannedShipmentAnswer()
    notifications = PlannedShipmentAnswer(
        many=True,
        required=False,
        help_text="Of an order with several recipients: one for each, the first 500 of them.",
    )
    reminders = PlannedShipmentAnswer(many=True, required=False)


PLACE_ANSWERS: Final[Answers] = {
    201: OpenApiResponse(OrderAnswer, "It is registered, and will be worked off."),
    200: OpenApiResponse(OrderAnswer, "It was registered before; nothing is new."),
    **INVALID,
    **COMMON_ANSWERS,
    **BODY_ANSWERS,
    **problem(
        422,
        "`NOT-00001`: nobody knows how to reach a recipient. `IN-00004`: the id was used before.",
    ),
    **TOO_MANY,
    **problem(503, "`NOT-00004`: certainly not registered. The id stays free."),
}
TOO_LATE: Final = problem(409, "`IN-00007`: everything is already under way.")

PLACE_HEADERS: Final = (
    header("Location", "The order's own address.", 200, 201),
    header("Idempotent-Replayed", "`true`: it was registered before.", 200),
    header("Idempotent-Payload-Mismatch", "`true`: the id was used with other content.", 200),
    header("Retry-After", "Seconds to wait before asking again.", 429, 503),
)

_SMS: Final = {"body": "Your tax return is ready.", "sendingTimePolicy": "Daytime"}
_EMAIL: Final = {
    "subject": "Your tax return",
    "body": "Dear $recipientName$, your tax return is ready.",
    "contentType": "Plain",
    "sendingTimePolicy": "Anytime",
}
EXAMPLES: Final = {
    "To a mailbox": {
        "idempotencyId": "tax-2026-0001",
        "sendersReference": "tax-2026",
        "recipient": {
            "recipientEmail": {"emailAddress": "kari@example.com", "emailSettings": _EMAIL}
        },
    },
    "To a phone, with a reminder": {
        "idempotencyId": "tax-2026-0002",
        "requestedSendTime": "2100-01-04T08:00:00Z",
        "recipient": {"recipientSms": {"phoneNumber": "+4799999999", "smsSettings": _SMS}},
        "reminders": [
            {
                "delayDays": 7,
                "recipient": {"recipientSms": {"phoneNumber": "+4799999999", "smsSettings": _SMS}},
            }
        ],
    },
    "To an organisation": {
        "idempotencyId": "tax-2026-0003",
        "conditionEndpoint": "https://tax.example.com/returns/0003/is-unread",
        "dialogportenAssociation": {"dialogId": "0190a6f8", "transmissionId": "0190a6f9"},
        "recipient": {
            "recipientOrganization": {
                "orgNumber": "123456789",
                "channelSchema": "EmailPreferred",
                "emailSettings": _EMAIL,
                "smsSettings": _SMS,
                "resourceId": "urn:altinn:resource:tax-return",
            }
        },
    },
}


def describe() -> None:
    """Add to each operation what its code does not say."""
    extend(
        orders.OrdersView,
        "post",
        operation_id="placeOrder",
        summary="Place an order that is worked off in the background",
        tags=TAGS,
        request=order_requests.NotificationOrder,
        parameters=[*PLACE_HEADERS, CHALLENGE],
        responses=PLACE_ANSWERS,
        examples=[
            OpenApiExample(name, value=value, request_only=True) for name, value in EXAMPLES.items()
        ],
    )
    extend(
        orders.OrderView,
        "get",
        operation_id="getOrder",
        summary="An order and how its shipments stand",
        tags=TAGS,
        parameters=[id_in_path("order_id"), CHALLENGE],
        responses={200: OrderChainAnswer, **COMMON_ANSWERS, **NOT_YOURS},
    )
    extend(
        orders.CancelOrderView,
        "put",
        operation_id="cancelOrder",
        summary="Call off what of an order has not been handed over, reminders included",
        tags=TAGS,
        request=None,
        parameters=[id_in_path("order_id"), CHALLENGE],
        responses={
            200: OpenApiResponse(OrderChainAnswer, "It is called off now, or was before."),
            **COMMON_ANSWERS,
            **NOT_YOURS,
            **TOO_LATE,
        },
    )
    extend(
        orders.CancelShipmentView,
        "put",
        operation_id="cancelShipment",
        summary="Call off one shipment of an order",
        tags=TAGS,
        request=None,
        parameters=[id_in_path("shipment_id"), CHALLENGE],
        responses={
            200: OpenApiResponse(ShipmentAnswer, "It is called off now, or was before."),
            **COMMON_ANSWERS,
            **NOT_YOURS,
            **TOO_LATE,
        },
    )
