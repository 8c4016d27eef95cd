"""``status_changed``: sent on commit, once for each change, to receivers that can break nothing."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from instant_notifications import record
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.models import Delivery, FeedEntry
from instant_notifications.orders import send_sms
from instant_notifications.receipts import record_receipt
from instant_notifications.signals import status_changed
from instant_notifications.statuses import Cause
from tests.outcomes import Do, expire, fails, in_turn
from tests.stub import take
from tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)

Connect = Callable[[Callable[..., Any]], None]
Heard = list[tuple[str, str, Cause]]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects a receiver for one test."""
    connected = []

    def connect_one(receiver: Callable[..., Any]) -> None:
        status_changed.connect(receiver, weak=False)
        connected.append(receiver)

    yield connect_one
    for receiver in connected:
        status_changed.disconnect(receiver)


@pytest.fixture
def heard(connect: Connect) -> Heard:
    news: Heard = []
    connect(lambda old, new, cause, **_: news.append((old, new, cause)))
    return news


def report(status: str | None, word: str = "said") -> None:
    delivery = Delivery.objects.get()
    record_receipt("stub", Receipt(reference=str(delivery.pk), status=status, word=word))


@pytest.mark.parametrize(
    ("do", "new"),
    [
        (take, "SMS_Accepted"),
        (fails(Rejected, status="SMS_Failed_Rejected"), "SMS_Failed_Rejected"),
        (fails(Unavailable), "SMS_New"),
    ],
)
def test_each_end_of_a_hand_over_is_told(do: Do, new: str, stub: Any, heard: Heard) -> None:
    stub.do = do
    with suppress(HandoverFailed):
        send_sms("+4799999999", "hello")
    assert heard == [("SMS_Sending", new, Cause.HANDOVER)]


def test_the_whole_life_of_a_message_is_told_in_order(stub: Any, heard: Heard) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    with pytest.raises(Unavailable):
        send_sms("+4799999999", "hello", idempotency_id="a")
    send_sms("+4799999999", "hello", idempotency_id="a")
    expire(seconds_ago=1000)
    record.record_expiry(Delivery.objects.get())
    report("SMS_Delivered")
    assert heard == [
        ("SMS_Sending", "SMS_New", Cause.HANDOVER),
        ("SMS_New", "SMS_Sending", Cause.HANDOVER),
        ("SMS_Sending", "SMS_Accepted", Cause.HANDOVER),
        ("SMS_Accepted", "SMS_Failed_TTL", Cause.EXPIRY),
        ("SMS_Failed_TTL", "SMS_Delivered", Cause.RECEIPT),
    ]


def test_nothing_is_told_where_the_word_stays(stub: Any, heard: Heard) -> None:
    stub.do = fails(OutcomeUnknown)
    with pytest.raises(OutcomeUnknown):
        send_sms("+4799999999", "hello")
    report(None, word="MYSTERY")
    assert heard == []
    report("SMS_Delivered")
    report("SMS_Delivered")
    report("SMS_Failed")
    assert heard == [("SMS_Sending", "SMS_Delivered", Cause.RECEIPT)]


def test_equal_receipts_at_once_are_told_once(stub: Any, heard: Heard) -> None:
    send_sms("+4799999999", "hello")
    heard.clear()
    at_once(*[lambda: report("SMS_Delivered")] * 5)
    assert heard == [("SMS_Accepted", "SMS_Delivered", Cause.RECEIPT)]


def test_it_comes_with_the_delivery_and_after_the_commit(stub: Any, connect: Connect) -> None:
    seen = []

    def receiver(sender: Any, delivery: Delivery, new: str, **_: Any) -> None:
        stored = Delivery.objects.get(pk=delivery.pk)
        seen.append((sender, connection.in_atomic_block, delivery.status, stored.status, new))
        seen.append(delivery.shipment.creator)
        seen.append(delivery.destination)

    connect(receiver)
    send_sms("+4799999999", "hello", creator="ttd")
    word = "SMS_Accepted"
    assert seen == [(Delivery, False, word, word, word), "ttd", "+4799999999"]


def test_a_change_that_is_rolled_back_is_not_told(stub: Any, heard: Heard) -> None:
    send_sms("+4799999999", "hello")
    heard.clear()
    with transaction.atomic():
        report("SMS_Delivered")
        assert heard == []
        transaction.set_rollback(True)
    assert heard == []
    assert Delivery.objects.get().status == "SMS_Accepted"


def test_receivers_that_raise_break_neither_the_hand_over_nor_each_other(
    stub: Any, connect: Connect, request: Any, caplog: Any
) -> None:
    def broken(**_: Any) -> None:
        raise ValueError("+4799999999 and 428516")

    connect(broken)
    heard = request.getfixturevalue("heard")
    assert send_sms("+4799999999", "428516").status == "SMS_Accepted"
    report("SMS_Delivered")
    assert [new for _, new, _ in heard] == ["SMS_Accepted", "SMS_Delivered"]
    assert FeedEntry.objects.count() == 1
    failures = [line for line in caplog.messages if "signal receiver failed" in line]
    assert len(failures) == 2
    assert "broken" in failures[0]
    assert "ValueError at " in failures[0]
    assert "428516" not in caplog.text
    assert "99999999" not in caplog.text


def test_a_receiver_with_broken_sql_breaks_nothing(stub: Any, connect: Connect) -> None:
    def broken(**_: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nonsense FROM nowhere")

    connect(broken)
    assert send_sms("+4799999999", "hello").status == "SMS_Accepted"
    report("SMS_Delivered")
    assert Delivery.objects.get().status == "SMS_Delivered"


def test_a_receiver_may_send_another_message(stub: Any, connect: Connect) -> None:
    """The first thing people do: offer a new code by another way when one did not arrive."""

    def offer_another(new: str, **_: Any) -> None:
        if new == "SMS_Failed_Undelivered":
            send_sms("+4791234567", "another way", idempotency_id="another")

    connect(offer_another)
    send_sms("+4799999999", "hello")
    report("SMS_Failed_Undelivered")
    assert [message.body for message in stub.seen] == ["hello", "another way"]


def test_a_receiver_may_be_a_coroutine(stub: Any, connect: Connect) -> None:
    seen = []

    async def receiver(new: str, **_: Any) -> None:
        await asyncio.sleep(0)
        seen.append(new)

    connect(receiver)
    send_sms("+4799999999", "hello")
    assert seen == ["SMS_Accepted"]


def test_listening_costs_no_query(stub: Any, heard: Heard) -> None:
    send_sms("+4799999999", "hello")
    with CaptureQueriesContext(connection) as listening:
        send_sms("+4799999999", "hello")
    assert len(heard) == 2
    with CaptureQueriesContext(connection) as alone:
        send_sms("+4799999999", "hello")
    assert len(listening) == len(alone)
