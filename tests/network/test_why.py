"""`why` on a running network: whose fault it was, of which command, and in the right words."""

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
NAMES = """
internet:
  ns: {address: 198.51.100.53, runs: [dns]}
  far: {address: 198.51.100.20, link: {mtu: 1300}}
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
    at_nobody = "ping -q -c 1 198.51.100.78 & curl -sS http://198.51.100.77/"
    shown = typed(
        monkeypatch,
        "bob timeout 0.3 ping -q -c 1 10.0.0.44",  # it asks once more after 0.4 s
        "bob sleep 0.2",
        "why",
        "bob curl -sS -m 9 http://24.9.3.7:8080/ &",  # repeats its SYN after 1 s
        f"alice timeout 0.3 bash -c '{at_nobody}'",  # the router's answers take 0.6 s
        "alice sleep 1",
        "why",
        "why all",
        "alice curl -sS -m 2 http://198.51.100.77/",  # the control
        "why",
    )
    first, _, second = shown.partition(f"{NOTHING} (bob sleep 0.2).\n")
    second, _, rest = second.partition(f"{NOTHING} (alice sleep 1).\n")
    assert said(first) == said(second) == {}
    everything, control = (said(part) for part in rest.split("alice: exit status 7\n"))
    assert set(everything) == {
        "napt_a dropped", "internet could not deliver", "no neighbor answered (ARP)"
    }  # fmt: skip
    assert len(everything["internet could not deliver"]) == 2
    assert "bob, as 10.0.0.9, asked who has 10.0.0.44" in everything["no neighbor answered (ARP)"]
    (syn,) = everything["napt_a dropped"]
    assert syn.endswith(" times)")
    (unreachable,) = control["internet could not deliver"]
    assert "destination unreachable (host) [about 24.9.3.7:" in unreachable
    assert control["no neighbor answered (ARP)"] == [
        "internet, as 198.51.100.1, asked who has 198.51.100.77"
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
    asked = ["alice, as 10.0.0.7, asked who has 10.0.0.9"]
    assert said(after) == {"no neighbor answered (ARP)": asked}


@pytest.mark.parametrize("options", ["", "-U", "-T -p 81"])
def test_what_a_napt_only_forwards_it_has_not_refused(monkeypatch, capfd, options):
    trace = f"alice traceroute -n -q 1 -m 4 -w 1 {options} 198.51.100.10"
    found = said(typed(monkeypatch, trace, "why"))
    inside, router = (f"the TTL of a packet ended at {name}" for name in ("napt_a", "internet"))
    assert list(found) == [inside, router, "files refused"]
    assert [line.split(" [")[0] for line in found[inside]] == [
        "10.0.0.1 → 10.0.0.7 icmp time exceeded"
    ]
    assert [line.split(" [")[0] for line in found[router]] == [
        "24.9.3.1 → 24.9.3.7 icmp time exceeded"
    ]
    assert all("10.0.0.7" not in line for line in found["files refused"])


def test_a_caller_that_resets_its_own_connection_refuses_nothing(monkeypatch, capfd):
    found = said(
        typed(monkeypatch, "alice traceroute -n -q 1 -f 3 -m 3 -T -p 8080 198.51.100.10", "why")
    )
    assert list(found) == ["alice reset its own connection"]


def test_each_of_two_equal_refusals_is_told(monkeypatch, capfd):
    """A NAPT gives its own errors the Identification 0."""
    # It ends when the refusal has come.
    ask = "bash -c 'exec 3<> /dev/udp/192.168.9.9/9; echo anybody >&3; read -t 5 <&3'"
    found = said(typed(monkeypatch, f"alice {ask}", f"alice {ask}", "why"))
    (refused,) = found["napt_a refused"]
    assert "(communication administratively prohibited)" in refused


def test_a_ping_that_is_too_long_for_the_path_says_where(monkeypatch, capfd, tmp_path):
    topology = tmp_path / "names.yaml"
    topology.write_text(NAMES)
    ping = "alice ping -q -c 1 -W 1 -M do -s 1350 198.51.100.20"
    shown = typed(monkeypatch, ping, "why", ping, "why", topology=topology)
    first, _, second = shown.partition("not sent:\n")
    (told,) = said(first)["too long for the next link of internet"]
    assert "destination unreachable (fragmentation needed)" in told
    assert second.startswith(
        "  the packet is 1378 bytes long and may not be fragmented (-M do), but the MTU of the path"
    )


def test_why_says_what_kept_a_command_from_sending(monkeypatch, capfd, tmp_path):
    topology = tmp_path / "names.yaml"
    topology.write_text(NAMES)
    answered = {
        "alice curll": "not run:\n  alice has no program curll (exit status 127)\n",
        "alice curll &": "not run:\n  alice has no program curll (exit status 127)\n",
        "packets alice while alice curll": (
            "not run:\n  alice has no program curll (exit status 127)\n"
        ),
        "alice true | 'cur'll": "not run:\n  alice has no program curll (exit status 127)\n",
        "alice bash -c curll": "not run:\n  a program that the command was to start was not found ",
        "alice /etc/hosts": "not run:\n  what the command was to run is no program, or may not ",
        "alice curl -sS http://nosuch.lab/": (
            "not sent:\n  alice does not know the name nosuch.lab: it is not in /etc/hosts, and "
        ),
        "alice ping -c 1 nosuch": "not sent:\n  alice does not know the name nosuch: ",
        "alice ping -q -c 1 -M do -s 3000 far": (
            "not sent:\n  the packet is 3028 bytes long and may not be fragmented (-M do), "
            "but the MTU of alice:eth0 is 1500\n"
        ),
        "alice ls /nosuch": (
            "No packet of the last command (alice ls /nosuch) left alice. It ended with exit "
            "status 2; "
        ),
        "alice bash -c 'ping -q -c 1 24.9.3.7; exit 9'": (
            f"{NOTHING} (alice bash -c 'ping -q -c 1 24.9.3.7; exit 9'). It ended with exit "
            "status 9; "
        ),
        "alice bash -c 'echo nameserver 198.51.100.53 > /etc/resolv.conf'": NOTHING,
        "alice ping -c 1 nosuch.lab": (
            " s ago: ns answered 24.9.3.7 with NXDOMAIN: there is no nosuch.lab"
        ),
    }
    lines = [line for command in answered for line in (command, "why", "next")]
    parts = typed(monkeypatch, *lines, topology=topology).split("next is neither a command")
    missing = [
        (command, part)
        for (command, answer), part in zip(answered.items(), parts, strict=False)
        if answer not in part
    ]
    assert missing == []
