"""What time makes necessary: expiry is written down, and what is old is forgotten."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from threading import Event
from typing import Any, Final

import pytest
from django.apps import apps
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import feed, privacy, recipients, record, tasks, upkeep
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Message, Receipt
from instant_notifications.history import Change
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
    UnmatchedReceipt,
)
from instant_notifications.orders import (
    Email,
    Reminder,
    Sent,
    cancel_order,
    instant,
    place_order,
    send_email,
    send_sms,
)
from instant_notifications.receipts import record_receipt
from instant_notifications.simulator import gateway as simulator
from instant_notifications.simulator.postman import deliver_due_receipts
from instant_notifications.statuses import WORDS, Cause, Channel, Ended, Handover
from instant_notifications.upkeep import EXPIRY, RETENTION, Chore, Tally
from tests.api.conftest import EMAIL, FEED, SMS, post, shipment_path
from tests.clock import Clock
from tests.outcomes import Do, Killed, fails, gateways, meanwhile, rows_left
from tests.stub import take
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

PHONE: Final = "+4791825364"
ADDRESS: Final = "kari.nordmann@example.com"
BODY: Final = "Your code is ZK7W2Q"
SUBJECT: Final = "A word for Kari"
PERSONAL: Final = ("91825364", "kari.nordmann", "ZK7W2Q", SUBJECT)

MOMENT: Final = timedelta(microseconds=1)
SECOND: Final = timedelta(seconds=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
GRACE: Final = timedelta(seconds=60)

each_channel = pytest.mark.parametrize("channel", list(Channel), ids=str)
with_threads = pytest.mark.django_db(transaction=True)
with_several_writers = pytest.mark.skipif(
    "sqlite" in connection.settings_dict["ENGINE"], reason="SQLite has one writer at a time"
)


class Restless(Event):
    """Lets the work go on without a rest."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def work(chores: Sequence[Chore]) -> Counter[str]:
    """One round; how many of each, and how many failed."""
    counts: Counter[str] = Counter()
    for step, (chore, tally) in enumerate(upkeep.run(chores, Restless())):
        assert step < 500, "it never ends"
        counts[chore.name] += tally.done
        counts["failed"] += tally.failed
    return +counts


def sweep() -> Counter[str]:
    return work(EXPIRY)


def purge() -> Counter[str]:
    return work(RETENTION)


def send(channel: Channel, **message: Any) -> Sent:
    if channel is Channel.SMS:
        return send_sms(PHONE, BODY, time_to_live=300, **message)
    return send_email(ADDRESS, SUBJECT, BODY, **message)


SITUATIONS: Final[dict[str, Do]] = {
    "open": fails(Unavailable),
    "unknown": fails(OutcomeUnknown),
    "taken": take,
    "refused": fails(Rejected),
    "lapsed": fails(Killed),
    "leased": fails(Killed),
}
"""How a hand-over may stand when its message expires; the last needs ``LONG_LEASE``."""

LONG_LEASE: Final[dict[str, Any]] = {"HANDOVER_BUDGET": 10 * 24 * 3600.0}
HANDOVERS: Final = {"lapsed": "under_way", "leased": "under_way"}


def brought_to(
    situation: str, stub: Any, channel: Channel = Channel.SMS, **message: Any
) -> Delivery:
    """A message whose hand-over ended that way."""
    stub.do = SITUATIONS[situation]
    with suppress(HandoverFailed, Killed):
        send(channel, **message)
    delivery = Delivery.objects.latest("id")
    assert delivery.handover == HANDOVERS.get(situation, situation)
    return delivery


def delivered(message: Message) -> Receipt:
    """The gateway's last word at once."""
    return Receipt(status=WORDS[Channel(message.channel)].delivered)


def completed(stub: Any, number: int = 1, **message: Any) -> list[Sent]:
    stub.do = delivered
    return [send(Channel.SMS, **message) for _ in range(number)]


def plan_them(now: Any) -> None:
    """What is left of a regular order that has been worked off, for each shipment."""
    for shipment in Shipment.objects.filter(plan=None):
        notice = Notice.objects.create(
            order=shipment.order, place=0, requested_at=now, content="{}", created_at=now
        )
        Plan.objects.create(
            shipment=shipment,
            notice=notice,
            recipient_digest="0" * 64,
            ended=Ended.PLANNED,
            ended_at=now,
        )


def receipt(delivery: Delivery, status: str, **named: Any) -> Delivery | None:
    return record_receipt("stub", Receipt(reference=str(delivery.pk), status=status, **named))


def shown(delivery: Delivery) -> tuple[str, str]:
    """What the manifest says of the order and of its recipient."""
    shipment = Shipment.objects.get(deliveries=delivery)
    report = feed.read_manifest(shipment.creator, shipment.pk)
    assert report is not None
    (recipient,) = report.recipients
    found = Delivery.objects.get(pk=delivery.pk)
    assert recipient.status == found.status_at(timezone.now())
    return report.status, recipient.status


def fed(creator: str = "local") -> list[str]:
    """The words of the feed, whose numbers have no gap."""
    entries = feed.read_feed(creator, after=0, limit=500, newest_first=False)
    assert [entry.sequence_number for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry.status for entry in entries} <= {"Order_Completed"}
    return [entry.recipients[0].status for entry in entries]


def changes(delivery: Delivery) -> list[str]:
    """The words of the history, each of which follows from the one before."""
    events = list(StatusEvent.objects.filter(delivery=delivery).order_by("pk"))
    assert all(one.to_status == other.from_status for one, other in pairwise(events))
    assert not events or events[-1].to_status == Delivery.objects.get(pk=delivery.pk).status
    return [event.to_status for event in events if event.from_status != event.to_status]


def everything() -> dict[str, list[Any]]:
    """Every row of the app."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
        if model._meta.app_label.startswith("instant_notifications")
    }


def texts() -> Iterator[str]:
    """Every text in the database, and what is hidden in those that are ciphertext."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if "simulat" in table:
                continue  # its recipients' own inbox
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for value in (value for row in cursor.fetchall() for value in row):
                text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
                yield text
                with suppress(privacy.Unreadable):
                    yield privacy.decrypt(text)


# Expiry: what a receipt says, and when it comes


AFTER_THE_GRACE: Final = "just after the grace"
MOMENTS: Final = {
    "a second before expiry": -SECOND,
    "a second after expiry": SECOND,
    "just before the end of the grace": GRACE - MOMENT,
    AFTER_THE_GRACE: GRACE + MOMENT,
}

each_moment = pytest.mark.parametrize("moment", MOMENTS)
each_situation = pytest.mark.parametrize(
    "situation", ["open", "unknown", "taken", "lapsed", "leased"]
)
STANDING: Final = {
    "open": ("Order_Processing", "new"),
    "unknown": ("Order_Processed", "sending"),
    "taken": ("Order_Processed", "accepted"),
    "lapsed": ("Order_Processing", "sending"),
    "leased": ("Order_Processing", "sending"),
}


def brought_to_the_moment(
    situation: str, moment: str, channel: Channel, stub: Any, clock: Clock, configure: Configure
) -> Delivery:
    if situation == "leased":
        configure(**LONG_LEASE)
    delivery = brought_to(situation, stub, channel)
    clock.now = delivery.expires_at + MOMENTS[moment]
    return delivery


@each_channel
@each_situation
@each_moment
@pytest.mark.parametrize("swept", [True, False], ids=["swept", "not swept"])
def test_a_last_word_counts_whenever_it_comes(
    channel: Channel,
    situation: str,
    moment: str,
    swept: bool,
    stub: Any,
    clock: Clock,
    configure: Configure,
) -> None:
    words = WORDS[channel]
    delivery = brought_to_the_moment(situation, moment, channel, stub, clock, configure)
    expired = moment == AFTER_THE_GRACE and situation != "leased"
    if swept:
        sweep()

    order, word = STANDING[situation]
    if swept and situation == "lapsed":
        order = "Order_Processed"  # nobody is at it any more
    standing = order, getattr(words, word)
    assert shown(delivery) == (("Order_Completed", words.expired) if expired else standing)
    assert fed() == ([words.expired] if expired and swept else [])

    receipt(delivery, words.delivered)
    assert shown(delivery) == ("Order_Completed", words.delivered)
    told = [words.expired, words.delivered] if expired and swept else [words.delivered]
    assert fed() == told
    assert [each for each in changes(delivery) if each in told] == told

    clock.go(DAY)
    assert sweep() == {}
    receipt(delivery, words.failed)
    assert (shown(delivery)[1], fed()) == (words.delivered, told)


