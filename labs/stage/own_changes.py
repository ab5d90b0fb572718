"""What a student did to the network at the pauses: where a later step fails, it may be why.

Listens to a run's stream, on which the NAPTs tell of their rules, and prompts of what is typed.
What a NAPT tells may come late, so its own time says whether it happened at a pause.
"""

from __future__ import annotations

import math

from napt_lab.labs.records.stream import PROMPT, Record

SHOWN = 6  # of what was done, the last
BY_HAND = "removed"  # why a rule ends that a person takes away

_Rule = tuple[str, str, str, str]  # NAPT, protocol, external and internal endpoint


class OwnChanges:
    """`stream.listen(own)`; `lines()` at the end of a step that failed."""

    def __init__(self) -> None:
        self._began = self._ended = -math.inf  # of the last pause, in seconds since 1970
        self._rules: dict[_Rule, str] = {}  # `rule add …` or `rule del …`, if it is still so
        self._aside: dict[_Rule, str] = {}  # of these, what a step has undone
        self._done: list[str] = []  # commands on nodes, and events

    def __call__(self, record: Record) -> None:
        """Take in one event."""
        match record["event"]:
            case "part":  # the network is a new one
                self._began = self._ended = -math.inf
                self._rules.clear()
                self._aside.clear()
                self._done.clear()
            case "pause":
                self._began, self._ended = record["time"], math.inf
            case "working":
                self._ended = min(self._ended, record["time"])
            case "command" if self._is_at_pause(record["time"]):  # on the page
                self._done.append(f"{record['node']} {record['command']}")
            case "program":
                self._take_in(record)

    def lines(self) -> list[str]:
        """What to say of it, or nothing."""
        done = [*self._rules.values(), *self._done]
        if not done:
            return []
        earlier = [f"  … and {len(done) - SHOWN} before"] if len(done) > SHOWN else []
        return [
            "What you did on this network before this step may be why:",
            *earlier,
            *(f"  {line}" for line in done[-SHOWN:]),
            "`repeat` plays the step on a fresh network, without that.",
        ]

    def _is_at_pause(self, moment: float) -> bool:
        return self._began <= moment <= self._ended

    def _take_in(self, record: Record) -> None:
        node, name, fields = record["node"], record["name"], record["fields"]
        at_pause = self._is_at_pause(record["time"])
        match name:
            case "typed" if record["program"] == PROMPT:
                self._done.append(f"{node} {fields['command']}")
            case "shell" if record["program"] == PROMPT:
                self._done.append(f"shell {node}")
            case "happened" if at_pause:
                self._done.append(f"event {fields['what']}")
            case "rule-added" | "rule-ended" if fields["rule"]["explicit"]:
                rule = fields["rule"]
                key = (node, rule["protocol"], rule["external"], rule["internal"])
                if at_pause:
                    self._note(key, name, fields)
                elif key in self._rules:
                    self._aside[key] = self._rules.pop(key)
                elif key in self._aside:
                    self._rules[key] = self._aside.pop(key)

    def _note(self, rule: _Rule, name: str, fields: Record) -> None:
        """A rule was added or removed by hand; what undoes an earlier change is no change."""
        self._aside.pop(rule, None)
        if self._rules.pop(rule, None) is not None or fields["rule"].get("lease"):
            return  # a program that asks for a rule was typed
        napt, protocol, external, internal = rule
        if name == "rule-added":
            self._rules[rule] = f"rule add {napt} {protocol} {external} {internal}"
        elif fields["why"] == BY_HAND:
            self._rules[rule] = f"rule del {napt} {protocol} {external}"
