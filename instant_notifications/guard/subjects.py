"""What is counted and held together: numbers by prefix and country, callers by network."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

from instant_notifications import rules

OWN_DIGITS: Final = 4
"""What tells the numbers of a prefix apart: there are ten thousand of them, in one row."""

SITE_BITS: Final = 64
"""What an IPv6 network gives to one site (RFC 6177), and so to one who hops from address to
address within it."""

UNREADABLE: Final = "unreadable"
"""All callers whose address is none: a proxy that is not set up well is soon seen."""


class Groups(NamedTuple):
    """The prefix (as in "+479999") and the country ("NO") of a number; blank for an address."""

    prefix: str = ""
    country: str = ""


def groups_of(recipient: str) -> Groups:
    if "@" in recipient or not recipient:
        return Groups()
    return Groups(recipient[:-OWN_DIGITS], rules.region_of(recipient))


def network_of(address: str) -> str:
    """Whom an address is counted with; blank where there is none."""
    if not address:
        return ""
    known = read_address(address)
    if known is None:
        return UNREADABLE
    bits = SITE_BITS if known.version == 6 else known.max_prefixlen
    return str(ip_network((known, bits), strict=False))


def read_address(written: str) -> IPv4Address | IPv6Address | None:
    """IPv4 within IPv6 is IPv4: one caller must not be two."""
    try:
        address = ip_address(written.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
