"""Level 9f: the same as level 9e with TCP: two SYNs that cross become one connection.

    alice 10.0.0.7 ── napt_a 24.9.3.7 ── internet ──┬── napt_b 203.0.113.77 ── bob
                                                    ├── napt_c 203.0.113.78 ── carol
                                                    └── napt_d 203.0.113.79 ── dave

Each step runs the programs that a person would run; checks.py looks at the wires for evidence.
"""

from __future__ import annotations

from napt_lab.labs.capture.packets import ACK, SYN
from napt_lab.labs.level_9f.checks import (
    CROSSING,
    crossed,
    early_syn,
    handshake,
    one_connection,
    order,
    refusal,
    require_before,
)
from napt_lab.labs.shared_steps.commands import curl
from napt_lab.labs.shared_steps.evidence import connections, is_unreachable
from napt_lab.labs.shared_steps.peers import OPEN_SECONDS, Peers
from napt_lab.labs.shared_steps.two_sites import NAPT_A, NAPT_B
from napt_lab.labs.stage.prediction import Choice, choose, number
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Lab, Part

PORT = 6000  # of the first pair; each further pair has the next one
SIZE = 1 << 14  # bytes of the file: the wires are long, and TCP begins slowly
TRIES = 3  # until two SYNs cross: a busy computer may be late with one of them
LATER = 1.2  # seconds after alice that the others dial: six times the way between the homes
SILENCE = 6.0  # seconds (RFC 5382, REQ-4)

opening = Part("opening", topology="level-9f.yaml")


# ── 1 ──────────────────────────────────────────────────────────────────────────────────────


@opening.step(
    "Two SYNs cross",
    say="The programs of alice and bob learn their TCP endpoints from the STUN server, tell each "
    "other at the relay, and then both dial: neither listens. Between the two homes a packet is on "
    "its way for 200 ms, so both SYNs are on the wire at the same time.",
    ask="How many SYNs (without ACK) pass alice's NAPT for this connection?",
    predict=number(
        2,
        {
            1: "A connection has one side that dials, and one that is dialed.",
            0: "Without a side that listens there is no connection.",
        },
        exercise="9f/both-dial",
    ),
    proves=["9f.crossing"],
)
def crossing(stage: Stage) -> None:
    for _ in range(TRIES):
        before = {node: connections(stage.wire, f"{node}:eth0") for node in ("alice", "bob")}
        peers = Peers.start(stage, "tcp-punch", PORT, size=SIZE)
        with stage.claim("9f.crossing", "both ends have a connection") as claim:
            peers.require_open(claim)
        seen = {order(stage, napt, peers.wire_since) for napt in ("napt_a", "napt_b")}
        if seen == {CROSSING}:
            break
        stage.see("the two SYNs did not cross: once more")
    with stage.claim(
        "9f.crossing", "on both wires: SYN, SYN, SYN-ACK, SYN-ACK, each side the same"
    ) as claim:
        at_a = crossed(stage, claim, "napt_a", peers.wire_since)
        at_b = crossed(stage, claim, "napt_b", peers.wire_since)
        same = {c.packet.sequence for c in at_a} == {c.packet.sequence for c in at_b}
        claim.require(same, "the sequence numbers are the same at both NAPTs")
    syns = handshake(stage, "napt_a:wan0", peers.wire_since)
    plain = [c for c in syns if not c.packet.flags & ACK]
    stage.answer(len(plain), f"napt_a:wan0: {'; '.join(str(c.packet) for c in plain)}")
    with stage.claim("9f.crossing", "they are one connection, and it carries the file") as claim:
        one_connection(stage, claim, "alice", NAPT_B, before["alice"])
        one_connection(stage, claim, "bob", NAPT_A, before["bob"])
        peers.require_file(claim)
        peers.require_no_server(claim)


# ── 2 ──────────────────────────────────────────────────────────────────────────────────────


