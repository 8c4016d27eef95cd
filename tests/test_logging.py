"""At DEBUG on every logger, and in every exception: nothing that is personal or secret."""

import base64
import io
import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from instant_notifications import http, orders, otp, recipients, rules, tokens
from instant_notifications.api import serializers
from instant_notifications.exceptions import NotificationError
from instant_notifications.gateways import Message
from instant_notifications.models import Shipment
from instant_notifications.orders import instant as placing
from instant_notifications.orders import send_email, send_sms
from instant_notifications.simulator import gateway as simulator
from instant_notifications.simulator.behaviours import ORDINARY, ROWS, Behaviour
from instant_notifications.simulator.postman import deliver_due_receipts
from instant_notifications.statuses import Channel
from tests import regular
from tests.conftest import API, email, instant, sms
from tests.console import walk

Configure = Callable[..., None]

CODE = "ZK7W2Q"
BODY = f"Your code is {CODE}"
SUBJECT = "A word for Kari"
LOCAL_PART = "kari.nordmann"
SMS_PATH = f"{API}future/orders/instant/sms"
EMAIL_PATH = f"{API}future/orders/instant/email"
OLD_PATH = f"{API}future/orders/instant"

BEHAVIOURS = [ORDINARY, *ROWS]
each_behaviour = pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda row: row.tag or "none")

pytestmark = pytest.mark.django_db


def spellings(digits: str) -> list[str]:
    """One phone, in the ways people write it."""
    last = digits or "4321"
    return [
        f"+479182{last}",
        f"00479182{last}",
        f"+47 9182 {last}",
        f"+47 91 82 {last[:2]} {last[2:]}",
        f"+47 918 2{last[0]} {last[1:]}",
    ]


def address(tag: str) -> str:
    return f"{LOCAL_PART}+{tag}@example.com" if tag else f"{LOCAL_PART}@example.com"


def secrets(behaviour: Behaviour = ORDINARY, *bearers: str) -> list[str]:
    numbers = [
        each.removeprefix("+47").removeprefix("0047") for each in spellings(behaviour.digits)
    ]
    parts = [part for token in bearers for part in token.split(".")[1:]]
    return [*(number.strip() for number in numbers), LOCAL_PART, CODE, SUBJECT, *parts]


def shown_in(text: str, forbidden: list[str]) -> list[str]:
    return [secret for secret in forbidden if secret in text]


