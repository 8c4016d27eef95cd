"""Contract §8: what the status feed shows, and how it is read."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from instant_notifications.exceptions import OutcomeUnknown, Unavailable
from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery
from instant_notifications.receipts import record_receipt
from tests.api.conftest import EMAIL, FEED, SMS, Route, every_route, invalid, post
from tests.outcomes import fails
from tests.stub import take

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]


def delivered(message: Message) -> Receipt:
    return Receipt(status="SMS_Delivered" if message.channel == "sms" else "Email_Delivered")


def complete(client: Any, stub: Any, number: int, prefix: str = "id") -> None:
    """So many orders that end at once, each with an entry."""
    stub.do = delivered
    for index in range(number):
        assert post(client, SMS, SMS.request(idempotencyId=f"{prefix}-{index}")).status_code == 201


def numbers(client: Any, query: str = "") -> list[int]:
    answer = client.get(f"{FEED}?{query}")
    assert answer.status_code == 200, answer.content
    return [entry["sequenceNumber"] for entry in answer.json()]


@every_route
def test_an_entry_has_exactly_the_documented_members(route: Route, api: Any, stub: Any) -> None:
    stub.do = delivered
    shipment_id = post(api, route).json()["notification"]["shipmentId"]
    answer = api.get(FEED)
    (entry,) = answer.json()
    times = entry.pop("lastUpdate"), entry["recipients"][0].pop("lastUpdate")
    assert answer["Content-Type"] == "application/json"
    assert entry == {
        "sequenceNumber": 1,
        "shipmentId": shipment_id,
        "sendersReference": "ref-1",
        "type": "Instant",
        "shipmentType": "Instant",
        "status": "Order_Completed",
        "recipients": [
            {
                "type": "Email" if route is EMAIL else "SMS",
                "destination": "kari@example.com" if route is EMAIL else "+4799999999",
                "status": route.words.delivered,
            }
        ],
    }
    for time in times:
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z", time)
        assert datetime.fromisoformat(time).utcoffset() is not None


def test_an_absent_reference_is_left_out(api: Any, stub: Any) -> None:
    stub.do = delivered
    post(api, SMS, SMS.request(sendersReference=...))
    assert "sendersReference" not in api.get(FEED).json()[0]


QUERIES: dict[str, list[int]] = {
    "": [1, 2, 3, 4, 5, 6, 7],
    "seq=0": [1, 2, 3, 4, 5, 6, 7],
    "seq=3": [4, 5, 6, 7],
    "seq=003": [4, 5, 6, 7],
    "seq=7": [],
    "seq=9223372036854775807": [],
    "pageSize=2": [1, 2],
    "seq=2&pageSize=3": [3, 4, 5],
    "seq=2&pageSize=3&orderBy=asc": [3, 4, 5],
    "orderBy=desc": [7, 6, 5, 4, 3, 2, 1],
    "orderBy=desc&seq=0&pageSize=2": [7, 6],
    "orderBy=desc&seq=4": [3, 2, 1],
    "orderBy=desc&seq=4&pageSize=2": [3, 2],
    "orderBy=desc&seq=1": [],
    "orderBy=desc&seq=1000": [7, 6, 5, 4, 3, 2, 1],
    "SEQ=2&PAGESIZE=1": [3],
    "Seq=2&PageSize=1&OrderBy=DESC": [1],
    "orderby=Desc&pagesize=1": [7],
    "orderBy=ASC": [1, 2, 3, 4, 5, 6, 7],
    "unknown=1&creator=skd": [1, 2, 3, 4, 5, 6, 7],
}


def test_the_feed_is_read_from_a_cursor_in_either_direction(api: Any, stub: Any) -> None:
    complete(api, stub, 7)
    assert {query: numbers(api, query) for query in QUERIES} == QUERIES


@pytest.mark.parametrize(
    ("asked", "held_to"), [("0", 1), ("1", 1), ("3", 3), ("500", 500), ("501", 500), ("10000", 500)]
)
def test_the_page_size_is_silently_held(
    asked: str, held_to: int, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[int] = []

    def read(creator: str, *, after: int, limit: int, newest_first: bool) -> list[Any]:
        asked_for.append(limit)
        return []

    monkeypatch.setattr("instant_notifications.feed.read_feed", read)
    assert numbers(api, f"pageSize={asked}") == []
    assert asked_for == [held_to]


@pytest.mark.parametrize("asked", ["99999999999999999999", "9" * 5000])
def test_a_page_size_beyond_all_bounds_is_held_too(asked: str, api: Any, stub: Any) -> None:
    complete(api, stub, 1)
    assert numbers(api, f"pageSize={asked}") == [1]


BAD_NUMBERS = (
    "-1",
    "-0",
    "x",
    "",
    "%20",
    "1.0",
    "1e3",
    "0x1",
    "%2B1",
    "1_0",
    "\N{SUPERSCRIPT TWO}",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "1,2",
    "%00",
)


@pytest.mark.parametrize("name", ["seq", "pageSize", "SEQ", "pagesize"])
@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_what_is_no_number_is_400(name: str, value: str, api: Any) -> None:
    spelt = {"seq": "seq", "pagesize": "pageSize"}[name.lower()]
    answer = api.get(f"{FEED}?{name}={value}")
    assert invalid(answer) == {spelt: ["Expected a whole number, 0 or greater."]}


@pytest.mark.parametrize("value", ["9" * 20, "9" * 5000])
def test_a_cursor_beyond_all_bounds_is_no_bug(value: str, api: Any) -> None:
    assert api.get(f"{FEED}?seq={value}").status_code in (200, 400)


@pytest.mark.parametrize("value", ["", "up", "descending", "asc,desc", "1"])
def test_an_unknown_order_is_400(value: str, api: Any) -> None:
    assert invalid(api.get(f"{FEED}?orderBy={value}")) == {"orderBy": ["Expected asc or desc."]}


def test_all_errors_of_a_query_are_reported_together(api: Any) -> None:
    answer = api.get(f"{FEED}?SEQ=a&PAGESIZE=-b&ORDERBY=c")
    assert set(invalid(answer)) == {"seq", "pageSize", "orderBy"}
    assert "-b" not in answer.content.decode()


def test_each_organisation_has_numbers_of_its_own_dense_from_1(client_of: Any, stub: Any) -> None:
    ttd, skd = client_of("ttd"), client_of("skd")
    for index in range(3):
        complete(ttd, stub, 1, f"a{index}")
        complete(skd, stub, 2, f"b{index}")
    assert numbers(ttd) == [1, 2, 3]
    assert numbers(skd) == [1, 2, 3, 4, 5, 6]
    ours = {entry["shipmentId"] for entry in ttd.get(FEED).json()}
    assert not ours & {entry["shipmentId"] for entry in skd.get(FEED).json()}
    assert numbers(client_of("nav")) == []


def test_a_reader_that_follows_the_cursor_sees_each_entry_once(api: Any, stub: Any) -> None:
    complete(api, stub, 7)
    seen: list[int] = []
    while page := numbers(api, f"seq={seen[-1] if seen else 0}&pageSize=3"):
        seen += page
    assert seen == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("do", [take, fails(Unavailable), fails(OutcomeUnknown)])
def test_what_is_not_over_has_no_entry(do: Any, api: Any, stub: Any) -> None:
    stub.do = do
    post(api, SMS)
    assert numbers(api) == []


def test_every_change_has_an_entry_where_that_is_set(
    api: Any, stub: Any, configure: Configure
) -> None:
    configure(FEED="every")
    post(api, SMS)
    reference = str(Delivery.objects.get().pk)
    for status in ("SMS_Accepted", "SMS_Delivered", "SMS_Failed"):
        record_receipt("stub", Receipt(reference=reference, status=status))
    shown = [(e["status"], e["recipients"][0]["status"]) for e in api.get(FEED).json()]
    assert shown == [("Order_Processed", "SMS_Accepted"), ("Order_Completed", "SMS_Delivered")]


def test_entries_keep_saying_what_they_said(api: Any, stub: Any, configure: Configure) -> None:
    configure(FEED="every")
    post(api, SMS)
    (before,) = api.get(FEED).json()
    reference = str(Delivery.objects.get().pk)
    record_receipt("stub", Receipt(reference=reference, status="SMS_Delivered"))
    assert api.get(FEED).json()[0] == before


def test_the_headers_tell_whether_a_cursor_is_too_old(api: Any, stub: Any) -> None:
    complete(api, stub, 3)
    answer = api.get(f"{FEED}?seq=1&pageSize=1")
    assert (answer["X-Oldest-Sequence"], answer["X-Latest-Sequence"]) == ("1", "3")
