"""Against a token server on a real socket that answers each path as a test says."""

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Barrier, Event, Thread
from typing import Any, Final
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from instant_notifications.exceptions import NotConfigured, Unavailable
from instant_notifications.gateways.maskinporten import (
    RENEWAL_PAUSE,
    Client,
    SharedToken,
    Token,
    exchange,
    shared_token,
)
from tests.web import Server, Talk

Serve = Callable[[Talk], Server]
Reply = bytes | Talk

KEY: Final = rsa.generate_private_key(65537, 2048)
SCOPE: Final = "altinn:serviceowner/notifications.create"
MASKINPORTENS: Final = "token-of-maskinporten"
LEAK: Final = "said-too-much"


def pem(
    key: Any = KEY,
    form: PrivateFormat = PrivateFormat.PKCS8,
    locked: KeySerializationEncryption | None = None,
) -> str:
    made: bytes = key.private_bytes(Encoding.PEM, form, locked or NoEncryption())
    return made.decode()


PEM: Final = pem()
PUBLIC: Final = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def answer(body: Any = "", status: int = 200, *headers: str) -> bytes:
    text = body if isinstance(body, str) else json.dumps(body)
    size = f"Content-Length: {len(text.encode())}"
    return "\r\n".join([f"HTTP/1.1 {status} So", size, *headers, "", text]).encode()


GRANTED: Final = answer({"access_token": MASKINPORTENS, "expires_in": 119})


def hang_up(server: Server, connection: socket.socket) -> None:
    """The request has been heard; that is all."""


def keep_silent(server: Server, connection: socket.socket) -> None:
    server.wait(10)


def dribble(server: Server, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        server.wait(0.05)


def patience(reply: Any) -> float:
    """Seconds to wait for a reply: few only where none will come."""
    return 0.3 if reply in (keep_silent, dribble) else 5


def slowly(seconds: float, reply: bytes) -> Talk:
    """And then hangs up, as it says, or the next request might still come by this connection."""

    def talk(server: Server, connection: socket.socket) -> None:
        server.wait(seconds)
        connection.sendall(reply.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))

    return talk


def altinns(expires_in: Any = 1800, **claims: Any) -> str:
    """A token as the exchange gives them."""
    ends = {} if expires_in is None else {"exp": int(time.time()) + expires_in}
    return jwt.encode({**ends, **claims}, KEY, "RS256")


class Service:
    """Answers by the last part of the path; of several replies in turn, the last for good."""

    def __init__(self, **replies: Reply | list[Reply]) -> None:
        self.replies = {"token": GRANTED, "maskinporten": answer(altinns()), **replies}

    def __call__(self, server: Server, connection: socket.socket) -> None:
        while request := server.hear(connection):
            reply = self.replies.get(last_part(request), answer("", 404))
            if isinstance(reply, list):
                reply = reply.pop(0) if len(reply) > 1 else reply[0]
            if callable(reply):
                return reply(server, connection)
            connection.sendall(reply)
        return None


def last_part(request: bytes) -> str:
    path = request.split(b" ", 2)[1].partition(b"?")[0]
    return path.rpartition(b"/")[2].decode()


def heard(server: Server, part: str) -> list[bytes]:
    return [request for request in server.requests if last_part(request) == part]


def client(url: str = "https://issuer.example/", **changes: Any) -> Client:
    good = {"client_id": "us", "key": PEM, "key_id": "key-1", "scope": SCOPE, "issuer": url}
    return Client(**{**good, **changes})


def exchange_of(server: Server) -> str:
    return f"{server.url}authentication/api/v1/exchange/maskinporten"


def lasting(seconds: float, text: str = "old", *, renew_in: float = 0) -> Token:
    now = time.monotonic()
    return Token(text, renew_at=now + renew_in, ends_at=now + seconds)


def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.005)
    raise AssertionError


# What Maskinporten is told, and says


