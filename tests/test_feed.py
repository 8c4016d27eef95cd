"""Contract §8, behind the wire: nobody who follows the feed's numbers can miss an entry."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import count, product
from random import Random
from threading import Barrier, Event
from time import monotonic, sleep
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models import Max
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import feed, receipts, record, upkeep
from instant_notifications.exceptions import HandoverFailed, Rejected
from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery, FeedEntry, Order, Shipment
from instant_notifications.orders import cancel_order, send_sms
from instant_notifications.statuses import STAGES, WORDS, Channel, Ended, Handover, Stage
from tests import regular
from tests.outcomes import expire
from tests.stub import take
from tests.threads import at_once, begin, in_thread

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Numbering = Callable[[str, int], Any]

committing = pytest.mark.django_db(transaction=True)

CREATORS: Final = ("ttd", "skd", "nav")
ENDS: Final = [
    word
    for word, stage in STAGES.items()
    if word.startswith("SMS_") and stage in (Stage.DELIVERED, Stage.FAILED)
]
GOOD_NUMBER: Final = "+4799999999"
REFUSED_NUMBER: Final = "+4740000000"
REFUSED: Final = "SMS_Failed_Rejected"


def one_writer_at_a_time() -> bool:
    return connection.vendor == "sqlite"


def delivered(message: Message) -> Receipt:
    return Receipt(status=WORDS[message.channel].delivered)


def take_or_refuse(message: Message) -> Receipt:
    if message.destination == REFUSED_NUMBER:
        raise Rejected(status=REFUSED)
    return take(message)


def complete(stub: Any, number: int, creator: str = "ttd") -> None:
    """So many orders that end at once, each with an entry."""
    stub.do = delivered
    for _ in range(number):
        send_sms(GOOD_NUMBER, "hello", creator=creator)


def sent(stub: Any, creator: str = "ttd") -> Delivery:
    """A delivery that was taken and has not come to its end."""
    stub.do = take
    return Delivery.objects.get(
        shipment=send_sms(GOOD_NUMBER, "hello", creator=creator).shipment_id
    )


def receipt(delivery: Delivery, status: str) -> Delivery:
    said = Receipt(reference=str(delivery.pk), status=status, word=status)
    after = receipts.record_receipt("stub", said)
    assert after is not None
    return after


def numbers(
    creator: str = "ttd", *, after: int = 0, limit: int = 500, newest_first: bool = False
) -> list[int | None]:
    page = feed.read_feed(creator, after=after, limit=limit, newest_first=newest_first)
    return [entry.sequence_number for entry in page]


# Writers and readers at once


Entry = tuple[int, UUID, str]
"""Its number, its shipment, and the word of its only recipient."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A change that its writer knows to be committed, somewhere between two moments."""

    creator: str
    shipment_id: UUID
    word: str
    began: float
    done: float

    @property
    def change(self) -> tuple[UUID, str]:
        return self.shipment_id, self.word


@dataclass(frozen=True, slots=True)
class Read:
    """One page as a reader got it."""

    creator: str
    after: int
    limit: int
    newest_first: bool
    began: float
    entries: Sequence[Entry]

    @property
    def numbers(self) -> list[int]:
        return [number for number, _, _ in self.entries]

    @property
    def up_to(self) -> int:
        """Having read this page, its reader believes to have seen everything up to here."""
        return max(self.numbers, default=self.after)

    @property
    def at_the_end(self) -> bool:
        """Nothing that was committed by then may lie beyond this page."""
        return self.newest_first or len(self.entries) < self.limit


@dataclass(frozen=True, slots=True)
class Pace:
    """How wild the load is."""

    writers: int
    readers: int
    steps: int
    longest_pause: float
    """Seconds before a commit."""
    rollbacks: float = 0.25
    """The share of transactions that are rolled back, to be tried again."""


def pace(**changes: Any) -> Pace:
    """As wild as this database bears; on SQLite everybody waits for everybody's commit."""
    if one_writer_at_a_time():
        usual = Pace(writers=3, readers=2, steps=7, longest_pause=0.001)
    else:
        usual = Pace(writers=6, readers=3, steps=6, longest_pause=0.012)
    return replace(usual, **changes)


