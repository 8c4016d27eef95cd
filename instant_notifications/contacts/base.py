"""The contract between the app and a contact register, readable in one file.

Identities go in, what is known of each comes out. A register may say numbers and addresses as it
has them: ``contacts.look_up`` drops those that nothing can be sent to.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.checks import CheckMessage

from instant_notifications.exceptions import NotConfigured
from instant_notifications.recipients import Kind


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody to look up. Its repr holds nothing personal."""

    kind: Kind
    """A person, an organisation or an external identity."""
    number: str = field(repr=False)
    """As a ``Recipient`` stores it; of an external identity the URN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How somebody can be reached. Its repr holds nothing personal.

    From ``contacts.look_up`` the numbers are E.164 and all is usable, without duplicates.
    """

    phone_numbers: Sequence[str] = field(repr=False)
    email_addresses: Sequence[str] = field(repr=False)
    name: str = field(default="", repr=False)
    """On one line."""
    reserved: bool = False
    """They have asked for no digital letters."""


class BaseRegister:
    """Somebody who knows how persons and organisations can be reached."""

    def __init__(self, **options: Any) -> None:
        if options:
            names = ", ".join(sorted(options))
            raise NotConfigured(f"The contact register does not know the option(s) {names}.")

    def look_up(
        self, identities: Collection[Identity], *, include_stale: bool, timeout: float
    ) -> Mapping[Identity, Contact]:
        """What is known of each, within ``timeout`` seconds; those nobody knows are left out.

        ``include_stale``: also what nobody has confirmed for long. Raises ``Unavailable`` if
        asking again may help, or ``NotConfigured`` with what to set.
        """
        raise NotImplementedError

    def check(self) -> Iterable[CheckMessage]:
        """Problems of the configuration that can be seen without any traffic."""
        return ()
