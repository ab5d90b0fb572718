"""One line of what can happen: read, refused with what is allowed, and applied to a topology."""

from __future__ import annotations

from pathlib import Path

import pytest

from napt_lab.topologies.spec.happening import USAGE, after, happening
from napt_lab.topologies.spec.link import Link
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.napt_settings import Behavior

TEXT = b"""
internet: {files: {address: 198.51.100.10, runs: [file-server, relay, {relay: {port: 9001}}]}}
sites:
  a:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {alice: [10.0.0.7, 10.0.0.70], anna: {address: 10.0.0.8, link: dsl}}
  b:
    gateway: {kind: napt, engine: nftables, public: 24.9.3.8, private: 10.1.0.1/24}
    hosts: {bob: 10.1.0.9}
  p:
    gateway: {kind: proxy, public: 24.9.3.9, private: 10.2.0.1/24}
"""
TOPOLOGY = loads(TEXT, Path("t.yaml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("explode napt_a", "'explode' cannot happen; allowed: reboot, restart,"),
        ("rebot napt_a", "did you mean 'reboot'"),
        ("reboot", "allowed: reboot NODE"),
        ("reboot alice bob", "allowed: reboot NODE"),
        ("reboot napt_c", "there is no node 'napt_c'"),
        ("reboot internet", "nothing can happen to the router"),
        ("renumber alice 24.9.3.9", "'alice' is not a gateway; allowed: napt_a, napt_b, proxy_p"),
        ("renumber proxy_p 24.9.3.77", "proxy_p is not a NAPT"),
        ("renumber napt_a 24.9.4.9", "24.9.4.9 is outside 24.9.3.0/24"),
        ("renumber napt_a 24.9.3.8", "24.9.3.8 belongs to a node already"),
        ("renumber napt_a 24.9.3.1", "24.9.3.1 belongs to a node already"),
        ("renumber napt_a 24.9.3.255", "is the broadcast address"),
        ("plug alice into b", "allowed: plug NODE [into SITE as ADDRESS]"),
        ("plug files into b as 10.1.0.7", "files is not in a site"),
        ("plug alice into c as 10.1.0.7", "there is no site 'c'; allowed: a, b, p"),
        ("plug alice into b as 10.0.0.7", "10.0.0.7 is outside 10.1.0.0/24"),
        ("plug alice into b as 10.1.0.9", "10.1.0.9 belongs to a node already"),
        ("link alice", "allowed: link NODE KEY=VALUE"),
        ("link alice slow", "'slow' has no value"),
        ("link alice mtu=1400", "'mtu' cannot be changed; allowed: delay, jitter,"),
        ("link alice loss=5", "'5' is not a share of packets"),
        ("link alice jitter=5ms", "the jitter is more than the delay"),
        ("set napt_b filtering=endpoint-independent", "napt_b cannot be set; allowed: a NAPT with"),
        ("set napt_a filtering=open", "'open' is unknown; allowed: endpoint-independent"),
        ("set napt_a idle.udb=5s", "did you mean 'idle.udp'"),
        ("kill files", "allowed: kill NODE:PROGRAM"),
        ("kill files:web", "files does not run 'web'; allowed: file-server:8080, relay:9000"),
        ("kill files:relay", "files does not run 'relay'; allowed: file-server:8080, relay:9000"),
        ("wait 10m", "out of bounds; allowed: 0s to 5m"),
    ],
)
def test_what_cannot_happen_is_refused(text, words):
    with pytest.raises(ValueError) as caught:
        happening(text, TOPOLOGY)
    assert words in str(caught.value)


def test_the_topology_is_what_it_is_afterwards():
    topology = TOPOLOGY
    for text in (
        "renumber napt_a 24.9.3.77",
        "plug alice into b as 10.1.0.20",
        "link anna loss=5%",
        "link alice  delay=40ms jitter=5ms",
        "link napt_b rate=1Mbit",
        "set napt_a filtering=endpoint-independent idle.udp=1m",
        "reboot napt_a",
        "kill files:relay:9001",
    ):
        topology = after(topology, happening(text, topology))
    a, b, _ = topology.sites
    assert str(a.gateway.public) == "24.9.3.77/24"
    assert [host.name for host in a.hosts] == ["anna"]
    assert [(host.name, str(host.address)) for host in b.hosts] == [
        ("bob", "10.1.0.9/24"),
        ("alice", "10.1.0.20/24"),
    ]
    assert b.hosts[1].others == ()
    assert b.hosts[1].link == Link(delay=0.04, jitter=0.005)
    dsl = TOPOLOGY.sites[0].hosts[1].link
    assert a.hosts[0].link == Link(dsl.delay, dsl.jitter, 0.05, 0, dsl.rate, dsl.queue, dsl.mtu)
    assert b.gateway.link == Link(rate=1e6)
    assert a.gateway.napt.filtering is Behavior.ENDPOINT_INDEPENDENT
    assert a.gateway.napt.udp_idle == 60
    assert topology.internet == TOPOLOGY.internet


def test_a_program_is_named_in_full_or_if_that_is_clear_in_short():
    assert happening("kill files:file-server", TOPOLOGY).program == "file-server:8080"
    assert happening("kill files:relay:9001", TOPOLOGY).program == "relay:9001"
    assert set(USAGE) >= {"reboot", "restart", "renumber", "unplug", "plug", "link", "set"}
