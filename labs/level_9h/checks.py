"""Level 9h: one packet at two NAPTs, and the rules that rewrote it. The steps are in lab.py."""

from __future__ import annotations

from napt_lab.labs.capture.packets import Packet
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim

AT_ALICE, BETWEEN, OUTSIDE = "alice:eth0", "napt_a:wan0", "cgn:wan0"


def at(way: list[Captured], where: str) -> Packet:
    """The packet of this way as it passed `where`. ValueError if it did not."""
    for captured in way:
        if captured.where == where:
            return captured.packet
    raise ValueError(f"{where} has not seen it")


def require_two_rules(
    stage: Stage, claim: Claim, endpoints: tuple[str, str, str], *, explicit: bool
) -> None:
    """napt_a and cgn each have the rule that turns one of these endpoints into the next."""
    inside, between, outside = endpoints
    for napt, internal, external in (("napt_a", inside, between), ("cgn", between, outside)):
        rules = [
            f"{rule['internal']} → {rule['external']}"
            for rule in stage.net.napt(napt).rules()
            if rule["explicit"] is explicit and rule["external"] == external
        ]
        claim.require(
            rules == [f"{internal} → {external}"],
            f"{napt}: {', '.join(rules) or f'no rule for {external}'}",
            f"it should be {internal} → {external}",
        )
