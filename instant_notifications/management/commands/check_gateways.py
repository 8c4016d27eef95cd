"""``manage.py check_gateways [ALIAS …] [--timeout SECONDS]``"""

from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from django.core import checks
from django.core.checks import CheckMessage, Error, Info, Warning  # noqa: A004
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError

from instant_notifications import health, privacy
from instant_notifications.conf import settings
from instant_notifications.exceptions import HandoverFailed, NotConfigured
from instant_notifications.gateways import gateways
from instant_notifications.management.lasting import seconds
from instant_notifications.models import GatewayState

_STYLES: Final = {checks.INFO: "SUCCESS", checks.WARNING: "WARNING"}


class Command(BaseCommand):
    """Exit status: 0 all are well, 1 one is not."""

    requires_system_checks = ()  # it tells by itself, gateway by gateway
    help = f"Asks each gateway whether it would take messages, and sends none. {__doc__}"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("aliases", nargs="*", metavar="ALIAS", help="without any: all")
        parser.add_argument(
            "--timeout", type=seconds, default=10.0, metavar="SECONDS", help="for each gateway"
        )

    def handle(self, *, aliases: Sequence[str], timeout: float, **options: Any) -> None:  # noqa: ARG002
        aliases = aliases or list(settings.GATEWAYS)
        width = max(map(len, aliases), default=0)
        states = _states_of(aliases)
        unwell = 0
        for alias in aliases:
            verdict = _verdict([*_examine(alias, timeout), *_remarks(alias, states)])
            unwell += not _is_well(verdict)
            for each in verdict:
                style = getattr(self.style, _STYLES.get(each.level, "ERROR"))
                said = f"{each.msg} {each.hint or ''}".strip()
                self.stdout.write(f"{alias:<{width}}  {style(said)}")
        if unwell:
            raise CommandError(f"{unwell} of {len(aliases)} gateways cannot be used.")


def _states_of(aliases: Sequence[str]) -> Mapping[str, GatewayState] | None:
    """``None`` without a database: gateways can be tried before there is one."""
    try:
        return health.states_of(aliases)
    except (DatabaseError, InterfaceError):
        return None


def _verdict(found: Sequence[CheckMessage]) -> Sequence[CheckMessage]:
    return [Info("OK"), *found] if _is_well(found) else found


def _is_well(found: Sequence[CheckMessage]) -> bool:
    return not any(each.is_serious() for each in found)


def _examine(alias: str, timeout: float) -> Iterator[CheckMessage]:
    """What its own check finds, and if that is nothing serious, what the provider says."""
    try:
        gateway = gateways[alias]
        found = list(gateway.check())
        yield from found
        if _is_well(found):
            gateway.probe(timeout)
    except NotConfigured as error:
        yield Error(str(error))
    except HandoverFailed as failure:
        yield Error(f"would take nothing now: {failure.reason or type(failure).__name__}")
    except Exception as error:  # noqa: BLE001 (a gateway of the host's may raise anything)
        yield Error(f"its check failed: {privacy.place_of(error, frames=1)}")


def _remarks(alias: str, states: Mapping[str, GatewayState] | None) -> Iterator[CheckMessage]:
    """What keeps messages from it although it is well."""
    if alias not in _in_use():
        yield Warning("is in no route")
    if states is None:
        yield Warning("may be switched off: the database cannot be read")
        return
    state = states.get(alias, GatewayState())
    if state.switched_off_at:
        yield Warning(f"is switched off: {state.switched_off_because or 'no reason given'}")
    if health.is_passed_over(state):
        yield Warning(f"is passed over after {state.failures} failures: {state.last_failure}")


def _in_use() -> Collection[str]:
    sandbox = [] if settings.SANDBOX_RECIPIENTS is None else [settings.SANDBOX_GATEWAY]
    return {*chain(*settings.ROUTES.values()), *sandbox}
