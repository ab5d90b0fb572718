"""Level 9e: two PCs talk directly, without an explicit rule: STUN and UDP hole punching.

    alice 10.0.0.7 ── napt_a 24.9.3.7 ── internet ── napt_b 203.0.113.77 ── bob 10.0.0.9
                                        │        │
                       stun 198.51.100.2, .3    relay 198.51.100.11

Each step runs the programs that a person would run; checks.py looks at the wires for evidence.
"""

from __future__ import annotations

from napt_lab.labs.level_9e.checks import (
    HOLE,
    answer_on_the_wire,
    bytes_of_the_file_at,
    external_endpoints,
    is_udp,
    last_seen,
    last_used,
    rules_of_alice,
    silence,
)
from napt_lab.labs.level_9e.pairs import pairs
from napt_lab.labs.shared_steps.dropped import require_drop
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.shared_steps.peers import (
    OPEN_SECONDS,
    SIZE,
    STUN,
    STUN_TOO,
    Peers,
    happen,
    told,
)
from napt_lab.labs.shared_steps.two_sites import ALICE, NAPT_A, NAPT_B
from napt_lab.labs.stage.prediction import Choice, choose, number
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Lab, Part

IDLE, PAUSE, KEEP_ALIVE = 2.0, 3.0, 0.5  # seconds

punching = Part("punching", topology="level-9e.yaml")


def ask_stun(port: int, *servers: str) -> tuple[str, ...]:
    """The command line of a question to STUN servers."""
    return ("stun", "--port", str(port), *servers)


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@punching.step(
    "Who am I outside?",
    say="alice's PC knows its own address, 10.0.0.7. A STUN server tells a host from which "
    "endpoint its question came. alice asks it, from her UDP port 5000.",
    ask="Which address does the STUN server tell alice?",
    predict=choose(
        Choice(ALICE, "10.0.0.7: her own", "A server sees the address that a PC has."),
        Choice(NAPT_A, "24.9.3.7: that of her NAPT"),
        Choice(STUN, "198.51.100.2: that of the server", "The answer says who answers."),
        exercise="9e/punch",
    ),
    proves=["9e.who"],
)
def who(stage: Stage) -> None:
    since = stage.wire.mark()
    asked = stage.run("alice", *ask_stun(HOLE, STUN))
    with stage.claim(
        "9e.who", "the answer, the server's wire and napt_a's table name the same endpoint"
    ) as claim:
        (mapped,) = told(claim, asked)
        answer = answer_on_the_wire(stage, claim, since)
        (seen,) = external_endpoints(stage, claim, "stun:eth0", since)
        rules = rules_of_alice(stage)
        stage.answer(answer.partition(":")[0], f"in the answer at alice:eth0: {answer}")
        claim.require(answer == mapped, f"in the answer: {answer}")
        claim.require(seen == mapped, f"the source of the request at the server: {seen}")
        claim.require(rules == [mapped], f"napt_a's rule for {ALICE}:{HOLE}: {', '.join(rules)}")


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@punching.step(
    "The same for all?",
    say="The server sees alice at this endpoint. Will bob see her at the same one? The server has "
    "a second address. alice asks at both addresses, from the same port 5000. Then her NAPT is set "
    "to address-and-port-dependent mapping and rebooted, and she asks again at both.",
    ask="How many external ports does alice's port 5000 have at first, towards both addresses?",
    predict=number(
        1,
        {2: "A NAPT has a rule, with a port of its own, for each destination of a PC's port."},
        exercise="9e/symmetric",
    ),
    proves=["9e.same-for-all"],
)
def same_for_all(stage: Stage) -> None:
    since = stage.wire.mark()
    asked = stage.run("alice", *ask_stun(HOLE, STUN, STUN_TOO))
    with stage.claim(
        "9e.same-for-all", "endpoint-independent mapping: one port towards both addresses"
    ) as claim:
        mapped = told(claim, asked)
        seen = external_endpoints(stage, claim, "stun:eth0", since)
        stage.answer(len(set(seen)), f"stun:eth0: the requests came from {' and '.join(seen)}")
        claim.require(seen == mapped, f"{count(len(seen), 'request')} came")
        claim.require(len(set(mapped)) == 1, f"{count(len(set(mapped)), 'external endpoint')}")
        rules = rules_of_alice(stage)
        claim.require(rules == mapped[:1], f"napt_a: {count(len(rules), 'rule')}")
    happen(stage, "set napt_a mapping=address-and-port-dependent")
    happen(stage, "reboot napt_a")  # a rule that there is would go on as it was made
    since = stage.wire.mark()
    asked = stage.run("alice", *ask_stun(HOLE, STUN, STUN_TOO))
    with stage.claim(
        "9e.same-for-all", "address-and-port-dependent mapping: another port towards each"
    ) as claim:
        mapped = told(claim, asked)
        seen = external_endpoints(stage, claim, "stun:eth0", since)
        claim.require(seen == mapped, f"{count(len(seen), 'request')} came")
        claim.require(len(set(mapped)) == 2, f"{count(len(set(mapped)), 'external endpoint')}")
        rules = rules_of_alice(stage)
        claim.require(set(rules) == set(mapped), f"napt_a: {count(len(rules), 'rule')}")
    happen(stage, "set napt_a mapping=endpoint-independent")
    happen(stage, "reboot napt_a")


