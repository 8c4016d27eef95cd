"""The feed of an upstream is written down whole and once, whatever happens meanwhile."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count, islice
from random import Random
from typing import Any, ClassVar, Final

import pytest
from django.db import DataError, OperationalError, ProgrammingError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import feed, models, orders, receipts, sync
from instant_notifications.exceptions import NotConfigured, Unavailable
from instant_notifications.gateways import FeedItem, FeedPage, Receipt
from instant_notifications.models import Delivery, FeedCursor, StatusEvent, UnmatchedReceipt
from instant_notifications.signals import status_changed
from instant_notifications.statuses import STAGES, Channel
from instant_notifications.upkeep import Stop
from tests import regular
from tests.clock import Clock
from tests.outcomes import Killed
from tests.stub import StubGateway
from tests.test_upkeep import SITUATIONS, after, brought_to, changes, fed, raises, receipt, sweep
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

DAY: Final = timedelta(days=1)
LONG_LEASE: Final = {"HANDOVER_BUDGET": 1e6}
with_threads = pytest.mark.django_db(transaction=True)


@dataclass
class Upstream:
    """What the other service says. ``meanwhile`` happens at each reading, before it answers."""

    items: list[FeedItem] = field(default_factory=list)
    page_size: int = 500
    oldest: int | None = None
    latest: int | None = None
    meanwhile: Callable[[], Any] = lambda: None

    def add(self, *said: Receipt | None) -> None:
        """Further entries; ``None`` cannot be read."""
        for number, each in enumerate(said, start=len(self.items) + 1):
            self.items.append(FeedItem(number=number, receipts=[each] if each else []))

    def page(self, after: int) -> FeedPage:
        self.meanwhile()
        page = list(islice(self.items_after(after), self.page_size))
        return FeedPage(items=page, oldest=self.oldest, latest=self.latest)

    def items_after(self, number: int) -> Iterable[FeedItem]:
        last = 0
        for item in self.items:
            last = item.number or last
            if (item.number or last + 1) > number:
                yield item


class FeedGateway(StubGateway):
    has_feed = answers_for_each = True
    upstream: ClassVar[Upstream]

    def read_feed(self, after: int, *, timeout: float) -> FeedPage:
        return self.upstream.page(after)

    def look_up(self, gateway_reference: str, *, timeout: float) -> Receipt | None:
        self.upstream.meanwhile()
        said = [receipt for item in self.upstream.items for receipt in item.receipts]
        return next((each for each in said if gateway_reference in each.gateway_reference), None)

    def last_number(self, *, timeout: float) -> int:
        return len(self.upstream.items)


@pytest.fixture
def upstream(stub: Any, configure: Configure) -> Upstream:
    configure(
        GATEWAYS={"stub": {"BACKEND": "tests.test_sync.FeedGateway"}},
        ROUTES={"sms": ["stub"], "email": ["stub"]},
    )
    FeedGateway.upstream = Upstream()
    return FeedGateway.upstream


class Watch(Stop):
    """Does not wait, but knows for how long it should have; it stops after so many pauses."""

    def __init__(self, last: int = 1000) -> None:
        super().__init__()
        self.pauses: list[float] = []
        self.last = last

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        if len(self.pauses) >= self.last:
            self.set()
        return self.is_set()


def run(**named: Any) -> list[sync.Progress]:
    return list(sync.sync("stub", **{"stop": Watch(), **named}))


def number() -> int:
    return sum(FeedCursor.objects.values_list("number", flat=True))


def waiting(quantity: int, creator: str = "local") -> list[Delivery]:
    """Messages that the upstream has taken."""
    taken = {"channel": "sms", "status": "SMS_Accepted", "handover": "taken", "gateway": "stub"}
    whole = [models.Order(creator=creator) for _ in range(quantity)]
    shipments = [models.Shipment(order=each, creator=creator, type="Instant") for each in whole]
    expires_at = timezone.now() + timedelta(hours=1)
    ours = [Delivery(shipment=each, expires_at=expires_at, **taken) for each in shipments]
    for each in ours:
        each.gateway_reference = f"stub-{each.pk}"
    models.Order.objects.bulk_create(whole)
    models.Shipment.objects.bulk_create(shipments)
    return Delivery.objects.bulk_create(ours)


def theirs(delivery: Delivery, status: str | None = "SMS_Delivered", **more: Any) -> Receipt:
    named = {"gateway_reference": f"stub-{delivery.pk}", "reference": str(delivery.pk)}
    return Receipt(**{**named, "status": status, "word": f"said {status}", **more})


def strange(name: str = "s") -> Receipt:
    return Receipt(gateway_reference=f"nobody's {name}", status="SMS_Delivered", word="delivered")


def aside() -> list[str]:
    kept = UnmatchedReceipt.objects.order_by("pk")
    return sorted(each.gateway_reference or f"{each.reference}: {each.word}" for each in kept)


# Many at once, or one by one


def twins(rng: Random, stub: Any, quantity: int) -> list[list[Delivery]]:
    """Messages that went alike, each in two worlds."""
    made = []
    for _ in range(quantity):
        situation, channel = rng.choice([*SITUATIONS]), rng.choice([*Channel])
        secret, creator = rng.random() < 0.3, rng.choice("ab")
        models.GatewayState.objects.all().delete()  # none is passed over for having failed
        pair = [
            brought_to(situation, stub, channel, creator=f"{world} {creator}", secret=secret)
            for world in ("one", "all")
        ]
        made.append(pair)
    return made


def saying(rng: Random) -> dict[str, Any]:
    """Something a gateway may say of a message, whichever it is."""
    said = {
        "status": rng.choice([*STAGES, None]),
        "word": rng.choice(["", "A", "B"]),
        "part": rng.choice(["", "", "", "1", "2"]),
        "parts": rng.choice([None, 2]),
    }
    return said if rng.random() < 0.8 else {**said, "gateway_reference": ""}


RECORDED: Final = ("status", "handover", "revision", "lease_until", "gateway", "completed_at")
LINE: Final = ("at", "from_status", "to_status", "gateway_word", "reported_status", "part")


def story(delivery: Delivery, heard: Iterable[Any]) -> Sequence[Any]:
    """What was written and told of it."""
    row = Delivery.objects.get(pk=delivery.pk)
    entries = models.FeedEntry.objects.filter(delivery_id=row.pk).order_by("sequence_number")
    return [
        *(getattr(row, name) for name in RECORDED),
        (row.content is None, row.gateway_reference == f"stub-{row.pk}"),
        list(row.events.filter(cause="receipt").order_by("pk").values_list(*LINE)),
        [(each.revision, each.recipients[0]["status"]) for each in entries],
        [news for key, *news in heard if key == row.pk],
    ]


@pytest.mark.parametrize("seed", range(16))
def test_many_at_once_end_as_one_by_one(
    seed: int, stub: Any, clock: Clock, configure: Any, django_capture_on_commit_callbacks: Any
) -> None:
    rng, heard = Random(seed), list[Any]()
    configure(FEED=rng.choice(["completed", "every"]), **rng.choice([{}, LONG_LEASE]))
    pairs = twins(rng, stub, 3)
    clock.go(rng.choice([DAY, timedelta(0)]))
    sweep()
    pairs += twins(rng, stub, 5)
    said = [(rng.choice(pairs), saying(rng)) for _ in range(40)]

    def hear(delivery: Delivery, **news: Any) -> None:
        heard.append((delivery.pk, news["old"], news["new"], news["cause"], delivery.revision))

    status_changed.connect(hear)
    with django_capture_on_commit_callbacks(execute=True):
        for (one, _), words in said:
            receipts.record_receipt("stub", theirs(one, **words))
        while said:
            page, said = said[: (size := rng.randint(1, 15))], said[size:]
            in_page = [theirs(other, **words) for (_, other), words in page]
            assert receipts.record_receipts("stub", in_page) == len(page)
    status_changed.disconnect(hear)
    assert heard
    for one, other in pairs:
        assert story(one, heard) == story(other, heard)
    for creator in models.Organisation.objects.all():
        entries = models.FeedEntry.objects.filter(creator=creator.name).order_by("sequence_number")
        numbers = list(entries.values_list("sequence_number", flat=True))
        assert numbers == list(range(1, creator.last_sequence_number + 1))


def test_all_kinds_of_messages_in_one_page_are_each_told_as_themselves(upstream: Upstream) -> None:
    """Instant ones of two organisations, and an order to a company by SMS and e-mail."""
    regular.keep_contact(regular.COMPANY, phones=["40000000"], emails=[regular.ADDRESS])
    both = regular.sent(regular.order(regular.COMPANY))
    assert len(both) == 2
    instant = [*waiting(3), *waiting(2, "other")]
    last_words = {"sms": "SMS_Delivered", "email": "Email_Delivered"}
    upstream.add(*(theirs(each, last_words[each.channel]) for each in [*instant, *both]))
    run()
    for creator, quantity in {"local": 4, "other": 2}.items():
        page = feed.read_feed(creator, after=0, limit=9, newest_first=False)
        assert [each.sequence_number for each in page] == list(range(1, quantity + 1))
        for each in page:
            manifest = feed.read_manifest(creator, each.shipment.pk)
            assert manifest
            assert (each.status, each.recipients) == (manifest.status, manifest.recipients)


def test_each_gets_the_reference_that_its_own_entry_names(upstream: Upstream) -> None:
    ours = waiting(3)
    Delivery.objects.update(gateway_reference="", handover="unknown", status="SMS_Sending")
    upstream.add(*map(theirs, ours))
    run()
    for each in ours:
        each.refresh_from_db()
        assert (each.status, each.gateway_reference) == ("SMS_Delivered", f"stub-{each.pk}")


def test_the_last_part_delivers_also_if_it_is_the_first_to_name_the_reference(
    upstream: Upstream,
) -> None:
    (delivery,) = waiting(1)
    Delivery.objects.update(gateway_reference="", segments=2)
    upstream.add(theirs(delivery, part="1", gateway_reference=""), theirs(delivery, part="2"))
    run()
    delivery.refresh_from_db()
    assert (delivery.status, delivery.gateway_reference) == ("SMS_Delivered", f"stub-{delivery.pk}")


def test_counters_are_locked_in_one_order_whoever_is_told_first(upstream: Upstream) -> None:
    """Or two who write down at once might wait for each other."""
    (first,), (second,) = waiting(1, "b"), waiting(1, "a")
    upstream.add(theirs(first), theirs(second, None), theirs(second))
    with CaptureQueriesContext(connection) as caught:
        run()
    counted = [each["sql"] for each in caught if "last_sequence_number) VALUES" in each["sql"]]
    locked = [creator for sql in counted for creator in "ab" if f"('{creator}'," in sql]
    assert [*dict.fromkeys(locked)] == ["a", "b"]


@pytest.mark.parametrize(("takes", "signs"), [(1, 0), (30, 3)])
def test_a_sign_of_life_is_given_no_more_often_than_needed(
    takes: float, signs: int, upstream: Upstream, clock: Clock
) -> None:
    """It is taken, renewed with each page and let go; a slow upstream makes more necessary."""
    upstream.page_size = 1
    upstream.add(*map(strange, "abc"))
    upstream.meanwhile = lambda: clock.go(timedelta(seconds=takes))
    with CaptureQueriesContext(connection) as caught:
        assert len(run()) == 3
    touched = [each for each in caught if "UPDATE" in each["sql"] and "held_until" in each["sql"]]
    assert len(touched) == 1 + 3 + 1 + signs


def statements(upstream: Upstream, said: Iterable[Receipt]) -> list[str]:
    run()
    upstream.add(*said)
    with CaptureQueriesContext(connection) as caught:
        run()
    return [each["sql"].split()[0] for each in caught]


def test_a_large_page_costs_hardly_more_statements_than_a_small_one(upstream: Upstream) -> None:
    _, small, large = (statements(upstream, map(theirs, waiting(n))) for n in (1, 50, 500))
    assert small.count("INSERT") <= 4
    assert len(large) <= 40
    for kind in {*small, *large} - {"INSERT"}:
        assert large.count(kind) == small.count(kind), kind


@pytest.mark.parametrize("words", [("SMS_Accepted",), (None, "SMS_Delivered")], ids=str)
def test_a_page_of_repeats_costs_little_more(words: Any, upstream: Upstream) -> None:
    said = [theirs(each, word) for each in waiting(50) for word in words]
    assert len(statements(upstream, said)) <= 60


def test_of_two_messages_with_one_reference_the_first_is_meant(upstream: Upstream) -> None:
    first, _ = waiting(2)
    Delivery.objects.update(gateway_reference="the same")
    said = theirs(first, gateway_reference="the same", reference="")
    (found,) = receipts.find_all("stub", [said])
    assert found
    assert receipts.record_receipt("stub", said) == first
    assert found.id == first.pk


# Killed at any moment


@contextmanager
def dying(moment: int) -> Iterator[list[int]]:
    """The process dies at its n-th statement or commit; what is left of its time, at the end."""
    left, commit = [moment], connection.commit

    def come_nearer() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    def execute(execute: Any, *words: Any) -> Any:
        come_nearer()
        return execute(*words)

    def commit_or_die() -> None:
        come_nearer()
        commit()
        come_nearer()

    with pytest.MonkeyPatch.context() as patch, connection.execute_wrapper(execute):
        patch.setattr(connection, "commit", commit_or_die)
        with suppress(Killed):
            yield left


@with_threads
def test_a_run_that_is_killed_at_any_moment_loses_nothing_and_repeats_nothing(
    upstream: Upstream,
) -> None:
    upstream.page_size = 3
    for moment in count():
        one, two, three, four = map(theirs, waiting(4))
        upstream.add(one, two, None, three, strange(f"{moment}"), four)
        with dying(moment) as left:
            run()
        connection.close()
        assert StatusEvent.objects.count() + UnmatchedReceipt.objects.count() == number()
        run()
        assert number() == len(upstream.items)
        assert fed() == ["SMS_Delivered"] * 4 * (moment + 1)
        assert StatusEvent.objects.count() == 4 * (moment + 1)
        assert UnmatchedReceipt.objects.count() == 2 * (moment + 1)
        if left[0] >= 0:
            break
    assert moment > 20


# What cannot be used


def test_what_is_not_ours_or_not_readable_is_kept_aside_and_counted(upstream: Upstream) -> None:
    (delivery,) = waiting(1)
    upstream.add(strange(), None, theirs(delivery), theirs(delivery))
    nameless = FeedItem(number=None)
    upstream.items[1:1] = [nameless, nameless, FeedItem(number=None, receipts=[strange("x")])]
    expected = sync.Progress(number=4, known=2, unknown=2, unreadable=3)
    assert [*sync.preview("stub", stop=Watch())] == [expected]
    assert (number(), aside(), fed()) == (0, [], [])
    assert run() == run(begin=0) == [expected]
    places = [f"feed entry {place}: unreadable" for place in ("1 after 1", "2 after 1", "2")]
    assert aside() == [*places, "nobody's s", "nobody's x"]
    assert fed() == ["SMS_Delivered"]


def poison(monkeypatch: pytest.MonkeyPatch, error: Exception, *deliveries: Delivery) -> None:
    record_all, spoilt = receipts.record_all, {each.pk for each in deliveries}

    def fail(changes: Any) -> None:
        record_all(changes)
        if spoilt & {key for key, _ in changes}:
            raise error

    monkeypatch.setattr(receipts, "record_all", fail)


@pytest.mark.parametrize("error", [ValueError("Kari"), DataError("Kari")], ids=repr)
@pytest.mark.parametrize("bad", [(0,), (6,), (1, 2, 5), range(7)], ids=str)
def test_an_entry_that_cannot_be_written_stops_no_other(
    bad: Sequence[int], error: Exception, upstream: Upstream, monkeypatch: Any, caplog: Any
) -> None:
    ours = waiting(7)
    upstream.add(*map(theirs, ours))
    poison(monkeypatch, error, *(ours[place] for place in bad))
    done = run()
    assert sum(each.known for each in done) == len(fed()) == 7 - len(bad)
    assert sum(each.unreadable for each in done) == len(bad)
    assert aside() == [f"feed entry {place + 1}: {type(error).__name__}" for place in bad]
    assert number() == 7
    assert "Kari" not in caplog.text


@pytest.mark.parametrize("error", [ProgrammingError, Unavailable])
def test_what_would_hit_every_entry_is_blamed_on_none(
    error: type[Exception], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = waiting(2)
    upstream.add(*map(theirs, ours))
    poison(monkeypatch, error(), ours[0])
    with pytest.raises(error):
        run()
    assert (number(), aside(), fed()) == (0, [], [])


def test_a_page_out_of_order_is_written_in_order(upstream: Upstream) -> None:
    (delivery,) = waiting(1)
    upstream.add(theirs(delivery, "SMS_Failed"), theirs(delivery), None)
    upstream.items = [*reversed(upstream.items), FeedItem(number=None)]
    assert run() == [sync.Progress(number=3, known=2, unreadable=2)]
    assert aside() == ["feed entry 1 after 1: unreadable", "feed entry 3: unreadable"]
    assert fed() == ["SMS_Failed"]


@pytest.mark.parametrize(
    ("numbers", "latest"), [((1, 2, 3), None), ((None, None), None), ((2, None), 3), ((), 2)]
)
def test_a_feed_that_does_not_move_on_is_told(
    numbers: Sequence[int | None], latest: int | None, upstream: Upstream
) -> None:
    FeedCursor.objects.create(gateway="stub", number=3)
    same = FeedPage(items=[FeedItem(number=each) for each in numbers], latest=latest)
    upstream.page = lambda after: same  # type: ignore[method-assign]
    with pytest.raises(sync.NoProgress):
        run()
    assert (number(), aside()) == (3, [])


@pytest.mark.parametrize(
    ("cursor", "oldest", "left", "missed"),
    [(2, 3, 3, [0]), (2, 6, 6, [3]), (2, 6, 4, [1]), (2, 9, 9, [6]), (0, 6, 6, [0]), (0, 9, 9, [])],
)
def test_what_was_gone_before_it_was_read_is_counted_once(
    cursor: int, oldest: int, left: int, missed: list[int], upstream: Upstream
) -> None:
    FeedCursor.objects.create(gateway="stub", number=cursor)
    upstream.add(*[strange()] * 8)
    del upstream.items[: left - 1]
    upstream.oldest, upstream.latest = oldest, 8
    assert [each.missed for each in run()] == missed
    assert run() == []


# Who may read it


@with_threads
def test_of_several_runs_at_once_each_entry_is_written_by_one(upstream: Upstream) -> None:
    upstream.page_size = 2
    upstream.add(*map(theirs, waiting(20)))

    def try_it() -> int:
        with suppress(sync.HeldByAnother):
            return len(run())
        return 0

    assert sum(at_once(*[try_it] * 4)) + len(run()) == 10
    assert fed() == ["SMS_Delivered"] * 20
    assert StatusEvent.objects.count() == 20


def dead() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        return gone.pid


HOLDERS: Final[dict[str, Callable[[], tuple[str, bool]]]] = {
    "dead": lambda: (f"{sync._HOST}/{dead()}/x", True),
    "alive": lambda: (f"{sync._HOST}/{os.getppid()}/x", False),
    "our number in an earlier life": lambda: (f"{sync._HOST}/{os.getpid()}/x", True),
    "another machine": lambda: (f"not-{sync._HOST}/{dead()}/x", False),
    "no process": lambda: (f"{sync._HOST}/x/x", False),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_hold_ends_with_its_process_or_with_its_time(
    holder: str, upstream: Upstream, clock: Clock
) -> None:
    upstream.add(strange())
    name, free = HOLDERS[holder]()
    FeedCursor.objects.create(gateway="stub", holder=name, held_until=clock.now + sync.HOLD)
    if not free:
        with pytest.raises(sync.HeldByAnother, match=r"ends at \d\d:\d\d:\d\d UTC"):
            run()
        clock.go(sync.HOLD + timedelta(seconds=1))
    assert len(run()) == 1
    assert FeedCursor.objects.get().holder == ""


@pytest.mark.parametrize("change", [{"holder": "another"}, {"number": 7}], ids=str)
@pytest.mark.parametrize("place", [(FeedGateway, "read_feed"), (receipts, "record_all")], ids=str)
def test_a_run_that_has_lost_its_hold_writes_nothing_more(
    place: Any, change: Any, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.page_size = 1
    upstream.add(*map(theirs, waiting(3)))
    pages = sync.sync("stub", stop=Watch())
    next(pages)
    steal = after(lambda: FeedCursor.objects.update(**change), getattr(*place))
    monkeypatch.setattr(*place, lambda *words, **named: steal(*words, **named))
    with pytest.raises(sync.HoldLost):
        next(pages)
    assert (len(fed()), StatusEvent.objects.count()) == (1, 1)


@with_threads
@pytest.mark.parametrize("spoilt", [False, True])
def test_others_move_the_same_messages_at_the_same_time(
    spoilt: bool, upstream: Upstream, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No deadlock, no gap, nothing twice."""
    ours = [each for creator in "abc" for each in waiting(12, creator)]
    Random(1).shuffle(ours)
    upstream.page_size = 18
    upstream.add(*map(theirs, ours))
    clock.now = max(each.expires_at for each in ours) + DAY
    FeedGateway.do = staticmethod(lambda message: Receipt(status="SMS_Delivered"))
    watch = Watch()
    if spoilt:
        poison(monkeypatch, ValueError(), ours[5], ours[20])
    at_once(
        lambda: run(stop=watch),
        sweep,
        lambda: [receipt(each, "SMS_Delivered") for each in reversed(ours)],
        lambda: [orders.send_sms("+4791825364", "hi", creator=each) for each in "abc" * 4],
    )
    assert (watch.pauses, number()) == ([], len(ours))
    for creator in "abc":
        assert {*fed(creator)} <= {"SMS_Delivered", "SMS_Failed_TTL"}
    for each in ours:
        assert changes(each) in (["SMS_Delivered"], ["SMS_Failed_TTL", "SMS_Delivered"])


