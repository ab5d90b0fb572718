"""Parsers for single values of a topology file: text in, value out.

A parser raises ValueError with the message for the file's writer: what is wrong; what is
allowed. Digits are ASCII, and their number is limited before they are converted.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TypeVar

from napt_lab.topologies.spec.errors import not_one_of, quoted
from napt_lab.topologies.spec.napt_settings import StaticRule

ROUTER_NAME = "internet"
MAX_NAME = 13  # Linux allows 15 for an interface: two are left for a suffix
LEAST_PREFIX, MOST_PREFIX = 8, 30
DEFAULT_PREFIX = 24

E = TypeVar("E", bound=Enum)

_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{MAX_NAME - 1}}}")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_INTERFACE = re.compile(rf"({_ADDRESS.pattern})(?:/([0-9]{{1,2}}))?")
_ACCOUNT = re.compile(r"[A-Za-z0-9_.@][A-Za-z0-9_.@-]{0,39}:[A-Za-z0-9_.@-]{1,40}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_DURATION = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)s)?")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")
_PORTS = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_RULE = re.compile(
    rf"(tcp|udp) +(?:({_ADDRESS.pattern}):)?([0-9]{{1,9}}) *-> *({_ADDRESS.pattern}):([0-9]{{1,9}})"
)

# A node's name is typed at Mininet's prompt: there a command of the same name would win, `py`
# makes a Python variable of it, and Mininet replaces it by the node's address.
_PROMPT = """
    dpctl dump exit gterm help intfs iperf iperfudp link links net nodes noecho pingall
    pingallfull pingpair pingpairfull ports px py quit sh source switch time wait x xterm
    check draw event hint next packets reset rule rules set shell solve task watch why
    bash cat curl dig echo ip ls nc nft ping ps python python3 ss tc tcpdump traceroute
"""
_SEGMENT = re.compile(r"(?:isp|site)[0-9]+")  # the builder's bridges
_INTERFACES = "all any default lo localhost tun0"
RESERVED = frozenset([ROUTER_NAME, *_PROMPT.split(), *_INTERFACES.split(), *keyword.kwlist])

PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))  # RFC 1918
SHARED = IPv4Network("100.64.0.0/10")  # between a site and its carrier's NAT (RFC 6598)

# The IANA special-purpose registry (RFC 6890), without the documentation ranges: labs use those
# for the Internet.
_NOT_PUBLIC = {
    IPv4Network("0.0.0.0/8"): "'this network' (RFC 791)",
    **dict.fromkeys(PRIVATE, "private (RFC 1918)"),
    SHARED: "shared by carriers (RFC 6598)",
    IPv4Network("127.0.0.0/8"): "loopback (RFC 1122)",
    IPv4Network("169.254.0.0/16"): "link-local (RFC 3927)",
    IPv4Network("192.0.0.0/24"): "for protocols (RFC 6890)",
    IPv4Network("198.18.0.0/15"): "for benchmarks (RFC 2544)",
    IPv4Network("224.0.0.0/4"): "multicast (RFC 5771)",
    IPv4Network("240.0.0.0/4"): "reserved (RFC 1112)",
}


def name(text: str) -> str:
    """A name of a site or a node, safe for Mininet, its prompt, files and interfaces."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} cannot be a name; allowed: a lower-case letter, then letters, "
            f"digits or '_', at most {MAX_NAME} characters"
        )
    return text


def node_name(text: str) -> str:
    """A node's name: a name that neither Mininet, its prompt nor the system uses itself."""
    name(text)
    if text in RESERVED or _SEGMENT.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} is reserved: Mininet, its prompt or the system uses this name; "
            "allowed: another name"
        )
    return text


def one_line(what: str, most: int) -> Callable[[str], str]:
    """A parser for a line of text: 1 to `most` characters; `what` is its name in the message."""

    def parse(text: str) -> str:
        if not text or not text.isprintable() or len(text) > most:
            raise ValueError(
                f"{quoted(text)} cannot be {what}; allowed: one line, 1 to {most} characters"
            )
        return text

    return parse


def flag(text: str) -> bool:
    """True or False, in YAML's words."""
    words = {"true": True, "false": False, "on": True, "off": False, "yes": True, "no": False}
    if text.lower() not in words:
        raise ValueError(not_one_of(f"{quoted(text)} is neither true nor false", text, words))
    return words[text.lower()]


def one_of(choices: type[E]) -> Callable[[str], E]:
    """A parser for the values of an enum."""

    def parse(text: str) -> E:
        words = {str(choice.value): choice for choice in choices}
        if text not in words:
            raise ValueError(not_one_of(f"{quoted(text)} is unknown", text, words))
        return words[text]

    return parse


def account(text: str) -> str:
    """A user and a password, as one argument of a program."""
    if not _ACCOUNT.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} is not an account; allowed: NAME:PASSWORD, each 1 to 40 letters, "
            "digits and _ . @ -"
        )
    return text


def port(text: str) -> int:
    """A port number, 1 to 65535: port 0 is reserved (RFC 6335, section 6)."""
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{quoted(text)} is not a port; allowed: 1 to 65535")
    return int(text)


def endpoint(text: str) -> str:
    """An address and a port, as one argument of a program."""
    address, _, number = text.partition(":")
    if not _ADDRESS.fullmatch(address) or not number:
        raise ValueError(
            f"{quoted(text)} is not an endpoint; allowed: ADDRESS:PORT, as in 198.51.100.10:8080"
        )
    return f"{interface(address).ip}:{port(number)}"


