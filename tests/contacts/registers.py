"""Registers that do what a test says, and people to look up."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Final

from instant_notifications.contacts import BaseRegister, Contact, Identity
from instant_notifications.recipients import Kind

KARI: Final = Identity(Kind.PERSON, "01017012345")
OLA: Final = Identity(Kind.PERSON, "31129956715")
FIRM: Final = Identity(Kind.ORGANISATION, "123456785")
GUEST: Final = Identity(Kind.EXTERNAL, "urn:altinn:party:username:Guest")

PHONE: Final = "+4799999999"
MAIL: Final = "kari@example.com"
SECRETS: Final = (KARI.number, OLA.number, "99999999", "kari@", "Nordmann", "username:guest")


def contact(*destinations: str, **named: Any) -> Contact:
    return Contact(
        phone_numbers=[each for each in destinations if "@" not in each],
        email_addresses=[each for each in destinations if "@" in each],
        **named,
    )


class StubRegister(BaseRegister):
    """Answers what ``do`` says, and keeps what it was asked."""

    do: ClassVar[Callable[[Collection[Identity]], Any]]
    asked: ClassVar[list[tuple[list[Identity], bool, float]]] = []

    def look_up(
        self, identities: Collection[Identity], *, include_stale: bool, timeout: float
    ) -> Mapping[Identity, Contact]:
        self.asked.append((list(identities), include_stale, timeout))
        answer: Mapping[Identity, Contact] = type(self).do(identities)
        return answer


class NeedyRegister(BaseRegister):
    def __init__(self, *, url: str) -> None:
        raise ValueError(f"no good: {url}")
