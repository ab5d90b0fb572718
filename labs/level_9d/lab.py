"""Level 9d: what level 9c did by hand, a program asks for (PCP, RFC 6887; NAT-PMP, RFC 6886).

    alice 10.0.0.7 ─┬─ napt_a 24.9.3.7 ── internet ── napt_b 203.0.113.77 ── bob 10.0.0.9
    carol 10.0.0.8 ─┘

Each step runs the programs that a person would run; checks.py looks at the wires for evidence.
"""

from __future__ import annotations

from napt_lab.labs.capture.packets import SYN
from napt_lab.labs.level_9d.checks import (
    GATEWAY,
    WRONG_NONCE,
    comes_in,
    direct_fetch,
    ended,
    exchanged,
    last_answer,
    leased,
    natpmpc,
    pcp,
    require_lease,
    visit,
)
from napt_lab.labs.level_9d.messages import CANNOT_PROVIDE_EXTERNAL, NOT_AUTHORIZED, SUCCESS
from napt_lab.labs.level_9d.messages import PORT as PORT_CONTROL
from napt_lab.labs.shared_steps.commands import PORT, require_success
from napt_lab.labs.shared_steps.dropped import require_drop
from napt_lab.labs.shared_steps.evidence import WAIT, answer_where_it_ends
from napt_lab.labs.shared_steps.served_by_pc import (
    dropped_no_rule,
    fetch_file,
    knock,
    no_route,
    share,
)
from napt_lab.labs.shared_steps.two_sites import ALICE, FILES, NAPT_A, NAPT_B
from napt_lab.labs.stage.prediction import Choice, choose
from napt_lab.labs.stage.rule_lines import count, rule_lines
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim, Lab, Part
from napt_lab.topologies.network.processes import Completed
from napt_lab.topologies.network.programs import READY_SECONDS

HOUR = 3600
KEPT_PORT = 8081
RECOVERY = 5.0  # seconds within which a client asks again (servers/pcp/keeping.py)
SHORT = 6  # seconds: the shortest lifetime that napt_a grants, and two that are asked for
CAROL = "10.0.0.8"
CAROLS_NONCE = "ca" * 12

asking = Part("asking", topology="two-sites-pcp.yaml")


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@asking.step(
    "No rule yet",
    say="alice runs a web server with a file on her PC, as in level 9c, and a second server on "
    "port 8081 for later steps. Her NAPT has no explicit rule.",
    ask="bob dials 24.9.3.7, port 8080. Where does his SYN end?",
    predict=choose(
        Choice("napt_a", "at alice's NAPT, which drops it"),
        Choice(
            "alice",
            "at alice's PC, where a server listens",
            "A program that listens at a port opens it in the NAPT as well.",
        ),
        Choice(
            "internet",
            "at the router, which knows no such port",
            "Routers decide by the port where a packet goes.",
        ),
        exercise="9c/door",
    ),
    proves=["9d.ask"],
)
def shut(stage: Stage) -> None:
    share(stage, "alice")
    stage.serve("alice", "web-server", "--port", str(KEPT_PORT), name="web")
    for name in ("shared", "web"):
        wait_for_server(stage, name)
    since, log = stage.wire.mark(), stage.log.mark()
    stage.run("bob", *knock(NAPT_A))
    answer_where_it_ends(stage, "bob:eth0", PORT, NAPT_A, since)
    with stage.claim(
        "9d.ask", "before a program asks, there is no rule, and bob is not let in"
    ) as claim:
        rules = [rule for rule in stage.net.napt("napt_a").rules() if rule["explicit"]]
        claim.require(not rules, f"{count(len(rules), 'explicit rule')} in napt_a's table")
        dropped_no_rule(stage, claim, "napt_a", since, log)


