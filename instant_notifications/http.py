"""The one outgoing HTTP client: pooled connections, one deadline, errors sorted by what they mean.

A request either got an answer, certainly did not arrive, or may have arrived. Nothing else matters
to the promise of this app, so nothing else is told apart here. Redirects are not followed, and
neither addresses, headers nor bodies are logged. An address that a stranger chose is asked for with
``only_public``: it cannot be made to lead into our own network.
"""

import json as json_module
import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from itertools import islice
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from instant_notifications.networks import is_public

POOL_SIZE: Final = 64
LONGEST_CONNECT: Final = 3.0
"""Seconds to reach a server, so that one out of reach leaves time for another."""
LONGEST_IDLE: Final = 50.0
"""Seconds an unused connection is trusted: some firewalls forget it, without a word, after 60."""
LARGEST_ANSWER: Final = 10_000_000
LONGEST_RETRY_AFTER: Final = 24 * 60 * 60
MOST_TRIED: Final = 4
"""Addresses of one stranger's name that are tried before it counts as out of reach."""


class NotSent(Exception):  # noqa: N818
    """The request certainly did not reach the server whole."""


class NoAnswer(Exception):  # noqa: N818
    """The request may have reached the server; there is no usable answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. Its repr holds no more than the status."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.status_code}>"

    @property
    def ok(self) -> bool:
        return 200 <= self.status_code < 300

    def json(self) -> Any:
        """The content read as JSON; ``ValueError`` if it is none."""
        try:
            return json_module.loads(self.content)
        except (ValueError, RecursionError):
            raise ValueError("not JSON") from None

    def json_object(self) -> Mapping[str, Any]:
        """The members of the JSON object that the content is; none if it is something else."""
        try:
            said = self.json()
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    @property
    def retry_after(self) -> int | None:
        """Seconds the server asks us to wait, if it says so in a form that makes sense."""
        said = self.headers.get("Retry-After", "").strip()
        try:
            wait = int(said) if said.isdecimal() else _seconds_until(said)
        except (ValueError, TypeError, OverflowError):
            return None
        return max(0, min(wait, LONGEST_RETRY_AFTER))


def _seconds_until(date: str) -> int:
    moment = parsedate_to_datetime(date)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int((aware - datetime.now(UTC)).total_seconds())


def request(
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    data: bytes | Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    only_public: bool = False,
    longest: int | None = None,
) -> Answer:
    """The server's answer, whatever its status; raises ``NotSent`` or ``NoAnswer``.

    ``timeout`` bounds the whole of it: name look-up, connection, request and answer. ``longest``
    bounds the bytes of the content. With ``only_public`` nothing is sent, not even a connection
    tried, where any address of the host is not on the internet at large.
    """
    shared = _shared_in(os.getpid())
    session = shared.to_the_public if only_public else shared.to_anywhere
    try:
        prepared = session.prepare_request(
            requests.Request(method, url, headers=headers, json=json, data=data, auth=auth)
        )
    except Exception as error:  # noqa: BLE001 (nothing has left yet, whatever is wrong)
        raise NotSent(f"not a request: {type(error).__name__}") from None
    exchange = _Exchange(session, prepared, timeout, longest or LARGEST_ANSWER)
    return exchange.hold(shared.idle)


def is_private(url: str) -> bool:
    """Whether nobody can listen in: it is https, or http that does not leave this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme == "http":
        return host in _LOOPBACK
    return parts.scheme == "https" and bool(host)


_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class _Exchange:
    """One request and its answer on another thread, held to a time that nothing can stretch.

    A socket's time-out bounds each wait, not their sum, nor the name server, nor a server that
    dribbles. At the deadline the connection is cut off. Whatever goes wrong, what matters is only
    whether the last byte of the request had begun to leave: no server acts on half a request.
    """

    def __init__(
        self,
        session: requests.Session,
        prepared: requests.PreparedRequest,
        timeout: float,
        longest: int,
    ) -> None:
        self._session, self._prepared = session, prepared
        self._timeout, self._longest = timeout, longest
        self.ended = threading.Event()
        self._gate = threading.Lock()
        self._leaving = self._cut_off = False
        self._connection: HTTPConnection | None = None
        self._answer: Answer | None = None
        self._error = "no answer"

    def hold(self, idle: "list[_Talker]") -> Answer:
        try:
            _some_talker(idle).has_next.put(self)
        except RuntimeError as error:  # out of threads
            raise NotSent(type(error).__name__) from None
        if not self.ended.wait(self._timeout):
            self._hang_up()
            self._error = "no answer in time"
        elif self._answer:
            return self._answer
        raise (NoAnswer if self._leaving else NotSent)(self._error)

    def talk(self) -> None:
        _current.exchange = self
        # A second more than the deadline, which is to be what ends it.
        timeouts = (min(self._timeout, LONGEST_CONNECT), self._timeout + 1)
        try:
            with self._session.send(
                self._prepared, timeout=timeouts, allow_redirects=False, stream=True
            ) as response:
                content = response.raw.read(self._longest + 1, decode_content=self._unpacks)
                if len(content) > self._longest:
                    self._error = "too long an answer"
                    return
                self._answer = Answer(response.status_code, response.headers, content)
        except NotSent as refused:
            self._error = str(refused)
        except Exception as error:  # noqa: BLE001 (closed by default)
            self._error = type(error).__name__
        finally:
            del _current.exchange
            self._connection = None  # it may serve somebody else by now

    @property
    def _unpacks(self) -> bool:
        """Nothing is unpacked that we did not ask to have packed: a few bytes can become many."""
        return self._prepared.headers.get("Accept-Encoding") != "identity"

    def before_bytes_leave(self, connection: HTTPConnection) -> None:
        with self._gate:
            if self._cut_off:
                raise ConnectionAbortedError
            self._leaving = True
            self._connection = connection

    def left_incomplete(self) -> None:
        with self._gate:
            self._leaving = self._cut_off and self._leaving

    def _hang_up(self) -> None:
        with self._gate:
            self._cut_off = True
            connection = self._connection
        sock = connection.sock if connection else None
        if sock is not None:
            with suppress(OSError):  # it may have ended by itself
                sock.shutdown(socket.SHUT_RDWR)


