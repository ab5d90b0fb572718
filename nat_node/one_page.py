"""A whole NAPT on one page: what a good student could write, with full marks. Read it first.

A home has many PCs and one public address. So every packet that leaves gets an external endpoint
(address and port) in the place of its internal one, and every answer gets the internal one back:

      internal                 external                remote
    10.0.0.7:40000   <─────>  24.9.3.7:1025  <─────>  151.101.1.69:80

Five ideas make a NAPT of this, and this project's own translator has the same five by the same
names, grown up:

    mapping      the rule that joins an internal to an external endpoint      Mapping, Table
    session      one remote endpoint's use of a mapping                       Session
    filtering    who may come in by a mapping                                 Table.admits
    deadline     when a session is over, and with its last one a mapping      tcp_state, Deadlines
    ICMP error   a report on a packet, which must be translated as well       icmp_errors

How much of the remote endpoint counts is the *behavior* of a NAPT (RFC 4787); see `project`.
"""

from __future__ import annotations

import random

from napt_lab.student import Endpoint, Packet, Refusal, Rule, napt

# ── Behavior (RFC 4787, sections 4.1 and 5) ────────────────────────────────────────────────

INDEPENDENT, ADDRESS, ADDRESS_AND_PORT = BEHAVIORS = (
    "endpoint-independent",
    "address-dependent",
    "address-and-port-dependent",
)
Seen = Endpoint | None  # a remote endpoint as a behavior sees it


def project(behavior: str, remote: Endpoint) -> Seen:
    """A remote endpoint as a behavior sees it: what does not count is left out."""
    if behavior == INDEPENDENT:
        return None
    return Endpoint(remote.address, 0) if behavior == ADDRESS else remote


#: Two mappings can share an external port only if neither mapping nor filtering confuses them.
SHARING = min(napt.mapping, napt.filtering, key=BEHAVIORS.index)


# ── Every packet ends in one of these three ────────────────────────────────────────────────


def translate(packet: Packet, now: float) -> Packet | str | Refusal:
    """The packet, rewritten; or the reason why it is dropped."""
    if packet.protocol not in ("tcp", "udp", "icmp"):
        return "unsupported-protocol"
    if packet.is_fragment:
        return "unsupported-fragment: its ports are in another packet (RFC 4787, REQ-14)"
    if packet.is_error:
        return icmp_error(packet)
    return outbound(packet, now) if packet.side == "inside" else inbound(packet, now)


def outbound(packet: Packet, now: float) -> Packet | str | Refusal:
    """From the inside: the external endpoint becomes the source (RFC 3022, section 2.2)."""
    remote = packet.destination
    hairpin = remote.address == napt.external  # to a neighbor, by our external address
    if not napt.is_inside(packet.source.address):
        return "spoofed-source"
    if packet.protocol == "icmp" and not packet.is_ping:
        return "icmp-unsupported"
    if hairpin and not napt.hairpinning:
        return "hairpinning-off"
    if napt.is_private(remote.address) and not hairpin:
        return packet.refused("private-destination")
    mapping = outgoing(packet.protocol, packet.source, remote)
    if not (mapping and in_use(mapping, remote, now)) and not may_open(packet):
        return "no-connection"
    mapping = mapping or make_mapping(packet.protocol, packet.source, remote)
    if mapping is None:
        return packet.refused("ports-exhausted")
    use(mapping, remote, packet, "inside", now)
    packet.source = mapping.external
    return inbound(packet, now) if hairpin else packet


def inbound(packet: Packet, now: float) -> Packet | str:
    """To our external address: by a mapping that admits the sender, or not at all."""
    remote = packet.source
    if packet.destination.address != napt.external:
        return "not-for-us"
    if packet.protocol == "icmp" and not packet.is_reply:
        return "icmp-unsupported"
    mapping = incoming(packet.protocol, packet.destination.port, remote)
    if mapping is None:
        return "no-rule"
    if not admits(mapping, remote, now):
        return "filtered"
    if not in_use(mapping, remote, now) and not may_open(packet):
        return "no-connection"
    use(mapping, remote, packet, "outside", now)
    packet.destination = mapping.internal
    return packet


def icmp_error(packet: Packet) -> Packet | str:
    """Show the receiver the packet that it has sent, in the quotation (RFC 5508, section 4)."""
    quoted = packet.quoted
    if quoted is None:
        return "icmp-unrelated"
    if packet.side == "outside":  # about a packet that left by us
        mapping = incoming(quoted.protocol, quoted.source.port, quoted.destination)
        if mapping is None or quoted.source.address != napt.external:
            return "icmp-unrelated"
        quoted.source = mapping.internal
        packet.destination = Endpoint(mapping.internal.address, 0)
    else:  # about a packet that came in by us
        mapping = outgoing(quoted.protocol, quoted.destination, quoted.source)
        if mapping is None:
            return "icmp-unrelated"
        quoted.destination = mapping.external
        packet.source = Endpoint(napt.external, 0)
    return packet


# ── Mappings, found from either side ───────────────────────────────────────────────────────

by_internal: dict[tuple[str, Endpoint, Seen], Rule] = {}  # the remote endpoint as mapping sees it
by_external: dict[tuple[str, int, Seen], Rule] = {}  # the remote endpoint as sharing sees it
position = random.randrange(len(napt.ports))  # in the pool, of the port that was given last
STRIDE = 16


