"""What a person may do about a message: sent again once, cancelled, expired, matched, revealed."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from instant_notifications import receipts
from instant_notifications.exceptions import (
    HandoverFailed,
    NotAllowed,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import Receipt
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    Intervention,
    Order,
    StatusEvent,
    UnmatchedReceipt,
)
from instant_notifications.orders import (
    cancel,
    expire,
    match,
    resend,
    reveal,
    send_email,
    send_sms,
    verdicts,
)
from instant_notifications.statuses import Cause, Handover
from tests.outcomes import expire as run_out
from tests.outcomes import fails, in_turn, lapse_lease, meanwhile
from tests.stub import StubGateway, take
from tests.threads import at_once

pytestmark = pytest.mark.django_db

PHONE = "+4799999999"
BODY = "It is 428516"
KARI = {"by": "kari", "because": "the phone was off"}

Stub = type[StubGateway]


def an_sms(**more: Any) -> Delivery:
    """One message, whatever came of it."""
    with suppress(HandoverFailed):
        send_sms(PHONE, BODY, **more)
    return Delivery.objects.latest("pk")


def refused(stub: Stub, **more: Any) -> Delivery:
    stub.do = in_turn(fails(Rejected, "no", status="SMS_Failed_Rejected"), take)
    return an_sms(**more)


def unsent(stub: Stub, **more: Any) -> Delivery:
    stub.do = in_turn(fails(Unavailable, "down"), take)
    return an_sms(**more)


def in_doubt(stub: Stub, **more: Any) -> Delivery:
    stub.do = in_turn(fails(OutcomeUnknown, "timed out"), take)
    return an_sms(**more)


def arrived(stub: Stub, **more: Any) -> Delivery:
    delivery = an_sms(**more)
    said(delivery, "SMS_Delivered")
    return delivery


def taken(stub: Stub, **more: Any) -> Delivery:
    return an_sms(**more)


def said(delivery: Delivery, status: str) -> None:
    receipts.record_receipt("stub", Receipt(reference=str(delivery.pk), status=status, word="x"))


def again(delivery: Delivery, **more: Any) -> Delivery:
    """What a resend has made of it."""
    sent = resend(delivery.pk, **{**KARI, **more})
    return Delivery.objects.select_related("shipment").get(shipment=sent.shipment_id)


def test_what_failed_is_sent_again_as_a_new_message_that_is_linked(stub: Stub) -> None:
    original = refused(stub, creator="ttd", senders_reference="case-7", time_to_live=600)
    made = again(original)
    assert [message.body for message in stub.seen] == [BODY] * 2
    assert stub.seen[1].reference == str(made.pk)
    assert (made.destination, made.status) == (PHONE, "SMS_Accepted")
    assert made.shipment.senders_reference == "case-7"
    assert made.shipment.creator == "ttd"
    assert made.shipment.order_id != Delivery.objects.get(pk=original.pk).shipment.order_id
    assert original.expires_at - timedelta(seconds=2) < made.expires_at <= original.expires_at
    noted = Intervention.objects.get()
    assert (noted.delivery, noted.successor) == (original, made)
    assert (noted.kind, noted.by, noted.because) == ("resend", "kari", "the phone was off")
    assert made.origin == noted  # type: ignore[attr-defined]


def test_a_mail_goes_again_with_its_subject_and_kind(stub: Stub) -> None:
    stub.do = in_turn(fails(Rejected, "no"), take)
    with pytest.raises(Rejected) as refusal:
        send_email("kari@example.com", "A word", "<b>x</b>", content_type="Html", sender="a@b.no")
    again(Delivery.objects.get(shipment=refusal.value.shipment_id))
    first, second = stub.seen
    for name in ("destination", "subject", "body", "content_type", "sender"):
        assert getattr(first, name) == getattr(second, name)


def test_an_unsent_original_can_never_follow_its_resend(stub: Stub) -> None:
    original = unsent(stub, idempotency_id="id-1")
    again(original)
    original.refresh_from_db()
    assert (original.status, original.handover) == ("SMS_Failed", Handover.REFUSED)
    with pytest.raises(Rejected, match="refused before"):
        send_sms(PHONE, BODY, idempotency_id="id-1")
    assert len(stub.seen) == 2
    told = StatusEvent.objects.filter(delivery=original).last()
    assert told
    assert (told.cause, told.to_status) == (Cause.OPERATOR, "SMS_Failed")


def test_a_client_that_is_faster_keeps_the_resend_from_being_made(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = unsent(stub, idempotency_id="id-1")
    from instant_notifications.orders import interventions

    judge = interventions._require

    def then_the_client_asks(*args: Any, **named: Any) -> None:
        judge(*args, **named)
        send_sms(PHONE, BODY, idempotency_id="id-1")

    monkeypatch.setattr(interventions, "_require", then_the_client_asks)
    with pytest.raises(NotAllowed, match="It has left"):
        again(original)
    assert len(stub.seen) == 2
    assert Order.objects.count() == 1
    assert not Intervention.objects.exists()


def test_what_is_judged_is_what_is_acted_upon(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client sends it after it was read, and before its family is."""
    original = unsent(stub, idempotency_id="id-1")
    families = verdicts._families

    def after_the_client(*args: Any) -> Any:
        monkeypatch.setattr(verdicts, "_families", families)
        send_sms(PHONE, BODY, idempotency_id="id-1")
        return families(*args)

    monkeypatch.setattr(verdicts, "_families", after_the_client)
    with pytest.raises(NotAllowed):
        again(original)
    assert len(stub.seen) == 2


