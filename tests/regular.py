"""Regular orders for tests: somebody to reach, an order, and its steps one by one or all at once.

Within a test's transaction nothing is committed, so nothing begins by itself.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from instant_notifications import feed, planning, recipients, tasks
from instant_notifications.contacts import local
from instant_notifications.models import ContactEntry, Delivery, FeedEntry, Plan
from instant_notifications.orders import Email, Placed, Sms, place_order
from instant_notifications.recipients import Recipient

NUMBER = "+4799999999"
ADDRESS = "kari@example.com"
PHONE = recipients.phone(NUMBER)
MAILBOX = recipients.mailbox(ADDRESS)
PERSON = recipients.person("01010112345")
COMPANY = recipients.organisation("987654321", "EmailAndSms")
SMS = Sms("Your tax return is ready", daytime=False)
DAYTIME = Sms("Your tax return is ready")
EMAIL = Email("Tax return", "It is ready")

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
PAUSES = [MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, 30 * MINUTE]
LIFETIME = 48 * HOUR


def phones(number: int) -> Sequence[Recipient]:
    """So many different ones."""
    return [recipients.phone(f"+479{each:07}") for each in range(1000000, 1000000 + number)]


def order(to: Any = PHONE, **changes: Any) -> Placed:
    """A good order with texts for both channels, which may be sent at night."""
    return place_order(to, **{"sms": SMS, "email": EMAIL} | changes)


def keep_contact(
    whom: Recipient = PERSON,
    *,
    phones: Sequence[str] = (),
    emails: Sequence[str] = (),
    name: str = "",
    reserved: bool = False,
    confirmed_at: datetime | None = None,
) -> None:
    entry = ContactEntry(
        kind=whom.kind,
        number=whom.identity,
        name=name,
        phone_numbers=list(phones),
        email_addresses=list(emails),
        reserved=reserved,
        **({"confirmed_at": confirmed_at} if confirmed_at else {}),
    )
    local.keep([entry])


def shipments(placed: Placed) -> Sequence[UUID]:
    return list(
        Plan.objects.filter(notice__order=placed.order_id)
        .order_by("notice__place", "pk")
        .values_list("pk", flat=True)
    )


def planned(placed: Placed) -> Sequence[UUID]:
    """Its deliveries that are to be handed over now."""
    return planning.plan(shipments(placed))


def sent(placed: Placed) -> Sequence[Delivery]:
    """All that is due of it handed over."""
    planning.hand_over(planned(placed))
    return deliveries(placed)


def deliveries(placed: Placed) -> Sequence[Delivery]:
    return list(
        Delivery.objects.filter(shipment__order=placed.order_id)
        .select_related("shipment")
        .order_by("shipment", "pk")
    )


def forget_claims() -> None:
    """No queue knows of anything any more, as after the leases."""
    for model in (Plan, Delivery):
        model.objects.update(claimed_until=None)


def work_off() -> None:
    """Everything that is due now, as ``process_due_orders`` does it where there is no engine."""
    forget_claims()
    sweep()


def sweep() -> None:
    while any(tasks.sweep(lambda: False)):
        pass


def standing(shipment_id: UUID, creator: str = "local") -> tuple[str, list[str]]:
    """Order status and the recipients' status words, as the manifest tells them."""
    report = feed.read_manifest(creator, shipment_id)
    assert report is not None
    return report.status, [each.status for each in report.recipients]


def told(creator: str = "local") -> list[tuple[UUID, str, list[str]]]:
    """The feed: of which shipment, order status, the recipients' words. Its numbers are dense."""
    entries = list(FeedEntry.objects.filter(creator=creator).order_by("sequence_number"))
    assert [each.sequence_number for each in entries] == list(range(1, len(entries) + 1))
    return [
        (each.shipment_id, each.status, [one["status"] for one in each.recipients])
        for each in entries
    ]
