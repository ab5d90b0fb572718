"""Slow links: what they do to real packets, measured, and what is told of it."""

from __future__ import annotations

import math
import os
import re
import signal
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.run import run_checks
from napt_lab.labs.prompt.why import Why
from napt_lab.topologies.network.build_error import BuildError, ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.link import Link
from napt_lab.topologies.spec.loader import loads
from tests.network.test_nat_node import run, serve
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=120)

RECEIVE = """
import socket, sys
taker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
taker.bind(("0.0.0.0", 7000))
print("ready", flush=True)
taken = 0
while True:
    data = taker.recv(2000)
    if data == b"end":
        break
    taken += 1
print(taken, flush=True)
"""
SEND = """
import socket, sys, time
address, count, size, pause = sys.argv[1], *map(float, sys.argv[2:])
giver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
giver.connect((address, 7000))
began = time.monotonic()
for number in range(int(count)):
    while time.monotonic() < began + number * pause:
        pass
    giver.send(bytes(int(size)))
"""
END = "import socket, sys; socket.socket(2, 2).sendto(b'end', (sys.argv[1], 7000))"


def network(server="", alice="", gateway="", expect=""):
    text = f"""
internet:
  server: {{address: 151.101.1.69, {server}}}
  near: 151.101.1.70
sites:
  home:
    gateway: {{name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, {gateway}}}
    hosts: {{alice: {{address: 10.0.0.7, {alice}}}, anna: 10.0.0.8}}
{expect}"""
    return loads(text.replace(", }", "}").encode(), Path("slow.yaml"))


def losses(net, node):
    return [
        e.fields for e in net.log.since() if (e.node, e.program, e.name) == (node, "link", "drop")
    ]


def send(net, count, size, pause, sender="near", receiver="server"):
    """The number of datagrams that arrive."""
    to = str(net[receiver].address)
    taker = net[receiver].start(["python", "-c", RECEIVE])
    wait_until(lambda: ":7000" in run(net[receiver], "ss -lun").stdout, "the receiver")
    argv = ["python", "-c", SEND, to, str(count), str(size), str(pause)]
    sent = net[sender].run(argv, timeout=60)
    assert sent.status == 0, sent.stderr
    for _ in range(20):  # its end may be lost, too
        net[sender].run(["python", "-c", END, to])
        if taker.ends_within(0.5):
            break
    return int(taker.wait(1).stdout.split()[1])


def test_delay_is_within_a_millisecond_and_five_percent():
    with (
        network_of(server="link: {delay: 40ms}") as net,
        Wire(net, nodes=["server", "near"]) as wire,
    ):
        # Many: on a busy machine most have to wait for a processor as well.
        told = run(net["near"], "ping -c50 -i0.05 -W2 151.101.1.69").stdout
        times = [float(time) for time in re.findall(r"time=([0-9.]+) ms", told)]
        assert 80 <= min(times) <= 80 * 1.05 + 2, times
        # One way, on the wires: a capture shows the time that a packet takes.
        asked, came = (
            [c for c in wire.packets(f"{node}:eth0") if c.packet.icmp == (8, 0)]
            for node in ("near", "server")
        )
        ways = [(b.nanoseconds - a.nanoseconds) / 1e6 for a, b in zip(asked, came, strict=True)]
        assert 40 <= min(ways) <= 40 * 1.05 + 1, ways


def network_of(**settings):
    return Network(network(**settings))


def test_every_tenth_packet_is_lost_and_each_is_told():
    with network_of(server="link: {loss: {every: 10}}") as net:
        assert send(net, 100, 100, 0.001) == 90
        first = losses(net, "server")[0]
        assert first["reason"] == "lost"
        assert first["direction"] == "down"
        assert re.fullmatch(r"udp 151\.101\.1\.70:\d+ > 151\.101\.1\.69:7000", first["packet"])
        assert len([f for f in losses(net, "server") if f["packet"].startswith("udp")]) >= 10


def test_loss_is_within_its_confidence_interval():
    with network_of(server="link: {loss: 1%}") as net:
        arrived = send(net, 10_000, 100, 0.0003)
        deviation = math.sqrt(10_000 * 0.01 * 0.99)
        assert abs(10_000 - arrived - 100) < 3.3 * deviation  # 99.9 %
        told = sum(f["packets"] for f in losses(net, "server") if f["direction"] == "down")
        assert {f["reason"] for f in losses(net, "server")} == {"lost"}
        assert told >= 10_000 - arrived


