"""What nodes refuse, or let die without a report.

TCP resets, ICMP errors, packets that are not forwarded, neighbors that do not answer.

Theory of operation. Each node has a packet socket that sees all its interfaces. A filter in the
kernel lets through only what it sends as a RST (RFC 9293) or an ICMP error (RFC 792), its own
questions to its networks and the answers (ARP, RFC 826), so that it costs nothing while others
pass. (The kernel's table of neighbors forgets who did not answer as soon as it holds many of any
network of the machine.) At a gateway that forwards no packets, a second socket sees what arrives
for another host. The sockets' own buffers keep all that until it is looked at: when a command
begins, and when `why` is typed. A packet that passes several nodes is known again
(labs/capture/identity.py): the first one sent it. What answers a packet counts as of the time when
that was sent (sent.py); so do a node's repeated questions to its networks.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from napt_lab.labs.capture.identity import identity
from napt_lab.labs.capture.packets import RST, Packet, decode_frame
from napt_lab.labs.prompt.packet_socket import (
    DIRECTION,
    FRAME,
    INCOMING,
    JEQ,
    JSET,
    LDB,
    LDH,
    OUTGOING,
    RET,
    Filter,
    PacketSocket,
)
from napt_lab.labs.prompt.sent import SENT, Sent
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.programs import INTERCEPTED_PORT
from napt_lab.topologies.spec.model import GatewayKind, Topology

KEPT = 50
QUESTIONS = 3  # by ARP, until a neighbor counts as unreachable (ucast_solicit, mcast_solicit)
QUESTIONS_SECONDS = 5.0  # the most between two of these, over the slowest links
PROBE_SECONDS = 5.0  # from a packet to a known neighbor until it is asked (RFC 4861, section 7.3.3)

# ARP, and IPv4 without options.
_WITNESSED = (
    (LDH, 0, 0, 12), (JEQ, 0, 6, 0x0806),
    (LDH, 0, 0, 20), (JEQ, 0, 2, 1),
    (LDB, 0, 0, DIRECTION), (JEQ, 13, 14, OUTGOING),  # a question
    (LDB, 0, 0, DIRECTION), (JEQ, 11, 12, INCOMING),  # an answer
    (JEQ, 0, 11, 0x0800),
    (LDB, 0, 0, 14), (JEQ, 0, 9, 0x45),
    (LDB, 0, 0, 23), (JEQ, 0, 3, 1),
    (LDB, 0, 0, 34), (JEQ, 4, 0, 3), (JEQ, 3, 4, 11),  # ICMP: unreachable, time exceeded
    (JEQ, 0, 3, 6), (LDB, 0, 0, 47), (JSET, 0, 1, RST),
    (RET, 0, 0, FRAME), (RET, 0, 0, 0),
)  # fmt: skip
_IPV4 = ((LDH, 0, 0, 12), (JEQ, 0, 1, 0x0800), (RET, 0, 0, FRAME), (RET, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet that `node` sent, or that ended there, at `time` (seconds since 1970).

    `cause` is when the packet was sent that it answers, or `time` where that is not known.
    `opener`: whether the sender of a RST has opened the connection itself.
    """

    time: float
    node: str
    packet: Packet
    cause: float
    opener: bool = False


