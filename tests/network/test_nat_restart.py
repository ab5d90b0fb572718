"""The translator is killed: its rules come back, transfers go on, and nothing leaks meanwhile."""

from __future__ import annotations

import os
import signal
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.topologies.network.build_error import ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.network.endless_transfer import EndlessTransfer
from tests.network.test_nat_node import run, translator

pytestmark = pytest.mark.network(timeout=60)

TOPOLOGY = b"""
internet:
  server: {address: 151.101.1.69}
sites:
  home:
    gateway:
      name: napt
      kind: napt
      public: 24.9.3.7
      private: 10.0.0.1/24
      rules: ["tcp 9000 -> 10.0.0.7:9000"]
    hosts: {alice: 10.0.0.7, bob: 10.0.0.8}
"""
PRIVATE = IPv4Network("10.0.0.0/8")


def home():
    return Network(loads(TOPOLOGY, Path("home.yaml")))


def kill(net):
    """Kill the translator, not its keeper; returns when the next one is there."""
    mark = net.log.mark()
    os.kill(net.napt("napt").stats()["pid"], signal.SIGKILL)
    again = translator(net).wait_for("ready", deadline=10, since=mark)
    assert again.fields["goes_on"]
    (died,) = [event for event in net.log.since(mark) if event.name == "died"]
    assert "SIGKILL" in died.fields["why"]


def known(net):
    """What a rule is, apart from its counters and its use; `created` to the second."""
    same = ("id", "protocol", "internal", "external", "remote", "explicit", "made_by")
    return [
        {key: rule[key] for key in same}
        | {
            "created": pytest.approx(rule["created"], abs=1),
            "sessions": [s["remote"] for s in rule["sessions"]],
        }
        for rule in net.napt("napt").rules()
    ]


def test_killed_in_the_middle_of_transfers_it_comes_back_and_they_complete():
    lost = pytest.raises(ProgramLost, match="the 5th time within 60 s")
    with lost, home() as net, Wire(net, nodes=["napt"]) as wire:
        napt = net.napt("napt")
        napt.add("tcp", "24.9.3.7:8080", "10.0.0.7:8000")
        napt.remove("tcp", "24.9.3.7:9000")
        assert run(net["bob"], "ping -c1 -W2 151.101.1.69").status == 0
        transfers = [
            EndlessTransfer(net["server"], net["bob"], "151.101.1.69"),
            EndlessTransfer(net["alice"], net["server"], "24.9.3.7:8080", 8000),
        ]
        for _ in range(3):
            for transfer in transfers:
                transfer.goes_on(100_000)
            before = known(net)
            kill(net)
            assert known(net) == before
        for transfer in transfers:
            transfer.goes_on()
            transfer.end()
        assert [rule["external"] for rule in before if rule["explicit"]] == ["24.9.3.7:8080"]
        assert len(before) == 3
        # Those who watch go on hearing, and new rules are made.
        mark = net.log.mark()
        assert run(net["alice"], "ping -c1 -W2 151.101.1.69").status == 0
        net.log.wait_for(lambda e: e.name == "rule-added", deadline=5, what="a rule", since=mark)

        # Killed too often, it stays dead, and the wire outside stays silent.
        kill(net)
        keeper, last = translator(net), napt.stats()["pid"]
        os.kill(last, signal.SIGKILL)
        ended = keeper.wait(5)
        assert ended.status == 1
        assert "the 5th time within 60 s" in ended.stderr
        assert "nothing passes any more" in ended.stderr
        since = wire.mark()
        assert run(net["alice"], "ping -c1 -W1 151.101.1.69").status == 1
        wire.wait_for("napt:lan0", lambda p: p.icmp == (8, 0), deadline=5, what="her ping",
                      since=since)  # fmt: skip
        left = [c for c in wire.packets("napt:wan0") if c.packet.names_any_of(PRIVATE)]
        assert not left
        assert not [c for c in wire.packets("napt:wan0", since=since) if c.outgoing]
