"""The public Python API: send one message now, and step in where one has gone astray.

The HTTP API, the commands and the console come through here too. ``docs/delivery.md`` tells what
is promised.
"""

from instant_notifications.orders.instant import (
    DEFAULT_TIME_TO_LIVE,
    Draft,
    Sent,
    email_draft,
    is_known,
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

__all__ = [
    "DEFAULT_TIME_TO_LIVE",
    "Draft",
    "Revealed",
    "Sent",
    "cancel",
    "email_draft",
    "expire",
    "is_known",
    "match",
    "resend",
    "reveal",
    "send",
    "send_email",
    "send_sms",
    "sms_draft",
]
