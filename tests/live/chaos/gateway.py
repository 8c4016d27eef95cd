"""A gateway over HTTP, to a provider in another process that keeps account of what it takes."""

import json
from collections.abc import Iterator
from typing import Any, Final

from django.http import HttpRequest

from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import BaseGateway, Message, Receipt, has_basic_credentials
from instant_notifications.statuses import Channel

USER: Final = "provider"
PASSWORD: Final = "only-for-a-campaign"


class ProviderGateway(BaseGateway):
    channels = frozenset({Channel.SMS})

    def __init__(self, alias: str, *, url: str, **options: Any) -> None:
        super().__init__(alias, **options)
        self.url = url

    def send(self, message: Message) -> Receipt:
        said = {"reference": message.reference, "to": message.destination, "text": message.body}
        answer = self.request("POST", self.url, json=said, timeout=message.timeout)
        if answer.status_code == 503:
            raise Unavailable("busy")
        if answer.status_code == 422:
            raise Rejected("no such number", status="SMS_Failed_InvalidRecipient")
        if not answer.ok:
            raise OutcomeUnknown("no usable answer")
        return Receipt(gateway_reference=answer.json()["id"], word="OK")

    def authenticates(self, request: HttpRequest) -> bool:
        return has_basic_credentials(request, USER, PASSWORD)

    def read_receipts(self, request: HttpRequest) -> Iterator[Receipt]:
        said = json.loads(request.body)
        yield Receipt(
            gateway_reference=said["id"], reference=said["reference"], status=said["status"]
        )
