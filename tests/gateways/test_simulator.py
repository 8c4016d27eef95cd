import base64
import json
from dataclasses import replace
from typing import Final

import pytest
from django.http import HttpRequest

from instant_notifications.gateways import Message, Receipt
from instant_notifications.simulator.gateway import SimulatorGateway
from instant_notifications.simulator.models import SimulatedMessage
from instant_notifications.statuses import Channel
from instant_notifications.testing import GatewayContract, PushedReceipts, a_push

SMS: Final = Message(
    reference="0190-sms", channel=Channel.SMS, destination="+4799999999", body="Your code is 428516"
)
EMAIL: Final = Message(
    reference="0190-email",
    channel=Channel.EMAIL,
    destination="kari@example.com",
    subject="Your code",
    body="It is 428516",
)


def to(message: Message, digits: str, tag: str) -> Message:
    sms = message.channel is Channel.SMS
    return replace(message, destination=f"+479999{digits}" if sms else f"kari+{tag}@example.com")


@pytest.mark.django_db
class TestSimulatorGateway(PushedReceipts, GatewayContract):
    gateway_class = SimulatorGateway
    options = {"deliver_after": None, "receipts_password": "insecure"}
    messages = {Channel.SMS: SMS, Channel.EMAIL: EMAIL}

    receipts = (
        Receipt(gateway_reference="sim-1", status="SMS_Delivered", word="delivered"),
        Receipt(gateway_reference="sim-2", status="Email_Failed_Bounced", word="bounced"),
        Receipt(gateway_reference="sim-3", status="SMS_Failed", word="lost", part="2", parts=3),
    )

    def push(self, *receipts: Receipt) -> HttpRequest:
        pushed = [
            {
                "reference": receipt.gateway_reference,
                "status": receipt.status,
                "word": receipt.word,
                "part": receipt.part,
                "parts": receipt.parts,
            }
            for receipt in receipts
        ]
        credentials = base64.b64encode(b"simulator:insecure").decode()
        return a_push(
            json.dumps(pushed if len(pushed) > 1 else pushed[0]).encode(),
            headers={"Authorization": f"Basic {credentials}"},
        )

    def when_accepting(self, message: Message) -> Message:
        return message

    def when_refusing(self, message: Message) -> Message:
        return to(message, "0001", "reject")

    def when_unreachable(self, message: Message) -> Message:
        return to(message, "0002", "down")

    def when_silent(self, message: Message) -> Message:
        return to(message, "0010", "slow")

    def test_what_is_out_of_reach_never_arrives(self, message: Message) -> None:
        self.failure_of(self.when_unreachable(message))
        assert not SimulatedMessage.objects.exists()

    def test_what_is_accepted_arrives_as_it_was_given(self, message: Message) -> None:
        self.make_gateway().hand_over(message)
        arrived = SimulatedMessage.objects.get()
        assert (arrived.destination, arrived.body) == (message.destination, message.body)
        assert arrived.reference == message.reference
