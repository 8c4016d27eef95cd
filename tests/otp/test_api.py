"""Contract §12: one-time codes over HTTP, told of to nobody but the organisation that asked."""

import json
import logging
import re
import runpy
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.signals import got_request_exception
from django.urls import URLPattern
from django.views.debug import ExceptionReporter
from rest_framework.test import APIClient

from instant_notifications import otp
from instant_notifications.api import urls
from instant_notifications.exceptions import OutcomeUnknown, Rejected, Unavailable
from instant_notifications.otp import api as routes
from instant_notifications.otp import codes
from instant_notifications.otp.models import Challenge
from tests.api.conftest import invalid, problem
from tests.clock import Clock
from tests.conftest import API
from tests.otp.test_challenges import Stub, sent_code, wrong
from tests.outcomes import fails, rows_left

pytestmark = pytest.mark.django_db

CHALLENGES = f"{API}otp/challenges"
PHONE = "+4799999999"
GOOD = {"purpose": "login", "channel": "sms", "recipient": PHONE}
ACTS = ("verify", "resend")


def post(client: APIClient, path: str, body: Any = None) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    return client.generic("POST", path, raw, content_type="application/json")


def ask(client: APIClient, **changes: Any) -> Any:
    return post(client, CHALLENGES, {**GOOD, **changes})


def act(client: APIClient, challenge_id: object, what: str, code: Any = "000000") -> Any:
    return post(client, f"{CHALLENGES}/{challenge_id}/{what}", {"code": code})


def verify(client: APIClient, challenge_id: object, code: Any) -> Any:
    return act(client, challenge_id, "verify", code)


def asked(client: APIClient, **changes: Any) -> str:
    """The id of a new challenge."""
    answer = ask(client, **changes)
    assert answer.status_code == 201, answer.content
    return str(answer.json()["challengeId"])


def test_a_code_is_sent_and_verified_once(api: APIClient, stub: Stub) -> None:
    answer = ask(api)
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"
    challenge = Challenge.objects.get()
    assert answer.json() == {
        "challengeId": str(challenge.pk),
        "expiresAt": challenge.expires_at.isoformat().replace("+00:00", "Z"),
        "resendAvailableAt": challenge.resend_available_at.isoformat().replace("+00:00", "Z"),
        "attemptsLeft": 3,
        "destination": "+47 ** ** ** 99",
    }
    assert (challenge.creator, challenge.purpose) == ("ttd", "login")
    verified = verify(api, challenge.pk, sent_code(stub))
    assert (verified.status_code, verified.json()) == (200, {"verified": True})
    again = problem(verify(api, challenge.pk, sent_code(stub)), 404, "NO_OTP_FOUND")
    assert again["attemptsLeft"] == 0


def test_by_mail(api: APIClient, stub: Stub) -> None:
    answer = ask(api, channel="Email", recipient="kari@example.com")
    assert answer.json()["destination"] == "k***@example.com"
    assert verify(api, answer.json()["challengeId"], sent_code(stub)).status_code == 200


@pytest.mark.parametrize(("wanted", "given"), [("nb-NO", "nb"), ("tlh", "en"), (None, "en")])
def test_in_the_nearest_language_there_is(
    wanted: str | None, given: str, api: APIClient, stub: Stub
) -> None:
    asked(api, language=wanted)
    assert Challenge.objects.get().language == given