def wait_for_server(stage: Stage, name: str) -> None:
    stage.wait_for_event(
        "alice", "ready", lambda event: event.program == name, deadline=READY_SECONDS
    )


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@asking.step(
    "alice's program asks",
    say="In level 9c alice typed a rule into her NAPT. Now her program asks for one: it sends one "
    "datagram to the NAPT's inside address, port 5351. The protocol is PCP. Then another program "
    "asks for a second rule, by the older protocol NAT-PMP.",
    ask="The datagram names two ports and a time, but no PC. To which address will the rule lead?",
    predict=choose(
        Choice(
            GATEWAY,
            "10.0.0.1, to which the datagram goes: the NAPT knows all PCs",
            "A rule leads to the NAPT, which then tries all PCs of the home.",
        ),
        Choice(ALICE, "10.0.0.7, from which the datagram comes"),
        Choice(
            NAPT_B,
            "203.0.113.77: bob's home, which may use it",
            "A rule says who may come in.",
        ),
        exercise="9c/door",
    ),
    proves=["9d.ask"],
)
def ask(stage: Stage) -> None:
    since = stage.wire.mark()
    asked = stage.run("alice", *pcp("map", "tcp", str(PORT), "--external", str(PORT)))
    rules = leased(stage, PORT)
    stage.see(*rule_lines(rules))
    for rule in rules:
        words = f"{rule['external']} → {rule['internal']}, made by {rule['made_by']}"
        stage.answer(rule["internal"].partition(":")[0], f"napt_a: {words}")
    with stage.claim("9d.ask", "one datagram asks, and one answers") as claim:
        require_success(claim, asked, "the PCP client")
        answer = last_answer(stage, claim, "alice:eth0", since, ALICE)
        request, *others = exchanged(stage, "alice:eth0", since)
        claim.require(
            request.captured.packet.to == f"{GATEWAY}:{PORT_CONTROL}" and others == [answer],
            f"{count(len(others), 'answer')} to one request",
        )
        claim.require(answer.result == 0, "it is granted")
        same = (request.nonce, request.internal_port) == (answer.nonce, answer.internal_port)
        claim.require(same, f"nonce {request.nonce} in the request, {answer.nonce} in the answer")
    with stage.claim("9d.ask", "the rule is in napt_a's table, as the answer says") as claim:
        rule = require_lease(claim, rules, "PCP", f"{ALICE}:{PORT}")
        lease = rule["lease"]
        claim.require(
            (lease["nonce"], lease["lifetime"]) == (answer.nonce, answer.lifetime),
            f"nonce {lease['nonce']} and lifetime {lease['lifetime']} s, "
            f"{answer.nonce} and {answer.lifetime} s in the answer",
        )
        claim.require(
            HOUR - 60 < lease["expires_in"] <= HOUR == lease["lifetime"],
            f"it ends in {lease['expires_in']:.1f} s",
        )
        claim.require(answer.external_port == PORT, f"external port {answer.external_port}")
    with stage.claim(
        "9d.ask", "a NAT-PMP request, to the same port 5351, gets a rule as well"
    ) as claim:
        older = stage.run("alice", *natpmpc("-g", GATEWAY, "-a", "9000", "9000", "udp", "60"))
        require_success(claim, older, "natpmpc")
        rule = require_lease(claim, leased(stage, 9000), "NAT-PMP", f"{ALICE}:9000", "udp")
        claim.require(rule["lease"]["lifetime"] == 60, f"for {rule['lease']['lifetime']} s")


# ── 3 ──────────────────────────────────────────────────────────────────────────────────────


@asking.step(
    "bob connects directly",
    say="bob dials again.",
    ask="Where does bob's SYN end this time?",
    predict=choose(
        Choice(
            "napt_a",
            "at alice's NAPT: her program did not name bob",
            "A rule that a program asked for admits only hosts that the program names.",
        ),
        Choice(
            "internet",
            "at the router, which does not know the rule",
            "A rule is something that the Internet has to learn.",
        ),
        Choice("alice", "at alice's PC, as with a rule that was typed"),
        exercise="9c/door",
    ),
    proves=["9d.direct"],
)
def direct(stage: Stage) -> None:
    since, log = stage.wire.mark(), stage.log.mark()
    fetched = stage.run("bob", *fetch_file(NAPT_A))
    answer_where_it_ends(stage, "bob:eth0", PORT, NAPT_A, since)
    direct_fetch(stage, "9d.direct", fetched, since, log)


# ── 4 ──────────────────────────────────────────────────────────────────────────────────────


