"""Established flows carried by the kernel: the translator decides, nftables rewrites.

Theory of operation
-------------------
Python sees the first packets of every flow, and every SYN, FIN, RST, fragment, IP option and ICMP
message, and what leaves without Don't Fragment. A flow that has shown that it moves much is handed
to the kernel: its 4-tuple goes into maps of an nftables table, and from then on its packets are
rewritten where they arrive and passed on to the other device, and never come up to the translator.

    lan0   10.0.0.7 . 151.101.1.69 . 40000 . 80 -> mark 15     tcp sport set 1025
                                                               ip saddr set 24.9.3.7
                                                               fwd ip to 24.9.3.1 device wan0
    wan0   151.101.1.69 . 24.9.3.7 . 80 . 1025 -> mark 14      tcp dport set 40000
                                                               ip daddr set 10.0.0.7
                                                               fwd ip to 10.0.0.7 device lan0

One look-up cannot give both a port and an address to write, so it gives a mark, and two more
maps say by the mark what becomes of the packet: the port, and the next hop. `fwd` takes a hop from
the time to live, looks up the neighbor and sends. That happens at the device's ingress, before
routing, connection tracking and whatever a firewall may filter there, which have no part in it; so
the next hop is asked for beforehand (next_hops.py). A packet that is in no map, or that could
change anything, goes up to the translator as it always did. When a flow changes hands, its packets
that still wait for the translator come later than those that the kernel has passed on since.
Checksums are not looked at, only changed with what they cover: a wrong one stays wrong. And what
fills up a short Ethernet frame goes on with its packet, and is counted.

The translator reads the maps' counters once a second, and when a client asks for rules: how many
packets and bytes a carried flow has moved, and so whether it is still in use. Silence is therefore
measured to the second, and a flow that may be idle for a few seconds only is not carried. At the
same time flows that move little make room, new ones are handed over, and flows without a next hop
go back to the translator. A flow that goes on moving many packets is proposed again.

The table belongs to this process (nftables' `owner` flag): when the process dies, the kernel
removes the table with the socket that made it. So no flow is carried without a translator. Needs
Linux 5.12.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

from napt_lab.nat_node.core.behavior import parse_address, show_address
from napt_lab.nat_node.core.mapping import Session
from napt_lab.nat_node.core.packet import PROTOCOL_NAMES, TCP
from napt_lab.nat_node.offload.map_counters import MapCounters, key, show_key
from napt_lab.nat_node.offload.next_hops import NextHops
from napt_lab.nat_node.system.routing import Interfaces

LIBRARY = "libnftables.so.1"
TABLE = "carried"
CAPACITY = 256
"""Directions of flows carried at the same time: reading their counters takes milliseconds."""
WAITING = 4 * CAPACITY
"""Directions that may wait for room."""
AT_ONCE = 64
"""Directions handed over in one look: the kernel is asked about the way of each."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the counters."""
SOON = 0.1
"""Seconds between two looks at the least; that long a new flow may wait."""
SHORTEST_IDLE = 5.0
"""Seconds; a flow that may be idle for less stays with the translator, which sees every packet."""
BUSY, PROBATION = 16, 10.0
"""A flow that moves fewer packets than that in so many seconds makes room for others."""

