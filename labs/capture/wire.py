"""All wires of a network, watched at once.

Theory of operation. One thread reads a ring (ring.py) at each interface of each node; all
packets come with the kernel's time-stamps of one clock. A lab asks this record what passed
where. Claims rest on it, so it must be complete: a question about an interface that lost packets,
or after the memory was full, is an error (CaptureIncomplete). Otherwise "nothing was seen" would
prove nothing.
"""

from __future__ import annotations

import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from napt_lab.labs.capture.packets import Packet, decode_frame
from napt_lab.labs.capture.pcapng import write_pcapng
from napt_lab.labs.capture.ring import FRAMES, FRAMES_IN_BLOCK, Ring
from napt_lab.topologies.network.namespaces import visit
from napt_lab.topologies.network.processes import DeadlinePassed

if TYPE_CHECKING:  # the builder brings all of Mininet
    from napt_lab.topologies.network.builder import Network

KEPT_PACKETS = 200_000  # at up to 430 bytes each
ROOM = 1 << 19  # packets in all rings together, until they are read: 256 MB


class CaptureIncomplete(Exception):
    """The record has a gap where a claim would rest on it."""


@dataclass(slots=True)
class Captured:
    """A packet as it passed `where` (`node:interface`) at `time` (seconds since 1970)."""

    where: str
    nanoseconds: int
    outgoing: bool
    length: int
    data: bytes
    _packet: Packet | None = field(default=None, repr=False)

    @property
    def time(self) -> float:
        return self.nanoseconds / 1e9

    @property
    def packet(self) -> Packet:
        """Its headers."""
        if self._packet is None:
            self._packet = decode_frame(self.data)
        return self._packet


Predicate = Callable[[Packet], bool]


