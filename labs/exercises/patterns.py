"""Patterns of facts: what an exercise asks about an attempt.

A fact is a line; FACTS has all kinds. A pattern is such a line with `*` for anything, or several
with ` | ` between them, of which one is enough; after `not `, no fact may match any of them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

#: What a fact looks like, and when it is there; README.md has this table (key_rows.py).
FACTS = (
    (
        "typed LINE",
        "the student typed this line: `typed bob curl *`",
    ),
    (
        "told LINE: WORDS",
        "this line was refused or failed, with these words: `told rule add napt_a * 10.0.0.9:*`. "
        "Such facts about `rule add` are removed when a later `rule` line for the same NAPT "
        "succeeds",
    ),
    (
        "rule NAPT PROTOCOL EXTERNAL INTERNAL",
        "this explicit rule is in the table: `rule napt_a tcp 24.9.3.7:8080 10.0.0.7:8080`",
    ),
    (
        "first NAPT PROTOCOL EXTERNAL",
        "… and was there before the first SYN of the last connection to it",
    ),
    (
        "late NAPT PROTOCOL EXTERNAL",
        "… and came after that SYN",
    ),
    (
        "only NAPT PROTOCOL EXTERNAL INTERNAL",
        "this explicit rule is in the table, and the NAPT has no other: "
        "`only napt_a tcp 24.9.3.7:8080 10.0.0.7:8080`",
    ),
    (
        "same NODE:FILE NODE:FILE",
        "these files are the same, byte for byte, and not empty: `same bob:holiday.jpg "
        "alice:files/holiday.jpg`",
    ),
    (
        "has NODE:FILE",
        "this file exists and is not empty",
    ),
    (
        "drop NAPT REASON PACKET",
        "since the last command on a node the NAPT, or its firewall, dropped a packet: "
        "`drop napt_a no-rule tcp SYN 203.0.113.77:* > 24.9.3.7:8080`",
    ),
    (
        "dropped NAPT REASON PACKET",
        "… since the exercise began: `not dropped napt ports-exhausted *`",
    ),
    (
        "event NODE NAME KEY=VALUE …",
        "a program on a node reported this: `event stackoverflow request peer=24.9.3.7:* path=/`",
    ),
    (
        "last NODE NAME KEY=VALUE …",
        "the last thing that programs on this node reported, in the same words: `last relay "
        "refused *`",
    ),
    (
        "set GATEWAY KEY VALUE",
        "the student changed this setting: `set napt mapping endpoint-independent`",
    ),
)
KINDS = tuple(form.split()[0] for form, _ in FACTS)
OF_FILES = ("same", "has")


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is asked of the facts: that some fact matches, or that none does."""

    text: str
    negated: bool
    _expression: re.Pattern[str]

    @staticmethod
    def parse(text: str) -> Pattern:
        """From its text; `[` has no meaning of its own."""
        line = " ".join(text.split())
        negated = line.startswith("not ")
        line = line.removeprefix("not ")
        ways = (fnmatch.translate(way.replace("[", "[[]")) for way in line.split(" | "))
        return Pattern(line, negated, re.compile("|".join(ways)))

    @property
    def kind(self) -> str:
        return self.text.partition(" ")[0]

    def find(self, facts: Iterable[str]) -> str | None:
        """The first of these facts that matches, whether one is wanted or not."""
        return next((fact for fact in facts if self._expression.match(fact)), None)

    def holds(self, facts: Iterable[str]) -> bool:
        """Whether it does, among these facts."""
        return (self.find(facts) is None) == self.negated
