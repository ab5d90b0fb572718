"""The answers of the STUN server: RFC 8489, section 12, RFC 5780, and hostile requests."""

from __future__ import annotations

import aioice
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.binding import CHANGE_ADDRESS, CHANGE_PORT, REFILL, BindingServer
from napt_lab.servers.stun.reply_budget import REPLY_CREDIT
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method, decode, encode

CLIENT = ("24.9.3.7", 40001)
A, A2, B, B2 = ((host, port) for host in ("198.51.100.2", "198.51.100.3") for port in (3478, 3479))


def server(*endpoints, **options):
    return BindingServer(endpoints or (A, A2, B, B2), bytes(32), **options)


def request(*attributes, method=Method.BINDING, message_class=Class.REQUEST):
    return encode(Message(method, message_class, bytes(12), list(attributes)), fingerprint=False)


def change(flags):
    return Attribute.CHANGE_REQUEST, flags.to_bytes(4)


def plain(address):
    return value.encode_address(address)


def test_the_answer_says_what_the_request_came_from():
    data, origin, goal = server(A).answer_datagram(request(), CLIENT, A, 0.0)
    assert (origin, goal) == (A, CLIENT)
    answer = aioice.stun.parse_message(data)
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == CLIENT
    # A single address: no OTHER-ADDRESS, and CHANGE-REQUEST is unknown (RFC 5780, section 6.1).
    assert Attribute.OTHER_ADDRESS not in decode(data)
    refused, *_ = server(A).answer_datagram(request(change(CHANGE_PORT)), CLIENT, A, 0.0)
    assert aioice.stun.parse_message(refused).attributes["ERROR-CODE"][0] == 420
    assert decode(refused).get(Attribute.UNKNOWN_ATTRIBUTES) == value.encode_types([3])


def test_a_server_with_two_addresses_answers_from_where_it_is_asked_to():
    both = CHANGE_ADDRESS | CHANGE_PORT
    for here, flags, origin, other in (
        (A, 0, A, B2), (A, CHANGE_PORT, A2, B), (A, CHANGE_ADDRESS, B, A2), (A, both, B2, A),
        (B2, 0, B2, A), (B2, both, A, B2),
    ):  # fmt: skip
        data, came_from, _ = server().answer_datagram(request(change(flags)), CLIENT, here, 0.0)
        answer = decode(data)
        assert came_from == origin
        assert answer.get(Attribute.RESPONSE_ORIGIN) == plain(origin)
        assert answer.get(Attribute.OTHER_ADDRESS) == plain(other)
        assert answer.get(Attribute.MAPPED_ADDRESS) == plain(CLIENT)


def test_the_answer_goes_to_another_port_or_is_as_long_as_the_request():
    port = (Attribute.RESPONSE_PORT, (5000).to_bytes(2) + bytes(2))
    data, origin, goal = server().answer_datagram(request(port), CLIENT, A, 0.0)
    assert (origin, goal, decode(data).message_class) == (A, (CLIENT[0], 5000), Class.SUCCESS)
    padding = (Attribute.PADDING, bytes(1500))
    data, *_ = server().answer_datagram(request(padding), CLIENT, A, 0.0)
    assert decode(data).get(Attribute.PADDING) == padding[1]
    data, *_ = server().answer_datagram(request(port, padding), CLIENT, A, 0.0)
    assert value.decode_error(decode(data).get(Attribute.ERROR_CODE)) == 400


def test_over_tcp_the_answer_cannot_come_from_elsewhere():
    assert decode(server().answer_stream(request(), CLIENT, A)).message_class == Class.SUCCESS
    refused = server().answer_stream(request(change(CHANGE_PORT)), CLIENT, A)
    assert value.decode_error(decode(refused).get(Attribute.ERROR_CODE)) == 420


def test_what_is_unknown_is_refused_and_what_is_no_request_is_not_answered():
    for wrong, code in (((0x0024, bytes(4)), 420), ((Attribute.CHANGE_REQUEST, b"\0\0"), 400)):
        data, *_ = server().answer_datagram(request(wrong), CLIENT, A, 0.0)
        assert value.decode_error(decode(data).get(Attribute.ERROR_CODE)) == code
    for silent in (
        b"", b"x" * 20, request(method=Method.ALLOCATE), request(message_class=Class.INDICATION),
        request(message_class=Class.SUCCESS),
    ):  # fmt: skip
        assert server().answer_datagram(silent, CLIENT, A, 0.0) is None


def test_a_liar_lies_and_says_from_where():
    lie = ("203.0.113.66", 4000)
    data, *_ = server(A, always=lie).answer_datagram(request(), CLIENT, A, 0.0)
    assert aioice.stun.parse_message(data).attributes["XOR-MAPPED-ADDRESS"] == lie


def test_a_forged_source_is_sent_little_more_than_was_sent_in_its_name():
    ours, sent, got, seconds = server(), 0, 0, 60
    for number in range(20_000):
        data = request()
        answered = ours.answer_datagram(data, CLIENT, A, number * seconds / 20_000)
        sent += len(data)
        assert not answered or len(answered[0]) - len(data) <= 48  # as binding.py says
        got += len(answered[0]) if answered else 0
    assert got <= sent + REPLY_CREDIT + seconds * REFILL
    # Another address is not hurt by that.
    assert ours.answer_datagram(request(), ("203.0.113.77", 1), A, float(seconds)) is not None


@given(st.binary(max_size=120), st.sampled_from([A, A2, B, B2]))
def test_no_bytes_break_it(data, here):
    header = request()[:2] + (len(data) // 4 * 4).to_bytes(2) + request()[4:]
    for each in (data, header + data[: len(data) // 4 * 4]):
        answered = server().answer_datagram(each, CLIENT, here, 0.0)
        assert answered is None or decode(answered[0]).transaction_id == each[8:20]
