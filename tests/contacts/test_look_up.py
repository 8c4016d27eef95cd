"""``contacts.look_up``: whom it asks about, and what it lets through whoever said it."""

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from django.db import OperationalError

from instant_notifications import contacts
from instant_notifications.checks import check_settings
from instant_notifications.contacts import Contact, Identity
from instant_notifications.exceptions import NotConfigured, OutcomeUnknown, Unavailable
from instant_notifications.recipients import external, mailbox, organisation, person, phone
from tests.contacts.registers import (
    FIRM,
    GUEST,
    KARI,
    MAIL,
    OLA,
    PHONE,
    SECRETS,
    StubRegister,
    contact,
)
from tests.outcomes import fails

Know = Callable[[Any], None]
Configure = Callable[..., None]
Stub = type[StubRegister]

KARIS: Final = person(KARI.number)
BACKEND: Final = "tests.contacts.registers.StubRegister"


def found(known: Know, *destinations: str, **named: Any) -> Contact:
    """What is left of what the register says of her."""
    known({KARI: contact(*destinations, **named)})
    return contacts.look_up([KARIS])[KARIS]


# Whom it asks about


def test_each_kind_is_asked_for_by_itself_and_those_with_an_address_not_at_all(stub: Stub) -> None:
    recipients = [
        KARIS,
        phone(PHONE),
        organisation(FIRM.number, "Sms"),
        mailbox(MAIL),
        external(GUEST.number),
        person(OLA.number, use_stale=True),
    ]
    assert contacts.look_up(recipients) == {}
    assert stub.asked == [
        ([KARI], False, 10.0),
        ([FIRM], False, 10.0),
        ([GUEST], False, 10.0),
        ([OLA], True, 10.0),
    ]


def test_nobody_is_asked_about_nobody(stub: Stub) -> None:
    assert contacts.look_up([phone(PHONE)]) == {}
    assert stub.asked == []


def test_the_same_person_is_asked_for_once_and_told_to_all(stub: Stub, known: Know) -> None:
    known({KARI: contact(PHONE)})
    twice = [KARIS, replace(KARIS, ignore_reservation=True), KARIS]
    told = contacts.look_up(twice)
    assert stub.asked == [([KARI], False, 10.0)]
    assert told == dict.fromkeys(twice, contact_of(PHONE))


def contact_of(*destinations: str, **named: Any) -> Contact:
    """As it is told: with tuples."""
    said = contact(*destinations, **named)
    return replace(
        said, phone_numbers=tuple(said.phone_numbers), email_addresses=tuple(said.email_addresses)
    )


def test_many_are_asked_for_in_batches(stub: Stub) -> None:
    stub.do = staticmethod(lambda identities: dict.fromkeys(identities, contact(PHONE)))
    people = [person(f"{number:011d}") for number in range(1001)]
    assert len(contacts.look_up(iter(people))) == 1001
    assert [len(identities) for identities, _, _ in stub.asked] == [500, 500, 1]


def test_whoever_was_not_asked_for_is_not_told_of(known: Know) -> None:
    known({KARI: contact(PHONE), OLA: contact(PHONE), FIRM: contact(PHONE)})
    assert list(contacts.look_up([KARIS])) == [KARIS]


# What it lets through


@pytest.mark.parametrize(
    ("written", "usable"),
    [
        (["+4799999999"], ["+4799999999"]),
        (["99999999"], ["+4799999999"]),
        ([" 999 99 999 "], ["+4799999999"]),
        (["40 00 00 00"], ["+4740000000"]),
        (["004799999999"], ["+4799999999"]),
        ([" +47 99999999"], ["+4799999999"]),
        (["+233242426224"], ["+233242426224"]),
        (["99999999", "+4799999999", "+4791234567"], ["+4799999999", "+4791234567"]),
        (["22334455"], []),
        (["50000004"], []),
        (["4799999999"], []),
        (["+4722334455", "", "   ", "abc", "+47", "9999999", "٩٩٩٩٩٩٩٩"], []),
    ],
)
def test_numbers_are_made_usable_or_dropped(
    written: list[str], usable: list[str], known: Know
) -> None:
    assert found(known, *written, MAIL).phone_numbers == tuple(usable)


def test_numbers_of_regions_that_are_not_allowed_are_dropped(
    known: Know, configure: Configure
) -> None:
    configure(CONTACT_REGISTER={"BACKEND": BACKEND}, ALLOWED_REGIONS=["NO"])
    assert found(known, "+233242426224", PHONE).phone_numbers == (PHONE,)