_RULESET = """
table netdev carried {
    flags owner;

    map tcp_out { typeof ip saddr . ip daddr . tcp sport . tcp dport : meta mark; counter; }
    map tcp_in { typeof ip saddr . ip daddr . tcp sport . tcp dport : meta mark; counter; }
    map udp_out { typeof ip saddr . ip daddr . udp sport . udp dport : meta mark; counter; }
    map udp_in { typeof ip saddr . ip daddr . udp sport . udp dport : meta mark; counter; }
    map port { type mark : inet_service; }
    map hop { type mark : ipv4_addr; }
    map external { type mark : ipv4_addr; }  # where a rule may have one of several

    # What only the translator may handle: what is for another neighbor's link-layer address or for
    # a VLAN, fragments, IP options, what has no hop left or not its whole header, what begins or
    # ends a connection, and a datagram without a checksum, which would be given a wrong one.
    chain particular {
        meta pkttype != host accept
        ether type != ip accept
        ip frag-off & 0x3fff != 0 accept
        ip hdrlength != 5 accept
        ip ttl < 2 accept
        ip length < 28 accept
        meta l4proto tcp ip length < 40 accept
        tcp flags & (syn | fin | rst) != 0 accept
        udp checksum 0 accept
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


class DatapathError(OSError):
    """nftables refused; the text is its own."""


@dataclass(slots=True)
class _Carried:
    """One direction of a session in the kernel's hands: its next hop, and what it has moved.

    Counters are packets and bytes as last read; `busy_at` and `busy_packets` are of when it had
    last moved enough.
    """

    session: Session
    outbound: bool
    hop: str
    busy_at: float
    busy_packets: int = 0
    packets: int = 0
    bytes: int = 0

    def count(self, packets: int, size: int) -> None:
        """What the kernel has counted so far is the rule's."""
        mapping = self.session.mapping
        if self.outbound:
            mapping.packets_out += packets - self.packets
            mapping.bytes_out += size - self.bytes
        else:
            mapping.packets_in += packets - self.packets
            mapping.bytes_in += size - self.bytes
        self.packets, self.bytes = packets, size

    def use(self, now: float) -> None:
        """Something has moved since the last look."""
        # As in flow_cache.py: what comes from outside keeps no UDP rule alive.
        if self.outbound or self.session.mapping.protocol == TCP:
            self.session.last_used = now + SOON  # the counters are not read again before
        if self.packets - self.busy_packets >= BUSY:
            self.busy_at, self.busy_packets = now, self.packets


_Place = tuple[str, bytes]  # a map's name, and the key in it


