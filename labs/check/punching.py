"""`punches`, `cannot punch`: two hosts talk without a server or an explicit rule (RFC 5128).

A failure has its controls: after the last try the public node still answers both sides, on the
port from which they tried. If a side did not even get an answer to its first question, it must get
one to the same kind of packet on its own segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from napt_lab.labs.capture.packets import show
from napt_lab.labs.check.diagnosis import End
from napt_lab.labs.check.drops import lost_of
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.punch_side import TURNS, NotTold, Side, punch
from napt_lab.labs.check.reaching import control_prober, require_end
from napt_lab.labs.check.tcp_side import TcpSide
from napt_lab.labs.check.trail import classify
from napt_lab.labs.check.udp_side import UdpSide
from napt_lab.topologies.spec.assertions import (
    LINK_REASONS,
    CannotPunch,
    Protocol,
    Punches,
    Via,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of it: how each side heard the other, or where the packets ended.

    `untold` is a side that could not even learn its endpoint: the end is that of its question.
    """

    paths: frozenset[Via] = frozenset()
    ends: tuple[End, ...] = ()
    untold: Side | None = None
    by_chance: bool = False  # a link lost something that may have led to the ends


def check_punches(ground: Ground, claim: Punches, evidence: Evidence) -> None:
    """Raises Unmet if the two do not hear each other, or by another path."""
    with sides(ground, claim.protocol, claim.source, claim.target) as (one, other):
        tried = attempt(one, other, evidence)
        ends = ", and ".join(map(str, tried.ends))
        if tried.untold:
            server = tried.untold.place[0]
            words = f"{tried.untold.node} gets no answer from {server}: {ends}"
            raise Unmet(words, by_chance=tried.by_chance)
        if tried.ends:
            words = f"no hole after {TURNS} tries of each: {ends}"
            raise Unmet(words, by_chance=tried.by_chance)
    if claim.via is not None:
        seen = " and ".join(sorted(tried.paths))
        evidence.require(tried.paths == {claim.via}, f"the path is {seen}", claim.via)


def check_cannot_punch(
    ground: Ground, listeners: Listeners, claim: CannotPunch, evidence: Evidence
) -> None:
    """Raises Unmet if the two hear each other, or fail for another reason; CannotTell."""
    with sides(ground, claim.protocol, claim.source, claim.target) as (one, other):
        tried = attempt(one, other, evidence)
        if tried.paths:
            raise Unmet(f"{one.node} and {other.node} hear each other")
        if tried.untold:
            control_prober(ground, listeners, tried.untold.node, claim.protocol, evidence)
        if tried.by_chance and claim.reason not in LINK_REASONS:
            words = "a link lost a packet of the last tries: the next ones may come through"
            raise CannotTell(words, by_chance=True)
    require_end(ground, claim, tried.ends)


def _control(side: Side, evidence: Evidence) -> None:
    if not side.still_answered():
        raise CannotTell(
            "the control failed, so this proves nothing: "
            f"{side.place[0]} does not answer {side.node} any more",
            by_chance=lost_of(side.ground, (side.local, side.told), side.prober.log_since),
        )
    evidence.add(f"control: {side.place[0]} still answers {side.node} on the same port")


def attempt(one: Side, other: Side, evidence: Evidence) -> Attempt:
    """Let them learn their endpoints, and try.

    Unmet if something ends the connection between them; CannotTell if a control fails.
    """
    for side in (one, other):
        try:
            side.ask()
        except NotTold as error:
            evidence.lines += error.end.evidence
            return Attempt(ends=(error.end,), untold=side, by_chance=error.end.by_chance)
        evidence.add(f"{side.place[0]} tells {side.node} that it is {show(side.told)}")
    if not punch(one, other):
        ends = tuple(_ends(one, other, evidence))
        endpoints = {each for side in (one, other) for each in (side.local, side.told)}
        by_chance = lost_of(one.ground, endpoints, one.settled_since)
        _control(one, evidence)
        _control(other, evidence)
        return Attempt(ends=ends, by_chance=by_chance)
    paths = frozenset(_path(x, y, evidence) for x, y in ((one, other), (other, one)))
    if isinstance(one, TcpSide) and isinstance(other, TcpSide):
        evidence.add(one.met(other))
    return Attempt(paths)


@contextmanager
def sides(
    ground: Ground, protocol: Protocol, source: str, target: str
) -> Iterator[tuple[Side, Side]]:
    """The two hosts, with sockets that are closed at the end."""
    kind = UdpSide if protocol is Protocol.UDP else TcpSide
    nodes = source, target
    place = next(place for place in ground.public_places() if place[0] not in nodes)
    with ExitStack() as sockets:
        yield kind(ground, source, place, sockets), kind(ground, target, place, sockets)


def _ends(one: Side, other: Side, evidence: Evidence) -> list[End]:
    """Where the packets ended of each side from which nothing came through."""
    ends = []
    for side, peer in ((one, other), (other, one)):
        if side.through is not None:
            evidence.add(f"{peer.node} hears {side.node}: {side.trail(side.through)}")
            continue
        ends.append(side.end(peer))
        evidence.lines += ends[-1].evidence
        for source in side.sources() - {side.told}:
            evidence.add(f"{side.node} was told {show(side.told)}, and sends from {show(source)}")
    return ends


def _path(side: Side, peer: Side, evidence: Evidence) -> Via:
    """By which path the other side has heard one; Unmet if something stands between them."""
    assert side.through is not None
    trail = side.trail(side.through)
    evidence.add(str(trail))
    via, _, shown = classify(side.node, peer.node, trail)
    evidence.lines += shown
    if via is Via.PROXIED:
        raise Unmet(f"{side.node} and {peer.node} do not talk directly: the path is proxied")
    return Via.HAIRPINNED if via is Via.HAIRPINNED else Via.DIRECT
