"""The guard's pages: holds and their release, the block and allow list, and what was blocked."""

from datetime import timedelta
from typing import Any, Final

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from instant_notifications import otp
from instant_notifications.admin.guard import REASONS
from instant_notifications.conf import Settings
from instant_notifications.exceptions import Blocked
from instant_notifications.guard import lists, refusals
from instant_notifications.models import Hold, ListEntry
from tests.console import somebody

pytestmark = pytest.mark.django_db

PREFIX: Final = "admin:instant_notifications_"
HOLDS: Final = reverse(f"{PREFIX}hold_changelist")
RELEASE: Final = reverse(f"{PREFIX}hold_release")
LIST: Final = reverse(f"{PREFIX}listentry_changelist")
INCLUDE: Final = reverse(f"{PREFIX}listentry_include")
REMOVE: Final = reverse(f"{PREFIX}listentry_remove")
OVERVIEW: Final = reverse(f"{PREFIX}figures_changelist")
ENTRY: Final = {
    "verdict": "block",
    "kind": "recipient",
    "subject": "+47 99 99 99 99",
    "because": "a complaint <b>",
}


@pytest.fixture
def operator() -> Client:
    return somebody("view_hold", "release_hold", "view_listentry", "keep_listentry", "view_figures")


@pytest.fixture
def viewer() -> Client:
    return somebody("view_hold", "view_listentry")


@pytest.fixture
def held() -> Hold:
    return Hold.objects.create(subject="+479999", sent=40, verified=1)


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def logged() -> list[str]:
    return [each.get_change_message() for each in LogEntry.objects.order_by("pk")]


@pytest.mark.parametrize(("policy", "word"), [("block", "held"), ("warn", "suspicious")])
def test_a_hold_is_shown_with_its_reason(
    policy: str, word: str, viewer: Client, held: Hold, configure: Any
) -> None:
    configure(OTP_HOLD=policy)
    html = page(viewer, HOLDS)
    assert '<th scope="row">+479999…</th>' in html
    assert "1 of 40 codes were verified" in html
    assert f"<strong>{word}</strong>" in html
    assert "<form method" not in html.partition('id="result_list"')[2]


def test_it_is_released_with_a_reason_and_once(
    operator: Client, held: Hold, configure: Any, stub: Any
) -> None:
    configure(OTP_HOLD="block")
    with pytest.raises(Blocked):
        otp.issue("+4799999999", purpose="login")
    for said in ("It is released", "somebody was faster"):
        operator.post(RELEASE, {"key": held.pk, "because": "a concert <b>"})
        assert said in page(operator, HOLDS)
    assert otp.issue("+4799999999", purpose="login")
    assert "by ola: a concert &lt;b&gt;" in page(operator, HOLDS)
    assert logged() == ["Released: a concert <b>"]


@pytest.mark.parametrize(
    "form", [{}, {"because": "x"}, {"key": "x", "because": "x"}, {"key": "1", "because": " "}]
)
def test_without_a_reason_nothing_is_released(
    form: dict[str, str], operator: Client, held: Hold
) -> None:
    operator.post(RELEASE, form)
    assert Hold.objects.get().released_at is None
    assert logged() == []


def test_an_entry_is_added_masked_and_takes_effect(operator: Client, stub: Any) -> None:
    operator.post(INCLUDE, {**ENTRY, "days": "7"})
    html = page(operator, LIST)
    assert "+47 ** ** ** 99 is on the list." in html
    assert "a complaint &lt;b&gt;" in html
    assert "9999999" not in html.replace("+47 999 99 999", "")
    entry = ListEntry.objects.get()
    assert entry.by == "ola"
    assert entry.until
    assert entry.until - timezone.now() > timedelta(days=6)
    assert logged() == ["block +47 ** ** ** 99: a complaint <b>"]
    with pytest.raises(Blocked):
        otp.issue("+4799999999", purpose="login")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"subject": "12345"}, "not one of its kind"),
        ({"kind": "address"}, "not one of its kind"),
        ({"kind": "planet"}, "Select a valid choice"),
        ({"verdict": "maybe"}, "Select a valid choice"),
        ({"because": " "}, "This field is required"),
        ({"days": "-1"}, "greater than or equal to 1"),
        ({"subject": "\0"}, "Null characters"),
    ],
)
def test_what_makes_no_sense_is_not_added(
    change: dict[str, str], complaint: str, operator: Client
) -> None:
    answer = operator.post(INCLUDE, {**ENTRY, **change})
    assert complaint in answer.content.decode()
    assert not ListEntry.objects.exists()
    assert logged() == []


def test_an_entry_is_removed_and_the_log_tells(operator: Client, stub: Any) -> None:
    entry = lists.add("block", "country", "NO", by="kari", because="x")
    form = {"key": entry.pk, "because": "a slip"}
    operator.post(REMOVE, form)
    operator.post(REMOVE, form)
    assert "The list is empty." in page(operator, LIST)
    assert otp.issue("+4799999999", purpose="login")
    assert logged() == ["Removed: a slip"]


@pytest.mark.parametrize("address", [RELEASE, INCLUDE, REMOVE])
def test_who_may_only_look_changes_nothing(address: str, viewer: Client, held: Hold) -> None:
    entry = lists.add("block", "country", "NO", by="kari", because="x")
    assert "<form method" not in page(viewer, LIST).partition('id="result_list"')[2]
    form = {**ENTRY, "key": entry.pk}
    assert viewer.post(address, form).status_code == 403
    assert viewer.get(address, form).status_code in {403, 405}
    assert ListEntry.objects.count() == 1
    assert Hold.objects.get().released_at is None


def test_the_overview_tells_what_was_blocked_and_why(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Nothing was blocked in this span." in page(operator, OVERVIEW)
    for reason in ("held", "held", "prefix"):
        refusals.count(reason)
    html = page(operator, f"{OVERVIEW}?span=hour")
    for label, number in (("held: its codes are not verified", 2), ("number prefix", 1)):
        assert f'{label}</th><td class="number">{number}</td>' in html


def test_there_are_words_for_every_reason() -> None:
    pauses = {name for name in vars(Settings) if name.startswith(("OTP_SENDS", "OTP_RESEND"))}
    blocks = {refusals.COUNTRY_NOT_ALLOWED, refusals.COSTLY_NUMBER}
    blocks |= {refusals.LISTED, refusals.HELD}
    assert set(REASONS) == {*Settings.LIMITS.default, *pauses, *blocks}
