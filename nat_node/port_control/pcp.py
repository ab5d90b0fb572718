"""The messages of PCP, version 2 (RFC 6887, sections 7, 11, 13).

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |  Version = 2  |R|   Opcode    |   Reserved    |  Result Code  |
    +---------------+---------------+---------------+---------------+
    |              Lifetime, requested or granted (seconds)         |
    +---------------------------------------------------------------+
    |  Request: the client's own address, as it sees it (128 bits)  |
    |  Response: Epoch Time (32 bits), Reserved (96 bits)           |
    +---------------------------------------------------------------+
    :  MAP: Nonce (96 bits), Protocol (8), Reserved (24),           :
    :       Internal Port (16), External Port (16),                 :
    :       External Address (128 bits)                             :
    +---------------------------------------------------------------+
    :  Options: Code (8), Reserved (8), Length (16), data, padding  :
    +---------------------------------------------------------------+

An IPv4 address is written as an IPv6 one, `::ffff:10.0.0.7`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.lease import Filter

VERSION = 2
HEADER = 24
LONGEST = 1100
"""Bytes of a message (section 7)."""
IS_RESPONSE = 0x80
SHORT, LONG = 30, 1800
"""Seconds for which an error will probably be the answer again (section 7.4)."""

_MAP = struct.Struct("!12sB3xHH16s")
_FILTER = struct.Struct("!BBH16s")
_OPTION = struct.Struct("!BxH")
_MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address in the place of an IPv6 one


class Opcode(IntEnum):
    """What a request asks for (RFC 6887, section 19.2)."""

    ANNOUNCE = 0
    MAP = 1
    PEER = 2


class Option(IntEnum):
    """What a request may add (RFC 6887, section 19.4)."""

    THIRD_PARTY = 1
    PREFER_FAILURE = 2
    FILTER = 3


FIRST_OPTIONAL = 128  # option codes from here on may be ignored if not known


class Result(IntEnum):
    """Section 7.4."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


_SHORT_LIVED = {
    Result.NETWORK_FAILURE, Result.NO_RESOURCES, Result.USER_EX_QUOTA,
    Result.CANNOT_PROVIDE_EXTERNAL,
}  # fmt: skip
#: Errors of requests that could not be read, so that no field of theirs is believed.
_NOT_PARSED = {Result.UNSUPP_VERSION, Result.MALFORMED_REQUEST, Result.MALFORMED_OPTION}


class Refused(Exception):
    """A request that is answered with an error, which holds for `lifetime` seconds."""

    def __init__(self, result: Result, lifetime: int | None = None) -> None:
        super().__init__(result.name)
        self.result = result
        usual = SHORT if result in _SHORT_LIVED else LONG
        self.lifetime = usual if lifetime is None else lifetime


@dataclass(frozen=True, slots=True)
class MapRequest:
    """A MAP request (section 11.1). Lifetimes are in seconds; 0 deletes.

    `suggested_address` is 0 for "any", None for what is no IPv4 address, and `suggested_text` its
    16 bytes. `filters` are added to those that there are, or with `clear_filters` replace them.
    `options` are the bytes of those that are understood, for the response.
    """

    nonce: bytes
    protocol: int
    internal_port: int
    suggested_port: int
    suggested_address: int | None
    suggested_text: bytes
    lifetime: int
    prefer_failure: bool = False
    clear_filters: bool = False
    filters: tuple[Filter, ...] = ()
    options: bytes = b""


def read_header(data: bytes, source: int) -> int:
    """The opcode of a request of version 2 from an address. Raises Refused."""
    opcode = data[1]
    wanted = HEADER + (_MAP.size if opcode == Opcode.MAP else 0)
    if len(data) > LONGEST or len(data) % 4 or len(data) < wanted:
        raise Refused(Result.MALFORMED_REQUEST)
    if data[8:24] != mapped(source):  # there is another NAT between us
        raise Refused(Result.ADDRESS_MISMATCH)
    if opcode not in (Opcode.ANNOUNCE, Opcode.MAP):
        raise Refused(Result.UNSUPP_OPCODE)
    return opcode


def read_announce(data: bytes) -> None:
    """Section 14.1.1: there is nothing in it, and no option is defined. Raises Refused."""
    for code, _, _ in _options(data, HEADER):
        if code < FIRST_OPTIONAL:
            raise Refused(Result.UNSUPP_OPTION)


