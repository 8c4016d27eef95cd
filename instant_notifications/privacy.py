"""Personal data: encrypted at rest, found by keyed digest, masked wherever a person sees it."""

import base64
import hashlib
import hmac
import json
import traceback
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import phonenumbers
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings as django_settings

from instant_notifications.conf import settings


class Unreadable(Exception):  # noqa: N818
    """None of the configured keys opens this ciphertext."""


def _secrets() -> tuple[str, ...]:
    """The secrets in force, the one that writes first."""
    return (
        *settings.ENCRYPTION_KEYS,
        str(django_settings.SECRET_KEY),
        *map(str, django_settings.SECRET_KEY_FALLBACKS),
    )


def _derive(secret: str, purpose: str) -> bytes:
    """A key of its own for each purpose, so that no use of a secret weakens another."""
    info = f"instant_notifications {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret.encode())


@lru_cache(maxsize=8)
def _fernet(secrets: tuple[str, ...]) -> MultiFernet:
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(_derive(secret, "encryption"))) for secret in secrets]
    )


@lru_cache(maxsize=32)
def _digest_keys(secrets: tuple[str, ...], purpose: str) -> tuple[bytes, ...]:
    return tuple(_derive(secret, purpose) for secret in secrets)


def encrypt(text: str) -> str:
    return _fernet(_secrets()).encrypt(text.encode()).decode()


def decrypt(ciphertext: str) -> str:
    try:
        return _fernet(_secrets()).decrypt(ciphertext).decode()
    except (InvalidToken, ValueError):
        raise Unreadable from None


def digest(destination: str) -> str:
    """A keyed digest that finds a destination again and tells nothing to those without the key."""
    return digests(destination)[0]


def digests(destination: str) -> Sequence[str]:
    """The digest under each key in force: what to search for while keys are being rotated."""
    return _keyed_digests(destination.casefold())


def fingerprints(content: Any) -> Sequence[str]:
    """Keyed digests of a JSON-like value under each key in force, for telling two apart."""
    canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return _keyed_digests(canonical)


def keyed_hashes(purpose: str, text: str) -> Sequence[str]:
    """Hashes of something secret under each key in force, with keys for this purpose alone."""
    return _keyed_digests(text, purpose)


def _keyed_digests(text: str, purpose: str = "digest") -> Sequence[str]:
    keys = _digest_keys(_secrets(), purpose)
    return [hmac.new(key, text.encode(), hashlib.sha256).hexdigest() for key in keys]


def mask(destination: str | None) -> str:
    """Enough of a destination to recognise it by, too little to use it."""
    if not destination:
        return "—"
    return _mask_email(destination) if "@" in destination else _mask_phone(destination)


def _mask_email(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"


def _mask_phone(number: str) -> str:
    try:
        prefix = f"+{phonenumbers.parse(number).country_code}"
    except phonenumbers.NumberParseException:
        prefix = ""
    return f"{prefix} ** ** ** {number[-2:]}".strip()


def place_of(error: BaseException, frames: int = 20) -> str:
    """The kind and place of an error, innermost first; its text may quote what must not be seen."""
    stack = traceback.extract_tb(error.__traceback__)[-frames:]
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(stack))
    return f"{type(error).__name__} at {places}"
