"""What Prometheus is given, and to whom."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from django.utils import timezone
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from instant_notifications import health, metrics, telemetry, tokens
from instant_notifications.api.metrics import SCOPE
from instant_notifications.exceptions import NotificationError, Unavailable
from instant_notifications.models import Delivery, FeedCursor, Plan, UnmatchedReceipt
from instant_notifications.orders import send_sms
from tests.apart import run_apart
from tests.outcomes import fails
from tests.regular import order, shipments
from tests.stub import StubGateway
from tests.threads import in_thread

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Client = Callable[..., APIClient]

PAGE = (Path(__file__).parent.parent / "docs" / "watching.md").read_text()
HOUR = timedelta(hours=1)
COUNTED = [each for each in vars(telemetry).values() if isinstance(each, telemetry._Metric)]

urlpatterns = [path("metrics", include("instant_notifications.api.metrics"))]
with_route = pytest.mark.urls(__name__)


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"instant_notifications_{name}", labels)


def gauges(*names: str) -> list[float | None]:
    return [gauge(name) for name in names]


# Gauges


def test_an_empty_table_gives_a_nought_for_each(stub: Any) -> None:
    for each in metrics.GAUGES:
        if not each.labels:
            expected = 1.0 if each is metrics.READABLE else 0.0
            assert REGISTRY.get_sample_value(each.name) == expected


def test_the_queue_is_told(stub: Any) -> None:
    order(at=timezone.now() + HOUR)
    moment = timezone.now() - HOUR
    due = Plan.objects.filter(pk__in=shipments(order()))
    due.update(due_at=moment, claimed_until=moment)
    assert gauges("due", "due_later", "claims_stuck") == [1, 1, 1]
    assert 3600 <= (gauge("oldest_due_seconds") or 0) < 3700


def test_what_has_come_to_a_stop_is_told(stub: type[StubGateway]) -> None:
    stub.do = fails(NotImplementedError)
    for _ in range(3):
        with pytest.raises(NotificationError):
            send_sms("+4799999999", "hello")
    first, second, _ = Delivery.objects.order_by("pk")
    long_ago = timezone.now() - HOUR
    Delivery.objects.filter(pk=first.pk).update(handover="under_way", lease_until=long_ago)
    Delivery.objects.filter(pk=second.pk).update(expires_at=long_ago)
    UnmatchedReceipt.objects.create(gateway="stub", gateway_reference="nobody's")
    names = ("handovers_lapsed", "overdue", "in_doubt", "receipts_unmatched")
    assert gauges(*names) == [1, 1, 1, 1]


def test_gateways_are_told(stub: Any, configure: Configure) -> None:
    configure(CIRCUIT_FAILURES=1)
    stub.do = fails(Unavailable)
    with pytest.raises(Unavailable):
        send_sms("+4799999999", "hello")
    health.switch_off("second", by="Kari", because="a bill")
    for name, values in (
        ("gateway_switched_off", [0, 1]),
        ("gateway_passed_over", [1, 0]),
        ("gateway_failures", [1, 0]),
    ):
        assert [gauge(name, gateway=alias) for alias in ("stub", "second")] == values


def test_feeds_are_told_and_those_of_gateways_that_are_gone_are_not(stub: Any) -> None:
    now = timezone.now()
    FeedCursor.objects.create(gateway="stub", number=17, read_at=now)
    FeedCursor.objects.create(gateway="second", number=0)
    FeedCursor.objects.create(gateway="gone", number=5, read_at=now)
    numbers = [gauge("feed_number", gateway=alias) for alias in ("stub", "second", "gone")]
    assert numbers == [17, 0, None]
    assert gauge("feed_read_timestamp_seconds", gateway="stub") == now.timestamp()
    assert gauge("feed_read_timestamp_seconds", gateway="second") is None


def statements() -> int:
    with CaptureQueriesContext(connection) as captured:
        list(metrics.TABLES.collect())
    return len(captured)


def test_a_scrape_costs_the_same_few_statements_whatever_there_is(stub: Any) -> None:
    before = statements()
    for number in range(5):
        order()
        send_sms("+4799999999", "hello")
        UnmatchedReceipt.objects.create(gateway="stub", gateway_reference=str(number))
        FeedCursor.objects.create(gateway=f"other-{number}")
    assert statements() == before <= 16


def test_without_a_database_a_scrape_says_so_and_gives_the_rest(
    stub: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(now: Any) -> Any:
        raise OperationalError("the host db.internal does not answer")

    monkeypatch.setattr(metrics, "queue", away)
    assert gauges("tables_readable", "due", "in_doubt") == [0, None, None]
    assert "tables not read error=OperationalError" in caplog.text
    assert "db.internal" not in caplog.text
    body, _ = metrics.page("")
    assert b"instant_notifications_handover_seconds" in body


@pytest.mark.django_db(transaction=True)
def test_a_scrape_in_a_thread_of_its_own_leaves_no_connection_behind() -> None:
    def scrape() -> bool:
        assert b"tables_readable 1.0" in metrics.page("")[0]
        return connections["default"].connection is None

    assert in_thread(scrape)
    connection.ensure_connection()
    metrics.page("")
    assert connection.connection is not None


# Who gets them


@with_route
def test_a_token_with_the_scope_reads_them(client_of: Client) -> None:
    answer = client_of("prometheus", scope=SCOPE).get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    families = {each.name for each in text_string_to_metric_families(answer.content.decode())}
    ours = {each.name.removesuffix("_total") for each in COUNTED}
    assert ours | {each.name for each in metrics.GAUGES if not each.labels} <= families


@with_route
def test_nobody_else_does(api: APIClient, client: Any) -> None:
    for reader, status in ((client, 401), (api, 403)):
        answer = reader.get("/metrics")
        assert answer.status_code == status
        assert b"instant_notifications_due" not in answer.content
    assert api.get("/metrics").json()["detail"] == f"The token needs the scope {SCOPE}."


@with_route
def test_the_scope_opens_nothing_else(client_of: Client, settings: Any) -> None:
    settings.ROOT_URLCONF = "example_project.urls"
    reader = client_of("prometheus", scope=SCOPE)
    assert reader.get("/notifications/api/v1/future/shipment/feed").status_code == 403


@with_route
@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=1.0.0",
        "text/plain;version=0.0.4",
        "*/*",
        "x",
        "text/plain;version=x",
    ],
)
def test_it_answers_in_the_form_that_is_asked_for(accept: str, client_of: Client) -> None:
    answer = client_of("prometheus", scope=SCOPE).get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    is_open = "openmetrics" in accept
    assert answer["Content-Type"].startswith("application/openmetrics-text") is is_open
    assert answer.content.endswith(b"# EOF\n") is is_open


def test_a_token_of_our_own_can_carry_the_scope() -> None:
    assert SCOPE in tokens.read(tokens.issue("prometheus", scope=SCOPE)).scopes
    assert f"--scope {SCOPE}" in PAGE


# Several processes

_COUNT = """
import django