@pytest.mark.parametrize("how", [in_doubt, arrived, taken])
def test_what_may_come_twice_goes_only_if_somebody_is_sure(how: Any, stub: Stub) -> None:
    original = how(stub)
    with pytest.raises(NotAllowed):
        again(original)
    assert len(stub.seen) == 1
    assert again(original, sure=True).status == "SMS_Accepted"
    assert len(stub.seen) == 2


def test_what_was_resent_and_may_arrive_goes_only_if_somebody_is_sure(stub: Stub) -> None:
    original = refused(stub)
    second = again(original)
    with pytest.raises(NotAllowed, match="sent again before"):
        again(original)
    said(second, "SMS_Failed_Undelivered")
    stub.do = take
    assert again(original).pk not in (original.pk, second.pk)


@pytest.mark.parametrize("sure", [False, True])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"secret": True}, "secret"),
        ({"content": None}, "not kept"),
        ({"destination": None}, "not kept"),
        ({"expires_at": timedelta(seconds=-1)}, "run out"),
        ({"expires_at": timedelta(seconds=59)}, "run out"),
        ({"handover": "under_way", "lease_until": timedelta(seconds=20)}, "at this moment"),
    ],
)
def test_some_are_never_sent_again(
    sure: bool, change: dict[str, Any], why: str, stub: Stub
) -> None:
    original = refused(stub)
    now = timezone.now()
    moved = {
        name: now + value if isinstance(value, timedelta) else value
        for name, value in change.items()
    }
    Delivery.objects.update(**moved)
    with pytest.raises(NotAllowed, match=why):
        again(original, sure=sure)
    assert len(stub.seen) == 1


def test_a_recipient_who_is_not_allowed_any_more_is_not_written_to(
    stub: Stub, configure: Callable[..., None]
) -> None:
    original = refused(stub)
    configure(ALLOWED_REGIONS=["SE"])
    with pytest.raises(NotAllowed, match="recipient"):
        again(original)


def test_a_text_that_no_key_opens_is_not_sent(stub: Stub, settings: Any) -> None:
    original = refused(stub)
    settings.SECRET_KEY = "another-key-that-opens-nothing-of-before"
    with pytest.raises(NotAllowed, match="cannot be read"):
        again(original)


@pytest.mark.parametrize("how", [refused, unsent])
def test_those_who_have_seen_the_same_send_once(how: Any, stub: Stub) -> None:
    original = how(stub)
    first = resend(original.pk, **KARI, after=0)
    second = resend(original.pk, **KARI, after=0)
    assert second.shipment_id == first.shipment_id
    assert (first.replayed, second.replayed) == (False, True)
    assert len(stub.seen) == 2
    assert Intervention.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_ten_who_press_at_once_one_sends(stub: Stub) -> None:
    original = refused(stub)
    stub.do = take

    def press() -> UUID:
        return resend(original.pk, **KARI, after=0).shipment_id

    assert len(set(at_once(*[press] * 10))) == 1
    assert len(stub.seen) == 2
    assert Intervention.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_a_client_and_an_operator_who_race_send_once(stub: Stub) -> None:
    for number in range(10):
        stub.do = fails(Unavailable, "down")
        original = an_sms(idempotency_id=f"id-{number}")
        stub.do = take
        stub.seen.clear()

        def client(key: str = f"id-{number}") -> None:
            with suppress(Rejected):
                send_sms(PHONE, BODY, idempotency_id=key)

        def operator(key: UUID = original.pk) -> None:
            with suppress(NotAllowed):
                resend(key, **KARI)

        at_once(client, operator)
        assert len(stub.seen) == 1


def test_a_resend_that_fails_is_there_to_be_seen(stub: Stub) -> None:
    original = refused(stub)
    stub.do = fails(Unavailable, "down")
    with pytest.raises(Unavailable) as failure:
        again(original)
    made = Intervention.objects.get().successor
    assert made
    assert made.shipment_id == failure.value.shipment_id


def test_a_resend_that_was_not_sent_is_replaced_by_the_next(stub: Stub) -> None:
    original = unsent(stub)
    stub.do = in_turn(fails(Unavailable, "down"), take)
    with pytest.raises(Unavailable):
        again(original)
    assert again(original).status == "SMS_Accepted"
    states = Delivery.objects.order_by("pk").values_list("handover", flat=True)
    assert list(states) == ["refused", "refused", "taken"]


