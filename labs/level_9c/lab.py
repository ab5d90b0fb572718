"""Level 9c: two PCs behind NAPTs talk directly, once there is an explicit rule.

    alice 10.0.0.7 ── napt_a 24.9.3.7 ── internet ── napt_b 203.0.113.77 ── bob 10.0.0.9

Each step runs the programs that a person would run; checks.py looks at the wires for evidence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napt_lab.labs.capture.packets import SYN
from napt_lab.labs.level_9c.checks import arp_unanswered, stays_inside
from napt_lab.labs.level_9c.ways import three_ways
from napt_lab.labs.shared_steps.commands import (
    CURL_REFUSED,
    CURL_TIMED_OUT,
    PORT,
    curl,
    require_failure,
    require_success,
)
from napt_lab.labs.shared_steps.evidence import WAIT, connections, find_handshake, is_new, is_syn_to
from napt_lab.labs.shared_steps.served_by_pc import (
    FILE,
    SITES,
    SIZE,
    dropped_no_rule,
    fetch_file,
    knock,
    no_route,
    none_was_dropped,
    passes_napts_only,
    share,
    went_by,
)
from napt_lab.labs.shared_steps.two_sites import (
    ALICE,
    BOB,
    FILES,
    HOME,
    NAPT_A,
    NAPT_B,
    RELAY,
    require_same,
    wait_for_peer,
)
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.topologies.network.programs import READY_SECONDS

direct = Part("direct", topology="two-sites.yaml")


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "Two homes on the Internet",
    say="alice and bob have each put a file on a web server of their own, on their own PC. "
    "Both PCs sit behind a NAPT, and both homes number their PCs in 10.0.0.0/24. First of "
    "all: does everything work that should?",
    ask="alice and bob fetch a page from the public server `files`. Which addresses does "
    "that server see?",
    proves=["9c.private"],
)
def both_are_online(stage: Stage) -> None:
    for pc in ("alice", "bob"):
        share(stage, pc)
    since = stage.log.mark()
    fetches = [stage.start(pc, *curl(FILES, "-o", "/dev/null")) for pc in ("alice", "bob")]
    pings = [stage.start(pc, "ping", "-q", "-c", "1", "-W", "2", FILES) for pc in ("alice", "bob")]
    with stage.claim("9c.private", "both PCs reach a public server (control)") as claim:
        for fetch in fetches:
            require_success(claim, fetch.finish(), "curl")
        for ping in pings:
            require_success(claim, ping.finish(), "ping")
        for public in (NAPT_A, NAPT_B):
            peer = wait_for_peer(stage, "files", since, f"{public}:")
            claim.require(True, f"files, the public server, was asked by {peer}")


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "A private address means nothing outside",
    say="bob knows alice's address: 10.0.0.7. He types it in, and so does someone out on the "
    "Internet. alice tries bob's address as well.",
    ask="Who gets these packets? Where does each of them die?",
    proves=["9c.private"],
)
def private_addresses(stage: Stage) -> None:
    since = stage.wire.mark()
    bob = stage.start("bob", *curl(ALICE))
    alice = stage.start("alice", *curl(BOB))
    public = [stage.start("files", *curl(pc)) for pc in (ALICE, BOB)]
    for pc in ("alice", "bob"):
        stage.wait_for_event(pc, "ready", deadline=READY_SECONDS)
    at_home = [
        stage.start("napt_a", *curl(ALICE, "-o", "/dev/null")),
        stage.start("napt_b", *curl(BOB, "-o", "/dev/null")),
    ]
    for pc, wanted, fetch in (("bob", ALICE, bob), ("alice", BOB, alice)):
        with stage.claim(
            "9c.private", f"{pc}'s PC takes {wanted} for a neighbor, and no neighbor answers"
        ) as claim:
            require_failure(claim, fetch.finish(), CURL_REFUSED)
            arp_unanswered(stage, claim, f"{pc}:eth0", wanted, since)
            stays_inside(stage, claim, "napt_b" if pc == "bob" else "napt_a", wanted, since)
    for wanted, fetch in zip((ALICE, BOB), public, strict=True):
        with stage.claim(
            "9c.private", f"on the Internet, the router knows no way to {wanted} and says so"
        ) as claim:
            require_failure(claim, fetch.finish(), CURL_REFUSED)
            no_route(stage, claim, wanted, since)
    with stage.claim(
        "9c.private", "on their own networks the same two addresses answer (control)"
    ) as claim:
        for fetch in at_home:
            require_success(claim, fetch.finish(), "curl from its own NAPT")


# ── 3 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "The other side's NAPT, without a rule",
    say="So bob takes the only address of alice's home that the Internet knows: that of her "
    "NAPT, 24.9.3.7. alice tries bob's NAPT.",
    ask="Will bob's SYN reach 24.9.3.7? And what will the NAPT do with it?",
    proves=["9c.no-rule"],
)
def without_a_rule(stage: Stage) -> None:
    with own_rules_set_aside(stage):
        knock_at_both(stage, "9c.no-rule")


@contextmanager
def own_rules_set_aside(stage: Stage) -> Iterator[None]:
    """Meanwhile the NAPTs do without the doors that a student has opened already."""
    gateways = [site.gateway for site in stage.net.topology.sites]
    from_the_start = {gateway.name for gateway in gateways if gateway.napt and gateway.napt.rules}
    doors = [
        (napt, rule)
        for napt, site in SITES.items()
        if napt not in from_the_start
        for rule in stage.net.napt(napt).rules()
        if rule["explicit"] and (rule["protocol"], rule["external"]) == ("tcp", site.door)
    ]
    for napt, rule in doors:
        stage.see(
            f"You have added the rule {rule['external']} → {rule['internal']} already: {napt} does "
            "without it in this step, and has it again at its end."
        )
        stage.net.napt(napt).remove("tcp", rule["external"])
    try:
        yield
    finally:
        for napt, rule in doors:
            stage.net.napt(napt).add("tcp", rule["external"], rule["internal"])


def knock_at_both(stage: Stage, claim_id: str) -> None:
    """Each PC tries the other side's NAPT in vain, while everything around it works."""
    since, log_since = stage.wire.mark(), stage.log.mark()
    knocks = {napt: stage.start(site.visitor, *knock(site.public)) for napt, site in SITES.items()}
    controls = [
        command
        for site in SITES.values()
        for command in (
            stage.start(site.visitor, "ping", "-q", "-c", "1", "-W", "2", site.public),
            stage.start(site.visitor, *curl(FILES, "-o", "/dev/null")),
        )
    ]
    for napt in SITES:
        with stage.claim(claim_id, f"the SYN reaches {napt} and dies there: no rule") as claim:
            # What the NAPT let in has had the time to arrive when the knock has ended.
            knocked = knocks[napt].finish()
            dropped_no_rule(stage, claim, napt, since, log_since)
            require_failure(claim, knocked, CURL_TIMED_OUT)
    with stage.claim(
        claim_id, "the same NAPTs answer a ping, and a public server a fetch (control)"
    ) as claim:
        for control in controls:
            completed = control.finish()
            require_success(claim, completed, f"{completed.argv[0]} {completed.argv[-1]}")


