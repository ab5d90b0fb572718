"""Port control on real packets: real clients, hostile ones, and a NAPT that is killed."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.network.test_nat_node import drops, run, send, serve
from tests.packets import udp
from tests.unit.nat_node.port_control_world import map_request, option
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)

# `neighbor` is in the NAPT's own public network: nothing between them sorts packets out.
TOPOLOGY = b"""
internet:
  server: {address: 151.101.1.69}
  neighbor: {address: 24.9.3.9}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24,
              port-control: {min-lifetime: 6s, quota: 3}}
    hosts: {alice: 10.0.0.7, bob: 10.0.0.8}
"""
# libtorrent is of the distribution, not of our venv.
LIBTORRENT = """
import signal, libtorrent
signal.signal(signal.SIGTERM, signal.default_int_handler)
session = libtorrent.session({
    "listen_interfaces": "10.0.0.7:6881", "enable_natpmp": True, "enable_upnp": False,
    "enable_lsd": False, "enable_dht": False,
    "alert_mask": libtorrent.alert.category_t.port_mapping_notification,
})
mapped = set()
while len(mapped) < 2:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, libtorrent.portmap_alert):
            mapped.add((str(alert.map_protocol).lower(), alert.external_port))
print("knows both", flush=True)
try:
    signal.pause()
except KeyboardInterrupt:
    pass
"""
# Sends datagrams, and prints how long each of so many answers is and how it begins.
EXCHANGE = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("10.0.0.1", 5351))
s.settimeout(10)
for word in sys.argv[2:]:
    s.send(bytes.fromhex(word))
for _ in range(int(sys.argv[1])):
    answer = s.recv(2000)
    print(len(answer), answer[:4].hex())
"""
FLOOD = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("10.0.0.1", 5351))
head = bytes.fromhex(sys.argv[1])
for port in range(1, 20001):
    s.send(head + struct.pack("!HH", port, 0) + bytes(16))
