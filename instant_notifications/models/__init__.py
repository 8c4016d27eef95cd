"""The rows behind a message, from the order that asked for it to the feed that reports it."""

from instant_notifications.models.databases import primary, release_pooled_connection
from instant_notifications.models.feed import FeedEntry, Organisation
from instant_notifications.models.figures import Figures
from instant_notifications.models.gateways import FeedCursor, GatewayState
from instant_notifications.models.identifiers import uuid7
from instant_notifications.models.interventions import Intervention
from instant_notifications.models.orders import (
    Delivery,
    DeliveryQuerySet,
    IdempotencyRecord,
    Order,
    Shipment,
    StatusEvent,
)
from instant_notifications.models.receipts import UnmatchedReceipt

__all__ = [
    "Delivery",
    "DeliveryQuerySet",
    "FeedCursor",
    "FeedEntry",
    "Figures",
    "GatewayState",
    "IdempotencyRecord",
    "Intervention",
    "Order",
    "Organisation",
    "Shipment",
    "StatusEvent",
    "UnmatchedReceipt",
    "primary",
    "release_pooled_connection",
    "uuid7",
]
