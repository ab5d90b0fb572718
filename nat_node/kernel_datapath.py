"""Established flows carried by the kernel: the translator decides, nftables rewrites.

Theory of operation
-------------------
Python sees the first packets of every flow, and every SYN, FIN, RST, fragment, IP option and ICMP
message, and what leaves without Don't Fragment. A flow that has shown that it moves much is handed
to the kernel: its 4-tuple goes into maps of an nftables table, and from then on its packets are
rewritten where they arrive and passed on to the other device, and never come up to the translator.

    lan0   10.0.0.7 . 151.101.1.69 . 40000 . 80 -> mark 14     tcp sport set 1025
                                                               ip saddr set 24.9.3.7
                                                               fwd ip to 24.9.3.1 device wan0
    wan0   151.101.1.69 . 24.9.3.7 . 80 . 1025 -> mark 15      tcp dport set 40000
                                                               ip daddr set 10.0.0.7
                                                               fwd ip to 10.0.0.7 device lan0

The mark says which flow it is, and two more maps what becomes of its packets: the port, and the
next hop. `fwd` takes a hop from the time to live, looks up the neighbor and sends. That happens
at the device's ingress, before routing and connection tracking, which have no part in it; so
the next hop is asked for beforehand (next_hops.py). A packet that is in no map, or that could
change anything, goes up to the translator as it always did.

What the translator must know of a carried flow it reads from the maps' counters, once a second
and whenever somebody asks: how many packets and bytes, and whether the flow is still in use. So
silence is measured to the second, and what may be idle for a few seconds only is not carried.
A flow that has fallen silent makes room for others, and all are taken back when routes or the
size of packets change. Whoever goes on sending is handed over again.

The table belongs to this process (nftables' `owner` flag): when it dies, however it dies, the
kernel removes the table with the socket that made it. No flow is carried without somebody who
looks after it. Needs Linux 5.12.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from nat_node.behavior import Endpoint, show_address
from nat_node.mapping import Session
from nat_node.next_hops import look
from nat_node.packet import PROTOCOL_NAMES, TCP
from nat_node.routing import Interfaces

LIBRARY = "libnftables.so.1"
TABLE = "carried"
CAPACITY = 256
"""Directions of flows carried at the same time: reading their counters takes milliseconds."""
SHORTEST_IDLE = 5.0
"""Seconds; a flow that may be idle for less stays with the translator, which sees every packet."""
SILENT = 10.0
"""Seconds without a packet after which a flow makes room for others."""
_RULESET = """
table netdev carried {
    flags owner;

    map tcp_out { typeof ip saddr . ip daddr . tcp sport . tcp dport : meta mark; counter; }
    map tcp_in { typeof ip saddr . ip daddr . tcp sport . tcp dport : meta mark; counter; }
    map udp_out { typeof ip saddr . ip daddr . udp sport . udp dport : meta mark; counter; }
    map udp_in { typeof ip saddr . ip daddr . udp sport . udp dport : meta mark; counter; }
    map port { type mark : inet_service; }
    map hop { type mark : ipv4_addr; }

    # What only the translator may handle: what is for another neighbor's link-layer address,
    # fragments, IP options, what has no hop left, and what begins or ends a connection.
    chain particular {
        meta pkttype != host accept
        ip frag-off & 0x3fff != 0 accept
        ip hdrlength != 5 accept
        ip ttl < 2 accept
        tcp flags & (syn | fin | rst) != 0 accept
    }
    chain out {
        type filter hook ingress device "INSIDE" priority 0; policy accept;
        jump particular
        # What may be cut into fragments needs a number from us (identification.py).
        ip frag-off & 0x4000 == 0 accept
        meta mark set ip saddr . ip daddr . tcp sport . tcp dport map @tcp_out goto tcp_out
        meta mark set ip saddr . ip daddr . udp sport . udp dport map @udp_out goto udp_out
    }
    chain tcp_out {
        tcp sport set meta mark map @port
        ip saddr set EXTERNAL fwd ip to meta mark map @hop device "OUTSIDE"
    }
    chain udp_out {
        udp sport set meta mark map @port
        ip saddr set EXTERNAL fwd ip to meta mark map @hop device "OUTSIDE"
    }
    chain in {
        type filter hook ingress device "OUTSIDE" priority 0; policy accept;
        jump particular
        meta mark set ip saddr . ip daddr . tcp sport . tcp dport map @tcp_in goto tcp_in
        meta mark set ip saddr . ip daddr . udp sport . udp dport map @udp_in goto udp_in
    }
    chain tcp_in {
        tcp dport set meta mark map @port
        ip daddr set meta mark map @hop fwd ip to meta mark map @hop device "INSIDE"
    }
    chain udp_in {
        udp dport set meta mark map @port
        ip daddr set meta mark map @hop fwd ip to meta mark map @hop device "INSIDE"
    }
}
"""
_ELEMENT = re.compile(r"([\d.]+ \. [\d.]+ \. \d+ \. \d+) counter packets (\d+) bytes (\d+)")


class DatapathError(OSError):
    """nftables refused; the text is its own."""


@dataclass(slots=True)
class _Carried:
    """One direction of a session in the kernel's hands, and its counters when last read."""

    session: Session
    outbound: bool
    moved: float
    packets: int = 0
    bytes: int = 0


