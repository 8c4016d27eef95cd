"""Anymail's own backends and views: Postmark's on real sockets, its test backend for the rest."""

import base64
import json
import logging
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from types import ModuleType
from typing import Any, Final

import pytest

pytest.importorskip("anymail", reason="the extra `anymail` is not installed")

from anymail import exceptions, signals
from anymail.backends.test import EmailBackend
from anymail.message import AnymailRecipientStatus
from anymail.webhooks.postmark import PostmarkInboundWebhookView
from django.conf import settings as django_settings
from django.core import mail
from django.db import OperationalError, connections
from django.test import Client
from django.urls import path

from instant_notifications import receipts
from instant_notifications.checks import check_settings
from instant_notifications.exceptions import (
    HandoverFailed,
    NotConfigured,
    OutcomeUnknown,
    Rejected,
    Unavailable,
)
from instant_notifications.gateways import Message, Receipt, gateway_class
from instant_notifications.gateways.anymail import AnymailGateway, receipt_from
from instant_notifications.models import Delivery, StatusEvent, UnmatchedReceipt
from instant_notifications.orders import send_email
from instant_notifications.statuses import Channel, Handover
from instant_notifications.testing import GRACE, GatewayContract, assert_impersonal
from tests import web
from tests.smtp import use_mail_backend
from tests.web import Server, Talk

Serve = Callable[[Talk], Server]

ANYMAIL: Final = "instant_notifications.gateways.anymail.AnymailGateway"
POSTMARK: Final = "anymail.backends.postmark.EmailBackend"
TEST: Final = "anymail.backends.test.EmailBackend"
LOCMEM: Final = "django.core.mail.backends.locmem.EmailBackend"
SECRET: Final = "postmark:let-me-in"
ID: Final = "883953f4-6105-42a2-a16a-77a8eac79483"
INSTALLED: Final = tuple(django_settings.INSTALLED_APPS)
PAGE: Final = Path(__file__).parents[2] / "docs" / "gateways" / "anymail.md"

GOOD: Final = Message(
    reference="01900000-0000-7000-8000-000000000001",
    channel=Channel.EMAIL,
    destination="Kari.Nordmann@example.com",
    sender="post@sender.example",
    subject="Your secret code",
    body="It is 428516",
    timeout=5,
)


def answers(status: str = "200 OK", *lines: str, **said: Any) -> Talk:
    return web.says(*lines, "Content-Type: application/json", status=status, body=json.dumps(said))


def taken(message_id: str = ID) -> Talk:
    return answers(ErrorCode=0, Message="OK", To=GOOD.destination, MessageID=message_id)


INACTIVE: Final = answers(
    "422 Unprocessable Entity",
    ErrorCode=406,
    Message=f"Found inactive addresses: {GOOD.destination}. Inactive recipients are ones that "
    "have generated a hard bounce.",
)


@pytest.fixture
def postmark(settings: Any) -> Callable[[str], None]:
    """Makes Postmark's backend the host's, and tells it where Postmark is."""

    def at(url: str, **more: Any) -> None:
        use_mail_backend(settings, POSTMARK)
        settings.ANYMAIL = {
            "POSTMARK_SERVER_TOKEN": "t0ken",
            "POSTMARK_API_URL": url,
            "WEBHOOK_SECRET": SECRET,
            **more,
        }

    settings.ROOT_URLCONF = "tests.urls_anymail"
    settings.INSTALLED_APPS = [*INSTALLED, "anymail"]
    at("http://127.0.0.1:9/")
    return at


def hand_over(message: Message = GOOD, **options: Any) -> Receipt:
    return AnymailGateway("under-test", **options).hand_over(message)


def failure_of(message: Message = GOOD) -> HandoverFailed:
    with pytest.raises(HandoverFailed) as raised:
        hand_over(message)
    assert_impersonal(raised.value, message)
    return raised.value


