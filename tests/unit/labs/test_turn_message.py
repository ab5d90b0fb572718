"""TURN's messages, known by the bytes of a frame."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from napt_lab.labs.capture.turn_message import turn_message

COOKIE = 0x2112A442


def stun(kind, *attributes):
    body = b"".join(
        struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    return struct.pack("!HHI12x", kind, len(body), COOKIE) + body


def over(layer, payload):
    return bytes(Ether() / IP(src="10.0.0.7", dst="198.51.100.11") / layer / Raw(payload))


@pytest.mark.parametrize("layer", [TCP(dport=3478), UDP(sport=3478)])
@pytest.mark.parametrize(
    ("message", "name"),
    [
        (stun(0x0003), "Allocate"),
        (stun(0x0103), "Allocate success"),
        (stun(0x0113, (0x8022, b"ours"), (0x0009, b"\0\0\x04\x01Unauthorized")), "Allocate 401"),
        (stun(0x0113), "Allocate error"),
        (stun(0x0008), "CreatePermission"),
        (stun(0x001C), "ConnectionAttempt indication"),
        (stun(0x000B), "ConnectionBind"),
        (stun(0x0016), "Send indication"),
        (stun(0x0017), "Data indication"),
        (stun(0x0055), "STUN method 37 indication"),
        (b"a file's bytes, which are no message", None),
        (b"\0", None),
        (b"", None),
    ],
)
def test_messages(layer, message, name):
    assert turn_message(over(layer, message)) == name


def test_channel_data_is_a_datagrams_and_other_ports_are_not_turns():
    data = struct.pack("!HH", 0x4001, 6) + b"hello\n"
    assert turn_message(over(UDP(dport=3478), data)) == "ChannelData"
    assert turn_message(over(TCP(dport=3478), data)) is None
    assert turn_message(over(UDP(dport=9), data)) is None
    assert turn_message(over(UDP(dport=9), stun(0x0003))) is None
    assert turn_message(bytes(60)) is None
