"""The prompt's commands on a running network, typed by nobody."""

from __future__ import annotations

import io
import os
from collections import deque
from pathlib import Path

import pytest
from rich.console import Console

from labs.prompt import Prompt
from labs.registry import TOPOLOGIES
from topologies.builder import Network
from topologies.loader import load

pytestmark = pytest.mark.network(timeout=30)


@pytest.fixture
def keyboard(monkeypatch):
    """A standard input on which nobody types unless the test does; returns its other end."""
    here, there = os.pipe()
    with os.fdopen(here) as stdin, os.fdopen(there, "w") as keys:
        monkeypatch.setattr("sys.stdin", stdin)
        yield keys


def typed(monkeypatch, *lines):
    """What the prompt shows for these lines, in a shell on two sites."""
    waiting = deque(lines)

    def read(_prompt):
        if not waiting:
            raise EOFError
        return waiting.popleft()

    monkeypatch.setattr("builtins.input", read)
    out = io.StringIO()
    with Network(load(TOPOLOGIES / "two-sites.yaml")) as net:
        Prompt(Console(file=out, width=80, highlight=False)).explore(net)
    return out.getvalue()


def test_watch_shows_each_packet_until_the_command_ends(monkeypatch, keyboard):
    shown = typed(monkeypatch, "watch bob while bob ping -q -c 1 198.51.100.10").splitlines()
    assert any("eth0 out 10.0.0.9 → 198.51.100.10 icmp echo request" in line for line in shown)
    assert any("eth0 in  198.51.100.10 → 10.0.0.9 icmp echo reply" in line for line in shown)


def test_watch_ends_with_enter(monkeypatch, keyboard):
    keyboard.write("\n")
    keyboard.flush()
    assert "until Enter" in typed(monkeypatch, "watch napt_a wan0")


def test_names_that_do_not_exist_are_told_with_those_that_do(monkeypatch):
    shown = typed(
        monkeypatch, "shell nobody", "watch bob wlan0", "watch nobody", "nobody ls", "bob 'x", "bob"
    )
    assert shown.count("The nodes: internet, files, relay, napt_a, alice, napt_b, bob") == 3
    assert "bob has no wlan0; it has eth0" in shown
    assert "No closing quotation: nothing was done" in shown
    assert "say what bob is to run" in shown


def test_a_command_is_run_without_a_shell(monkeypatch, capfd):
    shown = typed(monkeypatch, "bob echo '$HOME; id' >", "bob false", "next")
    assert "$HOME; id >\n" in capfd.readouterr().out
    assert "false on bob: exit status 1" in shown
    assert "next is neither a command" in shown


def test_a_node_knows_the_public_names_and_asks_no_name_server(monkeypatch, keyboard, capfd):
    before = Path("/etc/hosts").read_text()
    shown = typed(
        monkeypatch,
        "bob ping -q -c 1 files",
        "bob grep -c . /etc/resolv.conf",
        "watch bob while bob getent hosts nobody.example",
    )
    assert "PING files (198.51.100.10)" in capfd.readouterr().out
    assert "grep on bob: exit status 1" in shown
    assert ":53" not in shown
    assert Path("/etc/hosts").read_text() == before


def test_rules_are_two_lines_each_and_whole(monkeypatch):
    shown = typed(
        monkeypatch,
        "napt_a python -m nat_node add tcp 24.9.3.7:8080 10.0.0.7:8080",
        "bob ping -q -c 1 198.51.100.10",
        "rules",
    ).splitlines()
    assert "napt_a: 1 rule" in shown
    assert "  tcp   10.0.0.7:8080         24.9.3.7:8080         *" in shown
    assert any("stays until it is removed; 0 out, 0 in; made by hand" in line for line in shown)
    assert any("in use, expires in" in line for line in shown)
    assert max(map(len, shown)) <= 80
