"""Level 9c: two PCs behind NAPTs talk directly, once there is an explicit rule.

    alice 10.0.0.7 ── napt_a 24.9.3.7 ── internet ── napt_b 203.0.113.77 ── bob 10.0.0.9

Each step runs the programs that a person would run, and then looks at the wires for evidence
(checks.py, ways.py, labs/shared_steps).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napt_lab.labs.capture.packets import SYN
from napt_lab.labs.capture.wire import Captured
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
from napt_lab.labs.shared_steps.dropped import require_drop
from napt_lab.labs.shared_steps.evidence import (
    WAIT,
    answer_from_whom,
    answer_where_it_ends,
    connections,
    find_handshake,
    is_new,
    is_syn_to,
)
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
    ROUTER_AT_FILES,
    require_same,
    wait_for_peer,
)
from napt_lab.labs.stage.prediction import Choice, choose, number
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.topologies.network.programs import READY_SECONDS

LATE_SECONDS = 0.5  # TCP repeats a SYN after one second (RFC 6298, section 2)

direct = Part("direct", topology="two-sites.yaml")


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "Two homes on the Internet",
    say="alice and bob each run a web server on their own PC, with a file on it. Both PCs are "
    "behind a NAPT, and both homes use addresses of 10.0.0.0/24. First a control: can both reach "
    "the Internet?",
    ask="alice and bob fetch a page from the public server `files`. Which address does that server "
    "see when bob comes?",
    predict=choose(
        Choice(NAPT_B, "203.0.113.77: that of his NAPT"),
        Choice(BOB, "10.0.0.9: his own", "A server sees the address that a PC has."),
        Choice(
            ROUTER_AT_FILES,
            "198.51.100.1: that of the router next to the server",
            "Every router puts its own address into what it passes on.",
        ),
    ),
    proves=["9c.private"],
)
def both_are_online(stage: Stage) -> None:
    for pc in ("alice", "bob"):
        share(stage, pc)
    wire_since, since = stage.wire.mark(), stage.log.mark()
    fetches = [stage.start(pc, *curl(FILES, "-o", "/dev/null")) for pc in ("alice", "bob")]
    pings = [stage.start(pc, "ping", "-q", "-c", "1", "-W", "2", FILES) for pc in ("alice", "bob")]
    with stage.claim("9c.private", "both PCs reach a public server (control)") as claim:
        for fetch in fetches:
            require_success(claim, fetch.finish(), "curl")
        for ping in pings:
            require_success(claim, ping.finish(), "ping")
        for public in (NAPT_A, NAPT_B):
            peer = wait_for_peer(stage, "files", since, f"{public}:")
            claim.require(True, f"files, the public server, got a request from {peer}")
    answer_from_whom(stage, "bob:eth0", PORT, FILES, wire_since)


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "A private address means nothing outside",
    say="bob knows alice's address, 10.0.0.7, and dials it. alice dials bob's address, 10.0.0.9. "
    "The public server `files` dials both addresses from the Internet.",
    ask="bob dials 10.0.0.7. Where does his attempt end?",
    predict=choose(
        Choice("alice", "at alice's PC: it is her address", "An address like 10.0.0.7 is unique."),
        Choice(
            "internet",
            "at the Internet's router, which has no route to it",
            "Whatever a PC sends goes to its gateway first, and from there to the Internet.",
        ),
        Choice("nowhere", "in his own home: his PC looks for it there, and no host answers"),
    ),
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
            "9c.private", f"{pc}'s PC looks for {wanted} in its own network, and no host answers"
        ) as claim:
            require_failure(claim, fetch.finish(), CURL_REFUSED)
            arp_unanswered(stage, claim, f"{pc}:eth0", wanted, since)
            stays_inside(stage, claim, "napt_b" if pc == "bob" else "napt_a", wanted, since)
    for wanted, fetch in zip((ALICE, BOB), public, strict=True):
        with stage.claim(
            "9c.private", f"on the Internet, the router has no route to {wanted} and says so"
        ) as claim:
            require_failure(claim, fetch.finish(), CURL_REFUSED)
            no_route(stage, claim, wanted, since)
    sent = stage.wire.packets("bob:eth0", is_syn_to(PORT, ALICE), since=since)
    asked = stage.wire.packets("bob:eth0", lambda p: p.arp == "who-has", since=since)
    if sent:
        answer_where_it_ends(stage, "bob:eth0", PORT, ALICE, since)
    elif asked:
        stage.answer("nowhere", f"bob:eth0: {asked[-1].packet}; no SYN was sent")
    with stage.claim(
        "9c.private", "in their own networks the same two addresses answer (control)"
    ) as claim:
        for fetch in at_home:
            require_success(claim, fetch.finish(), "curl from the NAPT of the same home")


# ── 3 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "The other side's NAPT, without a rule",
    say="The Internet knows only one address of alice's home: that of her NAPT, 24.9.3.7. So bob "
    "dials that address. alice dials the address of bob's NAPT.",
    ask="Where does bob's SYN to 24.9.3.7 end?",
    predict=choose(
        Choice(
            "internet",
            "at the router: it cannot reach what is behind a NAPT",
            "A NAPT cannot be reached from outside, just as the PCs behind it.",
        ),
        Choice("napt_a", "at alice's NAPT, which drops it"),
        Choice(
            "alice",
            "at alice's PC: her NAPT passes it on",
            "A NAPT knows to which of its PCs a packet from outside should go.",
        ),
        Choice(
            "napt_b",
            "at bob's own NAPT, which does not let it out",
            "A NAPT stops connections to hosts that it does not know, whoever opens them.",
        ),
        exercise="9c/door",
    ),
    proves=["9c.no-rule"],
)
def without_a_rule(stage: Stage) -> None:
    since = stage.wire.mark()
    with own_rules_set_aside(stage, *SITES):
        knock_at_both(stage, "9c.no-rule")
    answer_where_it_ends(stage, "bob:eth0", PORT, NAPT_A, since)


@contextmanager
def own_rules_set_aside(stage: Stage, *napts: str) -> Iterator[None]:
    """Take out the rules that a student has added already to these NAPTs, and put them back."""
    gateways = [site.gateway for site in stage.net.topology.sites]
    from_the_start = {gateway.name for gateway in gateways if gateway.napt and gateway.napt.rules}
    doors = [
        (napt, rule)
        for napt, site in SITES.items()
        if napt in napts and napt not in from_the_start
        for rule in rules_for(stage, napt, site.door)
    ]
    for napt, rule in doors:
        stage.see(
            f"You have already added the rule {rule['external']} → {rule['internal']}. It is taken "
            f"out of {napt}'s table for this step, and put back at its end."
        )
        stage.net.napt(napt).remove("tcp", rule["external"])
    try:
        yield
    finally:
        for napt, rule in doors:
            stage.net.napt(napt).add("tcp", rule["external"], rule["internal"])


def knock_at_both(stage: Stage, claim_id: str) -> None:
    """Each PC dials the other side's NAPT and is not let in; all around it works (control)."""
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
        with stage.claim(claim_id, f"the SYN reaches {napt}, which drops it: no rule") as claim:
            # When the fetch has ended, a SYN that the NAPT let in has arrived.
            knocked = knocks[napt].finish()
            dropped_no_rule(stage, claim, napt, since, log_since)
            require_failure(claim, knocked, CURL_TIMED_OUT)
    with stage.claim(
        claim_id, "the same NAPTs answer a ping, and a public server answers a fetch (control)"
    ) as claim:
        for control in controls:
            completed = control.finish()
            require_success(claim, completed, f"{completed.argv[0]} {completed.argv[-1]}")


