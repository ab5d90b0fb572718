"""Next hops, from the kernel's table of routes as it is written on a little-endian machine."""

from __future__ import annotations

import sys

import pytest

from nat_node.behavior import parse_address
from nat_node.next_hops import NextHops, parse

HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
DEFAULT = "wan0 00000000 01030918 0003 0 0 0 00000000 0 0 0\n"
LINK = "wan0 00030918 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
LAN = "lan0 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
HOME = DEFAULT + LINK + LAN

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the lines above are")


def outward(destination, routes=HOME, inside_mtu=1500, outside_mtu=1500):
    hops = NextHops("wan0", inside_mtu, outside_mtu, parse(HEAD + routes))
    return hops.outward(parse_address(destination))


def test_through_the_gateway():
    assert outward("151.101.1.69") == parse_address("24.9.3.1")


def test_a_neighbor_is_its_own_next_hop():
    assert outward("24.9.3.99") == parse_address("24.9.3.99")


def test_the_more_specific_route_and_then_the_lower_metric():
    host = "wan0 45016597 09030918 0007 0 0 {} FFFFFFFF 0 0 0\n"
    worse = "wan0 45016597 08030918 0007 0 0 50 FFFFFFFF 0 0 0\n"
    assert outward("151.101.1.69", worse + HOME + host.format(10)) == parse_address("24.9.3.9")
    assert outward("151.101.1.69", worse + HOME + host.format(90)) == parse_address("24.9.3.8")


@pytest.mark.parametrize(
    "routes",
    [
        pytest.param(LAN + LINK, id="no route"),
        pytest.param(HOME + "lan0 45016597 00000000 0005 0 0 0 FFFFFFFF 0 0 0\n", id="inside"),
        pytest.param(HOME + "* 45016597 00000000 0205 0 0 0 FFFFFFFF 0 0 0\n", id="unreachable"),
        pytest.param(HOME.replace("0003", "0002"), id="down"),
        pytest.param(HOME.replace("00000000 0 0 0\n", "00000000 1400 0 0\n"), id="its own MTU"),
    ],
)
def test_no_way_on(routes):
    assert outward("151.101.1.69", routes) is None


def test_packets_that_would_be_too_large_are_the_routers():
    assert outward("151.101.1.69", inside_mtu=1500, outside_mtu=1492) is None
    assert outward("151.101.1.69", inside_mtu=1492, outside_mtu=1500) is not None
    assert not NextHops("wan0", 1492, 1500, ()).inward()
    assert NextHops("wan0", 1500, 1492, ()).inward()


def test_a_device_that_is_gone():
    assert outward("151.101.1.69", outside_mtu=0) is None
    assert outward("151.101.1.69", inside_mtu=0) is None
    assert not NextHops("wan0", 0, 0, ()).inward()
