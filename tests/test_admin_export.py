import csv
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from instant_notifications import orders
from instant_notifications.admin import export, lists
from instant_notifications.admin.lists import Sought
from instant_notifications.models import Shipment
from instant_notifications.orders import send_email, send_sms
from tests import regular
from tests.clock import Clock
from tests.console import somebody

PHONE = "+4799887766"
ADDRESS = "kari.nordmann@example.com"

LIST = reverse("admin:instant_notifications_shipment_changelist")
EXPORT = reverse("admin:instant_notifications_shipment_export")

pytestmark = pytest.mark.django_db


def client_who_may(*actions: str) -> Client:
    codenames = [f"{action}_shipment" for action in ("view", *actions)]
    return somebody(*codenames, name="-".join(("viewer", *actions)))


def an_sms(**more: Any) -> str:
    return str(send_sms(PHONE, "Your code is 428516", **more).shipment_id)


def an_email(**more: Any) -> str:
    return str(send_email(ADDRESS, "A word", "Your code is 428516", **more).shipment_id)


def read(answer: Any) -> list[dict[str, str]]:
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(StringIO(text, newline="")))


def test_each_delivery_is_one_masked_line(admin_client: Client) -> None:
    first = an_sms(senders_reference="Gjøvik, 1")
    second = an_email()
    email, sms = read(admin_client.post(EXPORT))
    assert (email["shipment"], email["destination"]) == (second, "k***@example.com")
    assert (sms["shipment"], sms["destination"]) == (first, "'+47 ** ** ** 66")
    assert sms["senders_reference"] == "Gjøvik, 1"
    assert (sms["status"], sms["handover"], sms["attempts"]) == ("SMS_Accepted", "taken", "1")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", sms["created"])
    assert sms["completed"] == ""


def test_what_is_only_planned_has_a_line_of_its_own(admin_client: Client, clock: Clock) -> None:
    clock.now = datetime(2026, 6, 10, 10, tzinfo=UTC)
    waiting = regular.order(at=clock.now + timedelta(days=1), senders_reference="ref-1")
    cancelled = regular.order(iter([regular.PERSON]), at=clock.now + timedelta(days=1))
    orders.cancel_order("local", cancelled.order_id)
    form = {"in_clear": "1", "because": "Audit"}
    ended, planned = read(admin_client.post(EXPORT, form))
    assert (planned["shipment"], planned["order"]) == (
        str(waiting.notification.shipment_id),
        str(waiting.order_id),
    )
    assert (planned["kind"], planned["status"]) == ("Notification", "Order_Registered")
    assert (planned["senders_reference"], planned["channel"]) == ("ref-1", "")
    assert (planned["due"], planned["completed"]) == ("2026-06-11T10:00:00.000+00:00", "")
    assert (ended["status"], ended["due"]) == ("Order_Cancelled", "")
    assert ended["completed"] == "2026-06-10T10:00:00.000+00:00"
    assert not [cell for line in (ended, planned) for cell in line.values() if "999" in cell]


def test_planned_ones_cost_no_more(admin_client: Client) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as queries:
            read(admin_client.post(EXPORT))
        return len(queries)

    regular.order(email=None)
    statements()
    few = statements()
    regular.order(regular.phones(7), email=None)
    assert statements() == few


