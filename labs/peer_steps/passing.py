"""Two peers are started, one passes a file to the other, and its way is found on the wires.

`ice` (servers/ice) and `punch` (servers/p2p) send a file in the same datagrams
(servers/shared/file_in_datagrams.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.trail import Trail, carries, follow, way_between
from napt_lab.labs.shared_steps.two_sites import make_file, require_same
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.processes import Event, Process, ProgramEnded
from napt_lab.topologies.spec.assertions import Via

FILE = "holiday.jpg"
SIZE, CHUNK = 20_000, 1200  # bytes: of the file, and of it in one datagram
HEAD = b"DATA"  # with which these datagrams begin
FIRST_BYTES = 32  # of the file, by which it is known on its way
PATIENCE = 30.0  # seconds for both programs to start, find a way, and pass the file
FAILED = 1  # their status if there was no way


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that one peer has sent to another, or tried to; `failures` say why one could not."""

    source: str
    target: str
    content: bytes
    events: Mapping[tuple[str, str], Mapping[str, Any]]  # by node and name
    failures: Mapping[str, str]  # by node
    since: int  # of the wires …
    log: int  # … and of what programs reported

    def trail(self, stage: Stage) -> Trail:
        """Where the file's first bytes were seen."""
        first = carries(self.content[:FIRST_BYTES])
        return follow(Ground(stage.net, stage.wire), first, self.since)


def pass_file(stage: Stage, source: str, target: str, *program: str) -> Passed:
    """Let one peer send a file to the other, with a program that takes `--word`.

    ProgramEnded if one could not even try, DeadlinePassed if it does not end.
    """
    word = secrets.token_hex(16)
    since, log = stage.wire.mark(), stage.log.mark()
    content = make_file(stage, source, FILE, SIZE).read_bytes()
    (stage.net[target].home / FILE).unlink(missing_ok=True)
    peers = [
        stage.serve(node, *program, "--word", word, does, FILE, name=program[0])
        for node, does in ((target, "--receive"), (source, "--send"))
    ]
    failures = {peer.node: why for peer in peers if (why := _failure(stage, peer, log))}
    events = {(e.node, e.name): e.fields for e in stage.log.since(log) if e.program == program[0]}
    return Passed(source, target, content, events, failures, since, log)


def _failure(stage: Stage, peer: Process, log: int) -> str:
    """Why a peer has not passed the file; empty if it has."""
    try:
        end = stage.log.wait_for(
            partial(_is_end, peer.node),
            deadline=PATIENCE,
            what=f"the end of {peer.node}'s transfer",
            since=log,
            give_up=peer.obituary,
        )
    except ProgramEnded:
        completed = peer.wait(PATIENCE)
        if completed.status != FAILED:
            raise
        return (completed.stderr.strip() or "it said nothing").splitlines()[-1]
    return str(end.fields["reason"]) if end.name == "failed" else ""


def _is_end(node: str, event: Event) -> bool:
    return event.node == node and event.name in ("done", "failed")


def require_arrived(stage: Stage, claim: Claim, passed: Passed) -> None:
    """The file is at the other peer, byte for byte."""
    for node in (passed.source, passed.target):
        claim.require(node not in passed.failures, f"{node}: {passed.failures.get(node, 'done')}")
    homes = (stage.net[node].home for node in (passed.source, passed.target))
    require_same(claim, *(home / FILE for home in homes))


def require_way(stage: Stage, claim: Claim, passed: Passed, via: Via, nodes: list[str]) -> None:
    """The file's first datagram went this way, and passed exactly these nodes."""
    trail = passed.trail(stage)
    came = trail.at(passed.target, outgoing=False)
    claim.require(came is not None, f"{passed.target} has {'got' if came else 'not got'} it")
    way = way_between(Ground(stage.net, stage.wire), passed.source, passed.target, trail)
    claim.require(way is via, f"the file's way is {way.value}", f"it should be {via.value}")
    claim.require(trail.nodes == nodes, str(trail), f"it should be {' → '.join(nodes)}")


def require_whole_file(
    stage: Stage, claim: Claim, passed: Passed, server: str, *, there: bool
) -> None:
    """All of the file's datagrams came to the other peer, and all or none of them to a server."""
    here, at_server = (
        len(stage.wire.captured(where, lambda c: HEAD in c.data, since=passed.since))
        for where in (f"{passed.target}:eth0", f"{server}:eth0")
    )
    datagrams = -(-SIZE // CHUNK)
    claim.require(
        here >= datagrams and (at_server >= datagrams if there else not at_server),
        f"datagrams of the file: {here} at {passed.target}:eth0, {at_server} at {server}:eth0",
    )


def require_no_rules(stage: Stage, claim: Claim, *napts: str) -> None:
    """None of these NAPTs has an explicit rule."""
    for napt in napts:
        rules = [rule for rule in stage.net.napt(napt).rules() if rule["explicit"]]
        claim.require(not rules, f"{napt}: {count(len(rules), 'explicit rule')}")


def answer_way(stage: Stage, passed: Passed, among: tuple[str, ...]) -> None:
    """Show the file's way. The step asks which of these nodes it passes: the first, or `none`."""
    trail = passed.trail(stage)
    stage.see(*(f"{captured.where:14} {captured.packet}" for captured in trail.seen))
    if trail.at(passed.target, outgoing=False) is None:
        stage.answer("never", f"the file did not arrive: {'; '.join(passed.failures.values())}")
        return
    passes = [node for node in trail.nodes if node in among]
    stage.answer(passes[0] if passes else "none", f"the file went {trail}")
