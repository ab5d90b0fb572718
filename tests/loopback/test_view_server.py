"""The live page's stream: a browser that does not read delays nobody, and loses packets only."""

from __future__ import annotations

import http.client
import json
import socket
import time

import pytest

from napt_lab.labs.view.door import open_door
from napt_lab.labs.view.server import BEHIND, Server

MANY = 4 * BEHIND


@pytest.fixture
def server():
    door = open_door(1)
    server = Server(door, "A title", lambda what, line: (True, f"{what} {line}"))
    server.start()
    yield server, door
    server.end("over")
    server.stop()


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
