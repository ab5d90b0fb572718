"""STUN messages as bytes, and back (RFC 8489, sections 5 and 14).

Theory of operation. Every STUN message is a header of 20 bytes and a list of attributes.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |0 0|     STUN Message Type     |         Message Length        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                   Magic Cookie = 0x2112A442                   |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |                     Transaction ID (96 bits)                  |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |         Attribute Type        |    Length of the value        |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |            Value, padded to a multiple of 4 bytes          ....
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

The message type interleaves the method's twelve bits with the class's two:

    |M11 M10 M9 M8 M7 C1 M6 M5 M4 C0 M3 M2 M1 M0|

MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT cover what stands before them,
with a Message Length that ends at themselves.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

HEADER_LENGTH = 20  # bytes
MAGIC_COOKIE = 0x2112A442
FINGERPRINT_XOR = 0x5354554E

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_MAX_ATTRIBUTES = 64


class Class(IntEnum):
    """A message's class (RFC 8489, section 5)."""

    REQUEST = 0b00
    INDICATION = 0b01
    SUCCESS = 0b10
    ERROR = 0b11


class Method(IntEnum):
    """A message's method (RFC 8489, section 18.3; RFC 8656; RFC 6062)."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CHANNEL_BIND = 0x009
    CONNECT = 0x00A
    CONNECTION_BIND = 0x00B
    CONNECTION_ATTEMPT = 0x00C


class Attribute(IntEnum):
    """An attribute's type (RFC 8489, section 18.4; RFC 5780; RFC 8656; RFC 6062)."""

    MAPPED_ADDRESS = 0x0001
    CHANGE_REQUEST = 0x0003
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    CHANNEL_NUMBER = 0x000C
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    EVEN_PORT = 0x0018
    REQUESTED_TRANSPORT = 0x0019
    DONT_FRAGMENT = 0x001A
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    RESERVATION_TOKEN = 0x0022
    PADDING = 0x0026
    RESPONSE_PORT = 0x0027
    CONNECTION_ID = 0x002A
    ADDITIONAL_ADDRESS_FAMILY = 0x8000
    ADDRESS_ERROR_CODE = 0x8001
    PASSWORD_ALGORITHMS = 0x8002
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C


STUN_ATTRIBUTES = frozenset(
    {
        Attribute.MAPPED_ADDRESS,
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.ERROR_CODE,
        Attribute.UNKNOWN_ATTRIBUTES,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.PASSWORD_ALGORITHM,
        Attribute.USERHASH,
        Attribute.XOR_MAPPED_ADDRESS,
    }
)
"""Those below 0x8000 that RFC 8489 itself defines: every STUN server understands them."""
DISCOVERY_ATTRIBUTES = frozenset(
    {Attribute.CHANGE_REQUEST, Attribute.PADDING, Attribute.RESPONSE_PORT}
)
"""Those of RFC 5780."""

Attributes: TypeAlias = list[tuple[int, bytes]]
"""Types and values, in the order in which they stand in a message."""


class Malformed(ValueError):
    """The bytes are not a STUN message, or its FINGERPRINT is wrong."""


@dataclass(slots=True)
class Message:
    """One STUN message; `attributes` in order, each a type and its value without padding."""

    method: int
    message_class: Class
    transaction_id: bytes
    attributes: Attributes = field(default_factory=list)
    raw: bytes = b""
    """What was received: integrity is checked over these bytes, not over a re-encoding."""
    offsets: dict[int, int] = field(default_factory=dict)
    """Where in `raw` the integrity attributes begin, bytes."""
    has_fingerprint: bool = False

    def get(self, attribute: int) -> bytes | None:
        """The first value of this type: the others must be ignored (section 14)."""
        return next((value for kind, value in self.attributes if kind == attribute), None)

    def get_all(self, attribute: int) -> Iterator[bytes]:
        return (value for kind, value in self.attributes if kind == attribute)

    def __contains__(self, attribute: int) -> bool:
        return any(kind == attribute for kind, _ in self.attributes)

    def add(self, attribute: int, value: bytes) -> None:
        self.attributes.append((attribute, value))

    def not_understood(self, understood: Set[int]) -> list[int]:
        """Other types below 0x8000, which must not be ignored (section 14)."""
        return [kind for kind, _ in self.attributes if kind < 0x8000 and kind not in understood]

    def verify(self, attribute: Attribute, key: bytes) -> bool:
        """Whether this integrity attribute is there and was computed with `key`."""
        offset, value = self.offsets.get(attribute), self.get(attribute)
        if offset is None or value is None:
            return False
        digest = _integrity(attribute, key, self.raw[:offset], len(value))
        return hmac.compare_digest(digest[: len(value)], value)


