"""Both datapaths side by side: the same traffic through each, on the wire and in the table.

Everything between the two sites is the same but who carries established flows.
"""

from __future__ import annotations

import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.l2 import Dot1Q, Ether

from napt_lab.labs.capture.wire import Wire
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.spec.loader import loads
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)

TOPOLOGY = b"""
internet:
  server: {address: 151.101.1.69}
  stranger: 198.51.100.66
sites:
  carried:
    gateway: {name: napt_k, kind: napt, public: 24.9.3.7, private: 10.0.0.1/24, datapath: kernel,
              idle: {udp: 6s}}
    hosts: {alice: 10.0.0.7}
  thought:
    gateway: {name: napt_p, kind: napt, public: 203.0.113.7, private: 10.0.0.1/24,
              datapath: python, idle: {udp: 6s}}
    hosts: {bob: 10.0.0.7}
"""
SITES = {"alice": "napt_k", "bob": "napt_p"}
SERVER = "151.101.1.69"
SIZE, DATAGRAMS = 300_000, 60
CHUNK = SIZE // 30
PACE = 0.02  # seconds: a flow is handed over when it has lasted for a while
ETHERNET = 14  # bytes of its header

TCP_SERVER = f"""
import socket
with socket.create_server(("", 80)) as server:
    print("ready", flush=True)
    for _ in range(2):
        connection, _ = server.accept()
        with connection:
            got = b""
            while len(got) < {SIZE}:
                got += connection.recv(65536)
            connection.sendall(got[::-1])
"""
TCP_CLIENT = f"""
import os, socket, time
data = os.urandom({SIZE})
with socket.create_connection(("{SERVER}", 80)) as connection:
    for at in range(0, {SIZE}, {CHUNK}):
        connection.sendall(data[at:at + {CHUNK}])
        time.sleep({PACE})  # the flow's own pace
    back = b""
    while more := connection.recv(65536):
        back += more
assert back == data[::-1], (len(back), len(data))
"""
UDP_SERVER = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("", 53))
    while True:
        data, peer = server.recvfrom(2048)
        server.sendto(data, peer)
"""
UDP_CLIENT = f"""
import socket, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.bind(("", 5000))
    client.connect(("{SERVER}", 53))
    client.settimeout(5)
    for number in range({DATAGRAMS}):
        client.send(bytes([number]) * 100)
        assert client.recv(2048) == bytes([number]) * 100
        time.sleep({PACE})  # the flow's own pace
