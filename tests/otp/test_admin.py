"""One-time codes in the console: how each of them ended, masked, and in bounded time."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from instant_notifications import otp
from instant_notifications.otp import admin
from instant_notifications.otp.models import Challenge
from tests.clock import Clock
from tests.otp.test_challenges import PHONE, Stub, issued, sent_code, verify, wrong

pytestmark = pytest.mark.django_db

LIST = "admin:instant_notifications_otp_challenge_changelist"


@pytest.fixture
def console() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def listed(console: Client, **asked: str) -> set[Any]:
    """The keys of the codes that the list shows."""
    answer = console.get(reverse(LIST), asked)
    assert answer.status_code == 200
    return {each.pk for each in answer.context["cl"].result_list}


def behind(console: Client, challenge: Challenge) -> Any:
    address = reverse("admin:instant_notifications_otp_challenge_change", args=[challenge.pk])
    return console.get(address, follow=True)


def test_it_lists_codes_masked_and_nothing_secret(stub: Stub, console: Client) -> None:
    challenge = issued(session="s-1")
    page = console.get(reverse(LIST)).content.decode()
    assert "+47 ** ** ** 99" in page
    challenge.refresh_from_db()
    for secret in (
        PHONE[3:],
        sent_code(stub),
        challenge.code_hash,
        challenge.salt,
        challenge.destination_digest,
        challenge.session_hash,
    ):
        assert secret not in page.replace(str(challenge.pk), "")


def test_each_leads_to_the_story_of_its_message(stub: Stub, console: Client) -> None:
    challenge = issued()
    assert challenge.delivery
    answer = behind(console, challenge)
    assert answer.context["original"].pk == challenge.delivery.shipment_id
    assert sent_code(stub) not in answer.content.decode().replace(str(challenge.pk), "")


def test_without_a_message_it_leads_back_to_the_list(stub: Stub, console: Client) -> None:
    for challenge in (Challenge(), issued()):
        Challenge.objects.update(creator="ttd")
        answer = behind(console, challenge)
        assert answer.redirect_chain[-1] == (reverse(LIST), 302)
        assert "There is no message" in answer.content.decode()


def test_it_is_narrowed_by_state(stub: Stub, console: Client, clock: Clock) -> None:
    expired = issued()
    clock.go(timedelta(minutes=6))
    replaced = issued()
    clock.go(timedelta(minutes=2))
    verified = issued()
    assert verify(verified, sent_code(stub))
    used_up = otp.issue("+4799999998", purpose="login")
    for _ in range(3):
        verify(used_up, wrong(sent_code(stub)))
    live = otp.issue("+4799999997", purpose="login")
    Challenge.objects.filter(pk=replaced.pk).update(state="replaced")
    Challenge.objects.filter(pk=expired.pk).update(state="open")
    states = {"expired": expired, "verified": verified, "used_up": used_up, "open": live}
    for state, challenge in states.items():
        assert listed(console, state=state) == {challenge.pk}, state
    assert listed(console, state="replaced") == {replaced.pk}
    assert console.get(reverse(LIST), {"state": "nonsense"}).status_code == 302


def test_it_is_narrowed_by_purpose_and_time(stub: Stub, console: Client, clock: Clock) -> None:
    issued(purpose="payment")
    clock.go(timedelta(hours=2))
    login = issued()
    assert "Payment" in console.get(reverse(LIST)).content.decode()
    assert listed(console, purpose="login") == {login.pk}
    assert listed(console, purpose="payment", within="hour") == set()
    assert len(listed(console, purpose="payment", within="day")) == 1
    assert listed(console, purpose="a\0b") == set()


def test_it_looks_through_the_newest_only(
    stub: Stub, console: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "LOOKS_THROUGH", 3)
    keys = [otp.issue(f"+47999999{number}", purpose="login").pk for number in range(10, 15)]
    assert listed(console) == {*keys[2:]}
    assert listed(console, state="open") == {*keys[2:]}


def test_more_codes_do_not_need_more_statements(
    stub: Stub, console: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(10, 20):
        otp.issue(f"+47999999{number}", purpose="login")
    with django_assert_max_num_queries(9):
        assert len(listed(console)) == 10
