"""Our way to the stub gateway: what a provider's file looks like at its smallest."""

from typing import Any

from instant_notifications.exceptions import Rejected
from instant_notifications.gateways import BaseGateway, Message, Receipt
from instant_notifications.statuses import Channel


class BenchmarkGateway(BaseGateway):
    """``OPTIONS``: ``url``, where the stub listens.

    Its acceptance is the last word, so that each message also makes its feed entry, as the floor's
    does.
    """

    channels = frozenset(Channel)
    reports_receipts = False

    def __init__(self, alias: str, *, url: str, **options: Any) -> None:
        super().__init__(alias, **options)
        self.url = url

    def send(self, message: Message) -> Receipt:
        order = {
            "reference": message.reference,
            "to": message.destination,
            "from": message.sender,
            "text": message.body,
        }
        answer = self.request("POST", self.url, json=order, timeout=message.timeout)
        if answer.status_code != 200:
            raise Rejected(f"HTTP {answer.status_code}")
        return Receipt(gateway_reference=answer.json()["id"], word="OK")


class AtOnceGateway(BaseGateway):
    """It takes everything and tells nobody; its acceptance is the last word as well."""

    channels = frozenset(Channel)
    reports_receipts = False

    def send(self, message: Message) -> Receipt:
        return Receipt(gateway_reference=message.reference, word="OK")
