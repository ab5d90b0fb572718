"""The translator on real packets: real programs through it, and what is seen on its wires."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from napt_lab.labs.capture.wire import Wire
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.spec.loader import loads
from tests.packets import error, ping, tcp, udp
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)

TOPOLOGY = b"""
internet:
  server: {address: 151.101.1.69}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24}
    hosts: {alice: 10.0.0.7, bob: 10.0.0.8}
"""
SEND = """
import socket, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for packet in map(bytes.fromhex, sys.argv[1:]):
    raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
"""


def home():
    return Network(loads(TOPOLOGY, Path("home.yaml")))


def run(node, command, timeout=20.0):
    return node.run(command.split(), timeout=timeout)


def send(node, *packets):
    """Put packets on the wire as they are, forged addresses and all."""
    sent = node.run(["python", "-c", SEND, *(packet.hex() for packet in packets)])
    assert sent.status == 0, sent.stderr


def serve(node, port, content=b"hello"):
    """A web server on a node, with one file called `it`."""
    (node.home / "it").write_bytes(content)
    server = node.start(["python", "-u", "-m", "http.server", str(port)])
    got = run(node, f"curl -sS --retry 50 --retry-connrefused --retry-delay 0 "
                    f"-o /dev/null http://127.0.0.1:{port}/")  # fmt: skip
    assert got.status == 0, got.stderr
    return server


def drops(net):
    return net.napt("napt").stats()["drops"]


def set_mtu(node, interface, mtu):
    assert run(node, f"ip link set {interface} mtu {mtu}").status == 0


def translator(net):
    (process,) = (p for p in net["napt"].processes if p.name == "nat_node")
    return process


def test_ping_small_large_and_to_the_napt_itself():
    with home() as net:
        for node, address, size in (
            ("alice", "151.101.1.69", 56),
            ("alice", "151.101.1.69", 4000),  # in three pieces, both ways
            ("alice", "24.9.3.7", 56),
            ("alice", "10.0.0.1", 56),
            ("server", "24.9.3.7", 56),
            ("server", "24.9.3.7", 4000),
            ("napt", "151.101.1.69", 56),
        ):
            answered = run(net[node], f"ping -c1 -W2 -s {size} {address}")
            assert answered.status == 0, (node, address, size, answered.stdout)


@pytest.mark.parametrize("probe", ["-I", "-U -p 33434", "-T -p 80"])
def test_the_napt_is_one_hop_of_a_traceroute(probe):
    with home() as net:
        trace = run(net["alice"], f"traceroute -n -q1 -w2 {probe} 151.101.1.69")
        hops = re.findall(r"^ *\d+  (\S+)", trace.stdout, re.MULTILINE)
        assert hops == ["10.0.0.1", "24.9.3.1", "151.101.1.69"], trace.stdout


def test_a_traceroute_from_outside_ends_at_the_napt():
    with home() as net:
        trace = run(net["server"], "traceroute -n -q1 -w2 -I 24.9.3.7")
        hops = re.findall(r"^ *\d+  (\S+)", trace.stdout, re.MULTILINE)
        assert hops == ["151.101.1.1", "24.9.3.7"], trace.stdout


def test_a_page_comes_through_and_the_server_sees_the_napt():
    with home() as net:
        server = serve(net["server"], 80)
        for node in ("alice", "bob", "napt"):
            got = run(net[node], "curl -sS --max-time 5 http://151.101.1.69/it")
            assert (got.status, got.stdout) == (0, "hello"), got.stderr
        server.terminate()
        assert len(re.findall(r'^24\.9\.3\.7 .*"GET /it', server.wait(5).stderr, re.M)) == 3


def test_a_closed_port_and_a_private_destination_are_refused_at_once():
    with home() as net:
        for url in ("http://151.101.1.69:81/", "http://192.168.3.3/"):
            got = run(net["alice"], f"curl -sS --max-time 5 {url}")
            assert got.status == 7, got.stderr  # could not connect; 28 would be a time-out
        assert drops(net) == {"private-destination": 1}


def test_an_explicit_rule_opens_the_way_from_both_sides_and_its_removal_closes_it():
    with home() as net:
        server, napt = serve(net["alice"], 8000), net.napt("napt")
        fetch = "curl -sS --connect-timeout 0.5 --max-time 5 http://24.9.3.7:8080/it"
        assert run(net["server"], fetch).status == 28
        assert drops(net)["no-rule"] >= 1
        napt.add("tcp 8080 -> 10.0.0.7:8000")
        for node in ("server", "bob", "alice"):  # bob's and alice's are hairpinned
            got = run(net[node], fetch)
            assert (got.status, got.stdout) == (0, "hello"), (node, got.stderr)
        napt.remove("tcp 8080")
        assert run(net["server"], fetch).status == 28
        with pytest.raises(ValueError, match="'8080' is not a rule; allowed: as in 'tcp 8080'"):
            napt.remove("8080")
        with pytest.raises(ControlError, match="not the address of a host on the inside"):
            napt.add("tcp", "24.9.3.7:8080", "10.0.0.1:8000")
        server.terminate()
        clients = re.findall(r'^(\S+) .*"GET /it', server.wait(5).stderr, re.MULTILINE)
        assert clients == ["151.101.1.69", "24.9.3.7", "24.9.3.7"]


def test_path_mtu_is_discovered_outbound():
    """A link beyond the NAPT is narrow: the router's error reaches the host inside."""
    with home() as net:
        for interface in net["internet"].interfaces:
            on_it = run(net["internet"], f"ip -o -4 address show {interface}").stdout
            if "151.101.1.1/" in on_it:
                set_mtu(net["internet"], interface, 1300)
        told = run(net["alice"], "ping -c1 -W2 -M do -s 1400 151.101.1.69").stdout
        assert re.search(r"From 24\.9\.3\.1 .*Frag needed and DF set \(mtu = 1300\)", told), told
        assert run(net["alice"], "ping -c1 -W2 -M do -s 1272 151.101.1.69").status == 0
        set_mtu(net["napt"], "wan0", 1200)  # now the NAPT's own link is narrower still
        told = run(net["bob"], "ping -c1 -W2 -M do -s 1250 151.101.1.69").stdout
        assert "Frag needed and DF set (mtu = 1200)" in told


