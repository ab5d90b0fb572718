"""`reaches` and `cannot reach`: one try, its control, and what the wires show of both.

A try that fails proves little: perhaps the service was down, perhaps the prober was broken. So a
negative has two controls. The same probe from the target's own segment must be answered, and the
prober must get an answer from its own segment. If either fails, the check is an error (CannotTell).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from napt_lab.labs.check.diagnosis import End, diagnose
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.place import Place, served, tell_of_ours, transport_of, try_to_reach
from napt_lab.labs.check.probes import Prober, Speech, Tried
from napt_lab.labs.check.round_trip import TRIPS, require_round_trip
from napt_lab.labs.check.trail import classify
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.programs import PROXY_PORT
from napt_lab.topologies.spec.assertions import (
    CannotPunch,
    CannotReach,
    GetsFile,
    Protocol,
    Reaches,
    Target,
    Via,
)
from napt_lab.topologies.spec.model import GatewayKind

PATIENCE = 8.0  # seconds that an answer may take which is to come …
SILENCE = 5.0  # … and one that is not to come; most negatives end much earlier, by a sign
REFUSED = "refused"  # the one reason for which the port must be closed


def check_reaches(ground: Ground, listeners: Listeners, claim: Reaches, evidence: Evidence) -> None:
    """Raises Unmet if it does not hold."""
    prober = Prober(ground, claim.source, PATIENCE)
    with served(ground, listeners, claim.target, claim.protocol, claim.source) as place:
        tell_of_ours(place, claim.protocol, evidence)
        tried = try_to_reach(prober, claim.target, claim.protocol, place, *_proxy(ground, claim))
        if not tried.answered:
            end = diagnose(prober, tried, claim.target.address)
            evidence.lines += end.evidence
            raise Unmet(f"{tried.words}: {end}")
        if claim.within is not None:
            again = partial(try_to_reach, prober, claim.target, claim.protocol, place)
            require_round_trip(
                prober, [tried, *(again() for _ in range(TRIPS - 1))], claim.within, evidence
            )
    require_way(prober, tried, place.node, claim, evidence)


def _proxy(ground: Ground, claim: Reaches) -> tuple[str, ...]:
    """How curl is told about an explicit proxy, where the path is to be by one."""
    site = ground.site_of(claim.source)
    if claim.via is not Via.PROXIED or site is None or site.gateway.kind is not GatewayKind.PROXY:
        return ()
    return ("-x", f"http://{site.gateway.private.ip}:{PROXY_PORT}")


def require_way(
    prober: Prober, tried: Tried, target: str, claim: Reaches | GetsFile, evidence: Evidence
) -> None:
    """Require that a try arrived at `target`, from the right address and by the right path."""
    trail = prober.trail(tried.payload or tried.opening)
    arrived = trail.at(target, outgoing=False)
    if arrived is None:
        raise Unmet(f"another node answers: {target} received nothing: {trail}")
    evidence.add(str(trail))
    via, nodes, shown = classify(prober.source, target, trail)
    evidence.lines += shown
    if tried.told:
        evidence.add(f"{target} reports that it saw {tried.told}")
    if claim.seen_as is not None:
        seen = {str(arrived.packet.source), *([tried.told.partition(":")[0]] * bool(tried.told))}
        evidence.require(
            seen == {str(claim.seen_as)},
            f"{target} sees {' and '.join(sorted(seen))}",
            str(claim.seen_as),
        )
    if claim.via is not None:
        evidence.require(via is claim.via, f"the path is {via.value}", claim.via.value)
    if claim.at is not None:
        made_by = f"the path is {via.value} at {' and '.join(nodes)}"
        evidence.require(claim.at in nodes, made_by, claim.at)


BROKEN = ("translator-error", "translator-stopped")
"""A user's own translator did not answer, or not with a packet."""


