"""What a receipt belongs to, what is kept until it belongs, and what it may change."""

import base64
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import permutations
from queue import Queue
from threading import Condition, Event, local
from typing import Any, Final
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db.models import QuerySet
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from instant_notifications import dispatch, feed, health, upkeep
from instant_notifications import receipts as matching
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Message, Receipt, has_basic_credentials
from instant_notifications.models import (
    Delivery,
    FeedEntry,
    IdempotencyRecord,
    Order,
    Organisation,
    StatusEvent,
    UnmatchedReceipt,
)
from instant_notifications.orders import Sent, send_email, send_sms
from instant_notifications.receipts import match_kept, record_receipt
from instant_notifications.statuses import Handover
from instant_notifications.upkeep import Chore
from tests.conftest import API
from tests.outcomes import Do, Killed, expire, fails, lapse_lease, meanwhile
from tests.stub import SecondGateway, StubGateway, take
from tests.threads import at_once

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("reporting")]

Configure = Callable[..., None]
Members = dict[str, Any]

COPIES: Final = 46
NUMBER: Final = "+4799999999"
THREE_PARTS: Final = "x" * 400
PASSWORD: Final = "let-me-in"
KNOWN: Final = "Basic " + base64.b64encode(f"reporter:{PASSWORD}".encode()).decode()


class Reports:
    """A push is a list of the members of a ``Receipt``."""

    def authenticates(self, request: HttpRequest) -> bool:
        return has_basic_credentials(request, "reporter", PASSWORD)

    def read_receipts(self, request: HttpRequest) -> list[Receipt]:
        return [Receipt(**each) for each in json.loads(request.body)]


class ReportingGateway(Reports, StubGateway):
    pass


class SecondReportingGateway(Reports, SecondGateway):
    pass


def gateways(**options: Any) -> dict[str, Any]:
    here = "tests.test_receipts"
    return {
        "stub": {"BACKEND": f"{here}.ReportingGateway", "OPTIONS": options},
        "second": {"BACKEND": f"{here}.SecondReportingGateway"},
    }


@pytest.fixture
def reporting(stub: type[StubGateway], configure: Configure) -> type[StubGateway]:
    """The stub gateways, which also take pushes."""
    configure(GATEWAYS=gateways())
    return stub


def push(*receipts: Members, to: str = "stub") -> None:
    assert pushed(*receipts, to=to) == 204


def pushed(*receipts: Members, to: str = "stub") -> int:
    """The status of the answer."""
    answer = Client(raise_request_exception=False).post(
        f"{API}delivery-reports/{to}",
        json.dumps(receipts),
        content_type="application/json",
        HTTP_AUTHORIZATION=KNOWN,
    )
    return answer.status_code


def theirs(delivery: Delivery, status: str | None = "SMS_Delivered", **members: Any) -> Members:
    """A receipt that names the gateway's reference alone."""
    reference = {"gateway_reference": f"stub-{delivery.pk}"}
    return {**reference, "status": status, "word": f"said {status}", **members}


def ours(delivery: Delivery, status: str | None = "SMS_Delivered", **members: Any) -> Members:
    """A receipt that names our reference alone."""
    return {"reference": str(delivery.pk), "status": status, "word": f"said {status}", **members}


def sent(do: Do = take, *, body: str = "hello", idempotency_id: str = "") -> Delivery:
    """The delivery of a message whose hand-over ends that way."""
    StubGateway.do = staticmethod(do)
    with suppress(HandoverFailed, Killed):
        send_sms(NUMBER, body, idempotency_id=idempotency_id)
    return Delivery.objects.latest("pk")


ENDS: Final[dict[str, Do]] = {
    "taken": take,
    "open": fails(Unavailable),
    "unknown": fails(OutcomeUnknown),
    "under_way": fails(Killed),
}


def status_of(delivery: Delivery) -> str:
    return Delivery.objects.get(pk=delivery.pk).status


def reported(delivery: Delivery) -> list[tuple[str, str, str]]:
    """What receipts have written into the history: from, to, word."""
    events = StatusEvent.objects.filter(delivery=delivery, cause="receipt").order_by("pk")
    return list(events.values_list("from_status", "to_status", "gateway_word"))


def fed(delivery: Delivery) -> list[str]:
    """The words of the delivery that its organisation's feed has told."""
    entries = FeedEntry.objects.filter(delivery_id=delivery.pk).order_by("sequence_number")
    return [entry.recipients[0]["status"] for entry in entries]


def kept() -> list[str]:
    rows = UnmatchedReceipt.objects.order_by("pk")
    return list(rows.values_list("gateway_reference", flat=True))


def shown(delivery: Delivery) -> list[Any]:
    """Everything but the history that anybody can see of it."""
    row = Delivery.objects.values().get(pk=delivery.pk)
    report = feed.read_manifest("local", delivery.shipment_id)
    return [row | {"revision": None}, fed(delivery), report and (report.status, report.at)]


def work_off(chores: Sequence[Chore]) -> dict[str, int]:
    """How often each chore found something to do."""
    done: Counter[str] = Counter()
    for chore, tally in upkeep.run(chores, Event()):
        assert tally.failed == 0, chore.name
        done[chore.name] += tally.done
    return {name: count for name, count in done.items() if count}


def sweep() -> dict[str, int]:
    return work_off(upkeep.EXPIRY)


def purge() -> dict[str, int]:
    return work_off(upkeep.RETENTION)


# What it belongs to


def test_the_gateways_reference_goes_before_ours() -> None:
    first, second = sent(), sent()
    push(theirs(first, reference=str(second.pk)))
    assert (status_of(first), status_of(second)) == ("SMS_Delivered", "SMS_Accepted")


