"""A student's file in a worker process, asked as the node asks it, without devices or network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from napt_lab.nat_node.core.behavior import parse_address
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.engines.student import channel
from napt_lab.nat_node.engines.student.process import WorkerProcess

EXTERNAL = "24.9.3.7"


def settings(**keys: Any) -> Settings:
    return Settings(
        parse_address(EXTERNAL), parse_address("10.0.0.1"), parse_address("255.255.255.0"), **keys
    )


class Mine:
    """What became of the last question: `sent`, `drops`, `faults`, `printed`, `events`."""

    def __init__(self, file: Path, **keys: Any) -> None:
        self.worker = WorkerProcess(settings(**keys), file)
        self.functions, said = self.worker.start()
        self.printed = [channel.read(body)["text"] for _, body in said]
        self._ask(channel.frame(channel.WATCH, b"\1"))

    def __enter__(self) -> Mine:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.end()

    def out(self, packet: bytes, now: float = 0.0) -> Mine:
        """A packet from the inside."""
        stamped = channel.stamp_packet(True, now, packet)
        return self._ask(channel.frame(channel.PACKET, stamped))

    def into(self, packet: bytes, now: float = 0.0) -> Mine:
        """A packet from the outside."""
        stamped = channel.stamp_packet(False, now, packet)
        return self._ask(channel.frame(channel.PACKET, stamped))

    def tick(self, now: float) -> Mine:
        return self._ask(channel.frame(channel.TICK, channel.stamp_times(now, time.time())))

    def request(self, do: str, now: float = 0.0, **fields: Any) -> dict[str, Any]:
        """A request of the control socket, and its answer."""
        body = channel.told(0, {"do": do, **fields})[5:]
        times = channel.stamp_times(now, time.time())
        self._ask(channel.frame(channel.REQUEST, times + body))
        return self.answer

    @property
    def reason(self) -> str:
        """Why the last packet was dropped."""
        (drop,) = self.drops
        return drop["reason"]

    def _ask(self, question: bytes) -> Mine:
        self.sent: list[bytes] = []
        self.drops: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.events: list[dict[str, Any]] = []
        for kind, body in self.worker.ask([question]):
            match kind:
                case channel.SEND:
                    self.sent.append(body)
                case channel.DROP:
                    self.drops.append(channel.read(body))
                case channel.FAULT:
                    self.faults.append(channel.read(body)["text"])
                case channel.PRINTED:
                    self.printed.append(channel.read(body)["text"])
                case channel.EVENT:
                    self.events.append(channel.read(body))
                case channel.ANSWER:
                    self.answer = channel.read(body)
        return self
