"""Level 9e: what counts as evidence. The steps are in lab.py."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from napt_lab.labs.capture.packets import Packet, show
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check import stun_binding
from napt_lab.labs.shared_steps.evidence import WAIT, carries_or_opens
from napt_lab.labs.shared_steps.peers import SIZE, STUN_PORT, Peers, between_the_napts, rules_of
from napt_lab.labs.shared_steps.two_sites import ALICE, BOB, NAPT_A, NAPT_B, require_same
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim

HOLE = 5000  # the port of alice's and of bob's program


def is_udp(from_: str | None = None, to: str | None = None) -> Callable[[Packet], bool]:
    """Whether a packet is a datagram from this endpoint (or address) to that one."""
    return lambda p: (
        p.protocol == "udp"
        and (from_ is None or from_ in (p.from_, p.source))
        and (to is None or to in (p.to, p.destination))
    )


def answer_on_the_wire(stage: Stage, claim: Claim, since: int) -> str:
    """The endpoint in the STUN answer to alice. The lab reads it with a reader of its own."""
    answer = stage.wire.wait_for(
        "alice:eth0", lambda p: p.source_port == STUN_PORT, deadline=WAIT, what="an answer",
        since=since,
    )  # fmt: skip
    data = answer.packet.data
    mapped = stun_binding.mapped(data, data[8:20])
    claim.require(mapped is not None, f"alice:eth0: {answer.packet}")
    assert mapped is not None
    return show(mapped)


def external_endpoints(stage: Stage, claim: Claim, where: str, since: int) -> list[str]:
    """From which endpoints alice's STUN requests arrive at `where`, one for each."""
    seen = stage.wire.packets(where, lambda p: p.destination_port == STUN_PORT, since=since)
    for captured in seen:
        claim.require(True, f"{where}: {captured.packet}")
    return [captured.packet.from_ for captured in seen]


def rules_of_alice(stage: Stage) -> list[str]:
    """The external endpoints of napt_a's rules for alice's port."""
    found = rules_of(stage, "napt_a", "udp", f"{ALICE}:{HOLE}")
    return [str(rule["external"]) for rule in found]


def last_seen(stage: Stage, source: str, since: int, until: float) -> Captured:
    """Where the first datagram to the other home was seen last, before the time `until`."""
    way = stage.wire.everywhere(
        lambda c: (
            c.time < until
            and c.packet.protocol == "udp"
            and c.packet.source in (source, NAPT_A)
            and c.packet.destination in (NAPT_B, BOB)
        ),
        since=since,
    )
    return way[-1]


def direct_file(stage: Stage, claim: Claim, peers: Peers) -> None:
    """The file is at bob's, byte for byte."""
    for node in ("alice", "bob"):
        done = peers.event(node, "done").fields
        claim.require(done["bytes"] == SIZE, f"{node}: {done['bytes']} bytes")
    sent = stage.net["alice"].home / "holiday.jpg"
    require_same(claim, sent, stage.net["bob"].home / peers.received)


def no_server(stage: Stage, claim: Claim, peers: Peers) -> None:
    """From the first datagram between the homes on, no server has seen anything of it."""
    began = stage.wire.wait_for(
        "napt_a:wan0", between_the_napts, deadline=WAIT, what="a datagram", since=peers.wire_since
    )
    for server in ("stun", "relay"):
        later = stage.wire.captured(
            f"{server}:eth0",
            lambda c: c.time > began.time and carries_or_opens(c.packet),
            since=peers.wire_since,
        )
        claim.require(not later, f"{server}:eth0: {count(len(later), 'packet')} after the meeting")
    for where, source in (("bob:eth0", NAPT_A), ("alice:eth0", NAPT_B)):
        came = stage.wire.packets(where, is_udp(source), since=peers.wire_since)
        claim.require(len(came) > 1, f"{where}: {count(len(came), 'datagram')} from {source}")
    total = sum(
        c.packet.payload
        for c in stage.wire.packets("bob:eth0", is_udp(NAPT_A), since=peers.wire_since)
    )
    claim.require(total >= SIZE, f"bob:eth0: {total} bytes from {NAPT_A}")


def path_of_the_file(stage: Stage, claim: Claim, peers: Peers) -> None:
    """The first datagram of the file passed the two NAPTs and the router, and no other node."""
    passed = stage.wire.everywhere(
        lambda c: c.packet.protocol == "udp" and c.packet.data.startswith(b"DATA\0\0\0\0"),
        since=peers.wire_since,
    )
    stage.see(*(f"{captured.where:14} {captured.packet}" for captured in passed))
    seen = list(dict.fromkeys(captured.where.partition(":")[0] for captured in passed))
    wanted = ["alice", "napt_a", "internet", "napt_b", "bob"]
    claim.require(seen == wanted, " → ".join(seen), f"it should be {' → '.join(wanted)}")


def bytes_of_the_file_at(stage: Stage, server: str, peers: Peers) -> int:
    """How much of the file's size a server has received: 0, or all of it."""
    came = stage.wire.packets(
        f"{server}:eth0", lambda p: p.source in (NAPT_A, NAPT_B), since=peers.wire_since
    )
    return sum(captured.packet.payload for captured in came) // SIZE * SIZE


def silence(stage: Stage, napt: str, from_: str, to: str, since: int) -> float:
    """The longest time, in seconds, between two datagrams from one endpoint to the other there."""
    times = [c.time for c in stage.wire.packets(f"{napt}:wan0", is_udp(from_, to), since=since)]
    return max((b - a for a, b in pairwise(times)), default=0.0)