# Patience

AWAY, REFUSED, OUR_FAULT = Unavailable("500"), NotConfigured("Set it."), ValueError("a fault")
FIRST, SECOND, *_ = sync.PAUSES


@pytest.mark.parametrize(
    ("errors", "pauses", "ends", "named"),
    [
        ([AWAY] * 3 + [None, OperationalError()], [*sync.PAUSES[:3], FIRST], None, {}),
        ([AWAY] * 9, sync.PAUSES, AWAY, {}),
        ([AWAY] * 99, [*sync.PAUSES, 30, 30, 30, 30], None, {"follow": 5}),
        ([Unavailable(retry_after=75), Unavailable(retry_after=0)], [30, 30, 15, SECOND], None, {}),
        ([], [30, 30, 10] * 3, None, {"follow": 70}),
        ([REFUSED], [], REFUSED, {"follow": 5}),
        ([OUR_FAULT], [], OUR_FAULT, {"follow": 5}),
    ],
)
def test_it_asks_again_after_growing_pauses(
    errors: Any, pauses: Any, ends: Exception | None, named: Any, upstream: Upstream, clock: Clock
) -> None:
    """And gives a sign of life before each pause, long enough for it."""
    upstream.add(strange())
    left, watch = iter(errors), Watch(last=9)

    def fail() -> None:
        if error := next(left, None):
            raise error

    def wait(seconds: float) -> bool:
        clock.go(timedelta(seconds=seconds))
        assert FeedCursor.objects.get().held_until >= clock.now + timedelta(
            seconds=sync.FETCH_TIMEOUT
        )
        return Watch.wait(watch, seconds)

    upstream.meanwhile, watch.wait = fail, wait  # type: ignore[method-assign]
    with pytest.raises(type(ends)) if ends else nullcontext():
        run(stop=watch, **named)
    assert watch.pauses == [*pauses]
    assert FeedCursor.objects.get().holder == ""