# ── 4 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "An explicit rule, before the connection",
    say="alice opens a door in her NAPT: whatever comes for 24.9.3.7, port 8080, goes to "
    "10.0.0.7, port 8080. Then bob tries again.",
    ask="Whose address will alice's server see? Which numbers in the packets will change on "
    "the way, and which will not?",
    proves=["9c.rule"],
)
def with_a_rule(stage: Stage) -> None:
    exchange(stage, "9c.rule", "napt_a")


def exchange(stage: Stage, claim_id: str, napt: str) -> None:
    """Open the door at `napt`, fetch the file from the other side, and check all of it."""
    site = SITES[napt]
    since, log_since = stage.wire.mark(), stage.log.mark()
    endpoint, inside = site.door, f"{site.private}:{PORT}"
    added = None
    if explicit_rules(stage, napt, endpoint, inside):
        stage.see(f"You have added the rule {endpoint} → {inside} already.")
    else:
        added = stage.run(napt, "napt", "add", "tcp", endpoint, inside)
    listed = explicit_rules(stage, napt, endpoint, inside)
    listed_at = time.time()
    fetched = stage.run(site.visitor, *fetch_file(site.public))

    with stage.claim(claim_id, f"the rule was in {napt}'s table before the SYN came") as claim:
        if added is not None:
            require_success(claim, added, "adding the rule")
        claim.require(bool(listed), f"{len(listed)} rule {endpoint} → {inside} in the table")
        syn = stage.wire.wait_for(
            f"{napt}:wan0", is_syn_to(PORT, site.public), deadline=WAIT, what="a SYN", since=since
        )
        lead = syn.time - max(listed_at, listed[0]["created"])
        claim.require(lead > 0, f"the SYN came {lead * 1000:.1f} ms after the table was read")
    with stage.claim(
        claim_id, f"one TCP connection from {site.visitor} to {site.pc}: the same sequence numbers"
    ) as claim:
        near = find_handshake(stage.wire, f"{site.visitor}:eth0", PORT, since)
        far = find_handshake(stage.wire, f"{site.pc}:eth0", PORT, since)
        claim.require(near.syn.packet.to == endpoint, f"{site.visitor}:eth0: {near.syn.packet}")
        claim.require(far.syn.packet.to == inside, f"{site.pc}:eth0: {far.syn.packet}")
        claim.require(near.numbers == far.numbers, f"initial {near.numbers} and {far.numbers}")
        none_was_dropped(stage, claim, napt, log_since)
    with stage.claim(claim_id, f"{site.pc}'s file is at {site.visitor}, byte for byte") as claim:
        require_success(claim, fetched, "curl")
        sent = stage.net[site.pc].home / "shared" / FILE
        require_same(claim, sent, stage.net[site.visitor].home / FILE)
    with stage.claim(claim_id, f"{site.pc}'s server sees the other NAPT, {site.from_}") as claim:
        peer = wait_for_peer(stage, site.pc, log_since, "")
        claim.require(peer.startswith(f"{site.from_}:"), f"the request came from {peer}")


