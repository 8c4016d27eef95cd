"""How persons and organisations can be reached, by the contact register the host has configured."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Final

from asgiref.local import Local
from django.core.signals import setting_changed
from django.db import Error as DatabaseFailure

from instant_notifications import privacy, telemetry
from instant_notifications.backends import backend_class, made
from instant_notifications.conf import SETTINGS_NAME, settings
from instant_notifications.contacts.addresses import usable
from instant_notifications.contacts.base import BaseRegister, Contact, Identity
from instant_notifications.exceptions import HandoverFailed, NotConfigured, Unavailable
from instant_notifications.recipients import Kind, Recipient

__all__ = ["BaseRegister", "Contact", "Identity", "look_up", "new_register", "register"]

MOST_AT_ONCE: Final = 500
TIMEOUT: Final = 10.0
"""Seconds that the register gets for each call."""

logger = logging.getLogger("instant_notifications.contacts")


def look_up(recipients: Iterable[Recipient]) -> Mapping[Recipient, Contact]:
    """How those can be reached whom a register has to tell of.

    Left out are those whom nobody knows, and those without anything to send to unless they are
    reserved. Raises ``Unavailable`` if asking again may help, or ``NotConfigured``.
    """
    found: dict[Recipient, Contact] = {}
    for (kind, include_stale), sought in _grouped(recipients).items():
        identities = list(sought)
        for begin in range(0, len(identities), MOST_AT_ONCE):
            batch = identities[begin : begin + MOST_AT_ONCE]
            with telemetry.span("contacts", kind=kind, number=len(batch)) as told:
                known = _ask(kind, batch, include_stale=include_stale)
                told.tell(known=len(known))
            for identity, contact in known.items():
                found |= dict.fromkeys(sought[identity], contact)
    return found


def _grouped(
    recipients: Iterable[Recipient],
) -> Mapping[tuple[Kind, bool], Mapping[Identity, Sequence[Recipient]]]:
    """By what is asked in one call; several recipients may be the same person."""
    groups: defaultdict[tuple[Kind, bool], defaultdict[Identity, list[Recipient]]]
    groups = defaultdict(lambda: defaultdict(list))
    for each in recipients:
        if each.is_looked_up:
            groups[each.kind, each.use_stale][Identity(each.kind, each.identity)].append(each)
    return groups


def _ask(
    kind: Kind, identities: Sequence[Identity], *, include_stale: bool
) -> Mapping[Identity, Contact]:
    """One call, timed, logged, and with every failure sorted."""
    started = monotonic()
    outcome = "interrupted"
    try:
        known = _known(identities, include_stale=include_stale)
    except Exception as error:
        outcome = type(error).__name__
        raise
    else:
        outcome = f"{len(known)} known"
        return known
    finally:
        logger.info(
            "contacts asked kind=%s number=%d outcome=%s duration_ms=%d",
            kind,
            len(identities),
            outcome,
            (monotonic() - started) * 1000,
        )


def _known(identities: Sequence[Identity], *, include_stale: bool) -> Mapping[Identity, Contact]:
    try:
        said = register().look_up(identities, include_stale=include_stale, timeout=TIMEOUT)
        contacts = {each: usable(said[each]) for each in identities if each in said}
    except (Unavailable, NotConfigured, DatabaseFailure):
        raise
    except HandoverFailed as failure:
        raise Unavailable(failure.reason, retry_after=failure.retry_after) from None
    except Exception as error:  # noqa: BLE001 (a register of the host's may raise anything)
        raise Unavailable(privacy.place_of(error, frames=1)) from None
    return {identity: each for identity, each in contacts.items() if _is_of_use(each)}


def _is_of_use(contact: Contact) -> bool:
    return bool(contact.phone_numbers or contact.email_addresses or contact.reserved)


_made = Local()


def register() -> BaseRegister:
    """The one of this thread, made on first use."""
    try:
        kept: BaseRegister = _made.register
    except AttributeError:
        kept = _made.register = new_register()
    return kept


def new_register() -> BaseRegister:
    """As the settings have it; raises ``NotConfigured`` with what to set."""
    configured = settings.CONTACT_REGISTER
    backend = backend_class("the contact register", configured, BaseRegister, "register")
    return made("the contact register", backend, options=configured.get("OPTIONS", {}))


def _forget_on_change(*, setting: str, **_: object) -> None:
    global _made
    if setting == SETTINGS_NAME:
        _made = Local()


setting_changed.connect(_forget_on_change, dispatch_uid="instant_notifications.contacts")
