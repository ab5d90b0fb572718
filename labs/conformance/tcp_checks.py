"""What several RFCs ask of TCP: mapping, filtering, hairpinning, and how connections begin and end.

Unsolicited SYNs are tried once for all requirements, because the answer takes 6 seconds: y1 calls
every port of the *small* NAPT. Then s1 calls y1 from behind it, and 3 seconds later s2 does. So
two of the ports are those of a simultaneous open, and no other port is in use.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from napt_lab.labs.capture.packets import ACK, FIN, PSH, RST, SYN, Endpoint, Packet, show
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.conformance.conversation import TcpFlow, open_tcp
from napt_lab.labs.conformance.exam import Exam, carries
from napt_lab.labs.conformance.headers import echo, fresh, tcp
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.topology import SMALL_POOL
from napt_lab.labs.conformance.udp_checks import (
    ADDRESS_DEPENDENT,
    ENDPOINT_INDEPENDENT,
    PORT_DEPENDENT,
    same_external,
)
from napt_lab.labs.conformance.violation import NotApplicable, NotProbed, Violation

SILENCE = 6.0  # seconds (RFC 5382, REQ-4)
LATE = 3.0  # seconds until the inside dials what was refused
ANSWERED_WITHIN = 3.0  # seconds after that
DECIDED_WITHIN = 1.0  # seconds that a NAPT without an answer to pings is given for the SYNs
CLOCKS_APART = 0.05  # seconds: two interfaces, two time-stamps


def mapping_is_endpoint_independent(t: Exam) -> None:
    """As for UDP: one internal endpoint, three remote ones, and another host with the same port."""
    port, remote_port = t.port(), t.port()
    one = open_tcp(t, t.host("x1"), t.host("y1"), port=port, remote_port=remote_port)
    open_tcp(t, t.host("x3"), t.host("y2"), port=port, remote_port=remote_port)
    for outside, other_port in ((t.host("y1"), t.port()), (t.host("y2"), remote_port)):
        other = open_tcp(t, t.host("x1"), outside, port=port, remote_port=other_port)
        same_external(t, one.external, other.external, other.remote)


def filtering(t: Exam, inside: Host) -> str:
    """Which of the three filtering behaviors is seen, by SYNs to an endpoint in use."""
    flow = open_tcp(t, inside, t.host("y1"))
    control = open_tcp(t, inside, t.host("far"))
    if _syn_let_in(t, flow, (control.outside.address, t.port()), control):
        return ENDPOINT_INDEPENDENT
    if _syn_let_in(t, flow, (flow.outside.address, t.port()), flow):
        return ADDRESS_DEPENDENT
    return PORT_DEPENDENT


def _syn_let_in(t: Exam, flow: TcpFlow, caller: Endpoint, control: TcpFlow) -> bool:
    syn = tcp(caller, flow.external, SYN, 1 + t.port())
    came = t.let_in(control.outside, syn, flow.inside, control.inward(ACK))
    return came is not None


def hairpin(t: Exam, one: Host, two: Host) -> tuple[Endpoint, Packet]:
    """Two inside hosts dial each other's external endpoints; `one`'s, and what `two` gets.

    Both dial, so that no filter stands in the way: a simultaneous open.
    """
    first, second = open_tcp(t, one, t.host("y1")), open_tcp(t, two, t.host("y2"))
    numbers = 1 + t.port(), 1 + t.port()
    two.send(tcp(second.internal, first.external, SYN, numbers[1]))
    arrived = t.passes(one, tcp(first.internal, second.external, SYN, numbers[0]), two)
    if arrived.receiver != second.internal:
        raise Violation(f"the SYN was delivered to {show(arrived.receiver)}")
    answer = tcp(second.internal, first.external, SYN | ACK, numbers[1], numbers[0] + 1)
    back = t.passes(two, answer, one)
    if back.receiver != first.internal:
        raise Violation(f"the SYN-ACK was delivered to {show(back.receiver)}")
    last = tcp(first.internal, second.external, ACK, numbers[0] + 1, numbers[1] + 1)
    t.passes(one, last, two)
    return first.external, arrived


def hairpin_to_rule(t: Exam, one: Host, two: Host) -> None:
    """`one` connects to the explicit rule that leads to `two`."""
    listening = t.testbed.rule()
    flow = TcpFlow(t, one, two, remote_port=listening[1])
    arrived = t.passes(one, tcp(flow.internal, listening, SYN, flow.first), two)
    answer = tcp(arrived.receiver, arrived.sender, SYN | ACK, 1, flow.first + 1)
    back = t.passes(two, answer, one)
    if (back.sender, back.receiver) != (listening, flow.internal):
        raise Violation(f"the SYN-ACK came back as {back}")


def opened_simultaneously(t: Exam) -> TcpFlow:
    """Two SYNs cross, then two SYN-ACKs (RFC 9293, figure 8)."""
    flow = TcpFlow(t, t.host("x1"), t.host("y1"))
    flow.out(SYN)
    flow.back(SYN)
    flow.resend_with_ack()
    flow.exchange()
    return flow


def opened_simultaneously_by_the_outside(t: Exam) -> None:
    """The same, where the first SYN of all is the outside's: let in or not, it comes again.

    The outside knows where to send it from another connection of the same port.
    """
    x1, y1, y2 = t.host("x1"), t.host("y1"), t.host("y2")
    known = open_tcp(t, x1, y2)
    flow = TcpFlow(t, x1, y1, port=known.port, external=known.external)
    came = t.let_in(y1, flow.inward(SYN), x1, known.inward(ACK), by=y2)
    t.note("the outside's SYN was let in" if came else "the outside's SYN came too early")
    flow.external = ("", 0)  # towards y1 it may be another
    flow.out(SYN)
    if flow.external != known.external:
        raise NotApplicable("the outside cannot know where to send its SYN: mapping is dependent")
    flow.back(SYN)
    flow.resend_with_ack()
    flow.exchange()


def closed_from_outside(t: Exam) -> None:
    """The outside ends first; the inside still sends."""
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    flow.back(FIN | ACK)
    flow.out(PSH | ACK, fresh())
    flow.back(ACK)
    flow.out(FIN | ACK)
    flow.back(ACK)


def closed_simultaneously(t: Exam) -> None:
    """Two FINs cross, then two ACKs (RFC 9293, figure 13)."""
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    flow.out(FIN | ACK)
    flow.back(FIN | ACK, acknowledges=flow.first - 1)
    flow.out(ACK)
    flow.back(ACK)


def everything_twice(t: Exam) -> None:
    """A connection of which every segment that opens or closes it comes twice."""
    flow = TcpFlow(t, t.host("x1"), t.host("y1"))
    outward = flow.out, flow.outward, flow.pass_out
    inward = flow.back, flow.inward, flow.pass_back
    for (send, segment, send_again), flags in (
        (outward, SYN),
        (inward, SYN | ACK),
        (outward, ACK),
        (outward, FIN | ACK),
        (inward, FIN | ACK),
    ):
        repeated = segment(flags)
        send(flags)
        send_again(repeated)


def restarted(t: Exam) -> None:
    """The inside has lost an established connection, and opens it anew (RFC 9293, figure 10)."""
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    flow.pass_out(flow.outward(SYN))
    flow.back(ACK)
    flow.pass_out(flow.outward(RST))
    flow.handshake()
    flow.exchange()


@dataclass(frozen=True, slots=True)
class Answer:
    """Something that came back for a SYN. Seconds since the SYN reached the NAPT."""

    call: Call
    seconds: float
    packet: Packet

    def __str__(self) -> str:
        return f"{self.call} was answered after {self.seconds:.2f} s: {self.packet}"


@dataclass(frozen=True, slots=True)
class Call:
    """An unsolicited SYN: who sends it, and to which external port."""

    caller: str
    port: int

    def __str__(self) -> str:
        return f"{self.caller}'s SYN to port {self.port}"


@dataclass(frozen=True, slots=True)
class Unsolicited:
    """The calls, which were dialed at once and late, and what came back within so many seconds."""

    calls: tuple[Call, ...]
    dialed: Call
    dialed_late: Call
    answers: tuple[Answer, ...]
    waited: float

    def before(self, seconds: float) -> list[Answer]:
        return [answer for answer in self.answers if answer.seconds < seconds - CLOCKS_APART]


def unsolicited(t: Exam) -> Unsolicited:
    """The experiment; carried out once for all who look at it."""
    return t.testbed.once("unsolicited SYNs", lambda: _unsolicited(t))


def _unsolicited(t: Exam) -> Unsolicited:
    y1, y2, napt, wire = t.host("y1"), t.host("y2"), t.napt("small"), t.testbed.wire
    since, remote_port = wire.mark(), t.port()
    calls = [Call(y1.name, port) for port in SMALL_POOL]
    for call in calls:
        _dial(t, call, napt.external, remote_port)
    # When the ping that was sent behind them is answered, they have been decided about.
    behind = echo(y1.address, napt.external, t.port())
    y1.send(behind)
    t.await_at(y1.where, carries(behind), since, wait=DECIDED_WITHIN)
    inside, dialed = _dialed_from(t, "s1", remote_port)
    # For another remote host, whom the filter keeps out, a port in use must look unused too.
    stranger = Call(y2.name, dialed)
    _dial(t, stranger, napt.external, remote_port)
    time.sleep(LATE)
    _, dialed_late = _dialed_from(t, "s2", remote_port)
    time.sleep(SILENCE + ANSWERED_WITHIN - LATE)
    if not wire.packets(inside.where, lambda p: p.source == y2.address, since=since):
        calls.append(stranger)
    answers = []
    for call in calls:
        where = t.host(call.caller)
        began = _arrival(t, call, where.address, remote_port, since)
        for captured in wire.captured(where.where, lambda c: not c.outgoing, since=since):
            packet = captured.packet
            if _answers(packet, napt.external, call.port, remote_port):
                answers.append(Answer(call, captured.time - began, packet))
    waited = SILENCE + ANSWERED_WITHIN
    dials = Call(y1.name, dialed), Call(y1.name, dialed_late)
    return Unsolicited(tuple(calls), *dials, tuple(answers), waited)


def _dialed_from(t: Exam, inside: str, remote_port: int) -> tuple[Host, int]:
    """Let a host behind *small* dial y1: the host, and the external port."""
    flow = TcpFlow(t, t.host(inside), t.host("y1"), remote_port=remote_port)
    _, port = t.given(flow.inside, flow.outward(SYN), flow.outside).sender
    return flow.inside, port


def _dial(t: Exam, call: Call, external: str, remote_port: int) -> None:
    caller = t.host(call.caller)
    source = caller.address, remote_port
    caller.send(tcp(source, (external, call.port), SYN, 1 + t.port()))


def _arrival(t: Exam, call: Call, source: str, remote_port: int, since: int) -> float:
    """When the SYN reached the NAPT. NotProbed if it did not."""
    ends = source, remote_port, call.port

    def is_it(captured: Captured) -> bool:
        packet = captured.packet
        return (packet.source, packet.source_port, packet.destination_port) == ends

    outside = t.napt("small").outside
    seen = t.testbed.wire.captured(outside, lambda c: not c.outgoing and is_it(c), since=since)
    if not seen:
        raise NotProbed(f"{call} never reached {outside}")
    return seen[0].time


def _answers(packet: Packet, external: str, port: int, remote_port: int) -> bool:
    """Whether this comes back for a SYN from `remote_port` to `port`: a RST, or an error."""
    if packet.source != external:
        return False
    if packet.quoted is not None:
        about = packet.quoted
        return (about.source_port, about.destination_port) == (remote_port, port)
    is_reply = bool(packet.flags & (RST | ACK))
    return is_reply and (packet.source_port, packet.destination_port) == (port, remote_port)
