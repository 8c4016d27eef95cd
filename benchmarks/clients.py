"""Clients that cost little: plain sockets kept alive, and requests made beforehand."""

import json
import re
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter
from typing import Final
from uuid import uuid4

from benchmarks.servers import Address, Application

_END_OF_HEAD = b"\r\n\r\n"
_content_length = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE).search


def order(key: str) -> str:
    """One SMS, as JSON."""
    return json.dumps(
        {
            "idempotencyId": key,
            "sendersReference": "session 17",
            "recipientSms": {
                "phoneNumber": "+4799999999",
                "timeToLiveInSeconds": 300,
                "smsSettings": {"sender": "Altinn", "body": "Your code is 428516"},
            },
        }
    )


@dataclass(frozen=True)
class Route:
    """Where messages are sent to, and with what."""

    path: str
    token: str = ""

    def request(self, key: str) -> bytes:
        """The whole HTTP request for one SMS."""
        body = order(key)
        authorization = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\n{authorization}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


API: Final = "/notifications/api/v1/"
OURS: Final = f"{API}future/orders/instant/sms"
FLOOR: Final = Route("/floor/sms")


def our_route(application: Application) -> Route:
    return Route(OURS, application.token)


def new_key() -> str:
    return str(uuid4())


class Client:
    """One kept-alive connection."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address, timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def post(self, request: bytes, expected: int) -> None:
        self._socket.sendall(request)
        status, body = self._answer()
        if status != expected:
            raise RuntimeError(f"{status} instead of {expected}: {body[:500]!r}")

    def _answer(self) -> tuple[int, bytes]:
        received = b""
        while _END_OF_HEAD not in received:
            received += self._some()
        head, _, body = received.partition(_END_OF_HEAD)
        length = _content_length(head)
        while length and len(body) < int(length[1]):
            body += self._some()
        return int(head.split(maxsplit=2)[1]), body

    def _some(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise RuntimeError("The server closed the connection.")
        return data


@contextmanager
def clients(application: Application, number: int) -> Iterator[Sequence[Client]]:
    with ExitStack() as stack:
        made = [Client(address) for address in islice(cycle(application.addresses), number)]
        for client in made:
            stack.callback(client.close)
        yield made


def latencies(client: Client, requests: Sequence[bytes], expected: int) -> Sequence[float]:
    """Seconds for each request, one after the other."""
    return [_timed(client, request, expected) for request in requests]


def _timed(client: Client, request: bytes, expected: int) -> float:
    started = perf_counter()
    client.post(request, expected)
    return perf_counter() - started


@dataclass(frozen=True)
class Load:
    """First sends while every client asks again as soon as it is answered."""

    latencies: Sequence[float]
    """Seconds for each request."""
    rate: float
    """Answers each second."""


def under_load(busy: Sequence[Client], route: Route, seconds: float) -> Load:
    deadline = perf_counter() + seconds
    with ThreadPoolExecutor(len(busy)) as threads:
        each = list(threads.map(lambda client: list(_until(deadline, client, route)), busy))
    return Load(
        latencies=[took for theirs in each for took in theirs],
        rate=sum(len(theirs) / sum(theirs) for theirs in each),
    )


def _until(deadline: float, client: Client, route: Route) -> Iterator[float]:
    """The last may be answered later; it counts, for its time does too."""
    while perf_counter() < deadline:
        yield _timed(client, route.request(new_key()), 201)
