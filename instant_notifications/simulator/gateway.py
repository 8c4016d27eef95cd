"""The simulated provider: takes messages into its inbox and reports on them later."""

import json
from collections.abc import Iterator
from datetime import timedelta
from time import sleep
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from instant_notifications.conf import settings
from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import (
    BaseGateway,
    Message,
    Receipt,
    UnreadableReceipts,
    has_basic_credentials,
)
from instant_notifications.simulator.behaviours import (
    REFUSAL,
    STATUSES,
    Answer,
    Behaviour,
    behaviour_of,
)
from instant_notifications.simulator.models import SimulatedMessage, SimulatedReceipt
from instant_notifications.simulator.postman import postman
from instant_notifications.statuses import STAGES, Channel


class SimulatorGateway(BaseGateway):
    """``OPTIONS``: ``deliver_after``, the seconds until a receipt.

    ``None`` sends receipts only when ``postman.deliver_due_receipts`` is called, as tests want it.
    ``receipts_password`` lets whoever knows it push receipts of their own as user ``simulator``;
    blank, the default, nobody.
    """

    channels = frozenset(Channel)

    def __init__(
        self,
        alias: str,
        *,
        deliver_after: float | None = 1.0,
        receipts_password: str = "",
        **options: Any,
    ) -> None:
        super().__init__(alias, **options)
        self.deliver_after = deliver_after
        self.receipts_password = receipts_password

    def send(self, message: Message) -> Receipt:
        behaviour = behaviour_of(message.destination)
        in_time = behaviour.pause < message.timeout
        sleep(min(behaviour.pause, message.timeout))
        match behaviour.answer:
            case Answer.REFUSED:
                raise Rejected("simulated refusal", status=REFUSAL[message.channel])
            case Answer.DOWN:
                raise Unavailable("simulated outage", only_this_message=True)
            case Answer.FLAKY if message.attempt == 1:
                raise Unavailable("simulated outage", only_this_message=True)
            case Answer.LOST:
                raise OutcomeUnknown("simulated time-out", only_this_message=True)
        taken = self._take(message, behaviour)
        if behaviour.answer is Answer.SILENT or not in_time:
            raise OutcomeUnknown("simulated time-out", only_this_message=True)
        return Receipt(gateway_reference=taken.gateway_reference, word="OK")

    def authenticates(self, request: HttpRequest) -> bool:
        return has_basic_credentials(request, "simulator", self.receipts_password)

    def read_receipts(self, request: HttpRequest) -> Iterator[Receipt]:
        """``{"reference", "status", "word", "part", "parts"}``, all optional, or a list of such."""
        try:
            pushed = json.loads(request.body)
        except ValueError:
            raise UnreadableReceipts("not JSON") from None
        for each in pushed if isinstance(pushed, list) else [pushed]:
            if not isinstance(each, dict):
                raise UnreadableReceipts("not an object, nor a list of objects")
            status, parts = _text(each.get("status")), each.get("parts")
            yield Receipt(
                gateway_reference=_text(each.get("reference")),
                status=status if status in STAGES else None,
                word=_text(each.get("word")) or status,
                part=_text(each.get("part")),
                parts=parts if type(parts) is int else None,
            )

    def _take(self, message: Message, behaviour: Behaviour) -> SimulatedMessage:
        taken = SimulatedMessage(
            gateway=self.alias,
            reference=message.reference,
            channel=message.channel,
            destination=message.destination,
            sender=message.sender,
            subject=message.subject,
            body=message.body,
        )
        seconds = self.deliver_after or 0
        if behaviour.late:
            seconds += message.time_to_live + settings.EXPIRY_GRACE
        due_at = timezone.now() + timedelta(seconds=seconds)
        with transaction.atomic():
            taken.save(force_insert=True)
            SimulatedReceipt.objects.bulk_create(
                SimulatedReceipt(
                    message=taken,
                    status=STATUSES[message.channel][word],
                    word=word.value,
                    due_at=due_at,
                )
                for word in behaviour.receipts
            )
        if self.deliver_after is not None:
            postman.wake()
        return taken


def _text(value: Any) -> str:
    return "" if value is None else str(value)
