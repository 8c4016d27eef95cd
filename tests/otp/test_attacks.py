"""What people try who have no code, and what goes wrong at the worst moment."""

import unicodedata
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import OperationalError, transaction
from django.db.models import QuerySet
from django.utils import translation
from django.utils.translation import trans_real

from instant_notifications import orders, otp
from instant_notifications.conf import DEFAULT_LIMITS
from instant_notifications.exceptions import (
    InvalidMessage,
    OpenTransaction,
    TooManyRequests,
    Unavailable,
)
from instant_notifications.otp import challenges, codes
from instant_notifications.otp.models import Challenge, Recipient
from instant_notifications.otp.texts import Text
from tests.clock import Clock
from tests.otp.test_challenges import Stub, issued, sent_code, verify, wrong
from tests.outcomes import Killed, fails
from tests.threads import at_once, in_thread

pytestmark = pytest.mark.django_db

with_threads = pytest.mark.django_db(transaction=True)

OTHER = "+4799999998"
HALF_A_DAY = timedelta(hours=12)


def test_a_result_that_says_no_is_false(stub: Stub) -> None:
    """Somebody will write ``if otp.verify(…)``."""
    challenge = issued()
    assert not verify(challenge, wrong(sent_code(stub)))
    assert verify(challenge, sent_code(stub))


def test_all_the_guesses_of_a_day(stub: Stub, clock: Clock) -> None:
    """However they are spread over codes and purposes, they are as many as the check tells."""
    compared, end = 0, clock.now + timedelta(days=1)
    for purpose in cycle(f"p-{number}" for number in range(10)):
        try:
            challenge = issued(purpose=purpose)
        except TooManyRequests as refusal:
            clock.go(timedelta(seconds=refusal.retry_after))
            if clock.now >= end:
                break
            continue
        code = sent_code(stub)
        reasons = [verify(challenge, wrong(code), purpose=purpose).reason for _ in range(5)]
        assert reasons[2:] == [otp.Reason.TOO_MANY_ATTEMPTS] * 3
        compared += 3
    assert compared == 30
    assert codes.chance_of_guessing() == pytest.approx(1 - (1 - 1e-6) ** compared)


def test_guesses_do_not_come_back_with_another_code(stub: Stub, clock: Clock) -> None:
    first = issued()
    for _ in range(3):
        verify(first, wrong(sent_code(stub)))
    with pytest.raises(otp.Unknown):
        otp.resend(first.pk, purpose="login")
    clock.go(timedelta(seconds=30))
    issued()
    assert verify(first, sent_code(stub)).reason == otp.Reason.TOO_MANY_ATTEMPTS


def test_a_code_that_was_right_at_the_last_attempt_cannot_be_replayed(stub: Stub) -> None:
    challenge = issued()
    code = sent_code(stub)
    for _ in range(2):
        verify(challenge, wrong(code))
    assert verify(challenge, code).verified
    assert verify(challenge, code).reason == otp.Reason.NOT_FOUND


def test_guesses_for_another_purpose_are_neither_counted_nor_compared(stub: Stub) -> None:
    challenge = issued()
    for purpose in ("Login", "login ", " login", "LOGIN", "login\u00a0", "log\u00efn"):
        assert verify(challenge, sent_code(stub), purpose=purpose).reason == otp.Reason.NOT_FOUND
    challenge.refresh_from_db()
    assert challenge.attempts_left == 3


@pytest.mark.parametrize("strange", ["\0", "login\0", "\ud800", "x" * 1_000_000, ""])
def test_no_code_is_for_a_strange_purpose(strange: str, stub: Stub) -> None:
    with pytest.raises(InvalidMessage):
        issued(purpose=strange)
    challenge = issued()
    assert not verify(challenge, sent_code(stub), purpose=strange)
    with pytest.raises(otp.Unknown):
        otp.resend(challenge.pk, purpose=strange)
    assert verify(challenge, sent_code(stub))


@pytest.mark.parametrize("strange", ["\0", "s-1\0", "x" * 1_000_000, "", "S-1", "s-1 "])
def test_no_other_session_will_do(strange: str, stub: Stub) -> None:
    challenge = issued(session="s-1")
    code = sent_code(stub)
    assert verify(challenge, code, session=strange).reason == otp.Reason.NOT_FOUND
    assert verify(challenge, code, session="s-1")


