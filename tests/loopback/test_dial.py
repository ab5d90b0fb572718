"""napt_lab.servers.dial: what nc does, over loopback."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading

import pytest

from napt_lab.servers.shared.splice import reset
from tests.loopback.running import running


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(20)
        yield sock


def dial(port, folder, *options):
    return subprocess.run(
        [sys.executable, "-m", "napt_lab.servers.dial", f"127.0.0.1:{port}", *options],
        cwd=folder, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def test_both_ways_at_once_with_a_word_first(listener, tmp_path):
    sent, answer, heard = b"s" * 300_000, b"r" * 300_000, bytearray()
    (tmp_path / "out").write_bytes(sent)

    def serve():
        connection, _ = listener.accept()
        connection.settimeout(20)
        with connection:
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                heard.extend(data)

    server = threading.Thread(target=serve)
    server.start()
    ended = dial(
        listener.getsockname()[1], tmp_path, "--word", "cafe", "--send", "out", "--receive", "in"
    )
    server.join(10)
    assert ended.returncode == 0, ended.stderr
    assert bytes(heard) == b"cafe\n" + sent
    assert (tmp_path / "in").read_bytes() == answer
    done = json.loads(ended.stdout.splitlines()[-1])
    assert (done["event"], done["sent"], done["received"]) == ("done", len(sent), len(answer))
    assert done["sha256"] == hashlib.sha256(answer).hexdigest()


def test_who_is_silent_is_not_waited_for_any_longer(listener, tmp_path):
    ended = dial(listener.getsockname()[1], tmp_path, "--receive", "in", "--wait", "0.2")
    assert (ended.returncode, ended.stderr) == (1, "dial: timed out after 0.2 s of silence\n")


def test_nobody_listens(listener, tmp_path):
    port = listener.getsockname()[1]
    listener.close()
    ended = dial(port, tmp_path, "--receive", "in")
    assert (ended.returncode, ended.stderr) == (1, f"dial: 127.0.0.1:{port}: Connection refused\n")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("guess", "the first line must be a token of hexadecimal digits"),
        ("0" * 32, "no other party came with this token within 0.2 s"),
    ],
)
@pytest.mark.parametrize("way", ["send", "receive"])
def test_a_refused_word_is_an_error_and_no_file(tmp_path, word, reason, way):
    (tmp_path / "send").write_bytes(b"s" * 3_000_000)  # more than buffers take
    with running("napt_lab.servers.relay.relay", "--waiting-time", "0.2") as relay:
        ended = dial(relay.port, tmp_path, "--word", word, f"--{way}", way)
    assert (ended.returncode, ended.stderr) == (1, f"dial: the relay refused: {reason}\n")
    assert "done" not in ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["send"]


def test_a_file_that_begins_as_a_refusal_does_is_still_a_file(tmp_path):
    """The control: a FIN, not a reset, ends it."""
    (tmp_path / "out").write_bytes(b"relay: a story\n")
    token = "0" * 32
    with running("napt_lab.servers.relay.relay") as relay:
        options = (relay.port, tmp_path, "--word", token)
        sender = threading.Thread(target=dial, args=(*options, "--send", "out"))
        sender.start()
        ended = dial(*options, "--receive", "in")
        sender.join(20)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "in").read_bytes() == b"relay: a story\n"


def test_a_transfer_that_is_reset_leaves_no_file(listener, tmp_path):
    def serve():
        connection, _ = listener.accept()
        connection.sendall(b"half a file")
        connection.recv(1)  # its own token: it has dialled
        reset(connection)

    server = threading.Thread(target=serve)
    server.start()
    port = listener.getsockname()[1]
    ended = dial(port, tmp_path, "--word", "x", "--receive", "in")
    server.join(10)
    said = f"dial: 127.0.0.1:{port}: Connection reset by peer\n"
    assert (ended.returncode, ended.stderr) == (1, said)
    assert list(tmp_path.iterdir()) == []
