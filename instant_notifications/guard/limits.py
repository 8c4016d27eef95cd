"""Limits as buckets: full at first, emptied by what is asked for, refilled evenly.

A limit of (30, 3600) lets 30 through at once, then one every 120 seconds. A row holds the moment at
which its bucket will be full again (the generic cell rate algorithm, GCRA). It is moved by one
conditional update: of any number who ask at once, as many get through as the bucket holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from django.db import connections
from django.db.models import QuerySet
from django.utils import timezone

from instant_notifications import privacy
from instant_notifications.conf import Limit, Settings, settings
from instant_notifications.exceptions import TooManyRequests
from instant_notifications.models import Allowance, primary

FULL: Final = 0.0
"""A moment that has long passed."""

CLOCKS_DIFFER: Final = 60.0


@dataclass(frozen=True, slots=True)
class Charge:
    """One to be taken of a limit."""

    limit: str
    key: str
    most: int
    seconds: float

    @property
    def cost(self) -> float:
        """By how many seconds it puts off the moment at which the bucket is full."""
        return self.seconds / self.most


Toll = Sequence[Charge]
"""In the order that all must keep to, or those who pay in a transaction would deadlock."""


def toll_of(subjects: Mapping[str, str]) -> Toll:
    """What the subjects, by limit, are to be charged.

    Nothing where the limit is switched off, or where there is no subject.
    """
    in_force = limits()
    found = (
        Charge(name, _key(name, subject), *limit)
        for name, subject in subjects.items()
        if subject and (limit := in_force[name])
    )
    return sorted(found, key=lambda charge: charge.key)


def limits() -> Mapping[str, Limit | None]:
    """Those in force: the host's own over the defaults."""
    return {**Settings.LIMITS.default, **settings.LIMITS}


def _key(limit: str, subject: str) -> str:
    return privacy.keyed_hashes("limit", f"{limit} {subject}")[0]


def prepare(toll: Toll) -> None:
    """Refuse now what is sure to be refused, and make the rows that are missing.

    A flood of refusals so costs a look. Within a transaction, those who make the same row at once
    would deadlock on MariaDB.
    """
    known = dict(_rows().filter(pk__in=[each.key for each in toll]).values_list("pk", "full_at"))
    for charge in toll:
        if _wait(charge, known.get(charge.key, FULL)) > 0:
            raise _refusal(charge, known[charge.key])
    _make([charge for charge in toll if charge.key not in known])


def take(toll: Toll) -> None:
    """Charge all of it; raises ``TooManyRequests`` for the first bucket that is empty.

    More than one charge is all or nothing only in a transaction.
    """
    for charge in toll:
        _take(charge)


def _take(charge: Charge) -> None:
    while not _move(charge):
        full_at = _rows().filter(pk=charge.key).values_list("full_at", flat=True).first()
        if full_at is None:  # never seen, or purged
            _make([charge])
        elif _wait(charge, full_at) > 0:
            raise _refusal(charge, full_at)
        # else somebody has made it since


def _make(missing: Toll) -> None:
    _rows().bulk_create([Allowance(key=each.key) for each in missing], ignore_conflicts=True)


def _refusal(charge: Charge, full_at: float) -> TooManyRequests:
    return TooManyRequests(charge.limit, max(1, ceil(_wait(charge, full_at))))


def _wait(charge: Charge, full_at: float) -> float:
    """Seconds until there is room for one more; not above 0 if there is."""
    now = timezone.now().timestamp()
    credible = full_at if full_at <= _latest(charge, now) else FULL
    return credible + charge.cost - charge.seconds - now


def _move(charge: Charge) -> int:
    now = timezone.now().timestamp()
    incredible, has_room = _latest(charge, now), now + charge.seconds - charge.cost
    connection = connections[primary()]
    with connection.cursor() as cursor:
        cursor.execute(
            _MOVE.format(key=connection.ops.quote_name("key")),
            [incredible, now, now, charge.cost, charge.key, has_room, incredible],
        )
        return int(cursor.rowcount)


_MOVE: Final = """
    UPDATE instant_notifications_allowance
    SET full_at = CASE WHEN full_at > %s OR full_at < %s THEN %s ELSE full_at END + %s
    WHERE {key} = %s AND (full_at <= %s OR full_at > %s)
"""
"""By hand, since it is part of each message that comes over HTTP."""


def _latest(charge: Charge, now: float) -> float:
    """What is later than this was written by a clock that has been set back since.

    An empty bucket is full again after ``seconds``; the rest is for clocks that differ a little.
    """
    return now + 2 * charge.seconds + CLOCKS_DIFFER


def _rows() -> QuerySet[Allowance]:
    return Allowance.objects.using(primary())
