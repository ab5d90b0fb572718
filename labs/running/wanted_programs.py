"""Reads the words after FILE of `run`: which programs are wanted on which nodes.

    --on server ./my-server --port 5000 --ready "listening on" --on pc ./my-client

`--ready TEXT` is ours at the end of a program's words; elsewhere it is the program's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napt_lab.topologies.spec.errors import not_one_of

USAGE = "--on NODE COMMAND… [--ready TEXT], once or more"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program on a node. `ready`: a part of a line that it prints when it serves."""

    node: str
    command: tuple[str, ...]
    ready: str | None = None


def wanted_programs(words: Sequence[str], names: Sequence[str]) -> list[Wanted]:
    """What the words after FILE ask for; ValueError if they are wrong. `names` of all nodes."""
    if words[:1] != ["--on"]:
        raise ValueError(f"{' '.join(words[:1]) or 'nothing'} cannot follow FILE; allowed: {USAGE}")
    groups: list[list[str]] = []
    for word in words:
        if word == "--on":
            groups.append([])
        else:
            groups[-1].append(word)
    found = []
    for group in groups:
        node, *command = group or [""]
        if node not in names:
            raise ValueError(not_one_of(f"there is no node {node!r}", node, names))
        ready = None
        if command[-2:-1] == ["--ready"]:
            *command, _, ready = command
        if not command:
            raise ValueError(f"there is no command after --on {node}; allowed: {USAGE}")
        found.append(Wanted(node, tuple(command), ready))
    return found
