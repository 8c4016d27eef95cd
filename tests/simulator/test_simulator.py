"""Contract §14: each recipient's behaviour, over HTTP and back by receipt."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Barrier, get_ident
from time import monotonic, sleep
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from instant_notifications import record
from instant_notifications.gateways import Receipt
from instant_notifications.history import Change
from instant_notifications.models import Delivery, StatusEvent
from instant_notifications.simulator import gateway as simulator
from instant_notifications.simulator import postman
from instant_notifications.simulator.models import SimulatedMessage, SimulatedReceipt
from instant_notifications.simulator.postman import Postman, deliver_due_receipts
from instant_notifications.statuses import Cause
from tests.api.conftest import EMAIL, FEED, SMS, Route, post, problem, shipment_path, standing
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]


@dataclass(frozen=True)
class Row:
    """What a row of the contract's table looks like from outside."""

    digits: str
    tag: str
    answers: tuple[int, int]
    """Of the request, and of an equal one after it."""
    at_first: tuple[str, str]
    finally_sms: tuple[str, str]
    finally_email: tuple[str, str]
    received: int = 1
    code: str = ""
    repeated_after_receipts: int = 200


PROCESSED = ("Order_Processed", "accepted")
SENDING = ("Order_Processed", "sending")
DELIVERED = (("Order_Completed", "SMS_Delivered"), ("Order_Completed", "Email_Delivered"))
SILENT = (("Order_Processed", "SMS_Accepted"), ("Order_Processed", "Email_Succeeded"))

ROWS = (
    Row("9999", "", (201, 200), PROCESSED, *DELIVERED),
    Row("1234", "unheard-of", (201, 200), PROCESSED, *DELIVERED),
    Row(
        "0001",
        "reject",
        (422, 422),
        ("Order_Completed", "refused"),
        ("Order_Completed", "SMS_Failed_InvalidRecipient"),
        ("Order_Completed", "Email_Failed_InvalidFormat"),
        received=0,
        code="IN-00001",
        repeated_after_receipts=422,
    ),
    Row(
        "0002",
        "down",
        (503, 503),
        ("Order_Processing", "new"),
        ("Order_Processing", "SMS_New"),
        ("Order_Processing", "Email_New"),
        received=0,
        code="NOT-00004",
        repeated_after_receipts=503,
    ),
    Row("0003", "flaky", (503, 201), ("Order_Processing", "new"), *DELIVERED, code="NOT-00004"),
    Row("0004", "timeout-taken", (504, 504), SENDING, *DELIVERED, code="IN-00003"),
    Row(
        "0005",
        "timeout-lost",
        (504, 504),
        SENDING,
        ("Order_Processed", "SMS_Sending"),
        ("Order_Processed", "Email_Sending"),
        received=0,
        code="IN-00003",
        repeated_after_receipts=504,
    ),
    Row(
        "0006",
        "bounce",
        (201, 200),
        PROCESSED,
        ("Order_Completed", "SMS_Failed_Undelivered"),
        ("Order_Completed", "Email_Failed_Bounced"),
    ),
    Row("0007", "silent", (201, 200), PROCESSED, *SILENT),
    Row("0009", "shuffle", (201, 200), PROCESSED, *DELIVERED),
    Row("0010", "slow", (201, 200), PROCESSED, *DELIVERED),
    Row(
        "0011",
        "spam",
        (201, 200),
        PROCESSED,
        ("Order_Completed", "SMS_Failed_BarredReceiver"),
        ("Order_Completed", "Email_Failed_FilteredSpam"),
    ),
)


def request_to(route: Route, row: Row, **changes: Any) -> dict[str, Any]:
    if route is SMS:
        return SMS.request(phoneNumber=f"+479000{row.digits}", **changes)
    tag = f"+{row.tag}" if row.tag else ""
    return EMAIL.request(emailAddress=f"kari{tag}@example.com", **changes)


def row_of(tag: str) -> Row:
    return next(row for row in ROWS if row.tag == tag)


