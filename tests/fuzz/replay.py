"""One story, step by step, with the judge beside each packet; and the shortest that goes wrong.

A packet takes the way that it takes in the node: first the flow cache, then the translator, with
one hop given back. In some stories a twin without the flow cache gets the same packets: both must
say the same, byte by byte.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from napt_lab.nat_node.core.explicit_rules import RuleRefused
from napt_lab.nat_node.core.packet import Side, give_back_hop
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.core.verdict import Drop
from napt_lab.nat_node.fast_path.flow_cache import VNET_HEADER, FlowCache
from napt_lab.nat_node.persistence.memory import Memory
from tests.fuzz.judge import (
    Broken,
    Seen,
    blank,
    judge_own_words,
    judge_place,
    judge_translation,
    right_checksums,
)
from tests.fuzz.model import Model
from tests.fuzz.packets import ICMP, TCP, UDP, Endpoint
from tests.unit.nat_node.nat_testing import assert_empty, check_flows, check_table, restored

WAITING = 1000  # fragments that may come out later
CHECKED_EACH = 8  # steps


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens: a packet, or `wait`, `add`, `remove`, `kill`."""

    what: str
    side: Side = Side.INSIDE
    data: bytes = b""
    partial: bool = False
    seconds: float = 0.0
    protocol: int = 0
    external: Endpoint = (0, 0)
    internal: Endpoint = (0, 0)

    def __str__(self) -> str:
        if self.what == "packet":
            partial = ", partial=True" if self.partial else ""
            return f"nat.pass_through(bytes.fromhex({self.data.hex()!r}), {self.side}{partial})"
        values = {"wait": self.seconds, "add": (self.protocol, self.external, self.internal),
                  "remove": (self.protocol, self.external), "kill": ""}  # fmt: skip
        return f"{self.what} {values[self.what]}"


class Napt(NamedTuple):
    """A translator and what watches it."""

    translator: Translator
    memory: Memory
    flows: FlowCache


