"""What happens to a running network: seen by programs on it, in its tables and in its events."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.spec.assertions import Expectation
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.sentences import sentence
from tests.network.endless_transfer import EndlessTransfer
from tests.network.test_nat_node import run, serve

pytestmark = pytest.mark.network(timeout=120)

TEXT = """
internet:
  server: {address: 151.101.1.69, runs: [web]}
  relay: {address: 151.101.1.70, runs: [relay]}
sites:
  carrier:
    gateway: {name: cgn, kind: napt, public: 24.9.3.7, private: 100.64.0.1/10, ENGINE}
    hosts: {mast: 100.64.0.99}
  a:
    gateway: {kind: napt, behind: carrier, public: 100.64.0.7, private: 10.0.0.1/24, ENGINE,
              rules: ["tcp 8080 -> 10.0.0.7:80"]}
    hosts: {alice: 10.0.0.7, anna: 10.0.0.8}
  b:
    gateway: {kind: napt, public: 203.0.113.7, private: 10.0.0.1/24, port-control: on}
    hosts: {bob: 10.0.0.9}
"""
SIZE = 1_500_000
FETCH = "curl -sS --max-time 5 http://151.101.1.69/"


def network(engine="engine: python"):
    return Network(loads(TEXT.replace("ENGINE", engine).encode(), Path("h.yaml")))


def holds(net, wire, *sentences):
    """Check sentences on the network as it is now."""
    roster = Roster(net.topology)
    expectations = [Expectation(text, 1, sentence(text, roster)) for text in sentences]
    return {
        o.expectation.text: (o.verdict.value, o.evidence)
        for o in run_checks(net, wire, expectations)
    }


def all_hold(net, wire, *sentences):
    found = holds(net, wire, *sentences)
    assert {t: o for t, o in found.items() if o[0] != "passed"} == {}


def dynamic(net, napt):
    return [rule for rule in net.napt(napt).rules() if not rule["explicit"]]


@pytest.mark.parametrize("engine", ["engine: python", "engine: nftables", "datapath: kernel"])
def test_a_reboot_and_a_flush_forget_and_a_restart_does_not(engine):
    with network(engine) as net, Wire(net) as wire:
        assert run(net["alice"], FETCH).status == 0
        for napt in ("cgn", "napt_a"):
            kept = {rule["external"] for rule in dynamic(net, napt)}
            assert kept
            net.restart(napt)
            assert {rule["external"] for rule in dynamic(net, napt)} == kept
            net.reboot(napt)
            assert dynamic(net, napt) == []
        (explicit,) = net.napt("napt_a").rules()
        assert explicit["internal"] == "10.0.0.7:80"
        all_hold(net, wire, "alice reaches server:80 as cgn")
        for napt in ("cgn", "napt_a"):
            assert net.napt(napt).flush() > 0
            assert dynamic(net, napt) == []
        all_hold(net, wire, "alice reaches server:80 as cgn")
        # It still reports what it drops, exactly once.
        mark = net.log.mark()
        all_hold(net, wire, "server cannot reach alice:80 at cgn:8080 because no-rule at cgn")
        drops = [e for e in net.log.since(mark) if (e.node, e.name) == ("cgn", "drop")]
        assert len({(e.time, str(e.fields["packet"])) for e in drops}) == len(drops)
        happened = [e.fields["what"] for e in net.log.since() if e.name == "happened"]
        assert happened == ["restart cgn", "reboot cgn", "restart napt_a", "reboot napt_a"]


@pytest.mark.parametrize("engine", ["engine: python", "engine: nftables"])
def test_a_new_address_at_either_level(engine):
    with network(engine) as net, Wire(net) as wire:
        all_hold(net, wire, "alice reaches server:80 as 24.9.3.7")
        net.renumber("cgn", "24.9.3.9")
        net.renumber("napt_a", "100.64.0.77")
        all_hold(
            net,
            wire,
            "alice reaches server:80 as 24.9.3.9",
            "server cannot reach 24.9.3.7 because no-neighbor at internet",
        )
        (capture,) = {c.packet.source for c in wire.everywhere(
            lambda c: c.where == "cgn:lan0" and not c.outgoing and c.packet.destination_port == 80
            and c.packet.source == "100.64.0.77")}  # fmt: skip
        assert capture == "100.64.0.77"


@pytest.mark.parametrize("engine", ["engine: python", "datapath: kernel"])
def test_settings_change_while_connections_go_on(engine):
    """At a carrier's NAPT; and they outlive its death, although it begins with its old command."""
    with network(engine) as net, Wire(net) as wire:
        transfer = EndlessTransfer(net["server"], net["alice"], "151.101.1.69:8000", 8000)
        transfer.goes_on()
        (before,), pid = dynamic(net, "cgn"), net.napt("cgn").stats()["pid"]
        assert not net.happen("set cgn filtering=endpoint-independent ports=2000-2999 idle.tcp=1h")
        (after,) = dynamic(net, "cgn")
        assert [after[key] for key in ("id", "external")] == [
            before[key] for key in ("id", "external")
        ]
        assert after["sessions"][0]["expires_in"] <= 3600
        assert net.napt("cgn").stats()["pid"] == pid

        mark = net.log.mark()
        os.kill(pid, signal.SIGKILL)
        net.log.wait_for(
            lambda e: (e.node, e.name) == ("cgn", "ready"), deadline=20, what="it", since=mark
        )
        assert run(net["anna"], FETCH).status == 0
        # By chance the first one's port may be among the new ones.
        (new,) = (r["external"] for r in dynamic(net, "cgn") if r["external"] != before["external"])
        assert int(new.split(":")[1]) in range(2000, 3000)
        all_hold(net, wire, "cgn filters endpoint-independent")
        transfer.goes_on()
        transfer.end()
        net.restart("cgn")  # with another command, which says the same
        assert before["id"] in {rule["id"] for rule in dynamic(net, "cgn")}