_current = threading.local()


class _Talker(threading.Thread):
    """Has one exchange after the other, and ends when there has been none for a while."""

    def __init__(self, idle: "list[_Talker]") -> None:
        super().__init__(name="http-exchange", daemon=True)
        self.has_next: SimpleQueue[_Exchange] = SimpleQueue()
        self._idle = idle

    def run(self) -> None:
        while exchange := self._next():
            exchange.talk()
            self._idle.append(self)
            exchange.ended.set()
            del exchange  # who is idle keeps nothing of what was said

    def _next(self) -> _Exchange | None:
        try:
            return self.has_next.get(timeout=LONGEST_IDLE)
        except Empty:
            with suppress(ValueError):  # then somebody has just chosen us
                self._idle.remove(self)
                return None
            return self.has_next.get()


def _some_talker(idle: list[_Talker]) -> _Talker:
    try:
        return idle.pop()
    except IndexError:
        talker = _Talker(idle)
        talker.start()
        return talker


class _Watched(HTTPConnection):
    """A connection that tells the exchange it serves when bytes begin to leave."""

    _spoke_at = float("-inf")

    @property
    def is_connected(self) -> bool:
        return super().is_connected and monotonic() - self._spoke_at < LONGEST_IDLE

    def request(self, *args: Any, **named: Any) -> None:
        self._spoke_at = monotonic()
        try:
            super().request(*args, **named)
        except Exception:
            _current.exchange.left_incomplete()
            raise

    def send(self, data: Any) -> None:
        # http.client connects when it first sends.
        if self.sock is None:
            self.connect()
        _current.exchange.before_bytes_leave(self)
        super().send(data)


class _WatchedSecure(_Watched, HTTPSConnection):
    pass


class _Wary(_Watched):
    """A connection to a host that a stranger named: to the internet at large, or none.

    The name is looked up once and the connection goes to what was judged: a second look-up, as
    urllib3 would make it, may be told something else (DNS rebinding).
    """

    def _new_conn(self) -> socket.socket:
        failure = OSError("no address")
        for family, address in islice(self._public_addresses(), MOST_TRIED):
            connecting = socket.socket(family, socket.SOCK_STREAM)
            try:
                connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connecting.settimeout(self.timeout)
                connecting.connect(address)
            except OSError as error:
                connecting.close()
                failure = error
            else:
                return connecting
        raise failure

    def _public_addresses(self) -> Iterator[tuple[socket.AddressFamily, Any]]:
        """All addresses of the host, or none: where one is ours, the others are a pretext."""
        found = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        if not all(is_public(str(address[0])) for *_, address in found):
            raise NotSent("private address")
        return ((family, address) for family, *_, address in found)


class _WarySecure(_Wary, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _WatchedSecure


class _WaryPool(HTTPConnectionPool):
    ConnectionCls = _Wary


class _WarySecurePool(HTTPSConnectionPool):
    ConnectionCls = _WarySecure


class _Adapter(HTTPAdapter):
    pools: ClassVar[Mapping[str, type[HTTPConnectionPool]]] = {"http": _Pool, "https": _SecurePool}

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        super().init_poolmanager(*args, **named)
        self.poolmanager.pool_classes_by_scheme = dict(self.pools)


class _WaryAdapter(_Adapter):
    pools = {"http": _WaryPool, "https": _WarySecurePool}


def _not_of_ours(_record: logging.LogRecord) -> bool:
    """At DEBUG urllib3 logs each path, and a provider may want a number in it. It also logs the
    whole address of an answer whose headers are odd, as a warning."""
    return not hasattr(_current, "exchange")


for _talkative in ("urllib3.connectionpool", "urllib3.connection"):
    logging.getLogger(_talkative).addFilter(_not_of_ours)


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all threads of one process share."""

    to_anywhere: requests.Session
    to_the_public: requests.Session
    idle: list[_Talker]


@lru_cache(maxsize=1)
def _shared_in(pid: int) -> _Shared:  # noqa: ARG001
    """A forked child gets its own sockets and threads."""
    return _Shared(_new_session(_Adapter), _new_session(_WaryAdapter), [])


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read the address even of a redirect that is not followed, and an
        odd one would raise after the request had arrived."""


def _new_session(kind: type[_Adapter]) -> requests.Session:
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = kind(pool_connections=16, pool_maxsize=POOL_SIZE)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
