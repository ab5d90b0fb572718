"""Whether two hosts behind NAPTs can talk directly: it follows from what the NAPTs do.

No packet is sent here, and none is simulated. A NAPT maps and filters (RFC 4787, sections 4.1 and
5) and chooses ports (4.2). Three questions about that settle each case; in each, *x* sends to *y*.

1. *Does x send from the port that it was told?* A public server told x its external endpoint, and
   y sends there. With endpoint-independent mapping x has the same endpoint towards y. Otherwise it
   has another mapping towards y, which has the same port only if the NAPT preserves ports and lets
   several mappings share one. It cannot if its filter is endpoint-independent: what comes to such a
   port, from any sender, must be led to one inside host.

2. *Does y's NAPT let x's packet in?* It comes to the port that y was told. An endpoint-independent
   filter lets it in. Otherwise y itself must use that port towards x: if it does not, the port
   belongs to a mapping for the server alone. An address-dependent filter then asks only for x's
   address. The strictest one asks for the port to which y has sent, which is the one that x was
   told: so x must send from it.

3. *Does y's answer get back to x?* If it comes from the endpoint to which x has sent, every filter
   lets it in. Over TCP it does: a connection that was let in is a session, and the SYN-ACK takes
   the same mapping back. A datagram that was let in makes no session (it may be forged), so y's
   answer takes y's own mapping towards x, which may have another port. Then the strictest filter
   stops it: y hears x, but x never hears y.

The first packet of all comes too early, unless y's filter is endpoint-independent. That changes
nothing: both send again, and by then each has opened its own NAPT (RFC 5128, sections 3.3 and 3.4).
Over TCP it counts who dials first, in one case: see `_clashes`. It does not count whether a NAPT
drops an early SYN silently, or refuses it at once (which RFC 5382, REQ-4, forbids): a refusal ends
one dial, but the host listens on the same port and dials again. It stops programs that do neither.

ICE (RFC 8445) asks for more, and offers more. A check succeeds only if its answer comes from where
it was sent (section 7.2.5.2.1). And there is a relay, which both reach if there is no other way.

A carrier's NAPT with endpoint-independent mapping and filtering (RFC 6888) changes no answer: it
adds a mapping to each of the home's mappings, and lets everyone in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from napt_lab.topologies.spec.napt_settings import Behavior, PortAssignment

_ANY, _ADDRESS, _STRICTEST = Behavior


class Method(StrEnum):
    """How two hosts try to talk directly."""

    UDP = "udp"  # hole punching
    TCP = "tcp"  # simultaneous open, with a listener on the same port
    ICE = "ice"  # over UDP, with a STUN and a TURN server
    PROGRAMS = "programs"  # the user's own: predicted as if they used ICE


class Way(StrEnum):
    """How they then talk."""

    DIRECT = "direct"
    RELAYED = "relayed"
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Forecast:
    """How two hosts talk, and why."""

    way: Way
    why: str


@dataclass(frozen=True, slots=True)
class Nat:
    """What a NAPT does, as far as it counts here."""

    mapping: Behavior
    filtering: Behavior
    ports: PortAssignment
    blocks_udp: bool = False

    @property
    def keeps_told(self) -> bool:
        """Question 1: whether a host behind it sends to all from the port that it was told."""
        shares_ports = self.filtering is not _ANY
        preserves = self.ports is PortAssignment.PRESERVE and shares_ports
        return self.mapping is _ANY or preserves

    def admits(self, peer: Nat) -> bool:
        """Question 2: whether the peer's packets to the told port are let in, sooner or later."""
        if self.filtering is _ANY:
            return True
        return self.keeps_told and (self.filtering is _ADDRESS or peer.keeps_told)

    def answers_from_told(self, peer: Nat) -> bool:
        """Question 3, over UDP: whether the answer to what was let in comes from the told port."""
        # The peer is not where it was said to be. Towards both places this NAPT has one mapping,
        # unless it looks at ports: and two mappings towards one address may not share a port.
        one_mapping = self.mapping is not _STRICTEST or peer.keeps_told
        return self.keeps_told and (self.mapping is _ANY or one_mapping)


def predict(method: Method, a: Nat, b: Nat) -> Forecast:
    """What comes of it; over TCP, the host behind `a` dials first."""
    match method:
        case Method.UDP:
            return _by_udp(a, b)
        case Method.TCP:
            return _by_tcp(a, b)
        case Method.ICE | Method.PROGRAMS:
            return _by_ice(a, b)


