"""Walking the gateways within the budget, and writing the outcome down whatever happens."""

from collections.abc import Callable
from datetime import timedelta
from time import monotonic, sleep
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import dispatch, record
from instant_notifications.exceptions import (
    HandoverFailed,
    OutcomeUnknown,
    Rejected,
    StillUnderWay,
    Unavailable,
)
from instant_notifications.feed import order_status
from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery, FeedEntry, StatusEvent
from instant_notifications.orders import Sent, send_email, send_sms
from instant_notifications.receipts import record_receipt
from tests.outcomes import Do, Killed, expire, fails, gateways, in_turn, lapse_lease, meanwhile
from tests.stub import SecondGateway, StubGateway, take
from tests.threads import in_thread

Configure = Callable[..., None]

BOTH = {"sms": ["stub", "second"], "email": ["stub", "second"]}


def sms(**changes: Any) -> Sent:
    return send_sms(**{"to": "+4799999999", "body": "hello", "idempotency_id": "a"} | changes)


def email(**changes: Any) -> Sent:
    good = {"to": "kari@example.com", "subject": "Hi", "body": "hello", "idempotency_id": "a"}
    return send_email(**good | changes)


class NeedsOption(StubGateway):
    """Cannot be made without its option."""

    def __init__(self, alias: str, *, url: str) -> None:
        super().__init__(alias)


@pytest.fixture
def second(stub: Any) -> Any:
    """A second gateway in both routes, which takes everything."""
    SecondGateway.do = take  # type: ignore[misc]
    return SecondGateway


@pytest.fixture
def both(second: Any, configure: Configure) -> None:
    configure(ROUTES=BOTH)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("send", [sms, email])
@pytest.mark.usefixtures("both")
def test_no_transaction_is_open_while_a_gateway_is_talked_to(
    send: Callable[..., Sent], stub: Any, second: Any
) -> None:
    open_blocks: list[bool] = []
    committed: list[int] = []

    def look(message: Message) -> Receipt:
        open_blocks.append(connection.in_atomic_block or not connection.get_autocommit())
        committed.append(in_thread(Delivery.objects.filter(handover="under_way").count))
        if len(committed) < 3:
            raise Unavailable
        return take(message)

    stub.do = second.do = look
    with pytest.raises(Unavailable):
        send()
    assert send().status
    assert open_blocks == [False] * 3
    assert committed == [1] * 3