def check_cannot_reach(
    ground: Ground, listeners: Listeners, claim: CannotReach, evidence: Evidence
) -> None:
    """Raises Unmet if it does not hold, CannotTell if a control fails."""
    prober = Prober(ground, claim.source, SILENCE)
    with served(
        ground,
        listeners,
        claim.target,
        claim.protocol,
        claim.source,
        silent=claim.reason == REFUSED,
    ) as place:
        tell_of_ours(place, claim.protocol, evidence)
        tried = try_to_reach(prober, claim.target, claim.protocol, place)
        if tried.answered:
            end = _answered_by_another(prober, tried, place)
        else:
            end = diagnose(prober, tried, claim.target.address)
        evidence.add(tried.words)
        evidence.lines += end.evidence
        _control_target(ground, listeners, claim, place, evidence)
        control_prober(ground, listeners, claim.source, claim.protocol, evidence)
    require_end(ground, claim, (end,))


def _all_at_work(ground: Ground) -> None:
    """CannotTell if a NAPT has ended: then nothing passes, whatever its rules are."""
    for node in ground.net:
        if node.napt is not None:
            try:
                node.napt.stats()
            except ControlError as error:
                raise CannotTell(str(error)) from error


def _answered_by_another(prober: Prober, tried: Tried, place: Place) -> End:
    """Unmet if it was the target itself that answered."""
    trail = prober.trail(tried.payload or tried.opening)
    if not place.node or trail.at(place.node, outgoing=False) is not None:
        raise Unmet(f"{prober.source} reaches it: {trail}")
    return End("somebody-else", trail.nodes[-1], (f"another node answers: {trail}",))


def require_end(ground: Ground, claim: CannotReach | CannotPunch, ends: Sequence[End]) -> None:
    """Require that packets end where and why the claim says, at one of these ends.

    CannotTell if a NAPT has ended, or a user's own translator failed.
    """
    _all_at_work(ground)
    for end in ends:
        if end.reason in BROKEN and claim.reason != end.reason:
            raise CannotTell(
                f"it ends because of {end}: the translator has failed, which proves nothing"
            )
    if not any(claim.reason in (None, e.reason) and claim.at in (None, e.node) for e in ends):
        # only what the sentence says
        wanted = " ".join(filter(None, (claim.reason, claim.at and f"at {claim.at}")))
        told = ", and ".join(map(str, ends))
        raise Unmet(f"it ends because of {told}; expected: {wanted}")


# ── the controls of a negative ─────────────────────────────────────────────────────────────


def _control_target(
    ground: Ground, listeners: Listeners, claim: CannotReach, place: Place, evidence: Evidence
) -> None:
    """The target answers the same probe when it comes from its own segment."""
    if not place.node:
        evidence.add(f"no control: no node has {claim.target.address}")
        return
    others = [name for name in ground.neighbors(place.node) if name != claim.source]
    asker = Prober(ground, others[0] if others else place.node, PATIENCE)
    host = ground.host(place.node)
    if host is None:  # a gateway or the router, which answers a ping
        tried = asker.ping(str(claim.target.address))
    elif claim.reason == REFUSED and place.port is not None:
        transport = transport_of(claim.protocol)
        own = str(host.address.ip)
        with listeners.at(ground.net[place.node], transport, own) as port:
            there = Place(place.node, port, Speech.LINE)
            tried = try_to_reach(asker, Target(host.address.ip, port), claim.protocol, there)
    else:
        tried = try_to_reach(asker, Target(host.address.ip, place.port), claim.protocol, place)
    _require_control(tried, asker.source, place.node, evidence)


def control_prober(
    ground: Ground, listeners: Listeners, source: str, protocol: Protocol, evidence: Evidence
) -> None:
    """The prober gets an answer to the same probe from its own segment; CannotTell if not."""
    prober = Prober(ground, source, PATIENCE)
    hop = ground.next_hop(source)
    if hop is None or protocol is Protocol.PING:
        node = hop.node if hop else ground.neighbors(source)[0]
        tried = prober.ping(str(hop.address if hop else ground.address(node)))
    else:
        node, transport = hop.node, transport_of(protocol)
        with listeners.at(ground.net[node], transport, str(hop.address)) as port:
            there = Place(node, port, Speech.LINE)
            tried = try_to_reach(prober, Target(hop.address, port), protocol, there)
    _require_control(tried, source, node, evidence)


def _require_control(tried: Tried, asker: str, node: str, evidence: Evidence) -> None:
    if not tried.answered:
        raise CannotTell(
            f"the control failed, so this proves nothing: {asker} does not reach {node} on their "
            f"own segment: {tried.words}"
        )
    evidence.add(f"control: {asker} reaches {node} by the same probe on their own segment")
