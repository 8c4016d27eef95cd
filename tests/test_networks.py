from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instant_notifications.networks import is_public

OURS = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",  # unspecified, loopback, IPv4-compatible
    "::ffff:0.0.0.0/104",
    "::ffff:10.0.0.0/104",
    "::ffff:127.0.0.0/104",
    "::ffff:169.254.0.0/112",
    "::ffff:192.168.0.0/112",
    "64:ff9b::10.0.0.0/104",
    "64:ff9b::127.0.0.0/104",
    "64:ff9b::169.254.0.0/112",
    "64:ff9b:1::/48",  # NAT64 with a prefix of one's own
    "100::/64",
    "2001::/32",  # Teredo
    "2001:2::/48",
    "2001:db8::/32",
    "2002:7f00::/24",  # 6to4
    "2002:a00::/24",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
]
EVERYBODYS = [
    "1.1.1.0/24",
    "8.8.8.0/24",
    "100.0.0.0/10",
    "100.128.0.0/9",
    "172.32.0.0/11",
    "193.0.0.0/8",
    "223.0.0.0/8",
    "::ffff:8.8.8.0/120",
    "64:ff9b::8.8.8.0/120",
    "2001:4860::/32",
    "2606:4700::/32",
    "2a00::/12",
]


def any_in(*networks: str) -> st.SearchStrategy[str]:
    return st.sampled_from(networks).flatmap(lambda each: st.ip_addresses(network=each)).map(str)


@given(any_in(*OURS))
def test_an_address_around_us_is_not_public(address: str) -> None:
    assert not is_public(address)


@given(any_in(*EVERYBODYS))
def test_an_address_that_everybody_means_the_same_by_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("network", OURS)
def test_the_edges_belong_to_it(network: str) -> None:
    span = ip_network(network)
    assert not is_public(str(span[0]))
    assert not is_public(str(span[-1]))


@given(st.ip_addresses(v=4))
def test_what_carries_an_ipv4_address_is_as_public_as_that(address: IPv4Address) -> None:
    for carrier in (IPv6Address("::ffff:0:0"), IPv6Address("64:ff9b::")):
        assert is_public(str(carrier + int(address))) == is_public(str(address))


@given(st.ip_addresses())
def test_the_standard_library_never_calls_local_what_we_call_public(
    address: IPv4Address | IPv6Address,
) -> None:
    if is_public(str(address)):
        bare = getattr(address, "ipv4_mapped", None) or address
        assert bare.is_global or bare in ip_network("64:ff9b::/96")
        assert not bare.is_multicast


@given(st.ip_addresses(v=6))
def test_a_zone_is_of_this_machine(address: IPv6Address) -> None:
    assert not is_public(f"{address}%1")


@pytest.mark.parametrize("text", ["", "localhost", "8.8.8", "8.8.8.8.8", "8.8.8.8 ", "134744072"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"],
)
def test_what_a_cloud_tells_its_guests_is_not_public(address: str) -> None:
    assert not is_public(address)
