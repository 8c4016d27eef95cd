import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from instant_notifications import tokens
from instant_notifications.exceptions import NotConfigured, Unavailable
from instant_notifications.tokens import InvalidToken, KeySet
from tests.conftest import sms
from tests.web import Server

Configure = Callable[..., None]
Trust = Callable[..., None]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

SECRET = "a-secret-of-more-than-thirty-two-bytes"
OWN_SECRET = "the-projects-own-secret-of-32-bytes-or-more"
ISSUER = "https://issuer.example/"
SCOPE = "altinn:serviceowner/notifications.create"

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def algorithm_of(key: PrivateKey | str) -> str:
    if isinstance(key, str):
        return "HS256"
    return "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims; ``claims(exp=...)`` with the ellipsis leaves one out."""
    good = {
        "iss": ISSUER,
        "exp": int(time.time()) + 60,
        "urn:altinn:org": "ttd",
        "urn:altinn:scope": SCOPE,
    }
    return {name: value for name, value in (good | changes).items() if value is not ...}


def signed(key: PrivateKey | str, kid: str | None = None, **changes: Any) -> str:
    headers = {"kid": kid} if kid else None
    return jwt.encode(claims(**changes), key, algorithm_of(key), headers=headers)


def pem(key: PrivateKey, public_format: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> str:
    encoding = Encoding.OpenSSH if public_format is PublicFormat.OpenSSH else Encoding.PEM
    return key.public_key().public_bytes(encoding, public_format).decode()


def hand_signed(header: dict[str, Any], payload: dict[str, Any], secret: bytes) -> str:
    """An HS256 token of any header and any secret, made without the library's own caution."""
    head, body = (base64url_encode(json.dumps(part).encode()) for part in (header, payload))
    signature = hmac.HMAC(secret, hashes.SHA256())
    signature.update(head + b"." + body)
    return b".".join((head, body, base64url_encode(signature.finalize()))).decode()


def jwk(key: PrivateKey, kid: str, **more: str) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**public, "kid": kid, **more}


def refused(token: str) -> bool:
    try:
        tokens.read(token)
    except InvalidToken:
        return True
    return False


class Publisher(Server):
    """A token issuer's JWKS address on the loopback, with a count of its visitors."""

    def __init__(self) -> None:
        super().__init__(self._show)
        self.url += "jwks"
        self.status, self.answer, self.pause, self.redirect_from = 200, "", 0.0, ""

    @property
    def fetched(self) -> int:
        return len(self.requests)

    def _show(self, _: Server, connection: socket.socket) -> None:
        moved = self.hear(connection).split()[1] == self.redirect_from.encode()
        time.sleep(self.pause)
        status, body = (302, "") if moved else (self.status, self.answer)
        connection.sendall(f"HTTP/1.0 {status} So\r\nLocation: /jwks\r\n\r\n{body}".encode())

    def publish(self, *keys: dict[str, Any]) -> None:
        self.status, self.answer = 200, json.dumps({"keys": keys})

    def fail(self, status: int = 500, answer: str = "out of order") -> None:
        self.status, self.answer = status, answer


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    made.publish(jwk(RSA_KEY, "first"))
    yield made
    made.close()


