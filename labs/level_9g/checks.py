"""Level 9g: what is typed, and what counts as evidence. The steps are in lab.py."""

from __future__ import annotations

from napt_lab.labs.capture.packets import show
from napt_lab.labs.capture.turn_message import relayed_address
from napt_lab.labs.peer_steps.passing import Passed
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim

STUN_PORT = 3478
ICE = (
    "ice", "--meet", "meet:9000", "--stun", f"stun:{STUN_PORT}",
    "--turn", "turn:3478", "--user", "alice:secret",
)  # fmt: skip


def candidates(passed: Passed, node: str, kind: str) -> list[str]:
    """The endpoints of a kind that a peer has listed."""
    return list(passed.events.get((node, "candidates"), {}).get(kind, []))


def show_pairs(stage: Stage, passed: Passed) -> None:
    """Which pair of candidates each peer has selected."""
    for node in (passed.source, passed.target):
        if pair := passed.events.get((node, "selected-pair")):
            stage.see(f"{node} selected {pair['local']} → {pair['remote']}")


def require_candidate(
    claim: Claim, stage: Stage, passed: Passed, node: str, kind: str, where: str
) -> None:
    """A peer's candidate of this kind is the source of its question, as `where` has seen it."""
    listed = candidates(passed, node, kind)
    asked = stage.wire.packets(
        where,
        lambda p: p.protocol == "udp" and p.destination_port == STUN_PORT and p.from_ in listed,
        since=passed.since,
    )
    claim.require(
        len(listed) == 1 and bool(asked),
        f"{node}: {kind} {', '.join(listed) or 'none'}; "
        f"{where}: {asked[0].packet if asked else 'no question from there'}",
    )


def rented(stage: Stage, node: str, since: int) -> list[str]:
    """The relayed addresses in the TURN server's answers that came to a peer."""
    came = stage.wire.captured(
        f"{node}:eth0", lambda c: relayed_address(c.data) is not None, since=since
    )
    return [show(relayed_address(captured.data) or ("", 0)) for captured in came]


def checks_by_relay(stage: Stage, passed: Passed, listed_claim: str, best: str) -> None:
    """The relayed address was used, and later than the direct ways were tried."""
    listed = [e for n in (passed.source, passed.target) for e in candidates(passed, n, "relayed")]
    relayed = stage.wire.packets(
        "turn:eth0", lambda p: p.from_ in listed or p.to in listed, since=passed.since
    )
    with stage.claim(listed_claim, "the relayed address is on the wire, too") as claim:
        out = [captured for captured in relayed if captured.outgoing]
        claim.require(bool(out), f"turn:eth0: {out[0].packet if out else 'nothing from there'}")
    with stage.claim(best, "the relay was tried last") as claim:
        outside = candidates(passed, passed.target, "server-reflexive")
        direct = stage.wire.wait_for(
            f"{passed.source}:eth0",
            lambda p: p.to in outside,
            deadline=WAIT,
            what="a check of the direct way",
            since=passed.since,
        )
        claim.require(bool(relayed), f"turn:eth0: {count(len(relayed), 'relayed packet')}")
        later = min(captured.time for captured in relayed) - direct.time
        claim.require(
            later > 0,
            f"the direct way was checked {abs(later):.2f} s {'earlier' if later > 0 else 'later'}",
            "it should be earlier",
        )
