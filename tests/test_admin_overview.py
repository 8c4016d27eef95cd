"""The overview: how things go, told to those who may know, and nothing else told."""

import re
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse

from instant_notifications import charts, health
from instant_notifications.admin import drawing
from instant_notifications.admin.overview import FiguresAdmin
from instant_notifications.charts import rollup, sums, waiting
from instant_notifications.exceptions import HandoverFailed, OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.models import Delivery, FeedCursor, Figures, Plan, UnmatchedReceipt
from instant_notifications.orders import send_email, send_sms
from instant_notifications.planning import claims
from instant_notifications.receipts import record_receipt
from tests import regular
from tests.clock import Clock
from tests.console import somebody
from tests.outcomes import expire, fails, lapse_lease
from tests.stub import take

pytestmark = pytest.mark.django_db

PAGE: Final = "admin:instant_notifications_figures_changelist"

site = AdminSite(name="night watch")
site.register(Figures, FiguresAdmin)
urlpatterns = [path("watch/", site.urls)]


@pytest.fixture
def viewer(stub: Any) -> Client:
    return somebody("view_figures")


def page(client: Client, span: str = "day") -> str:
    answer = client.get(reverse(PAGE), {"span": span})
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def traffic(stub: Any) -> None:
    """One of everything that can be told."""
    for outcome in (Rejected, Unavailable, OutcomeUnknown):
        stub.do = fails(outcome, "because of 17")
        with pytest.raises(HandoverFailed):
            send_sms("+4799887766", "Your code is 428516")
    stub.do = take
    send_email("kari.nordmann@example.com", "Your code", "It is 428516")
    send_sms("+4799887766", "Your code is 428516")
    said = Receipt(reference=str(Delivery.objects.latest("pk").pk), status="SMS_Delivered")
    record_receipt("stub", said)


