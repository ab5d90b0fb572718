"""`hairpins`: whether two inside endpoints reach each other by their external ones (RFC 5780, 4.5).

Both learn from a public node whom it sees. Then they send to each other's external endpoint, in
turns, so that the filter of each has seen the other one leave. If anything comes through, the NAPT
hairpins. If not, the datagrams were at its inside all the same, and a control that was sent after
them has passed. That a filter stopped them says nothing about hairpinning: then nobody can tell.
"""

from __future__ import annotations

from labs.check.ground import Ground
from labs.check.outcome import CannotTell, Evidence
from labs.check.vantage import Endpoint, Spot, Vantage, received, show, vantage
from topologies.assertions import Hairpins

ROUNDS = 2
NO_VERDICT = ("filtered", "no-rule")  # drops that come from other behaviors


def check_hairpins(ground: Ground, claim: Hairpins, evidence: Evidence) -> None:
    """Raises Unmet if it does, or does not."""
    with vantage(ground, claim.napt) as around:
        found = _hairpins(around, evidence)
    words = {True: "hairpins", False: "does not hairpin"}
    evidence.require(
        found is claim.does, f"{claim.napt} {words[found]}", f"{claim.napt} {words[claim.does]}"
    )


def _hairpins(around: Vantage, evidence: Evidence) -> bool:
    outside = around.four[0]
    pair = around.inside(0), around.inside(1)
    external = [around.seen_as(spot, outside) for spot in pair]
    for spot, seen in zip(pair, external, strict=True):
        evidence.add(f"{spot.node} {show(spot.endpoint)} is {show(seen)} outside")
    sent = set()
    for _ in range(ROUNDS):
        for spot, to in zip(pair, reversed(external), strict=True):
            sent.add(around.send(spot, to, "lan0"))
    found = False
    for spot, seen in zip(pair, external, strict=True):
        for peer, data in _until_control(around, spot, outside, seen):
            if data in sent:
                found = True
                evidence.add(f"{spot.node} got a datagram from {show(peer)}, by hairpin")
    if not found:
        _must_be_the_reason(around, evidence)
    return found


def _until_control(
    around: Vantage, spot: Spot, outside: Spot, mapped: Endpoint
) -> list[tuple[Endpoint, bytes]]:
    """What has come to an inside socket before a datagram that certainly passes."""
    control = around.send(outside, mapped, "wan0")
    return received(spot, control, f"the control, from {outside.node} to {spot.node},")


def _must_be_the_reason(around: Vantage, evidence: Evidence) -> None:
    """CannotTell if the datagrams were stopped by something else than want of hairpinning."""
    external = f"> {around.site.gateway.public.ip}:"
    for event in around.ground.net.log.since(around.log_since):
        if (event.node, event.name) != (around.napt, "drop"):
            continue
        if external not in str(event.fields["packet"]) or event.fields["side"] != "inside":
            continue
        reason = event.fields["reason"]
        evidence.add(f"{around.napt} dropped {event.fields['packet']}: {reason}")
        if reason in NO_VERDICT:
            raise CannotTell(
                f"its filtering ({reason}) stops what might be hairpinned; write `reaches … at … "
                "via hairpinned` with an explicit rule in its place"
            )
