"""The control socket's client for people, where its output goes to somebody who has enough."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from napt_lab.nat_node.control.rule_lines import rule_lines

ROOT = Path(__file__).parents[3]
RULE = {
    "protocol": "tcp", "internal": "10.0.0.7:80", "external": "24.9.3.7:80", "remote": "*",
    "packets_out": 1, "packets_in": 1, "made_by": "hand", "sessions": [], "explicit": True,
}  # fmt: skip
RULES = {"ok": True, "total": 5000, "rules": [RULE] * 5000}


def test_the_rule_of_a_lease_shows_whom_it_lets_in(tmp_path):
    """As the prompt's `rules` does: the addresses of the lease's filters, not `*`."""
    path = tmp_path / "control.sock"
    lease = {"protocol": "pcp", "expires_in": 60.0, "ended": False}
    filters = ["203.0.113.77/32:*", "198.51.100.0/24:80"]
    leased = RULE | {"lease": lease | {"filters": filters}}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        client = subprocess.Popen(
            [sys.executable, "-m", "napt_lab.nat_node", "rules", "--control", str(path)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        connection, _ = listener.accept()
        with connection, connection.makefile() as lines:
            lines.readline()
            answer = {"ok": True, "total": 1, "rules": [leased]}
            connection.sendall(json.dumps(answer).encode() + b"\n")
    out, _ = client.communicate(timeout=20)
    assert out.splitlines()[1:] == rule_lines([leased])[1:]
    assert out.splitlines()[1].split()[-2:] == ["203.0.113.77/32:*", "…"]
    assert "leased by pcp for another 60.0 s" in out


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
