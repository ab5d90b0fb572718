"""The same packets through this project's translator and through the kernel's NAT, side by side.

    alice ── napt_ours ───┐
    10.0.0.7  24.9.3.7    ├── internet ── server (151.101.1.69)
    bob ──── napt_kernel ─┘
    10.0.0.7  203.0.113.77

Both sites are the same but for the external address. The hosts' own kernels are kept silent, and
packets are put on the wire and taken off it by raw sockets, so a step is exactly one packet.

What became of it is known without waiting in vain: behind each step go *fences*, datagrams that
surely pass, out and in, twice. A NAPT keeps the order of one side, so when the fences are there,
what has not arrived by then is dropped.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napt_lab.nat_node.core.behavior import parse_address, show_address
from napt_lab.topologies.network import namespaces
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.spec.loader import loads
from tests.fuzz.judge import Seen, right_checksums
from tests.fuzz.packets import ICMP, TCP, UDP, udp

HOST, SERVER = parse_address("10.0.0.7"), parse_address("151.101.1.69")
ENGINES = {  # the host behind it, its external address, its ISP's router
    "ours": ("alice", "24.9.3.7", "24.9.3.1"),
    "kernel": ("bob", "203.0.113.77", "203.0.113.1"),
}
TOPOLOGY = b"""
internet: {server: 151.101.1.69}
sites:
  ours:
    gateway:
      kind: napt
      name: napt_ours
      public: 24.9.3.7
      private: 10.0.0.1/24
      mapping: address-and-port-dependent
      filtering: address-and-port-dependent
      port-assignment: preserve
      refuse-syn: false
      closing-hold: 10s
      rules: ["tcp 8080 -> 10.0.0.7:80", "udp 8080 -> 10.0.0.7:53"]
    hosts: {alice: 10.0.0.7}
  kernel:
    gateway:
      kind: napt
      engine: nftables
      name: napt_kernel
      public: 203.0.113.77
      private: 10.0.0.1/24
      closing-hold: 10s
      rules: ["tcp 8080 -> 10.0.0.7:80", "udp 8080 -> 10.0.0.7:53"]
    hosts: {bob: 10.0.0.7}
