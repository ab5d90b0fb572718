"""Addresses that no server here reaches for a stranger: they are not of the public Internet.

A relay lends its clients its place in the network: its loopback, its neighbors in private ranges,
all hosts of a link by broadcast. This is the IANA IPv4 Special-Purpose Address Registry (RFC 6890)
and multicast, without the documentation ranges (RFC 5737): the lab's Internet is built from them.
"""

from __future__ import annotations

from ipaddress import IPv4Network

NOT_PUBLIC = {
    IPv4Network("0.0.0.0/8"): "an address of this network",
    IPv4Network("10.0.0.0/8"): "a private address (RFC 1918)",
    IPv4Network("100.64.0.0/10"): "an address shared by a carrier (RFC 6598)",
    IPv4Network("127.0.0.0/8"): "a loopback address",
    IPv4Network("169.254.0.0/16"): "a link-local address (RFC 3927)",
    IPv4Network("172.16.0.0/12"): "a private address (RFC 1918)",
    IPv4Network("192.0.0.0/24"): "a protocol assignment (RFC 6890)",
    IPv4Network("192.88.99.0/24"): "a 6to4 anycast address (RFC 7526)",
    IPv4Network("192.168.0.0/16"): "a private address (RFC 1918)",
    IPv4Network("198.18.0.0/15"): "a benchmarking address (RFC 2544)",
    IPv4Network("224.0.0.0/4"): "a multicast address",
    IPv4Network("240.0.0.0/4"): "a reserved address",
}
"""Each network, and what an address in it is."""