@each_channel
@pytest.mark.parametrize("status", ["delivered", "failed"])
def test_only_the_first_last_word_corrects_expiry(
    channel: Channel, status: str, stub: Any, clock: Clock
) -> None:
    words = WORDS[channel]
    delivery = brought_to("taken", stub, channel)
    clock.now = delivery.expires_at + HOUR
    sweep()
    receipt(delivery, getattr(words, status))
    receipt(delivery, words.failed if status == "delivered" else words.delivered, word="other")
    assert shown(delivery)[1] == getattr(words, status)
    assert fed() == [words.expired, getattr(words, status)]


@each_channel
@each_moment
def test_an_interim_word_does_not_keep_a_message_from_expiring(
    channel: Channel, moment: str, stub: Any, clock: Clock
) -> None:
    words = WORDS[channel]
    delivery = brought_to("unknown", stub, channel)
    clock.now = delivery.expires_at + MOMENTS[moment]
    receipt(delivery, words.accepted)
    assert shown(delivery)[1] == (words.expired if moment == AFTER_THE_GRACE else words.accepted)
    assert fed() == []
    clock.go(HOUR)
    assert shown(delivery) == ("Order_Completed", words.expired)
    assert sweep() == {"deliveries expired": 1}
    assert (shown(delivery), fed()) == (("Order_Completed", words.expired), [words.expired])


@each_channel
@pytest.mark.parametrize("situation", ["open", "unknown", "taken", "lapsed"])
def test_without_any_receipt_it_expires_once(
    channel: Channel, situation: str, stub: Any, clock: Clock
) -> None:
    words = WORDS[channel]
    delivery = brought_to(situation, stub, channel)
    clock.now = delivery.expires_at + GRACE
    sweep()
    assert words.expired not in shown(delivery)
    clock.go(MOMENT)
    lazily = shown(delivery)
    assert lazily == ("Order_Completed", words.expired)
    assert sweep() == {"deliveries expired": 1}
    assert shown(delivery) == lazily
    assert changes(delivery)[-1] == words.expired

    before = everything()
    clock.go(DAY)
    assert sweep() == {}
    assert everything() == before
    assert fed() == [words.expired]


