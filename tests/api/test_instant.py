"""Contract §3, §4 and §6: what the three routes send and answer."""

import logging
import re
from collections.abc import Callable
from threading import Event
from time import sleep
from typing import Any

import pytest

from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Message, Receipt
from instant_notifications.models import Delivery, Order
from instant_notifications.receipts import record_receipt
from tests.api.conftest import (
    DEPRECATED,
    EMAIL,
    FEED,
    ROUTES,
    SMS,
    Route,
    every_route,
    post,
    problem,
    shipment_path,
    standing,
)
from tests.conftest import API
from tests.outcomes import Do, Killed, expire, fails, gateways, in_turn, lapse_lease, meanwhile
from tests.stub import SecondGateway, take
from tests.threads import begin

pytestmark = pytest.mark.django_db

Configure = Callable[..., None]

REPLAY_HEADERS = ("Idempotent-Replayed", "Idempotent-Payload-Mismatch")
SUCCESSOR = f'<{API}future/orders/instant/sms>; rel="successor-version"'


def refused(route: Route) -> Do:
    return fails(Rejected, "simulated", status=route.words.failed)


@every_route
def test_the_first_request_is_sent_and_answered_201(route: Route, api: Any, stub: Any) -> None:
    answer = post(api, route)
    order = Order.objects.get()
    shipment = order.shipments.get()
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    assert answer.json() == {
        "notificationOrderId": str(order.pk),
        "notification": {"shipmentId": str(shipment.pk), "sendersReference": "ref-1"},
    }
    assert not [name for name in REPLAY_HEADERS if name in answer]
    assert len(stub.seen) == 1


@every_route
def test_the_location_leads_to_the_shipment(route: Route, api: Any, stub: Any) -> None:
    answer = post(api, route)
    assert answer["Location"] == f"http://testserver{shipment_path(answer)}"
    manifest = api.get(answer["Location"])
    assert manifest.status_code == 200
    assert manifest.json()["shipmentId"] == answer.json()["notification"]["shipmentId"]


@every_route
@pytest.mark.parametrize("reference", [..., None, "", "  "], ids=repr)
def test_an_absent_reference_is_left_out(route: Route, reference: Any, api: Any, stub: Any) -> None:
    answer = post(api, route, route.request(sendersReference=reference))
    assert set(answer.json()["notification"]) == {"shipmentId"}
    assert "sendersReference" not in api.get(answer["Location"]).json()


@every_route
def test_the_same_id_is_answered_200_and_sends_nothing(route: Route, api: Any, stub: Any) -> None:
    first, second = post(api, route), post(api, route)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json() == first.json()
    assert second["Location"] == first["Location"]
    assert second["Idempotent-Replayed"] == "true"
    assert "Idempotent-Payload-Mismatch" not in second
    assert len(stub.seen) == 1


CHANGED = {
    "sms": [{"phoneNumber": "+4740000000"}, {"body": "other"}, {"sender": "Other"}],
    "email": [
        {"emailAddress": "ola@example.com"},
        {"subject": "other"},
        {"body": "other"},
        {"contentType": "Html"},
        {"senderEmailAddress": "other@example.com"},
    ],
}
CHANGED["deprecated"] = CHANGED["sms"]
every_change = pytest.mark.parametrize(
    ("route", "change"),
    [(route, change) for route in ROUTES for change in CHANGED[route.name]],
    ids=lambda value: str(value) if isinstance(value, Route) else next(iter(value)),
)


@every_change
def test_other_content_under_a_known_id_is_marked_and_logged(
    route: Route, change: Any, api: Any, stub: Any, caplog: Any
) -> None:
    first = post(api, route)
    second = post(api, route, route.request(**change))
    assert second.status_code == 200
    assert second.json() == first.json()
    assert second["Idempotent-Replayed"] == second["Idempotent-Payload-Mismatch"] == "true"
    order_id = first.json()["notificationOrderId"]
    assert _warnings(caplog) == [f"idempotency content differs order={order_id}"]
    assert len(stub.seen) == 1


@every_change
def test_strict_mode_refuses_other_content(
    route: Route, change: Any, api: Any, stub: Any, configure: Configure
) -> None:
    configure(IDEMPOTENCY_MISMATCH="reject")
    post(api, route)
    problem(post(api, route, route.request(**change)), 422, "IN-00004")
    assert post(api, route).status_code == 200
    assert len(stub.seen) == 1