def test_the_assertion_is_signed_short_lived_and_never_the_same(serve: Serve) -> None:
    server, seen = serve(Service()), set()
    for _ in range(2):
        assert client(server.url).fetch(5).text == MASKINPORTENS
    for request in heard(server, "token"):
        form = {name: each for name, [each] in parse_qs(request.decode().split("\r\n")[-1]).items()}
        assert form.pop("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        (assertion,) = form.values()
        header = jwt.get_unverified_header(assertion)
        assert header == {"alg": "RS256", "kid": "key-1", "typ": "JWT"}
        claims = jwt.decode(assertion, KEY.public_key(), ["RS256"], audience=server.url)
        assert (claims["iss"], claims["scope"]) == ("us", SCOPE)
        assert abs(claims["iat"] - time.time()) < 5
        assert 60 <= claims["exp"] - claims["iat"] <= 120
        seen.add(claims["jti"])
    assert len(seen) == 2


def test_maskinporten_may_live_at_another_address_than_its_name(serve: Serve) -> None:
    server = serve(Service())
    elsewhere = client(token_url=f"{server.url}token")
    assert elsewhere.fetch(5).text == MASKINPORTENS
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("said", "life", "renewed_after"),
    [
        *((3600, 3600, 3540), (119, 119, 59.5), (20, 20, 10)),
        *((odd, 60, 30) for odd in (None, 0, -5, True, "3600", [], float("nan"))),
    ],
)
def test_a_token_is_renewed_before_it_ends(
    said: Any, life: float, renewed_after: float, serve: Serve
) -> None:
    server = serve(Service(token=answer({"access_token": "t", "expires_in": said})))
    asked_at = time.monotonic()
    token = client(server.url).fetch(5)
    assert token.ends_at - asked_at == pytest.approx(life, abs=2)
    assert token.renew_at - asked_at == pytest.approx(renewed_after, abs=2)


@pytest.mark.parametrize("written", ["{}", '"{}"', ' "{}"\r\n'])
@pytest.mark.parametrize(("expires_in", "life"), [(1800, 1800), (None, 60), (-5, 60)])
def test_the_exchange_gives_a_token_with_or_without_quotes(
    written: str, expires_in: int | None, life: float, serve: Serve
) -> None:
    given = altinns(expires_in)
    server = serve(Service(maskinporten=answer(written.format(given))))
    token = exchange(lasting(60, MASKINPORTENS), exchange_of(server), 5)
    assert token.text == given
    assert token.ends_at - time.monotonic() == pytest.approx(life, abs=2)
    assert f"\r\nAuthorization: Bearer {MASKINPORTENS}\r\n".encode() in server.requests[0]


REFUSED: Final = {"error": "invalid_grant", "error_description": LEAK}
FAILURES: Final[dict[str, tuple[Reply, type[Exception], str]]] = {
    "refused": (answer(REFUSED, 400), NotConfigured, "HTTP 400 invalid_grant"),
    "odd": (answer({"error": LEAK}, 400), NotConfigured, r"HTTP 400\)"),
    "odder": (answer({"error": [LEAK]}, 401), NotConfigured, r"HTTP 401\)"),
    "forbidden": (answer(LEAK, 403), NotConfigured, "HTTP 403"),
    "not there": (answer(LEAK, 404), NotConfigured, "HTTP 404"),
    "too many": (answer(LEAK, 429, "Retry-After: 7"), Unavailable, "HTTP 429"),
    "broken": (answer(LEAK, 500), Unavailable, "HTTP 500"),
    "redirect": (answer("", 302, f"Location: http://{LEAK}/"), Unavailable, "HTTP 302"),
    "nothing": (answer(), Unavailable, "gave no token"),
    "page": (answer(f"<p>{LEAK}"), Unavailable, "gave no token"),
    "list": (answer([LEAK]), Unavailable, "gave no token"),
    "null": (answer({"access_token": None}), Unavailable, "gave no token"),
    "number": (answer({"access_token": 5}), Unavailable, "gave no token"),
    "blank": (answer({"access_token": ""}), Unavailable, "gave no token"),
    "deep": (answer("[" * 100_000), Unavailable, "gave no token"),
    "hangs up": (hang_up, Unavailable, "ConnectionError"),
    "silent": (keep_silent, Unavailable, "(?i)time"),
    "dribbles": (dribble, Unavailable, "in time"),
}