# ── 4 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "An explicit rule, before the connection",
    say="alice adds a rule to her NAPT: what comes for 24.9.3.7, TCP port 8080, goes to 10.0.0.7, "
    "port 8080. Then bob dials again.",
    ask="Which address will alice's server see as its client?",
    predict=choose(
        Choice(
            BOB,
            "10.0.0.9: bob's own",
            "With a direct connection, each of the two sees the other's own address.",
        ),
        Choice(
            NAPT_A,
            "24.9.3.7: that of her own NAPT",
            "A NAPT puts its address in the place of the source of what comes in.",
        ),
        Choice(NAPT_B, "203.0.113.77: that of bob's NAPT"),
        exercise="9c/both-ways",
    ),
    proves=["9c.rule"],
)
def with_a_rule(stage: Stage) -> None:
    since = stage.wire.mark()
    exchange(stage, "9c.rule", "napt_a")
    answer_from_whom(stage, "bob:eth0", PORT, NAPT_A, since)


def exchange(stage: Stage, claim_id: str, napt: str) -> None:
    """Add the rule at `napt`, fetch the file from the other side, and check all of it."""
    site = SITES[napt]
    since, log_since = stage.wire.mark(), stage.log.mark()
    endpoint, inside = site.door, f"{site.private}:{PORT}"
    added = None
    remove_other_rules(stage, napt, endpoint, inside)
    if explicit_rules(stage, napt, endpoint, inside):
        stage.see(f"You have already added the rule {endpoint} → {inside}.")
    else:
        added = stage.run(napt, "napt", "add", "tcp", endpoint, inside)
    listed = explicit_rules(stage, napt, endpoint, inside)
    listed_at = time.time()
    fetched = stage.run(site.visitor, *fetch_file(site.public))

    with stage.claim(claim_id, f"the rule was in {napt}'s table before the SYN came") as claim:
        if added is not None:
            require_success(claim, added, "adding the rule")
        claim.require(
            bool(listed),
            f"{len(listed)} rule {endpoint} → {inside} in the table",
            "it should be there: `rules` of the NAPT does not list it as explicit",
        )
        syn = stage.wire.wait_for(
            f"{napt}:wan0", is_syn_to(PORT, site.public), deadline=WAIT, what="a SYN", since=since
        )
        lead = syn.time - max(listed_at, listed[0]["created"])
        claim.require(
            lead > 0,
            f"the SYN came {abs(lead) * 1000:.1f} ms {'after' if lead > 0 else 'before'} "
            "the table was read",
            "the rule should be there first",
        )
    with stage.claim(
        claim_id, f"one TCP connection from {site.visitor} to {site.pc}: the same sequence numbers"
    ) as claim:
        near = find_handshake(stage.wire, f"{site.visitor}:eth0", PORT, since)
        far = find_handshake(stage.wire, f"{site.pc}:eth0", PORT, since)
        claim.require(
            near.syn.packet.to == endpoint,
            f"{site.visitor}:eth0: {near.syn.packet}",
            f"it should go to {endpoint}",
        )
        claim.require(
            far.syn.packet.to == inside,
            f"{site.pc}:eth0: {far.syn.packet}",
            f"it should go to {inside}",
        )
        claim.require(
            near.numbers == far.numbers,
            f"{near.told}; {far.told}",
            "they should be the same",
        )
        none_was_dropped(stage, claim, napt, log_since)
    with stage.claim(claim_id, f"{site.pc}'s file is at {site.visitor}, byte for byte") as claim:
        require_success(claim, fetched, "curl")
        sent = stage.net[site.pc].home / "shared" / FILE
        require_same(claim, sent, stage.net[site.visitor].home / FILE)
    with stage.claim(claim_id, f"{site.pc}'s server sees the other NAPT, {site.from_}") as claim:
        peer = wait_for_peer(stage, site.pc, log_since, "")
        claim.require(
            peer.startswith(f"{site.from_}:"),
            f"the request came from {peer}",
            f"it should come from {site.from_}",
        )