@every_route
def test_another_spelling_of_the_destination_is_not_other_content(
    route: Route, api: Any, stub: Any
) -> None:
    spelt = {"phoneNumber": "0047 99 99 99 99", "emailAddress": " kari@example.com "}
    name = "emailAddress" if route is EMAIL else "phoneNumber"
    post(api, route)
    assert "Idempotent-Payload-Mismatch" not in post(
        api, route, route.request(**{name: spelt[name]})
    )


def test_a_mismatch_is_logged_once_however_long_the_wait(
    api: Any, stub: Any, configure: Configure, caplog: Any
) -> None:
    configure(WAIT_FOR_DUPLICATE=0.2)
    stub.do = meanwhile(lambda: post(api, SMS, SMS.request(body="other")))
    post(api, SMS)
    assert len(_warnings(caplog)) == 1


def _warnings(caplog: Any) -> list[str]:
    ours = [record for record in caplog.records if record.name == "instant_notifications"]
    return [record.getMessage() for record in ours if record.levelno == logging.WARNING]


def test_sms_and_email_have_ids_of_their_own(api: Any, stub: Any) -> None:
    assert [post(api, route).status_code for route in (SMS, EMAIL)] == [201, 201]
    assert [message.channel for message in stub.seen] == ["sms", "email"]


@every_route
def test_organisations_have_ids_of_their_own(route: Route, client_of: Any, stub: Any) -> None:
    answers = [post(client_of(name), route) for name in ("ttd", "skd")]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["notification"] != answers[1].json()["notification"]
    assert len(stub.seen) == 2


@pytest.mark.parametrize("order", [(SMS, DEPRECATED), (DEPRECATED, SMS)], ids=["new", "old"])
def test_the_deprecated_route_shares_the_ids_of_sms(order: Any, api: Any, stub: Any) -> None:
    first, second = (post(api, route) for route in order)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert "Idempotent-Payload-Mismatch" not in second
    assert len(stub.seen) == 1


def _stopped(api: Any, stub: Any, failure: Do) -> Any:
    stub.do = failure
    return post(api, DEPRECATED)


DEPRECATED_ANSWERS: dict[int, Callable[[Any, Any], Any]] = {
    201: lambda api, stub: post(api, DEPRECATED),
    200: lambda api, stub: post(api, DEPRECATED) and post(api, DEPRECATED),
    400: lambda api, stub: post(api, DEPRECATED, {}),
    401: lambda api, stub: post(type(api)(), DEPRECATED),
    405: lambda api, stub: api.get(DEPRECATED.path),
    413: lambda api, stub: post(api, DEPRECATED, b" " * 1_000_001),
    415: lambda api, stub: post(api, DEPRECATED, content_type="text/xml"),
    422: lambda api, stub: _stopped(api, stub, refused(SMS)),
    500: lambda api, stub: _stopped(api, stub, fails(Exception)),
    503: lambda api, stub: _stopped(api, stub, fails(Unavailable)),
    504: lambda api, stub: _stopped(api, stub, fails(OutcomeUnknown)),
}


@pytest.mark.parametrize("status", DEPRECATED_ANSWERS)
def test_every_answer_of_the_deprecated_route_names_its_successor(
    status: int, api: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if status == 500:
        monkeypatch.setattr("instant_notifications.orders.send", fails(RuntimeError))
    answer = DEPRECATED_ANSWERS[status](api, stub)
    assert answer.status_code == status
    assert re.fullmatch(r"@\d{10}", answer["Deprecation"])
    assert answer["Link"] == SUCCESSOR


@pytest.mark.parametrize("route", [SMS, EMAIL], ids=str)
def test_the_other_routes_are_not_deprecated(route: Route, api: Any, stub: Any) -> None:
    answer = post(api, route)
    assert "Deprecation" not in answer
    assert "Link" not in answer


@every_route
def test_unknown_members_are_ignored(route: Route, api: Any, stub: Any) -> None:
    def widen(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {**{name: widen(each) for name, each in value.items()}, "unknown": {"a": [None]}}

    assert post(api, route, widen(route.request())).status_code == 201
    assert len(stub.seen) == 1


def test_an_sms_reaches_the_gateway_as_written(api: Any, stub: Any) -> None:
    body = "Kode: 428516\n\tÆøå €\r\n"
    request = SMS.request(phoneNumber="004799999999", sender=" Skatt ", body=body)
    post(api, SMS, request)
    (message,) = stub.seen
    assert (message.destination, message.body, message.sender) == ("+4799999999", body, " Skatt ")
    assert message.reference == str(Delivery.objects.get().pk)
    assert message.time_to_live in (299, 300)
    assert message.attempt == 1


def test_an_email_reaches_the_gateway_as_written(api: Any, stub: Any) -> None:
    post(
        api,
        EMAIL,
        EMAIL.request(
            emailAddress=" kari@example.com\n",
            subject="Your\r\ncode",
            body="<p>428516</p>",
            contentType="Html",
            senderEmailAddress=" noreply@example.com ",
        ),
    )
    (message,) = stub.seen
    assert message.destination == "kari@example.com"
    assert (message.subject, message.body) == ("Your code", "<p>428516</p>")
    assert (message.content_type, message.sender) == ("Html", "noreply@example.com")


def test_an_email_lives_as_long_as_the_setting_says(
    api: Any, stub: Any, configure: Configure
) -> None:
    post(api, EMAIL)
    configure(EMAIL_LIFETIME=600)
    post(api, EMAIL, EMAIL.request(idempotencyId="id-2"))
    assert [message.time_to_live for message in stub.seen] == [48 * 3600 - 1, 599]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *[(word, "Html") for word in ("Html", "html", "HTML", "hTmL")],
        *[(word, "Plain") for word in ("Plain", "plain", "PLAIN", ..., None, "", " ")],
    ],
    ids=repr,
)
def test_the_content_type_is_read_in_any_case(
    written: Any, meant: str, api: Any, stub: Any
) -> None:
    assert post(api, EMAIL, EMAIL.request(contentType=written)).status_code == 201
    assert stub.seen[0].content_type == meant


