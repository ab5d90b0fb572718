"""PCP's messages as a client writes and reads them (RFC 6887, sections 7, 8.3, 11 and 13)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address

VERSION = 2
ANNOUNCE, MAP = 0, 1
PREFER_FAILURE, FILTER = 2, 3
PROTOCOLS = {"tcp": 6, "udp": 17}
NO_ADDRESS = IPv4Address(0)
RESULTS = (
    "SUCCESS", "UNSUPP_VERSION", "NOT_AUTHORIZED", "MALFORMED_REQUEST", "UNSUPP_OPCODE",
    "UNSUPP_OPTION", "MALFORMED_OPTION", "NETWORK_FAILURE", "NO_RESOURCES", "UNSUPP_PROTOCOL",
    "USER_EX_QUOTA", "CANNOT_PROVIDE_EXTERNAL", "ADDRESS_MISMATCH", "EXCESSIVE_REMOTE_PEERS",
)  # fmt: skip
COPIED = 18
"""Bytes of a MAP request that its answer repeats: nonce, protocol, internal port."""

_HEADER = struct.Struct("!BBHI16s")  # of a request
_ANSWER = struct.Struct("!BBBBII12x")
_MAP = struct.Struct("!12sB3xHH16s")


class Refused(Exception):
    """The NAPT's answer is an error, or cannot be read; the text says which."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping that is asked for; the external endpoint is a suggestion (0 and 0.0.0.0: none)."""

    protocol: str
    port: int
    nonce: bytes
    external_port: int = 0
    external_address: IPv4Address = NO_ADDRESS
    prefer_failure: bool = False
    only: tuple[IPv4Network, ...] = ()

    def opcode_data(self) -> bytes:
        """The part of the message behind the header."""
        address = in_ipv6(self.external_address)
        number = PROTOCOLS[self.protocol]
        data = _MAP.pack(self.nonce, number, self.port, self.external_port, address)
        if self.prefer_failure:
            data += struct.pack("!BxH", PREFER_FAILURE, 0)
        for network in self.only:
            data += struct.pack("!BxHxBH", FILTER, 20, 96 + network.prefixlen, 0)
            data += in_ipv6(network.network_address)
        return data


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Times are in seconds."""

    result: int
    lifetime: int
    epoch: int
    data: bytes


def header(opcode: int, lifetime: int, client: IPv4Address) -> bytes:
    """The header of a request (section 7.1)."""
    return _HEADER.pack(VERSION, opcode, 0, lifetime, in_ipv6(client))


def read_answer(data: bytes, opcode: int) -> Answer | None:
    """A response to such a request; None if it is not one (section 8.3). Raises Refused."""
    if len(data) >= 4 and data[0] != VERSION:
        raise Refused("the NAPT does not support PCP: try natpmpc, which uses NAT-PMP")
    if not _ANSWER.size <= len(data) <= 1100 or len(data) % 4 or data[1] != 0x80 | opcode:
        return None
    _, _, _, result, lifetime, epoch = _ANSWER.unpack_from(data)
    rest = data[_ANSWER.size :]
    return Answer(result, lifetime, epoch, rest) if opcode != MAP or len(rest) >= 36 else None


def assigned(wanted: Mapping, answer: Answer) -> Mapping:
    """The mapping that an answer grants. Raises Refused if it grants none."""
    if answer.result:
        name = dict(enumerate(RESULTS)).get(answer.result, f"error {answer.result}")
        raise Refused(f"{name} (expected to last another {answer.lifetime} s)")
    nonce, _, _, port, address = _MAP.unpack_from(answer.data)
    return Mapping(
        wanted.protocol, wanted.port, nonce, port, IPv4Address(address[12:]), only=wanted.only
    )


def in_ipv6(address: IPv4Address) -> bytes:
    """An IPv4 address as PCP writes it (section 5)."""
    return IPv6Address(f"::ffff:{address}").packed
