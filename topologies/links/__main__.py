"""Carry frames between the two halves of each slow link: `python -m napt_lab.topologies.links`.

A line of JSON on standard input makes or changes a link; one on standard output tells what
happened:

    <- {"link": "alice", "near": "lk1.n", "far": "lk1.f", "up": {"delay": 0.04}, "down": {…}}
    -> {"event": "ready", "link": "alice"}
    <- {"link": "alice", "up": {"loss": 0.05}, "down": {"loss": 0.05}}
    -> {"event": "lost", "link": "alice", "direction": "up", "reason": "lost", "bytes": 98}

`near` is the interface towards the node, `far` the one towards its segment; `up` leads away from
the node. The keys of a direction are those of line.Direction. Ends with its standard input.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from napt_lab.topologies.links.line import Direction, Line

FRAME = 65_536  # bytes: more than any frame
BATCH = 64  # frames taken from one interface before the others have their turn
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23  # packet(7): our own frames must not come back
EVENTS_A_SECOND = 200  # losses told one by one; the rest is counted
BUFFER = 4 << 20  # bytes waiting for us at an interface


@dataclass(slots=True)
class Half:
    """One direction of a link: from an interface through the line to another."""

    link: str
    direction: str
    source: socket.socket
    goal: socket.socket
    line: Line
    untold: int = 0


@dataclass(slots=True)
class Carrier:
    """All links of a network, in one process."""

    halves: dict[int, Half] = field(default_factory=dict)  # by the source's file descriptor
    waiting: set[int] = field(default_factory=set)  # those with frames on the line
    told: int = 0  # losses told in this second
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
        for _ in range(BATCH):
            try:
                frame = half.source.recv(FRAME)
            except BlockingIOError:
                break
            except OSError:  # the interface is down or gone: the node was unplugged
                break
            now = time.monotonic()
            lost = half.line.offer(frame, now)
            if lost is not None:
                self._tell_loss(half, lost.value, len(frame), now)
        self.waiting.add(descriptor)

    def _deliver(self) -> None:
        now = time.monotonic()
        for descriptor in list(self.waiting):
            half = self.halves[descriptor]
            for frame in half.line.arrived(now):
                try:
                    half.goal.send(frame)
                except OSError as error:  # a full queue, or the interface is down
                    self._tell_loss(half, f"not-sent: {error.strerror}", len(frame), now)
            if half.line.next_arrival is None:
                self.waiting.discard(descriptor)

    def _obey(self, command: dict[str, Any]) -> None:
        name = command["link"]
        directions: dict[str, Direction] = {
            way: Direction(**command[way]) for way in ("up", "down") if way in command
        }
        if "near" in command:
            near, far = _attach(command["near"]), _attach(command["far"])
            for way, source, goal in (("up", near, far), ("down", far, near)):
                # A link's losses are the same in each run of a lab.
                line = Line(directions[way], Random(f"{name} {way}"))
                self.halves[source.fileno()] = Half(name, way, source, goal, line)
                self.epoll.register(source.fileno(), select.EPOLLIN)
        else:
            for half in self.halves.values():
                if half.link == name and half.direction in directions:
                    half.line.settings = replace(directions[half.direction])
        _say({"event": "ready", "link": name})

    def _tell_loss(self, half: Half, reason: str, size: int, now: float) -> None:
        if int(now) != self.second:
            self.second, self.told = int(now), 0
        half.untold += 1
        self.told += 1
        if self.told <= EVENTS_A_SECOND:
            event = {"event": "lost", "link": half.link, "direction": half.direction}
            _say(event | {"reason": reason, "bytes": size, "frames": half.untold})
            half.untold = 0


def _attach(interface: str) -> socket.socket:
    every_protocol = socket.htons(0x0003)
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    found.setblocking(False)
    found.bind((interface, every_protocol))
    return found


def _say(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    Carrier().run()