REQUIRED = "The {} field is required."
NUMBER = "Recipient phone number is not a valid mobile number."


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        (
            {"purpose": None, "channel": " ", "recipient": ""},
            {name: [REQUIRED.format(name)] for name in ("purpose", "channel", "recipient")},
        ),
        (
            {"purpose": "x" * 65, "recipient": "12345", "language": "klingon" * 6},
            {
                "purpose": ["The purpose field must be at most 64 characters."],
                "recipient": [NUMBER],
                "language": ["The language field must be at most 35 characters."],
            },
        ),
        (
            {"purpose": 1, "channel": ["sms"], "recipient": {}, "language": True},
            {name: ["Expected a string."] for name in (*GOOD, "language")},
        ),
        ({"channel": "fax"}, {"channel": ["Expected sms or email."]}),
        ({"channel": "email"}, {"recipient": ["Invalid email address format."]}),
        ({"recipient": "kari@example.com"}, {"recipient": [NUMBER]}),
        (
            {"purpose": "a\0", "language": "\ud800"},
            {
                name: [f"The {name} field contains characters that cannot be sent."]
                for name in ("purpose", "language")
            },
        ),
        (
            {"purpose": "a\u200bb"},
            {"purpose": ["The purpose field contains characters that cannot be sent."]},
        ),
    ],
)
def test_all_broken_rules_are_told_at_once_and_no_value(
    changes: dict[str, Any], errors: Any, api: APIClient, stub: Stub
) -> None:
    answer = ask(api, **changes)
    assert invalid(answer) == errors
    assert PHONE not in answer.content.decode()
    assert "klingon" not in answer.content.decode()
    assert rows_left() == []


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"code": ["The code field is required."]}),
        ({"code": None}, {"code": ["The code field is required."]}),
        ({"code": " "}, {"code": ["The code field is required."]}),
        ({"code": 428516}, {"code": ["Expected a string."]}),
        ({"code": "1" * 65}, {"code": ["The code field must be at most 64 characters."]}),
        (
            {"code": "428\u0000516"},
            {"code": ["The code field contains characters that cannot be sent."]},
        ),
        (b"[]", {"$": ["Expected an object."]}),
        (b"{", {"$": ["Expected valid JSON in UTF-8."]}),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_what_is_no_code_uses_up_nothing(
    known: bool, body: Any, errors: Any, api: APIClient, stub: Stub
) -> None:
    challenge_id = asked(api)
    looked_for = challenge_id if known else str(uuid4())
    assert invalid(post(api, f"{CHALLENGES}/{looked_for}/verify", body)) == errors
    assert Challenge.objects.get().attempts_left == 3


@pytest.mark.parametrize(
    "spelt",
    [
        lambda code: f" {code[:3]} {code[3:]}\n",
        lambda code: f"{code[:3]}\u2013{code[3:]}",
        lambda code: "".join(chr(ord(digit) + 0xFEE0) for digit in code),
    ],
    ids=["blanks", "dash", "full width"],
)
def test_a_code_may_be_typed_as_people_type(spelt: Any, api: APIClient, stub: Stub) -> None:
    assert verify(api, asked(api), spelt(sent_code(stub))).status_code == 200


def test_three_attempts_and_no_more(api: APIClient, stub: Stub) -> None:
    challenge_id, code = asked(api), sent_code(stub)
    told = [
        problem(verify(api, challenge_id, wrong(code)), status, reason)["attemptsLeft"]
        for status, reason in [
            (400, "INVALID_OTP"),
            (400, "INVALID_OTP"),
            (429, "TOO_MANY_ATTEMPTS"),
        ]
    ]
    assert told == [2, 1, 0]
    problem(verify(api, challenge_id, code), 429, "TOO_MANY_ATTEMPTS")


def test_it_expires(api: APIClient, stub: Stub) -> None:
    challenge_id = asked(api)
    Challenge.objects.update(expires_at="2020-01-01T00:00Z")
    assert problem(verify(api, challenge_id, sent_code(stub)), 400, "OTP_EXPIRED") == {
        "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
        "title": "The code has expired",
        "status": 400,
        "code": "OTP_EXPIRED",
        "detail": "The code has expired",
        "attemptsLeft": 0,
    }