@pytest.mark.parametrize("grace", [0, 0.25, 60])
@pytest.mark.parametrize("off", [-MOMENT, timedelta(0), MOMENT], ids=["before", "at", "after"])
@pytest.mark.parametrize("situation", ["open", "unknown", "taken", "lapsed"])
def test_the_sweep_writes_what_could_be_read_before_to_the_microsecond(
    situation: str, off: timedelta, grace: float, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(EXPIRY_GRACE=grace)
    delivery = brought_to(situation, stub)
    clock.now = delivery.expires_at + timedelta(seconds=grace) + off
    lazily = shown(delivery)[1]
    assert (lazily == "SMS_Failed_TTL") == (off == MOMENT)
    expected = {"deliveries expired": 1} if off == MOMENT else {}
    if situation == "lapsed":
        expected["dead hand-overs settled"] = 1
    assert sweep() == expected
    assert Delivery.objects.get().status == lazily
    assert fed() == (["SMS_Failed_TTL"] if off == MOMENT else [])


@pytest.mark.parametrize("off", [-MOMENT, timedelta(0), MOMENT], ids=["before", "at", "after"])
def test_the_sweep_agrees_with_the_manifest_on_the_end_of_a_lease(
    off: timedelta, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(**LONG_LEASE)
    delivery = brought_to("leased", stub)
    assert delivery.lease_until is not None
    assert delivery.lease_until > delivery.expires_at + GRACE
    clock.now = delivery.lease_until + off
    lazily = shown(delivery)[1]
    assert (lazily == "SMS_Sending") == (off < timedelta(0))
    sweep()
    assert Delivery.objects.get().status == lazily


@each_channel
def test_a_message_that_is_being_handed_over_is_left_alone(
    channel: Channel, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(**LONG_LEASE)
    delivery = brought_to("leased", stub, channel)
    clock.now = delivery.expires_at + DAY
    before = everything()
    assert sweep() == {}
    assert everything() == before
    assert shown(delivery) == ("Order_Processing", WORDS[channel].sending)


def test_a_reservation_whose_worker_died_is_settled(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(FEED="every")
    delivery = brought_to("lapsed", stub)
    clock.go(timedelta(seconds=20) - MOMENT)
    assert sweep() == {}
    clock.go(MOMENT)
    assert sweep() == {"dead hand-overs settled": 1}
    settled = Delivery.objects.get()
    assert (settled.handover, settled.status, settled.lease_until) == (
        "unknown",
        "SMS_Sending",
        None,
    )
    assert shown(delivery) == ("Order_Processed", "SMS_Sending")
    assert [event.cause for event in StatusEvent.objects.all()] == ["lease"]
    assert [entry.status for entry in FeedEntry.objects.all()] == ["Order_Processed"]
    assert sweep() == {}


def test_a_dead_workers_message_that_is_overdue_too_expires_in_the_same_round(
    stub: Any, clock: Clock
) -> None:
    delivery = brought_to("lapsed", stub)
    clock.now = delivery.expires_at + HOUR
    assert sweep() == {"dead hand-overs settled": 1, "deliveries expired": 1}
    assert shown(delivery) == ("Order_Completed", "SMS_Failed_TTL")
    assert Delivery.objects.get().handover == "unknown"
    assert list(StatusEvent.objects.order_by("pk").values_list("cause", flat=True)) == [
        "lease",
        "expiry",
    ]
    assert fed() == ["SMS_Failed_TTL"]


@pytest.mark.parametrize("situation", ["refused", "taken"])
def test_what_has_had_its_last_word_does_not_expire(
    situation: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"reports_receipts": False}))
    delivery = brought_to(situation, stub)
    clock.now = delivery.expires_at + DAY
    before = everything()
    assert sweep() == {}
    assert everything() == before


def test_a_receipt_that_was_here_before_speaks_before_our_clock(stub: Any, clock: Clock) -> None:
    """Its worker recorded the hand-over and died before it looked for receipts."""
    record_receipt("stub", Receipt(gateway_reference="ref", status="SMS_Delivered"))
    delivery = brought_to("taken", stub)
    Delivery.objects.update(gateway_reference="ref")
    clock.now = delivery.expires_at + HOUR
    assert sweep() == {"late receipts matched": 1}
    assert shown(delivery) == ("Order_Completed", "SMS_Delivered")
    assert fed() == ["SMS_Delivered"]
    assert not UnmatchedReceipt.objects.exists()


# Expiry: others are at the same rows


def after(happens: Callable[[], Any], then: Callable[..., Any]) -> Callable[..., Any]:
    """``then``, before whose first call something else happens, or fails."""
    left = [happens]

    def do(*args: Any, **named: Any) -> Any:
        while left:
            left.pop()()
        return then(*args, **named)

    return do


def test_a_retry_that_begins_after_the_sweep_has_read_is_not_swept_from_under_itself(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = brought_to("open", stub)
    clock.now = delivery.expires_at + HOUR
    lease = timedelta(seconds=20)

    def claim() -> None:
        assert record.claim(Delivery.objects.get(), lease)

    monkeypatch.setattr(record, "record_status", after(claim, record.record_status))
    sweep()
    left = Delivery.objects.get()
    assert (left.handover, left.status, left.completed_at, left.attempts) == (
        "under_way",
        "SMS_Sending",
        None,
        2,
    )
    assert fed() == []
    clock.go(lease + MOMENT)
    assert sweep() == {"dead hand-overs settled": 1, "deliveries expired": 1}
    assert fed() == ["SMS_Failed_TTL"]


def test_a_retry_that_begins_after_the_sweep_has_read_keeps_its_new_lease(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought_to("lapsed", stub)
    clock.go(timedelta(seconds=60))
    settle = record.settle_lapsed

    def claim() -> None:
        assert record.claim(settle(Delivery.objects.get()), timedelta(seconds=20))

    monkeypatch.setattr(record, "record_status", after(claim, record.record_status))
    sweep()
    left = Delivery.objects.get()
    assert (left.handover, left.attempts, left.leased) == ("under_way", 2, True)


@dataclass(frozen=True)
class Waking:
    """What a worker says that wakes up after the sweep, and what is known then."""

    do: Do
    raises: type[Exception] | None
    handover: str
    word: str
    fed: tuple[str, ...] = ("SMS_Failed_TTL",)


WAKING: Final = {
    "taken": Waking(take, None, "taken", "SMS_Failed_TTL"),
    "refused": Waking(
        fails(Rejected, status="SMS_Failed_BarredReceiver"),
        Rejected,
        "refused",
        "SMS_Failed_BarredReceiver",
        ("SMS_Failed_TTL", "SMS_Failed_BarredReceiver"),
    ),
    "delivered": Waking(
        delivered, None, "taken", "SMS_Delivered", ("SMS_Failed_TTL", "SMS_Delivered")
    ),
    "unavailable": Waking(fails(Unavailable), Unavailable, "open", "SMS_Failed_TTL"),
    "in doubt": Waking(fails(OutcomeUnknown), OutcomeUnknown, "unknown", "SMS_Failed_TTL"),
}


def sleeps_through_expiry(clock: Clock, then: Do) -> Do:
    """A gateway that answers long after the sweep has given the message up."""

    def time_passes() -> None:
        clock.go(DAY * 3)
        assert sweep() == {"dead hand-overs settled": 1, "deliveries expired": 1}

    return meanwhile(time_passes, then)


@pytest.mark.parametrize("waking", WAKING.values(), ids=list(WAKING))
def test_a_worker_that_wakes_up_after_the_sweep_is_heard(
    waking: Waking, stub: Any, clock: Clock
) -> None:
    stub.do = sleeps_through_expiry(clock, waking.do)
    if waking.raises:
        with pytest.raises(waking.raises):
            send(Channel.SMS, idempotency_id="a")
    else:
        assert send(Channel.SMS, idempotency_id="a").status == waking.word
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.lease_until) == (waking.handover, None)
    assert shown(delivery) == ("Order_Completed", waking.word)
    assert tuple(fed()) == waking.fed
    changes(delivery)

    assert sweep() == {}
    stub.do = take
    with suppress(HandoverFailed):
        send(Channel.SMS, idempotency_id="a")
    assert len(stub.seen) == 1
    assert tuple(fed()) == waking.fed


def test_a_receipt_still_corrects_what_a_waking_worker_could_not(stub: Any, clock: Clock) -> None:
    stub.do = sleeps_through_expiry(clock, take)
    send(Channel.SMS)
    delivery = Delivery.objects.get()
    receipt(delivery, "SMS_Delivered")
    assert shown(delivery) == ("Order_Completed", "SMS_Delivered")
    assert fed() == ["SMS_Failed_TTL", "SMS_Delivered"]


def test_acceptance_corrects_expiry_where_it_is_the_last_word(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"reports_receipts": False}))
    stub.do = sleeps_through_expiry(clock, take)
    assert send(Channel.EMAIL).status == "Email_Succeeded"
    assert fed() == ["Email_Failed_TTL", "Email_Succeeded"]


@with_threads
def test_a_receipt_and_the_sweep_at_once_make_one_entry_or_a_correction(
    stub: Any, clock: Clock
) -> None:
    delivered_ones = [brought_to("taken", stub, creator=f"org-{n}") for n in range(8)]
    clock.now = max(each.expires_at for each in delivered_ones) + HOUR
    at_once(
        sweep,
        lambda: [receipt(each, "SMS_Delivered") for each in reversed(delivered_ones)],
        sweep,
        lambda: [receipt(each, "SMS_Delivered") for each in delivered_ones],
    )
    for number, each in enumerate(delivered_ones):
        told = fed(f"org-{number}")
        assert told in (["SMS_Delivered"], ["SMS_Failed_TTL", "SMS_Delivered"])
        assert changes(each) == ["SMS_Accepted", *told]
        assert shown(each) == ("Order_Completed", "SMS_Delivered")


@with_threads
@pytest.mark.usefixtures("tiny_batches")
def test_several_sweeps_at_once_change_each_row_once(stub: Any, clock: Clock) -> None:
    situations = ["open", "unknown", "taken", "lapsed", "taken", "lapsed", "unknown"]
    for situation in situations:
        brought_to(situation, stub)
    # MariaDB deadlocks over the first entry of a feed; what then fails is done in the next round.
    Organisation.objects.get_or_create(name=Shipment.objects.latest("pk").creator)
    clock.go(DAY)
    counts = at_once(sweep, sweep, sweep)
    assert sum(counts, Counter()) == {
        "deliveries expired": len(situations),
        "dead hand-overs settled": situations.count("lapsed"),
    }
    assert fed() == ["SMS_Failed_TTL"] * len(situations)
    events = StatusEvent.objects.filter(cause=Cause.EXPIRY)
    assert events.count() == len(situations) == events.values("delivery").distinct().count()
    assert StatusEvent.objects.filter(cause=Cause.LEASE).count() == situations.count("lapsed")
    assert set(Delivery.objects.values_list("status", flat=True)) == {"SMS_Failed_TTL"}


def test_several_sweeps_count_each_row_once_in_sum(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought_to("taken", stub)
    clock.go(DAY)
    other: Counter[str] = Counter()

    def another_sweep() -> None:
        other.update(sweep())

    write = upkeep._write_if_still_due
    monkeypatch.setattr(upkeep, "_write_if_still_due", after(another_sweep, write))
    assert (sweep() + other)["deliveries expired"] == 1


@with_threads
def test_the_sweep_and_a_worker_that_ends_at_once_agree(stub: Any, clock: Clock) -> None:
    deliveries = [brought_to("lapsed", stub, creator=f"org-{n}") for n in range(6)]
    clock.go(DAY)
    refused = Change(
        cause=Cause.HANDOVER, status="SMS_Failed", handover=Handover.REFUSED, attempt=1
    )
    at_once(sweep, lambda: [record.record_status(each, refused) for each in deliveries])
    for number, each in enumerate(deliveries):
        told = fed(f"org-{number}")
        assert told in (["SMS_Failed"], ["SMS_Failed_TTL", "SMS_Failed"])
        assert changes(each) == told


# Expiry: many rows, and rows that fail


@pytest.mark.usefixtures("tiny_batches")
@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_more_than_a_batch_is_swept_whole(number: int, stub: Any, clock: Clock) -> None:
    for _ in range(number):
        brought_to("lapsed", stub)
    clock.go(DAY)
    tallies = [
        (chore.name, tally.done)
        for chore, tally in upkeep.run(EXPIRY, Event())
        if chore.name == "deliveries expired"
    ]
    assert all(done <= 2 for _, done in tallies)
    assert sum(done for _, done in tallies) == number
    assert fed() == ["SMS_Failed_TTL"] * number


def test_the_oldest_expire_first(stub: Any, clock: Clock) -> None:
    deliveries = [brought_to("taken", stub) for _ in range(4)]
    for minutes, each in zip((3, 1, 4, 2), deliveries, strict=True):
        Delivery.objects.filter(pk=each.pk).update(
            expires_at=clock.now + timedelta(minutes=minutes)
        )
    clock.go(DAY)
    sweep()
    told = [entry.delivery_id for entry in FeedEntry.objects.order_by("sequence_number")]
    assert told == [deliveries[place].pk for place in (1, 3, 0, 2)]


def poison(monkeypatch: pytest.MonkeyPatch, *rows: Delivery) -> None:
    """Writing these down fails, with words that must not be seen."""
    write = record.record_status
    bad = {row.pk for row in rows}

    def fail_for_some(delivery: Delivery, change: Change) -> Delivery:
        if delivery.pk in bad:
            raise ValueError(f"{PHONE} {ADDRESS} {BODY} {SUBJECT}")
        return write(delivery, change)

    monkeypatch.setattr(record, "record_status", fail_for_some)


@pytest.mark.usefixtures("tiny_batches")
@pytest.mark.parametrize("place", range(5))
def test_a_row_that_cannot_be_written_does_not_stop_the_rest(
    place: int,
    stub: Any,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    deliveries = [brought_to("taken", stub) for _ in range(5)]
    clock.go(DAY)
    with monkeypatch.context() as poisoned, caplog.at_level(logging.DEBUG):
        poison(poisoned, deliveries[place])
        assert sweep() == {"deliveries expired": 4, "failed": 1}
    assert len(fed()) == 4
    (line,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert str(deliveries[place].pk) in line.getMessage()
    assert "ValueError at" in line.getMessage()
    assert not [word for word in PERSONAL if word in caplog.text]
    assert sweep() == {"deliveries expired": 1}
    assert len(fed()) == 5


@pytest.mark.usefixtures("tiny_batches")
def test_whole_batches_of_rows_that_cannot_be_written_are_passed_by(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries = [brought_to("taken", stub) for _ in range(7)]
    clock.go(DAY)
    poison(monkeypatch, *deliveries[:5])
    assert sweep() == {"deliveries expired": 2, "failed": 5}


@pytest.mark.usefixtures("tiny_batches")
def test_where_all_fails_the_round_ends(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "MOST_LEFT_OUT", 3)
    deliveries = [brought_to("taken", stub) for _ in range(9)]
    clock.go(DAY)
    poison(monkeypatch, *deliveries)
    assert sweep() == {"failed": 4}


def raises(error: Exception) -> Callable[[], None]:
    def do() -> None:
        raise error

    return do


@with_threads
@pytest.mark.parametrize("kind", [OperationalError, InterfaceError])
def test_a_lost_database_ends_the_chore_and_not_the_round(
    kind: type[Exception],
    stub: Any,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    brought_to("lapsed", stub)
    clock.go(DAY)
    gone = raises(kind(f"{PHONE} {BODY}"))
    monkeypatch.setattr(record, "record_status", after(gone, record.record_status))
    assert sweep() == {"failed": 1, "deliveries expired": 1}
    assert f"{kind.__name__} at" in caplog.text
    assert not [word for word in PERSONAL if word in caplog.text]
    assert sweep() == {}


@with_threads
def test_what_was_done_before_the_database_went_away_is_counted(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries = [brought_to("taken", stub) for _ in range(3)]
    clock.go(DAY)
    write = record.record_status

    def gone_for_the_last(delivery: Delivery, change: Change) -> Delivery:
        if delivery.pk == deliveries[-1].pk:
            raise OperationalError
        return write(delivery, change)

    monkeypatch.setattr(record, "record_status", gone_for_the_last)
    counts = sweep()
    assert fed() == ["SMS_Failed_TTL"] * 2
    assert counts == {"failed": 1, "deliveries expired": 2}


def test_an_order_that_is_deleted_while_it_is_swept_is_no_failure(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought_to("taken", stub)
    clock.go(DAY)
    write = upkeep._write_if_still_due
    monkeypatch.setattr(upkeep, "_write_if_still_due", after(Order.objects.all().delete, write))
    assert sweep()["failed"] == 0


def test_a_clock_that_is_set_back_does_not_keep_the_sweep_busy(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = brought_to("taken", stub)
    clock.now = delivery.expires_at + GRACE + SECOND

    def set_back() -> None:
        clock.now = delivery.expires_at

    monkeypatch.setattr(record, "record_status", after(set_back, record.record_status))
    stop, tallies = Event(), []
    for _, tally in upkeep.run(EXPIRY, stop):
        tallies.append(tally)
        if len(tallies) == 5:
            stop.set()
    assert len(tallies) < 5


# What the simulated recipients' messages come to in the end


@dataclass(frozen=True)
class End:
    digits: str
    tag: str
    sms: tuple[str, ...]
    email: tuple[str, ...]
    """What the feed says, in this order; the last is what the manifest says."""
    attempts: int = 1


EXPIRED: Final = (("SMS_Failed_TTL",), ("Email_Failed_TTL",))
ARRIVED: Final = (("SMS_Delivered",), ("Email_Delivered",))

ENDS: Final = {
    "ordinary": End("4321", "", *ARRIVED),
    "reject": End(
        "0001", "reject", ("SMS_Failed_InvalidRecipient",), ("Email_Failed_InvalidFormat",)
    ),
    "down": End("0002", "down", *EXPIRED),
    "down, tried three times": End("0002", "down", *EXPIRED, attempts=3),
    "flaky, tried once": End("0003", "flaky", *EXPIRED),
    "flaky, tried twice": End("0003", "flaky", *ARRIVED, attempts=2),
    "timeout-taken": End("0004", "timeout-taken", *ARRIVED),
    "timeout-lost": End("0005", "timeout-lost", *EXPIRED),
    "timeout-lost, asked again": End("0005", "timeout-lost", *EXPIRED, attempts=2),
    "bounce": End("0006", "bounce", ("SMS_Failed_Undelivered",), ("Email_Failed_Bounced",)),
    "silent": End("0007", "silent", *EXPIRED),
    "late": End("0008", "late", (*EXPIRED[0], *ARRIVED[0]), (*EXPIRED[1], *ARRIVED[1])),
    "shuffle": End("0009", "shuffle", *ARRIVED),
    "slow": End("0010", "slow", *ARRIVED),
    "spam": End("0011", "spam", ("SMS_Failed_BarredReceiver",), ("Email_Failed_FilteredSpam",)),
}


def send_to(end: End, channel: Channel, **message: Any) -> None:
    """As often as the row says."""
    for _ in range(end.attempts):
        with suppress(HandoverFailed):
            if channel is Channel.SMS:
                send_sms(f"+479182{end.digits}", BODY, **message)
            else:
                address = f"kari+{end.tag}@example.com" if end.tag else ADDRESS
                send_email(address, SUBJECT, BODY, **message)


@each_channel
@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_each_simulated_recipient_comes_to_its_end(
    end: End, channel: Channel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "sleep", lambda seconds: None)
    told = list(end.sms if channel is Channel.SMS else end.email)
    send_to(end, channel, secret=True, idempotency_id="a")
    delivery = Delivery.objects.get()
    deliver_due_receipts(clock.now + SECOND)
    sweep()
    expires = {"SMS_Failed_TTL", "Email_Failed_TTL"} & set(told)
    assert fed() == ([] if expires else told)

    clock.now = delivery.expires_at + GRACE + MOMENT
    sweep()
    assert fed() == (told[:1] if expires else told)
    deliver_due_receipts(clock.now + SECOND)
    sweep()
    assert (shown(delivery), fed()) == (("Order_Completed", told[-1]), told)
    assert changes(delivery)[-len(told) :] == told
    assert Delivery.objects.get().content is None


def test_of_what_the_simulated_recipients_were_sent_nothing_personal_is_left(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulator, "sleep", lambda seconds: None)
    for name, end in ENDS.items():
        for channel in Channel:
            send_to(end, channel, idempotency_id=name)
    personal = ("ZK7W2Q", SUBJECT, "+479182", "kari+", ADDRESS)
    assert all(is_anywhere(word) for word in personal)
    clock.go(3 * DAY)
    sweep()
    deliver_due_receipts(clock.now)
    shipments = [(each.creator, each.pk) for each in Shipment.objects.all()]
    before = [feed.read_manifest(*each) for each in shipments]
    clock.go(90 * DAY)
    assert purge()["failed"] == 0
    assert not [word for word in personal if is_anywhere(word)]
    for each, manifest in zip(shipments, before, strict=True):
        after_all = feed.read_manifest(*each)
        assert after_all is not None
        assert manifest is not None
        assert (after_all.status, after_all.at) == (manifest.status, manifest.at)
        assert after_all.recipients[0].status == manifest.recipients[0].status


# Retention: how long what is kept


def has(model: Any, **conditions: Any) -> Callable[[], bool]:
    return lambda: bool(model.objects.filter(**conditions).exists())


KEPT: Final[dict[str, tuple[timedelta, Callable[[], bool]]]] = {
    "KEEP_CONTENT": (DAY, has(Delivery, content__isnull=False)),
    "KEEP_DESTINATIONS": (90 * DAY, has(Delivery, destination__isnull=False)),
    "KEEP_FEED": (90 * DAY, has(FeedEntry)),
    "KEEP_IDEMPOTENCY": (90 * DAY, has(IdempotencyRecord)),
    "KEEP_HISTORY": (90 * DAY, has(StatusEvent)),
    "KEEP_UNMATCHED": (30 * DAY, has(UnmatchedReceipt)),
}


def unmatched(clock: Clock, number: int = 1) -> None:
    for each in range(number):
        UnmatchedReceipt.objects.create(
            gateway="stub", gateway_reference=str(each), word="said", received_at=clock.now
        )


@pytest.mark.parametrize("setting", KEPT)
@pytest.mark.parametrize("days", [None, 3], ids=["by default", "three days"])
def test_what_is_kept_is_kept_to_its_last_moment(
    setting: str, days: int | None, stub: Any, clock: Clock, configure: Configure
) -> None:
    keep, kept = KEPT[setting]
    if days:
        keep = days * DAY
        configure(**{setting: keep})
    completed(stub)
    unmatched(clock)
    clock.go(keep)
    purge()
    assert kept()
    clock.go(MOMENT)
    assert purge()["failed"] == 0
    assert not kept()


@pytest.mark.parametrize("setting", [name for name in KEPT if name != "KEEP_IDEMPOTENCY"])
def test_nothing_need_be_kept_at_all(
    setting: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    _, kept = KEPT[setting]
    configure(**{setting: timedelta(0)})
    completed(stub)
    unmatched(clock)
    purge()
    assert kept()
    clock.go(MOMENT)
    purge()
    assert not kept()


def test_each_round_reads_the_settings_anew(stub: Any, clock: Clock, configure: Configure) -> None:
    completed(stub)
    clock.go(HOUR)
    assert purge() == {}
    configure(KEEP_CONTENT=HOUR - MOMENT)
    assert purge() == {"contents erased": 1}


def test_orders_are_kept_for_ever_by_default(stub: Any, clock: Clock) -> None:
    completed(stub)
    clock.go(10_000 * DAY)
    purge()
    assert rows_left() == [
        f"instant_notifications.{name}"
        for name in ("Order", "Shipment", "Delivery", "Organisation")
    ]


def test_an_order_goes_with_all_that_hangs_on_it(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_ORDERS=100 * DAY, KEEP_HISTORY=1000 * DAY)
    completed(stub, 3)
    clock.go(100 * DAY)
    purge()
    assert Order.objects.count() == 3
    clock.go(MOMENT)
    assert purge() == {"orders deleted": 3}
    assert rows_left() == ["instant_notifications.Organisation"]


LONGER: Final = {"the feed": "KEEP_FEED", "an id": "KEEP_IDEMPOTENCY"}


@pytest.mark.parametrize("referring", LONGER)
def test_an_order_is_kept_while_something_refers_to_it(
    referring: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    short = {"KEEP_ORDERS": DAY, "KEEP_FEED": DAY, "KEEP_IDEMPOTENCY": 3 * DAY}
    configure(**{**short, LONGER[referring]: 10 * DAY})
    completed(stub)
    clock.go(10 * DAY)
    purge()
    assert Order.objects.exists()
    clock.go(MOMENT)
    assert purge()["orders deleted"] == 1


@pytest.mark.parametrize("situation", ["taken", "unknown"])
def test_an_order_is_kept_until_its_end_has_been_told(
    situation: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_ORDERS=3 * DAY, KEEP_IDEMPOTENCY=3 * DAY, EMAIL_LIFETIME=4 * 24 * 3600)
    brought_to(situation, stub, Channel.EMAIL)
    clock.go(4 * DAY + MOMENT)
    purge()
    clock.go(HOUR)
    sweep()
    assert fed() == ["Email_Failed_TTL"]


# Retention: what may still be needed stays


IN_FLIGHT: Final = pytest.mark.parametrize("situation", ["open", "unknown", "lapsed", "leased"])
KEEP_LITTLE: Final[dict[str, Any]] = {
    "KEEP_CONTENT": timedelta(0),
    "KEEP_DESTINATIONS": timedelta(0),
    "KEEP_IDEMPOTENCY": timedelta(hours=49),
    "KEEP_ORDERS": timedelta(0),
    "KEEP_HISTORY": timedelta(0),
    "EMAIL_LIFETIME": 5 * 24 * 3600,
}


def what_is_left(delivery: Delivery) -> tuple[bool, bool, bool]:
    """Of what a hand-over needs: the content, the destination, the id."""
    left = Delivery.objects.get(pk=delivery.pk)
    ids = IdempotencyRecord.objects.filter(order__shipments__deliveries=left)
    return left.content is not None, left.destination is not None, ids.exists()


@IN_FLIGHT
def test_what_may_still_be_sent_keeps_all_that_it_needs(
    situation: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(**KEEP_LITTLE, **(LONG_LEASE if situation == "leased" else {}))
    delivery = brought_to(situation, stub, Channel.EMAIL)
    for moment in (timedelta(hours=30), 3 * DAY, 5 * DAY - MOMENT, 5 * DAY):
        clock.now = delivery.created_at + moment
        purge()
        assert what_is_left(delivery) == (True, True, True)
    clock.now = delivery.expires_at + MOMENT
    counts = purge()
    if situation == "leased":
        assert what_is_left(delivery) == (True, True, True)
    else:
        assert counts["contents erased"] == counts["destinations erased"] == 1
        assert not IdempotencyRecord.objects.exists()


@pytest.mark.parametrize("situation", ["open", "unknown", "lapsed"])
def test_what_was_kept_can_still_be_sent(
    situation: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(**KEEP_LITTLE, UNKNOWN_OUTCOME="resend")
    brought_to(situation, stub, Channel.EMAIL, idempotency_id="a")
    clock.go(3 * DAY)
    purge()
    stub.do = take
    sent = send(Channel.EMAIL, idempotency_id="a")
    assert (sent.status, sent.replayed) == ("Email_Succeeded", False)
    first, second = stub.seen
    assert (second.destination, second.subject, second.body) == (ADDRESS, SUBJECT, BODY)
    assert first.reference == second.reference
    clock.go(MOMENT)
    assert purge()["contents erased"] == 1


@pytest.mark.parametrize("situation", ["taken", "refused"])
def test_what_is_with_a_gateway_needs_its_content_no_longer(
    situation: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(**KEEP_LITTLE)
    delivery = brought_to(situation, stub, Channel.EMAIL)
    clock.go(MOMENT)
    purge()
    assert what_is_left(delivery) == (False, False, True)


def test_a_retry_of_what_was_erased_after_its_expiry_sends_nothing(stub: Any, clock: Clock) -> None:
    brought_to("open", stub, idempotency_id="a")
    clock.go(3 * DAY)
    assert purge()["contents erased"] == 1
    stub.do = take
    with pytest.raises(Rejected):
        send(Channel.SMS, idempotency_id="a")
    assert len(stub.seen) == 1
    assert fed() == ["SMS_Failed_TTL"]


def test_a_purge_while_a_gateway_has_the_message_takes_nothing_away(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(**KEEP_LITTLE, ROUTES={"sms": ["stub", "second"]})

    def later() -> None:
        clock.go(SECOND)
        purge()

    stub.do = meanwhile(later, fails(Unavailable))
    assert send(Channel.SMS).status == "SMS_Accepted"
    assert what_is_left(Delivery.objects.get()) == (True, True, True)


def test_the_parts_of_an_unfinished_sms_are_not_forgotten(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_HISTORY=HOUR)
    send_sms(PHONE, BODY * 12, time_to_live=24 * 3600)
    delivery = Delivery.objects.get()
    assert delivery.segments == 2
    receipt(delivery, "SMS_Delivered", part="1")
    clock.go(2 * HOUR)
    purge()
    receipt(delivery, "SMS_Delivered", part="2")
    assert shown(delivery) == ("Order_Completed", "SMS_Delivered")


# Retention: secret messages


def something_is_left() -> bool:
    return has(Delivery, content__isnull=False)() or has(Delivery, destination__isnull=False)()


def is_anywhere(*words: str) -> bool:
    return any(word in text for text in texts() for word in words)


@each_channel
@pytest.mark.parametrize("situation", ["taken", "refused"])
def test_a_secret_text_is_erased_as_soon_as_it_is_handed_over(
    channel: Channel, situation: str, stub: Any
) -> None:
    delivery = brought_to(situation, stub, channel, secret=True)
    assert what_is_left(delivery) == (False, True, True)
    assert not is_anywhere("ZK7W2Q", SUBJECT)
    assert is_anywhere(delivery.destination or "?")


@each_channel
@pytest.mark.parametrize("situation", ["open", "unknown", "lapsed"])
def test_a_secret_text_is_kept_while_it_may_be_needed(
    channel: Channel, situation: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_CONTENT=timedelta(0))
    delivery = brought_to(situation, stub, channel, secret=True)
    clock.now = delivery.expires_at
    sweep()
    purge()
    assert what_is_left(delivery) == (True, True, True)
    assert is_anywhere("ZK7W2Q")


@each_channel
@pytest.mark.parametrize("situation", ["open", "unknown", "lapsed"])
def test_a_secret_text_is_erased_when_it_expires(
    channel: Channel, situation: str, stub: Any, clock: Clock
) -> None:
    delivery = brought_to(situation, stub, channel, secret=True)
    clock.now = delivery.expires_at + GRACE + MOMENT
    sweep()
    assert what_is_left(delivery) == (False, True, True)
    assert not is_anywhere("ZK7W2Q", SUBJECT)


@pytest.mark.parametrize("situation", ["open", "unknown", "lapsed"])
def test_a_purge_erases_a_secret_text_that_can_no_longer_be_sent(
    situation: str, stub: Any, clock: Clock
) -> None:
    delivery = brought_to(situation, stub, secret=True)
    clock.now = delivery.expires_at + HOUR
    purge()
    assert what_is_left(delivery) == (False, True, True)


@pytest.mark.parametrize("status", ["SMS_Accepted", "SMS_Delivered", "SMS_Failed"])
@pytest.mark.parametrize("situation", ["unknown", "lapsed"])
def test_a_receipt_ends_the_need_for_a_secret_text(situation: str, status: str, stub: Any) -> None:
    delivery = brought_to(situation, stub, secret=True)
    receipt(delivery, status)
    assert what_is_left(delivery) == (False, True, True)
    assert not is_anywhere("ZK7W2Q")


@each_channel
def test_an_open_secret_message_can_be_tried_again(channel: Channel, stub: Any) -> None:
    delivery = brought_to("open", stub, channel, secret=True, idempotency_id="a")
    stub.do = take
    send(channel, secret=True, idempotency_id="a")
    assert [message.body for message in stub.seen] == [BODY, BODY]
    assert what_is_left(delivery) == (False, True, True)
    assert send(channel, secret=True, idempotency_id="a").replayed


def test_a_secret_text_is_there_for_the_next_gateway(stub: Any, configure: Configure) -> None:
    """Also where a receipt has come, and has ended the need for it, in between."""
    configure(ROUTES={"sms": ["stub", "second"]})

    def accepted() -> None:
        receipt(Delivery.objects.get(), "SMS_Accepted")
        assert not is_anywhere("ZK7W2Q")

    stub.do = meanwhile(accepted, fails(Unavailable))
    assert send(Channel.SMS, secret=True).status == "SMS_Accepted"
    assert not is_anywhere("ZK7W2Q")


@pytest.mark.parametrize("situation", ["taken", "refused"])
def test_a_secret_text_goes_in_the_very_write_that_records_the_hand_over(
    situation: str, stub: Any
) -> None:
    with CaptureQueriesContext(connection) as queries:
        brought_to(situation, stub, secret=True)
    table = Delivery._meta.db_table
    (update,) = [
        each["sql"]
        for each in queries
        if each["sql"].startswith("UPDATE") and table in each["sql"].partition("SET")[0]
    ]
    assigned = update.partition("WHERE")[0]
    assert "content" in assigned
    assert "handover" in assigned


def test_a_record_that_is_rolled_back_keeps_the_secret_text(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = raises(IntegrityError(BODY))
    monkeypatch.setattr(record, "_follow_up", after(fail, record._follow_up))
    with pytest.raises(OutcomeUnknown):
        send(Channel.SMS, secret=True)
    delivery = Delivery.objects.get()
    assert delivery.handover == "under_way"
    assert what_is_left(delivery) == (True, True, True)


def test_an_ordinary_text_is_kept_for_its_day(stub: Any) -> None:
    brought_to("taken", stub)
    assert is_anywhere("ZK7W2Q")


# Retention: destinations, ids and the feed


def test_a_destination_that_was_erased_is_found_no_more(api: Any, stub: Any, clock: Clock) -> None:
    stub.do = delivered
    answers = [post(api, route) for route in (SMS, EMAIL)]
    before = [api.get(shipment_path(answer)).json() for answer in answers]
    entries = api.get(FEED).json()
    clock.go(90 * DAY)
    assert purge()["destinations erased"] == 0
    assert all(Delivery.objects.to(each).exists() for each in ("+4799999999", "kari@example.com"))
    FeedEntry.objects.update(at=clock.now)
    clock.go(MOMENT)
    assert purge()["destinations erased"] == 2
    assert not any(
        Delivery.objects.to(each).exists() for each in ("+4799999999", "kari@example.com", "")
    )
    assert set(Delivery.objects.values_list("destination_digest", flat=True)) == {""}
    assert not is_anywhere("99999999", "kari@example.com", privacy.digest("+4799999999"))

    for answer, manifest in zip(answers, before, strict=True):
        manifest["recipients"][0]["destination"] = ""
        assert api.get(shipment_path(answer)).json() == manifest
    told = api.get(FEED).json()
    assert [entry["shipmentId"] for entry in told] == [entry["shipmentId"] for entry in entries]
    assert [entry["recipients"][0]["destination"] for entry in told] == ["", ""]


def test_a_receipt_still_finds_a_message_whose_destination_was_erased(
    stub: Any, clock: Clock
) -> None:
    delivery = brought_to("taken", stub)
    clock.go(100 * DAY)
    purge()
    sweep()
    receipt(delivery, "SMS_Delivered")
    assert shown(delivery) == ("Order_Completed", "SMS_Delivered")
    assert fed() == ["SMS_Failed_TTL", "SMS_Delivered"]


def test_a_purged_id_sends_anew(stub: Any, clock: Clock) -> None:
    stub.do = delivered
    first = send(Channel.SMS, idempotency_id="a")
    clock.go(90 * DAY)
    purge()
    assert send(Channel.SMS, idempotency_id="a").replayed
    clock.go(MOMENT)
    assert purge()["idempotency ids deleted"] == 1
    second = send(Channel.SMS, idempotency_id="a")
    assert (second.replayed, second.order_id == first.order_id) == (False, False)
    assert send(Channel.SMS, idempotency_id="a") == _replayed(second)
    assert len(stub.seen) == 2


def _replayed(sent: Sent) -> Sent:
    return Sent(
        order_id=sent.order_id,
        shipment_id=sent.shipment_id,
        senders_reference=sent.senders_reference,
        status=sent.status,
        replayed=True,
    )


def test_an_id_that_is_purged_before_it_is_looked_up_is_sent_once(
    stub: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.do = delivered
    send(Channel.SMS, idempotency_id="a")
    clock.go(91 * DAY)
    monkeypatch.setattr(instant, "known", after(purge, instant.known))
    assert not send(Channel.SMS, idempotency_id="a").replayed
    assert (len(stub.seen), IdempotencyRecord.objects.count()) == (2, 1)
    assert send(Channel.SMS, idempotency_id="a").replayed
    assert len(stub.seen) == 2


def test_of_an_order_that_is_purged_after_its_id_was_looked_up_is_told_what_became(
    stub: Any, clock: Clock, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(KEEP_ORDERS=DAY)
    stub.do = delivered
    first = send(Channel.SMS, idempotency_id="a")
    clock.go(91 * DAY)
    monkeypatch.setattr(instant, "differs", after(purge, instant.differs))
    assert send(Channel.SMS, idempotency_id="a") == _replayed(first)
    assert not Order.objects.exists()


def test_feed_numbers_go_on_after_the_newest_were_purged(api: Any, stub: Any, clock: Clock) -> None:
    def bounds() -> tuple[str, str, list[int]]:
        answer = api.get(FEED)
        numbers = [entry["sequenceNumber"] for entry in answer.json()]
        return answer["X-Oldest-Sequence"], answer["X-Latest-Sequence"], numbers

    completed(stub, 3, creator="ttd")
    clock.go(10 * DAY)
    completed(stub, 2, creator="ttd")
    clock.go(80 * DAY + MOMENT)
    assert purge()["feed entries deleted"] == 3
    assert bounds() == ("4", "5", [4, 5])
    clock.go(10 * DAY)
    assert purge()["feed entries deleted"] == 2
    assert bounds() == ("6", "5", [])
    completed(stub, 2, creator="ttd")
    assert bounds() == ("6", "7", [6, 7])
    assert [entry["sequenceNumber"] for entry in api.get(f"{FEED}?seq=5").json()] == [6, 7]


def test_each_organisation_counts_on_by_itself(stub: Any, clock: Clock) -> None:
    completed(stub, 2, creator="ttd")
    completed(stub, 3, creator="skd")
    clock.go(91 * DAY)
    purge()
    completed(stub, creator="skd")
    completed(stub, creator="ttd")
    entries = FeedEntry.objects.values_list("creator", "sequence_number")
    assert set(entries) == {("ttd", 3), ("skd", 4)}


# Retention: batches


DELETED: Final = {
    "feed entries deleted": FeedEntry,
    "idempotency ids deleted": IdempotencyRecord,
    "history lines deleted": StatusEvent,
    "unmatched receipts deleted": UnmatchedReceipt,
    "orders deleted": Order,
}


def chore_of(name: str) -> Chore:
    return next(chore for chore in (*EXPIRY, *RETENTION) if chore.name == name)


@pytest.mark.usefixtures("tiny_batches")
@pytest.mark.parametrize("number", [1, 2, 3, 4, 7])
def test_more_than_a_batch_is_forgotten_whole(
    number: int, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_ORDERS=DAY)
    completed(stub, number)
    plan_them(clock.now)
    unmatched(clock, number)
    clock.go(91 * DAY)
    completed(stub, 3)
    unmatched_before = UnmatchedReceipt.objects.count()
    assert unmatched_before == number
    tallies = [(chore.name, tally.done) for chore, tally in upkeep.run(RETENTION, Event())]
    assert all(done <= 2 for _, done in tallies)
    totals: Counter[str] = Counter()
    for name, done in tallies:
        totals[name] += done
    assert totals == {chore.name: number for chore in RETENTION}
    assert Order.objects.count() == FeedEntry.objects.count() == 3
    assert Delivery.objects.filter(content__isnull=True).count() == 0


@pytest.mark.usefixtures("tiny_batches")
@pytest.mark.parametrize("name", [name for name in DELETED if name != "orders deleted"])
def test_the_oldest_go_first(name: str, stub: Any, clock: Clock) -> None:
    completed(stub, 5)
    unmatched(clock, 5)
    model: Any = DELETED[name]
    keys = list(model.objects.order_by("pk").values_list("pk", flat=True))
    clock.go(91 * DAY)
    stop = Event()
    for _ in upkeep.run([chore_of(name)], stop):
        stop.set()
    assert list(model.objects.order_by("pk").values_list("pk", flat=True)) == keys[2:]


def stuck_behind(stub: Any, clock: Clock, configure: Configure, number: int) -> int:
    """Ids that are old and in flight, and behind them some that may go; how many these are."""
    configure(KEEP_IDEMPOTENCY=3 * DAY, EMAIL_LIFETIME=100 * 24 * 3600, CIRCUIT_FAILURES=None)
    for _ in range(number):
        brought_to("unknown", stub, Channel.EMAIL)
    completed(stub, 3)
    clock.go(4 * DAY)
    return 3


@pytest.mark.usefixtures("tiny_batches")
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_what_must_stay_does_not_hold_up_what_is_behind_it(
    number: int, stub: Any, clock: Clock, configure: Configure
) -> None:
    behind = stuck_behind(stub, clock, configure, number)
    assert purge()["idempotency ids deleted"] == behind
    assert IdempotencyRecord.objects.count() == number


@pytest.mark.usefixtures("tiny_batches")
def test_what_must_stay_may_stand_anywhere(stub: Any, clock: Clock, configure: Configure) -> None:
    configure(KEEP_IDEMPOTENCY=3 * DAY, EMAIL_LIFETIME=100 * 24 * 3600)
    for _ in range(3):
        completed(stub)
        brought_to("unknown", stub, Channel.EMAIL)
    clock.go(4 * DAY)
    assert purge()["idempotency ids deleted"] == 3
    assert IdempotencyRecord.objects.count() == 3


@pytest.mark.parametrize("number", [0, 3, 30])
def test_where_nothing_is_old_a_round_costs_little_and_changes_nothing(
    number: int, stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_ORDERS=DAY)
    completed(stub, number)
    unmatched(clock, number)
    before = everything()
    with CaptureQueriesContext(connection) as queries:
        assert sweep() == purge() == {}
    assert everything() == before
    assert len(queries) <= 36
    assert not [each for each in queries if each["sql"].startswith(("UPDATE", "DELETE", "INSERT"))]


def test_a_second_round_finds_nothing_left_to_do(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_ORDERS=DAY)
    for situation in ("open", "unknown", "lapsed", "taken", "refused"):
        brought_to(situation, stub)
    clock.go(200 * DAY)
    for _ in range(2):
        sweep()
        purge()
        clock.go(91 * DAY)
    assert set(rows_left()) == {
        "instant_notifications.Organisation",
        "instant_notifications.GatewayState",
    }
    assert sweep() == purge() == {}


def test_it_rests_as_long_as_it_worked_but_never_long(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Resting(Event):
        rests: list[float]

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            self.rests.append(timeout)
            return self.is_set()

    times = iter([0, 0.25, 10, 15, 20, 20])
    monkeypatch.setattr(upkeep, "monotonic", lambda: next(times))
    stop = Resting()
    stop.rests = []
    twice = Chore("twice", lambda now: Order.objects.none(), lambda due: iter([Tally(1)] * 2))
    assert [tally.done for _, tally in upkeep.run([twice], stop)] == [1, 1]
    assert stop.rests == [0.25, upkeep.LONGEST_REST]


# Retention: others are at the same rows


@with_threads
@pytest.mark.usefixtures("tiny_batches")
def test_several_purges_at_once_do_each_thing_once(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_ORDERS=DAY)
    completed(stub, 9)
    plan_them(clock.now)
    unmatched(clock, 9)
    clock.go(91 * DAY)
    first, *others = at_once(purge, purge, purge)
    together = sum(others, first)
    assert together["failed"] == 0
    together += purge()  # orders that one of them had in hand when another came by
    with_their_orders = 9 - together["history lines deleted"]
    assert with_their_orders >= 0
    together["history lines deleted"] += with_their_orders
    assert together == {chore.name: 9 for chore in RETENTION}
    assert rows_left() == ["instant_notifications.Organisation"]


@with_threads
def test_a_purge_and_the_sweep_at_once_do_not_hinder_each_other(stub: Any, clock: Clock) -> None:
    for situation in ("open", "unknown", "taken", "lapsed") * 2:
        brought_to(situation, stub, secret=True)
    clock.go(91 * DAY)
    counts = at_once(sweep, purge, sweep, purge)
    assert not any(each["failed"] for each in counts)
    sweep()  # what a purge had in hand was left to it
    assert fed() == ["SMS_Failed_TTL"] * 8
    purge()  # what the sweep had in hand was left to it
    assert not something_is_left()


@with_threads
def test_messages_are_sent_whole_while_everything_is_being_forgotten(
    stub: Any, configure: Configure
) -> None:
    configure(
        **{name: timedelta(0) for name in KEPT if name != "KEEP_IDEMPOTENCY"},
        KEEP_ORDERS=timedelta(0),
    )
    bodies = [f"{BODY} {number}" for number in range(12)]
    done = Event()

    def forget() -> Counter[str]:
        counts: Counter[str] = Counter()
        while not done.is_set():
            counts += purge() + sweep()
        return counts

    def send_all() -> list[str]:
        try:
            return [send_sms(PHONE, body, idempotency_id=body).status for body in bodies]
        finally:
            done.set()

    stub.do = delivered
    counts, statuses = at_once(forget, send_all)
    assert statuses == ["SMS_Delivered"] * 12
    assert [message.body for message in stub.seen] == bodies
    assert counts["failed"] == 0
    purge()
    assert not something_is_left()
    assert Organisation.objects.get().last_sequence_number == 12


@with_threads
@pytest.mark.skipif(
    "sqlite" in connection.settings_dict["ENGINE"], reason="SQLite locks no single rows"
)
@pytest.mark.parametrize("name", [chore.name for chore in RETENTION])
def test_a_row_that_somebody_has_in_hand_is_left_and_not_waited_for(
    name: str, stub: Any, clock: Clock, configure: Configure
) -> None:
    if name == "orders deleted":
        configure(KEEP_ORDERS=DAY, KEEP_FEED=timedelta(0))
    completed(stub, 3)
    plan_them(clock.now)
    unmatched(clock, 3)
    clock.go(91 * DAY)
    if name == "orders deleted":
        work([chore for chore in RETENTION if chore.name != name])
    held = chore_of(name).due(clock.now).model._default_manager.order_by("pk")
    behind = 0 if name == "feed entries deleted" else 2  # a feed is not to have holes
    with transaction.atomic():
        key = held.select_for_update().first().pk
        (counts,) = at_once(lambda: work([chore_of(name)]))
        assert counts == +Counter({name: behind})
        assert held.filter(pk=key).exists()
    assert work([chore_of(name)]) == {name: 3 - behind}


@with_threads
@pytest.mark.usefixtures("tiny_batches")
@pytest.mark.skipif(
    "sqlite" in connection.settings_dict["ENGINE"], reason="SQLite locks no single rows"
)
@pytest.mark.parametrize("held", [1, 2])
def test_the_sweep_passes_by_what_somebody_has_in_hand(held: int, stub: Any, clock: Clock) -> None:
    for _ in range(5):
        brought_to("taken", stub)
    clock.go(DAY)
    with transaction.atomic():
        assert len(Delivery.objects.order_by("pk").select_for_update()[:held]) == held
        (counts,) = at_once(sweep)
        assert counts == {"deliveries expired": 5 - held}
    assert sweep() == {"deliveries expired": held}


def expired_long_ago(stub: Any, clock: Clock, configure: Configure) -> Delivery:
    """A message without a last word, whose order may go."""
    configure(KEEP_ORDERS=DAY)
    delivery = brought_to("taken", stub)
    clock.go(2 * DAY)
    sweep()
    clock.go(100 * DAY)
    return delivery


def receipt_while_its_order_is_deleted(
    stub: Any, clock: Clock, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> Counter[str]:
    """What the purge counts that finds the receipt's transaction open."""
    delivery = expired_long_ago(stub, clock, configure)
    written, purged, append = Event(), Event(), record._follow_up

    def append_and_wait(*args: Any) -> None:
        append(*args)
        written.set()
        purged.wait(1)

    def purge_meanwhile() -> Counter[str]:
        assert written.wait(10)
        counts = purge()
        purged.set()
        return counts

    monkeypatch.setattr(record, "_follow_up", append_and_wait)
    _, counts = at_once(lambda: receipt(delivery, "SMS_Delivered"), purge_meanwhile)
    return Counter(counts)


@with_threads
@with_several_writers
def test_an_order_with_a_receipt_in_hand_is_left(
    stub: Any, clock: Clock, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = receipt_while_its_order_is_deleted(stub, clock, configure, monkeypatch)
    assert counts["failed"] == 0
    entries = FeedEntry.objects.values_list("sequence_number", "recipients__0__status")
    assert list(entries) == [(2, "SMS_Delivered")]


@with_threads
@with_several_writers
def test_an_order_whose_receipt_has_just_been_written_is_kept(
    stub: Any, clock: Clock, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = expired_long_ago(stub, clock, configure)
    lock, comes = upkeep._lock, [lambda: receipt(delivery, "SMS_Delivered")]

    def lock_then_receive(due: Any) -> Sequence[Any]:
        keys = lock(due)
        if due.model is Order and comes:
            at_once(comes.pop())
        return keys

    monkeypatch.setattr(upkeep, "_lock", lock_then_receive)
    assert purge()["failed"] == 0
    assert list(FeedEntry.objects.values_list("sequence_number", flat=True)) == [2]


@with_threads
@with_several_writers
def test_a_receipt_that_comes_while_its_order_is_being_deleted_breaks_nothing(
    stub: Any, clock: Clock, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = expired_long_ago(stub, clock, configure)
    purge_is_at_it, append = Event(), record._follow_up

    def append_later(*args: Any) -> None:
        append(*args)
        purge_is_at_it.wait(1)

    monkeypatch.setattr(record, "_follow_up", append_later)

    def purge_then() -> Counter[str]:
        counts = purge()
        purge_is_at_it.set()
        return counts

    with suppress(Delivery.DoesNotExist):
        at_once(lambda: receipt(delivery, "SMS_Delivered"), purge_then)
    if Delivery.objects.exists():
        assert shown(delivery) == ("Order_Completed", "SMS_Delivered")
    clock.go(100 * DAY)
    assert purge()["failed"] == 0
    assert rows_left() == ["instant_notifications.Organisation"]


# Retention: regular orders


NEXT_YEAR: Final = timedelta(days=300)


@with_threads
def test_an_order_that_waits_is_not_forgotten_however_old(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(
        **{name: timedelta(0) for name in KEPT if name != "KEEP_IDEMPOTENCY"}, KEEP_ORDERS=DAY
    )
    placed = place_order(
        recipients.mailbox(ADDRESS),
        email=Email(SUBJECT, BODY),
        at=clock.now + NEXT_YEAR,
        idempotency_id="a",
    )
    clock.go(NEXT_YEAR - HOUR)
    assert purge() == {}
    clock.go(2 * HOUR)
    assert list(tasks.sweep(lambda: False)) == [1]
    assert [message.body for message in stub.seen] == [BODY]
    assert IdempotencyRecord.objects.get().order_id == placed.order_id


@with_threads
def test_the_texts_of_an_order_go_once_its_last_reminder_is_planned(
    stub: Any, clock: Clock, configure: Configure
) -> None:
    configure(KEEP_DESTINATIONS=10 * DAY)
    place_order(
        recipients.mailbox(ADDRESS),
        email=Email(SUBJECT, BODY),
        reminders=[Reminder(days=1, email=Email(SUBJECT, BODY))],
    )
    assert purge() == {"planned texts erased": 1}
    clock.go(DAY)
    list(tasks.sweep(lambda: False))
    assert purge() == {"planned texts erased": 1}
    assert not Notice.objects.filter(content__isnull=False).exists()
    assert Plan.objects.exclude(recipient_digest="").count() == 2
    clock.go(9 * DAY + HOUR)
    assert purge()["recipients forgotten"] == 1
    assert len(stub.seen) == 2


@with_threads
def test_the_condition_of_an_order_goes_with_its_texts(stub: Any, clock: Clock) -> None:
    placed = place_order(
        recipients.mailbox(ADDRESS),
        email=Email(SUBJECT, BODY),
        at=clock.now + DAY,
        condition="https://example.com/kari",
    )
    assert purge() == {}
    cancel_order("local", placed.order_id)
    purge()
    assert Notice.objects.get().condition is None
