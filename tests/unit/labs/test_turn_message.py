"""TURN's messages, known by the bytes of a frame."""

from __future__ import annotations

import struct
from functools import partial

import pytest

from napt_lab.labs.capture.turn_message import PORT, turn_message
from napt_lab.labs.report.capture import MESSAGES_KEPT, UDP_KEPT, Window
from tests.packets import ethernet, tcp, udp

COOKIE = 0x2112A442


def stun(kind, *attributes):
    body = b"".join(
        struct.pack("!HH", number, len(value)) + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    return struct.pack("!HHI12x", kind, len(body), COOKIE) + body


def over_tcp(port, payload):
    return ethernet(tcp("10.0.0.7:40000", f"198.51.100.11:{port}", "PA", payload))


def over_udp(port, payload):
    return ethernet(udp("10.0.0.7:40000", f"198.51.100.11:{port}", payload))


def from_server(payload):
    return ethernet(udp("198.51.100.11:3478", "10.0.0.7:40000", payload))


@pytest.mark.parametrize("over", [partial(over_tcp, 3478), from_server])
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
def test_messages(over, message, name):
    assert turn_message(over(message)) == name


def test_channel_data_is_a_datagrams_and_other_ports_are_not_turns():
    data = struct.pack("!HH", 0x4001, 6) + b"hello\n"
    assert turn_message(over_udp(3478, data)) == "ChannelData"
    assert turn_message(over_tcp(3478, data)) is None
    assert turn_message(over_udp(9, data)) is None
    assert turn_message(over_udp(9, stun(0x0003))) is None
    assert turn_message(bytes(60)) is None


@pytest.mark.parametrize(("over", "others"), [(over_tcp, 1), (over_udp, UDP_KEPT)])
def test_in_a_transfer_messages_are_kept_up_to_a_bound(over, others):
    """Of what is no message only the first tell something (labs/report/capture.py)."""

    def kept(port, payload):
        window = Window(0, 0)
        frames = [over(port, payload)] * (2 * MESSAGES_KEPT)
        return sum(not window.is_more_of_the_same("relay:eth0", frame) for frame in frames)

    assert kept(PORT, stun(0x0017)) == others + MESSAGES_KEPT
    assert kept(PORT, b"a file's bytes") == others
    assert kept(9, stun(0x0017)) == others
