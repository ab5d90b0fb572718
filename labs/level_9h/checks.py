"""Level 9h: one packet at two NAPTs, and the rules that rewrote it. The steps are in lab.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from napt_lab.labs.capture.packets import Packet
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.shared_steps.two_sites import FILES
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim

WEB = 80
PATIENCE = 20.0  # seconds until bob has opened all that he can
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


def ports_of(stage: Stage, home: str) -> dict[str, str]:
    """The TCP ports of cgn that a home has, by the address of its NAPT: external, internal end."""
    rules = stage.net.napt("cgn").rules()
    return {
        rule["external"]: rule["internal"]
        for rule in rules
        if rule["protocol"] == "tcp" and rule["internal"].startswith(f"{home}:")
    }


@contextmanager
def all_that_bob_can(stage: Stage, count: int) -> Iterator[tuple[int, int]]:
    """bob holds TCP connections to a web server meanwhile: how many he has got, and not got."""
    log = stage.log.mark()
    argv = ("connections", f"{FILES}:{WEB}", "--count", str(count), "--patience", "2")
    process = stage.serve("bob", *argv, name="connections")
    try:
        told = stage.wait_for_event("bob", "opened", since=log, deadline=PATIENCE).fields
        yield told["open"], told["failed"]
    finally:
        process.kill()
        process.await_end()
