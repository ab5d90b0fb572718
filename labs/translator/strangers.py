"""What a grade asks beyond the labs' own steps: who comes in by the port of the PC's connection?

The labs teach one thing at a time, by a translator that is right. A student's can pass all of their
steps with one table for TCP and UDP, or without any filter. So the part `inbound` of level 8 has
one more step in a grade, about the same claim.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket

from napt_lab.labs.shared_steps.dropped import OUTSIDE, require_dropped
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim, Part, Step
from napt_lab.topologies.network.namespaces import visit

CLAIM = "8.inbound"
STACKOVERFLOW, FILES, PUBLIC = "151.101.1.69", "198.51.100.10", "24.9.3.7"
WEB = 80
KEPT_OUT = ("filtered", "no-rule")
_YOU_ARE = re.compile(rb"You are ([0-9.]+:[0-9]+)")


def in_a_grade(lab: str, part: Part) -> Part:
    """A part of a lab as a translator is graded by it."""
    if (lab, part.name) != ("8", "inbound"):
        return part
    return Part(part.name, part.topology, part.title, part.watch, part.offload, [*part.steps, STEP])


def strangers(stage: Stage) -> None:
    """The PC opens a connection; others try its external port, by TCP and by UDP."""
    with contextlib.closing(_socket(stage, "pc", socket.SOCK_STREAM)) as connection:
        with contextlib.suppress(OSError):  # then there is no page either
            connection.connect((STACKOVERFLOW, WEB))
        outside, words = _ask(connection)
        with stage.claim(CLAIM, "the PC opens a connection to stackoverflow (control)") as claim:
            claim.require(bool(outside), words)
        if not outside:
            return
        inside = connection.getsockname()[1]
        port = int(outside.rpartition(":")[2])
        _another_server(stage, port)
        with (
            contextlib.closing(_socket(stage, "stackoverflow", socket.SOCK_DGRAM, WEB)) as server,
            contextlib.closing(_socket(stage, "pc", socket.SOCK_DGRAM, inside)) as asker,
        ):
            _a_datagram(stage, server, port)
            with stage.claim(CLAIM, "a datagram that answers the PC's own comes in (control)") as c:
                asker.sendto(b"a question", (STACKOVERFLOW, WEB))
                seen = _receive(c, server, "stackoverflow")
                server.sendto(b"an answer", seen)
                _receive(c, asker, "the PC")
        with stage.claim(CLAIM, "the PC's connection is as it was (control)") as claim:
            again, words = _ask(connection)
            claim.require(again == outside, words)


def _another_server(stage: Stage, port: int) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    with contextlib.closing(_socket(stage, "files", socket.SOCK_STREAM)) as stranger:
        stranger.setblocking(False)
        stranger.connect_ex((PUBLIC, port))
        with stage.claim(
            CLAIM, "another server's SYN to that port is dropped at the NAPT"
        ) as claim:
            require_dropped(
                stage, claim, OUTSIDE, lambda p: (p.protocol, p.source) == ("tcp", FILES), KEPT_OUT,
                since, log_since,
            )  # fmt: skip


def _a_datagram(stage: Stage, server: socket.socket, port: int) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    server.sendto(b"unasked", (PUBLIC, port))
    with stage.claim(
        CLAIM, "a datagram to that TCP port is dropped, too: UDP has ports of its own"
    ) as claim:
        require_dropped(
            stage, claim, OUTSIDE, lambda p: (p.protocol, p.source) == ("udp", STACKOVERFLOW),
            KEPT_OUT, since, log_since,
        )  # fmt: skip


def _ask(connection: socket.socket) -> tuple[str, str]:
    """Fetch the page: as whom the server sees the PC ("" if it does not), and how it went."""
    try:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: stackoverflow\r\n\r\n")
        page = b""
        while not (told := _YOU_ARE.search(page)):
            data = connection.recv(4096)
            if not data:
                return "", "the connection ends without the page"
            page += data
    except OSError as error:
        return "", f"no page: {error.strerror or error}"
    return told[1].decode(), f"the page says: You are {told[1].decode()}"


def _receive(claim: Claim, sock: socket.socket, who: str) -> tuple[str, int]:
    """The sender of the next datagram."""
    came = bool(select.select([sock], [], [], WAIT)[0])
    claim.require(came, f"a datagram {'reaches' if came else 'does not reach'} {who}")
    sender: tuple[str, int] = sock.recvfrom(2048)[1]
    return sender


def _socket(stage: Stage, node: str, kind: socket.SocketKind, port: int = 0) -> socket.socket:
    """A socket on a node, bound to a port (0: any)."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, kind)
        sock.bind(("0.0.0.0", port))
        sock.settimeout(WAIT)
        return sock

    return visit(stage.net[node].pid, make)


STEP = Step(
    "Who else comes in by that port?",
    say="The PC has a connection to stackoverflow, so its NAPT has a port open. Another server "
    "tries that port, and stackoverflow tries it by UDP.",
    ask="Whose packets get in, and what tells the NAPT apart?",
    predict=None,
    proves=(CLAIM,),
    action=strangers,
)
