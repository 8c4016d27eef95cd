"""The provider behind two gateways: it takes messages, or fails in each way that a network knows.

It keeps account of what it took, and pushes a receipt of most of it until that is acknowledged.
"""

import json
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any, Final

import requests

from tests.live.chaos.audit import Taken
from tests.live.chaos.gateway import PASSWORD, USER
from tests.live.chaos.machine import lasting_port
from tests.live.harness import abort
from tests.web import Server

REFUSED_EACH: Final = 23
"""Of so many numbers, one does not exist."""

SILENT, FAILED, REPEATED = 0.1, 0.1, 0.2
"""How many of the receipts never come, say that it failed, and come twice."""


@dataclass(frozen=True, slots=True)
class Way:
    """What becomes of one message: ``takes`` first, ``then`` the answer."""

    takes: bool
    then: str


TAKES: Final = Way(takes=True, then="answer")
RESETS: Final = (Way(takes=False, then="reset"), Way(takes=True, then="reset"))
DELAYS: Final = (Way(takes=False, then="delay"), Way(takes=True, then="delay"))
ERRORS: Final = (
    Way(takes=False, then="busy"),
    Way(takes=False, then="error"),
    Way(takes=True, then="error"),
    Way(takes=True, then="half"),
)


@dataclass(frozen=True, slots=True)
class Receipt:
    due: float
    gateway: str
    says: Mapping[str, str]


class Provider(Server):
    """``ways`` holds, for a gateway in trouble, what else may happen to its messages."""

    def __init__(self, chance: Random, *, delay: float) -> None:
        self.ways: dict[str, Sequence[Way]] = {}
        self.taken: list[Taken] = []
        self.receipts: deque[Receipt] = deque()
        self._chance, self._delay, self._lock = chance, delay, Lock()
        self._is_open = True
        super().__init__(type(self)._converse)  # type: ignore[arg-type]
        self.close_port()
        self.port = lasting_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.open_port()

    def close_port(self) -> None:
        """From now on nobody gets through."""
        self._is_open = False
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def open_port(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._is_open = True
        Thread(target=self._accept, daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        while heard := self.hear(connection):
            self.requests.clear()
            head, _, body = heard.partition(b"\r\n\r\n")
            gateway = head.split()[1].decode().strip("/")
            if not self._is_open:
                return abort(connection)
            self._answer(connection, gateway, json.loads(body))
        return None

    def _answer(self, connection: socket.socket, gateway: str, said: Any) -> None:
        if int(said["to"]) % REFUSED_EACH == 0:
            return _say(connection, 422)
        way = self._chance.choice((TAKES, *self.ways.get(gateway, ())))
        taken = self._take(gateway, said) if way.takes else {}
        return _THEN[way.then](self, connection, taken)

    def _take(self, gateway: str, said: Any) -> Mapping[str, str]:
        key = said["text"].partition(":")[0]
        with self._lock:
            self.taken.append(Taken(said["reference"], key, monotonic()))
            taken = {"id": f"{gateway}-{len(self.taken)}", "reference": said["reference"]}
        self._promise_a_receipt(gateway, taken)
        return taken

    def _promise_a_receipt(self, gateway: str, taken: Mapping[str, str]) -> None:
        luck = self._chance.random()
        if luck < SILENT:
            return
        status = "SMS_Failed_Undelivered" if luck < SILENT + FAILED else "SMS_Delivered"
        times = 2 if luck > 1 - REPEATED else 1
        for _ in range(times):
            due = monotonic() + self._chance.choice((0.0, 0.3, 2.0))
            self.receipts.append(Receipt(due, gateway, {**taken, "status": status}))

    def delay(self) -> None:
        self.wait(self._delay)


def _say(connection: socket.socket, status: int, content: bytes = b"") -> None:
    connection.sendall(b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n\r\n" % (status, len(content)))
    connection.sendall(content)


def _answers(_: Provider, connection: socket.socket, taken: Any) -> None:
    _say(connection, 200, json.dumps(taken).encode())


def _is_late(provider: Provider, connection: socket.socket, taken: Any) -> None:
    provider.delay()
    _say(connection, 200 if taken else 503, json.dumps(taken).encode())


def _breaks_off(_: Provider, connection: socket.socket, taken: Any) -> None:
    connection.sendall(b'HTTP/1.1 200 -\r\nContent-Length: 99\r\n\r\n{"id": "')
    abort(connection)


_THEN: Final[Mapping[str, Callable[[Provider, socket.socket, Any], None]]] = {
    "answer": _answers,
    "reset": lambda _, connection, __: abort(connection),
    "delay": _is_late,
    "busy": lambda _, connection, __: _say(connection, 503),
    "error": lambda _, connection, __: _say(connection, 500),
    "half": _breaks_off,
}


class Postman:
    """Pushes the receipts that are due, each again and again until it is acknowledged."""

    def __init__(self, provider: Provider, api: str) -> None:
        self.refused: list[int] = []
        """Answers other than that it is to come again."""
        self._provider, self._api = provider, api
        self._ends = False
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ends = True
        self._thread.join()

    def _work(self) -> None:
        waiting = self._provider.receipts
        with requests.Session() as session:
            session.trust_env = False
            session.auth = (USER, PASSWORD)
            while not self._ends:
                receipt = waiting[0] if waiting else None
                if receipt and receipt.due <= monotonic() and self._deliver(session, receipt):
                    waiting.popleft()
                elif waiting:
                    waiting.rotate(-1)
                sleep(0.002)

    def _deliver(self, session: requests.Session, receipt: Receipt) -> bool:
        url = f"{self._api}delivery-reports/{receipt.gateway}"
        try:
            answer = session.post(url, json=receipt.says, timeout=10)
        except (requests.ConnectionError, requests.Timeout):
            return False
        if not answer.ok and answer.status_code != 503:
            self.refused.append(answer.status_code)
        return answer.ok
