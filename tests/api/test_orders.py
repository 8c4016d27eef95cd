"""Contract for regular orders §2: what the routes answer, and what becomes of an order."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError

from instant_notifications import contacts, orders, recipients
from instant_notifications.contacts.local import digests
from instant_notifications.exceptions import Unavailable
from instant_notifications.models import ContactEntry, FeedEntry, Order, Shipment
from instant_notifications.recipients import Kind
from tests.api.conftest import (
    EMAIL,
    FEED,
    ORDER,
    RECIPIENTS,
    SMS,
    cancel_path,
    invalid,
    order,
    post,
    problem,
    reminder,
    shipment_path,
)
from tests.clock import Clock
from tests.conftest import API
from tests.outcomes import fails, rows_left
from tests.threads import at_once

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

LATER = "2100-01-04T08:00:00Z"
REPLAY_HEADERS = ("Idempotent-Replayed", "Idempotent-Payload-Mismatch")
ONLY_COUNTED = ["instant_notifications.Allowance"]
"""What a request leaves that has counted towards a limit, and has changed nothing else."""
every_kind = pytest.mark.parametrize("kind", RECIPIENTS)

IDENTITIES = {
    "recipientPerson": (Kind.PERSON, "13854899999"),
    "recipientOrganization": (Kind.ORGANISATION, "312508729"),
    "recipientExternalIdentity": (
        Kind.EXTERNAL,
        "urn:altinn:person:idporten-email:kari@example.com",
    ),
}


def order_path(answer: Any) -> str:
    return f"{ORDER.path}/{answer.json()['notificationOrderId']}"


def reminder_path(answer: Any, place: int = 0) -> str:
    reminded = answer.json()["notification"]["reminders"][place]["shipmentId"]
    return f"{API}future/shipment/{reminded}"


def statuses(chain: Any) -> list[str]:
    """The order's word for the message and for each reminder."""
    body = chain.json()
    return [each["status"] for each in (body["notification"], *body.get("reminders", []))]


@pytest.fixture
def everybody_is_known() -> None:
    for kind, number in IDENTITIES.values():
        ContactEntry(
            kind=kind,
            digest=digests(kind, number)[0],
            number=number,
            phone_numbers=["+4799999999"],
            email_addresses=["kari@example.com"],
        ).save()


@pytest.mark.usefixtures("everybody_is_known")
@every_kind
def test_an_order_is_registered_and_answered_201(kind: str, api: Any, stub: Any) -> None:
    answer = post(api, ORDER, order(kind))
    placed = Order.objects.get()
    shipment = placed.shipments.get()
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == {
        "notificationOrderId": str(placed.pk),
        "notification": {"shipmentId": str(shipment.pk), "sendersReference": "ref-1"},
    }
    assert not [name for name in REPLAY_HEADERS if name in answer]
    assert (placed.creator, shipment.creator, shipment.type) == ("ttd", "ttd", "Notification")
    assert stub.seen == []


def test_reminders_are_answered_in_the_order_they_were_asked_for(api: Any, stub: Any) -> None:
    references = [{"sendersReference": "a"}, {}, {"sendersReference": "c"}]
    answer = post(api, ORDER, order(reminders=[reminder(**each) for each in references]))
    answered = answer.json()["notification"]["reminders"]
    assert [set(each) - {"shipmentId"} for each in answered] == [
        {"sendersReference"},
        set(),
        {"sendersReference"},
    ]
    assert [each.get("sendersReference") for each in answered] == ["a", None, "c"]
    rows = {str(each.pk): each.type for each in Shipment.objects.all()}
    assert {rows[each["shipmentId"]] for each in answered} == {"Reminder"}
    assert len(rows) == 4


@pytest.mark.parametrize("reference", [..., None, "", "  "], ids=repr)
def test_an_absent_reference_is_left_out(reference: Any, api: Any, stub: Any) -> None:
    answer = post(api, ORDER, order(sendersReference=reference))
    assert set(answer.json()["notification"]) == {"shipmentId"}
    assert "sendersReference" not in api.get(order_path(answer)).json()["notification"]


def test_the_location_leads_to_the_order(api: Any, stub: Any) -> None:
    answer = post(api, ORDER)
    assert answer["Location"] == f"http://testserver{order_path(answer)}"
    chain = api.get(answer["Location"])
    assert chain.status_code == 200
    assert chain.json()["notificationOrderId"] == answer.json()["notificationOrderId"]


