"""What an attack on the console's acts from the outside has found: each of these once failed."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import product
from time import sleep
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.log import AdminEmailHandler

from instant_notifications import health, receipts, search
from instant_notifications.admin.story import story_of
from instant_notifications.charts import rollup
from instant_notifications.exceptions import NotAllowed, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.models import Delivery, Intervention, StatusEvent, UnmatchedReceipt
from instant_notifications.orders import (
    cancel,
    expire,
    interventions,
    match,
    resend,
    send_sms,
    verdicts,
)
from instant_notifications.orders.verdicts import May
from instant_notifications.statuses import STAGES, Handover, Stage
from tests.console import somebody
from tests.outcomes import Killed, fails
from tests.outcomes import expire as run_out
from tests.stub import StubGateway, take
from tests.test_admin_acts import ABLE, at, do, review, text_of
from tests.test_interventions import BODY, KARI, PHONE, an_sms, in_doubt, refused, said, unsent
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Stub = type[StubGateway]
OLA = {"by": "ola", "because": "he called again"}


@pytest.fixture
def operator(stub: Stub) -> Client:
    return somebody(*ABLE, name="kari")


def judged(delivery: Delivery) -> verdicts.Verdict:
    (read,) = verdicts.to_judge([delivery.pk])
    return verdicts.may_resend(read, timezone.now())


def first_then(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """It happens between the judgement of the next act and the act."""
    judge = interventions._require

    def then(*args: Any, **named: Any) -> None:
        judge(*args, **named)
        monkeypatch.setattr(interventions, "_require", judge)
        happens()

    monkeypatch.setattr(interventions, "_require", then)


def headline(delivery: Delivery) -> str:
    told = story_of(delivery.shipment_id)
    assert told
    telling = told.tellings[0]
    return " ".join(map(str, [telling.headline, *telling.afterwords]))


def made_of(delivery: Delivery, **more: Any) -> Delivery:
    sent = resend(delivery.pk, **{**KARI, **more})
    return Delivery.objects.get(shipment=sent.shipment_id)


# A: it may arrive, and goes again without ``sure``


def test_taken_with_no_word_that_moves_the_status_is_not_failed(stub: Stub) -> None:
    """A receipt proves that a gateway has it, but says nothing of the status."""
    delivery = in_doubt(stub)
    receipts.record_receipt("stub", Receipt(reference=str(delivery.pk), word="buffered"))
    delivery.refresh_from_db()
    assert (delivery.status, delivery.handover) == ("SMS_Sending", Handover.TAKEN)
    assert judged(delivery).may is May.IF_SURE


def test_one_part_that_has_arrived_is_not_a_failure(stub: Stub) -> None:
    delivery = in_doubt(stub)
    Delivery.objects.update(segments=3)
    part = Receipt(reference=str(delivery.pk), status="SMS_Delivered", word="x", part="1")
    receipts.record_receipt("stub", part)
    assert judged(delivery).may is May.IF_SURE


def test_the_second_of_two_attempts_has_failed_and_the_first_may_arrive(
    stub: Stub, configure: Any
) -> None:
    configure(UNKNOWN_OUTCOME="resend")
    in_doubt(stub, idempotency_id="id-1")
    stub.do = take
    send_sms(PHONE, BODY, idempotency_id="id-1")
    delivery = Delivery.objects.get()
    said(delivery, "SMS_Failed_Undelivered")
    assert judged(delivery).may is May.IF_SURE


def test_a_failed_one_whose_resend_was_itself_sent_again_may_arrive(stub: Stub) -> None:
    original = refused(stub)
    stub.do = fails(Rejected, "no")
    with pytest.raises(Rejected):
        made_of(original)
    second = Delivery.objects.latest("pk")
    stub.do = take
    made_of(second)
    assert judged(original).may is May.IF_SURE


def test_a_failed_resend_whose_original_was_sent_again_may_arrive(stub: Stub) -> None:
    original = refused(stub)
    stub.do = fails(Rejected, "no")
    with pytest.raises(Rejected):
        made_of(original)
    second = Delivery.objects.latest("pk")
    stub.do = take
    made_of(original)
    assert judged(second).may is May.IF_SURE


def test_a_message_and_its_failed_resend_ticked_together_go_once(
    operator: Client, stub: Stub
) -> None:
    """The list of the failed shows both; one press on "Send again" must not send two."""
    original = refused(stub)
    stub.do = fails(Rejected, "no")
    with pytest.raises(Rejected):
        made_of(original)
    stub.seen.clear()
    stub.do = take
    do(operator, "resend", review(operator, "resend", original, Delivery.objects.latest("pk")))
    assert len(stub.seen) == 1


def test_sure_of_one_is_not_sure_of_what_was_shown_as_unsent(operator: Client, stub: Stub) -> None:
    """It was shown as "It was not sent"; while the operator read, its client had it delivered."""
    waiting = unsent(stub, idempotency_id="id-1")
    doubtful = in_doubt(stub)
    shown = review(operator, "resend", waiting, doubtful)
    stub.do = take
    send_sms(PHONE, BODY, idempotency_id="id-1")
    said(waiting, "SMS_Delivered")
    do(operator, "resend", shown, sure="on")
    assert not Intervention.objects.filter(delivery=waiting).exists()


def test_two_who_resend_different_unsent_ancestors_send_once(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = unsent(stub)
    stub.do = fails(Unavailable, "down")
    with pytest.raises(Unavailable):
        made_of(original)
    second = Delivery.objects.latest("pk")
    stub.seen.clear()
    stub.do = take
    first_then(monkeypatch, lambda: resend(second.pk, **OLA))
    assert resend(original.pk, **KARI).replayed
    assert len(stub.seen) == 1


def test_what_is_cancelled_at_the_same_moment_is_not_resent(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = unsent(stub)
    stub.seen.clear()
    stub.do = take
    first_then(monkeypatch, lambda: cancel(original.pk, **OLA))
    with pytest.raises(NotAllowed):
        resend(original.pk, **KARI)
    assert not stub.seen


REACHABLE = [
    *product(["SMS_New"], [Handover.OPEN], [False]),
    *product(["SMS_New"], [Handover.TAKEN], [False]),
    *product(
        ["SMS_Sending"], [Handover.UNDER_WAY, Handover.UNKNOWN, Handover.TAKEN], [False, True]
    ),
    *product(["SMS_Accepted", "SMS_Delivered"], [Handover.TAKEN], [False, True]),
    *product(["SMS_Failed", "SMS_Failed_Undelivered"], [Handover.TAKEN], [False, True]),
    *product(["SMS_Failed", "SMS_Failed_Rejected"], [Handover.REFUSED], [False]),
]
"""Status, hand-over, and whether an earlier attempt ended in doubt."""


@pytest.mark.parametrize("with_resend", [False, True])
@pytest.mark.parametrize(("status", "handover", "doubt"), REACHABLE)
def test_what_may_arrive_needs_somebody_sure_and_what_cannot_does_not(
    status: str, handover: Handover, doubt: bool, with_resend: bool, stub: Stub
) -> None:
    """For the message itself, and for what was made of one that failed."""
    original = refused(stub)
    subject = made_of(original) if with_resend else original
    stage = STAGES[status]
    Delivery.objects.filter(pk=subject.pk).update(
        status=status,
        handover=handover,
        may_have_left=doubt,
        lease_until=timezone.now() if handover == Handover.UNDER_WAY else None,
        completed_at=timezone.now() if stage in (Stage.DELIVERED, Stage.FAILED) else None,
    )
    certainly_not = handover in (Handover.OPEN, Handover.REFUSED)
    cannot_arrive = not doubt and (certainly_not or stage is Stage.FAILED)
    assert judged(original).may is (May.YES if cannot_arrive else May.IF_SURE)


# A: something false is told


def test_a_second_press_does_not_say_sent_where_nothing_was(operator: Client, stub: Stub) -> None:
    """Of a double click the browser shows the second answer."""
    shown = review(operator, "resend", unsent(stub))
    stub.do = fails(Unavailable, "down")
    assert "it was not sent" in text_of(do(operator, "resend", shown))
    assert "It was sent again already." not in text_of(do(operator, "resend", shown))


def test_a_second_press_after_a_worker_died_does_not_say_sent(
    operator: Client, stub: Stub, configure: Any
) -> None:
    configure(WAIT_FOR_DUPLICATE=0)
    shown = review(operator, "resend", refused(stub))
    stub.do = fails(Killed)
    with pytest.raises(Killed):
        do(operator, "resend", shown)
    assert "It was sent again already." not in text_of(do(operator, "resend", shown))


@pytest.mark.parametrize("kind", [Rejected, OutcomeUnknown])
def test_a_second_press_tells_what_came_of_the_first(
    kind: Any, operator: Client, stub: Stub
) -> None:
    shown = review(operator, "resend", refused(stub))
    stub.do = fails(kind, "x")
    first = text_of(do(operator, "resend", shown))
    second = text_of(do(operator, "resend", shown))
    assert "A new message was made" in first
    assert "It was sent again already." not in second


def test_the_log_does_not_say_that_the_second_has_sent_it(operator: Client, stub: Stub) -> None:
    shown = review(operator, "resend", refused(stub))
    for _ in range(2):
        do(operator, "resend", shown)
    told = [entry.get_change_message() for entry in LogEntry.objects.all()]
    assert sum(each.startswith("Sent again") for each in told) == 1


def test_cancel_does_not_claim_what_a_resend_has_sent_meanwhile(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = unsent(stub)
    stub.do = take
    first_then(monkeypatch, lambda: resend(delivery.pk, **OLA))
    with pytest.raises(NotAllowed):
        cancel(delivery.pk, **KARI)
    assert not Intervention.objects.filter(kind="cancel").exists()


def test_expire_does_not_claim_what_a_receipt_has_settled_meanwhile(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = an_sms()
    run_out(seconds_ago=61)
    first_then(monkeypatch, lambda: said(delivery, "SMS_Delivered"))
    with pytest.raises(NotAllowed):
        expire(delivery.pk, **KARI)
    assert not Intervention.objects.filter(kind="expire").exists()


def test_a_resend_that_was_replaced_was_not_refused_at_its_hand_over(stub: Stub) -> None:
    original = unsent(stub)
    stub.do = fails(Unavailable, "down")
    with pytest.raises(Unavailable):
        made_of(original)
    replaced = Delivery.objects.latest("pk")
    stub.do = take
    made_of(original)
    assert "refused when it was to be handed over" not in headline(replaced)
    assert "does not tell why" not in headline(replaced)


def test_nobody_is_said_to_have_sent_what_was_not_sent(stub: Stub) -> None:
    original = unsent(stub)
    stub.do = fails(Unavailable, "down")
    with pytest.raises(Unavailable):
        made_of(original)
    assert "has sent a new message" not in headline(original)


def test_of_a_resend_no_client_may_ask_again(stub: Stub) -> None:
    original = refused(stub)
    stub.do = fails(Unavailable, "down")
    with pytest.raises(Unavailable):
        made_of(original)
    assert "The client may ask again" not in headline(Delivery.objects.latest("pk"))


def test_a_cancelled_message_is_still_said_to_be_when_its_history_is_gone(stub: Stub) -> None:
    """``KEEP_HISTORY`` is 90 days, orders and deeds are kept for ever by default."""
    delivery = unsent(stub)
    cancel(delivery.pk, **KARI)
    StatusEvent.objects.all().delete()
    assert "kari cancelled it" in headline(delivery)


def test_what_somebody_cancelled_has_not_failed(stub: Stub) -> None:
    """Ticked among the failed, it would be sent after all."""
    delivery = unsent(stub)
    cancel(delivery.pk, **KARI)
    assert judged(delivery).may is not May.YES


def test_a_receipt_that_is_gone_has_not_surely_found_its_message(
    operator: Client, stub: Stub
) -> None:
    """It may have been deleted by its age (``KEEP_UNMATCHED``)."""
    kept = kept_receipt()
    kept.delete()
    page = at("match", 17, model="unmatchedreceipt")
    assert "it has found its message" not in text_of(operator.get(page, follow=True))


def test_a_text_that_no_key_opens_is_not_said_to_be_erased(stub: Stub, settings: Any) -> None:
    delivery = refused(stub)
    settings.SECRET_KEY = "another-key-that-opens-nothing-of-before"
    assert "has been erased" not in str(judged(delivery).why)


def test_not_delivered_is_not_said_where_an_earlier_attempt_may_have_arrived(
    stub: Stub, configure: Any
) -> None:
    configure(UNKNOWN_OUTCOME="resend")
    in_doubt(stub, idempotency_id="id-1")
    stub.do = take
    send_sms(PHONE, BODY, idempotency_id="id-1")
    delivery = Delivery.objects.get()
    said(delivery, "SMS_Failed_Undelivered")
    assert not headline(delivery).startswith("Not delivered")


# B: acts that should not be possible, or end in an error page after the deed


def kept_receipt() -> UnmatchedReceipt:
    said = {"status": "SMS_Delivered", "word": "OK"}
    receipts.record_receipt("stub", Receipt(gateway_reference="g-17", **said))
    return UnmatchedReceipt.objects.get()


def test_a_receipt_is_not_about_a_message_that_was_asked_for_later(stub: Stub) -> None:
    kept = kept_receipt()
    delivery = in_doubt(stub)
    with pytest.raises(NotAllowed):
        match(kept.pk, delivery.pk, **KARI)


def test_a_receipt_is_hardly_about_a_message_that_was_not_sent(stub: Stub) -> None:
    delivery = unsent(stub)
    with pytest.raises(NotAllowed):
        match(kept_receipt().pk, delivery.pk, **KARI)


@pytest.mark.parametrize("because", ["a\0b", "a\u202eb", "x" * 1_000_000])
def test_a_reason_is_fit_for_the_log_of_every_database(
    because: str, operator: Client, stub: Stub
) -> None:
    shown = review(operator, "resend", refused(stub))
    text_of(do(operator, "resend", shown, because=because))
    (told,) = LogEntry.objects.values_list("change_message", flat=True)
    assert told.isprintable()
    assert len(told) < 1000


def test_a_match_is_logged_whatever_its_reason(operator: Client, stub: Stub) -> None:
    delivery, kept = in_doubt(stub), kept_receipt()
    deed = at("matched", kept.pk, model="unmatchedreceipt")
    operator.post(deed, {"delivery": delivery.pk, "because": "a\0b"})
    (told,) = LogEntry.objects.values_list("change_message", flat=True)
    assert told.isprintable()


def test_a_message_that_is_purged_between_two_of_a_batch_does_not_end_the_batch(
    operator: Client, stub: Stub
) -> None:
    """Its row goes while the one before it is being sent."""
    first, second = refused(stub), refused(stub)
    shown = review(operator, "resend", first, second)

    def purge(message: Any) -> Receipt:
        Delivery.objects.filter(pk=second.pk).delete()
        return take(message)

    stub.do = purge
    assert "Sent again." in text_of(do(operator, "resend", shown))


def test_what_is_gone_is_told(operator: Client, stub: Stub) -> None:
    first, second = refused(stub), refused(stub)
    shown = review(operator, "resend", first, second)
    Delivery.objects.filter(pk=second.pk).delete()
    stub.do = take
    assert text_of(do(operator, "resend", shown)).count(str(first.shipment_id)) == 1
    assert "Some are not here any more" in text_of(do(operator, "resend", shown))


@pytest.mark.parametrize("written", ["id\u00a07", "a\u200db", "👨\u200d👩"])
def test_what_a_client_may_write_can_be_found(written: str, operator: Client, stub: Stub) -> None:
    delivery = an_sms(senders_reference=written)
    answer = operator.post(at("search"), {"term": written})
    assert answer.headers.get("Location") == at("change", delivery.shipment_id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_a_double_click_sends_once_also_where_a_client_wants_doubt_sent_again(
    stub: Stub, configure: Any
) -> None:
    """The setting is about a client that asks again after it was told; nobody has told anything."""
    configure(UNKNOWN_OUTCOME="resend")
    original = refused(stub)
    stub.seen.clear()

    def times_out(_message: Any) -> Receipt:
        sleep(0.1)
        raise OutcomeUnknown("timed out")

    stub.do = times_out

    def press() -> None:
        with suppress(OutcomeUnknown):
            resend(original.pk, **KARI, after=0)

    at_once(press, press)
    assert len(stub.seen) == 1


def test_no_report_of_an_error_shows_what_was_searched_for(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With AdminEmailHandler(include_html=True), and so for Sentry, every frame's locals go out."""
    sent: list[str] = []

    class Mails(AdminEmailHandler):
        def send_mail(self, *args: Any, **named: Any) -> None:
            sent.append(f"{args} {named}")

    def breaks(*_args: Any) -> None:
        raise RuntimeError

    logger = logging.getLogger("django.request")
    monkeypatch.setattr(logger, "handlers", [Mails(include_html=True)])
    monkeypatch.setattr(search, "_newest", breaks)
    operator.raise_request_exception = False
    operator.post(at("search"), {"term": PHONE})
    assert sent
    assert not any(PHONE in report for report in sent)