@pytest.mark.django_db(transaction=True)
def test_a_pooled_connection_is_given_back_before_the_gateway_is_called(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    stub.do = meanwhile(lambda: happened.append("sent"))
    pooled = connections["default"]
    pooled.ensure_connection()
    monkeypatch.setattr(type(pooled), "pool", object(), raising=False)
    monkeypatch.setattr(pooled, "close", lambda: happened.append("given back"))
    sms()
    assert happened[:2] == ["given back", "sent"]


@pytest.mark.django_db(transaction=True)
def test_a_connection_without_a_pool_is_kept(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(connections["default"], "close", lambda: closed.append(True))
    sms()
    assert closed == []


def statements(call: Callable[[], Any]) -> list[str]:
    """The SQL of a call, without what only begins and ends transactions, or is the simulator's."""
    with CaptureQueriesContext(connection) as captured:
        call()
    frame = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK", "PRAGMA")
    every = [each["sql"] for each in captured if not each["sql"].startswith(frame)]
    return [sql for sql in every if "instant_notifications_simulator" not in sql]


HAPPY_PATHS: dict[str, tuple[Callable[..., Sent], Any]] = {
    "sms": (sms, {"stub": {}}),
    "email": (email, {"stub": {}}),
    "sms without receipts": (sms, {"stub": {"reports_receipts": False}}),
    "email without receipts": (email, {"stub": {"reports_receipts": False}}),
    "sms by the simulator": (sms, None),
    "email by the simulator": (email, None),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("send", "options"), HAPPY_PATHS.values(), ids=HAPPY_PATHS)
def test_the_happy_path_takes_at_most_ten_statements(
    send: Callable[..., Sent], options: Any, stub: Any, configure: Configure
) -> None:
    if options is None:
        simulator = {
            "BACKEND": "instant_notifications.simulator.gateway.SimulatorGateway",
            "OPTIONS": {"deliver_after": None},
        }
        configure(GATEWAYS={"stub": simulator})
    else:
        configure(GATEWAYS=gateways(**options))
    send(idempotency_id="first")
    counts = []
    for number in range(3):
        taken = statements(lambda number=number: send(idempotency_id=f"id-{number}"))
        assert len(taken) <= 10, "\n".join(taken)
        counts.append(len(taken))
        for more in range(10):
            send(idempotency_id=f"more-{number}-{more}")
    assert len(set(counts)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_replay_takes_few_statements(stub: Any) -> None:
    sms()
    assert len(statements(sms)) <= 8  # the four of the reservation travel in one go


@pytest.mark.django_db
@pytest.mark.usefixtures("both")
def test_the_next_gateway_is_asked_when_the_first_certainly_did_not_send(
    stub: Any, second: Any
) -> None:
    stub.do = fails(Unavailable)
    assert sms().status == "SMS_Accepted"
    assert Delivery.objects.get().gateway == "second"
    (first,), (other,) = stub.seen, second.seen
    assert (first.reference, first.attempt) == (other.reference, other.attempt)


ENDS_OF_A_WALK: dict[str, tuple[Do, type[Exception]]] = {
    "rejected": (fails(Rejected), Rejected),
    "unknown": (fails(OutcomeUnknown), OutcomeUnknown),
    "bug": (fails(ZeroDivisionError), OutcomeUnknown),
    "time-out": (fails(TimeoutError), OutcomeUnknown),
    "connection": (fails(ConnectionError), OutcomeUnknown),
    "database": (fails(OperationalError), OutcomeUnknown),
}


@pytest.mark.django_db
@pytest.mark.usefixtures("both")
@pytest.mark.parametrize(("do", "raised"), ENDS_OF_A_WALK.values(), ids=ENDS_OF_A_WALK)
def test_every_other_failure_ends_the_walk(
    do: Do, raised: type[Exception], stub: Any, second: Any, configure: Configure
) -> None:
    configure(WAIT_FOR_DUPLICATE=0.03)
    stub.do = do
    with pytest.raises(raised):
        sms()
    assert second.seen == []
    if raised is OutcomeUnknown:
        assert send_and_catch() in (OutcomeUnknown, StillUnderWay)


@pytest.mark.django_db
@pytest.mark.parametrize("word", ["nonsense", "Email_Delivered", "", None])
def test_a_word_that_is_not_the_channels_does_not_cost_the_outcome(word: Any, stub: Any) -> None:
    stub.do = lambda message: Receipt(status=word)
    assert sms().status == "SMS_Accepted"
    stub.do = fails(Rejected, status=word)
    with pytest.raises(Rejected):
        sms(idempotency_id="b")
    assert Delivery.objects.latest("pk").status == "SMS_Failed"


@pytest.mark.django_db
def test_an_unforeseen_error_may_have_been_sent_and_tells_no_secret(stub: Any, caplog: Any) -> None:
    stub.do = fails(ValueError, "secret +4799999999")
    with pytest.raises(OutcomeUnknown) as raised:
        sms()
    event_words = list(StatusEvent.objects.values_list("gateway_word", flat=True))
    assert Delivery.objects.get().handover == "unknown"
    assert "ValueError" in str(raised.value)
    assert "secret" not in f"{raised.value} {raised.value.__cause__} {event_words} {caplog.text}"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"stub": {"BACKEND": "nowhere.Gateway"}},
        {"stub": {"BACKEND": "tests.stub.take"}},
        {"stub": {"BACKEND": "tests.stub.StubGateway", "OPTIONS": {"unknown": 1}}},
        {"stub": {"BACKEND": "tests.test_dispatch.NeedsOption"}},
        {"stub": {}},
    ],
    ids=["absent", "no module", "no class", "unknown option", "missing option", "no backend"],
)
def test_a_gateway_that_cannot_be_made_is_passed_over(
    broken: Any, second: Any, configure: Configure
) -> None:
    configure(GATEWAYS={"second": gateways()["second"], **broken}, ROUTES=BOTH)
    assert sms().status == "SMS_Accepted"
    assert len(second.seen) == 1
    configure(ROUTES={"sms": ["stub"]})
    with pytest.raises(Unavailable):
        sms(idempotency_id="b")
    assert Delivery.objects.filter(handover="open").count() == 1