@pytest.mark.urls("tests.api.urls_elsewhere")
@pytest.mark.parametrize("mount", ["/elsewhere/", "/outer/deep/"])
def test_the_location_follows_the_mount(mount: str, api: Any, stub: Any) -> None:
    answer = api.post(f"{mount}future/orders", order(), format="json")
    order_id = answer.json()["notificationOrderId"]
    assert answer["Location"] == f"http://testserver{mount}future/orders/{order_id}"
    assert api.get(answer["Location"]).status_code == 200


def test_the_chain_shows_the_order_with_all_its_shipments(
    api: Any, stub: Any, clock: Clock
) -> None:
    request = order(
        requestedSendTime="2100-01-04T09:00:00+01:00",
        dialogportenAssociation={"dialogId": "d-1", "transmissionId": "t-1"},
        reminders=[
            reminder(sendersReference="ref-2"),
            reminder(delayDays=..., requestedSendTime="2100-03-01T00:00:00Z"),
        ],
    )
    answer = post(api, ORDER, request)
    placed = answer.json()
    first, *reminders = placed["notification"], *placed["notification"]["reminders"]
    now = clock().astimezone(UTC).isoformat().replace("+00:00", "Z")
    waiting = {"status": "Order_Registered", "lastUpdate": now, "recipients": []}
    assert api.get(order_path(answer)).json() == {
        "notificationOrderId": placed["notificationOrderId"],
        "created": now,
        "dialogportenAssociation": {"dialogId": "d-1", "transmissionId": "t-1"},
        "notification": {
            "shipmentId": first["shipmentId"],
            "sendersReference": "ref-1",
            "type": "Notification",
            **waiting,
            "requestedSendTime": LATER,
        },
        "reminders": [
            {
                "shipmentId": reminders[0]["shipmentId"],
                "sendersReference": "ref-2",
                "type": "Reminder",
                **waiting,
                "requestedSendTime": "2100-01-11T08:00:00Z",
            },
            {
                "shipmentId": reminders[1]["shipmentId"],
                "type": "Reminder",
                **waiting,
                "requestedSendTime": "2100-03-01T00:00:00Z",
            },
        ],
    }


def test_what_an_order_has_not_is_left_out_of_its_chain(api: Any, stub: Any) -> None:
    chain = api.get(order_path(post(api, ORDER, order(dialogportenAssociation={})))).json()
    assert set(chain) == {"notificationOrderId", "created", "notification"}


def test_without_a_time_it_is_asked_for_now(api: Any, stub: Any, clock: Clock) -> None:
    shown = api.get(order_path(post(api, ORDER))).json()["notification"]["requestedSendTime"]
    assert datetime.fromisoformat(shown) == clock()


def test_several_recipients_are_told_one_by_one(api: Any, stub: Any) -> None:
    placed = orders.place_order(
        [recipients.mailbox(f"{name}@example.com") for name in ("kari", "ola", "siv")],
        email=orders.Email(subject="Hi", body="Hello"),
        reminders=[orders.Reminder(days=1, email=orders.Email(subject="Hi", body="Again"))],
        creator="ttd",
    )
    chain = api.get(f"{ORDER.path}/{placed.order_id}").json()
    assert chain["notification"] == chain["notifications"][0]
    assert chain["notification"]["shipmentId"] == str(placed.notification.shipment_id)
    assert len({each["shipmentId"] for each in chain["notifications"]}) == 3
    assert len({each["shipmentId"] for each in chain["reminders"]}) == 3


def test_each_shipment_has_its_manifest(api: Any, stub: Any) -> None:
    answer = post(api, ORDER, order(requestedSendTime=LATER, reminders=[reminder()]))
    for path, word in (
        (shipment_path(answer), "Notification"),
        (reminder_path(answer), "Reminder"),
    ):
        manifest = api.get(path).json()
        assert (manifest["type"], manifest["status"]) == (word, "Order_Registered")
        assert manifest["recipients"] == []


