"""Level 9e: what counts as evidence. The steps are in lab.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

from napt_lab.labs.capture.packets import Packet, show
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check import stun_binding
from napt_lab.labs.peer_steps.passing import HEAD
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.shared_steps.peers import STUN_PORT, Peers, rules_of
from napt_lab.labs.shared_steps.two_sites import ALICE, BOB, NAPT_A, NAPT_B
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim

HOLE = 5000  # the port of alice's and of bob's program
MEETING = re.compile(rb"[0-9a-f]{32}\n([\d.]+:\d+\n)?")  # a word, and an endpoint (servers/p2p)
HEAD_BYTES = 8  # before a piece of the file in its datagram: HEAD, and the piece's number


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


def bytes_of_the_file_at(stage: Stage, server: str, peers: Peers) -> int:
    """How many bytes that may be of the file a server has received; a repeated one counts once.

    These are the pieces in datagrams, and all that came by TCP, except what peers say to meet.
    """
    pieces: dict[object, int] = {}
    for captured in stage.wire.packets(
        f"{server}:eth0", lambda p: p.source in (NAPT_A, NAPT_B), since=peers.wire_since
    ):
        packet = captured.packet
        if packet.protocol == "tcp" and packet.payload:
            meeting = MEETING.match(packet.data)
            behind = meeting.end() if meeting else 0
            pieces[packet.from_, packet.sequence] = packet.payload - behind
        elif packet.data.startswith(HEAD):
            pieces[packet.data[:HEAD_BYTES]] = packet.payload - HEAD_BYTES
    return sum(pieces.values())


def last_used(stage: Stage, napt: str, external: str, before: float, since: int) -> float:
    """When the last datagram of a rule passed the NAPT's outside before a time."""
    of_rule = stage.wire.packets(
        f"{napt}:wan0", lambda p: external in (p.from_, p.to) and p.protocol == "udp", since=since
    )
    return max(captured.time for captured in of_rule if captured.time < before)


def silence(stage: Stage, napt: str, from_: str, to: str, since: int) -> float:
    """The longest time, in seconds, between two datagrams from one endpoint to the other there."""
    times = [c.time for c in stage.wire.packets(f"{napt}:wan0", is_udp(from_, to), since=since)]
    return max((b - a for a, b in pairwise(times)), default=0.0)