@dataclass(slots=True)
class Bench:
    """A NAPT on the bench. Raises Broken, or whatever the translator raises."""

    settings: Settings
    seed: int
    with_twin: bool = False
    now: float = 1000.0
    seen: Counter[str] = field(default_factory=Counter)
    packets: int = 0
    _steps: int = 0
    _waiting: list[Seen] = field(default_factory=list)
    _chances: list[random.Random] = field(init=False)
    napts: list[Napt] = field(init=False)
    model: Model = field(init=False)

    def __post_init__(self) -> None:
        self.model = Model(self.settings)
        self._chances = [random.Random(self.seed) for _ in range(1 + self.with_twin)]
        self.napts = [self._begin(b"", chance) for chance in self._chances]

    def play(self, step: Step) -> list[bytes]:
        """Let it happen; what came out of the NAPT."""
        self._steps += 1
        sent: list[bytes] = []
        match step.what:
            case "packet":
                self.packets += 1
                sent = self._packet(step)
            case "wait":
                self._wait(step.seconds)
            case "add" | "remove":
                self._rule(step)
            case "kill":
                self.model.killed()
                self._waiting.clear()
                self.napts = [
                    self._begin(napt.memory.snapshot(), chance)
                    for napt, chance in zip(self.napts, self._chances, strict=True)
                ]
        if self._steps % CHECKED_EACH == 0:
            self.check()
        return sent

    def end(self) -> None:
        """Without rules and after a long silence nothing is left."""
        for protocol, external in list(self.model.explicit):
            self._rule(Step("remove", protocol=protocol, external=external))
        self._wait(3 * 7440.0)
        self.seen[Drop.FRAGMENT_LOST.label] += self.napts[0].translator.drops[Drop.FRAGMENT_LOST]
        self.check()
        for napt in self.napts:
            assert_empty(napt.translator)

    def check(self) -> None:
        """Hold the tables, and what watches them, against each other."""
        for napt in self.napts:
            check_table(napt.translator)
            check_flows(napt.translator, napt.flows)
            made = (rule for rule in napt.translator.table if not rule.explicit)
            theirs = {(rule.protocol, rule.internal[0], rule.external) for rule in made}
            ports = Counter((protocol, host) for protocol, host, _ in theirs)
            limit = self.settings.ports_per_subscriber or 65535
            if any(count > limit for count in ports.values()):
                raise Broken("a host has more ports than it may have")

    def _begin(self, records: bytes, chance: random.Random) -> Napt:
        room = memoryview(bytearray(records))
        translator, memory = restored(self.settings, chance, room, self.now)
        translator.watchers.notify = lambda event: None
        return Napt(translator, memory, FlowCache(translator))

    def _wait(self, seconds: float) -> None:
        until = self.now + seconds
        for napt in self.napts:
            translator, now = napt.translator, self.now
            while (deadline := translator.next_deadline()) is not None and deadline <= until:
                now = max(now, deadline)
                for packet in translator.expire(now):
                    seen = Seen.of(bytes(packet.data))
                    assert seen is not None
                    judge_place(seen, self.settings)
                    judge_own_words(None, seen)
                if (left := translator.next_deadline()) is not None and left <= now:
                    raise Broken("what should have ended has not")
            napt.memory.look(until)
        self.now = until

    def _rule(self, step: Step) -> None:
        key = (step.protocol, step.external)
        for napt in self.napts:
            translator = napt.translator
            with contextlib.suppress(RuleRefused):
                if step.what == "add":
                    rule = translator.add_rule(*key, step.internal, self.now)
                    self.model.add((rule.protocol, rule.external), step.internal)
                else:
                    translator.remove_rule(*key, self.now)
                    self.model.explicit.setdefault(key, step.internal)
                    self.model.remove(key)

    # -- packets ------------------------------------------------------------------------------

    def _packet(self, step: Step) -> list[bytes]:
        sent, drop = self._pass(self.napts[0], step, fast=True)
        came = Seen.of(step.data)
        for twin in self.napts[1:]:
            same = self._pass(twin, step, fast=False)
            # Of a sum that was wrong it does not matter in which of two ways it stays so.
            if came and "header" in right_checksums(came) and (sent, drop) != same:
                raise Broken("the flow cache and the translator do not agree")
        seen = [Seen.of(data) for data in sent]
        for left in seen:
            assert left is not None
            judge_place(left, self.settings)
        if drop is not None:
            self.seen[drop.label] += 1
            if len(seen) > 1:
                raise Broken("more than one word about a packet that was dropped")
            for left in seen:
                self.seen["told"] += 1
                judge_own_words(came, left)
            outward = came is not None and step.side is Side.INSIDE and not came.later
            if outward and came.destination in self.settings.ours:
                here, there = came.ports
                self.model.tried_in_vain(
                    came.protocol, (came.source, here), (came.destination, there)
                )
            return sent
        if came is None:
            raise Broken("what is no packet was neither dropped nor has it a reason")
        if not seen:
            if not came.later:
                raise Broken("it vanished without a reason")
            self.seen["waits"] += 1
            self._waiting = [*self._waiting[-WAITING:], came]
            return sent
        first, *others = seen
        outbound = step.side is Side.INSIDE
        if self._is_answer(came, first):
            self.seen["answered"] += 1
            judge_own_words(came, first)
        else:
            judge_translation(came, first, self.settings, step.partial, outbound)
            self._compare_with_model(came, first, outbound)
        for left in others:
            self._judge_sibling(left, outbound)
        return sent

    def _pass(self, napt: Napt, step: Step, *, fast: bool) -> tuple[list[bytes], Drop | None]:
        flows = napt.flows.inside if step.side is Side.INSIDE else napt.flows.outside
        frame = bytearray(VNET_HEADER) + step.data
        frame[0] = step.partial
        # The flow cache relies on the kernel, which hands over no packet of a wrong length.
        fast = fast and int.from_bytes(step.data[2:4], "big") == len(step.data)
        if fast and flows.forward(frame, len(frame), self.now):
            self.seen["fast"] += 1
            return [bytes(frame[VNET_HEADER:])], None
        verdict = napt.translator.receive(
            memoryview(frame)[VNET_HEADER:], step.side, self.now, step.partial
        )
        for packet in verdict.packets:
            give_back_hop(packet.data)
        return [bytes(packet.data) for packet in verdict.packets], verdict.drop

    def _is_answer(self, came: Seen, left: Seen) -> bool:
        """Whether this is (a piece of) what we say to a ping for us."""
        to_us = came.protocol == ICMP and came.destination in self.settings.ours
        return to_us and (came.is_ping or (came.later and left.destination == came.source))

    def _judge_sibling(self, left: Seen, outbound: bool) -> None:
        self.seen["sibling"] += 1
        for came in self._waiting:
            if blank(came, outbound) == blank(left, outbound):
                if self._is_answer(came, left):
                    judge_own_words(came, left)
                else:
                    judge_translation(came, left, self.settings, False, outbound)
                self._waiting.remove(came)
                return
        raise Broken("a fragment comes out that never came in")

    def _compare_with_model(self, came: Seen, left: Seen, outbound: bool) -> None:
        if came.later:
            self.seen["later fragment"] += 1
            return
        self.seen[f"{'out' if outbound else 'in'} {came.protocol}"] += 1
        protocol, model = came.protocol, self.model
        if came.is_error:
            self.seen["error"] += 1
            if not outbound:
                self._judge_error(came, left)
            return
        (from_port, to_port), (port, new_to) = came.ports, left.ports
        if protocol == ICMP:
            to_port = 0
        remote = (came.destination, to_port)
        if outbound:
            external = (left.source, port)
            model.went_out(protocol, (came.source, from_port), external, remote, self.now)
            if came.destination in self.settings.ours:
                self.seen["hairpin"] += 1
                model.came_in(protocol, (left.destination, new_to), remote, external, self.now)
            return
        internal = (left.destination, new_to)
        if protocol == ICMP:
            to, remote = (came.destination, from_port), (came.source, 0)
        else:
            to, remote = (came.destination, to_port), (came.source, from_port)
        model.came_in(protocol, internal, to, remote, self.now)

    def _judge_error(self, came: Seen, left: Seen) -> None:
        was, is_now = Seen.of(came.body[8:]), Seen.of(left.body[8:])
        assert was is not None
        assert is_now is not None
        if is_now.source != left.destination:
            raise Broken("an error is delivered to someone who did not send what it quotes")
        if was.protocol in (TCP, UDP, ICMP) and not self.model.knows(
            was.protocol, (was.source, was.ports[0]), (is_now.source, is_now.ports[0])
        ):
            raise Broken("an error about something that was never sent is delivered")


def shortest(settings: Settings, seed: int, with_twin: bool, steps: list[Step]) -> list[Step]:
    """A part of the steps that still goes wrong, from which nothing can be left out."""

    def goes_wrong(part: list[Step]) -> bool:
        bench = Bench(settings, seed, with_twin)
        try:
            for step in part:
                bench.play(step)
            bench.check()
            bench.end()
        except Exception:  # noqa: BLE001  # any fault of the core is what is sought
            return True
        return False

    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            part = steps[:at] + steps[at + size :]
            if goes_wrong(part):
                steps = part
            else:
                at += size
        size //= 2
    return steps
