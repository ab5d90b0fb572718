"""Established flows carried by the kernel: the translator decides, nftables rewrites.

Theory of operation
-------------------
Python sees the first packets of every flow, and every SYN, FIN, RST, fragment, IP option and ICMP
message, and what leaves without Don't Fragment. A flow that has shown that it moves much is handed
to the kernel: its 4-tuple goes into maps of an nftables table, and from then on its packets are
rewritten where they arrive, before they are routed, and never come up to the translator.

    lan0   tcp sport set (10.0.0.7 . 151.101.1.69 . 40000 . 80 -> 1025), ip saddr set 24.9.3.7
    wan0   mark set (151.101.1.69 . 24.9.3.7 . 80 . 1025 -> session), and by the mark
           ip daddr set 10.0.0.7, tcp dport set 40000

This is stateless: the kernel's connection tracking has no part in it. A mark says "translated",
and a policy rule sends what has it past the translator's devices. A packet that is in no map, or
that could change anything, goes up to the translator as it always did.

What the translator must know of a carried flow it reads from the maps' counters, once a second
and whenever somebody asks: how many packets and bytes, and whether the flow is still in use. So
silence is measured to the second, and what may be idle for a few seconds only is not carried.

The table belongs to this process (nftables' `owner` flag): when it dies, however it dies, the
kernel removes the table with the socket that made it. No flow is carried without somebody who
looks after it. Needs Linux 5.12.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from nat_node.behavior import Endpoint, show_address
from nat_node.mapping import Session
from nat_node.packet import PROTOCOL_NAMES, TCP
from nat_node.routing import TRANSLATED, Interfaces

LIBRARY = "libnftables.so.1"
TABLE = "carried"
CAPACITY = 256
"""Flows carried at the same time, so that reading their counters takes milliseconds."""
SHORTEST_IDLE = 5.0
"""Seconds; a flow that may be idle for less stays with the translator, which sees every packet."""
_ELEMENT = re.compile(r"([\d.]+ \. [\d.]+ \. \d+ \. \d+) counter packets (\d+) bytes (\d+)")


class DatapathError(OSError):
    """nftables refused; the text is its own."""


@dataclass(slots=True)
class _Carried:
    """One direction of a session in the kernel's hands, and its counters when last read."""

    session: Session
    outbound: bool
    packets: int = 0
    bytes: int = 0


_Place = tuple[str, str]  # a map's name, and the key in it as nft writes it


class KernelDatapath:
    """The kernel's maps of one NAPT. Raises DatapathError where there can be none.

    If nftables should refuse later on, the table is given up and Python carries all again.
    """

    def __init__(self, interfaces: Interfaces) -> None:
        self._external = interfaces.external
        self._nft = _Nft()
        self._nft.run(_ruleset(interfaces))
        self._carried: dict[_Place, _Carried] = {}
        self._given_up = False

    def __len__(self) -> int:
        return len(self._carried)

    def carry(self, session: Session, outbound: bool) -> None:
        """Hand one direction of a session to the kernel, if there is room."""
        place = self._place(session, outbound)
        full = self._given_up or len(self._carried) >= CAPACITY
        if place in self._carried or full or session.lifetime < SHORTEST_IDLE:
            return
        name, key = place
        mapping, mark = session.mapping, _mark(session)
        if outbound:
            self._run(f"add element ip {TABLE} {name} {{ {key} : {mapping.external_port} }}")
        else:
            address, port = mapping.internal
            self._run(
                f"add element ip {TABLE} address {{ {mark} : {show_address(address)} }}\n"
                f"add element ip {TABLE} port {{ {mark} : {port} }}\n"
                f"add element ip {TABLE} {name} {{ {key} : {mark} }}"
            )
        if not self._given_up:
            self._carried[place] = _Carried(session, outbound)
            session.carried = True

    def release(self, session: Session) -> None:
        """Take a session back: from now on the translator sees all of it, and has its counts."""
        session.carried = False
        for outbound in (True, False):
            place = self._place(session, outbound)
            carried = self._carried.pop(place, None)
            if carried is None:
                continue
            name, key = place
            for _, packets, size in _counters(
                self._run(f"get element ip {TABLE} {name} {{ {key} }}")
            ):
                _add(carried, packets, size)
            mark = _mark(session)
            self._run(
                f"delete element ip {TABLE} {name} {{ {key} }}"
                if outbound
                else f"delete element ip {TABLE} {name} {{ {key} }}\n"
                f"delete element ip {TABLE} address {{ {mark} }}\n"
                f"delete element ip {TABLE} port {{ {mark} }}"
            )

    def account(self, now: float) -> None:
        """Read all counters: what has moved since the last time was in use until `now`."""
        for name in {name for name, _ in self._carried}:
            for key, packets, size in _counters(self._run(f"list map ip {TABLE} {name}")):
                carried = self._carried.get((name, key))
                if carried is None or packets == carried.packets:
                    continue
                _add(carried, packets, size)
                session = carried.session
                # As in flow_cache.py: what comes from outside keeps no UDP rule alive.
                if carried.outbound or session.mapping.protocol == TCP:
                    session.use(now)

    def _run(self, command: str) -> str:
        """Carry out a command; if nftables refuses, nothing is carried any more."""
        if self._given_up:
            return ""
        try:
            return self._nft.run(command)
        except DatapathError as error:
            print(f"nat_node: Python carries all flows from now on: {error}", file=sys.stderr)
            self._given_up = True
            self._nft.close()
            for carried in self._carried.values():
                carried.session.carried = False
            self._carried.clear()
            return ""

    def _place(self, session: Session, outbound: bool) -> _Place:
        mapping, remote = session.mapping, session.remote
        protocol = PROTOCOL_NAMES[mapping.protocol]
        if outbound:
            return f"{protocol}_out", _key(_show(mapping.internal), _show(remote))
        return f"{protocol}_in", _key(_show(remote), (self._external, mapping.external_port))


