"""Numbers, addresses and names as registers have them, made fit to send to."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from instant_notifications import rules
from instant_notifications.contacts.base import Contact

LONGEST_NAME: Final = 255

_is_norwegian_mobile = re.compile(r"[49][0-9]{7}").fullmatch


def usable(said: Contact) -> Contact:
    """Without what nothing can be sent to, and without duplicates."""
    return Contact(
        phone_numbers=_those_that_pass(mobile_number, said.phone_numbers),
        email_addresses=_those_that_pass(rules.email_address, said.email_addresses),
        name=rules.on_one_line(said.name)[:LONGEST_NAME].rstrip(),
        reserved=said.reserved,
    )


def mobile_number(value: object, name: str) -> str:
    """A rule, as ``rules.mobile_number`` but for Norwegian numbers, which need no ``+47``."""
    if isinstance(value, str):
        value = value.strip()
        digits = "".join(value.split())
        value = f"+47{digits}" if _is_norwegian_mobile(digits) else value
    return rules.mobile_number(value, name)


def _those_that_pass(rule: rules.Rule, values: Iterable[object]) -> Sequence[str]:
    return tuple(dict.fromkeys(_passing(rule, values)))


def _passing(rule: rules.Rule, values: Iterable[object]) -> Iterator[str]:
    for value in values:
        try:
            yield rule(value, "")
        except rules.Broken:
            continue