def test_path_mtu_is_discovered_inbound():
    """The link to the inside is narrow: the NAPT's error reaches the server outside."""
    content = os.urandom(300_000)
    with home() as net:
        serve(net["server"], 80, content)
        set_mtu(net["napt"], "lan0", 1000)
        got = run(net["alice"], "curl -sS --max-time 10 -o got http://151.101.1.69/it")
        assert got.status == 0, got.stderr
        fetched = (net["alice"].home / "got").read_bytes()
        assert hashlib.sha256(fetched).digest() == hashlib.sha256(content).digest()
        assert "mtu 1000" in run(net["server"], "ip route get 24.9.3.7").stdout


def test_nothing_private_is_ever_on_the_public_wire():
    alice, web = "10.0.0.7:40000", "151.101.1.69:80"
    private = ["192.168.3.3", "10.9.9.9", "172.16.1.1"]
    rules = {"tcp": "24.9.3.7:8080", "udp": "24.9.3.7:8080"}
    with home() as net, Wire(net, nodes=["napt"]) as wire:
        for protocol, external in rules.items():
            net.napt("napt").add(protocol, external, "10.0.0.8:80")
        for address in private:
            send(
                net["alice"],
                udp(alice, f"{address}:53"), tcp(alice, f"{address}:80"), ping("10.0.0.7", address),
                # an error that quotes a real session, sent somewhere else
                error("10.0.0.7", address, udp(web, alice)),
            )  # fmt: skip
            # forged sources from the inside
            send(net["alice"], *(make(f"{address}:9", web) for make in (udp, tcp)))
            # forged sources from the outside, also such that die on our own kernel's hands
            send(
                net["server"],
                udp(f"{address}:9", "24.9.3.7:8080"),
                udp(f"{address}:9", "24.9.3.7:8080", ttl=2),
                ping(address, "24.9.3.7"),
                error(address, "24.9.3.7", udp("24.9.3.7:8080", "151.101.1.69:9")),
            )
        send(net["alice"], udp(alice, web), tcp("10.0.0.7:40001", web))
        send(net["alice"], error("10.0.0.7", "151.101.1.69", udp(web, alice)))
        send(net["alice"], udp(alice, "24.9.3.7:8080"), tcp("10.0.0.7:40002", "24.9.3.7:8080"))
        send(net["server"], udp(web, "24.9.3.7:8080", ttl=2))
        assert run(net["alice"], "ping -c1 -W2 151.101.1.69").status == 0
        wait_until(
            lambda: {"private-destination", "spoofed-source"} <= drops(net).keys(), "the drops"
        )
        captured = wire.packets("napt:wan0")
        leaving = [Ether(c.data)[IP] for c in captured if c.outgoing and IP in Ether(c.data)]
        arrived = [Ether(c.data)[IP] for c in captured if not c.outgoing and IP in Ether(c.data)]
    # positive controls: all of it was tried, and what may pass did
    assert {packet.src for packet in arrived} >= set(private)
    assert any(p.proto == 17 for p in leaving)
    assert any(p.proto == 6 for p in leaving)
    assert {p[ICMP].type for p in leaving if ICMP in p} >= {3, 8, 11}
    for packet in leaving:
        assert packet.src == "24.9.3.7", packet.summary()
        assert packet.dst == "151.101.1.69", packet.summary()


