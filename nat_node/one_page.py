"""A NAPT in one file: what a good student could write. Full marks, and no more than they need.

A rule joins an internal endpoint (10.0.0.7:40000) to an external one (24.9.3.7:1025). Two
dictionaries find it: from the inside by what the PC's packets show, from the outside by what the
answers show. How much of the remote endpoint belongs to the key is RFC 4787's *mapping behavior*.

Each remote endpoint that uses a rule has a session: its state (TCP) and its deadline.
"""

from __future__ import annotations

import random

from napt_lab.student import Endpoint, Packet, Refusal, Rule, napt

BEHAVIORS = ["endpoint-independent", "address-dependent", "address-and-port-dependent"]
#: A port can serve two rules only if neither mapping nor filtering mixes them up.
SHARING = min(napt.mapping, napt.filtering, key=BEHAVIORS.index)

STEP = 16

Key = tuple[str, Endpoint | int, Endpoint | None]
position = random.randrange(len(napt.ports))  # in the pool, of the port that was given last
by_inside: dict[Key, Rule] = {}  # protocol, internal endpoint, remote as mapping sees it
by_outside: dict[Key, Rule] = {}  # protocol, external port, remote as sharing sees it


SIDES = {"inside": 1, "outside": 2}
BOTH = 3


class Session:
    """One remote endpoint's use of a rule. `syns`, `fins`: who has sent one (SIDES, added up)."""

    __slots__ = ("expires", "fins", "state", "syns")

    def __init__(self) -> None:
        self.state, self.expires = "opening", 0.0
        self.syns = self.fins = 0


def translate(packet: Packet, now: float) -> Packet | str | Refusal:
    """One packet: the packet rewritten, or why it is dropped."""
    if packet.protocol not in ("tcp", "udp", "icmp"):
        return "unsupported-protocol"
    if packet.is_fragment:
        return "unsupported-fragment: its ports are in another packet (RFC 4787, REQ-14)"
    if packet.is_error:
        return error(packet)
    if packet.side == "outside":
        return inbound(packet, now)
    return outbound(packet, now)


# ── packets ────────────────────────────────────────────────────────────────────────────────


def outbound(packet: Packet, now: float) -> Packet | str | Refusal:
    """From the inside: the source becomes an external endpoint."""
    remote = packet.destination
    if not napt.is_inside(packet.source.address):
        return "spoofed-source"
    if packet.protocol == "icmp" and not packet.is_ping:
        return "icmp-unsupported"
    hairpin = remote.address == napt.external  # a neighbor, by our external address
    if napt.is_private(remote.address) and not hairpin:
        return packet.refused("private-destination")
    if hairpin and not napt.hairpinning:
        return "hairpinning-off"
    rule = find(by_inside, packet.protocol, packet.source, napt.mapping, remote)
    if not in_use(rule, remote, now) and not may_open(packet):
        return "no-connection"
    if rule is None:
        rule = make_rule(packet.protocol, packet.source, remote)
        if rule is None:
            return packet.refused("ports-exhausted")
    use(rule, remote, packet, "inside", now)
    packet.source = rule.external
    return inbound(packet, now) if hairpin else packet


def inbound(packet: Packet, now: float) -> Packet | str:
    """To our external address: by a rule that admits the sender, or not at all."""
    remote = packet.source
    if packet.destination.address != napt.external:
        return "not-for-us"
    if packet.protocol == "icmp" and not packet.is_reply:
        return "icmp-unsupported"
    rule = find(by_outside, packet.protocol, packet.destination.port, SHARING, remote)
    if rule is None:
        return "no-rule"
    if not rule.explicit and not admits(rule, remote, now):
        return "filtered"
    if not in_use(rule, remote, now) and not may_open(packet):
        return "no-connection"
    use(rule, remote, packet, "outside", now)
    packet.destination = rule.internal
    return packet


def error(packet: Packet) -> Packet | str:
    """An ICMP error: the quotation must show what its receiver has sent (RFC 5508, section 4)."""
    quoted = packet.quoted
    if quoted is None:
        return "icmp-unrelated"
    if packet.side == "outside":
        sender, remote = quoted.source, quoted.destination
        rule = find(by_outside, quoted.protocol, sender.port, SHARING, remote)
        if rule is None or sender.address != napt.external:
            return "icmp-unrelated"
        quoted.source, packet.destination = rule.internal, Endpoint(rule.internal.address, 0)
        return packet
    remote, receiver = quoted.source, quoted.destination
    rule = find(by_inside, quoted.protocol, receiver, napt.mapping, remote)
    if rule is None:
        return "icmp-unrelated"
    quoted.destination, packet.source = rule.external, Endpoint(napt.external, 0)
    return packet


# ── rules ──────────────────────────────────────────────────────────────────────────────────


