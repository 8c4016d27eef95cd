"""The page of the gateways: how each stands, and the switch."""

from datetime import timedelta
from typing import Any, Final

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from instant_notifications import health
from instant_notifications.exceptions import Unavailable
from instant_notifications.models import GatewayState
from instant_notifications.orders import send_sms
from tests.console import somebody

pytestmark = pytest.mark.django_db

PAGE: Final = reverse("admin:instant_notifications_gatewaystate_changelist")
SWITCH: Final = reverse("admin:instant_notifications_gatewaystate_switch")


@pytest.fixture
def operator(stub: Any) -> Client:
    return somebody("view_gatewaystate", "switch_gatewaystate")


@pytest.fixture
def viewer(stub: Any) -> Client:
    return somebody("view_gatewaystate")


def page(client: Client) -> str:
    answer = client.get(PAGE)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def switch(client: Client, **form: str) -> str:
    answer = client.post(SWITCH, {"alias": "stub", **form})
    assert answer.headers["Location"] == PAGE
    return page(client)


def test_every_gateway_of_the_settings_is_there(viewer: Client) -> None:
    html = page(viewer)
    for alias, routes in (("stub", "sms, email"), ("second", "\N{EN DASH}")):
        assert f'<th scope="row">{alias}</th> <td>{routes}</td> <td> well </td>' in html
    assert "<form method" not in html.partition('id="result_list"')[2]


def test_how_it_fares_is_told(viewer: Client, configure: Any) -> None:
    now = timezone.now()
    failed = {"last_failure": "HTTP 503", "last_failure_at": now, "failures": 5}
    state = GatewayState.objects.create(alias="stub", **failed)
    assert "asked; 5 failures in a row" in page(viewer)
    state.passed_over_until = now + timedelta(seconds=30)
    state.save()
    html = page(viewer)
    assert "<strong>passed over</strong>" in html
    assert "HTTP 503" in html
    configure(CIRCUIT_FAILURES=None)
    assert "passed over" not in page(viewer)


def test_the_switch_takes_effect_and_is_logged(operator: Client) -> None:
    html = switch(operator, to="off", because="the invoice <b>")
    assert "by ola: the invoice &lt;b&gt;" in html
    assert "Nothing is sent by stub until it is switched on." in html
    with pytest.raises(Unavailable, match="switched off"):
        send_sms("+4799999999", "x")
    assert "Gateway stub is asked again." in switch(operator, to="on")
    assert send_sms("+4799999999", "x").status == "SMS_Accepted"
    logged = LogEntry.objects.order_by("pk").values_list("user__username", "object_id")
    assert list(logged) == [("ola", "stub")] * 2
    told = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    assert told == ["Switched off: the invoice <b>", "Switched on."]


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({"to": "off"}, "Say why"),
        ({"to": "off", "because": "  "}, "Say why"),
        ({"because": "x", "alias": "nosuch"}, "no such gateway"),
        ({"to": "on", "alias": "nosuch"}, "no such gateway"),
        ({"to": "on", "alias": "\0"}, "no such gateway"),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    form: dict[str, str], complaint: str, operator: Client
) -> None:
    assert complaint in switch(operator, **form)
    assert not GatewayState.objects.filter(switched_off_at__isnull=False).exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("because", ["a\0b", "\N{PILE OF POO}", "x" * 10_000, "a\r\nb"])
def test_any_reason_will_do(because: str, operator: Client) -> None:
    switch(operator, to="off", because=because)
    assert GatewayState.objects.get().switched_off_because[:1] in because
    assert LogEntry.objects.count() == 1


def test_pressed_twice_it_is_off_once(operator: Client) -> None:
    for _ in range(2):
        switch(operator, to="off", because="x")
    assert GatewayState.objects.filter(switched_off_at__isnull=False).count() == 1


def test_a_look_changes_nothing(operator: Client) -> None:
    assert operator.get(SWITCH, {"alias": "stub", "because": "x"}).status_code == 405
    assert not GatewayState.objects.exists()


def test_who_may_only_look_may_not_switch(viewer: Client) -> None:
    health.switch_off("stub")
    for to in ("on", "off"):
        form = {"alias": "stub", "to": to, "because": "x"}
        assert viewer.post(SWITCH, form).status_code == 403
        assert Client().post(SWITCH, form).status_code == 302  # to the log-in
    assert GatewayState.objects.get().switched_off_by == ""


def test_who_may_not_look_sees_nothing(stub: Any) -> None:
    client = somebody("switch_gatewaystate")
    assert client.get(PAGE).status_code == 403
    assert client.post(SWITCH, {"alias": "stub", "because": "x"}).status_code == 403


def test_the_switch_needs_the_token_of_its_form(operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(SWITCH, {"alias": "stub", "because": "x"}).status_code == 403
