"""The one outgoing HTTP client: pooled connections, time-outs, and errors sorted by what they mean.

A request either got an answer, certainly did not arrive, or may have arrived. Nothing else matters
to the promise of this app, so nothing else is told apart here. Redirects are not followed, and
neither addresses, headers nor bodies are logged.
"""

import os
import threading
from collections.abc import Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

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
    try:
        return _pooled_session().request(
            method,
            url,
            timeout=timeout,
            headers=headers,
            json=json,
            data=data,
            auth=auth,
            allow_redirects=False,
        )
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema):
        raise NotSent("the address is not valid") from None
    except requests.RequestException as error:
        if _never_connected(error):
            raise NotSent("no connection") from None
        raise NoAnswer(
            "no answer in time" if isinstance(error, requests.Timeout) else "cut off"
        ) from None


def _never_connected(error: requests.RequestException) -> bool:
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    return isinstance(cause, NewConnectionError | ConnectTimeoutError)


def _pooled_session() -> requests.Session:
    """One session for all threads of a process; a forked child gets its own sockets."""
    global _session, _session_pid
    if _session is None or _session_pid != os.getpid():
        with _lock:
            if _session is None or _session_pid != os.getpid():
                _session, _session_pid = _new_session(), os.getpid()
    return _session


def _new_session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    adapter = HTTPAdapter(pool_connections=16, pool_maxsize=POOL_SIZE)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session
