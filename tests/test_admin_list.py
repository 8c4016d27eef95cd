import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from instant_notifications import orders
from instant_notifications.admin import filters, lists
from instant_notifications.admin.shipments import ShipmentAdmin
from instant_notifications.models import Delivery, Order, Organisation, Shipment, uuid7
from instant_notifications.models.identifiers import first_uuid7, made_at
from instant_notifications.statuses import STAGES, Stage
from tests import regular
from tests.clock import Clock

LIST = reverse("admin:instant_notifications_shipment_changelist")
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


def made(*deliveries: dict[str, Any], creator: str = "ttd", at: datetime | None = None) -> str:
    """A shipment with these deliveries; delivered text messages unless they say otherwise."""
    moment = at or timezone.now()
    key = UUID(int=first_uuid7(moment).int | (uuid7().int & (1 << 62) - 1)) if at else uuid7()
    order = Order.objects.create(creator=creator)
    several = len(deliveries) > 1
    shipment = Shipment.objects.create(
        id=key, order=order, creator=creator, type="Notification" if several else "Instant"
    )
    Organisation.objects.get_or_create(name=creator)
    usual = {
        "channel": "sms",
        "destination": "+4799887766",
        "status": "SMS_Delivered",
        "handover": "taken",
        "gateway": "simulator",
        "expires_at": moment + HOUR,
        "completed_at": moment,
    }
    for each in deliveries or ({},):
        Delivery.objects.create(shipment=shipment, **{**usual, **each})
    return str(shipment.pk)


OPEN = {"completed_at": None}
EMAIL = {"channel": "email", "destination": "kari@example.com", "status": "Email_Delivered"}
LATE = {"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}


def rows(client: Client, address: str = "") -> list[str]:
    html = client.get(LIST + address).content.decode()
    return re.findall(r'<th class="field-id"[^>]*><a [^>]*>([0-9a-f-]{36})</a>', html)


def link(client: Client, address: str, text: str) -> str | None:
    html = client.get(LIST + address).content.decode()
    found = re.search(rf'<a href="([^"]*)"[^>]*>{text}</a>', html)
    return unescape(found[1]) if found else None


@pytest.fixture
def tiny_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShipmentAdmin, "list_per_page", 2)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("?group=new", {"new"}),
        ("?group=sending", set()),
        ("?group=doubt", {"doubtful"}),
        ("?group=expired", {"doubtful", "late"}),
        ("?group=accepted", set()),
        ("?status=SMS_Accepted", set()),
        ("?status=SMS_Failed_TTL", {"doubtful", "late"}),
        ("?status=Email_Failed_TTL", set()),
        ("?group=delivered&channel=email", {"email"}),
        ("?channel=sms&gateway=other", {"other"}),
        ("?creator=nav", {"other"}),
        ("?creator=nav&group=delivered", set()),
        ("?creator=nobody", set()),
        ("?kind=Notification", {"both"}),
        ("?kind=Notification&channel=sms&group=failed", {"both"}),
        ("?kind=Notification&channel=sms&group=delivered", set()),
    ],
)
def test_filters_find_what_is_true_at_this_moment(
    address: str, found: set[str], admin_client: Client
) -> None:
    made_so = {
        "new": made({**OPEN, "status": "SMS_New", "handover": "open", "gateway": ""}),
        "doubtful": made({**OPEN, **LATE, "status": "SMS_Sending", "handover": "unknown"}),
        "late": made({**OPEN, **LATE, "status": "SMS_Accepted"}),
        "email": made({**EMAIL, **LATE}),
        "other": made({"gateway": "other", "status": "SMS_Failed"}, creator="nav"),
        "both": made({"status": "SMS_Failed"}, {**EMAIL, "status": "Email_Failed"}),
    }
    assert set(rows(admin_client, address)) == {made_so[name] for name in found}


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("?group=later", {"later", "night"}),
        ("?group=due", {"due"}),
        ("?group=new", {"night"}),
        ("?group=later&kind=Reminder", set()),
        ("?group=later&channel=sms", {"night"}),
        ("?group=due&channel=sms", set()),
        ("?group=later&creator=nav", set()),
        ("?kind=Notification", {"later", "due", "night", "cancelled"}),
        ("?creator=local", {"later", "due", "night", "cancelled"}),
    ],
)
def test_regular_orders_are_found_by_what_they_wait_for(
    address: str, found: set[str], admin_client: Client, clock: Clock
) -> None:
    made()
    clock.now = datetime(2026, 6, 10, 21, tzinfo=UTC)
    later = {"at": clock.now + HOUR}
    placed = {
        "later": regular.order(**later),
        "due": regular.order(),
        "night": regular.order(sms=regular.DAYTIME),
        "cancelled": regular.order(**later),
    }
    regular.planned(placed["night"])
    orders.cancel_order("local", placed["cancelled"].order_id)
    assert set(rows(admin_client, address)) == {
        str(placed[name].notification.shipment_id) for name in found
    }