@opening.step(
    "One of them comes early",
    say="Three more pairs: alice with bob, with carol and with dave. The others dial 1.2 seconds "
    "after her, so her SYN comes too early, and each of their NAPTs drops it. They differ in what "
    "they tell her: bob's NAPT would refuse her SYN after 6 seconds, if he had not dialed by then "
    "(RFC 5382, REQ-4); carol's tells her nothing; dave's refuses it at once.",
    ask="With whom does alice get no connection?",
    predict=choose(
        Choice("bob", "with bob", "An answer, even if it comes late, ends the attempt."),
        Choice("carol", "with carol", "Without an answer alice's TCP gives up."),
        Choice("dave", "with dave"),
        Choice(
            "",
            "with none of them: all three SYNs are dropped",
            "A dropped SYN is lost, so nothing can come of it.",
        ),
        exercise="9f/refused",
    ),
    proves=["9f.refusal-kills"],
)
def one_comes_early(stage: Stage) -> None:
    since = stage.wire.mark()
    stranger = stage.start("relay", *curl(NAPT_B, "--max-time", "8"))
    later = ("--later", str(LATER))
    bob, carol, dave = (
        Peers.start(stage, "tcp-punch", PORT + n, to=to, only=later, size=SIZE)
        for n, to in enumerate(("bob", "carol", "dave"), start=1)
    )
    for peers, napt, kind in ((bob, "napt_b", "waits"), (carol, "napt_c", "is silent")):
        with stage.claim(
            "9f.refusal-kills", f"a NAPT that {kind} does not end it: the other's SYN gets through"
        ) as claim:
            syn = early_syn(stage, claim, peers, napt)
            peers.require_open(claim)
            told = refusal(stage, napt, syn.packet, peers.wire_since)
            words = str(told.packet) if told else "no answer to it"
            claim.require(told is None, f"{napt}:wan0: {words}")
            peers.require_file(claim)
    with stage.claim("9f.refusal-kills", "a NAPT that refuses at once ends it") as claim:
        syn = early_syn(stage, claim, dave, "napt_d")
        dave.require_not_open(claim)
        told = refusal(stage, "napt_d", syn.packet, dave.wire_since)
        claim.require(told is not None, f"napt_d:wan0: {told and told.packet}")
        assert told is not None
        dialed = dave.event("dave", "dialing").time
        require_before(claim, syn.time, told.time, dialed)
    ended = {peers.receiver.node: peers.received.exists() for peers in (bob, carol, dave)}
    without = [node for node, arrived in ended.items() if not arrived]
    stage.answer(
        ", ".join(without), f"alice's file is at: {', '.join(n for n in ended if ended[n])}"
    )
    again = Peers.start(
        stage, "tcp-punch", PORT + 4, "--tries", "20", to="dave", only=later, size=SIZE
    )
    with stage.claim(
        "9f.refusal-kills", "a program that dials again gets through even there (control)"
    ) as claim:
        again.require_open(claim)
        again.require_file(claim)
    with stage.claim(
        "9f.refusal-kills",
        "the NAPT that waits refuses a stranger, whom bob does not dial, after 6 s",
    ) as claim:
        stranger.finish()
        refused = stage.wire.wait_for(
            "napt_b:wan0", is_unreachable(NAPT_B, NAPT_B), deadline=OPEN_SECONDS,
            what="napt_b's refusal", since=since,
        )  # fmt: skip
        quoted = refused.packet.quoted
        assert quoted is not None
        (came, *_) = stage.wire.packets(
            "napt_b:wan0", lambda p: p.is_tcp(flags=SYN) and p.from_ == quoted.from_, since=since
        )
        waited = refused.time - came.time
        claim.require(waited >= SILENCE, f"napt_b:wan0: {refused.packet}, after {waited:.1f} s")


LAB = Lab(
    id="9f",
    title="P2P networking without an explicit rule, by TCP: simultaneous open",
    intro="Hole punching works with datagrams. And with TCP?",
    parts=(opening,),
    learned=(
        "Two PCs that dial each other at the same time get one TCP connection, although neither "
        "listens: SYN, SYN, SYN-ACK, SYN-ACK.",
        "Each SYN opens its own NAPT for the other one; the ports are learned and told as with "
        "UDP, but a NAPT has rules of its own for TCP.",
        "A SYN that comes too early is dropped, and TCP sends it again; a NAPT that refuses it at "
        "once ends the attempt, so NAPTs must wait for 6 seconds first (RFC 5382, REQ-4).",
    ),
)
