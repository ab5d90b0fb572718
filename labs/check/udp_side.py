"""UDP hole punching (RFC 5128, section 3.3): one socket on each side.

A side sends to the endpoint that the other was told, and to every endpoint from which it has heard:
a NAPT with endpoint-dependent mapping sends from another port than the one that was told. Each
datagram is a Binding request (RFC 8489), as in ICE, whose transaction ID finds it on the wires.
"""

from __future__ import annotations

import secrets
import select
import socket
from contextlib import ExitStack

from napt_lab.labs.capture.packets import Endpoint
from napt_lab.labs.check import stun_binding
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.probes import Tried
from napt_lab.labs.check.punch_side import POLL, TURNS, NotTold, Place, Side
from napt_lab.labs.check.trail import carries
from napt_lab.labs.check.vantage import UDP_BYTES, udp_socket


class UdpSide(Side):
    """One host and its UDP socket."""

    settles_at = TURNS - 2  # what two turns show does not depend on those before

    def __init__(self, ground: Ground, node: str, place: Place, sockets: ExitStack) -> None:
        super().__init__(ground, node, place, sockets)
        self.sock = self._open(node, lambda: udp_socket(str(ground.address(node))))
        self._server = self._open(place[0], lambda: udp_socket(place[1]))
        self._sources: list[Endpoint] = []  # from which the other side's datagrams have come

    @property
    def local(self) -> Endpoint:
        address, port = self.sock.getsockname()
        return address, port

    def ask(self) -> None:
        tried = _request()
        told = self._question(tried)
        if told is None:
            raise NotTold(self._end_of(tried, self._server.getsockname()))
        self.told = told

    def still_answered(self) -> bool:
        return any(self._question(_request()) is not None for _ in range(TURNS))

    def call(self, peer: Side) -> None:
        assert isinstance(peer, UdpSide)
        for to in dict.fromkeys((peer.told, *self._sources)):
            tried = _request()
            if to == peer.told:
                self.tried = tried
            source = self._send(tried, to, peer.sock)
            if source is not None:
                self.through = tried
                peer._sources.append(source)

    def _question(self, tried: Tried) -> Endpoint | None:
        """The endpoint that the public node tells; None if there is no answer."""
        server: Endpoint = self._server.getsockname()
        source = self._send(tried, server, self._server)
        answer = stun_binding.answer(tried.token, source) if source else None
        if answer is None or source is None:
            return None
        self._server.sendto(answer, source)
        for _ in self._moments():
            data, _peer = _receive(self.sock)
            transaction = tried.token[-stun_binding.TRANSACTION_BYTES :]
            if (told := stun_binding.mapped(data, transaction)) is not None:
                return told
        return None

    def _send(self, tried: Tried, to: Endpoint, receiver: socket.socket) -> Endpoint | None:
        """Send a datagram: the source from which it arrives, or None."""
        self.sock.sendto(tried.token, to)
        for _ in self._moments():
            data, source = _receive(receiver)
            if data == tried.token:
                return source
            if not data and self._is_dead(tried, to):
                return None
        return None


def _request() -> Tried:
    asked = stun_binding.request(secrets.token_bytes(stun_binding.TRANSACTION_BYTES))
    return Tried(asked, carries(asked), carries(asked), words="no answer to the datagram")


def _receive(sock: socket.socket) -> tuple[bytes, Endpoint]:
    """The next datagram and its source; after a moment without one, nothing."""
    if not select.select([sock], [], [], POLL)[0]:
        return b"", ("", 0)
    data, peer = sock.recvfrom(UDP_BYTES)
    return data, (str(peer[0]), int(peer[1]))