@asking.step(
    "Rules of another PC",
    say="carol is in alice's home, behind the same NAPT, and attacks alice's rule. First she asks "
    "the NAPT to delete it. Then she asks for the external port 8080 for herself. At last she "
    "sends a deletion with alice's source address; but alice's request had a nonce, which carol "
    "does not know, so she guesses one.",
    ask="What does the NAPT do with the deletion that carol sends with alice's address?",
    predict=choose(
        Choice(
            SUCCESS,
            "it deletes the rule: the address is alice's",
            "Who has the right source address is who it claims to be.",
        ),
        Choice(NOT_AUTHORIZED, "it refuses: not authorized"),
        Choice(
            "no answer",
            "it drops the datagram: it came from carol's PC",
            "A NAPT sees from which PC a packet really comes.",
        ),
    ),
    proves=["9d.only-own"],
)
def only_own(stage: Stage) -> None:
    (rule,) = leased(stage, PORT)
    nonce = rule["lease"]["nonce"]
    with stage.claim(
        "9d.only-own", "carol's deletion applies to rules of her own PC, which has none"
    ) as c:
        since = stage.wire.mark()
        tried = stage.run("carol", *pcp("delete", "tcp", str(PORT), "--nonce", CAROLS_NONCE))
        require_success(c, tried, "the PCP client")
        last_answer(stage, c, "carol:eth0", since, CAROL)
        still_there(stage, c, nonce)
    with stage.claim("9d.only-own", "carol does not get alice's external port") as c:
        since = stage.wire.mark()
        wanted = ("map", "tcp", str(PORT), "--external", str(PORT), "--exactly")
        refused(c, stage.run("carol", *pcp(*wanted)))
        answer = last_answer(stage, c, "carol:eth0", since, CAROL)
        c.require(answer.result == CANNOT_PROVIDE_EXTERNAL, f"result code {answer.result}")
        still_there(stage, c, nonce)
    with stage.claim(
        "9d.only-own", "a deletion with alice's address, but not her nonce, is refused"
    ) as c:
        since = stage.wire.mark()
        forged = ("delete", "tcp", str(PORT), "--nonce", WRONG_NONCE, "--forge", ALICE)
        sent = stage.run("carol", *pcp(*forged))
        require_success(c, sent, "sending")
        stage.answer("no answer", f"alice:eth0: no answer; carol: exit status {sent.status}")
        answer = last_answer(stage, c, "alice:eth0", since, ALICE)
        c.require(answer.nonce == WRONG_NONCE, "the answer to the forged request goes to alice")
        stage.answer(answer.result, f"alice:eth0: {answer}")
        c.require(answer.result == NOT_AUTHORIZED, f"result code {answer.result}")
        still_there(stage, c, nonce)
    since, log = stage.wire.mark(), stage.log.mark()
    visited = stage.run("bob", *visit(PORT))
    with stage.claim("9d.only-own", "bob is still let in") as c:
        comes_in(stage, c, PORT, visited, since)
    deleted = stage.run("alice", *pcp("delete", "tcp", str(PORT), "--nonce", nonce))
    with stage.claim("9d.only-own", "alice, who knows the nonce, can delete it (control)") as c:
        require_success(c, deleted, "the PCP client")
        over = ended(stage, PORT, log, WAIT)
        c.require(over.fields["rule"]["lease"]["ended"] == "deleted", "napt_a: deleted")
        c.require(not leased(stage, PORT), "it is not in the table")


def still_there(stage: Stage, claim: Claim, nonce: str) -> None:
    rule = require_lease(claim, leased(stage, PORT), "PCP", f"{ALICE}:{PORT}")
    claim.require(rule["lease"]["nonce"] == nonce, "with the nonce that it had")


def refused(claim: Claim, completed: Completed) -> None:
    """The NAPT refused. A client that could not ask proves nothing: OSError."""
    if not completed.stderr.startswith("pcp: "):
        raise OSError(f"the PCP client: exit status {completed.status}: {completed.stderr}")
    claim.require(completed.status == 1, completed.stderr.strip())


# ── 5 ──────────────────────────────────────────────────────────────────────────────────────