"""
FENCE = (9999, 9)  # the ports of its datagrams, inside and outside
DEADLINE = 20.0
_ETH_P_IP = 0x0800

Build = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Step:
    """One packet: from which side, and what it is where the external address is this number."""

    kind: str
    inside: bool
    build: Build


@dataclass(slots=True)
class Place:
    """A host: what it can send, and what arrives there."""

    out: socket.socket
    arrives: socket.socket
    seen: list[bytes] = field(default_factory=list)

    @classmethod
    def at(cls, node: Node) -> Place:
        silence = (
            "add table ip q; add chain ip q i { type filter hook input priority 0; policy drop; }"
        )
        done = node.run(["nft", silence])
        assert done.status == 0, done.stderr

        def sockets() -> tuple[socket.socket, socket.socket]:
            out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            arrives = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
            return out, arrives

        return cls(*namespaces.visit(node.pid, sockets))

    def send(self, packet: bytes) -> None:
        self.out.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))

    def read_until(self, fence: bytes) -> None:
        """Take in all that comes before a fence, and the fence itself."""
        until = time.monotonic() + DEADLINE
        while True:
            left = until - time.monotonic()
            assert left > 0, f"waited {DEADLINE} s for a fence"
            if not select.select([self.arrives], [], [], left)[0]:
                continue
            packet = self.arrives.recv(65536)
            if packet.endswith(fence):
                return
            if b"fence" not in packet:
                self.seen.append(packet)


class TwoEngines:
    """`with TwoEngines() as both:` a network with both; `both.observe(step)` tries a packet."""

    def __init__(self) -> None:
        self._cleanup = contextlib.ExitStack()
        self._fences = 0

    def __enter__(self) -> TwoEngines:
        self.net = self._cleanup.enter_context(Network(loads(TOPOLOGY, Path("two-engines.yaml"))))
        self.server = Place.at(self.net["server"])
        self.hosts = {engine: Place.at(self.net[name]) for engine, (name, *_) in ENGINES.items()}
        for engine in ENGINES:
            self._fence(engine)
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def observe(self, step: Step) -> dict[str, list[dict[str, Any]]]:
        """By engine, all packets that came of one, as dictionaries that can be compared."""
        return {engine: list(self._observe(engine, step)) for engine in ENGINES}

    def _observe(self, engine: str, step: Step) -> Iterator[dict[str, Any]]:
        external = parse_address(ENGINES[engine][1])
        packet = step.build(external)
        host = self.hosts[engine]
        (host if step.inside else self.server).send(packet)
        for _ in range(2):
            self._fence(engine)
        names = {external: "external", parse_address(ENGINES[engine][2]): "its router"}
        for name, place in (("host", host), ("server", self.server)):
            for data in place.seen:
                yield {"at": name, **describe(data, names)}
            place.seen.clear()

    def _fence(self, engine: str) -> None:
        host, external = self.hosts[engine], parse_address(ENGINES[engine][1])
        self._fences += 1
        payload = b"fence%08d" % self._fences
        inside, outside = (HOST, FENCE[0]), (SERVER, FENCE[1])
        host.send(udp(inside, outside, payload, fragment=0x4000))
        self.server.read_until(payload)
        self.server.send(udp(outside, (external, FENCE[0]), payload, fragment=0x4000))
        host.read_until(payload)


def describe(data: bytes, names: dict[int, str], quoted: bool = False) -> dict[str, Any]:
    """A packet's fields. What two engines cannot have in common has a name."""
    seen = Seen.of(data)
    assert seen is not None, data.hex()
    told: dict[str, Any] = {
        "source": names.get(seen.source) or show_address(seen.source),
        "destination": names.get(seen.destination) or show_address(seen.destination),
        "protocol": seen.protocol,
        "ttl": data[8],
        "tos": data[1],
        "ident": int.from_bytes(data[4:6], "big"),
        "fragment": hex(seen.fragment),
        "options": data[20 : seen.size].hex(),
        "length": int.from_bytes(data[2:4], "big"),
    }
    right = right_checksums(seen)
    told["sums"] = sorted(name for name in right if not name.startswith("quoted")) or "wrong"
    body = seen.body
    if seen.later:
        return told | {"body": body.hex()}
    if seen.protocol in (TCP, UDP):
        told["ports"] = seen.ports
    if seen.protocol == TCP and not quoted:
        told |= {"numbers": body[4:12].hex(), "flags": body[13], "body": body[18:].hex()}
    elif seen.protocol == UDP and not quoted:
        told["body"] = body[8:].hex()
    elif seen.protocol == ICMP:
        told["icmp"] = (body[0], body[1])
        if seen.is_error:
            told["quoted"] = describe(body[8:], names, quoted=True)
        else:
            told["body"] = body[4:].hex()
    elif not quoted:
        told["body"] = body.hex()
    return told


def differences(ours: list[dict[str, Any]], kernel: list[dict[str, Any]]) -> set[str]:
    """The fields that differ, such as `ttl` or `quoted.ports`.

    `only ours`, `only kernel`: the other one sent nothing; `packets`: as many as the other.
    """
    if len(ours) != len(kernel):
        return {"packets" if ours and kernel else "only ours" if ours else "only kernel"}
    found: set[str] = set()
    for one, other in zip(ours, kernel, strict=True):
        found |= _fields(one, other, "")
    return found


def _fields(one: dict[str, Any], other: dict[str, Any], path: str) -> set[str]:
    found = set()
    for key in one.keys() | other.keys():
        left, right = one.get(key), other.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found |= _fields(left, right, f"{path}{key}.")
        elif left != right:
            found.add(path + key)
    return found
