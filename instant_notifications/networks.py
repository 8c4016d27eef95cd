"""Which addresses everybody on the internet means the same machine by."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final


def is_public(address: str) -> bool:
    """Whether it lies on the internet at large: not on this machine, nor in a network around it.

    IPv6 that only carries an IPv4 address is as public as that. What is no address is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_v4(parsed)
    carried = _carried(parsed)
    return _is_public_v4(carried) if carried else _is_public_v6(parsed)


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one ends up at."""
    if address.scope_id or not any(address in each for each in _CARRIERS):
        return None
    return IPv4Address(int(address) & 0xFFFF_FFFF)


def _is_public_v4(address: IPv4Address) -> bool:
    return not any(address in each for each in _SPECIAL_V4)


def _is_public_v6(address: IPv6Address) -> bool:
    """A zone means an interface of this machine, whatever the rest of the address."""
    is_unicast = address in _GLOBAL_UNICAST and not address.scope_id
    return is_unicast and not any(address in each for each in _SPECIAL_V6)


# IANA's registries of special-purpose addresses, RFC 6890 and its successors.
_SPECIAL_V4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a carrier's NAT
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure: what the host tells its guests
            "169.254.0.0/16",  # link-local, and what most clouds tell their guests
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_SPECIAL_V6: Final = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: hides any IPv4 address, and nobody needs it any more
            "3fff::/20",  # documentation
        ),
    )
)
_CARRIERS: Final = (
    IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    IPv6Network("64:ff9b::/96"),  # NAT64, the only way to IPv4 from a network without it
)
