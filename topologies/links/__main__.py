"""Carry frames between the two halves of each slow link: `python -m napt_lab.topologies.links`.

A line of JSON on standard input makes or changes a link; one on standard output reports what
happened:

    <- {"link": "alice", "near": "lk1.n", "far": "lk1.f", "both": {"delay": 0.04}}
    -> {"event": "ready", "link": "alice"}
    <- {"link": "alice", "both": {"loss": 0.05}}
    -> {"event": "ready", "link": "alice"}
    -> {"event": "drop", "link": "alice", "direction": "up", "reason": "lost", "packet": "udp …", …}

`near` is the interface towards the node, `far` the one towards its segment; direction `up` leads
away from the node. The keys of `both` directions are those of line.Direction. The program ends
with its standard input.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from napt_lab.nat_node.core.events import describe
from napt_lab.nat_node.core.packet import Malformed, Packet, Side
from napt_lab.topologies.links.line import ETHERNET, Direction, Line, Loss

FRAME = 65_536  # bytes: more than any frame
BATCH = 64  # frames taken from one interface before the others have their turn
SOL_PACKET, PACKET_STATISTICS, PACKET_IGNORE_OUTGOING = 263, 6, 23  # packet(7)
SO_RCVBUFFORCE = 33  # socket(7)
EVERY_PROTOCOL = 0x0003
IPV4 = b"\x08\x00"  # in an Ethernet header
ICMP = 1
EVENTS_A_SECOND = 200  # losses reported one by one; the rest is counted in `packets`
BUFFER = 4 << 20  # bytes that may wait at an interface


@dataclass(slots=True)
class Half:
    """One direction of a link: from an interface through the line to another."""

    link: str
    direction: str
    source: socket.socket
    goal: socket.socket
    line: Line
    unreported: int = 0


@dataclass(slots=True)
class Carrier:
    """All links of a network, in one process."""

    halves: dict[int, Half] = field(default_factory=dict)  # by the source's file descriptor
    waiting: set[int] = field(default_factory=set)  # those with frames on the line
    reported: int = 0  # losses reported in this second
    second: int = 0
    epoll: select.epoll = field(default_factory=select.epoll)

    def __post_init__(self) -> None:
        self.epoll.register(sys.stdin.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Carry until standard input ends."""
        commands = b""
        while True:
            # select(2) knows microseconds, epoll(7) only milliseconds.
            select.select([self.epoll], [], [], self._patience())
            for descriptor, _ in self.epoll.poll(0):
                if descriptor != sys.stdin.fileno():
                    self._take(descriptor)
                    continue
                said = os.read(descriptor, FRAME)
                if not said:
                    return
                *lines, commands = (commands + said).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
            self._deliver()

    def _patience(self) -> float | None:
        times = [t for d in self.waiting if (t := self.halves[d].line.next_arrival) is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _take(self, descriptor: int) -> None:
        half = self.halves[descriptor]
        offer, receive = half.line.offer, half.source.recv
        for _ in range(BATCH):
            try:
                frame = receive(FRAME)
            except OSError:  # no more, or the interface is down
                break
            lost = offer(frame, time.monotonic())
            if lost is not None:
                self._report(half, lost, frame)
        else:
            self._look_for_overrun(half)
        self.waiting.add(descriptor)

    def _look_for_overrun(self, half: Half) -> None:
        """Whether frames were lost because this program did not take them in time."""
        statistics = half.source.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        lost = struct.unpack("=II", statistics)[1]
        if lost:
            self._report(half, Loss.OVERRUN, b"", lost)

    def _deliver(self) -> None:
        now = time.monotonic()
        for descriptor in list(self.waiting):
            half = self.halves[descriptor]
            for frame in half.line.arrived(now):
                try:
                    half.goal.send(frame)
                except BlockingIOError:
                    self._report(half, Loss.OVERRUN, frame)
                except OSError as error:
                    down = error.errno in (errno.ENETDOWN, errno.ENXIO, errno.ENODEV)
                    self._report(half, Loss.DOWN if down else Loss.OVERRUN, frame)
            if half.line.next_arrival is None:
                self.waiting.discard(descriptor)

    def _obey(self, command: dict[str, Any]) -> None:
        name, settings = command["link"], Direction(**command["both"])
        if "near" in command:
            near, far = _attach(command["near"]), _attach(command["far"])
            for way, source, goal in (("up", near, far), ("down", far, near)):
                # A link loses the same packets in each run of a lab.
                line = Line(settings, Random(f"{name} {way}"))
                self.halves[source.fileno()] = Half(name, way, source, goal, line)
                self.epoll.register(source.fileno(), select.EPOLLIN)
        else:
            for half in self.halves.values():
                if half.link == name:
                    half.line.settings = settings
        _say({"event": "ready", "link": name})

    def _report(self, half: Half, loss: Loss, frame: bytes, frames: int = 1) -> None:
        if int(time.monotonic()) != self.second:
            self.second, self.reported = int(time.monotonic()), 0
        half.unreported += frames
        self.reported += 1
        if self.reported > EVENTS_A_SECOND:
            return
        _say(
            {
                "event": "drop",
                "time": time.time(),
                "link": half.link,
                "direction": half.direction,
                "reason": loss.label,
                "meaning": loss.meaning,
                "packet": _describe(frame),
                "packets": half.unreported,
                **_echo(frame),
            }
        )
        half.unreported = 0


def _describe(frame: bytes) -> str:
    """One line about what a frame carries, in the words of the translator's drops."""
    if frame[ETHERNET - 2 : ETHERNET] != IPV4:
        return f"a frame of {len(frame)} bytes" if frame else "packets"
    try:
        return describe(Packet(bytearray(frame[ETHERNET:]), Side.INSIDE))
    except Malformed as error:
        return str(error)


def _echo(frame: bytes) -> dict[str, int]:
    """Identifier and sequence number of a ping, as one number: nothing else tells it from others.

    An echo request or reply (RFC 792); empty for anything else.
    """
    at = ETHERNET + 4 * (frame[ETHERNET] & 15) if frame[ETHERNET - 2 : ETHERNET] == IPV4 else 0
    if not at or frame[ETHERNET + 9] != ICMP or frame[at : at + 1] not in (b"\0", b"\x08"):
        return {}
    return {"echo": int.from_bytes(frame[at + 4 : at + 8], "big")}


def _attach(interface: str) -> socket.socket:
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)  # what we send must not come back
    try:
        found.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    except PermissionError:  # in an ordinary user's sandbox
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    found.setblocking(False)
    found.bind((interface, EVERY_PROTOCOL))
    return found


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    Carrier().run()
