"""The slow links of a network: one process carries their frames (napt_lab.topologies.links).

A slow link is two veth pairs in place of one, and the process moves frames between their inner
ends, late or not at all:

    alice [eth0]──[lk1.n]   the process   [lk1.f]──[site.1-eth1] site.1

Each packet that a link loses is an event `drop` of the program `link` on the link's node. A network
without slow links starts no process.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.own_programs import program
from napt_lab.topologies.network.processes import EventLog, ProgramEnded, parse_line
from napt_lab.topologies.spec.link import Link

PROGRAM = "link"  # the name in the event log
READY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class SlowLink:
    """The link of a node, with the inner ends of its two veth pairs."""

    node: str
    link: Link
    near: str
    far: str


class SlowLinks:
    """The running process, and the settings of each link. To be closed."""

    def __init__(self, links: Sequence[SlowLink], log: EventLog) -> None:
        """Start the process in this namespace; returns when it carries every link."""
        self.settings: dict[str, Link] = {}
        self._log = log
        self._popen = subprocess.Popen(
            program("napt_lab.topologies.links"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if k.startswith("PYTHON")},
            process_group=0,  # Ctrl-C must not end it
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._commands: IO[bytes] = self._popen.stdin
        self._reader = threading.Thread(
            target=self._read, args=(self._popen.stdout,), name="links", daemon=True
        )
        self._reader.start()
        for each in links:
            self.add(each)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._popen.pid

    def add(self, each: SlowLink) -> None:
        """Carry one more link; returns when it is carried."""
        self._command(each.node, each.link, near=each.near, far=each.far)
        self.settings[each.node] = each.link

    def change(self, node: str, link: Link) -> None:
        """Give the link of `node` other settings; returns when they hold."""
        self._command(node, link)
        self.settings[node] = link

    def close(self) -> None:
        """End the process."""
        self._popen.kill()
        self._popen.wait()
        self._reader.join()
        for pipe in (self._commands, self._popen.stdout, self._popen.stderr):
            assert pipe is not None
            pipe.close()

    def _command(self, node: str, link: Link, **interfaces: str) -> None:
        mark = self._log.mark()
        line = json.dumps({"link": node, "both": link.direction(), **interfaces})
        try:
            self._commands.write(line.encode() + b"\n")
            self._commands.flush()
        except BrokenPipeError:
            self._reader.join()  # its output ends with it
        try:
            self._log.wait_for(
                lambda e: (e.node, e.program, e.name) == (node, PROGRAM, "ready"),
                deadline=READY_SECONDS,
                what=f"the link of {node}",
                since=mark,
                give_up=self.obituary,
            )
        except ProgramEnded as error:
            raise BuildError(str(error)) from error

    def obituary(self) -> str | None:
        """How the process ended by itself; None while it runs."""
        if self._popen.poll() is None:
            return None
        self._reader.join()
        assert self._popen.stderr is not None
        words = self._popen.stderr.read().decode(errors="replace").strip()
        return f"the program for slow links ended with status {self._popen.wait()}: {words[-2000:]}"

    def _read(self, events: IO[bytes]) -> None:
        for line in events:
            if (fields := parse_line(line)) is not None:
                self._log.add(str(fields.pop("link")), PROGRAM, fields)
        self._log.wake()
