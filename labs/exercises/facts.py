"""What has become of an attempt, as lines that a pattern can ask for (patterns.py lists them).

Theory of operation. What programs report and what tables hold is collected when it is asked for;
only what came after the attempt's beginning counts. "Before the SYN" is read from the wire: the
SYNs that came to a rule's endpoint, grouped by who sent them (TCP sends one again after a second,
and that is the same connection), the last of these connections, its first SYN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.exercises.patterns import OF_FILES, Pattern
from napt_lab.labs.shared_steps.evidence import is_syn_to, sha256
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.napt_control import PROGRAM
from napt_lab.topologies.network.processes import Event

_UNTOLD = {"event", "time", "dropped"}
MOST_FACTS = 2000  # of one kind that programs report


@dataclass(slots=True)
class Since:
    """Where the wires' record and the programs' log stood when an attempt began.

    What passed in one of the spans of `left_out` (from, to, in seconds since 1970) was not the
    student's doing: then the exercise itself was probing. `command`: when the last command on a
    node began, in the same seconds; `why` looks no further back either.
    """

    wire: int
    log: int
    command: float = 0.0
    left_out: list[tuple[float, float]] = field(default_factory=list)

    def counts(self, time: float) -> bool:
        """Whether what happened at `time` was the student's doing."""
        return not any(begin <= time <= end for begin, end in self.left_out)


def gather(net: Network, wire: Wire, since: Since, asked: Iterable[Pattern]) -> list[str]:
    """The facts of tables, wires and programs; of files, those that are asked for.

    ControlError, CaptureIncomplete if they cannot be known.
    """
    facts: list[str] = []
    for node in net:
        if node.napt is not None:
            rules = [rule for rule in node.napt.rules() if rule["explicit"]]
            for rule in rules:
                facts += _of_rule(node.name, rule, wire, since)
            if len(rules) == 1:
                facts.append(f"only {_words(node.name, rules[0])} {rules[0]['internal']}")
    questions = {pattern.text for pattern in asked if pattern.kind in OF_FILES}
    facts += [text for text in sorted(questions) if _of_files(net, *text.split()[1:])]
    events = [event for event in net.log.since(since.log) if since.counts(event.time)]
    latest = {event.node: event for event in events if event.program != PROGRAM}
    facts += [f"last {_told(event)}" for event in latest.values()]
    return facts + [fact for event in events[-MOST_FACTS:] for fact in _of_event(event, since)]


def _of_rule(napt: str, rule: dict[str, Any], wire: Wire, since: Since) -> Iterator[str]:
    external = _words(napt, rule)
    yield f"rule {external} {rule['internal']}"
    address, _, port = rule["external"].rpartition(":")
    wan, lan = f"{napt}:wan0", f"{napt}:lan0"
    syns = [
        syn
        for where in (wan, lan)  # hairpinned ones come from the inside
        for syn in wire.packets(where, is_syn_to(int(port), address), since=since.wire)
        if not syn.outgoing and since.counts(syn.time)
    ]
    if syns:
        last = max(syns, key=lambda syn: syn.nanoseconds).packet.from_
        began = min(syn.time for syn in syns if syn.packet.from_ == last)
        yield f"{'first' if rule['created'] < began else 'late'} {external}"


def _words(napt: str, rule: dict[str, Any]) -> str:
    return f"{napt} {rule['protocol']} {rule['external']}"


def _of_event(event: Event, since: Since) -> Iterator[str]:
    told = event.fields
    if event.name == "drop":  # by a NAPT, a firewall or a link
        what = f"{event.node} {told['reason']} {told['packet']}"
        yield f"dropped {what}"
        if event.time >= since.command:
            yield f"drop {what}"
    elif event.program != PROGRAM:
        yield f"event {_told(event)}"


def _told(event: Event) -> str:
    values = (f"{key}={value}" for key, value in event.fields.items() if key not in _UNTOLD)
    return " ".join((event.node, event.name, *values))


def place(net: Network, where: str) -> Path:
    """The file that `node:path` names, below the node's own folder."""
    node, _, path = where.partition(":")
    return net[node].home / path


def _of_files(net: Network, *where: str) -> bool:
    """Whether a file is there and not empty, or several are the same, byte for byte."""
    try:
        paths = [place(net, one) for one in where]
        return all(path.stat().st_size for path in paths) and len(set(map(sha256, paths))) == 1
    except (OSError, KeyError):
        return False