class KernelDatapath:
    """The kernel's maps of one NAPT. Raises DatapathError where there can be none.

    If nftables should refuse later on, the table is given up and Python carries all again.
    """

    def __init__(self, interfaces: Interfaces) -> None:
        self._internal = parse_address(interfaces.internal)
        self._hops = NextHops(interfaces)
        self._devices = self._indexes()
        self._nft = _Nft()
        own = interfaces.external
        self._has_pool = len(own) > 1
        ruleset = (
            _RULESET.replace("INSIDE", interfaces.inside)
            .replace("OUTSIDE", interfaces.outside)
            .replace("EXTERNAL", own[0] if len(own) == 1 else "meta mark map @external")
        )
        try:
            self._nft.run(ruleset)
        except DatapathError as error:
            raise DatapathError(
                f"{error} (this kernel cannot carry flows: datapath: python)"
            ) from None
        self._counters = MapCounters(TABLE)
        self._carried: dict[_Place, _Carried] = {}
        self._waiting: dict[_Place, tuple[Session, bool]] = {}
        self._refused: list[tuple[Session, bool]] = []
        self._looked = 0.0
        self._asked = False  # since then
        self._given_up = False

    def propose(self, session: Session, outbound: bool) -> None:
        """One direction of a session moves much: take it when there is room and a way."""
        place = self._place(session, outbound)
        own = session.mapping.internal[0] == self._internal  # what is ours comes by no device
        if place in self._carried or own or session.lifetime < SHORTEST_IDLE or self._given_up:
            return
        if len(self._waiting) >= WAITING:
            self._refused.append(self._waiting.pop(next(iter(self._waiting))))
        self._waiting[place] = session, outbound
        self._asked = True

    def release(self, session: Session) -> None:
        """Take a session back at once: from now on the translator sees all of it."""
        ended = {}
        for outbound in (True, False):
            place = self._place(session, outbound)
            self._waiting.pop(place, None)
            if place in self._carried:
                ended[place] = self._carried[place]
                if counted := self._counters.one(*place):
                    ended[place].count(*counted)
        self._take_back(ended)

    def next_look(self) -> float | None:
        """When `account` has something to do again; None while nothing is carried or waits."""
        if not (self._carried or self._waiting):
            return None
        return self._looked + (SOON if self._asked else LOOK_EVERY)

    def carries(self, session: Session) -> bool:
        """Whether a direction of a session is in the kernel's maps."""
        return any(self._place(session, outbound) in self._carried for outbound in (True, False))

    def account(self, now: float) -> list[tuple[Session, bool]]:
        """Read all counters: what has moved since the last time was in use until `now`.

        Then hand over the flows that wait. Gives the directions that are the translator's again.
        """
        if self._given_up or now < self._looked + SOON:
            return []
        self._looked = now
        for name in {name for name, _ in self._carried}:
            for found, packets, size in self._counters.all(name):
                carried = self._carried.get((name, found))
                if carried is not None and packets != carried.packets:
                    carried.count(packets, size)
                    carried.use(now)
        changed = self._hops.look()
        if self._indexes() != self._devices:
            self._give_up("a device of ours is another one now")
            return []
        back = {
            place: carried
            for place, carried in self._carried.items()
            if changed
            or now >= carried.busy_at + PROBATION
            or not self._hops.answers(carried.hop, carried.outbound)
        }
        self._take_back(back)
        self._refused += [(carried.session, carried.outbound) for carried in back.values()]
        self._hand_over(now)
        refused, self._refused = self._refused, []
        return refused

    # -- the maps -----------------------------------------------------------------------------

    def _hand_over(self, now: float) -> None:
        """Hand over waiting flows while there is room, with one change of the maps."""
        commands = []
        for place in list(self._waiting)[: min(AT_ONCE, CAPACITY - len(self._carried))]:
            session, outbound = self._waiting.pop(place)
            mapping = session.mapping
            if outbound:
                port, hop = mapping.external[1], self._hops.outward(session.remote[0])
            else:
                port, hop = mapping.internal[1], self._hops.inward(mapping.internal[0])
            if hop is None or not self._hops.answers(show_address(hop), outbound):
                self._refused.append((session, outbound))
                continue
            carried = self._carried[place] = _Carried(session, outbound, show_address(hop), now)
            name, mark = place[0], _mark(session, outbound)
            if outbound and self._has_pool:
                address = show_address(mapping.external[0])
                commands.append(f"add element netdev {TABLE} external {{ {mark} : {address} }}")
            commands += [
                f"add element netdev {TABLE} port {{ {mark} : {port} }}",
                f"add element netdev {TABLE} hop {{ {mark} : {carried.hop} }}",
                f"add element netdev {TABLE} {name} {{ {show_key(place[1])} : {mark} }}",
            ]
        self._asked = bool(self._waiting) and len(self._carried) < CAPACITY
        self._run(commands)

    def _take_back(self, ended: dict[_Place, _Carried]) -> None:
        """End the carrying of flows whose counters have been read, with one change of the maps."""
        commands = []
        for place, carried in ended.items():
            del self._carried[place]
            mark = _mark(carried.session, carried.outbound)
            commands += [
                f"delete element netdev {TABLE} {place[0]} {{ {show_key(place[1])} }}",
                f"delete element netdev {TABLE} port {{ {mark} }}",
                f"delete element netdev {TABLE} hop {{ {mark} }}",
            ]
            if carried.outbound and self._has_pool:
                commands.append(f"delete element netdev {TABLE} external {{ {mark} }}")
        self._run(commands)

    def _run(self, commands: list[str]) -> None:
        """Change the maps; if nftables refuses, nothing is carried any more."""
        if not commands or self._given_up:
            return
        try:
            self._nft.run("\n".join(commands))
        except DatapathError as error:
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        print(f"nat_node: Python carries all flows from now on: {why}", file=sys.stderr)
        self._given_up = True
        for place, carried in self._carried.items():
            if counted := self._counters.one(*place):
                carried.count(*counted)
        self._nft.close()
        self._carried.clear()
        self._waiting.clear()

    def _indexes(self) -> tuple[int, ...]:
        return tuple(device.number for device in self._hops.devices)

    def _place(self, session: Session, outbound: bool) -> _Place:
        mapping, remote = session.mapping, session.remote
        protocol = PROTOCOL_NAMES[mapping.protocol]
        if outbound:
            return f"{protocol}_out", key(mapping.internal, remote)
        return f"{protocol}_in", key(remote, mapping.external)


def _mark(session: Session, outbound: bool) -> int:
    return (2 * session.serial + outbound) & 0xFFFFFFFF


class _Nft:
    """nftables by its library: a program would have to be started for each flow."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise DatapathError(
                f"{LIBRARY} is missing: sudo apt-get install libnftables1, or datapath: python"
            ) from None
        self._library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> None:
        """Carry out nft commands, all of them or none."""
        if self._library.nft_run_cmd_from_buffer(self._context, commands.encode()):
            error: bytes = self._library.nft_ctx_get_error_buffer(self._context)
            first = error.decode(errors="replace").partition("\n")[0]
            raise DatapathError(f"nft: {first}")

    def close(self) -> None:
        """Give the table back to the kernel, which removes it with its owner's socket."""
        self._library.nft_ctx_free(self._context)
