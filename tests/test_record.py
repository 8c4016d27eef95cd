"""The one writer: what may follow what, and that manifest, history and feed agree."""

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise, product
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from instant_notifications import feed, record
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.history import Change
from instant_notifications.models import Delivery, FeedEntry, Organisation, Shipment, StatusEvent
from instant_notifications.orders import send_sms
from instant_notifications.receipts import record_receipt
from instant_notifications.statuses import Cause, Handover, is_final, may_follow
from tests.outcomes import Do, Killed, expire, fails, gateways, in_turn, lapse_lease
from tests.stub import take
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

SITUATIONS: dict[str, Do] = {
    "taken": take,
    "refused": fails(Rejected, status="SMS_Failed_Rejected"),
    "open": fails(Unavailable),
    "unknown": fails(OutcomeUnknown),
    "under_way": fails(Killed),
}


def brought_to(situation: str, stub: Any, creator: str = "local") -> Delivery:
    """A delivery whose hand-over ended that way."""
    stub.do = SITUATIONS[situation]
    with suppress(HandoverFailed, Killed):
        send_sms("+4799999999", "hello", creator=creator)
    delivery = Delivery.objects.latest("id")
    assert delivery.handover == situation
    return delivery


def receipt(delivery: Delivery, status: str | None, word: str = "said") -> Delivery | None:
    return record_receipt("stub", Receipt(reference=str(delivery.pk), status=status, word=word))


def expiry(delivery: Delivery) -> Delivery:
    """Its time has run out, and whoever was at it is dead."""
    lapse_lease()
    expire(seconds_ago=1000)
    return record.record_expiry(Delivery.objects.get(pk=delivery.pk))


def history(delivery: Delivery) -> list[tuple[str, str, str]]:
    events = StatusEvent.objects.filter(delivery=delivery).order_by("pk")
    return list(events.values_list("from_status", "to_status", "cause"))


def changes(delivery: Delivery) -> list[tuple[str, str, str]]:
    """The history without the receipts that were only noted."""
    return [line for line in history(delivery) if line[0] != line[1]]


def order_status(delivery: Delivery) -> str:
    return feed.order_status([Delivery.objects.get(pk=delivery.pk)], timezone.now())


@pytest.mark.parametrize(
    ("situation", "order", "status", "rows"),
    [
        ("taken", "Order_Processed", "SMS_Accepted", [("SMS_Sending", "SMS_Accepted", "handover")]),
        (
            "refused",
            "Order_Completed",
            "SMS_Failed_Rejected",
            [("SMS_Sending", "SMS_Failed_Rejected", "handover")],
        ),
        ("open", "Order_Processing", "SMS_New", [("SMS_Sending", "SMS_New", "handover")]),
        ("unknown", "Order_Processed", "SMS_Sending", [("SMS_Sending", "SMS_Sending", "handover")]),
        ("under_way", "Order_Processing", "SMS_Sending", []),
    ],
)
def test_each_end_of_a_hand_over_has_its_words_and_its_history(
    situation: str, order: str, status: str, rows: list[Any], stub: Any
) -> None:
    delivery = brought_to(situation, stub)
    assert order_status(delivery) == order
    assert delivery.status == status
    assert history(delivery) == rows
    assert FeedEntry.objects.count() == (order == "Order_Completed")


@pytest.mark.parametrize("situation", ["taken", "unknown", "under_way", "open"])
@pytest.mark.parametrize("status", ["SMS_Delivered", "SMS_Failed_Undelivered"])
def test_a_final_receipt_completes_whatever_came_before(
    situation: str, status: str, stub: Any
) -> None:
    delivery = brought_to(situation, stub)
    after = receipt(delivery, status)
    assert after is not None
    assert (after.status, after.handover, after.lease_until) == (status, "taken", None)
    assert order_status(delivery) == "Order_Completed"
    assert history(delivery)[-1] == (delivery.status, status, "receipt")
    assert FeedEntry.objects.count() == 1


@pytest.mark.parametrize("status", ["SMS_Delivered", "SMS_Failed", "SMS_Failed_Expired"])
@pytest.mark.parametrize("later", ["SMS_Delivered", "SMS_Failed", "SMS_Accepted", "SMS_Failed_TTL"])
def test_a_final_word_is_never_left(status: str, later: str, stub: Any) -> None:
    delivery = brought_to("taken", stub)
    receipt(delivery, status)
    before = (changes(delivery), list(FeedEntry.objects.values()), Shipment.objects.values().get())
    receipt(delivery, later)
    expiry(delivery)
    assert Delivery.objects.get().status == status
    assert before == (
        changes(delivery),
        list(FeedEntry.objects.values()),
        Shipment.objects.values().get(),
    )