@pytest.mark.parametrize("what", ACTS)
def test_anothers_code_is_as_unknown_as_one_that_never_was(
    what: str, api: APIClient, client_of: Any, stub: Stub
) -> None:
    theirs = asked(client_of("skd"))
    ours = otp.issue("+4799999998", purpose="login")
    answers = [
        act(api, looked_for, what, sent_code(stub))
        for looked_for in (theirs, ours.pk, uuid4(), "x", "0" * 5000)
    ]
    bodies = [problem(answer, 404, "NO_OTP_FOUND") for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert len({tuple(answer.headers) for answer in answers}) == 1
    assert set(Challenge.objects.values_list("attempts_left", flat=True)) == {3}
    assert len(stub.seen) == 2


def test_one_that_is_bound_to_a_session_cannot_be_verified_over_http(
    api: APIClient, stub: Stub
) -> None:
    challenge = otp.issue(PHONE, purpose="login", session="s-1", creator="ttd")
    problem(verify(api, challenge.pk, sent_code(stub)), 404, "NO_OTP_FOUND")


def test_the_same_is_done_whether_or_not_there_is_such_a_code(
    api: APIClient,
    client_of: Any,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: Any,
) -> None:
    ended, theirs = asked(api), asked(client_of("skd"), recipient="+4799999998")
    verify(api, ended, code := sent_code(stub))
    live = asked(api, recipient="+4799999997")
    compared: list[Any] = []
    decrypted: list[Any] = []
    compare = codes.compare_digest
    monkeypatch.setattr(
        codes, "compare_digest", lambda *both: compared.append(both) or compare(*both)
    )
    monkeypatch.setattr("instant_notifications.privacy.decrypt", decrypted.append)
    for looked_for in (live, ended, theirs, uuid4(), "x"):
        compared.clear()
        with django_assert_num_queries(2):
            verify(api, looked_for, wrong(code))
        assert [tuple(map(len, both)) for both in compared] == [(64, 64)]
    assert decrypted == []


def test_a_new_code_replaces_the_old(api: APIClient, stub: Stub, clock: Clock) -> None:
    first, code = asked(api), sent_code(stub)
    early = act(api, first, "resend")
    assert problem(early, 429, "IN-00005")["limit"] == "OTP_RESEND_PAUSE"
    assert early["Retry-After"] == "30"
    clock.go(timedelta(seconds=30))
    answer = act(api, first, "resend")
    second = answer.json()["challengeId"]
    assert (answer.status_code, answer.json()["destination"]) == (201, "+47 ** ** ** 99")
    assert second != first
    for what in ACTS:
        problem(act(api, first, what, code), 404, "NO_OTP_FOUND")
    assert verify(api, second, sent_code(stub)).status_code == 200


def test_a_new_code_needs_no_body(api: APIClient, stub: Stub, clock: Clock) -> None:
    first = asked(api)
    clock.go(timedelta(seconds=30))
    assert api.post(f"{CHALLENGES}/{first}/resend").status_code == 201


def test_who_asks_again_at_once_gets_no_second_code(api: APIClient, stub: Stub) -> None:
    challenge_id = asked(api)
    again = ask(api)
    assert set(problem(again, 429, "IN-00005")) >= {"detail", "limit"}
    assert int(again["Retry-After"]) > 0
    assert len(stub.seen) == 1
    assert verify(api, challenge_id, sent_code(stub)).status_code == 200


@pytest.mark.parametrize(
    ("failure", "status", "code"), [(Rejected, 422, "IN-00001"), (Unavailable, 503, "NOT-00004")]
)
def test_the_caller_learns_that_a_code_did_not_leave(
    failure: Any, status: int, code: str, api: APIClient, stub: Stub
) -> None:
    stub.do = fails(failure, "x")
    shipment_id = problem(ask(api), status, code)["shipmentId"]
    manifest = api.get(f"{API}future/shipment/{shipment_id}")
    assert manifest.status_code == 200
    problem(verify(api, Challenge.objects.get().pk, sent_code(stub)), 404, "NO_OTP_FOUND")


def test_a_code_that_may_have_left_can_be_verified(api: APIClient, stub: Stub) -> None:
    stub.do = fails(OutcomeUnknown, "timed out")
    assert verify(api, asked(api), sent_code(stub)).status_code == 200


CALLS = {
    "ask": lambda client: ask(client),
    "ask badly": lambda client: post(client, CHALLENGES, b"\xff"),
    **{what: lambda client, what=what: act(client, uuid4(), what) for what in ACTS},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_who_may_not_call_is_told_so_first(call: Any, client_of: Any, stub: Stub) -> None:
    assert problem(call(APIClient()), 401)["status"] == 401
    assert problem(call(client_of(scope="other")), 403)["status"] == 403
    assert rows_left() == []


def test_these_are_all_the_routes_there_are() -> None:
    every = [str(each.pattern) for each in routes.urlpatterns if isinstance(each, URLPattern)]
    assert len(every) == len(routes.urlpatterns)
    assert every == ["challenges", *(f"challenges/<str:challenge_id>/{what}" for what in ACTS)]


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "options"])
@pytest.mark.parametrize("below", ["", *(f"/{UUID(int=7)}/{what}" for what in ACTS)])
def test_they_only_take_post(method: str, below: str, api: APIClient) -> None:
    problem(getattr(api, method)(f"{CHALLENGES}{below}"), 405)