"""


def python(node, script):
    return node.start(["python", "-u", "-c", script])


def listens(node, port):
    return f":{port} " in node.run(["ss", "-lntu"]).stdout


def rules(net, napt, protocol):
    """The rules of a NAPT, without what must differ: ports chosen at random, times, addresses."""
    told = ("packets_out", "packets_in", "bytes_out", "bytes_in", "made_by", "session_count")
    return [
        {key: rule[key] for key in told} | {"state": rule["sessions"][0]["state"]}
        for rule in net.napt(napt).rules()
        if rule["protocol"] == protocol
    ]


def counts(net, napt, protocol):
    (rule,) = rules(net, napt, protocol)
    return {key: rule[key] for key in ("packets_out", "packets_in", "bytes_out", "bytes_in")}


def carried(net, napt):
    return {
        session["carried_by"] for rule in net.napt(napt).rules() for session in rule["sessions"]
    }


def crossed(wire, napt, side, layer):
    """Packets of a transport at one side of a NAPT, as an independent eye sees them."""
    return [
        packet
        for captured in wire.packets(f"{napt}:{side}")
        if (packet := Ether(captured.data)).haslayer(layer)
    ]


def essence(packet, layer):
    """What a translator leaves alone."""
    ip, transport = packet[IP], packet[layer]
    seen: tuple[object, ...] = (
        ip.tos, ip.id, int(ip.flags), ip.frag, bytes(transport.payload),
    )  # fmt: skip
    if layer is TCP:
        seen += (transport.seq, transport.ack, int(transport.flags), transport.window)
    return seen


def assert_translated(wire, napt, external, layer):
    """Each packet on one side is one on the other, with right checksums and a hop less."""
    private = side(wire, napt, "lan0", layer, "10.0.0.7")
    public = side(wire, napt, "wan0", layer, external)
    # Within one direction the order may change where a flow passes from one hand to the other.
    for mine, theirs in zip(private, public, strict=True):
        assert sorted(essence(p, layer) for p in mine) == sorted(essence(p, layer) for p in theirs)
        assert len(mine) >= DATAGRAMS
    assert {packet[IP].ttl for packet in public[0]} == {63}
    assert {packet[IP].ttl for packet in private[1]} == {62}


def side(wire, napt, interface, layer, own):
    """The packets of one side: from us, and from the server."""
    packets = crossed(wire, napt, interface, layer)
    for packet in packets:
        fresh = packet.copy()
        del fresh[IP].chksum, fresh[layer].chksum
        right = Ether(bytes(fresh))
        assert right[IP].chksum == packet[IP].chksum
        if len(packet[IP]) == packet[IP].len:  # of long ones only the beginning is kept
            assert right[layer].chksum == packet[layer].chksum
    return [[p for p in packets if p[IP].src == source] for source in (own, SERVER)]


def counted(wire, napt, protocol):
    """Packets and bytes of IPv4 each way, as they stood on the inside wire."""
    seen = [c for c in wire.packets(f"{napt}:lan0") if c.packet.protocol == protocol]
    out = [c.length - ETHERNET for c in seen if c.packet.source == "10.0.0.7"]
    back = [c.length - ETHERNET for c in seen if c.packet.source == SERVER]
    return {
        "packets_out": len(out), "packets_in": len(back),
        "bytes_out": sum(out), "bytes_in": sum(back),
    }  # fmt: skip


def closed(net, napt):
    return rules(net, napt, "tcp")[0]["state"] == "closed"


def ends_udp(napt, event):
    ended = (event.name, event.node) == ("rule-ended", napt)
    return ended and event.fields["rule"]["protocol"] == "udp"


def cut_arrived(wire, napt):
    return "may be cut" in arrived(wire, napt)


def await_counts(net, wire, napt, protocol):
    """A NAPT has counted what crossed it."""
    wait_until(
        lambda: counts(net, napt, protocol) == counted(wire, napt, protocol),
        f"the counts of {napt}, {protocol}",
    )


def listed(net):
    return net["napt_k"].run(["nft", "list", "table", "netdev", "carried"]).stdout


def play(net, script):
    """The same client at both sites, to its end."""
    for client in [python(net[pc], script) for pc in SITES]:
        done = client.wait(20)
        assert done.status == 0, done.stderr


def test_both_translate_and_account_alike():
    with Network(loads(TOPOLOGY, Path("two.yaml"))) as net, Wire(net) as wire:
        server = net["server"]
        python(server, TCP_SERVER), python(server, UDP_SERVER)
        wait_until(lambda: listens(server, 80) and listens(server, 53), "the servers")
        play(net, TCP_CLIENT)
        # FIN and ACK came up to both translators, and the rule of one is as closed as the other's.
        for napt in SITES.values():
            wait_until(partial(closed, net, napt), "the end")
            await_counts(net, wire, napt, "tcp")
        play(net, UDP_CLIENT)
        # The control: one of them carries nothing itself, the other all that moved much.
        assert carried(net, "napt_p") == {"python"}
        assert carried(net, "napt_k") == {"python", "kernel"}
        for napt in SITES.values():
            await_counts(net, wire, napt, "udp")
        (ours,), (theirs,) = rules(net, "napt_k", "udp"), rules(net, "napt_p", "udp")
        assert ours == theirs  # to the byte; of TCP the cut into segments is the endpoints' affair

        # Filtering: a stranger who knows the port is still dropped, by the translator.
        (udp,) = (rule for rule in net.napt("napt_k").rules() if rule["protocol"] == "udp")
        port = udp["external"].rpartition(":")[2]
        mark = net.log.mark()
        asked = net["stranger"].run(["bash", "-c", f"echo > /dev/udp/24.9.3.7/{port}"])
        assert asked.status == 0
        drop = net.log.wait_for(
            lambda event: event.name == "drop" and event.node == "napt_k",
            deadline=5, what="the drop", since=mark,
        )  # fmt: skip
        assert drop.fields["reason"] == "filtered"

        # Silence: both UDP rules go within the idle time and the second that a look may be late.
        for napt, late in (("napt_p", 1.0), ("napt_k", 2.5)):
            ended = net.log.wait_for(
                partial(ends_udp, napt),
                deadline=20, what="the end of the UDP rule",
            )  # fmt: skip
            assert ended.fields["why"] == "idle"
            last = [c for c in wire.packets(f"{napt}:lan0") if c.packet.protocol == "udp"][-1]
            silent = ended.time - last.time
            assert silent > 5.9, napt
            assert silent < 6 + late + 5, napt  # a busy machine is late, too
        assert "elements" not in listed(net)

        for napt in SITES.values():
            for layer in (TCP, UDP):
                assert_translated(wire, napt, str(net[napt].address), layer)


def test_a_killed_translator_leaves_no_flow_carried():
    with Network(loads(TOPOLOGY, Path("two.yaml"))) as net:
        server, alice = net["server"], net["alice"]
        python(server, UDP_SERVER)
        wait_until(lambda: listens(server, 53), "the server")
        done = python(alice, UDP_CLIENT).wait(20)
        assert done.status == 0, done.stderr
        assert re.search(
            r"10\.0\.0\.7 \. 151\.101\.1\.69 \. 5000 \. 53 counter packets [1-9]", listed(net)
        )
        (translator,) = net["napt_k"].processes
        translator.send_signal(signal.SIGKILL)
        translator.await_end()
        wait_until(
            lambda: net["napt_k"].run(["nft", "list", "table", "netdev", "carried"]).status != 0,
            "the table's end",
        )


ASK = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: always Don't Fragment
    client.bind(("", 5000))
    client.connect(("{SERVER}", 53))
    client.settimeout(5)
    for _ in range(20):
        client.send(bytes(int(sys.argv[1])))
        client.recv(2048)
"""
FRAMES = """
import socket, sys
interface, *frames = sys.argv[1:]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind((interface, 0))
    for frame in frames:
        raw.send(bytes.fromhex(frame))
"""


