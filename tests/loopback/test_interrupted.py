"""Our programs as they are typed on a node, ended by Ctrl-C: status 130 and no traceback."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading

import pytest

from napt_lab.topologies.network import own_programs
from tests.loopback.running import running

TOKEN = "00112233445566778899aabbccddeeff"
LAUNCH = "napt_lab.topologies.network.launch"
INTERRUPTED = 128 + signal.SIGINT


def typed(name, *words, folder):
    module = own_programs.COMMANDS.get(name, name)
    return subprocess.Popen(
        [sys.executable, "-m", LAUNCH, module, *words],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def interrupted(process):
    """Press Ctrl-C; what it wrote to stderr until its end."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED, said
    return said


@pytest.fixture
def silent_server():
    """Takes one connection and says nothing; set once it has come."""
    came = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        taken = []

        def accept():
            taken.append(listener.accept()[0])
            came.set()

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1], came
        thread.join(20)
        for connection in taken:
            connection.close()


def test_every_program_is_typed_through_the_same_start(tmp_path):
    own_programs.install(tmp_path / "programs")
    for name, module in own_programs.COMMANDS.items():
        script = (tmp_path / "programs" / name).read_text()
        assert script.endswith(f'-P -m {LAUNCH} {module} "$@"\n')
        help_ = subprocess.run([tmp_path / "programs" / name, "--help"], capture_output=True)
        assert help_.returncode == 0, help_.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dial", "127.0.0.1:{port} --receive got"),
        ("turn-client", "--server 127.0.0.1:{port} --user a:b --permit 127.0.0.1 --receive got"),
        ("connections", "127.0.0.1:{port} --count 1"),
    ],
)
def test_a_client_that_waits_ends_quietly(tmp_path, silent_server, name, words):
    port, came = silent_server
    process = typed(name, *words.format(port=port).split(), folder=tmp_path)
    assert came.wait(20)
    assert interrupted(process) == ""
    assert list(tmp_path.iterdir()) == [], "no half file, no FIFO"


def test_it_is_quiet_while_it_is_still_being_imported(tmp_path, monkeypatch):
    # Short sleeps: Python does not hear a Ctrl-C that comes just before it begins to sleep.
    slow = "import time\nprint('x', flush=True)\nfor _ in range(400):\n    time.sleep(0.05)\n"
    (tmp_path / "slow.py").write_text(slow)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    process = typed("slow", folder=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    assert interrupted(process) == ""


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["half-closed", "still sending"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill"])
def test_the_relay_forgets_a_waiting_party_that_was_ended(tmp_path, size, number):
    (tmp_path / "out").write_bytes(b"s" * size)
    with running("napt_lab.servers.relay.relay") as relay:
        server = f"127.0.0.1:{relay.port}"
        first = typed("dial", server, "--word", TOKEN, "--send", "out", folder=tmp_path)
        peer = relay.event("waiting")["peer"]
        first.send_signal(number)
        first.communicate(timeout=20)
        relay.event("left", peer=peer, reason="the connection was reset while waiting")
        second = typed("dial", server, "--word", TOKEN, "--receive", "in", folder=tmp_path)
        first = typed("dial", server, "--word", TOKEN, "--send", "out", folder=tmp_path)
        assert second.wait(20) == first.wait(20) == 0, "a living party is joined (control)"
        for process in (first, second):
            process.communicate()
        relay.event("joined")
        assert peer not in str(relay.told("joined"))
    assert (tmp_path / "in").read_bytes() == b"s" * size


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill"])
def test_a_file_that_tcp_punch_has_sent_in_part_does_not_look_whole(tmp_path, number):
    (tmp_path / "out").write_bytes(b"s" * 30_000_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        peer = f"127.0.0.1:{listener.getsockname()[1]}"
        sender = typed("tcp-punch", "--port", "0", "--peer", peer, "--send", "out", folder=tmp_path)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            assert connection.recv(1) == b"s"
            sender.send_signal(number)
            sender.communicate(timeout=20)
            with pytest.raises(ConnectionResetError):
                read_to_end(connection)
        sender = typed("tcp-punch", "--port", "0", "--peer", peer, "--send", "out", folder=tmp_path)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            assert read_to_end(connection) == 30_000_000, "the control"
        sender.communicate(timeout=20)


def read_to_end(connection):
    """How many bytes come before the other side's FIN."""
    size = 0
    while data := connection.recv(1 << 20):
        size += len(data)
    return size


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dial", "127.0.0.1:{port} --send {file}"),
        ("turn-client", "--server 127.0.0.1:{port} --user a:b --permit 127.0.0.1 --send {file}"),
        ("dial", "127.0.0.1:{port} --receive {file}"),
        ("turn-client", "--server 127.0.0.1:{port} --user a:b --permit 127.0.0.1 --receive {file}"),
    ],
)
def test_a_file_is_looked_at_before_any_connection(tmp_path, name, words):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        wrong = {"--send": "nofile", "--receive": "nofolder/file"}[words.split()[-2]]
        for file in (wrong, "."):
            process = typed(name, *words.format(port=port, file=file).split(), folder=tmp_path)
            _, said = process.communicate(timeout=20)
            reason = {"nofile": "no such file", "nofolder/file": "no such folder: nofolder"}
            assert f"{file}: {reason.get(file, 'is a folder')}\n" in said
            assert process.returncode == 2
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
