"""Access tokens from Maskinporten, exchanged for Altinn's own, shared by all threads of a process.

The grant is RFC 7523: a short assertion, signed with the client's key, buys a token for a scope.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from instant_notifications import http
from instant_notifications.exceptions import HandoverFailed, NotConfigured, Unavailable

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ALGORITHM: Final = "RS256"
ASSERTION_LIFETIME: Final = 110
"""Seconds; Maskinporten refuses more than 120."""
FETCH_TIMEOUT: Final = 10.0
RENEW_BEFORE: Final = 60.0
"""Seconds before its end at which a token is replaced; until then the old one still serves."""
UNUSABLE_BEFORE: Final = 5.0
SHORTEST_LIFE: Final = 60.0
"""Of a token that does not say when it ends."""


@dataclass(frozen=True, slots=True)
class Token:
    text: str = field(repr=False)
    ends_at: float
    """By the monotonic clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who we are to Maskinporten. Its repr holds no key."""

    client_id: str
    key: str = field(repr=False)
    """RSA private key in PEM form."""
    key_id: str
    scope: str
    issuer: str = "https://maskinporten.no/"
    """Maskinporten's own name, which the assertion is made out to."""
    token_url: str = ""
    """Blank: ``token`` below the issuer."""

    def check(self) -> None:
        """Raise ``NotConfigured`` if no assertion can be signed."""
        self._assertion()

    def _assertion(self) -> str:
        now = int(time())
        claims = {
            "aud": self.issuer,
            "iss": self.client_id,
            "scope": self.scope,
            "iat": now,
            "exp": now + ASSERTION_LIFETIME,
            "jti": str(uuid4()),
        }
        try:
            return jwt.encode(claims, self.key, algorithm=ALGORITHM, headers={"kid": self.key_id})
        except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
            raise NotConfigured("The key is not an RSA private key in PEM form.") from None

    def fetch(self, timeout: float) -> Token:
        """A new access token; raises ``NotConfigured`` with what to set, or ``Unavailable``."""
        form = {"grant_type": GRANT, "assertion": self._assertion()}
        address = self.token_url or self.issuer.rstrip("/") + "/token"
        said = _object(_ask("POST", address, "Maskinporten", timeout=timeout, data=form))
        text = said.get("access_token")
        if not isinstance(text, str) or not text:
            raise Unavailable("Maskinporten gave no token")
        return Token(text, monotonic() + _seconds(said.get("expires_in")))


def exchange(token: Token, url: str, timeout: float) -> Token:
    """Altinn's own token for one of Maskinporten's."""
    headers = {"Authorization": f"Bearer {token.text}"}
    answer = _ask("GET", url, "Altinn's token exchange", timeout=timeout, headers=headers)
    text = answer.content.decode("ascii", "replace").strip().strip('"')
    try:
        claims = jwt.decode(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unavailable("Altinn's token exchange gave no token") from None
    ends_at = claims.get("exp")
    left = ends_at - time() if isinstance(ends_at, int | float) else SHORTEST_LIFE
    return Token(text, monotonic() + _seconds(left))


def _ask(method: str, url: str, whom: str, **named: Any) -> http.Answer:
    try:
        answer = http.request(method, url, **named)
    except (http.NotSent, http.NoAnswer) as error:
        raise Unavailable(f"{whom}: {error}") from None
    if answer.ok:
        return answer
    if answer.status_code in _OUR_FAULT:
        raise NotConfigured(
            f"{whom} refuses us (HTTP {answer.status_code}{_error_of(answer)}). "
            "Check the client id, the key and its id, the issuer and the scope."
        )
    raise Unavailable(f"{whom}: HTTP {answer.status_code}", retry_after=answer.retry_after)


_OUR_FAULT: Final = frozenset({400, 401, 403, 404})

_ERRORS: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
"""RFC 6749 §5.2; their descriptions are not passed on."""


def _error_of(answer: http.Answer) -> str:
    error = _object(answer).get("error")
    return f" {error}" if error in _ERRORS else ""


def _object(answer: http.Answer) -> dict[str, Any]:
    try:
        said = answer.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _seconds(said: object) -> float:
    usable = isinstance(said, int | float) and not isinstance(said, bool) and said > 0
    return float(said) if usable else SHORTEST_LIFE  # type: ignore[arg-type]


class SharedToken:
    """A token for all threads, fetched once however many ask at the same moment.

    The fetch has a thread and a time-out of its own, so that nobody who is short of time spoils it
    for the others.
    """

    def __init__(self, fetch: Callable[[float], Token]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._under_way: Future[Token] | None = None

    def get(self, timeout: float) -> str:
        """The token; raises ``NotConfigured`` or ``Unavailable``."""
        with self._lock:
            left = self._token.ends_at - monotonic() if self._token else 0
            if self._token and left > RENEW_BEFORE:
                return self._token.text
            fetching = self._under_way or self._begin()
            if self._token and left > UNUSABLE_BEFORE:
                return self._token.text
        try:
            return fetching.result(timeout).text
        except TimeoutError:
            raise Unavailable("no token in time") from None
        except HandoverFailed as failure:
            raise Unavailable(failure.reason, retry_after=failure.retry_after) from None
        except NotConfigured as error:
            raise NotConfigured(str(error)) from None

    def forget(self, text: str) -> None:
        """It was refused: let the next caller fetch another."""
        with self._lock:
            if self._token and self._token.text == text:
                self._token = None

    def _begin(self) -> "Future[Token]":
        fetching: Future[Token] = Future()
        self._under_way = fetching
        threading.Thread(
            target=self._finish, args=[fetching], name="token-fetch", daemon=True
        ).start()
        return fetching

    def _finish(self, fetching: "Future[Token]") -> None:
        try:
            token = self._fetch(FETCH_TIMEOUT)
        except Exception as error:  # noqa: BLE001 (whoever waits must hear of it)
            known = isinstance(error, HandoverFailed | NotConfigured)
            outcome: Token | Exception = error if known else Unavailable(type(error).__name__)
        else:
            outcome = token
        with self._lock:
            self._under_way = None
            if isinstance(outcome, Token):
                self._token = outcome
        if isinstance(outcome, Token):
            fetching.set_result(outcome)
        else:
            fetching.set_exception(outcome)