def explicit_rules(stage: Stage, napt: str, external: str, internal: str) -> list[dict[str, Any]]:
    """The rules that lead from one endpoint to the other. A student may have added one."""
    return [
        rule
        for rule in stage.net.napt(napt).rules()
        if rule["explicit"] and (rule["external"], rule["internal"]) == (external, internal)
    ]


# ── 5 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "Nobody in between",
    say="The file went from PC to PC. Did it really? The Internet is full of servers. Let us "
    "look at the wires of the public file server and of the relay while bob fetches the file "
    "once more.",
    ask="How many packets of this exchange will they see? Through which hops does it go?",
    proves=["9c.direct"],
)
def nobody_in_between(stage: Stage) -> None:
    known = {where: connections(stage.wire, where) for where in ("files:eth0", "relay:eth0")}
    since = stage.wire.mark()
    fetched = stage.run("bob", *fetch_file(NAPT_A))
    with stage.claim("9c.direct", "neither the file server nor the relay sees any of it") as claim:
        require_success(claim, fetched, "curl")
        for where, earlier in known.items():
            seen = stage.wire.packets(where, is_new(earlier), since=since)
            calls = [captured for captured in seen if captured.packet.is_tcp(flags=SYN)]
            claim.require(
                not seen,
                f"{where}: {count(len(calls), 'new connection')}, {count(len(seen), 'new packet')}",
            )
        went_by(stage, claim, "bob:eth0", NAPT_A, since)
    with stage.claim("9c.direct", "data passes the two NAPTs and the router, no other") as claim:
        passes_napts_only(stage, claim, since)
    trace = stage.start(
        "bob", "traceroute", "-n", "-T", "-p", str(PORT), "-q", "1", "-w", "2", "-m", "8", NAPT_A
    )
    now = stage.wire.mark()
    controls = [
        stage.start("bob", *curl(FILES, "-o", "/dev/null")),
        stage.start("bob", "ping", "-q", "-c", "1", "-W", "2", RELAY),
    ]
    with stage.claim("9c.direct", "traceroute lists the same hops") as claim:
        traced = trace.finish()
        require_success(claim, traced, "traceroute")
        hops = [line.split()[1] for line in traced.stdout.splitlines()[1:]]
        claim.require(hops == ["10.0.0.1", "203.0.113.1", NAPT_A, NAPT_A], " → ".join(hops))
    with stage.claim("9c.direct", "the same captures do see who talks to them (control)") as claim:
        for control, (where, earlier) in zip(controls, known.items(), strict=True):
            require_success(claim, control.finish(), where)
            seen = stage.wire.packets(where, is_new(earlier), since=now)
            claim.require(bool(seen), f"{where}: {len(seen)} packets")
    stage.see(f"The transfer of {SIZE} bytes took {fetched.seconds * 1000:.0f} ms.")


# ── 6 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "Three ways, one file",
    say="bob gets one more file three times: directly, by the relay of level 9b, and by the file "
    "server of level 9a.",
    ask="Which way is the fastest, and which the slowest? Who sees the file on each of them?",
    proves=["9c.direct"],
)
def same_file_three_ways(stage: Stage) -> None:
    three_ways(stage)


# ── 7 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "The other way round, and the door closed again",
    say="What alice can do, bob can do: a rule in his NAPT, and alice fetches his file. Then "
    "both take their rules away.",
    ask="What happens to new connections once the rules are gone?",
    proves=["9c.both-ways", "9c.private"],
)
def both_ways(stage: Stage) -> None:
    since = stage.wire.mark()
    exchange(stage, "9c.both-ways", "napt_b")
    with stage.claim("9c.both-ways", "this time alice's side asked, and bob's was asked") as claim:
        syn = stage.wire.wait_for(
            "napt_b:wan0", is_syn_to(PORT), deadline=WAIT, what="a SYN", since=since
        )
        claim.require(syn.packet.source == NAPT_A, f"napt_b:wan0: {syn.packet}")
    removals = [
        stage.start(napt, "napt", "remove", "tcp", f"{site.public}:{PORT}")
        for napt, site in SITES.items()
    ]
    with stage.claim("9c.both-ways", "both rules are taken away again") as claim:
        for removal in removals:
            require_success(claim, removal.finish(), "removing the rule")
        for napt in SITES:
            left = [rule for rule in stage.net.napt(napt).rules() if rule["explicit"]]
            claim.require(not left, f"{len(left)} explicit rules in {napt}'s table")
    knock_at_both(stage, "9c.both-ways")
    with stage.claim("9c.private", "in all this time no private address left a NAPT") as claim:
        for napt in SITES:
            everything = stage.wire.packets(f"{napt}:wan0")
            leaks = [captured for captured in everything if captured.packet.names_any_of(HOME)]
            first = f", the first: {leaks[0].packet}" if leaks else ""
            claim.require(
                not leaks, f"{napt}:wan0: {len(leaks)} of {len(everything)} packets{first}"
            )


LAB = Lab(
    id="9c",
    title="P2P networking via explicit NAPT rules (port forwarding)",
    intro="What could we do if we don't want to connect through any kind of relay server in "
    "between?",
    parts=(direct,),
)