def test_sigterm_ends_it_cleanly():
    with home() as net:
        process, path = translator(net), net.napt("napt").path
        assert path.is_socket()
        process.terminate()
        assert process.wait(5).status == 0
        assert process.wait(5).stderr == ""
        assert not path.exists()


def test_without_its_translator_a_napt_lets_nothing_through():
    with home() as net, Wire(net) as wire:
        assert run(net["alice"], "ping -c1 -W2 151.101.1.69").status == 0
        process = translator(net)
        process.kill()
        assert process.wait(5).status == -signal.SIGKILL
        since = wire.mark()
        assert run(net["alice"], "ping -c1 -W1 151.101.1.69").status == 1
        assert run(net["server"], "ping -c1 -W1 24.9.3.7").status == 1
        wire.wait_for("napt:lan0", lambda p: p.icmp == (8, 0), deadline=2, what="her ping",
                      since=since)  # fmt: skip
        private = IPv4Network("10.0.0.0/8")
        assert not [c for c in wire.packets("napt:wan0", since=since)
                    if c.packet.names_any_of(private)]  # fmt: skip


def test_a_control_client_that_never_reads_stops_nobody():
    flood = "import socket; s = socket.socket(type=socket.SOCK_DGRAM)\n" + (
        "for n in range(2000): s.sendto(b'x', ('24.9.3.7', 1 + n))"
    )
    with home() as net, socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(net.napt("napt").path))
        deaf.sendall(b'{"do": "events"}\n')
        before = net.log.mark()
        # From the outside: each is dropped, and each drop is an event.
        # As many as the device's queue holds at a time, until they are too many for the deaf.
        for _ in range(20):
            flooded = net["server"].run(["python", "-c", flood])
            assert flooded.status == 0, flooded.stderr
            if drops(net).get("no-rule", 0) > 6000:
                break
        else:
            pytest.fail(f"not enough of the flood was dropped: {drops(net)}")
        assert run(net["alice"], "ping -c1 -W2 151.101.1.69").status == 0
        assert net.napt("napt").stats()["rules"] == 1
        assert net.log.since(before)  # another watcher goes on hearing


def test_the_longest_idle_time_is_not_too_long_for_a_wait():
    """epoll cannot wait for more than 24 days."""
    with home() as net:
        first = translator(net)
        first.terminate()
        first.wait(5)
        mark = net.log.mark()
        argv = [*first.argv, "--icmp-idle", "86400"]
        net["napt"].start_program(argv, name="nat_node").wait_for("ready", deadline=10, since=mark)
        for _ in range(2):
            assert run(net["alice"], "ping -c1 -W2 151.101.1.69").status == 0
