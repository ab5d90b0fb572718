"""A rule's life: a SYN makes it, packets use it, and it ends when its connection closes."""

from __future__ import annotations

from collections.abc import Mapping

from napt_lab.labs.capture.packets import ACK, FIN, RST, Packet
from napt_lab.labs.capture.wire import Captured, Predicate
from napt_lab.labs.level_8.checks import (
    PC,
    SERVERFAULT,
    STACKOVERFLOW,
    Rule,
    by_internal,
    in_full,
    knock,
    open_connections,
    show_rule,
    story,
    tell_connections,
    wait_for_end,
)
from napt_lab.labs.shared_steps.commands import CURL_REFUSED, CURL_TIMED_OUT, require_failure
from napt_lab.labs.shared_steps.dropped import (
    INSIDE,
    OUTSIDE,
    require_dropped,
    send_again,
    wait_for_drop,
)
from napt_lab.labs.shared_steps.evidence import WAIT, is_syn_to
from napt_lab.labs.stage.prediction import Choice, choose, number
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim, Part

WEB = f"{STACKOVERFLOW}:80"
OF_PC, OF_PC2 = 5, 3  # connections
ONE_PORT, OTHER_PORT = 5000, 6000
BEHIND = {"napt": "pc", "napt_b": "lodger", "napt_c": "guest"}
CLOSED, RESET, KEPT = "0", "1", "2-4"  # connections of the PC, by their numbers
HOLD = 1.0  # seconds: `closing-hold` in the topology
SLACK = 1.0  # seconds that a busy machine may take

rules = Part(
    "rules",
    topology="level-8-rules.yaml",
    title="The life of a rule",
    then="This was the first half of the level, a good place for a break. Type `quit`, and go on "
    "another day with `make lab-8 RESUME=1`.",
)


@rules.step(
    "A rule for each connection",
    say=f"The PC opens {OF_PC} connections to stackoverflow and keeps them open. Then pc2, its "
    f"neighbor, opens {OF_PC2}. A rule has a protocol, an internal endpoint (the PC's), an "
    "external endpoint (the NAPT's) and a remote endpoint (the server's). It also has an age, "
    "and an end.",
    ask="How many rules has the NAPT made by then?",
    predict=number(
        OF_PC + OF_PC2,
        {
            1: "One rule serves all connections to one server.",
            2: "A NAPT makes one rule for each PC.",
        },
        exercise="8/three-pcs",
    ),
    proves=["8.rule-per-connection"],
)
def a_rule_each(stage: Stage) -> None:
    napt = stage.net.napt("napt")
    had = have = {rule["id"] for rule in napt.rules()}
    for node, many in (("pc", OF_PC), ("pc2", OF_PC2)):
        opened = open_connections(stage, node, WEB, "--count", str(many))
        used = tell_connections(stage, node, f"use 0-{many - 1}")
        new = by_internal([rule for rule in napt.rules() if rule["id"] not in have])
        stage.see(*in_full(next(iter(new.values()), None)))
        have = have | {rule["id"] for rule in new.values()}
        stage.answer(len(have - had), f"napt: {len(have)} rules, {len(had)} before")
        with stage.claim(
            "8.rule-per-connection", f"{node}: {many} connections, {many} new rules"
        ) as claim:
            claim.require(
                opened.fields["open"] == many,
                f"{opened.fields['open']} are open",
                f"it should be {many}",
            )
            for rule in new.values():
                made_by = f"TCP SYN to {WEB}"
                claim.require(
                    rule["remote"] == WEB and rule["made_by"] == made_by,
                    show_rule(rule),
                    f"each rule should have remote {WEB}; this one has {rule['remote']}"
                    if rule["remote"] != WEB
                    else f"it should be made by a {made_by}, not by {rule['made_by']}",
                )
            claim.require(len(new) == many, f"{len(new)} new rules", f"it should be {many}")
            claim.require(
                set(new) == set(opened.fields["first"]),
                f"{node}'s own sockets are {', '.join(opened.fields['first'])}",
                f"the new rules have other internal endpoints: {', '.join(new)}",
            )
        with stage.claim(
            "8.rule-per-connection", "each external endpoint is the one that the server sees"
        ) as claim:
            listed = {f"{rule['internal']} as {rule['external']}" for rule in new.values()}
            claim.require(
                set(used.fields["first"]) == listed,
                "; ".join(used.fields["first"]),
                f"but the table says: {'; '.join(sorted(listed))}",
            )


