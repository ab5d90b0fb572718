"""My NAPT. Copy this file, and fill it in step by step.

    cp labs/translator/skeleton.py mine.py
    make grade TRANSLATOR=mine.py

labs/translator/README.md is the lesson that goes with it. What you can use of a packet, a rule
and your NAPT is in nat_node/student/packet.py and napt.py; all of it is used somewhere below.
"""

from __future__ import annotations

from napt_lab.student import Packet, Refusal, Rule, napt  # noqa: F401  (Step 3 needs them)


def translate(packet: Packet, now: float) -> Packet | str | Refusal:
    """Called with every packet that comes to your NAPT, from either side.

    Return the packet to send it on, or the reason why you drop it. `now` is in seconds.
    """
    if packet.side == "inside":
        return outbound(packet, now)
    return inbound(packet, now)


# ── Step 1: one connection (RFC 3022, section 2.2) ─────────────────────────────────────────
#
# The PC 10.0.0.7:40000 sends a SYN to 151.101.1.69:80. The Internet has no route to 10.0.0.7,
# so the packet must come from your NAPT's own address, napt.external (24.9.3.7), and from a
# port of your choice out of napt.ports. Remember which endpoint got which port: the answer is
# for that port, and you must find the way back. TCP and UDP have ports of their own.
#
#     packet.source                  -> ("10.0.0.7", 40000): .address and .port
#     packet.source = ("24.9.3.7", 1025)     writes both, and corrects the checksums
#
# A ping has an identifier where TCP and UDP have a port. You find it in .port, so the same
# lines translate pings.


def outbound(packet: Packet, now: float) -> Packet | str | Refusal:
    """From the inside to the Internet."""
    return "not-written: what happens to a packet from the inside?"


# ── Step 2: the way back, and who is kept out (RFC 4787, section 5) ────────────────────────
#
# A packet to 24.9.3.7:1025: which inside endpoint has that port, for this protocol? Write it into
# packet.destination. If there is none, return "no-rule". Labs look for this word; what you write
# after a colon is for people.
#
# If there is one, may this sender come in? napt.filtering says: "endpoint-independent": everyone
# may; "address-and-port-dependent": only a remote endpoint to which the inside has sent by this
# port. Return "filtered" for all others.


def inbound(packet: Packet, now: float) -> Packet | str | Refusal:
    """From the Internet to our address."""
    return "not-written: what happens to a packet from the outside?"


# ── Step 3: tell of your rules (RFC 4787, section 4.1) ─────────────────────────────────────
#
# Others want to see your table. Wherever you make a rule:
#
#     rule = Rule(packet.protocol, packet.source, (napt.external, port), remote)
#     napt.rules.add(rule)
#
# `remote` is None if the rule serves all remote endpoints, and packet.destination if it serves
# only that one. napt.mapping says which of the two is wanted: "endpoint-independent", or
# "address-and-port-dependent". With the latter your dictionary's key contains the remote endpoint
# as well: the same PC's port has a rule (and a port of yours) for each remote endpoint.


# ── Step 4: rules that are over (RFC 5382, section 5; RFC 7857, section 2) ─────────────────
#
# Without this your ports run out. Remove the rule of a TCP connection napt.closing_hold seconds
# after FIN from both sides, or RST (packet.fin, packet.rst; packet.side says which side); and
# napt.tcp_idle seconds after its last packet, if neither side closes it. Take it out of your
# dictionaries, too:
#
#     napt.rules.remove(rule, "closed")          or "reset", or "idle"
#
# A TCP packet for which there is no rule makes one only if it is a SYN (packet.syn and not
# packet.ack). Any other belongs to a connection that is over: return "no-connection".


def expire(now: float) -> None:
    """Called ten times a second."""


# ── Step 5: explicit rules (port forwarding) ───────────────────────────────────────────────
#
# Someone asks for a rule before there is any packet: rule.external is open to every sender, and
# leads to rule.internal. The answers go back by the same rule, so keep it where both outbound()
# and inbound() find it. Take it away when it is removed. raise ValueError("why") refuses it.
#
# def add_rule(rule: Rule, now: float) -> None:
# def remove_rule(rule: Rule) -> None:


# ── Step 6: ICMP errors (RFC 5508, section 4) ──────────────────────────────────────────────
#
# A router that cannot deliver what you sent quotes its beginning (packet.is_error,
# packet.quoted). The quotation shows your address as its source, and the PC would not recognize
# its own packet. So write the PC's endpoint back into packet.quoted.source, and the PC's address
# into packet.destination. From the inside out it is the other way round.


# ── Step 7: no port is left, and no such host ──────────────────────────────────────────────
#
# No free port: return packet.refused("ports-exhausted"). It drops the packet, as a reason does,
# and tells the PC by ICMP. The same for a private destination, to which the Internet has no route:
# napt.is_private(packet.destination.address), "private-destination".
#
# Where mapping and filtering are address-and-port-dependent, one port of yours can serve several
# rules, if their remote endpoints differ: so there are 65,535 connections to each server.
