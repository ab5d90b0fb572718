"""What the builder is told to make, as data."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from itertools import pairwise
from pathlib import Path

import pytest

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.settings import Settings
from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.plan import (
    mtu_commands,
    neighbor_commands,
    node_plans,
    segments,
)
from napt_lab.topologies.network.programs import gateway_command, nat_node_flags
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.kernel_nat import ruleset
from napt_lab.topologies.spec.loader import load, loads
from napt_lab.topologies.spec.napt_settings import LeaseLimits, NaptSettings, StaticRule
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.scalars import PRIVATE, SHARED


@pytest.fixture
def two_sites():
    return load(TOPOLOGIES / "two-sites.yaml")


def test_every_node_hangs_where_it_belongs(two_sites):
    plans = {plan.name: plan for plan in node_plans(two_sites)}
    assert len(segments(two_sites)) == 5
    assert [port.interface for port in plans["napt_a"].ports] == ["wan0", "lan0"]
    assert plans["alice"].ports[0].segment == plans["napt_a"].ports[1].segment
    assert plans["alice"].ports[0].segment != plans["bob"].ports[0].segment
    assert str(plans["alice"].next_hop) == "10.0.0.1"
    assert str(plans["napt_a"].next_hop) == "24.9.3.1"
    # A NAPT forwards when its translator does: before that, private addresses would get out.
    assert {plan.name for plan in plans.values() if plan.forwards} == {"internet"}


def test_a_gateway_behind_a_site_hangs_on_its_segment():
    topology = load(TOPOLOGIES / "carrier.yaml")
    plans = {plan.name: plan for plan in node_plans(topology)}
    inside = plans["cgn"].ports[1]
    for name in ("napt_a", "napt_b"):
        assert plans[name].ports[0].segment == inside.segment
        assert plans[name].next_hop == inside.address.ip
    carrier, home, _ = topology.sites
    assert topology.upstream(home) == topology.outermost(home) == carrier
    assert topology.upstream(carrier) is None
    assert topology.outermost(carrier) == carrier
    words = gateway_command(carrier, Path("/run"), topology)
    hosts = [value for word, value in pairwise(words) if word == "--host"]
    assert hosts == ["100.64.0.7", "100.64.0.8"]  # rules may lead to its subscribers


@pytest.mark.parametrize(
    ("public", "dropped"),
    [
        ("24.9.3.7", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"]),
        ("100.64.0.7", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]),
        ("10.9.0.7", []),
    ],
)
def test_both_engines_take_the_same_for_private(public, dropped):
    site = load(TOPOLOGIES / "carrier.yaml").sites[1]
    inside = IPv4Interface("192.168.7.1/24")
    gateway = replace(site.gateway, public=IPv4Interface(f"{public}/24"), private=inside)
    rules = ruleset(gateway, site.gateway.napt, [])
    networks = [f"{n}" for n in (*PRIVATE, SHARED) if f"{n}" in rules.partition("oifname")[2]]
    assert networks == dropped
    settings = Settings(parse_address(public), parse_address("192.168.7.1"), 0xFFFFFF00)
    for network in (*PRIVATE, SHARED):
        for address in (network[5], network[-5]):
            told = settings.is_not_routable(int(address))
            assert told is (str(network) in dropped), address


def test_the_names_of_a_topology_are_those_of_its_nodes(two_sites):
    assert two_sites.node_names() == [plan.name for plan in node_plans(two_sites)]
    assert Roster(two_sites).node("napt_a") == "napt_a"
    with pytest.raises(ValueError, match=r"there is no node 'napt_c'; .*did you mean 'napt_"):
        Roster(two_sites).node("napt_c")


def test_the_internet_has_no_way_to_private_space(two_sites):
    router = next(iter(node_plans(two_sites)))
    commands = router.ip_commands()
    for prefix in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "default"):
        assert f"route add unreachable {prefix}" in commands


def test_names_of_segments_fit_an_interface_and_no_node_has_one(two_sites):
    for name in segments(two_sites):
        assert "." in name
        assert len(f"{name}-eth250") <= 15  # IFNAMSIZ


def test_every_setting_of_a_napt_reaches_the_translator(two_sites):
    site = two_sites.sites[0]
    settings = NaptSettings(
        hairpinning=False,
        ports=range(2000, 3001),
        tcp_idle=1.5,
        tcp_transitory_idle=2.5,
        udp_idle=3.5,
        icmp_idle=4.5,
        closing_hold=0.5,
        rules=(StaticRule("tcp", 8080, IPv4Address("10.0.0.7"), 80),),
        port_control=LeaseLimits(2, 30, 5),
    )
    flags = nat_node_flags(site, settings, Path("/run/x.sock"), [IPv4Address("10.0.0.7")])
    given = dict(pairwise(flags))
    assert given["--external"] == "24.9.3.7"
    assert given["--internal"] == "10.0.0.1/24"
    assert given["--ports"] == "2000-3000"
    assert (given["--tcp-idle"], given["--closing-hold"]) == ("1.5", "0.5")
    assert given["--rule"] == "tcp 8080 -> 10.0.0.7:80"
    assert given["--host"] == "10.0.0.7"
    assert "--no-hairpinning" in flags
    assert "--port-control" in flags
    assert (given["--min-lifetime"], given["--max-lifetime"], given["--quota"]) == ("2", "30", "5")
    assert "--port-control" not in nat_node_flags(site, NaptSettings(), Path("/run/x.sock"), [])


def test_the_kernel_gets_the_same_pool_and_rules(two_sites):
    rule = StaticRule("udp", 5000, IPv4Address("10.0.0.7"), 53)
    settings = replace(NaptSettings(), ports=range(2000, 3001), rules=(rule,))
    text = ruleset(two_sites.sites[0].gateway, settings, [])
    assert "elements = { 24.9.3.7 . 5000 : 10.0.0.7 . 53 }" in text
    assert "meta l4proto { tcp, udp } snat ip to 24.9.3.7:2000-3000" in text


def test_no_network_outside_the_sandbox(two_sites):
    with pytest.raises(BuildError, match="sandbox"), Network(two_sites):
        pass


def test_a_host_with_several_addresses_has_all_of_them_everywhere():
    text = (
        b"internet: {stun: {address: [198.51.100.2, 198.51.100.3], link: dsl}, web: 198.51.100.9}"
    )
    plans = list(node_plans(loads(text, Path("t.yaml"))))
    stun = next(plan for plan in plans if plan.name == "stun")
    for address in ("198.51.100.2", "198.51.100.3"):
        assert f"address add {address}/24 broadcast + dev eth0" in stun.ip_commands()
        for other, device in (("web", "eth0"), ("internet", "isp1")):
            mac = "02:00:c6:33:64:02"
            neighbor = f"neigh add {address} lladdr {mac} dev {device} nud permanent"
            assert neighbor in neighbor_commands(plans)[other]
            assert f"route add {address} dev {device} mtu lock 1492" in mtu_commands(plans)[other]