LATE = Row("0008", "late", (201, 200), PROCESSED, *DELIVERED)
both_channels = pytest.mark.parametrize("route", [SMS, EMAIL], ids=str)


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow recipient waits in earnest only where that is what is tested."""
    monkeypatch.setattr(simulator, "sleep", lambda seconds: None)


@pytest.mark.usefixtures("without_pauses")
@both_channels
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.tag or "ordinary")
def test_each_recipient_does_what_the_contract_says(route: Route, row: Row, api: Any) -> None:
    first = post(api, route, request_to(route, row))
    assert first.status_code == row.answers[0]
    order, word = row.at_first
    refusal = row.finally_sms[1] if route is SMS else row.finally_email[1]
    shown = refusal if word == "refused" else getattr(route.words, word)
    assert standing(api, first) == (order, shown)
    if row.code:
        assert problem(first, row.answers[0], row.code)["shipmentId"]
    else:
        assert first["Location"].endswith(shipment_path(first))

    assert post(api, route, request_to(route, row)).status_code == row.answers[1]
    assert SimulatedMessage.objects.count() == row.received

    deliver_due_receipts(timezone.now() + timedelta(seconds=1))
    final = row.finally_sms if route is SMS else row.finally_email
    assert standing(api, first) == final
    entries = [
        (entry["status"], entry["recipients"][0]["status"]) for entry in api.get(FEED).json()
    ]
    assert entries == ([final] if final[0] == "Order_Completed" else [])
    repeated = post(api, route, request_to(route, row))
    assert repeated.status_code == row.repeated_after_receipts
    assert SimulatedMessage.objects.count() == row.received


@both_channels
def test_a_late_receipt_comes_after_expiry_and_is_still_shown(route: Route, api: Any) -> None:
    answer = post(api, route, request_to(route, LATE, idempotencyId="late"))
    assert answer.status_code == 201
    over = Delivery.objects.get().expires_at + timedelta(seconds=60)
    assert deliver_due_receipts(over - timedelta(seconds=2)) == 0
    assert standing(api, answer) == ("Order_Processed", route.words.accepted)

    Delivery.objects.update(expires_at=timezone.now() - timedelta(hours=1))
    assert standing(api, answer) == ("Order_Completed", route.words.expired)
    expired = Change(cause=Cause.EXPIRY, status=route.words.expired)
    record.record_status(Delivery.objects.get(), expired)

    assert deliver_due_receipts(over + timedelta(seconds=2)) == 1
    assert standing(api, answer) == ("Order_Completed", route.words.delivered)
    fed = [entry["recipients"][0]["status"] for entry in api.get(FEED).json()]
    assert fed == [route.words.expired, route.words.delivered]


@both_channels
def test_shuffled_receipts_are_noted_once_and_make_one_entry(route: Route, api: Any) -> None:
    post(api, route, request_to(route, row_of("shuffle")))
    received = list(SimulatedReceipt.objects.order_by("pk").values_list("word", flat=True))
    assert received == ["delivered", "accepted", "delivered"]
    assert deliver_due_receipts() == 3
    assert list(StatusEvent.objects.order_by("pk").values_list("to_status", flat=True)) == [
        route.words.accepted,
        route.words.delivered,
        route.words.delivered,
    ]
    words = StatusEvent.objects.order_by("pk").values_list("gateway_word", flat=True)
    assert list(words) == ["OK", "delivered", "accepted"]
    assert len(api.get(FEED).json()) == 1


@both_channels
def test_a_slow_recipient_takes_two_seconds(route: Route, api: Any) -> None:
    started = monotonic()
    assert post(api, route, request_to(route, row_of("slow"))).status_code == 201
    assert 2 <= monotonic() - started < 4


@both_channels
def test_what_is_slower_than_the_budget_is_unknown_until_its_receipt(
    route: Route, api: Any, configure: Configure
) -> None:
    configure(HANDOVER_BUDGET=0.2)
    started = monotonic()
    first = post(api, route, request_to(route, row_of("slow")))
    problem(first, 504, "IN-00003")
    assert monotonic() - started < 1
    deliver_due_receipts()
    assert standing(api, first) == ("Order_Completed", route.words.delivered)


@both_channels
def test_the_inbox_shows_what_its_recipient_would_see(route: Route, api: Any) -> None:
    post(api, route)
    message = SimulatedMessage.objects.get()
    assert message.channel == route.channel
    assert message.reference == str(Delivery.objects.get().pk)
    if route is SMS:
        assert (message.destination, message.sender) == ("+4799999999", "Altinn")
        assert message.body == "Your code is 428516"
    else:
        assert message.destination == "kari@example.com"
        assert (message.subject, message.body) == ("Your code", "It is 428516")


def test_receipts_wait_until_they_are_due(api: Any, configure: Configure) -> None:
    post(api, SMS)
    SimulatedReceipt.objects.update(due_at=timezone.now() + timedelta(hours=1))
    assert deliver_due_receipts() == 0
    assert deliver_due_receipts(timezone.now() + timedelta(hours=2)) == 1
    assert deliver_due_receipts(timezone.now() + timedelta(hours=3)) == 0


def test_more_receipts_than_one_batch_are_all_delivered(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postman, "BATCH", 2)
    for number in range(5):
        post(api, SMS, SMS.request(idempotencyId=f"id-{number}"))
    assert deliver_due_receipts() == 5
    assert set(Delivery.objects.values_list("status", flat=True)) == {"SMS_Delivered"}


def test_a_receipt_that_could_not_be_written_down_comes_again(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = post(api, SMS)
    with monkeypatch.context() as away:
        away.setattr(postman, "record_receipt", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deliver_due_receipts()
    assert deliver_due_receipts() == 1
    assert standing(api, answer) == ("Order_Completed", "SMS_Delivered")


@pytest.mark.django_db(transaction=True)
def test_two_who_deliver_at_once_deliver_each_receipt_once(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10):
        post(api, SMS, SMS.request(idempotencyId=f"id-{number}"))
    both_have_their_batch = Barrier(2, timeout=10)
    started: set[int] = set()
    deliver = postman._deliver
    reported: list[str] = []
    write = postman.record_receipt

    def deliver_together(receipt: SimulatedReceipt) -> bool:
        if get_ident() not in started:
            started.add(get_ident())
            both_have_their_batch.wait()
        return deliver(receipt)

    def count(alias: str, receipt: Receipt) -> Delivery | None:
        reported.append(receipt.reference)
        return write(alias, receipt)

    monkeypatch.setattr(postman, "_deliver", deliver_together)
    monkeypatch.setattr(postman, "record_receipt", count)
    assert sum(at_once(deliver_due_receipts, deliver_due_receipts)) == 10
    assert len(started) == 2
    assert Counter(reported) == dict.fromkeys(reported, 1)
    assert len(reported) == 10
    assert set(Delivery.objects.values_list("status", flat=True)) == {"SMS_Delivered"}


class Retired(BaseException):
    """Nothing that the thread catches."""


class RetiringPostman(Postman):
    """Works like any other, but can be sent home so that its connections are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.retired = False
        self.gone = False

    def _nap(self) -> float:
        if self.retired:
            raise Retired
        return super()._nap()

    def _work(self) -> None:
        try:
            super()._work()
        except Retired:
            connections.close_all()
            self.gone = True

    def retire(self) -> None:
        self.retired = True
        self._news.set()
        assert until(lambda: self.gone)


