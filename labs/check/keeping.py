"""`keeps its connection to`: a TCP connection made before something happens, and used after.

Nothing is said on it until then: so it is the old connection that must still work, by the same
mappings of the NAPTs on its way.
"""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack

from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.place import served
from napt_lab.labs.check.probes import Speech
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.spec.assertions import KeepsConnection, Protocol

PATIENCE = 8.0  # seconds for the connection, and for the answer on it


class Kept:
    """One connection over what happens. To be closed."""

    def __init__(self, ground: Ground, listeners: Listeners, claim: KeepsConnection) -> None:
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
        if self._place.speech is Speech.NOTHING:
            raise CannotTell(f"nothing can be asked of {self._place.node}:{self._place.port}")
        speaks_http = self._place.speech is Speech.HTTP
        try:
            self._sock.sendall(b"HEAD / HTTP/1.0\r\n\r\n" if speaks_http else b"still there?\n")
            ready, _, _ = select.select([self._sock], [], [], PATIENCE)
            heard = self._sock.recv(4096) if ready else b""
        except OSError as error:
            raise Unmet(f"the connection has broken: {error.strerror}") from error
        if not heard:
            how = "it was closed" if ready else f"no answer within {PATIENCE:g} s"
            raise Unmet(f"the connection does not carry any more: {how}")
        evidence.add(f"after: an answer of {len(heard)} bytes on the same connection")
