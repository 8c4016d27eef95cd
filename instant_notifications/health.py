"""Which gateways may be asked at this moment: not one that an operator has switched off, nor one
that keeps failing (a circuit breaker). What is known holds for all processes.
"""

import logging
import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, InterfaceError
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.expressions import Combinable
from django.utils import timezone

from instant_notifications import privacy
from instant_notifications.conf import settings
from instant_notifications.exceptions import NotConfigured, Unavailable
from instant_notifications.history import storable
from instant_notifications.models import GatewayState, find, primary
from instant_notifications.models.orders import NAME_LENGTH

logger = logging.getLogger("instant_notifications")

SWITCHED_OFF: Final = "switched off"
FAILING: Final = "has failed too often"


class PassedOver(Unavailable):
    """The gateway was not asked, so nothing was sent by it."""


def states_of(aliases: Collection[str]) -> Mapping[str, GatewayState]:
    """What is known of these gateways, read where it is written."""
    return GatewayState.objects.using(primary()).in_bulk(aliases)


def state_of(alias: str) -> GatewayState | None:
    states = find(GatewayState, alias=alias)
    return states[0] if states else None


def require_well(state: GatewayState | None) -> None:
    """Raise ``PassedOver`` for a gateway that is not to be asked now.

    Once a failing gateway's pause is over, one caller is let through to try it; the others wait for
    what comes of that, for another pause at most.
    """
    if state is None:
        return
    if state.switched_off_at:
        raise PassedOver(SWITCHED_OFF)
    if settings.CIRCUIT_FAILURES is None or state.passed_over_until is None:
        return
    now = timezone.now()
    if _is_pause(state.passed_over_until, now) or not _is_the_one_to_try(state, now):
        until = min(state.passed_over_until, _longest_pause(now))
        raise PassedOver(FAILING, retry_after=_seconds_to(until, now))


def _is_the_one_to_try(state: GatewayState, now: datetime) -> bool:
    unchanged = _rows(state.alias).filter(
        passed_over_until=state.passed_over_until, switched_off_at=None
    )
    try:
        return bool(unchanged.update(passed_over_until=now + _pause()))
    except (DatabaseError, InterfaceError):
        return False


def _seconds_to(moment: datetime, now: datetime) -> int:
    return max(1, math.ceil((moment - now).total_seconds()))


def is_passed_over(state: GatewayState) -> bool:
    """Whether its failures keep it from being asked at this moment."""
    until = state.passed_over_until
    if settings.CIRCUIT_FAILURES is None or until is None:
        return False
    return _is_pause(until, timezone.now())


def _is_pause(until: datetime, now: datetime) -> bool:
    """Whether it runs. Nobody means one to last so long as what a clock that was set back left."""
    return now < until <= _longest_pause(now)


def _longest_pause(now: datetime) -> datetime:
    """The clocks of two machines may differ by as much as a pause."""
    return now + 2 * _pause()


def learn(failures: Mapping[str, str | None], known: Mapping[str, GatewayState]) -> None:
    """Remember how each gateway has just fared: what went wrong by its own fault, or nothing.

    It costs a statement only where something has changed. It never raises: what it is told comes
    of a message whose own outcome matters more.
    """
    try:
        for alias, failure in failures.items():
            if failure is not None:
                _note_failure(alias, failure)
            elif alias in known and known[alias].failures:
                _rows(alias).update(failures=0, passed_over_until=None)
    except Exception as error:  # noqa: BLE001 (the message's outcome is under way to its caller)
        logger.warning("gateway health not recorded error=%s", privacy.place_of(error, frames=1))


def _note_failure(alias: str, reason: str) -> None:
    now = timezone.now()
    news = {
        "passed_over_until": _end_of_pause(now),  # first: MariaDB reads what stands left of it anew
        "failures": F("failures") + 1,
        "last_failure": storable(reason),
        "last_failure_at": now,
    }
    if not _rows(alias).update(**news):
        GatewayState.objects.using(primary()).get_or_create(alias=alias)
        _rows(alias).update(**news)


def _end_of_pause(now: datetime) -> Combinable:
    """What ``passed_over_until`` becomes by one more failure. A pause that runs is not stretched:
    messages that were on their way before it began fail as well."""
    unchanged = F("passed_over_until")
    if settings.CIRCUIT_FAILURES is None:
        return unchanged
    too_many = Q(failures__gte=settings.CIRCUIT_FAILURES - 1)
    runs = Q(passed_over_until__gt=now, passed_over_until__lte=_longest_pause(now))
    idle = Q(passed_over_until=None) | ~runs
    return Case(When(too_many & idle, then=Value(now + _pause())), default=unchanged)


def switch_off(alias: str, *, by: str = "", because: str = "") -> None:
    """From now on nothing is sent by this gateway, in any process, until it is switched on.

    Raises ``NotConfigured`` for an alias that is none: a slip would leave the gateway on.
    """
    if alias not in settings.GATEWAYS:
        raise NotConfigured(f"There is no gateway {alias!r} to switch off.")
    GatewayState.objects.using(primary()).update_or_create(
        alias=alias,
        defaults={
            "switched_off_at": timezone.now(),
            "switched_off_by": by[:NAME_LENGTH],
            "switched_off_because": storable(because),
        },
    )
    logger.warning("gateway switched off gateway=%s", alias)


def switch_on(alias: str) -> None:
    """It may be asked again, whatever was held against it."""
    _rows(alias).update(
        switched_off_at=None,
        switched_off_by="",
        switched_off_because="",
        failures=0,
        passed_over_until=None,
    )
    logger.warning("gateway switched on gateway=%s", alias)


def _rows(alias: str) -> QuerySet[GatewayState]:
    return GatewayState.objects.using(primary()).filter(alias=alias)


def _pause() -> timedelta:
    return timedelta(seconds=settings.CIRCUIT_PAUSE)
