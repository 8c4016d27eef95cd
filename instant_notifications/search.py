"""Find the messages that somebody asks about, whatever they have in hand.

Every look-up is by an index, and a number or an address is looked for by its digest: nothing is
decrypted to search.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from operator import mul
from typing import Final
from uuid import UUID

import phonenumbers
from django.conf import settings as django_settings
from django.db.models import QuerySet

from instant_notifications import privacy, recipients, rules
from instant_notifications.conf import settings
from instant_notifications.history import storable
from instant_notifications.models import Shipment
from instant_notifications.recipients import Kind

MOST: Final = 100

Shipments = QuerySet[Shipment]


def find(term: str) -> Sequence[UUID]:
    """The shipments that a term stands for, the newest first, at most ``MOST``.

    It may be the id of a shipment, an order or a delivery, an idempotency id, a sender's or a
    gateway's reference, a phone number in any spelling, an e-mail address, or the number of a
    person or an organisation.
    """
    term = term.strip()
    looks = _LOOKS if term else ()
    found = {key for look in looks for rows in look(term) for key in _newest(rows)}
    return sorted(found, reverse=True)[:MOST]


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
    is_a_destination = says_its_country and any(destinations(term))
    return is_a_destination or any(_is_certain(*each) for each in _identities(term))


def _is_certain(kind: Kind, identity: str) -> bool:
    """Nine digits may as well be somebody's reference, unless their check digit is right."""
    return kind is not Kind.ORGANISATION or _weighted_sum(identity) % 11 == 0


def _weighted_sum(number: str) -> int:
    return sum(map(mul, (3, 2, 7, 6, 5, 4, 3, 2, 1), map(int, number)))


def _is_sendable(term: str) -> bool:
    """No caller has ever sent anything else, and some databases would not even compare it."""
    return not any(unicodedata.category(each) in ("Cc", "Cs") for each in term)


def _by_destination(term: str) -> Iterator[Shipments]:
    digests = {digest for each in destinations(term) for digest in privacy.digests(each)}
    if digests:
        yield Shipment.objects.filter(deliveries__destination_digest__in=digests)


def _by_recipient(term: str) -> Iterator[Shipments]:
    """Whom a regular order named, also where there is no destination, or none yet."""
    named = [*_identities(term), *_named_by_destination(term)]
    digests = {digest for each in named for digest in recipients.digests(*each)}
    if digests:
        yield Shipment.objects.filter(plan__recipient_digest__in=digests)


def _named_by_destination(term: str) -> Iterator[tuple[Kind, str]]:
    for each in destinations(term):
        yield Kind.MAILBOX if "@" in each else Kind.PHONE, each


def _identities(term: str) -> Iterator[tuple[Kind, str]]:
    """The persons, organisations and others, as they are stored, that are meant by this."""
    written = "".join(unicodedata.normalize("NFKC", term).split())
    for kind, rule in _IDENTITIES:
        with suppress(rules.Broken):
            yield kind, rule(written, "term")


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


_IDENTITIES: Final[Sequence[tuple[Kind, Callable[[object, str], str]]]] = (
    (Kind.PERSON, rules.national_identity_number),
    (Kind.ORGANISATION, rules.organisation_number),
    (Kind.EXTERNAL, rules.external_identity),
)

_LOOKS: Final[Sequence[Callable[[str], Iterator[Shipments]]]] = (
    _by_id,
    _by_reference,
    _by_destination,
    _by_recipient,
)
