"""Where a proxy may connect to on behalf of others, and the connecting itself.

Theory of operation
-------------------
A proxy lends its place in the network to its clients. Without checks a stranger could reach
through it the proxy's own loopback, the site's private network, or the proxy again, in a loop. So
an address is refused when it is

- not one of the public Internet (`special_addresses`): loopback, private, link-local, multicast …;
- one of this machine's own addresses, whatever its range;
- this very proxy, even where the two above were allowed.

The address that was checked is the address that is dialled: a name is resolved once, and
connect(2) is given the result. A name that resolves to a public address when asked first and to a
private one when asked again (DNS rebinding) therefore gains nothing.

IPv4 only, as all of the lab.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from napt_lab.servers.shared.special_addresses import NOT_PUBLIC
from napt_lab.servers.shared.splice import reset_when_closed

_TIMED_OUT = frozenset({errno.ETIMEDOUT})
_ADDRESSES_TRIED = 4


class NotDialledError(Exception):
    """No connection was made; the text says why.

    `cause` is "policy" (not allowed), "unreachable" (refused, no route, no such name) or
    "timeout".
    """

    def __init__(self, cause: Literal["policy", "unreachable", "timeout"], reason: str) -> None:
        super().__init__(reason)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Destinations:
    """The policy of one proxy: networks allowed in spite of the rules, and how it dials."""

    own_port: int
    """TCP port the proxy itself listens on."""
    allowed: Sequence[IPv4Network] = ()
    source: str | None = None
    """Own address to connect from; the kernel's choice when None."""
    connect_seconds: float = 10.0
    """For resolving and connecting together."""

    def refusal(self, address: IPv4Address, port: int) -> str | None:
        """Why `address` and `port` must not be dialled, or None."""
        own = is_own(address)
        if own and port == self.own_port:
            return f"{address}:{port} is this proxy itself"
        if any(address in network for network in self.allowed):
            return None
        for network, what in NOT_PUBLIC.items():
            if address in network:
                return f"{address} is {what}"
        if own:
            return f"{address} is an address of this machine"
        return None

    async def dial(self, host: str, port: int) -> socket.socket:
        """Connect to `host` (a name or an IPv4 address) and return the non-blocking socket.

        It is reset when closed, unless `splice.fin_when_closed` is called first. Raises
        NotDialledError.
        """
        try:
            async with asyncio.timeout(self.connect_seconds):
                return await self._first_that_answers(await _resolve(host, port), port)
        except TimeoutError as error:
            reason = f"no answer from {host}:{port} within {self.connect_seconds:g} s"
            raise NotDialledError("timeout", reason) from error

    async def _first_that_answers(
        self, addresses: Sequence[IPv4Address], port: int
    ) -> socket.socket:
        failure: NotDialledError | None = None
        for address in addresses[:_ADDRESSES_TRIED]:
            if refusal := self.refusal(address, port):
                failure = failure or NotDialledError("policy", refusal)
                continue
            try:
                return await self._connect(address, port)
            except OSError as error:
                cause: Literal["timeout", "unreachable"] = (
                    "timeout" if error.errno in _TIMED_OUT else "unreachable"
                )
                reason = f"{address}:{port}: {os.strerror(error.errno or 0).lower()}"
                failure = NotDialledError(cause, reason)
        assert failure is not None, "a name resolves to at least one address"
        raise failure

    async def _connect(self, address: IPv4Address, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            reset_when_closed(sock)
            if self.source:
                # The port is chosen at connect(2), where it need only be free towards this peer.
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((self.source, 0))
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
        except BaseException:
            sock.close()
            raise
        return sock


IP_BIND_ADDRESS_NO_PORT = 24
"""From linux/in.h; Python's socket module has no name for it before 3.13."""


def is_own(address: IPv4Address) -> bool:
    """Whether this machine (this network namespace) has `address`: only then bind(2) takes it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
        return not address.is_multicast


async def _resolve(host: str, port: int) -> list[IPv4Address]:
    try:
        return [IPv4Address(host)]
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise NotDialledError("unreachable", f"{host}: {reason}") from error
    return [IPv4Address(entry[4][0]) for entry in found]
