"""The functions that are called when rules and sessions begin, change and end.

The translator does not know what watches it. The memory that outlives it and the fast path add
their functions to these lists. An engine whose clients follow the events (events.py) sets `notify`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from napt_lab.nat_node.core.events import Event
from napt_lab.nat_node.core.mapping import Mapping, Session
from napt_lab.nat_node.core.packet import Packet


@dataclass(slots=True)
class Watchers:
    """Each list is called after what its name says has happened."""

    opened: list[Callable[[Session], None]] = field(default_factory=list)
    changed: list[Callable[[Session], None]] = field(default_factory=list)
    """The state of a TCP session has changed, or for how long a session may be unused."""
    closed: list[Callable[[Session], None]] = field(default_factory=list)
    translated: list[Callable[[Session, Packet], None]] = field(default_factory=list)
    """A TCP or UDP packet between inside and outside has been rewritten."""
    explicit_added: list[Callable[[Mapping], None]] = field(default_factory=list)
    rule_ended: list[Callable[[Mapping], None]] = field(default_factory=list)
    """A rule has ended, after its sessions."""
    notify: Callable[[Event], None] | None = None
