"""Who is told when rules and sessions begin, change and end.

The translator does not know who watches it. What keeps the table in a file, and what carries
known flows faster, put functions of theirs into these lists. Whoever follows a NAPT's events
(events.py) sets `notify`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from napt_lab.nat_node.core.events import Event
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.packet import Packet


@dataclass(slots=True)
class Watchers:
    """Functions that are called, in order, after what their list's name says."""

    opened: list[Callable[[Session], None]] = field(default_factory=list)
    changed: list[Callable[[Session], None]] = field(default_factory=list)
    """The state of a TCP session has changed."""
    closed: list[Callable[[Session], None]] = field(default_factory=list)
    translated: list[Callable[[Session, Packet], None]] = field(default_factory=list)
    """A TCP or UDP packet between inside and outside has been rewritten."""
    explicit_added: list[Callable[[Mapping], None]] = field(default_factory=list)
    rule_ended: list[Callable[[Mapping], None]] = field(default_factory=list)
    """A rule has ended, after its sessions."""
    notify: Callable[[Event], None] | None = None
