"""Every kind of assertion has a saboteur: a fault in a running network that turns exactly it red.

One network. Half of the faults are put in, and exactly their assertions must turn red, each for
its own reason, while all others hold; then the other half. A fault is done with what a machine's
owner has: packet filters, addresses, rules, programs.
(What a NAPT does by itself, mapping, filtering, its kind and hairpinning, is contradicted in
tests/network/test_check_behavior.py; a connection that is not kept, in tests/network/test_then.py.)
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import get_args

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.assertions import (
    Assertion,
    Filters,
    GetsFileThrough,
    Hairpins,
    Is,
    KeepsConnection,
    Maps,
    Protocol,
    Reaches,
    Via,
)
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.sentences import CARRIERS

pytestmark = pytest.mark.network(timeout=120)

YAML = """
internet:
  stackoverflow: {address: 151.101.1.69, runs: [web]}
  mirror: {address: 151.101.1.70, runs: [web]}
  files: {address: 198.51.100.10, runs: [file-server]}
  relay: {address: 198.51.100.11, runs: [relay, {turn: {user: "a:b"}}]}
sites:
  a:
    gateway: {name: napt_a, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24,
              rules: ["tcp 8080 -> 10.0.0.7:80", "tcp 8081 -> 10.0.0.8:80"]}
    hosts: {alice: 10.0.0.7, anna: 10.0.0.8}
  b:
    gateway: {name: napt_b, kind: napt, public: 203.0.113.77, private: 10.0.0.1/24}
    hosts: {bob: 10.0.0.9}
  c:
    gateway: {name: napt_c, kind: napt, public: 192.0.6.7, private: 10.0.0.1/24, preset: symmetric}
    hosts: {cora: 10.0.0.7}
  d:
    gateway: {name: napt_d, kind: napt, public: 192.0.7.7, private: 10.0.0.1/24, preset: symmetric}
    hosts: {dan: 10.0.0.7}
  t:
    gateway: {name: tproxy, kind: transparent-proxy, public: 192.0.5.7, private: 10.0.0.1/24}
    hosts: {tom: 10.0.0.7}
