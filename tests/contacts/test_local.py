"""The local register: what it keeps, how it finds it again, and what goes stale."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import contacts
from instant_notifications.contacts import Contact, Identity
from instant_notifications.contacts.local import find, keep, months_before
from instant_notifications.models import ContactEntry
from instant_notifications.recipients import Kind, external, organisation, person
from tests.contacts.registers import FIRM, GUEST, KARI, MAIL, OLA, PHONE, SECRETS
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

KARIS: Final = person(KARI.number)
OLD: Final = timedelta(days=600)


def entry(whom: Identity = KARI, **changes: Any) -> ContactEntry:
    good = {"phone_numbers": [PHONE], "email_addresses": [MAIL], "name": "Kari Nordmann"}
    return ContactEntry(kind=whom.kind, number=whom.number, **{**good, **changes})


def told(recipient: Any = KARIS) -> Contact | None:
    return contacts.look_up([recipient]).get(recipient)


def columns() -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {ContactEntry._meta.db_table}")
        return repr(cursor.fetchall())


def test_every_kind_is_kept_and_found() -> None:
    recipients = [KARIS, organisation(FIRM.number, "Sms"), external(GUEST.number)]
    keep(entry(whom) for whom in (KARI, FIRM, GUEST))
    assert contacts.look_up([*recipients, person(OLA.number)]).keys() == set(recipients)
    assert told() == Contact(
        phone_numbers=(PHONE,), email_addresses=(MAIL,), name="Kari Nordmann", reserved=False
    )


def test_a_name_in_place_of_a_number_is_the_same_in_any_case() -> None:
    keep([entry(GUEST)])
    assert told(external(GUEST.number.upper()))


def test_kinds_do_not_mix() -> None:
    keep([entry(Identity(Kind.ORGANISATION, KARI.number))])
    assert told() is None


def test_what_is_reserved_is_told() -> None:
    keep([entry(reserved=True, phone_numbers=[], email_addresses=[])])
    contact = told()
    assert contact
    assert contact.reserved


# What the database sees


def test_nobody_stands_in_the_table_in_clear() -> None:
    keep([entry(KARI), entry(GUEST, name="Per Nordmann")])
    assert not [secret for secret in SECRETS if secret in columns().lower()]


def test_no_statement_has_a_number_in_clear() -> None:
    with CaptureQueriesContext(connection) as statements:
        keep([entry()])
        assert told()
    said = " ".join(each["sql"] for each in statements)
    assert said
    assert not [secret for secret in SECRETS if secret in said]


def test_a_row_says_nothing_of_whom_it_is_about() -> None:
    keep([entry()])
    row = ContactEntry.objects.get()
    assert str(row) == str(row.pk)
    assert not [secret for secret in SECRETS if secret in repr(row)]


def test_an_unknown_kind_is_refused_by_the_database() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        keep([ContactEntry(kind="planet", number="1")])


@pytest.mark.parametrize("number", [1, 500])
def test_a_batch_costs_one_statement(number: int) -> None:
    people = [person(f"{each:011d}") for each in range(number)]
    keep(entry(Identity(Kind.PERSON, each.identity)) for each in people)
    with CaptureQueriesContext(connection) as statements:
        assert len(contacts.look_up(people)) == number
    assert len(statements) == 1


# What is written over


def test_who_is_known_is_written_over() -> None:
    keep([entry()])
    before = ContactEntry.objects.get()
    keep([entry(phone_numbers=["+4791234567"], email_addresses=[], name="", reserved=True)])
    after = ContactEntry.objects.get()
    assert (after.pk, after.created_at) == (before.pk, before.created_at)
    assert after.updated_at > before.updated_at
    assert (after.phone_numbers, after.email_addresses, after.name) == (["+4791234567"], [], "")
    assert after.reserved


def test_what_nothing_is_said_of_stays() -> None:
    keep([entry(reserved=True)])
    keep([entry(phone_numbers=["+4791234567"])], {"kind", "number", "phone_numbers"})
    row = ContactEntry.objects.get()
    assert row.phone_numbers == ["+4791234567"]
    assert row.email_addresses == [MAIL]
    assert row.reserved


def test_of_the_same_number_twice_the_last_wins() -> None:
    keep([entry(name="Kari"), entry(OLA), entry(name="Kari Nordmann")])
    assert find([KARI])[KARI].name == "Kari Nordmann"
    assert ContactEntry.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_several_may_write_the_same_people_at_once() -> None:
    people = [Identity(Kind.PERSON, f"{each:011d}") for each in range(50)]

    def write(turn: int) -> None:
        keep(entry(each, name=str(turn)) for each in people[:: 1 if turn % 2 else -1])

    at_once(*[lambda turn=turn: write(turn) for turn in range(4)])
    assert ContactEntry.objects.count() == 50


# Keys


def test_who_was_kept_under_an_older_key_is_found_and_written_over(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["the first key"])
    keep([entry()])
    configure(ENCRYPTION_KEYS=["the second key", "the first key"])
    assert told()
    keep([entry(name="Kari"), entry(OLA)])
    assert ContactEntry.objects.count() == 2
    configure(ENCRYPTION_KEYS=["the second key"])
    contact = told()
    assert contact
    assert contact.name == "Kari"


def test_of_two_rows_under_two_keys_the_newer_key_speaks(configure: Configure) -> None:
    """A process that did not know of the rotation yet may have written the other."""
    configure(ENCRYPTION_KEYS=["the second key"])
    keep([entry(name="new")])
    configure(ENCRYPTION_KEYS=["the first key"])
    keep([entry(name="old")])
    configure(ENCRYPTION_KEYS=["the second key", "the first key"])
    contact = told()
    assert contact
    assert contact.name == "new"
    keep([entry(name="newest")])
    assert [each.name for each in ContactEntry.objects.all()] == ["newest"]


def test_with_a_lost_key_nobody_is_known(configure: Configure, settings: Any) -> None:
    keep([entry()])
    settings.SECRET_KEY = "another one altogether, and long enough"
    configure(ENCRYPTION_KEYS=[])
    assert told() is None
    assert ContactEntry.objects.get().phone_numbers == []


# What is stale


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-21", "2025-05-21"),
        ("2026-08-31", "2025-02-28"),
        ("2025-08-30", "2024-02-29"),
        ("2026-06-15", "2024-12-15"),
        ("2026-07-01", "2025-01-01"),
        ("2026-12-31", "2025-06-30"),
    ],
)
def test_eighteen_months_are_counted_by_the_calendar(moment: str, expected: str) -> None:
    assert months_before(at(moment), 18) == at(expected)


def at(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)


def test_what_is_stale_counts_as_none_unless_it_is_asked_for(clock: Any) -> None:
    confirmed_at = months_before(timezone.now(), 18)
    keep([entry(confirmed_at=confirmed_at)])
    assert told()
    clock.go(timedelta(seconds=1))
    assert told() is None
    assert told(person(KARI.number, use_stale=True))


def test_that_somebody_is_reserved_does_not_go_stale() -> None:
    keep([entry(reserved=True, confirmed_at=timezone.now() - OLD)])
    contact = told()
    assert contact
    assert contact.reserved
    assert [*contact.phone_numbers, *contact.email_addresses] == []
    assert told(person(KARI.number, use_stale=True)).phone_numbers == (PHONE,)  # type: ignore[union-attr]
