"""TCP connections whose every segment a test chooses, and ICMP queries.

Both ends are ours, so a connection goes through whatever states a test wants. The numbers are
kept as real endpoints keep them, since a translator may check windows.
"""

from __future__ import annotations

import os
from typing import Any

from napt_lab.labs.capture.packets import ACK, FIN, PSH, RST, SYN, Endpoint, Packet, show
from napt_lab.labs.conformance.exam import Exam
from napt_lab.labs.conformance.headers import USUAL, IpFields, Probe, echo, fresh, tcp
from napt_lab.labs.conformance.testbed import Host
from napt_lab.labs.conformance.violation import Violation

MODULUS = 1 << 32
MSS = b"\x02\x04\x05\xb4"


class TcpFlow:
    """A connection between an internal endpoint and a remote one."""

    def __init__(
        self,
        exam: Exam,
        inside: Host,
        outside: Host,
        *,
        port: int | None = None,
        remote_port: int | None = None,
        external: Endpoint = ("", 0),
    ) -> None:
        self._exam = exam
        self.inside, self.port = inside, port or exam.port()
        self.outside, self.remote_port = outside, remote_port or exam.port()
        self.external = external
        self._out, self._back = _initial(), _initial()  # the next sequence number of each end

    @property
    def internal(self) -> Endpoint:
        return self.inside.address, self.port

    @property
    def remote(self) -> Endpoint:
        return self.outside.address, self.remote_port

    # -- segments, not yet sent ---------------------------------------------------------------

    def outward(self, flags: int, data: bytes = b"", **choices: Any) -> Probe:
        """The next segment of the inside."""
        numbers = self._out, self._back
        return _segment(self.internal, self.remote, numbers, flags, data, choices)

    def inward(self, flags: int, data: bytes = b"", **choices: Any) -> Probe:
        """The next segment of the outside, to the external endpoint."""
        numbers = self._back, self._out
        return _segment(self.remote, self.external, numbers, flags, data, choices)

    # -- segments that must pass --------------------------------------------------------------

    def out(self, flags: int, data: bytes = b"", **choices: Any) -> Packet:
        """Send from the inside; it must arrive (Violation), from the external endpoint."""
        packet = self.pass_out(self.outward(flags, data, **choices))
        self._out = _after(self._out, flags, data)
        return packet

    def pass_out(self, probe: Probe) -> Packet:
        """The same for a segment that may have been sent before."""
        packet = self._exam.passes(self.inside, probe, self.outside)
        if self.external == ("", 0):
            self.external = packet.sender
        _require_ends(probe, packet, self.external, self.remote)
        return packet

    def back(self, flags: int, data: bytes = b"", **choices: Any) -> Packet:
        """Send from the outside; it must arrive at the internal endpoint (Violation)."""
        packet = self.pass_back(self.inward(flags, data, **choices))
        self._back = _after(self._back, flags, data)
        return packet

    def pass_back(self, probe: Probe) -> Packet:
        """The same for a segment that may have been sent before."""
        packet = self._exam.passes(self.outside, probe, self.inside)
        _require_ends(probe, packet, self.remote, self.internal)
        return packet

    @property
    def first(self) -> int:
        """The inside's next sequence number."""
        return self._out

    def resend_with_ack(self) -> None:
        """After two SYNs have crossed: each end repeats its own, with an ACK of the other's."""
        self._out, self._back = (self._out - 1) % MODULUS, (self._back - 1) % MODULUS
        self.out(SYN | ACK, acknowledges=self._back + 1)
        self.back(SYN | ACK, acknowledges=self._out)

    def handshake(self) -> TcpFlow:
        """SYN, SYN-ACK, ACK, opened from the inside."""
        self.out(SYN)
        self.back(SYN | ACK)
        self.out(ACK)
        return self

    def opened_from_outside(self) -> TcpFlow:
        """The same the other way round; `external` must be known."""
        self.back(SYN)
        self.out(SYN | ACK)
        self.back(ACK)
        return self

    def exchange(self) -> None:
        """Data both ways."""
        self.out(PSH | ACK, fresh())
        self.back(PSH | ACK, fresh())

    def close(self) -> None:
        """FIN both ways, and the last ACK."""
        self.out(FIN | ACK)
        self.back(FIN | ACK)
        self.out(ACK)

    def reset(self) -> Packet:
        """A RST from the outside."""
        return self.back(RST | ACK)


class Query:
    """An internal host that pings a remote one, always with the same identifier."""

    def __init__(
        self, exam: Exam, inside: Host, outside: Host, *, identifier: int | None = None
    ) -> None:
        self._exam = exam
        self.inside, self.outside = inside, outside
        self.identifier = identifier or exam.port()
        self.external = 0

    def request(self, fields: IpFields = USUAL) -> Probe:
        return echo(self.inside.address, self.outside.address, self.identifier, fields)

    def reply(self) -> Probe:
        napt = self._exam.napt(self.inside.site or "main")
        return echo(self.outside.address, napt.external, self.external, reply=True)

    def ask(self) -> Packet:
        """A request, which must arrive."""
        packet = self._exam.passes(self.inside, self.request(), self.outside)
        self.external = packet.identifier
        return packet

    def answer(self) -> Packet:
        """The reply, which must arrive where the request came from."""
        packet = self._exam.passes(self.outside, self.reply(), self.inside)
        if (packet.destination, packet.identifier) != (self.inside.address, self.identifier):
            raise Violation(f"the reply was delivered as {packet}")
        return packet


def _require_ends(probe: Probe, packet: Packet, sender: Endpoint, receiver: Endpoint) -> None:
    """Violation unless the packet has arrived with this source and this destination."""
    if packet.sender != sender:
        raise Violation(f"{probe.what} came from {show(packet.sender)}, not {show(sender)}")
    if packet.receiver != receiver:
        raise Violation(
            f"{probe.what} was delivered to {show(packet.receiver)}, not {show(receiver)}"
        )


def _segment(
    source: Endpoint,
    destination: Endpoint,
    numbers: tuple[int, int],
    flags: int,
    data: bytes,
    choices: dict[str, Any],
) -> Probe:
    sequence, expected = numbers
    acknowledgment = choices.pop("acknowledges", expected) if flags & ACK else 0
    options = {"options": MSS if flags & SYN else b""} | choices
    return tcp(source, destination, flags, sequence, acknowledgment, data, **options)


def open_tcp(
    exam: Exam,
    inside: Host,
    outside: Host,
    *,
    port: int | None = None,
    remote_port: int | None = None,
) -> TcpFlow:
    """An established connection."""
    return TcpFlow(exam, inside, outside, port=port, remote_port=remote_port).handshake()


def _after(sequence: int, flags: int, data: bytes) -> int:
    return (sequence + len(data) + bool(flags & SYN) + bool(flags & FIN)) % MODULUS


def _initial() -> int:
    return int.from_bytes(os.urandom(4), "big")
