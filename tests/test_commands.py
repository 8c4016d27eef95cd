import io
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from http import HTTPStatus
from time import time
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.core.management.base import BaseCommand
from django.db import connections
from django.utils import timezone
from rest_framework.test import APIClient

from example_project.management.commands import demo
from instant_notifications import tokens
from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.management.commands import send_email as send_email_command
from instant_notifications.management.commands import send_sms as send_sms_command
from instant_notifications.models import Delivery, IdempotencyRecord, Order, Shipment
from instant_notifications.orders import send_sms
from instant_notifications.simulator.models import SimulatedMessage
from instant_notifications.simulator.postman import deliver_due_receipts
from instant_notifications.statuses import Channel, ShipmentType
from tests.outcomes import fails

Configure = Callable[..., None]

PHONE = "+47 99 99 99 99"
ADDRESS = "kari.nordmann@example.com"
CODE = "428516"
BODY = f"Your code is {CODE}"
SUBJECT = "A word for you"
SECRETS = ("9999999", "99 99 99", "kari.nordmann", CODE, SUBJECT)

SMS = ("send_sms", PHONE, BODY)
EMAIL = ("send_email", ADDRESS, BODY, "--subject", SUBJECT)
CHANNELS = pytest.mark.parametrize("words", [SMS, EMAIL], ids=["sms", "email"])


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def failure(*words: str) -> CommandError:
    with pytest.raises(CommandError) as raised:
        run(*words)
    return raised.value


def test_issue_token_prints_nothing_but_a_good_token(capfd: pytest.CaptureFixture[str]) -> None:
    call_command("issue_token", "--org", "ttd")
    printed = capfd.readouterr()
    assert printed.err == ""
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", printed.out)
    caller = tokens.read(printed.out.strip())
    assert (caller.organisation, caller.scopes) == ("ttd", {tokens.SCOPE})


def test_issue_token_takes_scopes() -> None:
    token = run("issue_token", "--org", "ttd", "--scope", "a b").strip()
    assert tokens.read(token).scopes == {"a", "b"}


@pytest.mark.parametrize(("seconds", "good"), [("5", True), ("3600", True), ("1", False)])
def test_issue_token_takes_a_lifetime(
    seconds: str, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as past:
        past.setattr(tokens, "time", lambda: time() - 12)
        token = run("issue_token", "--org", "ttd", "--expires-in", seconds).strip()
    if good:
        assert tokens.read(token)
    else:
        with pytest.raises(tokens.InvalidToken):
            tokens.read(token)


def test_without_a_key_issue_token_says_what_to_set(configure: Configure) -> None:
    configure(TOKEN_SIGNING_KEY="")
    error = failure("issue_token", "--org", "ttd")
    assert "INSTANT_NOTIFICATIONS['TOKEN_SIGNING_KEY']" in str(error)
    assert error.returncode == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--org", " "),
        ("--org", "ttd", "--expires-in", "0"),
        ("--org", "ttd", "--expires-in", "-5"),
        ("--org", "ttd", "--expires-in", "soon"),
    ],
)
def test_issue_token_refuses_nonsense(words: tuple[str, ...]) -> None:
    assert str(failure("issue_token", *words))


@pytest.mark.django_db
@CHANNELS
def test_a_message_is_sent_from_the_command_line(words: tuple[str, ...], stub: Any) -> None:
    out = run(*words)
    shipment = Shipment.objects.get()
    (message,) = stub.seen
    assert out == f"{Delivery.objects.get().status} shipment {shipment.pk}\n"
    assert message.body == BODY
    assert message.destination in {"+4799999999", ADDRESS}
    assert shipment.creator == "local"


