"""One test on the testbed: it sends packets, looks for them on the wires, and takes notes.

Theory of operation. What must pass is awaited, and if it does not come the capture at the NAPT
shows how far it got: a packet that never reached the NAPT proves nothing about it (NotProbed).
For what must *not* pass no time-out is needed: a control packet is sent after it by the same way.
When the control has arrived, an earlier packet has arrived as well, or never will.
"""

from __future__ import annotations

from collections.abc import Callable

from napt_lab.labs.capture.packets import ECHO, ECHO_REPLY, Endpoint, Packet, decode_ipv4, show
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.conformance.headers import USUAL, IpFields, Probe, udp
from napt_lab.labs.conformance.testbed import Host, Napt, Testbed
from napt_lab.labs.conformance.violation import Coincidence, NotProbed, Violation
from napt_lab.topologies.network.processes import DeadlinePassed

WAIT = 6.0  # seconds until a packet that must come has come
REASON_WAIT = 0.3  # seconds until a NAPT has reported why it dropped a packet
_PROTOCOL_AT = 14 + 9
SHOWN, FIRST = 8, 3  # notes of one test that are kept, and how many of them are its first ones


class Exam:
    """The tools of a requirement's test, and its notes."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        self._notes: list[str] = []
        self._ports = set[int]()
        self.observations = 0

    def host(self, name: str) -> Host:
        return self.testbed.hosts[name]

    def napt(self, site: str) -> Napt:
        return self.testbed.napts[site]

    def port(self) -> int:
        """A port (or identifier) that no other test uses, for either end."""
        self._ports.add(port := self.testbed.port())
        return port

    @property
    def mapping_setting(self) -> str:
        """The NAPT's mapping behavior as configured."""
        return self.testbed.setup.settings.mapping.value

    @property
    def filtering_setting(self) -> str:
        """The NAPT's filtering behavior as configured."""
        return self.testbed.setup.settings.filtering.value

    def machine_fault(self) -> str:
        """Why it may be the machine's fault that something failed; empty if it is not."""
        return self.testbed.net.machine_fault()

    def note(self, text: str) -> None:
        """Add a line of evidence."""
        self._notes.append(text)

    @property
    def evidence(self) -> tuple[str, ...]:
        """The notes; of many, the first and the last ones."""
        left_out = len(self._notes) - SHOWN
        if left_out <= 0:
            return tuple(self._notes)
        return (*self._notes[:FIRST], f"… {left_out} more …", *self._notes[FIRST - SHOWN :])

    def observe(self, text: str) -> None:
        """Note an observation: a verdict needs at least one."""
        self.observations += 1
        self.note(text)

    def require(self, holds: bool, met: str, violated: str) -> None:
        """Require a property of an observation: Violation unless it holds."""
        if not holds:
            raise Violation(violated)
        self.observe(met)

    def require_as_set(self, seen: str, wanted: str) -> None:
        """Require that a behavior that was seen is the one that is set."""
        self.require(
            seen == wanted, f"set to {wanted}: it is", f"set to {wanted}, but it is {seen}"
        )

    # -- what must pass -----------------------------------------------------------------------

    def passes(self, sender: Host, probe: Probe, receiver: Host) -> Packet:
        """Send a packet and return it as it arrives. Violation if the NAPT stops it; NotProbed."""
        packet, seen = self._try(sender, probe, receiver)
        if packet is None:
            raise Violation(seen)
        self.observe(f"{probe.what} → {receiver.name}: {packet}")
        return packet

    def given(self, sender: Host, probe: Probe, receiver: Host) -> Packet:
        """The same for a packet that only prepares the test: NotProbed if it does not arrive."""
        packet, seen = self._try(sender, probe, receiver)
        if packet is None:
            raise NotProbed(seen)
        return packet

    def _try(self, sender: Host, probe: Probe, receiver: Host) -> tuple[Packet | None, str]:
        since, told = self.testbed.wire.mark(), self.testbed.net.log.mark()
        sender.send(probe)
        found = self.await_at(receiver.where, carries(probe), since)
        if found is not None:
            return read(found), ""
        return None, self.fate(sender, probe, since, told)

    def await_at(
        self, where: str, test: Callable[[Captured], bool], since: int, *, wait: float = WAIT
    ) -> Captured | None:
        """The first packet to come in at `where`; None if there is none within `wait` seconds."""
        try:
            return self.testbed.wire.wait_for_captured(
                where,
                lambda c: not c.outgoing and test(c),
                deadline=wait,
                what="a packet",
                since=since,
            )
        except DeadlinePassed:
            return None

    # -- what must not pass -------------------------------------------------------------------

    def refused(
        self, sender: Host, probe: Probe, receiver: Host, control: Probe, by: Host | None = None
    ) -> str:
        """Send it, then the control (`by` another host). Violation unless the NAPT drops the first.

        What leaves the NAPT may be stopped by a router behind it; that is no refusal. Returns where
        and why it died. Coincidence if it came in by what another test has opened meanwhile.
        """
        since, told = self.testbed.wire.mark(), self.testbed.net.log.mark()
        came = self.let_in(sender, probe, receiver, control, by)
        if came is not None:
            found = f"{probe.what} was let through to {receiver.name}: {came}"
            raise Violation(found) if self._is_ours(came) else Coincidence(found)
        died = self.fate(sender, probe, since, told)
        if self._departure(self._on_the_way(sender, probe), probe, since) is not None:
            raise Violation(died)
        self.observe(f"{died}; the control sent after it passed")
        return died

    def _is_ours(self, came: Packet) -> bool:
        """Whether it came by a mapping of this test, as far as its port or identifier tells."""
        if came.icmp is not None and came.icmp[0] in (ECHO, ECHO_REPLY):
            return came.identifier in self._ports
        return came.destination_port is None or came.destination_port in self._ports

    def let_in(
        self, sender: Host, probe: Probe, receiver: Host, control: Probe, by: Host | None = None
    ) -> Packet | None:
        """The same where both are allowed: the packet if it arrives, else None."""
        since, told = self.testbed.wire.mark(), self.testbed.net.log.mark()
        sender.send(probe)
        (by or sender).send(control)
        if self.await_at(receiver.where, carries(control), since) is None:
            seen = self.fate(by or sender, control, since, told)
            raise NotProbed(f"the control did not pass, so this proves nothing: {seen}")
        test = carries(probe)
        came = self.testbed.wire.captured(
            receiver.where, lambda c: not c.outgoing and test(c), since=since
        )
        if came:
            return read(came[0])
        self.fate(sender, probe, since, told)
        return None

    def fate(self, sender: Host, probe: Probe, since: int, told: int) -> str:
        """Where a packet was stopped on its way. NotProbed if it never reached the NAPT."""
        napt = self._on_the_way(sender, probe)
        entry = napt.outside if sender.site is None else napt.inside
        wire, test = self.testbed.wire, carries(probe)
        if not wire.captured(entry, lambda c: not c.outgoing and test(c), since=since):
            raise NotProbed(f"{probe.what} never reached {entry}")
        left = self._departure(napt, probe, since)
        if left is not None:
            return f"{probe.what} left {left.where} as {read(left)}, and did not arrive"
        return f"{probe.what} reached {entry} and died there{self._reason(napt, probe, told)}"

    def _departure(self, napt: Napt, probe: Probe, since: int) -> Captured | None:
        """The packet as it left the NAPT, by either interface."""
        test = carries(probe)
        for place in (napt.inside, napt.outside):
            left = self.testbed.wire.captured(place, lambda c: c.outgoing and test(c), since=since)
            if left:
                return left[0]
        return None

    def trail(self, probe: Probe, since: int) -> str:
        """Every interface where a packet, or an error that quotes it, was seen."""
        seen = self.testbed.wire.everywhere(lambda c: probe.mark in c.data, since=since)
        places = (f"{'from' if c.outgoing else 'at'} {c.where}: {read(c)}" for c in seen)
        return "seen " + ("; ".join(places) or "nowhere")

    def _on_the_way(self, sender: Host, probe: Probe) -> Napt:
        if sender.site is not None:
            return self.napt(sender.site)
        destination = ".".join(str(byte) for byte in probe.data[16:20])
        found = [napt for napt in self.testbed.napts.values() if destination in napt.addresses]
        if not found:
            raise NotProbed(f"{probe.what}: no NAPT has {destination}")
        return found[0]

    def _reason(self, napt: Napt, probe: Probe, told: int) -> str:
        """The reason that the NAPT reports, if it does, to be read in a sentence."""
        if napt.node.napt is None:
            return " (this engine reports no reasons)"
        reason = self.reason(napt, probe, told)
        return f": {reason}" if reason else " (no reason was reported)"

    def reason(self, napt: Napt, probe: Probe, told: int) -> str:
        """Why this packet was dropped, as the NAPT reports after `told`; empty if it does not."""
        packet = decode_ipv4(probe.data)
        way = f"{packet.source} > {packet.destination}"
        if packet.source_port:
            way = f"{show(packet.sender)} > {show(packet.receiver)}"
        try:
            event = self.testbed.net.log.wait_for(
                lambda e: (
                    (e.node, e.name) == (napt.node.name, "drop")
                    and way in str(e.fields.get("packet"))
                ),
                deadline=REASON_WAIT,
                what="a reason",
                since=told,
            )
        except DeadlinePassed:
            return ""
        return str(event.fields["reason"])

    # -- what is answered ---------------------------------------------------------------------

    def answer(
        self, sender: Host, probe: Probe, kind: int, code: int | None = None
    ) -> Packet | None:
        """The ICMP error about `probe` that its sender gets; None if none comes."""
        since = self.testbed.wire.mark()
        sender.send(probe)
        return self.error_about(sender, probe, kind, code, since)

    def error_about(
        self,
        sender: Host,
        probe: Probe,
        kind: int,
        code: int | None = None,
        since: int = 0,
        *,
        wait: float = WAIT,
    ) -> Packet | None:
        """An ICMP error that came to `sender` and quotes `probe`."""

        def is_it(captured: Captured) -> bool:
            packet = captured.packet
            if packet.icmp is None or packet.quoted is None:
                return False
            right = packet.icmp[0] == kind and code in (None, packet.icmp[1])
            # Identification and offset: an error about another piece of a datagram is another's.
            return right and packet.quoted.raw[4:8] == probe.data[4:8]

        found = self.await_at(sender.where, is_it, since, wait=wait)
        return None if found is None else read(found)

    # -- UDP ----------------------------------------------------------------------------------

    def open_udp(
        self,
        inside: Host,
        outside: Host,
        *,
        port: int | None = None,
        remote_port: int | None = None,
    ) -> UdpFlow:
        """The first datagram of a session. NotProbed if it does not pass."""
        flow = UdpFlow(self, inside, port or self.port(), outside, remote_port or self.port())
        packet = self.given(inside, flow.outward(), outside)
        flow.external = packet.sender
        ends = f"{inside.name}:{flow.port} → {outside.name}:{flow.remote_port}"
        self.note(f"{ends} as {show(flow.external)}")
        return flow