class Wire:
    """`with Wire(net) as wire:` everything that passes any interface of `net` is recorded."""

    def __init__(
        self, net: Network, *, nodes: Iterable[str] | None = None, kept: int = KEPT_PACKETS
    ) -> None:
        """Watch all nodes, or only `nodes` (where the traffic would fill the memory).

        `kept`: how many packets there is room for.
        """
        self._room = kept
        wanted = {node.name for node in net} if nodes is None else set(nodes)
        self._nodes = [node for node in net if node.name in wanted]
        self._rings: dict[str, Ring] = {}
        self._record: list[Captured] = []
        self._changed = threading.Condition()
        self._rounds = 0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stop = False
        self._full = False
        self._thread = threading.Thread(target=self._watch, name="wire", daemon=True)

    def __enter__(self) -> Wire:
        interfaces = sum(len(node.interfaces) for node in self._nodes)
        share = ROOM // interfaces // FRAMES_IN_BLOCK * FRAMES_IN_BLOCK
        frames = max(FRAMES_IN_BLOCK, min(FRAMES, share))
        with ThreadPoolExecutor(interfaces) as pool:  # each takes the kernel some 20 ms
            opened = {
                f"{node.name}:{interface}": pool.submit(
                    visit, node.pid, partial(Ring, interface, frames)
                )
                for node in self._nodes
                for interface in node.interfaces
            }
        failures = [error for future in opened.values() if (error := future.exception())]
        self._rings = {w: future.result() for w, future in opened.items() if not future.exception()}
        if failures:
            for ring in self._rings.values():
                ring.close()
            raise failures[0]
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop = True
        self._nudge()
        self._thread.join()
        with ThreadPoolExecutor(len(self._rings)) as pool:
            list(pool.map(Ring.close, self._rings.values()))
        os.close(self._wake)

    @property
    def places(self) -> tuple[str, ...]:
        """The watched interfaces, as `node:interface`."""
        return tuple(self._rings)

    def mark(self) -> int:
        """The present end of the record, to search from later."""
        self._catch_up()
        return len(self._record)

    def since(self, mark: int) -> list[Captured]:
        """What is in the record after `mark`, without waiting for what passes now."""
        return self._record[mark:]

    def packets(
        self, where: str, predicate: Predicate = lambda _: True, *, since: int = 0
    ) -> list[Captured]:
        """What passed `where` after `since`, in order. CaptureIncomplete if there is a gap."""
        return self.captured(where, lambda captured: predicate(captured.packet), since=since)

    def captured(
        self, where: str, test: Callable[[Captured], bool], *, since: int = 0
    ) -> list[Captured]:
        """The same for a test of the captured bytes, where the headers do not say enough."""
        self._catch_up()
        self._must_be_whole(where)
        return [c for c in self._record[since:] if c.where == where and test(c)]

    def everywhere(
        self, predicate: Callable[[Captured], bool], *, since: int = 0
    ) -> list[Captured]:
        """What passed any interface after `since`, in the order of time; CaptureIncomplete."""
        self._catch_up()
        for where in self._rings:
            self._must_be_whole(where)
        found = [captured for captured in self._record[since:] if predicate(captured)]
        return sorted(found, key=lambda captured: captured.nanoseconds)

    def wait_for(
        self, where: str, predicate: Predicate, *, deadline: float, what: str, since: int = 0
    ) -> Captured:
        """The first such packet after `since`; DeadlinePassed after `deadline` seconds.

        CaptureIncomplete if there is a gap: the first one may be in it.
        """
        return self.wait_for_captured(
            where, lambda c: predicate(c.packet), deadline=deadline, what=what, since=since
        )

    def wait_for_captured(
        self,
        where: str,
        test: Callable[[Captured], bool],
        *,
        deadline: float,
        what: str,
        since: int = 0,
    ) -> Captured:
        """The same for a test of the captured bytes."""
        self._must_be_whole(where)
        end = time.monotonic() + deadline
        position = since
        with self._changed:
            while True:
                for captured in self._record[position:]:
                    if captured.where == where and test(captured):
                        self._must_be_whole(where)  # else it may not be the first
                        return captured
                position = len(self._record)
                left = end - time.monotonic()
                if left <= 0:
                    raise DeadlinePassed(f"{what} at {where}", deadline)
                self._changed.wait(left)

    def save(self, path: Path) -> None:
        """Write the whole record as pcapng, with every interface named."""
        if self._thread.is_alive():
            self._catch_up()
        places = list(self._rings)
        number = {where: index for index, where in enumerate(places)}
        write_pcapng(
            path,
            places,
            ((number[c.where], c.nanoseconds, c.outgoing, c.length, c.data) for c in self._record),
        )

    def _must_be_whole(self, where: str) -> None:
        ring = self._rings.get(where)
        if ring is None:
            raise KeyError(f"no interface {where}; there are {', '.join(self._rings)}")
        if self._full:
            raise CaptureIncomplete(f"the capture is full: {self._room} packets")
        if dropped := ring.dropped:
            raise CaptureIncomplete(f"the capture at {where} lost {dropped} packets")

    def _catch_up(self) -> None:
        """Return when every packet that had passed by now is in the record."""
        with self._changed:
            # A round that has already begun may have passed a ring by: the one after it counts.
            wanted = self._rounds + 2
            self._nudge()
            while self._rounds < wanted:
                if not self._thread.is_alive():
                    raise CaptureIncomplete("the capture has ended")
                self._changed.wait(1)
                self._nudge()

    def _nudge(self) -> None:
        os.write(self._wake, struct.pack("=Q", 1))

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for ring in self._rings.values():
            poll.register(ring, select.POLLIN)
        while not self._stop:
            if any(fd == self._wake for fd, _ in poll.poll()):
                os.read(self._wake, 8)
            new = [
                Captured(where, *packet)
                for where, ring in self._rings.items()
                for packet in ring.read()
            ]
            new.sort(key=lambda captured: captured.nanoseconds)
            with self._changed:
                room = self._room - len(self._record)
                self._full = self._full or len(new) > room
                self._record += new[:room]
                self._rounds += 1
                self._changed.notify_all()