def test_only_what_matches_the_filters_is_exported_however_far_back(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKS_THROUGH", 1)
    key = an_email()
    an_sms()
    assert [each["shipment"] for each in read(admin_client.post(f"{EXPORT}?channel=email"))] == [
        key
    ]
    assert read(admin_client.post(f"{EXPORT}?since=nonsense")) == []
    assert admin_client.post(f"{EXPORT}?group=nonsense").headers["Location"] == LIST


def test_many_are_read_in_bounded_stretches(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[bool] = []
    monkeypatch.setattr(export, "release_pooled_connection", lambda: released.append(True))
    monkeypatch.setattr(export, "CHUNK", 2)
    keys = [an_sms() for _ in range(5)][::-1]
    shipments = Shipment.objects.prefetch_related("deliveries")
    pieces = export.lines(Sought(shipments, shipments), export.masked)
    with CaptureQueriesContext(connection) as queries:
        begun = next(pieces)
    assert begun.startswith('\ufeff"shipment","order",')
    assert len(queries) == 0
    with CaptureQueriesContext(connection) as queries:
        assert next(pieces).count("\r\n") == 2
    assert len(queries) == 2
    assert released == [True]
    assert [each["shipment"] for each in read(admin_client.post(EXPORT))] == keys


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_computes_nothing(begin: str, admin_client: Client) -> None:
    an_sms()
    Shipment.objects.update(senders_reference=f"{begin}1+1")
    (line,) = read(admin_client.post(EXPORT))
    assert line["senders_reference"] == f"'{begin}1+1"


def act(client: Client, action: str, *keys: str) -> Any:
    return client.post(LIST, {"action": action, "index": "0", "_selected_action": keys})


def test_checked_rows_are_exported_alone_and_once_logged(admin_client: Client) -> None:
    key, _other = an_sms(), an_sms()
    assert [each["shipment"] for each in read(act(admin_client, "export_masked", key))] == [key]
    entry = LogEntry.objects.get()
    assert entry.user.get_username() == "admin"
    assert entry.change_message == "Exported checked shipments (1), destinations masked."


def test_destinations_in_clear_cost_a_reason_and_leave_a_trace(admin_client: Client) -> None:
    key, _other = an_sms(), an_sms()
    asked = act(admin_client, "export_in_clear", key).content.decode()
    assert re.search(rf'name="_selected_action" value="{key}"', asked)
    form = {"_selected_action": key, "in_clear": "1"}
    assert "Say why" in admin_client.post(EXPORT, {**form, "because": " "}).content.decode()
    assert not LogEntry.objects.exists()
    (line,) = read(admin_client.post(EXPORT, {**form, "because": "Police case 17"}))
    assert (line["shipment"], line["destination"]) == (key, f"'{PHONE}")
    told = LogEntry.objects.get().change_message
    assert told == "Exported checked shipments (1), destinations in clear: Police case 17"


def test_filters_are_kept_while_the_reason_is_asked_for_and_logged(admin_client: Client) -> None:
    an_sms()
    an_email()
    filters = "channel=email&creator=local"
    asked = admin_client.post(f"{EXPORT}?{filters}", {"in_clear": "1"}).content.decode()
    assert f'action="{EXPORT}?channel=email&amp;creator=local"' in asked
    form = {"in_clear": "1", "because": "Audit"}
    (line,) = read(admin_client.post(f"{EXPORT}?{filters}", form))
    assert line["destination"] == ADDRESS
    told = LogEntry.objects.get().change_message
    assert told == f"Exported all that match {filters}, destinations in clear: Audit"


def test_what_cannot_be_read_leaves_its_cell_empty(
    admin_client: Client, configure: Callable[..., None]
) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    an_sms()
    configure(ENCRYPTION_KEYS=["new"])
    an_email()
    for form in ({}, {"in_clear": "1", "because": "Audit"}):
        assert read(admin_client.post(EXPORT, form))[1]["destination"] == ""


def test_ids_that_are_none_export_nothing_rather_than_all(admin_client: Client) -> None:
    an_sms()
    answer = admin_client.post(EXPORT, {"_selected_action": "nonsense"})
    assert answer.headers["Location"] == LIST


@pytest.mark.parametrize(
    ("actions", "masked", "in_clear"),
    [
        ((), 403, 403),
        (("reveal",), 403, 403),
        (("export",), 200, 403),
        (("export", "reveal"), 200, 200),
    ],
)
def test_each_export_has_its_permission(
    actions: tuple[str, ...], masked: int, in_clear: int
) -> None:
    client = client_who_may(*actions)
    assert client.get(EXPORT).status_code in {403, 405}
    assert client.post(EXPORT).status_code == masked
    form = {"in_clear": "1", "because": "Curiosity"}
    assert client.post(EXPORT, form).status_code == in_clear
    an_sms()
    offered = client.get(LIST).content.decode()
    assert (EXPORT in offered, 'value="export_masked"' in offered) == (masked == 200,) * 2
    assert ('name="in_clear"' in offered, 'value="export_in_clear"' in offered) == (
        in_clear == 200,
    ) * 2


def test_asynchronous_servers_send_piece_by_piece(
    admin_client: Client, async_client: AsyncClient
) -> None:
    async def pieces() -> list[bytes]:
        answer = await async_client.post(EXPORT)
        return [piece async for piece in answer.streaming_content]

    an_sms()
    async_client.cookies = admin_client.cookies
    header, line = async_to_sync(pieces)()
    assert header.startswith(b'\xef\xbb\xbf"shipment",')
    assert line.count(b"\r\n") == 1


def test_an_export_takes_the_token_of_its_form(admin_client: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = admin_client.cookies
    assert strict.post(EXPORT).status_code == 403
