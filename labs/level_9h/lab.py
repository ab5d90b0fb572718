"""Level 9h: a NAPT behind a NAPT (carrier-grade NAT, RFC 6888).

    alice 10.0.0.7 ── napt_a 100.64.0.7 ─┐
                                         ├─ cgn 24.9.3.7 ── internet ── napt_e 203.0.113.77 ── erin
    bob   10.0.0.9 ── napt_b 100.64.0.8 ─┘

Each step runs the programs that a person would run; checks.py and labs/peer_steps look at the wires
for evidence.
"""

from __future__ import annotations

from pathlib import Path

from napt_lab.labs.level_9h.checks import (
    AT_ALICE,
    BETWEEN,
    OUTSIDE,
    all_that_bob_can,
    at,
    ports_of,
    require_two_rules,
)
from napt_lab.labs.peer_steps.passing import (
    answer_way,
    pass_file,
    require_arrived,
    require_no_rules,
    require_way,
)
from napt_lab.labs.shared_steps.commands import (
    CURL_REFUSED,
    CURL_TIMED_OUT,
    PORT,
    curl,
    require_failure,
    require_success,
)
from napt_lab.labs.shared_steps.dropped import require_drop
from napt_lab.labs.shared_steps.evidence import (
    WAIT,
    answer_from_whom,
    answer_where_it_ends,
    is_syn_to,
    way_of_syn,
)
from napt_lab.labs.shared_steps.peers import happen
from napt_lab.labs.shared_steps.served_by_pc import FILE, fetch_file, knock, share
from napt_lab.labs.shared_steps.two_sites import ALICE, FILES, require_same
from napt_lab.labs.stage.prediction import Choice, choose, number
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.topologies.network.programs import READY_SECONDS
from napt_lab.topologies.spec.assertions import Via

TWO_RULES, NOT_ENOUGH = "9h.two-rules", "9h.rule-not-enough"
PUNCH, SHARE = "9h.punch", "9h.share"
NAPT_A, NAPT_B, CGN = "100.64.0.7", "100.64.0.8", "24.9.3.7"
SERVED = (f"{ALICE}:{PORT}", f"{NAPT_A}:{PORT}", f"{CGN}:{PORT}")  # inside, between, outside
PUNCHING = ("punch", "--stun", "stun", "--meet", "relay:9000")