class Witnesses:
    """The last packets of these kinds, from now on."""

    def __init__(self, nodes: Iterable[Node], topology: Topology) -> None:
        nodes = list(nodes)
        sites = topology.by_gateway()
        with contextlib.ExitStack() as opened:

            def see(node: Node, steps: Filter) -> PacketSocket:
                return opened.enter_context(contextlib.closing(PacketSocket(node, steps)))

            self.sent = sent = Sent([see(node, SENT) for node in nodes])
            self._witnessing = [
                _Socket(see(node, _WITNESSED), OUTGOING, _is_refusal, sent) for node in nodes
            ]
            self._ending = [
                _Socket(see(node, _IPV4), INCOMING, partial(_is_for_others, node, kind), sent)
                for node in nodes
                if (site := sites.get(node.name)) is not None
                and (kind := site.gateway.kind)
                in (GatewayKind.PROXY, GatewayKind.TRANSPARENT_PROXY)
            ]
            self._opened = opened.pop_all()

    def look(self) -> None:
        """Read what the sockets hold. What comes to a full one is lost."""
        self.sent.look()  # first: the others ask it
        for each in (*self._witnessing, *self._ending):
            each.read()

    def refusals(self, since: float) -> list[Seen]:
        """RSTs and ICMP errors, each with the node that sent it first, in order.

        Only those that answer what was sent since then.
        """
        times: Counter[tuple[str, Hashable]] = Counter()
        firsts: dict[tuple[Hashable, int], Seen] = {}
        kept = (entry for each in self._witnessing for entry in each.kept)
        for key, seen in sorted(kept, key=lambda entry: entry[1].time):
            times[seen.node, key] += 1  # a node sends each packet once: more are more packets
            firsts.setdefault((key, times[seen.node, key]), seen)
        return [seen for seen in firsts.values() if seen.cause >= since]

    def not_forwarded(self, since: float) -> list[Seen]:
        """Packets that ended at a gateway, in order; of those that were sent since then."""
        return [seen for each in self._ending for _, seen in each.kept if seen.cause >= since]

    def unanswered(self, since: float, named: Container[str] = ()) -> list[Seen]:
        """What each node asked its own networks for, the last time, and got no answer; in order.

        Only what it began to ask since then; an address of `named` also if it asked for it since.
        """
        asked = [seen for each in self._witnessing for _, seen in each.asked.values()]
        return sorted(
            (
                seen
                for seen in asked
                if seen.cause >= since or (seen.time >= since and seen.packet.destination in named)
            ),
            key=lambda seen: seen.time,
        )

    def overrun(self, since: float) -> list[str]:
        """The nodes at which more packets came than could be kept."""
        sockets = (*self._witnessing, *self._ending)
        return sorted({each.node for each in sockets if each.lost_at >= since})

    def close(self) -> None:
        self._opened.close()


class _Socket:
    """One node's packet socket, and what of it was kept.

    Of ARP it gets the node's own questions and the answers to them.
    """

    def __init__(
        self,
        packet_socket: PacketSocket,
        direction: int,
        matters: Callable[[Packet], bool],
        sent: Sent,
    ) -> None:
        self.node = packet_socket.node
        self._socket = packet_socket
        self._direction = direction
        self._matters = matters
        self._sent = sent
        self.kept: deque[tuple[Hashable, Seen]] = deque(maxlen=KEPT)
        self.asked: dict[str | None, tuple[int, Seen]] = {}  # how often in a row, and the last time
        self.lost_at = -math.inf  # when packets were lost, at the latest; seconds since 1970

    def read(self) -> None:
        """Keep what has come."""
        lost = self._socket.lost()
        for frame in self._socket.read():
            packet = decode_frame(frame.data)
            if packet.arp is not None:
                self._ask(Seen(frame.time, self.node, packet, frame.time), not frame.data[0] & 1)
            # The filter came after the socket.
            elif frame.direction == self._direction and self._matters(packet):
                cause = self._sent.when(packet) or frame.time
                opener = self._sent.opened(packet)
                seen = Seen(frame.time, self.node, packet, cause, opener)
                self.kept.append((identity(packet, ""), seen))
        if lost:
            self.lost_at = time.time()
            self.asked.clear()  # the answer may be among what was lost

    def _ask(self, seen: Seen, known: bool) -> None:
        """Keep a question until its answer comes. `known`: it went to one Ethernet address."""
        packet = seen.packet
        if packet.arp != "who-has":
            self.asked.pop(packet.source, None)
        elif packet.source not in (packet.destination, "0.0.0.0"):  # else it tells of itself
            times, before = self.asked.pop(packet.destination, (QUESTIONS, seen))
            if times < QUESTIONS and seen.time - before.time < QUESTIONS_SECONDS:
                times, cause = times + 1, before.cause
            else:  # a packet is the reason to ask again
                times, cause = 1, seen.time - PROBE_SECONDS if known else seen.time
            self.asked[packet.destination] = times, replace(seen, cause=cause)
            if len(self.asked) > KEPT:
                del self.asked[next(iter(self.asked))]


def _is_refusal(packet: Packet) -> bool:
    return packet.quoted is not None or bool(packet.protocol == "tcp" and packet.flags & RST)


def _is_for_others(node: Node, kind: GatewayKind, packet: Packet) -> bool:
    """Whether a packet is for none of the gateway's own addresses, nor for its proxy."""
    own = {str(address.ip) for port in node.ports for address in port.addresses}
    intercepted = (
        kind is GatewayKind.TRANSPARENT_PROXY
        and packet.protocol == "tcp"
        and packet.destination_port == INTERCEPTED_PORT
    )
    return packet.arp is None and packet.source is not None and not (
        packet.destination in own or intercepted
    )  # fmt: skip