@rules.step(
    "One rule for all remote endpoints",
    say="A NAPT with a rule for each connection has address-and-port-dependent mapping (RFC 4787). "
    "The RFCs ask for another behavior: endpoint-independent mapping. The lodger lives in "
    "another home. The lodger's NAPT has endpoint-independent mapping. The PC and the lodger each "
    f"open two connections from their port {ONE_PORT}, to two servers.",
    ask="How many new rules will the lodger's NAPT have?",
    predict=number(
        1,
        {
            2: "Every NAPT makes a rule for each connection.",
            4: "A connection needs a rule for each of its directions.",
        },
        exercise="8/three-pcs",
    ),
    proves=["8.rule-per-connection"],
)
def beside_it(stage: Stage) -> None:
    inside = f"{PC}:{ONE_PORT}"
    servers = (WEB, f"{SERVERFAULT}:80")
    for node in ("pc", "lodger"):
        from_one_port = ("--count", "2", "--from-port", str(ONE_PORT))
        open_connections(stage, node, *servers, *from_one_port, fifo="pair")
    used = {
        napt: tell_connections(stage, BEHIND[napt], "use 0-1", fifo="pair").fields["first"]
        for napt in ("napt", "napt_b")
    }
    made = {
        napt: [rule for rule in stage.net.napt(napt).rules() if rule["internal"] == inside]
        for napt in used
    }

    stage.answer(len(made["napt_b"]), f"napt_b: {count(len(made['napt_b']), 'rule')} for {inside}")

    def require_seen(claim: Claim, napt: str) -> None:
        listed = {f"{rule['internal']} as {rule['external']}" for rule in made[napt]}
        claim.require(set(used[napt]) == listed, f"the servers see {'; '.join(used[napt])}")

    with stage.claim(
        "8.rule-per-connection", "address-and-port-dependent: one rule for each remote endpoint"
    ) as claim:
        for rule in made["napt"]:
            claim.require(
                rule["remote"] in servers,
                show_rule(rule),
                f"its remote endpoint should be {' or '.join(servers)}, not {rule['remote']}",
            )
        claim.require(
            len(made["napt"]) == len(servers),
            f"{len(made['napt'])} rules for {inside}",
            f"it should be {len(servers)}",
        )
        require_seen(claim, "napt")
    with stage.claim(
        "8.rule-per-connection", "endpoint-independent: one rule for both (for comparison)"
    ) as claim:
        claim.require(
            len(made["napt_b"]) == 1,
            f"{count(len(made['napt_b']), 'rule')} for {inside}",
            "it should be 1, for all remote endpoints",
        )
        (rule,) = made["napt_b"]
        remotes = {session["remote"] for session in rule["sessions"]}
        claim.require(
            rule["remote"] == "*",
            show_rule(rule),
            f"its remote endpoint should be *, not {rule['remote']}",
        )
        claim.require(
            remotes == set(servers),
            f"it serves {' and '.join(sorted(remotes)) or 'no session'}",
            f"it should serve {' and '.join(servers)}",
        )
        require_seen(claim, "napt_b")


