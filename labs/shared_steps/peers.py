"""Levels 9e and 9f: two peers without an explicit rule, a STUN server, a relay to meet at.

`stun`, `punch` and `tcp-punch` are programs of servers/p2p.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napt_lab.labs.capture.packets import Packet
from napt_lab.labs.shared_steps.commands import require_success
from napt_lab.labs.shared_steps.evidence import WAIT, carries_or_opens
from napt_lab.labs.shared_steps.two_sites import (
    NAPT_A,
    NAPT_B,
    RELAY,
    RELAY_PORT,
    make_file,
    require_same,
)
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.processes import Completed, Event, Process, parse_line

STUN, STUN_TOO = "198.51.100.2", "198.51.100.3"  # two addresses of one server
STUN_PORT = 3478
FILE = "holiday.jpg"
SIZE = 1 << 16  # bytes
OPEN_SECONDS = 15.0  # until both have told that the way is open


def told(claim: Claim, completed: Completed) -> list[str]:
    """The endpoints that the STUN servers have told; they become evidence."""
    require_success(claim, completed, "stun")
    events = [parse_line(line.encode()) or {} for line in completed.stdout.splitlines()]
    mapped = [str(event["mapped"]) for event in events if event.get("event") == "mapped"]
    claim.require(bool(mapped), f"{completed.node} is told {', '.join(mapped)}")
    return mapped


def happen(stage: Stage, line: str) -> None:
    """Let something happen to the network, and show what one would type for it."""
    stage.see(f"event {line}")
    stage.net.happen(line)


@dataclass(frozen=True, slots=True)
class Peers:
    """alice and another one, each with the same program; alice sends a file."""

    stage: Stage
    name: str  # of the programs in the log
    size: int  # of the file, in bytes
    wire_since: int
    log_since: int
    sender: Process
    receiver: Process

    @classmethod
    def start(
        cls,
        stage: Stage,
        program: str,
        port: int,
        *options: str,
        to: str = "bob",
        only: tuple[str, ...] = (),
        size: int = SIZE,
    ) -> Peers:
        """Start both, from this port; they meet at the relay by a new word.

        `only` are further options of the receiver `to`.
        """
        name = f"{program}:{port}"
        if not (stage.net["alice"].home / FILE).exists():
            make_file(stage, "alice", FILE, size)
        marks = stage.wire.mark(), stage.log.mark()
        words = (
            program, "--port", str(port), "--stun", STUN, "--meet", f"{RELAY}:{RELAY_PORT}",
            "--word", secrets.token_hex(16), *options,
        )  # fmt: skip
        return cls(
            stage, name, size, *marks,
            stage.serve("alice", *words, "--send", FILE, name=name),
            stage.serve(to, *words, "--receive", f"{port}-{FILE}", *only, name=name),
        )  # fmt: skip

    @property
    def nodes(self) -> tuple[str, str]:
        """Who sends, and who receives."""
        return self.sender.node, self.receiver.node

    @property
    def received(self) -> Path:
        """The file that has arrived, if it has."""
        port = self.name.partition(":")[2]
        return self.stage.net[self.receiver.node].home / f"{port}-{FILE}"

    def event(self, node: str, name: str) -> Event:
        """What the program on a node has told, awaited. DeadlinePassed."""
        return self.stage.wait_for_event(
            node, name, lambda event: event.program == self.name,
            since=self.log_since, deadline=OPEN_SECONDS,
        )  # fmt: skip

    def endpoint(self, node: str) -> str:
        """The endpoint that a node was told that it has outside."""
        return str(self.event(node, "told").fields["mine"])

    def require_open(self, claim: Claim) -> None:
        """Both have told that the way is open."""
        for node in self.nodes:
            peer = self.event(node, "open").fields["peer"]
            claim.require(True, f"{node}: open, to {peer}")

    def require_not_open(self, claim: Claim) -> None:
        """Both have ended, and neither has had a way."""
        for process in (self.sender, self.receiver):
            completed = process.wait(OPEN_SECONDS)
            last = (completed.stderr.strip() or "it said nothing").splitlines()[-1]
            ended = f"{completed.node}: exit status {completed.status}: {last}"
            claim.require(completed.status == 1, ended, "it should be 1: no way was found")
            said = [e.name for e in self.stage.log.since(self.log_since)
                    if (e.node, e.program) == (completed.node, self.name)]  # fmt: skip
            claim.require("open" not in said, f"it told {', '.join(said)}")

    def require_file(self, claim: Claim) -> None:
        """The file has arrived, byte for byte."""
        done = self.event(self.receiver.node, "done").fields
        claim.require(done["bytes"] == self.size, f"{self.receiver.node}: {done['bytes']} bytes")
        require_same(claim, self.stage.net["alice"].home / FILE, self.received)

    def require_no_server(self, claim: Claim) -> None:
        """Since each has sent its first packet to the other, no server has seen anything of it.

        The later of the two counts: the first to be told its peer's endpoint sends at once, while
        the relay may still have to tell the other.
        """
        wire, since = self.stage.wire, self.wire_since
        met = max(self._left("napt_a", NAPT_A, NAPT_B), self._left("napt_b", NAPT_B, NAPT_A))
        for server in ("stun", "relay"):
            later = wire.captured(
                f"{server}:eth0",
                lambda c: c.time > met and carries_or_opens(c.packet),
                since=since,
            )
            claim.require(
                not later, f"{server}:eth0: {count(len(later), 'packet')} after the meeting"
            )
        back = wire.packets("alice:eth0", lambda p: p.source == NAPT_B, since=since)
        claim.require(bool(back), f"alice:eth0: {count(len(back), 'packet')} from {NAPT_B}")
        came = wire.packets("bob:eth0", lambda p: p.source == NAPT_A, since=since)
        total = sum(captured.packet.payload for captured in came)
        claim.require(total >= self.size, f"bob:eth0: {total} bytes from {NAPT_A}")

    def _left(self, napt: str, source: str, destination: str) -> float:
        """When the first packet from one NAPT to the other left."""
        return self.stage.wire.wait_for(
            f"{napt}:wan0", lambda p: (p.source, p.destination) == (source, destination),
            deadline=WAIT, what=f"a packet from {source} to {destination}", since=self.wire_since,
        ).time  # fmt: skip

    def require_path(self, claim: Claim, is_first: Callable[[Packet], bool]) -> None:
        """The first packet with data passed the two NAPTs and the router, and no other node."""
        passed = self.stage.wire.everywhere(lambda c: is_first(c.packet), since=self.wire_since)
        self.stage.see(*(f"{captured.where:14} {captured.packet}" for captured in passed))
        seen = list(dict.fromkeys(captured.where.partition(":")[0] for captured in passed))
        wanted = ["alice", "napt_a", "internet", "napt_b", "bob"]
        claim.require(seen == wanted, " → ".join(seen), f"it should be {' → '.join(wanted)}")

    def end(self) -> None:
        """Kill both, where one waits for what cannot come."""
        for process in (self.sender, self.receiver):
            process.kill()
            process.await_end()


def rules_of(stage: Stage, napt: str, protocol: str, internal: str) -> list[dict[str, Any]]:
    """The NAPT's rules for an internal endpoint."""
    rules = stage.net.napt(napt).rules()
    return [r for r in rules if (r["protocol"], r["internal"]) == (protocol, internal)]