def ask(net, pc, size=100):
    return net[pc].run(["python", "-c", ASK, str(size)])


def carries(net, pc="alice"):
    """Whether alice's questions are carried, once more of them have passed."""
    assert ask(net, pc).status == 0
    return "10.0.0.7 . 151.101.1.69 . 5000 . 53 counter" in listed(net)


def unusual(net, pc, napt):
    """Frames of the flow that `ask` has used, each with its name in it, and one of them usual."""
    (interface,) = [port.interface for port in net[pc].ports]
    shown = net[napt].run(["ip", "-br", "link", "show", "lan0"]).stdout.split()
    mac = {"src": "02:00:00:00:00:07", "dst": shown[2]}

    def ip(**options):
        usual: dict[str, Any] = {"src": "10.0.0.7", "dst": SERVER, "flags": "DF", "ttl": 64}
        return IP(**usual | options)

    def udp(**options):
        return UDP(sport=5000, dport=53, **options)

    frames = {
        "usual": Ether(**mac) / ip() / udp(),
        "no checksum": Ether(**mac) / ip() / udp(chksum=0),
        "wrong checksum": Ether(**mac) / ip() / udp(chksum=0x1234),
        "in a VLAN": Ether(**mac) / Dot1Q(vlan=5) / ip() / udp(),
        "last hop": Ether(**mac) / ip(ttl=1) / udp(),
        "last but one": Ether(**mac) / ip(ttl=2) / udp(),
        "for a neighbor": Ether(**mac | {"dst": "02:00:00:99:99:99"}) / ip() / udp(),
        "for everybody": Ether(**mac | {"dst": "ff:ff:ff:ff:ff:ff"}) / ip() / udp(),
        "with an option": Ether(**mac) / ip(options=[IPOption_Router_Alert()]) / udp(),
        "first of two": Ether(**mac) / ip(flags="MF", id=77) / udp(len=300),
        "may be cut": Ether(**mac) / ip(flags=0) / udp(),
        "too long for itself": Ether(**mac) / ip(len=500) / udp(),
        "of another version": Ether(**mac) / ip(version=6) / udp(),
    }  # fmt: skip
    sent = [bytes(frame / name.ljust(24).encode()).hex() for name, frame in frames.items()]
    # Its ports are there, and no more of its header.
    sent += [bytes(Ether(**mac) / ip(proto=17) / bytes([0x13, 0x88, 0, 53, 0, 14])).hex()]
    done = net[pc].run(["python", "-c", FRAMES, interface, *sent])
    assert done.status == 0, done.stderr