def test_a_line_from_a_clock_ahead_does_not_stop_the_figures(stub: Stub) -> None:
    for _ in range(3):
        an_sms()
    now = timezone.now()
    StatusEvent.objects.update(at=now - timedelta(minutes=10))
    first = StatusEvent.objects.order_by("pk")[0]
    StatusEvent.objects.filter(pk=first.pk).update(at=now + timedelta(days=1))
    rollup._set_out()
    assert sum(rollup.sum_up()) >= 2


def test_the_hour_that_comes_twice_can_be_asked_for(operator: Client, stub: Stub) -> None:
    answer = operator.get(at("changelist"), {"since": "2026-10-25T02:30:00"})
    assert "errorlist" not in answer.content.decode()


def test_a_story_is_not_read_from_a_replica_that_lags(stub: Stub, settings: Any) -> None:
    class Router:
        def db_for_read(self, model: Any, **_hints: Any) -> str:
            return "replica"  # there is none: who reads from it gets an error

        def db_for_write(self, model: Any, **_hints: Any) -> str:
            return "default"

    delivery = refused(stub)
    settings.DATABASE_ROUTERS = [Router()]
    assert story_of(delivery.shipment_id)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_two_operators_on_an_original_and_on_its_resend_send_once(stub: Stub) -> None:
    """Real threads: neither sees a verdict that asks whether he is sure."""
    twice = 0
    for _ in range(10):
        original = unsent(stub)
        stub.do = fails(Unavailable, "down")
        with pytest.raises(Unavailable):
            made_of(original)
        second = Delivery.objects.latest("pk")
        stub.seen.clear()
        stub.do = take

        def press(key: Any, who: dict[str, str], after: int) -> None:
            with suppress(NotAllowed):
                resend(key, **who, after=after)

        at_once(partial(press, original.pk, KARI, 1), partial(press, second.pk, OLA, 1))
        twice += len(stub.seen) > 1
    assert twice == 0


