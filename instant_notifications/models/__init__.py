"""The rows behind a message, from the order that asked for it to the feed that reports it."""

from instant_notifications.models.contacts import ContactEntry
from instant_notifications.models.databases import (
    can_skip_locked,
    primary,
    refuse_open_transaction,
    release_pooled_connection,
)
from instant_notifications.models.feed import FeedEntry, Organisation
from instant_notifications.models.figures import Figures
from instant_notifications.models.gateways import FeedCursor, GatewayState
from instant_notifications.models.guard import Allowance, Hold, ListEntry, Refusals, VerifiedShare
from instant_notifications.models.identifiers import uuid7
from instant_notifications.models.interventions import Intervention
from instant_notifications.models.orders import (
    Delivery,
    IdempotencyRecord,
    Order,
    Shipment,
    StatusEvent,
)
from instant_notifications.models.planning import Notice, Plan
from instant_notifications.models.receipts import UnmatchedReceipt
from instant_notifications.models.statements import find, insert, insert_for_each, update

__all__ = [
    "Allowance",
    "ContactEntry",
    "Delivery",
    "FeedCursor",
    "FeedEntry",
    "Figures",
    "GatewayState",
    "Hold",
    "IdempotencyRecord",
    "Intervention",
    "ListEntry",
    "Notice",
    "Order",
    "Organisation",
    "Plan",
    "Refusals",
    "Shipment",
    "StatusEvent",
    "UnmatchedReceipt",
    "VerifiedShare",
    "can_skip_locked",
    "find",
    "insert",
    "insert_for_each",
    "primary",
    "refuse_open_transaction",
    "release_pooled_connection",
    "update",
    "uuid7",
]
