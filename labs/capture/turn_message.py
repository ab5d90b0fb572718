"""The names of TURN's messages in captured frames (RFC 8656, RFC 6062; the header: RFC 8489)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv4Address

from napt_lab.labs.capture.packets import TCP, UDP, Endpoint

PORT = 3478
SEND_INDICATION, DATA_INDICATION, CHANNEL_DATA = "Send indication", "Data indication", "ChannelData"
_MAGIC_COOKIE = b"\x21\x12\xa4\x42"
_METHODS = {
    0x001: "Binding", 0x003: "Allocate", 0x004: "Refresh", 0x006: "Send", 0x007: "Data",
    0x008: "CreatePermission", 0x009: "ChannelBind", 0x00A: "Connect", 0x00B: "ConnectionBind",
    0x00C: "ConnectionAttempt",
}  # fmt: skip
_FORMS = ("{}", "{} indication", "{} success", "{} {}")  # request, …, error response
_ERROR = 3
_ERROR_CODE, _XOR_RELAYED_ADDRESS = 0x0009, 0x0016
_CHANNELS = range(0x4000, 0x5000)


def turn_message(frame: bytes) -> str | None:
    """The message with which a packet to or from port 3478 begins, as in `Allocate 401`."""
    message = _payload(frame)
    if message is None:
        return None
    (kind,) = struct.unpack_from("!H", message)
    if message[4:8] == _MAGIC_COOKIE and kind < _CHANNELS.start:
        method = kind & 0x0F | kind >> 1 & 0x70 | kind >> 2 & 0xF80
        class_ = kind >> 4 & 1 | kind >> 7 & 2
        name = _METHODS.get(method, f"STUN method {method}")
        return _FORMS[class_].format(name, _error_code(message) if class_ == _ERROR else "")
    return CHANNEL_DATA if frame[23] == UDP and kind in _CHANNELS else None


def has_turn_port(frame: bytes) -> bool:
    """Whether a TCP segment or UDP datagram is to or from port 3478."""
    return PORT in struct.unpack_from("!HH", frame, 14 + (frame[14] & 0x0F) * 4)


def relayed_address(frame: bytes) -> Endpoint | None:
    """The relayed transport address in the success response to an Allocate request."""
    if turn_message(frame) != "Allocate success":
        return None
    message = _payload(frame) or b""
    for kind, value in _attributes(message):
        if kind == _XOR_RELAYED_ADDRESS and len(value) == 8:  # of IPv4
            _, port, address = struct.unpack("!HHI", value)
            (cookie,) = struct.unpack("!I", _MAGIC_COOKIE)
            return str(IPv4Address(address ^ cookie)), port ^ cookie >> 16
    return None


def _payload(frame: bytes) -> bytes | None:
    """What the packet carries, if it is to or from the port of STUN and TURN."""
    if len(frame) < 46 or frame[12:14] != b"\x08\x00":
        return None
    if not has_turn_port(frame):
        return None
    above = 14 + (frame[14] & 0x0F) * 4
    if frame[23] == UDP:
        message = frame[above + 8 :]
    elif frame[23] == TCP and len(frame) > above + 12:
        message = frame[above + (frame[above + 12] >> 4) * 4 :]
    else:
        return None
    return message if len(message) >= 4 else None


def _attributes(message: bytes) -> Iterator[tuple[int, bytes]]:
    at = 20
    while at + 4 <= len(message):
        kind, length = struct.unpack_from("!HH", message, at)
        yield kind, message[at + 4 : at + 4 + length]
        at += 4 + length + -length % 4


def _error_code(message: bytes) -> str:
    for kind, value in _attributes(message):
        if kind == _ERROR_CODE and len(value) >= 4:
            return str((value[2] & 7) * 100 + value[3])
    return "error"
