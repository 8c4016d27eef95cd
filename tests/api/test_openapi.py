"""The published OpenAPI document, held against the routes and against real answers."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern

from instant_notifications import contacts
from instant_notifications.api.urls import urlpatterns
from instant_notifications.contacts import Contact
from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.gateways import Receipt
from instant_notifications.otp import api as codes
from tests.api.conftest import (
    DEPRECATED,
    EMAIL,
    FEED,
    ORDER,
    RECIPIENTS,
    ROUTES,
    SMS,
    cancel_path,
    every_route,
    order,
    post,
    reminder,
    shipment_path,
)
from tests.conftest import API
from tests.outcomes import fails, in_turn

pytest.importorskip("drf_spectacular", reason="the extra `openapi` is not installed")

import jsonschema
from drf_spectacular.validation import validate_schema

LATER = "2100-01-04T08:00:00Z"
SEND_ANSWERS = {"200", "201", "409", "422", "429", "504"} | {
    *("400", "401", "403", "413", "415", "500", "503")
}
CODE_ANSWERS = {"201", "400", "401", "403", "422", "429", "500", "503", "504"}
VERIFY_ANSWERS = {"200", "400", "401", "403", "404", "413", "415", "429", "500", "503"}
PLACE_ANSWERS = SEND_ANSWERS - {"409", "504"}
READ_ANSWERS = {"200", "401", "403", "404", "500", "503"}
OPERATIONS = {
    ("/future/orders/instant/sms", "post"): SEND_ANSWERS,
    ("/future/orders/instant/email", "post"): SEND_ANSWERS,
    ("/future/orders/instant", "post"): SEND_ANSWERS,
    ("/future/orders", "post"): PLACE_ANSWERS,
    ("/future/orders/{order_id}", "get"): READ_ANSWERS,
    ("/future/orders/{order_id}/cancel", "put"): READ_ANSWERS | {"409"},
    ("/orders/{shipment_id}/cancel", "put"): READ_ANSWERS | {"409"},
    ("/future/shipment/{shipment_id}", "get"): READ_ANSWERS,
    ("/future/shipment/feed", "get"): {"200", "400", "401", "403", "500", "503"},
    ("/otp/challenges", "post"): CODE_ANSWERS | {"413", "415"},
    ("/otp/challenges/{challenge_id}/resend", "post"): CODE_ANSWERS | {"404", "413", "415"},
    ("/otp/challenges/{challenge_id}/verify", "post"): VERIFY_ANSWERS,
}


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    answer = client.get(f"{API}schema/")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/json"
    read: dict[str, Any] = answer.json()
    return read


def operations(document: dict[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield (path, method), operation


def schema(document: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """A schema together with what its references point to; formats are left alone."""
    return {**found, "components": document["components"]}


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate_schema(document)


def test_every_route_and_every_answer_is_documented(document: dict[str, Any]) -> None:
    documented = {at: set(operation["responses"]) for at, operation in operations(document)}
    assert documented == OPERATIONS


SEND_HEADERS = {
    "201": {"Location"},
    "200": {"Location", "Idempotent-Replayed", "Idempotent-Payload-Mismatch"},
    "409": {"Retry-After"},
    "429": {"Retry-After"},
    "503": {"Retry-After"},
    "504": {"Retry-After"},
}


every_order = pytest.mark.parametrize("route", [*ROUTES, ORDER], ids=str)


@every_order
def test_the_headers_a_caller_reads_are_documented(route: Any, document: dict[str, Any]) -> None:
    answers = document["paths"][route.path.replace(API, "/")]["post"]["responses"]
    more = {"Deprecation", "Link"} if route is DEPRECATED else set()
    known = {status: names for status, names in SEND_HEADERS.items() if status in answers}
    assert {"200", "201", "429", "503"} <= set(known)
    for status, names in known.items():
        assert set(answers[status].get("headers", {})) >= names | more, status


def test_every_operation_is_named_and_explained(document: dict[str, Any]) -> None:
    every = [operation for _, operation in operations(document)]
    assert len({operation["operationId"] for operation in every}) == len(every)
    assert all(operation["summary"] and operation["tags"] for operation in every)
    assert [at[0] for at, operation in operations(document) if operation.get("deprecated")] == [
        "/future/orders/instant"
    ]


def test_problems_and_answers_have_their_own_content_type(document: dict[str, Any]) -> None:
    for _, operation in operations(document):
        for status, answer in operation["responses"].items():
            expected = "application/json" if status < "400" else "application/problem+json"
            assert set(answer["content"]) == {expected}
            assert answer["content"][expected]["schema"]
        if "requestBody" in operation:
            assert set(operation["requestBody"]["content"]) == {"application/json"}
            has_to_be_there = operation["requestBody"].get("required", False)
            assert has_to_be_there is (operation["operationId"] != "resendCode")


def test_every_operation_asks_for_the_bearer_token(document: dict[str, Any]) -> None:
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    assert document["components"]["securitySchemes"] == {"bearer": scheme}
    assert all(operation["security"] == [{"bearer": []}] for _, operation in operations(document))


def test_the_query_of_the_feed_is_documented(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/future/shipment/feed"]["get"]["parameters"]
    assert {each["name"]: each["schema"].get("default") for each in parameters} == {
        "seq": 0,
        "pageSize": 500,
        "orderBy": "asc",
    }
    assert all(each["in"] == "query" and not each.get("required") for each in parameters)


def examples(document: dict[str, Any], path: str) -> tuple[dict[str, Any], list[Any]]:
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return schema(document, content["schema"]), [e["value"] for e in content["examples"].values()]


@every_order
def test_the_examples_fit_their_own_schema(route: Any, document: dict[str, Any]) -> None:
    expected, values = examples(document, route.path.replace(API, "/"))
    assert values
    for value in values:
        jsonschema.validate(value, expected)


@pytest.mark.django_db
@every_route
def test_the_examples_can_be_sent(
    route: Any, document: dict[str, Any], api: Any, stub: Any
) -> None:
    for value in examples(document, route.path.replace(API, "/"))[1]:
        assert post(api, route, value).status_code == 201


@pytest.mark.django_db
def test_the_examples_of_orders_can_be_placed(
    document: dict[str, Any], api: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = Contact(phone_numbers=["+4799999999"], email_addresses=["kari@example.com"])
    monkeypatch.setattr(contacts, "look_up", lambda them: dict.fromkeys(them, everybody))
    _, values = examples(document, "/future/orders")
    assert [post(api, ORDER, value).status_code for value in values] == [201] * len(values)
    assert len(values) > 1


@pytest.mark.parametrize(
    "good",
    [
        *[order(kind) for kind in RECIPIENTS],
        order(reminders=[reminder(), reminder(delayDays=..., requestedSendTime=LATER)]),
        order(recipient={"recipientSms": RECIPIENTS["recipientSms"], "x": 1}, y=2),
        order(dialogportenAssociation={"dialogId": "d"}, conditionEndpoint="https://example.com"),
    ],
    ids=str,
)
def test_the_schema_of_orders_takes_what_the_route_takes(
    good: Any, document: dict[str, Any]
) -> None:
    jsonschema.validate(good, examples(document, "/future/orders")[0])


@pytest.mark.parametrize(
    "bad",
    [
        order(recipient={}),
        order(recipient={name: RECIPIENTS[name] for name in ("recipientSms", "recipientEmail")}),
        order(recipient={"recipientFax": {}}),
        order(recipient={"recipientPerson": {"nationalIdentityNumber": "1"}}),
        order(recipient={"recipientOrganization": {"orgNumber": "312508729"}}),
        order(reminders=[reminder()] * 101),
        order(reminders=[reminder(delayDays=...)]),
        order(reminders=[reminder(requestedSendTime=LATER)]),
        order(reminders=[reminder(delayDays=0)]),
        order(reminders=[reminder(recipient=...)]),
        order(reminders={}),
        order(idempotencyId=...),
    ],
    ids=str,
)
def test_the_schema_of_orders_refuses_what_the_route_refuses(
    bad: Any, document: dict[str, Any]
) -> None:
    expected, _ = examples(document, "/future/orders")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, expected)


@pytest.mark.parametrize(
    ("route", "change"),
    [
        (SMS, {"timeToLiveInSeconds": 59}),
        (SMS, {"timeToLiveInSeconds": "300"}),
        (SMS, {"idempotencyId": ...}),
        (SMS, {"idempotencyId": ""}),
        (SMS, {"idempotencyId": "x" * 256}),
        (SMS, {"body": ...}),
        (SMS, {"phoneNumber": 4799999999}),
        (SMS, {"smsSettings": ...}),
        (DEPRECATED, {"recipientSms": {}}),
        (EMAIL, {"contentType": "Markdown"}),
        (EMAIL, {"subject": "x" * 999}),
        (EMAIL, {"emailAddress": ...}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
def test_the_schemas_refuse_what_the_routes_refuse(
    route: Any, change: Any, document: dict[str, Any]
) -> None:
    expected, _ = examples(document, route.path.replace(API, "/"))
    jsonschema.validate(route.request(), expected)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(route.request(**change), expected)


@pytest.mark.django_db
def test_real_answers_are_as_documented(document: dict[str, Any], api: Any, stub: Any) -> None:
    stub.do = in_turn(
        lambda message: Receipt(status="SMS_Delivered"),
        fails(Rejected),
        fails(Unavailable),
        fails(OutcomeUnknown),
    )
    answers = [
        *[("/future/orders/instant/sms", "post", post(api, SMS)) for _ in range(2)],
        *[
            ("/future/orders/instant/sms", "post", post(api, SMS, SMS.request(idempotencyId=key)))
            for key in ("refused", "unavailable", "unknown", " ")
        ],
    ]
    path = shipment_path(answers[0][2])
    answers += [
        ("/future/orders/instant", "post", post(api, DEPRECATED, content_type="text/plain")),
        ("/future/shipment/{shipment_id}", "get", api.get(path)),
        ("/future/shipment/{shipment_id}", "get", api.get(f"{path}x")),
        ("/future/shipment/feed", "get", api.get(FEED)),
        ("/future/shipment/feed", "get", Client().get(FEED)),
        ("/future/shipment/feed", "get", api.get(f"{FEED}?seq=x")),
    ]
    statuses = [answer.status_code for *_, answer in answers]
    assert statuses == [201, 200, 422, 503, 504, 400, 415, 200, 404, 200, 401, 400]
    as_documented(document, answers)


@pytest.mark.django_db
def test_real_answers_about_orders_are_as_documented(
    document: dict[str, Any], api: Any, stub: Any, django_capture_on_commit_callbacks: Any
) -> None:
    request = order(
        dialogportenAssociation={"dialogId": "d"}, requestedSendTime=LATER, reminders=[reminder()]
    )
    with django_capture_on_commit_callbacks(execute=True):
        sent = post(api, ORDER, order(idempotencyId="now"))
    placed = post(api, ORDER, request)
    chain, shipment = placed["Location"], shipment_path(placed)
    place, read = ("/future/orders", "post"), ("/future/orders/{order_id}", "get")
    cancel = ("/future/orders/{order_id}/cancel", "put")
    cancel_one = ("/orders/{shipment_id}/cancel", "put")
    answers = [
        (*place, sent),
        (*place, placed),
        (*place, post(api, ORDER, request)),
        (*place, post(api, ORDER, order("recipientPerson", idempotencyId="missing"))),
        (*place, post(api, ORDER, {})),
        (*place, post(api, ORDER, content_type="text/plain")),
        (*read, api.get(chain)),
        (*read, api.get(sent["Location"])),
        (*read, api.get(f"{chain}x")),
        (*cancel_one, api.put(cancel_path(shipment))),
        (*cancel_one, api.put(cancel_path(f"{shipment}x"))),
        (*cancel, api.put(cancel_path(chain))),
        (*cancel, api.put(cancel_path(sent["Location"]))),
        (*cancel, Client().put(cancel_path(chain))),
    ]
    statuses = [answer.status_code for *_, answer in answers]
    assert statuses == [201, 201, 200, 422, 400, 415, 200, 200, 404, 200, 404, 200, 409, 401]
    as_documented(document, answers)


def as_documented(document: dict[str, Any], answers: list[tuple[str, str, Any]]) -> None:
    for path, method, answer in answers:
        documented = document["paths"][path][method]["responses"][str(answer.status_code)]
        ((content_type, content),) = documented["content"].items()
        assert answer["Content-Type"] == content_type
        expected = schema(document, content["schema"])
        jsonschema.validate(answer.json(), expected)
        for body in answer.json() if isinstance(answer.json(), list) else [answer.json()]:
            assert set(body) <= _member_names(document, expected)


def _member_names(document: dict[str, Any], found: dict[str, Any]) -> set[str]:
    reference = found.get("$ref") or found["items"]["$ref"]
    return set(document["components"]["schemas"][reference.rpartition("/")[2]]["properties"])


def test_the_server_address_follows_the_request(client: Client, document: dict[str, Any]) -> None:
    assert document["servers"] == [{"url": "http://testserver/notifications/api/v1"}]
    elsewhere = client.get(f"{API}schema/", headers={"host": "localhost:8123"}, secure=True).json()
    assert elsewhere["servers"] == [{"url": "https://localhost:8123/notifications/api/v1"}]


@pytest.mark.urls("tests.api.urls_elsewhere")
@pytest.mark.parametrize("mount", ["elsewhere", "outer/deep"])
def test_the_server_address_follows_the_mount(mount: str, client: Client) -> None:
    document = client.get(f"/{mount}/schema/").json()
    assert document["servers"] == [{"url": f"http://testserver/{mount}"}]
    assert {at for at, _ in operations(document)} == set(OPERATIONS)
    page = client.get(f"/{mount}/schema/swagger/").content.decode()
    assert f'data-document="/{mount}/schema/"' in page


def test_the_document_shows_our_routes_and_none_of_the_hosts(document: dict[str, Any]) -> None:
    routes = [str(each.pattern) for each in urlpatterns if isinstance(each, URLPattern)]
    routes += [f"otp/{each.pattern}" for each in codes.urlpatterns]
    assert {"/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route) for route in routes} == set(
        document["paths"]
    )


@pytest.mark.parametrize("page", ["schema/", "schema/swagger/"])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_document_can_only_be_read(page: str, method: str, client: Client) -> None:
    assert getattr(client, method)(f"{API}{page}").status_code == 405


def test_swagger_loads_nothing_from_elsewhere(client: Client) -> None:
    answer = client.get(f"{API}schema/swagger/")
    page = answer.content.decode()
    assets = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", page)
    assert answer.status_code == 200
    assert len(assets) >= 3
    for asset in assets:
        assert asset.startswith("/static/")
        assert finders.find(asset.removeprefix("/static/")), asset
    assert "//" not in re.sub(r"<!doctype[^>]*>", "", page)


def test_swagger_has_no_inline_script_or_style(client: Client) -> None:
    page = client.get(f"{API}schema/swagger/").content.decode().lower()
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert scripts
    assert all("src=" in attributes and not text.strip() for attributes, text in scripts)
    assert "<style" not in page
    assert not re.search(r"\s(on\w+|style)\s*=", page)
    assert "javascript:" not in page
    assert f'data-document="{API}schema/"' in page
