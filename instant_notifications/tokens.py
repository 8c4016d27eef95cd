"""Bearer tokens (JWT): issue the project's own, and read those of every issuer a host trusts.

What a token's header says is never believed: each issuer has its keys and the algorithms that go
with them, and a token is checked against those or not at all.
"""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any, Final, TypeGuard

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from instant_notifications import http, privacy, rules
from instant_notifications.conf import SETTINGS_NAME, settings
from instant_notifications.exceptions import NotConfigured, Unavailable

logger = logging.getLogger("instant_notifications")

ORGANISATION_CLAIM: Final = "urn:altinn:org"
SCOPE_CLAIM: Final = "urn:altinn:scope"
SCOPE: Final = "altinn:serviceowner/notifications.create"

OWN_ISSUER: Final = "instant-notifications"
OWN_ALGORITHM: Final = "HS256"
MIN_SECRET_BYTES: Final = 32
PUBLIC_KEY_ALGORITHMS: Final = ("RS256", "ES256")

LEEWAY: Final = 10
MAX_TOKEN_LENGTH: Final = 8192


class InvalidToken(Exception):  # noqa: N818
    """The token does not prove anything; why is nobody's business but the log's."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token speaks for. Everything here comes from the token, nothing from the request."""

    organisation: str
    scopes: frozenset[str]
    is_authenticated: bool = True


def issue(organisation: str, *, scope: str = SCOPE, expires_in: int = 3600) -> str:
    """A token signed with the project's own key."""
    key = settings.TOKEN_SIGNING_KEY
    if not key:
        raise NotConfigured(
            f"There is no key to sign with. Set {SETTINGS_NAME}['TOKEN_SIGNING_KEY'] to a secret "
            f"of at least {MIN_SECRET_BYTES} bytes."
        )
    now = int(time())
    claims = {
        "iss": OWN_ISSUER,
        "iat": now,
        "exp": now + expires_in,
        ORGANISATION_CLAIM: organisation,
        "scope": scope,
    }
    return jwt.encode(claims, key, algorithm=OWN_ALGORITHM)


