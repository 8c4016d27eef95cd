"""The one outgoing HTTP client: pooled connections, time-outs, and errors sorted by what they mean.

A request either got an answer, certainly did not arrive, or may have arrived. Nothing else matters
to the promise of this app, so nothing else is told apart here. Redirects are not followed, and
neither addresses, headers nor bodies are logged.
"""

import logging
import os
import ssl
import threading
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NewConnectionError

POOL_SIZE = 64

_lock = threading.Lock()
_session: requests.Session | None = None
_session_pid: int | None = None


class NotSent(Exception):  # noqa: N818
    """The request certainly did not reach the server."""


class NoAnswer(Exception):  # noqa: N818
    """The request may have reached the server; there is no usable answer."""


def request(
    method: str,
    url: str,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    data: bytes | Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
) -> requests.Response:
    """The server's answer, whatever its status; raises ``NotSent`` or ``NoAnswer``."""
    session = _pooled_session()
    try:
        prepared = session.prepare_request(
            requests.Request(method, url, headers=headers, json=json, data=data, auth=auth)
        )
    except Exception as error:  # noqa: BLE001 (nothing has left yet, whatever is wrong)
        raise NotSent(f"not a request: {type(error).__name__}") from None
    _quiet.now = True
    try:
        return session.send(prepared, timeout=timeout, allow_redirects=False)
    except Exception as error:  # noqa: BLE001 (closed by default)
        if _never_sent(error):
            raise NotSent("no connection") from None
        raise NoAnswer(type(error).__name__) from None
    finally:
        _quiet.now = False


_quiet = threading.local()


def _not_of_ours(_record: logging.LogRecord) -> bool:
    """At DEBUG urllib3 logs each path, and a provider may want a number in it."""
    return not getattr(_quiet, "now", False)


logging.getLogger("urllib3.connectionpool").addFilter(_not_of_ours)


_BEFORE_ANYTHING_WAS_SAID: Final = (
    NewConnectionError,
    ConnectTimeoutError,
    LocationParseError,
    UnicodeError,  # a host name that DNS cannot carry
    requests.exceptions.InvalidSchema,
    ssl.SSLCertVerificationError,
)


def _never_sent(error: BaseException) -> bool:
    """Whether the error, or what lies behind it, comes before the first byte of the request."""
    behind = [error, *error.args, getattr(error, "reason", None)]
    return any(
        isinstance(each, _BEFORE_ANYTHING_WAS_SAID)
        or (each is not error and isinstance(each, Exception) and _never_sent(each))
        for each in behind
    )


def _pooled_session() -> requests.Session:
    """One session for all threads of a process; a forked child gets its own sockets."""
    global _session, _session_pid
    if _session is None or _session_pid != os.getpid():
        with _lock:
            if _session is None or _session_pid != os.getpid():
                _session, _session_pid = _new_session(), os.getpid()
    return _session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read the address even of a redirect that is not followed, and an
        odd one would raise, after the request had arrived, what else comes only before it."""


def _new_session() -> requests.Session:
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_connections=16, pool_maxsize=POOL_SIZE)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
