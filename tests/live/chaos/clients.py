"""Who uses the service in a campaign: clients that send, and one that follows the feed."""

from collections.abc import Sequence
from itertools import count
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

import requests

from tests.live.chaos.audit import SUCCEEDED, Entry, Try
from tests.live.harness import at_once, sms

MOST_TRIES: Final = 6
CLIENT_PATIENCE: Final = 15.0
TIME_TO_LIVE: Final = 60
ASKS_AGAIN, ASKS_TWICE_AT_ONCE = 0.1, 0.1
"""How many of the messages are asked for once more after they were sent, and by two at once."""


class Caller:
    """Somebody with a token and a connection that is kept, as long as the other side keeps it."""

    def __init__(self, api: str, token: str) -> None:
        self._api = api
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **named: Any) -> requests.Response | None:
        """``None`` where no whole answer came."""
        try:
            return self._session.request(
                method, f"{self._api}{path}", timeout=CLIENT_PATIENCE, **named
            )
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ):
            return None

    def close(self) -> None:
        self._session.close()


class Clients:
    """Some threads that send one message after the other, as well-behaved clients do.

    What was not clearly answered is asked again with the same id, sooner than it is told to.
    """

    def __init__(self, api: str, token: str, *, many: int, chance: Random) -> None:
        self.tries: list[Try] = []
        self._api, self._token, self._chance = api, token, chance
        self._numbers = count(1)
        self._ends = Event()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(many)]

    def begin(self) -> None:
        for each in self._threads:
            each.start()

    def end(self) -> None:
        """Returns when everybody has done with the message in hand."""
        self._ends.set()
        for each in filter(Thread.is_alive, self._threads):
            each.join()

    def _work(self) -> None:
        callers = [Caller(self._api, self._token) for _ in range(2)]
        while not self._ends.wait(0.01):
            self._send(next(self._numbers), callers)
        for each in callers:
            each.close()

    def _send(self, number: int, callers: Sequence[Caller]) -> None:
        first, second = callers
        if self._chance.random() < ASKS_TWICE_AT_ONCE:
            at_once([lambda: self._ask(number, first), lambda: self._ask(number, second)])
        for _ in range(MOST_TRIES):
            if self._ask(number, first):
                break
            self._ends.wait(self._chance.choice((0.05, 0.2, 0.5)))
        if self._chance.random() < ASKS_AGAIN:
            self._ask(number, first)

    def _ask(self, number: int, caller: Caller) -> bool:
        """Whether that was the last word."""
        began = monotonic()
        answer = caller.call("POST", "future/orders/instant/sms", json=_message(number))
        made = _noted(_key(number), began, answer)
        self.tries.append(made)
        return made.status in SUCCEEDED or made.status == 422


def _key(number: int) -> str:
    return f"message-{number}"


def _message(number: int) -> Any:
    message = sms(_key(number), to=f"+4790{number:06}")
    message["recipientSms"]["timeToLiveInSeconds"] = TIME_TO_LIVE
    message["recipientSms"]["smsSettings"]["body"] = f"{_key(number)}: your code is {number:06}"
    return message


def _noted(key: str, began: float, answer: requests.Response | None) -> Try:
    ended = monotonic()
    if answer is None:
        return Try(key, began, ended, 0)
    try:
        body = answer.json()
    except requests.JSONDecodeError:
        return Try(key, began, ended, answer.status_code, "not JSON")
    shipment = body.get("shipmentId") or body.get("notification", {}).get("shipmentId", "")
    return Try(key, began, ended, answer.status_code, body.get("code", ""), shipment)


class Follower:
    """Reads the feed with a cursor, all the time."""

    def __init__(self, api: str, token: str) -> None:
        self.entries: list[Entry] = []
        self._caller = Caller(api, token)
        self._ends = Event()
        self._thread = Thread(target=self._work, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """What it has not read so far it reads now."""
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join()
        while self.read_on():
            pass
        self._caller.close()

    def is_answered(self) -> bool:
        """Whether the service serves, database included."""
        answer = self._caller.call("GET", "future/shipment/feed", params={"pageSize": 1})
        return answer is not None and answer.ok

    def read_on(self) -> bool:
        """Whether there was more."""
        cursor = self.entries[-1].number if self.entries else 0
        answer = self._caller.call("GET", "future/shipment/feed", params={"seq": cursor})
        page = answer.json() if answer is not None and answer.ok else []
        self.entries += map(_entry, page)
        return bool(page)

    def _work(self) -> None:
        while not self._ends.wait(0.1):
            self.read_on()


def _entry(told: Any) -> Entry:
    (recipient,) = told["recipients"]
    return Entry(told["sequenceNumber"], told["shipmentId"], recipient["status"])
