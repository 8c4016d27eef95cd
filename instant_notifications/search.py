"""Find the messages that somebody asks about, whatever they have in hand.

Every look-up is by an index, and a number or an address is looked for by its digest: nothing is
decrypted to search.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final
from uuid import UUID

import phonenumbers
from django.conf import settings as django_settings
from django.db.models import QuerySet

from instant_notifications import privacy, rules
from instant_notifications.conf import settings
from instant_notifications.history import storable
from instant_notifications.models import Shipment

MOST: Final = 100

Shipments = QuerySet[Shipment]


def find(term: str) -> Sequence[UUID]:
    """The shipments that a term stands for, the newest first, at most ``MOST``.

    It may be the id of a shipment, an order or a delivery, an idempotency id, a sender's or a
    gateway's reference, a phone number in any spelling, or an e-mail address.
    """
    term = term.strip()
    found = {key for look in _LOOKS for rows in look(term) for key in _newest(rows)}
    return sorted(found, reverse=True)[:MOST] if term else []


def _newest(rows: Shipments) -> Iterable[UUID]:
    """Their ids carry the time they were made at."""
    return rows.order_by("-pk").values_list("pk", flat=True)[:MOST]


def _by_id(term: str) -> Iterator[Shipments]:
    try:
        key = UUID(term)
    except ValueError:
        return
    yield Shipment.objects.filter(pk=key)
    yield Shipment.objects.filter(order=key)
    yield Shipment.objects.filter(deliveries=key)


def _by_reference(term: str) -> Iterator[Shipments]:
    """Not what can only be a number or an address: those stand in no statement in clear."""
    if _is_plainly_personal(term) or not _is_sendable(term):
        return
    yield Shipment.objects.filter(order__idempotency__key=term)
    yield Shipment.objects.filter(senders_reference=term)
    yield Shipment.objects.filter(deliveries__gateway_reference=storable(term))


def _is_plainly_personal(term: str) -> bool:
    written = unicodedata.normalize("NFKC", term)
    says_its_country = written.startswith(("+", "00", "tel:", "mailto:")) or "@" in written
    return says_its_country and any(destinations(term))


def _is_sendable(term: str) -> bool:
    """No caller has ever sent anything else, and some databases would not even compare it."""
    return not any(unicodedata.category(each) in ("Cc", "Cs") for each in term)


def _by_destination(term: str) -> Iterator[Shipments]:
    digests = {digest for each in destinations(term) for digest in privacy.digests(each)}
    if digests:
        yield Shipment.objects.filter(deliveries__destination_digest__in=digests)


def destinations(term: str) -> Iterator[str]:
    """The numbers and addresses, as they are stored, that somebody may mean by this."""
    term = unicodedata.normalize("NFKC", term)
    if "@" in term:
        try:
            yield rules.email_address(term.removeprefix("mailto:"), "term")
        except rules.Broken:
            return
    elif re.fullmatch(r"(tel:)?[\d\s()./+\u2010-\u2015-]+", term):
        yield from _numbers("".join(re.findall(r"[\d+]", term)))


def _numbers(digits: str) -> Iterator[str]:
    spellings = [digits, f"+{digits.removeprefix('00')}"]
    for spelling, region in [(each, region) for each in spellings for region in _regions()]:
        try:
            number = phonenumbers.parse(spelling, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number(number):
            yield phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _regions() -> Sequence[str | None]:
    """Whose numbers may be written without their country."""
    of_the_project = getattr(django_settings, "PHONENUMBER_DEFAULT_REGION", None)
    return [of_the_project, *(settings.ALLOWED_REGIONS or ())]


_LOOKS: Final[Sequence[Callable[[str], Iterator[Shipments]]]] = (
    _by_id,
    _by_reference,
    _by_destination,
)