def test_what_is_due_is_sent_once_the_order_is_committed(
    api: Any, stub: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = post(api, ORDER, order(reminders=[reminder()]))
    assert [message.destination for message in stub.seen] == ["kari@example.com"]
    chain = api.get(order_path(answer))
    assert statuses(chain) == ["Order_Processed", "Order_Registered"]
    (recipient,) = chain.json()["notification"]["recipients"]
    assert (recipient["type"], recipient["destination"]) == ("Email", "kari@example.com")


def test_the_same_id_is_answered_200_and_registers_nothing(
    api: Any, stub: Any, clock: Clock
) -> None:
    request = order(reminders=[reminder(), reminder(delayDays=9)])
    first = post(api, ORDER, request)
    clock.go(timedelta(hours=1))
    second = post(api, ORDER, request)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert second["Location"] == first["Location"]
    assert second["Idempotent-Replayed"] == "true"
    assert "Idempotent-Payload-Mismatch" not in second
    assert Order.objects.count() == 1
    assert Shipment.objects.count() == 3


CHANGED: dict[str, dict[str, Any]] = {
    "recipient": {"recipient": {"recipientSms": RECIPIENTS["recipientSms"]}},
    "text": {
        "recipient": {
            "recipientEmail": {
                "emailAddress": "kari@example.com",
                "emailSettings": {"subject": "Tax return", "body": "other"},
            }
        }
    },
    "time": {"requestedSendTime": "2100-01-05T08:00:00Z"},
    "no time": {"requestedSendTime": ...},
    "condition": {"conditionEndpoint": "https://example.com/x"},
    "reminder": {"reminders": [reminder(), reminder()]},
    "no reminder": {"reminders": []},
    "delay": {"reminders": [reminder(delayDays=8)]},
}
UNCHANGED: dict[str, Any] = {"requestedSendTime": LATER, "reminders": [reminder()]}
every_change = pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)


@every_change
def test_other_content_under_a_known_id_is_marked_and_logged(
    change: Any, api: Any, stub: Any, caplog: Any
) -> None:
    first = post(api, ORDER, order(**UNCHANGED))
    second = post(api, ORDER, order(**UNCHANGED | change))
    assert second.status_code == 200
    assert second.json() == first.json()
    assert second["Idempotent-Replayed"] == second["Idempotent-Payload-Mismatch"] == "true"
    warned = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    order_id = first.json()["notificationOrderId"]
    assert warned == [f"idempotency content differs order={order_id}"]
    assert Order.objects.count() == 1


@every_change
def test_strict_mode_refuses_other_content(
    change: Any, api: Any, stub: Any, configure: Configure
) -> None:
    configure(IDEMPOTENCY_MISMATCH="reject")
    post(api, ORDER, order(**UNCHANGED))
    problem(post(api, ORDER, order(**UNCHANGED | change)), 422, "IN-00004")
    assert post(api, ORDER, order(**UNCHANGED)).status_code == 200


def test_another_spelling_is_not_other_content(api: Any, stub: Any) -> None:
    post(api, ORDER, order("recipientSms", requestedSendTime=LATER))
    spelt = order("recipientSms", requestedSendTime="2100-01-04T09:00:00.000+01:00")
    spelt["recipient"]["recipientSms"]["phoneNumber"] = "0047 99 99 99 99"
    assert "Idempotent-Payload-Mismatch" not in post(api, ORDER, spelt)


def test_a_repeat_is_answered_also_when_its_times_have_passed(
    api: Any, stub: Any, clock: Clock
) -> None:
    soon = (clock() + timedelta(minutes=1)).isoformat()
    own = reminder(delayDays=..., requestedSendTime=soon)
    request = order(requestedSendTime=soon, reminders=[own])
    first = post(api, ORDER, request)
    clock.go(timedelta(hours=1))
    second = post(api, ORDER, request)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert "Idempotent-Payload-Mismatch" not in second
    past = ["RequestedSendTime must be greater than or equal to now."]
    both = {"requestedSendTime": past, "reminders[0].requestedSendTime": past}
    assert invalid(post(api, ORDER, request | {"idempotencyId": "id-2"})) == both
    wrong_too = post(api, ORDER, request | {"conditionEndpoint": "x"})
    assert set(invalid(wrong_too)) == {*both, "conditionEndpoint"}


def test_orders_have_ids_of_their_own(api: Any, stub: Any) -> None:
    answers = [post(api, route) for route in (SMS, EMAIL, ORDER)]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert Order.objects.count() == 3


def test_organisations_have_ids_of_their_own(client_of: Any, stub: Any) -> None:
    answers = [post(client_of(name), ORDER) for name in ("ttd", "skd")]
    assert [answer.status_code for answer in answers] == [201, 201]


@pytest.mark.django_db(transaction=True)
def test_of_equal_requests_at_once_one_registers_and_all_are_answered(
    client_of: Any, stub: Any
) -> None:
    request = order(requestedSendTime=LATER, reminders=[reminder()])
    answers = at_once(*[lambda: post(client_of(), ORDER, request)] * 8)
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.content for answer in answers}) == 1
    assert len({answer["Location"] for answer in answers}) == 1
    assert Order.objects.count() == 1
    assert Shipment.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_equal_requests_at_once_one_is_worked_off(client_of: Any, stub: Any) -> None:
    answers = at_once(*[lambda: post(client_of(), ORDER)] * 6)
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len(stub.seen) == 1


