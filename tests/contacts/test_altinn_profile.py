"""Against a profile service on a real socket that answers each path as a test says."""

import json
import re
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import parse_qsl

import jwt
import pytest

from instant_notifications import contacts
from instant_notifications.checks import check_settings
from instant_notifications.contacts import Contact, Identity
from instant_notifications.contacts.altinn_profile import AltinnProfileRegister
from instant_notifications.exceptions import NotConfigured, OutcomeUnknown, Unavailable
from instant_notifications.recipients import Kind, person
from tests.contacts.registers import FIRM, GUEST, KARI, MAIL, OLA, PHONE, SECRETS, contact
from tests.gateways.test_maskinporten import (
    PEM,
    Reply,
    Serve,
    Service,
    altinns,
    answer,
    dribble,
    hang_up,
    heard,
    keep_silent,
    last_part,
)
from tests.web import Server, free_port

Configure = Callable[..., None]

FIXED: Final = "fixed-token"
SCOPE: Final = "altinn:profile.contacts"
US: Final = {"client_id": "us", "key": PEM, "key_id": "key-1"}
BACKEND: Final = f"{AltinnProfileRegister.__module__}.{AltinnProfileRegister.__qualname__}"

KARIS: Final = {
    "nationalIdentityNumber": KARI.number,
    "isReserved": False,
    "mobileNumber": PHONE,
    "email": MAIL,
}


def said(*entries: Any) -> bytes:
    return answer({"contactPointsList": entries})


def register(url: str = "https://altinn.example/", **options: Any) -> AltinnProfileRegister:
    return AltinnProfileRegister(url=f"{url}api/", **{"token": FIXED, **options})


def by_maskinporten(server: Server, **options: Any) -> AltinnProfileRegister:
    us = {**US, "issuer": server.url}
    return register(server.url, token="", maskinporten=us, scope=SCOPE, **options)


def ask(
    server: Server, *identities: Identity, stale: bool = False, timeout: float = 5
) -> Mapping[Identity, Contact]:
    return register(server.url).look_up(identities, include_stale=stale, timeout=timeout)


def question(request: bytes) -> Any:
    return json.loads(request.partition(b"\r\n\r\n")[2])


# What is asked


@pytest.mark.parametrize(
    ("identity", "path", "body"),
    [
        (
            KARI,
            "users/contactpoint/lookup",
            {"nationalIdentityNumbers": [KARI.number], "useStaleContactInfo": True},
        ),
        (GUEST, "users/contactpoint/lookupsi", {"externalIdentities": [GUEST.number]}),
        (
            FIRM,
            "organizations/notificationaddresses/lookup",
            {"organizationNumbers": [FIRM.number]},
        ),
    ],
    ids=["person", "external", "organisation"],
)
def test_each_kind_is_asked_for_as_the_contract_has_it(
    identity: Identity, path: str, body: Any, serve: Serve
) -> None:
    server = serve(Service(lookup=said(), lookupsi=said()))
    assert ask(server, identity, stale=True) == {}
    (request,) = server.requests
    assert request.startswith(f"POST /api/{path} HTTP/1.1\r\n".encode())
    assert b"\r\nAuthorization: Bearer fixed-token\r\n" in request
    assert b"\r\nContent-Type: application/json\r\n" in request
    assert question(request) == body


def test_stale_information_is_asked_for_only_where_it_will_do(serve: Serve) -> None:
    server = serve(Service(lookup=said()))
    ask(server, KARI)
    assert question(server.requests[0])["useStaleContactInfo"] is False


def test_the_app_asks_once_for_many(serve: Serve, configure: Configure) -> None:
    server = serve(Service(lookup=said(KARIS)))
    options = {"url": f"{server.url}api/", "token": FIXED}
    configure(CONTACT_REGISTER={"BACKEND": BACKEND, "OPTIONS": options})
    karis = person(KARI.number)
    told = contacts.look_up([karis, person(OLA.number)])
    assert told.keys() == {karis}
    assert told[karis].phone_numbers == (PHONE,)
    (request,) = server.requests
    assert question(request)["nationalIdentityNumbers"] == [KARI.number, OLA.number]