@dataclass
class Writer:
    """Sends messages, and reports their end in transactions that take their time.

    It has a final word of its own, so that what it wrote can be told from what others wrote.
    """

    word: str
    random: Random
    pace: Pace
    commits: list[Commit] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)

    def run(self, shared: Sequence[Delivery]) -> None:
        everybodys = self.random.sample(shared, len(shared))
        for _ in range(self.pace.steps):
            creator = self.random.choice(CREATORS)
            self.send_in_vain(creator)
            own = [self.send(creator) for _ in range(self.random.randint(1, 2))]
            self.report(*own)
            if everybodys:
                self.report(everybodys.pop())

    def send(self, creator: str) -> Delivery:
        began = monotonic()
        answer = send_sms(GOOD_NUMBER, "hello", creator=creator)
        self.note(creator, answer.shipment_id, answer.status, began)
        return Delivery.objects.select_related("shipment").get(shipment=answer.shipment_id)

    def send_in_vain(self, creator: str) -> None:
        began = monotonic()
        with pytest.raises(Rejected) as refused:
            send_sms(REFUSED_NUMBER, "hello", creator=creator)
        assert refused.value.shipment_id
        self.note(creator, refused.value.shipment_id, REFUSED, began)

    def report(self, *deliveries: Delivery) -> None:
        """Of one organisation, in one transaction; some are rolled back and tried again."""
        while self.random.random() < self.pace.rollbacks:
            self.attempt(deliveries, in_vain=True)
        self.attempt(deliveries)

    def attempt(self, deliveries: Sequence[Delivery], *, in_vain: bool = False) -> None:
        """A database that broke a deadlock is asked again, as by a gateway that got a 503."""
        try:
            self.write(deliveries, in_vain=in_vain)
        except OperationalError:
            self.tally["deadlocks"] += 1
            self.write(deliveries, in_vain=in_vain)

    def write(self, deliveries: Sequence[Delivery], *, in_vain: bool) -> None:
        with transaction.atomic():
            after = [receipt(delivery, self.word) for delivery in deliveries]
            sleep(self.random.uniform(0, self.pace.longest_pause))
            transaction.set_rollback(in_vain)
            began = monotonic()
        self.tally["rollbacks" if in_vain else "commits"] += 1
        for delivery in after:
            if delivery.status == self.word and not in_vain:
                self.note(delivery.shipment.creator, delivery.shipment_id, self.word, began)

    def note(self, creator: str, shipment_id: UUID, word: str, began: float) -> None:
        self.commits.append(Commit(creator, shipment_id, word, began, monotonic()))


@dataclass
class Reader:
    """Follows every organisation's feed in small pages, and looks at the newest in between."""

    random: Random
    reads: list[Read] = field(default_factory=list)
    cursors: Counter[str] = field(default_factory=Counter)

    def run(self, writing: Event) -> None:
        while writing.is_set():
            creator = self.random.choice(CREATORS)
            if self.random.random() < 0.2:
                self.read(creator, newest_first=True)
            self.follow(creator)
            sleep(self.random.uniform(0, 0.005))
        for creator in CREATORS:
            while self.follow(creator):
                pass

    def follow(self, creator: str) -> bool:
        """Reads the next page; whether that was progress."""
        page = self.read(creator, after=self.cursors[creator])
        self.cursors[creator] = page.up_to
        return page.up_to > page.after

    def read(self, creator: str, *, after: int = 0, newest_first: bool = False) -> Read:
        limit, began = self.random.randint(1, 7), monotonic()
        page = feed.read_feed(creator, after=after, limit=limit, newest_first=newest_first)
        entries = [
            (entry.sequence_number or 0, entry.shipment.pk, entry.recipients[0].status)
            for entry in page
        ]
        self.reads.append(Read(creator, after, limit, newest_first, began, entries))
        return self.reads[-1]


@dataclass(frozen=True)
class Outcome:
    """What came of a load: what the writers know, what the readers saw, what the table holds."""

    writers: Sequence[Writer]
    readers: Sequence[Reader]
    failures: Sequence[str]
    seconds: float
    table: dict[str, list[Entry]]
    every: bool

    @property
    def commits(self) -> list[Commit]:
        """Those that the feed has to tell of."""
        all_of_them = [commit for writer in self.writers for commit in writer.commits]
        return [each for each in all_of_them if self.every or each.word != "SMS_Accepted"]

    @property
    def figures(self) -> dict[str, float]:
        tally = sum((writer.tally for writer in self.writers), Counter[str]())
        reads = [len(reader.reads) for reader in self.readers]
        entries = sum(map(len, self.table.values()))
        return {
            "writers": sum(writer.tally["commits"] > 0 for writer in self.writers),
            "readers": len(self.readers),
            "commits": tally["commits"],
            "rollbacks": tally["rollbacks"],
            "deadlocks": tally["deadlocks"],
            "entries": entries,
            "reads": sum(reads),
            "seconds": round(self.seconds, 2),
            "entries per second": round(entries / self.seconds),
        }


