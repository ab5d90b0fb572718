"""Level 9g: two peers are started, and the way of the file is found on the wires."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from napt_lab.labs.capture.packets import show
from napt_lab.labs.capture.turn_message import relayed_address
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.trail import Trail, carries, follow, way_between
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.shared_steps.two_sites import make_file, require_same
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.processes import Event
from napt_lab.topologies.spec.assertions import Via

FILE = "holiday.jpg"
SIZE, CHUNK = 20_000, 1200  # bytes: of the file, and of it in one datagram
HEAD = b"DATA"  # with which these datagrams begin
FIRST_BYTES = 32  # of the file, by which it is known on its way
STUN_PORT = 3478
SERVERS = (
    "--meet", "meet:9000", "--stun", f"stun:{STUN_PORT}",
    "--turn", "turn:3478", "--user", "alice:secret",
)  # fmt: skip
PATIENCE = 30.0  # seconds for both programs to start, find a way, and pass the file


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that one peer has sent to another, or tried to."""

    source: str
    target: str
    content: bytes
    events: Mapping[tuple[str, str], Mapping[str, Any]]  # by node and name
    since: int  # of the wires …
    log: int  # … and of what programs reported

    def candidates(self, node: str, kind: str) -> list[str]:
        """The endpoints of a kind that a peer has listed."""
        return list(self.events.get((node, "candidates"), {}).get(kind, []))

    def trail(self, stage: Stage) -> Trail:
        """Where the file's first bytes were seen."""
        first = carries(self.content[:FIRST_BYTES])
        return follow(Ground(stage.net, stage.wire), first, self.since)


def pass_file(stage: Stage, source: str, target: str) -> Passed:
    """Let one peer send a file to the other. ProgramEnded, DeadlinePassed if they do not end."""
    word = secrets.token_hex(16)
    since, log = stage.wire.mark(), stage.log.mark()
    content = make_file(stage, source, FILE, SIZE).read_bytes()
    (stage.net[target].home / FILE).unlink(missing_ok=True)
    peers = [
        stage.serve(node, "ice", *SERVERS, "--word", word, does, FILE, name="ice")
        for node, does in ((target, "--receive"), (source, "--send"))
    ]
    for peer in peers:
        stage.log.wait_for(
            partial(_is_end, peer.node),
            deadline=PATIENCE,
            what=f"the end of {peer.node}'s transfer",
            since=log,
            give_up=peer.obituary,
        )
    events = {(e.node, e.name): e.fields for e in stage.log.since(log) if e.program == "ice"}
    return Passed(source, target, content, events, since, log)


def _is_end(node: str, event: Event) -> bool:
    return event.node == node and event.name in ("done", "failed")


def require_candidate(
    claim: Claim, stage: Stage, passed: Passed, node: str, kind: str, where: str
) -> None:
    """A peer's candidate of this kind is the source of its question, as `where` has seen it."""
    listed = passed.candidates(node, kind)
    asked = stage.wire.packets(
        where,
        lambda p: p.protocol == "udp" and p.destination_port == STUN_PORT and p.from_ in listed,
        since=passed.since,
    )
    claim.require(
        len(listed) == 1 and bool(asked),
        f"{node}: {kind} {', '.join(listed) or 'none'}; "
        f"{where}: {asked[0].packet if asked else 'no question from there'}",
    )


def rented(stage: Stage, node: str, since: int) -> list[str]:
    """The relayed addresses in the TURN server's answers that came to a peer."""
    came = stage.wire.captured(
        f"{node}:eth0", lambda c: relayed_address(c.data) is not None, since=since
    )
    return [show(relayed_address(captured.data) or ("", 0)) for captured in came]


def require_arrived(stage: Stage, claim: Claim, passed: Passed) -> None:
    """The file is at the other peer, byte for byte."""
    for node in (passed.source, passed.target):
        failed = passed.events.get((node, "failed"))
        claim.require(failed is None, f"{node}: {failed['reason'] if failed else 'done'}")
        pair = passed.events[(node, "selected-pair")]
        claim.require(True, f"{node} selected {pair['local']} → {pair['remote']}")
    homes = (stage.net[node].home for node in (passed.source, passed.target))
    require_same(claim, *(home / FILE for home in homes))


def require_way(stage: Stage, claim: Claim, passed: Passed, via: Via, nodes: list[str]) -> None:
    """The file's first datagram went this way, and passed exactly these nodes."""
    trail = passed.trail(stage)
    way = way_between(Ground(stage.net, stage.wire), passed.source, passed.target, trail)
    claim.require(way is via, f"the file's way is {way.value}", f"it should be {via.value}")
    claim.require(trail.nodes == nodes, str(trail), f"it should be {' → '.join(nodes)}")
    datagrams = -(-SIZE // CHUNK)
    here, at_turn = (
        len(stage.wire.captured(where, lambda c: HEAD in c.data, since=passed.since))
        for where in (f"{passed.target}:eth0", "turn:eth0")
    )
    claim.require(
        here >= datagrams and (at_turn > 0) == (via is Via.RELAYED),
        f"datagrams of the file: {here} at {passed.target}:eth0, {at_turn} at turn:eth0",
    )


def answer_way(stage: Stage, passed: Passed, among: tuple[str, ...]) -> None:
    """Show the file's way. The step asks which of these nodes it passes: the first of them."""
    trail = passed.trail(stage)
    stage.see(*(f"{captured.where:14} {captured.packet}" for captured in trail.seen))
    for node in [node for node in trail.nodes if node in among] or ["none"][: bool(trail)]:
        stage.answer(node, f"the file went {trail}")
        return


def require_dropped(
    stage: Stage, claim: Claim, passed: Passed, napt: str, to: str, reason: str
) -> str:
    """The NAPT has dropped a check to this endpoint; returns from whom it was."""
    drop = stage.wait_for_event(
        napt,
        "drop",
        lambda e: str(e.fields["packet"]).endswith(f" > {to}"),
        since=passed.log,
        deadline=WAIT,
    ).fields
    claim.require(
        drop["reason"] == reason,
        f"{napt} dropped {drop['packet']}, reason {drop['reason']}",
        f"it should be {reason}",
    )
    return str(drop["packet"]).split()[1]


def checks_by_relay(stage: Stage, passed: Passed, candidates: str, best: str) -> None:
    """The relayed address was used, and later than the direct ways were tried."""
    listed = [e for n in (passed.source, passed.target) for e in passed.candidates(n, "relayed")]
    relayed = stage.wire.packets(
        "turn:eth0", lambda p: p.from_ in listed or p.to in listed, since=passed.since
    )
    with stage.claim(candidates, "the relayed address is on the wire, too") as claim:
        out = [captured for captured in relayed if captured.outgoing]
        claim.require(bool(out), f"turn:eth0: {out[0].packet if out else 'nothing from there'}")
    with stage.claim(best, "the relay was tried last") as claim:
        outside = passed.candidates(passed.target, "server-reflexive")
        direct = stage.wire.wait_for(
            f"{passed.source}:eth0",
            lambda p: p.to in outside,
            deadline=WAIT,
            what="a check of the direct way",
            since=passed.since,
        )
        later = min(captured.time for captured in relayed) - direct.time
        claim.require(
            later > 0,
            f"the direct way was checked {abs(later):.2f} s {'earlier' if later > 0 else 'later'}",
            "it should be earlier",
        )
