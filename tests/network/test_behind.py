"""NAPT behind NAPT: homes behind a carrier, with every engine at either level."""

from __future__ import annotations

import os
import re
import signal
from contextlib import nullcontext
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.topologies.network.build_error import ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.network.endless_transfer import EndlessTransfer
from tests.network.test_nat_node import run, serve, set_mtu
from tests.waiting import await_death

pytestmark = pytest.mark.network(timeout=120)

SERVER = "151.101.1.69"
SIZE = 2_000_000
LEVELS = {  # what translates at the carrier, and at home
    "python-python": ("", ""),
    "kernel-kernel": ("datapath: kernel", "datapath: kernel"),
    "nftables-python": ("engine: nftables", ""),
    "python-nftables": ("", "engine: nftables"),
    "kernel-nftables": ("datapath: kernel", "engine: nftables"),
}
EXPECT = """
expect:
  - alice reaches server:80 as 24.9.3.7 via direct
  - server cannot reach alice:80 at 100.64.0.7 because no-route at internet
  - server reaches alice:80 at 24.9.3.7:8080 via forwarded
  - server reaches alice:80 at cgn:8080 via forwarded at carrier
  - server reaches alice:80 at cgn:8080 via forwarded at napt_a
  - server reaches cache:80 at 24.9.3.7:8090 via forwarded
  - bob reaches alice:80 at napt_a:8080 as napt_b via forwarded
  - bob reaches alice:80 at cgn:8080 as cgn via hairpinned at cgn
  - server cannot reach alice:22 at cgn because no-rule at cgn
  - server cannot reach alice:81 at cgn:8081 because no-rule at napt_a
  - cache cannot reach alice:81 at napt_a because no-rule at napt_a
  - alice cannot reach 192.168.9.9 because private-destination at napt_a
  - cache cannot reach 10.0.0.7 because private-destination at cgn
  - guest cannot reach 100.64.0.7 because private-destination at napt_c
  - alice reaches cache:80 as napt_a via direct
  - lodger reaches server:80 as 24.9.3.7
  - lodger cannot reach 100.64.0.77 because no-neighbor at napt_b
"""


def neighborhood(carrier="", home="", expect="", narrow=""):
    text = f"""
internet: {{server: {{address: {SERVER}}}}}
sites:
  b:
    gateway: {{kind: napt, behind: carrier, public: 100.64.0.8, private: 10.0.0.1/24, {home},
              {narrow}}}
    hosts: {{bob: 10.0.0.9}}
  carrier:
    gateway: {{name: cgn, kind: napt, public: 24.9.3.7, private: 100.64.0.1/10, {carrier},
              rules: ["tcp 8080 -> 100.64.0.7:8080", "tcp 8081 -> 100.64.0.7:8081",
                      "tcp 8090 -> 100.64.0.99:80"]}}
    hosts: {{cache: 100.64.0.99}}
  a:
    gateway: {{kind: napt, behind: carrier, public: 100.64.0.7, private: 10.0.0.1/24, {home},
              rules: ["tcp 8080 -> 10.0.0.7:80"]}}
    hosts: {{alice: 10.0.0.7, anna: 10.0.0.8}}
  c:
    gateway: {{kind: napt, public: 203.0.113.7, private: 10.0.0.1/24}}
    hosts: {{guest: 10.0.0.7}}
  room:
    gateway: {{kind: napt, behind: b, public: 10.0.0.20, private: 192.168.0.1/24, {home}}}
    hosts: {{lodger: 192.168.0.2}}
{expect}"""
    text = re.sub(r"(,\s*)+(?=[,}])", "", text)  # of settings that are not given
    return loads(text.encode(), Path("n.yaml"))


def verdicts(net, wire):
    outcomes = run_checks(net, wire, net.topology.expect)
    return {o.expectation.text: (o.verdict.value, o.evidence) for o in outcomes}


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_all_that_passes_through_two_napts(levels):
    carrier, home = levels
    topology = neighborhood(carrier, home, EXPECT, narrow="link: {mtu: 1300}")
    with Network(topology) as net, Wire(net) as wire:
        both_tables_both_drops_errors_and_fragments(net, wire)
        sentences_hold_through_two_napts(net, wire)
        a_transfer_between_homes_finds_the_mtu_of_a_narrow_home(net)


def sentences_hold_through_two_napts(net, wire):
    found = verdicts(net, wire)
    assert {each: verdict for each, verdict in found.items() if verdict[0] != "passed"} == {}
    evidence = "\n".join(found["server reaches alice:80 at 24.9.3.7:8080 via forwarded"][1])
    assert "cgn rewrote 24.9.3.7:8080 to 100.64.0.7:8080" in evidence
    assert "napt_a rewrote 100.64.0.7:8080 to 10.0.0.7:80" in evidence
    assert all(len(each[1]) > 1 for each in found.values())


