"""`hairpins`: whether two inside endpoints reach each other by their external ones (RFC 5780, 4.5).

Each learns its external endpoint from a public node. Then they send to each other's external
endpoint, in turns, so that each has opened its own filter for the other. If a datagram arrives, the
NAPT hairpins. If a filter stopped them, or the mapping has another port for each destination, this
says nothing about hairpinning: the check is an error.
"""

from __future__ import annotations

from napt_lab.labs.capture.packets import show
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell, Evidence
from napt_lab.labs.check.vantage import Vantage, vantage
from napt_lab.topologies.spec.assertions import Hairpins

ROUNDS = 2
NO_VERDICT = {"filtered", "no-rule"}  # drops that come from other behaviors


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
    pair = [*around.inside(0), *around.inside(1)]
    external = [around.seen_as(spot, outside) for spot in pair]
    for spot, seen in zip(pair, external, strict=True):
        evidence.add(f"{spot.node} {show(spot.endpoint)} is {show(seen)} outside")
    reasons = set()
    for number in range(ROUNDS * len(pair)):
        sender, receiver = pair[number % 2], pair[1 - number % 2]
        peer, reason = around.fate(sender, external[1 - number % 2], receiver)
        if peer is not None:
            evidence.add(f"{receiver.node} got {sender.node}'s datagram, from {show(peer)}")
            return True
        reasons.add(reason)
    evidence.add(f"none of {ROUNDS * len(pair)} datagrams came through: {', '.join(reasons)}")
    if reasons & NO_VERDICT:
        raise CannotTell(
            f"{around.napt} drops what comes to that external port from any endpoint that it was "
            "not opened for, so hairpinning cannot be seen. Use an explicit rule instead: "
            "HOST reaches OTHER:80 at ADDRESS:PORT via hairpinned"
        )
    return False
