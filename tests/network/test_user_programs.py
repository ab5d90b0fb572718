"""`runs: [{program: …}]`: programs of the user's own, and `wait_for` on what a test starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from napt_lab.topologies.network.build_error import ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.own_programs import program
from napt_lab.topologies.network.processes import DeadlinePassed, ProgramEnded
from napt_lab.topologies.network.programs import ProgramError
from napt_lab.topologies.spec.loader import loads
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)

SERVER = """#!/usr/bin/env python3
import pathlib, socket, sys
pathlib.Path("ran").touch()
listener = socket.create_server(("", int(sys.argv[1])))
print("starting")
print(f"listening on port {sys.argv[1]}", file=sys.stderr)
while True:
    with listener.accept()[0] as peer:
        asked = peer.recv(100)
        if asked == b"crash\\n":
            raise RuntimeError("asked to crash")
        peer.sendall(asked)
"""
TEXT = """
internet:
  server:
    address: 151.101.1.69
    runs:
      - web
      - {program: ["./my-server", "5000"], ready: listening on}
      - {program: [./my-server, "5001"], ready: listening on}
      - program: ["true"]
sites:
  home:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {pc: 10.0.0.7}
expect:
  - pc reaches server:5000 as 24.9.3.7
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    server = tmp_path / "my-server"
    server.write_text(SERVER)
    server.chmod(0o755)
    return tmp_path


def topology(folder, runs=None):
    text = TEXT
    if runs is not None:
        begin, _, rest = TEXT.partition("    runs:")
        text = f"{begin}    runs: [{runs}]\nsites:{rest.partition('sites:')[2]}"
    return loads(text.encode(), folder / "t.yaml", programs=True)


def ask(net, port, words="hello"):
    return net["pc"].run(["sh", "-c", f"echo {words} | nc -w 5 151.101.1.69 {port}"])


def labels(net):
    return sorted(process.name for process in net["server"].processes)


def test_they_serve_and_can_be_killed_started_and_rebooted(folder):
    with Network(topology(folder)) as net:
        assert [ask(net, port).stdout for port in (5000, 5001)] == ["hello\n"] * 2
        assert (folder / "ran").exists()  # they run where the YAML file is
        assert labels(net) == ["my-server", "my-server.2", "web:80"]
        net.happen("kill server:my-server.2")
        assert [ask(net, port).status for port in (5000, 5001)] == [0, 1]
        net.happen("start server:my-server.2")
        assert ask(net, 5001).stdout == "hello\n"
        net.reboot("server")
        assert [ask(net, port).stdout for port in (5000, 5001)] == ["hello\n"] * 2


def test_a_crash_is_told_with_the_last_output(folder):
    with pytest.raises(ProgramLost) as lost, Network(topology(folder)) as net:  # noqa: PT012
        ask(net, 5000, "crash")
        wait_until(lambda: labels(net) == ["my-server.2", "web:80"], "its end")
    told = str(lost.value)
    assert told.startswith("my-server on server ended with status 1: starting\nlistening on")
    assert told.endswith("RuntimeError: asked to crash")


@pytest.mark.parametrize(
    ("runs", "error", "words"),
    [
        ("{program: [./my-server], ready: serving}", ProgramEnded,
         r"a line with 'serving': my-server on server ended with status 1: Traceback(.|\n)*Index"),
        ("{program: [echo, hello], ready: serving}", ProgramEnded,
         "echo on server ended with status 0: hello"),
        ("{program: [no-such-program]}", ProgramError,
         "server cannot run 'no-such-program': no such file or directory"),
        ("{program: [sh, -c, exit 3]}", ProgramLost, "sh on server ended with status 3: it has"),
    ],
)  # fmt: skip
def test_one_that_does_not_come_up_is_told(folder, runs, error, words):
    with pytest.raises(error, match=words), Network(topology(folder, runs)) as net:  # noqa: PT012
        for process in net["server"].processes:
            process.await_end()


def test_a_file_runs_nothing_unless_its_reader_says_so(folder):
    (folder / "t.yaml").write_text(TEXT)
    (folder / "silent").write_text("#!/bin/sh\n")
    for more, status, words in ((), 2, "t.yaml:7: internet.server"), (("--programs",), 0, "✓ pc"):
        done = subprocess.run(
            program("napt_lab.labs", "check", *more, str(folder / "t.yaml")),
            capture_output=True, text=True, timeout=50, check=False,
        )  # fmt: skip
        assert (done.returncode, words in done.stdout + done.stderr) == (status, True), done
        assert (folder / "ran").exists() is bool(more)


def test_a_line_can_be_awaited_of_what_a_test_starts(folder):
    with Network(topology(folder, "")) as net:
        server = net["server"].start([str(folder / "my-server"), "5000"])
        assert server.wait_for("listening") == "listening on port 5000"
        assert server.wait_for("starting") == "starting"  # before the call
        with pytest.raises(DeadlinePassed) as passed:
            server.wait_for("ready", deadline=0.2)
        assert "a line with 'ready' from" in str(passed.value)
        assert "on server; so far: starting\nlistening on port 5000" in str(passed.value)
        ask(net, 5000, "crash")
        with pytest.raises(ProgramEnded, match="RuntimeError: asked to crash"):
            server.wait_for("ready")
        much = net["server"].start(["sh", "-c", "yes | head -c 9000000; echo done; exec sleep 99"])
        assert much.wait_for("done") == "done"
