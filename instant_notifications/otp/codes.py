"""The code itself: how it is made, read as people type it, and kept only as a keyed hash."""

import secrets
import unicodedata
from collections.abc import Sequence
from hmac import compare_digest
from typing import Final
from uuid import UUID

from instant_notifications import privacy
from instant_notifications.conf import settings

SALT_BYTES: Final = 16
LONGEST_WRITTEN: Final = 64
"""Characters, whatever stands between the digits: what is longer is no code."""


def make() -> str:
    """Digits from the system's own source of randomness; zeros in front are kept."""
    length = settings.OTP_LENGTH
    return f"{secrets.randbelow(10**length):0{length}}"


def make_salt() -> str:
    return secrets.token_hex(SALT_BYTES)


def fold(written: str) -> str:
    """The code that somebody means: blanks and dashes left out, digits of any script as ours.

    Blank where anything else is among them.
    """
    if len(written) > LONGEST_WRITTEN:
        return ""
    wanted = [each for each in written if not (each.isspace() or _is_dash(each))]
    digits = [unicodedata.decimal(each, None) for each in wanted]
    return "" if None in digits else "".join(map(str, digits))


def _is_dash(character: str) -> bool:
    return unicodedata.category(character) == "Pd"


def hashed(code: str, *, salt: str, challenge_id: UUID) -> str:
    """What is kept of a code. Without the server's key, guessing it offline leads nowhere."""
    return _hashes(code, salt, challenge_id)[0]


def is_it(code: str, kept: str, *, salt: str, challenge_id: UUID) -> bool:
    """In constant time; under any of the keys in force."""
    return _is_among(_hashes(code, salt, challenge_id), kept)


def compare_in_vain(code: str) -> None:
    """The work of ``is_it`` where there is nothing to compare with: time shall tell nothing."""
    hashes = _hashes(code, "0" * 2 * SALT_BYTES, UUID(int=0))
    _is_among(hashes, "0" * len(hashes[0]))


def _is_among(hashes: Sequence[str], kept: str) -> bool:
    found = False
    for candidate in hashes:
        found |= compare_digest(candidate, kept)
    return found


def _hashes(code: str, salt: str, challenge_id: UUID) -> Sequence[str]:
    return privacy.keyed_hashes("one-time code", f"{salt} {challenge_id} {code}")


def chance_of_guessing() -> float:
    """Of getting in by guesses alone, for one who uses every attempt at every code of a day."""
    guesses = settings.OTP_ATTEMPTS * settings.OTP_SENDS_PER_DAY
    return 1 - (1 - 10.0**-settings.OTP_LENGTH) ** guesses
