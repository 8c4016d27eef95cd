"""The public Python API: send one message now, or many later; step in where one has gone astray.

The HTTP API, the commands and the console come through here too. ``docs/delivery.md`` tells what
is promised.
"""

from instant_notifications.feed import read_manifest
from instant_notifications.orders.chains import (
    Chain,
    Planned,
    cancel_order,
    cancel_shipment,
    read_order,
)
from instant_notifications.orders.instant import (
    DEFAULT_TIME_TO_LIVE,
    Draft,
    Sent,
    email_draft,
    send,
    send_email,
    send_sms,
    sms_draft,
)
from instant_notifications.orders.interventions import (
    Revealed,
    cancel,
    expire,
    match,
    resend,
    reveal,
)
from instant_notifications.orders.placing import (
    NoticeDraft,
    OrderDraft,
    Placed,
    PlacedShipment,
    is_known_order,
    place,
)
from instant_notifications.orders.regular import Email, Reminder, Sms, place_order

__all__ = [
    "DEFAULT_TIME_TO_LIVE",
    "Chain",
    "Draft",
    "Email",
    "NoticeDraft",
    "OrderDraft",
    "Placed",
    "PlacedShipment",
    "Planned",
    "Reminder",
    "Revealed",
    "Sent",
    "Sms",
    "cancel",
    "cancel_order",
    "cancel_shipment",
    "email_draft",
    "expire",
    "is_known_order",
    "match",
    "place",
    "place_order",
    "read_manifest",
    "read_order",
    "resend",
    "reveal",
    "send",
    "send_email",
    "send_sms",
    "sms_draft",
]