@pytest.mark.parametrize("route", [SMS, DEPRECATED], ids=str)
@pytest.mark.parametrize("sender", [..., None, "", "   "], ids=repr)
def test_a_blank_sms_sender_means_the_default(
    route: Route, sender: Any, api: Any, stub: Any
) -> None:
    post(api, route, route.request(sender=sender))
    assert stub.seen[0].sender == "Altinn"


@pytest.mark.parametrize("sender", [..., None, "", "   "], ids=repr)
def test_a_blank_email_sender_means_the_default(
    sender: Any, api: Any, stub: Any, configure: Configure
) -> None:
    configure(DEFAULT_EMAIL_SENDER="default@example.com")
    post(api, EMAIL, EMAIL.request(senderEmailAddress=sender))
    assert stub.seen[0].sender == "default@example.com"


@every_route
def test_what_was_taken_is_processed_until_a_receipt_completes_it(
    route: Route, api: Any, stub: Any
) -> None:
    answer = post(api, route)
    assert standing(api, answer) == ("Order_Processed", route.words.accepted)
    assert api.get(FEED).json() == []
    report(route.words.delivered)
    assert standing(api, answer) == ("Order_Completed", route.words.delivered)
    assert len(api.get(FEED).json()) == 1
    assert post(api, route).status_code == 200


def report(status: str | None) -> None:
    """A receipt that names the delivery by our reference."""
    reference = str(Delivery.objects.get().pk)
    assert record_receipt("stub", Receipt(reference=reference, status=status, word="said"))


@every_route
def test_a_refusal_is_final(route: Route, api: Any, stub: Any) -> None:
    stub.do = refused(route)
    first = post(api, route)
    stub.do = take
    second = post(api, route)
    body = problem(first, 422, "IN-00001")
    assert body["shipmentId"]
    assert problem(second, 422, "IN-00001") == body
    assert len(stub.seen) == 1
    assert standing(api, first) == ("Order_Completed", route.words.failed)
    (entry,) = api.get(FEED).json()
    assert entry["shipmentId"] == body["shipmentId"]
    assert entry["recipients"][0]["status"] == route.words.failed


@every_route
def test_what_was_certainly_not_sent_can_be_tried_again(route: Route, api: Any, stub: Any) -> None:
    stub.do = fails(Unavailable, "down")
    first, second = post(api, route), post(api, route)
    for answer in (first, second):
        body = problem(answer, 503, "NOT-00004")
        assert body["title"] == "A temporary network failure occurred"
        assert int(answer["Retry-After"]) > 0
    assert standing(api, first) == ("Order_Processing", route.words.new)
    assert api.get(FEED).json() == []
    stub.do = take
    third = post(api, route)
    assert third.status_code == 201
    assert third["Location"].endswith(shipment_path(first))
    assert not [name for name in REPLAY_HEADERS if name in third]
    assert [message.attempt for message in stub.seen] == [1, 2, 3]
    assert len({message.reference for message in stub.seen}) == 1
    assert Order.objects.count() == 1
    assert post(api, route).status_code == 200


def test_a_gateway_may_say_when_to_come_back(api: Any, stub: Any) -> None:
    stub.do = fails(Unavailable, "busy", retry_after=17)
    assert post(api, SMS)["Retry-After"] == "17"