@pytest.mark.parametrize("kind", IDENTITIES)
@pytest.mark.parametrize("reminded", [False, True], ids=["message", "reminder"])
def test_whom_nobody_can_reach_gets_422_and_nothing_is_left(
    kind: str, reminded: bool, api: Any, stub: Any, caplog: Any
) -> None:
    request = order(reminders=[reminder(), reminder(kind)]) if reminded else order(kind)
    answer = post(api, ORDER, request)
    body = problem(answer, 422, "NOT-00001")
    assert body["title"] == "Missing contact information for recipient(s)"
    assert rows_left() == ONLY_COUNTED
    said = answer.content.decode() + caplog.text
    assert not [secret for secret in ("13854899999", "312508729", "kari") if secret in said]


def test_the_id_of_an_unreachable_recipient_stays_free(api: Any, stub: Any) -> None:
    post(api, ORDER, order("recipientPerson"))
    assert post(api, ORDER).status_code == 201


def test_a_reserved_person_is_not_missing(api: Any, stub: Any) -> None:
    kind, number = IDENTITIES["recipientPerson"]
    digest = digests(kind, number)[0]
    ContactEntry(kind=kind, digest=digest, number=number, reserved=True).save()
    assert post(api, ORDER, order("recipientPerson")).status_code == 201