@pytest.mark.django_db
def test_the_second_gateway_gets_the_time_that_remains(
    stub: Any, second: Any, configure: Configure
) -> None:
    configure(ROUTES=BOTH, HANDOVER_BUDGET=2.0)
    stub.do = meanwhile(lambda: sleep(0.2), fails(Unavailable))
    sms()
    assert 1.9 < stub.seen[0].timeout <= 2.0
    assert 1.5 < second.seen[0].timeout <= 1.8


@pytest.mark.django_db
def test_without_time_left_the_other_gateways_are_not_tried(
    stub: Any, second: Any, configure: Configure
) -> None:
    configure(ROUTES=BOTH, HANDOVER_BUDGET=0.05)
    stub.do = meanwhile(lambda: sleep(0.06), fails(Unavailable, "down"))
    started = monotonic()
    with pytest.raises(Unavailable):
        sms()
    assert monotonic() - started < 1
    assert second.seen == []
    assert Delivery.objects.get().handover == "open"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("left", "unit", "told"),
    [
        (119.5, 1, 119),
        (119.5, 60, 60),
        (120.5, 60, 120),
        (179.5, 60, 120),
        (59.5, 60, 60),
        (0.5, 60, 60),
        (0.5, 1, 1),
        (3700.5, 3600, 3600),
    ],
)
def test_the_remaining_life_is_told_in_the_gateways_unit(
    left: float, unit: int, told: int, stub: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"time_to_live_unit": unit}))
    stub.do = in_turn(fails(Unavailable), take)
    with pytest.raises(Unavailable):
        sms(time_to_live=7200)
    Delivery.objects.update(expires_at=timezone.now() + timedelta(seconds=left))
    sms()
    assert stub.seen[1].time_to_live == told


@pytest.mark.django_db
def test_the_second_gateway_is_told_the_life_that_remains_in_its_own_unit(
    stub: Any, second: Any, configure: Configure
) -> None:
    configure(
        GATEWAYS=gateways(stub={"time_to_live_unit": 7}, second={"time_to_live_unit": 60}),
        ROUTES=BOTH,
    )
    stub.do = fails(Unavailable)
    sms(time_to_live=200)
    assert stub.seen[0].time_to_live == 196
    assert second.seen[0].time_to_live == 180


