"""`maps` and `filters`: what a NAPT looks at, measured from outside (RFC 5780, sections 4.3, 4.4).

Mapping. One inside endpoint asks (A1, P1), (A2, P1) and (A2, P2) whom they see. The same endpoint
everywhere is endpoint-independent mapping; the same for both ports of A2 address-dependent; else it
is address-and-port-dependent. A NAPT that preserves ports would hide the difference, for the port
is the same whenever it is free. So another host, where there is one, takes the same port towards
(A2, P1): once before the endpoint asks anybody, and once after the others have been asked. The
kernel's NAT shows itself in the second way alone, for once it has changed a port it stays with the
new one. As a port may be the same by chance, all is done twice, and the most that was seen counts.

Filtering. After an inside endpoint has asked (A1, P1), three datagrams are sent to it: from
(A2, P2), from (A1, P2) and, for control, from (A1, P1). Which of them come through tells.
"""

from __future__ import annotations

from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell, Evidence
from napt_lab.labs.check.vantage import Endpoint, Spot, Vantage, show, vantage
from napt_lab.topologies.spec.assertions import Filters, Maps
from napt_lab.topologies.spec.napt_settings import Behavior

ROUNDS = 2
FROM_LEAST = list(Behavior)  # what looks at the least comes first


def check_maps(ground: Ground, claim: Maps, evidence: Evidence) -> None:
    """Raises Unmet if the NAPT maps in another way."""
    with vantage(ground, claim.napt) as around:
        rounds = [_mapping(around, late) for late in (False, True) * ROUNDS]
    found, seen = max(rounds, key=lambda each: FROM_LEAST.index(each[0]))
    for line in seen:
        evidence.add(line)
    evidence.require(
        found is claim.behavior, f"{claim.napt}'s mapping is {found.value}", claim.behavior.value
    )


def check_filters(ground: Ground, claim: Filters, evidence: Evidence) -> None:
    """Raises Unmet if the NAPT filters in another way."""
    with vantage(ground, claim.napt) as around:
        found = _filtering(around, evidence)
    evidence.require(
        found is claim.behavior, f"{claim.napt}'s filtering is {found.value}", claim.behavior.value
    )


def _mapping(around: Vantage, late: bool) -> tuple[Behavior, list[str]]:
    """What one new endpoint shows, and what was seen; `late`: the other host comes in between."""
    a1_p1, _, a2_p1, a2_p2 = around.four
    evidence = Evidence()
    seen = {}
    order: tuple[Spot | None, ...]  # None: here the other host asks
    if len(around.site.hosts) > 1:
        twin, asker = around.inside_twins()
        order = (a1_p1, a2_p2, None, a2_p1) if late else (None, a1_p1, a2_p1, a2_p2)
    else:
        twin = asker = around.inside()
        order = (a1_p1, a2_p1, a2_p2)
    for outside in order:
        if outside is None:
            _ask(around, twin, a2_p1, evidence)
        else:
            seen[outside] = _ask(around, asker, outside, evidence)
    if asker is twin and {port for _, port in seen.values()} == {asker.endpoint[1]}:
        raise CannotTell(
            f"{around.napt} keeps the inside port wherever it is free, so that only a second host "
            "in its site could show what it looks at; add one"
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
    a1_p1, a1_p2, _, a2_p2 = around.four
    inside = around.inside()
    mapped = _ask(around, inside, a1_p1, evidence)
    came = []
    for spot in (a2_p2, a1_p2, a1_p1):
        peer, reason = around.fate(spot, mapped, inside)
        fate = f"no further than the NAPT ({reason})" if peer is None else "it came through"
        evidence.add(f"{show(spot.endpoint)} to {show(mapped)}: {fate}")
        came.append(peer is not None)
    other_address, other_port, control = came
    if not control:
        raise CannotTell("the control, an answer from whom was asked, did not come through")
    if other_address:
        return Behavior.ENDPOINT_INDEPENDENT
    return Behavior.ADDRESS_DEPENDENT if other_port else Behavior.ADDRESS_AND_PORT_DEPENDENT
