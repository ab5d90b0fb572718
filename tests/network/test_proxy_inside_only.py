"""A gateway's proxy serves its own site: a neighbor at the gateway's ISP cannot use it."""

from __future__ import annotations

import sys
from dataclasses import replace
from ipaddress import IPv4Interface

import pytest

from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.programs import proxy_command
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load
from napt_lab.topologies.spec.model import Host

pytestmark = pytest.mark.network(timeout=30)
NEIGHBOR = "24.9.3.99"
PAGE = "http://151.101.1.69/"


def with_neighbor(name):
    """A topology with one more host, on the segment of the gateway's ISP."""
    plain = load(TOPOLOGIES / f"{name}.yaml")
    neighbor = Host("neighbor", IPv4Interface(f"{NEIGHBOR}/24"), runs=())
    return replace(plain, internet=(*plain.internet, neighbor))


def curl(node, *arguments):
    return node.run(["curl", "-sS", "--max-time", "5", *arguments])


def route_to_the_site(net):
    added = net["neighbor"].run(["ip", "route", "add", "10.0.0.0/24", "via", "24.9.3.7"])
    assert added.status == 0, added.stderr


def test_the_explicit_proxy():
    topology = with_neighbor("level-8-proxy")
    with Network(topology) as net:
        route_to_the_site(net)
        refused = curl(net["neighbor"], "-x", "10.0.0.1:3128", PAGE)
        assert (refused.status, refused.stdout) == (7, "")
        assert "Failed to connect" in refused.stderr
        # The controls: the PC is served, and the neighbor's way to the address is open: without
        # its device the same proxy serves the neighbor.
        assert "You are 24.9.3.7" in curl(net["pc"], "-x", "10.0.0.1:3128", PAGE).stdout
        command = proxy_command(topology.sites[0].gateway)
        at = command.index("--device")
        open_to_all = [*command[:at], *command[at + 2 :], "--port", "3129"]
        program = net["proxy"].start_program([sys.executable, "-m", *open_to_all], name="open")
        program.wait_for("ready", deadline=10)
        assert "You are 24.9.3.7" in curl(net["neighbor"], "-x", "10.0.0.1:3129", PAGE).stdout


def test_the_transparent_proxy():
    topology = with_neighbor("level-8-transparent-proxy")
    (gateway,) = [site.gateway.name for site in topology.sites]
    with Network(topology) as net:
        route_to_the_site(net)
        refused = curl(net["neighbor"], "http://10.0.0.1:8080/")
        assert (refused.status, refused.stdout) == (7, "")
        # The controls: the PC is served; another listener at the address answers the neighbor.
        assert "You are 24.9.3.7" in curl(net["pc"], PAGE).stdout
        web = [sys.executable, "-m", "napt_lab.servers.web", "--port", "8081"]
        net[gateway].start_program(web, name="open").wait_for("ready", deadline=10)
        assert f"You are {NEIGHBOR}" in curl(net["neighbor"], "http://10.0.0.1:8081/").stdout