@pytest.mark.parametrize("written", ["\0", "\ud800", "x" * 1_000_000, "1" * 1_000_000, "", "-"])
def test_what_is_no_code_is_a_wrong_code(written: str, stub: Stub) -> None:
    challenge = issued()
    assert verify(challenge, written).reason == otp.Reason.WRONG
    assert verify(challenge, sent_code(stub)).verified


def test_huge_guesses_are_not_even_read() -> None:
    assert codes.fold("1" * 1_000_000) == ""


def test_digits_of_all_scripts_are_digits() -> None:
    every = [chr(number) for number in range(0x110000) if chr(number).isdecimal()]
    assert len(every) >= 600
    for each in every:
        assert codes.fold(f"{each}12345") == f"{unicodedata.decimal(each)}12345"
    for each in "\u00b2\u2460\u4e09\u00bd\u2167":  # they have a value, and are not typed for one
        assert codes.fold(f"{each}12345") == ""


@pytest.mark.parametrize(
    "language", ["xx", "../../../etc", "nb\0", "\ud800", "x" * 1_000_000, "nb-" * 100, "NB"]
)
def test_a_strange_language_hinders_nobody(language: str, stub: Stub) -> None:
    with translation.override("en"):
        challenge = issued(language=language)
    assert verify(challenge, sent_code(stub)).verified
    assert challenge.language in {"en", "nb"}


def test_made_up_languages_are_not_remembered(stub: Stub, clock: Clock) -> None:
    before = set(trans_real._translations)
    for number in range(5):
        issued(language=f"x{number}a")
        clock.go(HALF_A_DAY)
    assert {each for each in trans_real._translations if each.startswith("x")} <= before


@pytest.mark.parametrize(
    ("one", "same"),
    [
        ("kari@example.com", "KARI@Example.COM"),
        ("kari@b\u00fccher.example", "kari@xn--bcher-kva.example"),
        ("k\u00e5re@example.com", "ka\u030are@example.com"),
        ("+4799999999", "00 47 99 99 99 99"),
    ],
)
def test_another_spelling_is_the_same_recipient(one: str, same: str, stub: Stub) -> None:
    channel = "email" if "@" in one else "sms"
    otp.issue(one, purpose="login", channel=channel)
    with pytest.raises(otp.TooManyCodes):
        otp.issue(same, purpose="login", channel=channel)


def test_a_user_without_a_key_is_nobody_in_particular(stub: Stub) -> None:
    challenge = issued(user=User(username="new"))
    assert verify(challenge, sent_code(stub)).verified


@dataclass
class Person:
    """A user whose key is no number."""

    pk: UUID = field(default_factory=uuid4)


def test_any_kind_of_key_binds(stub: Stub) -> None:
    kari, ola = Person(), Person()
    challenge = issued(user=kari)
    code = sent_code(stub)
    assert not verify(challenge, code, user=ola)
    assert verify(challenge, code, user=kari)


def test_the_clock_may_jump(stub: Stub, clock: Clock, configure: Any) -> None:
    configure(LIMITS=dict.fromkeys(DEFAULT_LIMITS))
    challenge = issued()
    clock.go(-timedelta(days=1))
    with pytest.raises(otp.TooManyCodes):
        issued()
    clock.go(timedelta(days=3))
    assert verify(challenge, sent_code(stub)).reason == otp.Reason.EXPIRED
    assert issued().sends == 1


def test_keys_may_be_rotated_under_way(stub: Stub, settings: Any, configure: Any) -> None:
    kari = User.objects.create_user("kari")
    challenge = issued(user=kari, session="s-1")
    code = sent_code(stub)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-secret"
    configure(ENCRYPTION_KEYS=["the-newest"])
    with pytest.raises(otp.TooManyCodes):
        issued()
    assert verify(challenge, code, user=kari, session="s-1").verified


def test_once_the_key_is_gone_so_is_the_code(stub: Stub, settings: Any) -> None:
    challenge = issued()
    settings.SECRET_KEY = "another-secret"
    assert verify(challenge, sent_code(stub)).reason == otp.Reason.WRONG
    with pytest.raises(otp.Unknown):
        otp.resend(challenge.pk, purpose="login")


