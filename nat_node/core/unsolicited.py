"""Unsolicited SYNs, and what their senders are told (RFC 5382, REQ-4).

A SYN from the outside that no rule admits is dropped at once. Its sender should learn of it:
otherwise it waits for minutes. But when two hosts behind two NAPTs dial each other at the same
time, one SYN arrives before the other host's SYN has opened the way. An error would make its sender
give up, although its next SYN, a second later, would pass. So the error waits for 6 seconds, and is
not sent if the inside has dialed meanwhile:

    SYN from outside ── dropped ──┬── 6 s ──▶ ICMP port unreachable to its sender
                                  └── the inside dials its sender, or it is
                                      let in by a rule when it comes again ──▶ silence

The number of waiting errors and the errors sent per second are limited: a flood gets no answer.
How long the error waits is a setting (`refuse_after`), so that a lab can show what 0 seconds do.
"""

from __future__ import annotations

from napt_lab.nat_node.core import icmp
from napt_lab.nat_node.core.behavior import Endpoint
from napt_lab.nat_node.core.packet import Packet

WAITING = 256
RATE = 20.0  # errors a second

#: Our external endpoint and the remote one.
Call = tuple[Endpoint, Endpoint]


class UnsolicitedSyns:
    """The dropped SYNs of the last `wait` seconds, each once. Times in seconds."""

    def __init__(self, wait: float) -> None:
        self.wait = wait
        self._waiting: dict[Call, tuple[float, Packet]] = {}
        self._budget = icmp.Budget(RATE, burst=RATE)

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, syn: Packet, now: float) -> None:
        """Note a SYN that is dropped, unless it is noted already or too many are."""
        call = (syn.destination_endpoint, syn.source_endpoint)
        if call not in self._waiting and len(self._waiting) < WAITING:
            copy = Packet(bytearray(syn.data), syn.side, syn.partial)
            self._waiting[call] = (now, copy)

    def forget(self, external: Endpoint, remote: Endpoint) -> None:
        """Send no error: these two endpoints have a connection now."""
        self._waiting.pop((external, remote), None)

    def next_deadline(self) -> float | None:
        """When `due` has something to do."""
        for came, _ in self._waiting.values():
            return came + self.wait
        return None

    def due(self, now: float) -> list[Packet]:
        """The errors that are to be sent now."""
        errors = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            call = next(iter(self._waiting))
            _, syn = self._waiting.pop(call)
            if self._budget.spend(now):
                errors.append(icmp.unreachable(syn, icmp.PORT_UNREACHABLE, syn.destination))
        return errors
