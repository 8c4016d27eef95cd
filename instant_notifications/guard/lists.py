"""The operator's own word: whom to keep out, and whom to let through."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from ipaddress import ip_network
from typing import Final

from django.db.models import Q, QuerySet
from django.utils import timezone
from phonenumbers import SUPPORTED_REGIONS

from instant_notifications import privacy, rules
from instant_notifications.guard.subjects import read_address
from instant_notifications.history import storable
from instant_notifications.models import ListEntry, primary
from instant_notifications.models.orders import NAME_LENGTH

Kind, Verdict = ListEntry.Kind, ListEntry.Verdict

MOST_DIGITS: Final = 15  # E.164


def verdict_on(recipient: str, address: str) -> ListEntry.Verdict | None:
    """What the list says of a code for this recipient, asked for from this address.

    Of several entries that fit, one that blocks is stronger than any that allows.
    """
    in_force = Q(until=None) | Q(until__gt=timezone.now())
    keys = [*_keys_of_recipient(recipient), *_keys_of_address(address)]
    said = set(_rows().filter(in_force, key__in=keys).values_list("verdict", flat=True))
    return next((each for each in (Verdict.BLOCK, Verdict.ALLOW) if each in said), None)


def _keys_of_recipient(recipient: str) -> Iterator[str]:
    yield from privacy.digests(recipient)
    if "@" not in recipient:
        yield from (recipient[:length] for length in range(2, len(recipient) + 1))
        yield rules.region_of(recipient)


def _keys_of_address(written: str) -> Iterator[str]:
    """Every range that it lies in."""
    address = read_address(written)
    if address is not None:
        for bits in range(address.max_prefixlen + 1):
            yield str(ip_network((int(address), bits), strict=False))


def add(
    verdict: str, kind: str, written: str, *, by: str, because: str, until: datetime | None = None
) -> ListEntry:
    """Put somebody on the list, or change what it says of them. Raises ``ValueError``."""
    normal = _NORMAL[Kind(kind)](written.strip())
    is_personal = kind == Kind.RECIPIENT
    entry, _ = _rows().update_or_create(
        key=privacy.digest(normal) if is_personal else normal,
        defaults={
            "verdict": Verdict(verdict),
            "kind": kind,
            "shown": privacy.mask(normal) if is_personal else normal,
            "because": storable(because),
            "by": by[:NAME_LENGTH],
            "at": timezone.now(),
            "until": until,
        },
    )
    return entry


def remove(entry_id: int) -> ListEntry | None:
    """Take an entry off the list and return it; ``None`` if it is not there."""
    entry = _rows().filter(pk=entry_id).first()
    return entry if entry and _rows().filter(pk=entry_id).delete()[0] else None


def _recipient(written: str) -> str:
    rule = rules.email_address if "@" in written else rules.mobile_number
    return str(rule(written, "recipient"))


def _prefix(written: str) -> str:
    digits = "".join(each for each in written if each not in " -()")
    digits = "+" + digits[2:] if digits.startswith("00") else digits
    number = digits.removeprefix("+")
    is_one = digits.startswith("+") and number.isascii() and number.isdigit()
    if not (is_one and len(number) <= MOST_DIGITS):
        raise ValueError("no prefix")
    return digits


def _country(written: str) -> str:
    if written.upper() not in SUPPORTED_REGIONS:
        raise ValueError("no country")
    return written.upper()


def _network(written: str) -> str:
    """Of a single address, the range that holds it alone."""
    address = read_address(written)
    return str(ip_network(address if address else written, strict=False))


_NORMAL: Final[Mapping[ListEntry.Kind, Callable[[str], str]]] = {
    Kind.RECIPIENT: _recipient,
    Kind.PREFIX: _prefix,
    Kind.COUNTRY: _country,
    Kind.ADDRESS: _network,
}


def _rows() -> QuerySet[ListEntry]:
    return ListEntry.objects.using(primary())
