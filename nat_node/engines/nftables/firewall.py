"""A program that reports what a firewall of nftables drops.

It listens to one group of nflog in its own network namespace, and prints a line of JSON for each
packet. The ruleset itself is loaded by `nft`, and works without this program.
"""

from __future__ import annotations

import argparse
import select
import socket
import sys

from napt_lab.nat_node.engines.nftables import packet_log
from napt_lab.nat_node.system.announce import announce
from napt_lab.nat_node.system.netlink import is_overrun

MEANING = "the firewall of this gateway does not let it through"


def main() -> int:
    """Report until it is killed."""
    parser = argparse.ArgumentParser(prog="firewall", description=__doc__)
    parser.add_argument("--group", type=int, required=True, help="of nflog")
    parser.add_argument("--inside", required=True, metavar="IFACE", help="the inside interface")
    arguments = parser.parse_args()
    inside = socket.if_nametoindex(arguments.inside)
    log = packet_log.listen(arguments.group)
    announce("ready")
    while True:
        select.select([log.socket], [], [])  # else it would ask again and again
        try:
            for packet in packet_log.logged(log):
                if packet is not None:
                    side = "inside" if packet.interface == inside else "outside"
                    announce(
                        "drop",
                        reason=packet.prefix,
                        meaning=MEANING,
                        packet=packet.packet,
                        side=side,
                    )
        except OSError as error:
            if not is_overrun(error):
                raise
            announce("lost", count=1)


if __name__ == "__main__":
    sys.exit(main())
