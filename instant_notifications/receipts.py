"""What gateways say later: find the message, keep what comes too early, let ``record`` write it."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from instant_notifications import telemetry
from instant_notifications.gateways import Receipt
from instant_notifications.history import Change, storable
from instant_notifications.models import Delivery, StatusEvent, UnmatchedReceipt, primary
from instant_notifications.models.orders import PART_LENGTH
from instant_notifications.record import record_all, record_status
from instant_notifications.statuses import (
    STAGES,
    Cause,
    Handover,
    Outcome,
    is_word_of,
    may_be_reported,
)

_PARTS: Final = range(1, 256)
"""So many parts can the header of a long SMS count (3GPP TS 23.040 §9.2.3.24.1)."""


def record_receipt(gateway: str, receipt: Receipt) -> Delivery | None:
    """Write a gateway's later word down; ``None`` if it belongs to no delivery we know.

    Such a receipt is kept, and written down when the hand-over it has overtaken is.
    """
    with telemetry.span("receipt", gateway=gateway) as told:
        delivery = _record(gateway, receipt)
        if delivery:
            told.tell(delivery=delivery.pk, shipment=delivery.shipment_id, outcome=delivery.status)
    telemetry.RECEIPTS.add(gateway=gateway, result="matched" if delivery else "unmatched")
    return delivery


def _record(gateway: str, receipt: Receipt) -> Delivery | None:
    delivery = _find(gateway, receipt)
    if delivery is None:
        return _keep(gateway, receipt)
    return record_status(delivery, _change_for(delivery.channel, gateway, receipt))


def match_kept_receipts(delivery: Delivery) -> Delivery:
    """Write down the receipts that came before the hand-over's record; to be called after it.

    After its commit, and a receipt is looked up again after it has been kept: so whichever comes
    second finds the other.
    """
    kept_ones = UnmatchedReceipt.objects.using(primary()).filter(
        gateway=delivery.gateway, gateway_reference=delivery.gateway_reference
    )
    for kept in kept_ones.order_by("pk"):
        delivery = match_kept(kept) or delivery
    return delivery


def match_kept(kept: UnmatchedReceipt) -> Delivery | None:
    """Write a kept receipt down, if it is known by now what it belongs to."""
    delivery = _find(kept.gateway, _as_it_came(kept))
    if delivery is None:
        return None
    with transaction.atomic(using=primary()):
        return match_with(kept, delivery)


def match_with(kept: UnmatchedReceipt, delivery: Delivery) -> Delivery:
    """Write a kept receipt down as this delivery's, in the caller's transaction."""
    kept.delete(using=primary())
    return record_status(delivery, _change_for(delivery.channel, kept.gateway, _as_it_came(kept)))


def record_receipts(gateway: str, said: Sequence[Receipt]) -> int:
    """Write many down at once, in the caller's transaction; how many belong to messages we know.

    The others are kept. A hand-over that is recorded meanwhile is matched with them by the sweep.
    """
    found = find_all(gateway, said)
    record_all(
        [
            (delivery.id, _change_for(delivery.channel, gateway, each))
            for delivery, each in zip(found, said, strict=True)
            if delivery
        ]
    )
    unknown = [each for delivery, each in zip(found, said, strict=True) if not delivery]
    keep_aside(gateway, unknown)
    return len(said) - len(unknown)


class Found(NamedTuple):
    """As much of a delivery as it takes to read a receipt."""

    id: UUID
    channel: str


def find_all(gateway: str, said: Sequence[Receipt]) -> Sequence[Found | None]:
    """The delivery of each, in the same order: by the gateway's reference, then by ours."""
    references = [storable(each.gateway_reference) for each in said]
    rows = Delivery.objects.using(primary())
    theirs = rows.filter(gateway=gateway, gateway_reference__in={*references} - {""})
    named = theirs.order_by("-pk").values_list("gateway_reference", *Found._fields)
    by_reference = {reference: Found(*columns) for reference, *columns in named}
    pairs = list(zip(references, said, strict=True))
    strange = [_our_key(each) for reference, each in pairs if reference not in by_reference]
    ours = rows.filter(_may_speak(gateway), pk__in=[key for key in strange if key])
    by_key = {columns[0]: Found(*columns) for columns in ours.values_list(*Found._fields)}
    return [by_reference.get(reference) or by_key.get(_our_key(each)) for reference, each in pairs]


def _our_key(receipt: Receipt) -> UUID | None:
    try:
        return UUID(receipt.reference)
    except ValueError:
        return None


def keep_aside(gateway: str, said: Iterable[Receipt]) -> None:
    """Keep what belongs to no message we know; what is kept already is not kept twice."""
    UnmatchedReceipt.objects.using(primary()).bulk_create(
        (UnmatchedReceipt(gateway=gateway, **_kept(each)) for each in said), ignore_conflicts=True
    )


def _find(gateway: str, receipt: Receipt) -> Delivery | None:
    """By the gateway's reference, then by ours."""
    rows = Delivery.objects.as_recorded()
    found: Delivery | None = None
    if receipt.gateway_reference:
        reference = storable(receipt.gateway_reference)
        found = rows.filter(gateway=gateway, gateway_reference=reference).first()
    if found is None and (key := _our_key(receipt)):
        found = rows.filter(_may_speak(gateway), pk=key).first()
    return found


def _may_speak(gateway: str) -> Q:
    """The deliveries of which it is believed by our reference: it was called, or may have been."""
    calls = StatusEvent.objects.filter(
        delivery=OuterRef("pk"), cause=Cause.HANDOVER, gateway=gateway
    )
    return Q(gateway__in=["", gateway]) | Q(Exists(calls.exclude(outcome=Outcome.PASSED_OVER)))


def _keep(gateway: str, receipt: Receipt) -> Delivery | None:
    columns = _kept(receipt)
    kept, _ = UnmatchedReceipt.objects.using(primary()).get_or_create(
        gateway=gateway, defaults={"parts": columns.pop("parts")}, **columns
    )
    return match_kept(kept)


def _kept(receipt: Receipt) -> dict[str, Any]:
    return {
        "gateway_reference": storable(receipt.gateway_reference),
        "reference": storable(receipt.reference, UnmatchedReceipt.OUR_REFERENCE_LENGTH),
        "word": storable(receipt.word),
        "part": storable(receipt.part, PART_LENGTH),
        "status": receipt.status if receipt.status and receipt.status in STAGES else "",
        "parts": _countable(receipt.parts),
    }


def _as_it_came(kept: UnmatchedReceipt) -> Receipt:
    return Receipt(
        gateway_reference=kept.gateway_reference,
        reference=kept.reference,
        status=kept.status or None,
        word=kept.word,
        part=kept.part,
        parts=kept.parts,
    )


def _change_for(channel: str, gateway: str, receipt: Receipt) -> Change:
    reported, shown = _understood(channel, receipt.status)
    return Change(
        cause=Cause.RECEIPT,
        status=shown,
        handover=Handover.TAKEN,
        gateway=gateway,
        gateway_reference=receipt.gateway_reference,
        gateway_word=receipt.word,
        reported_status=reported or "",
        part=receipt.part,
        parts=_countable(receipt.parts),
    )


@lru_cache(maxsize=256)
def _understood(channel: str, status: str | None) -> tuple[str | None, str | None]:
    """The word as far as it is one of this channel's, and as far as a delivery may show it."""
    reported = status if is_word_of(channel, status) else None
    return reported, reported if may_be_reported(reported) else None


def _countable(parts: int | None) -> int | None:
    return parts if parts in _PARTS else None