django.setup()
from instant_notifications import metrics, telemetry

telemetry.GUARD_REFUSALS.add(3, reason="listed")
telemetry.HANDOVERS.observe(0.2, gateway="a", channel="sms", outcome="taken")
print(metrics.page("")[0].decode())
"""


def test_processes_that_share_a_directory_are_counted_together(tmp_path: Path) -> None:
    for _ in range(2):
        done = run_apart(_COUNT, PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    assert 'instant_notifications_guard_refusals_total{reason="listed"} 6.0' in done.stdout
    assert re.search(r"handover_seconds_count{.*} 2.0", done.stdout)
    assert done.stdout.count("\ninstant_notifications_tables_readable ") == 1, done.stderr


# The page


def row(name: str, labels: Any, meaning: str) -> str:
    return f"| `{name}` | {', '.join(f'`{label}`' for label in labels)} | {meaning} |"


def test_the_tables_of_the_page_are_the_code() -> None:
    rows = [row(each.name, each.labels, each.meaning) for each in COUNTED]
    rows += [row(each.name, each.labels, each.meaning) for each in metrics.GAUGES]
    for each in rows:
        assert each in PAGE, f"docs/watching.md lacks this row:\n{each}"
    documented = re.findall(r"^\| `(instant_notifications_\w+)` \|", PAGE, re.M)
    assert len(documented) == len(rows)


def test_every_metric_that_the_page_speaks_of_exists() -> None:
    known = {each.name for each in COUNTED} | {each.name for each in metrics.GAUGES}
    for name in re.findall(r"\binstant_notifications_\w+", PAGE):
        assert re.sub("_(count|sum|bucket)$", "", name) in known, name