def ports(text: str) -> range:
    """A range of ports, `LOW-HIGH`; both ends belong to it."""
    match = _PORTS.fullmatch(text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
        raise ValueError(
            f"{quoted(text)} is not a range of ports; "
            "allowed: LOW-HIGH, within 1-65535, as in 1024-65535"
        )
    return range(int(match[1]), int(match[2]) + 1)


def count(most: int, least: int = 1) -> Callable[[str], int]:
    """A parser for a whole number from `least` to `most`."""

    def parse(text: str) -> int:
        if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(
                f"{quoted(text)} cannot be used; allowed: a whole number, {least} to {most}"
            )
        return int(text)

    return parse


def duration(low: float, high: float) -> Callable[[str], float]:
    """A parser for times from `low` to `high` seconds, written 2h4m, 300s, 0.5s or 300."""
    least, most = show_duration(low), show_duration(high)

    def parse(text: str) -> float:
        seconds = _seconds(text)
        if math.isnan(seconds):
            raise ValueError(
                f"{quoted(text)} is not a duration; allowed: {least} to {most}, as in 2h4m, "
                "300s or 0.5s"
            )
        if not low <= seconds <= high:
            raise ValueError(f"{quoted(text)} is out of bounds; allowed: {least} to {most}")
        return seconds

    return parse


def whole(parse: Callable[[str], float]) -> Callable[[str], int]:
    """A parser for what `parse` reads, without a fraction."""

    def parse_whole(text: str) -> int:
        value = parse(text)
        if not value.is_integer():
            raise ValueError(f"{quoted(text)} has a fraction; allowed: whole seconds")
        return int(value)

    return parse_whole


def show_duration(seconds: float) -> str:
    """Seconds as a topology file writes them: 2h4m, 5m, 0.5s."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours}h"] * (hours > 0) + [f"{minutes}m"] * (minutes > 0)
    return "".join(parts + [f"{rest:g}s"] * (rest > 0 or not parts))


def _seconds(text: str) -> float:
    """Seconds, or NaN if `text` is not a duration."""
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not match or not text:
        return math.nan
    return int(match[1] or 0) * 3600.0 + int(match[2] or 0) * 60.0 + float(match[3] or 0)


def interface(text: str) -> IPv4Interface:
    """An address and its network; the prefix length is 24 if the text has none."""
    match = _INTERFACE.fullmatch(text)
    try:
        if not match:
            raise ValueError
        address = IPv4Address(match[1])
    except ValueError:
        raise ValueError(
            f"{quoted(text)} is not an IPv4 address; allowed: as in 198.51.100.10, or with a "
            "prefix length, 198.51.100.10/24"
        ) from None
    length = DEFAULT_PREFIX if match[2] is None else int(match[2])
    if not LEAST_PREFIX <= length <= MOST_PREFIX:
        raise ValueError(
            f"the prefix length /{length} is out of bounds; "
            f"allowed: /{LEAST_PREFIX} to /{MOST_PREFIX}"
        )
    return IPv4Interface((address, length))


def public_interface(text: str) -> IPv4Interface:
    """A public address of one node, and its network."""
    value = _public(text, "198.51.100.10")
    return usable(value, value.network[1])  # the internet router's


def _public(text: str, example: str) -> IPv4Interface:
    value = interface(text)
    for network, use in _NOT_PUBLIC.items():
        if value.network.overlaps(network):
            raise ValueError(
                f"{text} is not public: {network} is {use}; allowed: a public address, as in "
                f"{example}"
            )
    return value


def routed_interface(text: str) -> IPv4Interface:
    """A router's address inside, and its network: a public one."""
    return usable(_public(text, "198.51.100.1/24"))


def private_interface(text: str) -> IPv4Interface:
    """A private address (RFC 1918) or a carrier's (RFC 6598), and its network."""
    value = interface(text)
    inside = (*PRIVATE, SHARED)
    if not any(value.network.subnet_of(network) for network in inside):
        raise ValueError(
            f"{text} is not private; allowed (RFC 1918, RFC 6598): {', '.join(map(str, inside))}"
        )
    return usable(value)


def not_beyond(outside: IPv4Address) -> tuple[IPv4Network, ...]:
    """The networks that a NAPT with this address outside cannot have as neighbors out there.

    On the Internet they are all private ones. Behind another NAPT, its inside network is what is
    out there. The translator does the same (nat_node/core/settings.py: `is_not_routable`).
    """
    if any(outside in network for network in PRIVATE):
        return ()
    return PRIVATE if outside in SHARED else (*PRIVATE, SHARED)


def usable(value: IPv4Interface, router: IPv4Address | None = None) -> IPv4Interface:
    """`value`, unless it is the network or broadcast address; the `router` has one of the rest."""
    network = value.network
    if value.ip in (network.network_address, network.broadcast_address):
        which = "network" if value.ip == network.network_address else "broadcast"
        raise ValueError(
            f"{value.ip} is the {which} address of {network}; "
            f"allowed: {free_addresses(network, router)}"
        )
    return value


def free_addresses(network: IPv4Network, router: IPv4Address | None = None) -> str:
    """The addresses that hosts can have, in words, without that of the `router`."""
    first, last = network[1], network[-2]
    if router == first:
        first += 1
    elif router == last:
        last -= 1
    between = f", but not {router}" if router is not None and first < router < last else ""
    return f"{first} to {last}{between}" if first != last else str(first)


def static_rule(text: str) -> StaticRule:
    """An explicit rule, `tcp 8080 -> 10.0.0.7:8080`; the external port may have an address."""
    match = _RULE.fullmatch(text)
    if not match:
        raise ValueError(
            f"{quoted(text)} is not a rule; allowed: PROTOCOL PORT -> ADDRESS:PORT, as in "
            "'tcp 8080 -> 10.0.0.7:8080', protocol tcp or udp"
        )
    protocol, outside, external, inside, internal = match.groups()
    at = interface(outside).ip if outside else None
    return StaticRule(protocol, port(external), interface(inside).ip, port(internal), at)