class TestAnymailGateway(GatewayContract):
    gateway_class = AnymailGateway
    messages = {Channel.EMAIL: GOOD}

    @pytest.fixture(autouse=True)
    def provider(self, serve: Serve, postmark: Any) -> None:
        self.serve, self.postmark = serve, postmark

    def meets(self, message: Message, talk: Talk) -> Message:
        self.postmark(self.serve(talk).url)
        return message

    def when_accepting(self, message: Message) -> Message:
        return self.meets(message, taken())

    def when_refusing(self, message: Message) -> Message:
        return self.meets(message, INACTIVE)

    def when_unreachable(self, message: Message) -> Message:
        self.postmark(f"http://127.0.0.1:{web.free_port()}/")
        return message

    def when_silent(self, message: Message) -> Message:
        return self.meets(message, web.keeps_silent)


def test_postmark_gets_the_mail_and_our_reference(serve: Serve, postmark: Any) -> None:
    server = serve(taken())
    postmark(server.url)
    assert hand_over() == Receipt(gateway_reference=ID, word="sent")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"X-Postmark-Server-Token: t0ken" in head
    sent = json.loads(body)
    assert (sent["To"], sent["Subject"]) == (GOOD.destination, GOOD.subject)
    assert sent["TextBody"] == GOOD.body
    assert sent["Headers"] == [{"Name": "Auto-Submitted", "Value": "auto-generated"}]
    assert sent["Metadata"] == {
        "notification_gateway": "under-test",
        "notification_id": GOOD.reference,
    }


@pytest.mark.parametrize(
    ("status", "kind", "only_this"),
    [
        ("400 Bad Request", Unavailable, True),
        ("413 Too Large", Unavailable, True),
        ("422 Unprocessable", Unavailable, True),
        ("401 Unauthorized", Unavailable, False),
        ("403 Forbidden", Unavailable, False),
        ("429 Slowly", Unavailable, False),
        ("503 Not Now", Unavailable, False),
        ("408 Too Late", OutcomeUnknown, False),
        ("409 Conflict", OutcomeUnknown, False),
        ("500 Oh", OutcomeUnknown, False),
        ("502 Who", OutcomeUnknown, False),
    ],
)
def test_an_http_status_is_sorted(
    status: str, kind: type[HandoverFailed], only_this: bool, serve: Serve, postmark: Any
) -> None:
    said = f"no {GOOD.destination} {GOOD.body}"
    postmark(serve(answers(status, "Retry-After: 7", ErrorCode=10, Message=said)).url)
    failure = failure_of()
    assert (type(failure), failure.reason) == (kind, status[:3])
    assert failure.only_this_message is only_this
    about_all = kind is Unavailable and not only_this
    assert failure.retry_after == (7 if about_all else None)


@pytest.mark.parametrize(
    ("talk", "kind"),
    [
        (INACTIVE, Rejected),
        (web.hangs_up, OutcomeUnknown),
        (web.says(body="<html>"), OutcomeUnknown),
        (answers(), OutcomeUnknown),
        (answers(ErrorCode=300, Message=f"Invalid 'To' address: '{GOOD.destination}'."), Rejected),
        (answers(ErrorCode=300, Message="Invalid 'From' address: 'x'."), OutcomeUnknown),
    ],
    ids=["inactive", "hang-up", "html", "empty", "invalid", "from"],
)
def test_what_postmark_says_is_sorted(
    talk: Talk, kind: type[HandoverFailed], serve: Serve, postmark: Any
) -> None:
    postmark(serve(talk).url)
    assert type(failure_of()) is kind


def test_a_redirect_may_have_been_taken(serve: Serve, postmark: Any) -> None:
    """Followed to where nobody listens, it would look as if nothing had left."""
    elsewhere = f"Location: http://127.0.0.1:{web.free_port()}/"
    postmark(serve(web.says(elsewhere, status="307 Over There")).url)
    assert isinstance(failure_of(), OutcomeUnknown)


@pytest.mark.parametrize("url", ["http://nowhere.invalid/", "ftp://127.0.0.1/", "127.0.0.1/"])
def test_an_address_that_leads_nowhere_is_not_sent_to(url: str, postmark: Any) -> None:
    postmark(url)
    assert isinstance(failure_of(), Unavailable)