expect:
"""

FILTER = "type filter hook {} priority 0;"
NAT = "type nat hook {} priority {};"


def nft(node, number, *chains):
    """Packet filters on a node; each chain is what it is for, and its rules."""
    body = " ".join(f"chain c{n} {{ {chain}; }};" for n, chain in enumerate(chains))

    @contextmanager
    def fault(net):
        assert net[node].run(["nft", f"table ip fault{number} {{ {body} }}"]).status == 0
        yield
        assert net[node].run(["nft", f"delete table ip fault{number}"]).status == 0

    return fault


def drop(node, number, what, hook="input"):
    return nft(node, number, f"{FILTER.format(hook)} {what} drop")


def dnat(node, number, what, hook="prerouting"):
    return nft(node, number, f"{NAT.format(hook, -100)} {what}")


def command(node, do, undo):
    @contextmanager
    def fault(net):
        assert net[node].run(do.split()).status == 0
        yield
        assert net[node].run(undo.split()).status == 0

    return fault


@contextmanager
def paused_web_server(net):
    (server,) = net["stackoverflow"].processes
    os.killpg(server.pid, signal.SIGSTOP)
    yield
    os.killpg(server.pid, signal.SIGCONT)


@contextmanager
def an_explicit_rule(net):
    net.napt("napt_a").add("tcp", "24.9.3.7:85", "10.0.0.7:85")
    yield
    net.napt("napt_a").remove("tcp", "24.9.3.7:85")


@contextmanager
def a_rule_to_the_wrong_pc(net):
    net.napt("napt_a").remove("tcp", "24.9.3.7:8081")
    net.napt("napt_a").add("tcp", "24.9.3.7:8081", "10.0.0.7:86")
    yield
    net.napt("napt_a").remove("tcp", "24.9.3.7:8081")
    net.napt("napt_a").add("tcp", "24.9.3.7:8081", "10.0.0.8:80")


@contextmanager
def a_router_instead_of_a_proxy(net):
    """Except for port 8080: what is not forwarded there still is not."""
    node = net["tproxy"]
    rules = node.run(["nft", "list", "ruleset"]).stdout
    assert node.run(["nft", "flush ruleset"]).status == 0
    not_all = f"{FILTER.format('forward')} tcp dport 8080 drop"
    masquerade = f"{NAT.format('postrouting', 100)} oifname wan0 masquerade"
    forwarding = command(
        "tproxy", "sysctl -qw net.ipv4.ip_forward=1", "sysctl -qw net.ipv4.ip_forward=0"
    )
    with nft("tproxy", 9, not_all, masquerade)(net), forwarding(net):
        yield
    (node.home / "rules").write_text(rules)
    assert node.run(["nft", "-f", "rules"]).status == 0


def settings(napt, fault, usual):
    """A NAPT that does not do what its file says; it loses its table."""

    @contextmanager
    def set_otherwise(net):
        net.happen(f"set {napt} {fault}")
        yield
        net.happen(f"set {napt} {usual}")

    return set_otherwise


@contextmanager
def slow_link_of_files(net):
    net.set_link("files", delay="80ms")
    yield
    net.set_link("files", delay="0ms")


def both(*faults):
    """One fault that takes more than one thing."""

    @contextmanager
    def fault(net):
        with ExitStack() as stack:
            for one in faults:
                stack.enter_context(one(net))
            yield

    return fault


def program(node, port, argv, divert):
    """A program that listens on a node, and what leads packets to it."""

    @contextmanager
    def fault(net):
        command = [sys.executable, *argv, str(port)]
        started = net[node].start_program(command, name=f"saboteur:{port}")
        started.wait_for("ready", deadline=20)
        with divert(net):
            yield
        started.kill()
        started.await_end()

    return fault


# Sentence: the fault that turns it red, and words of the last line of its evidence.
SABOTEURS = {
    "bob reaches stackoverflow:7": (
        drop("stackoverflow", 1, "tcp dport 7"),
        "no-answer at stackoverflow",
    ),
    "bob reaches stackoverflow:53 by udp": (
        drop("stackoverflow", 2, "udp dport 53"),
        "no answer to the datagram: no-answer at stackoverflow",
    ),
    "bob reaches stackoverflow": (
        drop("stackoverflow", 3, "icmp type echo-request"),
        "no-answer at stackoverflow",
    ),
    "bob reaches stackoverflow:80 by http": (paused_web_server, "no-answer at stackoverflow"),
    "alice reaches stackoverflow:8 as 24.9.3.7": (
        nft("internet", 5, f"{NAT.format('postrouting', 100)} tcp dport 8 masquerade"),
        "sees 151.101.1.1",
    ),
    "bob reaches mirror:9 via direct": (
        both(
            dnat("internet", 6, "ip daddr 151.101.1.70 tcp dport 9 dnat to 151.101.1.71"),
            command(
                "mirror",
                "ip address add 151.101.1.71/32 dev eth0",
                "ip address del 151.101.1.71/32 dev eth0",
            ),
            dnat("mirror", 6, "ip daddr 151.101.1.71 dnat to 151.101.1.70"),
        ),
        "the path is forwarded; expected: direct",
    ),
    "bob reaches alice:80 at 24.9.3.7:8080 via forwarded": (
        program(
            "internet",
            7777,
            ["-m", "napt_lab.servers.proxy.transparent", "--port"],
            dnat("internet", 7, "ip daddr 24.9.3.7 tcp dport 8080 redirect to :7777"),
        ),
        "the path is proxied; expected: forwarded",
    ),
    "anna reaches alice:80 at 24.9.3.7:8080 via hairpinned": (
        dnat("anna", 8, "ip daddr 24.9.3.7 tcp dport 8080 dnat to 10.0.0.7:80", hook="output"),
        "the path is direct; expected: hairpinned",
    ),
    "tom reaches mirror:80 by http via proxied": (
        a_router_instead_of_a_proxy,
        "the path is direct; expected: proxied",
    ),
    "bob cannot reach alice:85 at 24.9.3.7 because no-rule at napt_a": (
        an_explicit_rule,
        "bob reaches it: bob → napt_b → internet → napt_a → alice",
    ),
    "files cannot reach alice:81 because no-route at internet": (
        drop("internet", 11, "tcp dport 81", hook="prerouting"),
        "not-forwarded at internet; expected: no-route at internet",
    ),
    "bob cannot reach alice:82 because no-neighbor at bob": (
        command(
            "napt_b", "ip address add 10.0.0.7/32 dev lan0", "ip address del 10.0.0.7/32 dev lan0"
        ),
        "refused at napt_b; expected: no-neighbor at bob",
    ),
    "files cannot reach mirror:99 because refused at mirror": (
        dnat("mirror", 13, "tcp dport 99 redirect to :80"),
        "files reaches it: files → internet → mirror",
    ),
    "tom cannot reach files:8080 because not-forwarded at tproxy": (
        command(
            "tom",
            "ip route add unreachable 198.51.100.10",
            "ip route del unreachable 198.51.100.10",
        ),
        "no-route at tom; expected: not-forwarded at tproxy",
    ),
    "files cannot reach alice:83": (
        drop("alice", 15, "tcp dport 83"),
        "the control failed, so this proves nothing: napt_a does not reach alice",
    ),
    "relay cannot reach alice:84 because no-route": (
        drop("relay", 16, "ip daddr 198.51.100.1 tcp dport > 0", hook="output"),
        "the control failed, so this proves nothing: relay does not reach internet",
    ),
    "bob gets a file from anna:80 at 24.9.3.7:8081": (
        a_rule_to_the_wrong_pc,
        "refused at alice",
    ),
    "bob gets a file from alice through files": (
        program(
            "files",
            8079,
            [str(Path(__file__).with_name("altering_server.py"))],
            dnat("files", 18, "tcp dport 8080 redirect to :8079"),
        ),
        "bob has 65536 bytes, SHA-256",
    ),
    "bob gets a file from alice through relay:9000 via relayed": (
        program(
            "files",
            9000,
            ["-m", "napt_lab.servers.relay.relay", "--port"],
            dnat("internet", 19, "ip daddr 198.51.100.11 tcp dport 9000 dnat to 198.51.100.10"),
        ),
        "the file did not go by relay: alice → napt_a → internet → files → napt_b → bob",
    ),
    "bob gets a file from alice through relay:3478": (
        nft("relay", 20, f"{FILTER.format('input')} tcp dport 3478 reject with tcp reset"),
        "alice does not reach relay:3478: refused at relay",
    ),
    "alice punches bob by udp": (
        drop("bob", 21, "ip saddr 24.9.3.7 udp sport > 0"),
        "no hole after 4 tries of each: no-answer at bob",
    ),
    "anna punches bob by tcp": (
        nft(
            "anna",
            22,
            f"{FILTER.format('input')} ip saddr 203.0.113.77 tcp dport > 1023 "
            "reject with tcp reset",
        ),
        "refused at anna",
    ),
    "alice cannot punch dan by udp because filtered at napt_a": (
        settings("napt_d", "mapping=endpoint-independent", "mapping=address-and-port-dependent"),
        "alice and dan hear each other",
    ),
    "cora cannot punch bob by tcp": (
        drop("stackoverflow", 24, "ip daddr 192.0.6.7 tcp flags psh", hook="output"),
        "the control failed, so this proves nothing: stackoverflow does not answer cora any more",
    ),
    "mirror connects to anna by ice via direct": (
        drop("internet", 25, "ip saddr 24.9.3.7 ip daddr 151.101.1.70 udp dport > 0", "forward"),
        "the path is relayed; expected: direct",
    ),
    "bob reaches files within 150ms": (
        slow_link_of_files,
        "5 round trips took",
    ),
    "bob loses at most 1 of 50 datagrams to mirror:7000": (
        drop("internet", 26, "udp dport 7000 numgen inc mod 25 0", hook="forward"),
        "2 of 50 datagrams to mirror were lost; expected: at most 1",
    ),
}
ERRORS = {
    "files cannot reach alice:83",
    "relay cannot reach alice:84 because no-route",
    "cora cannot punch bob by tcp",
}


def test_every_kind_of_assertion_has_a_fault_that_turns_it_red():
    sentences = list(SABOTEURS)
    topology = loads((YAML + "".join(f"  - {s}\n" for s in sentences)).encode(), Path("t.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        for half in (sentences[::2], sentences[1::2]):
            with ExitStack() as faults:
                for sentence in half:
                    faults.enter_context(SABOTEURS[sentence][0](net))
                outcomes = run_checks(net, wire, topology.expect)
            assert_red(outcomes, set(half))


def assert_red(outcomes, wanted):
    """Exactly these have not passed, each for its own reason."""
    story = "\n".join(f"{o.verdict}: {o.expectation.text}: {o.evidence}" for o in outcomes)
    assert {o.expectation.text for o in outcomes if o.verdict != "passed"} == wanted, story
    for outcome in outcomes:
        text = outcome.expectation.text
        if text in wanted:
            assert outcome.verdict == ("error" if text in ERRORS else "failed"), story
            assert SABOTEURS[text][1] in outcome.evidence[-1], story


def test_no_kind_is_left_out():
    text = YAML + "".join(f"  - {sentence}\n" for sentence in SABOTEURS)
    said = [e.assertion for e in loads(text.encode(), Path("t.yaml")).expect]
    kinds = set(get_args(Assertion)) - {Maps, Filters, Hairpins, Is, KeepsConnection}
    assert {type(assertion) for assertion in said} == kinds, (
        "in SABOTEURS, give each kind a sentence and a fault"
    )
    reached = [assertion for assertion in said if isinstance(assertion, Reaches)]
    assert {assertion.protocol for assertion in reached} == set(Protocol)
    assert {assertion.via for assertion in reached} == {None, *Via} - {Via.RELAYED}
    assert any(assertion.seen_as for assertion in reached)
    through = {a.service.name for a in said if isinstance(a, GetsFileThrough)}
    assert through == set(CARRIERS)
