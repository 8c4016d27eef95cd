"""A web server that does in each conversation exactly what a test wants."""

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from instant_notifications import http

Talk = Callable[["Server", socket.socket], None]


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


def keeps_silent(server: Server, connection: socket.socket) -> None:
    server.hear(connection)
    server.wait(10)


def shared() -> Any:
    """What all exchanges of this process share."""
    return http._shared_in(os.getpid())


@contextmanager
def own_connections() -> Iterator[None]:
    http._shared_in.cache_clear()
    yield
    shared().to_anywhere.close()
    shared().to_the_public.close()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
