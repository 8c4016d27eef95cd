"""The endpoints are real servers; only their names and addresses are made up."""

import gzip
import json
import logging
import os
import socket
import ssl
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from instant_notifications import conditions, http
from tests.internet import Internet, certificate, secure
from tests.web import Server, Talk, hangs_up, keeps_silent, own_connections, says, shared

Configure = Callable[..., None]
Serve = Callable[[Talk], Server]

PUBLIC = "93.184.216.34"
ELSEWHERE = "151.101.1.140"
URL = "https://conditions.example/met?order=sesame"
SECRETS = ("sesame", "conditions.example", "elsewhere.example", PUBLIC, "127.0.0.1", "t-0-k-e-n")
YES = '{"sendNotification": true}'
NO = '{"sendNotification": false}'


@pytest.fixture(autouse=True)
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    with own_connections():
        yield Internet(monkeypatch)


@pytest.fixture
def tls(tmp_path: Path, internet: Internet) -> ssl.SSLContext:
    """What lets a server be conditions.example and elsewhere.example."""
    trusted = tmp_path / "server.pem"
    context = certificate(trusted, "conditions.example", "elsewhere.example")
    shared().to_the_public.verify = shared().to_anywhere.verify = str(trusted)
    return context


@pytest.fixture
def endpoint(internet: Internet, serve: Serve, tls: ssl.SSLContext) -> Callable[..., Server]:
    """Puts a server on the internet, at a public address and over TLS."""

    def start(talk: Talk, name: str = "conditions.example", address: str = PUBLIC) -> Server:
        server = serve(secure(talk, tls))
        internet.knows(name, [address])
        internet.has(address, server)
        return server

    return start


