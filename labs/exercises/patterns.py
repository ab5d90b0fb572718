"""Patterns of facts: what an exercise asks about an attempt.

A fact is a line:

    typed bob curl -o holiday.jpg http://24.9.3.7:8080/holiday.jpg        a line of the answer
    told rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080: …     … that was refused; of rules, until
                                                                one is added or removed there
    rule napt_a tcp 24.9.3.7:8080 10.0.0.7:8080                           an explicit rule, present
    first napt_a tcp 24.9.3.7:8080     … which was there before the SYN of the last connection to it
    late napt_a tcp 24.9.3.7:8080      … which came after that SYN
    same bob:holiday.jpg alice:files/holiday.jpg                          two files, byte for byte
    has pc:page.html                                                      a file that is not empty
    drop napt_a no-rule tcp SYN 203.0.113.77:40001 > 24.9.3.7:8080        a packet, dropped
    event stackoverflow request peer=24.9.3.7:40001 path=/                what a program reported
    last relay refused peer=24.9.3.7:40001 reason=…          … the last thing reported on this node
    set napt mapping endpoint-independent

A pattern is such a line with `*` for anything, or several with ` | ` between them, of which one is
enough; after `not `, no fact may match any of them.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

KINDS = ("typed", "told", "rule", "first", "late", "same", "has", "drop", "event", "last", "set")
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
