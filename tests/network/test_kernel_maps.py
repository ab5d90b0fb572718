"""What the kernel's maps are told, with real devices, routes and nftables, but without packets.

The clock is invented, and the sessions are made by hand.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from napt_lab.nat_node.core.behavior import parse_address, show_address
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.packet import UDP
from napt_lab.nat_node.offload.kernel_datapath import (
    AT_ONCE,
    CAPACITY,
    LOOK_EVERY,
    PROBATION,
    SHORTEST_IDLE,
    SOON,
    WAITING,
    KernelDatapath,
)
from napt_lab.nat_node.offload.next_hops import NextHops
from napt_lab.nat_node.system.routing import Interfaces
from tests.waiting import wait_until

EXTERNAL = (parse_address("24.9.3.7"), 1025)

pytestmark = pytest.mark.network(timeout=60)


def devices():
    """What a NAPT has, without the NAPT."""
    for command in (
        "link add lan0 type veth peer name pc", "link add wan0 type veth peer name isp",
        "link add nat-in type veth peer name nat-out", "link set lan0 up",
        "link set wan0 up", "link set pc up", "link set isp up", "link set nat-in up",
        "address add 24.9.3.7/24 dev wan0", "address add 10.0.0.1/24 dev lan0",
        "route add default via 24.9.3.1",
    ):  # fmt: skip
        subprocess.run(["ip", *command.split()], check=True)
    for device in ("lan0", "wan0", "nat-in"):
        conf = Path("/proc/sys/net/ipv4/conf") / device
        for name, value in (("forwarding", 1), ("accept_local", 1), ("rp_filter", 0)):
            (conf / name).write_text(str(value))
    Path("/proc/sys/net/ipv4/conf/all/rp_filter").write_text("0")
    # The kernel tells up to a second later that a device is up, which would be news to NextHops.
    wait_until(lambda: not devices_that_are("DOWN") - {"lo", "nat-out"}, "devices to be up")
    return Interfaces("lan0", "wan0", ("24.9.3.7",), "10.0.0.1", "10.0.0.0/24")


def devices_that_are(state):
    shown = subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout
    return {device["ifname"] for device in json.loads(shown) if device["operstate"] == state}


def test_next_hops():
    hops = NextHops(devices())

    def outward(address):
        hop = hops.outward(parse_address(address))
        return hop and show_address(hop)

    def ip(command):
        subprocess.run(["ip", *command.split()], check=True)
        assert hops.look()  # it is seen that something has changed
        assert not hops.look()

    assert outward("151.101.1.69") == "24.9.3.1"
    assert outward("24.9.3.99") == "24.9.3.99"  # a neighbor
    assert outward("24.9.3.255") is None  # all of them
    assert outward("24.9.3.7") is None  # ourselves
    assert outward("10.0.0.7") is None  # not outside
    ip("route add 151.101.0.0/16 via 24.9.3.2 metric 9")
    ip("route add 151.101.0.0/16 via 24.9.3.3 metric 8")
    assert outward("151.101.1.69") == "24.9.3.3"
    ip("route add blackhole 151.101.1.0/24")
    assert outward("151.101.1.69") is None
    ip("route replace 151.101.1.0/24 via 24.9.3.4 mtu 1400")
    assert outward("151.101.1.69") is None  # smaller than what the inside may send
    ip("link set lan0 mtu 1400")
    assert outward("151.101.1.69") == "24.9.3.4"
    inside = parse_address("10.0.0.7")
    assert hops.inward(inside) is None
    ip("link set lan0 mtu 1500")
    assert hops.inward(inside) == inside
    ip("rule add to 8.8.8.8 unreachable")
    assert outward("8.8.8.8") is None
    assert outward("9.9.9.9") == "24.9.3.1"
    ip("route replace default via 24.9.3.1 mtu lock 1300")
    assert outward("9.9.9.9") is None
    ip("route del default")
    assert outward("9.9.9.9") is None
    assert hops.answers("10.0.0.7", outward=False)
    subprocess.run(["ip", "neighbor", "add", "10.0.0.7", "dev", "lan0", "nud", "failed"])
    hops.look()
    assert not hops.answers("10.0.0.7", outward=False)
    assert hops.answers("10.0.0.7", outward=True)  # another neighbor, on another link
    ip("link del isp")  # and wan0 with it
    assert hops.inward(inside) is None


def test_room_for_others():
    """Who may stay, and who comes next."""
    kernel = KernelDatapath(devices())
    mapping = Mapping(1, UDP, (0x0A000007, 5000), EXTERNAL, (0, 0), 0.0, "UDP datagram", False)

    def session(number):
        return Session(number, mapping, (0x97650145, number), now=0.0, lifetime=300.0)

    def carried():
        return [each.serial for each in sessions if kernel.carries(each)]

    sessions = [session(number) for number in range(1, CAPACITY + 2)]
    assert kernel.next_look() is None
    for each in sessions:
        kernel.propose(each, outbound=True)
    assert kernel.next_look() == SOON
    for part in range(1, CAPACITY // AT_ONCE + 1):
        now = 1.0 + part * 2 * SOON
        assert kernel.account(now) == []
        assert carried() == list(range(1, part * AT_ONCE + 1))
    full = now
    assert kernel.next_look() == full + LOOK_EVERY
    kernel.propose(sessions[5], outbound=True)  # is carried already
    assert kernel.next_look() == full + LOOK_EVERY

    kernel.release(sessions[0])
    assert kernel.account(full + 1) == []
    assert carried() == list(range(2, CAPACITY + 2))  # who has waited longest is next
    back = kernel.account(full + PROBATION)  # nobody has moved; one has had less time for it
    assert back == [(each, True) for each in sessions[1:-1]]
    assert carried() == [CAPACITY + 1]

    subprocess.run(["ip", "route", "del", "default"], check=True)
    again = full + PROBATION + 1
    assert kernel.account(again) == [(sessions[-1], True)]
    kernel.propose(sessions[-1], outbound=True)
    assert kernel.account(again + 1) == [(sessions[-1], True)]  # there is no way to it
    assert kernel.next_look() is None
    subprocess.run(["ip", "route", "add", "default", "via", "24.9.3.1"], check=True)
    kernel.propose(sessions[-1], outbound=True)
    assert kernel.account(again + 2) == []
    assert carried() == [CAPACITY + 1]
    kernel.release(sessions[-1])
    assert kernel.next_look() is None


def test_who_waits_too_long_may_ask_again():
    kernel = KernelDatapath(devices())
    mapping = Mapping(1, UDP, (0x0A000007, 5000), EXTERNAL, (0, 0), 0.0, "UDP datagram", False)
    sessions = [
        Session(number, mapping, (0x97650145, number), now=0.0, lifetime=300.0)
        for number in range(1, WAITING + 3)
    ]
    for each in sessions:
        kernel.propose(each, outbound=True)
    assert kernel.account(1.0) == [(each, True) for each in sessions[:2]]
    assert kernel.carries(sessions[2])


def test_not_worth_it():
    kernel = KernelDatapath(devices())

    def propose(host, lifetime):
        mapping = Mapping(
            1, UDP, (parse_address(host), 1), EXTERNAL, (0, 0), 0.0, "UDP datagram", False
        )
        kernel.propose(Session(2, mapping, (0x97650145, 53), 0.0, lifetime), outbound=True)

    propose("10.0.0.7", SHORTEST_IDLE - 1)
    propose("10.0.0.1", 300.0)  # the NAPT's own comes by no device
    assert kernel.next_look() is None
    propose("10.0.0.7", SHORTEST_IDLE)
    assert kernel.next_look() is not None


def test_nftables_changed_by_others(capfd):
    """What somebody else does with nftables meanwhile is no reason to give up."""
    kernel = KernelDatapath(devices())
    mapping = Mapping(1, UDP, (0x0A000007, 5000), EXTERNAL, (0, 0), 0.0, "UDP datagram", False)
    others = "set -e; while :; do nft add table ip other; nft delete table ip other; done"
    with subprocess.Popen(["sh", "-c", others]) as busy:
        try:
            for number in range(1, 200):
                session = Session(number, mapping, (0x97650145, number), 0.0, 300.0)
                kernel.propose(session, outbound=True)
                kernel.account(float(number))
                assert kernel.carries(session)
                kernel.release(session)
        finally:
            busy.kill()
            assert busy.wait() == -signal.SIGKILL  # it was at it until now
    assert capfd.readouterr().err == ""
