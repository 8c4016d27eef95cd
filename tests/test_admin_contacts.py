"""The contact register's pages: who sees what, what a form takes, and what the log remembers."""

import logging
from collections.abc import Iterator
from typing import Any, Final

import django
import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils.log import AdminEmailHandler

from instant_notifications.contacts import local
from instant_notifications.models import ContactEntry
from tests.console import somebody
from tests.contacts.registers import FIRM, GUEST, KARI, MAIL, OLA, PHONE

pytestmark = pytest.mark.django_db

PREFIX: Final = "admin:instant_notifications_contactentry_"
LIST: Final = reverse(f"{PREFIX}changelist")
ADD: Final = reverse(f"{PREFIX}add")
SEARCH: Final = reverse(f"{PREFIX}search")
ROOT: Final = "root@example.com"
IN_CLEAR: Final = (KARI.number, "9999999", "999 99", MAIL, "Nordmann")

FORM: Final = {
    "kind": "person",
    "number": "010170 12345",
    "name": " Kari Nordmann ",
    "phone_numbers": "999 99 999\r\n\r\n+4791234567\r\n+4799999999",
    "email_addresses": MAIL,
    "confirmed_at_0": "2026-01-31",
    "confirmed_at_1": "12:00:00",
}


@pytest.fixture(autouse=True)
def _nobody_in_the_admins_log() -> Iterator[None]:
    yield
    said = [f"{each.object_repr} {each.change_message}" for each in LogEntry.objects.all()]
    assert not [line for line in said if any(secret in line for secret in IN_CLEAR)]


@pytest.fixture
def viewer() -> Client:
    return somebody("view_contactentry")


@pytest.fixture
def keeper() -> Client:
    names = [f"{act}_contactentry" for act in ("view", "add", "change", "delete")]
    return somebody(*names, name="kari")


@pytest.fixture
def karis() -> ContactEntry:
    entry = ContactEntry(
        kind=KARI.kind,
        number=KARI.number,
        name="Kari Nordmann",
        phone_numbers=[PHONE],
        email_addresses=[MAIL],
    )
    local.keep([entry])
    return ContactEntry.objects.get()


def page_of(entry: ContactEntry, view: str = "change") -> str:
    return reverse(f"{PREFIX}{view}", args=[entry.pk])


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return str(answer.content.decode())


def in_clear(html: str) -> list[str]:
    return [each for each in IN_CLEAR if each in html]


# Who sees what


def test_the_list_is_masked_for_everybody(
    viewer: Client, keeper: Client, karis: ContactEntry
) -> None:
    for client in (viewer, keeper):
        html = page(client, LIST)
        assert in_clear(html) == []
        for masked in ("** ** ** 45", "K. N.", "+47 ** ** ** 99", "k***@example.com"):
            assert masked in html


def test_whoever_may_only_look_sees_a_masked_page(viewer: Client, karis: ContactEntry) -> None:
    for view in ("change", "history"):
        html = page(viewer, page_of(karis, view))
        assert in_clear(html) == []
    assert "k***@example.com" in page(viewer, page_of(karis))
    assert viewer.post(page_of(karis), FORM).status_code == 403


def test_whoever_keeps_the_register_sees_it_in_clear(keeper: Client, karis: ContactEntry) -> None:
    answer = keeper.get(page_of(karis))
    html = answer.content.decode()
    assert all(each in html for each in (KARI.number, PHONE, MAIL, "Kari Nordmann"))
    assert "no-store" in answer.headers["Cache-Control"]


def test_what_is_stale_is_marked(viewer: Client, karis: ContactEntry) -> None:
    assert "(stale)" not in page(viewer, LIST)
    ContactEntry.objects.update(confirmed_at="2020-01-01T00:00Z")
    assert "(stale)" in page(viewer, LIST)


def test_what_cannot_be_read_any_more_breaks_no_page(
    keeper: Client, viewer: Client, karis: ContactEntry
) -> None:
    ContactEntry.objects.update(number=None, name=None)
    for client in (keeper, viewer):
        page(client, LIST)
        page(client, page_of(karis))
    form = {name: value for name, value in FORM.items() if name not in ("kind", "number")}
    assert keeper.post(page_of(karis), form).status_code == 302
    assert ContactEntry.objects.get().digest == karis.digest


def test_an_external_identity_is_masked(viewer: Client) -> None:
    urn = "urn:altinn:person:idporten-email:guest@example.com"
    local.keep([ContactEntry(kind="external", number=n) for n in (urn, GUEST.number)])
    html = page(viewer, LIST)
    assert "g***@example.com" in html
    assert "guest@" not in html
    assert "Guest" not in html


# What a form takes


def test_a_contact_is_added_and_found(keeper: Client) -> None:
    assert keeper.post(ADD, FORM).status_code == 302
    entry = local.find([KARI])[KARI]
    assert (entry.number, entry.name) == (KARI.number, "Kari Nordmann")
    assert (entry.phone_numbers, entry.email_addresses) == ([PHONE, "+4791234567"], [MAIL])
    (logged,) = LogEntry.objects.all()
    assert (logged.object_repr, logged.get_change_message()) == (str(entry.pk), "Added.")


