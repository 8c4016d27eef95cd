from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instant_notifications import privacy

Configure = Callable[..., None]

PHONE = "+4799999999"
EMAIL = "Kari.Nordmann@example.com"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_encrypted_can_be_read_again(text: str) -> None:
    assert privacy.decrypt(privacy.encrypt(text)) == text


@pytest.mark.parametrize("text", [PHONE, EMAIL, "Your code is 428516", "å" * 10_000])
def test_ciphertext_hides_the_text(text: str) -> None:
    ciphertext = privacy.encrypt(text)
    assert ciphertext.isascii()
    assert text not in ciphertext


def test_equal_texts_have_unequal_ciphertexts() -> None:
    assert privacy.encrypt(PHONE) != privacy.encrypt(PHONE)


def test_a_changed_ciphertext_is_unreadable() -> None:
    ciphertext = privacy.encrypt(PHONE)
    middle = len(ciphertext) // 2
    other = "A" if ciphertext[middle] != "A" else "B"
    with pytest.raises(privacy.Unreadable):
        privacy.decrypt(ciphertext[:middle] + other + ciphertext[middle + 1 :])


@pytest.mark.parametrize("stored", ["", "plain text", "gAAAAAB", "Grüße", "\N{LINE SEPARATOR}"])
def test_what_was_never_encrypted_is_unreadable(stored: str) -> None:
    with pytest.raises(privacy.Unreadable):
        privacy.decrypt(stored)


def test_a_replaced_key_still_reads_while_it_is_listed(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    ciphertext = privacy.encrypt(PHONE)
    configure(ENCRYPTION_KEYS=["new", "old"])
    assert privacy.decrypt(ciphertext) == PHONE


def test_only_the_newest_key_writes(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["new", "old"])
    ciphertext, digest = privacy.encrypt(PHONE), privacy.digest(PHONE)
    configure(ENCRYPTION_KEYS=["new"])
    assert privacy.decrypt(ciphertext) == PHONE
    assert privacy.digest(PHONE) == digest


def test_a_lost_key_reads_nothing(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    ciphertext = privacy.encrypt(PHONE)
    configure(ENCRYPTION_KEYS=["new"])
    with pytest.raises(privacy.Unreadable) as raised:
        privacy.decrypt(ciphertext)
    assert raised.value.__suppress_context__


def test_without_keys_of_its_own_the_secret_key_and_its_fallbacks_serve(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    ciphertext = privacy.encrypt(PHONE)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert privacy.decrypt(ciphertext) == PHONE
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(privacy.Unreadable):
        privacy.decrypt(ciphertext)


def test_keys_of_its_own_do_not_hang_on_the_secret_key(configure: Configure, settings: Any) -> None:
    configure(ENCRYPTION_KEYS=["own"])
    ciphertext = privacy.encrypt(PHONE)
    settings.SECRET_KEY = "another"
    assert privacy.decrypt(ciphertext) == PHONE


def test_a_digest_finds_an_address_in_any_case() -> None:
    assert privacy.digest(EMAIL) == privacy.digest(EMAIL.upper()) == privacy.digest(EMAIL.lower())
    assert privacy.digest("straße@example.com") == privacy.digest("STRASSE@example.com")


def test_a_digest_tells_two_destinations_apart() -> None:
    assert privacy.digest("+4799999999") != privacy.digest("+4799999998")


def test_a_digest_depends_on_the_key(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["one"])
    first = privacy.digest(PHONE)
    configure(ENCRYPTION_KEYS=["two"])
    assert privacy.digest(PHONE) != first


def test_there_is_a_digest_for_each_key_in_force(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    old = privacy.digest(PHONE)
    configure(ENCRYPTION_KEYS=["new", "old"])
    assert privacy.digests(PHONE)[:2] == [privacy.digest(PHONE), old]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["+4799999999", {"body": "a"}], ["+4799999999", {"body": "A"}]),
        (["+4799999999", {"body": "a"}], ["+4799999998", {"body": "a"}]),
        (["a", "b"], ["b", "a"]),
        (["ab"], ["a", "b"]),
        ({"a": "b"}, {"b": "a"}),
        ({"body": "a", "sender": ""}, {"body": "a"}),
        (["é"], ["e\N{COMBINING ACUTE ACCENT}"]),
    ],
)
def test_a_fingerprint_tells_any_two_contents_apart(one: Any, other: Any) -> None:
    assert privacy.fingerprints(one) != privacy.fingerprints(other)


def test_a_fingerprint_does_not_hang_on_the_order_of_members() -> None:
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    assert privacy.fingerprints(one) == privacy.fingerprints(other)


def test_a_fingerprint_under_an_older_key_is_still_known(configure: Configure) -> None:
    configure(ENCRYPTION_KEYS=["old"])
    old = privacy.fingerprints(["content"])[0]
    configure(ENCRYPTION_KEYS=["new", "old"])
    assert old in privacy.fingerprints(["content"])


@pytest.mark.parametrize(
    ("destination", "masked"),
    [
        ("+4799999999", "+47 ** ** ** 99"),
        ("+4740000017", "+47 ** ** ** 17"),
        ("+233242426224", "+233 ** ** ** 24"),
        ("+12025550123", "+1 ** ** ** 23"),
        ("kari@example.com", "k***@example.com"),
        ("æge_sjøåsen@domain.com", "æ***@domain.com"),
        ("kari+tag@sub.domain.example", "k***@sub.domain.example"),
        ('"a@b"@example.com', '"***@example.com'),
        ("", "—"),
        (None, "—"),
    ],
)
def test_a_mask_shows_enough_to_recognise_and_too_little_to_use(
    destination: str | None, masked: str
) -> None:
    assert privacy.mask(destination) == masked


@given(st.text())
def test_a_mask_never_fails(destination: str) -> None:
    assert privacy.mask(destination)


def test_the_place_of_an_error_does_not_quote_it() -> None:
    def fail(number: str) -> None:
        raise ValueError(f"cannot reach {number}")

    with pytest.raises(ValueError) as raised:
        fail(PHONE)
    place = privacy.place_of(raised.value)
    assert place.startswith("ValueError at ")
    assert "test_privacy.py:" in place
    assert PHONE not in place
    assert privacy.place_of(raised.value, frames=1).count(".py:") == 1
