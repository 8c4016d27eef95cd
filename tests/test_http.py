"""Against real sockets, because what matters is where exactly a conversation breaks off."""

import gzip
import logging
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from instant_notifications import http
from tests.internet import certificate, secure
from tests.web import Server, Talk, free_port, hangs_up, keeps_silent, own_connections, says, shared

PHONE = "+4799999999"
BODY = "Your code is 428516"
SECRETS = ("99999999", "428516", "sesame")


def hangs_up_at_once(server: Server, connection: socket.socket) -> None:
    connection.recv(1)


def breaks_off(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst words")


def talks_nonsense(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"220 smtp.example ESMTP\r\n\r\n")


def closes_when_idle(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


@pytest.fixture(autouse=True)
def session() -> Iterator[None]:
    with own_connections():
        yield


def post(url: str, *, timeout: float = 5) -> int:
    return http.request("POST", url, timeout=timeout, json={"to": PHONE, "body": BODY}).status_code


@pytest.mark.parametrize("status", [200, 201, 204, 400, 401, 404, 429, 500, 503])
def test_an_answer_is_an_answer_whatever_its_status(
    status: int, serve: Callable[[Talk], Server]
) -> None:
    assert post(serve(says(status=f"{status} So")).url) == status


def test_the_answer_and_the_request_arrive_whole(serve: Callable[[Talk], Server]) -> None:
    server = serve(says("Content-Type: application/json", body='{"reference": "s-1"}'))
    answer = http.request(
        "POST",
        f"{server.url}send?kind=sms",
        timeout=5,
        headers={"X-Key": "sesame"},
        json={"body": "Grüße"},
        auth=("user", "password"),
    )
    assert answer.json() == {"reference": "s-1"}
    (request,) = server.requests
    assert request.startswith(b"POST /send?kind=sms HTTP/1.1\r\n")
    assert b"X-Key: sesame\r\n" in request
    assert b"Authorization: Basic " in request
    assert request.partition(b"\r\n\r\n")[2] in (
        '{"body": "Grüße"}'.encode(),
        b'{"body": "Gr\\u00fc\\u00dfe"}',
    )


def test_a_form_is_sent_as_a_form(serve: Callable[[Talk], Server]) -> None:
    server = serve(says())
    http.request("POST", server.url, timeout=5, data={"to": PHONE})
    assert server.requests[0].endswith(b"\r\n\r\nto=%2B4799999999")


def test_a_refused_connection_sent_nothing() -> None:
    with pytest.raises(http.NotSent):
        post(f"http://127.0.0.1:{free_port()}/")


def test_a_connection_that_nobody_accepts_sent_nothing() -> None:
    with socket.socket() as deaf, socket.socket() as first:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        first.connect(deaf.getsockname())
        started = monotonic()
        with pytest.raises(http.NotSent):
            post(f"http://127.0.0.1:{deaf.getsockname()[1]}/", timeout=0.2)
        assert monotonic() - started < 1


@pytest.mark.parametrize("talk", [hangs_up, breaks_off, talks_nonsense])
def test_a_conversation_that_breaks_off_is_no_answer(
    talk: Talk, serve: Callable[[Talk], Server]
) -> None:
    with pytest.raises(http.NoAnswer):
        post(serve(talk).url)


def test_a_request_that_left_only_in_part_was_not_sent(serve: Callable[[Talk], Server]) -> None:
    server = serve(hangs_up_at_once)
    with pytest.raises(http.NotSent):
        http.request("POST", server.url, timeout=5, data=b"x" * 30_000_000)


def test_what_a_server_says_before_it_has_read_everything_is_an_answer(
    serve: Callable[[Talk], Server],
) -> None:
    def talk(server: Server, connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    answer = http.request("POST", serve(talk).url, timeout=5, data=b"x" * 30_000_000)
    assert answer.status_code == 401


def dribbles(head: bytes, piece: bytes) -> Talk:
    def talk(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(head)
        for _ in range(100):
            connection.sendall(piece)
            server.wait(0.05)

    return talk


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Header: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["status line", "headers", "body", "chunks"],
)
def test_a_server_that_dribbles_cannot_stretch_the_time_out(
    head: bytes, piece: bytes, serve: Callable[[Talk], Server]
) -> None:
    server, started = serve(dribbles(head, piece)), monotonic()
    with pytest.raises(http.NoAnswer):
        post(server.url, timeout=0.5)
    assert monotonic() - started < 1


def test_a_server_that_reads_nothing_costs_no_more_than_the_time_out(
    serve: Callable[[Talk], Server],
) -> None:
    server, started = serve(lambda server, _: server.wait(10)), monotonic()
    with pytest.raises((http.NotSent, http.NoAnswer)):
        http.request("POST", server.url, timeout=0.5, data=b"x" * 30_000_000)
    assert monotonic() - started < 1


def test_a_name_server_that_hangs_costs_no_more_than_the_time_out(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[Talk], Server]
) -> None:
    """And once we have given up, nothing leaves any more."""
    server, look_up, done = serve(says()), socket.getaddrinfo, threading.Event()

    def hang(*args: Any, **named: Any) -> Any:
        sleep(0.6)
        done.set()
        return look_up(*args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(http.NotSent):
        post(server.url, timeout=0.2)
    assert done.wait(5)
    sleep(0.3)
    assert server.requests == []


def test_an_answer_that_never_ends_is_none(
    serve: Callable[[Talk], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LARGEST_ANSWER", 1000)
    assert post(serve(says(body="x" * 1000)).url) == 200
    with pytest.raises(http.NoAnswer):
        post(serve(says(body="x" * 1001)).url)


def test_an_answer_may_be_held_shorter(serve: Callable[[Talk], Server]) -> None:
    server = serve(says(body="x" * 1001))
    assert http.request("GET", server.url, timeout=5, longest=1001).ok
    with pytest.raises(http.NoAnswer, match=r"^too long an answer$"):
        http.request("GET", server.url, timeout=5, longest=1000)


@pytest.mark.parametrize(
    ("asked", "got"), [({}, b"x" * 50), ({"Accept-Encoding": "identity"}, None)]
)
def test_what_we_did_not_ask_to_have_packed_stays_packed(
    asked: dict[str, str], got: bytes | None, serve: Callable[[Talk], Server]
) -> None:
    packed = gzip.compress(b"x" * 50)

    def talk(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}"
        connection.sendall(head.encode() + b"\r\n\r\n" + packed)

    answer = http.request("GET", serve(talk).url, timeout=5, headers=asked)
    assert answer.content == (got or packed)


def test_only_public_means_not_even_a_connection_to_this_machine(
    serve: Callable[[Talk], Server],
) -> None:
    server = serve(says())
    with pytest.raises(http.NotSent, match=r"^private address$"):
        http.request("GET", server.url, timeout=5, only_public=True)
    assert server.connections == 0
    assert http.request("GET", server.url, timeout=5).ok


def test_a_connection_that_may_go_anywhere_is_not_lent_to_one_that_may_not(
    serve: Callable[[Talk], Server],
) -> None:
    server = serve(says())
    assert http.request("GET", server.url, timeout=5).ok
    with pytest.raises(http.NotSent):
        http.request("GET", server.url, timeout=5, only_public=True)
    assert len(server.requests) == 1


def test_a_connection_that_was_idle_for_long_is_not_trusted(
    serve: Callable[[Talk], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(says())
    post(server.url)
    monkeypatch.setattr(http, "LONGEST_IDLE", 0.1)
    sleep(0.2)
    post(server.url)
    assert (len(server.requests), server.connections) == (2, 2)


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("30", 30),
        ("0", 0),
        (" 5 ", 5),
        ("99999999999", http.LONGEST_RETRY_AFTER),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", http.LONGEST_RETRY_AFTER),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_how_long_to_wait_is_read_in_both_forms(said: str, understood: int | None) -> None:
    assert http.Answer(429, {"Retry-After": said}, b"").retry_after == understood


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff", b"[" * 100_000])
def test_what_is_not_json_says_so_without_a_quote(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^not JSON$"):
        http.Answer(200, {}, content).json()


def test_silence_beyond_the_time_out_is_no_answer(serve: Callable[[Talk], Server]) -> None:
    server, started = serve(keeps_silent), monotonic()
    with pytest.raises(http.NoAnswer):
        post(server.url, timeout=0.2)
    assert monotonic() - started < 1
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_request_is_never_repeated(method: str, serve: Callable[[Talk], Server]) -> None:
    server = serve(hangs_up)
    with pytest.raises(http.NoAnswer):
        http.request(method, server.url, timeout=5)
    assert (len(server.requests), server.connections) == (1, 1)


def test_a_redirect_is_not_followed(serve: Callable[[Talk], Server]) -> None:
    elsewhere = serve(says())
    server = serve(says(f"Location: {elsewhere.url}", status="307 Temporary Redirect"))
    assert post(server.url) == 307
    assert (len(server.requests), elsewhere.connections) == (1, 0)


@pytest.mark.parametrize(
    "location", ["http://\xff/", "http://[::1", "ftp://x/", "http://" + "a" * 70]
)
def test_an_odd_redirect_is_an_answer_and_not_a_request_that_was_never_sent(
    location: str, serve: Callable[[Talk], Server]
) -> None:
    server = serve(says(f"Location: {location}", status="307 Temporary Redirect"))
    assert post(server.url) == 307
    assert len(server.requests) == 1


def test_connections_are_used_again(serve: Callable[[Talk], Server]) -> None:
    server = serve(says(body="taken"))
    for _ in range(10):
        post(server.url)
    assert (len(server.requests), server.connections) == (10, 1)


def test_threads_share_the_connections(serve: Callable[[Talk], Server]) -> None:
    server = serve(says())
    for _ in range(5):
        thread = threading.Thread(target=post, args=[server.url])
        thread.start()
        thread.join()
    assert (len(server.requests), server.connections) == (5, 1)


def test_one_thread_has_one_exchange_after_the_other(serve: Callable[[Talk], Server]) -> None:
    server = serve(says())
    talkers = set()
    for _ in range(5):
        post(server.url)
        talkers.add(*shared().idle)
    assert len(talkers) == 1


def test_who_has_nothing_to_do_ends_and_somebody_else_goes_on(
    serve: Callable[[Talk], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LONGEST_IDLE", 0.05)
    server = serve(says())
    for _ in range(2):
        post(server.url)
        (talker,) = shared().idle
        talker.join(10)
        assert not talker.is_alive()
        assert shared().idle == []


def test_who_is_chosen_at_the_last_moment_has_the_exchange(
    serve: Callable[[Talk], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LONGEST_IDLE", 0.05)
    server = serve(says())
    post(server.url)
    talker = shared().idle.pop()
    sleep(0.2)
    assert talker.is_alive()
    shared().idle.append(talker)
    post(server.url)
    assert len(server.requests) == 2


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[http._Exchange]:
    """Those that were held."""
    held, hold = [], http._Exchange.hold

    def note(exchange: http._Exchange, *args: Any) -> http.Answer:
        held.append(exchange)
        return hold(exchange, *args)

    monkeypatch.setattr(http._Exchange, "hold", note)
    return held


def test_who_is_idle_keeps_nothing_of_what_was_said(
    serve: Callable[[Talk], Server], exchanges: list[http._Exchange]
) -> None:
    post(serve(says()).url)
    kept, deadline = weakref.ref(exchanges.pop()), monotonic() + 5
    while kept() is not None and monotonic() < deadline:
        sleep(0.01)
    assert kept() is None


def test_who_gives_up_as_the_answer_comes_does_not_cut_off_the_next(
    serve: Callable[[Talk], Server], exchanges: list[http._Exchange]
) -> None:
    server = serve(says())
    post(server.url)
    exchanges[0]._hang_up()
    post(server.url)
    assert (len(server.requests), server.connections) == (2, 1)


def test_a_connection_that_the_server_has_closed_is_replaced(
    serve: Callable[[Talk], Server],
) -> None:
    server = serve(closes_when_idle)
    for _ in range(3):
        assert post(server.url) == 204
        sleep(0.05)
    assert (len(server.requests), server.connections) == (3, 3)


def test_a_forked_worker_has_connections_of_its_own(
    serve: Callable[[Talk], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(says())
    post(server.url)
    monkeypatch.setattr("os.getpid", lambda: -1)
    post(server.url)
    assert server.connections == 2


def test_no_cookie_is_kept(serve: Callable[[Talk], Server]) -> None:
    server = serve(says("Set-Cookie: session=sesame; Path=/"))
    post(server.url)
    post(server.url)
    assert not [each for each in server.requests if b"\r\ncookie:" in each.lower()]


def test_the_environment_and_netrc_have_no_say(
    serve: Callable[[Talk], Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password sesame\n")
    monkeypatch.setenv("NETRC", str(netrc))
    proxy = serve(says())
    monkeypatch.setenv("no_proxy", "")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    server = serve(says())
    post(server.url)
    assert proxy.connections == 0
    assert b"authorization" not in server.requests[0].lower()


UNUSABLE = [
    "",
    "nonsense",
    "http://",
    "http:///path",
    "//127.0.0.1/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:abc/",
    "http://[::1/",
    "http://exa mple/",
    "http://\ud800/",
    "http://*.example/",
    f"http://{'a' * 70}.example/",
    "ftp://127.0.0.1/",
    "mailto:kari@example.com",
]


@pytest.mark.parametrize("url", UNUSABLE, ids=ascii)
def test_an_address_that_is_none_sent_nothing(url: str) -> None:
    with pytest.raises(http.NotSent):
        post(url)


def test_a_request_that_cannot_be_made_sent_nothing(serve: Callable[[Talk], Server]) -> None:
    server = serve(says())
    with pytest.raises(http.NotSent):
        http.request("POST", server.url, timeout=5, json=float("nan"))
    with pytest.raises(http.NotSent):
        http.request("POST", server.url, timeout=5, headers={"X-Key": "a\r\nb: c"})
    assert server.connections == 0


def test_a_certificate_that_is_not_trusted_was_told_nothing(
    tmp_path: Path, serve: Callable[[Talk], Server]
) -> None:
    server = serve(secure(says(), certificate(tmp_path / "server.pem", "localhost")))
    with pytest.raises(http.NotSent):
        post(server.url.replace("http://127.0.0.1", "https://localhost"))
    assert server.requests == []


def answers_oddly(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 0\r\n\r\n")


def everything_that_fails(serve: Callable[[Talk], Server]) -> list[tuple[str, float]]:
    path = f"send/{PHONE}?body=428516&key=sesame"
    return [
        (f"http://127.0.0.1:{free_port()}/{path}", 5),
        (f"{serve(hangs_up).url}{path}", 5),
        (f"{serve(talks_nonsense).url}{path}", 5),
        (f"{serve(keeps_silent).url}{path}", 0.1),
        (f"http://user:sesame@exa mple/{path}", 5),
        (f"nonsense/{path}", 5),
    ]


def test_no_failure_repeats_the_address_or_the_body(serve: Callable[[Talk], Server]) -> None:
    for url, timeout in everything_that_fails(serve):
        with pytest.raises((http.NotSent, http.NoAnswer)) as raised:
            post(url, timeout=timeout)
        error = raised.value
        assert not [secret for secret in SECRETS if secret in f"{error!s} {error!r}"]
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None


def test_neither_addresses_nor_bodies_are_logged(
    serve: Callable[[Talk], Server], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for talk in (says(), answers_oddly):
            post(f"{serve(talk).url}send/{PHONE}?body=428516&key=sesame")
        for url, timeout in everything_that_fails(serve):
            with pytest.raises((http.NotSent, http.NoAnswer)):
                post(url, timeout=timeout)
    assert not [secret for secret in SECRETS if secret in caplog.text]