def load(seed: int, stub: Any, pace: Pace, *, every: bool = False) -> Outcome:
    """Let writers and readers loose on the feeds of three organisations.

    Each has its own thread, connection and dice. Some deliveries are reported by all the writers.
    """
    stub.do = take_or_refuse
    words = [word for word in ENDS if word != REFUSED][: pace.writers]
    writers = [Writer(word, Random(f"{seed} {word}"), pace) for word in words]
    readers = [Reader(Random(f"{seed} {number}")) for number in range(pace.readers)]
    first = Writer("", Random(seed), pace)
    shared = [first.send(creator) for creator in CREATORS * 2]

    writing, began = Event(), monotonic()
    writing.set()
    followers = [begin(partial(reader.run, writing)) for reader in readers]
    threads = [begin(partial(writer.run, shared)) for writer in writers]
    try:
        failures = [*map(failure_of, threads)]
    finally:
        writing.clear()
    seconds = monotonic() - began
    failures += map(failure_of, followers)
    return Outcome(
        [first, *writers], readers, [*filter(None, failures)], seconds, in_the_table(), every
    )


def failure_of(thread: "Future[Any]") -> str:
    """What a thread died of, if the database did not let it go on."""
    try:
        thread.result(timeout=60)
    except (DatabaseError, HandoverFailed) as error:
        return f"died of {type(error).__name__}: {error}"
    return ""


def in_the_table() -> dict[str, list[Entry]]:
    entries: dict[str, list[Entry]] = {creator: [] for creator in CREATORS}
    for entry in FeedEntry.objects.order_by("sequence_number"):
        word = entry.recipients[0]["status"]
        entries[entry.creator].append((entry.sequence_number, entry.shipment_id, word))
    return entries


def faults(outcome: Outcome) -> list[str]:
    """Everything that would have made a reader miss an entry, see one twice, or see a false one."""
    return [
        *outcome.failures,
        *_gaps(outcome),
        *_differences(outcome),
        *_late_entries(outcome),
        *_out_of_order(outcome),
    ]


def _gaps(outcome: Outcome) -> Iterator[str]:
    """Pages that did not go on where the reader was, number by number."""
    for read in _reads(outcome):
        if read.newest_first:
            lowest = max(read.up_to - read.limit, 0)
            expected = list(range(read.up_to, lowest, -1))
        else:
            expected = list(range(read.after + 1, read.after + 1 + len(read.entries)))
        if read.numbers != expected:
            yield f"a page of {read.creator} after {read.after} held {read.numbers}"


def _differences(outcome: Outcome) -> Iterator[str]:
    """What was read, what is in the table and what was committed must be the same."""
    for creator, table in outcome.table.items():
        told = Counter((shipment_id, word) for _, shipment_id, word in table)
        committed = Counter(each.change for each in outcome.commits if each.creator == creator)
        if told != committed:
            yield f"{creator}: not told {committed - told}, told of nothing {told - committed}"
        if [number for number, _, _ in table] != list(range(1, len(table) + 1)):
            yield f"{creator}: the table's numbers are not dense"
        for reader in outcome.readers:
            pages = [r for r in reader.reads if r.creator == creator and not r.newest_first]
            if [entry for page in pages for entry in page.entries] != table:
                yield f"{creator}: a reader saw something else than the table holds"


def _late_entries(outcome: Outcome) -> Iterator[str]:
    """A read that is begun after a commit has returned must see it: there is no delay window."""
    number_of = _numbers(outcome)
    for read in _reads(outcome):
        for commit in outcome.commits:
            if (
                read.at_the_end
                and commit.creator == read.creator
                and commit.done < read.began
                and number_of.get(commit.change, 0) > read.up_to
            ):
                yield f"{read.creator}: {number_of[commit.change]} not seen by {read}"


def _out_of_order(outcome: Outcome) -> Iterator[str]:
    """One commit returned before another was begun, and has the higher number all the same."""
    number_of = _numbers(outcome)
    for creator in CREATORS:
        commits = [each for each in outcome.commits if each.creator == creator]
        latest = 0.0
        for commit in sorted(commits, key=lambda each: number_of.get(each.change, 0)):
            if commit.done < latest:
                yield f"{creator}: {number_of.get(commit.change)} was committed before its turn"
            latest = max(latest, commit.began)


def _reads(outcome: Outcome) -> Iterator[Read]:
    for reader in outcome.readers:
        yield from reader.reads


def _numbers(outcome: Outcome) -> dict[tuple[UUID, str], int]:
    """The number of each change, by shipment and word."""
    return {
        (shipment_id, word): number
        for table in outcome.table.values()
        for number, shipment_id, word in table
    }


@committing
@pytest.mark.parametrize(("seed", "mode"), [(1, "completed"), (2, "every")])
def test_readers_see_every_committed_entry_once_and_in_order(
    seed: int, mode: str, stub: Any, configure: Configure
) -> None:
    configure(FEED=mode)
    outcome = load(seed, stub, pace(), every=mode == "every")
    print(connection.vendor, mode, outcome.figures)  # noqa: T201 (shown by pytest -rP)
    assert faults(outcome) == []
    assert outcome.figures["rollbacks"] > 5
    assert outcome.figures["reads"] > 50
    assert outcome.figures["deadlocks"] == 0 or connection.vendor == "mysql"


