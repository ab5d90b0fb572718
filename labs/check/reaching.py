"""`reaches` and `cannot reach`: one try, its control, and what the wires show of both.

A try that fails proves little: perhaps the service was down, perhaps the prober was broken. So a
negative has two controls. The same probe from the target's own segment must be answered, and the
prober must get an answer from its own segment. If either fails, the check is an error (CannotTell).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Address

from napt_lab.labs.check.diagnosis import End, diagnose
from napt_lab.labs.check.drops import by_chance, lost, lost_frame
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
            raise Unmet(f"{tried.words}: {end}", by_chance=end.by_chance)
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

    CannotTell if a NAPT has ended, a user's own translator failed, or a packet was lost by chance.
    """
    _all_at_work(ground)
    for end in ends:
        if end.by_chance and claim.reason != end.reason:
            raise CannotTell(f"it ends because of {end}: the next packet may pass", by_chance=True)
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
    host = ground.host(place.node)

    def ask(node: str) -> tuple[Prober, Tried]:
        asker = Prober(ground, node, PATIENCE)
        if host is None:  # a gateway or the router, which answers a ping
            return asker, asker.ping(str(claim.target.address))
        own = host.address.ip
        if claim.reason == REFUSED and place.port is not None:
            return asker, _at_a_listener(ground, listeners, asker, place.node, own, claim.protocol)
        return asker, try_to_reach(asker, Target(own, place.port), claim.protocol, place)

    asker, tried = ask(others[0] if others else place.node)
    if not tried.answered:
        site = ground.site_of(place.node)
        inside = [each.name for each in site.hosts if each.name != claim.source] if site else []
        if host is None and inside:  # a gateway's outside may be unplugged
            asker, tried = ask(inside[0])
        elif host is not None and ground.is_cut_off(place.node):
            asker, tried = ask(place.node)
    _require_control(asker, tried, place.node, evidence)


def control_prober(
    ground: Ground, listeners: Listeners, source: str, protocol: Protocol, evidence: Evidence
) -> None:
    """The prober gets an answer to the same probe from its own segment; CannotTell if not."""
    prober = Prober(ground, source, PATIENCE)
    hop = ground.next_hop(source)
    node = hop.node if hop else ground.neighbors(source)[0]
    address = hop.address if hop else ground.address(node)
    pings = hop is None or protocol is Protocol.PING

    def ask(node: str, address: IPv4Address) -> Tried:
        if pings:
            return prober.ping(str(address))
        return _at_a_listener(ground, listeners, prober, node, address, protocol)

    tried = ask(node, address)
    if not tried.answered and ground.is_cut_off(source):
        node = source
        tried = ask(source, ground.address(source))
    _require_control(prober, tried, node, evidence)


def _at_a_listener(
    ground: Ground,
    listeners: Listeners,
    prober: Prober,
    node: str,
    address: IPv4Address,
    protocol: Protocol,
) -> Tried:
    """Try to reach a listener that is opened for this at an address of a node."""
    with listeners.at(ground.net[node], transport_of(protocol), str(address)) as port:
        there = Place(node, port, Speech.LINE)
        return try_to_reach(prober, Target(address, port), protocol, there)


def _require_control(asker: Prober, tried: Tried, node: str, evidence: Evidence) -> None:
    """CannotTell if it was not answered. What has no neighbor, or is cut off, asks itself."""
    if not tried.answered:
        loss = lost(asker.ground, asker.trail(tried.opening), asker.log_since) or lost_frame(
            asker.ground, (asker.source, node), asker.log_since
        )
        raise CannotTell(
            f"the control failed, so this proves nothing: {asker.source} does not reach {node} on "
            f"their own segment: {tried.words}",
            by_chance=loss is not None and by_chance(loss),
        )
    if asker.source == node:
        evidence.add(f"control: {node} answers itself by the same probe")
    else:
        evidence.add(
            f"control: {asker.source} reaches {node} by the same probe on their own segment"
        )