def test_a_server_that_dribbles_gets_no_more_than_the_time(serve: Serve, postmark: Any) -> None:
    def dribbles(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        for byte in b"HTTP/1.1 200 OK":
            connection.sendall(bytes([byte]))
            server.wait(0.2)

    postmark(serve(dribbles).url)
    started = monotonic()
    assert isinstance(failure_of(replace(GOOD, timeout=0.5)), OutcomeUnknown)
    assert monotonic() - started < 0.5 + GRACE


def test_a_server_out_of_reach_is_given_up_before_the_deadline(
    postmark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the deadline itself nobody would know any more that nothing has left."""
    waits = []

    def connect(sock: socket.socket, address: Any) -> None:
        waits.append(sock.gettimeout())
        raise TimeoutError

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert isinstance(failure_of(replace(GOOD, timeout=1)), Unavailable)
    assert waits == [0.5]


@pytest.fixture
def told(settings: Any) -> Iterator[Callable[[Any], None]]:
    """Tells anymail's test backend what to answer, or to raise."""
    use_mail_backend(settings, TEST)
    said: list[Any] = []

    def prepare(message: Any, **_: Any) -> None:
        (answer,) = said
        if not isinstance(answer, Exception):
            recipient = {GOOD.destination.upper(): AnymailRecipientStatus(*answer)}
            answer = {"recipient_status": recipient}
        elif not isinstance(answer, exceptions.AnymailAPIError):
            raise answer
        message.anymail_test_response = answer

    signals.pre_send.connect(prepare)
    yield said.append
    signals.pre_send.disconnect(prepare)


@pytest.mark.parametrize(
    ("status", "message_id", "expected"),
    [
        ("sent", "m-1", None),
        ("queued", 7, None),
        ("unknown", "m-1", None),
        ("unknown", None, OutcomeUnknown()),
        (None, None, OutcomeUnknown()),
        ("invalid", None, Rejected(status="Email_Failed_InvalidFormat")),
        ("rejected", "m-1", Rejected(status="Email_Failed_SuppressedRecipient")),
        ("failed", None, Unavailable(only_this_message=True)),
    ],
)
def test_the_recipients_status_is_the_outcome(
    status: str | None, message_id: Any, expected: HandoverFailed | None, told: Any
) -> None:
    told((message_id, status))
    if expected is None:
        assert hand_over() == Receipt(gateway_reference=str(message_id), word=str(status))
        return
    failure = failure_of()
    assert type(failure) is type(expected)
    assert getattr(failure, "status", "") == getattr(expected, "status", "")
    assert failure.only_this_message == expected.only_this_message


def caused_by(cause: Exception, **named: Any) -> Exception:
    error = exceptions.AnymailAPIError(f"no {GOOD.destination}", **named)
    error.__cause__ = cause
    return error


def amazons(status: int) -> Exception:
    said = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": "No"}}
    return caused_by(RuntimeError(), response=said)


@pytest.mark.parametrize(
    ("error", "kind", "only_this"),
    [
        (exceptions.AnymailInvalidAddress(GOOD.destination), Rejected, True),
        (exceptions.AnymailUnsupportedFeature(GOOD.destination), Unavailable, False),
        (exceptions.AnymailSerializationError(GOOD.destination), Unavailable, False),
        (exceptions.AnymailConfigurationError(GOOD.destination), Unavailable, False),
        (exceptions.AnymailCancelSend(), Rejected, True),
        (exceptions.AnymailError(GOOD.destination), OutcomeUnknown, False),
        (KeyError(GOOD.destination), OutcomeUnknown, False),
        (amazons(400), Unavailable, True),
        (amazons(429), Unavailable, False),
        (amazons(500), OutcomeUnknown, False),
        (caused_by(ssl.SSLCertVerificationError("x")), Unavailable, False),
        (caused_by(ssl.SSLError("x")), OutcomeUnknown, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_anymail_raises_is_sorted(
    error: Exception, kind: type[HandoverFailed], only_this: bool, told: Any
) -> None:
    told(error)
    failure = failure_of()
    assert (type(failure), failure.only_this_message) == (kind, only_this)


def test_a_receiver_that_stumbles_does_not_unsend(told: Any) -> None:
    def stumbles(**_: Any) -> None:
        raise RuntimeError(GOOD.destination)

    told(("m-1", "sent"))
    signals.post_send.connect(stumbles)
    try:
        assert hand_over().gateway_reference == "m-1"
    finally:
        signals.post_send.disconnect(stumbles)


class Quiet(EmailBackend):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.fail_silently = True


def test_a_quiet_backend_is_made_to_speak(told: Any, settings: Any) -> None:
    use_mail_backend(settings, f"{__name__}.Quiet")
    told(exceptions.AnymailAPIError())
    assert isinstance(failure_of(), OutcomeUnknown)


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_uses_the_database_leaves_no_connection(told: Any) -> None:
    used: list[Any] = []

    def counts(**_: Any) -> None:
        Delivery.objects.count()
        used.append(connections["default"])

    told(("m-1", "sent"))
    signals.post_send.connect(counts)
    try:
        hand_over()
    finally:
        signals.post_send.disconnect(counts)
    patience = monotonic() + 5
    while used[0].connection is not None and monotonic() < patience:
        sleep(0.01)
    assert used[0].connection is None


@pytest.mark.parametrize(
    "changes",
    [
        {"destination": "kari@example.com, ola@example.com"},
        {"subject": "hello\r\nBcc: eve@example.com"},
    ],
    ids=["two", "smuggled"],
)
def test_nobody_else_gets_it(changes: Any, told: Any) -> None:
    mail.outbox.clear()
    assert isinstance(failure_of(replace(GOOD, **changes)), Rejected)
    assert not mail.outbox


def test_what_a_provider_cannot_carry_is_left_out(serve: Serve, settings: Any) -> None:
    server = serve(web.says("X-Message-Id: m-1", "Content-Type: text/html"))
    use_mail_backend(settings, "anymail.backends.mailersend.EmailBackend")
    settings.ANYMAIL = {"MAILERSEND_API_URL": server.url, "MAILERSEND_API_TOKEN": "k"}
    assert hand_over().gateway_reference == "m-1"
    assert b"Auto-Submitted" not in server.requests[0]


@pytest.mark.parametrize(
    ("kind", "reason", "status", "word"),
    [
        ("queued", None, "Email_Succeeded", "queued"),
        ("sent", None, "Email_Succeeded", "sent"),
        ("delivered", None, "Email_Delivered", "delivered"),
        ("bounced", "bounced", "Email_Failed_Bounced", "bounced"),
        ("bounced", "other", "Email_Failed_Bounced", "bounced other"),
        ("failed", None, "Email_Failed", "failed"),
        ("rejected", None, "Email_Failed", "rejected"),
        ("rejected", "other", "Email_Failed", "rejected other"),
        ("rejected", "invalid", "Email_Failed_InvalidFormat", "rejected invalid"),
        ("rejected", "bounced", "Email_Failed_Bounced", "rejected bounced"),
        ("rejected", "timed_out", "Email_Failed_TransientError", "rejected timed_out"),
        ("rejected", "blocked", "Email_Failed_SuppressedRecipient", "rejected blocked"),
        ("rejected", "unsubscribed", "Email_Failed_SuppressedRecipient", "rejected unsubscribed"),
        ("rejected", "spam", "Email_Failed_FilteredSpam", "rejected spam"),
        ("deferred", None, None, "deferred"),
        ("complained", "spam", None, "complained spam"),
    ],
)
def test_an_event_is_read(kind: str, reason: str | None, status: str | None, word: str) -> None:
    metadata = {"notification_id": "ours"}
    event = signals.AnymailTrackingEvent(
        event_type=kind, reject_reason=reason, message_id="m-1", metadata=metadata
    )
    expected = Receipt(gateway_reference="m-1", reference="ours", status=status, word=word)
    assert receipt_from(event) == expected


def test_an_event_without_metadata_is_read() -> None:
    event = signals.AnymailTrackingEvent(event_type="sent", message_id="m-1", metadata=None)
    assert receipt_from(event) == Receipt(
        gateway_reference="m-1", status="Email_Succeeded", word="sent"
    )


@pytest.mark.parametrize("kind", ["opened", "clicked", "subscribed", "unsubscribed", "unknown"])
def test_an_event_about_people_is_passed_over(kind: str) -> None:
    assert receipt_from(signals.AnymailTrackingEvent(event_type=kind, message_id="m-1")) is None


@pytest.mark.django_db
class TestTracking:
    @pytest.fixture(autouse=True)
    def host(self, serve: Serve, postmark: Any, configure: Any) -> None:
        self.configure = configure
        self.server = serve(taken())
        postmark(self.server.url)
        self.gateways("mail")

    def gateways(self, *aliases: str, **others: Any) -> None:
        these = {alias: {"BACKEND": ANYMAIL} for alias in aliases}
        self.configure(GATEWAYS={**others, **these}, ROUTES={"email": [aliases[0]]})

    def send(self) -> Delivery:
        sent = send_email(GOOD.destination, GOOD.subject, GOOD.body, sender=GOOD.sender)
        return Delivery.objects.get(shipment=sent.shipment_id)

    def push(self, kind: str, secret: str = SECRET, **said: Any) -> int:
        event = {"RecordType": kind, "MessageID": ID, "Email": GOOD.destination, **said}
        basic = base64.b64encode(secret.encode()).decode()
        client = Client(raise_request_exception=False, headers={"Authorization": f"Basic {basic}"})
        return client.post("/anymail/postmark/tracking/", event, "application/json").status_code

    @pytest.mark.parametrize(
        ("pushes", "status"),
        [
            (["Delivery"], "Email_Delivered"),
            (["Delivery", "Delivery"], "Email_Delivered"),
            (["Bounce:HardBounce"], "Email_Failed_Bounced"),
            (["Bounce:HardBounce", "Delivery"], "Email_Failed_Bounced"),
            (["Bounce:BadEmailAddress"], "Email_Failed_InvalidFormat"),
            (["Bounce:Transient"], "Email_Succeeded"),
            (["Delivery", "Bounce:Transient"], "Email_Delivered"),
            (["Delivery", "SpamComplaint:SpamComplaint"], "Email_Delivered"),
            (["Open"], "Email_Succeeded"),
        ],
    )
    def test_postmarks_own_pushes_move_the_delivery(self, pushes: list[str], status: str) -> None:
        delivery = self.send()
        assert delivery.status == "Email_Succeeded"
        assert delivery.completed_at is None
        for each in pushes:
            kind, _, detail = each.partition(":")
            assert self.push(kind, Type=detail) == 200
        delivery.refresh_from_db()
        assert delivery.status == status
        noted = StatusEvent.objects.filter(delivery=delivery, cause="receipt")
        assert noted.count() == len(set(pushes) - {"Open"})
        assert not UnmatchedReceipt.objects.exists()

    def test_a_push_without_the_secret_moves_nothing(self) -> None:
        delivery = self.send()
        assert self.push("Delivery", "postmark:guess") == 400
        delivery.refresh_from_db()
        assert delivery.status == "Email_Succeeded"

    def test_our_reference_settles_an_unknown_outcome(self) -> None:
        self.server.talk = web.hangs_up
        with pytest.raises(OutcomeUnknown):
            self.send()
        delivery = Delivery.objects.get()
        assert delivery.handover == Handover.UNKNOWN
        metadata = json.loads(self.server.requests[0].partition(b"\r\n\r\n")[2])["Metadata"]
        assert self.push("Delivery", Metadata=metadata) == 200
        delivery.refresh_from_db()
        assert (delivery.status, delivery.handover) == ("Email_Delivered", Handover.TAKEN)
        assert (delivery.gateway, delivery.gateway_reference) == ("mail", ID)

    @pytest.mark.parametrize("repeated", [True, False], ids=["metadata", "none"])
    def test_of_two_gateways_the_sender_hears_it(self, repeated: bool) -> None:
        self.gateways("second", "first", broken={"BACKEND": "no.such.Gateway"})
        delivery = self.send()
        said = {"Metadata": {"notification_gateway": "second"}} if repeated else {}
        assert self.push("Delivery", **said) == 200
        delivery.refresh_from_db()
        assert (delivery.gateway, delivery.status) == ("second", "Email_Delivered")
        kept = UnmatchedReceipt.objects.values_list("gateway", flat=True)
        assert list(kept) == ([] if repeated else ["first"])

    def test_an_event_of_another_provider_is_not_ours(self, settings: Any) -> None:
        use_mail_backend(settings, TEST)
        assert self.push("Delivery") == 200
        assert not UnmatchedReceipt.objects.exists()

    def test_an_event_that_comes_too_early_is_kept(self) -> None:
        assert self.push("Delivery") == 200
        assert UnmatchedReceipt.objects.get().gateway_reference == ID

    def test_without_tracking_acceptance_is_the_last_word(self) -> None:
        backend = {"BACKEND": ANYMAIL, "OPTIONS": {"tracking": False}}
        self.configure(GATEWAYS={"mail": backend}, ROUTES={"email": ["mail"]})
        assert self.send().completed_at is not None
        assert self.push("Delivery") == 200
        assert not StatusEvent.objects.filter(cause="receipt").exists()

    def test_what_cannot_be_written_down_comes_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: Any) -> None:
            raise OperationalError

        delivery = self.send()
        with monkeypatch.context() as patched:
            patched.setattr(receipts, "record_receipt", fails)
            assert self.push("Delivery") == 500
        assert self.push("Delivery") == 200
        delivery.refresh_from_db()
        assert delivery.status == "Email_Delivered"

    def test_nobody_is_named_in_the_log(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        self.send()
        self.push("Bounce", Type="HardBounce", Details=f"550 <{GOOD.destination}>")
        assert "receipts gateway=mail count=1 failed=0" in caplog.messages
        for said in (each for each in caplog.records if each.name != "django.db.backends"):
            assert "nordmann" not in said.getMessage().lower()
            assert "428516" not in said.getMessage()


inbound_only = ModuleType("inbound_only")
vars(inbound_only)["urlpatterns"] = [path("in/", PostmarkInboundWebhookView.as_view())]


def complaints(**options: Any) -> list[str]:
    found = list(AnymailGateway("mail", **options).check())
    assert {each.id for each in found} <= {"instant_notifications.E010"}
    return [f"{each.msg} {each.hint}" for each in found]


@pytest.mark.usefixtures("postmark")
class TestCheck:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"ROOT_URLCONF": "tests.urls_webhooks_alone"}, r"Postmark.*anymail\.urls.*tracking"),
            ({"ROOT_URLCONF": inbound_only}, "no route for the tracking events of Postmark"),
            ({"INSTALLED_APPS": ["instant_notifications"]}, 'Add "anymail" to INSTALLED_APPS'),
        ],
    )
    def test_events_that_would_not_arrive(self, changes: Any, said: str, settings: Any) -> None:
        for name, value in changes.items():
            setattr(settings, name, value)
        (complaint,) = complaints()
        assert re.search(said, complaint)
        assert complaints(tracking=False) == []

    def test_a_provider_without_a_view(self, settings: Any) -> None:
        use_mail_backend(settings, TEST)
        (complaint,) = complaints()
        assert "Test" in complaint

    def test_another_backend(self, settings: Any) -> None:
        use_mail_backend(settings, LOCMEM)
        (complaint,) = complaints()
        assert "does not send by anymail" in complaint
        assert isinstance(failure_of(), Unavailable)

    def test_a_copy_for_somebody_else(self, postmark: Any) -> None:
        postmark("http://127.0.0.1:9/", SEND_DEFAULTS={"bcc": ["archive@example.com"]})
        (complaint,) = complaints()
        assert "SEND_DEFAULTS" in complaint

    def test_without_anymail_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "anymail", None)
        monkeypatch.delitem(sys.modules, AnymailGateway.__module__)
        with pytest.raises(NotConfigured, match=r'pip install "django-instant-notifications\['):
            gateway_class("mail", {"BACKEND": ANYMAIL})

    def test_the_settings_of_the_guide_pass(self, settings: Any) -> None:
        (block,) = re.findall(
            r"module: settings.py -->\n```python\n(.*?)```", PAGE.read_text(), re.S
        )
        written: dict[str, Any] = {"INSTALLED_APPS": list(INSTALLED)}
        exec(block, written)
        use_mail_backend(settings, written.pop("EMAIL_BACKEND"))
        for name in filter(str.isupper, written):
            setattr(settings, name, written[name])
        assert check_settings(None) == []