def test_a_project_without_the_app_has_no_such_routes(settings: Any) -> None:
    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if not app.startswith("instant_notifications.otp")
    ]
    patterns = runpy.run_path(str(urls.__file__))["urlpatterns"]
    assert len(patterns) == len(urls.urlpatterns) - 1
    assert not any("otp" in str(each.pattern) for each in patterns)


def test_no_code_and_no_number_in_any_log_or_problem(
    api: APIClient, stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    challenge_id, code = asked(api), sent_code(stub)
    said = [
        ask(api),
        verify(api, challenge_id, wrong(code)),
        act(api, challenge_id, "resend"),
        verify(api, uuid4(), code),
        verify(api, challenge_id, code),
        verify(api, challenge_id, code),
    ]
    stub.do = fails(RuntimeError, f"{PHONE} {code}")
    said.append(ask(api, recipient="+4799999998"))
    everything = caplog.text + "".join(each.content.decode() for each in said)
    everything = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}", "", everything)
    for secret in (code, wrong(code), sent_code(stub), "99999999", "99999998"):
        assert secret not in everything


def test_the_table_of_the_api_page_is_the_code() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text()
    rows = re.findall(r"^\| (\d{3}) \| `([A-Z_]+)` \|", page, re.M)
    assert set(rows) == {(str(each.status), each.code) for each in routes.REFUSALS.values()}


def test_who_names_the_purpose_has_it_checked(api: APIClient, stub: Stub) -> None:
    challenge_id = asked(api)
    path = f"{CHALLENGES}/{challenge_id}/verify"
    strange = {"code": sent_code(stub), "purpose": "payment"}
    problem(post(api, path, strange), 404, "NO_OTP_FOUND")
    resend = f"{CHALLENGES}/{challenge_id}/resend"
    problem(post(api, resend, {"purpose": "payment"}), 404, "NO_OTP_FOUND")
    assert post(api, path, {**strange, "purpose": "login"}).status_code == 200


def test_codes_count_towards_the_limit_of_the_organisation(
    api: APIClient, stub: Stub, configure: Any
) -> None:
    configure(LIMITS={"creator": (1, 60)})
    asked(api)
    refusal = problem(ask(api, recipient="+4799999998"), 429, "IN-00005")
    assert refusal["limit"] == "creator"
    assert len(stub.seen) == 1


@pytest.mark.parametrize("broken", ["fold", "is_it", "make"])
def test_no_report_of_an_error_quotes_a_code_or_a_number(
    broken: str, api: APIClient, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What administrators get by mail has the variables of every frame."""
    reports: list[str] = []

    def report(**_named: Any) -> None:
        kind, error, place = sys.exc_info()
        reports.append(ExceptionReporter(None, kind, error, place).get_traceback_html())

    def breaks(*_args: Any, **_named: Any) -> None:
        raise RuntimeError

    typed, number = " ".join(["428", "516"]), PHONE[:-1] + "8"  # not as the source has them
    challenge_id = asked(api)
    monkeypatch.setattr(codes, broken, breaks)
    got_request_exception.connect(report)
    try:
        for answer in (verify(api, challenge_id, typed), ask(api, recipient=number)):
            assert answer.status_code in (201, 400, 500)
    finally:
        got_request_exception.disconnect(report)
    assert reports
    assert not any(said in report for report in reports for said in (typed, number))