def remove_other_rules(stage: Stage, napt: str, external: str, internal: str) -> None:
    """Remove the rule of a student that leads from this endpoint to another place."""
    for rule in rules_for(stage, napt, external):
        if rule["internal"] != internal:
            stage.see(
                f"You have added the rule {external} → {rule['internal']}, which does not lead to "
                f"{internal}. It is removed from {napt}'s table."
            )
            stage.net.napt(napt).remove("tcp", external)


def explicit_rules(stage: Stage, napt: str, external: str, internal: str) -> list[dict[str, Any]]:
    """The rules that lead from one endpoint to the other. A student may have added one."""
    rules = rules_for(stage, napt, external)
    return [rule for rule in rules if rule["internal"] == internal]


def rules_for(stage: Stage, napt: str, external: str) -> list[dict[str, Any]]:
    """The explicit rules for a TCP endpoint outside."""
    rules = stage.net.napt(napt).rules()
    wanted = (True, "tcp", external)
    return [r for r in rules if (r["explicit"], r["protocol"], r["external"]) == wanted]


# ── 5 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "A rule that comes late",
    say="What if the rule comes after the SYN? alice dials bob's NAPT, which has no rule yet. When "
    "her SYN has been dropped, bob adds his rule. alice waits.",
    ask="Does alice get bob's file?",
    predict=choose(
        Choice("at once", "yes, at once", "A NAPT keeps a packet until a rule says where it goes."),
        Choice("late", "yes, about a second late"),
        Choice("never", "no", "When a SYN is dropped, its connection has failed for good."),
        exercise="9c/door",
    ),
    proves=["9c.no-rule", "9c.rule"],
)
def a_late_rule(stage: Stage) -> None:
    napt, site = "napt_b", SITES["napt_b"]
    inside = f"{site.private}:{PORT}"
    with own_rules_set_aside(stage, napt):
        since, log_since = stage.wire.mark(), stage.log.mark()
        url = curl(site.public, "-o", "late.jpg", path=f"/{FILE}")
        fetching = stage.start(site.visitor, *url)
        with stage.claim("9c.no-rule", f"the first SYN is dropped at {napt}: no rule") as claim:
            first = arriving_syns(stage, napt, since, 1)[0]
            require_drop(
                stage, claim, napt, "no-rule", log_since,
                source=first.packet.from_, destination=first.packet.to,
            )  # fmt: skip
        stage.run(napt, "napt", "add", "tcp", site.door, inside)
        with stage.claim("9c.rule", "TCP repeats its SYN, and now the rule lets it in") as claim:
            fetched = fetching.finish()
            if fetched.status != 0:
                stage.answer("never", f"curl ended with status {fetched.status}")
            require_success(claim, fetched, "curl")
            require_same(
                claim,
                stage.net[site.pc].home / "shared" / FILE,
                stage.net[site.visitor].home / "late.jpg",
            )
            syns = arriving_syns(stage, napt, since, 2)
            waited = syns[1].time - syns[0].time
            claim.require(
                syns[1].packet.sequence == syns[0].packet.sequence,
                f"{napt}:wan0: the same SYN again, {waited:.2f} s later",
                "but its sequence number is another: "
                f"{syns[1].packet.sequence}, not {syns[0].packet.sequence}",
            )
            when = "late" if fetched.seconds > LATE_SECONDS else "at once"
            seen = f"her SYN came again {waited:.2f} s after the first"
            stage.answer(when, f"curl took {fetched.seconds:.2f} s; {seen}")
        stage.run(napt, "napt", "remove", "tcp", site.door)


