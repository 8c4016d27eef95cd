"""Ask a condition endpoint whether a message is to be sent.

Its address is a caller's, so it is asked with care: nothing of ours is shown to it, it leads to no
place inside our network, and it costs little whatever it answers. ``CONDITION_HOSTS`` says for
which hosts some of this is different.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

from instant_notifications import http, privacy, telemetry
from instant_notifications.conf import settings

logger = logging.getLogger("instant_notifications")

TIMEOUT: Final = 5.0
"""Seconds for all of it, redirects included."""
LONGEST_ANSWER: Final = 64 * 1024

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "django-instant-notifications",
}


class _Inconclusive(Exception):  # noqa: N818
    """There is no clear answer; the text says why, and nothing about where."""


def ask(url: str, *, for_: object = "") -> bool | None:
    """What the endpoint says; ``None`` when that is nothing clear. Never raises.

    ``for_`` is what the log calls the asker: it never has the address, nor the host.
    """
    try:
        with telemetry.span("condition", asker=for_) as told:
            met = _said(_fetch(url))
            told.tell(outcome="met" if met else "not met")
    except _Inconclusive as why:
        logger.info("condition inconclusive asker=%s reason=%s", for_, why)
        return None
    except Exception as error:  # noqa: BLE001 (a message must not wait for our mistake)
        logger.warning("condition failed asker=%s error=%s", for_, privacy.place_of(error))
        return None
    logger.info("condition answered asker=%s met=%s", for_, met)
    return met


def _said(answer: http.Answer) -> bool:
    if not answer.ok:
        raise _Inconclusive(f"HTTP {answer.status_code}")
    said = answer.json_object().get("sendNotification")
    if not isinstance(said, bool):
        raise _Inconclusive("no clear answer")
    return said


def _fetch(url: str) -> http.Answer:
    """The last answer, redirects followed as far as the settings allow."""
    deadline = monotonic() + TIMEOUT
    endpoint = _endpoint(url)
    for _ in range(settings.CONDITION_REDIRECTS):
        answer = _get(endpoint, deadline)
        if answer.status_code not in _REDIRECTS or "Location" not in answer.headers:
            return answer
        endpoint = _next(endpoint, answer.headers["Location"])
    return _get(endpoint, deadline)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Where to ask, and what the settings say of that host."""

    url: str
    known: Mapping[str, Any]

    @property
    def is_secure(self) -> bool:
        return self.url.startswith("https:")

    @property
    def headers(self) -> Mapping[str, str]:
        token = self.known.get("token")
        return {**_HEADERS, "Authorization": f"Bearer {token}"} if token else _HEADERS


def _get(endpoint: _Endpoint, deadline: float) -> http.Answer:
    try:
        return http.request(
            "GET",
            endpoint.url,
            timeout=max(deadline - monotonic(), 0.001),
            headers=endpoint.headers,
            only_public=not endpoint.known.get("private"),
            longest=LONGEST_ANSWER,
        )
    except (http.NotSent, http.NoAnswer) as error:
        raise _Inconclusive(_REASONS.get(str(error), str(error))) from None


_REASONS: Final = {"no answer in time": "timeout", "ConnectTimeout": "timeout"}


def _next(endpoint: _Endpoint, location: str) -> _Endpoint:
    try:
        following = _endpoint(urljoin(endpoint.url, location))
    except ValueError:
        raise _Inconclusive("no address") from None
    if endpoint.is_secure and not following.is_secure:
        raise _Inconclusive("redirect to http")
    return following


def _endpoint(url: str) -> _Endpoint:
    """The address put together anew from what we understood, so that nobody after us understands
    another host; without user and password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _Inconclusive("no address") from None
    if not _HOST.fullmatch(host):
        raise _Inconclusive("no address")
    known = settings.CONDITION_HOSTS.get(host, {})
    if parts.scheme != "https" and not (parts.scheme == "http" and known.get("http")):
        raise _Inconclusive("not https")
    written = f"[{host}]" if ":" in host else host
    authority = written if port is None else f"{written}:{port}"
    return _Endpoint(urlunsplit((parts.scheme, authority, parts.path, parts.query, "")), known)


_HOST: Final = re.compile(r"(?:[a-z0-9._-]|[^\x00-\x7f])+|[0-9a-f:.]*:[0-9a-f:.]*")
"""A name, also one that is not ASCII, or an address; a zone of this machine is neither's."""