def cells(html: str, heading: str) -> list[str]:
    """What stands in the row with this heading, number by number."""
    row = re.search(rf'<th scope="row">(?:<a [^>]*>)?{re.escape(heading)}.*?</tr>', html)
    assert row, heading
    return [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td.*?</td>", row[0])]


@pytest.mark.parametrize("summed_up", [False, True])
def test_it_tells_how_things_went(summed_up: bool, viewer: Client, stub: Any, clock: Clock) -> None:
    traffic(stub)
    clock.go(timedelta(seconds=40))
    if summed_up:
        assert sum(rollup.sum_up()) == 6
    html = page(viewer)
    legend = dict(re.findall(r"</svg>([a-z ]+) <strong>(\d+)</strong>", html))
    assert legend == {
        **dict.fromkeys(["refused", "not sent", "in doubt", "delivered", "failed"], "1"),
        "taken": "2",
        "expired": "0",
    }
    assert cells(html, "From the request until a gateway took it")[0] == "2"
    assert cells(html, "From the request until it had arrived")[-2:] == ["100.0 %"] * 2
    assert cells(html, "SMS_Failed")[:3] == ["stub", "because of 17", "1"]
    assert cells(html, "stub")[1:3] == ["5", "40.0 %"]
    assert cells(html, "second")[1:3] == ["0", "\N{EN DASH}"]


def test_it_tells_how_the_gateways_and_their_feeds_stand(viewer: Client, clock: Clock) -> None:
    health.switch_off("stub", because="x")
    health.learn({"second": "HTTP 503"}, {})
    moment = clock.now - timedelta(minutes=12)
    FeedCursor.objects.create(gateway="read", read_at=moment)
    held = clock.now + timedelta(minutes=1)
    FeedCursor.objects.create(gateway="unread", holder="x", held_until=held)
    html = page(viewer)
    assert cells(html, "stub")[0] == "switched off"
    state, *_, failure = cells(html, "second")
    assert state == "asked; 1 failure in a row"
    assert failure.endswith("HTTP 503")
    assert re.fullmatch(r".* \(12\sminutes ago\)", cells(html, "read")[0])
    assert cells(html, "unread") == ["never", "being read"]


def test_it_tells_what_waits_and_leads_there(
    viewer: Client, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST", 1)
    for reference in "ab":
        UnmatchedReceipt.objects.create(gateway="stub", gateway_reference=reference)
    stub.do = fails(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        send_sms("+4799887766", "x")
    lapse_lease()
    labels = (
        "Hand-overs whose worker has not come back",
        "Messages past their expiry without a last word",
        "Messages that may or may not have been sent",
        "Receipts that match no message",
    )
    html = page(viewer)
    assert [cells(html, label) for label in labels] == [["1"], ["0"], ["0"], ["1+"]]
    expire(seconds_ago=3600)
    assert cells(page(viewer), labels[1]) == ["1"]
    lists = r'<th scope="row"><a href="([^"]*)">'
    assert re.findall(lists, html) == [], "none that the viewer may see"
    viewer.force_login(User.objects.create_superuser("root"))
    links = re.findall(lists, page(viewer))
    assert len(links) == 4
    assert {viewer.get(link).status_code for link in links} == {200}


DUE, STUCK, LATER, TAKEN = (
    "Due now",
    "Stuck: a queue was told, but no worker came",
    "Waiting for their time",
    "Taken by gateways in the last minute",
)


def test_it_tells_how_regular_orders_are_worked_off(viewer: Client, clock: Clock) -> None:
    assert "Nothing is due, and nothing waits for its time." in page(viewer)
    later = regular.order(at=clock.now + timedelta(days=1))
    html = page(viewer)
    assert [cells(html, each)[0] for each in (DUE, STUCK, LATER, TAKEN)] == ["0", "0", "1", "0"]
    assert "The first has been due" not in html
    assert "is-waiting" not in html
    due = regular.order(email=None)
    claims.claim(Plan, 1)
    html = page(viewer)
    assert [cells(html, each)[0] for each in (DUE, STUCK, LATER)] == ["1", "0", "1"]
    assert "is-waiting" not in html
    clock.go(claims.lease() + timedelta(seconds=61))
    html = page(viewer)
    assert [cells(html, each)[0] for each in (DUE, STUCK, LATER)] == ["1", "1", "1"]
    assert html.count('<tr class="is-waiting">') == 2
    assert "The first has been due for 6 min 1 s." in html
    assert reverse("admin:index") + "instant_notifications/shipment" not in html
    viewer.force_login(User.objects.create_superuser("root"))
    html = page(viewer)
    story = reverse(
        "admin:instant_notifications_shipment_change", args=[due.notification.shipment_id]
    )
    assert f'<a href="{story}">Read its story</a>' in html
    for group, placed in (("due", due), ("later", later)):
        found = re.search(rf'href="([^"]*\?group={group})"', html)
        assert found
        assert str(placed.notification.shipment_id) in viewer.get(found[1]).content.decode()
    regular.sent(due)
    assert cells(page(viewer), TAKEN)[0] == "1"


@pytest.mark.parametrize("span", [*charts.SPANS, "", "nonsense"])
def test_where_nothing_happened_it_says_so(span: str, viewer: Client) -> None:
    html = page(viewer, span)
    assert html.count("Nothing happened in this span.") == 2
    assert "Nothing failed in this span." in html
    chosen = re.findall(r'span=(\w+)" aria-current="page"', html)
    assert chosen == [span if span in charts.SPANS else "day"]


def test_sums_that_are_behind_are_owned_up_to(
    viewer: Client, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic(stub)
    assert "expire_notifications" not in page(viewer)
    monkeypatch.setattr(charts, "MOST_LIVE", 3)
    assert "expire_notifications" in page(viewer)


def test_nothing_personal_is_shown(viewer: Client, stub: Any) -> None:
    traffic(stub)
    for span in charts.SPANS:
        html = page(viewer, span)
        assert not [word for word in ("998877", "kari", "428516", "Your code") if word in html]


def test_a_look_changes_nothing_and_much_takes_no_more_queries_than_little(
    viewer: Client, stub: Any, clock: Clock
) -> None:
    traffic(stub)
    page(viewer)
    with CaptureQueriesContext(connection) as little:
        page(viewer, "week")
    for _ in range(3):
        traffic(stub)
        clock.go(timedelta(minutes=10))
        assert sum(rollup.sum_up())
    with CaptureQueriesContext(connection) as much:
        page(viewer, "week")
    assert len(much) == len(little) < 25
    assert {each["sql"].split()[0] for each in much} == {"SELECT"}


def test_only_those_with_the_permission_see_it(viewer: Client) -> None:
    address = reverse(PAGE)
    assert address in viewer.get(reverse("admin:index")).content.decode()
    assert Client().get(address).headers["Location"].startswith(reverse("admin:login"))
    viewer.force_login(User.objects.create_user("newcomer", is_staff=True))
    assert viewer.get(address).status_code == 403
    assert address not in viewer.get(reverse("admin:index")).content.decode()


@pytest.mark.urls(__name__)
def test_it_works_in_another_site(stub: Any) -> None:
    traffic(stub)
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    answer = client.get("/watch/instant_notifications/figures/")
    html = answer.content.decode()
    assert 'href="/watch/instant_notifications/figures/?span=hour"' in html
    assert "Receipts that match no message" in html
    assert "/watch/instant_notifications/unmatchedreceipt/" not in html, "this site has none"


# The charts


def test_a_strict_policy_for_contents_breaks_nothing(viewer: Client, stub: Any) -> None:
    traffic(stub)
    html = page(viewer)
    assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]* src=)", html)


def test_a_chart_is_told_in_words_and_figures_too(viewer: Client, stub: Any) -> None:
    traffic(stub)
    figures = re.findall(r"<figure .*?</figure>", page(viewer))
    assert len(figures) == 4
    for figure in figures:
        (ids,) = re.findall(r'role="img" aria-labelledby="([^"]*)"', figure)
        assert all(f'id="{each}"' in figure for each in ids.split())
        assert re.search(r"<details>.*<table>.*<th scope=\"col\">.*<th scope=\"row\">", figure)


def test_coordinates_are_the_same_in_every_language(
    viewer: Client, stub: Any, settings: Any
) -> None:
    settings.LANGUAGE_CODE = "nb"
    settings.USE_THOUSAND_SEPARATOR = True
    traffic(stub)
    charts_drawn = re.findall(r'<svg class="overview-chart".*?</svg>', page(viewer))
    coordinates = re.findall(r' (?:x|y|x1|y1|width|height)="([^"]*)"', "".join(charts_drawn))
    assert len(coordinates) > 40
    assert all(re.fullmatch(r"\d+(\.\d)?", each) for each in coordinates)


@pytest.mark.parametrize(
    ("highest", "labels"),
    [
        (0, ["0", "1"]),
        (3, ["0", "1", "2", "3"]),
        (7, ["0", "2", "4", "6", "8"]),
        (9000, ["0", "5,000", "10,000"]),
    ],
)
def test_heights_are_round_and_bars_stand_within_them(highest: int, labels: list[str]) -> None:
    chart = drawing.stacked([("a", {"good": highest}), ("b", {"good": 0, "bad": 0})])
    assert [each.label for each in chart.heights] == labels
    assert chart.heights[-1].at == drawing.TOP
    blocks = chart.bars[0].blocks
    share = highest / int(labels[-1].replace(",", ""))
    reached = [each.height / (drawing.FLOOR - drawing.TOP) for each in blocks]
    assert reached == ([pytest.approx(share, abs=0.01)] if highest else [])
    assert chart.bars[1].blocks == []


def test_round_times_of_the_readers_clock_are_marked(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    begin = datetime.fromisoformat("2026-11-21T18:25+00:00")
    step = timedelta(minutes=5)
    begins = [begin + n * step for n in range(7)]
    marks = drawing.clock_marks(begins, step, timedelta(minutes=15), "H:i")
    assert [(each.label, each.is_minor) for each in marks] == [("00:00", False), ("00:15", True)]


def test_a_night_of_25_hours_keeps_its_midnights(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Oslo"
    now = datetime.fromisoformat("2026-10-27T12:00+00:00")
    begins = [each.began_at for each in charts.course(charts.SPANS["week"], now).periods]
    marks = drawing.clock_marks(begins, timedelta(hours=6), timedelta(days=1), "j")
    assert [each.label for each in marks] == ["21", "22", "23", "24", "25", "26", "27"]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        *((0.0492, "49 ms"), (0.4214, "420 ms"), (1.0, "1 s"), (2.06, "2.1 s"), (59.6, "60 s")),
        *((61.0, "1 min"), (930.0, "16 min"), (5400.0, "1.5 h"), (172800.0, "2 d")),
    ],
)
def test_durations_have_two_figures_and_a_unit(seconds: float, written: str) -> None:
    assert drawing.duration(seconds) == written


def test_a_distribution_marks_its_percentiles() -> None:
    cells = sums.Cells({sums.cell_of(0.5): 90, sums.cell_of(20.0): 10})
    chart = drawing.distribution(cells, {"p50": sums.percentile(cells, 0.5)})
    assert [each.label for each in chart.marks] == ["1 s", "10 s"]
    (flag,) = chart.flags
    bar = next(each for each in chart.bars if each.blocks)
    assert bar.blocks[0].x < flag.at <= bar.blocks[0].x + bar.blocks[0].width * 1.2
    assert re.fullmatch(r"up to about 5\d0 ms: 90", bar.label)
