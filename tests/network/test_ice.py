"""ICE peers on real packets: files arrive whole over bad links, and failures say why."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.ice import connect_by_ice
from napt_lab.labs.check.run import run_checks
from napt_lab.servers.ice.connection import MOST_REFLEXIVE
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.assertions import Via
from napt_lab.topologies.spec.loader import loads

pytestmark = pytest.mark.network(timeout=120)

YAML = """
internet:
  meet: {address: 198.51.100.12, runs: [relay]}
  turn: {address: 198.51.100.11, runs: [{turn: {user: "a:b"}}]}
sites:
  a:
    gateway: {kind: napt, preset: symmetric, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {alice: 10.0.0.7, anna: 10.0.0.8}
  b:
    gateway: {kind: napt, preset: port-restricted-cone, public: 24.9.4.7, private: 10.0.0.1/24}
    hosts: {bob: 10.0.0.9}
  c:
    gateway: {kind: napt, preset: restricted-cone, public: 24.9.5.7, private: 10.0.0.1/24}
    hosts: {carol: 10.0.0.9, cliff: {address: 10.0.0.10, link: {delay: 5ms, loss: {every: 4}}}}
expect:
  - alice connects to anna by ice via relayed
  - meet connects to bob by ice
"""
MEET = ("ice", "--meet", "198.51.100.12:9000", "--wait", "20")
STUN = ("--stun", "198.51.100.11:3478")


@contextmanager
def built(text=YAML):
    topology = loads(text.encode(), Path("t.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        yield net, wire


def test_many_pairs_at_once_each_by_its_best_way():
    ways = {
        ("alice", "bob"): Via.RELAYED,  # symmetric with port-restricted
        ("bob", "alice"): Via.RELAYED,
        ("alice", "carol"): Via.DIRECT,  # carol's NAPT asks only for alice's address
        ("carol", "alice"): Via.DIRECT,
        ("carol", "bob"): Via.DIRECT,
        ("anna", "alice"): Via.DIRECT,
        ("anna", "turn"): Via.DIRECT,
        ("meet", "bob"): Via.DIRECT,
    }
    with built() as (net, wire):
        found = connect_by_ice(Ground(net, wire), ways)
        relayed, any_way = run_checks(net, wire, net.topology.expect)
    assert {pair: one.via for pair, one in found.items()} == ways, found
    assert [one.failure for one in found.values() if one.failure] == []
    assert (relayed.verdict, any_way.verdict) == ("failed", "passed")
    assert relayed.evidence[-1] == "the path is direct; expected: relayed"


def test_checks_that_always_come_from_a_new_port_have_an_end():
    """Each triggers another one; there were hundreds, and the relay had no chance beside them."""
    nat = "mapping: address-and-port-dependent, filtering: endpoint-independent"
    text = YAML.replace("preset: symmetric", nat).replace("preset: port-restricted-cone", nat)
    with built(text) as (net, wire):
        found = connect_by_ice(Ground(net, wire), [("alice", "bob")])["alice", "bob"]
        mappings = [len(net.napt(name).rules()) for name in ("napt_a", "napt_b")]
    assert (found.via, found.failure) == (Via.RELAYED, ""), found
    assert max(mappings) < 3 * MOST_REFLEXIVE, mappings


def test_losses_are_repeated_and_failures_say_why():
    content = os.urandom(20_000)
    with built() as (net, _):
        for node in ("cliff", "alice"):
            (net[node].home / "sent").write_bytes(content)

        def start(node, word, *what):
            argv = [*MEET, "--word", word * 16, *what]
            return net[node].start_program(argv, name="ice")

        def wait_for(node, name):
            net.log.wait_for(
                lambda e: (e.node, e.name) == (node, name), deadline=20, what=f"{node}: {name}"
            )

        # A link that loses datagrams; no relay where only that would help; a stranger.
        ends = [
            start("cliff", "01", *STUN, "--send", "sent"),
            start("carol", "01", *STUN, "--receive", "got"),
            start("alice", "02", *STUN, "--send", "sent"),
            start("bob", "02", *STUN, "--receive", "got"),
        ]
        wait_for("carol", "done")
        ends.append(start("anna", "03", "--receive", "got"))
        wait_for("anna", "candidates")
        net["turn"].run(["sh", "-c", f"(echo {'03' * 16}; echo hello) | nc -N 198.51.100.12 9000"])
        assert [process.wait(40).status for process in ends] == [0, 0, 1, 1, 1]
        assert (net["carol"].home / "got").read_bytes() == content
        assert not list(net["bob"].home.glob("got*"))
        reasons = {e.node: e.fields["reason"] for e in net.log.since() if e.name == "failed"}
    no_way = "timed out after 8 s waiting for a pair that works"
    assert reasons.pop("anna").startswith("the other peer sent no description: ")
    assert reasons == {"alice": no_way, "bob": no_way}
