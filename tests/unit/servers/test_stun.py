"""The STUN codec against the published vectors of RFC 5769 and an independent codec."""

import contextlib
import random

import aioice.stun
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.stun_message import (
    Attribute,
    Class,
    Malformed,
    Message,
    Method,
    decode,
    encode,
)
from napt_lab.servers.turn.credentials import MD5, SHA256, long_term_key

REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)
RESPONSE_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
RESPONSE_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004c8fb0b4c"
)
LONG_TERM_REQUEST = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341"
    "0014000b6578616d706c652e6f726700"
    "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)
SHORT_TERM_KEY = b"VOkJxbRl1RmTxUk/WvJxBt"
VECTORS = [REQUEST, RESPONSE_IPV4, RESPONSE_IPV6, LONG_TERM_REQUEST]


@pytest.mark.parametrize("vector", VECTORS[:3], ids=["request", "ipv4", "ipv6"])
def test_rfc5769_2_integrity_and_fingerprint(vector):
    message = decode(vector)
    assert message.has_fingerprint
    assert message.verify(Attribute.MESSAGE_INTEGRITY, SHORT_TERM_KEY)
    assert not message.verify(Attribute.MESSAGE_INTEGRITY, SHORT_TERM_KEY + b"!")


@pytest.mark.parametrize(
    ("vector", "address"),
    [
        (RESPONSE_IPV4, ("192.0.2.1", 32853)),
        (RESPONSE_IPV6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
    ],
)
def test_rfc5769_2_xor_mapped_address(vector, address):
    message = decode(vector)
    assert (message.method, message.message_class) == (Method.BINDING, Class.SUCCESS)
    mapped = message.get(Attribute.XOR_MAPPED_ADDRESS)
    assert value.decode_xor_address(mapped, message.transaction_id) == address
    assert value.encode_xor_address(address, message.transaction_id) == mapped
    assert message.get(Attribute.SOFTWARE) == b"test vector"


def test_rfc5769_2_4_long_term_credentials():
    message = decode(LONG_TERM_REQUEST)
    username = message.get(Attribute.USERNAME).decode()
    assert username == "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
    # SASLprep made "TheMatrIX" of the vector's password with a soft hyphen; this is its result.
    key = long_term_key(MD5, username, "example.org", "TheMatrIX")
    assert message.verify(Attribute.MESSAGE_INTEGRITY, key)


def test_rfc5769_2_4_is_encoded_byte_for_byte():
    decoded = decode(LONG_TERM_REQUEST)
    kept = [pair for pair in decoded.attributes if pair[0] != Attribute.MESSAGE_INTEGRITY]
    key = long_term_key(MD5, decoded.get(Attribute.USERNAME).decode(), "example.org", "TheMatrIX")
    again = Message(Method.BINDING, Class.REQUEST, decoded.transaction_id, kept)
    integrity = (Attribute.MESSAGE_INTEGRITY, key)
    assert encode(again, integrity=integrity, fingerprint=False) == LONG_TERM_REQUEST


@pytest.mark.parametrize("vector", VECTORS[:3], ids=["request", "ipv4", "ipv6"])
def test_one_flipped_bit_before_the_fingerprint_is_noticed(vector):
    for bit in range((len(vector) - 8) * 8):
        damaged = bytearray(vector)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            message = decode(bytes(damaged))
        except Malformed:
            continue
        assert not message.verify(Attribute.MESSAGE_INTEGRITY, SHORT_TERM_KEY)


def test_sha256_integrity_may_be_truncated_but_not_below_16_bytes():
    key = long_term_key(SHA256, "alice", "napt.lab", "secret")
    whole = encode(
        Message(Method.ALLOCATE, Class.REQUEST, bytes(12)),
        integrity=(Attribute.MESSAGE_INTEGRITY_SHA256, key),
        fingerprint=False,
    )
    assert decode(whole).verify(Attribute.MESSAGE_INTEGRITY_SHA256, key)
    short = whole[:2] + (4 + 12).to_bytes(2) + whole[4:22] + (12).to_bytes(2) + whole[24:36]
    with pytest.raises(Malformed, match="16 to 32"):
        decode(short)


def test_an_attribute_longer_than_its_message_is_malformed():
    message = bytes.fromhex("00010008 2112a442") + bytes(12) + bytes.fromhex("00060005 61626364")
    with pytest.raises(Malformed, match="beyond the end"):
        decode(message)


def test_what_follows_the_integrity_is_ignored():
    key = b"key"
    protected = encode(
        Message(Method.REFRESH, Class.REQUEST, bytes(12)),
        integrity=(Attribute.MESSAGE_INTEGRITY, key),
        fingerprint=False,
    )
    smuggled = protected + bytes.fromhex("000d000400000000")
    smuggled = smuggled[:2] + (len(smuggled) - 20).to_bytes(2) + smuggled[4:]
    message = decode(smuggled)
    assert message.verify(Attribute.MESSAGE_INTEGRITY, key)
    assert Attribute.LIFETIME not in message


@pytest.mark.parametrize("method", [*Method, 0xFFF, 0x080, 0x00F])
@pytest.mark.parametrize("message_class", Class)
def test_method_and_class_survive_their_interleaving(method, message_class):
    message = decode(encode(Message(method, message_class, bytes(12))))
    assert (message.method, message.message_class) == (method, message_class)


def test_aioice_reads_what_we_write():
    """An independent codec agrees on every kind of value."""
    transaction_id = random.Random(1).randbytes(12)
    peer = ("198.51.100.7", 5000)
    key = b"0123456789abcdef"
    message = Message(
        Method.CHANNEL_BIND,
        Class.REQUEST,
        transaction_id,
        [
            (Attribute.CHANNEL_NUMBER, value.encode_channel(0x4001)),
            (Attribute.XOR_PEER_ADDRESS, value.encode_xor_address(peer, transaction_id)),
            (Attribute.LIFETIME, value.encode_number(600)),
            (Attribute.ERROR_CODE, value.encode_error(438)),
            (Attribute.DATA, b"odd"),
        ],
    )
    data = encode(message, integrity=(Attribute.MESSAGE_INTEGRITY, key))
    theirs = aioice.stun.parse_message(data)
    assert theirs.check_message_integrity(key)
    assert not theirs.check_message_integrity(b"another")
    assert theirs.attributes["CHANNEL-NUMBER"] == 0x4001
    assert theirs.attributes["XOR-PEER-ADDRESS"] == peer
    assert theirs.attributes["LIFETIME"] == 600
    assert theirs.attributes["ERROR-CODE"] == (438, "Stale Nonce")
    assert theirs.attributes["DATA"] == b"odd"


def test_we_read_what_aioice_writes():
    theirs = aioice.stun.Message(
        message_method=aioice.stun.Method.ALLOCATE, message_class=aioice.stun.Class.REQUEST
    )
    theirs.attributes["LIFETIME"] = 777
    theirs.attributes["USERNAME"] = "alice"
    theirs.add_message_integrity(b"key")
    ours = decode(bytes(theirs))
    assert ours.verify(Attribute.MESSAGE_INTEGRITY, b"key")
    assert value.decode_number(ours.get(Attribute.LIFETIME)) == 777
    assert ours.get(Attribute.USERNAME) == b"alice"


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_message_or_malformed(data):
    try:
        message = decode(data)
    except Malformed:
        return
    assert message.raw == data


@given(st.sampled_from(VECTORS), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255))))
def test_mutated_messages_are_a_message_or_malformed(vector, changes):
    data = bytearray(vector)
    for position, byte in changes:
        data[position % len(data)] = byte
    try:
        decode(bytes(data))
    except Malformed:
        return


@given(st.binary(max_size=40), st.binary(min_size=12, max_size=12))
def test_values_from_strangers_raise_only_value_errors(data, transaction_id):
    for decoder in (
        value.decode_number,
        value.decode_byte,
        value.decode_channel,
        value.decode_error,
        lambda each: value.decode_xor_address(each, transaction_id),
    ):
        with contextlib.suppress(ValueError):
            decoder(data)
