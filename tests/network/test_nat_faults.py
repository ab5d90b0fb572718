"""Floods, devices that vanish, disks that are full: who suffers, who does not, and what is said."""

from __future__ import annotations

import os
import signal
import socket
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from napt_lab.labs.capture.wire import Wire
from napt_lab.nat_node.persistence.memory import FEWEST
from napt_lab.topologies.network.build_error import ProgramLost
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.network.test_nat_node import drops, run, serve, translator
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)

LIMIT = 200
TOPOLOGY = """
internet:
  server: {address: 151.101.1.69}
sites:
  home:
    gateway: {name: napt, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, host-limit: 9999}
    hosts: {alice: 10.0.0.7, bob: 10.0.0.8}
"""
PRIVATE = IPv4Network("10.0.0.0/8")
FETCH = "curl -sS --max-time 5 http://151.101.1.69/it"

# Each packet from a port of its own. A socket with a handshake would wait for it.
FLOOD = """
import socket, struct, sys
kind, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pseudo = socket.inet_aton('10.0.0.7') + socket.inet_aton('151.101.1.69')
def add_up(data):
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, {'tcp': 6, 'udp': 17}[kind])
for port in range(first, first + count):
    if kind == 'udp':
        packet = struct.pack('!HHHH', port, 9, 8, 0)
    else:
        head = struct.pack('!HHIIBBHHH', port, 81, 1, 0, 0x50, 2, 1000, 0, 0)
        sum_ = add_up(pseudo + struct.pack('!HH', 6, 20) + head)
        packet = head[:16] + struct.pack('!H', sum_) + head[18:]
    raw.sendto(packet, ('151.101.1.69', 0))
"""


def more_rules(napt, number):
    return napt.stats()["rules"] > number


def home(limit=9999):
    text = TOPOLOGY.replace("9999", str(limit))
    return Network(loads(text.encode(), Path("home.yaml")))


def flood(node, kind, first, count):
    done = node.run(["python", "-c", FLOOD, kind, str(first), str(count)])
    assert done.status == 0, done.stderr


def memory(net):
    """Resident bytes of the translator."""
    status = Path(f"/proc/{net.napt('napt').stats()['pid']}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) << 10


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_flood_from_one_host_is_that_hosts_own_trouble(kind):
    with home(LIMIT) as net:
        napt = net.napt("napt")
        serve(net["server"], 80)
        for name in ("alice", "bob"):
            assert run(net[name], FETCH).stdout == "hello"
        before = memory(net)
        for turn in range(3):
            flood(net["alice"], kind, 10_000 + 3000 * turn, 3000)
            got = run(net["bob"], FETCH)
            assert (got.status, got.stdout) == (0, "hello"), got.stderr
        wait_until(lambda: drops(net).get("host-limit", 0) > 8000, "the flood to be over")
        assert napt.stats()["sessions"] <= LIMIT + 4
        refused = run(net["alice"], FETCH)
        assert refused.status == 7, refused.stderr  # at once: she is told
        assert memory(net) - before < 8 << 20
        assert napt.path.with_name("control.sock.state").stat().st_size < 1 << 20


#: Datagrams from one port, as fast as one process can send them.
BURST = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[1])):
    sender.sendto(b'x' * 22, ('151.101.1.69', 9))