class Clock:
    """Stands in for the monotonic clock of the key sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(tokens, "monotonic", clock)
    tokens._key_sets.clear()
    yield clock
    tokens._key_sets.clear()


@pytest.fixture
def trust(configure: Configure) -> Trust:
    def trust(*issuers: dict[str, Any], own: str = "") -> None:
        configure(TOKEN_SIGNING_KEY=own, TOKEN_ISSUERS=list(issuers))

    return trust


def published_by(publisher: Publisher, **more: Any) -> dict[str, Any]:
    return {"JWKS_URL": publisher.url, "ISSUER": ISSUER, **more}


def test_an_own_token_is_read_again(trust: Trust) -> None:
    trust(own=OWN_SECRET)
    caller = tokens.read(tokens.issue("ttd"))
    assert (caller.organisation, caller.scopes) == ("ttd", {SCOPE})
    assert caller.is_authenticated


def test_an_own_token_is_a_plain_hs256_jwt(trust: Trust) -> None:
    trust(own=OWN_SECRET)
    token = tokens.issue("ttd", scope="a b", expires_in=90)
    content = jwt.decode(token, OWN_SECRET, algorithms=["HS256"])
    assert content["urn:altinn:org"] == "ttd"
    assert content["scope"] == "a b"
    assert content["exp"] - content["iat"] == 90
    assert tokens.read(token).scopes == {"a", "b"}


def test_without_a_key_no_token_is_issued_or_read(trust: Trust) -> None:
    trust(own=OWN_SECRET)
    token = tokens.issue("ttd")
    trust()
    with pytest.raises(NotConfigured, match="TOKEN_SIGNING_KEY"):
        tokens.issue("ttd")
    assert refused(token)


def test_an_own_token_signed_with_another_key_is_refused(trust: Trust) -> None:
    trust(own=OWN_SECRET)
    token = tokens.issue("ttd")
    trust(own=OWN_SECRET + "!")
    assert refused(token)


def test_a_token_signed_with_our_key_for_another_purpose_is_refused(trust: Trust) -> None:
    trust(own=OWN_SECRET)
    assert refused(signed(OWN_SECRET, iss="another-app"))
    assert refused(signed(OWN_SECRET, iss=...))


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY], ids=["RS256", "ES256"])
def test_a_static_public_key_vouches_for_its_tokens(key: PrivateKey, trust: Trust) -> None:
    trust({"KEY": f"\n{pem(key)}", "ISSUER": ISSUER})
    assert tokens.read(signed(key)).organisation == "ttd"
    assert refused(signed(OTHER_RSA_KEY))


def test_a_shared_secret_vouches_for_its_tokens(trust: Trust) -> None:
    trust({"KEY": SECRET})
    assert tokens.read(signed(SECRET)).organisation == "ttd"
    assert refused(signed(SECRET + "!"))


@pytest.mark.parametrize("key", [RSA_KEY, EC_KEY], ids=["RS256", "ES256"])
def test_a_published_key_vouches_for_its_tokens(
    key: PrivateKey, publisher: Publisher, trust: Trust
) -> None:
    publisher.publish(jwk(OTHER_RSA_KEY, "other"), jwk(key, "this"))
    trust(published_by(publisher))
    assert tokens.read(signed(key, "this")).organisation == "ttd"
    assert refused(signed(key, "other"))


def test_a_token_that_names_no_key_is_tried_with_all(publisher: Publisher, trust: Trust) -> None:
    publisher.publish(jwk(OTHER_RSA_KEY, "other"), jwk(RSA_KEY, "this"))
    trust(published_by(publisher))
    assert tokens.read(signed(RSA_KEY)).organisation == "ttd"
    assert refused(signed(EC_KEY))


@pytest.mark.parametrize(
    "issuer",
    [
        {"KEY": pem(RSA_KEY)},
        {"KEY": pem(RSA_KEY), "ALGORITHMS": ["RS256", "none"]},
        {"KEY": SECRET},
    ],
    ids=["key", "host allows it", "secret"],
)
@pytest.mark.parametrize("word", ["none", "None", "NONE", "nOnE"])
def test_an_unsigned_token_is_refused(word: str, issuer: dict[str, Any], trust: Trust) -> None:
    trust(issuer, own=OWN_SECRET)
    head, body, _ = hand_signed({"alg": word, "typ": "JWT"}, claims(), b"").split(".")
    assert refused(f"{head}.{body}.")
    assert refused(f"{head}.{body}.e30")


@pytest.mark.parametrize("kind", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.OpenSSH])
@pytest.mark.parametrize("ending", ["", "\n"], ids=["stripped", "as written"])
def test_a_public_key_is_never_a_shared_secret(
    kind: PublicFormat, ending: str, trust: Trust
) -> None:
    public = pem(RSA_KEY, kind).strip() + ending
    trust({"KEY": public, "ISSUER": ISSUER})
    assert refused(hand_signed({"alg": "HS256"}, claims(), public.encode()))


def test_a_published_key_is_never_a_shared_secret(publisher: Publisher, trust: Trust) -> None:
    trust(published_by(publisher))
    for secret in (pem(RSA_KEY), json.dumps(jwk(RSA_KEY, "first")), publisher.answer, ""):
        header = {"alg": "HS256", "kid": "first"}
        assert refused(hand_signed(header, claims(), secret.encode()))


def test_a_published_secret_is_not_a_key(publisher: Publisher, trust: Trust) -> None:
    symmetric = {"kty": "oct", "k": base64url_encode(SECRET.encode()).decode(), "kid": "s"}
    publisher.publish(symmetric, jwk(RSA_KEY, "first"))
    trust(published_by(publisher))
    assert refused(signed(SECRET, "s"))
    assert refused(hand_signed({"alg": "RS256", "kid": "s"}, claims(), SECRET.encode()))


@pytest.mark.parametrize("header", ["jwk", "jku", "x5u", "x5c", "kid"])
def test_a_key_that_the_token_brings_along_is_not_believed(
    header: str, publisher: Publisher, trust: Trust
) -> None:
    trust({"KEY": pem(RSA_KEY)})
    brought: Any = jwk(OTHER_RSA_KEY, "mine") if header == "jwk" else publisher.url
    token = jwt.encode(claims(), OTHER_RSA_KEY, "RS256", headers={header: brought})
    assert refused(token)
    assert publisher.fetched == 0


@pytest.mark.parametrize("seconds", [1, 9])
def test_a_clock_may_be_a_little_off(seconds: int, trust: Trust) -> None:
    trust({"KEY": SECRET})
    assert tokens.read(signed(SECRET, exp=int(time.time()) - seconds))
    assert tokens.read(signed(SECRET, nbf=int(time.time()) + seconds))


@pytest.mark.parametrize(
    "changes",
    [{"exp": -12}, {"exp": -3600}, {"nbf": 15}, {"iat": 15}, {"exp": ...}],
    ids=["expired", "long expired", "not yet", "from the future", "never expires"],
)
def test_a_token_out_of_its_time_is_refused(changes: dict[str, Any], trust: Trust) -> None:
    trust({"KEY": SECRET})
    now = int(time.time())
    moved = {name: by if by is ... else now + by for name, by in changes.items()}
    assert refused(signed(SECRET, **moved))


@pytest.mark.parametrize("audience", ["sms", ["mail", "sms"]], ids=repr)
def test_the_configured_audience_is_let_in(audience: Any, trust: Trust) -> None:
    trust({"KEY": SECRET, "AUDIENCE": "sms"})
    assert tokens.read(signed(SECRET, aud=audience))


@pytest.mark.parametrize("audience", ["mail", ["mail"], [], "", 5, ...], ids=repr)
def test_another_audience_is_not(audience: Any, trust: Trust) -> None:
    trust({"KEY": SECRET, "AUDIENCE": "sms"})
    payload = claims(aud=audience)
    assert refused(hand_signed({"alg": "HS256", "typ": "JWT"}, payload, SECRET.encode()))


def test_any_of_several_audiences_is_let_in(trust: Trust) -> None:
    trust({"KEY": SECRET, "AUDIENCE": ["sms", "mail"]})
    assert tokens.read(signed(SECRET, aud="mail"))
    assert refused(signed(SECRET, aud="fax"))


def test_where_no_audience_is_configured_none_is_asked_for(trust: Trust) -> None:
    trust({"KEY": SECRET})
    assert tokens.read(signed(SECRET, aud="anybody"))


@pytest.mark.parametrize("name", ["https://evil.example/", ISSUER[:-1], "", 5, [ISSUER], ...])
def test_a_token_of_another_issuer_is_refused(name: Any, trust: Trust) -> None:
    trust({"KEY": SECRET, "ISSUER": ISSUER})
    header = {"alg": "HS256", "typ": "JWT"}
    assert refused(hand_signed(header, claims(iss=name), SECRET.encode()))


def test_several_issuers_are_trusted_at_once(publisher: Publisher, trust: Trust) -> None:
    trust(
        {"KEY": pem(EC_KEY), "ISSUER": "static"},
        published_by(publisher, ISSUER="published"),
        own=OWN_SECRET,
    )
    assert tokens.read(signed(EC_KEY, iss="static", **{"urn:altinn:org": "nav"})).organisation == (
        "nav"
    )
    assert tokens.read(signed(RSA_KEY, "first", iss="published")).organisation == "ttd"
    assert tokens.read(tokens.issue("skd")).organisation == "skd"


def test_one_issuer_cannot_speak_for_another(publisher: Publisher, trust: Trust) -> None:
    trust(
        {"KEY": pem(EC_KEY), "ISSUER": "static"},
        published_by(publisher, ISSUER="published"),
        own=OWN_SECRET,
    )
    assert refused(signed(EC_KEY, iss="published"))
    assert refused(signed(RSA_KEY, "first", iss="static"))
    assert refused(signed(RSA_KEY, "first", iss=tokens.OWN_ISSUER))


def test_a_token_of_one_issuer_makes_us_ask_no_other(publisher: Publisher, trust: Trust) -> None:
    trust(published_by(publisher, ISSUER="published"), {"KEY": pem(EC_KEY), "ISSUER": "static"})
    assert tokens.read(signed(EC_KEY, iss="static"))
    assert publisher.fetched == 0


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [(pem(RSA_KEY), ["RS256"]), (pem(EC_KEY), ["RS256"]), (SECRET, ["HS256"])],
    ids=["RSA", "EC", "secret"],
)
def test_only_algorithms_that_fit_the_key_are_let_in(key: str, algorithms: list[str]) -> None:
    configured = {"KEY": key, "ALGORITHMS": ["none", "HS256", "RS256", "HS512"]}
    assert tokens.issuer_from(configured).algorithms == algorithms


@pytest.mark.parametrize(
    "configured",
    [
        {},
        {"KEY": SECRET, "JWKS_URL": "http://127.0.0.1/"},
        {"KEY": SECRET, "ALGORITHMS": ["RS256"]},
        {"JWKS_URL": "http://127.0.0.1/", "ALGORITHMS": ["HS256", "none"]},
        {"KEY": pem(RSA_KEY), "ALGORITHMS": []},
    ],
)
def test_an_issuer_that_cannot_vouch_is_a_mistake(configured: dict[str, Any]) -> None:
    with pytest.raises(NotConfigured):
        tokens.issuer_from(configured)


def test_an_issuer_that_is_away_does_not_shut_the_others_out(
    publisher: Publisher, trust: Trust
) -> None:
    publisher.fail()
    trust({"JWKS_URL": publisher.url}, {"KEY": pem(RSA_KEY)})
    assert tokens.read(signed(RSA_KEY)).organisation == "ttd"


def test_published_keys_are_fetched_once(publisher: Publisher, trust: Trust) -> None:
    trust(published_by(publisher))
    for _ in range(20):
        assert tokens.read(signed(RSA_KEY, "first"))
    assert publisher.fetched == 1


def test_published_keys_are_fetched_again_after_a_while(
    publisher: Publisher, trust: Trust, clock: Clock
) -> None:
    trust(published_by(publisher))
    assert tokens.read(signed(RSA_KEY, "first"))
    clock.now += KeySet.LIFETIME - 1
    assert tokens.read(signed(RSA_KEY, "first"))
    assert publisher.fetched == 1
    publisher.publish(jwk(OTHER_RSA_KEY, "second"))
    clock.now += 2
    assert refused(signed(RSA_KEY, "first"))
    assert publisher.fetched == 2


def test_a_new_key_is_fetched_when_a_token_names_it(
    publisher: Publisher, trust: Trust, clock: Clock
) -> None:
    trust(published_by(publisher))
    assert tokens.read(signed(RSA_KEY, "first"))
    publisher.publish(jwk(RSA_KEY, "first"), jwk(OTHER_RSA_KEY, "second"))
    clock.now += KeySet.PAUSE
    assert tokens.read(signed(OTHER_RSA_KEY, "second")).organisation == "ttd"
    assert tokens.read(signed(RSA_KEY, "first")).organisation == "ttd"
    assert publisher.fetched == 2


def test_a_strangers_tokens_cannot_make_us_flood_the_issuer(
    publisher: Publisher, trust: Trust, clock: Clock
) -> None:
    trust(published_by(publisher))
    assert tokens.read(signed(RSA_KEY, "first"))
    for number in range(30):
        clock.now += 1
        assert refused(signed(OTHER_RSA_KEY, f"unknown-{number}"))
    assert publisher.fetched == 1 + 30 // KeySet.PAUSE


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, "out of order"), (200, "{}"), (200, '{"keys": []}'), (200, "[]"), (204, "")],
)
def test_old_keys_hold_while_the_issuer_fails(
    status: int, answer: str, publisher: Publisher, trust: Trust, clock: Clock
) -> None:
    trust(published_by(publisher))
    assert tokens.read(signed(RSA_KEY, "first"))
    publisher.fail(status, answer)
    clock.now += 2 * KeySet.LIFETIME
    assert tokens.read(signed(RSA_KEY, "first")).organisation == "ttd"
    assert publisher.fetched == 2


def test_an_issuer_that_is_gone_keeps_its_old_keys(trust: Trust, clock: Clock) -> None:
    publisher = Publisher()
    publisher.publish(jwk(RSA_KEY, "first"))
    trust(published_by(publisher))
    assert tokens.read(signed(RSA_KEY, "first"))
    publisher.close()
    clock.now += 2 * KeySet.LIFETIME
    assert tokens.read(signed(RSA_KEY, "first")).organisation == "ttd"


def test_an_issuer_that_comes_back_is_asked_again(
    publisher: Publisher, trust: Trust, clock: Clock
) -> None:
    publisher.fail()
    trust(published_by(publisher))
    for _ in range(3):
        with pytest.raises(Unavailable):
            tokens.read(signed(RSA_KEY, "first"))
    assert publisher.fetched == 1
    publisher.publish(jwk(RSA_KEY, "first"))
    clock.now += KeySet.PAUSE
    assert tokens.read(signed(RSA_KEY, "first")).organisation == "ttd"


NASTY_KEY_SETS = [
    "[" * 100_000,
    '{"keys": [null]}',
    '{"keys": [{"kty": "RSA", "n": 5, "e": 5}]}',
    '{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": ["x"]}]}',
    '{"keys": [{"kty": ["RSA"]}]}',
    '{"keys": {"a": "b"}}',
    "\x00",
]


@pytest.mark.parametrize("answer", NASTY_KEY_SETS, ids=lambda answer: answer[:60])
def test_a_nonsensical_key_set_is_no_key_set(
    answer: str, publisher: Publisher, trust: Trust
) -> None:
    publisher.fail(200, answer)
    trust(published_by(publisher))
    with pytest.raises(Unavailable):
        tokens.read(signed(RSA_KEY, "first"))


@pytest.mark.django_db
def test_while_no_keys_can_be_had_the_api_is_unavailable(
    trust: Trust, client_of: Callable[..., Any]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        trust({"JWKS_URL": f"http://127.0.0.1:{taken.getsockname()[1]}/"}, own=OWN_SECRET)
        client = client_of("ttd")
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {signed(RSA_KEY)}")
        answer = client.post(
            "/notifications/api/v1/future/orders/instant/sms", sms(), format="json"
        )
    assert (answer.status_code, answer.json()["code"]) == (503, "NOT-00004")
    assert int(answer["Retry-After"]) > 0


def test_a_key_for_encryption_does_not_sign(publisher: Publisher, trust: Trust) -> None:
    publisher.publish(jwk(OTHER_RSA_KEY, "enc", use="enc"), jwk(RSA_KEY, "first", use="sig"))
    trust(published_by(publisher))
    assert tokens.read(signed(RSA_KEY, "first"))
    assert refused(signed(OTHER_RSA_KEY, "enc"))
    assert refused(signed(OTHER_RSA_KEY))


def test_a_redirect_to_other_keys_is_not_followed(publisher: Publisher, trust: Trust) -> None:
    publisher.redirect_from = "/old"
    trust({"JWKS_URL": publisher.url.replace("/jwks", "/old"), "ISSUER": ISSUER})
    with pytest.raises(Unavailable):
        tokens.read(signed(RSA_KEY, "first"))
    assert publisher.fetched == 1


def test_many_threads_at_once_fetch_once(publisher: Publisher, trust: Trust) -> None:
    publisher.pause = 0.1
    trust(published_by(publisher))
    token = signed(RSA_KEY, "first")
    with ThreadPoolExecutor(8) as threads:
        callers = list(threads.map(tokens.read, [token] * 8))
    assert [caller.organisation for caller in callers] == ["ttd"] * 8
    assert publisher.fetched == 1


GARBAGE = [
    "",
    ".",
    "..",
    "...",
    "garbage",
    "a.b.c",
    "æ.ø.å",
    "\ud800.a.b",
    "\0",
    "e30.e30.",
    "e30.e30.e30",
    "W10.W10.W10",
    "bnVsbA.bnVsbA.bnVsbA",
    base64url_encode(b'{"alg":"HS256"}').decode() + ".." + "a" * 43,
    base64url_encode(b'{"alg":["HS256"]}').decode() + ".e30.e30",
    base64url_encode(b'{"alg":"HS256","kid":5}').decode() + ".e30.e30",
    base64url_encode(b'{"alg":"HS256","crit":["b64"],"b64":false}').decode() + ".e30.e30",
    base64url_encode(b"[" * 5000).decode() + ".e30.e30",
    "e30." + base64url_encode(b'{"exp":' + b"9" * 5000 + b"}").decode() + ".e30",
]


@pytest.mark.parametrize("token", GARBAGE, ids=lambda token: ascii(token)[:40])
def test_garbage_is_refused(token: str, trust: Trust) -> None:
    trust({"KEY": pem(RSA_KEY)}, {"KEY": SECRET}, own=OWN_SECRET)
    assert refused(token)


def test_a_huge_token_is_refused_unread(trust: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    trust({"KEY": SECRET})
    big = signed(SECRET, filler="a" * 5000)
    assert len(big) < tokens.MAX_TOKEN_LENGTH
    assert tokens.read(big)
    monkeypatch.setattr(jwt, "decode", None)
    assert refused(signed(SECRET, filler="a" * 10_000))


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_tampered_token_is_refused(changed: int, trust: Trust) -> None:
    trust({"KEY": SECRET})
    parts = signed(SECRET).split(".")
    other = signed(SECRET + "!", "x", **{"urn:altinn:org": "nav"}).split(".")
    parts[changed] = other[changed]
    assert refused(".".join(parts))


ODD = [None, 5, True, ["ttd"], {"a": "b"}]


@pytest.mark.parametrize("value", [*ODD, ...], ids=repr)
def test_an_organisation_of_another_type_is_none(value: Any, trust: Trust) -> None:
    trust({"KEY": SECRET})
    caller = tokens.read(signed(SECRET, **{"urn:altinn:org": value}))
    assert caller.organisation == ""


@pytest.mark.parametrize(
    "value", [" ", "a" * 256, "t\0d", "\ud800"], ids=lambda each: ascii(each)[:9]
)
def test_an_organisation_that_no_row_can_hold_is_none(value: str, trust: Trust) -> None:
    trust({"KEY": SECRET})
    caller = tokens.read(signed(SECRET, **{"urn:altinn:org": value}))
    assert caller.organisation == ""


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_scopes_of_another_type_are_none(value: Any, trust: Trust) -> None:
    trust({"KEY": SECRET})
    assert tokens.read(signed(SECRET, **{"urn:altinn:scope": value})).scopes == frozenset()
    both = {"urn:altinn:scope": ..., "scope": value}
    assert tokens.read(signed(SECRET, **both)).scopes == frozenset()


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["soon", None, [], {}, float("inf"), float("nan")], ids=repr)
def test_a_time_of_another_type_is_refused(name: str, value: Any, trust: Trust) -> None:
    trust({"KEY": SECRET})
    payload = claims(**{name: value})
    assert refused(hand_signed({"alg": "HS256", "typ": "JWT"}, payload, SECRET.encode()))


@pytest.mark.parametrize(
    ("changes", "scopes"),
    [
        ({"urn:altinn:scope": "a b"}, {"a", "b"}),
        ({"urn:altinn:scope": "  a   b "}, {"a", "b"}),
        ({"urn:altinn:scope": ..., "scope": "c"}, {"c"}),
        ({"urn:altinn:scope": "a", "scope": "c"}, {"a"}),
        ({"urn:altinn:scope": ...}, set()),
        ({"urn:altinn:scope": SCOPE + "d"}, {SCOPE + "d"}),
    ],
)
def test_scopes_come_from_the_first_of_two_claims(
    changes: dict[str, Any], scopes: set[str], trust: Trust
) -> None:
    trust({"KEY": SECRET})
    assert tokens.read(signed(SECRET, **changes)).scopes == scopes


def test_an_issuer_does_not_show_its_secret() -> None:
    assert SECRET not in repr(tokens.issuer_from({"KEY": SECRET}))


KEY_IDS: tuple[Any, ...] = (
    *("../../../dev/null", "/etc/passwd", "http://127.0.0.1:9/jwks", "file:///dev/null", "\0"),
    *("first' OR '1'='1", "first\n", " first", "FIRST", "", "x" * 5000),
    *([], {}, ["first"], {"kid": "first"}, True, 0, 1e400),
)


@pytest.mark.parametrize("kid", KEY_IDS, ids=lambda kid: repr(kid)[:20])
def test_a_key_id_is_only_ever_compared(kid: Any, publisher: Publisher, trust: Trust) -> None:
    trust(published_by(publisher))
    good = signed(RSA_KEY, "first")
    head = base64url_encode(json.dumps({"alg": "RS256", "kid": kid}).encode()).decode()
    signed_part = f"{head}.{good.split('.')[1]}".encode()
    signature = RSA_KEY.sign(signed_part, padding.PKCS1v15(), hashes.SHA256())
    assert refused(f"{signed_part.decode()}.{base64url_encode(signature).decode()}")
    assert publisher.fetched <= 1
    assert tokens.read(good).organisation == "ttd"


@pytest.mark.parametrize("header", ["jku", "x5u", "kid", "jwk", "x5c", "x5t"])
def test_an_address_in_a_token_is_never_visited(
    header: str, publisher: Publisher, trust: Trust
) -> None:
    """Nor are keys in it used, also where keys are fetched from an issuer that is trusted."""
    trap = Publisher()
    trap.publish(jwk(OTHER_RSA_KEY, "first"))
    brought: Any = {"jwk": jwk(OTHER_RSA_KEY, "first"), "x5c": [trap.url]}.get(header, trap.url)
    trust(published_by(publisher))
    token = jwt.encode(claims(), OTHER_RSA_KEY, "RS256", headers={"kid": "first", header: brought})
    assert refused(token)
    trap.close()
    assert (trap.fetched, publisher.fetched) == (0, 1)


def test_a_key_that_is_withdrawn_vouches_no_longer(
    publisher: Publisher, trust: Trust, clock: Clock
) -> None:
    trust(published_by(publisher))
    old, new = signed(RSA_KEY, "first"), signed(OTHER_RSA_KEY, "second")
    assert tokens.read(old)
    publisher.publish(jwk(OTHER_RSA_KEY, "second"))
    assert refused(new)  # nobody looks again within the pause
    clock.now += KeySet.PAUSE
    assert tokens.read(new)
    assert refused(old)
    assert refused(signed(RSA_KEY))


def test_a_key_id_that_another_issuer_uses_too_proves_nothing(
    publisher: Publisher, trust: Trust
) -> None:
    other = Publisher()
    other.publish(jwk(OTHER_RSA_KEY, "first"))
    trust(published_by(publisher), {"JWKS_URL": other.url, "ISSUER": "https://other.example/"})
    assert refused(signed(OTHER_RSA_KEY, "first"))
    assert refused(signed(RSA_KEY, "first", iss="https://other.example/"))
    assert tokens.read(signed(OTHER_RSA_KEY, "first", iss="https://other.example/"))
    other.close()


def test_our_own_secret_does_not_sign_for_an_issuer_nor_an_issuers_key_for_us(trust: Trust) -> None:
    trust({"KEY": pem(RSA_KEY), "ISSUER": ISSUER}, own=OWN_SECRET)
    assert refused(signed(OWN_SECRET))
    assert refused(signed(RSA_KEY, iss=tokens.OWN_ISSUER))
    assert refused(hand_signed({"alg": "HS256"}, claims(), pem(RSA_KEY).encode()))
    own = claims(iss=tokens.OWN_ISSUER)
    assert refused(hand_signed({"alg": "HS256"}, own, pem(RSA_KEY).encode()))


@pytest.mark.parametrize("word", ["HS384", "HS512", "RS384", "PS256", "ES384", "EdDSA", "hs256"])
def test_an_algorithm_beside_the_two_kinds_is_refused(word: str, trust: Trust) -> None:
    trust({"KEY": pem(RSA_KEY)}, {"KEY": SECRET}, own=OWN_SECRET)
    assert refused(hand_signed({"alg": word}, claims(), SECRET.encode()))


@pytest.mark.parametrize("signature", [bytes(64), bytes(63) + b"\1", b"\xff" * 64, b""])
def test_a_signature_of_nothing_is_refused(signature: bytes, trust: Trust) -> None:
    """As CVE-2022-21449 took it: zeroes satisfy the equation of ECDSA where nobody looks."""
    trust({"KEY": pem(EC_KEY), "ISSUER": ISSUER})
    head, body, _ = signed(EC_KEY).split(".")
    assert refused(f"{head}.{body}.{base64url_encode(signature).decode()}")
    assert tokens.read(signed(EC_KEY))


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": ["x"], "x": 1}, {"b64": False}])
def test_what_a_header_insists_on_and_nobody_understands_is_refused(
    header: dict[str, Any], trust: Trust
) -> None:
    trust({"KEY": SECRET})
    assert refused(hand_signed({"alg": "HS256", **header}, claims(), SECRET.encode()))


@pytest.mark.parametrize(
    "claim", ["urn:altinn:org", "scope", "aud", "iss", "exp", "anything"], ids=str
)
@pytest.mark.parametrize(
    ("opening", "closing", "depth"),
    [("[", "]", 2500), ("[", "]", 900), ('{"a":', "}", 900)],
    ids=["lists deep", "lists", "objects"],
)
def test_claims_that_are_nested_deep_are_refused_or_none(
    claim: str, opening: str, closing: str, depth: int, trust: Trust
) -> None:
    """Also of who has the key, and whether or not the parser gives up on the way."""
    trust({"KEY": SECRET, "ISSUER": ISSUER})
    deep = opening * depth + "1" + closing * depth
    good = json.dumps(claims(**{claim: "DEEP"})).replace('"DEEP"', deep)
    token = hand_signed_text('{"alg": "HS256"}', good, SECRET.encode())
    assert len(token) <= tokens.MAX_TOKEN_LENGTH
    try:
        caller = tokens.read(token)
    except InvalidToken:
        return
    assert caller.organisation in ("", "ttd")
    assert claim in ("urn:altinn:org", "scope", "aud", "anything")


def hand_signed_text(header: str, payload: str, secret: bytes) -> str:
    head, body = (base64url_encode(part.encode()) for part in (header, payload))
    signature = hmac.HMAC(secret, hashes.SHA256())
    signature.update(head + b"." + body)
    return b".".join((head, body, base64url_encode(signature.finalize()))).decode()


def test_of_a_claim_that_is_said_twice_the_same_one_counts_everywhere(trust: Trust) -> None:
    """The issuer that is looked for is the one that is verified."""
    trust({"KEY": SECRET, "ISSUER": ISSUER})
    twice = json.dumps(claims())[:-1] + ', "iss": "https://other.example/"}'
    assert refused(hand_signed_text('{"alg": "HS256"}', twice, SECRET.encode()))
    twice = '{"iss": "https://other.example/", ' + json.dumps(claims())[1:]
    assert tokens.read(hand_signed_text('{"alg": "HS256"}', twice, SECRET.encode()))


def test_the_beginning_of_an_issuers_name_is_not_its_name(trust: Trust) -> None:
    """As PyJWT 2.10.0 took it (CVE-2024-53861)."""
    trust({"KEY": SECRET, "ISSUER": ISSUER})
    for name in (ISSUER[:-1], ISSUER[1:], "e", [ISSUER], f"{ISSUER} "):
        assert refused(hand_signed({"alg": "HS256"}, claims(iss=name), SECRET.encode()))


def test_many_key_ids_at_once_make_one_visit(publisher: Publisher, trust: Trust) -> None:
    trust(published_by(publisher))
    strange = [signed(OTHER_RSA_KEY, f"kid-{number}") for number in range(50)]
    assert tokens.read(signed(RSA_KEY, "first"))
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, strange))
    assert publisher.fetched == 1
