"""``manage.py check_gateways [ALIAS …] [--timeout SECONDS]``"""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from instant_notifications import health, privacy
from instant_notifications.conf import settings
from instant_notifications.exceptions import HandoverFailed, NotConfigured
from instant_notifications.gateways import BaseGateway, gateways
from instant_notifications.management.lasting import seconds
from instant_notifications.models import GatewayState


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
            problems = list(_problems(alias, timeout))
            remarks = list(_remarks(alias, states.get(alias)))
            unwell += bool(problems)
            for said in [*problems, *([] if problems else ["OK"]), *remarks]:
                style = self.style.ERROR if said in problems else self.style.SUCCESS
                self.stdout.write(f"{alias:<{width}}  {style(said)}")
        if unwell:
            raise CommandError(f"{unwell} of {len(aliases)} gateways cannot be used.")


def _states_of(aliases: Sequence[str]) -> Mapping[str, GatewayState]:
    """Gateways can be tried before there is a database."""
    try:
        return health.states_of(aliases)
    except (DatabaseError, InterfaceError):
        return {}


def _problems(alias: str, timeout: float) -> Iterator[str]:
    try:
        gateway = gateways[alias]
    except NotConfigured as error:
        yield str(error)
        return
    faults = [f"{each.msg} {each.hint or ''}".strip() for each in gateway.check()]
    yield from faults
    if not faults:
        yield from _what_the_provider_says(gateway, timeout)


def _what_the_provider_says(gateway: BaseGateway, timeout: float) -> Iterator[str]:
    try:
        gateway.probe(timeout)
    except (NotConfigured, HandoverFailed) as error:
        yield getattr(error, "reason", "") or str(error)
    except Exception as error:  # noqa: BLE001 (a gateway of the host's may raise anything)
        yield f"its check failed: {privacy.place_of(error, frames=1)}"


def _remarks(alias: str, state: GatewayState | None) -> Iterator[str]:
    """What keeps messages from it although it is well."""
    if not any(alias in route for route in settings.ROUTES.values()):
        yield "is in no route"
    if state and state.switched_off_at:
        yield f"is switched off: {state.switched_off_because or 'no reason given'}"
    if state and state.passed_over_until and state.passed_over_until > timezone.now():
        yield f"is passed over after {state.failures} failures: {state.last_failure}"