def arriving_syns(stage: Stage, napt: str, since: int, number: int) -> list[Captured]:
    """The first SYNs to a site's external endpoint."""
    is_syn = is_syn_to(PORT, SITES[napt].public)
    where = f"{napt}:wan0"
    stage.wire.wait_for(where, is_syn, deadline=WAIT, what="a SYN", since=since)
    return stage.wire.packets(where, is_syn, since=since)[:number]


# ── 6 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "No server in between",
    say="The file went from PC to PC. Is that true? We watch the public file server and the relay "
    "while bob fetches the file once more.",
    ask="How many packets of this exchange will the two servers see?",
    predict=number(
        0,
        {
            1: "A server must at least bring the two together.",
            2: "Each of the two servers hears that the connection begins.",
        },
    ),
    proves=["9c.direct"],
)
def no_server_in_between(stage: Stage) -> None:
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
                "it should be none",
            )
        went_by(stage, claim, "bob:eth0", NAPT_A, since)
    passed = {w: stage.wire.packets(w, is_new(old), since=since) for w, old in known.items()}
    told = (f"{where}: {count(len(packets), 'packet')}" for where, packets in passed.items())
    stage.answer(sum(map(len, passed.values())), "; ".join(told))
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
        wanted = ["10.0.0.1", "203.0.113.1", NAPT_A, NAPT_A]
        claim.require(
            hops == wanted,
            " → ".join(hops) or "no hop",
            f"it should be {' → '.join(wanted)} (* stands for a hop whose answer did not come)",
        )
    with stage.claim(
        "9c.direct", "the same captures do see traffic of these servers (control)"
    ) as claim:
        for control, (where, earlier) in zip(controls, known.items(), strict=True):
            completed = control.finish()
            require_success(claim, completed, f"{completed.argv[0]} {completed.argv[-1]}")
            seen = stage.wire.packets(where, is_new(earlier), since=now)
            claim.require(bool(seen), f"{where}: {len(seen)} packets", "it should be 1 or more")
    if fetched.status == 0:
        stage.see(f"The transfer of {SIZE} bytes took {fetched.seconds * 1000:.0f} ms.")