def seen(behavior: str, remote: Endpoint) -> Endpoint | None:
    """The remote endpoint as a behavior sees it: what does not matter is blanked."""
    return (None, Endpoint(remote.address, 0), remote)[BEHAVIORS.index(behavior)]


def find(
    table: dict[Key, Rule], protocol: str, own: Endpoint | int, behavior: str, remote: Endpoint
) -> Rule | None:
    """A rule, explicit ones first: they hold for every remote endpoint."""
    return table.get((protocol, own, None)) or table.get((protocol, own, seen(behavior, remote)))


def make_rule(protocol: str, internal: Endpoint, remote: Endpoint) -> Rule | None:
    """A new rule on a free port; None if all are taken."""
    shared = seen(SHARING, remote)
    port = free_port(protocol, shared)
    if port is None:
        return None
    rule = Rule(protocol, internal, (napt.external, port), seen(napt.mapping, remote))
    by_inside[protocol, internal, rule.remote] = by_outside[protocol, port, shared] = rule
    napt.rules.add(rule)
    return rule


def free_port(protocol: str, shared: Endpoint | None) -> int | None:
    """From the last one on by a step that nobody can guess (RFC 6056, section 3.3.5)."""
    global position
    position += random.randrange(STEP)
    for _ in napt.ports:
        position = (position + 1) % len(napt.ports)
        port = napt.ports[position]
        if (protocol, port, shared) not in by_outside and (protocol, port, None) not in by_outside:
            return port
    return None


def admits(rule: Rule, remote: Endpoint, now: float) -> bool:
    """The filtering behavior: has the inside sent to this remote endpoint, as far as it counts?"""
    wanted = seen(napt.filtering, remote)
    return any(
        session.expires > now and seen(napt.filtering, known) == wanted
        for known, session in rule.sessions.items()
    )


def add_rule(rule: Rule, now: float) -> None:
    """An explicit rule holds for every remote endpoint, so nobody else may have its port."""
    for other in napt.rules:
        if (other.protocol, other.external.port) == (rule.protocol, rule.external.port):
            raise ValueError(f"{rule.protocol} port {rule.external.port} is taken by a {other}")
    if (rule.protocol, rule.internal, None) in by_inside:
        raise ValueError(f"{rule.protocol} {rule.internal} has a rule already")
    by_inside[rule.protocol, rule.internal, None] = rule
    by_outside[rule.protocol, rule.external.port, None] = rule


def remove_rule(rule: Rule) -> None:
    """Take a rule out of both dictionaries."""
    shared = seen(SHARING, rule.remote) if rule.remote else None
    del by_inside[rule.protocol, rule.internal, rule.remote]
    del by_outside[rule.protocol, rule.external.port, shared]


# ── the life of a rule ─────────────────────────────────────────────────────────────────────


def in_use(rule: Rule | None, remote: Endpoint, now: float) -> bool:
    """Whether there is a session with this remote endpoint."""
    session = rule.sessions.get(remote) if rule else None
    return session is not None and session.expires > now


def may_open(packet: Packet) -> bool:
    """Whether a packet may be the first of its session. Of TCP, only a SYN is."""
    return packet.protocol != "tcp" or (packet.syn and not (packet.ack or packet.fin or packet.rst))


def use(rule: Rule, remote: Endpoint, packet: Packet, side: str, now: float) -> None:
    """A packet uses a rule: follow its session, and put the rule's end off."""
    if not in_use(rule, remote, now) or (packet.syn and rule.sessions[remote].fins):
        rule.sessions[remote] = Session()
    session = rule.sessions[remote]
    if packet.protocol != "tcp":
        idle = napt.udp_idle if packet.protocol == "udp" else napt.icmp_idle
        session.state, session.expires = "in use", now + idle
    elif session.state not in ("closed", "reset"):  # what comes late does not keep it
        follow_tcp(session, packet, side, now)
    rule.state = session.state
    if not rule.explicit:
        rule.expires = max(one.expires for one in rule.sessions.values())


def follow_tcp(session: Session, packet: Packet, side: str, now: float) -> None:
    """Open with SYN both ways; over with FIN both ways, or RST (RFC 5382, section 5; RFC 7857)."""
    session.syns |= SIDES[side] if packet.syn else 0
    session.fins |= SIDES[side] if packet.fin else 0
    if packet.rst or session.fins == BOTH:
        session.state, idle = "reset" if packet.rst else "closed", napt.closing_hold
    elif session.syns == BOTH:
        session.state, idle = "established", napt.tcp_idle
    else:
        session.state, idle = "opening", napt.tcp_transitory_idle
    session.expires = now + idle


def expire(now: float) -> None:
    """Collect the rules whose last session is over."""
    for rule in napt.rules:
        if rule.expires is not None and rule.expires <= now:
            remove_rule(rule)
            napt.rules.remove(rule, rule.state if rule.state in ("closed", "reset") else "idle")
