"""A Binding request and its answer (RFC 8489): "which address and port do I have?".

    0       2       4               8                          20
    | type  | length|  magic cookie |  transaction ID (12 bytes) | attributes …

The transaction ID is random, so it identifies one datagram at every interface. The answer carries
XOR-MAPPED-ADDRESS (section 14.2): the endpoint that the request came from, XORed with the
cookie, so that a NAPT does not find an address in the payload and rewrite it as well.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from napt_lab.labs.capture.packets import Endpoint

REQUEST, SUCCESS = 0x0001, 0x0101
_COOKIE = 0x2112A442
_XOR_MAPPED_ADDRESS, _IPV4 = 0x0020, 0x01
_HEADER = struct.Struct("!HHI12s")
_MAPPED = struct.Struct("!HHxBHI")
TRANSACTION_BYTES = 12


def request(transaction: bytes) -> bytes:
    """A Binding request without attributes."""
    return _HEADER.pack(REQUEST, 0, _COOKIE, transaction)


def answer(asked: bytes, peer: Endpoint) -> bytes | None:
    """The success response to a Binding request that came from `peer`; None for anything else."""
    if len(asked) < _HEADER.size:
        return None
    kind, _, cookie, transaction = _HEADER.unpack_from(asked)
    if (kind, cookie) != (REQUEST, _COOKIE):
        return None
    number = int(IPv4Address(peer[0])) ^ _COOKIE
    mapped = _MAPPED.pack(_XOR_MAPPED_ADDRESS, 8, _IPV4, peer[1] ^ (_COOKIE >> 16), number)
    return _HEADER.pack(SUCCESS, len(mapped), _COOKIE, transaction) + mapped


def mapped(answered: bytes, transaction: bytes) -> Endpoint | None:
    """The endpoint in the answer to `transaction`; None if `answered` is not that answer."""
    if len(answered) < _HEADER.size:
        return None
    kind, length, cookie, echoed = _HEADER.unpack_from(answered)
    if (kind, cookie, echoed) != (SUCCESS, _COOKIE, transaction):
        return None
    at, end = _HEADER.size, min(len(answered), _HEADER.size + length)
    while at + 4 <= end:
        attribute, size = struct.unpack_from("!HH", answered, at)
        if attribute == _XOR_MAPPED_ADDRESS and at + _MAPPED.size <= end:
            _, _, family, port, number = _MAPPED.unpack_from(answered, at)
            if family == _IPV4:
                return str(IPv4Address(number ^ _COOKIE)), port ^ (_COOKIE >> 16)
        at += 4 + (size + 3) // 4 * 4
    return None