@pytest.mark.parametrize("step", ["token", "maskinporten"])
@pytest.mark.parametrize(("reply", "kind", "text"), FAILURES.values(), ids=FAILURES)
def test_without_a_token_it_is_said_why(
    reply: Reply, kind: type[Exception], text: str, step: str, serve: Serve
) -> None:
    server = serve(Service(**{step: reply}))
    steps = {
        "token": client(server.url).fetch,
        "maskinporten": partial(exchange, lasting(60, MASKINPORTENS), exchange_of(server)),
    }
    with pytest.raises(kind, match=text) as raised:
        steps[step](patience(reply))
    assert raised.value.__cause__ is None
    assert not [secret for secret in (LEAK, MASKINPORTENS) if secret in str(raised.value)]
    assert getattr(raised.value, "retry_after", None) == (7 if "429" in text else None)


@pytest.mark.parametrize("odd", [f"{LEAK}.x.y", "..", jwt.encode({}, KEY, "RS256")[1:]])
def test_what_the_exchange_gives_must_be_a_token(odd: str, serve: Serve) -> None:
    server = serve(Service(maskinporten=answer(odd)))
    with pytest.raises(Unavailable, match="gave no token"):
        exchange(lasting(60), exchange_of(server), 5)


NO_KEY: Final = "'key' .* not an RSA private key"
UNUSABLE: Final = {
    "no PEM": ({"key": LEAK}, NO_KEY),
    "cut": ({"key": PEM[:-60]}, NO_KEY),
    "EC": ({"key": pem(ec.generate_private_key(ec.SECP256R1()))}, NO_KEY),
    "Ed25519": ({"key": pem(ed25519.Ed25519PrivateKey.generate())}, NO_KEY),
    "short": ({"key": pem(rsa.generate_private_key(65537, 1024))}, NO_KEY),
    "locked": ({"key": pem(locked=BestAvailableEncryption(b"x"))}, NO_KEY),
    "public": ({"key": PUBLIC.decode()}, NO_KEY),
    "surrogate": ({"key": "\ud800"}, NO_KEY),
    **{
        f"{name} {blank!r}": ({name: blank}, f"{name!r} .* is blank")
        for name in ("client_id", "key", "key_id", "scope", "issuer")
        for blank in ("", " \n", None)
    },
}