def _by_udp(a: Nat, b: Nat) -> Forecast:
    """Direct if each hears the other."""
    if a.blocks_udp or b.blocks_udp:
        return Forecast(Way.FAILS, f"{_blocking(a, b)} does not let UDP out")
    entries = f"{_entry('b', b, 'a', a)}; {_entry('a', a, 'b', b)}"
    if a.admits(b) and b.admits(a):
        return Forecast(Way.DIRECT, entries)
    for x, nat_x, y, nat_y in (("a", a, "b", b), ("b", b, "a", a)):
        if not nat_y.admits(nat_x):
            continue
        entry = _entry(y, nat_y, x, nat_x)
        if nat_y.answers_from_told(nat_x):
            return Forecast(Way.DIRECT, f"{entry}; {y} answers from there")
        if nat_x.filtering is not _STRICTEST:
            return Forecast(
                Way.DIRECT, f"{entry}; {y} answers from another port, which {x}'s filter admits"
            )
        return Forecast(
            Way.FAILS, f"{entry}; but {y} answers from another port, which {x}'s filter stops"
        )
    return Forecast(Way.FAILS, entries)


def _by_tcp(a: Nat, b: Nat) -> Forecast:
    """Direct if one SYN is let in: the SYN-ACK takes the same way back."""
    if b.admits(a):
        return Forecast(Way.DIRECT, _entry("b", b, "a", a))
    if a.admits(b) and not _clashes(a, b):
        return Forecast(Way.DIRECT, _entry("a", a, "b", b))
    clash = "; but a has dialed b from another port, and that session is in the way"
    entry = _entry("a", a, "b", b) + (clash if a.admits(b) else "")
    return Forecast(Way.FAILS, f"{_entry('b', b, 'a', a)}; {entry}")


def _clashes(first: Nat, second: Nat) -> bool:
    """Whether the first dial keeps out the second host's SYN, which a filter would let in.

    The SYN comes from exactly where the first host has dialed, to a port from which it has not. A
    NAPT cannot have a second session between the same two hosts' endpoints. Had the SYN come
    before the dial, it would have been let in, and the dial would have become part of its session.
    """
    return not first.keeps_told and second.keeps_told


def _by_ice(a: Nat, b: Nat) -> Forecast:
    """Direct if a check is answered from where it was sent, else relayed."""
    if a.blocks_udp or b.blocks_udp:
        why = f"{_blocking(a, b)} does not let UDP out, and the relay is reached over TCP"
        return Forecast(Way.RELAYED, why)
    for x, nat_x, y, nat_y in (("a", a, "b", b), ("b", b, "a", a)):
        if not nat_y.admits(nat_x):
            continue
        entry = _entry(y, nat_y, x, nat_x)
        if nat_y.answers_from_told(nat_x):
            return Forecast(Way.DIRECT, f"{entry}; {y} answers from there")
        # y's own check comes from another port. x learns that, and checks it in turn. One of the
        # two must then answer from where it was asked: who maps by ports never does.
        settles = nat_x.mapping is not _STRICTEST or nat_y.mapping is not _STRICTEST
        if nat_x.filtering is not _STRICTEST and settles:
            return Forecast(
                Way.DIRECT, f"{entry}; {y} checks from another port, which {x}'s filter admits"
            )
    entries = f"{_entry('b', b, 'a', a)}; {_entry('a', a, 'b', b)}"
    return Forecast(Way.RELAYED, f"{entries}; no check is answered from where it was sent")


def _blocking(a: Nat, b: Nat) -> str:
    return " and ".join(name for name, nat in (("a", a), ("b", b)) if nat.blocks_udp)


def _entry(y: str, nat_y: Nat, x: str, nat_x: Nat) -> str:
    """The answer to question 2, and its reason."""
    if nat_y.filtering is _ANY:
        return f"{y}'s filter lets in anyone who sends to the port that it was told"
    if not nat_y.keeps_told:
        return f"{y} uses another port towards {x}, and where {x} sends there is no rule for it"
    if nat_y.filtering is _ADDRESS:
        return f"{y} has opened its port for {x}'s address"
    if nat_x.keeps_told:
        return f"{y} has opened its port for the one from which {x} sends"
    return f"{x} sends from another port than it was told, and {y}'s filter stops that"
