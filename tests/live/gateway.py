"""The simulator at a gateway's pace, so that a kill finds messages on their way."""

from time import sleep
from typing import Any

from instant_notifications.gateways import Message, Receipt
from instant_notifications.simulator.gateway import SimulatorGateway


class PacedGateway(SimulatorGateway):
    """It pauses before and after it has taken a message, and its acceptance is the last word."""

    reports_receipts = False

    def __init__(self, alias: str, *, pause: float, **options: Any) -> None:
        super().__init__(alias, **options)
        self.pause = pause

    def send(self, message: Message) -> Receipt:
        sleep(self.pause)
        receipt = super().send(message)
        sleep(self.pause)
        return receipt