def numbers_of_a_sequence() -> Numbering:
    """Given at once and for good, whatever becomes of the transaction, as by a sequence."""
    sequences = {creator: count(1) for creator in CREATORS}
    return lambda creator, by: next(sequences[creator])


def one_more_than_the_largest() -> Numbering:
    """Looked up with no lock held."""

    def next_number(creator: str, by: int) -> int:
        largest = FeedEntry.objects.filter(creator=creator).aggregate(Max("sequence_number"))
        return (largest["sequence_number__max"] or 0) + 1

    return next_number


@committing
@pytest.mark.parametrize(
    ("numbering", "rollbacks", "fault"),
    [
        (numbers_of_a_sequence, 0.25, "numbers are not dense"),
        (numbers_of_a_sequence, 0, "a reader saw something else"),
        (one_more_than_the_largest, 0, "died of"),
    ],
)
def test_a_broken_numbering_is_found_out(
    numbering: Callable[[], Numbering],
    rollbacks: float,
    fault: str,
    stub: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if one_writer_at_a_time() and not rollbacks:
        pytest.skip("SQLite has one writer at a time, so that nothing can overtake.")
    monkeypatch.setattr(feed, "_count_up", numbering())
    wild = pace(rollbacks=rollbacks, steps=4)
    found = faults(load(1, stub, replace(wild, longest_pause=4 * wild.longest_pause)))
    assert [each for each in found if fault in each], found


@committing
@pytest.mark.parametrize("commits", [True, False])
def test_who_writes_later_waits_until_the_earlier_ones_end_is_known(
    commits: bool, stub: Any
) -> None:
    if one_writer_at_a_time():
        pytest.skip("SQLite has one writer at a time, whoever's feed it is.")
    complete(stub, 1)
    first, second, others = sent(stub), sent(stub), sent(stub, creator="skd")
    told, may_end = Event(), Event()

    def take_time() -> None:
        with transaction.atomic():
            receipt(first, "SMS_Delivered")
            told.set()
            may_end.wait(10)
            transaction.set_rollback(not commits)

    earlier = begin(take_time)
    try:
        assert told.wait(10)
        later = begin(lambda: receipt(second, "SMS_Failed"))
        in_thread(lambda: receipt(others, "SMS_Delivered"))
        sleep(0.2)
        assert not later.done()
        assert (numbers("ttd"), numbers("skd")) == ([1], [1])
    finally:
        may_end.set()
    earlier.result(timeout=10)
    later.result(timeout=10)
    expected = [first.shipment_id, second.shipment_id] if commits else [second.shipment_id]
    page = feed.read_feed("ttd", after=1, limit=5, newest_first=False)
    assert [(entry.sequence_number, entry.shipment.pk) for entry in page] == (
        list(enumerate(expected, start=2))
    )


@committing
def test_the_first_entries_of_an_organisation_may_come_at_once(stub: Any) -> None:
    """A deadlock that the database breaks loses nothing: who is asked again writes the entry."""
    for creator in ("a", "b", "c", "d", "e"):
        deliveries = [sent(stub, creator) for _ in range(4)]
        start = Barrier(len(deliveries))
        at_once(*[partial(_report_at, start, delivery) for delivery in deliveries])
        assert numbers(creator) == [1, 2, 3, 4]
        assert feed.read_bounds(creator) == (1, 4)


def _report_at(start: Barrier, delivery: Delivery) -> None:
    start.wait(10)
    try:
        receipt(delivery, "SMS_Delivered")
    except OperationalError:
        receipt(delivery, "SMS_Delivered")


# Reading


def test_pages_begin_and_end_wherever_the_reader_says(stub: Any) -> None:
    complete(stub, 5)
    complete(stub, 2, creator="skd")
    upwards = [1, 2, 3, 4, 5]
    for after in range(8):
        above = [number for number in upwards if number > after]
        below = [number for number in reversed(upwards) if number < after or not after]
        for limit in range(1, 8):
            assert numbers(after=after, limit=limit) == above[:limit]
            assert numbers(after=after, limit=limit, newest_first=True) == below[:limit]


def test_a_cursor_beyond_the_end_finds_nothing_above_and_all_below(stub: Any) -> None:
    complete(stub, 3)
    for beyond in (4, 10**12, 2**63 - 1):
        assert numbers(after=beyond) == []
        assert numbers(after=beyond, newest_first=True) == [3, 2, 1]
    assert numbers("nobody") == numbers("nobody", newest_first=True) == []
    assert feed.read_bounds("nobody") == (0, 0)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_pages_of_every_size_add_up_to_the_whole_feed(
    size: int, newest_first: bool, stub: Any
) -> None:
    complete(stub, 7)
    seen: list[Any] = []
    while len(seen) < 7:
        page = numbers(after=seen[-1] if seen else 0, limit=size, newest_first=newest_first)
        assert len(page) == min(size, 7 - len(seen))
        seen += page
    assert seen == sorted(range(1, 8), reverse=newest_first)


def test_a_page_costs_two_queries_whatever_its_size(
    stub: Any, django_assert_num_queries: Any
) -> None:
    complete(stub, 12)
    for limit in (1, 5, 12, 500):
        for newest_first in (False, True):
            with django_assert_num_queries(2):
                page = feed.read_feed("ttd", after=0, limit=limit, newest_first=newest_first)
                assert len(page) == min(limit, 12)
                assert {entry.shipment.type for entry in page} == {"Instant"}
                assert {entry.recipients[0].destination for entry in page} == {GOOD_NUMBER}
    with django_assert_num_queries(1):
        assert numbers(after=12) == []


# Old entries are forgotten

PURGE: Final = next(each for each in upkeep.RETENTION if each.name == "feed entries deleted")


def grow_old(*which: int) -> None:
    FeedEntry.objects.filter(sequence_number__in=which).update(
        at=timezone.now() - timedelta(days=91)
    )


def purge() -> int:
    return sum(tally.done for _, tally in upkeep.run([PURGE], Event()))


def too_old(cursor: int) -> bool:
    """Whether a reader that has seen everything up to its cursor has missed something by now."""
    oldest, _ = feed.read_bounds("ttd")
    return cursor + 1 < oldest


def test_after_a_purge_the_feed_begins_later_and_readers_can_tell(stub: Any) -> None:
    complete(stub, 6)
    assert not too_old(0)
    grow_old(1, 2, 3)
    assert purge() == 3
    assert feed.read_bounds("ttd") == (4, 6)
    assert numbers() == [4, 5, 6]
    assert numbers(after=1, limit=2) == [4, 5]
    assert numbers(newest_first=True, limit=5) == [6, 5, 4]
    assert numbers(after=4, newest_first=True) == []
    assert [too_old(cursor) for cursor in range(7)] == [True] * 3 + [False] * 4


def test_numbers_go_on_where_nothing_is_left(stub: Any) -> None:
    complete(stub, 4)
    grow_old(1, 2, 3, 4)
    assert purge() == 4
    assert feed.read_bounds("ttd") == (5, 4)
    assert (numbers(), numbers(after=2), numbers(newest_first=True)) == ([], [], [])
    assert [too_old(cursor) for cursor in range(5)] == [True] * 4 + [False]
    complete(stub, 2)
    assert numbers() == [5, 6]
    assert feed.read_bounds("ttd") == (5, 6)
    assert [too_old(cursor) for cursor in range(7)] == [True] * 4 + [False] * 3


def test_the_newest_numbers_are_not_given_again_once_their_entries_are_gone(stub: Any) -> None:
    complete(stub, 4)
    FeedEntry.objects.filter(sequence_number__gt=2).delete()
    assert feed.read_bounds("ttd") == (1, 4)
    complete(stub, 1)
    assert numbers() == [1, 2, 5]
    FeedEntry.objects.all().delete()
    complete(stub, 1)
    assert numbers() == [6]


def test_a_purge_leaves_no_hole_although_ages_follow_the_numbers_only_nearly(stub: Any) -> None:
    complete(stub, 5)
    grow_old(1, 2, 4)
    assert purge() == 2
    assert numbers() == [3, 4, 5]
    assert feed.read_bounds("ttd") == (3, 5)


def test_an_entry_dated_by_a_wrong_clock_keeps_only_its_own_feed(stub: Any) -> None:
    complete(stub, 2, creator="skd")
    complete(stub, 3)
    grow_old(1, 2, 3)
    wrong = FeedEntry.objects.filter(creator="skd", sequence_number=1)
    wrong.update(at=timezone.now() + timedelta(days=365))
    assert purge() == 3
    assert (numbers("skd"), numbers("ttd")) == ([1, 2], [])


@pytest.mark.parametrize("seed", range(3))
def test_however_writing_purging_and_reading_alternate_no_gap_is_hidden(
    seed: int, stub: Any
) -> None:
    random, oldest, latest, cursor = Random(seed), 1, 0, 0
    for _ in range(60):
        happens = random.choice(("write", "purge", "read", "read"))
        if happens == "write":
            complete(stub, 1)
            latest += 1
        elif happens == "purge":
            upto = random.randint(oldest - 1, latest)
            grow_old(*range(oldest, upto + 1))
            assert purge() == upto + 1 - oldest
            oldest = upto + 1
        else:
            page = list(range(max(oldest, cursor + 1), latest + 1))[: random.randint(1, 3)]
            assert numbers(after=cursor, limit=len(page) or 1) == page
            assert too_old(cursor) == (cursor + 1 < oldest)
            cursor = page[-1] if page else max(cursor, oldest - 1)
        assert feed.read_bounds("ttd") == ((oldest, latest) if latest else (0, 0))
        assert numbers(newest_first=True) == list(range(latest, oldest - 1, -1))


@pytest.mark.parametrize("purged", [0, 3])
def test_an_entry_that_comes_while_the_bounds_are_read_frightens_nobody(
    purged: int, stub: Any
) -> None:
    complete(stub, purged)
    grow_old(*range(purged + 1))
    assert purge() == purged
    news = iter([1])

    def ask_and_tell(execute: Callable[..., Any], *asked: Any) -> Any:
        answer = execute(*asked)
        complete(stub, next(news, 0))
        return answer

    with connection.execute_wrapper(ask_and_tell):
        assert not too_old(purged)
    assert numbers() == [purged + 1]


# One entry for one change


def test_the_database_refuses_a_second_entry_for_the_same_change(stub: Any) -> None:
    complete(stub, 1)
    entry = FeedEntry.objects.get()
    entry.pk, entry.sequence_number = None, 2
    with pytest.raises(IntegrityError), transaction.atomic():
        entry.save(force_insert=True)
    entry.revision += 1
    entry.save(force_insert=True)
    assert numbers() == [1, 2]


def test_the_database_refuses_a_number_that_is_given(stub: Any) -> None:
    complete(stub, 1)
    entry = FeedEntry.objects.get()
    entry.pk, entry.revision = None, entry.revision + 1
    with pytest.raises(IntegrityError), transaction.atomic():
        entry.save(force_insert=True)
    entry.creator = "skd"
    entry.save(force_insert=True)
    assert numbers("skd") == [1]


# Shipments with several deliveries


def notification(*channels: Channel, creator: str = "ttd") -> list[Delivery]:
    """A shipment whose deliveries, one for each of the channels, have all been taken."""
    shipment = Shipment.objects.create(
        order=Order.objects.create(creator=creator), creator=creator, type="Notification"
    )
    return [
        Delivery.objects.create(
            shipment=shipment,
            channel=channel,
            destination=GOOD_NUMBER if channel is Channel.SMS else "kari@example.com",
            status=WORDS[channel].accepted,
            handover="taken",
            gateway="stub",
            expires_at=timezone.now() + timedelta(hours=1),
        )
        for channel in channels
    ]


def mixed(random: Random, size: int) -> list[Channel]:
    return random.choices([Channel.SMS, Channel.EMAIL], k=size)


def entries_of(shipment: Shipment) -> list[feed.Report]:
    page = feed.read_feed(shipment.creator, after=0, limit=500, newest_first=False)
    return [entry for entry in page if entry.shipment == shipment]


def final_word(delivery: Delivery, random: Random) -> str:
    words = WORDS[Channel(delivery.channel)]
    return random.choice([words.delivered, words.failed])


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_an_order_is_told_of_when_its_last_delivery_has_ended(size: int, stub: Any) -> None:
    random = Random(size)
    deliveries = notification(*mixed(random, size))
    ends = {each.pk: final_word(each, random) for each in deliveries}
    for told, delivery in enumerate(random.sample(deliveries, size), start=1):
        receipt(delivery, ends[delivery.pk])
        assert len(entries_of(delivery.shipment)) == (told == size)
    (entry,) = entries_of(deliveries[0].shipment)
    assert entry.status == "Order_Completed"
    assert Counter(each.status for each in entry.recipients) == Counter(ends.values())


def test_recipients_of_mail_come_before_those_of_sms(stub: Any) -> None:
    deliveries = notification(Channel.SMS, Channel.EMAIL, Channel.SMS, Channel.EMAIL)
    for delivery in deliveries:
        receipt(delivery, WORDS[Channel(delivery.channel)].delivered)
    shipment = deliveries[0].shipment
    (entry,) = entries_of(shipment)
    manifest = feed.read_manifest("ttd", shipment.pk)
    assert manifest
    for recipients in (entry.recipients, manifest.recipients):
        assert [each.channel for each in recipients] == ["email", "email", "sms", "sms"]
        assert [each.destination for each in recipients] == (
            ["kari@example.com"] * 2 + [GOOD_NUMBER] * 2
        )


@committing
def test_however_many_deliveries_end_at_once_the_order_is_told_of_once(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(20)
    for _ in range(20):
        deliveries = notification(*mixed(random, random.randint(2, 5)))
        ends = {each.pk: final_word(each, random) for each in deliveries}
        with monkeypatch.context() as patch:
            _meet_before_the_feed(len(deliveries), patch)
            at_once(*[partial(receipt, each, ends[each.pk]) for each in deliveries])
        (entry,) = entries_of(deliveries[0].shipment)
        assert entry.status == "Order_Completed"
        assert Counter(each.status for each in entry.recipients) == Counter(ends.values())
        channels = [each.channel for each in entry.recipients]
        assert channels == sorted(channels)
    assert numbers() == list(range(1, 21))


def _meet_before_the_feed(parties: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst case: all have written their delivery, and none has looked at the others'.

    On SQLite the first to write keeps the others out, so that they meet before they write.
    """
    meeting = Barrier(parties)
    module, name = (receipts, "record_status") if one_writer_at_a_time() else (feed, "tell")
    original = getattr(module, name)

    def meet(*args: Any) -> Any:
        meeting.wait(10)
        return original(*args)

    monkeypatch.setattr(module, name, meet)


def test_a_receipt_that_corrects_an_expiry_makes_a_new_entry(stub: Any) -> None:
    by_mail, by_sms = notification(Channel.EMAIL, Channel.SMS)
    receipt(by_mail, "Email_Delivered")
    expire(seconds_ago=1000)
    record.record_expiry(Delivery.objects.get(pk=by_sms.pk))
    receipt(by_sms, "SMS_Delivered")
    receipt(by_sms, "SMS_Delivered")
    receipt(by_sms, "SMS_Failed")
    told = [[each.status for each in entry.recipients] for entry in entries_of(by_sms.shipment)]
    assert told == [["Email_Delivered", "SMS_Failed_TTL"], ["Email_Delivered", "SMS_Delivered"]]
    assert {entry.status for entry in entries_of(by_sms.shipment)} == {"Order_Completed"}


# FEED = "every"


def test_every_status_change_makes_an_entry_in_order(stub: Any, configure: Configure) -> None:
    configure(FEED="every")
    delivery = sent(stub)
    for status in ("SMS_Accepted", "SMS_Sending", "SMS_Delivered", "SMS_Delivered", "SMS_Failed"):
        receipt(delivery, status)
    told = [
        (entry.sequence_number, entry.status, entry.recipients[0].status)
        for entry in entries_of(delivery.shipment)
    ]
    assert told == [(1, "Order_Processed", "SMS_Accepted"), (2, "Order_Completed", "SMS_Delivered")]


def test_every_change_of_any_of_several_deliveries_makes_an_entry(
    stub: Any, configure: Configure
) -> None:
    configure(FEED="every")
    by_sms, by_mail = notification(Channel.SMS, Channel.EMAIL)
    Delivery.objects.filter(pk=by_sms.pk).update(status="SMS_Sending")
    Delivery.objects.filter(pk=by_mail.pk).update(status="Email_Sending")
    receipt(by_sms, "SMS_Accepted")
    receipt(by_mail, "Email_Succeeded")
    receipt(by_mail, "Email_Failed_Bounced")
    expire(seconds_ago=1000)
    record.record_expiry(Delivery.objects.get(pk=by_sms.pk))
    receipt(by_sms, "SMS_Delivered")
    told = [
        (entry.sequence_number, entry.status, *[each.status for each in entry.recipients])
        for entry in entries_of(by_sms.shipment)
    ]
    assert told == [
        (1, "Order_Processed", "Email_Sending", "SMS_Accepted"),
        (2, "Order_Processed", "Email_Succeeded", "SMS_Accepted"),
        (3, "Order_Processed", "Email_Failed_Bounced", "SMS_Accepted"),
        (4, "Order_Completed", "Email_Failed_Bounced", "SMS_Failed_TTL"),
        (5, "Order_Completed", "Email_Failed_Bounced", "SMS_Delivered"),
    ]


# How a page is found

EACH: Final = 10_000
"""Entries of each organisation in the large feed."""

EDGES: Final = (0, 3, EACH // 2, EACH - 3, EACH, EACH + 100)
FEED_TABLE: Final = FeedEntry._meta.db_table


@pytest.fixture
def large_feed() -> None:
    """Entries of several organisations, each of a shipment with a delivery of its own."""
    if connection.vendor != "postgresql":
        pytest.skip("Plans are read on PostgreSQL only.")
    order = Order.objects.create(creator="ttd").pk
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMPORARY TABLE seeds ON COMMIT DROP AS
            SELECT creator, n, gen_random_uuid() AS shipment, gen_random_uuid() AS delivery
            FROM generate_series(1, %s) AS n, unnest(%s::text[]) AS creator
            """,
            [EACH, list(CREATORS)],
        )
        cursor.execute(
            """
            INSERT INTO instant_notifications_shipment
                (id, order_id, creator, type, senders_reference, created_at)
            SELECT shipment, %s, creator, 'Instant', '', now() FROM seeds ORDER BY n
            """,
            [order],
        )
        cursor.execute(
            """
            INSERT INTO instant_notifications_delivery
                (id, shipment_id, channel, destination_digest, secret, daytime, status, handover,
                 attempts, may_have_left, revision, gateway, gateway_reference, created_at,
                 updated_at, expires_at, completed_at)
            SELECT delivery, shipment, 'sms', '', false, false, 'SMS_Delivered', 'taken', 1,
                 false, 2, 'stub', '', now(), now(), now(), now() FROM seeds ORDER BY n
            """
        )
        cursor.execute(
            """
            INSERT INTO instant_notifications_feedentry
                (creator, sequence_number, shipment_id, delivery_id, revision, status, at,
                 recipients)
            SELECT creator, n, shipment, delivery, 2, 'Order_Completed', now(),
                 jsonb_build_array(jsonb_build_object(
                     'delivery', delivery, 'channel', 'sms', 'status', 'SMS_Delivered', 'at', now()
                 ))
            FROM seeds ORDER BY n
            """
        )
        cursor.execute(
            f"ANALYZE {FEED_TABLE}, {Shipment._meta.db_table}, {Delivery._meta.db_table}"
        )


def test_a_page_is_one_range_of_the_index_of_numbers(large_feed: None) -> None:
    positions = product(CREATORS[:2], EDGES, (1, 50, 500), (False, True))
    for creator, after, limit, newest_first in positions:
        with CaptureQueriesContext(connection) as ran:
            page = numbers(creator, after=after, limit=limit, newest_first=newest_first)
        found = range_scan(ran.captured_queries[0]["sql"])
        asked = (creator, after, limit, newest_first, found)
        assert found["Actual Rows"] == len(page), asked
        assert "creator" in found["Index Cond"], asked
        assert ("sequence_number" in found["Index Cond"]) == bool(after or not newest_first), asked


def test_the_bounds_are_looked_up_not_searched_for(large_feed: None) -> None:
    with CaptureQueriesContext(connection) as ran:
        feed.read_bounds("ttd")
    (query,) = [each["sql"] for each in ran.captured_queries if FEED_TABLE in each["sql"]]
    assert range_scan(query)["Actual Rows"] == 1


def range_scan(statement: str) -> Any:
    """The only visit that the statement pays to the feed's table, which is by the index."""
    nodes = list(_nodes(_plan(statement)))
    assert {node["Node Type"] for node in nodes}.isdisjoint(
        {"Seq Scan", "Sort", "Incremental Sort", "Bitmap Heap Scan"}
    ), nodes
    (found,) = [node for node in nodes if node.get("Relation Name") == FEED_TABLE]
    assert found["Node Type"] in ("Index Scan", "Index Only Scan"), nodes
    assert found["Index Name"] == "instant_feed_number", nodes
    assert (found["Actual Loops"], found.get("Filter")) == (1, None), nodes
    return found


def _plan(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
        ((explained,),) = cursor.fetchall()
    return (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]


def _nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


DONE, OPEN, GONE = (
    Delivery(channel="sms", status=status, handover=handover, completed_at=completed_at)
    for status, handover, completed_at in (
        ("SMS_Failed", Handover.REFUSED, timezone.now()),
        ("SMS_New", Handover.OPEN, None),
        ("SMS_Accepted", Handover.TAKEN, None),
    )
)


@pytest.mark.parametrize(
    ("deliveries", "ended", "word"),
    [
        ([], Ended.CANCELLED, "Order_Cancelled"),
        ([], Ended.CONDITION_NOT_MET, "Order_SendConditionNotMet"),
        ([DONE], Ended.CANCELLED, "Order_Cancelled"),
        ([DONE, DONE], Ended.PLANNED, "Order_Completed"),
        ([DONE, OPEN], Ended.PLANNED, "Order_Processing"),
        ([OPEN, GONE], Ended.PLANNED, "Order_Processing"),
        ([DONE, GONE], Ended.PLANNED, "Order_Processed"),
    ],
)
def test_the_word_of_an_order_follows_from_its_end_and_its_deliveries(
    deliveries: list[Delivery], ended: Ended, word: str
) -> None:
    assert feed.order_status(deliveries, None, ended) == word


def test_an_entry_of_what_was_never_sent_is_read_without_recipients() -> None:
    placed = regular.order(regular.phones(3))
    cancel_order("local", placed.order_id)
    entries = feed.read_feed("local", after=0, limit=500, newest_first=False)
    assert [each.sequence_number for each in entries] == [1, 2, 3]
    assert {each.shipment.pk for each in entries} == set(regular.shipments(placed))
    for each in entries:
        assert (each.status, each.shipment.type) == ("Order_Cancelled", "Notification")
        assert each.recipients == []


@committing
def test_numbers_are_dense_when_orders_are_cancelled_and_sent_at_once(stub: Any) -> None:
    stub.do = delivered
    placed = [regular.order(regular.phones(25), creator=each) for each in ("ttd", "skd") * 2]
    regular.forget_claims()
    calls = [
        partial(cancel_order, creator, each.order_id)
        for each, creator in zip(placed[:2], ("ttd", "skd"), strict=True)
    ]
    at_once(*calls, regular.sweep, regular.sweep)
    regular.work_off()
    for creator in ("ttd", "skd"):
        told = regular.told(creator)
        assert len(told) == len({shipment for shipment, *_ in told}) == 50
