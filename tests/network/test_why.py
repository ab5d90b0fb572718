"""`why` on a running network: of which command, and what went wrong."""

from __future__ import annotations

import os

import pytest

from tests.network.typed_lines import typed

pytestmark = pytest.mark.network(timeout=30)

#: All that files gets and sends takes 0.7 s.
SLOW = """
internet:
  files: {address: 198.51.100.10, runs: [{file-server: {port: 8080}}], link: {delay: 700ms}}
sites:
  a:
    gateway: {name: napt_a, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {alice: 10.0.0.7}
"""
NOTHING = "No node dropped or refused a packet of the last command"


@pytest.fixture(autouse=True)
def nobody_types(monkeypatch, tmp_path):
    """There is no history, and no terminal."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    here, there = os.pipe()
    with os.fdopen(here) as stdin, os.fdopen(there, "w"):
        monkeypatch.setattr("sys.stdin", stdin)
        yield


def said(shown):
    """What each `why` has said: the headings, with their lines."""
    found, heading = {}, ""
    for line in shown.splitlines():
        if line.startswith("  "):
            found[heading].append(line.partition(" s ago: ")[2] or line.strip())
        elif line.endswith(":"):
            heading = line.removesuffix(":")
            found.setdefault(heading, [])
    return found


def test_a_late_answer_belongs_to_the_command_that_asked(monkeypatch, capfd):
    shown = typed(
        monkeypatch,
        "alice timeout 0.3 curl -sS http://198.51.100.77/",  # the router's answer takes 0.6 s
        "alice timeout 0.3 ping -q -c 1 198.51.100.78",
        "bob timeout 0.3 ping -q -c 1 10.0.0.44",  # it goes on asking for 0.4 s
        "bob curl -sS -m 9 http://24.9.3.7:8080/ &",  # repeats its SYN after 1 s
        "alice sleep 1.5",
        "why",
        "why all",
        "alice curl -sS -m 2 http://198.51.100.77/",  # the control
        "why",
    )
    first, _, rest = shown.partition(f"{NOTHING} (alice sleep 1.5).\n")
    assert said(first) == {}
    everything, control = (said(part) for part in rest.split("alice: exit status 7\n"))
    assert set(everything) == {
        "napt_a dropped", "internet refused", "no neighbor answered (ARP)"
    }  # fmt: skip
    assert len(everything["internet refused"]) == 2
    assert "bob asked its own network for 10.0.0.44" in everything["no neighbor answered (ARP)"]
    (unreachable,) = control["internet refused"]
    assert "destination unreachable (host) [about 24.9.3.7:" in unreachable
    assert control["no neighbor answered (ARP)"] == [
        "internet asked its own network for 198.51.100.77"
    ]


def test_an_answer_over_a_slow_link_belongs_to_the_command_that_asked(monkeypatch, capfd, tmp_path):
    topology = tmp_path / "slow.yaml"
    topology.write_text(SLOW)
    shown = typed(
        monkeypatch,
        "alice timeout 0.3 curl -sS http://198.51.100.10:81/",
        "alice bash -c 'echo anybody > /dev/udp/198.51.100.10/9'",
        "alice sleep 1.6",
        "why",
        "why all",
        topology=topology,
    )
    before, _, after = shown.partition(f"{NOTHING} (alice sleep 1.6).\n")
    assert said(before) == {}
    refused, unreachable = said(after)["files refused"]
    assert refused.endswith("refused the connection (RST)")
    assert "destination unreachable (port)" in unreachable


def test_a_neighbor_that_is_asked_late_belongs_to_the_command_that_used_it(monkeypatch, capfd):
    """The kernel sends to an address that it knows, and asks for it 5 s later."""
    shown = typed(
        monkeypatch,
        "alice ip neigh replace 10.0.0.9 lladdr 02:00:00:00:00:99 dev eth0 nud stale",
        "alice ping -q -c 1 -W 1 10.0.0.9",
        "alice sleep 4.8",
        "why",
        "why all",
    )
    before, _, after = shown.partition(f"{NOTHING} (alice sleep 4.8).\n")
    assert said(before) == {}
    asked = ["alice asked its own network for 10.0.0.9"]
    assert said(after) == {"no neighbor answered (ARP)": asked}