def test_a_contact_is_changed_and_the_log_tells_what_but_not_how(
    keeper: Client, karis: ContactEntry
) -> None:
    form = {**FORM, "phone_numbers": "40000000", "reserved": "on", "kind": "organisation"}
    assert keeper.post(page_of(karis), {**form, "number": OLA.number}).status_code == 302
    entry = local.find([KARI])[KARI]
    assert (entry.pk, entry.kind, entry.number) == (karis.pk, "person", KARI.number)
    assert (entry.phone_numbers, entry.reserved) == (["+4740000000"], True)
    assert entry.updated_at > karis.updated_at
    (logged,) = LogEntry.objects.all()
    assert logged.get_change_message() == "Changed Mobile numbers, Reserved and Confirmed."
    assert "Changed Mobile numbers" in page(keeper, page_of(karis, "history"))


def test_a_contact_is_deleted(keeper: Client, karis: ContactEntry) -> None:
    address = page_of(karis, "delete")
    assert in_clear(page(keeper, address)) == []
    keeper.post(address, {"post": "yes"})
    assert not ContactEntry.objects.exists()
    assert LogEntry.objects.get().is_deletion()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"number": "0101701234"}, "National identity number must be 11 digits long."),
        ({"kind": "organisation"}, "Organization number must be 9 digits long."),
        ({"kind": "external"}, "Invalid external identity URN format."),
        ({"kind": "planet"}, "Select a valid choice"),
        ({"number": ""}, "This field is required"),
        (
            {"phone_numbers": f"{PHONE}\r\n22334455"},
            "Line 2: Recipient phone number is not a valid mobile number.",
        ),
        ({"email_addresses": "kari@"}, "Line 1: Invalid email address format."),
        ({"email_addresses": "a@example.com\x00"}, "characters that cannot be sent"),
        ({"name": "Kari\x1bNordmann"}, "The Name field contains characters that cannot be sent."),
        ({"name": "x" * 256}, "at most 255 characters"),
        ({"confirmed_at_0": "2999-01-01"}, "Expected a time that has passed."),
        ({"confirmed_at_0": "soon"}, "Enter a valid date"),
    ],
)
def test_what_breaks_a_rule_is_not_kept(
    change: dict[str, str], complaint: str, keeper: Client
) -> None:
    answer = keeper.post(ADD, {**FORM, **change})
    assert answer.status_code == 200
    assert complaint in answer.content.decode()
    assert not ContactEntry.objects.exists()


def test_there_is_one_contact_of_a_number(
    keeper: Client, karis: ContactEntry, configure: Any
) -> None:
    configure(ENCRYPTION_KEYS=["a newer key"])
    answer = keeper.post(ADD, FORM)
    assert "There is a contact of this number already." in answer.content.decode()
    assert ContactEntry.objects.count() == 1


# How one is found


@pytest.mark.parametrize("term", [KARI.number, f" {KARI.number[:6]} {KARI.number[6:]} "])
def test_a_number_leads_to_its_page(term: str, viewer: Client, karis: ContactEntry) -> None:
    answer = viewer.post(SEARCH, {"term": term})
    assert answer.headers["Location"] == page_of(karis)


@pytest.mark.parametrize("term", ["", OLA.number, FIRM.number, GUEST.number, "\x00", "Kari", PHONE])
def test_a_number_of_nobody_leads_back_and_is_not_repeated(
    term: str, viewer: Client, karis: ContactEntry
) -> None:
    answer = viewer.post(SEARCH, {"term": term}, follow=True)
    assert answer.redirect_chain == [(LIST, 302)]
    html = answer.content.decode()
    assert "There is no contact of this number." in html
    assert not term.strip("\x00") or term not in html


def test_nothing_is_searched_for_by_an_address(viewer: Client, karis: ContactEntry) -> None:
    assert viewer.get(SEARCH, {"term": KARI.number}).status_code == 405
    assert "?q=" not in page(viewer, LIST)


# What a report of an error says


@pytest.mark.parametrize(("act", "form"), [("get", {}), ("post", FORM)])
def test_no_report_of_an_error_quotes_a_contact(
    act: str,
    form: Any,
    keeper: Client,
    karis: ContactEntry,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    settings.ADMINS = [ROOT if django.VERSION >= (6,) else ("root", ROOT)]
    handler = AdminEmailHandler(include_html=True)
    logger = logging.getLogger("django.request")
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(local, "is_stale", _breaks)
    monkeypatch.setattr(local, "digests", _breaks)
    monkeypatch.setattr("instant_notifications.admin.contacts.Lines.prepare_value", _breaks)
    keeper.raise_request_exception = False
    assert getattr(keeper, act)(page_of(karis), form).status_code == 500
    (report,) = mail.outbox
    told = f"{report.subject} {report.body} {report.alternatives}"
    assert "RuntimeError" in told
    assert in_clear(told) == []


def _breaks(*args: Any) -> None:
    raise RuntimeError("broken")
