"""The control socket's client for people, where its output goes to somebody who has enough."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RULE = {
    "protocol": "tcp", "internal": "10.0.0.7:80", "external": "24.9.3.7:80", "remote": "*",
    "packets_out": 1, "packets_in": 1, "made_by": "hand", "sessions": [], "explicit": True,
}  # fmt: skip
RULES = {"ok": True, "total": 5000, "rules": [RULE] * 5000}


@pytest.mark.parametrize("command", ["rules", "rules --json", "events"])
def test_a_reader_who_has_enough_ends_it_without_a_word(tmp_path, command):
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        client = subprocess.Popen(
            ["bash", "-c", f'"$0" -m napt_lab.nat_node {command} --control "$1" | head -c 9',
             sys.executable, str(path)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        connection, _ = listener.accept()
        connection.settimeout(20)
        with connection, connection.makefile() as lines:
            assert json.loads(lines.readline()) == {"do": command.split()[0]}
            if command == "events":
                connection.sendall(b'{"ok": true}\n')
                with pytest.raises(ConnectionError):
                    connection.sendall(b'{"event": "drop"}\n' * 1_000_000)
            else:
                connection.sendall(json.dumps(RULES).encode() + b"\n")
    out, err = client.communicate(timeout=20)
    assert (len(out), err) == (9, "")