def encode(
    message: Message,
    *,
    integrity: tuple[Attribute, bytes] | None = None,
    fingerprint: bool = True,
) -> bytes:
    """The message as bytes, protected by `integrity` (which attribute, which key)."""
    body = b"".join(
        _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)
        for kind, value in message.attributes
    )
    data = (
        _HEADER.pack(
            _message_type(message.method, message.message_class),
            len(body),
            MAGIC_COOKIE,
            message.transaction_id,
        )
        + body
    )
    if integrity is not None:
        attribute, key = integrity
        length = 20 if attribute == Attribute.MESSAGE_INTEGRITY else 32
        digest = _integrity(attribute, key, data, length)
        data = _with_length(data, 4 + length) + _ATTRIBUTE.pack(attribute, length) + digest
    if fingerprint:
        data = _with_length(data, 8)
        crc = zlib.crc32(data) ^ FINGERPRINT_XOR
        data += struct.pack("!HHI", Attribute.FINGERPRINT, 4, crc)
    return data


def decode(data: bytes) -> Message:
    """Parse exactly one message. Raises Malformed, and nothing else, on any bytes."""
    if len(data) < HEADER_LENGTH:
        raise Malformed("shorter than a header")
    message_type, length, cookie, transaction_id = _HEADER.unpack_from(data)
    if message_type & 0xC000 or cookie != MAGIC_COOKIE:
        raise Malformed("not STUN")
    if length != len(data) - HEADER_LENGTH or length % 4:
        raise Malformed("wrong length")
    message = Message(
        method=(message_type & 0xF) | (message_type & 0xE0) >> 1 | (message_type & 0x3E00) >> 2,
        message_class=Class((message_type >> 7 & 0b10) | (message_type >> 4 & 0b01)),
        transaction_id=transaction_id,
        raw=data,
    )
    _read_attributes(message)
    return message


def _read_attributes(message: Message) -> None:
    data, offset, seen = message.raw, HEADER_LENGTH, 0
    while offset < len(data):
        # The length is a multiple of 4, so an attribute's header always fits.
        kind, length = _ATTRIBUTE.unpack_from(data, offset)
        value = data[offset + 4 : offset + 4 + length]
        end = offset + 4 + length + -length % 4
        if end > len(data):
            raise Malformed("attribute beyond the end")
        seen += 1
        if seen > _MAX_ATTRIBUTES:
            raise Malformed("too many attributes")
        if kind == Attribute.FINGERPRINT:
            _check_fingerprint(data, offset, value)
            message.has_fingerprint = True
            return
        if _counts(message, kind):
            _check_integrity_length(kind, length)
            message.attributes.append((kind, value))
            if kind in _INTEGRITY:
                message.offsets[kind] = offset
        offset = end


_INTEGRITY = (Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256)


def _counts(message: Message, kind: int) -> bool:
    """Attributes that no integrity covers must be ignored (sections 14.5 and 14.6)."""
    if Attribute.MESSAGE_INTEGRITY_SHA256 in message.offsets:
        return False
    if Attribute.MESSAGE_INTEGRITY in message.offsets:
        return kind == Attribute.MESSAGE_INTEGRITY_SHA256
    return True


def _check_integrity_length(kind: int, length: int) -> None:
    if kind == Attribute.MESSAGE_INTEGRITY and length != 20:
        raise Malformed("MESSAGE-INTEGRITY is 20 bytes")
    # Section 14.6 lets the sender truncate it, to no less than 16 bytes.
    if kind == Attribute.MESSAGE_INTEGRITY_SHA256 and (not 16 <= length <= 32 or length % 4):
        raise Malformed("MESSAGE-INTEGRITY-SHA256 is 16 to 32 bytes")


def _check_fingerprint(data: bytes, offset: int, value: bytes) -> None:
    # Section 14.7: it must be the last attribute.
    if offset + 8 != len(data) or len(value) != 4:
        raise Malformed("FINGERPRINT is not last")
    if zlib.crc32(data[:offset]) ^ FINGERPRINT_XOR != int.from_bytes(value):
        raise Malformed("wrong FINGERPRINT")


def _message_type(method: int, message_class: Class) -> int:
    return (
        (method & 0xF)
        | (method & 0x70) << 1
        | (method & 0xF80) << 2
        | (message_class & 0b01) << 4
        | (message_class & 0b10) << 7
    )


def _with_length(data: bytes, further: int) -> bytes:
    """The same message with a Message Length that counts `further` bytes more than it has."""
    return data[:2] + struct.pack("!H", len(data) - HEADER_LENGTH + further) + data[4:]


def _integrity(attribute: Attribute, key: bytes, before: bytes, length: int) -> bytes:
    algorithm = hashlib.sha1 if attribute == Attribute.MESSAGE_INTEGRITY else hashlib.sha256
    return hmac.digest(key, _with_length(before, 4 + length), algorithm)
