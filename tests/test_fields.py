import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core import serializers
from django.core.exceptions import FieldError
from django.db import connection
from django.utils import timezone

from instant_notifications import privacy
from instant_notifications.fields import EncryptedTextField
from instant_notifications.models import ContactEntry, Delivery, Order, Shipment

Configure = Callable[..., None]

PHONE = "+4799999999"
BODY = '{"body": "Your code is 428516"}'

pytestmark = pytest.mark.django_db


def deliver(destination: str | None = PHONE, content: str | None = BODY) -> Delivery:
    order = Order.objects.create(creator="ttd")
    shipment = Shipment.objects.create(order=order, type="Instant")
    return Delivery.objects.create(
        shipment=shipment,
        channel="sms",
        destination=destination,
        destination_digest=privacy.digest(destination or ""),
        content=content,
        status="SMS_Accepted",
        handover="taken",
        expires_at=timezone.now(),
    )


def raw_rows() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT destination, content FROM instant_notifications_delivery")
        return list(cursor.fetchall())


def test_a_row_reads_as_it_was_written() -> None:
    saved = Delivery.objects.get(pk=deliver().pk)
    assert (saved.destination, saved.content) == (PHONE, BODY)


def test_the_database_holds_only_ciphertext() -> None:
    deliver()
    ((destination, content),) = raw_rows()
    assert "99999999" not in destination
    assert "428516" not in content
    assert privacy.decrypt(destination) == PHONE


def test_erased_means_null_in_the_database() -> None:
    deliver(destination=None, content=None)
    assert raw_rows() == [(None, None)]
    assert Delivery.objects.get().destination is None


def test_empty_text_is_not_the_same_as_erased() -> None:
    deliver(content="")
    assert Delivery.objects.get().content == ""
    assert raw_rows()[0][1]


@pytest.mark.parametrize("change", ["update", "save", "bulk_update"])
def test_every_way_of_writing_encrypts(change: str) -> None:
    delivery = deliver()
    delivery.content = "another 731906"
    match change:
        case "update":
            Delivery.objects.update(content=delivery.content)
        case "save":
            delivery.save(update_fields=["content"])
        case _:
            Delivery.objects.bulk_update([delivery], ["content"])
    assert "731906" not in raw_rows()[0][1]
    assert Delivery.objects.get().content == "another 731906"
    assert list(Delivery.objects.values_list("content", flat=True)) == ["another 731906"]


@pytest.mark.parametrize("lookup", ["exact", "iexact", "contains", "startswith", "in", "regex"])
def test_ciphertext_cannot_be_searched(lookup: str) -> None:
    with pytest.raises(FieldError):
        Delivery.objects.filter(**{f"destination__{lookup}": PHONE})


def test_erased_rows_can_be_found() -> None:
    erased, kept = deliver(destination=None), deliver()
    assert Delivery.objects.get(destination__isnull=True) == erased
    assert Delivery.objects.get(destination__isnull=False) == kept


def test_rows_of_a_replaced_key_are_read_and_found(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    before = deliver()
    configure(ENCRYPTION_KEYS=["new", "old"])
    after = deliver()
    assert {each.destination for each in Delivery.objects.all()} == {PHONE}
    assert set(Delivery.objects.to(PHONE)) == {before, after}


def test_rows_of_a_replaced_secret_key_are_read_and_found(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    before = deliver()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert Delivery.objects.get().destination == PHONE
    assert Delivery.objects.get().content == BODY
    assert Delivery.objects.to(PHONE).get() == before


def test_others_are_not_found() -> None:
    deliver()
    assert not Delivery.objects.to("+4799999998").exists()


def test_an_email_address_is_found_in_any_case() -> None:
    sent = deliver(destination="Kari@example.com")
    assert Delivery.objects.to("kari@EXAMPLE.com").get() == sent


def test_a_lost_key_reads_as_erased_and_is_logged(
    configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    deliver()
    configure(ENCRYPTION_KEYS=["new"])
    readable = deliver()
    with caplog.at_level(logging.DEBUG):
        rows = {each.pk: each.destination for each in Delivery.objects.all()}
    assert sorted(rows.values(), key=str) == [PHONE, None]
    assert rows[readable.pk] == PHONE
    assert "field=destination" in caplog.text
    assert PHONE not in caplog.text


def test_a_row_that_was_never_encrypted_reads_as_erased() -> None:
    deliver()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE instant_notifications_delivery SET content = 'Grüße'")
    assert Delivery.objects.get().content is None


def test_a_lost_key_does_not_lose_the_text(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    deliver()
    configure(ENCRYPTION_KEYS=["new"])
    delivery = Delivery.objects.get()
    delivery.status = "SMS_Delivered"
    delivery.save(update_fields=["status"])
    configure(ENCRYPTION_KEYS=["new", "old"])
    assert Delivery.objects.get().destination == PHONE


def test_migrations_find_the_field_where_they_left_it() -> None:
    _, path, _, keywords = EncryptedTextField(null=True).deconstruct()
    assert path == "instant_notifications.fields.EncryptedTextField"
    assert keywords == {"null": True}


def test_a_list_reads_as_it_was_written_and_lies_encrypted() -> None:
    written = ["+4799999999", "", "æ"]
    entry = ContactEntry.objects.create(kind="person", digest="d", phone_numbers=written)
    saved = ContactEntry.objects.get()
    assert (saved.phone_numbers, saved.email_addresses) == (written, [])
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT phone_numbers FROM {ContactEntry._meta.db_table}")
        ((stored,),) = cursor.fetchall()
    assert "99999999" not in stored
    (copy,) = serializers.deserialize("json", serializers.serialize("json", [entry]))
    assert copy.object.phone_numbers == written


def test_a_list_whose_key_is_lost_reads_as_empty(settings: Any) -> None:
    ContactEntry.objects.create(kind="person", digest="d", phone_numbers=[PHONE])
    settings.SECRET_KEY = "another one altogether, and long enough"
    settings.INSTANT_NOTIFICATIONS = {}
    assert ContactEntry.objects.get().phone_numbers == []