def test_what_is_only_planned_tells_how_it_stands_and_costs_no_more(
    admin_client: Client, clock: Clock, django_assert_num_queries: Callable[..., Any]
) -> None:
    clock.now = datetime(2026, 6, 10, 10, tzinfo=UTC)
    waiting = regular.order(at=clock.now + HOUR)
    cancelled = regular.order(at=clock.now + HOUR)
    orders.cancel_order("local", cancelled.order_id)
    regular.order(regular.phones(4), email=None)
    html = admin_client.get(LIST).content.decode()
    text = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    for said in (
        f"{waiting.notification.shipment_id} 06/10/2026 12:00:00 waits until 13:00",
        f"{cancelled.notification.shipment_id} 06/10/2026 12:00:00 cancelled",
        *("Order_Registered notification", "Order_Cancelled notification", "due since 12:00"),
    ):
        assert said in text
    with django_assert_num_queries(6):
        rows(admin_client)
    with django_assert_num_queries(7):
        rows(admin_client, "?group=later")


def test_what_may_be_handed_over_at_this_moment_has_not_expired(admin_client: Client) -> None:
    leased = {"handover": "under_way", "lease_until": timezone.now() + HOUR}
    sending = made({**OPEN, **LATE, **leased, "status": "SMS_Sending"})
    assert rows(admin_client, "?group=expired") == []
    assert rows(admin_client, "?group=sending") == [sending]


def test_every_stage_has_a_name_and_is_seen_at_once(admin_client: Client) -> None:
    assert set(filters.STAGE_NAMES) == set(Stage)
    made({**OPEN, "status": "SMS_Sending", "handover": "unknown"})
    made(EMAIL)
    html = admin_client.get(LIST).content.decode()
    assert re.search(r'is-sending">\+47 \*\* \*\* \*\* 66 SMS_Sending <span[^>]*>in doubt</', html)
    assert 'is-delivered">k***@example.com Email_Delivered</span>' in html


def test_pages_go_on_to_the_end_and_back_with_their_filters(
    admin_client: Client, tiny_pages: None
) -> None:
    keys = [made() for _ in range(6)][::-1]
    made({"status": "SMS_Failed"})
    address, pages = "?group=delivered", []
    while address:
        pages.append(rows(admin_client, address))
        last, address = address, link(admin_client, address, "Older") or ""
    assert pages == [keys[:2], keys[2:4], keys[4:]]
    back = link(admin_client, last, "Newer")
    assert back
    assert rows(admin_client, back) == keys[2:4]
    assert parse_qs(urlsplit(back).query)["group"] == ["delivered"]
    newest = link(admin_client, last, "Newest")
    assert newest
    assert rows(admin_client, newest) == keys[:2]
    assert link(admin_client, newest, "Newer") is None