@pytest.mark.django_db
@CHANNELS
@pytest.mark.parametrize("dash", [(), ("-",)], ids=["no body", "dash"])
@pytest.mark.parametrize(
    ("typed", "sent"),
    [(BODY, BODY), (f"{BODY}\n", BODY), (f" {BODY}\nsecond line\n\n", f" {BODY}\nsecond line\n")],
    ids=["printf", "echo", "lines"],
)
def test_the_text_is_read_from_stdin(
    words: tuple[str, ...],
    dash: tuple[str, ...],
    typed: str,
    sent: str,
    stub: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    command, to, _, *options = words
    run(command, to, *dash, *options)
    assert [message.body for message in stub.seen] == [sent]


@pytest.mark.django_db
def test_every_option_of_an_sms_is_passed_on(stub: Any) -> None:
    run(
        *(*SMS, "--sender", "NAV", "--time-to-live", "90", "--org", "nav"),
        *("--idempotency-id", "id-1", "--senders-reference", "ref-1"),
    )
    (message,) = stub.seen
    shipment, record = Shipment.objects.get(), IdempotencyRecord.objects.get()
    assert (message.sender, message.channel) == ("NAV", Channel.SMS)
    assert 85 <= message.time_to_live <= 90
    assert (shipment.creator, shipment.senders_reference) == ("nav", "ref-1")
    assert (record.creator, record.key, record.scope) == ("nav", "id-1", "sms")


@pytest.mark.django_db
def test_every_option_of_an_email_is_passed_on(stub: Any) -> None:
    run(*EMAIL, "--sender", "post@example.com", "--content-type", "html", "--org", "nav")
    (message,) = stub.seen
    assert (message.sender, message.subject) == ("post@example.com", SUBJECT)
    assert (message.content_type, message.channel) == ("Html", Channel.EMAIL)
    assert Shipment.objects.get().creator == "nav"


@pytest.mark.django_db
@CHANNELS
def test_the_same_id_sends_once(words: tuple[str, ...], stub: Any) -> None:
    first = run(*words, "--idempotency-id", "id-1")
    second = run(*words, "--idempotency-id", "id-1")
    assert second == first.replace(" shipment", " (sent before) shipment")
    assert len(stub.seen) == 1


EXITS = [
    (Rejected, 1, "The gateway refused the message."),
    (Unavailable, 2, "it was not sent"),
    (OutcomeUnknown, 3, "It is not known whether"),
    (RuntimeError, 3, "It is not known whether"),
]


@pytest.mark.django_db
@CHANNELS
@pytest.mark.parametrize(("kind", "status", "said"), EXITS)
def test_the_exit_status_tells_what_happened(
    words: tuple[str, ...], kind: type[Exception], status: int, said: str, stub: Any
) -> None:
    stub.do = fails(kind)
    error = failure(*words)
    assert error.returncode == status
    assert said in str(error)
    assert f"Shipment {Shipment.objects.get().pk}." in str(error)


@pytest.mark.django_db
def test_a_message_that_may_be_on_its_way_is_not_called_refused(
    stub: Any, configure: Configure
) -> None:
    configure(WAIT_FOR_DUPLICATE=0)
    stub.do = fails(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(*SMS, "--idempotency-id", "id-1")
    assert failure(*SMS, "--idempotency-id", "id-1").returncode == 3


@pytest.mark.django_db
@CHANNELS
def test_an_invalid_message_leaves_nothing(words: tuple[str, ...], stub: Any) -> None:
    error = failure(*words, "--idempotency-id", "a" * 256)
    assert error.returncode == 1
    assert str(error) == "idempotency_id: The idempotency_id field must be at most 255 characters."
    assert (stub.seen, Order.objects.count()) == ([], 0)


@pytest.mark.django_db
def test_every_broken_rule_has_a_line() -> None:
    error = failure("send_sms", "12345", " ", "--time-to-live", "5")
    assert re.findall(r"^\w+(?=: )", str(error), re.M) == ["to", "body", "time_to_live"]


@pytest.mark.django_db
@CHANNELS
def test_without_a_route_it_says_what_to_set(words: tuple[str, ...], configure: Configure) -> None:
    configure(ROUTES={})
    error = failure(*words)
    assert error.returncode == 1
    assert "INSTANT_NOTIFICATIONS['ROUTES']" in str(error)


@pytest.fixture
def open_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command run as from a shell would close the test's own."""
    monkeypatch.setattr(connections, "close_all", lambda: None)


COMMANDS: dict[str, type[BaseCommand]] = {
    "send_sms": send_sms_command.Command,
    "send_email": send_email_command.Command,
}


@pytest.mark.django_db
@CHANNELS
@pytest.mark.parametrize(("kind", "status", "said"), EXITS)
def test_a_failure_in_the_shell_shows_nothing_personal(
    words: tuple[str, ...],
    kind: type[Exception],
    status: int,
    said: str,
    stub: Any,
    open_connections: None,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stub.do = fails(kind)
    with caplog.at_level(logging.DEBUG), pytest.raises(SystemExit) as ended:
        COMMANDS[words[0]]().run_from_argv(["manage.py", *words])
    printed = capfd.readouterr()
    assert ended.value.code == status
    assert said in printed.err
    shown = printed.out + printed.err + caplog.text
    assert not [secret for secret in SECRETS if secret in shown]


@pytest.mark.parametrize(
    "words",
    [
        ("send_sms", "+47 99 99 99 9", BODY),
        ("send_sms", "+47 99 99 99 99", f"{BODY}\0"),
        ("send_email", "kari.nordmann@", BODY, "--subject", SUBJECT),
        ("send_email", ADDRESS, BODY, "--subject", f"{SUBJECT}\0"),
        (*EMAIL, "--content-type", CODE),
    ],
)
def test_an_invalid_message_shows_nothing_personal(words: tuple[str, ...]) -> None:
    error = failure(*words)
    assert not [secret for secret in SECRETS if secret in f"{error!s} {error!r}"]


@pytest.mark.django_db
def test_the_inbox_shows_what_the_recipients_got() -> None:
    assert run("simulator_inbox") == "The inbox is empty.\n"
    run(*SMS)
    lines = "first line\nsecond line"
    run("send_email", ADDRESS, lines, "--subject", SUBJECT, "--sender", "post@example.com")
    shown = run("simulator_inbox")
    assert re.search(
        r"sms  to \+4799999999  from Altinn\n  sim-\S+\n  Your code is 428516\n", shown
    )
    title, reference, *text = shown.splitlines()[-5:]
    assert title.endswith(f"email  to {ADDRESS}  from post@example.com")
    assert reference.strip() == Delivery.objects.get(channel="email").gateway_reference
    assert text == [f"  {SUBJECT}", "  first line", "  second line"]


@pytest.mark.django_db
@pytest.mark.parametrize(("last", "bodies"), [("1", "c"), ("2", "bc"), ("9", "abc"), ("0", "")])
def test_the_inbox_shows_the_newest_last(last: str, bodies: str) -> None:
    for body in "abc":
        send_sms(PHONE, body)
    shown = run("simulator_inbox", "--last", last)
    assert "".join(re.findall(r"^  (\w)$", shown, re.M)) == bodies


@pytest.mark.django_db
def test_the_inbox_outlives_a_lost_key(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    send_sms(PHONE, BODY)
    configure(ENCRYPTION_KEYS=["new"])
    assert CODE not in run("simulator_inbox")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demonstration waits for receipts no longer than a blink, and they come meanwhile."""
    monkeypatch.setattr(demo, "PATIENCE", 0.5)
    monkeypatch.setattr(demo, "sleep", lambda seconds: deliver_due_receipts())


@pytest.mark.django_db
def test_the_demonstration_sends_and_tells_how_to_go_on(hurried: None) -> None:
    shown = run("demo", "--port", "8123")
    shipment = Shipment.objects.get(type=ShipmentType.INSTANT)
    assert SimulatedMessage.objects.get().body == "Your code is 428516"
    assert re.search(rf"SMS_Accepted +shipment {shipment.pk}\n +SMS_Delivered\n", shown)
    token = re.findall(r"^export TOKEN=(\S+)$", shown, re.M)
    assert [tokens.read(each).organisation for each in token] == [shipment.creator]
    api = "http://127.0.0.1:8123/notifications/api/v1"
    assert re.findall(r"curl -sS (\S+)", shown) == [
        f"{api}/future/orders/instant/sms",
        f"{api}/future/orders/instant/email",
        f"{api}/future/orders",
        f"{api}/future/shipment/{shipment.pk}",
        f"{api}/future/shipment/feed",
    ]
    assert f"{api}/schema/swagger/" in shown
    assert "http://127.0.0.1:8123/admin/" in shown


@pytest.mark.django_db(transaction=True)
def test_the_demonstration_orders_something_for_now_and_for_later(hurried: None) -> None:
    shown = run("demo", "--no-traffic")
    today = timezone.localdate()
    assert re.search(rf"Order_Processed +Notification of {today}\n", shown)
    assert re.search(rf"Order_Registered +Reminder of {today + timedelta(days=7)}\n", shown)
    bodies = [each.body for each in SimulatedMessage.objects.order_by("pk")]
    assert bodies == ["Your code is 428516", "It is on Thursday next week."]
    run("process_due_orders")
    assert SimulatedMessage.objects.count() == 2


@pytest.mark.django_db
def test_what_the_demonstration_shows_to_be_called_is_answered(
    hurried: None, client_of: Callable[..., APIClient]
) -> None:
    shown = run("demo", "--no-traffic")
    calls = re.findall(r"curl -sS http://[^/]+(\S+orders\S*) .* -d '(.*)'\n", shown)
    assert len(calls) == 3
    for path, body in calls:
        sent = body.replace("'$(date +%s)'", "1")
        answer = client_of("ttd").post(path, sent, content_type="application/json")
        assert answer.status_code == HTTPStatus.CREATED


@pytest.mark.django_db
def test_the_demonstration_can_be_repeated(hurried: None) -> None:
    run("demo")
    run("demo")
    types = Shipment.objects.order_by("pk").values_list("type", flat=True)
    once = [ShipmentType.INSTANT, ShipmentType.NOTIFICATION, ShipmentType.REMINDER]
    assert list(types) == 2 * once
    user = get_user_model().objects.get(username="admin")
    assert user.is_superuser
    assert user.check_password("admin")


@pytest.mark.django_db
def test_the_demonstration_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "PATIENCE", 0)
    shown = run("demo")
    assert UUID(re.findall(r"SMS_Accepted +shipment (\S+)", shown)[0])
    assert "SMS_Delivered" not in shown
