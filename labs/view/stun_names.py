"""The name of a STUN or TURN message in a packet (RFC 8489, section 5; RFC 8656; RFC 6062)."""

from __future__ import annotations

from napt_lab.labs.capture.packets import Packet

PORT = 3478
COOKIE = bytes.fromhex("2112a442")
CHANNELS = range(0x4000, 0x5000)
METHODS = {
    0x001: "Binding", 0x003: "Allocate", 0x004: "Refresh", 0x006: "Send", 0x007: "Data",
    0x008: "CreatePermission", 0x009: "ChannelBind", 0x00A: "Connect", 0x00B: "ConnectionBind",
    0x00C: "ConnectionAttempt",
}  # fmt: skip
CLASSES = {0x000: "request", 0x010: "indication", 0x100: "success", 0x110: "error"}
ERROR_CODE = 0x0009
_IPV4 = 14


def stun_name(frame: bytes, packet: Packet) -> str:
    """Such as `Allocate request`; empty if there is no such message."""
    if packet.protocol not in ("udp", "tcp") or packet.payload < 4:
        return ""
    above = _IPV4 + (frame[_IPV4] & 0x0F) * 4
    at = above + (8 if packet.protocol == "udp" else (frame[above + 12] >> 4) * 4)
    data = frame[at : at + packet.payload]
    if len(data) >= 20 and data[4:8] == COOKIE:
        return _message(data)
    is_turn = PORT in (packet.source_port, packet.destination_port)
    if is_turn and len(data) >= 4 and int.from_bytes(data[:2]) in CHANNELS:
        return f"ChannelData {int.from_bytes(data[:2]):#06x}"
    return ""


def _message(data: bytes) -> str:
    kind = int.from_bytes(data[:2])
    class_ = kind & 0x110
    method = kind & 0x00F | (kind & 0x0E0) >> 1 | (kind & 0x3E00) >> 2
    name = f"{METHODS.get(method, f'STUN method {method:#05x}')} {CLASSES[class_]}"
    return f"{name} {_error_code(data)}" if class_ == 0x110 else name


def _error_code(data: bytes) -> str:
    """The number of an error, if the capture has its attribute."""
    at = 20
    while at + 8 <= len(data):
        kind, length = int.from_bytes(data[at : at + 2]), int.from_bytes(data[at + 2 : at + 4])
        if kind == ERROR_CODE:
            return str((data[at + 6] & 7) * 100 + data[at + 7])
        at += 4 + length + -length % 4
    return ""