# What is answered


def test_a_person_is_understood(serve: Serve) -> None:
    server = serve(Service(lookup=said({**KARIS, "isReserved": True, "new": {"member": 1}})))
    assert ask(server, KARI) == {KARI: contact(PHONE, MAIL, reserved=True)}


def test_an_organisation_has_many_addresses(serve: Serve) -> None:
    entry = {
        "organizationNumber": FIRM.number,
        "partyId": 17,
        "mobileNumberList": [PHONE, "40000000"],
        "emailList": [MAIL],
    }
    assert ask(serve(Service(lookup=said(entry))), FIRM) == {FIRM: contact(PHONE, "40000000", MAIL)}


def test_an_external_identity_is_the_same_in_any_case(serve: Serve) -> None:
    entry = {"externalIdentity": GUEST.number.lower(), "email": MAIL, "mobileNumber": None}
    shouted = Identity(Kind.EXTERNAL, GUEST.number.upper())
    server = serve(Service(lookupsi=said(entry)))
    assert ask(server, GUEST, shouted) == dict.fromkeys([GUEST, shouted], contact(MAIL))
    assert question(server.requests[0])["externalIdentities"] == [GUEST.number]


def test_whoever_was_not_asked_for_is_passed_over(serve: Serve) -> None:
    other = {**KARIS, "nationalIdentityNumber": OLA.number}
    assert ask(serve(Service(lookup=said(other, KARIS))), KARI).keys() == {KARI}


def test_of_somebody_told_of_twice_all_of_it_counts(serve: Serve) -> None:
    again = {**KARIS, "isReserved": True, "email": None, "mobileNumber": "+4791234567"}
    told = ask(serve(Service(lookup=said(KARIS, again, KARIS))), KARI)
    assert told[KARI].reserved
    assert set(told[KARI].phone_numbers) == {PHONE, "+4791234567"}


@pytest.mark.parametrize(
    "strange",
    [
        answer(""),
        answer("<p>01017012345</p>"),
        answer([KARIS]),
        answer({}),
        answer({"contactPointsList": None}),
        answer({"contactPointsList": {KARI.number: KARIS}}),
        said(KARI.number),
        said(KARIS, None),
        said({**KARIS, "nationalIdentityNumber": 1017012345}),
        said({"isReserved": False}),
        said({**KARIS, "isReserved": "true"}),
        said({**KARIS, "isReserved": None}),
        said({**KARIS, "mobileNumber": 99999999}),
        said({**KARIS, "email": {"address": MAIL}}),
        said({**KARIS, "email": [MAIL, None]}),
        answer("[" * 100_000),
    ],
)
def test_a_strange_answer_is_no_answer(strange: bytes, serve: Serve) -> None:
    assert failure(serve(Service(lookup=strange))) == "an answer that is none"


def failure(server: Server, kind: type[Exception] = Unavailable, timeout: float = 5) -> str | None:
    with pytest.raises(kind) as raised:
        ask(server, KARI, timeout=timeout)
    assert not isinstance(raised.value, OutcomeUnknown)
    assert not [secret for secret in (*SECRETS, FIXED) if secret in repr(raised.value)]
    return getattr(raised.value, "reason", str(raised.value))


@pytest.mark.parametrize("status", [301, 307, 400, 409, 422, 429, 500, 502, 503, 504])
def test_another_status_means_to_ask_again_later(status: int, serve: Serve) -> None:
    reply = answer(KARIS, status, "Retry-After: 30", "Location: http://127.0.0.1:1/")
    with pytest.raises(Unavailable, match=f"HTTP {status}") as raised:
        ask(serve(Service(lookup=reply)), KARI)
    assert raised.value.retry_after == 30