def test_settings_that_the_rules_do_not_fit_need_a_restart():
    with network() as net:
        for napt in ("napt_a", "cgn"):
            assert not net.happen(f"set {napt} mapping=address-and-port-dependent ports=2000-2000")
        for host, server in (("alice", "151.101.1.69"), ("anna", "151.101.1.70")):
            net[host].run(["sh", "-c", f"echo hi | nc -u -w1 {server} 7"])
        assert {rule["external"] for rule in dynamic(net, "cgn")} == {"24.9.3.7:2000"}
        note = net.happen("set cgn mapping=endpoint-independent")
        assert note == (
            "cgn: several rules share 24.9.3.7:2000: it was started again, and its table is lost"
        )
        assert dynamic(net, "cgn") == []
        assert [e.fields.get("note") for e in net.log.since() if e.name == "happened"] == [
            None, None, note,
        ]  # fmt: skip


def test_a_cable_is_pulled_and_plugged_in_elsewhere():
    with network() as net, Wire(net) as wire:
        net.unplug("alice")
        assert run(net["alice"], "ping -c1 -W1 151.101.1.69").status != 0
        assert run(net["anna"], FETCH).status == 0  # the control
        net.plug("alice")
        assert run(net["alice"], FETCH).status == 0
        net.plug("alice", "b", "10.0.0.20")
        assert str(net["alice"].address) == "10.0.0.20"
        all_hold(
            net,
            wire,
            "alice reaches server:80 as napt_b",
            "alice reaches bob:80 via direct",
            "bob reaches alice:80 via direct",
            "anna cannot reach 10.0.0.7 because no-neighbor at anna",
        )
        net.unplug("napt_b")
        assert run(net["alice"], "ping -c1 -W1 151.101.1.69").status != 0
        assert run(net["alice"], "ping -c1 -W2 10.0.0.9").status == 0
        net.plug("napt_b")
        assert run(net["alice"], FETCH).status == 0


def test_explicit_rules_lead_to_a_host_as_soon_as_it_is_plugged_in():
    with network() as net, Wire(net) as wire:
        napt_b, cgn = net.napt("napt_b"), net.napt("cgn")
        with pytest.raises(ControlError, match=r"no host 10\.0\.0\.20"):
            napt_b.add("tcp 8080 -> 10.0.0.20:80")
        net.plug("alice", "b", "10.0.0.20")
        asked = run(net["alice"], "pcp map udp 5000 --external 5000")
        assert asked.status == 0, asked.stdout + asked.stderr
        napt_b.add("tcp 8080 -> 10.0.0.20:80")
        serve(net["alice"], 80)
        all_hold(net, wire, "server reaches alice:80 at 203.0.113.7:8080 via forwarded")

        # The translator that follows one that was killed knows the host as well.
        mark = net.log.mark()
        os.kill(napt_b.stats()["pid"], signal.SIGKILL)
        net.log.wait_for(
            lambda e: (e.node, e.name) == ("napt_b", "ready"), deadline=20, what="it", since=mark
        )
        napt_b.remove("tcp 8080")
        napt_b.add("tcp 8081 -> 10.0.0.20:80")
        # … and so does one that is started with the table of the one before.
        net.restart("napt_b")
        assert "203.0.113.7:8081" in {rule["external"] for rule in napt_b.rules()}

        with pytest.raises(ControlError, match=r"no host 100\.64\.0\.9"):
            cgn.add("tcp 8080 -> 100.64.0.9:8080")
        net.renumber("napt_a", "100.64.0.9")
        cgn.add("tcp 8080 -> 100.64.0.9:8080")


def test_a_link_gets_slow_that_was_none():
    with network() as net:
        net.set_link("server", delay="30ms")
        for node in ("alice", "relay"):
            told = run(net[node], "ping -c1 -W2 151.101.1.69").stdout
            assert float(re.search(r"time=([0-9.]+) ms", told)[1]) >= 60
        net.set_link("alice", delay="20ms")
        told = run(net["alice"], "ping -c1 -W2 151.101.1.69").stdout
        assert float(re.search(r"time=([0-9.]+) ms", told)[1]) >= 100
        net.set_link("server", loss="100%")
        assert run(net["relay"], "ping -c1 -W1 151.101.1.69").status == 1
        net.set_link("server", loss="0%", delay="0ms")
        assert run(net["relay"], "ping -c1 -W1 151.101.1.69").status == 0


def test_settings_change_and_programs_die_and_start_again():
    with network() as net, Wire(net) as wire:
        all_hold(net, wire, "napt_b filters address-and-port-dependent")
        net.happen("set napt_b filtering=endpoint-independent idle.udp=1m")
        all_hold(net, wire, "napt_b filters endpoint-independent")
        net.happen("kill relay:relay")
        all_hold(net, wire, "alice cannot reach relay:9000 because refused")
        net.happen("start relay:relay")
        all_hold(net, wire, "alice reaches relay:9000")
        net.happen("kill server:web:80")
        net.reboot("server")
        all_hold(net, wire, "alice reaches server:80")
        net.happen("kill relay:relay")
        with pytest.raises(ValueError, match="does not run on"):
            net.happen("kill relay:relay")