# ── 3 ──────────────────────────────────────────────────────────────────────────────────────


@punching.step(
    "The first one dies",
    say="alice and bob each know their own endpoint now, and tell each other by telephone. Each "
    "runs `punch`, which sends datagrams to the other's endpoint until it hears one. alice is the "
    "first; bob begins a moment later.",
    ask="Where does alice's first datagram end?",
    predict=choose(
        Choice(
            "napt_a",
            "at her own NAPT",
            "A NAPT stops what goes to hosts that it does not know.",
        ),
        Choice("napt_b", "at bob's NAPT"),
        Choice(
            "bob",
            "at bob's PC: there is a rule for it since he asked the STUN server",
            "Anyone who knows the endpoint of a rule can use it.",
        ),
        exercise="9e/punch",
    ),
    proves=["9e.first-packet-dies", "9e.same-for-all"],
)
def first_packet_dies(stage: Stage) -> None:
    alice_asked, bob_asked = (stage.run(pc, *ask_stun(HOLE, STUN)) for pc in ("alice", "bob"))
    with stage.claim("9e.first-packet-dies", "both are told their endpoints (control)") as claim:
        (alice,), (bob,) = told(claim, alice_asked), told(claim, bob_asked)
    since, log = stage.wire.mark(), stage.log.mark()
    words = ("punch", "--port", str(HOLE), "--peer")
    one = stage.serve("alice", *words, bob, name="punch")
    with stage.claim(
        "9e.first-packet-dies", "alice's datagram is dropped by bob's NAPT: he has sent her none"
    ) as claim:
        came = stage.wire.wait_for(
            "napt_b:wan0", is_udp(to=bob), deadline=WAIT, what="alice's datagram", since=since
        )
        claim.require(True, f"napt_b:wan0: {came.packet}")
        drop = require_drop(stage, claim, "napt_b", "filtered", log, source=alice, destination=bob)
        claim.require(True, f"{(drop.time - came.time) * 1000:.1f} ms after it came")
        inside = stage.wire.packets("napt_b:lan0", is_udp(NAPT_A), since=since)
        claim.require(not inside, f"napt_b:lan0: {count(len(inside), 'datagram')} from {NAPT_A}")
        last = last_seen(stage, ALICE, since, drop.time)
        stage.answer(last.where.partition(":")[0], f"last seen at {last.where}: {last.packet}")
    with stage.claim(
        "9e.same-for-all", "towards bob alice's datagram has the endpoint that the server told"
    ) as claim:
        claim.require(came.packet.from_ == alice, f"napt_b:wan0: from {came.packet.from_}")
    other = stage.serve("bob", *words, alice, name="punch")
    with stage.claim(
        "9e.first-packet-dies", "it was useful: it has opened her own NAPT for bob's"
    ) as claim:
        first = stage.wire.wait_for(
            "napt_a:wan0", is_udp(bob, alice), deadline=WAIT, what="bob's datagram", since=since
        )
        let_in = stage.wire.wait_for(
            "alice:eth0", is_udp(bob), deadline=WAIT, what="bob's datagram", since=since
        )
        claim.require(True, f"napt_a:wan0: {first.packet}")
        claim.require(
            let_in.packet.to == f"{ALICE}:{HOLE}",
            f"alice:eth0, {(let_in.time - first.time) * 1000:.1f} ms later: {let_in.packet}",
        )
        for process in (one, other):
            status = process.wait(OPEN_SECONDS).status
            claim.require(status == 0, f"{process.node}: the other is heard, and has heard")


