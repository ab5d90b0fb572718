"""Values inside STUN attributes (RFC 8489, section 14, and RFC 8656, section 18).

Theory of operation. Addresses travel XORed, because some NATs rewrite every four bytes that
look like an address they know. XOR-PEER-ADDRESS and all other XOR-…-ADDRESS attributes:

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |0 0 0 0 0 0 0 0|    Family     |  Port XOR cookie's upper half |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Address XOR the cookie (IPv6: the cookie and transaction ID) |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The decoders read bytes that anyone may have sent: on bad values they raise ValueError only.
"""

from __future__ import annotations

import socket
import struct
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from napt_lab.servers.stun.stun_message import MAGIC_COOKIE

Address: TypeAlias = tuple[str, int]
"""IP address and port of a transport address, as Python's sockets have it."""


class Family(IntEnum):
    """The address family in an address attribute (RFC 8489, section 14.1)."""

    IPV4 = 0x01
    IPV6 = 0x02


class Transport(IntEnum):
    """IANA protocol numbers, which REQUESTED-TRANSPORT carries."""

    TCP = 6
    UDP = 17


class FiveTuple(NamedTuple):
    """How a client reaches the server: the protocol, the client's and the server's address."""

    transport: Transport
    client: Address
    server: Address


REASONS = {
    400: "Bad Request",
    401: "Unauthenticated",
    403: "Forbidden",
    420: "Unknown Attribute",
    437: "Allocation Mismatch",
    438: "Stale Nonce",
    440: "Address Family not Supported",
    441: "Wrong Credentials",
    442: "Unsupported Transport Protocol",
    443: "Peer Address Family Mismatch",
    446: "Connection Already Exists",
    447: "Connection Timeout or Failure",
    486: "Allocation Quota Reached",
    508: "Insufficient Capacity",
}


def family_of(address: str) -> Family:
    return Family.IPV6 if ":" in address else Family.IPV4


def encode_address(address: Address) -> bytes:
    """MAPPED-ADDRESS, RESPONSE-ORIGIN and OTHER-ADDRESS: not XORed."""
    host, port = address
    family = family_of(host)
    return struct.pack("!BBH", 0, family, port) + socket.inet_pton(_DOMAINS[family], host)


def encode_xor_address(address: Address, transaction_id: bytes) -> bytes:
    plain = encode_address(address)
    return plain[:2] + _xor(plain[2:], transaction_id)


def decode_xor_address(value: bytes, transaction_id: bytes) -> Address:
    if len(value) not in (8, 20) or value[1] != (Family.IPV4 if len(value) == 8 else Family.IPV6):
        raise ValueError("neither an IPv4 nor an IPv6 address")
    plain = _xor(value[2:], transaction_id)
    return socket.inet_ntop(_DOMAINS[Family(value[1])], plain[2:]), int.from_bytes(plain[:2])


_DOMAINS = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


def _xor(port_and_address: bytes, transaction_id: bytes) -> bytes:
    cookie = struct.pack("!I", MAGIC_COOKIE)
    pad = cookie[:2] + cookie + transaction_id
    return bytes(a ^ b for a, b in zip(port_and_address, pad, strict=False))


def encode_error(code: int) -> bytes:
    """ERROR-CODE: hundreds, the rest, and the reason that the RFCs give it."""
    # A 401 has no reason phrase: its size decides how much a forged request is amplified.
    reason = "" if code == 401 else REASONS[code]
    return struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()


def decode_error(value: bytes) -> int:
    if len(value) < 4 or not 3 <= value[2] & 0x7 <= 6 or value[3] > 99:
        raise ValueError("not an error code")
    return (value[2] & 0x7) * 100 + value[3]


def encode_number(number: int) -> bytes:
    """LIFETIME (seconds) and CONNECTION-ID: 32 bits."""
    return struct.pack("!I", number)


def decode_number(value: bytes) -> int:
    if len(value) != 4:
        raise ValueError("not 32 bits")
    return int.from_bytes(value)


def encode_byte(number: int) -> bytes:
    """REQUESTED-TRANSPORT and the address families: one byte, and three reserved."""
    return struct.pack("!B3x", number)


def decode_byte(value: bytes) -> int:
    if len(value) != 4:
        raise ValueError("not one byte and three reserved")
    return value[0]


def encode_channel(number: int) -> bytes:
    return struct.pack("!H2x", number)


def decode_channel(value: bytes) -> int:
    if len(value) != 4:
        raise ValueError("not a channel number and two reserved bytes")
    return int.from_bytes(value[:2])


def encode_types(types: list[int]) -> bytes:
    """UNKNOWN-ATTRIBUTES: a list of attribute types."""
    return struct.pack(f"!{len(types)}H", *types)
