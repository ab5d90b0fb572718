"""`engine: nftables`: the kernel's NAT, by the same socket and in the same words as ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.spec.loader import loads
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)

HOME = b"""
internet: {stackoverflow: {address: 151.101.1.69, runs: [web]}, visitor: 203.0.113.5}
sites:
  home:
    gateway:
      {name: napt, kind: napt, engine: nftables, public: 24.9.3.7, private: 10.0.0.1/24,
       closing-hold: 3s, rules: ["tcp 81 -> 10.0.0.8:80"]}
    hosts: {pc: 10.0.0.7, tv: {address: 10.0.0.8, runs: [web]}}
"""

#: A TCP segment of 8 bytes: it ends before its flags.
SEND_PORTS_ONLY = """
import socket
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
raw.sendto(bytes([0, 5, 0x1F, 0x91, 0, 0, 0, 0]), ('24.9.3.7', 0))
"""


#: One packet of each protocol that has no ports, or other ones than TCP and UDP.
SEND_OTHERS = """
import socket
for protocol in (2, 4, 41, 47, 50, 51, 132):
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    raw.sendto(bytes(40), ('151.101.1.69', 0))
"""


def fetch(net, node, url):
    """The exit status of curl: 7 refused or unreachable, 28 timed out."""
    return (
        net[node]
        .run(["curl", "-sS", "--connect-timeout", "0.5", "-o", "/dev/null", url], timeout=10)
        .status
    )


def state(napt, mine):
    """The state of a rule's session."""
    (rule,) = (rule for rule in napt.rules() if rule["id"] == mine["id"])
    return rule["sessions"][0]["state"]


def wait_for(net, name, condition):
    return net.log.wait_for(
        lambda event: event.node == "napt" and event.name == name and condition(event.fields),
        deadline=10,
        what=name,
    ).fields


def test_rules_sessions_drops_and_events():
    with Network(loads(HOME, Path("home.yaml"))) as net:
        napt = net.napt("napt")

        # a session from the inside is a rule, with its counts, until its time has passed
        assert fetch(net, "pc", "http://151.101.1.69/") == 0
        (mine,) = (rule for rule in napt.rules() if rule["internal"].startswith("10.0.0.7:"))
        assert (mine["protocol"], mine["remote"]) == ("tcp", "151.101.1.69:80")
        assert mine["external"].startswith("24.9.3.7:")
        assert mine["made_by"] == "TCP SYN to 151.101.1.69:80"
        assert not mine["explicit"]
        # A SYN, an ACK and a FIN at least; back a SYN-ACK, and data that may carry all the rest.
        assert mine["packets_out"] >= 3
        assert mine["packets_in"] >= 2
        wait_until(lambda: state(napt, mine) == "closed", "the server's FIN")
        wait_for(net, "rule-added", lambda e: e["rule"]["id"] == mine["id"])
        ended = wait_for(net, "rule-ended", lambda e: e["rule"]["id"] == mine["id"])
        assert ended["why"] == "closed"
        assert ended["rule"]["age"] >= 3

        # what is not let through dies with a reason, and private addresses stay inside
        assert fetch(net, "visitor", "http://24.9.3.7:8080/") == 28
        dropped = wait_for(net, "drop", lambda e: e["reason"] == "no-rule")
        assert dropped["packet"].startswith("tcp SYN 203.0.113.5:")
        assert dropped["packet"].endswith(" > 24.9.3.7:8080")
        assert dropped["side"] == "outside"
        net["visitor"].run(["python3", "-c", SEND_PORTS_ONLY], timeout=10)
        wait_for(net, "drop", lambda e: e["packet"] == "tcp 203.0.113.5:5 > 24.9.3.7:8081")
        assert fetch(net, "pc", "http://192.168.3.3/") == 7
        refused = wait_for(net, "drop", lambda e: e["reason"] == "private-destination")
        assert refused["side"] == "inside"
        drops = napt.stats()["drops"]
        assert drops["no-rule"] >= 1 <= drops["private-destination"]

        # an explicit rule: the topology's, one by hand, hairpinning, and its removal
        assert fetch(net, "visitor", "http://24.9.3.7:81/") == 0
        with pytest.raises(ControlError, match="already has the external port 81"):
            napt.add("tcp", "24.9.3.7:8080", "10.0.0.8:80")
        with pytest.raises(ControlError, match=r"there is no host 10\.0\.0\.9"):
            napt.add("tcp", "24.9.3.7:8080", "10.0.0.9:80")
        napt.remove("tcp", "24.9.3.7:81")
        assert fetch(net, "visitor", "http://24.9.3.7:81/") == 28
        napt.add("tcp", "24.9.3.7:8080", "10.0.0.8:80")
        for node in ("visitor", "pc", "tv"):
            assert fetch(net, node, "http://24.9.3.7:8080/") == 0
        (explicit,) = (rule for rule in napt.rules() if rule["explicit"])
        assert explicit["session_count"] == 3
        remotes = {session["remote"].rpartition(":")[0] for session in explicit["sessions"]}
        assert remotes == {"203.0.113.5", "24.9.3.7"}, "who is hairpinned has our address"
        napt.remove("tcp", "24.9.3.7:8080")
        assert not any(rule["explicit"] or rule["sessions"] for rule in napt.rules())
        wait_for(net, "rule-ended", lambda e: e["why"] == "removed")


def test_packets_of_other_protocols_harm_nothing():
    """ESP, GRE, SCTP and others: the kernel has sessions for them, which are listed as they are."""
    with Network(loads(HOME, Path("home.yaml"))) as net:
        napt = net.napt("napt")
        pid = napt.stats()["pid"]
        done = net["pc"].run(["python3", "-c", SEND_OTHERS], timeout=10)
        assert done.status == 0, done.stderr
        net["visitor"].run(["python3", "-c", SEND_OTHERS.replace("151.101.1.69", "24.9.3.7")])
        assert fetch(net, "pc", "http://151.101.1.69/") == 0  # the control
        listed = {rule["protocol"] for rule in napt.rules()}
        assert {"tcp", "protocol 50"} <= listed
        wait_for(net, "rule-added", lambda e: e["rule"]["protocol"] == "protocol 50")
        assert napt.stats()["pid"] == pid
