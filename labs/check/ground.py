"""The running network as checks see it.

What a NAPT's explicit rules lead to is asked of the NAPT at that moment, for rules come and go.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.check.surroundings import Surroundings
from napt_lab.topologies.network.node import LIST_LINKS, without_link
from napt_lab.topologies.network.processes import Process
from napt_lab.topologies.spec.model import Site

if TYPE_CHECKING:  # the builder brings all of Mininet
    from napt_lab.topologies.network.builder import Network

POLL = 0.05  # seconds between two looks whether the checks are to end
MOST_LINKS = 6  # slow ones that a packet passes: of two hosts, their NAPTs, their carriers'


class Ground(Surroundings):
    """A running network and its wires, with the questions that checks ask about them."""

    def __init__(self, net: Network, wire: Wire) -> None:
        super().__init__(net.topology)
        self.net = net
        self.wire = wire
        self.stopped = threading.Event()  # all checks are to end
        self._macs = {
            f"{node.name}:{port.interface}": bytes.fromhex(port.mac.replace(":", ""))
            for node in net
            for port in node.ports
        }

    def ends(
        self, process: Process, seconds: float, is_dead: Callable[[], bool] = lambda: False
    ) -> bool:
        """Whether a command ends within that time. If not, it is killed."""
        end = time.monotonic() + seconds
        while not process.ends_within(POLL):
            if time.monotonic() > end or self.stopped.is_set() or is_dead():
                process.kill()
                process.await_end()
                return False
        return True

    @property
    def slowness(self) -> float:
        """How many seconds the delays of links may add until an answer comes, after ARP's."""
        links = self.net.links.settings.values() if self.net.links is not None else ()
        slowest = sorted((link.delay + link.jitter for link in links), reverse=True)[:MOST_LINKS]
        return 4 * sum(slowest)

    def is_cut_off(self, node: str) -> bool:
        """Whether a node is unplugged, or has a link that loses all."""
        links = self.net.links.settings if self.net.links is not None else {}
        if node in links and links[node].loss >= 1:
            return True
        asked = self.net[node].run(LIST_LINKS)
        own = self.net[node].interfaces
        return len(without_link(asked.stdout, own)) == len(own)

    def mac(self, where: str) -> bytes:
        """The Ethernet address of an interface, `node:interface`."""
        return self._macs[where]

    def explicit_rule(
        self, site: Site, transport: str, address: IPv4Address, port: int
    ) -> tuple[IPv4Address, int] | None:
        """The same, asked of the NAPT: rules come and go."""
        external = f"{address}:{port}"
        for rule in self.net.napt(site.gateway.name).rules():
            if rule["explicit"] and (rule["protocol"], rule["external"]) == (transport, external):
                inside, _, number = str(rule["internal"]).rpartition(":")
                return IPv4Address(inside), int(number)
        return None
