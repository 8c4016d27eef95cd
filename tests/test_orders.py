"""The public Python API: what a call returns, what it raises, and what it leaves behind."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from instant_notifications import feed
from instant_notifications.exceptions import (
    ContentMismatch,
    HandoverFailed,
    InvalidMessage,
    NotConfigured,
    OpenTransaction,
    OutcomeUnknown,
    Rejected,
    StillUnderWay,
    Unavailable,
)
from instant_notifications.feed import order_status
from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery, IdempotencyRecord, Order, Shipment
from instant_notifications.orders import Sent, send_email, send_sms
from instant_notifications.receipts import record_receipt
from tests.outcomes import fails, in_turn, meanwhile, rows_left
from tests.stub import take
from tests.threads import at_once

Configure = Callable[..., None]


def sms(**changes: Any) -> Sent:
    return send_sms(**{"to": "+4799999999", "body": "hello", "idempotency_id": "a"} | changes)


def email(**changes: Any) -> Sent:
    good = {"to": "kari@example.com", "subject": "Hi", "body": "hello", "idempotency_id": "a"}
    return send_email(**good | changes)


both_channels = pytest.mark.parametrize("send", [sms, email])


@pytest.mark.django_db
def test_an_sms_is_taken_by_the_gateway_and_reported(stub: Any) -> None:
    sent = send_sms("+47 99 99 99 99", "Your code is 428516", idempotency_id="a")
    assert sent.status == "SMS_Accepted"
    assert not sent.replayed
    assert [message.destination for message in stub.seen] == ["+4799999999"]


@pytest.mark.django_db
def test_an_email_is_taken_by_the_gateway_and_reported(stub: Any) -> None:
    sent = send_email(" kari@example.com", "Hi\nthere", "<p>x</p>", content_type="html")
    assert sent.status == "Email_Succeeded"
    (message,) = stub.seen
    assert (message.destination, message.subject) == ("kari@example.com", "Hi there")
    assert message.content_type == "Html"


@pytest.mark.django_db
@both_channels
def test_the_same_id_sends_once(send: Callable[..., Sent], stub: Any) -> None:
    first, second = send(), send()
    assert second.replayed
    assert not second.content_differs
    assert (second.order_id, second.shipment_id) == (first.order_id, first.shipment_id)
    assert len(stub.seen) == 1


@pytest.mark.django_db
@both_channels
def test_a_result_tells_where_to_look_and_shows_nothing_personal(
    send: Callable[..., Sent], stub: Any
) -> None:
    sent = send(senders_reference="session 17")
    assert sent.order_id == Order.objects.get().pk
    assert sent.shipment_id == Shipment.objects.get().pk
    assert sent.senders_reference == "session 17"
    assert "session 17" not in repr(sent)


@pytest.mark.django_db
@both_channels
def test_a_replay_tells_the_status_of_now(send: Callable[..., Sent], stub: Any) -> None:
    first = send()
    word = f"{first.status.split('_')[0]}_Delivered"
    record_receipt("stub", Receipt(reference=str(Delivery.objects.get().pk), status=word))
    assert send().status == word


@pytest.mark.django_db
def test_without_an_id_each_call_is_a_message_of_its_own(stub: Any) -> None:
    for blank in ("", None, "  "):
        sms(idempotency_id=blank)
    assert len(stub.seen) == 3
    assert IdempotencyRecord.objects.values("key").distinct().count() == 3


@pytest.mark.django_db
@both_channels
def test_other_content_is_told_apart(
    send: Callable[..., Sent], stub: Any, configure: Configure
) -> None:
    send()
    assert send(body="other").content_differs
    configure(IDEMPOTENCY_MISMATCH="reject")
    with pytest.raises(ContentMismatch):
        send(body="other")
    assert send().replayed
    assert len(stub.seen) == 1


@pytest.mark.django_db
@both_channels
def test_creators_do_not_meet(send: Callable[..., Sent], stub: Any, configure: Configure) -> None:
    configure(DEFAULT_CREATOR="ours")
    sent = [send(), send(creator="theirs"), send(creator="ours")]
    assert [each.replayed for each in sent] == [False, False, True]
    assert set(Shipment.objects.values_list("creator", flat=True)) == {"ours", "theirs"}
    assert feed.read_manifest("theirs", sent[1].shipment_id)
    assert feed.read_manifest("ours", sent[1].shipment_id) is None


@pytest.mark.django_db
def test_the_default_creator_is_the_settings(stub: Any) -> None:
    sms()
    assert Order.objects.get().creator == "local"


@pytest.mark.django_db
def test_senders_are_approved_for_each_creator(stub: Any, configure: Configure) -> None:
    configure(APPROVED_SENDERS={"ours": {"sms": ["Skatt"], "email": ["a@example.com"]}})
    for send, good, bad in ((sms, "Skatt", "Nav"), (email, "a@example.com", "b@example.com")):
        assert send(creator="ours", sender=good, idempotency_id="good")
        assert send(creator="theirs", sender=bad)
        with pytest.raises(InvalidMessage) as raised:
            send(creator="ours", sender=bad)
        assert set(raised.value.errors) == {"sender"}


FAILURES: list[type[HandoverFailed]] = [Rejected, Unavailable, OutcomeUnknown]


@pytest.mark.django_db
@both_channels
@pytest.mark.parametrize("kind", FAILURES)
def test_each_failure_tells_where_to_look(
    send: Callable[..., Sent], kind: type[HandoverFailed], stub: Any
) -> None:
    stub.do = fails(kind, "simulated")
    with pytest.raises(kind) as raised:
        send()
    assert type(raised.value) is kind
    assert raised.value.order_id == Order.objects.get().pk
    assert raised.value.shipment_id == Shipment.objects.get().pk
    assert raised.value.gateway == "stub"
    assert raised.value.reason == "simulated"


@pytest.mark.django_db
@both_channels
@pytest.mark.parametrize(
    ("kind", "again", "sent"), [(Rejected, Rejected, 1), (OutcomeUnknown, OutcomeUnknown, 1)]
)
def test_a_final_or_unknown_failure_is_repeated_without_sending(
    send: Callable[..., Sent], kind: type[Exception], again: type[Exception], sent: int, stub: Any
) -> None:
    stub.do = in_turn(fails(kind), take)
    for expected in (kind, again):
        with pytest.raises(expected) as raised:
            send()
        assert raised.value.shipment_id == Shipment.objects.get().pk  # type: ignore[attr-defined]
    assert len(stub.seen) == sent


@pytest.mark.django_db
@both_channels
def test_after_a_safe_failure_the_next_call_sends(send: Callable[..., Sent], stub: Any) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    with pytest.raises(Unavailable) as raised:
        send()
    sent = send()
    assert not sent.replayed
    assert sent.shipment_id == raised.value.shipment_id
    assert [message.attempt for message in stub.seen] == [1, 2]


@pytest.mark.django_db
def test_a_call_that_meets_its_equal_gives_up_in_time(stub: Any, configure: Configure) -> None:
    configure(WAIT_FOR_DUPLICATE=0.03)
    raised: list[StillUnderWay] = []

    def meet() -> None:
        with pytest.raises(StillUnderWay) as caught:
            sms()
        raised.append(caught.value)

    stub.do = meanwhile(meet)
    sent = sms()
    assert raised[0].shipment_id == sent.shipment_id
    assert raised[0].retry_after == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("do", "outcomes"),
    [
        (take, [False] + [True] * 5),
        (fails(OutcomeUnknown), [OutcomeUnknown] * 6),
        (fails(Rejected), [Rejected] * 6),
    ],
    ids=["taken", "unknown", "refused"],
)
def test_equal_calls_at_once_send_once(do: Any, outcomes: list[Any], stub: Any) -> None:
    def call() -> Any:
        try:
            return sms().replayed
        except HandoverFailed as failure:
            return type(failure)

    stub.do = do
    assert sorted(at_once(*[call] * 6), key=str) == sorted(outcomes, key=str)
    assert len(stub.seen) == 1
    assert Order.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@both_channels
def test_an_open_transaction_is_refused_and_leaves_nothing(
    send: Callable[..., Sent], stub: Any
) -> None:
    with transaction.atomic(), pytest.raises(OpenTransaction, match="on_commit"):
        send()
    assert not stub.seen
    assert not Order.objects.exists()


@pytest.mark.django_db(transaction=True)
@both_channels
def test_a_repeat_too_is_refused_inside_a_transaction(send: Callable[..., Sent], stub: Any) -> None:
    send()
    with transaction.atomic(), pytest.raises(OpenTransaction):
        send()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_of_ones_own_is_refused_too(stub: Any) -> None:
    connection.set_autocommit(False)
    try:
        with pytest.raises(OpenTransaction):
            sms()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert rows_left() == []
    assert not stub.seen


@pytest.mark.django_db
def test_a_test_case_of_the_host_may_send_but_not_inside_its_own_block(stub: Any) -> None:
    assert connection.in_atomic_block
    with transaction.atomic(), pytest.raises(OpenTransaction):
        sms()
    assert sms().status == "SMS_Accepted"


@pytest.mark.django_db(transaction=True)
def test_on_commit_is_the_place_to_send(stub: Any) -> None:
    with transaction.atomic():
        transaction.on_commit(sms)
        assert not stub.seen
    assert len(stub.seen) == 1


@pytest.mark.django_db(transaction=True)
def test_without_the_database_nothing_is_sent(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.close()
    with monkeypatch.context() as away:
        away.setattr(type(connection._connections["default"]), "connect", fails_to_connect)
        with pytest.raises(Unavailable):
            sms()
    assert not stub.seen
    assert rows_left() == []


def fails_to_connect(self: Any) -> None:
    raise OperationalError("the database is away")


@pytest.mark.django_db
def test_a_channel_without_a_gateway_says_what_to_set(stub: Any, configure: Configure) -> None:
    configure(ROUTES={"email": ["stub"]})
    with pytest.raises(NotConfigured, match=r"ROUTES'\]\['sms'\]"):
        sms()
    assert rows_left() == []


def test_every_broken_rule_is_named_and_no_value_repeated() -> None:
    with pytest.raises(InvalidMessage) as raised:
        send_email("not-an-address", " ", "")
    assert set(raised.value.errors) == {"to", "subject", "body"}
    assert "not-an-address" not in str(raised.value)


ARGUMENTS: list[tuple[Callable[..., Sent], dict[str, Any]]] = [
    (sms, {"to": None}),
    (sms, {"to": 4799999999}),
    (sms, {"body": "\x00"}),
    (sms, {"body": "x" * 3000}),
    (sms, {"time_to_live": 59}),
    (sms, {"time_to_live": 60.0}),
    (sms, {"time_to_live": True}),
    (sms, {"sender": "x" * 65}),
    (sms, {"idempotency_id": "x" * 256}),
    (sms, {"idempotency_id": 17}),
    (sms, {"senders_reference": "\ud800"}),
    (sms, {"creator": "x" * 256}),
    (sms, {"creator": "a\x00b"}),
    (email, {"to": "kari"}),
    (email, {"subject": "x" * 999}),
    (email, {"body": None}),
    (email, {"content_type": "Markdown"}),
    (email, {"time_to_live": 0}),
    (email, {"sender": "Kari <kari@example.com>"}),
    (email, {"idempotency_id": "\x07"}),
]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("send", "change"), ARGUMENTS, ids=[f"{s.__name__} {c!a:.40}" for s, c in ARGUMENTS]
)
def test_every_argument_is_checked(
    send: Callable[..., Sent], change: dict[str, Any], stub: Any
) -> None:
    with pytest.raises(InvalidMessage) as raised:
        send(**change)
    assert set(raised.value.errors) == set(change)
    assert not stub.seen
    assert rows_left() == []


@pytest.mark.django_db
def test_nothing_personal_is_kept_in_clear(stub: Any) -> None:
    sms(body="Your code is 428516", senders_reference="")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM instant_notifications_delivery")
        row = repr(cursor.fetchall())
    assert "428516" not in row
    assert "99999999" not in row


@pytest.mark.django_db
def test_the_rows_of_a_reservation_say_what_was_asked_for(stub: Any) -> None:
    reserved: list[Delivery] = []

    def look(message: Message) -> Receipt:
        reserved.append(Delivery.objects.select_related("shipment__order").get())
        return take(message)

    stub.do = look
    sms(body="x" * 161, senders_reference="r", time_to_live=60)
    (delivery,) = reserved
    assert (delivery.status, delivery.handover, delivery.attempts) == (
        "SMS_Sending",
        "under_way",
        1,
    )
    assert delivery.segments == 2
    assert (delivery.expires_at - delivery.created_at).total_seconds() == 60
    assert delivery.leased
    assert order_status([delivery], timezone.now()) == "Order_Processing"
    assert delivery.shipment.senders_reference == "r"
