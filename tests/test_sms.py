import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instant_notifications.sms import GSM_BASIC, GSM_EXTENSION, Alphabet, costly, measure

# GSM 03.38 §6.2.1 by code point, so that a look-alike in our own table would be noticed.
BASIC = {
    *range(0x20, 0x5B),
    *range(0x61, 0x7B),
    *(0x0A, 0x0D, 0x5F, 0xA1, 0xA3, 0xA4, 0xA5, 0xA7, 0xBF, 0xC4, 0xC5, 0xC6, 0xC7, 0xC9, 0xD1),
    *(0xD6, 0xD8, 0xDC, 0xDF, 0xE0, 0xE4, 0xE5, 0xE6, 0xE8, 0xE9, 0xEC, 0xF1, 0xF2, 0xF6, 0xF8),
    *(0xF9, 0xFC, 0x393, 0x394, 0x398, 0x39B, 0x39E, 0x3A0, 0x3A3, 0x3A6, 0x3A8, 0x3A9),
} - {0x60}
EXTENSION = {ord(character) for character in "^{}\\[~]|"} | {0x20AC}

EMOJI = "\N{SEE-NO-EVIL MONKEY}"
CURLY = "\N{RIGHT SINGLE QUOTATION MARK}"

texts = st.one_of(
    st.text(st.sampled_from("a \nå€[|"), max_size=700),
    st.text(st.sampled_from(f"aç{EMOJI}"), max_size=400),
    st.text(max_size=300),
)


def naive(text: str) -> tuple[str, int, int]:
    """Alphabet, units and parts, by laying one character after the other into parts."""
    is_gsm = all(ord(each) in BASIC | EXTENSION for each in text)
    sizes = [
        (2 if ord(each) in EXTENSION else 1) if is_gsm else (2 if ord(each) > 0xFFFF else 1)
        for each in text
    ]
    alone, joined = (160, 153) if is_gsm else (70, 67)
    if sum(sizes) <= alone:
        return "GSM-7" if is_gsm else "UCS-2", sum(sizes), 1
    parts = [0]
    for size in sizes:
        if parts[-1] + size > joined:
            parts.append(0)
        parts[-1] += size
    return "GSM-7" if is_gsm else "UCS-2", sum(sizes), len(parts)


def test_the_alphabet_is_that_of_the_standard() -> None:
    assert {ord(character) for character in GSM_BASIC} == BASIC
    assert {ord(character) for character in GSM_EXTENSION} == EXTENSION
    assert len(GSM_BASIC) == 127  # the 128th is the escape


@pytest.mark.parametrize("character", list("åäöæøÅÄÖÆØéàÇ@£$ΔΩß¤ \n\r"))
def test_a_basic_character_counts_one(character: str) -> None:
    assert measure(character) == measure("a")


@pytest.mark.parametrize("character", list("^{}\\[~]|€"))
def test_an_extension_character_counts_two(character: str) -> None:
    length = measure(character)
    assert (length.alphabet, length.units, length.parts) == (Alphabet.GSM, 2, 1)


@pytest.mark.parametrize("character", ["ç", CURLY, "`", "\t", "\x1b", "ő", "Я", "\N{BULLET}"])
def test_any_other_character_makes_the_whole_text_ucs2(character: str) -> None:
    length = measure(f"a{character}")
    assert (length.alphabet, length.units) == (Alphabet.UCS2, 2)


@pytest.mark.parametrize(
    ("text", "units", "parts"),
    [
        ("", 0, 1),
        ("a" * 160, 160, 1),
        ("a" * 161, 161, 2),
        ("a" * 306, 306, 2),
        ("a" * 307, 307, 3),
        ("a" * 153 * 16, 2448, 16),
        ("a" * (153 * 16 + 1), 2449, 17),
        ("€" * 80, 160, 1),
        ("€" * 80 + "a", 161, 2),
        ("a" * 152 + "€" + "a" * 152, 306, 3),
        ("a" * 151 + "€" + "a" * 153, 306, 2),
        ("€" * 76 * 16, 76 * 16 * 2, 16),
        ("€" * (76 * 16 + 1), (76 * 16 + 1) * 2, 17),
        ("ç" * 70, 70, 1),
        ("ç" * 71, 71, 2),
        ("ç" * 134, 134, 2),
        ("ç" * 135, 135, 3),
        ("ç" * 67 * 16, 1072, 16),
        ("ç" * (67 * 16 + 1), 1073, 17),
        (EMOJI * 35, 70, 1),
        (EMOJI * 35 + "a", 71, 2),
        ("ç" * 66 + EMOJI + "ç" * 66, 134, 3),
        ("ç" * 65 + EMOJI + "ç" * 67, 134, 2),
        ("a" * 159 + CURLY, 160, 3),
        ("€" * 69 + "ç", 70, 1),
    ],
)
def test_a_text_is_packed_into_parts(text: str, units: int, parts: int) -> None:
    length = measure(text)
    assert (length.units, length.parts) == (units, parts)


def test_a_curly_quote_turns_160_into_70() -> None:
    straight, curly = "don't" + "a" * 155, f"don{CURLY}t" + "a" * 155
    assert measure(straight).parts == 1
    assert measure(curly).parts == 3
    assert measure(curly[:70]).parts == 1


@given(texts)
@example("a" * 152 + "[")
@example("a" * 159 + "€")
@example("ç" * 66 + EMOJI * 40)
@example("\ud800" * 71)
def test_measuring_agrees_with_a_naive_packer(text: str) -> None:
    length = measure(text)
    assert (length.alphabet, length.units, length.parts) == naive(text)


@given(texts)
@example("a" * 152 + "[" + "a" * 10)
@example("ç" * 66 + EMOJI * 40)
def test_what_is_left_fits_and_no_more(text: str) -> None:
    length = measure(text)
    assert measure(text + "a" * length.left).parts == length.parts
    assert measure(text + "a" * (length.left + 1)).parts > length.parts


def test_what_makes_a_text_longer_is_named_once() -> None:
    found = costly(f"a[€[{CURLY}")
    assert [(each.character, each.needs_ucs2, each.counts_twice) for each in found] == [
        (CURLY, True, False)
    ]
    assert [(each.codepoint, each.name, each.times) for each in costly("a[€[\n")] == [
        ("U+005B", "LEFT SQUARE BRACKET", 2),
        ("U+20AC", "EURO SIGN", 1),
    ]
    assert costly(EMOJI)[0].counts_twice
    assert costly("\ue000")[0].name == ""
