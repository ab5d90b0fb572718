"""`maps`, `filters`, `is`: a NAPT's behavior, measured from outside (RFC 5780, sections 4.3, 4.4).

Mapping. One inside endpoint asks (A1, P1), (A2, P1) and (A2, P2) for its external endpoint. If all
see the same one, mapping is endpoint-independent; if both ports of A2 do, address-dependent; else
address-and-port-dependent. A NAPT that preserves ports hides the difference: the port is the same
whenever it is free. So another host of the site, if there is one, uses the same port towards
(A2, P1): in one round before the endpoint has asked, in another after it has asked the others. The
kernel's NAT shows the difference only in the second: once it has changed a port, it stays with the
new one. A port may be the same by chance, so each round is made twice, and the strictest counts.

Filtering. After an inside endpoint has asked (A1, P1), three datagrams are sent to it: from
(A2, P2), from (A1, P2) and, as the control, from (A1, P1). What arrives shows the behavior.
"""

from __future__ import annotations

from napt_lab.labs.capture.packets import Endpoint, show
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell, Evidence
from napt_lab.labs.check.vantage import Spot, Vanished, Vantage, vantage
from napt_lab.topologies.spec.assertions import Filters, Is, Maps
from napt_lab.topologies.spec.napt_settings import Behavior
from napt_lab.topologies.spec.presets import KINDS

ROUNDS = 2
FROM_LEAST = list(Behavior)  # from endpoint-independent to address-and-port-dependent


def check_behavior(ground: Ground, claim: Maps | Filters | Is, evidence: Evidence) -> None:
    """Raises Unmet if the NAPT maps or filters in another way."""
    napt = claim.napt
    with vantage(ground, napt) as around:
        match claim:
            case Maps(_, behavior):
                found = _strictest_mapping(around, evidence)
                evidence.require(found is behavior, f"{napt}'s mapping is {found}", behavior)
            case Filters(_, behavior):
                found = _filtering(around, evidence)
                evidence.require(found is behavior, f"{napt}'s filtering is {found}", behavior)
            case Is():
                kind = _strictest_mapping(around, evidence), _filtering(around, evidence)
                evidence.require(
                    kind == (claim.mapping, claim.filtering),
                    f"{napt} maps {kind[0]} and filters {kind[1]}: {KINDS[kind]}",
                    KINDS[claim.mapping, claim.filtering],
                )


def _strictest_mapping(around: Vantage, evidence: Evidence) -> Behavior:
    rounds = [_mapping(around, late) for late in (False, True) * ROUNDS]
    found, seen = max(rounds, key=lambda each: FROM_LEAST.index(each[0]))
    evidence.lines += seen
    return found


def _mapping(around: Vantage, late: bool) -> tuple[Behavior, list[str]]:
    """The behavior that one new endpoint shows; `late`: the other host asks in between."""
    a1_p1, _, a2_p1, a2_p2 = around.four
    evidence = Evidence()
    seen = {}
    order: tuple[Spot | None, ...]  # None: here the other host asks
    if len(around.hosts) > 1:
        twin, asker = around.inside(0, 1)
        order = (a1_p1, a2_p2, None, a2_p1) if late else (None, a1_p1, a2_p1, a2_p2)
    else:
        (asker,) = around.inside(0)
        twin = asker
        order = (a1_p1, a2_p1, a2_p2)
    for outside in order:
        if outside is None:
            _ask(around, twin, a2_p1, evidence)
        else:
            seen[outside] = _ask(around, asker, outside, evidence)
    if asker is twin and {port for _, port in seen.values()} == {asker.endpoint[1]}:
        raise CannotTell(
            f"{around.napt} keeps the inside port where it is free, so that its mapping shows only "
            "with a second host in its site; add one"
        )
    if seen[a2_p1] != seen[a2_p2]:
        return Behavior.ADDRESS_AND_PORT_DEPENDENT, evidence.lines
    same = seen[a1_p1] == seen[a2_p1]
    found = Behavior.ENDPOINT_INDEPENDENT if same else Behavior.ADDRESS_DEPENDENT
    return found, evidence.lines


def _ask(around: Vantage, asker: Spot, outside: Spot, evidence: Evidence) -> Endpoint:
    seen = around.seen_as(asker, outside)
    evidence.add(f"{asker.node} {show(asker.endpoint)} is {show(seen)} to {show(outside.endpoint)}")
    return seen


def _filtering(around: Vantage, evidence: Evidence) -> Behavior:
    known = len(evidence.lines)
    try:
        return _try_filtering(around, evidence)
    except Vanished:  # by chance another host has that external port towards the sender
        del evidence.lines[known:]  # of another endpoint
        return _try_filtering(around, evidence)


def _try_filtering(around: Vantage, evidence: Evidence) -> Behavior:
    a1_p1, a1_p2, _, a2_p2 = around.four
    (inside,) = around.inside(0)
    mapped = _ask(around, inside, a1_p1, evidence)
    came = []
    for spot in (a2_p2, a1_p2, a1_p1):
        peer, reason = around.fate(spot, mapped, inside)
        fate = f"dropped at the NAPT ({reason})" if peer is None else "arrived"
        evidence.add(f"{show(spot.endpoint)} to {show(mapped)}: {fate}")
        came.append(peer is not None)
    other_address, other_port, control = came
    if not control:
        raise CannotTell("the control did not arrive: an answer from the endpoint that was asked")
    if other_address:
        return Behavior.ENDPOINT_INDEPENDENT
    return Behavior.ADDRESS_DEPENDENT if other_port else Behavior.ADDRESS_AND_PORT_DEPENDENT
