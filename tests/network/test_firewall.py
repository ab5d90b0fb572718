"""Routers and firewalls: what passes, what is blocked, and that it is told where."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.labs.prompt.why import Why
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.network.test_nat_node import run

pytestmark = pytest.mark.network(timeout=120)

HOTEL = """
internet: {{server: {{address: 151.101.1.69, runs: [web]}}}}
sites:
  hotel:
    gateway: {{name: hotel, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, {engine},
              rules: ["tcp 8080 -> 10.0.0.7:80", "tcp 2222 -> 10.0.0.7:22"],
              firewall: {{{firewall}}}}}
    hosts: {{guest: 10.0.0.7, other: 10.0.0.8}}
expect:
{sentences}
"""
OUTBOUND = """
  - guest reaches server:80 as hotel
  - guest reaches server as hotel
  - guest reaches server:53 by udp as hotel
  - guest cannot reach server:443 by udp because blocked at hotel
  - guest cannot reach server:25 because blocked at hotel
  - server reaches guest:80 at hotel:8080 via forwarded
  - other reaches guest:80 at hotel:8080 via hairpinned
"""
INBOUND = """
  - guest reaches server:80 as hotel
  - guest reaches server:443 by udp as hotel
  - server cannot reach guest:80 at hotel:8080 because blocked at hotel
  - server reaches guest:22 at hotel:2222 via forwarded
  - other reaches guest:80 at hotel:8080 via hairpinned
"""
OFFICE = """
internet: {server: 151.101.1.69, visitor: 192.0.2.7}
sites:
  office:
    gateway: {kind: router, public: 24.9.3.7, private: 198.51.100.1/24,
              firewall: {inbound: deny, blocks: ["tcp 25"], allows: ["tcp 443", icmp]}}
    hosts: {mail: 198.51.100.10, web: 198.51.100.11}
  lab:
    gateway: {kind: router, behind: office, public: 198.51.100.20, private: 203.0.113.1/24}
    hosts: {probe: 203.0.113.5}
  desk:
    gateway: {kind: napt, behind: lab, public: 203.0.113.9, private: 10.0.0.1/24}
    hosts: {pc: 10.0.0.7}
  open_:
    gateway: {kind: router, public: 24.9.3.8, private: 198.18.77.1/24}
    hosts: {bare: 198.18.77.7}
expect:
  - mail reaches server:80 as 198.51.100.10 via direct
  - probe reaches server:80 as 203.0.113.5 via direct
  - pc reaches server:80 as napt_desk
  - server reaches web:443 via direct
  - server reaches probe:443 via direct
  - server reaches web
  - server cannot reach web:80 because blocked at router_office
  - server cannot reach mail:53 by udp because blocked at router_office
  - mail cannot reach server:25 because blocked at router_office
  - probe cannot reach server:25 because blocked at router_office
  - server cannot reach pc:80 because no-route at internet
  - probe cannot reach 203.0.113.77 because no-neighbor at probe
  - server reaches bare:80 via direct
  - bare reaches visitor:80 as 198.51.44.7
"""


def verdicts(text):
    topology = loads(text.encode(), Path("f.yaml"))
    with Network(topology) as net, Wire(net) as wire:
        outcomes = run_checks(net, wire, topology.expect)
    return {o.expectation.text: o for o in outcomes}


@pytest.mark.parametrize("engine", ["engine: python", "engine: nftables", "datapath: kernel"])
def test_a_napt_blocks_what_comes_from_inside(engine):
    firewall = 'blocks: [udp, "tcp 25"], allows: ["udp 53"]'
    found = verdicts(HOTEL.format(engine=engine, firewall=firewall, sentences=OUTBOUND))
    assert {t: o.evidence for t, o in found.items() if o.verdict != "passed"} == {}


@pytest.mark.parametrize("engine", ["engine: python", "engine: nftables"])
def test_a_napt_lets_in_only_answers_and_what_is_allowed(engine):
    firewall = 'inbound: deny, allows: ["tcp 22"]'
    found = verdicts(HOTEL.format(engine=engine, firewall=firewall, sentences=INBOUND))
    assert {t: o.evidence for t, o in found.items() if o.verdict != "passed"} == {}


def test_a_router_translates_nothing_and_its_firewall_remembers():
    found = verdicts(OFFICE.replace("198.18.77", "198.51.44"))
    assert {t: o.evidence for t, o in found.items() if o.verdict != "passed"} == {}


def test_a_firewall_that_is_not_there_blocks_nothing():
    """The control: each sentence with `blocked` fails without the firewall."""
    text = OFFICE.replace("198.18.77", "198.51.44").replace(
        """,
              firewall: {inbound: deny, blocks: ["tcp 25"], allows: ["tcp 443", icmp]}""",
        "",
    )
    found = verdicts(text)
    failed = {text for text, outcome in found.items() if outcome.verdict == "failed"}
    assert failed == {text for text in found if "because blocked" in text}


def test_why_names_the_packet():
    text = HOTEL.format(engine="engine: python", firewall="blocks: [udp]", sentences=OUTBOUND)
    with Network(loads(text.encode(), Path("f.yaml"))) as net:
        why = Why(net)
        why.begins("nc")
        mark = net.log.mark()
        run(net["guest"], "traceroute -n -q1 -w1 -f2 -m2 -p 9 151.101.1.69")
        net.log.wait_for(lambda e: e.name == "drop", deadline=5, what="the drop", since=mark)
        lines = why.lines()
        why.close()
        assert lines[0] == "hotel dropped:"
        assert "> 151.101.1.69:9: blocked, the firewall of this gateway" in lines[1]


def test_a_firewall_that_drops_nothing_leaves_the_processor_alone():
    text = HOTEL.format(engine="engine: python", firewall="blocks: [udp]", sentences="  []")
    with Network(loads(text.encode(), Path("f.yaml"))) as net:
        (firewall,) = (
            place for place in Path("/proc").glob("[0-9]*")
            if b"engines.nftables.firewall" in (place / "cmdline").read_bytes()
        )  # fmt: skip
        before = processor_time(firewall)
        assert net["guest"].run(["ping", "-c", "4", "-i", "0.3", "10.0.0.8"]).status == 0
        used = processor_time(firewall) - before
        assert used <= 5, f"{used} hundredths of a second"
        # It has not merely stopped: what it drops, it still tells.
        since = net.log.mark()
        net["guest"].run(["bash", "-c", "echo x > /dev/udp/151.101.1.69/9"])
        net.log.wait_for(
            lambda event: event.name == "drop" and event.fields["reason"] == "blocked",
            deadline=5,
            what="the drop of a datagram",
            since=since,
        )


def processor_time(process: Path) -> int:
    """What a process has used so far, in hundredths of a second."""
    fields = (process / "stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])
