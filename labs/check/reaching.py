"""`reaches` and `cannot reach`: one try, its control, and what the wires show of both.

That a try fails proves little: perhaps the service was not there, perhaps the prober was broken.
So a negative has two controls. The same probe from the target's own segment must be answered, and
the prober must get an answer from its own segment. If either fails, nobody can tell (CannotTell).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from labs.check.diagnosis import End, diagnose
from labs.check.ground import Ground
from labs.check.listeners import Listeners
from labs.check.outcome import CannotTell, Evidence, Unmet
from labs.check.probes import Prober, Speech, Tried
from labs.check.trail import classify
from topologies.assertions import CannotReach, Protocol, Reaches, Target, Via
from topologies.model import GatewayKind
from topologies.programs import PROXY_PORT

PATIENCE = 5.0  # seconds that an answer may take which is to come …
SILENCE = 2.0  # … and one that is not to come
HTTP_SERVICES = ("web", "file-server")
REFUSED = "refused"  # the one reason for which nobody must listen


@dataclass(frozen=True, slots=True)
class Place:
    """Whose service is to be reached, on its own port, and what may be said to it.

    `node` is empty where nobody has the address.
    """

    node: str
    port: int | None
    speech: Speech


def check_reaches(ground: Ground, listeners: Listeners, claim: Reaches, evidence: Evidence) -> None:
    """Raises Unmet if it does not hold."""
    prober = Prober(ground, claim.source, PATIENCE)
    with _served(ground, listeners, claim) as place:
        tried = _try(prober, claim.target, claim.protocol, place, _proxy(ground, claim))
        if not tried.answered:
            end = diagnose(prober, tried, claim.target.address)
            evidence.lines += end.evidence
            raise Unmet(f"{tried.words}: {end}")
    trail = prober.trail(tried.payload or tried.opening)
    target = place.node
    arrived = trail.at(target, outgoing=False)
    if arrived is None:
        raise Unmet(f"somebody answers, but to {target} nothing came: {trail}")
    evidence.add(str(trail))
    via, shown = classify(ground, claim.source, target, trail)
    evidence.lines += shown
    if tried.told:
        evidence.add(f"{target} says that it saw {tried.told}")
    if claim.seen_as is not None:
        seen = {str(arrived.packet.source), *([tried.told.partition(":")[0]] * bool(tried.told))}
        evidence.require(
            seen == {str(claim.seen_as)},
            f"{target} sees {' and '.join(sorted(seen))}",
            str(claim.seen_as),
        )
    if claim.via is not None:
        evidence.require(via is claim.via, f"the path is {via.value}", claim.via.value)


def check_cannot_reach(
    ground: Ground, listeners: Listeners, claim: CannotReach, evidence: Evidence
) -> None:
    """Raises Unmet if it does not hold, CannotTell if a control fails."""
    prober = Prober(ground, claim.source, SILENCE)
    with _served(ground, listeners, claim, silent=claim.reason == REFUSED) as place:
        tried = _try(prober, claim.target, claim.protocol, place)
        if tried.answered:
            end = _answered_by_another(prober, tried, place)
        else:
            end = diagnose(prober, tried, claim.target.address)
        evidence.add(tried.words)
        evidence.lines += end.evidence
        _control_target(ground, listeners, claim, place, evidence)
        _control_prober(ground, listeners, claim, evidence)
    _compare(claim, end)


def _answered_by_another(prober: Prober, tried: Tried, place: Place) -> End:
    """Unmet unless whoever answered is not the target that was meant."""
    trail = prober.trail(tried.payload or tried.opening)
    if not place.node or trail.at(place.node, outgoing=False) is not None:
        raise Unmet(f"{prober.source} does reach it: {trail}")
    return End("somebody-else", trail.nodes[-1], (f"somebody else answers: {trail}",))


def _compare(claim: CannotReach, end: End) -> None:
    wanted = claim.reason or end.reason, claim.at or end.node
    if (end.reason, end.node) != wanted:
        raise Unmet(f"it ends because of {end}; expected: {wanted[0]} at {wanted[1]}")


# ── the controls of a negative ─────────────────────────────────────────────────────────────


def _control_target(
    ground: Ground, listeners: Listeners, claim: CannotReach, place: Place, evidence: Evidence
) -> None:
    """The target answers the same probe when it comes from its own segment."""
    if not place.node:
        evidence.add(f"control: nobody has {claim.target.address}, so there is nobody to ask")
        return
    others = [name for name in ground.neighbors(place.node) if name != claim.source]
    asker = Prober(ground, others[0] if others else place.node, PATIENCE)
    host = ground.host(place.node)
    if host is None:  # a gateway or the router: what it has for us is an answer to a ping
        tried = asker.ping(str(claim.target.address))
    elif claim.reason == REFUSED and place.port is not None:
        transport = _transport(claim.protocol)
        own = str(host.address.ip)
        with listeners.at(ground.net[place.node], transport, own) as port:
            there = Place(place.node, port, Speech.LINE)
            tried = _try(asker, Target(host.address.ip, port), claim.protocol, there)
    else:
        tried = _try(asker, Target(host.address.ip, place.port), claim.protocol, place)
    _require_control(tried, asker.source, place.node, evidence)


def _control_prober(
    ground: Ground, listeners: Listeners, claim: CannotReach, evidence: Evidence
) -> None:
    """The prober gets an answer to the same probe from its own segment."""
    prober = Prober(ground, claim.source, PATIENCE)
    hop = ground.next_hop(claim.source)
    if hop is None or claim.protocol is Protocol.PING:
        node = hop.node if hop else ground.neighbors(claim.source)[0]
        tried = prober.ping(str(hop.address if hop else ground.address(node)))
    else:
        node, transport = hop.node, _transport(claim.protocol)
        with listeners.at(ground.net[node], transport, str(hop.address)) as port:
            there = Place(node, port, Speech.LINE)
            tried = _try(prober, Target(hop.address, port), claim.protocol, there)
    _require_control(tried, claim.source, node, evidence)


def _require_control(tried: Tried, asker: str, node: str, evidence: Evidence) -> None:
    if not tried.answered:
        raise CannotTell(
            f"the control failed, so this proves nothing: {asker} should reach {node} on their "
            f"own segment: {tried.words}"
        )
    evidence.add(f"control: {asker} does reach {node} by the same probe on their own segment")


# ── who is probed, and how ─────────────────────────────────────────────────────────────────


@contextmanager
def _served(
    ground: Ground,
    listeners: Listeners,
    claim: Reaches | CannotReach,
    *,
    silent: bool = False,
) -> Iterator[Place]:
    """The place to be reached, with somebody who answers there, unless it is to be `silent`."""
    target = claim.target
    holder = target.node or ground.holder(target.address, claim.source) or ""
    if target.port is None:
        yield Place(holder, None, Speech.NOTHING)
        return
    behind = ground.behind(target, claim.protocol, claim.source)
    if behind is None:
        yield Place(holder, target.port, Speech.NOTHING)
        return
    node, port = behind
    transport = _transport(claim.protocol)
    service = ground.service_at(node, port)
    if service and (transport == "tcp" or service == "turn"):
        speaks_http = service in HTTP_SERVICES
        yield Place(node, port, Speech.HTTP if speaks_http else Speech.NOTHING)
    elif silent:
        yield Place(node, port, Speech.LINE)
    else:
        own = str(ground.address(node))
        with listeners.at(ground.net[node], transport, own, port) as ours:
            yield Place(node, port, Speech.LINE if ours else Speech.NOTHING)


def _try(
    prober: Prober, target: Target, protocol: Protocol, place: Place, proxy: str = ""
) -> Tried:
    address = str(target.address)
    if target.port is None:
        return prober.ping(address)
    match protocol:
        case Protocol.UDP:
            return prober.udp(address, target.port)
        case Protocol.HTTP:
            return prober.http(address, target.port, proxy)
        case _:
            return prober.tcp(address, target.port, place.speech)


def _proxy(ground: Ground, claim: Reaches) -> str:
    """The explicit proxy that curl is told about, where the path is to be by one."""
    site = ground.site_of(claim.source)
    if claim.via is not Via.PROXIED or site is None or site.gateway.kind is not GatewayKind.PROXY:
        return ""
    return f"{site.gateway.private.ip}:{PROXY_PORT}"


def _transport(protocol: Protocol) -> str:
    return "udp" if protocol is Protocol.UDP else "tcp"
