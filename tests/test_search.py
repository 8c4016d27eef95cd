"""Whatever an operator has in hand leads to the message."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import recipients, search
from instant_notifications.models import Delivery, Plan
from instant_notifications.orders import Reminder, Sent, send_email, send_sms
from instant_notifications.recipients import Recipient
from tests import regular

pytestmark = pytest.mark.django_db

NUMBER: Final = "+4799999966"
ADDRESS: Final = "kari@example.com"
URN: Final = "urn:altinn:person:idporten-email:kari@example.com"


@pytest.fixture
def sms(stub: Any) -> Sent:
    send_sms("+4799999967", "another", idempotency_id="login-18", senders_reference="case-8")
    return send_sms(NUMBER, "It is 428516", idempotency_id="login-17", senders_reference="case-7")


@pytest.fixture
def email(stub: Any) -> Sent:
    send_email("ola@example.com", "Hi", "another")
    return send_email(ADDRESS, "Hi", "It is 428516")


def test_by_each_id_and_reference(sms: Sent) -> None:
    delivery = Delivery.objects.get(shipment=sms.shipment_id)
    terms = [sms.shipment_id, sms.order_id, delivery.pk, delivery.gateway_reference]
    for term in [*map(str, terms), sms.shipment_id.hex.upper(), "login-17", "case-7", " case-7\n"]:
        assert search.find(term) == [sms.shipment_id], term


@pytest.mark.parametrize(
    "spelling",
    [
        *(
            NUMBER,
            "004799999966",
            "4799999966",
            "+47 999 99 966",
            "+47 99 99 99 66",
            "tel:+4799999966",
        ),
        *(
            "(+47) 999-99-966",
            "+47.999.99.966",
            "+47\u00a0999\u00a099\u00a0966",
            "+47 999\u201199\u2011966",
        ),
        "\uff0b\uff14\uff17 99999966",
    ],
    ids=ascii,
)
def test_by_a_number_in_any_spelling(spelling: str, sms: Sent) -> None:
    assert search.find(spelling) == [sms.shipment_id]


def test_a_number_without_its_country_needs_a_region(
    sms: Sent, settings: Any, configure: Any
) -> None:
    assert search.find("999 99 966") == []
    settings.PHONENUMBER_DEFAULT_REGION = "NO"
    assert search.find("999 99 966") == [sms.shipment_id]
    del settings.PHONENUMBER_DEFAULT_REGION
    configure(ALLOWED_REGIONS=["SE", "NO"])
    assert search.find("999 99 966") == [sms.shipment_id]


@pytest.mark.parametrize(
    "spelling", [ADDRESS, f" {ADDRESS}", "KARI@Example.COM", f"mailto:{ADDRESS}"]
)
def test_by_an_address_in_any_case(spelling: str, email: Sent) -> None:
    assert search.find(spelling) == [email.shipment_id]


@pytest.mark.parametrize(
    "part", ["9966", "+47", "999999", "kari", "@example.com", "example.com", "login", "case-", "%"]
)
def test_never_by_a_part(part: str, sms: Sent, email: Sent) -> None:
    assert search.find(part) == []


def test_every_organisations_messages_the_newest_first(stub: Any) -> None:
    sent = [
        send_sms(NUMBER, "same", idempotency_id="same", creator=creator).shipment_id
        for creator in ("ttd", "skd", "nav")
    ]
    assert search.find("same") == search.find(NUMBER) == sent[::-1]


@pytest.mark.parametrize(
    ("whom", "spelling"),
    [
        (regular.PERSON, "01010112345"),
        (regular.PERSON, " 010101 12345 "),
        (regular.COMPANY, "987654321"),
        (regular.COMPANY, "987 654 321"),
        (regular.PHONE, "+47 999 99 999"),
        (regular.MAILBOX, "KARI@Example.com"),
        (recipients.external(URN), URN),
    ],
    ids=ascii,
)
def test_by_whom_a_regular_order_names(whom: Recipient, spelling: str, stub: Any) -> None:
    regular.order(regular.phones(2), email=None)
    placed = regular.order(iter([whom]), at=timezone.now() + timedelta(days=1))
    assert search.find(spelling) == [placed.notification.shipment_id]


def test_who_is_named_is_found_once_it_was_sent_too_and_with_the_reminders(stub: Any) -> None:
    regular.keep_contact(phones=[NUMBER])
    reminder = Reminder(days=1, sms=regular.SMS, email=regular.EMAIL)
    placed = regular.order(regular.PERSON, reminders=[reminder])
    regular.sent(placed)
    assert search.find("01010112345") == sorted(regular.shipments(placed), reverse=True)
    assert search.find(NUMBER) == [placed.notification.shipment_id]


def test_whoever_has_been_forgotten_is_not_found(stub: Any) -> None:
    regular.order(iter([regular.PERSON]))
    Plan.objects.update(recipient_digest="")
    assert search.find("01010112345") == []


def test_numbers_of_people_stand_in_no_statement(stub: Any) -> None:
    for term in ("01010112345", "010101 12345", "974760673", "974 760 673", URN):
        with CaptureQueriesContext(connection) as queries:
            search.find(term)
        assert queries
        assert not [each for each in queries if term.replace(" ", "") in each["sql"]]
        assert not [each for each in queries if term in each["sql"]]


def test_nine_digits_may_be_a_reference(stub: Any) -> None:
    sent = send_sms(NUMBER, "x", senders_reference="123456789")
    assert search.find("123456789") == [sent.shipment_id]


def test_no_more_than_anybody_reads(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST", 3)
    sent = [send_sms(NUMBER, "x", senders_reference="r").shipment_id for _ in range(5)]
    assert search.find(NUMBER) == search.find("r") == sent[:1:-1]


def test_what_has_been_erased_is_not_found(sms: Sent) -> None:
    Delivery.objects.update(destination=None, destination_digest="")
    assert search.find(NUMBER) == []


@pytest.mark.parametrize("secrets", [["new", "insecure-old"], ["insecure-old", "new"]])
def test_keys_may_be_rotated(secrets: list[str], stub: Any, configure: Any) -> None:
    configure(ENCRYPTION_KEYS=["insecure-old"])
    sent = send_sms(NUMBER, "x")
    configure(ENCRYPTION_KEYS=secrets)
    assert search.find(NUMBER) == [sent.shipment_id]


@pytest.mark.parametrize("term", ["", " ", "\0", "\ud800", "a" * 10_000, "9" * 5000, "+" * 99])
def test_nothing_odd_breaks_it(term: str, sms: Sent) -> None:
    assert search.find(term) == []


def test_nothing_is_decrypted_and_the_statements_are_few(sms: Sent) -> None:
    for term, most in ((" ", 0), (str(UUID(int=7)), 6), (NUMBER, 4), (ADDRESS, 4), ("case-7", 3)):
        with CaptureQueriesContext(connection) as queries:
            search.find(term)
        assert len(queries) <= most
        assert not [each for each in queries if '"destination"' in each["sql"]]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="Plans are read on PostgreSQL only.")
def test_every_look_up_goes_by_an_index(sms: Sent) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for term in (str(sms.shipment_id), NUMBER, "case-7", "01010112345", URN):
            for look in search._LOOKS:
                for rows in look(term):
                    plan = rows.order_by("-pk").values_list("pk")[:100].explain()
                    assert "Seq Scan" not in plan, plan
