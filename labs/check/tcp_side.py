"""TCP hole punching (RFC 5128, section 3.4): a listener and connections, all from one port.

Each side dials the endpoint that the other was told. If two SYNs cross, they become one connection
(RFC 9293, section 3.5: simultaneous open). A SYN that comes from another port than the one that was
told can only be accepted, by the listener. A side whose SYN was dropped or refused dials again in
its next turn: the kernel would repeat a SYN only after a second, and a refused one never.
"""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack, suppress

from napt_lab.labs.capture.packets import ACK, SYN, Endpoint
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.probes import Tried, new_token
from napt_lab.labs.check.punch_side import PATIENCE, POLL, NotTold, Place, Side
from napt_lab.labs.check.trail import carries, is_syn, node_of

READ = 64  # bytes


class TcpSide(Side):
    """One host, and its sockets of one port."""

    def __init__(self, ground: Ground, node: str, place: Place, sockets: ExitStack) -> None:
        super().__init__(ground, node, place, sockets)
        address = str(ground.address(node))
        self._listener = self._open(node, lambda: _bound((address, 0)))
        self._own: Endpoint = self._listener.getsockname()
        self._listener.listen()
        self._server = self._open(place[0], lambda: _bound((place[1], 0)))
        self._server.listen()
        self._asking = self._bind()
        self._answering: socket.socket | None = None
        self._dialed: socket.socket | None = None
        self._accepted: list[socket.socket] = []
        self._said: dict[socket.socket, Tried] = {}  # on each connection

    @property
    def local(self) -> Endpoint:
        return self._own

    def ask(self) -> None:
        server: Endpoint = self._server.getsockname()
        tried = Tried(new_token(), words="no answer to the SYN")
        self._asking.connect_ex(server)
        for _ in self._moments():
            if select.select([self._server], [], [], POLL)[0]:
                answering, peer = self._server.accept()
                self._answering = self._sockets.enter_context(answering)
                self.told = (str(peer[0]), int(peer[1]))
                return
            if self._is_dead(tried, server):
                break
        raise NotTold(self._end_of(tried, server))

    def still_answered(self) -> bool:
        assert self._answering is not None
        with suppress(OSError):  # the connection has broken
            return _passes(self._asking, self._answering) and _passes(self._answering, self._asking)
        return False

    def call(self, peer: Side) -> None:
        assert isinstance(peer, TcpSide)
        self._hang_up()
        self._dialed = self._bind()
        self.tried = Tried(new_token(), words="no answer to the SYN")
        self._dialed.connect_ex(peer.told)
        for _ in self._moments():
            self._converse(peer)
            peer._converse(self)
            if (self.through and peer.through) or self._dialed is None:
                return
            if self._is_dead(self.tried, peer.told):
                return
            ends = (self._listener, self._dialed, peer._listener, peer._dialed)
            select.select([end for end in ends if end], [], [], POLL)

    def met(self, peer: TcpSide) -> str:
        """In words, how their connection came about."""
        mine, theirs = (next(s for s, t in e._said.items() if t is e.through) for e in (self, peer))
        if mine is self._dialed and theirs is peer._dialed:
            return f"{self.node} and {peer.node} dialed: their SYNs crossed (simultaneous open)"
        caller, other = (self, peer) if mine is self._dialed else (peer, self)
        return f"{caller.node} dialed, and {other.node}'s listener on the same port accepted"

    def _converse(self, peer: TcpSide) -> None:
        """Say something on every connection, and hear what the other side says."""
        with suppress(BlockingIOError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setblocking(False)
                self._accepted.append(self._sockets.enter_context(accepted))
        for sock in (self._dialed, *self._accepted):
            try:
                if sock is not None:
                    self._say_and_hear(sock, peer)
            except BlockingIOError:
                pass  # not connected yet, or nothing was said
            except OSError as error:
                if sock is self._dialed and self.tried is not None:
                    self.tried.words = error.strerror or str(error)
                    self._hang_up()

    def _say_and_hear(self, sock: socket.socket, peer: TcpSide) -> None:
        if sock not in self._said:
            token = new_token()
            sock.send(token)
            self._said[sock] = Tried(token, payload=carries(token))
        heard = sock.recv(READ)
        for tried in peer._said.values():
            if tried.token in heard:
                peer.through = tried

    def _found(self, tried: Tried) -> Tried:
        """The same, with the sequence number of the latest SYN, if that has left."""
        if tried.opening is not None or tried.payload is not None:
            return tried
        sent = self.ground.wire.everywhere(
            lambda c: (
                c.outgoing
                and node_of(c) == self.node
                and c.packet.is_tcp(flags=SYN, among=SYN | ACK)
                and c.packet.source_port == self._own[1]
            ),
            since=self.prober.since,
        )
        if sent and sent[-1].packet.sequence is not None:
            tried.sequence = sent[-1].packet.sequence
            tried.opening = is_syn(tried.sequence)
        return tried

    def _bind(self) -> socket.socket:
        """Another socket of the same port."""
        return self._open(self.node, lambda: _bound(self._own))

    def _hang_up(self) -> None:
        if self._dialed is not None:
            self._dialed.close()
            self._dialed = None


def _passes(sender: socket.socket, receiver: socket.socket) -> bool:
    """Whether what one end of a connection says arrives at the other end."""
    said = new_token()
    sender.sendall(said)
    return bool(select.select([receiver], [], [], PATIENCE)[0] and said in receiver.recv(READ))


def _bound(local: Endpoint) -> socket.socket:
    """A socket that shares its port with others of this process."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(local)
    except OSError:
        sock.close()
        raise
    return sock
