from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from instant_notifications.exceptions import InvalidMessage, OpenTransaction
from instant_notifications.models import Order
from instant_notifications.orders import send_email, send_sms

Configure = Callable[..., None]


@pytest.mark.django_db
def test_an_sms_is_taken_by_the_gateway_and_reported(stub: Any) -> None:
    sent = send_sms("+47 99 99 99 99", "Your code is 428516", idempotency_id="a")
    assert sent.status == "SMS_Accepted"
    assert not sent.replayed
    assert [message.destination for message in stub.seen] == ["+4799999999"]


@pytest.mark.django_db
def test_the_same_id_sends_once(stub: Any) -> None:
    first = send_sms("+4799999999", "hello", idempotency_id="a")
    second = send_sms("+4799999999", "hello", idempotency_id="a")
    assert second.replayed
    assert (second.order_id, second.shipment_id) == (first.order_id, first.shipment_id)
    assert len(stub.seen) == 1


@pytest.mark.django_db(transaction=True)
def test_an_open_transaction_is_refused_and_leaves_nothing(stub: Any) -> None:
    with transaction.atomic(), pytest.raises(OpenTransaction, match="on_commit"):
        send_sms("+4799999999", "hello")
    assert not stub.seen
    assert not Order.objects.exists()


def test_every_broken_rule_is_named_and_no_value_repeated() -> None:
    with pytest.raises(InvalidMessage) as raised:
        send_email("not-an-address", " ", "")
    assert set(raised.value.errors) == {"to", "subject", "body"}
    assert "not-an-address" not in str(raised.value)
