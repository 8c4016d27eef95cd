"""One-time codes: sent, tried a few times, good for one."""

import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError, connection
from django.utils import timezone

from instant_notifications import otp
from instant_notifications.exceptions import (
    InvalidMessage,
    NotAllowed,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import Receipt
from instant_notifications.guard.refusals import refusals_since
from instant_notifications.models import Delivery
from instant_notifications.orders import resend
from instant_notifications.otp.models import Challenge
from instant_notifications.receipts import record_receipt
from tests.clock import Clock
from tests.outcomes import Killed, fails
from tests.stub import StubGateway
from tests.threads import at_once

pytestmark = pytest.mark.django_db

PHONE = "+4799999999"
Stub = type[StubGateway]


def sent_code(stub: Stub) -> str:
    """The code of the last message."""
    found = re.search(r"\d{6,}", stub.seen[-1].body)
    assert found
    return found[0]


def wrong(code: str) -> str:
    return str((int(code) + 1) % 10 ** len(code)).zfill(len(code))


def issued(**more: Any) -> Challenge:
    return otp.issue(PHONE, **{"purpose": "login", **more})


def verify(challenge: Challenge, code: str, **more: Any) -> otp.Result:
    return otp.verify(challenge.pk, code, **{"purpose": "login", **more})


def test_a_code_is_sent_and_verified_once(stub: Stub) -> None:
    challenge = issued()
    code = sent_code(stub)
    assert verify(challenge, code) == otp.Result(True, attempts_left=2)
    assert verify(challenge, code) == otp.Result(False, otp.Reason.NOT_FOUND)
    assert challenge.delivery
    assert challenge.delivery.secret
    assert challenge.delivery.status == "SMS_Accepted"


@pytest.mark.parametrize(
    "typed",
    ["428 516", "428-516", " 428516\n", "428\u2013516", "\uff14\uff12\uff18\uff15\uff11\uff16"],
)
def test_it_may_be_typed_as_people_type(
    typed: str, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instant_notifications.otp.codes.secrets.randbelow", lambda _: 428516)
    assert verify(issued(), typed).verified


def test_zeros_in_front_are_kept(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instant_notifications.otp.codes.secrets.randbelow", lambda _: 7)
    challenge = issued()
    assert sent_code(stub) == "000007"
    assert not verify(challenge, "7").verified
    assert verify(challenge, "000007").verified


def test_three_attempts_and_no_more(stub: Stub) -> None:
    challenge = issued()
    code = sent_code(stub)
    results = [verify(challenge, wrong(code)) for _ in range(3)]
    assert [result.attempts_left for result in results] == [2, 1, 0]
    reasons = [result.reason for result in results]
    assert reasons == [otp.Reason.WRONG, otp.Reason.WRONG, otp.Reason.TOO_MANY_ATTEMPTS]
    assert verify(challenge, code) == otp.Result(False, otp.Reason.TOO_MANY_ATTEMPTS)


def test_it_expires(stub: Stub, clock: Clock) -> None:
    challenge = issued()
    clock.go(timedelta(seconds=300))
    assert verify(challenge, sent_code(stub)) == otp.Result(False, otp.Reason.EXPIRED)


def test_it_belongs_to_its_purpose_its_user_and_its_session(stub: Stub) -> None:
    kari, ola = (User.objects.create_user(name) for name in ("kari", "ola"))
    challenge = issued(user=kari, session="s-1")
    code = sent_code(stub)
    for strange in (
        {"purpose": "payment", "user": kari, "session": "s-1"},
        {"user": ola, "session": "s-1"},
        {"user": kari, "session": "s-2"},
        {"user": kari},
        {"user": AnonymousUser(), "session": "s-1"},
        {},
    ):
        assert verify(challenge, code, **strange).reason == otp.Reason.NOT_FOUND
    assert verify(challenge, code, user=kari, session="s-1").verified


def test_a_newer_code_replaces_the_older(stub: Stub, clock: Clock) -> None:
    first = issued()
    code = sent_code(stub)
    clock.go(timedelta(seconds=30))
    second = otp.resend(first.pk, purpose="login")
    assert second.pk != first.pk
    assert verify(first, code).reason == otp.Reason.NOT_FOUND
    assert verify(second, sent_code(stub)).verified
    with pytest.raises(otp.Unknown):
        otp.resend(second.pk, purpose="login")


def test_another_recipient_voids_the_users_older_code(stub: Stub) -> None:
    kari = User.objects.create_user("kari")
    first = issued(user=kari)
    code = sent_code(stub)
    otp.issue("+4799999998", purpose="login", user=kari)
    assert verify(first, code, user=kari).reason == otp.Reason.NOT_FOUND


def test_codes_to_one_recipient_are_limited(stub: Stub, clock: Clock) -> None:
    pauses = []
    for number in range(5):
        if number:
            with pytest.raises(otp.TooManyCodes) as refusal:
                issued(purpose=f"p-{number}")
            pauses.append(refusal.value.retry_after)
            clock.go(timedelta(seconds=refusal.value.retry_after))
        issued(purpose=f"p-{number}")
    assert pauses == [30, 60, 120, 240]
    with pytest.raises(otp.TooManyCodes) as refusal:
        issued()
    assert refusal.value.limit == "OTP_SENDS_PER_HOUR"
    assert refusal.value.retry_after == 3600 - sum(pauses)
    for _ in range(5):
        clock.go(timedelta(seconds=3600))
        issued()
    with pytest.raises(otp.TooManyCodes) as refusal:
        issued()
    assert refusal.value.limit == "OTP_SENDS_PER_DAY"
    assert len(stub.seen) == 10


@pytest.mark.parametrize(("failure", "state"), [(Rejected, "not_sent"), (Unavailable, "not_sent")])
def test_the_caller_learns_that_a_code_did_not_leave(failure: Any, state: str, stub: Stub) -> None:
    stub.do = fails(failure, "x")
    with pytest.raises(failure):
        issued()
    assert Challenge.objects.get().state == state


def test_a_code_that_may_have_left_is_good(stub: Stub) -> None:
    stub.do = fails(OutcomeUnknown, "timed out")
    challenge = issued()
    assert challenge.delivery
    assert challenge.delivery.handover == "unknown"
    assert verify(challenge, sent_code(stub)).verified


def test_its_message_can_never_be_resent(stub: Stub) -> None:
    issued()
    with pytest.raises(NotAllowed, match="secret"):
        resend(Delivery.objects.get().pk, by="kari", because="x", sure=True)


def test_a_mail_lives_as_long_as_its_code(stub: Stub) -> None:
    challenge = otp.issue("kari@example.com", purpose="login", channel="email")
    delivery = challenge.delivery
    assert delivery
    assert delivery.expires_at - delivery.created_at <= timedelta(seconds=300)
    assert verify(challenge, sent_code(stub)).verified


def test_an_sms_of_a_code_is_one_part_and_ends_with_what_browsers_read(
    stub: Stub, configure: Any
) -> None:
    configure(OTP_HOST="example.com")
    issued()
    assert Delivery.objects.get().segments == 1
    assert stub.seen[-1].body.splitlines()[-1] == f"@example.com #{sent_code(stub)}"


@pytest.mark.parametrize(
    "wanted",
    [
        {"recipient": "12345"},
        {"recipient": PHONE, "channel": "email"},
        {"recipient": PHONE, "channel": "fax"},
        {"recipient": PHONE, "purpose": ""},
        {"recipient": PHONE, "purpose": "x" * 65},
    ],
)
def test_what_makes_no_sense_is_refused(wanted: dict[str, str], stub: Stub) -> None:
    with pytest.raises(InvalidMessage):
        otp.issue(**{"purpose": "login", **wanted})
    assert not Challenge.objects.exists()


def test_what_nobody_has_issued_is_unknown(stub: Stub) -> None:
    assert otp.verify(uuid4(), "428516", purpose="login").reason == otp.Reason.NOT_FOUND
    with pytest.raises(otp.Unknown):
        otp.resend(uuid4(), purpose="login")


@pytest.mark.django_db(transaction=True)
def test_of_many_right_answers_at_once_one_is_right(stub: Stub) -> None:
    challenge = issued()
    code = sent_code(stub)
    results = at_once(*[lambda: verify(challenge, code)] * 20)
    assert sum(result.verified for result in results) == 1


@pytest.mark.django_db(transaction=True)
def test_many_guesses_at_once_use_up_three(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    challenge = issued()
    code = sent_code(stub)
    compared: list[str] = []
    from instant_notifications.otp import codes

    is_it = codes.is_it

    def noted(guess: str, *args: Any, **named: Any) -> bool:
        compared.append(guess)
        return is_it(guess, *args, **named)

    monkeypatch.setattr(codes, "is_it", noted)
    at_once(*[lambda: verify(challenge, wrong(code))] * 30)
    assert len(compared) == 3


@pytest.mark.django_db(transaction=True)
def test_many_who_ask_at_once_get_one_code(stub: Stub) -> None:
    def ask() -> bool:
        try:
            issued()
        except otp.TooManyCodes:
            return False
        return True

    assert sum(at_once(*[ask] * 10)) == 1
    assert len(stub.seen) == 1


def test_no_code_is_kept_in_clear(stub: Stub) -> None:
    challenge = issued()
    code = sent_code(stub)
    kept = Challenge.objects.values().get()
    assert code not in str({**kept, "id": "", "code_hash": "", "salt": ""})
    assert code not in repr(challenge)
    assert len(kept["code_hash"]) == 64


def test_a_code_that_its_worker_did_not_live_to_send_is_good_for_nobody(stub: Stub) -> None:
    stub.do = fails(Killed)
    with pytest.raises(Killed):
        issued()
    challenge = Challenge.objects.get()
    assert challenge.state == "open"
    assert verify(challenge, sent_code(stub)).reason == otp.Reason.WRONG
    with pytest.raises(otp.TooManyCodes):
        issued()


@pytest.mark.django_db(transaction=True)
def test_a_code_that_cannot_be_written_down_is_not_said_to_be_good(stub: Stub) -> None:
    def is_away(execute: Any, sql: str, *args: Any) -> Any:
        if stub.seen and sql.startswith("UPDATE") and "code_hash" in sql:
            raise OperationalError
        return execute(sql, *args)

    with connection.execute_wrapper(is_away), pytest.raises(OutcomeUnknown, match="database"):
        issued()
    assert verify(Challenge.objects.get(), sent_code(stub)).reason == otp.Reason.WRONG


def test_it_belongs_to_the_organisation_that_asked(stub: Stub, clock: Clock) -> None:
    challenge = issued(creator="ttd")
    code = sent_code(stub)
    clock.go(timedelta(seconds=30))
    for creator in ("", "skd", "TTD"):
        assert verify(challenge, code, creator=creator).reason == otp.Reason.NOT_FOUND
        with pytest.raises(otp.Unknown):
            otp.resend(challenge.pk, purpose="login", creator=creator)
    assert verify(challenge, code, creator="ttd").attempts_left == 2


def test_without_a_purpose_it_is_whatever_it_was_issued_for(stub: Stub) -> None:
    assert verify(issued(purpose="payment"), sent_code(stub), purpose=None).verified


def test_its_recipient_is_shown_masked(stub: Stub) -> None:
    challenge = issued()
    assert challenge.masked_destination == "+47 ** ** ** 99"
    verify(challenge, sent_code(stub))
    challenge.refresh_from_db()
    assert challenge.masked_destination == "—"


def test_a_receipt_that_says_failed_voids_nothing_and_is_seen(stub: Stub) -> None:
    challenge = issued()
    sent = challenge.delivery
    assert sent
    word = {"status": "SMS_Failed_Undelivered", "word": "UNDELIV"}
    record_receipt("stub", Receipt(gateway_reference=sent.gateway_reference, **word))
    assert challenge.delivery
    assert challenge.delivery.status == "SMS_Failed_Undelivered"
    assert verify(challenge, sent_code(stub))


@pytest.mark.parametrize(("lifetime", "lives"), [(300, 300), (61, 61), (60, 60)])
def test_an_sms_lives_as_long_as_its_code_and_never_less_than_a_minute(
    lifetime: int, lives: int, stub: Stub, clock: Clock, configure: Any
) -> None:
    configure(OTP_LIFETIME=lifetime)
    sent = issued().delivery
    assert sent
    assert sent.expires_at - sent.created_at == timedelta(seconds=lives)


def test_numbers_that_cost_extra_are_refused_and_counted(stub: Stub) -> None:
    with pytest.raises(InvalidMessage):
        otp.issue("+4782000000", purpose="login")
    assert refusals_since(timezone.now()) == {"costly number": 1}