@rules.step(
    "Who else may come in by that port?",
    say=f"The PC, the lodger and a guest in a third home each open one connection, from port "
    f"{OTHER_PORT}, to stackoverflow only. The lodger's and the guest's rules are "
    "endpoint-independent: they hold for every remote endpoint. Who may send to such a port is "
    "decided by the filtering behavior: the lodger's NAPT admits only endpoints to which the "
    "lodger has sent, the guest's NAPT admits all. Now serverfault, to which none of the three "
    "has sent, dials the three external endpoints.",
    ask="Which PCs get one of the three SYNs?",
    predict=choose(
        Choice(
            "",
            "none: serverfault was not asked",
            "A NAPT never lets in a packet of a host to which no PC has sent.",
        ),
        Choice("guest", "the guest's PC only"),
        Choice(
            "guest lodger",
            "the guest's and the lodger's",
            "An endpoint-independent rule lets every host in.",
        ),
        Choice(
            "guest lodger pc",
            "all three: each has a rule for its port",
            "An open port is open to every host.",
        ),
        exercise="8/visitor",
    ),
    proves=["8.rule-per-connection"],
)
def who_else(stage: Stage) -> None:
    from_port = ("--count", "1", "--from-port", str(OTHER_PORT))
    external = {}
    for napt, node in BEHIND.items():
        open_connections(stage, node, WEB, *from_port, fifo="alone")
        rules_of = by_internal(stage.net.napt(napt).rules())
        external[napt] = rules_of[f"{PC}:{OTHER_PORT}"]["external"]
    since, log_since = stage.wire.mark(), stage.log.mark()
    dialed = {
        napt: stage.start("serverfault", *knock(f"http://{end}/")) for napt, end in external.items()
    }
    statuses = {napt: command.finish() for napt, command in dialed.items()}

    def arrived(where: str, port: int) -> list[Captured]:
        is_syn = is_syn_to(port)
        return stage.wire.packets(
            where, lambda p: is_syn(p) and p.source == SERVERFAULT, since=since
        )

    came = {node: arrived(f"{node}:eth0", OTHER_PORT) for node in sorted(BEHIND.values())}
    told = (f"{node}:eth0: {count(len(syns), 'SYN')}" for node, syns in came.items())
    stage.answer(" ".join(node for node, syns in came.items() if syns), ", ".join(told))
    for napt in ("napt", "napt_b"):
        with stage.claim(
            "8.rule-per-connection", f"{napt} drops serverfault's SYN to {external[napt]}"
        ) as claim:
            (syn, *_) = arrived(f"{napt}:wan0", int(external[napt].rpartition(":")[2]))
            drop = wait_for_drop(
                stage, napt, log_since, source=syn.packet.from_, destination=syn.packet.to
            ).fields
            claim.require(
                drop["reason"] in ("no-rule", "filtered"),
                f"{napt}: {drop['reason']}: {drop['meaning']}",
                "the reason should be no-rule or filtered",
            )
            inside = arrived(f"{BEHIND[napt]}:eth0", OTHER_PORT)
            claim.require(
                not inside,
                f"{BEHIND[napt]}:eth0: {len(inside)} SYNs from serverfault",
                "it should be 0",
            )
            require_failure(claim, statuses[napt], CURL_TIMED_OUT)
    with stage.claim(
        "8.rule-per-connection", "napt_c lets it in, and the guest's PC itself refuses it (control)"
    ) as claim:
        inside = arrived("guest:eth0", OTHER_PORT)
        claim.require(
            len(inside) == 1,
            f"guest:eth0: {count(len(inside), 'SYN')} from serverfault",
            "it should be 1",
        )
        require_failure(claim, statuses["napt_c"], CURL_REFUSED)