def everything_about(error: BaseException) -> str:
    return f"{error!s} {error!r} {''.join(traceback.format_exception(error))}"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Everything that any logger writes at DEBUG, the SQL included."""
    for name in ("", *logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)

    def text() -> str:
        assert "INSERT INTO" in caplog.text
        return caplog.text

    connection.force_debug_cursor = True
    yield text
    connection.force_debug_cursor = False


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "sleep", lambda seconds: None)


@pytest.fixture
def token() -> str:
    return tokens.issue("ttd")


@pytest.fixture
def client(token: str) -> APIClient:
    client = APIClient(raise_request_exception=False)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def read_back(client: APIClient) -> None:
    for shipment in Shipment.objects.all():
        client.get(f"{API}future/shipment/{shipment.pk}")
    client.get(f"{API}future/shipment/feed")


def bring_receipts_home() -> None:
    deliver_due_receipts(timezone.now() + timedelta(days=5))


@each_behaviour
def test_the_api_logs_nothing_personal(
    behaviour: Behaviour, client: APIClient, token: str, log: Callable[[], str]
) -> None:
    numbers = spellings(behaviour.digits)
    for number, said in product(numbers, (BODY, BODY, f"{BODY}!")):
        order = sms(idempotencyId=f"id-{numbers.index(number)}", phoneNumber=number, body=said)
        client.post(SMS_PATH, order, format="json")
    order = sms(idempotencyId="old", phoneNumber=numbers[2], body=BODY)
    client.post(OLD_PATH, instant(order), format="json")
    for kind in ("Plain", "Html"):
        content = {"subject": SUBJECT, "body": BODY, "contentType": kind}
        order = email(idempotencyId=kind, emailAddress=address(behaviour.tag), **content)
        client.post(EMAIL_PATH, order, format="json")
    bring_receipts_home()
    read_back(client)
    assert "handover gateway=simulator" in log()
    assert shown_in(log(), secrets(behaviour, token)) == []


@each_behaviour
def test_the_python_api_neither_logs_nor_raises_anything_personal(
    behaviour: Behaviour, log: Callable[[], str]
) -> None:
    raised = []
    number = spellings(behaviour.digits)[2]
    for _ in range(2):
        for send in (
            lambda: send_sms(number, BODY, idempotency_id="id-1"),
            lambda: send_email(address(behaviour.tag), SUBJECT, BODY, idempotency_id="id-1"),
        ):
            try:
                assert shown_in(repr(send()), secrets(behaviour)) == []
            except NotificationError as error:
                raised.append(everything_about(error))
    bring_receipts_home()
    assert shown_in(log(), secrets(behaviour)) == []
    assert shown_in(" ".join(raised), secrets(behaviour)) == []


REFUSED = [
    sms(phoneNumber="+47 9182 432", body=BODY),
    sms(phoneNumber="+47 9182 4321", body=f"{BODY}\0"),
    sms(phoneNumber="+47 9182 4321", body=BODY * 500),
    sms(phoneNumber=["+47 9182 4321"], body={CODE: BODY}),
    email(emailAddress=f"{LOCAL_PART}@", subject=SUBJECT, body=BODY),
    email(emailAddress=address(""), subject=f"{SUBJECT}\0", body=BODY, contentType=CODE),
    {CODE: BODY, "recipientSms": CODE, "recipientEmail": [LOCAL_PART]},
]


@pytest.mark.parametrize("order", REFUSED)
def test_a_refused_request_is_neither_logged_nor_repeated(
    order: dict[str, Any], client: APIClient, log: Callable[[], str]
) -> None:
    client.post(SMS_PATH, sms(), format="json")
    for path in (SMS_PATH, EMAIL_PATH, OLD_PATH):
        answer = client.post(path, order, format="json")
        assert answer.status_code == 400
        assert shown_in(answer.content.decode(), secrets()) == []
    client.post(SMS_PATH, f'{{"{CODE}": {BODY}', content_type="application/json")
    assert shown_in(log(), secrets()) == []


def test_a_refused_call_of_the_python_api_repeats_nothing(log: Callable[[], str]) -> None:
    send_sms("+4790000000", "hello")
    with pytest.raises(NotificationError) as of_sms:
        send_sms(spellings("")[2] + "0", f"{BODY}\0", sender=CODE * 20)
    with pytest.raises(NotificationError) as of_email:
        send_email(f"{LOCAL_PART}@", f"{SUBJECT}\0", f"{BODY}\0", content_type=CODE)
    for raised in (of_sms, of_email):
        assert shown_in(everything_about(raised.value), secrets()) == []
    assert shown_in(log(), secrets()) == []


@pytest.mark.parametrize("good", [True, False], ids=["expired", "forged"])
def test_a_refused_token_is_not_logged(
    good: bool, client: APIClient, token: str, log: Callable[[], str]
) -> None:
    client.post(SMS_PATH, sms(), format="json")
    bad = tokens.issue("ttd", expires_in=-60) if good else f"{token[:-4]}AAAA"
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {bad}")
    assert client.post(SMS_PATH, sms(), format="json").status_code == 401
    assert "token refused" in log()
    assert shown_in(log(), secrets(ORDINARY, bad, token)) == []


def quote_everything(message: Message) -> Any:
    try:
        raise ConnectionError(f"to {message.destination}: {message.subject} {message.body}")
    except ConnectionError as error:
        raise RuntimeError(f"cannot send {message.body} to {message.destination}") from error


def test_an_unforeseen_error_in_a_gateway_is_not_quoted(
    stub: Any, client: APIClient, token: str, log: Callable[[], str]
) -> None:
    stub.do = quote_everything
    number = spellings("")[3]
    answer = client.post(SMS_PATH, sms(phoneNumber=number, body=BODY), format="json")
    assert answer.status_code == 504
    client.post(
        EMAIL_PATH, email(emailAddress=address(""), subject=SUBJECT, body=BODY), format="json"
    )
    for send in (lambda: send_sms(number, BODY), lambda: send_email(address(""), SUBJECT, BODY)):
        with pytest.raises(NotificationError) as raised:
            send()
        assert shown_in(everything_about(raised.value), secrets()) == []
        assert "RuntimeError at " in str(raised.value)
    read_back(client)
    assert shown_in(log() + answer.content.decode(), secrets(ORDINARY, token)) == []


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (serializers.InstantOrder, "draft"),
        (rules, "measure"),
        (orders, "send"),
        (placing, "_reserve"),
        (placing, "_hand_over"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_unforeseen_error_in_a_view_is_not_quoted(
    place: Any,
    name: str,
    client: APIClient,
    token: str,
    log: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = spellings("")[2]

    def fail(*args: Any, **named: Any) -> None:
        raise LookupError(f"{number} {BODY} {address('')} {SUBJECT} {args} {named}")

    client.post(SMS_PATH, sms(), format="json")
    monkeypatch.setattr(place, name, fail)
    answer = client.post(
        SMS_PATH, sms(idempotencyId="id-2", phoneNumber=number, body=BODY), format="json"
    )
    assert answer.status_code == 500
    assert answer.json()["traceId"] in log()
    assert "LookupError at " in log()
    assert shown_in(log() + answer.content.decode(), secrets(ORDINARY, token)) == []


def test_the_console_logs_nothing_personal(log: Callable[[], str]) -> None:
    send_sms(spellings("")[0], BODY)
    send_email(address(""), SUBJECT, BODY)
    bring_receipts_home()
    console = Client()
    console.force_login(User.objects.create_superuser("root"))
    for shipment in Shipment.objects.all():
        console.get(reverse("admin:instant_notifications_shipment_change", args=[shipment.pk]))
    console.get(reverse("admin:instant_notifications_shipment_changelist"))
    assert shown_in(log(), secrets()) == []


def test_a_lost_key_is_logged_without_what_it_locked(
    configure: Configure, log: Callable[[], str]
) -> None:
    configure(ENCRYPTION_KEYS=["sesame-one"])
    sent = send_sms(spellings("")[0], BODY, idempotency_id="id-1")
    configure(ENCRYPTION_KEYS=["sesame-two"])
    again = send_sms(spellings("")[0], BODY, idempotency_id="id-1")
    assert again.shipment_id == sent.shipment_id
    Shipment.objects.get().deliveries.get()
    assert "ciphertext unreadable" in log()
    assert shown_in(log(), [*secrets(), "sesame"]) == []


def test_no_repr_shows_anything_personal() -> None:
    number = spellings("")[0]
    message = Message(
        reference="r", channel=Channel.SMS, destination=number, body=BODY, sender=SUBJECT
    )
    drafts = [
        orders.sms_draft(
            creator="ttd",
            idempotency_id=CODE,
            senders_reference=CODE,
            destination=number,
            body=BODY,
            sender=SUBJECT,
            time_to_live=60,
        ),
        orders.email_draft(
            creator="ttd",
            idempotency_id=CODE,
            destination=address(""),
            subject=SUBJECT,
            body=BODY,
            content_type="Plain",
            sender=address(""),
        ),
    ]
    sent = send_sms(number, BODY, senders_reference=CODE, idempotency_id=CODE)
    delivery = Shipment.objects.get().deliveries.get()
    for each in (message, *drafts, sent, delivery, delivery.shipment, delivery.shipment.order):
        assert shown_in(f"{each!r} {each!s}", secrets()) == []


def test_a_failure_of_a_known_id_does_not_show_the_id(stub: Any) -> None:
    stub.do = quote_everything
    for _ in range(2):
        with pytest.raises(NotificationError) as raised:
            send_sms(spellings("")[0], BODY, idempotency_id=CODE)
    assert shown_in(everything_about(raised.value), [CODE]) == []


def test_a_hand_over_that_is_cut_short_is_not_logged_as_taken(
    stub: Any, log: Callable[[], str]
) -> None:
    def killed(message: Message) -> Any:
        raise SystemExit

    stub.do = killed
    with pytest.raises(SystemExit):
        send_sms(spellings("")[0], BODY)
    assert "handover gateway=stub" in log()
    assert "outcome=taken" not in log()


PERSON = "13854899999"
NAME = "Kari Nordmann"
CONDITION = "https://example.com/unread/91824321"
CONTACTS = f"""kind;number;name;phone_numbers;email_addresses
person;{PERSON};{NAME};+4791824321;{LOCAL_PART}@example.com
person;{PERSON}0;{NAME};+4791824321;
person;{PERSON};{NAME};91824321 x;{LOCAL_PART}@
{NAME};{PERSON};"{CODE}
"""
ALL_SECRETS = [*secrets(), PERSON, NAME, "91824321"]


def texts() -> dict[str, Any]:
    return {
        "emailSettings": {"subject": f"{SUBJECT} $recipientName$", "body": BODY},
        "smsSettings": {"body": f"$recipientNumber$ {BODY}", "sendingTimePolicy": "Anytime"},
    }


def order_for(**recipient: Any) -> dict[str, Any]:
    (kind,) = recipient
    return {
        "idempotencyId": f"id {kind}",
        "sendersReference": "ref-1",
        "conditionEndpoint": CONDITION,
        "dialogportenAssociation": {"dialogId": "dialog-1"},
        "recipient": {kind: recipient[kind]},
    }


def orders_of_each_kind() -> Iterator[dict[str, Any]]:
    both = texts()
    yield order_for(
        recipientSms={"phoneNumber": "+47 9182 4321", "smsSettings": both["smsSettings"]}
    )
    yield order_for(
        recipientEmail={"emailAddress": address(""), "emailSettings": both["emailSettings"]}
    )
    yield order_for(
        recipientPerson={
            "nationalIdentityNumber": PERSON,
            "channelSchema": "EmailAndSms",
            "resourceId": "urn:altinn:resource:app",
            **both,
        }
    )
    yield order_for(
        recipientExternalIdentity={
            "externalIdentity": f"urn:altinn:person:idporten-email:{LOCAL_PART}@example.com",
            "emailSettings": both["emailSettings"],
        }
    )


@pytest.mark.parametrize("met", [b'{"sendNotification": true}', b'{"sendNotification": "?"}', b""])
def test_regular_orders_are_worked_off_without_a_personal_word(
    met: bytes,
    client: APIClient,
    token: str,
    log: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(*args: Any, **named: Any) -> http.Answer:
        if not met:
            raise http.NoAnswer("no answer in time")
        return http.Answer(200, {}, met)

    monkeypatch.setattr(http, "request", answer)
    regular.keep_contact(
        recipients.person(PERSON), phones=["+4791824321"], emails=[address("")], name=NAME
    )
    urn = f"urn:altinn:person:idporten-email:{address('')}"
    regular.keep_contact(recipients.external(urn), emails=[address("")])
    chains = []
    for order in orders_of_each_kind():
        for _ in range(2):
            placed = client.post(f"{API}future/orders", order, format="json")
            assert placed.status_code in {201, 200}, placed.json()
        chains.append(placed["Location"])
    assert (
        client.post(
            f"{API}future/orders", order_for(recipientPerson={"x": PERSON}), format="json"
        ).status_code
        == 400
    )
    unknown = {"nationalIdentityNumber": PERSON[::-1], **texts()}
    asked = client.post(f"{API}future/orders", order_for(recipientPerson=unknown), format="json")
    regular.work_off()
    bring_receipts_home()
    read = [client.get(chain) for chain in chains]
    client.put(f"{chains[0]}/cancel")
    said = log() + asked.content.decode()
    assert "condition" in said
    assert {each.status_code for each in read} == {200}
    assert shown_in(said, [*ALL_SECRETS, PERSON[::-1], token]) == []


def test_an_import_of_contacts_neither_logs_nor_tells_what_is_in_the_file(
    log: Callable[[], str], tmp_path: Path
) -> None:
    file, report, out = tmp_path / "people.csv", tmp_path / "report.csv", io.StringIO()
    file.write_text(CONTACTS)
    with pytest.raises(CommandError) as refused:
        call_command("import_contacts", str(file), report=str(report), stdout=out, stderr=out)
    assert len(report.read_text().splitlines()) == 5
    told = out.getvalue() + report.read_text() + everything_about(refused.value)
    assert shown_in(log() + told, ALL_SECRETS) == []


def test_what_a_gateway_pushes_of_a_person_is_not_logged(
    configure: Configure, log: Callable[[], str]
) -> None:
    sent = send_sms("+47 9182 4321", BODY)
    delivery = Shipment.objects.get(pk=sent.shipment_id).deliveries.get()
    link = {
        "BACKEND": "instant_notifications.gateways.link_mobility.LinkMobilityGateway",
        "OPTIONS": {
            "url": "https://link.example.com/",
            "user": "u",
            "password": "p",
            "receipts_user": "link",
            "receipts_password": "let-me-in",
        },
    }
    configure(GATEWAYS={"link": link})
    pushes = [
        f"<MSG><ID>1</ID><REF>{delivery.pk}</REF><RCV>4791824321</RCV><STATE>DELIVRD</STATE></MSG>",
        f"<MSG><ID>1</ID><REF>x</REF><RCV>4791824321</RCV><TEXT>{BODY}</TEXT></MSG>",
        f"<OTHER>{BODY} 4791824321</OTHER>",
        f"{BODY} 4791824321",
    ]
    for user, pushed in product(("link:let-me-in", f"link:{CODE}"), pushes):
        pair = base64.b64encode(user.encode()).decode()
        Client().generic(
            "POST",
            f"{API}delivery-reports/link",
            pushed.encode(),
            content_type="text/xml",
            headers={"authorization": f"Basic {pair}"},
        )
    assert "receipts refused gateway=link status=401" in log()
    assert "receipts refused gateway=link status=400" in log()
    assert shown_in(log(), [*ALL_SECRETS, pair]) == []


def test_whatever_is_done_in_the_console_is_not_logged_in_clear(log: Callable[[], str]) -> None:
    """Every link followed and every button pressed, over messages, orders, codes and contacts."""
    send_sms("+4791824321", BODY, senders_reference="ref-1")
    send_email(address(""), SUBJECT, BODY)
    otp.issue("+4791824322", purpose="login")
    regular.keep_contact(
        recipients.person(PERSON), phones=["+4791824321"], emails=[address("")], name=NAME
    )
    regular.sent(regular.order(recipients.person(PERSON), senders_reference="ref-2"))
    bring_receipts_home()
    console = Client()
    console.force_login(User.objects.create_superuser("root"))
    pressed = [visit.path for visit in walk(console, "/admin/") if visit.method == "post"]
    for sought in ("+47 9182 4321", address(""), PERSON, NAME):
        for place in ("shipment", "contactentry"):
            name = f"admin:instant_notifications_{place}_search"
            console.post(reverse(name), {"q": sought, "destination": sought})
    assert any("/reveal/" in path for path in pressed)
    assert any("/resend/" in path for path in pressed)
    assert shown_in(log(), ALL_SECRETS) == []