def read_map(data: bytes, source: int) -> MapRequest:
    """A MAP request whose header has been read. Raises Refused."""
    nonce, protocol, internal_port, port, address = _MAP.unpack_from(data, HEADER)
    lifetime = int.from_bytes(data[4:8], "big")
    prefer_failure = clear_filters = False
    filters: list[Filter] = []
    understood = bytearray()
    for code, value, whole in _options(data, HEADER + _MAP.size):
        if code == Option.THIRD_PARTY:
            raise Refused(_third_party(value, source))
        if code == Option.PREFER_FAILURE:
            if value or prefer_failure or not lifetime or not port:
                raise Refused(Result.MALFORMED_OPTION)
            prefer_failure = True
        elif code == Option.FILTER:
            if not lifetime:
                raise Refused(Result.MALFORMED_OPTION)
            entry = _filter(value)
            if entry is None:
                clear_filters = True
                filters.clear()
            else:
                filters.append(entry)
        elif code < FIRST_OPTIONAL:
            raise Refused(Result.UNSUPP_OPTION)
        else:
            continue
        understood += whole
    if internal_port and not protocol:
        raise Refused(Result.MALFORMED_REQUEST)
    return MapRequest(
        nonce, protocol, internal_port, port, _address(address), address, lifetime,
        prefer_failure, clear_filters, tuple(filters), bytes(understood),
    )  # fmt: skip


def granted(request: MapRequest, external: Endpoint, lifetime: int, epoch: int) -> bytes:
    """The response to a MAP request that was granted. Times are in seconds."""
    return (
        _header(Opcode.MAP, lifetime, epoch)
        + _MAP.pack(
            request.nonce, request.protocol, request.internal_port, external[1], mapped(external[0])
        )
        + request.options
    )


def deleted(request: MapRequest, lifetime: int, epoch: int) -> bytes:
    """The response to a deletion: the suggested endpoint comes back as it was (section 15.1)."""
    return _header(Opcode.MAP, lifetime, epoch) + _MAP.pack(
        request.nonce, request.protocol, request.internal_port, request.suggested_port,
        request.suggested_text,
    )  # fmt: skip


def announcement(epoch: int) -> bytes:
    """The response to ANNOUNCE, which a server that has started also sends unasked."""
    return _header(Opcode.ANNOUNCE, 0, epoch)


def error(data: bytes, refused: Refused, epoch: int) -> bytes:
    """The request as it came, with the error in its header (sections 7.3 and 8.2)."""
    answer = bytearray(data[:LONGEST])
    answer += bytes(max(HEADER - len(answer), -len(answer) % 4))
    answer[0] = VERSION
    answer[1] |= IS_RESPONSE
    answer[2], answer[3] = 0, refused.result
    answer[4:12] = struct.pack("!II", refused.lifetime, epoch)
    if refused.result not in _NOT_PARSED:
        answer[12:24] = bytes(12)
    return bytes(answer)


def mapped(address: int) -> bytes:
    """An IPv4 address in the 16 bytes of an IPv6 one (section 5)."""
    return _MAPPED + address.to_bytes(4, "big")


def _header(opcode: Opcode, lifetime: int, epoch: int) -> bytes:
    return struct.pack("!BBxxII12x", VERSION, opcode | IS_RESPONSE, lifetime, epoch)


def _address(text: bytes) -> int | None:
    if text == bytes(16):
        return 0
    return int.from_bytes(text[12:], "big") if text.startswith(_MAPPED) else None


def _options(data: bytes, at: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Code, value, and all bytes with padding of each option. Raises Refused."""
    found = []
    while at < len(data):
        code, length = _OPTION.unpack_from(data, at)  # lengths are multiples of 4: 4 bytes remain
        start, end = at + _OPTION.size, at + _OPTION.size + length
        at_next = end + -length % 4
        if at_next > len(data):
            raise Refused(Result.MALFORMED_OPTION)
        found.append((code, data[start:end], data[at:at_next]))
        at = at_next
    return iter(found)  # the structure of all is good before any is looked at


def _third_party(value: bytes, source: int) -> Result:
    """Section 13.1: a client that names itself is wrong in any case, others are refused."""
    if len(value) != 16:
        return Result.MALFORMED_OPTION
    return Result.MALFORMED_REQUEST if value == mapped(source) else Result.UNSUPP_OPTION


def _filter(value: bytes) -> Filter | None:
    """Section 13.3; None for prefix length 0, which removes all filters. Raises Refused."""
    if len(value) != _FILTER.size:
        raise Refused(Result.MALFORMED_OPTION)
    _, length, port, text = _FILTER.unpack(value)
    if length == 0:
        return None
    if length > 128:
        raise Refused(Result.MALFORMED_OPTION)
    address = _address(text)
    if address is None or text == bytes(16):
        raise Refused(Result.EXCESSIVE_REMOTE_PEERS)  # this NAPT has no remote endpoints with IPv6
    if length < 96:
        raise Refused(Result.MALFORMED_OPTION)
    mask = 0xFFFFFFFF << (128 - length) & 0xFFFFFFFF
    return Filter(address & mask, mask, port)