def test_each_level_is_measured_from_its_own_outside():
    topology = neighborhood(
        "mapping: address-and-port-dependent",
        "filtering: endpoint-independent",
        """
expect:
  - cgn maps address-and-port-dependent
  - napt_a maps endpoint-independent
  - napt_a filters endpoint-independent
  - napt_a hairpins
  - server reaches alice:80 at cgn:8080 via forwarded at napt_b
""",
    )
    with Network(topology) as net, Wire(net) as wire:
        found = verdicts(net, wire)
    elsewhere = found.pop("server reaches alice:80 at cgn:8080 via forwarded at napt_b")
    assert elsewhere[0] == "failed"
    assert elsewhere[1][-1] == "the path is forwarded at cgn and napt_a; expected: napt_b"
    assert {text: verdict[0] for text, verdict in found.items()} == dict.fromkeys(found, "passed")
    asked = "\n".join(found["napt_a filters endpoint-independent"][1])
    assert "100.64.0.7" in asked
    assert SERVER not in asked


def both_tables_both_drops_errors_and_fragments(net, wire):
    server = serve(net["server"], 80)
    got = run(net["alice"], f"curl -sS --max-time 5 http://{SERVER}/it")
    server.kill()
    server.await_end()
    assert (got.status, got.stdout) == (0, "hello"), got.stderr
    (home,) = (r for r in net.napt("napt_a").rules() if not r["explicit"])
    (carrier,) = (r for r in net.napt("cgn").rules() if not r["explicit"])
    assert home["internal"].startswith("10.0.0.7:")
    assert home["external"] == carrier["internal"]
    assert carrier["external"].startswith("24.9.3.7:")

    # An ICMP error from the Internet, through both: the port is closed.
    mark = wire.mark()
    asked = net["alice"].run(["sh", "-c", f"echo hi | nc -u -w1 {SERVER} 7"])
    assert asked.status == 0, asked.stderr
    error = wire.wait_for(
        "alice:eth0", lambda p: p.icmp == (3, 3), deadline=5, what="the error", since=mark
    )
    assert error.packet.quoted is not None
    assert error.packet.quoted.source == "10.0.0.7"

    # Fragments through both, both ways.
    answered = run(net["alice"], f"ping -c1 -W3 -s 4000 {SERVER}")
    assert answered.status == 0, answered.stdout

    # The narrow place lies behind both, then between them, and alice hears of it.
    for interface in net["internet"].interfaces:
        if net["internet"].ports[int(interface[3:]) - 1].address.ip.exploded == "151.101.1.1":
            set_mtu(net["internet"], interface, 1300)
    told = run(net["alice"], f"ping -M do -c1 -W2 -s 1400 {SERVER}").stdout
    assert "Frag needed and DF set (mtu = 1300)" in told
    set_mtu(net["cgn"], "wan0", 1200)
    told = run(net["alice"], f"ping -M do -c1 -W2 -s 1260 {SERVER}").stdout
    assert "Frag needed and DF set (mtu = 1200)" in told, told

    # Nothing of a home is on the carrier's wire, nothing of the carrier on the Internet's.
    homes, shared = IPv4Network("10.0.0.0/8"), IPv4Network("100.64.0.0/10")
    assert not [c for c in wire.packets("cgn:lan0") if c.packet.names_any_of(homes)]
    outside = wire.packets("cgn:wan0")
    assert outside
    assert not [c for c in outside if c.packet.names_any_of(homes)]
    assert not [c for c in outside if c.packet.names_any_of(shared)]


def a_transfer_between_homes_finds_the_mtu_of_a_narrow_home(net):
    """The carrier's own ICMP error about a packet that it has hairpinned reaches the sender."""
    serve(net["alice"], 80, os.urandom(300_000))
    got = run(net["bob"], "curl -sS --max-time 20 -o got http://24.9.3.7:8080/it")
    assert got.status == 0, got.stderr
    same = (net["bob"].home / "got").read_bytes() == (net["alice"].home / "it").read_bytes()
    assert same


@pytest.mark.parametrize("victim", ["cgn", "napt_a"])
@pytest.mark.parametrize("engine", ["", "datapath: kernel", "engine: nftables"])
def test_a_transfer_outlives_the_death_of_either_translator(engine, victim):
    """Ours is started again. The kernel's goes on, and what only reports of it is missed."""
    ours = engine != "engine: nftables"
    lost = nullcontext() if ours else pytest.raises(ProgramLost, match=f"nat_node on {victim}")
    with lost, Network(neighborhood(engine, engine)) as net:
        transfer = EndlessTransfer(net["server"], net["alice"], SERVER)
        transfer.goes_on(100_000)
        mark = net.log.mark()
        pid = net.napt(victim).stats()["pid"]
        os.kill(pid, signal.SIGKILL)
        if not ours:
            await_death(pid)
        else:
            net.log.wait_for(
                lambda e: (e.node, e.name) == (victim, "ready"),
                deadline=20, what="ready", since=mark,
            )  # fmt: skip
        transfer.goes_on()
        transfer.end()