_Place = tuple[str, str]  # a map's name, and the key in it as nft writes it


class KernelDatapath:
    """The kernel's maps of one NAPT. Raises DatapathError where there can be none.

    If nftables should refuse later on, the table is given up and Python carries all again.
    """

    def __init__(self, interfaces: Interfaces) -> None:
        self._interfaces = interfaces
        self._hops = look(interfaces)
        self._nft = _Nft()
        ruleset = (
            _RULESET.replace("INSIDE", interfaces.inside)
            .replace("OUTSIDE", interfaces.outside)
            .replace("EXTERNAL", interfaces.external)
        )
        try:
            self._nft.run(ruleset)
        except DatapathError as error:
            raise DatapathError(
                f"{error} (this kernel cannot carry flows: datapath: python)"
            ) from None
        self._carried: dict[_Place, _Carried] = {}
        self._waiting: dict[int, Session] = {}  # by serial; found no room
        self._given_up = False

    def __len__(self) -> int:
        return len(self._carried)

    def carry(self, session: Session, outbound: bool) -> None:
        """Hand one direction of a session to the kernel, if there is room and a way."""
        place = self._place(session, outbound)
        if place in self._carried or self._given_up or session.lifetime < SHORTEST_IDLE:
            return
        if len(self._carried) >= CAPACITY:
            if len(self._waiting) < CAPACITY:
                self._waiting[session.serial] = session
            return
        mapping = session.mapping
        hop: int | None
        if outbound:
            port, hop = mapping.external_port, self._hops.outward(session.remote[0])
        else:  # every host of the inside is our neighbor
            hop, port = mapping.internal
            hop = hop if self._hops.inward() else None
        if hop is None:
            return
        name, key = place
        mark = _mark(session, outbound)
        self._run(
            f"add element netdev {TABLE} port {{ {mark} : {port} }}\n"
            f"add element netdev {TABLE} hop {{ {mark} : {show_address(hop)} }}\n"
            f"add element netdev {TABLE} {name} {{ {key} : {mark} }}"
        )
        if not self._given_up:
            self._carried[place] = _Carried(session, outbound, session.last_used)
            session.carried = True

    def release(self, session: Session) -> None:
        """Take a session back: from now on the translator sees all of it, and has its counts."""
        session.carried = False
        for outbound in (True, False):
            place = self._place(session, outbound)
            carried = self._carried.pop(place, None)
            if carried is None:
                continue
            name, key = place
            for _, packets, size in _counters(
                self._run(f"get element netdev {TABLE} {name} {{ {key} }}")
            ):
                _add(carried, packets, size)
            mark = _mark(session, outbound)
            self._run(
                f"delete element netdev {TABLE} {name} {{ {key} }}\n"
                f"delete element netdev {TABLE} port {{ {mark} }}\n"
                f"delete element netdev {TABLE} hop {{ {mark} }}"
            )

    def account(self, now: float) -> list[Session]:
        """Read all counters: what has moved since the last time was in use until `now`.

        Gives the sessions that should be looked at anew: those to be taken back, and those that
        have waited for room.
        """
        for name in {name for name, _ in self._carried}:
            for key, packets, size in _counters(self._run(f"list map netdev {TABLE} {name}")):
                carried = self._carried.get((name, key))
                if carried is None or packets == carried.packets:
                    continue
                _add(carried, packets, size)
                carried.moved = now
                session = carried.session
                # As in flow_cache.py: what comes from outside keeps no UDP rule alive.
                if carried.outbound or session.mapping.protocol == TCP:
                    session.use(now)
        hops = look(self._interfaces)
        changed, self._hops = hops != self._hops, hops
        back = [
            carried.session
            for carried in self._carried.values()
            if changed or now >= carried.moved + SILENT
        ]
        if len(self._carried) - len(back) < CAPACITY:
            back += self._waiting.values()
            self._waiting.clear()
        return back

    def _run(self, command: str) -> str:
        """Carry out a command; if nftables refuses, nothing is carried any more."""
        if self._given_up:
            return ""
        try:
            return self._nft.run(command)
        except DatapathError as error:
            print(f"nat_node: Python carries all flows from now on: {error}", file=sys.stderr)
            self._given_up = True
            self._nft.close()
            for carried in self._carried.values():
                carried.session.carried = False
            self._carried.clear()
            return ""

    def _place(self, session: Session, outbound: bool) -> _Place:
        mapping, remote = session.mapping, session.remote
        protocol = PROTOCOL_NAMES[mapping.protocol]
        if outbound:
            return f"{protocol}_out", _key(_show(mapping.internal), _show(remote))
        external = self._interfaces.external, mapping.external_port
        return f"{protocol}_in", _key(_show(remote), external)


