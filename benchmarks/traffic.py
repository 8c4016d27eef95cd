"""Clients that send at a steady pace, whatever else goes on, and note how long each send takes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from time import perf_counter
from typing import Final

from benchmarks.clients import Client, Route, clients, new_key
from benchmarks.servers import Application

CLIENTS: Final = 4
PERIOD: Final = 0.25
"""Seconds from one send of a client to its next."""


@dataclass(frozen=True)
class Send:
    due: float
    """When it was to begin; a send that had to wait for the one before counts from here."""
    seconds: float
    error: str = ""


@dataclass
class Traffic:
    """All sends so far; each client appends, which a list bears."""

    sends: list[Send] = field(default_factory=list)

    def between(self, began: float, ended: float) -> Sequence[Send]:
        return [send for send in list(self.sends) if began <= send.due < ended]


@contextmanager
def traffic(application: Application, route: Route) -> Iterator[Traffic]:
    going, stop = Traffic(), Event()
    with clients(application, CLIENTS) as many, ThreadPoolExecutor(CLIENTS) as threads:
        began = perf_counter()
        sending = [
            threads.submit(_send, client, route, began + PERIOD * place / CLIENTS, going, stop)
            for place, client in enumerate(many)
        ]
        try:
            yield going
        finally:
            stop.set()
        for each in sending:
            each.result()


def _send(client: Client, route: Route, due: float, going: Traffic, stop: Event) -> None:
    while not stop.wait(max(due - perf_counter(), 0)):
        error = ""
        try:
            client.post(route.request(new_key()), expected=201)
        except RuntimeError as unexpected:
            error = str(unexpected)
        going.sends.append(Send(due, perf_counter() - due, error))
        due += PERIOD
