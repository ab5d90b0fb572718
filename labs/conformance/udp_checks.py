"""What several RFCs ask of UDP mappings: mapping, filtering, port parity, hairpinning."""

from __future__ import annotations

from collections.abc import Callable

from napt_lab.labs.capture.packets import Endpoint, Packet, show
from napt_lab.labs.conformance.conversation import TcpFlow
from napt_lab.labs.conformance.exam import Exam, UdpFlow
from napt_lab.labs.conformance.headers import Probe, udp
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.violation import Violation

ENDPOINT_INDEPENDENT = "endpoint-independent"
ADDRESS_DEPENDENT = "address-dependent"
PORT_DEPENDENT = "address-and-port-dependent"
BEHAVIORS = (ENDPOINT_INDEPENDENT, ADDRESS_DEPENDENT, PORT_DEPENDENT)  # from open to strict


def mapping_is_endpoint_independent(t: Exam) -> None:
    """One internal endpoint, three remote ones: the same external endpoint.

    Meanwhile another host, with the same port, has dialed one of them: a NAT that merely keeps
    port numbers looks endpoint-independent as long as none of them collide.
    """
    port, remote_port = t.port(), t.port()
    one = t.open_udp(t.host("x1"), t.host("y1"), port=port, remote_port=remote_port)
    t.open_udp(t.host("x3"), t.host("y2"), port=port, remote_port=remote_port)
    for outside, other_port in (
        (t.host("y1"), t.port()),
        (t.host("y2"), remote_port),
    ):
        other = t.open_udp(t.host("x1"), outside, port=port, remote_port=other_port)
        same_external(t, one.external, other.external, other.remote)


def measured_mapping(open_: Callable[..., UdpFlow | TcpFlow], t: Exam) -> str:
    """The strictest mapping behavior that a client finds in two tries (RFC 5780, section 4.3).

    Another host, with the same port, dials one of the remote endpoints: see above. It does so once
    before the client, once late: the kernel, when it has changed a port, stays with the new one.
    """
    return max((_mapping(open_, t, late) for late in (False, True)), key=BEHAVIORS.index)


def _mapping(open_: Callable[..., UdpFlow | TcpFlow], t: Exam, late: bool) -> str:
    y1, y2 = t.host("y1"), t.host("y2")
    port, same, other = (t.port() for _ in range(3))
    asked = ("x3", y2, same), ("x1", y1, same), ("x1", y2, other), ("x1", y2, same)
    seen = {}
    for name, outside, remote_port in (*asked[1:3], asked[0], asked[3]) if late else asked:
        flow = open_(t.host(name), outside, port=port, remote_port=remote_port)
        seen[name, outside.name, remote_port] = flow.external
    first, third, second = (seen[name, outside.name, port] for name, outside, port in asked[1:])
    t.note(f"{show(first)} towards y1, {show(second)} and {show(third)} towards two ports of y2")
    if second != third:
        return PORT_DEPENDENT
    return ENDPOINT_INDEPENDENT if first == second else ADDRESS_DEPENDENT


def same_external(t: Exam, one: Endpoint, other: Endpoint, remote: Endpoint) -> None:
    """The external endpoint towards another remote one is the same."""
    t.require(
        one == other,
        f"{show(one)} towards {show(remote)}, too",
        f"{show(one)} at first, but {show(other)} towards {show(remote)}",
    )


def filtering(t: Exam, inside: Host) -> str:
    """Which of the three filtering behaviors is seen."""
    return filtering_of(t, t.open_udp(inside, t.host("y1")))


def behavior(t: Exam, one: UdpFlow, two: UdpFlow) -> str:
    """What is seen of mapping and filtering, in words, at two sessions of one internal endpoint."""
    mapped = "the same external endpoint" if one.external == two.external else "two external ones"
    return f"{mapped}, filtering {filtering_of(t, one)}"


def filtering_of(t: Exam, flow: UdpFlow) -> str:
    """The same at a session whose internal endpoint has never called `far`."""
    inside = flow.inside
    flow.answer()
    stranger = t.host("far")
    control = t.open_udp(inside, stranger)
    from_stranger = udp((stranger.address, t.port()), flow.external)
    if t.let_in(stranger, from_stranger, inside, control.inward()) is not None:
        return ENDPOINT_INDEPENDENT
    other_port = udp((flow.outside.address, t.port()), flow.external)
    if t.let_in(flow.outside, other_port, inside, flow.inward()) is not None:
        return ADDRESS_DEPENDENT
    return PORT_DEPENDENT


def parity_is_kept(t: Exam) -> None:
    """Twelve ports, even and odd: by chance all would fit once in 4,096 times."""
    for _ in range(12):
        flow = t.open_udp(t.host("x1"), t.host("y1"))
        t.require(
            flow.port % 2 == flow.external[1] % 2,
            f"{flow.port} → {flow.external[1]}",
            f"{flow.port} became {flow.external[1]}",
        )


def hairpin(t: Exam, one: Host, two: Host) -> tuple[UdpFlow, UdpFlow, Probe, Packet]:
    """Two inside hosts that have sent to each other's external endpoints; then one more packet.

    Gives the two sessions, the packet as `one` sends it, and as `two` gets it.

    Both have sent first, so that no filter stands in the way.
    """
    first, second = t.open_udp(one, t.host("y1")), t.open_udp(two, t.host("y2"))
    two.send(second.outward(first.external))
    probe = first.outward(second.external)
    packet = t.passes(one, probe, two)
    if packet.receiver != second.internal:
        raise Violation(f"it was delivered to {show(packet.receiver)}")
    back = t.passes(two, second.outward(first.external), one)
    if back.receiver != first.internal:
        raise Violation(f"the answer was delivered to {show(back.receiver)}")
    return first, second, probe, packet


def hairpin_source(t: Exam, one: Host, two: Host) -> None:
    """The source of a hairpinned packet is the sender's external endpoint."""
    first, _, _, packet = hairpin(t, one, two)
    t.require(
        packet.sender == first.external,
        f"it comes from {show(first.external)}",
        f"it comes from {show(packet.sender)}, not {show(first.external)}",
    )