def _show(endpoint: Endpoint) -> tuple[str, int]:
    return show_address(endpoint[0]), endpoint[1]


def _mark(session: Session) -> int:
    return TRANSLATED | session.serial & (TRANSLATED - 1)


def _key(source: tuple[str, int], destination: tuple[str, int]) -> str:
    return f"{source[0]} . {destination[0]} . {source[1]} . {destination[1]}"


def _add(carried: _Carried, packets: int, size: int) -> None:
    mapping = carried.session.mapping
    if carried.outbound:
        mapping.packets_out += packets - carried.packets
        mapping.bytes_out += size - carried.bytes
    else:
        mapping.packets_in += packets - carried.packets
        mapping.bytes_in += size - carried.bytes
    carried.packets, carried.bytes = packets, size


def _counters(listed: str) -> Iterator[tuple[str, int, int]]:
    """Key, packets and bytes of each element in what nft has listed."""
    for match in _ELEMENT.finditer(listed):
        yield match[1], int(match[2]), int(match[3])


def _ruleset(interfaces: Interfaces) -> str:
    maps, rules = [], []
    for protocol in ("tcp", "udp"):
        key = f"ip saddr . ip daddr . {protocol} sport . {protocol} dport"
        maps += [
            f"map {protocol}_out {{ typeof {key} : {protocol} sport; counter; }}",
            f"map {protocol}_in {{ typeof {key} : meta mark; counter; }}",
        ]
        plain = "tcp flags ! syn,fin,rst" if protocol == "tcp" else "meta l4proto udp"
        rules += [
            f'iifname "{interfaces.inside}" {plain} {protocol} sport set {key} map '
            f"@{protocol}_out ip saddr set {interfaces.external} meta mark set {TRANSLATED}",
            f'iifname "{interfaces.outside}" {plain} meta mark set {key} map @{protocol}_in '
            f"ip daddr set meta mark map @address {protocol} dport set meta mark map @port",
        ]
    lines = [
        "flags owner;",
        *maps,
        "map address { type mark : ipv4_addr; }",
        "map port { type mark : inet_service; }",
        "chain carry {",
        "type filter hook prerouting priority raw; policy accept;",
        # The translator's: fragments, what may be cut and needs a number (identification.py), IP
        # options, and what has no hop left.
        "ip frag-off & 0x3fff != 0 accept",
        f'iifname "{interfaces.inside}" ip frag-off & 0x4000 == 0 accept',
        "ip hdrlength != 5 accept",
        "ip ttl < 2 accept",
        *rules,
        "}",
    ]
    return f"table ip {TABLE} {{\n" + "\n".join(lines) + "\n}"


class _Nft:
    """nftables by its library: a program would have to be started for each flow."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise DatapathError(
                f"{LIBRARY} is missing: sudo apt-get install libnftables1, or datapath: python"
            ) from None
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(self._library, name).restype = ctypes.c_char_p
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, command: str) -> str:
        """Carry out nft commands, all of them or none; what they list."""
        failed = self._library.nft_run_cmd_from_buffer(self._context, command.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            first = error.decode(errors="replace").partition("\n")[0]
            raise DatapathError(f"nft: {first}")
        return output.decode()

    def close(self) -> None:
        """Give the table back to the kernel, which removes it with its owner's socket."""
        self._library.nft_ctx_free(self._context)
