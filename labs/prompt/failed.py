"""Why a command failed without a packet: what its exit status and its own node tell of it.

The node is asked whether it has the programs that were to run, knows the names in the line, and has
routes to the addresses; and how long a packet may be.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from napt_lab.labs.prompt.background import unquoted
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.node import Node

CANNOT_RUN, NOT_FOUND = 126, 127  # exit statuses, as shells have them
#: The exit status of programs for a name without an address; it may have other reasons as well.
NOT_RESOLVED = {"curl": 6, "nc": 1, "ping": 2, "traceroute": 2, "wget": 4}
HEADERS = 28  # bytes of IPv4 and ICMP before the data of a ping
#: A name or address, also in a URL; but not a file (curl -o) or a user (-u, --user).
_WORD = re.compile(r"(?<!-[ou] )(?<!--user )(?<![\w.-])[\w.]+(?![\w.-])")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_IN_URL = re.compile(r"\w+://(?:[^@/\s'\"]*@)?([A-Za-z0-9.-]+)")
_DOTTED = re.compile(r"(?<!-[ou] )(?<!--user )(?<![\w./:@-])[A-Za-z0-9-]+(?:\.[A-Za-z][\w-]*)+")
#: Where a program's name stands: at the beginning of the line, or after a pipe and the like.
_PROGRAM = re.compile(r"(?:^|[|&;(])\s*(?:\w+=\S*\s+)*([^\s|&;()<>]+)")
_SIZE, _WHOLE = re.compile(r"\s-s\s*(\d+)"), re.compile(r"\s-M\s*(?:do|probe)\b")
_MTU, _DEVICE = re.compile(r"\bmtu (\d+)"), re.compile(r"\bdev (\S+)")


@dataclass(frozen=True, slots=True)
class Typed:
    """A command that was typed; `status` is its exit status, None while it is not known."""

    text: str = ""
    began: float = 0.0  # seconds since 1970
    status: int | None = None

    @property
    def words(self) -> set[str]:
        """Names and addresses in it, and what looks like one."""
        return set(_WORD.findall(self.line))

    @property
    def node(self) -> str:
        return self.text.partition(" ")[0]

    @property
    def line(self) -> str:
        """What a shell on the node has done."""
        return self.text.partition(" ")[2]

    @property
    def failed(self) -> bool:
        return self.status is not None and self.status > 0


def not_run(node: Node, typed: Typed) -> Iterator[str]:
    """The programs in the line that the node does not have, or that cannot be run."""
    if typed.status not in (CANNOT_RUN, NOT_FOUND):
        return
    with_status = f"(exit status {typed.status})"
    if typed.status == CANNOT_RUN:
        yield f"what the command was to run is no program, or may not be run {with_status}"
        return
    missing = [name for name in _programs(typed.line) if not _has(node, name)]
    for name in missing:
        yield f"{node.name} has no program {name} {with_status}"
    if not missing:
        yield f"a program that the command was to start was not found on {node.name} {with_status}"


def not_sent(net: Network, node: Node, typed: Typed, *, sent: bool) -> Iterator[str]:
    """Names and addresses to which the node can send no packet; `sent` is whether it sent any."""
    for host in net.topology.hosts():
        if host.name in typed.words and not _knows(node, host.name):
            yield f"{host.name} is a name of this prompt only; its address is {host.address.ip}"
    for address in sorted(typed.words):
        if _ADDRESS.fullmatch(address):
            route = node.run(["ip", "route", "get", address])
            if route.status != 0:
                yield f"{node.name} has no route to {address}: {route.stderr.strip()}"
    if typed.failed:
        yield from _unknown(node, typed, {host.name for host in net.topology.hosts()})
        if not sent:
            yield from _too_long(node, typed)


def _programs(line: str) -> list[str]:
    names = []
    for found in _PROGRAM.finditer(unquoted(line)):
        try:
            names += shlex.split(line[slice(*found.span(1))])[:1]
        except ValueError:  # a quote that is not closed
            continue
    return list(dict.fromkeys(names))


def _has(node: Node, name: str) -> bool:
    return node.run(["bash", "-c", 'type -- "$1"', "bash", name]).status == 0


def _knows(node: Node, name: str) -> bool:
    return node.run(["getent", "hosts", name]).status == 0


def _unknown(node: Node, typed: Typed, told: set[str]) -> Iterator[str]:
    """Names that are not in /etc/hosts, where no name server can be asked."""
    program = (_programs(typed.line) or [""])[0]
    if NOT_RESOLVED.get(program) != typed.status or _name_servers(node):
        return
    names = [*_IN_URL.findall(typed.line), *_DOTTED.findall(typed.line)]
    if program in ("ping", "traceroute"):
        names.append(typed.line.split()[-1])
    for name in dict.fromkeys(names):
        if not _ADDRESS.fullmatch(name) and name not in told and not _knows(node, name):
            yield (
                f"{node.name} does not know the name {name}: it is not in /etc/hosts, and "
                "/etc/resolv.conf has no name server that could be asked"
            )


def _name_servers(node: Node) -> bool:
    return node.run(["grep", "-qs", "^nameserver", "/etc/resolv.conf"]).status == 0


def _too_long(node: Node, typed: Typed) -> Iterator[str]:
    """A ping that is longer than the interface's MTU, or the path's, and must stay whole."""
    size, whole = _SIZE.search(typed.line), _WHOLE.search(typed.line)
    if _programs(typed.line) != ["ping"] or size is None or whole is None:
        return
    found = node.run(["getent", "ahostsv4", typed.line.split()[-1]]).stdout.split()
    route = node.run(["ip", "route", "get", *found[:1]]).stdout if found else ""
    device, learned = _DEVICE.search(route), _MTU.search(route)
    if device is None:
        return
    shown = node.run(["ip", "link", "show", "dev", device[1]]).stdout
    mtu = learned or _MTU.search(shown)
    length = int(size[1]) + HEADERS
    if mtu is not None and length > int(mtu[1]):
        of = f"of the path to {found[0]}, as {node.name} has learned," if learned else ""
        yield (
            f"the packet is {length} bytes long and may not be fragmented ({whole[0].strip()}), "
            f"but the MTU {of or f'of {node.name}:{device[1]}'} is {mtu[1]}"
        )
