"""Events are lines of JSON, and their reader cannot hold up the server."""

from __future__ import annotations

import json
import os
import pty

from napt_lab.servers.shared.events import Emitter, endpoint


def test_one_line_an_event():
    reader, writer = os.pipe()
    Emitter(writer).emit("request", peer="24.9.3.7:40001")
    line = os.read(reader, 4096)
    assert line.endswith(b"\n")
    event = json.loads(line)
    assert event["event"] == "request"
    assert event["peer"] == "24.9.3.7:40001"
    assert event["time"] > 0


def test_nobody_reads_and_then_somebody_does():
    reader, writer = os.pipe()
    emitter = Emitter(writer)
    for number in range(50_000):  # more than any pipe holds: a blocking write would hang here
        emitter.emit("request", number=number)
    os.set_blocking(reader, False)
    lines = b""
    while len(piece := read_some(reader)) > 0:
        lines += piece
    seen = [json.loads(line)["number"] for line in lines.splitlines()]
    assert seen == list(range(len(seen)))
    assert 0 < len(seen) < 50_000
    emitter.emit("request", number=50_000)
    assert json.loads(os.read(reader, 4096))["dropped"] == 50_000 - len(seen)
    emitter.emit("request", number=50_001)
    assert "dropped" not in json.loads(os.read(reader, 4096))


def read_some(descriptor):
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


def test_the_reader_is_gone():
    reader, writer = os.pipe()
    emitter = Emitter(writer)
    os.close(reader)
    emitter.emit("request")


def test_a_line_too_long_for_one_write_is_dropped_whole():
    reader, writer = os.pipe()
    emitter = Emitter(writer)
    emitter.emit("request", path="x" * 5000)
    emitter.emit("request", path="y")
    event = json.loads(os.read(reader, 8192))
    assert (event["path"], event["dropped"]) == ("y", 1)


def test_the_blocking_mode_of_whoever_shares_the_pipe_is_left_alone():
    _, writer = os.pipe()
    Emitter(writer)
    assert os.get_blocking(writer)


def test_endpoints():
    assert endpoint(("24.9.3.7", 40001)) == "24.9.3.7:40001"
    assert endpoint(("2001:db8::1", 80, 0, 0)) == "[2001:db8::1]:80"


def test_a_person_at_a_terminal_reads_words_and_a_program_json():
    controller, terminal = pty.openpty()
    Emitter(terminal).emit(
        "granted", port=8080, external="24.9.3.7:8080", first=["a", "b"], empty=""
    )
    said = os.read(controller, 4096)
    assert said == b"granted: port 8080, external 24.9.3.7:8080, first a, b\r\n"
    reader, writer = os.pipe()
    Emitter(writer).emit("granted", port=8080)
    assert json.loads(os.read(reader, 4096))["port"] == 8080
