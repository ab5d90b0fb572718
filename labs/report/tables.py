"""A NAPT's table before a step and after it, as one table that shows what has changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from napt_lab.labs.records.stream import Record
from napt_lab.labs.report.story import StepStory

ROWS_SHOWN = 25  # of each kind, of a table
CHANGES = ("new", "came and went", "ended", "used", "unchanged")


@dataclass(frozen=True, slots=True)
class Row:
    """One rule. `out` and `in_` count packets, with what the step added to them."""

    change: str
    why: str  # it ended
    protocol: str
    internal: str
    external: str
    remote: str
    made_by: str
    out: str
    in_: str


@dataclass(slots=True)
class Comparison:
    """One NAPT, one step. `whole` is False if a table was too long to be listed."""

    node: str
    before: int
    after: int
    whole: bool
    touched: list[Row] = field(default_factory=list)
    untouched: list[Row] = field(default_factory=list)
    left_out: int = 0  # rows of both kinds
    drops: list[tuple[str, int]] = field(default_factory=list)  # reason, packets in this step
    error: str = ""


def compare(step: StepStory) -> list[Comparison]:
    """All NAPTs whose tables were read before and after."""
    both = [(name, step.before[name], step.after.get(name)) for name in step.before]
    return [
        _compare(step, name, before, after) for name, before, after in both if after is not None
    ]


def _compare(step: StepStory, node: str, before: Record, after: Record) -> Comparison:
    if error := before.get("error") or after.get("error"):
        return Comparison(node, 0, 0, whole=False, error=error)
    old = {rule["id"]: rule for rule in before["rules"]}
    new = {rule["id"]: rule for rule in after["rules"]}
    old_is_whole = len(old) == before["total"]
    new_is_whole = len(new) == after["total"]
    result = Comparison(node, before["total"], after["total"], old_is_whole and new_is_whole)
    ends = {number: end for (name, number), end in step.ends.items() if name == node}
    rows = []
    for number, rule in old.items():
        if number in new:
            continue
        if number in ends or new_is_whole:
            rows.append(_row("ended", rule, ends.get(number), rule))
    for number, end in ends.items():
        if number not in old and end["fields"]["rule"]["created"] >= step.began:
            rows.append(_row("came and went", end["fields"]["rule"], end))
    for number, rule in new.items():
        known = old.get(number)
        if known is not None:
            same = _counts(known) == _counts(rule)
            rows.append(_row("unchanged" if same else "used", rule, None, known))
        elif rule["created"] >= step.began:
            rows.append(_row("new", rule))
        else:  # the list of the table before did not reach so far
            rows.append(_row("unchanged", rule))
    rows.sort(key=lambda row: CHANGES.index(row.change))
    result.touched = [row for row in rows if row.change != "unchanged"][:ROWS_SHOWN]
    result.untouched = [row for row in rows if row.change == "unchanged"][:ROWS_SHOWN]
    result.left_out = len(rows) - len(result.touched) - len(result.untouched)
    was = before["drops"]
    grown = {reason: count - was.get(reason, 0) for reason, count in after["drops"].items()}
    result.drops = [(reason, count) for reason, count in grown.items() if count > 0]
    return result


def _counts(rule: Record) -> tuple[int, int]:
    return rule["packets_out"], rule["packets_in"]


def _row(change: str, rule: Record, end: Record | None = None, known: Record | None = None) -> Row:
    """`end` is the report of its end, with the last counts; `known` the rule as it was before."""
    last = end["fields"]["rule"] if end is not None else rule
    counts = []
    for now, then in zip(_counts(last), _counts(known) if known else (0, 0), strict=True):
        counts.append(f"{now} (+{now - then})" if known and now > then else str(now))
    names = ("protocol", "internal", "external", "remote", "made_by")
    why = str(end["fields"].get("why", "")) if end is not None else ""
    return Row(change, why, *(str(rule[name]) for name in names), *counts)
