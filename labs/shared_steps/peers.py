"""Levels 9e and 9f: two peers without a rule, a STUN server, and a relay at which they only meet.

`stun`, `punch` and `tcp-punch` are programs of servers/p2p.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from napt_lab.labs.capture.packets import Packet
from napt_lab.labs.shared_steps.commands import require_success
from napt_lab.labs.shared_steps.two_sites import NAPT_A, NAPT_B, RELAY, RELAY_PORT, make_file
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


def between_the_napts(packet: Packet) -> bool:
    """Whether a packet is on its way from one home's address to the other's."""
    return {packet.source, packet.destination} == {NAPT_A, NAPT_B}


def happen(stage: Stage, line: str) -> None:
    """Let something happen to the network, and show what one would type for it."""
    stage.see(f"event {line}")
    stage.net.happen(line)


@dataclass(frozen=True, slots=True)
class Peers:
    """alice and bob, each with the same program; alice sends a file."""

    stage: Stage
    name: str  # of the programs in the log
    wire_since: int
    log_since: int
    sender: Process
    receiver: Process

    @classmethod
    def start(cls, stage: Stage, program: str, port: int, *options: str) -> Peers:
        """Start both, from this port; they meet at the relay by a new word."""
        name = f"{program}:{port}"
        make_file(stage, "alice", FILE, SIZE)
        marks = stage.wire.mark(), stage.log.mark()
        words = (
            program, "--port", str(port), "--stun", STUN, "--meet", f"{RELAY}:{RELAY_PORT}",
            "--word", secrets.token_hex(16), *options,
        )  # fmt: skip
        return cls(
            stage, name, *marks,
            stage.serve("alice", *words, "--send", FILE, name=name),
            stage.serve("bob", *words, "--receive", f"{port}-{FILE}", name=name),
        )  # fmt: skip

    @property
    def received(self) -> str:
        """The name of the file at bob's."""
        return f"{self.name.partition(':')[2]}-{FILE}"

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
        for node in ("alice", "bob"):
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

    def end(self) -> None:
        """Kill both, where one waits for what cannot come."""
        for process in (self.sender, self.receiver):
            process.kill()
            process.await_end()


def rules_of(stage: Stage, napt: str, protocol: str, internal: str) -> list[dict[str, Any]]:
    """The NAPT's rules for an internal endpoint."""
    rules = stage.net.napt(napt).rules()
    return [r for r in rules if (r["protocol"], r["internal"]) == (protocol, internal)]


def require_drop(
    stage: Stage, claim: Claim, napt: str, reason: str, packet: str, since: int
) -> Event:
    """The NAPT reports that it dropped a packet, and why. `packet` is a part of its description."""
    drop = stage.wait_for_event(
        napt, "drop", lambda e: packet in e.fields["packet"], since=since, deadline=OPEN_SECONDS
    )
    claim.require(
        drop.fields["reason"] == reason,
        f"{napt} dropped {drop.fields['packet']}: {drop.fields['reason']}",
        f"the reason should be {reason}",
    )
    return drop