"""


def home():
    return Network(loads(TOPOLOGY, Path("home.yaml")))


def pcp(node, command):
    return run(node, f"pcp {command}")


def granted(node, command):
    got = pcp(node, command)
    assert got.status == 0, got.stderr
    return json.loads(got.stdout)


def leases(net):
    """Protocol, external endpoint and by what it was asked for, of each leased rule."""
    return sorted(
        (rule["protocol"], rule["external"], rule["lease"]["protocol"])
        for rule in net.napt("napt").rules()
        if rule["explicit"]
    )


def test_real_clients():
    with home() as net:
        alice = net["alice"]
        asked = run(alice, "natpmpc")
        assert "Public IP address : 24.9.3.7" in asked.stdout, asked.stdout
        asked = run(alice, "natpmpc -a 9000 9001 udp 60")
        assert "Mapped public port 9000 protocol UDP to local port 9001 liftime 60" in asked.stdout
        assert leases(net) == [("udp", "24.9.3.7:9000", "NAT-PMP")]
        run(alice, "natpmpc -a 9000 9001 udp 0")
        assert leases(net) == []

        torrent = alice.start(["/usr/bin/python3", "-c", LIBTORRENT])
        both = [("tcp", "24.9.3.7:6881", "PCP"), ("udp", "24.9.3.7:6881", "PCP")]
        torrent.wait_for("knows both")  # what it does not know of it does not give back
        assert leases(net) == both
        torrent.terminate()
        wait_until(lambda: leases(net) == [], "libtorrent to give them back", 10)


def test_hostile_clients():
    with home() as net:
        alice, bob, neighbor = net["alice"], net["bob"], net["neighbor"]
        serve(alice, 8000)
        fetch = "curl -sS --connect-timeout 0.5 --max-time 5 http://24.9.3.7:8080/it"
        granted(alice, "map tcp 8000 --external 8080 --only 24.9.3.9 --nonce " + "51" * 12)
        assert run(neighbor, fetch).stdout == "hello"
        assert run(net["server"], fetch).status == 28
        assert drops(net)["filtered"] >= 1

        # From outside: to the external address, under an inside address, to the inside address.
        delete = map_request(8000, 0, nonce=b"\x51" * 12)
        assert run(neighbor, "ip route add 10.0.0.0/24 via 24.9.3.7").status == 0
        with Wire(net, nodes=("napt", "neighbor")) as wire:
            send(
                neighbor,
                udp("24.9.3.9:5000", "24.9.3.7:5351", delete),
                udp("10.0.0.7:5000", "24.9.3.7:5351", delete),
                udp("24.9.3.9:5000", "10.0.0.1:5351", delete),
                udp("10.0.0.7:5000", "10.0.0.1:5351", delete),
            )
            wait_until(lambda: drops(net).get("not-for-us", 0) >= 2, "two packets for 10.0.0.1")
            seen = wire.packets("napt:wan0", lambda p: p.protocol == "udp")
            assert [captured.outgoing for captured in seen] == [False] * 4
        found = drops(net)
        assert (found["no-rule"], found["spoofed-source"]) == (1, 1), found
        assert leases(net) == [("tcp", "24.9.3.7:8080", "PCP")]

        # Messages of any length, from inside (bob asks ten times at most in a second).
        whole = map_request(80, client="10.0.0.8")
        long = map_request(80, 600, option(200, bytes(1036)), client="10.0.0.8")
        assert len(long) == 1100
        silent = (b"\2", whole[:23], b"\2\x81" + whole[2:])
        announce = b"\2\0" + whole[2:24]
        answered = (announce, whole[:56], long, long + bytes(4), long + bytes(400), b"\3\1")
        words = [word.hex() for word in (*silent, *answered)]
        got = bob.run(["python", "-c", EXCHANGE, str(len(answered)), *words])
        assert got.stdout.split("\n")[:-1] == [
            "24 02800000", "56 02810003", "60 02810000", "1100 02810003", "1100 02810003",
            "24 02810001",
        ], got.stderr  # fmt: skip

        # bob floods: he gets his quota and no more, and alice her answers and her packets.
        head = struct.pack("!BBHI16s12sB3x", 2, 1, 0, 600, whole[8:24], bytes(12), 6)
        flood = bob.start(["python", "-c", FLOOD, head.hex()])
        for port in (8001, 8002):
            assert granted(alice, f"map tcp {port}")["port"] == port
        assert run(alice, "ping -c1 -W2 151.101.1.69").status == 0
        flood.wait(20)
        of_bob = [r for r in net.napt("napt").rules() if r["internal"].startswith("10.0.0.8:")]
        assert len(of_bob) <= 3
        assert run(neighbor, fetch).stdout == "hello"
        assert "USER_EX_QUOTA" in pcp(alice, "map tcp 8003").stderr


def test_a_napt_that_has_forgotten_its_leases_says_so_and_gets_them_again():
    with home() as net:
        began = time.monotonic()
        alice, napt = net["alice"], net.napt("napt")
        serve(alice, 8000)
        fetch = "curl -sS --connect-timeout 0.5 --max-time 5 http://24.9.3.7:8080/it"
        keeping = alice.start_program(
            ["pcp", "map", "tcp", "8000", "--external", "8080", "--keep"],
            name="pcp",
        )
        before = keeping.wait_for("granted", deadline=10)
        assert run(net["server"], fetch).stdout == "hello"
        # The announcement after 3.75 s must have been heard: from an epoch of 3 one can go back.
        wait_until(lambda: time.monotonic() > began + 4.5, "the NAPT to have an age", 10)
        mark = net.log.mark()
        os.kill(napt.stats()["pid"], signal.SIGKILL)
        again = net.log.wait_for(
            lambda event: (event.program, event.name) == ("pcp", "renewed"),
            deadline=15,  # 5 seconds of chance, and a NAPT's start
            what="the client's second request",
            since=mark,
        )
        assert again.fields["external"] == before.fields["external"] == "24.9.3.7:8080"
        assert again.fields["epoch"] < 10
        assert leases(net) == [("tcp", "24.9.3.7:8080", "PCP")]
        assert run(net["server"], fetch).stdout == "hello"
        keeping.terminate()
        wait_until(lambda: leases(net) == [], "the rule to be given back")
