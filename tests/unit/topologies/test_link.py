"""`link:` in a topology file, and what follows from it for the nodes at both ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napt_lab.topologies.links.line import Direction
from napt_lab.topologies.network.plan import arp_patience, mtu_commands, node_plans
from napt_lab.topologies.spec.link import LINKS, Link
from napt_lab.topologies.spec.loader import loads

TEXT = """
internet: {server: {address: 151.101.1.69, link: %s}}
sites:
  home:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, link: {mtu: 1400}}
    hosts: {alice: {address: 10.0.0.7, link: {mtu: 1200, black-hole: true}}, anna: 10.0.0.8}
"""


def topology(link="dsl"):
    return loads((TEXT % link).encode(), Path("t.yaml"))


def test_settings_are_read():
    link = "{delay: 40ms, jitter: 0.005s, loss: 1.5%, rate: 20Mbit, mtu: 1400, queue: 50}"
    (server,) = topology(link).internet
    assert server.link == Link(0.04, 0.005, 0.015, 0, 20e6, 50, 1400)
    assert topology("{loss: {every: 10}}").internet[0].link == Link(every=10)
    for name, named in LINKS.items():
        assert topology(name).internet[0].link == named
    assert topology().sites[0].hosts[1].link is None


def test_the_program_takes_what_a_link_says():
    for link in LINKS.values():
        said: dict[str, Any] = link.direction()
        assert Direction(**said).delay == link.delay
    hole = Link(mtu=1200, black_hole=True)
    assert (hole.direction()["largest"], hole.told_mtu) == (1200, 0)
    assert (Link(mtu=1200).direction()["largest"], Link(mtu=1200).told_mtu) == (0, 1200)


def test_both_ends_know_an_mtu_and_nobody_knows_a_black_hole():
    plans = list(node_plans(topology()))
    own = {plan.name: [c for c in plan.ip_commands() if " mtu " in c] for plan in plans}
    assert own["napt_home"] == ["link set wan0 mtu 1400"]
    assert own["server"] == ["link set eth0 mtu 1492"]
    assert own["alice"] == []
    others = mtu_commands(plans)
    assert sorted(others["internet"]) == [
        "route add 151.101.1.69 dev isp1 mtu lock 1492",
        "route add 24.9.3.7 dev isp2 mtu lock 1400",
    ]
    assert not [other for name, other in others.items() if other and name != "internet"]


def test_arp_waits_longer_on_a_slow_segment():
    plans = list(node_plans(topology("satellite")))
    patience = arp_patience(plans)
    assert patience["site.1"] == 200
    assert patience["isp.1"] == 200 + 580
