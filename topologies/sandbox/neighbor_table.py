"""The machine's neighbor (ARP) table: one for all network namespaces and containers.

Theory of operation. An entry says which link-layer address an IP address has on one interface.
Entries that were learned count against `gc_thresh3`, permanent ones do not. Where the table is
full, the kernel refuses an entry, and drops the packet that needed it before it leaves its host.

The kernel's figures are asked for by netlink (`ip ntable`), which answers in every namespace; their
file, /proc/net/stat/arp_cache, exists only in the first one.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass

from napt_lab.topologies.sandbox import sandbox
from napt_lab.topologies.sandbox.finding import Finding

NAME = "neighbor table"
ENOUGH = 8192  # entries, for several hundred labs at once


@dataclass(frozen=True, slots=True)
class NeighborTable:
    """Its figures: `entries` now, permanent ones included, and refusals since the start."""

    entries: int
    limit: int
    overflows: int

    def full(self, found: str) -> Finding:
        """The finding where one more entry was refused."""
        return Finding(
            NAME,
            found,
            f"all programs and containers of this machine share {self.limit} learned entries, and"
            " they are used up: packets are dropped before they leave their hosts",
            "as root, on the machine itself if this is a container: "
            f"sysctl -w net.ipv4.neigh.default.gc_thresh3={max(ENOUGH, 2 * self.limit)}",
        )


def read() -> NeighborTable:
    """What the kernel says of its table."""
    command = ["ip", "-json", "-stats", "ntable", "show", "name", "arp_cache"]
    path = {**os.environ, "PATH": sandbox.administrators_path()}
    shown = subprocess.run(command, check=True, capture_output=True, text=True, env=path)
    table = next(each for each in json.loads(shown.stdout) if "table_fulls" in each)
    return NeighborTable(table["entries"], table["thresh3"], table["table_fulls"])


def one_more(interface: str) -> str:
    """The words after `ip` that ask for one more entry; it vanishes with `interface`."""
    return f"neigh replace 192.0.2.1 lladdr 02:00:00:00:00:00 dev {interface} nud stale"