carrier = Part("carrier", topology="level-9h.yaml")


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@carrier.step(
    "One packet, two rules",
    say="alice's provider has too few public addresses for all of its customers. So it gives her "
    "NAPT 100.64.0.7, of a range that is reserved for this (RFC 6598), and translates once more: "
    "its own NAPT, cgn, has the public address. alice fetches a page from the server `files`.",
    ask="Which address does the server see as its client?",
    predict=choose(
        Choice(ALICE, "10.0.0.7: her PC's", "A server sees the address that a PC has."),
        Choice(
            NAPT_A,
            "100.64.0.7: that of her NAPT's outside",
            "The home's NAPT is the last one that rewrites the packet.",
        ),
        Choice(CGN, "24.9.3.7: that of the carrier's NAPT"),
        exercise="9h/two-rules",
    ),
    proves=[TWO_RULES],
)
def two_rules(stage: Stage) -> None:
    since = stage.wire.mark()
    fetched = stage.run("alice", *curl(FILES, "-o", "/dev/null"))
    answer_from_whom(stage, AT_ALICE, PORT, FILES, since)
    way = way_of_syn(stage.wire, AT_ALICE, PORT, FILES, since)
    stage.see(*(f"{captured.where:14} {captured.packet}" for captured in way))
    with stage.claim(TWO_RULES, "one SYN has three sources on its way to the server") as claim:
        require_success(claim, fetched, "curl")
        sources = [str(at(way, where).source) for where in (AT_ALICE, BETWEEN, OUTSIDE)]
        claim.require(
            sources == [ALICE, NAPT_A, CGN],
            f"{', '.join(sources)}: with the same sequence number",
            f"they should be {ALICE}, {NAPT_A}, {CGN}",
        )
    with stage.claim(TWO_RULES, "each of the two NAPTs has made a rule of its own") as claim:
        inside, between, outside = (at(way, w).from_ for w in (AT_ALICE, BETWEEN, OUTSIDE))
        require_two_rules(stage, claim, (inside, between, outside), explicit=False)


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@carrier.step(
    "A rule at home",
    say="alice shares a file, and adds a rule to her NAPT, as in level 9c: what comes for "
    "100.64.0.7, port 8080, goes to her PC. She tells erin the address that servers see, "
    "24.9.3.7. erin dials it. Then bob, a customer of the same carrier, dials alice's NAPT.",
    ask="Where does erin's SYN end?",
    predict=choose(
        Choice("alice", "at alice's PC: she has added the rule", "A rule at home lets others in."),
        Choice("cgn", "at the carrier's NAPT"),
        Choice(
            "napt_a",
            "at alice's NAPT: the rule is for another address",
            "A carrier's NAPT passes on what comes for its customers.",
        ),
        exercise="9h/two-rules",
    ),
    proves=[NOT_ENOUGH],
)
def a_rule_at_home(stage: Stage) -> None:
    share(stage, "alice")
    stage.wait_for_event("alice", "ready", deadline=READY_SECONDS)
    added = stage.run("napt_a", "napt", "add", "tcp", SERVED[1], SERVED[0])
    since, log = stage.wire.mark(), stage.log.mark()
    knocked = stage.run("erin", *knock(CGN))
    answer_where_it_ends(stage, "erin:eth0", PORT, CGN, since)
    with stage.claim(NOT_ENOUGH, "erin's SYN reaches cgn, which drops it: no rule") as claim:
        require_success(claim, added, "adding the rule")
        syn = stage.wire.wait_for(
            OUTSIDE, is_syn_to(PORT, CGN), deadline=WAIT, what="a SYN", since=since
        ).packet
        inside = stage.wire.packets("cgn:lan0", is_syn_to(PORT), since=since)
        claim.require(
            not inside, f"{OUTSIDE}: {syn}; cgn:lan0: {count(len(inside), 'SYN')}", "it should be 0"
        )
        require_drop(
            stage,
            claim,
            "cgn",
            "no-rule",
            log,
            kind="tcp SYN",
            source=syn.from_,
            destination=syn.to,
        )
        require_failure(claim, knocked, CURL_TIMED_OUT)
    neighbor = stage.run("bob", *fetch_file(NAPT_A))
    with stage.claim(
        NOT_ENOUGH, "the rule itself is right: bob, behind the same carrier, comes in (control)"
    ) as claim:
        require_success(claim, neighbor, "curl")
        require_same(claim, _shared(stage), stage.net["bob"].home / FILE)


def _shared(stage: Stage) -> Path:
    return stage.net["alice"].home / "shared" / FILE


# ── 3 ──────────────────────────────────────────────────────────────────────────────────────