def test_a_new_attempt_sends_what_was_first_asked_for(api: Any, stub: Any) -> None:
    stub.do = in_turn(fails(Unavailable), take)
    post(api, SMS)
    answer = post(api, SMS, SMS.request(body="other"))
    assert answer.status_code == 201
    assert answer["Idempotent-Payload-Mismatch"] == "true"
    assert "Idempotent-Replayed" not in answer
    assert len({message.body for message in stub.seen}) == 1


@every_route
def test_an_unknown_outcome_is_never_sent_again_by_itself(
    route: Route, api: Any, stub: Any
) -> None:
    stub.do = fails(OutcomeUnknown, "no answer")
    answers = [post(api, route) for _ in range(3)]
    for answer in answers:
        assert problem(answer, 504, "IN-00003")["shipmentId"]
        assert int(answer["Retry-After"]) > 0
    assert len({shipment_path(answer) for answer in answers}) == 1
    assert len(stub.seen) == 1
    assert standing(api, answers[0]) == ("Order_Processed", route.words.sending)
    assert api.get(FEED).json() == []


@every_route
@pytest.mark.parametrize("word", ["delivered", "accepted", "failed", None])
def test_an_unknown_outcome_becomes_known_by_a_receipt(
    route: Route, word: str | None, api: Any, stub: Any
) -> None:
    stub.do = fails(OutcomeUnknown)
    first = post(api, route)
    report(word and getattr(route.words, word))
    answer = post(api, route)
    assert answer.status_code == 200
    assert answer["Idempotent-Replayed"] == "true"
    assert answer["Location"].endswith(shipment_path(first))
    assert len(stub.seen) == 1


REPEATING = {
    "deduplicating": {"GATEWAYS": gateways(stub={"deduplicates": True})},
    "resend": {"UNKNOWN_OUTCOME": "resend"},
}
every_way_of_repeating = pytest.mark.parametrize("changes", REPEATING.values(), ids=REPEATING)


@every_way_of_repeating
@every_route
def test_an_unknown_outcome_is_tried_again_where_that_is_wanted(
    route: Route, changes: Any, api: Any, stub: Any, configure: Configure
) -> None:
    configure(**changes)
    stub.do = in_turn(fails(OutcomeUnknown), take)
    first, second, third = (post(api, route) for _ in range(3))
    assert [a.status_code for a in (first, second, third)] == [504, 201, 200]
    assert second["Location"].endswith(shipment_path(first))
    assert len(stub.seen) == 2
    assert stub.seen[0].reference == stub.seen[1].reference


@every_way_of_repeating
def test_a_vain_new_attempt_does_not_make_the_first_one_certain(
    changes: Any, api: Any, stub: Any, configure: Configure
) -> None:
    """The first attempt may have been sent, so 503, "certainly not sent", would be a lie."""
    configure(**changes)
    stub.do = in_turn(fails(OutcomeUnknown), fails(Unavailable))
    first, second = post(api, SMS), post(api, SMS)
    problem(second, 504, "IN-00003")
    assert standing(api, first) == ("Order_Processed", "SMS_Sending")


def test_after_an_unknown_outcome_no_other_gateway_sends_a_second_one(
    api: Any, stub: Any, configure: Configure
) -> None:
    configure(
        GATEWAYS=gateways(stub={"deduplicates": True}),
        ROUTES={"sms": ["stub", "second"], "email": []},
    )
    SecondGateway.do = take  # type: ignore[misc]
    stub.do = in_turn(fails(OutcomeUnknown), *[fails(Unavailable)] * 3)
    for _ in range(4):
        post(api, SMS)
    assert SecondGateway.seen == []


@every_way_of_repeating
def test_a_receipt_after_a_vain_new_attempt_still_counts(
    changes: Any, api: Any, stub: Any, configure: Configure
) -> None:
    """Expiry ended it, but the first attempt had been delivered all the same."""
    configure(**changes)
    stub.do = fails(OutcomeUnknown)
    first = post(api, SMS)
    expire()
    post(api, SMS)
    report("SMS_Delivered")
    assert standing(api, first) == ("Order_Completed", "SMS_Delivered")
    assert post(api, SMS).status_code == 200


def test_an_unknown_outcome_stays_unknown_when_its_gateway_is_gone(
    api: Any, stub: Any, configure: Configure
) -> None:
    stub.do = fails(OutcomeUnknown)
    post(api, SMS)
    configure(GATEWAYS={"second": gateways()["second"]}, ROUTES={"sms": ["second"]})
    problem(post(api, SMS), 504, "IN-00003")
    assert SecondGateway.seen == []