def test_addresses_are_made_usable_or_dropped(known: Know) -> None:
    written = [f" {MAIL} ", MAIL, "kari@EXAMPLE.com", "@example.com", "a@b@c", "ola@example.com"]
    assert found(known, *written).email_addresses == (MAIL, "ola@example.com")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("Kari Nordmann", "Kari Nordmann"),
        (" Kari\r\n Nordmann\t", "Kari Nordmann"),
        ("Kari\x00\u2028Nordmann\ud800", "Kari Nordmann"),
        ("Åse Brønn-Ødegård", "Åse Brønn-Ødegård"),
        ("x" * 300, "x" * 255),
        ("\n", ""),
    ],
)
def test_a_name_is_one_line(written: str, told: str, known: Know) -> None:
    assert found(known, PHONE, name=written).name == told


def test_who_has_nothing_usable_is_left_out_unless_reserved(known: Know) -> None:
    known({KARI: contact("22334455", "@"), OLA: contact(reserved=True), FIRM: contact()})
    olas = person(OLA.number)
    told = contacts.look_up([KARIS, olas, organisation(FIRM.number, "Sms")])
    assert told == {olas: contact_of(reserved=True)}


def test_nothing_personal_is_in_a_repr(known: Know) -> None:
    told = repr([KARI, found(known, PHONE, MAIL, name="Nordmann"), KARIS])
    assert not [secret for secret in SECRETS if secret in told]


# How it fails


@pytest.mark.parametrize(
    ("do", "kind", "text"),
    [
        (fails(Unavailable, "away"), Unavailable, "away"),
        (fails(NotConfigured, "Set this."), NotConfigured, "Set this"),
        (fails(OutcomeUnknown, "silent"), Unavailable, "silent"),
        (fails(ValueError, KARI.number), Unavailable, "ValueError at"),
        (lambda identities: None, Unavailable, "TypeError at"),
        (lambda identities: {KARI: None}, Unavailable, "AttributeError at"),
        (lambda identities: {KARI: contact(None)}, Unavailable, "TypeError at"),  # type: ignore[arg-type]
        (fails(OperationalError, "away"), OperationalError, "away"),
    ],
)
def test_every_failure_is_sorted_and_quotes_nobody(
    do: Callable[[Collection[Identity]], Any], kind: type[Exception], text: str, stub: Stub
) -> None:
    stub.do = staticmethod(do)
    with pytest.raises(kind, match=text) as raised:
        contacts.look_up([KARIS])
    assert KARI.number not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_call_leaves_a_line_in_the_log(known: Know, caplog: pytest.LogCaptureFixture) -> None:
    found(known, PHONE)
    (line,) = [each.getMessage() for each in caplog.records if "contacts asked" in each.msg]
    assert line.startswith("contacts asked kind=person number=1 outcome=1 known duration_ms=")


# What is configured


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({"BACKEND": BACKEND}, ""),
        ({"BACKEND": "no.such.Register"}, "The contact register has no usable BACKEND"),
        ({"BACKEND": "tests.stub.StubGateway"}, "of the contact register is not a register class"),
        ({"BACKEND": BACKEND, "OPTIONS": {"colour": "red"}}, "does not know the option.*colour"),
        (
            {
                "BACKEND": "tests.contacts.registers.NeedyRegister",
                "OPTIONS": {"url": "https://secret@a.example/"},
            },
            "OPTIONS of the contact register do not fit: ValueError",
        ),
        (
            {"BACKEND": "tests.contacts.registers.NeedyRegister"},
            "OPTIONS of the contact register do not fit: .*url",
        ),
    ],
)
def test_a_register_that_cannot_be_made_is_found_by_the_checks(
    configured: dict[str, Any], expected: str, configure: Configure
) -> None:

    configure(CONTACT_REGISTER=configured)
    told = check_settings(None)
    assert len(told) == bool(expected)
    for each in told:
        assert each.id == "instant_notifications.E011"
        assert re.search(expected, each.msg)
        assert "secret" not in each.msg
        assert "CONTACT_REGISTER" in str(each.hint)
        with pytest.raises(NotConfigured, match=expected):
            contacts.look_up([KARIS])


def test_a_thread_keeps_its_register_until_the_settings_change(
    stub: Stub, configure: Configure
) -> None:
    kept = contacts.register()
    assert contacts.register() is kept
    configure(CONTACT_REGISTER={"BACKEND": BACKEND})
    assert contacts.register() is not kept


def test_the_register_of_the_guide_is_one(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "contacts.md"
    (block,) = re.findall(r"card_index.py -->\n```python\n(.*?)```", page.read_text(), re.S)
    namespace: dict[str, Any] = {"__name__": "card_index"}
    exec(block, namespace)
    index = namespace["CardIndex"](cards={KARI.number: "99999999"})
    monkeypatch.setattr(contacts, "register", lambda: index)
    assert contacts.look_up([KARIS, person(OLA.number)])[KARIS] == contact_of(PHONE)
    index.cards = None
    with pytest.raises(Unavailable, match="the drawer is locked"):
        contacts.look_up([KARIS])
