"""The live page's server: what it refuses, and what a browser that does not read loses."""

from __future__ import annotations

import http.client
import json
import socket
import time

import pytest

from napt_lab.labs.view.door import open_door
from napt_lab.labs.view.exchange import BODY_LIMIT
from napt_lab.labs.view.server import BEHIND, Server

MANY = 4 * BEHIND


@pytest.fixture
def server():
    door = open_door(1)
    server = Server(door, "A title", lambda what, line, step: (True, f"{what} {line} {step}"))
    server.start()
    yield server, door
    server.end("over")
    server.stop()


def answer_to(door, *pieces):
    """Its status and its text. Each piece of the request is sent by itself."""
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read().decode()


def posted(door, body, what="do"):
    own = f"127.0.0.1:{door.port}"
    return (
        f"POST /{door.secret}/{what} HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def test_a_request_may_come_in_pieces(server):
    _, door = server
    request = posted(door, '{"line": "b", "step": 2}', what="predict")
    pieces = [request[at : at + 7] for at in range(0, len(request), 7)]
    assert answer_to(door, *pieces) == (200, '{"text": "predict b 2"}')


@pytest.mark.parametrize(
    "body",
    ["", "{", "[1]", '{"line": 5, "step": 2}', '{"line": "b"}', '{"line": "b", "step": 1e999}',
     "[" * BODY_LIMIT],
)  # fmt: skip
def test_what_is_no_request_of_the_page_is_refused(server, body):
    _, door = server
    assert answer_to(door, posted(door, body))[0] == 400


def test_a_request_that_is_too_long_is_told_so(server):
    _, door = server
    assert answer_to(door, posted(door, "x" * 100 * BODY_LIMIT))[0] == 413


@pytest.mark.parametrize("head", ["", "Host: {0}\r\nHost: {0}\r\n", "Host: {0}\r\nno field\r\n"])
def test_what_http_forbids_is_refused(server, head):
    _, door = server
    fields = head.format(f"127.0.0.1:{door.port}")
    assert answer_to(door, f"GET /{door.secret}/ HTTP/1.1\r\n{fields}\r\n".encode())[0] == 400


def test_a_browser_that_asks_for_nothing_delays_no_end():
    door = open_door(1)
    server = Server(door, "A title", lambda *_: (True, ""))
    server.start()
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as silent:
        assert answer_to(door, f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{door.port}\r\n\r\n".encode())
        server.end("over")
        server.stop()
        assert silent.recv(1) == b""


def entries(start, count):
    """Packets with a step in each hundred."""
    return [
        {"kind": "packet" if number % 100 else "step", "t": number, "filler": "x" * 300}
        for number in range(start, start + count)
    ]


def listen(door):
    """A browser that has asked for the stream and has read nothing of it."""
    connection = socket.create_connection(("127.0.0.1", door.port), timeout=30)
    head = f"GET /{door.secret}/stream HTTP/1.1\r\nHost: 127.0.0.1:{door.port}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def read_all(connection):
    """All entries that come until the end of the run."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    found = []
    for line in answer:
        if line.startswith(b"data: ["):
            found += json.loads(line[6:])
        elif line.startswith(b"event: over"):
            return found
    raise AssertionError("the stream ended without a word")


def test_a_browser_that_does_not_read_slows_nobody_down(server):
    server, door = server
    with listen(door) as slow, listen(door) as quick:
        began = time.monotonic()
        server.publish(entries(0, MANY))
        assert time.monotonic() - began < 1  # it does not wait for them
        server.end("over")
        numbers = [entry["t"] for entry in read_all(quick)]
        assert numbers == sorted(set(numbers))
        late = [entry["t"] for entry in read_all(slow)]
    for told in (numbers, late):
        assert set(range(0, MANY, 100)) <= set(told)  # no step is lost
        assert set(range(MANY - BEHIND, MANY)) <= set(told)  # nor what is new
        assert len(told) < MANY  # but old packets are


def test_one_that_comes_back_gets_what_it_missed(server):
    server, door = server
    server.publish(entries(0, 50))
    server.end("over")
    with socket.create_connection(("127.0.0.1", door.port), timeout=30) as connection:
        head = f"GET /{door.secret}/stream HTTP/1.1\r\nHost: 127.0.0.1:{door.port}\r\n"
        connection.sendall(f"{head}Last-Event-ID: 40\r\n\r\n".encode())
        assert [entry["t"] for entry in read_all(connection)] == list(range(40, 50))