def test_who_looks_for_something_rare_is_told_how_far_one_has_looked(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKS_THROUGH", 3)
    rare = made({"status": "SMS_Failed"})
    keys = [made() for _ in range(4)]
    html = admin_client.get(LIST + "?group=failed").content.decode()
    assert re.search(r"Looked through 3 shipments, back to <time datetime=\"[^\"]*\"", html)
    further = link(admin_client, "?group=failed", "Look further back")
    assert further
    assert rows(admin_client, further) == [rare]
    assert link(admin_client, further, "Look further back") is None
    onward = link(admin_client, f"?group=new&after={rare}", "Look further on")
    assert onward
    assert parse_qs(urlsplit(onward).query)["after"] == [keys[2]]
    assert "Looked through" not in admin_client.get(LIST).content.decode()


@pytest.mark.parametrize(
    "address",
    [
        *(
            "before=x",
            "after=%00",
            "before=",
            "p=9",
            "o=1",
            "all=",
            "q=x",
            "e=1",
            "within=",
            "id=x",
        ),
        *("group=x", "status=x", "channel=x", "kind=x", "within=x", "creator=%00", "gateway=%F0"),
        *("creator__contains=t", "since=x", "until=0001-01-01T00:00", "since=9999-12-31T23:59"),
        *("deliveries__status=x", "before=ffffffff-ffff-ffff-ffff-ffffffffffff", "creator="),
    ],
)
def test_no_address_breaks_the_list(address: str, admin_client: Client) -> None:
    made()
    answer = admin_client.get(f"{LIST}?{address}", follow=True)
    assert answer.status_code == (400 if address.startswith("deliveries") else 200)


@pytest.mark.parametrize("address", ["creator__contains=t", "group=x", "order=1"])
def test_what_is_no_filter_of_ours_is_refused(address: str, admin_client: Client) -> None:
    assert admin_client.get(f"{LIST}?{address}").headers["Location"] == f"{LIST}?e=1"


def test_times_are_those_of_the_readers_clock(admin_client: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Oslo"
    key = made(at=datetime(2026, 7, 1, 10, 30, tzinfo=UTC))
    assert rows(admin_client, "?since=2026-07-01T12:30&until=2026-07-01T12:31") == [key]
    assert rows(admin_client, "?since=2026-07-01T12:31") == []
    assert rows(admin_client, "?until=2026-07-01T12:30") == []
    young = made()
    assert rows(admin_client, "?within=hour") == [young]


@pytest.mark.parametrize("times", ["since=now", "since=2026-07-02T00:00&until=2026-07-01T00:00"])
def test_times_that_cannot_be_are_told_and_find_nothing(times: str, admin_client: Client) -> None:
    made()
    html = admin_client.get(f"{LIST}?{times}&group=delivered").content.decode()
    assert 'class="errorlist"' in html
    assert "nothing is shown" in html
    assert rows(admin_client, f"?{times}") == []
    assert '<input type="hidden" name="group" value="delivered">' in html


def test_queries_are_few_whatever_is_asked(
    admin_client: Client, django_assert_num_queries: Callable[..., Any]
) -> None:
    made()
    rows(admin_client)
    for _ in range(3):
        made({}, EMAIL)
        with django_assert_num_queries(6):  # session, user, creators, rows, deliveries, plans
            rows(admin_client)
        with django_assert_num_queries(7):  # and how far to look
            rows(admin_client, "?group=delivered&creator=ttd")


def test_no_planner_can_make_a_join_of_a_filter(admin_client: Client) -> None:
    made()
    with CaptureQueriesContext(connection) as queries:
        rows(admin_client, "?group=delivered&creator=ttd&gateway=simulator")
        rows(admin_client, "?group=later&kind=Notification")
    about_shipments = [each["sql"] for each in queries if "_shipment" in each["sql"]]
    assert about_shipments
    assert not [sql for sql in about_shipments if "JOIN" in sql or "EXISTS" in sql]
    assert not [each for each in queries if "COUNT(" in each["sql"]]


def test_nothing_is_offered_for_more_than_the_page(admin_client: Client, tiny_pages: None) -> None:
    for _ in range(3):
        made()
    html = admin_client.get(LIST).content.decode()
    assert 'data-actions-icnt="2"' in html
    assert "across all pages" not in html


def test_an_unusual_value_is_shown_as_the_one_in_force(admin_client: Client) -> None:
    html = admin_client.get(f"{LIST}?gateway=retired").content.decode()
    assert re.search(r'<li class="selected">\s*<a [^>]*>retired</a>', html)


def test_a_moment_bounds_the_ids_made_at_it() -> None:
    before = timezone.now()
    key = uuid7()
    after = timezone.now() + timedelta(milliseconds=1)
    assert first_uuid7(before) <= key < first_uuid7(after)
    assert before - timedelta(milliseconds=1) < made_at(key) <= after
    assert first_uuid7(datetime(1, 1, 1, tzinfo=UTC)).version == 7


def test_all_words_can_be_asked_for(admin_client: Client) -> None:
    html = admin_client.get(LIST).content.decode()
    assert all(f"?status={word}" in html for word in STAGES)