"""


SENT = 20_010


def burst(net, count):
    """Send so many datagrams; gives how many have been translated so far."""
    done = net["alice"].run(["python", "-c", BURST, str(count)], timeout=30)
    assert done.status == 0, done.stderr
    rules = [one for one in net.napt("napt").rules() if one["protocol"] == "udp"]
    return sum(one["packets_out"] for one in rules)


def test_what_a_burst_loses_in_the_devices_queue_is_counted_and_told():
    """20,000 datagrams while the translator stands still: each is translated, or is counted."""
    with home() as net:
        assert burst(net, 10) == 10
        assert drops(net).get("overload", 0) == 0  # the control: a few are no overload
        pid = net.napt("napt").stats()["pid"]
        os.kill(pid, signal.SIGSTOP)  # however fast it is: more come than the queue has room for
        sent = net["alice"].run(["python", "-c", BURST, "20000"])
        os.kill(pid, signal.SIGCONT)
        assert sent.status == 0, sent.stderr
        wait_until(lambda: burst(net, 0) + drops(net).get("overload", 0) >= SENT, "each counted")
        lost = drops(net)["overload"]
        assert lost > SENT // 2
        assert burst(net, 0) + lost == SENT
        told = net.log.wait_for(
            lambda e: e.name == "drop" and e.fields["reason"] == "overload", deadline=5, what="word"
        ).fields
        assert told["packet"].endswith(" packets in the queue of nat-in")
        assert told["side"] == "inside"
        assert run(net["alice"], "ping -c1 -W2 151.101.1.69").status == 0


def test_killed_amid_a_flood_it_finds_a_whole_table_each_time():
    """Whatever it was just writing."""
    with home(65536) as net:
        napt = net.napt("napt")
        for turn in range(4):
            mark, before = net.log.mark(), napt.stats()
            first = str(10_000 * (turn + 1))
            flooding = net["alice"].start(["python", "-c", FLOOD, "udp", first, "10000"])
            enough = before["rules"] + 100
            wait_until(partial(more_rules, napt, enough), "the flood", 10)
            os.kill(before["pid"], signal.SIGKILL)
            ready = translator(net).wait_for("ready", deadline=20, since=mark)
            assert ready.fields["goes_on"]
            assert ready.fields["rules"] > before["rules"] + 100
            assert flooding.wait(20).status == 0


@pytest.mark.parametrize("device", ["nat-in", "nat-out"])
def test_a_device_that_was_deleted_is_the_end_and_nothing_passes(device):
    lost = pytest.raises(ProgramLost, match=f"the device {device} is gone")
    with lost, home() as net, Wire(net, nodes=["napt"]) as wire:
        assert run(net["alice"], "ping -c1 -W2 151.101.1.69").status == 0
        process = translator(net)
        assert run(net["napt"], f"ip link del {device}").status == 0
        ended = process.wait(10)
        assert ended.status == 1
        assert f"nat_node: the device {device} is gone" in ended.stderr
        assert "nothing passes any more" in ended.stderr
        assert "Traceback" not in ended.stderr
        (failed,) = [event for event in net.log.since() if event.name == "failed"]
        assert device in failed.fields["why"]
        assert not [event for event in net.log.since() if event.name == "died"]
        since = wire.mark()
        assert run(net["alice"], "ping -c1 -W1 151.101.1.69").status == 1
        wire.wait_for("napt:lan0", lambda p: p.icmp == (8, 0), deadline=5, what="her ping",
                      since=since)  # fmt: skip
        leaving = [c for c in wire.packets("napt:wan0") if c.outgoing]
        assert leaving, "the first ping"
        assert not [c for c in leaving if c.packet.names_any_of(PRIVATE)]


def test_full_disks_are_told_and_translation_goes_on():
    """One has no room for what the translator says, one none for more than the first rules."""
    with home() as net:
        serve(net["server"], 80)
        node, first = net["napt"], translator(net)
        first.terminate()
        first.wait(5)
        disk = node.home / "disk"
        disk.mkdir()
        assert run(node, f"mount -t tmpfs -o size=180k tmpfs {disk}").status == 0
        words = [*first.argv, "--state", str(disk / "state")]
        script = 'exec "$@" > /dev/full'
        full = node.start(["sh", "-c", script, "sh", *words])
        wait_until(lambda: answers(node.home / "control.sock"), "the translator", 10)
        flood(net["alice"], "udp", 10_000, FEWEST + 200)
        napt = net.napt("napt")
        wait_until(lambda: napt.stats()["rules"] >= FEWEST + 200, "all of the flood", 10)
        assert run(net["bob"], FETCH).stdout == "hello"
        os.kill(pid := napt.stats()["pid"], signal.SIGKILL)
        wait_until(lambda: pid != napt.stats()["pid"], "another translator", 10)
        assert FEWEST <= napt.stats()["rules"] < FEWEST + 100
        assert run(net["bob"], FETCH).stdout == "hello"
        full.terminate()
        ended = full.wait(10)
        assert ended.status == 0
        assert f"{disk}/state: No space left on device: no room for" in ended.stderr
        assert "Traceback" not in ended.stderr


def answers(path):
    with socket.socket(socket.AF_UNIX) as channel:
        try:
            channel.connect(str(path))
        except OSError:
            return False
        return True
