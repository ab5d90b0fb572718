"""`punches` and `cannot punch`: a conversation without a server and without a rule (RFC 5128).

A failure has its controls: after the last try the public node still answers both sides, on the
port from which they tried. If a side did not even get an answer to its first question, it must get
one to the same kind of packet on its own segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from napt_lab.labs.capture.packets import show
from napt_lab.labs.check.diagnosis import End
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.punch_side import TURNS, NotTold, Side, punch
from napt_lab.labs.check.reaching import control_prober, require_end
from napt_lab.labs.check.tcp_side import TcpSide
from napt_lab.labs.check.trail import classify
from napt_lab.labs.check.udp_side import UdpSide
from napt_lab.topologies.spec.assertions import CannotPunch, Protocol, Punches, Via


def check_punches(ground: Ground, claim: Punches, evidence: Evidence) -> None:
    """Raises Unmet if the two do not hear each other, or by another path."""
    with _sides(ground, claim) as (one, other):
        try:
            _ask(one, other, evidence)
        except NotTold as error:
            evidence.lines += error.end.evidence
            raise Unmet(str(error)) from None
        if not punch(one, other):
            ends = _ends(one, other, evidence)
            raise Unmet(f"no hole after {TURNS} tries of each: {_listed(ends)}")
        paths = {_path(side, peer, evidence) for side, peer in ((one, other), (other, one))}
        if isinstance(one, TcpSide) and isinstance(other, TcpSide):
            evidence.add(one.met(other))
    if claim.via is not None:
        seen = " and ".join(sorted(path.value for path in paths))
        evidence.require(paths == {claim.via}, f"the path is {seen}", claim.via.value)


def check_cannot_punch(
    ground: Ground, listeners: Listeners, claim: CannotPunch, evidence: Evidence
) -> None:
    """Raises Unmet if the two hear each other, or fail for another reason; CannotTell."""
    with _sides(ground, claim) as (one, other):
        try:
            _ask(one, other, evidence)
        except NotTold as error:
            evidence.lines += error.end.evidence
            control_prober(ground, listeners, error.side.node, claim.protocol, evidence)
            require_end(ground, claim, (error.end,))
            return
        if punch(one, other):
            _path(one, other, evidence)
            _path(other, one, evidence)
            raise Unmet(f"{one.node} and {other.node} hear each other")
        ends = _ends(one, other, evidence)
        for side in (one, other):
            if not side.still_answered():
                raise CannotTell(
                    "the control failed, so this proves nothing: "
                    f"{side.place[0]} does not answer {side.node} any more"
                )
            evidence.add(f"control: {side.place[0]} still answers {side.node} on the same port")
    require_end(ground, claim, ends)


@contextmanager
def _sides(ground: Ground, claim: Punches | CannotPunch) -> Iterator[tuple[Side, Side]]:
    """The two hosts, with sockets that are closed at the end."""
    kind = UdpSide if claim.protocol is Protocol.UDP else TcpSide
    nodes = claim.source, claim.target
    place = next(place for place in ground.public_places() if place[0] not in nodes)
    with ExitStack() as sockets:
        yield kind(ground, nodes[0], place, sockets), kind(ground, nodes[1], place, sockets)


def _ask(one: Side, other: Side, evidence: Evidence) -> None:
    for side in (one, other):
        side.ask()
        evidence.add(f"{side.place[0]} tells {side.node} that it is {show(side.told)}")


def _ends(one: Side, other: Side, evidence: Evidence) -> list[End]:
    """Where the packets ended of each side from which nothing came through."""
    ends = []
    for side, peer in ((one, other), (other, one)):
        if side.through is not None:
            evidence.add(f"{peer.node} hears {side.node}: {side.trail(side.through)}")
            continue
        assert side.tried is not None
        ends.append(side.end(peer))
        evidence.lines += ends[-1].evidence
        trail = side.trail(side.tried)
        sources = {c.packet.sender for c in trail.seen if c.packet.source == side.told[0]}
        for source in sources - {side.told}:
            evidence.add(f"{side.node} was told {show(side.told)}, and sends from {show(source)}")
    return ends


def _listed(ends: list[End]) -> str:
    return ", and ".join(map(str, ends))


def _path(side: Side, peer: Side, evidence: Evidence) -> Via:
    """By which path the other side has heard one; Unmet if something stands between them."""
    assert side.through is not None
    trail = side.trail(side.through)
    evidence.add(str(trail))
    via, shown = classify(side.node, peer.node, trail)
    evidence.lines += shown
    if via is Via.PROXIED:
        raise Unmet(f"{side.node} and {peer.node} do not talk directly: the path is proxied")
    return Via.HAIRPINNED if via is Via.HAIRPINNED else Via.DIRECT