@pytest.mark.parametrize(("status", "text"), [(401, "token"), (403, "scope"), (404, "'url'")])
def test_a_status_that_is_our_own_fault_says_what_to_set(
    status: int, text: str, serve: Serve
) -> None:
    told = failure(serve(Service(lookup=answer(KARIS, status))), NotConfigured)
    assert text in str(told)
    assert f"HTTP {status}" in str(told)


@pytest.mark.parametrize("reply", [hang_up, keep_silent, dribble])
def test_silence_is_no_answer_and_costs_no_more_than_the_timeout(
    reply: Reply, serve: Serve
) -> None:
    started = monotonic()
    failure(serve(Service(lookup=reply)), timeout=0.5)
    assert monotonic() - started < 2


def test_a_service_that_is_away_is_no_answer() -> None:
    with pytest.raises(Unavailable):
        register(f"http://127.0.0.1:{free_port()}/").look_up([KARI], include_stale=False, timeout=2)


# Tokens


def test_the_token_is_asked_for_with_the_scope_and_exchanged(serve: Serve) -> None:
    token = altinns()
    server = serve(Service(lookup=said(KARIS), maskinporten=answer(token)))
    assert by_maskinporten(server).look_up([KARI], include_stale=False, timeout=5)
    assert [last_part(each) for each in server.requests] == ["token", "maskinporten", "lookup"]
    assert f"Authorization: Bearer {token}".encode() in server.requests[-1]
    (bought,) = heard(server, "token")
    assertion = form_of(bought)["assertion"]
    assert claims_of(assertion)["scope"] == SCOPE


def form_of(request: bytes) -> dict[str, str]:
    return dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))


def claims_of(token: str) -> Any:
    return jwt.decode(token, options={"verify_signature": False})


def test_a_refused_token_is_replaced_once(serve: Serve) -> None:
    first, second = altinns(jti="1"), altinns(jti="2")
    refused = answer("", 401)
    server = serve(
        Service(lookup=[refused, said(KARIS)], maskinporten=[answer(first), answer(second)])
    )
    assert by_maskinporten(server).look_up([KARI], include_stale=False, timeout=5)
    tries = heard(server, "lookup")
    assert [first.encode() in tries[0], second.encode() in tries[1]] == [True, True]
    assert question(tries[0]) == question(tries[1])
    server.talk.replies["lookup"] = refused  # type: ignore[attr-defined]
    server.requests.clear()
    with pytest.raises(NotConfigured):
        by_maskinporten(server).look_up([KARI], include_stale=False, timeout=5)
    assert len(heard(server, "lookup")) == 2


def test_without_a_token_nobody_is_asked_about(serve: Serve) -> None:
    server = serve(Service(lookup=said(KARIS), token=answer({"error": "invalid_scope"}, 400)))
    with pytest.raises(NotConfigured, match="invalid_scope"):
        by_maskinporten(server).look_up([KARI], include_stale=False, timeout=5)
    assert not heard(server, "lookup")


# What is configured


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"token": FIXED}, ""),
        ({"maskinporten": US, "scope": SCOPE}, ""),
        ({"maskinporten": {**US, "scope": SCOPE}}, ""),
        ({"maskinporten": US, "scope": SCOPE, "exchange_url": None}, ""),
        ({"maskinporten": US}, "The contact register would get no token.*'scope'.*blank"),
        ({"token": FIXED, "url": "http://altinn.example/"}, "'url' of the contact register.*https"),
        ({}, "The contact register needs the option 'maskinporten'"),
        ({"token": FIXED, "colour": "red"}, "does not know the option.*colour"),
        ({"maskinporten": {"client_id": "us"}}, "of the contact register do not fit:.*key"),
    ],
)
def test_what_is_wrong_with_the_options_is_told(
    options: Any, expected: str, configure: Configure
) -> None:
    whole = {"url": "https://altinn.example/profile/api/v1/", **options}
    configure(CONTACT_REGISTER={"BACKEND": BACKEND, "OPTIONS": whole})
    found = check_settings(None)
    assert len(found) == bool(expected)
    for problem in found:
        assert re.search(expected, problem.msg)
        assert problem.hint
        assert FIXED not in problem.msg