def all_logged(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """What these loggers say from now on, with the text of errors, down to DEBUG."""
    said: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    for name in names:
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [Keep()])
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        logger.manager._clear_cache()  # type: ignore[attr-defined]
    return said


def test_a_revealed_text_is_in_no_log(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SMS has no subject; the template asks for one, and Django quotes where it looked."""
    delivery = an_sms()
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    logged = all_logged(monkeypatch, "django.template")
    shown = client.post(at("reveal", delivery.pk), {"because": "x"}).content.decode()
    assert BODY in shown
    assert not any(BODY in line for line in logged)


def test_what_is_searched_for_is_in_no_statement(operator: Client, stub: Stub) -> None:
    """A database's log of slow, or of all, statements would hold it; as would Django's at DEBUG."""
    an_sms()
    with CaptureQueriesContext(connection) as queries:
        operator.post(at("search"), {"term": PHONE})
    assert not any(PHONE in each["sql"] for each in queries)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite takes any length")
def test_a_gateway_can_be_switched_off_by_somebody_with_a_long_name(stub: Stub) -> None:
    """A host's own users may be named by an address of 254 characters; our column holds 150."""
    health.switch_off("stub", by="k" * 254, because="down")


def test_a_cell_does_not_end_where_a_norwegian_spreadsheet_ends_it(
    client: Client, stub: Stub
) -> None:
    """Excel in Norwegian separates by semicolons: an unquoted ";=" begins a formula there."""
    an_sms(senders_reference="x;=1+1")
    client.force_login(User.objects.create_superuser("root"))
    answer = client.post(at("export"))
    assert ",x;=1+1," not in b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