@rules.step(
    "The rule of a closed connection ends",
    say="The PC closes one of its connections (FIN), and resets another one (RST). The rule stays "
    f"for a while, for late packets: RFC 7857 asks for 4 minutes; here it is {HOLD:g} s.",
    ask="When does the rule of the closed connection end?",
    predict=choose(
        Choice(
            "at once",
            "with the last packet of the connection",
            "When both sides have closed, no packet can come any more.",
        ),
        Choice("hold", "a while after it"),
        Choice(
            "idle",
            "hours later, when it was not used for so long",
            "A NAPT looks at addresses and ports; it does not see that a connection ends.",
        ),
    ),
    proves=["8.gc-close"],
)
def collected_when_closed(stage: Stage) -> None:
    napt = stage.net.napt("napt")
    before = by_internal(napt.rules())
    others = {f"{PC}:{ONE_PORT}", f"{PC}:{OTHER_PORT}"}  # of the steps before this one
    mine = [end for end in before if end.startswith(f"{PC}:") and end not in others]
    for command, why in ((f"close {CLOSED}", "closed"), (f"reset {RESET}", "reset")):
        since, log_since = stage.wire.mark(), stage.log.mark()
        tell_connections(stage, "pc", command)
        how = "FIN both ways" if why == "closed" else "RST"
        with stage.claim("8.gc-close", f"after {how} the rule ends") as claim:
            inside, end = last_words(stage, claim, before, why, since)
            claim.require(
                inside in mine,
                f"it was the rule of {inside}",
                f"it should be one of {', '.join(mine)}",
            )
            mine.remove(inside)
            held = by_internal(napt.rules()).get(inside)
            if held is not None:  # a slow machine may come too late to see it
                (session,) = held["sessions"]
                claim.require(
                    session["state"] == why,
                    f"held: state {session['state']}, {session['expires_in']:.2f} s to go",
                    f"the state should be {why}",
                )
            ended = wait_for_end(stage, "napt", inside, log_since, HOLD + SLACK + WAIT)
            claim.require(
                ended.fields["why"] == why,
                story(ended),
                f"it should end because the connection was {why}",
            )
            after = ended.time - end.time
            if why == "closed":
                when = "hold" if after > HOLD / 2 else "at once"
                stage.answer(when, f"napt: it ended {after:.2f} s after {end.packet}")
            claim.require(
                HOLD - 0.05 <= after <= HOLD + SLACK,
                f"{after:.2f} s after that packet (closing-hold: {HOLD:g} s)",
                f"it should be {HOLD:g} s, at most {HOLD + SLACK:g} s",
            )
            claim.require(
                (still := by_internal(napt.rules()).get(inside)) is None,
                "it is not in the table" if still is None else f"still listed: {show_rule(still)}",
            )
        late_packets_are_dropped(stage, inside, before[inside]["external"], how)
    used = tell_connections(stage, "pc", f"use {KEPT}")
    with stage.claim("8.gc-close", "connections that were not closed keep theirs") as claim:
        now = by_internal(napt.rules())
        kept = [end for end in mine if end in now and now[end]["id"] == before[end]["id"]]
        claim.require(
            kept == mine,
            f"{len(kept)} of {len(mine)} rules are as they were",
            f"missing or made anew: {', '.join(end for end in mine if end not in kept)}",
        )
        claim.require(
            used.fields["answered"] == len(mine),
            f"{used.fields['answered']} of {len(mine)} connections carry data "
            f"({', '.join(used.fields['first'])})",
        )


def late_packets_are_dropped(stage: Stage, inside: str, external: str, how: str) -> None:
    """Copies of packets that have come through before, from both ends of a closed connection."""

    def from_server(p: Packet) -> bool:
        return p.to == external and p.flags & (ACK | RST) == ACK

    def from_pc(p: Packet) -> bool:
        return p.from_ == inside and p.flags & (ACK | RST) == ACK

    with stage.claim("8.gc-close", f"after {how} and the rule's end, late packets end here") as c:
        for node, here, is_it, reason in (
            ("stackoverflow", OUTSIDE, from_server, "no-rule"),
            ("pc", INSIDE, from_pc, "no-connection"),
        ):
            came = stage.wire.packets(here, is_it)[-1].packet
            since, log_since = stage.wire.mark(), stage.log.mark()
            send_again(stage, node, came)
            require_dropped(stage, c, here, is_it, (reason,), since, log_since)


def last_words(
    stage: Stage, claim: Claim, before: Mapping[str, Rule], why: str, since: int
) -> tuple[str, Captured]:
    """The end of a connection on both sides of the NAPT: its internal endpoint, the last packet.

    That is the server's FIN, which answers the PC's, or the PC's RST as it went on.
    """
    flag = FIN if why == "closed" else RST

    def wait(what: str, is_it: Predicate) -> Captured:
        where = "napt:lan0" if what.startswith("the PC's") else "napt:wan0"
        seen = stage.wire.wait_for(where, is_it, deadline=WAIT, what=what, since=since)
        claim.require(True, f"{where}: {seen.packet}")
        return seen

    first = wait("the PC's end of it", lambda p: p.source == PC and bool(p.flags & flag))
    inside = first.packet.from_
    external = before[inside]["external"]
    if why == "closed":
        return inside, wait("the server's FIN", lambda p: p.to == external and bool(p.flags & FIN))
    return inside, wait(
        "that RST, translated", lambda p: p.from_ == external and p.flags & RST != 0
    )
