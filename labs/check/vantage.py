"""Where a NAPT's behavior is measured from (RFC 5780): inside, and two addresses outside.

Theory of operation. In RFC 5780 a program inside asks a STUN server with two addresses and two
ports for its external endpoint, and asks it to answer from another of the four. Here one program
has the sockets at both ends: on a host of the NAPT's site, and on two public nodes. So no request
for another address is needed, and no wait for a datagram that does not come.
"""

from __future__ import annotations

import errno
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
from napt_lab.topologies.spec.model import Site

PATIENCE = 5.0  # seconds until a datagram that must come has come
POLL = 0.02  # seconds between two looks at the wires
UDP_BYTES = 2048


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
        firsts = [self.open(node, address) for node, address in outside]
        seconds = [self.open(node, address) for node, address in outside]
        self.four = (firsts[0], seconds[0], firsts[1], seconds[1])

    def open(self, node: str, address: str, port: int = 0) -> Spot:
        """A UDP socket there."""
        sock = visit(self.ground.net[node].pid, lambda: udp_socket(address, port))
        return Spot(node, self._sockets.enter_context(sock))

    def inside(self, number: int = 0, port: int = 0) -> Spot:
        """A UDP socket on one of the hosts."""
        host = self.hosts[number % len(self.hosts)]
        return self.open(host.name, str(host.address.ip), port)

    def inside_twins(self) -> tuple[Spot, Spot]:
        """Sockets on two of the hosts, with the same port."""
        while True:
            first = self.inside(0)
            try:
                return first, self.inside(1, port=first.endpoint[1])
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # by another program there
                    raise

    def seen_as(self, inside: Spot, outside: Spot) -> Endpoint:
        """Ask from inside, answer from outside: the endpoint that the request came from."""
        transaction = secrets.token_bytes(stun_binding.TRANSACTION_BYTES)
        asked = stun_binding.request(transaction)
        inside.sock.sendto(asked, outside.endpoint)
        peer = _receive(outside, asked, f"a datagram from {inside.node} to {outside.node}")
        answer = stun_binding.answer(asked, peer)
        assert answer is not None
        outside.sock.sendto(answer, peer)
        _receive(inside, answer, f"the answer from {outside.node} to {inside.node}")
        return peer

    def fate(self, sender: Spot, to: Endpoint, receiver: Spot) -> tuple[Endpoint | None, str]:
        """Send a datagram through the NAPT: the source that arrived, or None and the drop reason.

        A datagram that does not come needs no time-out: the NAPT reports what it drops.
        """
        token = stun_binding.request(secrets.token_bytes(stun_binding.TRANSACTION_BYTES))
        log_since = self.ground.net.log.mark()
        sender.sock.sendto(token, to)
        ends = f"{show(sender.endpoint)} > {show(to)}"
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not self.ground.stopped.is_set():
            if select.select([receiver.sock], [], [], POLL)[0]:
                data, peer = receiver.sock.recvfrom(UDP_BYTES)
                if data == token:
                    return (str(peer[0]), int(peer[1])), ""
            for event in self.ground.net.log.since(log_since):
                is_drop = (event.node, event.name) == (self.napt, "drop")
                if is_drop and str(event.fields["packet"]).endswith(ends):
                    return None, str(event.fields["reason"])
        raise CannotTell(f"{self.napt} neither forwarded a datagram ({ends}) nor reported a drop")


def _receive(spot: Spot, wanted: bytes, what: str) -> Endpoint:
    """Wait for this datagram and tell its source; CannotTell if it does not come."""
    end = time.monotonic() + PATIENCE
    while select.select([spot.sock], [], [], max(0.0, end - time.monotonic()))[0]:
        data, peer = spot.sock.recvfrom(UDP_BYTES)
        if data == wanted:
            return str(peer[0]), int(peer[1])
    raise CannotTell(f"{what} did not come within {PATIENCE:g} s")


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
