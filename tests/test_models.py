from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import sleep, time_ns
from typing import Any
from uuid import RFC_4122, UUID, uuid4

import pytest
from django.apps import apps
from django.db import DataError, IntegrityError, transaction
from django.db.models import BigAutoField, Model, UUIDField
from django.utils import timezone

from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Notice,
    Order,
    Organisation,
    Plan,
    Shipment,
    StatusEvent,
    insert,
    uuid7,
)
from instant_notifications.statuses import STAGES, WORDS, Channel, Ended, Handover, OrderStatus

Configure = Callable[..., None]
Make = Callable[..., Model]

NOW = timezone.now()
LATER = NOW + timedelta(hours=1)

database = pytest.mark.django_db


def an_order() -> Order:
    return Order.objects.create(creator="ttd")


def a_record(**changes: Any) -> IdempotencyRecord:
    good = {"creator": "ttd", "scope": "sms", "key": "id-1", "fingerprint": "f"}
    return IdempotencyRecord.objects.create(**{"order": an_order(), **good, **changes})


def a_shipment(**changes: Any) -> Shipment:
    good = {"creator": "ttd", "type": "Instant"}
    return Shipment.objects.create(**{"order": an_order(), **good, **changes})


def a_delivery(**changes: Any) -> Delivery:
    good = {
        "channel": "sms",
        "destination": "+4799999999",
        "content": "{}",
        "status": "SMS_Accepted",
        "handover": "taken",
        "segments": 1,
        "expires_at": LATER,
    }
    return Delivery.objects.create(**{"shipment": a_shipment(), **good, **changes})


def an_event(**changes: Any) -> StatusEvent:
    good = {"from_status": "SMS_Sending", "to_status": "SMS_Accepted", "cause": "handover"}
    return StatusEvent.objects.create(**{"delivery": a_delivery(), **good, **changes})


def an_entry(**changes: Any) -> FeedEntry:
    good = {
        "creator": "ttd",
        "sequence_number": 1,
        "delivery_id": uuid4(),
        "revision": 1,
        "status": "Order_Completed",
        "recipients": [],
    }
    return FeedEntry.objects.create(**{"shipment": a_shipment(), **good, **changes})


def a_notice(**changes: Any) -> Notice:
    good = {"place": 0, "requested_at": NOW, "content": '{"sms": {"body": "+4799999999"}}'}
    return Notice.objects.create(**{"order": an_order(), **good, **changes})


def a_plan(**changes: Any) -> Plan:
    good = {"recipient": "+4799999999", "due_at": NOW}
    rows = {"shipment": a_shipment(type="Notification"), "notice": a_notice()}
    return Plan.objects.create(**{**rows, **good, **changes})


def an_ended_plan(**changes: Any) -> Plan:
    return a_plan(**{"ended": "planned", "due_at": None, "ended_at": NOW, **changes})


def refuses(make: Make, **changes: Any) -> str:
    with pytest.raises((IntegrityError, DataError)) as raised, transaction.atomic():
        make(**changes)
    return str(raised.value)


BAD_ROWS: list[tuple[Make, dict[str, Any], str]] = [
    (a_record, {"scope": "fax"}, "instant_idempotency_scope"),
    (a_record, {"scope": ""}, "instant_idempotency_scope"),
    (a_shipment, {"type": "Later"}, "instant_shipment_type"),
    (a_shipment, {"type": "instant"}, "instant_shipment_type"),
    (an_entry, {"status": "Order_Lost"}, "instant_feed_status"),
    (an_entry, {"status": "SMS_Accepted"}, "instant_feed_status"),
    (a_delivery, {"channel": "fax"}, "instant_delivery_channel"),
    (a_delivery, {"channel": "SMS"}, "instant_delivery_channel"),
    (a_delivery, {"status": "SMS_Lost"}, "instant_delivery_status"),
    (a_delivery, {"status": ""}, "instant_delivery_status"),
    (a_delivery, {"status": "Order_Completed"}, "instant_delivery_status"),
    (a_delivery, {"handover": "lost"}, "instant_delivery_handover"),
    (a_delivery, {"segments": 0}, "instant_delivery_segments"),
    (a_delivery, {"handover": "under_way"}, "instant_delivery_lease"),
    *(
        (a_delivery, {"handover": word, "lease_until": LATER}, "instant_delivery_lease")
        for word in Handover
        if word is not Handover.UNDER_WAY
    ),
    (a_notice, {"place": -1}, ""),
    (a_plan, {"due_at": None}, "instant_plan_ended"),
    (a_plan, {"ended_at": NOW}, "instant_plan_ended"),
    (a_plan, {"ended": "cancelled"}, "instant_plan_ended"),
    (an_ended_plan, {"ended": "lost"}, "instant_plan_ended"),
    (an_ended_plan, {"due_at": NOW}, "instant_plan_ended"),
    (an_ended_plan, {"claimed_until": NOW}, "instant_plan_ended"),
    (an_ended_plan, {"ended_at": None}, "instant_plan_ended"),
    (an_event, {"from_status": "SMS_Lost"}, "instant_event_status"),
    (an_event, {"cause": "boredom"}, "instant_event_cause"),
    (an_event, {"to_status": "Order_Completed"}, "instant_event_status"),
]


