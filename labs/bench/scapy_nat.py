"""A plain NAT with scapy, as many a course has one: what the bench compares with, not a lesson.

It sniffs both interfaces, changes the packet's fields, has scapy compute all checksums anew, and
sends it on. Mappings are never collected. `napt-lab.bench.scapy_nat INSIDE OUTSIDE
NETWORK EXTERNAL` on a node whose kernel neither forwards nor answers for the external address.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from ipaddress import IPv4Address, IPv4Network

from scapy.layers.inet import IP, TCP, UDP
from scapy.packet import Packet
from scapy.sendrecv import sniff
from scapy.supersocket import L3RawSocket

FIRST_PORT = 20_000


class ScapyNat:
    """Endpoint-independent mapping and filtering: two dictionaries."""

    def __init__(self, inside: str, network: IPv4Network, external: str) -> None:
        self._inside = inside
        self._network = network
        self._external = external
        self._out: dict[tuple[int, str, int], int] = {}
        self._back: dict[tuple[int, int], tuple[str, int]] = {}
        self._ports = itertools.count(FIRST_PORT)
        self._socket = L3RawSocket()

    def handle(self, packet: Packet) -> None:
        """Translate one sniffed packet and send it on."""
        if IP not in packet:
            return
        ip = packet[IP]
        layer = ip.payload
        if not isinstance(layer, (TCP, UDP)):
            return
        if packet.sniffed_on == self._inside:
            if not self._is_inside(ip.src) or self._is_inside(ip.dst):
                return
            key = (ip.proto, ip.src, layer.sport)
            if key not in self._out:
                self._out[key] = port = next(self._ports)
                self._back[(ip.proto, port)] = (ip.src, layer.sport)
            ip.src, layer.sport = self._external, self._out[key]
        else:
            internal = self._back.get((ip.proto, layer.dport))
            if ip.dst != self._external or internal is None:
                return
            ip.dst, layer.dport = internal
        ip.ttl -= 1
        del ip.chksum
        del layer.chksum
        self._socket.send(ip)

    def _is_inside(self, address: str) -> bool:
        return IPv4Address(address) in self._network


def main(inside: str, outside: str, network: str, external: str) -> None:
    nat = ScapyNat(inside, IPv4Network(network), external)

    def ready() -> None:
        print(json.dumps({"event": "ready", "time": time.time()}), flush=True)

    sniff(iface=[inside, outside], prn=nat.handle, store=False, started_callback=ready)


if __name__ == "__main__":
    main(*sys.argv[1:])
