"""The peers' programs among strangers: what a relay, a STUN server or anyone may send them."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from napt_lab.servers.p2p.meeting import exchange
from napt_lab.servers.p2p.punch import HEARD, HELLO, punch
from napt_lab.servers.p2p.sockets import udp_socket
from napt_lab.servers.p2p.stun_client import ask
from napt_lab.servers.stun import attributes as value
from napt_lab.servers.stun.stun_message import Attribute, Class, Message, Method, decode, encode

HERE = "127.0.0.1"
SECONDS = 10.0


def end(sock):
    return HERE, sock.getsockname()[1]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"24.9.3.7:40001\n", None),
        (b"relay: this token is in use\n", "told no endpoint: relay: this token is in use"),
        (b"", "nothing came"),
        (b"evil.example:80\n", "told no endpoint"),
        (b"24.9.3.7:0\n", "told no endpoint"),
        (b"24.9.3.7:65536\n", "told no endpoint"),
        (b"9" * 100_000, "told no endpoint: 9{80}$"),
    ],
)
def test_what_a_peer_tells_at_the_meeting(line, error):
    def relay():
        with listener.accept()[0] as sock, sock.makefile("rb") as stream:
            said = stream.readline(), stream.readline()
            sock.sendall(line)
            return said

    with socket.create_server((HERE, 0)) as listener, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(relay)
        if error is None:
            told = exchange(listener.getsockname(), "ab", ("24.9.3.9", 5), SECONDS)
            assert told == ("24.9.3.7", 40001)
            assert serving.result() == (b"ab\n", b"24.9.3.9:5\n")
        else:
            with pytest.raises(OSError, match=error):
                exchange(listener.getsockname(), "ab", ("24.9.3.9", 5), SECONDS)


def test_strangers_do_not_disturb_two_that_punch():
    """The peer sends from another port than the one that was told; the other one's is a stranger's.

    The stranger knows both words of the protocol, but not that of the two peers.
    """
    with udp_socket(0) as one, udp_socket(0) as two, udp_socket(0) as stranger:
        for data in (HELLO, HEARD, b"wrong" + HELLO, b"", b"x" * 2000):
            for sock in (one, two):
                stranger.sendto(data, end(sock))
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(punch, one, end(stranger), b"word", SECONDS)
            second = pool.submit(punch, two, end(one), b"word", SECONDS)
            assert first.result() == end(two)
            assert second.result() == end(one)
        with udp_socket(0) as alone, pytest.raises(TimeoutError, match="was not heard, or did not"):
            punch(alone, end(stranger), b"word", 0.3)


def test_a_client_believes_only_the_server_and_the_transaction_that_it_asked():
    def answer(asked, address, transaction=None):
        transaction = transaction or asked.transaction_id
        mapped = (Attribute.XOR_MAPPED_ADDRESS, value.encode_xor_address(address, transaction))
        return encode(Message(Method.BINDING, Class.SUCCESS, transaction, [mapped]))

    def serve():
        data, client = server.recvfrom(2048)
        asked = decode(data)
        stranger.sendto(answer(asked, ("203.0.113.66", 1)), client)
        for each in (b"", b"junk", answer(asked, ("203.0.113.66", 2), bytes(12)),
                     encode(Message(Method.BINDING, Class.ERROR, asked.transaction_id)),
                     answer(asked, client)):  # fmt: skip
            server.sendto(each, client)

    with (
        udp_socket(0) as sock, udp_socket(0) as server, udp_socket(0) as stranger,
        ThreadPoolExecutor(1) as pool,
    ):  # fmt: skip
        pool.submit(serve)
        assert ask(sock, end(server)) == end(sock)
