"""What a person may do about a message that has been placed. Each act leaves its trace."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from django.utils import timezone

from instant_notifications.history import storable
from instant_notifications.models import Delivery, Intervention, primary
from instant_notifications.models.interventions import NAME_LENGTH


@dataclass(frozen=True, slots=True)
class Revealed:
    """What a message says and to whom, as far as it is kept. Its repr holds nothing personal."""

    destination: str | None = field(repr=False)
    content: Mapping[str, str] | None = field(repr=False)
    """``None`` where it has been erased, and always of a secret message."""


def reveal(delivery_id: UUID, *, by: str, because: str) -> Revealed:
    """Show a destination and a text in clear, once it is written down who wanted to see them."""
    delivery = Delivery.objects.using(primary()).get(pk=delivery_id)
    _note(Intervention.Kind.REVEAL, delivery, by, because)
    readable = delivery.content is not None and not delivery.secret
    return Revealed(
        destination=delivery.destination,
        content=json.loads(delivery.content or "") if readable else None,
    )


def _note(kind: Intervention.Kind, delivery: Delivery, by: str, because: str) -> None:
    Intervention.objects.using(primary()).create(
        delivery=delivery,
        at=timezone.now(),
        kind=kind,
        by=by[:NAME_LENGTH],
        because=storable(because),
    )
