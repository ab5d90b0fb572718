"""A file through a relay or a TURN server, to which both ends connect.

    relay   both send the same word (servers/relay/relay.py), with nc
    TURN    the sender allocates an address (RFC 8656, RFC 6062) and permits the receiver, which
            connects to it

That the path is a relayed one is seen on the wires. The first bytes of the file, which are random,
arrive at the relay in one connection and leave it in another, and each of the two connections was
opened by the end in question: neither end was called from outside.
"""

from __future__ import annotations

import os
import secrets

from napt_lab.labs.capture.packets import ACK, SYN
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.diagnosis import diagnose
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.probes import Prober, Speech
from napt_lab.labs.check.trail import Match, Trail, carries, follow
from napt_lab.labs.check.transfer import PATIENCE, SIZE, new_name, removed, require_same
from napt_lab.topologies.network.processes import DeadlinePassed, Process, ProgramEnded
from napt_lab.topologies.network.programs import READY_SECONDS
from napt_lab.topologies.spec.assertions import GetsFileThrough

FIRST_BYTES = 32  # of the file, by which it is known on its way


def check_relayed(ground: Ground, claim: GetsFileThrough, evidence: Evidence) -> None:
    """Raises Unmet if the file does not come, or by another way."""
    since = ground.wire.mark()
    name, content = new_name(), os.urandom(SIZE)
    sent, received = (ground.net[node].home / name for node in (claim.sender, claim.receiver))
    send = _by_word if claim.service.name == "relay" else _by_turn
    with removed(sent, received):
        sent.write_bytes(content)
        send(ground, claim, name, evidence)
        require_same(content, received, claim.receiver, evidence)
    _require_relayed(ground, claim, content[:FIRST_BYTES], since, evidence)


def _by_word(ground: Ground, claim: GetsFileThrough, name: str, _evidence: Evidence) -> None:
    word = secrets.token_hex(16)
    dial = f"{ground.address(claim.server)} {claim.service.port}"
    receiver = _shell(ground, claim.receiver, f"echo {word} | nc {dial} > {name}")
    sender = _shell(ground, claim.sender, f"(echo {word}; cat {name}) | nc -N {dial}")
    for process in (sender, receiver):
        _finish(ground, process, claim)


def _by_turn(ground: Ground, claim: GetsFileThrough, name: str, evidence: Evidence) -> None:
    server, port = ground.address(claim.server), claim.service.port
    outside, *others = ground.public_addresses(claim.receiver)
    if others:
        raise CannotTell(
            f"the address of {claim.receiver} outside is not known beforehand (address-pooling: "
            "arbitrary), and the TURN client must permit it"
        )
    sender = ground.net[claim.sender].start_program(
        [
            "turn-client", "--server", f"{server}:{port}",
            "--user", claim.service.users[0], "--permit", str(outside),
            "--wait", f"{PATIENCE:g}", "--send", name,
        ],
        name=f"turn-{name}",
    )  # fmt: skip
    try:
        told = sender.wait_for("allocated", deadline=READY_SECONDS).fields
        sender.wait_for("permission", deadline=READY_SECONDS)
    except (ProgramEnded, DeadlinePassed) as error:
        raise _why(ground, sender, claim, str(error)) from error
    address, _, rented = str(told["relayed"]).rpartition(":")
    evidence.add(f"{claim.sender} allocated {told['relayed']}, and permits {outside}")
    receiver = _shell(ground, claim.receiver, f"nc {address} {rented} > {name}")
    for process in (receiver, sender):
        _finish(ground, process, claim)


def _shell(ground: Ground, node: str, line: str) -> Process:
    return ground.net[node].start(["sh", "-c", line])


def _finish(ground: Ground, process: Process, claim: GetsFileThrough) -> None:
    """Wait until it ends; Unmet, with the reason, if it failed or took too long."""
    words = f"timed out after {PATIENCE:g} s"
    if ground.ends(process, PATIENCE):
        completed = process.wait(PATIENCE)
        if completed.status == 0:
            return
        words = completed.stderr.strip() or f"exit status {completed.status}"
    raise _why(ground, process, claim, words)


def _why(ground: Ground, process: Process, claim: GetsFileThrough, words: str) -> Unmet:
    """Why it failed: the server cannot be reached, or the program reports something."""
    prober = Prober(ground, process.node, PATIENCE)
    address = ground.address(claim.server)
    tried = prober.tcp(str(address), claim.service.port, Speech.NOTHING)
    where = f"{claim.server}:{claim.service.port}"
    if tried.answered:
        return Unmet(f"{process.node} connects to {where}, but: {words}")
    end = diagnose(prober, tried, address)
    return Unmet(f"{process.node} does not reach {where}: {end}")


def _require_relayed(
    ground: Ground, claim: GetsFileThrough, first_bytes: bytes, since: int, evidence: Evidence
) -> None:
    trail = follow(ground, carries(first_bytes), since)
    evidence.add(str(trail))
    came, left = (trail.at(claim.server, outgoing=out) for out in (False, True))
    if came is None or left is None or not _is_whole(trail, claim):
        raise Unmet(f"the file did not go by {claim.server}: {trail}")
    server = str(ground.address(claim.server))
    for node, end in ((claim.sender, came.packet.from_), (claim.receiver, left.packet.to)):
        opened = ground.wire.everywhere(_opening_by(end, server), since=since)
        evidence.require(
            bool(opened),
            f"{claim.server} was dialed by {node}, as {end}",
            f"a SYN from {end} to {server}",
        )


def _is_whole(trail: Trail, claim: GetsFileThrough) -> bool:
    ends = (trail.at(claim.sender, outgoing=True), trail.at(claim.receiver, outgoing=False))
    return None not in ends


def _opening_by(end: str, server: str) -> Match:
    def match(captured: Captured) -> bool:
        packet = captured.packet
        is_syn = packet.is_tcp(flags=SYN, among=SYN | ACK)
        return is_syn and packet.from_ == end and packet.destination == server

    return match
