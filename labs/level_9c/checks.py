"""Level 9c: what happens to packets for a private address that belongs to another network."""

from __future__ import annotations

from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim


def arp_unanswered(stage: Stage, claim: Claim, where: str, wanted: str, since: int) -> None:
    """ARP (RFC 826): the question is on the link, an answer is not; others are answered."""
    asked = stage.wire.packets(
        where, lambda p: p.arp == "who-has" and p.destination == wanted, since=since
    )
    answered = stage.wire.packets(where, lambda p: p.arp == "is-at" and p.source == wanted)
    control = stage.wire.packets(where, lambda p: p.arp == "is-at" and p.source == "10.0.0.1")
    claim.require(bool(asked), f"{where}: {len(asked)} × {asked[0].packet if asked else 'nothing'}")
    claim.require(not answered, f"{len(answered)} answers", "it should be 0")
    claim.require(
        bool(control),
        f"{where}: the gateway 10.0.0.1 "
        + ("did answer a request (control)" if control else "should have answered, and did not"),
    )


def stays_inside(stage: Stage, claim: Claim, napt: str, wanted: str, since: int) -> None:
    """No packet for this address left the home."""
    left = stage.wire.packets(
        f"{napt}:wan0", lambda p: p.arp is None and p.destination == wanted, since=since
    )
    claim.require(
        not left, f"{len(left)} packets for {wanted} left by {napt}:wan0", "it should be 0"
    )
