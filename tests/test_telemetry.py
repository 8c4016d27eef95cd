"""Spans and counters tell what was done and nothing personal, and never stand in the way of it."""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from instant_notifications import conditions, contacts, http, otp, sync, telemetry
from instant_notifications.exceptions import (
    InvalidMessage,
    NotificationError,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery
from instant_notifications.orders import send_sms
from instant_notifications.otp.exceptions import TooManyCodes
from instant_notifications.receipts import record_receipt
from instant_notifications.recipients import person
from instant_notifications.upkeep import Stop
from tests.apart import run_apart
from tests.conftest import API, sms
from tests.contacts.registers import KARI, StubRegister
from tests.outcomes import fails
from tests.regular import order, sent
from tests.stub import SecondGateway, StubGateway
from tests.test_sync import FeedGateway, Upstream

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]
Stub = type[StubGateway]

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "watching.md").read_text()
PHONE = "+4799999999"
CODE = "428516"
PERSONAL = (PHONE, "99999999", CODE, "Kari", "login-17")


class Spans:
    """Those that have ended, in the order of their beginnings."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> list[Any]:
        return sorted(self._exporter.get_finished_spans(), key=lambda each: each.start_time)

    def tree(self) -> list[str]:
        """Names, indented below the span that they are part of."""
        found = {each.context.span_id: each for each in self.all()}

        def depth(each: Any) -> int:
            return 1 + depth(found[each.parent.span_id]) if each.parent else 0

        return ["  " * depth(each) + short(each.name) for each in found.values()]

    def facts(self, name: str) -> list[dict[str, Any]]:
        return [
            {short(key): value for key, value in each.attributes.items()}
            for each in self.all()
            if short(each.name) == name
        ]

    def text(self) -> str:
        return "".join(each.to_json() for each in self.all())


def short(name: str) -> str:
    return name.removeprefix("instant_notifications.")


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = TracerProvider()
    monkeypatch.setattr(telemetry, "tracer", made.get_tracer("test"))
    return made


@pytest.fixture
def spans(provider: Any) -> Iterator[Spans]:
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    found = Spans(exporter)
    yield found
    text = found.text()
    assert not [each for each in PERSONAL if each in text]


@pytest.fixture
def counted() -> Callable[..., float]:
    """By how much a metric has grown since the test began."""
    before = {(each.name, tuple(sorted(each.labels.items()))): each.value for each in samples()}

    def grown(name: str, **labels: str) -> float:
        now = REGISTRY.get_sample_value(f"instant_notifications_{name}", labels) or 0.0
        key = (f"instant_notifications_{name}", tuple(sorted(labels.items())))
        return float(now - before.get(key, 0))

    return grown


def samples() -> Iterator[Any]:
    for family in REGISTRY.collect():
        yield from family.samples


def send(**more: Any) -> Any:
    return send_sms(PHONE, f"Your code is {CODE}", creator="ttd", **more)


def quote(message: Message) -> Receipt:
    raise RuntimeError(f"{message.destination} {message.body}")


# Spans


def test_a_send_is_a_span_with_its_steps_below(stub: Stub, spans: Spans) -> None:
    message = send()
    delivery = Delivery.objects.get()
    assert spans.tree() == ["send", "  reserve", "  hand_over", "    gateway", "    record"]
    assert spans.facts("send") == [
        {
            "channel": "sms",
            "creator": "ttd",
            "shipment": str(message.shipment_id),
            "outcome": "SMS_Accepted",
            "replayed": False,
        }
    ]
    assert spans.facts("hand_over") == [
        {
            "channel": "sms",
            "creator": "ttd",
            "delivery": str(delivery.pk),
            "shipment": str(message.shipment_id),
            "attempt": 1,
            "outcome": "SMS_Accepted",
        }
    ]
    assert spans.facts("gateway") == [{"gateway": "stub", "channel": "sms"}]


def test_each_gateway_that_is_asked_has_a_span(
    stub: Stub, configure: Configure, spans: Spans
) -> None:
    configure(ROUTES={"sms": ["stub", "second"]})
    stub.do = fails(Unavailable, PHONE)
    send()
    assert spans.facts("gateway") == [
        {"gateway": "stub", "channel": "sms", "error.type": "Unavailable"},
        {"gateway": "second", "channel": "sms"},
    ]
    assert len(SecondGateway.seen) == 1


def test_a_failure_is_told_by_its_kind_and_never_by_its_text(stub: Stub, spans: Spans) -> None:
    stub.do = quote
    with pytest.raises(NotificationError):
        send(idempotency_id="login-17")
    (told,) = [each for each in spans.all() if short(each.name) == "send"]
    assert told.status.status_code.name == "ERROR"
    assert (told.status.description, told.events) == (None, ())
    assert spans.facts("send")[0]["error.type"] == "OutcomeUnknown"


def test_a_repeat_says_that_it_is_one(stub: Stub, spans: Spans) -> None:
    send(idempotency_id="login-17")
    send(idempotency_id="login-17")
    assert [each["replayed"] for each in spans.facts("send")] == [False, True]
    assert spans.tree()[5:] == ["send", "  reserve"]


def test_what_the_host_has_begun_is_the_parent(stub: Stub, spans: Spans) -> None:
    with telemetry.tracer.start_as_current_span("request"):  # type: ignore[union-attr]
        send()
    assert spans.tree()[:2] == ["request", "  send"]


def test_a_receipt_is_a_span(stub: Stub, spans: Spans) -> None:
    send()
    delivery = Delivery.objects.get()
    told = Receipt(gateway_reference=delivery.gateway_reference, status="SMS_Delivered")
    record_receipt("stub", told)
    record_receipt("stub", Receipt(gateway_reference="nobody's", word=PHONE))
    assert spans.facts("receipt") == [
        {
            "gateway": "stub",
            "delivery": str(delivery.pk),
            "shipment": str(delivery.shipment_id),
            "outcome": "SMS_Delivered",
        },
        {"gateway": "stub"},
    ]


def test_a_regular_order_is_planned_and_handed_over_in_spans(stub: Stub, spans: Spans) -> None:
    (delivery,) = sent(order(creator="ttd"))
    assert spans.tree() == ["plan", "hand_over", "  gateway", "  record"]
    assert spans.facts("plan") == [{"shipments": 1}]
    (facts,) = spans.facts("hand_over")
    assert (facts["delivery"], facts["creator"]) == (str(delivery.pk), "ttd")


@pytest.mark.parametrize(("said", "outcome"), [(True, "met"), (False, "not met")])
def test_a_condition_is_a_span(
    said: bool, outcome: str, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = http.Answer(200, {}, f'{{"sendNotification": {str(said).lower()}}}'.encode())
    monkeypatch.setattr(conditions, "_fetch", lambda url: answer)
    conditions.ask("https://conditions.example.com/Kari", for_="notice 7")
    assert spans.facts("condition") == [{"asker": "notice 7", "outcome": outcome}]


def test_a_look_up_is_a_span(configure: Configure, spans: Spans) -> None:
    configure(CONTACT_REGISTER={"BACKEND": "tests.contacts.registers.StubRegister"})
    StubRegister.do = staticmethod(lambda identities: {})
    contacts.look_up([person(KARI.number)])
    StubRegister.asked.clear()
    assert spans.facts("contacts") == [{"kind": "person", "number": 1, "known": 0}]
    assert KARI.number not in spans.text()


def test_codes_are_spans(stub: Stub, spans: Spans) -> None:
    challenge = otp.issue(PHONE, purpose="login")
    otp.verify(challenge.pk, "000000", purpose="login")
    assert spans.tree()[:2] == ["otp.send", "  send"]
    assert spans.facts("otp.verify") == [{"outcome": "INVALID_OTP"}]


@pytest.fixture
def upstream(stub: Stub, configure: Configure) -> Upstream:
    configure(GATEWAYS={"stub": {"BACKEND": "tests.test_sync.FeedGateway"}})
    FeedGateway.upstream = Upstream()
    return FeedGateway.upstream


def test_a_page_of_a_feed_is_a_span_and_its_entries_are_counted(
    upstream: Upstream, spans: Spans, counted: Callable[..., float]
) -> None:
    send()
    known = Receipt(gateway_reference=Delivery.objects.get().gateway_reference, word="OK")
    upstream.add(known, Receipt(gateway_reference="nobody's"), None)
    list(sync.sync("stub", stop=Stop()))
    assert spans.facts("feed_page") == [{"gateway": "stub", "entries": 3}]
    entries = [
        counted("feed_sync_entries_total", gateway="stub", result=result)
        for result in ("known", "unknown", "unreadable", "missed")
    ]
    assert entries == [1, 1, 1, 0]


@pytest.mark.parametrize("moment", ["on_start", "on_end"])
def test_a_broken_exporter_does_not_keep_a_message_from_being_sent(
    moment: str,
    stub: Stub,
    provider: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def breaks(*args: Any, **named: Any) -> None:
        raise RuntimeError(PHONE)

    broken = SpanProcessor()
    monkeypatch.setattr(broken, moment, breaks)
    provider.add_span_processor(broken)
    assert send().status == "SMS_Accepted"
    assert "telemetry failed error=RuntimeError" in caplog.text
    assert PHONE not in caplog.text


def test_the_spans_of_the_page_are_the_code() -> None:
    named = set()
    for module in (ROOT / "instant_notifications").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "telemetry.span":
                assert isinstance(node.args[0], ast.Constant)
                named.add(node.args[0].value)
    table = PAGE.split("| Span |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `instant_notifications\.([\w.]+)`", table, re.M)) == named


# Counters


@pytest.mark.parametrize(
    ("do", "outcome"),
    [
        (None, "taken"),
        (fails(Rejected), "refused"),
        (fails(Unavailable), "not_sent"),
        (quote, "unknown"),
    ],
)
def test_hand_overs_are_timed_by_what_came_of_them(
    do: Any, outcome: str, stub: Stub, counted: Callable[..., float]
) -> None:
    stub.do = do or stub.do
    try:
        send()
    except NotificationError:
        assert do
    labels = {"gateway": "stub", "channel": "sms", "outcome": outcome}
    assert counted("handover_seconds_count", **labels) == 1
    assert 0 < counted("handover_seconds_sum", **labels) < 10


def test_receipts_are_counted(stub: Stub, counted: Callable[..., float]) -> None:
    send()
    reference = Delivery.objects.get().gateway_reference
    for known in (reference, reference, "nobody's"):
        record_receipt("stub", Receipt(gateway_reference=known, word="OK"))
    results = [
        counted("receipts_total", gateway="stub", result=r) for r in ("matched", "unmatched")
    ]
    assert results == [2, 1]


@pytest.mark.parametrize(
    ("to", "gateway", "status"), [("stub", "stub", "401"), (PHONE, "?", "404")]
)
def test_refused_pushes_are_counted_and_a_strangers_word_is_no_label(
    to: str, gateway: str, status: str, stub: Stub, client: Any, counted: Callable[..., float]
) -> None:
    client.post(f"{API}delivery-reports/{to}", b"", content_type="text/plain")
    assert counted("receipt_pushes_refused_total", gateway=gateway, status=status) == 1


def test_answers_of_the_api_are_counted(
    stub: Stub, api: Any, client: Any, counted: Callable[..., float]
) -> None:
    path = f"{API}future/orders/instant/sms"
    api.post(path, sms(), format="json")
    stub.do = fails(Unavailable)
    api.post(path, sms(idempotencyId="other"), format="json")
    client.post(path)
    client.post(f"{API}future/orders/{PHONE}/cancel")
    found = [
        counted("api_answers_total", route=route, status=status, problem=problem)
        for route, status, problem in (
            ("instant-sms", "201", ""),
            ("instant-sms", "503", "NOT-00004"),
            ("instant-sms", "401", ""),
            ("cancel-order", "401", ""),
        )
    ]
    assert found == [1, 1, 1, 1]


def test_codes_and_what_the_guard_refuses_are_counted(
    stub: Stub, counted: Callable[..., float]
) -> None:
    challenge = otp.issue(PHONE, purpose="login")
    with pytest.raises(TooManyCodes):
        otp.issue(PHONE, purpose="login")
    found = re.search(r"\d{6}", stub.seen[-1].body)
    assert found
    otp.verify(challenge.pk, "no code", purpose="login")
    otp.verify(challenge.pk, found[0], purpose="login")
    assert counted("codes_sent_total", channel="sms", outcome="sent") == 1
    assert counted("codes_sent_total", channel="sms", outcome="TooManyCodes") == 1
    assert counted("codes_tried_total", result="INVALID_OTP") == 1
    assert counted("codes_tried_total", result="verified") == 1
    assert counted("guard_refusals_total", reason="OTP_RESEND_PAUSE") == 1


def test_an_unknown_channel_is_no_label(stub: Stub) -> None:
    with pytest.raises(InvalidMessage):
        otp.issue(PHONE, purpose="login", channel=CODE)
    assert CODE not in {each.labels.get("channel") for each in samples()}


def test_a_counter_that_fails_does_not_keep_a_message_from_being_sent(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(**labels: str) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr(telemetry.HANDOVERS._metric, "labels", full)
    assert send().status == "SMS_Accepted"
    assert "telemetry failed error=OSError" in caplog.text


# Without the extras

_WITHOUT = """
import sys

for name in ("prometheus_client", "opentelemetry", "opentelemetry.trace"):
    sys.modules[name] = None  # an import of it fails

import django

django.setup()
from django.core.management import call_command

call_command("migrate", verbosity=0)
from instant_notifications import otp, telemetry
from instant_notifications.orders import send_sms

sent = send_sms("+4799999999", "hello")
challenge = otp.issue("+4799999999", purpose="login")
result = otp.verify(challenge.pk, "000000", purpose="login")
assert telemetry.tracer is None and telemetry.span("a") is telemetry.span("b")
counted = [each for each in vars(telemetry).values() if isinstance(each, telemetry._Metric)]
assert {each._metric for each in counted} == {None}
assert "instant_notifications.metrics" not in sys.modules
print(sent.status, result.reason)
"""


def test_without_the_extras_everything_works_and_nothing_is_imported() -> None:
    done = run_apart(_WITHOUT)
    assert done.stdout.split() == ["SMS_Accepted", "INVALID_OTP"], done.stderr
