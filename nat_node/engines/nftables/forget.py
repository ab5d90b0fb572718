"""Make the kernel forget all sessions of this network namespace, as a reboot would."""

from __future__ import annotations

from napt_lab.nat_node.engines.nftables.conntrack import end_all
from napt_lab.nat_node.system.netlink import Netlink

if __name__ == "__main__":
    end_all(Netlink())