@database
@pytest.mark.parametrize(("make", "changes", "constraint"), BAD_ROWS)
def test_the_database_refuses_a_bad_row(
    make: Make, changes: dict[str, Any], constraint: str
) -> None:
    assert constraint in refuses(make, **changes)


@database
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (a_delivery, "attempts"),
        (a_delivery, "revision"),
        (an_event, "attempt"),
        (an_entry, "sequence_number"),
    ],
)
def test_no_count_is_negative(make: Make, name: str) -> None:
    assert refuses(make, **{name: -1})


@database
@pytest.mark.parametrize("word", STAGES)
def test_the_database_takes_every_word_of_a_delivery(word: str) -> None:
    assert a_delivery(status=word).pk
    assert an_event(from_status=word, to_status=word).pk


@database
@pytest.mark.parametrize("word", OrderStatus)
def test_the_database_takes_every_word_of_an_order(word: str) -> None:
    assert an_entry(status=word).pk


@database
@pytest.mark.parametrize("word", Handover)
def test_the_database_takes_every_hand_over_with_its_lease(word: Handover) -> None:
    lease = LATER if word is Handover.UNDER_WAY else None
    assert a_delivery(handover=word, lease_until=lease).pk


@database
def test_an_email_has_no_segments() -> None:
    assert a_delivery(channel="email", status="Email_Succeeded", segments=None).pk


@database
def test_an_id_is_used_once_by_an_organisation_and_channel() -> None:
    a_record()
    refuses(a_record)
    assert IdempotencyRecord.objects.count() == 1


@database
@pytest.mark.parametrize(
    "changes",
    [{"creator": "nav"}, {"scope": "email"}, {"scope": "order"}, {"key": "id-2"}, {"key": "ID-1"}],
    ids=repr,
)
def test_ids_of_another_organisation_or_channel_do_not_meet(changes: dict[str, Any]) -> None:
    a_record()
    assert a_record(**changes).pk


@database
@pytest.mark.parametrize("ended", Ended)
def test_the_database_takes_every_end_of_a_plan(ended: Ended) -> None:
    assert an_ended_plan(ended=ended).pk


@database
def test_a_shipment_is_planned_once_and_a_notice_has_its_place() -> None:
    plan, notice = a_plan(), a_notice()
    refuses(a_plan, shipment=plan.shipment)
    refuses(a_notice, order=notice.order)
    assert a_notice(order=notice.order, place=1).pk


@database
def test_an_order_has_one_id() -> None:
    record = a_record()
    refuses(a_record, key="id-2", order=record.order)


@database
@pytest.mark.parametrize("dialog", [None, {"dialogId": "ö", "transmissionId": None}])
def test_what_is_inserted_reads_as_what_is_saved(dialog: Any) -> None:
    order = Order(creator="ttd", dialog=dialog)
    shipment = Shipment(order=order, creator="ttd", type="Instant")
    insert(order, shipment)
    inserted = Order.objects.get(pk=order.pk)
    saved = Order.objects.create(creator="ttd", dialog=dialog, created_at=order.created_at)
    assert (inserted.dialog, inserted.created_at) == (saved.dialog, saved.created_at)
    shipment.senders_reference = "17"
    shipment.save()
    assert inserted.shipments.get().senders_reference == "17"


