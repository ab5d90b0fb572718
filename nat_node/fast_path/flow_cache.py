"""The fast path: packets of known flows are rewritten without asking the translator again.

Theory of operation
-------------------
Once the translator has decided about a flow, every further packet of it gets the same treatment:
the same 12 bytes (both addresses, both ports, which lie side by side in a header without options)
are replaced by the same 12 other bytes, and the same differences are added to the same two
checksums. So the decision is kept: 12 bytes as they arrive -> 12 bytes to write, and differences.

Only packets that cannot change a session take this path: no fragment, no IP option, no SYN, FIN or
RST. All others, and those of unknown flows, go through `Translator.translate`. The cache watches
the translator (watchers.py). It may be emptied at any time: the table knows everything in it.

With a `carrier` (kernel_datapath.py) a flow that moves many packets is proposed to it, and this
cache serves until the carrier takes the flow. The slow path counts the packets, so a flow stays
there a little longer then.

A frame is a packet behind the 10 bytes of `virtio_net_hdr` with which the kernel hands it over
(tun.py): up to 64 KB of TCP at once, with a checksum that may be partial.
"""

from __future__ import annotations

from struct import Struct, pack
from typing import Protocol

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.checksum import MODULUS, difference
from napt_lab.nat_node.core.identification import Identifications
from napt_lab.nat_node.core.mapping import Session
from napt_lab.nat_node.core.packet import (
    DONT_FRAGMENT,
    INSIDE,
    PIECE,
    TCP,
    UDP,
    Packet,
)
from napt_lab.nat_node.core.tcp_state import CONTROL, STEADY
from napt_lab.nat_node.core.translator import Translator

VNET_HEADER = 10
NEEDS_CHECKSUM = 1
CAPACITY = 65_536

# virtio_net_hdr's flags; then of IPv4 the first byte, fragment, time to live, protocol, checksum,
# and behind them addresses and ports as one.
_read_header = Struct("!B9x B5x H B B H 12s").unpack_from
_write_header = Struct("!B B H 12s").pack_into
_read_field, _write_field = Struct("!H").unpack_from, Struct("!H").pack_into

_NO_OPTIONS = 0x45
_SHORTEST = VNET_HEADER + 20 + 8
_SHORTEST_TCP = VNET_HEADER + 20 + 20
_QUESTION, _HANDSHAKE = 1, 3  # packets; many a flow has no more
_WORTH_CARRYING = 8  # packets on the slow path; most connections have fewer
_ONE_HOP_BACK = 0x0100  # the time to live is the high byte of its word


class Flow:
    """One direction of a session, ready to be applied."""

    __slots__ = ("header_change", "outbound", "partial_change", "refreshes", "rewritten",
                 "session", "transport_change")  # fmt: skip

    def __init__(self, session: Session, outbound: bool, before: bytes, after: bytes) -> None:
        self.session = session
        self.outbound = outbound
        self.rewritten = after
        # RFC 4787, REQ-6: a packet from outside need not keep a UDP rule alive. TCP has its
        # states for that.
        self.refreshes = outbound or session.mapping.protocol == TCP
        addresses = difference(int.from_bytes(before[:8], "big"), int.from_bytes(after[:8], "big"))
        self.header_change = (addresses + _ONE_HOP_BACK) % MODULUS
        self.partial_change = addresses
        self.transport_change = difference(
            int.from_bytes(before, "big"), int.from_bytes(after, "big")
        )


class Flows:
    """The flows that arrive from one side, by the 12 bytes as they arrive."""

    def __init__(self, identifications: Identifications) -> None:
        self._identifications = identifications
        self.tcp: dict[bytes, Flow] = {}
        self.udp: dict[bytes, Flow] = {}

    def __len__(self) -> int:
        return len(self.tcp) + len(self.udp)

    def of(self, protocol: int) -> dict[bytes, Flow]:
        """The flows of TCP or UDP."""
        return self.tcp if protocol == TCP else self.udp

    def forward(self, frame: bytearray, length: int, now: float) -> bool:
        """Rewrite a frame of `length` bytes in place. False if its flow is not known."""
        if length < _SHORTEST:
            return False
        flags, version, fragment, ttl, protocol, checksum, endpoints = _read_header(frame)
        if version != _NO_OPTIONS or fragment & PIECE or ttl == 255:
            return False
        if protocol == TCP:
            if length < _SHORTEST_TCP or frame[43] & CONTROL:
                return False
            flow = self.tcp.get(endpoints)
            at = 46
        elif protocol == UDP:
            flow = self.udp.get(endpoints)
            at = 36
        else:
            return False
        if flow is None:
            return False
        if not fragment & DONT_FRAGMENT and flow.outbound:
            checksum = self._identify(frame, length, flow, checksum)

        # RFC 1624, as in checksum.update: a call for each would be felt here.
        checksum = MODULUS - ((MODULUS - checksum + flow.header_change) % MODULUS or MODULUS)
        _write_header(frame, 18, ttl + 1, protocol, checksum, flow.rewritten)
        (field,) = _read_field(frame, at)
        if flags & NEEDS_CHECKSUM:
            field = (field + flow.partial_change) % MODULUS or MODULUS
        elif protocol == TCP:
            field = MODULUS - ((MODULUS - field + flow.transport_change) % MODULUS or MODULUS)
        elif field:  # a UDP checksum of 0 means that there is none
            field = (
                MODULUS - ((MODULUS - field + flow.transport_change) % MODULUS or MODULUS)
                or MODULUS
            )
        _write_field(frame, at, field)

        session = flow.session
        mapping = session.mapping
        if flow.refreshes:
            session.last_used = now
        if flow.outbound:
            mapping.packets_out += 1
            mapping.bytes_out += length - VNET_HEADER
        else:
            mapping.packets_in += 1
            mapping.bytes_in += length - VNET_HEADER
        return True

    def _identify(self, frame: bytearray, length: int, flow: Flow, checksum: int) -> int:
        """Replace the Identification of a packet that may be fragmented.

        Gives the header's new checksum.
        """
        (before,) = _read_field(frame, 14)
        session = flow.session
        number = self._identifications.give(
            session.remote[0], session.mapping.protocol, before, length - VNET_HEADER
        )
        _write_field(frame, 14, number)
        return MODULUS - ((MODULUS - checksum + number - before) % MODULUS or MODULUS)


