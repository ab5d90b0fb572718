"""The kernel's sessions, as its connection tracking tells of them (ctnetlink).

An entry has two tuples: the packets of its original direction, as they came, and of its reply
direction, as they will come. Their difference is the translation:

    outbound   original  10.0.0.7:40000  -> 151.101.1.69:80
               reply     151.101.1.69:80 -> 24.9.3.7:40000     where it ends: the external endpoint
    inbound    original  198.51.100.10:9 -> 24.9.3.7:8080
               reply     10.0.0.7:80     -> 198.51.100.10:9    where it starts: the internal one
"""

from __future__ import annotations

from dataclasses import dataclass

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.packet import ICMP, TCP
from napt_lab.nat_node.core.tcp_state import TcpState
from napt_lab.nat_node.system.netlink import DUMP, NESTED, Netlink, attribute, attributes, number

NEW_GROUP, UPDATED_GROUP, ENDED_GROUP = 1, 2, 3
NEW, GET, DELETE = 0x100, 0x101, 0x102
_ORIGINAL, _REPLY, _STATUS, _PROTOCOL_INFO, _TIMEOUT = 1, 2, 3, 4, 7
_COUNTERS_OUT, _COUNTERS_IN, _ID, _TIMES = 9, 10, 12, 20
_DESTINATION_NAT = 1 << 5

_OVER = TcpState.CLOSED
_STATES = {
    1: TcpState.OPENING_OUT,
    2: TcpState.OPENING_OUT,
    3: TcpState.ESTABLISHED,
    4: TcpState.HALF_CLOSED_OUT,  # FIN_WAIT: the kernel does not tell whose FIN it was
    5: TcpState.HALF_CLOSED_IN,  # CLOSE_WAIT: it has been acknowledged
    6: _OVER,  # LAST_ACK
    7: _OVER,  # TIME_WAIT
    8: TcpState.RESET,  # CLOSE
    9: TcpState.OPENING_IN,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One session. Times in seconds, `started` since 1970; counters in packets and bytes.

    `inbound`: an explicit rule let it in.
    """

    id: int
    protocol: int
    inbound: bool
    internal: Endpoint
    external: Endpoint
    remote: Endpoint
    state: TcpState | None
    expires_in: float
    started: float
    out: tuple[int, int]
    back: tuple[int, int]
    original: bytes

    @property
    def sent(self) -> tuple[int, int]:
        """What the inside has sent."""
        return self.back if self.inbound else self.out

    @property
    def received(self) -> tuple[int, int]:
        """What the inside was sent."""
        return self.out if self.inbound else self.back


class Unreadable(ValueError):
    """A record that is not one of connection tracking's IPv4 sessions."""


def records(netlink: Netlink) -> list[bytes]:
    """All sessions, for `read`. Those whose time has passed end with it."""
    return netlink.ask(GET, b"", flags=DUMP)


def end_all(netlink: Netlink) -> None:
    """Have the kernel forget all sessions of this network namespace. Raises OSError."""
    netlink.ask(DELETE, b"")  # without a tuple: all of them


def end(netlink: Netlink, entry: Entry) -> None:
    """End a session. Raises OSError if it has already ended."""
    netlink.ask(DELETE, attribute(_ORIGINAL | NESTED, entry.original))


def read(data: bytes) -> Entry:
    """An entry from a message's attributes; what an event does not say is 0. Raises Unreadable."""
    found = attributes(data)
    original = found.get(_ORIGINAL, b"")
    protocol, start, to = _tuple(original)
    _, reply_start, reply_to = _tuple(found.get(_REPLY, b""))
    inbound = bool(_number(found.get(_STATUS), 4) & _DESTINATION_NAT)
    if inbound:
        internal, external, remote = reply_start, to, reply_to  # which is how the inside sees it
    else:
        internal, external, remote = start, reply_to, to
    if protocol == ICMP:
        remote = (remote[0], 0)
    tcp = attributes(attributes(found.get(_PROTOCOL_INFO, b"")).get(1, b""))
    return Entry(
        id=_number(found.get(_ID), 4),
        protocol=protocol,
        inbound=inbound,
        internal=internal,
        external=external,
        remote=remote,
        state=_STATES.get(_number(tcp.get(1), 1), _OVER) if protocol == TCP else None,
        expires_in=float(_number(found.get(_TIMEOUT), 4)),
        started=_number(attributes(found.get(_TIMES, b"")).get(1), 8) / 1e9,
        out=_counters(found.get(_COUNTERS_OUT)),
        back=_counters(found.get(_COUNTERS_IN)),
        original=original,
    )


def _tuple(data: bytes) -> tuple[int, Endpoint, Endpoint]:
    """Protocol, source and destination.

    An ICMP query's identifier stands for both ports; protocols without ports have 0.
    """
    parts = attributes(data)
    addresses, ends = attributes(parts.get(1, b"")), attributes(parts.get(2, b""))
    if not len(addresses.get(1, b"")) == len(addresses.get(2, b"")) == 4:
        raise Unreadable("a session without IPv4 addresses")
    protocol = _number(ends.get(1), 1)
    ports = (4, 4) if protocol == ICMP else (2, 3)
    return (
        protocol,
        (number(addresses[1]), _number(ends.get(ports[0]), 2)),
        (number(addresses[2]), _number(ends.get(ports[1]), 2)),
    )


def _counters(data: bytes | None) -> tuple[int, int]:
    found = attributes(data or b"")
    return _number(found.get(1), 8), _number(found.get(2), 8)


def _number(data: bytes | None, size: int) -> int:
    """A number of at most `size` bytes; 0 if it is not there."""
    if data is not None and len(data) > size:
        raise Unreadable(f"a number of {len(data)} bytes where {size} are the most")
    return number(data)