@pytest.mark.parametrize(
    "spelt", [str, lambda pk: str(pk).upper(), lambda pk: pk.hex, lambda pk: f"{{{pk}}}"]
)
def test_ours_is_known_however_it_is_spelt(spelt: Callable[[UUID], str]) -> None:
    delivery = sent()
    push(ours(delivery, reference=spelt(delivery.pk)))
    assert status_of(delivery) == "SMS_Delivered"
    assert kept() == []


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("unknown", ["", "not heard of"])
@pytest.mark.parametrize(
    ("status", "shows"),
    [
        ("SMS_Delivered", "SMS_Delivered"),
        ("SMS_Failed_Undelivered", "SMS_Failed_Undelivered"),
        ("SMS_Accepted", "SMS_Accepted"),
    ],
)
def test_ours_finds_a_message_however_its_hand_over_stands(
    end: str, unknown: str, status: str, shows: str
) -> None:
    delivery = sent(ENDS[end])
    assert delivery.handover == end
    push(*[ours(delivery, status, gateway_reference=unknown)] * 2)
    after = Delivery.objects.get()
    assert (after.status, after.handover, after.lease_until) == (shows, "taken", None)
    assert len(reported(delivery)) == 1
    assert fed(delivery) == ([] if shows == "SMS_Accepted" else [shows])
    assert kept() == []


@pytest.mark.parametrize(
    "hear", [record_receipt, lambda alias, said: matching.record_receipts(alias, [said])]
)
@pytest.mark.parametrize(
    ("first", "is_off", "believed"),
    [
        (take, False, {"stub"}),
        (fails(OutcomeUnknown), False, {"stub"}),
        (fails(Unavailable), False, {"stub", "second"}),
        (take, True, {"second"}),
        (fails(Killed), False, {"stub", "second"}),
    ],
    ids=["taken", "perhaps taken", "taken by the next", "passed over", "nobody knows"],
)
def test_ours_is_believed_from_whom_the_message_may_have_gone_by(
    first: Do, is_off: bool, believed: set[str], hear: Callable[..., Any], configure: Configure
) -> None:
    configure(ROUTES={"sms": ["stub", "second"], "email": []})
    if is_off:
        health.switch_off("stub")
    for alias in ("stub", "second"):
        delivery = sent(first)
        hear(alias, Receipt(**ours(delivery)))
        assert (status_of(delivery) == "SMS_Delivered") is (alias in believed)
        kept_aside = UnmatchedReceipt.objects.filter(gateway=alias, reference=delivery.pk)
        assert kept_aside.exists() is (alias not in believed)


@pytest.mark.parametrize("end", ["open", "unknown", "under_way"])
def test_the_gateways_reference_is_learnt_from_a_receipt_with_both(end: str) -> None:
    delivery = sent(ENDS[end])
    push(theirs(delivery, "SMS_Accepted", reference=str(delivery.pk)))
    push(theirs(delivery))
    assert status_of(delivery) == "SMS_Delivered"
    assert kept() == []


def test_a_receipt_settles_an_unknown_outcome_for_whoever_asks_again() -> None:
    delivery = sent(fails(OutcomeUnknown), idempotency_id="a")
    with pytest.raises(OutcomeUnknown):
        send_sms(NUMBER, "hello", idempotency_id="a")
    push(ours(delivery, None, word="NEWLYMADE"))
    assert send_sms(NUMBER, "hello", idempotency_id="a").replayed
    assert len(StubGateway.seen) == 1


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("SMS_Failed_Rejected", "REJECTED"),
        ("SMS_Failed_InvalidRecipient", "REJECTED"),
        (None, "NEWLYMADE"),
    ],
)
def test_a_refused_message_stays_refused_when_its_refusal_is_reported(
    status: str | None, word: str
) -> None:
    refusal = fails(Rejected, status="SMS_Failed_InvalidRecipient")
    delivery = sent(refusal, idempotency_id="a")
    before = shown(delivery)
    push(ours(delivery, status, word=word))
    assert shown(delivery) == before
    with pytest.raises(Rejected):
        send_sms(NUMBER, "hello", idempotency_id="a")


def test_the_same_reference_at_another_gateway_is_another_message() -> None:
    delivery = sent()
    push(theirs(delivery), to="second")
    assert status_of(delivery) == "SMS_Accepted"
    assert UnmatchedReceipt.objects.get().gateway == "second"


@pytest.fixture
def failover(configure: Configure) -> Delivery:
    """A message that the first gateway could not take and the second did."""
    configure(ROUTES={"sms": ["stub", "second"], "email": ["stub"]})
    delivery = sent(fails(Unavailable))
    assert (delivery.gateway, delivery.status) == ("second", "SMS_Accepted")
    return delivery


def test_after_failover_the_gateway_that_took_it_reports(failover: Delivery) -> None:
    push(theirs(failover, "SMS_Failed"), to="stub")
    assert status_of(failover) == "SMS_Accepted"
    push(theirs(failover), to="second")
    assert status_of(failover) == "SMS_Delivered"
    sweep()
    assert status_of(failover) == "SMS_Delivered"
    assert UnmatchedReceipt.objects.get().gateway == "stub"


