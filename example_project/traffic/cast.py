"""Whom the made-up organisations write to by number. Nobody real: see ``letters``."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Final

from instant_notifications.contacts import Contact, Identity, local
from instant_notifications.models import ContactEntry
from instant_notifications.recipients import Kind, Recipient

_COMPANIES: Final = (
    "Fjordbris Bakeri AS",
    "Nordlys Rør og Varme AS",
    "Bjørkely Barnehage SA",
    "Havgløtt Fiskeri AS",
    "Trollstigen Regnskap AS",
    "Solsiden Frisør",
    "Granlia Sagbruk AS",
    "Lyngheia Bygg AS",
    "Kveldsro Pensjonat",
    "Elvebakken Idrettslag",
    "Fossen Mekaniske AS",
    "Vindfløy Elektro AS",
)
_PEOPLE: Final = (
    "Kari Fjellrev",
    "Ola Multebær",
    "Ingrid Nordavind",
    "Jakob Myrull",
    "Nora Skjærgård",
    "Lars Blåklokke",
    "Aisha Tåkeheim",
    "Emil Rognebær",
)

_RESERVED: Final = "Lars Blåklokke"
_WITHOUT_PHONE: Final = ("Emil Rognebær", "Kveldsro Pensjonat")
_WITHOUT_EMAIL: Final = ("Solsiden Frisør",)
_WITH_TWO_ADDRESSES: Final = ("Trollstigen Regnskap AS",)


def _organisation(place: int) -> Identity:
    """Nobody's number begins with 0."""
    return Identity(Kind.ORGANISATION, f"0000010{place:02}")


def _person(place: int) -> Identity:
    """Nobody was born in a month beyond 80: such numbers are for tests."""
    return Identity(Kind.PERSON, f"{place + 1:02}8{place + 1}90{place:05}")


def _contact(name: str, place: int, mailbox: str) -> Contact:
    addresses = [f"{mailbox}{place}@example.com", f"regnskap{place}@example.com"]
    return Contact(
        phone_numbers=[] if name in _WITHOUT_PHONE else [f"+47999995{place:02}"],
        email_addresses=[]
        if name in _WITHOUT_EMAIL
        else addresses[: 2 if name in _WITH_TWO_ADDRESSES else 1],
        name=name,
        reserved=name == _RESERVED,
    )


ORGANISATIONS: Final[Mapping[Identity, Contact]] = {
    _organisation(place): _contact(name, place, "post") for place, name in enumerate(_COMPANIES)
}
PEOPLE: Final[Mapping[Identity, Contact]] = {
    _person(place): _contact(name, 50 + place, name.partition(" ")[0].lower())
    for place, name in enumerate(_PEOPLE)
}
OTHERS: Final[Mapping[Identity, Contact]] = {
    Identity(Kind.EXTERNAL, "urn:altinn:person:idporten-email:nora61@example.com"): Contact(
        phone_numbers=[], email_addresses=["nora61@example.com"]
    )
}
EVERYBODY: Final = {**ORGANISATIONS, **PEOPLE, **OTHERS}


def contacts_of(recipients: Iterable[Recipient]) -> Mapping[Recipient, Contact]:
    """What the register says of them."""
    asked = {whom: Identity(whom.kind, whom.identity) for whom in recipients}
    return {whom: EVERYBODY[each] for whom, each in asked.items() if each in EVERYBODY}


def introduce(confirmed_at: datetime) -> None:
    """Enter those in the contact register who are not in it yet."""
    known = local.find(EVERYBODY)
    new = {each: contact for each, contact in EVERYBODY.items() if each not in known}
    local.keep([_entry(each, contact, confirmed_at) for each, contact in new.items()])


def _entry(identity: Identity, contact: Contact, now: datetime) -> ContactEntry:
    return ContactEntry(
        kind=identity.kind,
        number=identity.number,
        **asdict(contact),
        confirmed_at=now,
        created_at=now,
        updated_at=now,
    )