def _show(endpoint: Endpoint) -> tuple[str, int]:
    return show_address(endpoint[0]), endpoint[1]


def _mark(session: Session, outbound: bool) -> int:
    return (2 * session.serial + outbound) & 0xFFFFFFFF


def _key(source: tuple[str, int], destination: tuple[str, int]) -> str:
    return f"{source[0]} . {destination[0]} . {source[1]} . {destination[1]}"


def _add(carried: _Carried, packets: int, size: int) -> None:
    mapping = carried.session.mapping
    if carried.outbound:
        mapping.packets_out += packets - carried.packets
        mapping.bytes_out += size - carried.bytes
    else:
        mapping.packets_in += packets - carried.packets
        mapping.bytes_in += size - carried.bytes
    carried.packets, carried.bytes = packets, size


def _counters(listed: str) -> Iterator[tuple[str, int, int]]:
    """Key, packets and bytes of each element in what nft has listed."""
    for match in _ELEMENT.finditer(listed):
        yield match[1], int(match[2]), int(match[3])


class _Nft:
    """nftables by its library: a program would have to be started for each flow."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise DatapathError(
                f"{LIBRARY} is missing: sudo apt-get install libnftables1, or datapath: python"
            ) from None
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(self._library, name).restype = ctypes.c_char_p
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, command: str) -> str:
        """Carry out nft commands, all of them or none; what they list."""
        failed = self._library.nft_run_cmd_from_buffer(self._context, command.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            first = error.decode(errors="replace").partition("\n")[0]
            raise DatapathError(f"nft: {first}")
        return output.decode()

    def close(self) -> None:
        """Give the table back to the kernel, which removes it with its owner's socket."""
        self._library.nft_ctx_free(self._context)