@pytest.mark.parametrize(
    ("at", "failure"),
    [
        ((contacts, "look_up"), fails(Unavailable, "register away")),
        ((orders, "place"), fails(OperationalError, "secret +4799999999")),
    ],
    ids=["register", "database"],
)
def test_what_is_away_registers_nothing_and_says_so(
    at: Any, failure: Any, api: Any, stub: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def away(*args: Any, **named: Any) -> None:
        failure(None)

    monkeypatch.setattr(*at, away)
    answer = post(api, ORDER, order("recipientPerson"))
    problem(answer, 503, "NOT-00004")
    assert int(answer["Retry-After"]) > 0
    assert rows_left() == ONLY_COUNTED
    assert "secret" not in caplog.text + answer.content.decode()


def test_a_cancelled_order_is_shown_as_such(api: Any, stub: Any) -> None:
    answer = post(api, ORDER, order(requestedSendTime=LATER, reminders=[reminder()]))
    cancelled = api.put(cancel_path(order_path(answer)))
    assert cancelled.status_code == 200
    assert statuses(cancelled) == ["Order_Cancelled", "Order_Cancelled"]
    assert api.get(order_path(answer)).json() == cancelled.json()
    assert api.get(shipment_path(answer)).json()["status"] == "Order_Cancelled"


def test_what_is_cancelled_already_may_be_cancelled_again(api: Any, stub: Any) -> None:
    answer = post(api, ORDER, order(requestedSendTime=LATER))
    for path in (order_path(answer), shipment_path(answer)):
        first, second = (api.put(cancel_path(path)) for _ in range(2))
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json() == second.json()
    assert FeedEntry.objects.count() == 1


def test_a_cancelled_order_is_told_in_the_feed(api: Any, stub: Any) -> None:
    answer = post(api, ORDER, order(requestedSendTime=LATER))
    api.put(cancel_path(order_path(answer)))
    (entry,) = api.get(FEED).json()
    assert entry["shipmentId"] == answer.json()["notification"]["shipmentId"]
    assert (entry["status"], entry["recipients"]) == ("Order_Cancelled", [])


def test_what_is_cancelled_is_not_sent(
    api: Any, stub: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = post(api, ORDER)
        api.put(cancel_path(order_path(answer)))
    assert stub.seen == []


def test_one_shipment_is_cancelled_and_the_others_go_on(api: Any, stub: Any) -> None:
    answer = post(api, ORDER, order(requestedSendTime=LATER, reminders=[reminder(), reminder()]))
    cancelled = api.put(cancel_path(reminder_path(answer)))
    assert cancelled.status_code == 200
    assert cancelled.json() == api.get(reminder_path(answer)).json()
    assert statuses(api.get(order_path(answer))) == [
        "Order_Registered",
        "Order_Cancelled",
        "Order_Registered",
    ]


@pytest.mark.parametrize("path_of", [order_path, shipment_path])
def test_what_is_under_way_cannot_be_cancelled(
    path_of: Callable[[Any], str], api: Any, stub: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = post(api, ORDER)
    body = problem(api.put(cancel_path(path_of(answer))), 409, "IN-00007")
    assert body["title"] == "Everything is already under way"
    assert statuses(api.get(order_path(answer))) == ["Order_Processed"]


def test_of_an_order_under_way_the_reminder_is_cancelled(
    api: Any, stub: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = post(api, ORDER, order(reminders=[reminder()]))
    cancelled = api.put(cancel_path(order_path(answer)))
    assert cancelled.status_code == 200
    assert statuses(cancelled) == ["Order_Processed", "Order_Cancelled"]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", ""),
        (b"", "application/json"),
        (b"{}", "application/json"),
        (b"[1]", "application/json"),
        (b"{", "application/json"),
        (b"\xff\x00", "application/octet-stream"),
        (b"a=b", "application/x-www-form-urlencoded"),
        (b"x" * 1_100_000, "text/plain"),
    ],
    ids=["nothing", "empty", "object", "array", "broken", "binary", "form", "megabyte"],
)
def test_to_cancel_needs_no_body_and_reads_none(
    body: bytes, content_type: str, api: Any, stub: Any
) -> None:
    answer = post(api, ORDER, order(requestedSendTime=LATER))
    for path in (shipment_path(answer), order_path(answer)):
        told = api.generic("PUT", cancel_path(path), body, content_type=content_type)
        assert told.status_code == 200, told.content


def test_an_instant_message_is_no_order_to_read_or_cancel(api: Any, stub: Any) -> None:
    answer = post(api, SMS)
    problem(api.get(order_path(answer)), 404, "NOT-00003")
    problem(api.put(cancel_path(order_path(answer))), 404, "NOT-00003")
    problem(api.put(cancel_path(shipment_path(answer))), 404, "NOT-00003")


def test_a_foreign_order_is_as_unknown_as_any_other(client_of: Any, stub: Any) -> None:
    ours, theirs = client_of("ttd"), client_of("skd")
    answer = post(ours, ORDER, order(requestedSendTime=LATER))
    nobodys = f"{ORDER.path}/{uuid4()}"
    read = [theirs.get(path) for path in (order_path(answer), nobodys, f"{ORDER.path}/nonsense")]
    cancelled = [
        theirs.put(cancel_path(path))
        for path in (
            *(order_path(answer), nobodys, f"{ORDER.path}/nonsense"),
            *(shipment_path(answer), f"{API}future/shipment/{uuid4()}"),
            f"{API}future/shipment/nonsense",
        )
    ]
    bodies = [problem(each, 404, "NOT-00003") for each in (*read, *cancelled)]
    assert all(body == bodies[0] for body in bodies)
    assert statuses(ours.get(order_path(answer))) == ["Order_Registered"]


def test_an_order_and_a_shipment_are_not_mistaken_for_each_other(api: Any, stub: Any) -> None:
    answer = post(api, ORDER, order(requestedSendTime=LATER)).json()
    order_id, shipment_id = answer["notificationOrderId"], answer["notification"]["shipmentId"]
    problem(api.get(f"{ORDER.path}/{shipment_id}"), 404, "NOT-00003")
    problem(api.put(f"{ORDER.path}/{shipment_id}/cancel"), 404, "NOT-00003")
    problem(api.put(f"{API}orders/{order_id}/cancel"), 404, "NOT-00003")


@pytest.mark.parametrize("name", ["x", "0", "%00", "%ff", "'", "null", "9" * 5000, "é", "instant"])
def test_what_is_no_id_is_404(name: str, api: Any) -> None:
    if name != "instant":  # that one is the deprecated route
        problem(api.get(f"{ORDER.path}/{name}"), 404, "NOT-00003")
    problem(api.put(f"{ORDER.path}/{name}/cancel"), 404, "NOT-00003")
    problem(api.put(f"{API}orders/{name}/cancel"), 404, "NOT-00003")


@every_kind
@pytest.mark.usefixtures("everybody_is_known")
def test_nothing_personal_is_logged(kind: str, api: Any, stub: Any, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG, "instant_notifications")
    request = order(
        kind, requestedSendTime=LATER, conditionEndpoint="https://example.com/confidential"
    )
    answer = post(api, ORDER, request)
    post(api, ORDER, request | {"conditionEndpoint": None})
    api.get(order_path(answer))
    api.put(cancel_path(order_path(answer)))
    personal = (
        "13854899999",
        "312508729",
        "99999999",
        "kari",
        "confidential",
        "tax return",
        "ref-1",
    )
    assert not [each for each in personal if each in caplog.text]