@pytest.mark.parametrize("situation", ["taken", "unknown"])
def test_a_repeat_changes_nothing(situation: str, stub: Any, configure: Configure) -> None:
    configure(FEED="every")
    delivery = brought_to(situation, stub)
    for status in ("SMS_Accepted", "SMS_Delivered"):
        receipt(delivery, status)
        before = (
            Delivery.objects.values().get(),
            Shipment.objects.values().get(),
            history(delivery),
            FeedEntry.objects.count(),
        )
        receipt(delivery, status)
        assert before == (
            Delivery.objects.values().get(),
            Shipment.objects.values().get(),
            history(delivery),
            FeedEntry.objects.count(),
        )


@pytest.mark.parametrize("situation", ["taken", "unknown", "open"])
@pytest.mark.parametrize("status", ["SMS_Delivered", "SMS_Failed_Expired"])
def test_a_genuine_receipt_corrects_our_own_expiry_once(
    situation: str, status: str, stub: Any
) -> None:
    delivery = brought_to(situation, stub)
    expiry(delivery)
    assert order_status(delivery) == "Order_Completed"
    receipt(delivery, status)
    receipt(delivery, "SMS_Failed_Deleted")
    assert Delivery.objects.get().status == status
    assert changes(delivery)[-2:] == [
        (delivery.status, "SMS_Failed_TTL", "expiry"),
        ("SMS_Failed_TTL", status, "receipt"),
    ]
    entries = FeedEntry.objects.order_by("sequence_number")
    assert [entry.recipients[0]["status"] for entry in entries] == ["SMS_Failed_TTL", status]


def test_an_interim_receipt_does_not_correct_expiry(stub: Any) -> None:
    delivery = brought_to("unknown", stub)
    expiry(delivery)
    receipt(delivery, "SMS_Accepted")
    assert Delivery.objects.get().status == "SMS_Failed_TTL"


def test_the_operators_expiry_is_its_last_word(stub: Any) -> None:
    delivery = brought_to("taken", stub)
    receipt(delivery, "SMS_Failed_Expired")
    receipt(delivery, "SMS_Delivered")
    assert Delivery.objects.get().status == "SMS_Failed_Expired"


def test_acceptance_is_final_where_no_receipts_come(stub: Any, configure: Configure) -> None:
    configure(GATEWAYS=gateways(stub={"reports_receipts": False}))
    delivery = brought_to("taken", stub)
    assert order_status(delivery) == "Order_Completed"
    receipt(delivery, "SMS_Failed")
    expiry(delivery)
    assert Delivery.objects.get().status == "SMS_Accepted"
    assert FeedEntry.objects.count() == 1


def test_a_word_we_do_not_know_proves_only_that_it_was_taken(stub: Any) -> None:
    delivery = brought_to("unknown", stub)
    after = receipt(delivery, None, word="MYSTERY")
    assert after is not None
    assert (after.handover, after.status) == ("taken", "SMS_Sending")
    assert order_status(delivery) == "Order_Processed"


def test_the_history_keeps_the_gateways_own_words(stub: Any) -> None:
    delivery = brought_to("taken", stub)
    receipt(delivery, "SMS_Delivered", word="DELIVRD 000")
    handed, reported = StatusEvent.objects.order_by("pk")
    assert (handed.gateway, handed.gateway_word, handed.attempt) == ("stub", "OK", 1)
    assert (reported.gateway, reported.gateway_word) == ("stub", "DELIVRD 000")
    assert reported.attempt is None


def test_the_history_tells_of_every_attempt(stub: Any) -> None:
    stub.do = in_turn(fails(Unavailable), fails(Unavailable), take)
    for _ in range(3):
        with suppress(Unavailable):
            send_sms("+4799999999", "hello", idempotency_id="a")
    events = StatusEvent.objects.order_by("pk")
    assert list(events.values_list("from_status", "to_status", "attempt")) == [
        ("SMS_Sending", "SMS_New", 1),
        ("SMS_New", "SMS_Sending", 2),
        ("SMS_Sending", "SMS_New", 2),
        ("SMS_New", "SMS_Sending", 3),
        ("SMS_Sending", "SMS_Accepted", 3),
    ]


def test_where_every_change_is_fed_the_feed_has_each_line_of_the_history(
    stub: Any, configure: Configure
) -> None:
    configure(FEED="every")
    stub.do = in_turn(fails(Unavailable), take)
    with pytest.raises(Unavailable):
        send_sms("+4799999999", "hello", idempotency_id="a")
    send_sms("+4799999999", "hello", idempotency_id="a")
    receipt(Delivery.objects.get(), "SMS_Delivered")
    fed = [e.recipients[0]["status"] for e in FeedEntry.objects.order_by("sequence_number")]
    assert fed == list(StatusEvent.objects.order_by("pk").values_list("to_status", flat=True))