# ── 4 ──────────────────────────────────────────────────────────────────────────────────────


@punching.step(
    "Both send",
    say="Without a telephone: each program asks the STUN server for its endpoint and tells the "
    "other one at a relay. Then both send. alice's program sends a file through the hole.",
    ask="How many of the file's 65,536 bytes pass the relay?",
    predict=number(
        0,
        {
            SIZE: "Programs that meet at a relay also send their data through it.",
            SIZE // 2: "Half of the data goes through the relay, the other half directly.",
        },
        exercise="9e/punch",
    ),
    proves=["9e.punch"],
)
def punch(stage: Stage) -> None:
    peers = Peers.start(stage, "punch", HOLE)
    with stage.claim("9e.punch", "both hear each other") as claim:
        peers.require_open(claim)
    with stage.claim("9e.punch", "alice's file is at bob's, byte for byte") as claim:
        peers.require_file(claim)
    stage.answer(
        bytes_of_the_file_at(stage, "relay", peers),
        "relay:eth0: what came from the two homes, without the lines by which the peers meet",
    )
    with stage.claim("9e.punch", "no server in between, once they have met") as claim:
        peers.require_no_server(claim)
        peers.require_path(claim, lambda p: p.data.startswith(b"DATA\0\0\0\0"))


# ── 5 ──────────────────────────────────────────────────────────────────────────────────────


@punching.step(
    "A hole closes",
    say="Both NAPTs are set to forget a UDP session after 2 seconds without a packet (RFC 4787 "
    "asks for 2 minutes at least; some forget after 30 seconds). Two pairs of programs each punch "
    "a hole, wait for 3 seconds, and then send a file. Meanwhile one of the pairs sends a small "
    "datagram every half second.",
    ask="How many of the two files arrive?",
    predict=number(
        1,
        {
            2: "A hole, once it is open, stays open.",
            0: "A NAPT forgets a session some time after it was made, whether it is used or not.",
        },
        exercise="9e/keep-alive",
    ),
    proves=["9e.keep-alive"],
)
def keep_alive(stage: Stage) -> None:
    for napt in ("napt_a", "napt_b"):
        happen(stage, f"set {napt} idle.udp={IDLE:g}s")
    pause = ("--pause", str(PAUSE))
    quiet = Peers.start(stage, "punch", HOLE + 1, *pause)
    kept = Peers.start(stage, "punch", HOLE + 2, *pause, "--keep-alive", str(KEEP_ALIVE))
    with stage.claim("9e.keep-alive", "at first both holes are open (control)") as claim:
        for peers in (quiet, kept):
            peers.require_open(claim)
    with stage.claim(
        "9e.keep-alive", "the hole that was not used has closed: the file is dropped by bob's NAPT"
    ) as claim:
        bob = quiet.endpoint("bob")
        over = stage.wait_for_event(
            "napt_b", "rule-ended", lambda e: e.fields["rule"]["external"] == bob,
            since=quiet.log_since, deadline=OPEN_SECONDS,
        )  # fmt: skip
        log = stage.log.mark()
        idle = over.time - last_used(stage, "napt_b", bob, over.time, quiet.wire_since)
        claim.require(True, f"napt_b: the rule {bob} ended {idle:.1f} s after its last datagram")
        late = require_drop(stage, claim, "napt_b", "no-rule", log, destination=bob)
        claim.require(late.time > over.time, f"{late.time - over.time:.1f} s after that")
    quiet.end()
    with stage.claim(
        "9e.keep-alive", "the other hole is still open after the same time: the file arrives"
    ) as claim:
        kept.require_file(claim)
        alice, bob = (kept.endpoint(pc) for pc in ("alice", "bob"))
        for napt, from_, to in (("napt_a", alice, bob), ("napt_b", bob, alice)):
            longest = silence(stage, napt, from_, to, kept.wire_since)
            claim.require(
                0 < longest < IDLE, f"{napt}:wan0: at most {longest:.1f} s between two datagrams"
            )
    arrived = [peers.received.name for peers in (quiet, kept) if peers.received.exists()]
    stage.answer(len(arrived), f"at bob's: {', '.join(arrived) or 'no file'}")


