"""How long an SMS is, as the network counts it (GSM 03.38)."""

import re
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


def measure(text: str) -> Length:
    """The alphabet ``text`` needs, its units, and the parts it is sent in."""
    alphabet = Alphabet.GSM if _only_gsm(text) else Alphabet.UCS2
    find_double = _extension if alphabet is Alphabet.GSM else _beyond_bmp
    doubles = set(find_double(text))
    units = len(text) + (sum(map(text.count, doubles)) if doubles else 0)
    room = ROOM[alphabet]
    if units <= room.alone:
        parts = 1
    elif doubles:
        parts = _pack(text, doubles, room.joined)
    else:
        parts = -(-units // room.joined)
    return Length(alphabet, units, parts)


def _pack(text: str, doubles: set[str], room: int) -> int:
    """Parts needed when no two-unit character may straddle two of them."""
    parts, used = 1, 0
    for character in text:
        size = 2 if character in doubles else 1
        if used + size > room:
            parts, used = parts + 1, 0
        used += size
    return parts