class UdpFlow:
    """A UDP session: its internal, external and remote endpoint."""

    def __init__(
        self, exam: Exam, inside: Host, port: int, outside: Host, remote_port: int
    ) -> None:
        self._exam = exam
        self.inside, self.port = inside, port
        self.outside, self.remote_port = outside, remote_port
        self.external: Endpoint = ("", 0)

    @property
    def internal(self) -> Endpoint:
        return self.inside.address, self.port

    @property
    def remote(self) -> Endpoint:
        return self.outside.address, self.remote_port

    def outward(
        self, to: Endpoint | None = None, *, data: bytes | None = None, fields: IpFields = USUAL
    ) -> Probe:
        """A datagram from the inside, to its remote endpoint or another one."""
        return udp(self.internal, to or self.remote, data, fields)

    def inward(
        self, source: Endpoint | None = None, *, data: bytes | None = None, fields: IpFields = USUAL
    ) -> Probe:
        """A datagram to the external endpoint, from the remote endpoint or another one."""
        return udp(source or self.remote, self.external, data, fields)

    def send(self) -> Packet:
        """Send a datagram outward; it must arrive."""
        return self._exam.passes(self.inside, self.outward(), self.outside)

    def answer(self) -> Packet:
        """Send a datagram inward; it must arrive at the internal endpoint."""
        packet = self._exam.passes(self.outside, self.inward(), self.inside)
        if packet.receiver != self.internal:
            raise Violation(f"it was delivered to {show(packet.receiver)}")
        return packet


def carries(probe: Probe) -> Callable[[Captured], bool]:
    """A test whether a captured packet is this one, translated or not."""
    protocol, mark = probe.protocol, probe.mark

    def test(captured: Captured) -> bool:
        data = captured.data
        return len(data) > _PROTOCOL_AT and data[_PROTOCOL_AT] == protocol and mark in data

    return test


def read(captured: Captured) -> Packet:
    """The whole packet of a capture."""
    if not captured.packet.raw:
        raise NotProbed("a captured frame cannot be read")
    return captured.packet
