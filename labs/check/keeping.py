"""`keeps its connection to`: a TCP connection made before something happens, and used after.

Nothing is said on it until then: so it is the old connection that must still work, by the same
mappings of the NAPTs on its way. A web server and our own listener are asked something. To another
program nothing may be said: there the kernel sends keep-alives (RFC 9293, section 3.8.4), which
the other end of the connection must acknowledge. Other segments prove less: data from the other
end, and its own keep-alives, show one direction only.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack

from napt_lab.labs.capture.packets import ACK
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.place import served
from napt_lab.labs.check.probes import Speech
from napt_lab.labs.check.trail import node_of
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.spec.assertions import KeepsConnection, Protocol

PATIENCE = 8.0  # seconds for the connection, and for the answer on it
POLL = 0.1  # seconds between two looks at the wires
INTERVAL = 1.0  # seconds between two keep-alives
TCP_REPAIR = 19  # <linux/tcp.h>
SILENT = f"the connection does not carry any more: no answer within {PATIENCE:g} s"


class KeptConnection:
    """One connection over what happens. To be closed."""

    def __init__(self, ground: Ground, listeners: Listeners, claim: KeepsConnection) -> None:
        self._ground = ground
        self._claim = claim
        self._failed = ""
        self._stack = ExitStack()
        target = claim.target
        self._place = self._stack.enter_context(
            served(ground, listeners, target, Protocol.TCP, claim.source)
        )
        sock = visit(ground.net[claim.source].pid, lambda: socket.socket(socket.AF_INET))
        self._sock = self._stack.enter_context(sock)
        self._sock.settimeout(PATIENCE)
        try:
            self._sock.connect((str(target.address), target.port))
        except OSError as error:
            self._failed = error.strerror or str(error)

    def close(self) -> None:
        self._stack.close()

    def check(self, evidence: Evidence) -> None:
        """Raises Unmet if the connection does not carry any more, CannotTell if it never did."""
        if self._failed:
            raise CannotTell(f"there was no connection before: {self._failed}")
        local, to = (f"{host}:{port}" for host, port in (
            self._sock.getsockname(), self._sock.getpeername()
        ))  # fmt: skip
        evidence.add(f"before: {self._claim.source} {local} connected to {to}")
        try:
            is_mute = self._place.speech is Speech.NOTHING
            how = self._keep_alive({local, to}) if is_mute else self._ask()
        except OSError as error:
            raise Unmet(f"the connection has broken: {error.strerror}") from error
        evidence.add(f"after: {how} on the same connection")

    def _ask(self) -> str:
        speaks_http = self._place.speech is Speech.HTTP
        self._sock.sendall(b"HEAD / HTTP/1.0\r\n\r\n" if speaks_http else b"still there?\n")
        if not select.select([self._sock], [], [], PATIENCE)[0]:
            raise Unmet(SILENT)
        return f"an answer of {self._heard()} bytes"

    def _keep_alive(self, ends: set[str]) -> str:
        since = self._ground.wire.mark()
        due = time.monotonic()
        until = due + PATIENCE
        while (now := time.monotonic()) < until and not self._ground.stopped.is_set():
            if now >= due:
                self._send_keep_alive()
                due = now + INTERVAL
            if select.select([self._sock], [], [], POLL)[0]:
                self._heard()  # what the program says by itself
            mine = self._ground.wire.everywhere(
                lambda c: (
                    node_of(c) == self._claim.source and {c.packet.from_, c.packet.to} == ends
                ),
                since=since,
            )
            if has_answered_keep_alive(mine):
                return "an acknowledged keep-alive"
        raise Unmet(SILENT)

    def _send_keep_alive(self) -> None:
        """Send one now. SO_KEEPALIVE sends none while the other end speaks by itself.

        When a socket leaves the repair mode, the kernel sends the same segment as a keep-alive.
        Raises CannotTell where the kernel refuses that mode: nothing is wrong with the connection.
        """
        try:
            for is_in_repair in (1, 0):
                self._sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, is_in_repair)
        except PermissionError as error:
            raise CannotTell("the kernel refuses to send a keep-alive (TCP_REPAIR)") from error

    def _heard(self) -> int:
        if not (heard := self._sock.recv(4096)):
            raise Unmet("the connection does not carry any more: it was closed")
        return len(heard)


def has_answered_keep_alive(seen: Iterable[Captured]) -> bool:
    """Whether, at the host that sends it, a keep-alive left and then its ACK came.

    A keep-alive repeats the sequence number before the next one, so its answer acknowledges one
    more. The host sends no data, so the only other bare ACKs with this number are keep-alives of
    the other end. Their sequence number is lower than what the host's keep-alive acknowledges; if
    it is not, the other end has received a later ACK of the host.
    """
    sent: list[tuple[int, int]] = []  # of each: its answer's acknowledgment and lowest sequence
    for captured in seen:
        packet = captured.packet
        if not packet.is_tcp(flags=ACK) or packet.payload:
            continue
        sequence, acknowledgment = packet.sequence or 0, packet.acknowledgment or 0
        if captured.outgoing:
            sent.append(((sequence + 1) % (1 << 32), acknowledgment))
        elif any(
            acknowledgment == expected and (sequence - lowest) % (1 << 32) < 1 << 31
            for expected, lowest in sent
        ):
            return True
    return False