@pytest.mark.parametrize(
    "place", [(sync._Hold, "take"), (sync._Hold, "renew"), (receipts, "record_all")], ids=str
)
def test_a_database_that_comes_back_has_everything(
    place: tuple[Any, str], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add(*map(theirs, waiting(2)))
    there, watch = getattr(*place), Watch()
    left = iter([OperationalError("gone")] * 3)

    def away(*args: Any) -> Any:
        there(*args)
        if error := next(left, None):
            raise error

    monkeypatch.setattr(*place, away)
    assert run(stop=watch) == [sync.Progress(number=2, known=2)]
    assert watch.pauses == [*sync.PAUSES[:3]]
    assert (len(fed()), StatusEvent.objects.count()) == (2, 2)


def test_a_large_feed_needs_no_more_memory_than_a_small_one(upstream: Upstream) -> None:
    ours, size = waiting(500), 20_000

    def item(number: int) -> FeedItem:
        known = number % 40 == 0
        said = theirs(ours[number % 500]) if known else strange(str(number))
        return FeedItem(number=number, receipts=[said])

    upstream.page = lambda after: FeedPage(  # type: ignore[method-assign]
        items=[item(each) for each in range(after + 1, min(after + 500, size) + 1)]
    )
    used = [sys.getallocatedblocks() for _ in sync.sync("stub", stop=Watch())]
    assert number() == size
    assert used[-1] - used[9] < 10_000


# Asking one by one


def test_each_message_that_waits_is_asked_for(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "ASKED_AT_ONCE", 2)
    delivered, failed, still_waiting, ended, nobody_knows = waiting(5)
    receipt(ended, "SMS_Delivered")
    upstream.add(
        theirs(delivered), theirs(failed, "SMS_Failed"), theirs(still_waiting, "SMS_Accepted")
    )
    asked: list[int] = []
    upstream.meanwhile = lambda: asked.append(1)
    told = list(sync.ask_for_each("stub", stop=Watch()))
    assert (len(asked), len(told)) == (4, 2)
    assert sum(each.known for each in told) == 3
    assert sum(each.unknown for each in told) == 1
    shown = dict(Delivery.objects.values_list("pk", "status"))
    assert (shown[delivered.pk], shown[failed.pk]) == ("SMS_Delivered", "SMS_Failed")
    assert shown[still_waiting.pk] == shown[nobody_knows.pk] == "SMS_Accepted"
    again = list(sync.ask_for_each("stub", stop=Watch()))
    assert sum(each.known for each in again) == 1
    assert not FeedCursor.objects.exists()


@pytest.mark.parametrize("wrong", [{"gateway_reference": "{}-other"}, {"word": ""}])
def test_an_answer_about_something_else_is_not_taken_for_ours(
    wrong: dict[str, str], upstream: Upstream
) -> None:
    (ours,) = waiting(1)
    changed = {name: text.format(ours.gateway_reference) for name, text in wrong.items()}
    upstream.add(replace(theirs(ours), **changed))
    (told,) = sync.ask_for_each("stub", stop=Watch())
    assert (told.known, told.unreadable) == (0, 1)
    ours.refresh_from_db()
    assert ours.status == "SMS_Accepted"


def test_asking_is_patient_and_can_be_stopped(upstream: Upstream) -> None:
    waiting(1)
    upstream.meanwhile = raises(Unavailable("HTTP 503"))
    stop = Watch()
    with pytest.raises(Unavailable):
        list(sync.ask_for_each("stub", stop=stop))
    assert stop.pauses == list(sync.PAUSES)
    assert list(sync.ask_for_each("stub", stop=Watch(last=1))) == []


def test_a_gateway_that_cannot_be_asked_says_so(stub: Any) -> None:
    with pytest.raises(NotConfigured, match="single messages"):
        list(sync.ask_for_each("stub", stop=Watch()))
