"""Cutting a TCP stream into messages, whatever the segments."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.stun.stun_message import Class, Message, Method, encode
from napt_lab.servers.turn.framing import Deframer, Desynchronised, channel_data

BINDING = encode(Message(Method.BINDING, Class.REQUEST, bytes(12)))
MESSAGES = [
    BINDING,
    channel_data(0x4000, b"12345", pad=True),
    BINDING,
    channel_data(0x4FFF, b"", pad=True),
]


def cut(deframer, segments):
    messages = []
    for segment in segments:
        deframer.feed(segment)
        while (message := deframer.next_message()) is not None:
            messages.append(bytes(message))
    return messages


@given(st.lists(st.integers(0, len(b"".join(MESSAGES)))))
def test_messages_do_not_depend_on_segments(cuts):
    stream = b"".join(MESSAGES)
    edges = [0, *sorted(cuts), len(stream)]
    segments = [stream[a:b] for a, b in pairwise(edges)]
    assert cut(Deframer(4096), segments) == MESSAGES


def test_channel_data_is_padded_over_tcp_only():
    assert channel_data(0x4001, b"12345", pad=True) == b"\x40\x01\x00\x0512345\x00\x00\x00"
    assert channel_data(0x4001, b"12345", pad=False) == b"\x40\x01\x00\x0512345"


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", b"\xff" * 4, b"\x00\x01\x00\x03"])
def test_what_is_neither_stun_nor_channel_data_ends_the_stream(garbage):
    # "G" is 0x47, which looks like a channel: it is too long a message instead.
    with pytest.raises(Desynchronised):
        cut(Deframer(4096), [garbage])


def test_a_message_longer_than_the_limit_is_refused_before_it_is_held():
    deframer = Deframer(100)
    with pytest.raises(Desynchronised):
        cut(deframer, [channel_data(0x4000, bytes(101), pad=True)[:4]])


def test_the_rest_is_what_was_not_cut():
    deframer = Deframer(4096)
    deframer.feed(BINDING + b"peer's bytes")
    assert deframer.next_message() == BINDING
    assert deframer.rest() == b"peer's bytes"
    assert deframer.rest() == b""