@database
def test_of_what_is_inserted_together_nothing_stays_if_one_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = an_order(), Order(creator="ttd")
    record = IdempotencyRecord(creator="ttd", scope="sms", key="17", order=first)
    insert(record)
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(
            second,
            IdempotencyRecord(creator="ttd", scope="sms", key="17", order=second),
            Shipment(order=second, creator="ttd", type="Instant"),
        )
    assert Order.objects.get() == first
    assert caplog.messages == []


@database
def test_a_number_of_the_feed_is_given_once_to_each_organisation() -> None:
    an_entry()
    assert refuses(an_entry)
    assert an_entry(creator="nav").pk
    assert an_entry(sequence_number=2).pk


@database
@pytest.mark.parametrize(
    "make",
    [a_record, a_shipment, a_delivery, an_event, an_entry, a_notice, a_plan],
    ids=lambda make: make.__name__,
)
def test_everything_goes_with_its_order(make: Make) -> None:
    made = make()
    Order.objects.all().delete()
    assert not type(made).objects.exists()  # type: ignore[attr-defined]


@database
def test_an_organisation_begins_to_count_at_zero() -> None:
    assert Organisation.objects.create(name="ttd").last_sequence_number == 0
    assert refuses(Organisation.objects.create, name="ttd")


@database
@pytest.mark.parametrize("channel", Channel)
def test_a_delivery_without_a_last_word_is_overdue_after_its_grace(
    channel: Channel, configure: Configure
) -> None:
    configure(EXPIRY_GRACE=60)
    delivery = Delivery(channel=channel, status=WORDS[channel].accepted, expires_at=NOW)
    at_the_end, after = NOW + timedelta(seconds=60), NOW + timedelta(seconds=61)
    assert not delivery.overdue(at_the_end)
    assert delivery.status_at(at_the_end) == WORDS[channel].accepted
    assert delivery.overdue(after)
    assert delivery.status_at(after) == WORDS[channel].expired
    delivery.completed_at = NOW
    assert not delivery.overdue(after)


def test_a_delivery_with_a_lease_is_not_overdue() -> None:
    soon = timezone.now() + timedelta(seconds=30)
    delivery = Delivery(channel="sms", status="SMS_Sending", expires_at=NOW, lease_until=soon)
    assert delivery.leased
    assert not delivery.overdue(NOW + timedelta(days=1))
    delivery.lease_until = timezone.now() - timedelta(seconds=1)
    assert not delivery.leased
    assert delivery.overdue(NOW + timedelta(days=1))


@database
@pytest.mark.parametrize(
    "make",
    [a_record, a_shipment, a_delivery, an_event, an_entry, an_order, a_notice, a_plan],
    ids=lambda make: make.__name__,
)
def test_no_row_shows_anything_personal(make: Make) -> None:
    made = make()
    assert "99999999" not in f"{made!r} {made!s}"
    assert "id-1" not in f"{made!r} {made!s}"


def test_a_uuid7_is_what_the_standard_says() -> None:
    before, made, after = time_ns() // 1_000_000, uuid7(), time_ns() // 1_000_000
    assert isinstance(made, UUID)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= after


def test_uuid7s_sort_by_the_time_they_were_made() -> None:
    made = []
    for _ in range(20):
        made.append(uuid7())
        sleep(0.00001)
    assert made == sorted(made)
    assert [str(each) for each in made] == sorted(str(each) for each in made)


def test_every_other_bit_of_a_uuid7_is_random() -> None:
    seen, missing = 0, 0
    for made in (uuid7() for _ in range(200)):
        seen |= made.int
        missing |= ~made.int
    random = (1 << 62) - 1
    assert (seen & random, missing & random) == (random, random)


def test_uuid7s_of_many_threads_are_unique() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [each for some in threads.map(_thousand, range(8)) for each in some]
    assert len(set(made)) == 8000


def _thousand(_: int) -> Iterable[UUID]:
    return [uuid7() for _ in range(1000)]


NATURAL_KEYS = {"alias", "began_at", "gateway", "key", "name", "shipment", "subject"}


@pytest.mark.parametrize("label", ["instant_notifications", "instant_notifications_simulator"])
def test_no_model_leans_on_the_hosts_default_key(label: str) -> None:
    for model in apps.get_app_config(label).get_models():
        key = model._meta.pk
        assert isinstance(key, BigAutoField | UUIDField) or key.name in NATURAL_KEYS, model
