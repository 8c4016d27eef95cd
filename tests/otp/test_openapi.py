"""What is published about one-time codes, held against real answers."""

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from tests.conftest import API
from tests.otp.test_api import act, ask, post, verify
from tests.otp.test_challenges import Stub, sent_code, wrong
from tests.outcomes import fails, in_turn
from tests.stub import take

pytest.importorskip("drf_spectacular", reason="the extra `openapi` is not installed")

import jsonschema

ASK = "/otp/challenges"
VERIFY = f"{ASK}/{{challenge_id}}/verify"
RESEND = f"{ASK}/{{challenge_id}}/resend"


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    read: dict[str, Any] = client.get(f"{API}schema/").json()
    return read


def request_of(document: dict[str, Any], path: str) -> tuple[dict[str, Any], Any]:
    """The schema of its body, and the example."""
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    (example,) = content["examples"].values()
    return {**content["schema"], "components": document["components"]}, example["value"]


@pytest.mark.parametrize("path", [ASK, VERIFY])
def test_the_examples_fit_their_own_schema(path: str, document: dict[str, Any]) -> None:
    expected, example = request_of(document, path)
    jsonschema.validate(example, expected)
    for name in expected["components"]["schemas"][expected["$ref"].rpartition("/")[2]]["required"]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**example, name: 428516}, expected)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: example[key] for key in example if key != name}, expected)


@pytest.mark.django_db
def test_the_example_can_be_sent(document: dict[str, Any], api: APIClient, stub: Stub) -> None:
    assert post(api, f"{API}otp/challenges", request_of(document, ASK)[1]).status_code == 201


def test_a_new_code_needs_no_body(document: dict[str, Any]) -> None:
    assert not document["paths"][RESEND]["post"]["requestBody"].get("required")


@pytest.mark.django_db
def test_real_answers_are_as_documented(
    document: dict[str, Any], api: APIClient, stub: Stub
) -> None:
    stub.do = in_turn(fails(Rejected), fails(Unavailable), fails(OutcomeUnknown), take)
    answers = [(ASK, ask(api, recipient=f"+479999999{number}")) for number in range(4)]
    challenge_id, code = answers[-1][1].json()["challengeId"], sent_code(stub)
    answers += [
        (ASK, ask(api, recipient="+4799999993")),
        (ASK, ask(api, purpose="")),
        (RESEND, act(api, challenge_id, "resend")),
        (RESEND, act(api, "x", "resend")),
        (VERIFY, verify(api, challenge_id, None)),
        (VERIFY, verify(api, challenge_id, wrong(code))),
        (VERIFY, verify(api, challenge_id, code)),
        (VERIFY, verify(api, challenge_id, code)),
    ]
    assert [answer.status_code for _, answer in answers] == [
        *(422, 503, 201, 201, 429, 400, 429, 404, 400, 400, 200, 404)
    ]
    for path, answer in answers:
        documented = document["paths"][path]["post"]["responses"][str(answer.status_code)]
        ((content_type, content),) = documented["content"].items()
        assert answer["Content-Type"] == content_type
        expected = {**content["schema"], "components": document["components"]}
        jsonschema.validate(answer.json(), expected)
        name = content["schema"]["$ref"].rpartition("/")[2]
        assert set(answer.json()) <= set(document["components"]["schemas"][name]["properties"])
        assert ("Retry-After" in answer) <= ("Retry-After" in documented.get("headers", {}))