# ── 6 ──────────────────────────────────────────────────────────────────────────────────────


@punching.step(
    "A symmetric NAPT",
    say="bob's NAPT is set to address-and-port-dependent mapping: together with its filtering, "
    "that is called symmetric. The same two programs try again.",
    ask="The STUN server tells bob a port. From which port do his datagrams reach alice's NAPT?",
    predict=choose(
        Choice("told", "from the port that he was told", "A port of a PC has one external port."),
        Choice("another", "from another one"),
        Choice("own", "from 5003, his own", "A NAPT changes the address and keeps the port."),
        exercise="9e/symmetric",
    ),
    proves=["9e.symmetric"],
)
def symmetric(stage: Stage) -> None:
    happen(stage, "set napt_a idle.udp=5m")
    happen(stage, "set napt_b idle.udp=5m mapping=address-and-port-dependent")
    peers = Peers.start(stage, "punch", HOLE + 3, "--wait", "1.5")
    with stage.claim("9e.symmetric", "neither hears the other") as claim:
        peers.require_not_open(claim)
    with stage.claim(
        "9e.symmetric", "the port that was told is not the port that is used, so both NAPTs drop"
    ) as claim:
        alice, bob = (peers.endpoint(pc) for pc in ("alice", "bob"))
        sent = stage.wire.wait_for(
            "napt_a:wan0", is_udp(NAPT_B, alice), deadline=WAIT, what="bob's datagram",
            since=peers.wire_since,
        ).packet  # fmt: skip
        kinds = {bob: "told", f"{NAPT_B}:{HOLE + 3}": "own"}
        stage.answer(kinds.get(sent.from_, "another"), f"napt_a:wan0: {sent}; told: {bob}")
        claim.require(sent.from_ != bob, f"bob was told {bob}; he sends from {sent.from_}")
        log = peers.log_since
        require_drop(stage, claim, "napt_a", "filtered", log, source=sent.from_, destination=alice)
        require_drop(stage, claim, "napt_b", "no-rule", log, source=alice, destination=bob)
    happen(stage, "set napt_b mapping=endpoint-independent")
    happen(stage, "reboot napt_b")
    again = Peers.start(stage, "punch", HOLE + 3)
    with stage.claim(
        "9e.symmetric", "with endpoint-independent mapping they do (control)"
    ) as claim:
        again.require_open(claim)
        again.require_file(claim)


LAB = Lab(
    id="9e",
    title="P2P networking without an explicit rule: STUN and UDP hole punching",
    intro="Neither of us may add a rule, and we want no relay. Is there a way?",
    parts=(punching, pairs),
    learned=(
        "A STUN server tells a PC which endpoint its NAPT has given to one of its ports; with "
        "endpoint-independent mapping that endpoint is the same towards everyone.",
        "A NAPT lets in what comes from an endpoint to which its PC has sent, so two PCs that send "
        "to each other open their own NAPTs for each other: the first datagram is dropped, and it "
        "was still needed.",
        "A hole closes when it is not used. No hole opens between a symmetric NAPT and one that "
        "filters by port, because the symmetric one does not send from the port that was told.",
    ),
)
