"""Faults of the network, and of what looks at it."""

from __future__ import annotations

import fcntl
import socket
import struct
from dataclasses import replace

_GET_ADDRESS = 0x8915  # SIOCGIFADDR
RELAY = "198.51.100.11"


def forwarding(node_plans, name):
    """The node `name` passes packets on."""

    def plans(topology):
        for plan in node_plans(topology):
            yield replace(plan, forwards=True) if plan.name == name else plan

    return plans


def silent_about_private_space(ip_commands):
    """The router drops what is for private addresses, and says nothing."""

    def commands(plan):
        return [
            command if command.endswith("default") else command.replace("unreachable", "blackhole")
            for command in ip_commands(plan)
        ]

    return commands


def at_the_router(ip_commands, *instead):
    """The router has these commands instead of the route that says no to all the rest."""

    def commands(plan):
        usual = ip_commands(plan)
        if plan.next_hop is not None:
            return usual
        assert "route add unreachable default" in usual
        return [line for line in usual if line != "route add unreachable default"] + list(instead)

    return commands


def blind_at_the_relay(ring):
    """The capture at the relay watches another interface."""

    def watching(interface, *arguments):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            try:
                asked = struct.pack("256s", interface.encode())
                answer = fcntl.ioctl(asking, _GET_ADDRESS, asked)
            except OSError:  # it has no address
                return ring(interface, *arguments)
        at_relay = socket.inet_ntoa(answer[20:24]) == RELAY
        return ring("lo" if at_relay else interface, *arguments)

    setattr(watching, "close", ring.close)  # noqa: B010  # mypy: a function has none
    return watching