@pytest.mark.django_db
@pytest.mark.usefixtures("both")
def test_a_message_that_expires_on_the_way_goes_no_further(stub: Any, second: Any) -> None:
    stub.do = second.do = fails(Unavailable)
    with pytest.raises(Unavailable):
        sms()
    stub.do = meanwhile(lambda: sleep(0.2), fails(Unavailable))
    expire(seconds_ago=-0.15)
    with pytest.raises(Rejected) as raised:
        sms()
    assert raised.value.status == Delivery.objects.get().status == "SMS_Failed_TTL"
    assert (len(stub.seen), len(second.seen)) == (2, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("secret", ["destination", "content"])
def test_an_erased_message_is_not_sent(secret: str, stub: Any) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    with pytest.raises(Unavailable):
        sms()
    Delivery.objects.update(**{secret: None})
    with pytest.raises(Rejected):
        sms()
    assert len(stub.seen) == 1


AWAY = [OperationalError("gone"), InterfaceError("closed")]


def break_recording(
    monkeypatch: pytest.MonkeyPatch, errors: list[Exception]
) -> list[record.Change]:
    """Recording fails once with each error, then works again; returns what was tried."""
    write, tried = dispatch.record_status, []

    def attempt(delivery: Delivery, change: record.Change) -> Delivery:
        tried.append(change)
        if len(tried) <= len(errors):
            raise errors[len(tried) - 1]
        return write(delivery, change)

    monkeypatch.setattr(dispatch, "record_status", attempt)
    monkeypatch.setattr(dispatch, "RECORD_PAUSES", (0, 0, 0))
    return tried


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", ["_follow_up", "_save"])
def test_an_outcome_whose_write_fails_late_is_written_by_the_next_try(
    place: str, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may go away after the row was changed and before the commit."""
    work, failures = getattr(record, place), [OperationalError("gone")]

    def work_then_fail(*args: Any) -> Any:
        result = work(*args)
        if failures:
            raise failures.pop()
        return result

    monkeypatch.setattr(record, place, work_then_fail)
    monkeypatch.setattr(dispatch, "RECORD_PAUSES", (0,))
    assert sms().status == "SMS_Accepted"
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.status) == ("taken", "SMS_Accepted")
    assert delivery.events.count() == 1


OUTCOMES: dict[str, tuple[Do, type[Exception] | None, str, str]] = {
    "taken": (take, None, "taken", "SMS_Accepted"),
    "refused": (fails(Rejected), Rejected, "refused", "SMS_Failed"),
    "unavailable": (fails(Unavailable), Unavailable, "open", "SMS_New"),
    "unknown": (fails(OutcomeUnknown), OutcomeUnknown, "unknown", "SMS_Sending"),
}
FAILURES = {name: do for name, (do, raised, *_) in OUTCOMES.items() if raised}
every_outcome = pytest.mark.parametrize(
    ("do", "raised", "handover", "status"), OUTCOMES.values(), ids=OUTCOMES
)


def send_and_catch() -> type[Exception] | None:
    try:
        sms()
    except HandoverFailed as failure:
        return type(failure)
    return None


@pytest.mark.django_db(transaction=True)
@every_outcome
@pytest.mark.parametrize("times", [1, 3])
def test_an_outcome_is_recorded_once_the_database_is_back(
    do: Do,
    raised: type[Exception] | None,
    handover: str,
    status: str,
    times: int,
    stub: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stub.do = do
    tried = break_recording(monkeypatch, (AWAY * 2)[:times])
    assert send_and_catch() is raised
    assert len(tried) == times + 1
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.status) == (handover, status)
    assert len(stub.seen) == 1


@pytest.mark.django_db(transaction=True)
@every_outcome
@pytest.mark.parametrize(
    "errors",
    [AWAY * 5, [DatabaseError("no")] * 5, [ValueError("no")] * 5],
    ids=["away", "refuses", "bug"],
)
def test_what_could_not_be_recorded_is_unknown_and_stays_leased(
    do: Do,
    raised: type[Exception] | None,
    handover: str,
    status: str,
    errors: list[Exception],
    stub: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stub.do = do
    with monkeypatch.context() as away:
        tried = break_recording(away, errors)
        assert send_and_catch() is OutcomeUnknown
        assert len(tried) == (4 if isinstance(errors[0], tuple(map(type, AWAY))) else 1)
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.status) == ("under_way", "SMS_Sending")
    assert delivery.leased
    lapse_lease()
    assert send_and_catch() is OutcomeUnknown
    assert len(stub.seen) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "said",
    ["x" * 256, "x" * 10_000, "a\x00b", "\ud800", "a\nb\x1b[31m", "å" * 300],
    ids=["256", "10000", "NUL", "surrogate", "escape", "å"],
)
def test_whatever_a_gateway_says_can_be_recorded(said: str, stub: Any) -> None:
    stub.do = lambda message: Receipt(gateway_reference=said, word=said)
    sent = sms()
    assert sent.status == "SMS_Accepted"
    assert record_receipt("stub", Receipt(gateway_reference=said, status="SMS_Delivered"))
    assert sms().status == "SMS_Delivered"
    stub.do = fails(Rejected, said)
    with pytest.raises(Rejected):
        sms(idempotency_id="b")
    assert Delivery.objects.get(handover="refused")


def slow_first(stub: Any, *, outcome: Do, others: Callable[[], Any], later: Do = take) -> None:
    """The first worker's lease runs out while its gateway is slow, and others go ahead."""

    def overtake() -> None:
        lapse_lease()
        others()

    stub.do = in_turn(meanwhile(overtake, outcome), later)


def settle() -> None:
    with pytest.raises(OutcomeUnknown):
        sms()
    assert Delivery.objects.get().handover == "unknown"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("outcome", "first", "handover", "status", "order"),
    [
        (*OUTCOMES["taken"], "Order_Processed"),
        (*OUTCOMES["refused"], "Order_Completed"),
        (*OUTCOMES["unavailable"], "Order_Processing"),
        (*OUTCOMES["unknown"], "Order_Processed"),
    ],
    ids=OUTCOMES,
)
def test_a_slow_worker_still_settles_what_nobody_else_has_tried(
    outcome: Do, first: Any, handover: str, status: str, order: str, stub: Any
) -> None:
    slow_first(stub, outcome=outcome, others=settle)
    assert send_and_catch() is first
    delivery = Delivery.objects.select_related("shipment").get()
    assert (delivery.handover, delivery.status) == (handover, status)
    assert order_status([delivery], timezone.now()) == order
    assert len(stub.seen) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("outcome", FAILURES.values(), ids=FAILURES)
def test_a_stale_failure_does_not_undo_a_later_success(
    outcome: Do, stub: Any, configure: Configure, caplog: Any
) -> None:
    configure(GATEWAYS=gateways(stub={"deduplicates": True}))
    slow_first(stub, outcome=outcome, others=sms)
    send_and_catch()
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.status, delivery.attempts) == ("taken", "SMS_Accepted", 2)
    assert "late outcome ignored" in caplog.text
    assert sms().replayed


