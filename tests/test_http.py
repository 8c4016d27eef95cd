"""Against real sockets, because what matters is where exactly a conversation breaks off."""

import logging
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from instant_notifications import http

Talk = Callable[["Server", socket.socket], None]

PHONE = "+4799999999"
BODY = "Your code is 428516"
SECRETS = ("99999999", "428516", "sesame")


class Server:
    """Does ``talk`` with everybody who connects, and remembers what they said."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.connections = 0
        self.requests: list[bytes] = []
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.talk(self, connection)
            except OSError:
                return  # the client hung up

    def hear(self, connection: socket.socket) -> bytes:
        """One whole request; empty when the client has hung up."""
        heard = b""
        while b"\r\n\r\n" not in heard:
            piece = connection.recv(65536)
            if not piece:
                return b""
            heard += piece
        head, _, body = heard.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def wait(self, seconds: float) -> None:
        self._closing.wait(seconds)

    def close(self) -> None:
        self._closing.set()
        self._listener.close()


def says(*lines: str, body: str = "", status: str = "200 OK") -> Talk:
    """Answers every request of a connection the same."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", body])

    def talk(server: Server, connection: socket.socket) -> None:
        while server.hear(connection):
            connection.sendall(head.encode())

    return talk


def hangs_up(server: Server, connection: socket.socket) -> None:
    server.hear(connection)


def hangs_up_at_once(server: Server, connection: socket.socket) -> None:
    connection.recv(1)


def keeps_silent(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    server.wait(10)


def breaks_off(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nfirst words")


def talks_nonsense(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"220 smtp.example ESMTP\r\n\r\n")


def closes_when_idle(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


@pytest.fixture
def serve() -> Iterator[Callable[[Talk], Server]]:
    servers = []

    def start(talk: Talk) -> Server:
        servers.append(Server(talk))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections of their own for each test."""
    monkeypatch.setattr(http, "_session", None)
    yield
    if http._session is not None:
        http._session.close()


def post(url: str, *, timeout: float = 5) -> int:
    return http.request("POST", url, timeout=timeout, json={"to": PHONE, "body": BODY}).status_code


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


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


@pytest.mark.parametrize("talk", [hangs_up, hangs_up_at_once, breaks_off, talks_nonsense])
def test_a_conversation_that_breaks_off_is_no_answer(
    talk: Talk, serve: Callable[[Talk], Server]
) -> None:
    with pytest.raises(http.NoAnswer):
        post(serve(talk).url)


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


@pytest.fixture
def untrusted(tmp_path: Path) -> ssl.SSLContext:
    """What a server needs to show a certificate that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_a_certificate_that_is_not_trusted_was_told_nothing(
    untrusted: ssl.SSLContext, serve: Callable[[Talk], Server]
) -> None:
    def talk(server: Server, connection: socket.socket) -> None:
        with untrusted.wrap_socket(connection, server_side=True) as secure:
            server.hear(secure)

    server = serve(talk)
    with pytest.raises(http.NotSent):
        post(server.url.replace("http:", "https:"))
    assert server.requests == []


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
        assert error.__suppress_context__


def test_neither_addresses_nor_bodies_are_logged(
    serve: Callable[[Talk], Server], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        post(f"{serve(says()).url}send/{PHONE}?body=428516&key=sesame")
        for url, timeout in everything_that_fails(serve):
            with pytest.raises((http.NotSent, http.NoAnswer)):
                post(url, timeout=timeout)
    assert not [secret for secret in SECRETS if secret in caplog.text]