@asking.step(
    "From outside",
    say="A program that may ask for rules can let others in. What if a host on the Internet asks? "
    "It sends a request to the NAPT's outside address, one to its inside address, and one with "
    "alice's address as its source.",
    ask="What becomes of the request that is sent to 24.9.3.7, the NAPT's outside address?",
    predict=choose(
        Choice(
            "answered",
            "it is answered with a refusal",
            "A server answers whoever asks, if only to refuse.",
        ),
        Choice(
            "no-route",
            "the router drops it: such requests do not cross the Internet",
            "Routers look at what a packet asks for.",
        ),
        Choice("no-rule", "the NAPT drops it, as any packet from outside without a rule"),
        exercise="9c/door",
    ),
    proves=["9d.outside"],
)
def outside(stage: Stage) -> None:
    since, log = stage.wire.mark(), stage.log.mark()
    probe = stage.start("files", *pcp("announce", "--server", NAPT_A, "--wait", "0.5"))
    private = stage.start("files", *pcp("announce", "--server", GATEWAY, "--wait", "0.5"))
    own = stage.start("alice", *pcp("announce"))
    forged = stage.start("files", *pcp(
        "map", "tcp", "22", "--external", "22", "--server", NAPT_A, "--forge", ALICE
    ))  # fmt: skip
    with stage.claim(
        "9d.outside", f"a request to {NAPT_A} arrives, and the NAPT drops it"
    ) as claim:
        refused(claim, probe.finish())
        drop = require_drop(stage, claim, "napt_a", "no-rule", log, kind="udp", source=FILES)
        reason = drop.fields["reason"]
        answers = stage.wire.packets("files:eth0", lambda p: p.source == NAPT_A, since=since)
        words = f"napt_a: dropped, reason {reason}; files:eth0: {count(len(answers), 'answer')}"
        stage.answer("answered" if answers else reason, words)
    with stage.claim("9d.outside", f"the Internet has no route to {GATEWAY}") as claim:
        refused(claim, private.finish())
        no_route(stage, claim, GATEWAY, since)
    with stage.claim(
        "9d.outside", "a packet from outside with an inside source is dropped"
    ) as claim:
        require_success(claim, forged.finish(), "sending")
        require_drop(stage, claim, "napt_a", "spoofed-source", log, kind="udp", source=ALICE)
        rules = leased(stage, 22)
        claim.require(not rules, f"{count(len(rules), 'rule')} for port 22 in napt_a's table")
    with stage.claim("9d.outside", "the same question from inside is answered (control)") as claim:
        require_success(claim, own.finish(), "the PCP client")
        last_answer(stage, claim, "alice:eth0", since, ALICE)
    with stage.claim("9d.outside", "napt_a has sent no answer to the outside") as claim:
        passed = stage.wire.packets("napt_a:wan0", lambda p: p.protocol == "udp", since=since)
        requests = [c for c in passed if c.packet.destination_port == PORT_CONTROL]
        claim.require(len(requests) >= 2, f"{count(len(requests), 'request')} in")
        out = [captured for captured in passed if captured.outgoing]
        claim.require(not out, f"{count(len(out), 'datagram')} out")


# ── 6 ──────────────────────────────────────────────────────────────────────────────────────


@asking.step(
    "A rule with an end",
    say="Two of alice's programs each ask for a rule, for 6 seconds. The first one ends at once, "
    "as if it had crashed. The second goes on running, and renews its rule in time.",
    ask="Through which of the two ports does bob get in after 7 seconds?",
    predict=choose(
        Choice("8081", "8081 only, whose program renews its rule"),
        Choice("8080 8081", "both", "A rule stays until someone deletes it."),
        Choice(
            "", "neither", "The time of a rule is over when it is over, whatever a program does."
        ),
    ),
    proves=["9d.lifetime"],
)
def lifetime(stage: Stage) -> None:
    since, log = stage.wire.mark(), stage.log.mark()
    word = ("--lifetime", str(SHORT))
    kept = stage.serve(
        "alice", *pcp("map", "tcp", str(KEPT_PORT), "--external", str(KEPT_PORT), *word, "--keep"),
        name="pcp",
    )  # fmt: skip
    stage.wait_for_event("alice", "granted", since=log)
    asked = stage.run("alice", *pcp("map", "tcp", str(PORT), "--external", str(PORT), *word))
    visits = [(port, stage.run("bob", *visit(port))) for port in (PORT, KEPT_PORT)]
    with stage.claim("9d.lifetime", "at first bob is let in at both ports (control)") as claim:
        require_success(claim, asked, "the PCP client")
        for port, visited in visits:
            comes_in(stage, claim, port, visited, since)
    with stage.claim(
        "9d.lifetime", "the rule that is not renewed ends after its lifetime"
    ) as claim:
        granted = next(
            m for m in exchanged(stage, "alice:eth0", since)
            if m.is_answer and m.internal_port == PORT
        )  # fmt: skip
        claim.require(granted.lifetime == SHORT, f"alice:eth0: {granted}")
        over = ended(stage, PORT, log, SHORT + WAIT)
        lived = over.time - granted.captured.time
        claim.require(over.fields["rule"]["lease"]["ended"] == "expired", "napt_a: expired")
        claim.require(SHORT - 0.5 < lived < SHORT + 1.5, f"{lived:.1f} s after it was granted")
    since, knocked_at = stage.wire.mark(), stage.log.mark()
    stage.run("bob", *knock(NAPT_A))
    with stage.claim("9d.lifetime", "bob is not let in there any more") as claim:
        dropped_no_rule(stage, claim, "napt_a", since, knocked_at)
    with stage.claim("9d.lifetime", "the rule that was renewed still lets bob in") as claim:
        renewed = stage.wait_for_event("alice", "renewed", since=log, deadline=SHORT)
        claim.require(True, f"alice's program has renewed it, until epoch {renewed.fields['epoch']}"
                            f" + {renewed.fields['lifetime']} s")  # fmt: skip
        rule = require_lease(claim, leased(stage, KEPT_PORT), "PCP", f"{ALICE}:{KEPT_PORT}")
        claim.require(rule["age"] > SHORT, f"it is {rule['age']:.1f} s old")
        comes_in(stage, claim, KEPT_PORT, stage.run("bob", *visit(KEPT_PORT)), since)
    answer_which_ports(stage, since)
    kept.terminate()
    with stage.claim("9d.lifetime", "when its program ends, it deletes its rule") as claim:
        over = ended(stage, KEPT_PORT, log, WAIT)
        claim.require(over.fields["rule"]["lease"]["ended"] == "deleted", "napt_a: deleted")


