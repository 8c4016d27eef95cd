"""An upstream that has taken our messages, and what its feed says of them."""

import json
from collections.abc import Mapping
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

from benchmarks.messages import UPSTREAM
from instant_notifications.models import Delivery

_WORDS: Final = (*["SMS_Delivered"] * 9, "SMS_Failed_Undelivered")


def write_feed(path: str) -> None:
    """An entry in each line for each message that it has taken, in the order of their making."""
    taken = Delivery.objects.filter(gateway=UPSTREAM).order_by("created_at", "pk")
    rows = taken.values_list("gateway_reference", "pk", "expires_at")
    with Path(path).open("w") as file:
        for number, word, row in zip(count(1), cycle(_WORDS), rows.iterator()):
            file.write(json.dumps(_entry(number, word, *row), separators=(",", ":")) + "\n")


def _entry(number: int, word: str, shipment: str, ours: object, at: Any) -> Mapping[str, Any]:
    time = at.isoformat().replace("+00:00", "Z")
    recipient = {"type": "SMS", "destination": "+4799999999", "status": word, "lastUpdate": time}
    return {
        "sequenceNumber": number,
        "shipmentType": "Instant",
        "shipmentId": shipment,
        "sendersReference": str(ours),
        "type": "Instant",
        "status": "Order_Completed",
        "lastUpdate": time,
        "recipients": [recipient],
    }