def test_after_failover_the_second_gateway_may_report_before_it_answers(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(ROUTES={"sms": ["stub", "second"], "email": ["stub"]})

    def report(message: Message) -> Receipt:
        push(theirs(Delivery.objects.get()), to="second")
        return take(message)

    monkeypatch.setattr(SecondGateway, "do", staticmethod(report))
    delivery = sent(fails(Unavailable))
    assert (delivery.gateway, delivery.status, kept()) == ("second", "SMS_Delivered", [])


def named(reference: str, then: Do = take) -> Do:
    """The gateway takes it under a reference of its own choice."""
    return lambda message: Receipt(gateway_reference=reference)


def test_after_a_retry_the_attempt_that_was_taken_is_reported_on() -> None:
    sent(fails(Unavailable), idempotency_id="a")
    delivery = sent(named("second try"), idempotency_id="a")
    push({"gateway_reference": "first try", "status": "SMS_Failed"})
    assert (status_of(delivery), kept()) == ("SMS_Accepted", ["first try"])
    push({"gateway_reference": "second try", "status": "SMS_Delivered"})
    assert (status_of(delivery), fed(delivery)) == ("SMS_Delivered", ["SMS_Delivered"])


def test_after_a_resend_either_attempt_may_be_reported_on(configure: Configure) -> None:
    configure(UNKNOWN_OUTCOME="resend")
    sent(fails(OutcomeUnknown), idempotency_id="a")
    delivery = sent(named("second try"), idempotency_id="a")
    assert (delivery.attempts, delivery.gateway_reference) == (2, "second try")
    push(ours(delivery, gateway_reference="first try"))
    push({"gateway_reference": "second try", "status": "SMS_Failed", "word": "twice"})
    assert (status_of(delivery), fed(delivery)) == ("SMS_Delivered", ["SMS_Delivered"])
    assert reported(delivery)[-1] == ("SMS_Delivered", "SMS_Delivered", "twice")


@pytest.mark.parametrize("end", [fails(Unavailable), fails(OutcomeUnknown), fails(Rejected), take])
def test_a_receipt_of_the_first_attempt_speaks_while_the_second_is_under_way(
    end: Do, configure: Configure
) -> None:
    configure(UNKNOWN_OUTCOME="resend")
    first = sent(fails(OutcomeUnknown), idempotency_id="a")
    delivery = sent(meanwhile(lambda: push(ours(first)), then=end), idempotency_id="a")
    assert (delivery.status, delivery.handover) == ("SMS_Delivered", "taken")
    assert fed(delivery) == ["SMS_Delivered"]
    assert send_sms(NUMBER, "hello", idempotency_id="a").replayed


def test_a_repeat_after_the_history_was_purged_adds_one_line_at_most() -> None:
    delivery = sent()
    push(theirs(delivery))
    StatusEvent.objects.all().delete()
    before = shown(delivery)
    push(*[theirs(delivery)] * COPIES)
    assert shown(delivery) == before
    assert StatusEvent.objects.count() == 1


def test_a_message_whose_recipient_and_text_are_erased_is_reported_on(configure: Configure) -> None:
    nothing = timedelta(0)
    delivery = sent()
    configure(KEEP_CONTENT=nothing, KEEP_DESTINATIONS=nothing, KEEP_HISTORY=nothing)
    purge()
    bare = Delivery.objects.get()
    assert (bare.destination, bare.content, bare.destination_digest) == (None, None, "")
    push(theirs(delivery))
    assert (status_of(delivery), fed(delivery)) == ("SMS_Delivered", ["SMS_Delivered"])


def test_a_receipt_of_a_message_that_is_gone_is_kept() -> None:
    delivery = sent()
    IdempotencyRecord.objects.all().delete()
    Order.objects.all().delete()
    push(*[theirs(delivery, reference=str(delivery.pk))] * 2)
    assert kept() == [f"stub-{delivery.pk}"]


def test_each_channel_is_found_alike() -> None:
    send_email("kari@example.com", "hello", "hello")
    delivery = Delivery.objects.get()
    push(theirs(delivery, "SMS_Delivered"))
    assert status_of(delivery) == "Email_Succeeded"
    push(theirs(delivery, "Email_Failed_Bounced"))
    assert status_of(delivery) == "Email_Failed_Bounced"


# What is kept


NASTY: Final = [
    "",
    " ",
    " ref",
    "ref ",
    "ref",
    "REF",
    "réf",
    "re\u0301f",
    "a\x00b",
    "\ud800",
    "\U0001f600",
    "line\u2028break",
    "x" * 1_000,
    "æ" * 1_000,
    "%s' OR 1=1 --",
]


@pytest.mark.parametrize("member", ["gateway_reference", "reference", "word", "part"])
def test_whatever_a_receipt_says_it_is_kept_once(member: str) -> None:
    for nasty in NASTY:
        receipt = {"gateway_reference": "nobody's", "status": "SMS_Delivered", member: nasty}
        push(*[receipt] * 3)
        push(receipt)
    assert UnmatchedReceipt.objects.count() == len(NASTY)


def test_what_is_kept_tells_the_operator_everything() -> None:
    receipt = {
        "gateway_reference": "x-1",
        "reference": str(uuid4()),
        "status": "SMS_Delivered",
        "word": "DELIVRD",
        "part": "2",
        "parts": 3,
    }
    push(receipt)
    (row,) = UnmatchedReceipt.objects.values()
    assert {name: row[name] for name in receipt} == receipt
    assert row["gateway"] == "stub"
    assert timezone.now() - row["received_at"] < timedelta(minutes=1)


@pytest.mark.parametrize("status", [None, "", "Unheard_Of", "SMS_Delivered " * 10])
def test_of_a_status_that_is_none_the_word_is_kept(status: str | None) -> None:
    push({"gateway_reference": "x-1", "status": status, "word": "NEWLYMADE"})
    row = UnmatchedReceipt.objects.get()
    assert (row.status, row.word) == ("", "NEWLYMADE")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"word": "A"}, {"word": "B"}),
        ({"part": "1"}, {"part": "2"}),
        ({"gateway_reference": "y"}, {"gateway_reference": "z"}),
        ({"reference": "y"}, {"reference": "z"}),
        ({"status": "SMS_Accepted"}, {"status": "SMS_Delivered"}),
    ],
)
def test_receipts_that_say_different_things_are_all_kept(one: Members, other: Members) -> None:
    push({"gateway_reference": "x", **one}, {"gateway_reference": "x", **other})
    assert UnmatchedReceipt.objects.count() == 2


def test_what_is_kept_is_purged_by_age(configure: Configure) -> None:
    configure(KEEP_UNMATCHED=timedelta(days=7))
    push(*[{"gateway_reference": name} for name in ("old", "new")])
    week = timezone.now() - timedelta(days=7, seconds=1)
    UnmatchedReceipt.objects.filter(gateway_reference="old").update(received_at=week)
    assert purge() == {"unmatched receipts deleted": 1}
    assert kept() == ["new"]


def test_a_repeat_does_not_make_what_is_kept_younger(configure: Configure) -> None:
    push({"gateway_reference": "x"})
    UnmatchedReceipt.objects.update(received_at=timezone.now() - timedelta(days=31))
    push({"gateway_reference": "x"})
    purge()
    assert kept() == []


