"""The socket of the port control server: the inside address, port 5351, on the inside only.

RFC 6886, section 3.3: requests to the external address or from the outside must not be served. The
socket belongs to the inside interface and the inside address. Packets from outside go to the
translator, as all do (routing.py), and find no rule there.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.port_control.pcp import LONGEST
from napt_lab.nat_node.port_control.server import PortControl

PORT = 5351
ALL_HOSTS = ("224.0.0.1", 5350)
BATCH = 16
"""Datagrams taken before the packets get their turn."""
_BUFFER = 64 << 10  # bytes that may wait: some hundred requests


def bind(interface: str, address: str) -> socket.socket:
    """The socket at an inside address. Raises OSError if another program has the port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    option = listener.setsockopt
    option(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    option(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    option(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    option(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    listener.bind((address, PORT))
    return listener


class Listener:
    """The server's side of the node's loop; `listener` is what `bind` gave."""

    def __init__(self, server: PortControl, listener: socket.socket, poll: select.epoll) -> None:
        self._server = server
        self._socket = listener
        poll.register(listener, select.EPOLLIN)

    def handles(self, descriptor: int) -> bool:
        """Whether a descriptor of the poll is this one."""
        return descriptor == self._socket.fileno()

    def handle(self, clock: Callable[[], float]) -> None:
        """Answer what has come in."""
        for _ in range(BATCH):
            try:
                data, sender = self._socket.recvfrom(LONGEST + 1)
            except OSError:
                return  # nothing more, or an ICMP error about an earlier answer
            answer = self._server.answer(data, parse_address(sender[0]), clock())
            if answer is not None:
                self._send(answer, sender)

    def expire(self, now: float) -> None:
        """End leases, and tell everyone on the inside what there is to tell now."""
        self._server.expire(now)
        for message in self._server.announcements(now):
            self._send(message, ALL_HOSTS)

    def next_deadline(self) -> float | None:
        """When `expire` must be called again at the latest; None while nothing is to come."""
        return self._server.next_deadline()

    def _send(self, message: bytes, to: tuple[str, int]) -> None:
        # Lost on the way or here is the same for a client: it asks again.
        with contextlib.suppress(OSError):
            self._socket.sendto(message, to)
