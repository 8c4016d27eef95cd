"""Regular orders by hand: the same rows in the same transactions, encrypted the same way, and the
same calls of the gateway.

Nothing else: no rules, no condition, no contacts, no claims, no fence, no failures told apart.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Subquery
from django.utils import timezone

from instant_notifications import privacy
from instant_notifications.gateways import BaseGateway, Message, Receipt, gateways
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Notice,
    Order,
    Organisation,
    Plan,
    Shipment,
    StatusEvent,
    uuid7,
)
from instant_notifications.statuses import (
    Cause,
    Channel,
    Ended,
    Handover,
    OrderStatus,
    ShipmentType,
)

CREATOR: Final = "floor"
ROWS_AT_ONCE: Final = 500
CHUNK: Final = 20
LIFE: Final = timedelta(hours=48)
LEASE: Final = timedelta(seconds=20)
FAR: Final = timedelta(days=300)
"""What is placed by hand falls due so far ahead that nobody else works it off."""


def place(numbers: Sequence[str], body: str) -> None:
    with transaction.atomic():
        order = Order.objects.create(creator=CREATOR)
        IdempotencyRecord.objects.create(
            creator=CREATOR, scope="order", key=str(uuid7()), order=order, fingerprint="f" * 64
        )
        content = json.dumps({"sms": {"body": body, "sender": "Altinn", "daytime": False}})
        requested_at = timezone.now() + FAR
        notice = Notice.objects.create(
            order=order, place=0, requested_at=requested_at, content=content
        )
        for begin in range(0, len(numbers), ROWS_AT_ONCE):
            plans = [_plan(notice, number) for number in numbers[begin : begin + ROWS_AT_ONCE]]
            Shipment.objects.bulk_create([each.shipment for each in plans])
            Plan.objects.bulk_create(plans)


def _plan(notice: Notice, number: str) -> Plan:
    shipment = Shipment(order=notice.order, creator=CREATOR, type=ShipmentType.NOTIFICATION)
    return Plan(
        shipment=shipment,
        notice=notice,
        recipient=json.dumps({"number": number}),
        recipient_digest=privacy.digest(number),
        due_at=notice.requested_at,
    )


def work_off() -> int:
    """Send to so many that are due; returns how many."""
    waiting = Plan.objects.filter(due_at__gt=timezone.now() + FAR / 2)
    plans = list(waiting.select_related("shipment", "notice").order_by("due_at")[:CHUNK])
    deliveries = [_delivery(each) for each in plans]
    with transaction.atomic():
        Plan.objects.filter(pk__in=[each.pk for each in plans]).update(
            ended=Ended.PLANNED, ended_at=timezone.now(), due_at=None, recipient=None
        )
        Delivery.objects.bulk_create(deliveries)
    for delivery in deliveries:
        _begin(delivery)
        gateway = gateways[settings.INSTANT_NOTIFICATIONS["ROUTES"]["sms"][0]]
        _record(delivery, gateway, gateway.hand_over(_message(delivery)))
    return len(deliveries)


def _delivery(plan: Plan) -> Delivery:
    number = json.loads(plan.recipient or "")["number"]
    now = timezone.now()
    return Delivery(
        shipment=plan.shipment,
        channel=Channel.SMS,
        destination=number,
        destination_digest=privacy.digest(number),
        content=json.dumps(json.loads(plan.notice.content or "")["sms"]),
        segments=1,
        status="SMS_New",
        handover=Handover.OPEN,
        due_at=now,
        expires_at=now + LIFE,
    )


def _begin(delivery: Delivery) -> None:
    now = timezone.now()
    with transaction.atomic():
        Delivery.objects.filter(pk=delivery.pk).update(
            status="SMS_Sending",
            handover=Handover.UNDER_WAY,
            attempts=1,
            lease_until=now + LEASE,
            due_at=None,
            updated_at=now,
        )
        _note(delivery, "SMS_New", "SMS_Sending")


def _message(delivery: Delivery) -> Message:
    content = json.loads(delivery.content or "")
    return Message(
        reference=str(delivery.pk),
        channel=Channel.SMS,
        destination=delivery.destination or "",
        body=content["body"],
        sender=content["sender"],
        subject="",
        content_type="Plain",
        time_to_live=int(LIFE.total_seconds()),
        attempt=1,
        timeout=10.0,
    )


def _record(delivery: Delivery, gateway: BaseGateway, receipt: Receipt) -> None:
    now, is_last = timezone.now(), not gateway.reports_receipts
    with transaction.atomic():
        Delivery.objects.filter(pk=delivery.pk).update(
            status="SMS_Accepted",
            handover=Handover.TAKEN,
            lease_until=None,
            gateway=gateway.alias,
            gateway_reference=receipt.gateway_reference,
            completed_at=now if is_last else None,
            updated_at=now,
        )
        _note(delivery, "SMS_Sending", "SMS_Accepted")
        if is_last:
            _tell(delivery.shipment_id, delivery.pk)


def _note(delivery: Delivery, old: str, new: str) -> None:
    StatusEvent.objects.create(
        delivery=delivery, from_status=old, to_status=new, cause=Cause.HANDOVER, attempt=1
    )


def _tell(shipment: UUID, delivery: UUID) -> None:
    counter = Organisation.objects.filter(name=CREATOR)
    if not counter.update(last_sequence_number=F("last_sequence_number") + 1):
        Organisation.objects.create(name=CREATOR, last_sequence_number=1)
    now = timezone.now()
    recipient = {"delivery": str(delivery), "channel": "sms", "status": "SMS_Accepted"}
    FeedEntry.objects.create(
        creator=CREATOR,
        sequence_number=Subquery(counter.values("last_sequence_number")),
        shipment_id=shipment,
        delivery_id=delivery,
        revision=2,
        status=OrderStatus.COMPLETED,
        at=now,
        recipients=[{**recipient, "at": now.isoformat()}],
    )