def answer_which_ports(stage: Stage, since: int) -> None:
    """The step asks through which ports bob gets in: those of which alice has seen his SYN."""
    syns = stage.wire.packets(
        "alice:eth0", lambda p: p.is_tcp(flags=SYN) and p.source == NAPT_B, since=since
    )
    ports = sorted({str(captured.packet.destination_port) for captured in syns})
    stage.answer(
        " ".join(ports), f"alice:eth0: bob's SYNs for port {' and '.join(ports) or 'none'}"
    )


# ── 7 ──────────────────────────────────────────────────────────────────────────────────────


@asking.step(
    "The NAPT is switched off and on",
    say="Two programs of alice's ask for a rule each, for an hour. The one for port 8080 ends at "
    "once. Then napt_a is switched off and on: its table is lost, and it announces to its inside "
    "that it has started.",
    ask="Through which of the two ports does bob get in some seconds later?",
    predict=choose(
        Choice(
            "8080 8081",
            "both: the rules are for an hour",
            "A NAPT keeps its rules when it is switched off.",
        ),
        Choice("", "neither: the table is lost", "No one makes a lost rule again."),
        Choice("8081", "8081 only, whose program still runs"),
    ),
    proves=["9d.lifetime"],
)
def switched_off_and_on(stage: Stage) -> None:
    log = stage.log.mark()
    kept = stage.serve(
        "alice", *pcp("map", "tcp", str(KEPT_PORT), "--external", str(KEPT_PORT), "--keep"),
        name="pcp",
    )  # fmt: skip
    granted = stage.wait_for_event("alice", "granted", since=log).fields
    asked = stage.run("alice", *pcp("map", "tcp", str(PORT), "--external", str(PORT)))
    with stage.claim("9d.lifetime", "napt_a has both rules, for an hour (control)") as claim:
        require_success(claim, asked, "the PCP client")
        for port in (PORT, KEPT_PORT):
            require_lease(claim, leased(stage, port), "PCP", f"{ALICE}:{port}")
    since, log = stage.wire.mark(), stage.log.mark()
    restarted = since
    stage.net.reboot("napt_a")
    with stage.claim("9d.lifetime", "the program that goes on asks for its rule again") as claim:
        again = stage.wait_for_event("alice", "renewed", since=log, deadline=RECOVERY + WAIT).fields
        claim.require(
            again["epoch"] < granted["epoch"],
            f"napt_a's epoch: {granted['epoch']} s before, {again['epoch']} s now",
        )
        require_lease(claim, leased(stage, KEPT_PORT), "PCP", f"{ALICE}:{KEPT_PORT}")
        comes_in(stage, claim, KEPT_PORT, stage.run("bob", *visit(KEPT_PORT)), since)
    since, log = stage.wire.mark(), stage.log.mark()
    stage.run("bob", *knock(NAPT_A))
    answer_which_ports(stage, restarted)
    with stage.claim("9d.lifetime", "the rule of the program that has ended is lost") as claim:
        rules = leased(stage, PORT)
        claim.require(not rules, f"{count(len(rules), 'rule')} for port {PORT} in napt_a's table")
        dropped_no_rule(stage, claim, "napt_a", since, log)
    kept.terminate()


LAB = Lab(
    id="9d",
    title="P2P networking via rules that a program asks for (PCP, NAT-PMP)",
    intro="In level 9c a person typed a rule into the NAPT. How does a program get one, when no "
    "person is there to type it?",
    parts=(asking,),
    learned=(
        "With PCP (or the older NAT-PMP) a program asks its NAPT for an explicit rule: one "
        "datagram to the NAPT's inside address, and one answer.",
        "The NAPT listens on its inside only. It makes rules only for the address that asks, and "
        "changes one only for the nonce with which it was made.",
        "Such a rule is a lease: it ends by itself unless the program renews it, so a crashed "
        "program leaves no open port. A NAPT that restarts loses it, and programs ask again.",
    ),
)
