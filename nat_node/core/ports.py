"""Which external port a new rule gets (RFC 4787, section 4.2; RFC 6056).

Preserve: the internal port if it is free, else at random. Sequential: the next free one.
Random: any free one. The random numbers come from outside, so that tests can choose them.

Two preferences come first. A port below 1024 becomes one below 1024 if the pool has such ports,
and any other port stays at 1024 or above (RFC 4787, REQ-3a). Where parity is kept, an even port
becomes an even one (REQ-4, for RTP and RTCP, which come in pairs). A preference gives way when no
port meets it: an odd port is better than none.

    parts of the pool 1-65535     1-1023 even │ 1-1023 odd │ 1024-65535 even │ 1024-65535 odd
    preferred for port 40000                                 └──────────────┘ first, with parity
                                                             └─────────────────────────────┘ then
                                  └────────────────────────────────────────────────────────┘ last

A few random numbers find a free port unless a part is nearly full. Then the part is searched in
strides of random length. A search port by port would fill up the pool in runs without a gap, each
longer than the one before, and the last ports of 65,535 would take thousands of looks each. A part
that is full is not searched: the number of its taken ports is known.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from math import gcd

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.settings import PortAssignment

_THROWS = 8  # random numbers that are tried before a search
_WELL_KNOWN = 1024


def part_of(port: int) -> int:
    """Which of the four parts a port lies in: bit 0 its parity, bit 1 whether it is above 1023."""
    return (port & 1) | (port >= _WELL_KNOWN) << 1


IsFree = Callable[[int], bool]
Taken = Callable[[int], int]
"""How many ports of a part of the pool are not free."""


class PortPool:
    """Chooses ports from `pool`; `below(n)` returns a random number from 0 to n - 1."""

    def __init__(
        self,
        pool: range,
        assignment: PortAssignment,
        keep_parity: bool,
        below: Callable[[int], int],
    ) -> None:
        self.pool = pool
        self._preserves = assignment is PortAssignment.PRESERVE
        self._in_sequence = assignment is PortAssignment.SEQUENTIAL
        self._below = below
        self._next = pool.start
        self._wishes = [self._wishes_of(part, keep_parity) for part in range(4)]

    def _wishes_of(self, part: int, keep_parity: bool) -> list[tuple[range, tuple[int, ...]]]:
        """Where to look for a port like those of `part`, best first: ports, and their parts."""
        parity, above = part & 1, part & 2
        start, stop = self.pool.start, self.pool.stop
        alike = range(max(start, _WELL_KNOWN), stop) if above else range(start, min(stop, 1024))
        wishes: list[tuple[range, tuple[int, ...]]] = []
        if keep_parity and alike:
            wishes.append((range(alike.start + (alike.start + parity) % 2, alike.stop, 2), (part,)))
        wishes.append((alike, (above, above + 1)))
        if alike != self.pool:
            wishes.append((self.pool, (0, 1, 2, 3)))
        return [wish for wish in wishes if wish[0]]

    def choose(self, wanted: int, is_free: IsFree, taken: Taken) -> int | None:
        """A free port, or None when there is none. `wanted` is the internal port."""
        if self._preserves and wanted in self.pool and is_free(wanted):
            return wanted
        for ports, parts in self._wishes[part_of(wanted)]:
            port = self._choose_from(ports, parts, is_free, taken)
            if port is not None:
                return port
        return None

    def _choose_from(
        self, ports: range, parts: tuple[int, ...], is_free: IsFree, taken: Taken
    ) -> int | None:
        size = len(ports)
        if not self._in_sequence:
            for _ in range(_THROWS):
                port = ports[self._below(size)]
                if is_free(port):
                    return port
        if sum(map(taken, parts)) >= size:
            return None
        if self._in_sequence:
            first = max(0, -((ports.start - self._next) // ports.step))
            return self._scan(ports, first, is_free)
        return self._scan(ports, self._below(size), is_free, self._stride(size))

    def _stride(self, size: int) -> int:
        """A step that comes to every one of `size` ports before it comes back to the first."""
        while gcd(stride := 1 + self._below(size), size) != 1:
            pass
        return stride

    def _scan(
        self, ports: range, start: int, is_free: Callable[[int], bool], stride: int = 1
    ) -> int | None:
        """The first free port from `start` on, once around."""
        for step in range(len(ports)):
            port = ports[(start + step * stride) % len(ports)]
            if is_free(port):
                self._next = port + 1
                return port
        return None


class HeldPorts:
    """Ports that stay unused for a while after their rule (RFC 6888, REQ-8).

    Packets that are still on their way to the old owner must not reach a new one. At most every
    port of the pool is held, once for UDP and once for ICMP; what is held anew is held longer.
    """

    def __init__(self, wait: float = 0.0) -> None:
        self._wait = wait  # seconds
        self._since: deque[tuple[float, int, Endpoint]] = deque()
        self._held: dict[tuple[int, Endpoint], float] = {}  # since when
        self.count: Counter[tuple[int, int, int]] = Counter()
        """How many are held: by protocol, external address and part of the pool."""

    def __contains__(self, key: tuple[int, Endpoint]) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, protocol: int, external: Endpoint, since: float) -> None:
        """Keep a port from being used. `since` must not be earlier than in the call before."""
        # An explicit rule may have had it meanwhile: then it is held already.
        if (protocol, external) not in self._held:
            self.count[(protocol, external[0], part_of(external[1]))] += 1
        self._since.append((since, protocol, external))
        self._held[(protocol, external)] = since

    def release(self, now: float) -> None:
        """Give back the ports whose time has passed."""
        while self._since and self._since[0][0] + self._wait <= now:
            since, protocol, external = self._since.popleft()
            if self._held.get((protocol, external)) != since:
                continue  # it was held anew
            del self._held[(protocol, external)]
            self.count[(protocol, external[0], part_of(external[1]))] -= 1

    def within(self, pool: range, wait: float) -> HeldPorts:
        """Those of them that are in a pool; they are held for `wait` seconds in all."""
        held = HeldPorts(wait)
        for since, protocol, external in self._since:
            if external[1] in pool:
                held.hold(protocol, external, since)
        return held


class SharedPorts:
    """How many rules each port has, where one port can serve several remote endpoints."""

    def __init__(self, pool: range) -> None:
        self._pool = pool
        # A number for each port, by protocol and external address: a dictionary of 65,536 keys
        # would take 13 MB.
        self._rules: defaultdict[tuple[int, int], array[int]] = defaultdict(_all_at_zero)
        self.count: Counter[tuple[int, int, int]] = Counter()
        """How many ports have any: by protocol, external address and part of the pool."""

    def __contains__(self, key: tuple[int, Endpoint]) -> bool:
        protocol, (address, port) = key
        return self._rules[(protocol, address)][port] > 0

    def add(self, protocol: int, external: Endpoint) -> None:
        """A rule is on this port from now on."""
        address, port = external
        rules = self._rules[(protocol, address)]
        rules[port] += 1
        if rules[port] == 1:
            self._count(protocol, external, 1)

    def remove(self, protocol: int, external: Endpoint) -> None:
        """A rule that was on this port has ended."""
        address, port = external
        rules = self._rules[(protocol, address)]
        rules[port] -= 1
        if not rules[port]:
            self._count(protocol, external, -1)

    def _count(self, protocol: int, external: Endpoint, change: int) -> None:
        address, port = external
        if port in self._pool:
            self.count[(protocol, address, part_of(port))] += change


def _all_at_zero() -> array[int]:
    return array("I", bytes(4 * 65_536))
