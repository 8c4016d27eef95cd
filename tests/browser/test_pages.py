"""Every page of the console, as it looks: by day, by night, on a phone, and to those who listen."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from axe_core_python.selenium import Axe
from django.db.models import Count
from django.utils import timezone
from selenium.webdriver.common.by import By

from example_project import traffic
from instant_notifications.models import Delivery, Plan, Shipment, UnmatchedReceipt
from instant_notifications.statuses import Handover
from tests.browser.operator import Operator

pytestmark = pytest.mark.django_db(transaction=True)

SPANS: Final = ("Last hour", "Last 24 hours", "Last 7 days")
DELIVERED: Final = "SMS_Delivered"
IN_THE_DOCS: Final = {"overview": 980, "story-failover": 1300, "phone": 860}
"""What `make pictures` takes for the documentation, and how much of it."""


@pytest.fixture
def day(settings: Any) -> None:
    """Of demo traffic."""
    settings.DEBUG = True
    traffic.fill(timezone.now())
    settings.DEBUG = False


def pages() -> dict[str, tuple[object, ...]]:
    in_doubt = Delivery.objects.filter(handover=Handover.UNKNOWN).latest("pk")
    second_gateway = Delivery.objects.filter(gateway="standby", status=DELIVERED).latest("pk")
    return {
        "overview": ("figures_changelist",),
        "list": ("shipment_changelist",),
        "story": ("shipment_change", Shipment.objects.latest("pk").pk),
        "story-in-doubt": ("shipment_change", in_doubt.shipment_id),
        "story-failover": ("shipment_change", second_gateway.shipment_id),
        **{f"story-{ended or 'waiting'}": _story_of(ended) for ended in _ends_of_the_day()},
        "test-message": ("shipment_test",),
        "gateways": ("gatewaystate_changelist",),
        "receipts": ("unmatchedreceipt_changelist",),
        "match": ("unmatchedreceipt_match", UnmatchedReceipt.objects.latest("pk").pk),
        "contacts": ("contactentry_changelist",),
        "interventions": ("intervention_changelist",),
        "phone": ("simulator_simulatedmessage_changelist",),
    }


def _ends_of_the_day() -> set[str]:
    """It is another one at each hour, and not every order comes to its end before that."""
    return set(Plan.objects.values_list("ended", flat=True))


def _story_of(ended: str) -> tuple[object, ...]:
    """Of a shipment whose plan has ended so; the one that has most to tell."""
    plans = Plan.objects.filter(ended=ended).annotate(messages=Count("shipment__deliveries"))
    return "shipment_change", plans.order_by("-messages", "pk")[0].pk


@pytest.mark.usefixtures("day")
def test_every_page_is_for_everybody(operator: Operator) -> None:
    faults = {}
    for name, page in pages().items():
        for night in ("", "-dark"):
            operator.prefer("dark" if night else "light")
            operator.look_at_width(1200)
            operator.open(*page)
            operator.take_picture(name + night)
            if name in IN_THE_DOCS and not night:
                operator.take_picture(f"docs/{name}", IN_THE_DOCS[name])
            operator.look_at_width(400)
            faults[name + night] = list(_faults(operator))
            operator.chrome.execute_script("sessionStorage.clear()")  # of which filters are open
    assert {name: found for name, found in faults.items() if found} == {}


def _faults(operator: Operator) -> Iterator[str]:
    for each in operator.elements("details:not([open]) > summary"):
        each.click()
    for rule in Axe().run(operator.chrome)["violations"]:
        yield from (f"{rule['id']}: {node['html']}" for node in rule["nodes"])
    # Django writes what names a row of its lists without one.
    yield from (
        f"no scope: {each.text}"
        for each in operator.elements("th:not([scope], #result_list tbody th)")
    )
    width = operator.chrome.execute_script("return document.documentElement.scrollWidth")
    if width > 400:
        yield f"{width} wide"


@pytest.mark.usefixtures("day")
def test_the_overview_shows_how_things_go(operator: Operator) -> None:
    operator.without_scripts()
    operator.open("figures_changelist")
    for span in SPANS:
        operator.follow(span)
        operator.sees("Hand-overs to gateways", "What waits for somebody")
        [figure, *_] = operator.elements("figure")
        bars = figure.find_elements(By.CSS_SELECTOR, ".overview-chart g > rect")
        assert max(bar.rect["height"] for bar in bars) > 50
    taken = figure.find_elements(By.CSS_SELECTOR, "td:nth-child(2)")
    assert not taken[0].is_displayed()
    figure.find_element(By.TAG_NAME, "summary").click()
    assert sum(int(each.text.replace(",", "")) for each in taken) > 1000
    operator.follow("Messages that may or may not have been sent")
    found = [each.text for each in operator.elements("#result_list tbody tr")]
    assert found
    assert [each for each in found if "in doubt" not in each] == []
