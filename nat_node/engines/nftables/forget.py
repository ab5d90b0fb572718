"""Make the kernel forget all sessions of this network namespace, as a reboot would."""

from __future__ import annotations

from napt_lab.nat_node.engines.nftables.conntrack import DELETE
from napt_lab.nat_node.system.netlink import Netlink

if __name__ == "__main__":
    Netlink().ask(DELETE, b"")  # without a tuple: all of them
