"""Reads `expect:` in a topology file: what must hold while the topology runs.

    expect:
      - pc reaches stackoverflow:80 as 24.9.3.7
      - check: bob reaches alice:8080 at 24.9.3.7
        wait: 5s
        message: bob cannot get in without an explicit rule at napt_a
        points: 2

sentences.py reads the sentences; the nodes that they name must be in the same file.
"""

from __future__ import annotations

from functools import partial

from napt_lab.topologies.spec.assertions import Expectation
from napt_lab.topologies.spec.errors import quoted
from napt_lab.topologies.spec.roster import Roster
from napt_lab.topologies.spec.scalars import duration, one_line
from napt_lab.topologies.spec.sentences import sentence
from napt_lab.topologies.spec.yaml_nodes import Entry

MAX_EXPECTATIONS = 400
MAX_POINTS = 100

_wait = duration(0, 300)
_message = one_line("a message", 200)


def expectations(entry: Entry, roster: Roster, *, later: bool = False) -> tuple[Expectation, ...]:
    """The expectations in the list at `entry`; problems are noted there.

    `later`: something happens before them, so a connection can be kept over it.
    """
    items = entry.items()
    for item in items[MAX_EXPECTATIONS : MAX_EXPECTATIONS + 1]:
        item.refuse(f"too many expectations; allowed: {MAX_EXPECTATIONS}")
    read = (_expectation(item, roster, later) for item in items[:MAX_EXPECTATIONS])
    return tuple(expectation for expectation in read if expectation)


def _expectation(item: Entry, roster: Roster, later: bool) -> Expectation | None:
    parse = partial(sentence, roster=roster, later=later)
    if not item.is_mapping():
        if " - " in _text(item) and item.lines > 1:
            item.refuse(
                "this item continues on the next line, where '- ' begins further to the right; "
                "allowed: every '- ' of a list in the same column"
            )
            return None
        assertion = item.read(parse)
        return Expectation(_text(item), item.line, assertion) if assertion else None
    for key in item.named():
        if " " in key:
            item.refuse(
                f"the space after the colon makes {quoted(key)} a key; allowed: no space there, as "
                "in stackoverflow:80"
            )
            return None
    section = item.section("check", "wait", "message", "points", required=("check",))
    assertion = section.value("check", parse)
    wait = section.value_or("wait", _wait, 0.0)
    message = section.value_or("message", _message, "")
    points = section.value_or("points", _points, 1)
    if assertion is None:
        return None
    check = section["check"]
    return Expectation(_text(check), check.line, assertion, wait, message, points)


def _text(entry: Entry) -> str:
    return " ".join(str(entry.node.value).split())


def _points(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 3 or int(text) > MAX_POINTS:
        raise ValueError(
            f"{quoted(text)} cannot be used; allowed: a whole number, 0 to {MAX_POINTS}"
        )
    return int(text)
