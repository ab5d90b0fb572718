"""The running network of one candidate: hosts that send only what a test sends, and the wires.

The hosts are real nodes with real kernels, and a kernel answers unexpected packets: with a RST for
a SYN-ACK, an ICMP error for a datagram. So an nftables rule drops everything that arrives, after
the capture has seen it. A host sends through a raw socket.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from napt_lab.labs.capture.packets import Endpoint
from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.conformance.headers import Probe
from napt_lab.labs.conformance.topology import (
    FAR_MTU,
    HOSTS,
    INSIDE,
    NARROW_MTU,
    PUBLIC,
    RULE_PORT,
    Setup,
)
from napt_lab.labs.conformance.violation import Coincidence, NotApplicable, NotProbed
from napt_lab.topologies.network import namespaces
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.node import Node

_SILENT = (
    "add table ip silent; "
    "add chain ip silent in { type filter hook prerouting priority -400; policy drop; }"
)
_FIRST_PORT = 10_000

#: The kernel's timers (seconds, whole ones), by the names that topologies have for them.
KERNEL_TIMERS = {
    "udp": ("udp_timeout", "udp_timeout_stream"),
    "icmp": ("icmp_timeout",),
    "tcp": ("tcp_timeout_established", "tcp_timeout_fin_wait", "tcp_timeout_close_wait"),
    "tcp-transitory": ("tcp_timeout_syn_sent", "tcp_timeout_syn_recv"),
    "closing-hold": ("tcp_timeout_last_ack", "tcp_timeout_time_wait", "tcp_timeout_close"),
}


Result = TypeVar("Result")


class Story:
    """An experiment that several tests share: its result, or its error."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.result: Any = None
        self.error: Exception | None = None


class Host:
    """An end system; `send` puts a packet on its wire."""

    def __init__(self, node: Node, site: str | None) -> None:
        self.name = node.name
        self.address = str(node.address)
        self.where = f"{node.name}:eth0"
        self.site = site  # None: on the Internet
        self._socket = namespaces.visit(
            node.pid, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        )
        done = node.run(["nft", _SILENT])
        if done.status:
            raise NotProbed(f"nft on {node.name}: {done.stderr.strip()}")

    def send(self, probe: Probe) -> None:
        """Send it as it is (the kernel writes the header's checksum, and finds the next hop)."""
        destination = socket.inet_ntoa(probe.data[16:20])
        self._socket.sendto(probe.data, (destination, 0))

    def close(self) -> None:
        self._socket.close()


class Napt:
    """One of the NAPTs."""

    def __init__(self, site: str, node: Node) -> None:
        self.site = site
        self.node = node
        self.external, *_ = self.addresses = PUBLIC[site]
        self.internal = INSIDE
        self.inside, self.outside = f"{node.name}:lan0", f"{node.name}:wan0"


class Testbed:
    """`with Testbed(setup) as testbed:` a network to be probed, watched at every interface."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._cleanup = contextlib.ExitStack()
        self._ports = itertools.count(_FIRST_PORT)
        self._lock = threading.Lock()
        self._stories: dict[str, Story] = {}

    def __enter__(self) -> Testbed:
        with contextlib.ExitStack() as stack:
            self.net = stack.enter_context(Network(self.setup.topology))
            sites = [site.name for site in self.setup.topology.sites]
            self.napts = {site: Napt(site, self.net[f"napt_{site}"]) for site in sites}
            homes = {host: site for site, hosts in HOSTS.items() for host in hosts}
            self.hosts = {}
            for host in self.setup.topology.hosts():
                made = Host(self.net[host.name], homes.get(host.name))
                stack.callback(made.close)
                self.hosts[host.name] = made
            self._shape_links()
            self.wire = stack.enter_context(Wire(self.net))
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def rule(self) -> Endpoint:
        """The external endpoint of an explicit rule of *main*, which leads to x1.

        NotApplicable if its translator takes none.
        """
        external = self.napts["main"].external, RULE_PORT
        if self.setup.is_foreign:
            self.once("an explicit rule", self._add_rule)
        return external

    def _add_rule(self) -> None:
        endpoints = f"{PUBLIC['main'][0]}:{RULE_PORT}", f"{self.hosts['x1'].address}:{RULE_PORT}"
        try:
            self.net.napt(self.napts["main"].node.name).add("tcp", *endpoints)
        except ControlError as error:
            raise NotApplicable(f"it takes no explicit rules: {error}") from error

    def port(self) -> int:
        """A port (or identifier) that no other test uses, for either end."""
        with self._lock:
            return next(self._ports)

    def once(self, name: str, tell: Callable[[], Result]) -> Result:
        """The result (or error) of `tell()`, which is called only once: several tests share it."""
        with self._lock:
            story = self._stories.setdefault(name, Story())
        with story.lock:
            if story.result is None and story.error is None:
                try:
                    story.result = tell()
                except Coincidence:  # who has asked tries again
                    raise
                except Exception as error:  # noqa: BLE001  # raised to each who asks
                    story.error = error
        if story.error is not None:
            raise story.error
        return cast(Result, story.result)

    def _shape_links(self) -> None:
        """Give two links a smaller MTU than all others."""
        far = next(p for p in self.net["internet"].ports if str(p.address.ip).startswith("203."))
        for node, interface, mtu in (
            ("internet", far.interface, FAR_MTU),
            ("napt_narrow", "wan0", NARROW_MTU),
        ):
            done = self.net[node].run(["ip", "link", "set", interface, "mtu", str(mtu)])
            if done.status:
                raise NotProbed(f"the MTU of {node}:{interface}: {done.stderr.strip()}")

    def kernel_timer(self, site: str, name: str) -> float:
        """The shortest of the kernel's timers of this kind, in seconds, read from a NAPT."""

        def read() -> float:
            folder = Path("/proc/sys/net/netfilter")
            return min(
                float((folder / f"nf_conntrack_{timer}").read_text())
                for timer in KERNEL_TIMERS[name]
            )

        try:
            return namespaces.visit(self.napts[site].node.pid, read)
        except OSError as error:
            raise NotProbed(f"the kernel's timers: {os.strerror(error.errno or 0)}") from error