def outgoing(protocol: str, internal: Endpoint, remote: Endpoint) -> Rule | None:
    """The mapping of an internal endpoint. An explicit one holds for every remote endpoint."""
    explicit = by_internal.get((protocol, internal, None))
    return explicit or by_internal.get((protocol, internal, project(napt.mapping, remote)))


def incoming(protocol: str, port: int, remote: Endpoint) -> Rule | None:
    """The mapping of an external port. TCP and UDP have ports of their own."""
    explicit = by_external.get((protocol, port, None))
    return explicit or by_external.get((protocol, port, project(SHARING, remote)))


def make_mapping(protocol: str, internal: Endpoint, remote: Endpoint) -> Rule | None:
    """A new mapping on a free port; None if all are taken."""
    port = free_port(protocol, project(SHARING, remote))
    if port is None:
        return None
    seen = project(napt.mapping, remote)
    mapping = Rule(protocol, internal, (napt.external, port), seen)
    by_internal[protocol, internal, seen] = mapping
    by_external[protocol, port, project(SHARING, remote)] = mapping
    napt.rules.add(mapping)
    return mapping


def free_port(protocol: str, shared: Seen) -> int | None:
    """The next free one, by steps that no one outside can guess (RFC 6056, section 3.3.5)."""
    global position
    position += random.randrange(STRIDE)
    for _ in napt.ports:
        position = (position + 1) % len(napt.ports)
        port = napt.ports[position]
        if not {(protocol, port, shared), (protocol, port, None)} & by_external.keys():
            return port
    return None


def add_rule(rule: Rule, _now: float) -> None:
    """An explicit mapping (port forwarding): for every remote endpoint, until it is removed."""
    for other in napt.rules:
        if (other.protocol, other.external.port) == (rule.protocol, rule.external.port):
            raise ValueError(f"{rule.protocol} port {rule.external.port} is taken by a {other}")
    if (rule.protocol, rule.internal, None) in by_internal:
        raise ValueError(f"{rule.protocol} {rule.internal} has a rule already")
    by_internal[rule.protocol, rule.internal, None] = rule
    by_external[rule.protocol, rule.external.port, None] = rule


def remove_rule(mapping: Rule) -> None:
    """Take a mapping out of both dictionaries."""
    shared = project(SHARING, mapping.remote) if mapping.remote else None
    del by_internal[mapping.protocol, mapping.internal, mapping.remote]
    del by_external[mapping.protocol, mapping.external.port, shared]


# ── Sessions: who uses a mapping, who may, and until when ──────────────────────────────────


SIDES = {"inside": 1, "outside": 2}
BOTH = 3


class Session:
    """One remote endpoint's use of a mapping. `syns`, `fins`: SIDES that have sent one, added."""

    __slots__ = ("expires", "fins", "over", "syns")

    def __init__(self) -> None:
        self.syns = self.fins = 0
        self.over = ""  # why: "closed" or "reset"
        self.expires = 0.0


def in_use(mapping: Rule, remote: Endpoint, now: float) -> bool:
    """Whether there is a session with this remote endpoint."""
    return remote in mapping.sessions and mapping.sessions[remote].expires > now


def admits(mapping: Rule, remote: Endpoint, now: float) -> bool:
    """Filtering: has the inside sent to this remote endpoint, as far as it counts?"""
    seen = project(napt.filtering, remote)
    return mapping.explicit or any(
        session.expires > now and project(napt.filtering, known) == seen
        for known, session in mapping.sessions.items()
    )


def may_open(packet: Packet) -> bool:
    """Whether a packet may be the first of a session. Of TCP, only a SYN is."""
    return packet.protocol != "tcp" or (packet.syn and not (packet.ack or packet.fin or packet.rst))


def use(mapping: Rule, remote: Endpoint, packet: Packet, side: str, now: float) -> None:
    """A packet has passed: follow its session, and put off the end of the mapping."""
    session = mapping.sessions.get(remote)
    if session is None or session.expires <= now or (session.over and may_open(packet)):
        session = mapping.sessions[remote] = Session()
    if packet.protocol == "tcp":
        follow(session, packet, side, now)
    else:
        session.expires = now + (napt.udp_idle if packet.protocol == "udp" else napt.icmp_idle)
    if not mapping.explicit:
        mapping.expires = max(one.expires for one in mapping.sessions.values())


def follow(session: Session, packet: Packet, side: str, now: float) -> None:
    """Established by SYN both ways; over by FIN both ways, or RST (RFC 5382, 5; RFC 7857, 2)."""
    if session.over:
        return  # what comes late does not keep it
    session.syns |= SIDES[side] if packet.syn else 0
    session.fins |= SIDES[side] if packet.fin else 0
    if packet.rst or session.fins == BOTH:
        session.over = "reset" if packet.rst else "closed"
        session.expires = now + napt.closing_hold
    elif session.syns == BOTH:
        session.expires = now + napt.tcp_idle
    else:
        session.expires = now + napt.tcp_transitory_idle


def expire(now: float) -> None:
    """Ten times a second: collect the mappings whose last session is over."""
    for mapping in napt.rules:
        if mapping.expires is not None and mapping.expires <= now:
            last = max(mapping.sessions.values(), key=lambda session: session.expires)
            remove_rule(mapping)
            napt.rules.remove(mapping, last.over or "idle")