@pytest.mark.django_db
@pytest.mark.parametrize("outcome", FAILURES.values(), ids=FAILURES)
def test_a_stale_failure_does_not_touch_an_attempt_under_way(
    outcome: Do, stub: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"deduplicates": True}))

    def second_dies() -> None:
        with pytest.raises(Killed):
            sms()

    slow_first(stub, outcome=outcome, others=second_dies, later=fails(Killed))
    send_and_catch()
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.attempts) == ("under_way", 2)
    assert delivery.leased


@pytest.mark.django_db
def test_a_stale_success_counts(stub: Any, configure: Configure) -> None:
    configure(GATEWAYS=gateways(stub={"deduplicates": True}))
    during_second: list[Delivery] = []

    def second_dies() -> None:
        with pytest.raises(Killed):
            sms()
        during_second.append(Delivery.objects.get())

    slow_first(stub, outcome=take, others=second_dies, later=fails(Killed))
    assert sms().status == "SMS_Accepted"
    assert during_second[0].handover == "under_way"
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.status, delivery.lease_until) == (
        "taken",
        "SMS_Accepted",
        None,
    )
    assert sms().replayed


@pytest.mark.django_db
def test_a_receipt_during_the_hand_over_is_not_undone_by_its_record(stub: Any) -> None:
    def deliver(message: Message) -> Receipt:
        receipt = Receipt(reference=message.reference, status="SMS_Delivered", word="DELIVRD")
        record_receipt("stub", receipt)
        return take(message)

    stub.do = deliver
    assert sms().status == "SMS_Delivered"
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.status) == ("taken", "SMS_Delivered")
    assert delivery.gateway_reference == f"stub-{delivery.pk}"
    lines = StatusEvent.objects.order_by("pk").values_list("cause", "outcome")
    assert list(lines) == [("receipt", ""), ("handover", "taken")]
    assert FeedEntry.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_receipt_before_a_failed_hand_over_keeps_it_from_being_sent_again(
    failure: Do, stub: Any
) -> None:
    def deliver(message: Message) -> Receipt:
        record_receipt("stub", Receipt(reference=message.reference, status="SMS_Delivered"))
        return failure(message)

    stub.do = deliver
    send_and_catch()
    delivery = Delivery.objects.get()
    assert (delivery.handover, delivery.status) == ("taken", "SMS_Delivered")
    assert sms().replayed
    assert len(stub.seen) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("proof", ["receipt", "later attempt"])
def test_no_call_says_that_it_was_not_sent_when_it_is_known_to_have_been(
    proof: str, failure: Do, stub: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"deduplicates": True}))

    def prove() -> None:
        if proof == "receipt":
            reference = str(Delivery.objects.get().pk)
            record_receipt("stub", Receipt(reference=reference, status="SMS_Accepted"))
        else:
            sms()

    slow_first(stub, outcome=failure, others=prove)
    assert send_and_catch() in (None, OutcomeUnknown)
    assert sms().replayed