def is_plain(packet: Packet) -> bool:
    """Whether the fast path can take packets like this one."""
    if packet.fragment & PIECE:
        return False
    return packet.protocol == UDP or not packet.tcp_flags & CONTROL


class Carrier(Protocol):
    """What can carry a session's packets in the translator's place, direction by direction."""

    def propose(self, session: Session, outbound: bool) -> None:
        """Offer one direction: it moves many packets."""

    def release(self, session: Session) -> None:
        """Take a session back: from now on the translator must see all of its packets."""

    def next_look(self) -> float | None:
        """When `account` must be called again at the latest."""

    def account(self, now: float) -> list[tuple[Session, bool]]:
        """Bring the counters, and when each session was last used, up to `now`.

        Gives the directions that are no longer carried.
        """

    def carries(self, session: Session) -> bool:
        """Whether a direction of a session is carried."""


class FlowCache:
    """The known flows of a translator, which it watches.

    Those that arrive from inside and from outside are kept apart, so that no packet from outside
    can use an inside flow by forging its addresses.
    """

    def __init__(self, translator: Translator, carrier: Carrier | None = None) -> None:
        self.carrier = carrier
        self.inside = Flows(translator.identifications)
        self.outside = Flows(translator.identifications)
        self._kept: set[Session] = set()
        self._slow_packets: dict[Session, int] = {}  # counted where there is a carrier
        watchers = translator.watchers
        watchers.translated.append(self.learn)
        watchers.changed.append(self._changed)
        watchers.closed.append(self.forget)

    def learn(self, session: Session, packet: Packet) -> None:
        """Keep a session, or this direction of it, if only silence or a closing can change it.

        `packet` is one of its packets, translated.
        """
        state = session.state
        if (state is not None and state not in STEADY) or not is_plain(packet):
            return
        mapping = session.mapping
        if self.carrier is not None:
            slow = self._slow_packets[session] = self._slow_packets.get(session, 0) + 1
            if slow < _WORTH_CARRYING:
                return
            outbound = packet.side is INSIDE
            self._keep(session, outbound)
            if packet.is_atomic or not outbound:  # else its packets need identifications of ours
                self.carrier.propose(session, outbound)
            return
        packets = mapping.packets_out + mapping.packets_in
        if mapping.protocol != TCP:
            if packets > _QUESTION:
                self._keep(session, packet.side is INSIDE)
        elif packets > _HANDSHAKE:
            # A connection that is only held needs no fast path; one that is used flows both ways.
            self._keep(session, True)
            self._keep(session, False)

    def _keep(self, session: Session, outbound: bool) -> None:
        flows = self._flows(session, outbound)
        if len(flows) >= CAPACITY:
            flows.clear()
        before, after = self._headers(session, outbound)
        flows[before] = Flow(session, outbound, before, after)
        self._kept.add(session)

    def learn_anew(self, session: Session, outbound: bool) -> None:
        """Leave one direction to the translator until it has again moved many packets."""
        self._slow_packets.pop(session, None)
        self._flows(session, outbound).pop(self._headers(session, outbound)[0], None)

    def forget(self, session: Session) -> None:
        """Leave a session's packets to the translator again."""
        self._slow_packets.pop(session, None)
        if session not in self._kept:
            return
        self._kept.remove(session)
        if self.carrier is not None:
            self.carrier.release(session)
        for outbound in (True, False):
            self.learn_anew(session, outbound)

    def _changed(self, session: Session) -> None:
        if session.state not in STEADY:
            self.forget(session)

    def _flows(self, session: Session, outbound: bool) -> dict[bytes, Flow]:
        return (self.inside if outbound else self.outside).of(session.mapping.protocol)

    def _headers(self, session: Session, outbound: bool) -> tuple[bytes, bytes]:
        """The 12 bytes of a direction as they arrive, and as they leave."""
        mapping, remote = session.mapping, session.remote
        external = mapping.external
        if outbound:
            return _header(mapping.internal, remote), _header(external, remote)
        return _header(remote, external), _header(remote, mapping.internal)


def _header(source: Endpoint, destination: Endpoint) -> bytes:
    """Addresses and ports as they lie in a header without options: 12 bytes."""
    return pack("!IIHH", source[0], destination[0], source[1], destination[1])
