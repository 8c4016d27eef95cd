"""Access tokens from Maskinporten, exchanged for Altinn's own, shared by all threads of a process.

The grant is RFC 7523: a short assertion, signed with the client's key, buys a token for a scope.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from time import monotonic, time
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from instant_notifications import http
from instant_notifications.exceptions import HandoverFailed, NotConfigured, Unavailable

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ALGORITHM: Final = "RS256"
SMALLEST_KEY: Final = 2048
"""Bits that the algorithm demands (RFC 7518 §3.3)."""
ASSERTION_LIFETIME: Final = 110
"""Seconds; Maskinporten refuses more than 120."""
FETCH_TIMEOUT: Final = 10.0
RENEW_BEFORE: Final = 60.0
"""Seconds before its end at which a token is replaced; until then the old one still serves. One of
a short life is replaced once half of it is over."""
RENEWAL_PAUSE: Final = 5.0
"""Seconds after a renewal that failed, while the old token still serves."""
UNUSABLE_BEFORE: Final = 5.0
SHORTEST_LIFE: Final = 60.0
"""Of a token that does not say when it ends."""


@dataclass(frozen=True, slots=True)
class Token:
    """Something to call with. The times are by the monotonic clock."""

    text: str = field(repr=False)
    renew_at: float
    ends_at: float

    @classmethod
    def lasting(cls, text: str, seconds: float, since: float) -> "Token":
        """One that was asked for at ``since``."""
        return cls(text, since + max(seconds - RENEW_BEFORE, seconds / 2), since + seconds)


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
        """Raise ``NotConfigured`` if it can be seen from here that no token will come of this."""
        self._assertion()
        if not http.is_private(self._address):
            raise NotConfigured(
                "The 'issuer' or 'token_url' of its Maskinporten client is no https address."
            )

    def fetch(self, timeout: float) -> Token:
        """A new access token; raises ``NotConfigured`` with what to set, or ``Unavailable``."""
        form = {"grant_type": GRANT, "assertion": self._assertion()}
        asked_at = monotonic()
        answer = _ask(
            "POST",
            self._address,
            whom="Maskinporten",
            hint="Check client_id, key, key_id, issuer and scope, and the clock of this machine.",
            data=form,
            timeout=timeout,
        )
        said = answer.json_object()
        text = said.get("access_token")
        if not isinstance(text, str) or not text:
            raise Unavailable("Maskinporten gave no token")
        return Token.lasting(text, _seconds(said.get("expires_in")), asked_at)

    @property
    def _address(self) -> str:
        return self.token_url or f"{self.issuer.rstrip('/')}/token"

    def _assertion(self) -> str:
        self._require_members()
        now = int(time())
        claims = {
            "aud": self.issuer,
            "iss": self.client_id,
            "scope": self.scope,
            "iat": now,
            "exp": now + ASSERTION_LIFETIME,
            "jti": str(uuid4()),
        }
        headers = {"kid": self.key_id}
        return jwt.encode(claims, self._signing_key(), algorithm=ALGORITHM, headers=headers)

    def _require_members(self) -> None:
        for name in ("client_id", "key", "key_id", "scope", "issuer"):
            value = getattr(self, name)
            if not (isinstance(value, str) and value.strip()):
                raise NotConfigured(f"The {name!r} of its Maskinporten client is blank.")

    def _signing_key(self) -> RSAPrivateKey:
        key = _read(self.key)
        if not isinstance(key, RSAPrivateKey) or key.key_size < SMALLEST_KEY:
            raise NotConfigured(
                "The 'key' of its Maskinporten client is not an RSA private key in PEM form, of at "
                f"least {SMALLEST_KEY} bits and without a passphrase."
            )
        return key


@lru_cache(maxsize=8)
def _read(pem: str) -> object:
    """The private key, if it is one. Kept, as a key is looked into thoroughly, and so slowly."""
    try:
        return load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def exchange(token: Token, url: str, timeout: float) -> Token:
    """Altinn's own token for one of Maskinporten's."""
    asked_at = monotonic()
    answer = _ask(
        "GET",
        url,
        whom="Altinn's token exchange",
        hint="Check exchange_url, and that issuer is the Maskinporten of that very Altinn.",
        headers={"Authorization": f"Bearer {token.text}"},
        timeout=timeout,
    )
    text = answer.content.decode("ascii", "replace").strip().strip('"')
    try:
        claims = jwt.decode(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unavailable("Altinn's token exchange gave no token") from None
    ends_at = claims.get("exp")
    left = ends_at - time() if isinstance(ends_at, int | float) else None
    return Token.lasting(text, _seconds(left), asked_at)


def _ask(method: str, url: str, *, whom: str, hint: str, **named: Any) -> http.Answer:
    try:
        answer = http.request(method, url, **named)
    except (http.NotSent, http.NoAnswer) as error:
        raise Unavailable(f"{whom}: {error}") from None
    if answer.ok:
        return answer
    if answer.status_code in _OUR_FAULT:
        raise NotConfigured(
            f"{whom} refuses us (HTTP {answer.status_code}{_error_of(answer)}). {hint}"
        )
    raise Unavailable(f"{whom}: HTTP {answer.status_code}", retry_after=answer.retry_after)


_OUR_FAULT: Final = frozenset({400, 401, 403, 404})

_ERRORS: Final = (
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
)
"""RFC 6749 §5.2; their descriptions are not passed on."""


def _error_of(answer: http.Answer) -> str:
    error = answer.json_object().get("error")
    return f" {error}" if error in _ERRORS else ""


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
            token, now = self._usable(), monotonic()
            if token and now < token.renew_at:
                return token.text
            fetching = self._under_way or self._begin()
            if token:
                return token.text
        try:
            return fetching.result(timeout).text
        except TimeoutError:
            raise Unavailable("no token in time") from None
        # One failure for all who wait: each raises its own, as a raise writes on what it raises.
        except HandoverFailed as failure:
            raise Unavailable(failure.reason, retry_after=failure.retry_after) from None
        except NotConfigured as error:
            raise NotConfigured(str(error)) from None

    def forget(self, text: str) -> None:
        """It was refused: let the next caller fetch another."""
        with self._lock:
            if self._token and self._token.text == text:
                self._token = None

    def _usable(self) -> Token | None:
        token = self._token
        return token if token and monotonic() < token.ends_at - UNUSABLE_BEFORE else None

    def _begin(self) -> "Future[Token]":
        fetching: Future[Token] = Future()
        thread = threading.Thread(
            target=self._finish, args=[fetching], name="token-fetch", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # out of threads
            fetching.set_exception(Unavailable(type(error).__name__))
        else:
            self._under_way = fetching
        return fetching

    def _finish(self, fetching: "Future[Token]") -> None:
        outcome = self._outcome()
        with self._lock:
            self._under_way = None
            if isinstance(outcome, Token):
                self._token = outcome
            elif self._token:
                self._token = replace(self._token, renew_at=monotonic() + RENEWAL_PAUSE)
        if isinstance(outcome, Token):
            fetching.set_result(outcome)
        else:
            fetching.set_exception(outcome)

    def _outcome(self) -> Token | Exception:
        try:
            return self._fetch(FETCH_TIMEOUT)
        except (HandoverFailed, NotConfigured) as error:
            return error
        except Exception as error:  # noqa: BLE001 (whoever waits must hear of it)
            return Unavailable(type(error).__name__)


def shared_token(client: Client, exchange_url: str | None) -> SharedToken:
    """The one for all gateways and threads of this process.

    A forked child gets its own: a fetch that was under way at the fork does not end there.
    """
    key = (os.getpid(), client, exchange_url)
    return _shared_tokens.setdefault(key, SharedToken(partial(_fetch, client, exchange_url)))


_shared_tokens: Final[dict[tuple[int, Client, str | None], SharedToken]] = {}


def _fetch(client: Client, exchange_url: str | None, timeout: float) -> Token:
    deadline = monotonic() + timeout
    token = client.fetch(timeout)
    return exchange(token, exchange_url, deadline - monotonic()) if exchange_url else token