@carrier.step(
    "And a rule at the carrier",
    say="alice asks her provider for a rule as well. (Few providers would add one by hand; some "
    "NAPTs of carriers take requests by PCP, level 9d.) What comes for 24.9.3.7, port 8080, goes "
    "to 100.64.0.7, port 8080. erin dials again. After that both rules are removed.",
    ask="How many NAPTs rewrite the destination of erin's SYN?",
    predict=number(
        2,
        {
            1: "A rule for the public address leads straight to the PC.",
            3: "Each NAPT on the way rewrites the destination, erin's own as well.",
        },
        exercise="9h/two-rules",
    ),
    proves=[NOT_ENOUGH, TWO_RULES],
)
def and_one_at_the_carrier(stage: Stage) -> None:
    added = stage.run("cgn", "napt", "add", "tcp", SERVED[2], SERVED[1])
    since = stage.wire.mark()
    fetched = stage.run("erin", *fetch_file(CGN))
    way = way_of_syn(stage.wire, "erin:eth0", PORT, CGN, since)
    stage.see(*(f"{captured.where:14} {captured.packet}" for captured in way))
    destinations = list(dict.fromkeys(captured.packet.to for captured in way))
    stage.answer(len(destinations) - 1, f"its destinations: {', '.join(destinations)}")
    with stage.claim(NOT_ENOUGH, "with a rule at both, erin gets the file (control)") as claim:
        require_success(claim, added, "adding the rule")
        require_success(claim, fetched, "curl")
        require_same(claim, _shared(stage), stage.net["erin"].home / FILE)
    with stage.claim(TWO_RULES, "inwards as well: two rules, three destinations") as claim:
        require_two_rules(stage, claim, SERVED, explicit=True)
        claim.require(
            destinations == list(reversed(SERVED)),
            f"its destinations: {', '.join(destinations)}",
            f"they should be {', '.join(reversed(SERVED))}",
        )
    for napt, external in (("cgn", SERVED[2]), ("napt_a", SERVED[1])):
        stage.run(napt, "napt", "remove", "tcp", external)


# ── 4 ──────────────────────────────────────────────────────────────────────────────────────


@carrier.step(
    "A hole through both",
    say="Now there is no explicit rule any more. alice and erin punch a hole, as in level 9e: each "
    "asks a STUN server for its endpoint, they tell each other at the relay, and both send.",
    ask="Does alice's file get to erin, and how?",
    predict=choose(
        Choice("none", "directly: the holes are punched in both of alice's NAPTs"),
        Choice(
            "relay",
            "through the relay",
            "Only a relay works through two NAPTs in a row.",
        ),
        Choice(
            "never",
            "not at all",
            "STUN tells the address of the home's NAPT, not of the carrier's.",
        ),
        exercise="9h/neighbors",
    ),
    proves=[PUNCH],
)
def a_hole_through_both(stage: Stage) -> None:
    passed = pass_file(stage, "alice", "erin", *PUNCHING)
    answer_way(stage, passed, ("relay",))
    with stage.claim(
        PUNCH, "alice's file is at erin's, byte for byte, without an explicit rule"
    ) as claim:
        require_arrived(stage, claim, passed)
        require_no_rules(stage, claim, "napt_a", "cgn", "napt_e")
    with stage.claim(PUNCH, "it went directly, through alice's two NAPTs and erin's") as claim:
        nodes = ["alice", "napt_a", "cgn", "internet", "napt_e", "erin"]
        require_way(stage, claim, passed, Via.DIRECT, nodes)
        way = list(passed.trail(stage).seen)
        inside, between, outside = (at(way, w).from_ for w in (AT_ALICE, BETWEEN, OUTSIDE))
        require_two_rules(stage, claim, (inside, between, outside), explicit=False)


# ── 5 ──────────────────────────────────────────────────────────────────────────────────────


@carrier.step(
    "Two customers of one carrier",
    say="alice and bob punch a hole. The STUN server sees both at the same address, 24.9.3.7: that "
    "of the carrier. So alice's program sends to 24.9.3.7, and so does bob's.",
    ask="Which node sends the packets back, towards bob's home?",
    predict=choose(
        Choice(
            "internet",
            "the Internet's router",
            "What is sent to a public address leaves by the public side.",
        ),
        Choice("cgn", "the carrier's NAPT"),
        Choice(
            "none",
            "none: they go from napt_a to napt_b",
            "Neighbors on one network send to each other, whatever address they dial.",
        ),
        exercise="9h/neighbors",
    ),
    proves=[PUNCH],
)
def neighbors(stage: Stage) -> None:
    passed = pass_file(stage, "alice", "bob", *PUNCHING)
    answer_way(stage, passed, ("internet", "cgn"))
    with stage.claim(
        PUNCH, "alice's file is at bob's, byte for byte, without an explicit rule"
    ) as claim:
        require_arrived(stage, claim, passed)
        require_no_rules(stage, claim, "napt_a", "cgn", "napt_b")
    with stage.claim(PUNCH, "cgn has sent it back to its inside (hairpinning)") as claim:
        nodes = ["alice", "napt_a", "cgn", "napt_b", "bob"]
        require_way(stage, claim, passed, Via.HAIRPINNED, nodes)


