"""Sockets of peers: bound to a port of their own, and what arrives at them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from napt_lab.servers.stun.attributes import Address


def udp_socket(port: int) -> socket.socket:
    """A UDP socket with this local port (0: a free one). Raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    return sock


def tcp_socket(port: int) -> socket.socket:
    """The same for TCP. Several have one port, if they are connected to different endpoints."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    return sock


def arrivals(sock: socket.socket, seconds: float) -> Iterator[tuple[bytes, Address]]:
    """The datagrams that arrive in so many seconds, each with its source."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            yield sock.recvfrom(2048)
        except TimeoutError:
            return