def test_a_lapsed_lease_makes_the_outcome_unknown_and_nothing_else_does(stub: Any) -> None:
    settled = Change(cause=Cause.LEASE, handover=Handover.UNKNOWN)
    delivery = brought_to("under_way", stub)
    assert record.record_status(delivery, settled).handover == "under_way"
    lapse_lease()
    delivery.refresh_from_db()
    assert record.record_status(delivery, settled).handover == "unknown"
    assert order_status(delivery) == "Order_Processed"
    for situation in ("taken", "refused", "open"):
        assert record.record_status(brought_to(situation, stub), settled).handover == situation


@pytest.mark.parametrize(
    ("attempt", "handover", "result"),
    [
        (1, Handover.TAKEN, "taken"),
        (1, Handover.REFUSED, "under_way"),
        (1, Handover.OPEN, "under_way"),
        (1, Handover.UNKNOWN, "under_way"),
        (2, Handover.TAKEN, "taken"),
        (2, Handover.REFUSED, "refused"),
        (2, Handover.OPEN, "open"),
        (2, Handover.UNKNOWN, "unknown"),
    ],
)
def test_only_the_latest_attempt_speaks_for_the_delivery_unless_it_was_taken(
    attempt: int, handover: Handover, result: str, stub: Any
) -> None:
    delivery = brought_to("under_way", stub)
    Delivery.objects.update(attempts=2)
    delivery.refresh_from_db()
    change = Change(cause=Cause.HANDOVER, handover=handover, attempt=attempt)
    assert record.record_status(delivery, change).handover == result


def test_a_claim_is_given_to_one_of_those_who_saw_the_same(stub: Any) -> None:
    seen = brought_to("open", stub)
    lease = seen.expires_at - seen.created_at
    claimed = record.claim(seen, lease)
    assert claimed is not None
    assert (claimed.attempts, claimed.handover, claimed.status) == (2, "under_way", "SMS_Sending")
    assert claimed.leased
    assert (claimed.destination, record.claim(seen, lease)) == ("+4799999999", None)


def test_a_receipt_is_found_by_either_reference(stub: Any) -> None:
    ours, theirs = brought_to("taken", stub), brought_to("taken", stub)
    by_ours = record_receipt("stub", Receipt(reference=str(ours.pk), status="SMS_Delivered"))
    by_theirs = record_receipt(
        "stub", Receipt(gateway_reference=theirs.gateway_reference, status="SMS_Delivered")
    )
    assert (by_ours, by_theirs) == (ours, theirs)


@pytest.mark.parametrize(
    ("gateway", "references"),
    [
        ("stub", {}),
        ("stub", {"reference": "not a uuid"}),
        ("stub", {"reference": str(uuid4())}),
        ("stub", {"gateway_reference": "unknown"}),
        ("second", {"gateway_reference": "stub-ref"}),
        ("stub", {"gateway_reference": "unknown", "reference": "x\x00"}),
    ],
)
def test_a_receipt_of_nothing_we_know_is_nobodys(
    gateway: str, references: dict[str, str], stub: Any
) -> None:
    stub.do = lambda message: Receipt(gateway_reference="stub-ref")
    send_sms("+4799999999", "hello")
    assert record_receipt(gateway, Receipt(status="SMS_Delivered", **references)) is None
    assert Delivery.objects.get().status == "SMS_Accepted"


NEWS: dict[str, Callable[[Delivery], Any]] = {
    "accepted": lambda delivery: receipt(delivery, "SMS_Accepted"),
    "delivered": lambda delivery: receipt(delivery, "SMS_Delivered"),
    "failed": lambda delivery: receipt(delivery, "SMS_Failed_Undelivered"),
    "mystery": lambda delivery: receipt(delivery, None),
    "expiry": expiry,
    "handed over": lambda delivery: record.record_status(
        delivery,
        Change(cause=Cause.HANDOVER, status="SMS_Accepted", handover=Handover.TAKEN, attempt=1),
    ),
}
GENUINE_ENDS = {"delivered": "SMS_Delivered", "failed": "SMS_Failed_Undelivered"}


@pytest.mark.parametrize(("start", "mode"), [("under_way", "every"), ("unknown", "completed")])
def test_in_whatever_order_news_come_manifest_history_and_feed_agree(
    start: str, mode: str, stub: Any, configure: Configure
) -> None:
    configure(FEED=mode)
    delivery = brought_to(start, stub)
    for order in product(NEWS, repeat=3):
        with transaction.atomic():
            for name in order:
                NEWS[name](delivery)
            agree(delivery, order, every=mode == "every")
            transaction.set_rollback(True)


