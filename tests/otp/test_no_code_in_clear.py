"""After a full life of codes: what they were stands nowhere but on the phones they were sent to."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.dispatch import Signal
from django.test import Client
from django.urls import reverse
from django.views.debug import ExceptionReporter
from rest_framework.test import APIClient

from instant_notifications import orders, otp, signals
from instant_notifications.exceptions import NotificationError
from instant_notifications.orders import instant
from instant_notifications.otp import challenges, codes, texts
from instant_notifications.otp.models import Challenge
from instant_notifications.simulator.postman import deliver_due_receipts
from tests.clock import Clock
from tests.conftest import API
from tests.console import walk
from tests.otp.test_challenges import PHONE, wrong
from tests.test_logging import everything_about, log, no_pause

__all__ = ["log", "no_pause"]

pytestmark = pytest.mark.django_db

CHALLENGES = f"{API}otp/challenges"
ON_THE_PHONE = "/simulatedmessage/"


class Leaks:
    """Every code that was ever made, and every text that must hold none."""

    def __init__(self, made: Callable[[], str]) -> None:
        self.codes: list[str] = []
        self.said: dict[str, str] = {}
        self._made = made

    def make(self) -> str:
        self.codes.append(self._made())
        return self.codes[-1]

    def note(self, where: str, text: object) -> None:
        self.said[where] = f"{self.said.get(where, '')}\n{text}"

    def found(self) -> dict[str, list[str]]:
        """By where they are; a code of ten digits is in no digest by chance."""
        every = {
            where: [code for code in self.codes if code in text]
            for where, text in self.said.items()
        }
        return {where: there for where, there in every.items() if there}


@pytest.fixture
def leaks(monkeypatch: pytest.MonkeyPatch, configure: Any) -> Leaks:
    configure(OTP_LENGTH=10, OTP_HOST="example.com")
    leaks = Leaks(codes.make)
    monkeypatch.setattr(codes, "make", leaks.make)
    return leaks


def live(leaks: Leaks, clock: Clock) -> None:
    """In Python: every way a code can go, over both channels."""
    kari = User.objects.create_user("kari")
    recipients = ["+4799887700", *(f"+479988{fate:04}" for fate in range(1, 8)), "+479988000"]
    mails = ["kari@example.com", "kari+down@example.com", "kari+timeout-taken@example.com"]
    for to in [*recipients, *mails]:
        channel = "email" if "@" in to else "sms"
        try:
            challenge = otp.issue(to, purpose="login", channel=channel, user=kari)
        except NotificationError as error:
            leaks.note("exceptions", everything_about(error))
            continue
        _try_it(leaks, clock, challenge, kari)
    deliver_due_receipts(clock.now + timedelta(days=5))


def _try_it(leaks: Leaks, clock: Clock, challenge: Challenge, kari: User) -> None:
    with suppress(NotificationError):
        otp.issue("+4799887700", purpose="login")
    for code in (wrong(leaks.codes[-1]), leaks.codes[-1], leaks.codes[-1]):
        result = otp.verify(challenge.pk, code, purpose="login", user=kari)
        leaks.note("results", f"{result!r} {challenge!r} {vars(challenge)}")
    clock.go(timedelta(seconds=30))
    with suppress(NotificationError):
        otp.resend(challenge.pk, purpose="login", user=kari)
    clock.go(timedelta(minutes=6))
    otp.verify(challenge.pk, leaks.codes[-1], purpose="login", user=kari)


def live_over_http(leaks: Leaks, clock: Clock, api: APIClient) -> None:
    def post(path: str, **data: str) -> Any:
        answer = api.post(path, data, format="json")
        leaks.note("answers", f"{answer.headers} {answer.content.decode()}")
        return answer.json()

    for fate in ("7711", "0001", "0002", "0005", "0003"):
        clock.go(timedelta(minutes=1))
        asked = {"purpose": "login", "channel": "sms", "recipient": f"+479977{fate}"}
        answer = post(CHALLENGES, **asked)
        post(CHALLENGES, **asked)
        key = answer.get("challengeId", uuid4())
        post(f"{CHALLENGES}/{key}/verify", code=wrong(leaks.codes[-1]))
        clock.go(timedelta(seconds=30))
        post(f"{CHALLENGES}/{key}/resend")
        for _ in range(2):
            post(f"{CHALLENGES}/{key}/verify", code=leaks.codes[-1])


def rows_of_every_table() -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            yield table, str(cursor.fetchall())


@pytest.fixture
def heard(leaks: Leaks) -> Iterator[None]:
    """What observers of our signals are told."""

    def hear(sender: Any, **told: Any) -> None:
        leaks.note("signals", told)

    ours = [each for each in vars(signals).values() if isinstance(each, Signal)]
    for signal in ours:
        signal.connect(hear, weak=False)
    yield
    for signal in ours:
        signal.disconnect(hear)


@pytest.mark.usefixtures("heard")
@pytest.mark.django_db(transaction=True)
def test_no_code_is_left_anywhere(
    leaks: Leaks, log: Callable[[], str], clock: Clock, api: APIClient
) -> None:
    live(leaks, clock)
    live_over_http(leaks, clock, api)
    console = Client()
    console.force_login(User.objects.create_superuser("root"))
    for visit in walk(console, reverse("admin:index")):
        if ON_THE_PHONE not in visit.path and not visit.answer.streaming:
            leaks.note(f"page {visit.path}", visit.answer.content.decode())
    for command in ("expire_notifications", "purge_notifications", "purge_codes"):
        call_command(command, verbosity=3)
    for table, rows in rows_of_every_table():
        leaks.note(f"table {table}", rows)
    leaks.note("log", log())
    assert len(leaks.codes) > 20
    assert {"exceptions", "results", "answers", "log", "signals"} <= leaks.said.keys()
    assert {f"table {Challenge._meta.db_table}", "table django_session"} <= leaks.said.keys()
    assert any(where.startswith("page") and "/challenge/" in where for where in leaks.said)
    assert leaks.found() == {}


def test_the_search_finds_what_is_there(leaks: Leaks) -> None:
    User.objects.create_user("kari", last_name=leaks.make())
    for table, rows in rows_of_every_table():
        leaks.note(table, rows)
    assert leaks.found() == {"auth_user": leaks.codes}


def breaks(*args: Any, **named: Any) -> Any:
    raise RuntimeError("a bug")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (orders, "send_sms"),
        (instant, "_reserve"),
        (instant, "check"),
        (texts, "render_to_string"),
        (challenges, "_make_good"),
        (codes, "hashed"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_no_report_of_an_error_quotes_a_code(
    place: Any, name: str, leaks: Leaks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's own, with the variables of every frame, is what administrators get by mail."""
    monkeypatch.setattr(place, name, breaks)
    with pytest.raises(RuntimeError) as raised:
        otp.issue(PHONE, purpose="login")
    reporter = ExceptionReporter(None, raised.type, raised.value, raised.tb)
    leaks.note("report", reporter.get_traceback_html() + reporter.get_traceback_text())
    assert "challenges.py" in leaks.said["report"]
    assert leaks.found() == {}
    assert PHONE not in leaks.said["report"]
