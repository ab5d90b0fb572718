"""Where a NAPT's behavior is measured from (RFC 5780): inside, and two addresses outside.

Theory of operation. In RFC 5780 a program inside asks a STUN server with two addresses and two
ports for its external endpoint, and asks it to answer from another of the four. Here one program
has the sockets at both ends: on a host of the NAPT's site, and on two public nodes. So no request
for another address is needed, and no wait for a datagram that does not come.

Checks run side by side, and a NAPT keeps the sessions of each. With a port that another check has
had, on whichever host, such a session might let a datagram in, or lead it elsewhere.
"""

from __future__ import annotations

import errno
import itertools
import secrets
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from napt_lab.labs.capture.packets import Endpoint, show
from napt_lab.labs.check import stun_binding
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.outcome import CannotTell
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.slow_links import PROGRAM as LINK
from napt_lab.topologies.spec.model import Site

RETRANSMISSION = 0.5  # seconds: a busy machine may lose a datagram (RFC 8489, section 6.2.1)
TRIES = 10
POLL = 0.02  # seconds between two looks at the wires
UDP_BYTES = 2048
_ports = itertools.cycle(range(16_384, 32_768))  # below those that a kernel gives to programs


class Vanished(CannotTell):
    """A datagram was neither forwarded to where it was awaited, nor was its drop reported."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A UDP socket on a node."""

    node: str
    sock: socket.socket

    @property
    def endpoint(self) -> Endpoint:
        address, port = self.sock.getsockname()
        return str(address), int(port)


class Vantage:
    """A NAPT between its site and the public; `four` are (A1, P1), (A1, P2), (A2, P1), (A2, P2).

    `hosts` are those inside that share an external address: they may want the same port there.
    """

    def __init__(self, ground: Ground, site: Site, sockets: ExitStack) -> None:
        self.ground = ground
        self.hosts = ground.sharing(site)
        self.napt = site.gateway.name
        self._sockets = sockets
        outside = ground.places_outside(site)[:2]
        if len(outside) < 2:
            raise CannotTell("it takes two addresses outside, and there is only one besides")
        firsts, seconds = self.open(*outside), self.open(*outside)
        self.four = (firsts[0], seconds[0], firsts[1], seconds[1])

    def open(self, *places: tuple[str, str]) -> list[Spot]:
        """UDP sockets on nodes, at addresses, with one port that no check has had lately."""
        while True:
            port = next(_ports)
            with ExitStack() as opened:
                try:
                    spots = [self._open(*place, port, opened) for place in places]
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:  # by another program there
                        raise
                else:
                    self._sockets.push(opened.pop_all())
                    return spots

    def _open(self, node: str, address: str, port: int, opened: ExitStack) -> Spot:
        sock = visit(self.ground.net[node].pid, lambda: udp_socket(address, port))
        return Spot(node, opened.enter_context(sock))

    def inside(self, *numbers: int) -> list[Spot]:
        """UDP sockets on the hosts of these numbers, with the same port."""
        hosts = [self.hosts[number % len(self.hosts)] for number in numbers]
        return self.open(*((host.name, str(host.address.ip)) for host in hosts))

    def seen_as(self, inside: Spot, outside: Spot) -> Endpoint:
        """Ask from inside, answer from outside: the endpoint that the request came from."""
        transaction = secrets.token_bytes(stun_binding.TRANSACTION_BYTES)
        asked = stun_binding.request(transaction)
        peer = _bring(asked, inside, outside.endpoint, outside)
        answer = stun_binding.answer(asked, peer)
        assert answer is not None
        _bring(answer, outside, peer, inside)
        return peer

    def fate(self, sender: Spot, to: Endpoint, receiver: Spot) -> tuple[Endpoint | None, str]:
        """Send a datagram through the NAPT: the source that arrived, or None and the drop reason.

        A datagram that does not come needs no time-out: the NAPT reports what it drops.
        """
        token = stun_binding.request(secrets.token_bytes(stun_binding.TRANSACTION_BYTES))
        log_since = self.ground.net.log.mark()
        ends = f"{show(sender.endpoint)} > {show(to)}"
        for _ in range(TRIES):
            sender.sock.sendto(token, to)
            end = time.monotonic() + RETRANSMISSION
            while time.monotonic() < end and not self.ground.stopped.is_set():
                if (peer := _receive(receiver, token, POLL)) is not None:
                    return peer, ""
                for event in self.ground.net.log.since(log_since):
                    if (event.node, event.name) != (self.napt, "drop") or event.program == LINK:
                        continue  # what a link loses is sent again
                    if str(event.fields["packet"]).endswith(ends):
                        return None, str(event.fields["reason"])
        raise Vanished(f"{self.napt} neither forwarded a datagram ({ends}) nor reported a drop")


def _bring(data: bytes, sender: Spot, to: Endpoint, receiver: Spot) -> Endpoint:
    """Send until it has arrived, and tell from where; CannotTell if it does not arrive."""
    for _ in range(TRIES):
        sender.sock.sendto(data, to)
        if (peer := _receive(receiver, data, RETRANSMISSION)) is not None:
            return peer
    raise CannotTell(
        f"a datagram from {sender.node} to {receiver.node} did not arrive within "
        f"{TRIES * RETRANSMISSION:g} s"
    )


def _receive(spot: Spot, wanted: bytes, seconds: float) -> Endpoint | None:
    """The source of this datagram; None if it does not come in that time."""
    end = time.monotonic() + seconds
    while select.select([spot.sock], [], [], max(0.0, end - time.monotonic()))[0]:
        data, peer = spot.sock.recvfrom(UDP_BYTES)
        if data == wanted:
            return str(peer[0]), int(peer[1])
    return None


@contextmanager
def vantage(ground: Ground, napt: str) -> Iterator[Vantage]:
    """Sockets around the NAPT of that name, closed at the end."""
    site = ground.site_of(napt)
    assert site is not None
    with ExitStack() as sockets:
        yield Vantage(ground, site, sockets)


def udp_socket(address: str, port: int = 0) -> socket.socket:
    """A UDP socket with this address, in the namespace of this thread."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