def test_what_is_kept_does_not_keep_the_sweep_busy() -> None:
    push(*[{"gateway_reference": f"nobody's {number}"} for number in range(5)])
    push({"reference": "nonsense", "status": "SMS_Delivered"}, {})
    for _ in range(2):
        assert sweep() == {}
    assert UnmatchedReceipt.objects.count() == 7


# What comes before the gateway's answer


REFERENCES: Final[dict[str, Callable[[Message], Members]]] = {
    "theirs": lambda message: {"gateway_reference": f"stub-{message.reference}"},
    "ours": lambda message: {"reference": message.reference},
    "both": lambda message: {
        "gateway_reference": f"stub-{message.reference}",
        "reference": message.reference,
    },
}
each_reference = pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)


def reporting_first(
    reference: Callable[[Message], Members], *receipts: Members, then: Do = take
) -> Do:
    """The gateway pushes these receipts, one after the other, before it answers."""

    def do(message: Message) -> Receipt:
        for receipt in receipts:
            push(reference(message) | receipt)
        return then(message)

    return do


@each_reference
@pytest.mark.parametrize(
    ("status", "shows", "entries"),
    [
        ("SMS_Delivered", "SMS_Delivered", ["SMS_Delivered"]),
        ("SMS_Failed_Undelivered", "SMS_Failed_Undelivered", ["SMS_Failed_Undelivered"]),
        ("SMS_Accepted", "SMS_Accepted", []),
        ("Email_Delivered", "SMS_Accepted", []),
        (None, "SMS_Accepted", []),
    ],
)
def test_a_receipt_may_come_before_the_answer(
    reference: Any, status: str | None, shows: str, entries: list[str]
) -> None:
    early = {"status": status, "word": "EARLY"}
    StubGateway.do = staticmethod(reporting_first(reference, early))
    answer = send_sms(NUMBER, "hello", idempotency_id="a")
    delivery = Delivery.objects.get()
    assert (answer.status, delivery.status, delivery.handover) == (shows, shows, "taken")
    assert delivery.gateway_reference == f"stub-{delivery.pk}"
    assert [word for *_, word in reported(delivery)] == ["EARLY"]
    assert fed(delivery) == entries
    assert kept() == []
    assert send_sms(NUMBER, "hello", idempotency_id="a").status == shows
    assert sweep() == {}


@each_reference
def test_copies_may_come_before_the_answer(reference: Any) -> None:
    early = {"status": "SMS_Delivered", "word": "EARLY"}
    delivery = sent(reporting_first(reference, *[early] * COPIES))
    assert (delivery.status, fed(delivery), kept()) == ("SMS_Delivered", ["SMS_Delivered"], [])
    assert len(reported(delivery)) == 1


@each_reference
@pytest.mark.parametrize(
    ("words", "shows"),
    [
        (("SMS_Accepted", "SMS_Delivered"), "SMS_Delivered"),
        (("SMS_Delivered", "SMS_Accepted"), "SMS_Delivered"),
        ((None, "SMS_Failed", "SMS_Accepted"), "SMS_Failed"),
        (("SMS_Accepted", "SMS_Failed_Deleted", None), "SMS_Failed_Deleted"),
        (("SMS_Delivered", "SMS_Failed"), "SMS_Delivered"),
        (("SMS_Failed", "SMS_Delivered"), "SMS_Failed"),
    ],
)
def test_several_may_come_before_the_answer_in_any_order(
    reference: Any, words: Sequence[str | None], shows: str
) -> None:
    early = [{"status": status, "word": f"said {status}"} for status in words]
    delivery = sent(reporting_first(reference, *early))
    assert (delivery.status, fed(delivery), kept()) == (shows, [shows], [])
    assert [word for *_, word in reported(delivery)] == [each["word"] for each in early]


@pytest.mark.parametrize("word", ["0", ""])
def test_several_of_one_word_may_come_before_the_answer(word: str) -> None:
    early = [{"status": status, "word": word} for status in ("SMS_Accepted", "SMS_Delivered")]
    assert sent(reporting_first(REFERENCES["theirs"], *early)).status == "SMS_Delivered"


@pytest.mark.parametrize("word", ["0", ""])
def test_several_of_one_word_may_come_after_the_answer(word: str) -> None:
    delivery = sent()
    for status in ("SMS_Accepted", "SMS_Delivered"):
        push(theirs(delivery, status, word=word))
    assert status_of(delivery) == "SMS_Delivered"


@pytest.mark.parametrize("reference", [REFERENCES["ours"], REFERENCES["both"]])
@pytest.mark.parametrize("failure", [OutcomeUnknown, Unavailable, Rejected, RuntimeError])
def test_who_reports_has_taken_it_whatever_the_answer(reference: Any, failure: Any) -> None:
    early = {"status": "SMS_Delivered", "word": "EARLY"}
    StubGateway.do = staticmethod(reporting_first(reference, early, then=fails(failure)))
    answer = send_sms(NUMBER, "hello", idempotency_id="a")
    delivery = Delivery.objects.get()
    assert (answer.status, delivery.handover) == ("SMS_Delivered", "taken")
    assert fed(delivery) == ["SMS_Delivered"]
    assert send_sms(NUMBER, "hello", idempotency_id="a").replayed
    assert len(StubGateway.seen) == 1


def test_without_an_answer_an_early_receipt_waits_until_its_reference_is_learnt() -> None:
    early = {"status": "SMS_Delivered", "word": "EARLY"}
    delivery = sent(reporting_first(REFERENCES["theirs"], early, then=fails(OutcomeUnknown)))
    assert (delivery.handover, delivery.status) == ("unknown", "SMS_Sending")
    assert kept() == [f"stub-{delivery.pk}"]
    push(theirs(delivery, "SMS_Accepted", reference=str(delivery.pk)))
    assert sweep() == {"late receipts matched": 1}
    assert (status_of(delivery), fed(delivery), kept()) == ("SMS_Delivered", ["SMS_Delivered"], [])