@pytest.mark.parametrize("start", ["under_way", "taken", "open", "unknown"])
def test_however_often_each_piece_of_news_comes_they_agree(
    start: str, stub: Any, configure: Configure
) -> None:
    """All the news, each up to three times, shuffled: sixty life stories from each start."""
    configure(FEED="every")
    delivery = brought_to(start, stub)
    for seed in range(60):
        chance = Random(seed)
        order = [name for name in NEWS for _ in range(chance.randint(1, 3))]
        chance.shuffle(order)
        with transaction.atomic():
            for name in order:
                NEWS[name](delivery)
            agree(delivery, tuple(order), every=True)
            noted = [line for line in history(delivery) if line[0] == line[1]]
            assert len(noted) <= len(NEWS), order
            transaction.set_rollback(True)


def agree(delivery: Delivery, order: tuple[str, ...], *, every: bool) -> None:
    shipment = Shipment.objects.get(deliveries=delivery)
    manifest = feed.read_manifest(shipment.creator, shipment.pk)
    entries = feed.read_feed(shipment.creator, after=0, limit=500, newest_first=False)
    assert manifest is not None
    shown = manifest.recipients[0].status
    words = [word for _, word, _ in history(delivery)]

    genuine = next((GENUINE_ENDS[name] for name in order if name in GENUINE_ENDS), None)
    assumed = "SMS_Failed_TTL" if "expiry" in order else None
    if genuine or assumed:
        assert shown == (genuine or assumed), order
    assert (manifest.status == "Order_Completed") == is_final(shown), order

    events = history(delivery)
    assert all(one[1] == other[0] for one, other in pairwise(events)), order
    assert all(old == new or may_follow(old, new) for old, new, _ in events), order
    assert shown == (words[-1] if words else "SMS_Sending"), order

    assert [entry.sequence_number for entry in entries] == list(range(1, len(entries) + 1))
    fed = [entry.recipients[0].status for entry in entries]
    ends = [new for old, new, _ in events if is_final(new) and old != new]
    assert [word for word in fed if is_final(word)] == ends, order
    if every:
        assert (fed[-1], entries[-1].status) == (shown, manifest.status), order
    else:
        assert fed == ends, order


@pytest.mark.django_db(transaction=True)
def test_numbers_are_dense_and_each_organisations_own_however_many_write_at_once(stub: Any) -> None:
    stub.do = lambda message: Receipt(status="SMS_Delivered")

    def send_some(creator: str) -> None:
        for _ in range(4):
            send_sms("+4799999999", "hello", creator=creator)

    at_once(*[lambda name=name: send_some(name) for name in ("ttd", "skd", "ttd", "skd", "ttd")])
    for creator, number in (("ttd", 12), ("skd", 8)):
        entries = FeedEntry.objects.filter(creator=creator).order_by("sequence_number")
        assert list(entries.values_list("sequence_number", flat=True)) == list(range(1, number + 1))
        assert Organisation.objects.get(name=creator).last_sequence_number == number


@pytest.mark.django_db(transaction=True)
def test_equal_receipts_at_once_are_written_once(stub: Any) -> None:
    delivery = brought_to("taken", stub)
    at_once(*[lambda: receipt(delivery, "SMS_Delivered")] * 5)
    assert len(history(delivery)) == 2
    assert FeedEntry.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_different_last_words_at_once_one_stays(stub: Any) -> None:
    delivery = brought_to("taken", stub)
    words = ("SMS_Delivered", "SMS_Failed", "SMS_Failed_Undelivered", "SMS_Failed_Expired")
    at_once(*[lambda word=word: receipt(delivery, word) for word in words])
    assert len(changes(delivery)) == 2
    assert len(history(delivery)) == 5
    assert FeedEntry.objects.count() == 1
    assert changes(delivery)[-1][1] == Delivery.objects.get().status


def test_what_may_have_left_is_not_to_be_tried_again_whatever_the_last_attempt_says(
    stub: Any,
) -> None:
    delivery = brought_to("under_way", stub)
    Delivery.objects.update(may_have_left=True)
    moment = timezone.now()
    not_sent = Change(cause=Cause.HANDOVER, handover=Handover.OPEN, due_at=moment, attempt=1)
    after = record.record_status(Delivery.objects.select_related("shipment").get(), not_sent)
    assert (after.pk, after.handover, after.due_at) == (delivery.pk, "unknown", None)
    assert Delivery.objects.get().due_at is None


@pytest.mark.parametrize("status", ["SMS_Accepted", "SMS_Delivered"])
def test_a_receipt_that_says_it_was_sent_keeps_it_from_being_tried_again(
    status: str, stub: Any
) -> None:
    delivery = brought_to("open", stub)
    Delivery.objects.update(due_at=timezone.now(), claimed_until=timezone.now())
    receipt(delivery, status)
    after = Delivery.objects.get()
    assert (after.handover, after.due_at, after.claimed_until) == ("taken", None, None)
