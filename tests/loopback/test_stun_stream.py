"""STUN over TCP: requests in pieces, several on a connection, and what is not one."""

from __future__ import annotations

import contextlib
import socket

import pytest

from napt_lab.servers.stun.stun_message import Class, Message, Method, decode, encode
from tests.server_program import Program

REQUEST = encode(Message(Method.BINDING, Class.REQUEST, bytes(12)))


@pytest.fixture(scope="session")
def server():
    with Program("napt_lab.servers.stun", "--address", "127.0.0.1", "--port", 0) as program:
        host, _, port = program.ready["listening"][0].partition(":")
        yield host, int(port)


def test_each_request_is_answered_however_it_is_cut(server):
    with socket.create_connection(server, timeout=10) as sock, sock.makefile("rb") as stream:
        for pieces in ([REQUEST], [REQUEST[:7], REQUEST[7:21], REQUEST[21:]]):
            for piece in pieces:
                sock.sendall(piece)
            header = stream.read(20)
            answer = decode(header + stream.read(int.from_bytes(header[2:4])))
            assert (answer.message_class, answer.transaction_id) == (Class.SUCCESS, bytes(12))


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\xff\xfc" + REQUEST[4:],  # longer than any request
        b"GET / HTTP/1.1\r\n\r\n" + bytes(20),
        encode(Message(Method.ALLOCATE, Class.REQUEST, bytes(12))),
        REQUEST[:10],
    ],
    ids=["overlong", "http", "another method", "cut off"],
)
def test_what_is_not_one_ends_the_connection(server, data):
    with (
        socket.create_connection(server, timeout=10) as sock,
        contextlib.suppress(ConnectionResetError, BrokenPipeError),
    ):
        sock.sendall(data)
        if len(data) < len(REQUEST):
            sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == b""
