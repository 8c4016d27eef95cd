"""A gateway that does what a test tells it, and remembers what it was given."""

from collections.abc import Callable
from typing import Any, ClassVar

from instant_notifications.gateways import BaseGateway, Message, Receipt
from instant_notifications.statuses import Channel


def take(message: Message) -> Receipt:
    return Receipt(gateway_reference=f"stub-{message.reference}", word="OK")


class StubGateway(BaseGateway):
    channels = frozenset(Channel)
    seen: ClassVar[list[Message]] = []
    do: ClassVar[Callable[[Message], Receipt]] = take

    def __init__(
        self,
        alias: str,
        *,
        deduplicates: bool = False,
        reports_receipts: bool = True,
        time_to_live_unit: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(alias, **options)
        self.deduplicates = deduplicates
        self.reports_receipts = reports_receipts
        self.time_to_live_unit = time_to_live_unit

    def send(self, message: Message) -> Receipt:
        self.seen.append(message)
        return type(self).do(message)


class SecondGateway(StubGateway):
    """Another one, for failover."""

    seen: ClassVar[list[Message]] = []
    do: ClassVar[Callable[[Message], Receipt]] = take
