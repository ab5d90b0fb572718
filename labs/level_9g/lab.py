"""Level 9g: so many ways to another program; ICE finds the best one (RFC 8445).

    alice, anna ── napt_a   24.9.3.7 ───────────────┐            ┌── meet  198.51.100.12
    bob ────────── napt_b   203.0.113.77 ───────────┼─ internet ─┼── stun  198.51.100.10
    mona ───────── napt_m   24.9.6.7  (symmetric) ──┤            └── turn  198.51.100.11
    carol ── napt_c ─┬─ cgn  24.9.4.7 (a carrier) ──┘
    dave ─── napt_d ─┘

In each step the same program runs on two PCs, and the file's way is found on the wires
(labs/peer_steps). Nothing on any NAPT is configured.
"""

from __future__ import annotations

from napt_lab.labs.level_9g.checks import (
    ICE,
    candidates,
    checks_by_relay,
    rented,
    require_candidate,
    show_pairs,
)
from napt_lab.labs.peer_steps.passing import (
    Passed,
    answer_way,
    pass_file,
    require_arrived,
    require_no_rules,
    require_way,
    require_whole_file,
)
from napt_lab.labs.shared_steps.dropped import require_drop
from napt_lab.labs.stage.prediction import Choice, choose
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.topologies.spec.assertions import Via

CANDIDATES, BEST = "9g.candidates", "9g.best"
TURN = "198.51.100.11"

best_way = Part("best-way", topology="level-9g.yaml")


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@best_way.step(
    "Three addresses of one program",
    say="alice sends bob a file. Her program collects the addresses at which bob may reach it: "
    "that of its own network card, one that a STUN server tells it, and one that it rents at a "
    "TURN server. bob's program does the same. They exchange their lists at a meeting place on the "
    "Internet.",
    ask="Which address does the TURN server rent to alice's program?",
    predict=choose(
        Choice("24.9.3.7", "a port of 24.9.3.7, her NAPT", "A server opens ports in a PC's NAPT."),
        Choice(TURN, f"a port of {TURN}, the TURN server itself"),
        Choice("10.0.0.7", "a port of 10.0.0.7, her PC", "No other host can receive for her PC."),
        exercise="9g/symmetric",
    ),
    proves=[CANDIDATES],
)
def three_addresses(stage: Stage) -> None:
    passed = pass_file(stage, "alice", "bob", *ICE)
    for endpoint in rented(stage, "alice", passed.since)[:1]:
        stage.answer(endpoint.partition(":")[0], f"alice:eth0: the TURN server grants {endpoint}")
    for node, napt in (("alice", "napt_a"), ("bob", "napt_b")):
        with stage.claim(CANDIDATES, f"{node}'s host candidate asks the STUN server") as claim:
            require_candidate(claim, stage, passed, node, "host", f"{node}:eth0")
        with stage.claim(CANDIDATES, f"the server-reflexive one is what {napt} makes it") as claim:
            require_candidate(claim, stage, passed, node, "server-reflexive", "stun:eth0")
            rules = [
                f"{rule['internal']} → {rule['external']}"
                for rule in stage.net.napt(napt).rules()
                if rule["protocol"] == "udp"
            ]
            own, outside = (candidates(passed, node, kind) for kind in ("host", "server-reflexive"))
            claim.require(
                f"{own[0]} → {outside[0]}" in rules,
                f"{napt}'s rule {own[0]} → {outside[0]}",
                f"but its UDP rules are {', '.join(rules)}",
            )
        with stage.claim(CANDIDATES, "the relayed one is what the TURN server grants") as claim:
            granted, listed = rented(stage, node, passed.since), candidates(passed, node, "relayed")
            claim.require(
                listed == granted != [] and listed[0].startswith(f"{TURN}:"),
                f"{node}:eth0: granted {', '.join(granted) or 'nothing'}; "
                f"{node}: relayed {', '.join(listed) or 'none'}",
            )


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@best_way.step(
    "The direct way",
    say="Both programs try every pair of an own address and one of the other's, the best pairs "
    "first. A check that comes too early is dropped, but it has opened its sender's NAPT. Now bob "
    "sends alice a file.",
    ask="Which server passes the file on?",
    predict=choose(
        Choice("none", "none: it passes NAPTs and routers only"),
        Choice(
            "turn",
            "the TURN server",
            "Without an explicit rule, two PCs behind NAPTs need a relay.",
        ),
        Choice(
            "meet",
            "the meeting place",
            "A server that introduces two peers also carries their data.",
        ),
        exercise="9g/symmetric",
    ),
    proves=[BEST],
)
def direct(stage: Stage) -> None:
    passed = pass_file(stage, "bob", "alice", *ICE)
    answer_way(stage, passed, ("turn", "meet"))
    nodes = ["bob", "napt_b", "internet", "napt_a", "alice"]
    went(stage, passed, "two homes: it went directly, by no server", Via.DIRECT, nodes)
    with stage.claim(BEST, "no NAPT has an explicit rule") as claim:
        require_no_rules(stage, claim, "napt_a", "napt_b")


