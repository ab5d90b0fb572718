"""Which external address an inside host's rules get, and which of its ports.

Theory of operation
-------------------
A carrier's NAPT has a pool of external addresses. With *paired* pooling all rules of an inside
host have the same one (RFC 4787, REQ-2): its number in the inside network chooses it, so it stays
the same for ever. With *arbitrary* pooling each rule has any of them.

    24.9.3.7   10.0.0.1   10.0.0.3   10.0.0.5   …
    24.9.3.8   10.0.0.2   10.0.0.4   10.0.0.6   …

With *deterministic* assignment (RFC 7422) a host also has a block of ports of its own, which its
number chooses as well. Who had a port can then be computed, and need not be logged:

    10.0.0.1   24.9.3.7:1024-2047
    10.0.0.2   24.9.3.7:2048-3071
    …
    10.0.0.64  24.9.3.8:1024-2047      63 such blocks fit into the ports of an address

A place is an external address with the ports to choose from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.ports import IsFree, PortPool, Taken
from napt_lab.nat_node.core.settings import AddressPooling, PortAssignment, Settings

Place = tuple[int, PortPool]


def block_of(
    number: int, addresses: Sequence[int], ports: range, size: int
) -> tuple[int, range] | None:
    """The external address and the block of `size` ports of host `number`, from 1 on.

    None if there are not so many blocks.
    """
    blocks = len(ports) // size  # of one address
    which, place = divmod(number - 1, blocks) if blocks else (len(addresses), 0)
    if which >= len(addresses):
        return None
    start = ports.start + place * size
    return addresses[which], range(start, start + size)


class _Block(PortPool):
    """The ports of one host."""

    def choose(self, wanted: int, is_free: IsFree, taken: Taken) -> int | None:
        del taken  # it is counted for whole addresses
        return super().choose(wanted, is_free, lambda _: 0)


class Pooling:
    """The places of the hosts behind one NAPT. `below(n)` gives a random number below n."""

    def __init__(self, settings: Settings, below: Callable[[int], int]) -> None:
        self._settings = settings
        self._below = below
        self._deterministic = settings.port_assignment is PortAssignment.DETERMINISTIC
        self._all = tuple(
            (
                address,
                PortPool(settings.ports, settings.port_assignment, settings.port_parity, below),
            )
            for address in settings.addresses
        )
        self.everyones = () if self._deterministic or settings.others else self._all
        """The places of every host, where they are the same: mostly one."""
        self._blocks: dict[int, tuple[Place, ...]] = {}

    def places(self, host: int) -> tuple[Place, ...]:
        """Where a host's next rule may have its port, in the order to try."""
        if self._deterministic:
            return self._blocks.get(host) or self._make_block(host)
        size = len(self._all)
        if self._settings.address_pooling is AddressPooling.PAIRED:
            first = (self._number(host) - 1) % size
            return self._all[first : first + 1]
        first = self._below(size)
        return self._all[first:] + self._all[:first]

    def addresses(self, host: int) -> frozenset[int]:
        """The external addresses that a host's rules may have."""
        return frozenset(address for address, _ in self.places(host))

    def address_of(self, host: int) -> int:
        """The external address of a host's explicit rules, if they name none."""
        addresses = self.addresses(host)
        return next(iter(addresses)) if len(addresses) == 1 else self._settings.external

    def may_have(self, host: int, external: Endpoint) -> bool:
        """Whether a host may have an explicit rule at an external endpoint of ours."""
        address, port = external
        if not self._deterministic or port not in self._settings.ports:
            return True
        block = self.block(host)
        return block is not None and address == block[0] and port in block[1]

    def block(self, host: int) -> tuple[int, range] | None:
        """The external address and ports of a host, where they are deterministic."""
        settings = self._settings
        size = settings.ports_per_subscriber
        return block_of(self._number(host), settings.addresses, settings.ports, size)

    def _make_block(self, host: int) -> tuple[Place, ...]:
        block = self.block(host)
        if block is None:
            return ()
        address, ports = block
        settings = self._settings
        pool = _Block(ports, settings.port_assignment, settings.port_parity, self._below)
        self._blocks[host] = ((address, pool),)
        return self._blocks[host]

    def _number(self, host: int) -> int:
        return host & ~self._settings.internal_mask