def test_an_early_receipt_of_a_gateway_that_should_have_none_is_noted_by_the_sweep(
    configure: Configure,
) -> None:
    configure(GATEWAYS=gateways(reports_receipts=False))
    early = {"status": "SMS_Failed", "word": "EARLY"}
    delivery = sent(reporting_first(REFERENCES["theirs"], early))
    sweep()
    assert (status_of(delivery), fed(delivery), kept()) == ("SMS_Accepted", ["SMS_Accepted"], [])
    assert reported(delivery) == [("SMS_Accepted", "SMS_Accepted", "EARLY")]


def test_another_gateways_early_receipt_stays_where_it_is() -> None:
    def do(message: Message) -> Receipt:
        push(
            {"gateway_reference": f"stub-{message.reference}", "status": "SMS_Failed"}, to="second"
        )
        return take(message)

    delivery = sent(do)
    assert delivery.status == "SMS_Accepted"
    assert sweep() == {}
    assert UnmatchedReceipt.objects.get().gateway == "second"


def test_a_match_that_fails_does_not_cost_the_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def fail(kept: UnmatchedReceipt) -> Any:
        if StubGateway.seen and Delivery.objects.filter(handover=Handover.TAKEN):
            raise LookupError("secret")
        return match(kept)

    match = match_kept
    early = {"status": "SMS_Delivered", "word": "EARLY"}
    with monkeypatch.context() as broken:
        broken.setattr(matching, "match_kept", fail)
        delivery = sent(reporting_first(REFERENCES["theirs"], early))
    assert (delivery.status, len(kept())) == ("SMS_Accepted", 1)
    assert "receipts wait" in caplog.text
    assert "secret" not in caplog.text
    assert sweep() == {"late receipts matched": 1}
    assert (status_of(delivery), kept()) == ("SMS_Delivered", [])


# Where a worker dies between two steps


def killed_before_it_matched(monkeypatch: pytest.MonkeyPatch, **early: Any) -> Delivery:
    """The hand-over was recorded; its worker died before it looked for early receipts."""
    with monkeypatch.context() as dying:
        dying.setattr(dispatch, "match_kept_receipts", fails(Killed))
        delivery = sent(reporting_first(REFERENCES["theirs"], {"word": "EARLY", **early}))
    assert (delivery.status, kept()) == ("SMS_Accepted", [f"stub-{delivery.pk}"])
    return delivery


def killed_after_it_kept(monkeypatch: pytest.MonkeyPatch, **early: Any) -> Delivery:
    """The receipt looked before the hand-over's record, was kept after, and its worker died."""
    delivery = sent()
    with monkeypatch.context() as dying:
        dying.setattr(matching, "_find", lambda gateway, receipt: None)
        dying.setattr(matching, "match_kept", fails(Killed))
        receipt = Receipt(gateway_reference=f"stub-{delivery.pk}", word="EARLY", **early)
        with pytest.raises(Killed):
            record_receipt("stub", receipt)
    assert (status_of(delivery), kept()) == ("SMS_Accepted", [f"stub-{delivery.pk}"])
    return delivery


each_death = pytest.mark.parametrize("dies", [killed_before_it_matched, killed_after_it_kept])