def went(stage: Stage, passed: Passed, text: str, via: Via, nodes: list[str]) -> None:
    """The file arrived, and took this way."""
    show_pairs(stage, passed)
    with stage.claim(BEST, f"{passed.target} has the file, byte for byte") as claim:
        require_arrived(stage, claim, passed)
    with stage.claim(BEST, text) as claim:
        require_way(stage, claim, passed, via, nodes)
        require_whole_file(stage, claim, passed, "turn", there=via is Via.RELAYED)


# ── 3 ──────────────────────────────────────────────────────────────────────────────────────


@best_way.step(
    "Two PCs in one home",
    say="anna is in alice's home. alice's program does not know that: it lists its addresses, and "
    "tries all pairs, as before.",
    ask="How far does the file go on its way to anna?",
    predict=choose(
        Choice("turn", "to the TURN server", "Programs meet on the Internet, so data goes there."),
        Choice(
            "napt_a",
            "to napt_a, which sends it back",
            "Others know a PC by its NAPT's address only.",
        ),
        Choice("none", "it stays on their own network"),
    ),
    proves=[BEST],
)
def one_home(stage: Stage) -> None:
    passed = pass_file(stage, "alice", "anna", *ICE)
    answer_way(stage, passed, ("turn", "napt_a"))
    went(stage, passed, "one home: the file did not leave it", Via.DIRECT, ["alice", "anna"])
    with stage.claim(BEST, "alice's question to the STUN server left it (control)") as c:
        require_candidate(c, stage, passed, "alice", "server-reflexive", "napt_a:wan0")


# ── 4 ──────────────────────────────────────────────────────────────────────────────────────


@best_way.step(
    "Two customers of one carrier",
    say="carol and dave live in different homes. Their homes have no public address of their own: "
    "both are behind the NAPT of one carrier (level 9h). carol sends dave a file.",
    ask="Which node sends the packets back, towards dave's home?",
    predict=choose(
        Choice("cgn", "the carrier's NAPT"),
        Choice("internet", "the Internet's router", "What is sent to a public address goes there."),
        Choice("turn", "the TURN server", "Nothing gets through two NAPTs without a relay."),
        exercise="9h/neighbors",
    ),
    proves=[BEST],
)
def one_carrier(stage: Stage) -> None:
    passed = pass_file(stage, "carol", "dave", *ICE)
    answer_way(stage, passed, ("cgn", "internet", "turn"))
    nodes = ["carol", "napt_c", "cgn", "napt_d", "dave"]
    text = "one carrier: its NAPT sent it back inside (hairpinning)"
    went(stage, passed, text, Via.HAIRPINNED, nodes)


# ── 5 ──────────────────────────────────────────────────────────────────────────────────────


@best_way.step(
    "Only the relay is left",
    say="mona's mobile network has a symmetric NAPT: a new port for each destination. The port "
    "that the STUN server saw is not the port from which her checks come to bob, and bob's NAPT "
    "lets in only what he has sent to. mona sends bob a file.",
    ask="How does the file get to bob?",
    predict=choose(
        Choice("none", "directly, as before", "Hole punching works through every NAPT."),
        Choice("turn", "through the TURN server"),
        Choice("never", "not at all", "Behind a symmetric NAPT a PC cannot be reached."),
        exercise="9g/symmetric",
    ),
    proves=[CANDIDATES, BEST],
)
def only_the_relay(stage: Stage) -> None:
    passed = pass_file(stage, "mona", "bob", *ICE)
    answer_way(stage, passed, ("turn",))
    with stage.claim(BEST, "the direct way was tried, and bob's NAPT dropped it") as claim:
        (bobs,), (told,) = (candidates(passed, n, "server-reflexive") for n in ("bob", "mona"))
        drop = require_drop(stage, claim, "napt_b", "filtered", passed.log, destination=bobs)
        used = str(drop.fields["packet"]).split()[1]
        claim.require(
            used != told, f"mona told {told}, and her check came from {used}", "not the same port"
        )
    nodes = ["mona", "napt_m", "internet", "turn", "napt_b", "bob"]
    went(stage, passed, "a symmetric NAPT: the relay carried it", Via.RELAYED, nodes)
    checks_by_relay(stage, passed, CANDIDATES, BEST)


LAB = Lab(
    id="9g",
    title="P2P networking by the best way (ICE)",
    intro="So many ways: a PC next door, a punched hole, a carrier's hairpin, a relay. How does a "
    "program choose?",
    parts=(best_way,),
    learned=(
        "A program lists the addresses at which it may be reached, its candidates: its own, the "
        "one that a STUN server sees, and one that it rents at a TURN server.",
        "Both peers check every pair of candidates. A check that is dropped has still opened "
        "its sender's NAPT, so the other peer's check comes in: no explicit rule is needed.",
        "The best pair that works is used: inside one home, by a carrier's hairpinning, or "
        "directly; a relay carries the data only where all of that fails.",
    ),
)