def read(token: str) -> Caller:
    """The caller a token proves; raises ``InvalidToken``."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken("too long")
    try:
        header = jwt.get_unverified_header(token)
        claimed = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise InvalidToken("not a token") from None
    away: Unavailable | None = None
    for issuer in _trusted():
        try:
            claims = issuer.verify(token, header, claimed.get("iss"))
        except Unavailable as unavailable:
            away = unavailable
            continue
        if claims is not None:
            return _caller(claims)
    raise away or InvalidToken("no trusted issuer vouches for it")


def _caller(claims: Mapping[str, Any]) -> Caller:
    organisation = claims.get(ORGANISATION_CLAIM)
    scopes = claims.get(SCOPE_CLAIM) or claims.get("scope")
    return Caller(
        organisation=organisation if _nameable(organisation) else "",
        scopes=frozenset(scopes.split()) if isinstance(scopes, str) else frozenset(),
    )


def _nameable(organisation: object) -> TypeGuard[str]:
    """Fit to own rows; a token with anything else names no organisation."""
    try:
        rules.creator(organisation, ORGANISATION_CLAIM)
    except rules.Broken:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Issuer:
    """One entry of ``TOKEN_ISSUERS``, or the project itself."""

    name: str | None
    audience: str | Sequence[str] | None
    algorithms: Sequence[str]
    key: str = field(default="", repr=False)
    jwks_url: str = ""

    def verify(
        self, token: str, header: Mapping[str, Any], claimed_name: object
    ) -> Mapping[str, Any] | None:
        algorithm = str(header.get("alg"))
        if algorithm not in self.algorithms or self.name not in (None, claimed_name):
            return None
        for key in self._keys(header.get("kid")):
            try:
                claims: Mapping[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=[algorithm],
                    audience=self.audience,
                    issuer=self.name,
                    leeway=LEEWAY,
                    options={"require": ["exp"], "verify_aud": self.audience is not None},
                )
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            return claims
        return None

    def check(self) -> None:
        """Raise ``NotConfigured`` for a key that proves nothing."""
        if OWN_ALGORITHM in self.algorithms and len(self.key.encode()) < MIN_SECRET_BYTES:
            raise NotConfigured(f"A shared secret needs at least {MIN_SECRET_BYTES} bytes.")
        if self.key and OWN_ALGORITHM not in self.algorithms:
            try:
                load_pem_public_key(self.key.encode())
            except (ValueError, UnsupportedAlgorithm):
                raise NotConfigured("The KEY is not a public key in PEM form.") from None

    def _keys(self, kid: object) -> Iterable[Any]:
        if not self.jwks_url:
            return [self.key]
        return _key_sets.setdefault(self.jwks_url, KeySet(self.jwks_url)).keys(kid)


def _trusted() -> Iterable[Issuer]:
    if settings.TOKEN_SIGNING_KEY:
        yield Issuer(OWN_ISSUER, None, [OWN_ALGORITHM], key=settings.TOKEN_SIGNING_KEY)
    for configured in settings.TOKEN_ISSUERS:
        yield issuer_from(configured)


def issuer_from(configured: Mapping[str, Any]) -> Issuer:
    """An entry of the setting, its algorithms held to those that fit its kind of key."""
    key, jwks_url = configured.get("KEY", ""), configured.get("JWKS_URL", "")
    if bool(key) == bool(jwks_url):
        raise NotConfigured("A token issuer needs either a KEY or a JWKS_URL.")
    is_secret = bool(key) and not key.lstrip().startswith("-----BEGIN")
    fitting = (OWN_ALGORITHM,) if is_secret else PUBLIC_KEY_ALGORITHMS
    algorithms = [word for word in configured.get("ALGORITHMS", fitting) if word in fitting]
    if not algorithms:
        raise NotConfigured(f"This kind of key goes with {' or '.join(fitting)} only.")
    return Issuer(
        configured.get("ISSUER"), configured.get("AUDIENCE"), algorithms, key=key, jwks_url=jwks_url
    )


class KeySet:
    """The keys published at one address, kept for a while and fetched again when they roll over.

    A token with an unknown key id makes us look again, but not more often than ``PAUSE``, so that
    a stranger's tokens cannot make us flood the issuer. While the issuer is away the old keys hold.
    """

    LIFETIME: Final = 600.0
    PAUSE: Final = 10.0
    TIMEOUT: Final = 5.0

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: Sequence[jwt.PyJWK] = ()
        self._fetched_at = self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def keys(self, kid: object) -> Sequence[jwt.PyJWK]:
        """The keys with this id; all of them for a token that names none."""
        if monotonic() - self._fetched_at > self.LIFETIME or not self._matching(kid):
            self._refresh()
        if not self._keys:
            raise Unavailable("the token issuer's keys cannot be fetched")
        return self._matching(kid)

    def _matching(self, kid: object) -> Sequence[jwt.PyJWK]:
        return [key for key in self._keys if kid is None or key.key_id == kid]

    def _refresh(self) -> None:
        if not self._lock.acquire(blocking=not self._keys):
            return  # somebody else is asking, and the old keys hold meanwhile
        try:
            self._fetch()
        finally:
            self._lock.release()

    def _fetch(self) -> None:
        if monotonic() - self._tried_at < self.PAUSE:
            return
        self._tried_at = monotonic()
        try:
            answer = http.request("GET", self._url, timeout=self.TIMEOUT)
            published = jwt.PyJWKSet.from_dict(answer.json() if answer.ok else {})
        except Exception as error:  # noqa: BLE001 (whatever it published, it is no key set)
            logger.warning("token keys not fetched error=%s", privacy.place_of(error, frames=1))
            return
        self._keys = [key for key in published.keys if key.public_key_use != "enc"]
        self._fetched_at = monotonic()


_key_sets: Final[dict[str, KeySet]] = {}
"""One for each address, for the life of the process."""