def test_what_was_taken_stays_known_when_the_channel_is_closed(
    api: Any, stub: Any, configure: Configure
) -> None:
    post(api, SMS)
    configure(ROUTES={"sms": [], "email": []})
    assert post(api, SMS).status_code == 200


@every_route
def test_past_the_wait_a_repeat_is_told_to_come_back(
    route: Route, api: Any, stub: Any, configure: Configure
) -> None:
    configure(WAIT_FOR_DUPLICATE=0.03)
    repeats: list[Any] = []
    stub.do = meanwhile(lambda: repeats.append(post(api, route)))
    first = post(api, route)
    assert first.status_code == 201
    problem(repeats[0], 409, "IN-00002")
    assert repeats[0]["Retry-After"] == "1"
    assert len(stub.seen) == 1


WAITED = {
    "taken": (take, 201, 200, 1),
    "refused": (refused(SMS), 422, 422, 1),
    "unavailable": (in_turn(fails(Unavailable), take), 503, 201, 2),
    "unknown": (fails(OutcomeUnknown), 504, 504, 1),
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("do", "first", "second", "sent"), WAITED.values(), ids=WAITED)
def test_a_repeat_waits_for_the_first_and_learns_from_it(
    do: Do, first: int, second: int, sent: int, client_of: Any, stub: Any
) -> None:
    begun, go_on = Event(), Event()

    def hold(message: Message) -> Receipt:
        begun.set()
        assert go_on.wait(10)
        return do(message)

    stub.do = hold
    one = begin(lambda: post(client_of(), SMS))
    assert begun.wait(10)
    other = begin(lambda: post(client_of(), SMS))
    sleep(0.1)
    assert not other.done()
    go_on.set()
    assert (one.result(10).status_code, other.result(10).status_code) == (first, second)
    assert len(stub.seen) == sent


@every_route
def test_a_dead_workers_message_may_have_been_sent(
    route: Route, api: Any, stub: Any, configure: Configure
) -> None:
    configure(WAIT_FOR_DUPLICATE=0.03)
    stub.do = fails(Killed)
    with pytest.raises(Killed):
        post(api, route)
    problem(post(api, route), 409, "IN-00002")
    lapse_lease()
    answer = post(api, route)
    problem(answer, 504, "IN-00003")
    assert standing(api, answer) == ("Order_Processed", route.words.sending)
    assert len(stub.seen) == 1


def test_a_dead_workers_message_is_settled_also_by_a_request_that_does_not_wait(
    api: Any, stub: Any, configure: Configure
) -> None:
    configure(WAIT_FOR_DUPLICATE=0)
    stub.do = fails(Killed)
    with pytest.raises(Killed):
        post(api, SMS)
    lapse_lease()
    problem(post(api, SMS), 504, "IN-00003")


def test_a_dead_workers_message_goes_again_by_a_gateway_that_sends_it_once(
    api: Any, stub: Any, configure: Configure
) -> None:
    configure(GATEWAYS=gateways(stub={"deduplicates": True}))
    stub.do = in_turn(fails(Killed), take)
    with pytest.raises(Killed):
        post(api, SMS)
    lapse_lease()
    assert post(api, SMS).status_code == 201


@every_route
def test_nothing_is_sent_after_expiry(route: Route, api: Any, stub: Any) -> None:
    stub.do = fails(Unavailable)
    first = post(api, route)
    stub.do = take
    expire()
    for _ in range(2):
        assert problem(post(api, route), 422, "IN-00001")["shipmentId"]
    assert len(stub.seen) == 1
    assert standing(api, first) == ("Order_Completed", route.words.expired)
    assert [e["recipients"][0]["status"] for e in api.get(FEED).json()] == [route.words.expired]


@every_route
def test_a_channel_without_a_gateway_is_a_temporary_failure(
    route: Route, api: Any, stub: Any, configure: Configure
) -> None:
    configure(ROUTES={})
    answer = post(api, route)
    problem(answer, 503, "NOT-00004")
    assert "Retry-After" in answer
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (Rejected, 422, "IN-00001"),
        (Unavailable, 503, "NOT-00004"),
        (OutcomeUnknown, 504, "IN-00003"),
    ],
)
def test_a_gateways_own_kind_of_failure_is_answered_like_its_parent(
    kind: type[Exception], status: int, code: str, api: Any, stub: Any
) -> None:
    stub.do = fails(type("Special", (kind,), {}), "special")
    problem(post(api, SMS), status, code)