# ── 6 ──────────────────────────────────────────────────────────────────────────────────────


@carrier.step(
    "One customer takes all",
    say="All homes behind cgn share the ports of one address. Here it has 200 for TCP, and gives "
    "each home 100. A program of bob's opens as many connections as it can. Then alice opens one. "
    "At the end the same once more, with a cgn that has no limit.",
    ask="With the limit: what happens to alice's connection?",
    predict=choose(
        Choice("opened", "it is opened, from one of the ports that bob could not get"),
        Choice(
            "refused",
            "it fails: bob's program was first",
            "Who comes first gets the ports, and there is nothing that a carrier can do.",
        ),
        Choice(
            "instead",
            "it is opened, and one of bob's ends for it",
            "A NAPT whose ports are used takes one from another connection.",
        ),
    ),
    proves=[SHARE],
)
def one_customer_takes_all(stage: Stage) -> None:
    settings = stage.net.topology.by_gateway()["cgn"].gateway.napt
    assert settings is not None
    limit, most = settings.ports_per_subscriber, len(settings.ports)
    log = stage.log.mark()
    before = ports_of(stage, NAPT_B).items()
    with all_that_bob_can(stage, most + 1) as (opened, failed):
        with stage.claim(SHARE, "bob gets as many ports as a home may have, and no more") as claim:
            ports = ports_of(stage, NAPT_B)
            has, left = len(ports), len(before & ports.items())
            of_these = f", {left} of them from the steps before" if left else ""
            claim.require(
                has == limit, f"cgn: {has} ports of {NAPT_B}{of_these}", f"it should be {limit}"
            )
            claim.require(failed > 0, f"bob: {opened} connections, {failed} failed")
            require_drop(
                stage, claim, "cgn", "subscriber-limit", log, kind="tcp SYN", source=NAPT_B
            )
        fetched = stage.run("alice", *curl(FILES, "-o", "/dev/null"))
        has = len(ports_of(stage, NAPT_B))
        became = "refused" if fetched.status else "opened" if has == limit else "instead"
        stage.answer(became, f"alice's curl: exit status {fetched.status}; bob's home: {has} ports")
        with stage.claim(SHARE, "alice's new connection is opened all the same") as claim:
            require_success(claim, fetched, "curl")
            claim.require(has == limit, f"cgn: still {has} ports of {NAPT_B}")
    happen(stage, "set cgn ports-per-subscriber=0")
    log = stage.log.mark()
    with all_that_bob_can(stage, most + 1):
        fetched = stage.run("alice", *knock(FILES))
    with stage.claim(
        SHARE, "without a limit bob takes every port, and alice gets none (control)"
    ) as c:
        require_drop(stage, c, "cgn", "ports-exhausted", log, kind="tcp SYN", source=NAPT_A)
        require_failure(c, fetched, CURL_REFUSED)


LAB = Lab(
    id="9h",
    title="P2P networking behind a carrier's NAPT (carrier-grade NAT)",
    intro="I added the rule, and still nobody gets in. Why?",
    parts=(carrier,),
    learned=(
        "A carrier's NAPT translates what the home's NAPT has translated: one packet has three "
        "sources on its way out, and there are two rules for it.",
        "A rule at home is not enough: the carrier's NAPT has none, and drops the SYN. With a "
        "second rule there it arrives; but only the carrier can add it.",
        "Hole punching works through both, because what goes out makes a rule in each. Two "
        "customers of one carrier reach each other by hairpinning at its NAPT, which limits the "
        "ports of each home.",
    ),
)
