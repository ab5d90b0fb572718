"""`connects to … by ice`: two real peers (servers/ice), and the way that their data took.

Theory of operation. Each node runs one process for all of its connections. Each pair of peers meets
at the topology's relay, and the first sends the second a file of random bytes. What the programs
say is only how to find these bytes: the file's content in one direction, the digest in its answer
in the other. The way is then read from the wires (`way_between` in trail.py), and must be the same
in both directions.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.trail import Trail, follow, way_between
from napt_lab.labs.check.transfer import new_name, removed
from napt_lab.topologies.network.processes import Event, Process
from napt_lab.topologies.spec.assertions import ConnectsByIce, Via

PATIENCE = 20.0  # seconds for the other peer to come
END_SECONDS = 30.0  # more, for a way to it, the file, and the programs' ends
CHUNK = 1200  # bytes of the file in one datagram (servers/shared/file_in_datagrams.py)
TOKEN_BYTES = 64
ANSWER_BYTES = 16  # of the digest in its answer (servers/shared/file_in_datagrams.py)
HEADS = (b"DATA", b"HAVE")  # with which its datagrams begin
PROGRAM = "ice"
DROPS_SHOWN = 4

Pair = tuple[str, str]  # the peer that sends, and the one that receives


@dataclass(frozen=True, slots=True)
class Connected:
    """What came of one pair: the way, or why there was none, or why that cannot be told.

    `sockets`: the nodes and the endpoints from which they sent their checks.
    """

    via: Via | None
    evidence: tuple[str, ...]
    failure: str = ""
    trouble: str = ""
    sockets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Meeting:
    """One pair's word and file."""

    pair: Pair
    word: str
    file: str
    content: bytes

    @property
    def tokens(self) -> tuple[bytes, bytes]:
        """By which the file's second datagram is known, and the answer to it.

        Over TCP, the first one may be in a segment with what was sent before it.
        """
        token = self.content[CHUNK:]
        return token, hashlib.sha256(token).digest()[:ANSWER_BYTES]


def connect_by_ice(ground: Ground, pairs: Collection[Pair]) -> dict[Pair, Connected]:
    """Connect these pairs of hosts, all at once. OSError if a program could not be started.

    The topology must have a relay, where they meet; STUN and TURN servers are used if there are.
    """
    since, log_since = ground.wire.mark(), ground.net.log.mark()
    meetings = [
        _Meeting(pair, secrets.token_hex(16), new_name(), os.urandom(CHUNK + TOKEN_BYTES))
        for pair in pairs
    ]
    with ExitStack() as stack:
        for meeting in meetings:
            homes = [ground.net[node].home for node in meeting.pair]
            stack.enter_context(removed(*(home / meeting.file for home in homes)))
            (homes[0] / meeting.file).write_bytes(meeting.content)
        nodes = dict.fromkeys(node for pair in pairs for node in pair)
        processes = {node: _start(ground, node, meetings) for node in nodes}
        end = time.monotonic() + PATIENCE + END_SECONDS
        for process in processes.values():
            ground.ends(process, end - time.monotonic())
        told = ground.net.log.since(log_since)
        seen = follow(ground, _is_of_a_file, since)
        return {
            meeting.pair: _outcome(ground, meeting, told, processes, seen) for meeting in meetings
        }


def _start(ground: Ground, node: str, meetings: Collection[_Meeting]) -> Process:
    argv = [PROGRAM, "--meet", _server(ground, "relay")[0], "--wait", f"{PATIENCE:g}"]
    turn, user = _server(ground, "turn")
    if stun := _server(ground, "stun")[0] or turn:  # a TURN server answers STUN as well
        argv += ["--stun", stun]
    if turn:
        argv += ["--turn", turn, "--turn-over", "either", "--user", user]
    for meeting in meetings:
        if node in meeting.pair:
            does = "--send" if node == meeting.pair[0] else "--receive"
            argv += ["--word", meeting.word, does, meeting.file]
    return ground.net[node].start_program(argv, name=f"{PROGRAM}:{secrets.token_hex(4)}")


def _server(ground: Ground, name: str) -> tuple[str, str]:
    """The endpoint of the first public host's service of that name, and its account; or "", ""."""
    for host in ground.net.topology.internet:
        for service in host.runs:
            if service.name == name:
                return f"{host.address.ip}:{service.port}", next(iter(service.users), "")
    return "", ""


def _outcome(
    ground: Ground,
    meeting: _Meeting,
    told: Collection[Event],
    processes: Mapping[str, Process],
    seen: Trail,
) -> Connected:
    source, target = meeting.pair
    events = {(e.node, e.name): e.fields for e in told if e.fields.get("file") == meeting.file}
    sockets = tuple(
        (node, endpoint)
        for node in meeting.pair
        for endpoint in events.get((node, "candidates"), {}).get("host", ())
    )
    evidence = list(_drops(told, events))
    evidence += [
        f"{node} selected {pair['local']} → {pair['remote']}"
        for node in meeting.pair
        if (pair := events.get((node, "selected-pair")))
    ]
    for node in meeting.pair:
        if (failed := events.get((node, "failed"))) is not None:
            failure = f"{node} did not connect: {failed['reason']}"
            return Connected(None, tuple(evidence), failure, sockets=sockets)
        if (node, "done") not in events:
            trouble = processes[node].obituary() or f"{PROGRAM} on {node} did not end"
            return Connected(None, tuple(evidence), trouble=trouble, sockets=sockets)
    forth, back = (
        Trail(tuple(captured for captured in seen.seen if token in captured.data))
        for token in meeting.tokens
    )
    evidence += [f"the file went {forth}", f"the answer went {back}"]
    try:
        via = way_between(ground, source, target, forth)
        via_back = way_between(ground, target, source, back)
    except CannotTell as error:
        return Connected(None, tuple(evidence), trouble=str(error), sockets=sockets)
    failure = "" if via is via_back else f"the way back is another: {via_back.value}"
    return Connected(via, tuple(evidence), failure, sockets=sockets)


def _drops(
    told: Collection[Event], events: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[str]:
    """Where, and why, checks between these peers' candidates ended: as many as help."""
    ends = {
        endpoint
        for (_, name), fields in events.items()
        if name == "candidates"
        for listed in fields.values()
        if isinstance(listed, list)
        for endpoint in listed
    }
    drops = (
        f"{e.node} dropped {e.fields['packet']}: {e.fields['reason']}"
        for e in told
        if e.name == "drop" and ends & set(str(e.fields["packet"]).split())
    )
    return list(dict.fromkeys(drops))[:DROPS_SHOWN]


def _is_of_a_file(captured: Captured) -> bool:
    return any(head in captured.data for head in HEADS) and captured.packet.icmp is None


def check_connects_by_ice(ground: Ground, claim: ConnectsByIce, evidence: Evidence) -> None:
    """Raises Unmet if there is no way, or by another path."""
    pair = (claim.source, claim.target)
    connected = connect_by_ice(ground, [pair])[pair]
    evidence.lines += connected.evidence
    if connected.trouble:
        raise CannotTell(connected.trouble)
    if connected.via is None or connected.failure:
        raise Unmet(connected.failure)
    if claim.via is not None:
        evidence.require(
            connected.via is claim.via, f"the path is {connected.via.value}", claim.via.value
        )
