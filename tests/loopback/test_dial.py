"""napt_lab.servers.dial: what nc does, over loopback."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading

import pytest


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
    assert (ended.returncode, ended.stderr) == (1, "dial: nothing came for 0.2 s\n")


def test_nobody_listens(listener, tmp_path):
    port = listener.getsockname()[1]
    listener.close()
    ended = dial(port, tmp_path, "--receive", "in")
    assert ended.returncode == 1
    assert "dial: " in ended.stderr
    assert "Traceback" not in ended.stderr
