"""`loses at most N of M datagrams to`: which datagrams arrive, of those that have left.

M datagrams leave the source's socket, one each 5 ms: Binding requests (RFC 8489) whose transaction
IDs count them. One that leaves the source's interface and does not arrive at the target's is lost.
Answers may be lost; they do not count. After the last one, more are sent that do not count, until
one of them arrives: links keep the order, so what has not arrived by then is lost.
"""

from __future__ import annotations

import secrets
import socket
from collections import Counter, defaultdict
from collections.abc import Mapping

from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check import stun_binding
from napt_lab.labs.check.drops import names
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.outcome import CannotTell, Evidence
from napt_lab.labs.check.place import served, tell_of_ours
from napt_lab.labs.check.trail import node_of
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.spec.assertions import Loses, Protocol

PACE = 0.005  # seconds between two datagrams
MARKS, MARK_PACE = 80, 0.1  # those that do not count, and the seconds between two
NUMBER_BYTES = 4
RUN_BYTES = stun_binding.TRANSACTION_BYTES - NUMBER_BYTES
BEFORE = 8  # bytes of a Binding request before its transaction ID

Journeys = Mapping[int, list[Captured]]  # by a datagram's number, each in the order of time


def check_loses(ground: Ground, listeners: Listeners, claim: Loses, evidence: Evidence) -> None:
    """Raises Unmet if more are lost, CannotTell if they have not left."""
    run, since = secrets.token_bytes(RUN_BYTES), ground.wire.mark()
    log_since = ground.net.log.mark()
    with served(ground, listeners, claim.target, Protocol.UDP, claim.source) as place:
        tell_of_ours(place, Protocol.UDP, evidence)
        journeys = _send(ground, claim, place.node, run, since)
    lost = []
    for number in range(claim.of):
        journey = journeys[number]
        if not journey:
            raise CannotTell(f"datagram {number + 1} of {claim.of} did not leave {claim.source}")
        if not _arrived(journey, place.node):
            lost.append(journey[-1])
    for where, number in Counter(_end(ground, last, log_since) for last in lost).items():
        evidence.add(f"{number} ended {where}")
    seen = f"{len(lost)} of {claim.of} datagrams to {place.node} were lost"
    evidence.require(len(lost) <= claim.most, seen, f"at most {claim.most}")


def _send(ground: Ground, claim: Loses, target: str, run: bytes, since: int) -> Journeys:
    """Send all datagrams, and more until one of those has arrived."""
    pid, to = ground.net[claim.source].pid, (str(claim.target.address), claim.target.port)
    with visit(pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        for number in range(claim.of + MARKS):
            transaction = run + number.to_bytes(NUMBER_BYTES, "big")
            sock.sendto(stun_binding.request(transaction), to)
            is_mark = number >= claim.of
            if ground.stopped.wait(MARK_PACE if is_mark else PACE):
                break
            if is_mark:
                journeys = _journeys(ground, run, since)
                if any(_arrived(journeys[mark], target) for mark in range(claim.of, number + 1)):
                    break
    return _journeys(ground, run, since)


def _journeys(ground: Ground, run: bytes, since: int) -> Journeys:
    """Where each datagram was seen; not the answers to them."""
    request = stun_binding.REQUEST.to_bytes(2, "big")
    found: dict[int, list[Captured]] = defaultdict(list)
    seen = ground.wire.everywhere(
        lambda c: run in c.data and c.packet.protocol == "udp", since=since
    )
    for captured in seen:
        at = captured.data.index(run)
        if captured.data[at - BEFORE :].startswith(request):
            number = captured.data[at + RUN_BYTES :][:NUMBER_BYTES]
            found[int.from_bytes(number, "big")].append(captured)
    return found


def _arrived(journey: list[Captured], target: str) -> bool:
    return any(node_of(captured) == target and not captured.outgoing for captured in journey)


def _end(ground: Ground, last: Captured, log_since: int) -> str:
    """Where a datagram was last seen, or who reports that it was dropped."""
    for event in ground.net.log.since(log_since):
        if event.name == "drop" and names(event, last):
            return f"at {event.node}: {event.fields['reason']} ({event.fields['meaning']})"
    return f"after {last.where}"
