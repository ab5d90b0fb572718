"""Faults of the gateway's own kernel, which is a router (nat_node/system/routing.py)."""

from __future__ import annotations

import subprocess
from pathlib import Path

EXPEDITED = 46  # a class of service (RFC 3246)


def with_setting(set_up, name, value):
    """A setting of the kernel is another one."""

    def done(interfaces):
        set_up(interfaces)
        (Path("/proc/sys/net/ipv4") / name).write_text(value)

    return done


def expediting_errors(set_up):
    """What the kernel tells of packets whose time was over has the highest class of service."""

    def done(interfaces):
        set_up(interfaces)
        chain = "{ type filter hook output priority mangle; }"
        rule = f"icmp type time-exceeded ip dscp set {EXPEDITED}"
        commands = f"add table ip t; add chain ip t c {chain}; add rule ip t c {rule}"
        subprocess.run(["nft", commands], check=True)

    return done