@pytest.mark.parametrize(("changes", "text"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_can_be_seen_to_be_wrong_is_told(changes: dict[str, Any], text: str) -> None:
    for attempt in (client(**changes).check, lambda: client(**changes).fetch(5)):
        with pytest.raises(NotConfigured, match=text) as raised:
            attempt()
        assert LEAK not in str(raised.value)
        assert raised.value.__cause__ is None


@pytest.mark.parametrize("name", ["issuer", "token_url"])
def test_an_address_that_could_be_overheard_is_told(name: str) -> None:
    with pytest.raises(NotConfigured, match=f"{name!r} .* no https"):
        client(**{name: "http://issuer.example/"}).check()


def test_neither_keys_nor_tokens_show() -> None:
    assert "PRIVATE" not in repr(client())
    assert MASKINPORTENS not in repr(lasting(5, MASKINPORTENS))


# One token for all


class Fetches:
    """Gives the tokens (or raises the errors) of a list in turn, once it is let go."""

    def __init__(self, *outcomes: Token | Exception) -> None:
        self.outcomes, self.count, self.go = list(outcomes), 0, Event()
        self.go.set()

    def __call__(self, timeout: float) -> Token:
        self.count += 1
        outcome = self.outcomes[min(self.count, len(self.outcomes)) - 1]
        assert self.go.wait(10)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def settled(self, shared: SharedToken) -> None:
        self.go.set()
        until(lambda: shared._under_way is None)


NEW: Final = Token("new", renew_at=float("inf"), ends_at=float("inf"))


def test_twenty_threads_at_the_same_moment_fetch_once(serve: Serve) -> None:
    server, start = serve(Service(token=slowly(0.4, GRANTED))), Barrier(20)
    exchange_url = exchange_of(server)

    def get(_: int) -> str:
        start.wait(5)
        return shared_token(client(server.url), exchange_url).get(5)

    with ThreadPoolExecutor(20) as pool:
        texts = set(pool.map(get, range(20)))
    assert len(texts) == 1
    assert [last_part(request) for request in server.requests] == ["token", "maskinporten"]


def test_the_old_one_serves_while_the_new_one_is_fetched() -> None:
    fetches = Fetches(lasting(30), NEW)
    shared = SharedToken(fetches)
    assert shared.get(5) == "old"
    fetches.go.clear()
    assert [shared.get(0) for _ in range(3)] == ["old"] * 3
    fetches.settled(shared)
    assert [shared.get(0) for _ in range(3)] == ["new"] * 3
    assert fetches.count == 2


def test_a_renewal_that_failed_is_not_tried_again_at_once() -> None:
    fetches = Fetches(lasting(30), Unavailable("down"), NEW)
    shared = SharedToken(fetches)
    for _ in range(5):
        assert shared.get(5) == "old"
        fetches.settled(shared)
    assert fetches.count == 2
    assert shared._token
    assert 0 < shared._token.renew_at - time.monotonic() <= RENEWAL_PAUSE
    shared._token = replace(shared._token, renew_at=0)
    assert shared.get(0) == "old"
    fetches.settled(shared)
    assert shared.get(0) == "new"


@pytest.mark.parametrize("renew_in", [0, 60])
def test_one_that_is_about_to_end_serves_no_more(renew_in: float) -> None:
    shared = SharedToken(Fetches(lasting(4, renew_in=renew_in), NEW))
    assert [shared.get(5), shared.get(5)] == ["old", "new"]


def test_a_refused_one_is_forgotten_and_no_other() -> None:
    fetches = Fetches(lasting(900, renew_in=800), NEW)
    shared = SharedToken(fetches)
    shared.get(5)
    shared.forget("another")
    assert (shared.get(5), fetches.count) == ("old", 1)
    shared.forget("old")
    assert (shared.get(5), fetches.count) == ("new", 2)


def test_who_is_short_of_time_does_not_spoil_it_for_others() -> None:
    fetches = Fetches(NEW)
    fetches.go.clear()
    shared = SharedToken(fetches)
    with pytest.raises(Unavailable, match="no token in time"):
        shared.get(0.05)
    Thread(target=lambda: (time.sleep(0.1), fetches.go.set()), daemon=True).start()
    assert (shared.get(5), fetches.count) == ("new", 1)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (Unavailable("busy", retry_after=7), Unavailable, "busy"),
        (NotConfigured("set it"), NotConfigured, "set it"),
        (KeyError(LEAK), Unavailable, "KeyError"),
    ],
)
def test_a_failure_is_told_to_all_who_wait_and_does_not_stay(
    error: Exception, kind: type[Exception], text: str
) -> None:
    fetches = Fetches(error, NEW)
    fetches.go.clear()
    shared = SharedToken(fetches)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(shared.get, 5) for _ in range(3)]
        time.sleep(0.1)
        fetches.go.set()
    raised = [each.exception() for each in waiting]
    assert {type(each) for each in raised} == {kind}
    assert len({id(each) for each in raised}) == 3
    assert all(text in str(each) and LEAK not in str(each) for each in raised)
    assert {getattr(each, "retry_after", None) for each in raised} <= {7, None}
    assert (shared.get(5), fetches.count) == ("new", 2)


def test_without_a_free_thread_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedToken(Fetches(NEW))

    def refuse(thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refuse)
    with pytest.raises(Unavailable, match="RuntimeError"):
        shared.get(5)
    monkeypatch.undo()
    assert shared.get(5) == "new"


def test_gateways_of_one_client_share_and_a_forked_child_begins_anew(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(Service(token=[keep_silent, answer({"access_token": "t"})]))
    ours = shared_token(client(server.url), None)
    assert shared_token(client(server.url), None) is ours
    assert shared_token(client(server.url, scope="other"), None) is not ours
    assert shared_token(client(server.url), server.url) is not ours
    with pytest.raises(Unavailable):
        ours.get(0.1)
    until(lambda: bool(server.requests))  # the fetch goes on, in the parent
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert shared_token(client(server.url), None).get(5) == "t"