def test_what_was_not_sent_can_be_cancelled(stub: Stub) -> None:
    delivery = cancel(unsent(stub, idempotency_id="id-1").pk, **KARI)
    assert (delivery.status, delivery.handover) == ("SMS_Failed", Handover.REFUSED)
    assert FeedEntry.objects.filter(delivery_id=delivery.pk, status="Order_Completed").exists()
    assert Intervention.objects.get().kind == "cancel"
    with pytest.raises(Rejected):
        send_sms(PHONE, BODY, idempotency_id="id-1")
    with pytest.raises(NotAllowed, match="come to its end"):
        cancel(delivery.pk, **KARI)


@pytest.mark.parametrize("how", [in_doubt, arrived, taken, refused])
def test_what_has_left_or_ended_cannot_be_cancelled(how: Any, stub: Stub) -> None:
    delivery = how(stub)
    delivery.refresh_from_db()
    with pytest.raises(NotAllowed):
        cancel(delivery.pk, **KARI)
    before = delivery.status
    delivery.refresh_from_db()
    assert delivery.status == before
    assert not Intervention.objects.exists()


def test_nothing_is_cancelled_while_it_is_being_sent(stub: Stub) -> None:
    refusals: list[NotAllowed] = []

    def try_to_cancel() -> None:
        with pytest.raises(NotAllowed, match="at this moment") as refusal:
            cancel(Delivery.objects.get().pk, **KARI)
        refusals.append(refusal.value)

    stub.do = meanwhile(try_to_cancel)
    assert an_sms().status == "SMS_Accepted"
    assert refusals


def test_what_ran_out_is_expired_at_once_and_a_receipt_may_still_correct_it(stub: Stub) -> None:
    delivery = taken(stub)
    with pytest.raises(NotAllowed, match="time left"):
        expire(delivery.pk, **KARI)
    run_out(seconds_ago=61)
    assert expire(delivery.pk, **KARI).status == "SMS_Failed_TTL"
    assert Intervention.objects.get().kind == "expire"
    said(delivery, "SMS_Delivered")
    delivery.refresh_from_db()
    assert delivery.status == "SMS_Delivered"


def test_a_dead_hand_over_that_ran_out_is_expired(stub: Stub) -> None:
    delivery = in_doubt(stub)
    Delivery.objects.update(handover="under_way", lease_until=timezone.now())
    lapse_lease()
    run_out(seconds_ago=61)
    expired = expire(delivery.pk, **KARI)
    assert (expired.status, expired.handover) == ("SMS_Failed_TTL", Handover.UNKNOWN)


def a_kept_receipt(**said: Any) -> UnmatchedReceipt:
    receipts.record_receipt("stub", Receipt(**{"gateway_reference": "g-17", "word": "OK", **said}))
    return UnmatchedReceipt.objects.get()


def test_a_receipt_is_matched_by_hand(stub: Stub) -> None:
    delivery = in_doubt(stub)
    kept = a_kept_receipt(status="SMS_Delivered")
    matched = match(kept.pk, delivery.pk, **KARI)
    assert (matched.status, matched.gateway_reference) == ("SMS_Delivered", "g-17")
    assert not UnmatchedReceipt.objects.exists()
    assert Intervention.objects.get().kind == "match"
    with pytest.raises(UnmatchedReceipt.DoesNotExist):
        match(kept.pk, delivery.pk, **KARI)


def test_a_receipt_that_does_not_fit_stays_where_it_is(stub: Stub) -> None:
    delivery = taken(stub)
    of_mail = a_kept_receipt(status="Email_Delivered")
    with pytest.raises(NotAllowed, match="channel"):
        match(of_mail.pk, delivery.pk, **KARI, sure=True)
    of_mail.delete()
    kept = a_kept_receipt(status="SMS_Delivered")
    with pytest.raises(NotAllowed, match="another reference"):
        match(kept.pk, delivery.pk, **KARI)
    UnmatchedReceipt.objects.update(gateway="second")
    with pytest.raises(NotAllowed, match="another gateway"):
        match(kept.pk, delivery.pk, **KARI, sure=True)
    UnmatchedReceipt.objects.update(gateway="stub")
    assert match(kept.pk, delivery.pk, **KARI, sure=True).status == "SMS_Delivered"


def test_who_sees_in_clear_is_written_down_first(stub: Stub) -> None:
    delivery = taken(stub)
    seen = reveal(delivery.pk, by="kari" * 100, because="a complaint\0")
    assert seen.destination == PHONE
    assert seen.content
    assert seen.content["body"] == BODY
    assert PHONE not in repr(seen)
    noted = Intervention.objects.get()
    assert (noted.kind, noted.by) == ("reveal", ("kari" * 100)[:150])


def test_a_secret_is_revealed_to_nobody(stub: Stub) -> None:
    assert reveal(unsent(stub, secret=True).pk, **KARI).content is None