@each_death
@pytest.mark.parametrize(
    ("status", "shows"),
    [
        ("SMS_Delivered", "SMS_Delivered"),
        ("SMS_Failed_Expired", "SMS_Failed_Expired"),
        ("SMS_Accepted", "SMS_Accepted"),
        (None, "SMS_Accepted"),
        ("Email_Delivered", "SMS_Accepted"),
    ],
)
def test_the_sweep_makes_up_for_a_dead_worker(
    dies: Any, status: str | None, shows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = dies(monkeypatch, status=status)
    assert sweep() == {"late receipts matched": 1}
    assert (status_of(delivery), kept()) == (shows, [])
    assert fed(delivery) == ([shows] if shows != "SMS_Accepted" else [])
    assert [word for *_, word in reported(delivery)] == ["EARLY"]
    assert sweep() == {}


@each_death
def test_a_receipt_that_is_here_speaks_before_our_clock(
    dies: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = dies(monkeypatch, status="SMS_Delivered")
    expire(seconds_ago=1000)
    assert sweep()["late receipts matched"] == 1
    assert (status_of(delivery), fed(delivery)) == ("SMS_Delivered", ["SMS_Delivered"])


@pytest.mark.django_db(transaction=True)
def test_the_command_makes_up_for_a_dead_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = killed_before_it_matched(monkeypatch, status="SMS_Delivered")
    said = [manage("--dry-run"), manage(), manage()]
    assert [line.partition(",")[0] for line in said] == [
        "To do: 1 late receipts matched",
        "1 late receipts matched",
        "0 late receipts matched",
    ]
    assert (status_of(delivery), kept()) == ("SMS_Delivered", [])


def manage(*options: str) -> str:
    out = io.StringIO()
    call_command("expire_notifications", *options, stdout=out)
    return out.getvalue()


def test_a_match_that_cannot_be_written_down_leaves_the_receipt_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delivery = killed_before_it_matched(monkeypatch, status="SMS_Delivered")
    with monkeypatch.context() as broken:
        broken.setattr(matching, "record_status", Mock(side_effect=LookupError))
        with pytest.raises(LookupError):
            match_kept(UnmatchedReceipt.objects.get())
    assert len(kept()) == 1
    sweep()
    assert (status_of(delivery), kept()) == ("SMS_Delivered", [])


@pytest.mark.django_db(transaction=True)
def test_several_sweeps_at_once_write_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = killed_after_it_kept(monkeypatch, status="SMS_Delivered")
    at_once(*[sweep] * 4)
    assert (status_of(delivery), fed(delivery), kept()) == ("SMS_Delivered", ["SMS_Delivered"], [])
    assert len(reported(delivery)) == 1


# The race of a receipt with the hand-over's record


class Score:
    """Lets threads take their steps in one order only."""

    def __init__(self, order: Sequence[str]) -> None:
        self._left = list(order)
        self._changed = Condition()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        with self._changed:
            assert self._changed.wait_for(lambda: self._left[:1] == [name], timeout=10), name
        try:
            yield
        finally:
            self.leave_out(name)

    def leave_out(self, *names: str) -> None:
        with self._changed:
            self._left = [name for name in self._left if name not in names]
            self._changed.notify_all()


FIND, KEEP, MATCH = "the receipt looks", "it is kept", "it looks again"
WRITE, COLLECT = "the hand-over is recorded", "it collects"
INTERLEAVINGS: Final = [
    order
    for order in permutations((FIND, KEEP, MATCH, WRITE, COLLECT))
    if order.index(FIND) < order.index(KEEP) < order.index(MATCH)
    and order.index(WRITE) < order.index(COLLECT)
]


class Stage:
    """Sends a message and reports on it in two threads, step by step as the score says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.role = local()
        self.score = Score(())
        keep: Any = QuerySet.get_or_create
        keep_in_turn = self.in_turn(KEEP, keep)

        def of_any_model(rows: Any, *args: Any, **named: Any) -> Any:
            of_receipts = rows.model is UnmatchedReceipt
            return (keep_in_turn if of_receipts else keep)(rows, *args, **named)

        monkeypatch.setattr(QuerySet, "get_or_create", of_any_model)
        for module, name, step in (
            (matching, "_find", FIND),
            (matching, "match_kept", MATCH),
            (dispatch, "record_status", WRITE),
            (dispatch, "match_kept_receipts", COLLECT),
        ):
            monkeypatch.setattr(module, name, self.in_turn(step, getattr(module, name)))

    def in_turn(self, step: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Waits where this is the thread's own step; passes through where it is another's."""

        def called(*args: Any, **named: Any) -> Any:
            steps: set[str] = getattr(self.role, "steps", set())
            if step not in steps:
                return call(*args, **named)
            steps.remove(step)
            with self.score.step(step):
                return call(*args, **named)

        return called

    def play(self, order: Sequence[str], **receipt: Any) -> Delivery:
        self.score = Score(order)
        given, references = Event(), []

        def hand(message: Message) -> Receipt:
            references.append(message.reference)
            given.set()
            return take(message)

        def send() -> Sent:
            self.role.steps = {WRITE, COLLECT}
            return send_sms(NUMBER, "hello")

        def report() -> None:
            assert given.wait(10)
            self.role.steps = {FIND, KEEP, MATCH}
            reference = f"stub-{references[0]}"
            record_receipt("stub", Receipt(gateway_reference=reference, **receipt))
            self.score.leave_out(FIND, KEEP, MATCH)

        StubGateway.do = staticmethod(hand)
        answer, _ = at_once(send, report)
        return Delivery.objects.get(shipment_id=answer.shipment_id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("status", "shows"), [("SMS_Delivered", "SMS_Delivered"), (None, "SMS_Accepted")]
)
def test_whichever_of_receipt_and_record_comes_first_nothing_is_lost(
    status: str | None, shows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(monkeypatch)
    assert len(INTERLEAVINGS) == 10
    for order in INTERLEAVINGS:
        delivery = stage.play(order, status=status, word="EARLY")
        assert (delivery.status, kept()) == (shows, []), order
        assert [word for *_, word in reported(delivery)] == ["EARLY"], order
        assert fed(delivery) == ([shows] if status else []), order


@pytest.mark.django_db(transaction=True)
def test_receipts_that_race_with_the_record_are_written_once() -> None:
    """Unrehearsed: copies from three threads, from the moment the gateway has the message."""
    for _ in range(8):
        given: Queue[str] = Queue()
        StubGateway.do = staticmethod(meanwhile_telling(given))
        at_once(*[lambda given=given: report_often(given)] * 3, lambda: send_sms(NUMBER, "hello"))
        delivery = Delivery.objects.latest("pk")
        assert (delivery.status, kept()) == ("SMS_Delivered", [])
        assert (len(reported(delivery)), fed(delivery)) == (1, ["SMS_Delivered"])


def meanwhile_telling(given: "Queue[str]") -> Do:
    def do(message: Message) -> Receipt:
        for _ in range(3):
            given.put(f"stub-{message.reference}")
        return take(message)

    return do


def report_often(given: "Queue[str]") -> None:
    """As a provider does: again and again, and after a 503 once more."""
    receipt = {"status": "SMS_Delivered", "word": "EARLY"}
    receipt["gateway_reference"] = given.get(timeout=10)
    answers = [pushed(receipt) for _ in range(4)]
    while answers[-1] != 204:
        assert set(answers) <= {204, 503}
        answers.append(pushed(receipt))


# Parts


ORDERS: Final = list(permutations((1, 2, 3)))


def part(number: Any, status: str | None = "SMS_Delivered", **members: Any) -> Members:
    return {"status": status, "word": f"part {status}", "part": str(number), **members}


def long(do: Do = take) -> Delivery:
    delivery = sent(do, body=THREE_PARTS)
    assert delivery.segments == 3
    return delivery


@pytest.mark.parametrize("parts", [3, None], ids=["total said", "total counted"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_long_message_is_delivered_once_its_last_part_is(
    order: Sequence[int], parts: int | None
) -> None:
    delivery = long()
    for number in order:
        assert status_of(delivery) == "SMS_Accepted"
        push(*[theirs(delivery) | part(number, parts=parts)] * 3)
    push(*[theirs(delivery) | part(number, parts=parts) for number in order])
    assert (status_of(delivery), fed(delivery)) == ("SMS_Delivered", ["SMS_Delivered"])
    assert len(reported(delivery)) == 3


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("broken", [1, 2, 3])
def test_a_long_message_with_a_failed_part_is_never_delivered(
    order: Sequence[int], broken: int
) -> None:
    delivery = long()
    words = {number: "SMS_Failed" if number == broken else "SMS_Delivered" for number in order}
    for number in order:
        push(theirs(delivery) | part(number, words[number], parts=3))
        assert status_of(delivery) != "SMS_Delivered"
    push(*[theirs(delivery) | part(number, parts=3) for number in order])
    assert (status_of(delivery), fed(delivery)) == ("SMS_Failed", ["SMS_Failed"])
    expire(seconds_ago=1000)
    sweep()
    assert (status_of(delivery), fed(delivery)) == ("SMS_Failed", ["SMS_Failed"])


def test_a_part_that_comes_often_counts_once() -> None:
    delivery = long()
    push(*[theirs(delivery) | part(number, parts=3) for number in (1, 2) * (COPIES // 2)])
    assert status_of(delivery) == "SMS_Accepted"
    assert len(reported(delivery)) == 2


@pytest.mark.parametrize("words", [("one", "two"), ("0", "1"), ("", "x")])
def test_a_part_that_comes_in_other_words_counts_once(words: Sequence[str]) -> None:
    delivery = long()
    push(*[theirs(delivery) | part(n, parts=3, word=word) for n in (1, 2) for word in words])
    assert status_of(delivery) == "SMS_Accepted"
    push(theirs(delivery) | part(3, parts=3))
    assert status_of(delivery) == "SMS_Delivered"


@pytest.mark.parametrize("status", [None, "SMS_Accepted", "Email_Delivered"])
def test_a_part_is_not_delivered_by_a_word_that_does_not_say_so(status: str | None) -> None:
    delivery = long()
    push(*[theirs(delivery) | part(number, parts=3) for number in (1, 2)])
    push(theirs(delivery) | part(3, status, parts=3))
    assert status_of(delivery) == "SMS_Accepted"
    push(theirs(delivery) | part(3, parts=3))
    assert status_of(delivery) == "SMS_Delivered"


@pytest.mark.parametrize("parts", [None, 0, -1, 256, 10**12])
def test_a_total_that_makes_no_sense_is_counted_by_us(parts: int | None) -> None:
    delivery = long()
    for number in (1, 2, 3):
        assert status_of(delivery) == "SMS_Accepted"
        push(theirs(delivery) | part(number, parts=parts))
    assert status_of(delivery) == "SMS_Delivered"


def test_the_gateways_own_total_counts() -> None:
    """It may have split the text otherwise."""
    delivery = sent()
    for number in (1, 2, 3, 4):
        assert status_of(delivery) == "SMS_Accepted"
        push(theirs(delivery) | part(number, parts=4))
    assert status_of(delivery) == "SMS_Delivered"


def test_the_only_part_of_a_short_message_delivers_it() -> None:
    delivery = sent()
    push(theirs(delivery) | part(1))
    assert status_of(delivery) == "SMS_Delivered"


def test_a_receipt_for_the_whole_needs_no_parts() -> None:
    delivery = long()
    push(theirs(delivery) | part(2, parts=3), theirs(delivery))
    push(theirs(delivery) | part(1, "SMS_Failed", parts=3))
    assert (status_of(delivery), fed(delivery)) == ("SMS_Delivered", ["SMS_Delivered"])


@pytest.mark.parametrize("name", ["a\x00", "\ud800", " ", "\U0001f600", "'", "x" * 200])
def test_a_part_may_have_any_name(name: str) -> None:
    delivery = long()
    push(*[theirs(delivery) | part(f"{number}{name}", parts=3) for number in (1, 2, 1, 2)])
    assert status_of(delivery) == "SMS_Accepted"
    push(theirs(delivery) | part(f"3{name}", parts=3))
    assert status_of(delivery) == "SMS_Delivered"


def test_a_missing_part_that_comes_after_the_expiry_corrects_it() -> None:
    delivery = long()
    push(*[theirs(delivery) | part(number, parts=3) for number in (1, 2)])
    expire(seconds_ago=1000)
    sweep()
    assert status_of(delivery) == "SMS_Failed_TTL"
    push(*[theirs(delivery) | part(1, parts=3)] * 3)
    assert status_of(delivery) == "SMS_Failed_TTL"
    push(theirs(delivery) | part(3, parts=3))
    assert status_of(delivery) == "SMS_Delivered"
    assert fed(delivery) == ["SMS_Failed_TTL", "SMS_Delivered"]


def test_a_part_that_failed_after_the_expiry_corrects_it() -> None:
    delivery = long()
    push(*[theirs(delivery) | part(number, parts=3) for number in (1, 2)])
    expire(seconds_ago=1000)
    sweep()
    push(theirs(delivery) | part(3, "SMS_Failed_Undelivered", parts=3))
    push(theirs(delivery) | part(3, parts=3))
    assert fed(delivery) == ["SMS_Failed_TTL", "SMS_Failed_Undelivered"]


@each_reference
@pytest.mark.parametrize(
    ("early", "shows"),
    [((1, 2), "SMS_Accepted"), ((3, 1, 2), "SMS_Delivered"), ((1, 1, 2, 2), "SMS_Accepted")],
)
def test_parts_may_come_before_the_answer(reference: Any, early: Sequence[int], shows: str) -> None:
    delivery = long(reporting_first(reference, *[part(number, parts=3) for number in early]))
    assert (delivery.status, kept()) == (shows, [])
    push(theirs(delivery) | part(3, parts=3))
    assert (status_of(delivery), fed(delivery)) == ("SMS_Delivered", ["SMS_Delivered"])


@each_reference
@pytest.mark.parametrize("order", ORDERS)
def test_a_failed_part_may_come_before_the_answer(reference: Any, order: Sequence[int]) -> None:
    early = [part(n, "SMS_Failed" if n == 2 else "SMS_Delivered", parts=3) for n in order]
    delivery = long(reporting_first(reference, *early))
    assert (delivery.status, fed(delivery), kept()) == ("SMS_Failed", ["SMS_Failed"], [])


def test_a_part_that_failed_early_in_the_same_word_is_not_lost() -> None:
    early = [part(1, status, parts=3, word="0") for status in (None, "SMS_Failed")]
    delivery = long(reporting_first(REFERENCES["theirs"], *early))
    push(*[theirs(delivery) | part(number, parts=3) for number in (1, 2, 3)])
    assert status_of(delivery) == "SMS_Failed"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("words", "shows"),
    [
        (("SMS_Delivered", "SMS_Delivered", "SMS_Delivered"), "SMS_Delivered"),
        (("SMS_Delivered", "SMS_Failed", "SMS_Delivered"), "SMS_Failed"),
    ],
)
def test_parts_at_once_are_all_counted(words: Sequence[str], shows: str) -> None:
    for _ in range(4):
        delivery = long()
        receipts = [
            theirs(delivery) | part(number, status, parts=3)
            for number, status in enumerate(words, start=1)
        ]
        at_once(*[lambda receipt=receipt: push(receipt) for receipt in receipts * 2])
        assert (status_of(delivery), fed(delivery)) == (shows, [shows])
        assert len(reported(delivery)) == 3


# What is only noted


@pytest.fixture(params=["completed", "every"])
def each_feed(request: Any, configure: Configure) -> None:
    configure(FEED=request.param)


@pytest.mark.usefixtures("each_feed")
@pytest.mark.parametrize(
    ("first", "status", "noted"),
    [
        (None, "SMS_Accepted", "SMS_Accepted"),
        (None, None, ""),
        (None, "Email_Failed", ""),
        (None, "Unheard_Of", ""),
        ("SMS_Delivered", "SMS_Failed", "SMS_Failed"),
        ("SMS_Delivered", "SMS_Accepted", "SMS_Accepted"),
        ("SMS_Delivered", "SMS_Failed_TTL", "SMS_Failed_TTL"),
        ("SMS_Failed_Expired", "SMS_Delivered", "SMS_Delivered"),
        ("SMS_Failed_Expired", None, ""),
    ],
)
def test_a_word_that_moves_nothing_is_noted_once(
    first: str | None, status: str | None, noted: str
) -> None:
    delivery = sent()
    if first:
        push(theirs(delivery, first))
    before, lines = shown(delivery), len(reported(delivery))
    for _ in range(2):
        push(*[theirs(delivery, status, word="WORD 17")] * (COPIES // 2))
    assert shown(delivery) == before
    assert len(reported(delivery)) == lines + 1
    line = StatusEvent.objects.filter(cause="receipt").latest("pk")
    assert (line.gateway_word, line.reported_status) == ("WORD 17", noted)
    assert (line.from_status, line.to_status) == (first or "SMS_Accepted",) * 2
    assert (line.gateway, line.attempt, line.part) == ("stub", None, "")


def test_each_new_word_is_noted() -> None:
    delivery = sent()
    said = [("A", None), ("B", None), ("A", "SMS_Accepted"), ("", "SMS_Accepted"), ("B", None)]
    for word, status in said * 2:
        push(theirs(delivery, status, word=word))
    noted = StatusEvent.objects.filter(cause="receipt").order_by("pk")
    assert list(noted.values_list("gateway_word", "reported_status")) == [
        ("A", ""),
        ("B", ""),
        ("A", "SMS_Accepted"),
        ("", "SMS_Accepted"),
    ]


def test_a_receipt_without_any_word_is_not_noted() -> None:
    delivery = sent()
    push(*[theirs(delivery, None, word="")] * 3)
    assert reported(delivery) == []


@pytest.mark.parametrize("word", [each for each in NASTY if each])
def test_whatever_the_word_it_is_noted_once(word: str) -> None:
    delivery = sent()
    for _ in range(3):
        push(theirs(delivery, None, word=word))
    ((_, _, noted),) = reported(delivery)
    assert len(noted) <= 255
    assert status_of(delivery) == "SMS_Accepted"


@pytest.mark.django_db(transaction=True)
def test_a_word_that_comes_at_once_is_noted_once() -> None:
    delivery = sent()
    at_once(*[lambda: push(*[theirs(delivery, None, word="WORD 17")] * 6)] * 8)
    assert len(reported(delivery)) == 1


def test_copies_that_come_by_two_aliases_change_nothing(failover: Delivery) -> None:
    for alias in ("stub", "second"):
        push(ours(failover), to=alias)
    before = (shown(failover), reported(failover))
    assert len(reported(failover)) == 2
    for _ in range(COPIES // 2):
        for alias in ("stub", "second"):
            push(ours(failover), to=alias)
    assert (shown(failover), reported(failover)) == before


@pytest.mark.parametrize(("start", "status"), [("unknown", "SMS_New"), ("open", "SMS_Sending")])
def test_a_receipt_does_not_take_a_message_back(start: str, status: str) -> None:
    delivery = sent(ENDS[start])
    push(ours(delivery, status))
    assert status_of(delivery) == delivery.status


def test_our_clocks_word_is_not_a_gateways_to_say() -> None:
    delivery = sent()
    push(theirs(delivery, "SMS_Failed_TTL"))
    assert (status_of(delivery), fed(delivery)) == ("SMS_Accepted", [])


def test_a_worker_that_wakes_up_after_the_receipt_changes_nothing() -> None:
    def sleep_through(message: Message) -> Receipt:
        lapse_lease()
        sweep()
        push({"reference": message.reference, "status": "SMS_Delivered", "word": "EARLY"})
        return take(message)

    delivery = sent(sleep_through)
    assert (delivery.status, delivery.handover) == ("SMS_Delivered", "taken")
    assert fed(delivery) == ["SMS_Delivered"]


def test_numbers_in_the_feed_stay_dense_whatever_is_pushed() -> None:
    deliveries = [long() for _ in range(3)]
    for each in deliveries:
        push(*[theirs(each) | part(number) for number in (1, 1, 2, 3, 3)])
        push(theirs(each, "SMS_Failed"), theirs(each, None), {"gateway_reference": "nobody's"})
    entries = FeedEntry.objects.order_by("sequence_number")
    assert list(entries.values_list("sequence_number", flat=True)) == [1, 2, 3]
    assert Organisation.objects.get().last_sequence_number == 3
