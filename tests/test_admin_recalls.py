"""Cancelling shipments of regular orders, and whole orders, from the console."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from instant_notifications import orders
from instant_notifications.admin import recalls
from instant_notifications.exceptions import Unavailable
from instant_notifications.models import Delivery, Intervention, Plan, Shipment
from instant_notifications.orders import Placed, Reminder, send_sms, verdicts
from instant_notifications.orders.verdicts import May
from tests import regular
from tests.console import somebody
from tests.outcomes import fails
from tests.stub import StubGateway, take
from tests.test_admin_acts import at, text_of

pytestmark = pytest.mark.django_db

Stub = type[StubGateway]
WHY = {"because": "the wrong letter"}


@pytest.fixture
def operator(stub: Stub) -> Client:
    return somebody("view_shipment", "end_shipment", "resend_shipment", name="kari")


def waiting(**more: Any) -> Placed:
    return regular.order(**{"at": timezone.now() + timedelta(days=1), **more})


def unsent(stub: Stub, **more: Any) -> Placed:
    stub.do = fails(Unavailable, "503")
    placed = regular.order(**more)
    regular.sent(placed)
    stub.do = take
    return placed


def key_of(placed: Placed) -> str:
    return str(placed.notification.shipment_id)


def buttons(client: Client, placed: Placed) -> dict[str, tuple[str, str]]:
    """By their names: where they lead, and the field they send."""
    html = client.get(at("change", key_of(placed))).content.decode()
    form = r'<form method="post" action="([^"]*)">(?:(?!</form>).)*?name="(\w+)" value="[^"]*">'
    found = re.findall(form + r'\s*<input type="submit" value="([^"]*) …"', html, re.S)
    return {title: (address, field) for address, field, title in found}


def review(client: Client, placed: Placed, field: str = recalls.SHIPMENT) -> Any:
    return client.post(at("cancel-review"), {field: key_of(placed)})


def cancel(client: Client, placed: Placed, field: str = recalls.SHIPMENT, **form: str) -> str:
    return text_of(client.post(at("cancel"), {field: key_of(placed), **WHY, **form}))


def status(placed: Placed) -> str:
    return regular.standing(placed.notification.shipment_id)[0]


def test_what_waits_is_cancelled_with_a_reason_and_leaves_a_trace(operator: Client) -> None:
    placed = waiting()
    assert buttons(operator, placed) == {"Cancel": (at("cancel-review"), "shipment")}
    shown = text_of(review(operator, placed))
    assert "Order_Registered It waits, and then will never be sent." in shown
    assert "Cancelled: it will not be sent." in cancel(operator, placed)
    assert status(placed) == "Order_Cancelled"
    plan = Plan.objects.get()
    assert (plan.ended_by, plan.ended_because) == ("kari", "the wrong letter")
    entry = LogEntry.objects.get()
    assert entry.object_id == key_of(placed)
    assert entry.get_change_message() == "Cancelled: the wrong letter"
    assert buttons(operator, placed) == {}


def test_nothing_happens_without_a_reason(operator: Client) -> None:
    placed = waiting()
    answer = operator.post(at("cancel"), {"shipment": key_of(placed), "because": " "})
    assert "Say why" in text_of(answer)
    assert f'name="shipment" value="{key_of(placed)}"' in answer.content.decode()
    assert status(placed) == "Order_Registered"


def test_a_second_press_is_told_and_not_logged(operator: Client) -> None:
    placed = waiting()
    cancel(operator, placed)
    assert "It was cancelled already." in cancel(operator, placed, because="again")
    assert "It is cancelled already." in text_of(review(operator, placed))
    assert LogEntry.objects.count() == 1
    assert Plan.objects.get().ended_because == "the wrong letter"


def test_it_may_be_too_late(operator: Client) -> None:
    placed = waiting()
    Plan.objects.update(due_at=timezone.now())
    regular.sent(placed)
    assert "nobody can call it back" in text_of(review(operator, placed))
    assert buttons(operator, placed).keys() == {"Send again"}
    assert "Too late: nothing is left that could be cancelled." in cancel(operator, placed)
    assert LogEntry.objects.get().get_change_message() == (
        "Cancelled, without success: the wrong letter"
    )


def test_what_is_tried_again_is_cancelled_and_it_is_noted_who_did_it(
    operator: Client, stub: Stub
) -> None:
    placed = unsent(stub)
    assert "What was not sent yet never will be." in text_of(review(operator, placed))
    assert "Cancelled: it will not be sent." in cancel(operator, placed)
    deed = Intervention.objects.get()
    assert (deed.kind, deed.by, deed.because) == ("cancel", "kari", "the wrong letter")
    assert "Not sent: kari cancelled it." in text_of(operator.get(at("change", key_of(placed))))


def test_what_has_left_in_part_is_cancelled_in_part(operator: Client, stub: Stub) -> None:
    regular.keep_contact(regular.COMPANY, phones=[regular.NUMBER], emails=[regular.ADDRESS])
    placed = unsent(stub, to=regular.COMPANY)
    Delivery.objects.filter(channel="sms").update(handover="taken", due_at=None)
    assert "Cancelled: what had not left will not be sent." in cancel(operator, placed)
    assert status(placed) == "Order_Processed"
    assert Intervention.objects.get().delivery.channel == "email"


@pytest.mark.parametrize("by", ["kari", ""])
def test_what_was_cancelled_is_sent_again_only_by_who_is_sure(
    by: str, operator: Client, stub: Stub
) -> None:
    placed = unsent(stub)
    because = "the wrong letter" if by else ""
    orders.cancel_order("local", placed.order_id, by=by, because=because)
    (matter,) = verdicts.to_judge([Delivery.objects.get().pk])
    assert verdicts.may_resend(matter, timezone.now()).may is May.IF_SURE


def test_a_resend_of_what_waits_says_what_becomes_of_it(operator: Client, stub: Stub) -> None:
    placed = unsent(stub)
    said = text_of(operator.post(at("resend-review"), {"shipment": key_of(placed)}))
    assert "A new one goes now, and this one never." in said


def test_the_whole_order_goes_with_its_reminders(operator: Client) -> None:
    placed = waiting(reminders=[Reminder(days=1, sms=regular.SMS)])
    assert buttons(operator, placed) == {
        "Cancel this shipment": (at("cancel-review"), "shipment"),
        "Cancel the whole order": (at("cancel-review"), "whole_order_of"),
    }
    shown = text_of(review(operator, placed, recalls.WHOLE_ORDER))
    assert f"The whole order {placed.order_id}" in shown
    assert "Shipments that wait: 2. Messages that are not sent yet: 0." in shown
    said = cancel(operator, placed, recalls.WHOLE_ORDER)
    assert "Cancelled: what had not left will not be sent." in said
    assert set(Plan.objects.values_list("ended", "ended_by")) == {("cancelled", "kari")}
    entry = LogEntry.objects.get()
    assert entry.object_id == key_of(placed)
    assert entry.get_change_message() == (
        f"Cancelled the whole order {placed.order_id}: the wrong letter"
    )
    assert "It was cancelled already." in cancel(operator, placed, recalls.WHOLE_ORDER)


def test_a_whole_order_that_has_left_is_too_late(operator: Client) -> None:
    placed = regular.order(regular.phones(2), email=None)
    regular.sent(placed)
    said = cancel(operator, placed, recalls.WHOLE_ORDER)
    assert "Too late: nothing is left that could be cancelled." in said


def test_one_shipment_of_several_goes_alone(operator: Client) -> None:
    placed = waiting(to=regular.phones(2), email=None)
    cancel(operator, placed)
    assert sorted(Plan.objects.values_list("ended", flat=True)) == ["", "cancelled"]


def test_ticked_ones_of_both_kinds_are_cancelled_together(operator: Client, stub: Stub) -> None:
    placed = waiting()
    stub.do = fails(Unavailable, "503")
    with pytest.raises(Unavailable):
        send_sms(regular.NUMBER, "x")
    ticked = [str(key) for key in Shipment.objects.values_list("pk", flat=True)]
    shown = operator.post(at("changelist"), {"action": "cancel", "_selected_action": ticked})
    assert "Cancel (2)" in shown.content.decode()
    tokens = re.findall(r'name="(delivery|shipment)" value="([^"]+)"', shown.content.decode())
    answer = operator.post(at("cancel"), {**dict(tokens), **WHY})
    assert text_of(answer).count("Cancelled: it will not be sent.") == 2
    assert status(placed) == "Order_Cancelled"
    assert Delivery.objects.get().handover == "refused"


def test_the_page_costs_the_same_for_many(operator: Client) -> None:
    def statements(number: int) -> int:
        placed = waiting(to=regular.phones(number), email=None)
        keys = [str(key) for key in regular.shipments(placed)]
        with CaptureQueriesContext(connection) as queries:
            shown = operator.post(at("cancel-review"), {"shipment": keys})
        assert shown.content.decode().count('name="shipment"') == number
        return len(queries)

    statements(1)
    assert statements(2) == statements(9)


def test_who_may_not_sees_no_button_and_is_refused(operator: Client) -> None:
    placed = waiting()
    reader = somebody("view_shipment", name="reader")
    assert buttons(reader, placed) == {}
    for view in ("cancel", "cancel-review"):
        for field in (recalls.SHIPMENT, recalls.WHOLE_ORDER):
            form = {field: key_of(placed), **WHY}
            assert reader.post(at(view), form).status_code == 403
            assert operator.get(at(view), form).status_code == 405
    assert status(placed) == "Order_Registered"


@pytest.mark.parametrize("field", [recalls.SHIPMENT, recalls.WHOLE_ORDER])
@pytest.mark.parametrize("key", ["", "x", "01990000-0000-7000-8000-000000000000", "\0"])
def test_a_forged_form_does_nothing(field: str, key: str, operator: Client) -> None:
    placed = waiting()
    for view in ("cancel", "cancel-review", "resend", "expire"):
        answer = operator.post(at(view), {field: key, **WHY})
        assert "There is nothing to do it to." in text_of(answer)
    for view in ("resend", "expire"):
        operator.post(at(view), {field: key_of(placed), **WHY})
    assert status(placed) == "Order_Registered"
    assert not LogEntry.objects.exists()


def test_an_instant_message_is_no_order_to_cancel(operator: Client) -> None:
    sent = send_sms(regular.NUMBER, "x")
    for field in (recalls.SHIPMENT, recalls.WHOLE_ORDER):
        answer = operator.post(at("cancel"), {field: str(sent.shipment_id), **WHY})
        assert "There is nothing to do it to." in text_of(answer)