@pytest.fixture
def own_postman(
    transactional_db: None, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RetiringPostman]:
    """The simulator with a thread of its own, as outside of tests."""
    configure(
        GATEWAYS={
            "simulator": {
                "BACKEND": "instant_notifications.simulator.gateway.SimulatorGateway",
                "OPTIONS": {"deliver_after": 0.1},
            }
        }
    )
    working = RetiringPostman()
    monkeypatch.setattr(simulator, "postman", working)
    yield working
    working.retire()


def until(holds: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = monotonic() + seconds
    while not holds():
        if monotonic() > deadline:
            return False
        sleep(0.02)
    return True


@both_channels
def test_the_thread_brings_receipts_home_by_itself(
    route: Route, api: Any, own_postman: RetiringPostman
) -> None:
    for number in range(3):
        sent_at = monotonic()
        answer = post(api, route, request_to(route, row_of(""), idempotencyId=f"id-{number}"))
        assert standing(api, answer) == ("Order_Processed", route.words.accepted)
        assert until(lambda: standing(api, answer)[0] == "Order_Completed")  # noqa: B023
        assert 0.1 <= monotonic() - sent_at < 5


def test_the_thread_outlives_a_failure(
    api: Any, own_postman: RetiringPostman, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[datetime] = []
    deliver = postman.deliver_due_receipts

    def fail_once() -> int:
        if not failed:
            failed.append(timezone.now())
            raise ConnectionError
        return deliver()

    monkeypatch.setattr(postman, "deliver_due_receipts", fail_once)
    answer = post(api, SMS)
    assert until(lambda: standing(api, answer)[0] == "Order_Completed")
    assert failed


def test_an_idle_thread_holds_no_connection(
    api: Any, own_postman: RetiringPostman, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that did would keep a host's test database on PostgreSQL from being dropped."""
    held: list[bool] = []

    class Observed(type(own_postman._news)):  # type: ignore[misc]
        def wait(self, timeout: float | None = None) -> bool:
            held.append(connections["default"].connection is not None)
            return bool(super().wait(timeout))

    own_postman._news = Observed()
    answer = post(api, SMS)
    assert until(lambda: standing(api, answer)[0] == "Order_Completed")
    assert until(lambda: len(held) >= 2)
    assert not any(held)


def test_the_thread_is_not_needed_in_tests(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[bool] = []
    monkeypatch.setattr(simulator.postman, "wake", lambda: woken.append(True))
    post(api, SMS)
    assert woken == []