def test_rate_is_within_five_percent_and_a_full_queue_loses():
    with (
        network_of(server="link: {rate: 4Mbit, queue: 1000}") as net,
        Wire(net, nodes=["server"]) as wire,
    ):
        assert send(net, 500, 1000, 0) == 500
        came = [c for c in wire.packets("server:eth0") if c.packet.destination_port == 7000][:500]
        seconds = (came[-1].nanoseconds - came[0].nanoseconds) / 1e9
        rate = 8 * sum(c.length for c in came[1:]) / seconds
        assert rate == pytest.approx(4e6, rel=0.05)
        net.links.change("server", Link(rate=4e6, queue=10))
        assert send(net, 100, 1000, 0) < 60
        assert "queue-full" in {f["reason"] for f in losses(net, "server")}


@pytest.mark.parametrize("gateway", ["", "engine: nftables", "datapath: kernel"])
def test_a_narrow_link_is_told_at_its_other_end(gateway):
    settings = f"link: {{mtu: 1300}}, {gateway}"
    with network_of(alice="link: {mtu: 1200}", gateway=settings) as net:
        # Towards alice: anna knows it, and alice herself.
        for node, other in (("anna", "10.0.0.7"), ("alice", "10.0.0.8")):
            told = run(net[node], f"ping -M do -c1 -W2 -s 1250 {other}")
            assert "mtu=1200" in told.stdout + told.stderr, node
        # From the Internet, the router knows the gateway's link, the gateway knows alice's.
        told = run(net["server"], "ping -M do -c1 -W2 -s 1350 24.9.3.7").stdout
        assert "From 151.101.1.1 icmp_seq=1 Frag needed and DF set (mtu = 1300)" in told
        serve(net["server"], 80, os.urandom(300_000))
        got = run(net["alice"], "curl -sS --max-time 20 -o got http://151.101.1.69/it")
        assert got.status == 0, got.stderr
        # Outbound, the gateway says what its own link carries.
        told = run(net["anna"], "ping -M do -c1 -W2 -s 1350 151.101.1.69").stdout
        assert "Frag needed and DF set (mtu = 1300)" in told
        assert run(net["anna"], "ping -c1 -W3 -s 3000 151.101.1.69").status == 0  # in pieces


def test_a_black_hole_tells_nothing_but_is_told_of():
    with network_of(alice="link: {mtu: 1200, black-hole: true}") as net, Wire(net) as wire:
        why = Why(net)
        why.begins("ping")
        told = run(net["alice"], "ping -M do -c1 -W1 -s 1250 151.101.1.69")
        assert told.status == 1
        assert "mtu" not in told.stdout
        assert run(net["alice"], "ping -M do -c1 -W2 -s 1100 151.101.1.69").status == 0  # control
        assert not wire.everywhere(lambda c: c.packet.icmp == (3, 4))
        (lost,) = losses(net, "alice")
        assert (lost["reason"], lost["direction"]) == ("black-hole", "up")
        lines = why.lines()
        why.close()
        assert lines[0] == "the link of alice lost:"
        assert "icmp type 8 10.0.0.7 > 151.101.1.69: black-hole, it is longer" in lines[1]


def test_sentences_speak_of_links():
    expect = """
expect:
  - alice cannot reach server:9 by udp
  - anna reaches near:80
  - server reaches alice:80 at 24.9.3.7:8080
"""
    topology = network(
        alice="link: {loss: {every: 2}}",
        gateway='rules: ["tcp 8080 -> 10.0.0.7:80"], link: satellite',
        expect=expect,
    )
    with Network(topology) as net, Wire(net) as wire:
        # Alice asks for her gateway by ARP: her second frame is the datagram.
        (lost,) = run_checks(net, wire, topology.expect[:1])
        assert lost.verdict == "error", lost.evidence  # and her control is lost as well
        assert any("the link of alice lost" in line for line in lost.evidence), lost.evidence
        for outcome in run_checks(net, wire, topology.expect[1:]):
            assert outcome.verdict == "passed", outcome.evidence


def test_a_transfer_is_whole_over_a_bad_link():
    with network_of(alice="link: 4g", gateway="link: dsl") as net:
        serve(net["server"], 80, os.urandom(200_000))
        got = run(net["alice"], "curl -sS --max-time 60 -o got http://151.101.1.69/it", 70)
        assert got.status == 0, got.stderr
        same = (net["alice"].home / "got").read_bytes() == (net["server"].home / "it").read_bytes()
        assert same


def test_a_network_without_slow_links_starts_no_program_and_its_death_is_told():
    with network_of() as net:
        assert net.links is None
    net = network_of(alice="link: wifi").__enter__()
    os.kill(net.links.pid, signal.SIGKILL)
    with pytest.raises(BuildError, match="slow links"):
        net.links.change("alice", Link())
    with pytest.raises(ProgramLost, match="slow links"):
        net.__exit__(None, None, None)
