"""The register that the project keeps itself: a table, an import command, pages in the console."""

from calendar import monthrange
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Final

from django.db import connections, transaction
from django.db.models import QuerySet
from django.utils import timezone

from instant_notifications import privacy
from instant_notifications.contacts.base import BaseRegister, Contact, Identity
from instant_notifications.models import ContactEntry, primary

MONTHS_OF_USE: Final = 18
"""What was confirmed longer ago is stale."""

ALWAYS_WRITTEN: Final = frozenset({"kind", "number", "confirmed_at", "updated_at"})
COLUMNS: Final = ALWAYS_WRITTEN | {"name", "phone_numbers", "email_addresses", "reserved"}


class LocalRegister(BaseRegister):
    """It has no options."""

    def look_up(
        self,
        identities: Collection[Identity],
        *,
        include_stale: bool,
        timeout: float,  # noqa: ARG002 (a register's signature)
    ) -> Mapping[Identity, Contact]:
        return {
            identity: _contact(entry, is_usable=include_stale or not is_stale(entry))
            for identity, entry in find(identities).items()
        }


def _contact(entry: ContactEntry, *, is_usable: bool) -> Contact:
    """That somebody is reserved does not go stale."""
    return Contact(
        phone_numbers=entry.phone_numbers if is_usable else (),
        email_addresses=entry.email_addresses if is_usable else (),
        name=entry.name or "",
        reserved=entry.reserved,
    )


def is_stale(entry: ContactEntry) -> bool:
    return entry.confirmed_at < months_before(timezone.now(), MONTHS_OF_USE)


def months_before(moment: datetime, months: int) -> datetime:
    """The same day of an earlier month, or the month's last where it has no such day."""
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def find(identities: Iterable[Identity]) -> Mapping[Identity, ContactEntry]:
    """The entries of those there are, whichever of the keys in force they were written under."""
    keys = {each: digests(each.kind, each.number) for each in identities}
    wanted = [digest for theirs in keys.values() for digest in theirs]
    entries = {entry.digest: entry for entry in _rows().filter(digest__in=wanted)}
    found: dict[Identity, ContactEntry] = {}
    for identity, theirs in keys.items():
        for digest in theirs:
            if digest in entries:
                found.setdefault(identity, entries[digest])
    return found


def digests(kind: str, number: str) -> Sequence[str]:
    """What an entry is found by, under each key in force; by the first it is written."""
    return privacy.keyed_hashes("contact", f"{kind} {number.lower()}")


def keep(entries: Iterable[ContactEntry], columns: Collection[str] = COLUMNS) -> None:
    """Write them all or none, over what was known of the same numbers; of several the last wins.

    What is in none of the ``columns`` stays as it was.
    """
    last: dict[str, ContactEntry] = {}
    successors: dict[str, str] = {}
    for entry in entries:
        entry.digest, *older = digests(entry.kind, entry.number or "")
        last[entry.digest] = entry
        successors |= dict.fromkeys(older, entry.digest)
    with transaction.atomic(using=primary()):
        _rename(successors)
        _write(sorted(last.values(), key=attrgetter("digest")), columns)


def _rename(successors: Mapping[str, str]) -> None:
    """Entries that were written under an older key are found by the one that writes."""
    outdated = _rows().filter(digest__in=successors)
    for key, digest in list(outdated.values_list("pk", "digest")):
        row = _rows().filter(pk=key)
        if _rows().filter(digest=successors[digest]).exists():
            row.delete()
        else:
            row.update(digest=successors[digest])


def _write(entries: Sequence[ContactEntry], columns: Collection[str]) -> None:
    """In the order of their digests, so that no two writers wait for each other."""
    names_its_target = connections[primary()].features.supports_update_conflicts_with_target
    _rows().bulk_create(
        entries,
        update_conflicts=True,
        update_fields=sorted(ALWAYS_WRITTEN.union(columns)),
        unique_fields=["digest"] if names_its_target else None,
    )


def _rows() -> QuerySet[ContactEntry]:
    return ContactEntry.objects.using(primary())