def arrived(wire, napt):
    """The names of the unusual frames that a NAPT has passed on, and how their checksums are."""
    found = {}
    for packet in crossed(wire, napt, "wan0", UDP):
        if packet[IP].dst == SERVER and len(name := bytes(packet[UDP].payload)) == 24:
            fresh = packet.copy()
            del fresh[UDP].chksum
            right = Ether(bytes(fresh))[UDP].chksum
            checksum = packet[UDP].chksum
            found[name.decode().strip()] = "none" if not checksum else checksum == right
    return found


def test_what_is_unusual_fares_alike():
    with Network(loads(TOPOLOGY, Path("two.yaml"))) as net, Wire(net) as wire:
        server = net["server"]
        python(server, UDP_SERVER)
        wait_until(lambda: listens(server, 53), "the server")
        assert ask(net, "bob").status == 0
        wait_until(lambda: carries(net), "the flow to be carried")
        for pc, napt in SITES.items():
            unusual(net, pc, napt)
            wait_until(partial(cut_arrived, wire, napt), "the last that passes")
        assert carries(net)
        ours, theirs = arrived(wire, "napt_k"), arrived(wire, "napt_p")
        assert theirs == ours
        assert theirs == {
            "usual": True, "no checksum": "none", "wrong checksum": False, "last but one": True,
            "with an option": True, "first of two": True, "may be cut": True,
        }  # fmt: skip


def test_what_routing_would_have_known():
    """A carried flow is not routed; when routing would decide otherwise, it is again."""
    with Network(loads(TOPOLOGY, Path("two.yaml"))) as net:
        server, napt = net["server"], net["napt_k"]
        python(server, UDP_SERVER), python(server, TCP_SERVER)
        wait_until(lambda: listens(server, 53) and listens(server, 80), "the servers")
        wait_until(lambda: carries(net), "the flow to be carried")
        assert napt.run(["ip", "link", "set", "wan0", "mtu", "1280"]).status == 0
        wait_until(lambda: not carries(net), "the flow to be taken back")
        # Now somebody is there to say that this is too large, and Python carries the rest.
        too_long = "Message too long"
        wait_until(lambda: too_long in ask(net, "alice", 1400).stderr, "a word about the size")
        assert ask(net, "alice", 1200).status == 0
        assert napt.run(["ip", "link", "set", "wan0", "mtu", "1500"]).status == 0
        wait_until(lambda: carries(net), "the flow to be carried again")
        # The NAPT's own connections have no next hop inside.
        own = napt.run(["python", "-c", TCP_CLIENT])
        assert own.status == 0, own.stderr
        forward = "/proc/sys/net/ipv4/conf/lan0/forwarding"
        assert napt.run(["sh", "-c", f"echo 0 > {forward}"]).status == 0
        wait_until(lambda: "5000 . 53 counter" not in listed(net), "the flow to be taken back")
