"""Which ports are given: not to be guessed, to one protocol at a time, and on request."""

from __future__ import annotations

import socket
import struct
from itertools import pairwise

from napt_lab.labs.capture.packets import UDP, show
from napt_lab.labs.conformance.conversation import open_tcp
from napt_lab.labs.conformance.exam import WAIT, Exam, read
from napt_lab.labs.conformance.headers import fresh, udp
from napt_lab.labs.conformance.violation import Violation

PCP_PORT, PCP_VERSION, PCP_MAP, PCP_RESPONSE = 5351, 2, 1, 0x80
SAMPLE = 16
NEAR = 64
"""Of two ports that were drawn at random, one is among the 64 behind the other once in 1,000."""


def are_unguessable(t: Exam) -> None:
    """Mappings one after the other: neither the same steps, nor steps that are always small.

    A NAPT that keeps port numbers where it can is asked for ports that are taken already.
    """
    server, remote_port = t.host("y1"), t.port()
    first = [t.open_udp(t.host("x1"), server, remote_port=remote_port) for _ in range(SAMPLE)]
    given = [flow.external[1] for flow in first]
    if all(flow.port == flow.external[1] for flow in first):
        t.note("port numbers are kept where that is possible: so another host asks for the same")
        second = [
            t.open_udp(t.host("x2"), server, port=flow.port, remote_port=remote_port)
            for flow in first
        ]
        given = [flow.external[1] for flow in second]
    steps = [after - before for before, after in pairwise(given)]
    near = sum(0 < step <= NEAR for step in steps)
    t.require(
        near <= len(steps) // 4 and len(set(steps)) > len(steps) // 2,
        f"{', '.join(map(str, given))}: no order in it",
        f"{', '.join(map(str, given))}: {near} of {len(steps)} steps are up by {NEAR} or less",
    )


def protocols_are_apart(t: Exam) -> None:
    """A UDP session with the ports of a TCP connection does not join its mapping.

    Were they one, a packet of UDP would come in before the inside has sent any.
    """
    tcp_admits_no_udp(t)
    flow = open_tcp(t, t.host("x2"), t.host("y1"))
    datagrams = t.open_udp(t.host("x2"), t.host("y1"), port=flow.port)
    datagrams.answer()
    flow.exchange()
    t.note(f"TCP as {show(flow.external)}, UDP as {show(datagrams.external)}")


def tcp_admits_no_udp(t: Exam) -> None:
    """A datagram to the external endpoint of a TCP connection, from its own peer."""
    flow = open_tcp(t, t.host("x1"), t.host("y1"))
    control = t.open_udp(t.host("x1"), t.host("y1"))
    probe = udp(flow.remote, flow.external)
    t.refused(flow.outside, probe, flow.inside, control.inward())


def can_be_asked_for(t: Exam) -> None:
    """A host asks its NAPT for a port by PCP (RFC 6887, section 11), and is then called there."""
    inside, caller, napt = t.host("n1"), t.host("y2"), t.napt("narrow")
    port, wanted = t.port(), t.port()
    nonce = fresh(12)
    own = bytes(10) + b"\xff\xff" + socket.inet_aton(inside.address)
    anyone = bytes(10) + b"\xff\xff" + bytes(4)
    request = struct.pack("!BBHI16s", PCP_VERSION, PCP_MAP, 0, 600, own) + struct.pack(
        "!12sB3xHH16s", nonce, UDP, wanted, 0, anyone
    )
    since = t.testbed.wire.mark()
    inside.send(udp((inside.address, port), (napt.internal, PCP_PORT), request))
    found = t.await_at(
        inside.where, lambda c: c.packet.source_port == PCP_PORT and nonce in c.data, since
    )
    if found is None:
        raise Violation(f"no answer from {napt.internal}:{PCP_PORT} within {WAIT:g} s")
    answer = read(found).data
    version, opcode, _, result = struct.unpack_from("!BBBB", answer)
    t.require(
        (version, opcode, result) == (PCP_VERSION, PCP_MAP | PCP_RESPONSE, 0),
        "the NAPT grants it",
        f"version {version}, opcode {opcode}, result {result}",
    )
    (external_port,) = struct.unpack_from("!H", answer, 42)
    probe = udp((caller.address, t.port()), (napt.external, external_port))
    packet = t.passes(caller, probe, inside)
    t.require(
        packet.receiver == (inside.address, wanted),
        f"and a call to {napt.external}:{external_port} reaches {show(packet.receiver)}",
        f"it was delivered to {show(packet.receiver)}, not to port {wanted}",
    )
