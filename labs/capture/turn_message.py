"""The names of TURN's messages in captured frames (RFC 8656, RFC 6062; the header: RFC 8489)."""

from __future__ import annotations

import struct

from napt_lab.labs.capture.packets import TCP, UDP

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
_ERROR_CODE = 0x0009
_CHANNELS = range(0x4000, 0x5000)


def turn_message(frame: bytes) -> str | None:
    """The message with which a packet to or from port 3478 begins, as in `Allocate 401`."""
    if len(frame) < 46 or frame[12:14] != b"\x08\x00":
        return None
    above = 14 + (frame[14] & 0x0F) * 4
    if PORT not in struct.unpack_from("!HH", frame, above):
        return None
    if frame[23] == UDP:
        message = frame[above + 8 :]
    elif frame[23] == TCP and len(frame) > above + 12:
        message = frame[above + (frame[above + 12] >> 4) * 4 :]
    else:
        return None
    if len(message) < 4:
        return None
    (kind,) = struct.unpack_from("!H", message)
    if message[4:8] == _MAGIC_COOKIE and kind < _CHANNELS.start:
        method = kind & 0x0F | kind >> 1 & 0x70 | kind >> 2 & 0xF80
        class_ = kind >> 4 & 1 | kind >> 7 & 2
        name = _METHODS.get(method, f"STUN method {method}")
        return _FORMS[class_].format(name, _error_code(message) if class_ == _ERROR else "")
    return CHANNEL_DATA if frame[23] == UDP and kind in _CHANNELS else None


def _error_code(message: bytes) -> str:
    at = 20
    while at + 8 <= len(message):
        kind, length = struct.unpack_from("!HH", message, at)
        if kind == _ERROR_CODE:
            return str((message[at + 6] & 7) * 100 + message[at + 7])
        at += 4 + length + -length % 4
    return "error"