# ── 7 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "Three ways, one file",
    say="bob gets another file three times: directly, through the relay of level 9b, and through "
    "the file server of level 9a. The times are shown, but these links have no delay: they compare "
    "programs, not distances.",
    ask="Which of the two servers has a copy of the file in the end?",
    predict=choose(
        Choice("files and relay", "both", "A relay keeps what it passes on."),
        Choice("files", "the file server only"),
        Choice("none", "neither", "A file server deletes a file once it has been fetched."),
        exercise="9a/stranger",
    ),
    proves=["9c.direct"],
)
def same_file_three_ways(stage: Stage) -> None:
    holders = three_ways(stage)
    words = f"found on a server's disk: {', '.join(holders) or 'nowhere'}"
    stage.answer(" and ".join(holders) or "none", words)


# ── 8 ──────────────────────────────────────────────────────────────────────────────────────


@direct.step(
    "The other way round, and the rules removed",
    say="Now bob adds a rule to his NAPT first, and then alice fetches his file. After that both "
    "rules are removed.",
    ask="Both rules are removed, and bob dials 24.9.3.7 again. Where does his SYN end?",
    predict=choose(
        Choice("napt_a", "at alice's NAPT, as before there was a rule"),
        Choice(
            "alice",
            "at alice's PC: the two have talked before",
            "A NAPT goes on letting in an address that was let in once.",
        ),
        Choice(
            "napt_b",
            "at bob's own NAPT: its rule is gone, too",
            "What goes out needs an explicit rule as well.",
        ),
        exercise="9c/both-ways",
    ),
    proves=["9c.both-ways", "9c.private"],
)
def both_ways(stage: Stage) -> None:
    since = stage.wire.mark()
    exchange(stage, "9c.both-ways", "napt_b")
    with stage.claim("9c.both-ways", "this time the connection came from alice's side") as claim:
        syn = stage.wire.wait_for(
            "napt_b:wan0", is_syn_to(PORT), deadline=WAIT, what="a SYN", since=since
        )
        claim.require(
            syn.packet.source == NAPT_A,
            f"napt_b:wan0: {syn.packet}",
            f"its source should be {NAPT_A}",
        )
    removals = [
        stage.start(napt, "napt", "remove", "tcp", f"{site.public}:{PORT}")
        for napt, site in SITES.items()
    ]
    with stage.claim("9c.both-ways", "both rules are removed") as claim:
        for removal in removals:
            require_success(claim, removal.finish(), "removing the rule")
        for napt, site in SITES.items():
            left = rules_for(stage, napt, site.door)
            claim.require(
                not left,
                f"{count(len(left), 'rule')} for {site.door} in {napt}'s table",
                "it should be none",
            )
    knocked = stage.wire.mark()
    knock_at_both(stage, "9c.both-ways")
    answer_where_it_ends(stage, "bob:eth0", PORT, NAPT_A, knocked)
    with stage.claim("9c.private", "in all these steps no private address left a NAPT") as claim:
        for napt in SITES:
            everything = stage.wire.packets(f"{napt}:wan0")
            leaks = [captured for captured in everything if captured.packet.names_any_of(HOME)]
            first = f", the first: {leaks[0].packet}" if leaks else ""
            claim.require(
                not leaks,
                f"{napt}:wan0: {len(leaks)} of {len(everything)} packets{first}",
                "it should be 0",
            )


LAB = Lab(
    id="9c",
    title="P2P networking via explicit NAPT rules (port forwarding)",
    intro="What could we do if we don't want to connect through any kind of relay server in "
    "between?",
    parts=(direct,),
    learned=(
        "A private address means something in its own network only, and a NAPT drops a SYN from "
        "outside for which it has no rule.",
        "An explicit rule says to which PC a port of the NAPT leads: then one TCP connection goes "
        "from end to end, and no server is in between.",
        "The rule must be there when a SYN comes. TCP repeats its SYN, so a rule that comes a "
        "second late still helps; without the rule, new connections fail.",
    ),
)