@pytest.fixture
def reason(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Why the last question was inconclusive, as the log has it."""
    caplog.set_level(logging.INFO)
    return lambda: caplog.messages[-1].removeprefix("condition inconclusive asker=n-1 reason=")


def ask(url: str = URL) -> bool | None:
    return conditions.ask(url, for_="n-1")


def redirects(location: str, status: str = "302 Found") -> Talk:
    return says(f"Location: {location}", status=status)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (YES, "200 OK", True),
        (NO, "200 OK", False),
        ('{"sendNotification": true, "because": ["of", {"that": null}]}', "201 Created", True),
        ("\ufeff" + NO, "202 Accepted", False),
    ],
)
def test_a_clear_answer_is_taken(
    body: str, status: str, said: bool, endpoint: Callable[..., Server]
) -> None:
    octets = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(octets)}\r\n\r\n".encode()

    def talk(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(head + octets)

    endpoint(talk)
    assert ask() is said


@pytest.mark.parametrize("status", ["301 So", "400 So", "401 So", "404 So", "429 So", "500 So"])
def test_only_a_good_status_makes_it_clear(
    status: str, endpoint: Callable[..., Server], reason: Callable[[], str]
) -> None:
    endpoint(says(body=NO, status=status))
    assert ask() is None
    assert reason() == f"HTTP {status[:3]}"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "true",
        "false",
        "null",
        "[false]",
        "{}",
        '{"sendNotification": null}',
        '{"sendNotification": "false"}',
        '{"sendNotification": 0}',
        '{"sendnotification": false}',
        '{"answer": {"sendNotification": false}}',
        '{"sendNotification": false',
        "<html></html>",
        "[" * 60_000,
        '{"sendNotification": ' + "9" * 60_000 + "}",
    ],
    ids=lambda body: body[:40] or "empty",
)
def test_anything_else_is_inconclusive(
    body: str, endpoint: Callable[..., Server], reason: Callable[[], str]
) -> None:
    endpoint(says(body=body))
    assert ask() is None
    assert reason() == "no clear answer"


def test_the_endpoint_is_asked_by_get_and_told_nothing_else(
    endpoint: Callable[..., Server],
) -> None:
    server = endpoint(says("Set-Cookie: session=1; Path=/", body=YES))
    ask("https://kari:password@conditions.example/met?order=1#part")
    ask("https://kari:password@conditions.example/met?order=1#part")
    for request in server.requests:
        line, *headers = request.decode().rstrip().split("\r\n")
        assert line == "GET /met?order=1 HTTP/1.1"
        assert sorted(headers) == [
            "Accept-Encoding: identity",
            "Accept: application/json",
            "Connection: keep-alive",
            "Host: conditions.example",
            "User-Agent: django-instant-notifications",
        ]
    assert len(server.requests) == 2


def test_a_certificate_of_another_name_ends_it(
    internet: Internet, endpoint: Callable[..., Server]
) -> None:
    server = endpoint(says(body=NO), name="wrong.example")
    assert ask("https://wrong.example/") is None
    assert (internet.connected, server.requests) == ([PUBLIC], [])


def test_the_host_is_named_to_the_server(endpoint: Callable[..., Server], tls: Any) -> None:
    named: list[str] = []
    tls.sni_callback = lambda _socket, name, _context: named.append(name)
    endpoint(says(body=YES))
    assert ask() is True
    assert named == ["conditions.example"]


SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fd00::1]",
    "[fe80::1]",
    "[ff02::1]",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "inside.example",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_nothing_inside_is_reached_however_it_is_spelt(
    host: str, internet: Internet, serve: Serve, reason: Callable[[], str]
) -> None:
    server = serve(says(body=NO))
    for name in ("localhost", "localhost.", "inside.example"):
        internet.knows(name, ["127.0.0.1"])
    assert ask(f"https://{host}:{server.port}/") is None
    assert reason() == "private address"
    assert (internet.connected, server.connections) == ([], 0)


@pytest.mark.parametrize("host", ["[fe80::1%25lo]", "[2606:4700::1%25lo]", "[::1%25lo]"])
def test_an_address_with_a_zone_is_none(
    host: str, internet: Internet, reason: Callable[[], str]
) -> None:
    assert ask(f"https://{host}/") is None
    assert reason() == "no address"
    assert internet.looked_up == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        [*[PUBLIC] * 20, "10.0.0.1"],
        ["::1", PUBLIC],
        ["fd00::1", "2606:4700::1"],
    ],
)
def test_one_address_inside_is_enough_to_refuse_a_name(
    addresses: list[str],
    internet: Internet,
    endpoint: Callable[..., Server],
    reason: Callable[[], str],
) -> None:
    endpoint(says(body=NO))
    internet.knows("conditions.example", addresses)
    assert ask() is None
    assert reason() == "private address"
    assert internet.connected == []


def test_a_name_that_moves_inside_between_two_looks_gains_nothing(
    internet: Internet, endpoint: Callable[..., Server], serve: Serve
) -> None:
    endpoint(says("Connection: close", body=YES))
    internet.knows("conditions.example", [PUBLIC], ["127.0.0.1"])
    assert ask() is True
    assert (internet.looked_up, internet.connected) == (["conditions.example"], [PUBLIC])
    assert ask() is None
    assert (len(internet.looked_up), internet.connected) == (2, [PUBLIC])


def test_another_address_is_tried_where_one_is_out_of_reach(
    internet: Internet, endpoint: Callable[..., Server]
) -> None:
    endpoint(says(body=NO))
    internet.knows("conditions.example", ["2606:4700::1", "1.1.1.1", PUBLIC])
    assert ask() is False
    assert internet.connected == ["2606:4700::1", "1.1.1.1", PUBLIC]


def test_a_name_with_many_addresses_does_not_keep_us_busy(internet: Internet) -> None:
    internet.knows("conditions.example", [f"1.1.1.{each}" for each in range(100)])
    assert ask() is None
    assert len(internet.connected) == http.MOST_TRIED


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_no_failure_leaves_a_socket_open(internet: Internet) -> None:
    internet.knows("inside.example", ["127.0.0.1"])
    internet.knows("away.example", ["1.1.1.1", "2606:4700::1"])
    ask("https://away.example/")
    before = open_files()
    for host in ("inside.example", "away.example") * 10:
        assert ask(f"https://{host}/") is None
    assert open_files() <= before


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "//conditions.example/",
        "https://",
        "https:///met",
        "https://[::1/",
        "https://conditions.example:99999/",
        "https://conditions.example:abc/",
        "https://exa mple/",
        "https://conditions.example\\@elsewhere.example/",
        "https://elsewhere.example%2f@/",
        "https://conditions.example%00/",
        "https://*.example/",
        "https://\ud800/",
        f"https://{'a' * 70}.example/",
        f"https://{'ä' * 70}.example/",
        "https://１２７.0.0.1/",  # noqa: RUF001 (that is the point)
        "https://127。0。0。1/",
        "ftp://conditions.example/",
        "file:///etc/passwd",
        "http://conditions.example/",
        "unix:///run/socket",
        None,
        7,
        b"https://conditions.example/",
    ],
    ids=ascii,
)
def test_what_is_no_address_of_ours_is_not_asked(url: Any, internet: Internet) -> None:
    internet.knows("conditions.example", [PUBLIC])
    assert ask(url) is None
    assert internet.connected == []


def test_the_host_that_is_judged_is_the_host_that_is_asked(
    endpoint: Callable[..., Server], internet: Internet, configure: Configure
) -> None:
    """Whatever another reader might take for the host."""
    configure(CONDITION_HOSTS={"conditions.example": {"token": "t-0-k-e-n"}})
    server = endpoint(says(body=YES), name="elsewhere.example")
    for url in (
        "https://conditions.example@elsewhere.example/",
        "https://conditions.example:443@elsewhere.example/",
        "https://conditions.example%40elsewhere.example@elsewhere.example/",
        "https://elsewhere.example#@conditions.example/",
        "https://elsewhere.example?@conditions.example/",
        "https://elsewhere.example/@conditions.example/",
        "\thttps://else\nwhere.example/",
    ):
        assert ask(url) is True
    assert set(internet.looked_up) == {"elsewhere.example"}
    assert b"t-0-k-e-n" not in b"".join(server.requests)


def test_a_host_that_is_listed_may_be_inside_and_without_tls(
    serve: Serve, configure: Configure, internet: Internet
) -> None:
    server = serve(says(body=NO))
    internet.knows("conditions.internal", ["127.0.0.1"])
    url = f"http://Conditions.Internal:{server.port}/"
    for listed, said in (
        ({"http": True, "private": True}, False),
        ({"http": True}, None),
        ({"private": True}, None),
        ({"http": False, "private": True}, None),
        ({}, None),
    ):
        configure(CONDITION_HOSTS={"conditions.internal": listed})
        assert ask(url) is said
        assert ask(url.replace("Internal", "Internal.")) is None
    assert server.connections == 1


def test_a_token_goes_to_its_host_alone(
    endpoint: Callable[..., Server], configure: Configure
) -> None:
    configure(CONDITION_HOSTS={"conditions.example": {"token": "t-0-k-e-n"}})
    ours = endpoint(says(body=YES))
    theirs = endpoint(says(body=YES), "elsewhere.example", ELSEWHERE)
    assert ask() is True
    assert ask("https://elsewhere.example/") is True
    assert b"\r\nAuthorization: Bearer t-0-k-e-n\r\n" in ours.requests[0]
    assert b"authorization" not in theirs.requests[0].lower()


@pytest.mark.parametrize("token", ["t-0-k-e-n", ""])
def test_a_token_goes_over_plain_http_where_the_host_may(
    token: str, serve: Serve, configure: Configure
) -> None:
    server = serve(says(body=YES))
    configure(CONDITION_HOSTS={"127.0.0.1": {"http": True, "private": True, "token": token}})
    assert ask(server.url) is True
    assert (b"\r\nAuthorization: Bearer t-0-k-e-n\r\n" in server.requests[0]) is bool(token)
    assert (b"authorization" in server.requests[0].lower()) is bool(token)


STATUSES = ["301 So", "302 So", "303 So", "307 So", "308 So"]


@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_is_not_followed_by_default(
    status: str, endpoint: Callable[..., Server], reason: Callable[[], str]
) -> None:
    endpoint(redirects("https://elsewhere.example/", status))
    elsewhere = endpoint(says(body=NO), "elsewhere.example", ELSEWHERE)
    assert ask() is None
    assert reason() == f"HTTP {status[:3]}"
    assert elsewhere.connections == 0


@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_is_followed_where_the_settings_allow_it(
    status: str, endpoint: Callable[..., Server], configure: Configure
) -> None:
    configure(CONDITION_REDIRECTS=1)
    endpoint(redirects("https://kari:password@elsewhere.example/there", status))
    elsewhere = endpoint(says(body=NO), "elsewhere.example", ELSEWHERE)
    assert ask() is False
    assert elsewhere.requests[0].startswith(b"GET /there HTTP/1.1\r\n")
    assert b"authorization" not in elsewhere.requests[0].lower()
    assert b"referer" not in elsewhere.requests[0].lower()


def test_a_redirect_may_be_relative(endpoint: Callable[..., Server], configure: Configure) -> None:
    configure(CONDITION_REDIRECTS=1)

    def talk(server: Server, connection: socket.socket) -> None:
        redirects("../there?now=1")(server, connection)

    server = endpoint(talk)
    ask("https://conditions.example/a/b/c")
    assert server.requests[1].startswith(b"GET /a/there?now=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("allowed", [1, 2, 5])
def test_redirects_come_to_an_end(
    allowed: int, endpoint: Callable[..., Server], configure: Configure
) -> None:
    configure(CONDITION_REDIRECTS=allowed)
    server = endpoint(redirects(URL))
    assert ask() is None
    assert len(server.requests) == allowed + 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "inside.example", "0"]
)
def test_a_redirect_leads_nowhere_inside(
    host: str,
    internet: Internet,
    endpoint: Callable[..., Server],
    configure: Configure,
    serve: Serve,
    reason: Callable[[], str],
) -> None:
    configure(CONDITION_REDIRECTS=5)
    inside = serve(says(body=NO))
    internet.knows("inside.example", ["127.0.0.1"])
    endpoint(redirects(f"https://{host}:{inside.port}/"))
    assert ask() is None
    assert reason() == "private address"
    assert (internet.connected, inside.connections) == ([PUBLIC], 0)


def test_a_host_that_may_be_inside_opens_no_door_for_others(
    internet: Internet, configure: Configure, serve: Serve, reason: Callable[[], str]
) -> None:
    inside = serve(says(body=NO))
    internet.knows("other.internal", ["127.0.0.1"])
    server = serve(redirects(f"https://other.internal:{inside.port}/"))
    configure(CONDITION_REDIRECTS=1, CONDITION_HOSTS={"127.0.0.1": {"http": True, "private": True}})
    assert ask(server.url) is None
    assert reason() == "private address"
    assert inside.connections == 0


def test_a_redirect_takes_no_token_along_but_finds_that_of_its_host(
    endpoint: Callable[..., Server], configure: Configure
) -> None:
    listed = {"conditions.example": {"token": "t-0-k-e-n"}}
    configure(CONDITION_REDIRECTS=1, CONDITION_HOSTS=listed)
    ours = endpoint(redirects("https://elsewhere.example/"))
    theirs = endpoint(says(body=YES), "elsewhere.example", ELSEWHERE)
    assert ask() is True
    assert b"t-0-k-e-n" in ours.requests[0]
    assert b"authorization" not in theirs.requests[0].lower()

    theirs = endpoint(redirects(URL), "elsewhere.example", ELSEWHERE)
    ours = endpoint(says(body=YES))
    shared().to_the_public.close()
    assert ask("https://elsewhere.example/") is True
    assert b"t-0-k-e-n" not in theirs.requests[0]
    assert b"t-0-k-e-n" in ours.requests[0]


def test_a_redirect_does_not_leave_tls(
    endpoint: Callable[..., Server], configure: Configure, serve: Serve, reason: Callable[[], str]
) -> None:
    """Not even to a host that may be asked without."""
    plain = serve(says(body=NO))
    configure(CONDITION_REDIRECTS=1, CONDITION_HOSTS={"127.0.0.1": {"http": True, "private": True}})
    endpoint(redirects(plain.url))
    assert ask() is None
    assert reason() == "redirect to http"
    assert plain.connections == 0


@pytest.mark.parametrize(
    "location", ["http://[::1", "https://[x]/", "https://\xff/", "ftp://x/", "javascript:1"]
)
def test_an_odd_redirect_is_inconclusive(
    location: str, endpoint: Callable[..., Server], configure: Configure
) -> None:
    configure(CONDITION_REDIRECTS=1)
    server = endpoint(redirects(location))
    assert ask() is None
    assert len(server.requests) == 1


def test_a_redirect_to_nowhere_is_an_answer_like_any(
    endpoint: Callable[..., Server], configure: Configure, reason: Callable[[], str]
) -> None:
    configure(CONDITION_REDIRECTS=5)
    server = endpoint(says(status="302 Found"))
    assert ask() is None
    assert (reason(), len(server.requests)) == ("HTTP 302", 1)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    """Tests need not wait five seconds to see that nobody waits longer."""
    assert conditions.TIMEOUT == 5
    monkeypatch.setattr(conditions, "TIMEOUT", 0.6)
    return 0.6


def dribbles(head: bytes, piece: bytes) -> Talk:
    def talk(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(head)
        for _ in range(100):
            connection.sendall(piece)
            server.wait(0.05)

    return talk


@pytest.mark.parametrize(
    "talk",
    [
        keeps_silent,
        dribbles(b"", b"H"),
        dribbles(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
        dribbles(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        dribbles(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b" "),
        dribbles(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        dribbles(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n"),
    ],
    ids=["silent", "status line", "headers", "continue", "body", "chunks", "trailers"],
)
def test_a_slow_endpoint_is_not_waited_for(
    talk: Talk, endpoint: Callable[..., Server], patience: float, reason: Callable[[], str]
) -> None:
    endpoint(talk)
    started = monotonic()
    assert ask() is None
    assert monotonic() - started < patience + 1
    assert reason() == "timeout"


def test_a_slow_name_server_is_not_waited_for(
    internet: Internet, patience: float, monkeypatch: pytest.MonkeyPatch, reason: Callable[[], str]
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: sleep(2.5) or [])
    started = monotonic()
    assert ask() is None
    assert monotonic() - started < patience + 1
    assert reason() == "timeout"


def test_redirects_share_one_time(
    endpoint: Callable[..., Server],
    configure: Configure,
    patience: float,
    reason: Callable[[], str],
) -> None:
    configure(CONDITION_REDIRECTS=5)

    def talk(server: Server, connection: socket.socket) -> None:
        while server.hear(connection):
            server.wait(0.4)
            connection.sendall(
                f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {URL}\r\n\r\n".encode()
            )

    server, started = endpoint(talk), monotonic()
    assert ask() is None
    assert monotonic() - started < patience + 1
    assert reason() == "timeout"
    assert len(server.requests) < 3


def padded(length: int) -> str:
    return NO + " " * (length - len(NO))


def test_a_huge_answer_is_none(endpoint: Callable[..., Server], reason: Callable[[], str]) -> None:
    endpoint(says("Connection: close", body=padded(64 * 1024)))
    assert ask() is False
    endpoint(says(body=padded(64 * 1024 + 1)))
    shared().to_the_public.close()
    assert ask() is None
    assert reason() == "too long an answer"


def test_an_endless_answer_is_read_no_further_than_its_limit(
    endpoint: Callable[..., Server], reason: Callable[[], str]
) -> None:
    sent = 0

    def talk(server: Server, connection: socket.socket) -> None:
        nonlocal sent
        server.hear(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 1_000_000_000:
            connection.sendall(b" " * 100_000)
            sent += 100_000

    endpoint(talk)
    assert ask() is None
    assert reason() == "too long an answer"
    assert sent < 50_000_000


@pytest.mark.parametrize("coding", ["gzip", "deflate", "gzip, gzip", "br", "zstd"])
def test_what_was_packed_unasked_is_not_unpacked(
    coding: str, endpoint: Callable[..., Server], reason: Callable[[], str]
) -> None:
    packed = gzip.compress(padded(40_000_000).encode())
    assert len(packed) < 64 * 1024
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(packed)}\r\n\r\n"

    def talk(server: Server, connection: socket.socket) -> None:
        server.hear(connection)
        connection.sendall(head.encode() + packed)

    endpoint(talk)
    tracemalloc.start()
    try:
        assert ask() is None
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert reason() == "no clear answer"


def test_too_many_headers_are_no_answer(endpoint: Callable[..., Server]) -> None:
    endpoint(says(*[f"X-{each}: {each}" for each in range(1000)], body=NO))
    assert ask() is None


def test_a_header_that_never_ends_is_no_answer(endpoint: Callable[..., Server]) -> None:
    endpoint(says(f"X: {'x' * 100_000}", body=NO))
    assert ask() is None


def test_the_environment_has_no_say(
    endpoint: Callable[..., Server], serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine conditions.example login kari password sesame\n")
    monkeypatch.setenv("NETRC", str(netrc))
    proxy = serve(says(body=NO))
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    server = endpoint(says(body=YES))
    assert ask() is True
    assert proxy.connections == 0
    assert b"authorization" not in server.requests[0].lower()


def says_oddly(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 2\r\n\r\n{}")


def odd_encoding(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsesame\r\n")


@pytest.mark.parametrize(
    "talk",
    [
        says(body=YES),
        says(body=NO),
        says(body="sesame"),
        says(status="500 sesame"),
        redirects(URL),
        redirects("http://sesame@elsewhere.example:x/"),
        redirects("https://127.0.0.1/sesame"),
        hangs_up,
        says_oddly,
        odd_encoding,
        says(body=padded(100_000)),
    ],
)
def test_the_log_tells_the_outcome_in_one_line_and_never_where(
    talk: Talk,
    endpoint: Callable[..., Server],
    configure: Configure,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure(CONDITION_REDIRECTS=2, CONDITION_HOSTS={"conditions.example": {"token": "t-0-k-e-n"}})
    endpoint(talk)
    with caplog.at_level(logging.DEBUG):
        ask()
    ours = [each for each in caplog.records if each.name == "instant_notifications"]
    assert [(each.levelname, "n-1" in each.getMessage()) for each in ours] == [("INFO", True)]
    assert not [secret for secret in SECRETS if secret in caplog.text]


def test_a_mistake_of_ours_is_inconclusive_and_told_without_the_address(
    configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    configure(CONDITION_HOSTS=json)
    assert ask() is None
    assert "AttributeError at " in caplog.text
    assert not [secret for secret in SECRETS if secret in caplog.text]