@pytest.mark.django_db
def test_a_dead_workers_message_does_not_go_by_the_gateway_of_an_earlier_attempt(
    stub: Any, second: Any, configure: Configure
) -> None:
    """The second attempt died at a gateway that does not de-duplicate; it may have sent it."""
    configure(GATEWAYS=gateways(second={"deduplicates": True}), ROUTES=BOTH)
    stub.do = in_turn(fails(Unavailable), fails(Killed))
    second.do = fails(Unavailable)
    with pytest.raises(Unavailable):
        sms()
    with pytest.raises(Killed):
        sms()
    lapse_lease()
    second.do = take
    with pytest.raises(OutcomeUnknown):
        sms()
    assert len(second.seen) == 1


ONCE = {"deduplicates": True}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "route", "repeats"),
    [
        ({"stub": ONCE}, ["stub"], True),
        ({}, ["stub"], False),
        ({"stub": ONCE}, ["stub", "second"], False),
        ({"second": ONCE}, ["stub", "second"], False),
        ({"stub": ONCE, "second": ONCE}, ["stub", "second"], False),
    ],
    ids=["once", "not once", "first once", "second once", "both once"],
)
def test_a_dead_workers_message_goes_again_only_where_it_must_have_gone_before(
    options: Any, route: Any, repeats: bool, stub: Any, second: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(**options), ROUTES={"sms": route})
    stub.do = in_turn(fails(Killed), take)
    with pytest.raises(Killed):
        sms()
    lapse_lease()
    assert send_and_catch() is (None if repeats else OutcomeUnknown)
    assert len(stub.seen) + len(second.seen) == 1 + repeats


@pytest.mark.django_db
def test_an_unknown_outcome_goes_again_only_by_the_same_gateway(
    stub: Any, second: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(second={"deduplicates": True}), ROUTES=BOTH)
    stub.do = fails(Unavailable)
    second.do = in_turn(fails(OutcomeUnknown), take)
    with pytest.raises(OutcomeUnknown):
        sms()
    stub.do = take
    assert sms().status == "SMS_Accepted"
    assert (len(stub.seen), len(second.seen)) == (1, 2)


@pytest.mark.django_db
def test_the_lease_outlasts_the_budget(stub: Any, configure: Configure) -> None:
    configure(HANDOVER_BUDGET=7)
    stub.do = fails(Killed)
    with pytest.raises(Killed):
        sms()
    delivery = Delivery.objects.get()
    assert delivery.lease_until is not None
    assert delivery.lease_until - delivery.created_at == timedelta(seconds=14)


@pytest.mark.django_db
def test_every_hand_over_is_logged_and_nothing_personal_with_it(stub: Any, caplog: Any) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    with pytest.raises(Unavailable):
        sms(body="Your code is 428516")
    sms(body="Your code is 428516")
    lines = [r.getMessage() for r in caplog.records if "handover gateway=" in r.getMessage()]
    assert [line.split(" outcome=")[1].split()[0] for line in lines] == ["Unavailable", "taken"]
    assert "428516" not in caplog.text
    assert "99999999" not in caplog.text


@pytest.mark.parametrize(
    ("tries", "minutes"), [(0, 1), (1, 1), (2, 5), (3, 10), (4, 30), (5, 30), (10_000, 30)]
)
def test_the_pauses_between_tries_grow_to_half_an_hour(tries: int, minutes: int) -> None:
    assert dispatch.pause_after(tries) == timedelta(minutes=minutes)


@pytest.mark.django_db
def test_an_instant_message_is_not_tried_again_by_itself(stub: Any) -> None:
    stub.do = fails(Unavailable)
    with pytest.raises(Unavailable):
        sms()
    assert Delivery.objects.get().due_at is None


@pytest.mark.django_db
@pytest.mark.usefixtures("replica")
def test_a_further_try_reads_nothing_from_a_replica_that_lags(stub: Any) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    with pytest.raises(Unavailable):
        sms()
    assert sms().status == "SMS_Accepted"