@with_threads
def test_within_an_open_transaction_nothing_is_sent_or_counted(stub: Stub) -> None:
    with pytest.raises(OpenTransaction), transaction.atomic():
        issued()
    assert not stub.seen
    assert not Challenge.objects.exists()


@with_threads
def test_a_caller_who_goes_on_after_that_has_voided_nothing(stub: Stub) -> None:
    challenge = issued()
    with transaction.atomic(), pytest.raises(OpenTransaction):
        otp.issue(OTHER, purpose="login")
    assert not Recipient.objects.exclude(pk=challenge.destination_digest)
    assert verify(challenge, sent_code(stub)).verified


@with_threads
def test_a_rollback_gives_no_attempt_back(stub: Stub) -> None:
    """With ``ATOMIC_REQUESTS`` any error after a guess would undo the counting of it."""
    challenge = issued()
    for _ in range(10):
        with pytest.raises(OpenTransaction), transaction.atomic():
            verify(challenge, wrong(sent_code(stub)))
    assert verify(challenge, sent_code(stub)).verified


def test_what_cannot_be_sent_is_void(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host's own template may be far too long."""
    monkeypatch.setattr(challenges, "text_of", lambda *args, **named: Text(body="x" * 10_000))
    with pytest.raises(InvalidMessage):
        issued()
    assert Challenge.objects.get().state == Challenge.State.NOT_SENT


def test_a_code_whose_worker_died_is_good_for_nobody(stub: Stub) -> None:
    stub.do = fails(Killed)
    with pytest.raises(Killed):
        issued()
    challenge = Challenge.objects.get()
    assert not verify(challenge, sent_code(stub)).verified


@with_threads
def test_a_database_that_goes_away_is_said_to_be_away(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes between the reservation and the hand-over, and is still away after that."""

    def away(*args: Any, **named: Any) -> Any:
        raise OperationalError("gone")

    def gone(**message: Any) -> Any:
        monkeypatch.setattr("django.db.models.query.QuerySet.update", away)
        raise Unavailable("database: OperationalError")

    monkeypatch.setattr(orders, "send_sms", gone)
    with pytest.raises(Unavailable):
        issued()


@with_threads
def test_the_rows_of_a_recipient_may_be_purged_at_any_moment(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = QuerySet.get_or_create
    purged: list[Any] = []

    def then_purged(self: Any, *args: Any, **named: Any) -> Any:
        found = original(self, *args, **named)
        if not purged:
            purged.append(in_thread(lambda: call_command("purge_codes", verbosity=0)))
        return found

    monkeypatch.setattr(QuerySet, "get_or_create", then_purged)
    assert verify(issued(), sent_code(stub)).verified
    assert purged


def test_nobody_voids_the_code_of_another_organisation(stub: Stub, clock: Clock) -> None:
    challenge = issued()
    code = sent_code(stub)
    clock.go(timedelta(seconds=30))
    issued(creator="ttd")
    assert verify(challenge, code)


@with_threads
def test_users_who_ask_for_codes_to_many_recipients_at_once(stub: Stub) -> None:
    kari = User.objects.create_user("kari")
    numbers = [f"+47999999{number}" for number in range(10, 20)]
    found = at_once(*[lambda to=to: otp.issue(to, purpose="login", user=kari) for to in numbers])
    assert len(found) == 10
    assert Challenge.objects.filter(state=Challenge.State.OPEN).count() == 1


@with_threads
def test_who_asks_from_all_sides_at_once_gets_one_code(stub: Stub, clock: Clock) -> None:
    first = issued()
    clock.go(timedelta(seconds=30))

    def ask(again: bool) -> bool:
        try:
            otp.resend(first.pk, purpose="login") if again else issued(creator="ttd")
        except (otp.TooManyCodes, otp.Unknown):
            return False
        return True

    assert sum(at_once(*[lambda: ask(True), lambda: ask(False)] * 5)) == 1
    assert len(stub.seen) == 2


@with_threads
def test_a_code_cannot_be_both_verified_and_replaced(stub: Stub, clock: Clock) -> None:
    """Whoever is first; the other one learns of it."""
    first = issued()
    code = sent_code(stub)
    clock.go(timedelta(seconds=30))
    verified, _ = at_once(lambda: verify(first, code), lambda: issued())
    first.refresh_from_db()
    assert first.state == (Challenge.State.VERIFIED if verified else Challenge.State.REPLACED)
    assert not verify(first, code)
