"""How long an SMS is, as the network counts it (GSM 03.38)."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Alphabet(StrEnum):
    GSM = "GSM-7"
    UCS2 = "UCS-2"


@dataclass(frozen=True, slots=True)
class Room:
    """How many units fit into a message of one part, and into each part of a longer one."""

    alone: int
    joined: int


ROOM: Final = {Alphabet.GSM: Room(160, 153), Alphabet.UCS2: Room(70, 67)}

GSM_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENSION: Final = "^{}\\[~]|€"

_only_gsm = re.compile(f"[{re.escape(GSM_BASIC + GSM_EXTENSION)}]*").fullmatch
_extension = re.compile(f"[{re.escape(GSM_EXTENSION)}]").findall
_beyond_bmp = re.compile("[\U00010000-\U0010ffff]").findall


@dataclass(frozen=True, slots=True)
class Length:
    alphabet: Alphabet
    units: int
    parts: int
    left: int
    """Units that the last part has room for."""


def measure(text: str) -> Length:
    """The alphabet ``text`` needs, its units, and the parts it is sent in."""
    alphabet = _alphabet(text)
    doubles = _doubles(text, alphabet)
    units = len(text) + (sum(map(text.count, doubles)) if doubles else 0)
    room = ROOM[alphabet]
    if units <= room.alone:
        parts, left = 1, room.alone - units
    elif doubles:
        parts, left = _pack(text, doubles, room.joined)
    else:
        parts = -(-units // room.joined)
        left = parts * room.joined - units
    return Length(alphabet, units, parts, left)


@dataclass(frozen=True, slots=True)
class Costly:
    """A character that makes a message longer than its number of characters."""

    character: str
    times: int
    needs_ucs2: bool
    """It is not in GSM-7, so that every part of the message has room for less than half."""
    counts_twice: bool

    @property
    def codepoint(self) -> str:
        return f"U+{ord(self.character):04X}"

    @property
    def name(self) -> str:
        """Unicode's; blank where it has given none."""
        return unicodedata.name(self.character, "")


def costly(text: str) -> Sequence[Costly]:
    """The characters that make ``text`` longer, each once, as they come."""
    doubles = _doubles(text, _alphabet(text))
    return [
        Costly(each, text.count(each), needs_ucs2, each in doubles)
        for each in dict.fromkeys(text)
        if (needs_ucs2 := not _only_gsm(each)) or each in doubles
    ]


def _alphabet(text: str) -> Alphabet:
    return Alphabet.GSM if _only_gsm(text) else Alphabet.UCS2


def _doubles(text: str, alphabet: Alphabet) -> set[str]:
    """The characters of ``text`` that count two units in this alphabet."""
    return set(_extension(text) if alphabet is Alphabet.GSM else _beyond_bmp(text))


def _pack(text: str, doubles: set[str], room: int) -> tuple[int, int]:
    """Parts needed when no two-unit character may straddle two of them, and what is left."""
    parts, used = 1, 0
    for character in text:
        size = 2 if character in doubles else 1
        if used + size > room:
            parts, used = parts + 1, 0
        used += size
    return parts, room - used
