"""What a student's translator knows of the NAPT it runs on, and its table of rules.

The table is what people and labs see: `rules` lists it, each rule that comes and goes is told.
A translator may find its rules by whatever means of its own; it says what there is by
`napt.rules.add(rule)` and `napt.rules.remove(rule, why)`.

The rest of a rule's story is not the student's word but what was observed: which packet was
translated when it was added, which packets were then sent with its endpoints, and what their TCP
connection was doing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from napt_lab.nat_node.core.behavior import show_address
from napt_lab.nat_node.core.settings import Settings
from napt_lab.nat_node.core.tcp_state import SYN, TcpState, follow
from napt_lab.student.packet import Endpoint, number

RemoteKey = tuple[str, tuple[str, int], tuple[str, int], tuple[str, int] | None]

REMOTES_KEPT = 64  # of a rule's remote endpoints, the last ones


class Rule:
    """One NAPT rule. Add attributes of your own as you need them; times are in seconds.

    `remote` is the remote endpoint that the rule is for: None for all of them
    (endpoint-independent mapping), port 0 for all of an address's (address-dependent).
    """

    # 65,535 of them are a lot. The dictionary is only made when something is added.
    __slots__ = (
        "__dict__", "bytes_in", "bytes_out", "created", "expires", "explicit", "external",
        "internal", "last_used", "made_by", "packets_in", "packets_out", "protocol", "remote",
        "seen", "serial", "sessions", "tcp",
    )  # fmt: skip

    def __init__(
        self,
        protocol: str,
        internal: tuple[str, int],
        external: tuple[str, int],
        remote: tuple[str, int] | None = None,
        *,
        explicit: bool = False,
    ) -> None:
        self.protocol = protocol
        self.internal = Endpoint(*internal)
        self.external = Endpoint(*external)
        self.remote = Endpoint(*remote) if remote is not None else None
        self.explicit = explicit
        #: Yours to use, for instance for what you must know of each remote endpoint.
        self.sessions: dict[Any, Any] = {}
        #: For the list of rules: when it ends, if you know.
        self.expires: float | None = None
        # Observed, not for the student to write:
        self.serial = 0
        self.made_by = ""
        self.created = self.last_used = 0.0
        self.packets_out = self.packets_in = self.bytes_out = self.bytes_in = 0
        self.tcp: TcpState | None = None
        self.seen: OrderedDict[Endpoint, tuple[float, TcpState | None]] | None = None

    @property
    def key(self) -> RemoteKey:
        """What tells it from all others."""
        return self.protocol, self.internal, self.external, self.remote

    def __repr__(self) -> str:
        kind = "explicit rule" if self.explicit else "rule"
        remote = self.remote or "anyone"
        return f"{kind} {self.protocol} {self.internal} <-> {self.external}, remote {remote}"


@lru_cache(maxsize=1024)  # 65,535 rules to one server need one text
def _made_by(kind: str, remote: Endpoint) -> str:
    return f"{kind} to {remote}"


class Rules:
    """The table: iterate over it, ask for its length, add and remove."""

    def __init__(self) -> None:
        self._rules: dict[RemoteKey, Rule] = {}
        self._serial = 0
        self.now = 0.0
        #: Of the packet that is being translated: its kind, and whom it was for.
        self.packet: tuple[str, Endpoint] | None = None
        #: What came and went since the last look: (rule, why it ended or None).
        self.news: list[tuple[Rule, str | None]] = []
        self.ever_used = False

    def add(self, rule: Rule) -> None:
        """From now on there is this rule."""
        if not isinstance(rule, Rule):
            raise TypeError(f"napt.rules.add() takes a Rule, not {rule!r}")
        if rule.key in self._rules:
            raise ValueError(f"there is already a {self._rules[rule.key]!r}")
        self._serial += 1
        rule.serial, rule.created, rule.last_used = self._serial, self.now, self.now
        rule.made_by = "hand"
        if self.packet is not None and not rule.explicit:
            rule.made_by = _made_by(*self.packet)
        self._rules[rule.key] = rule
        self.ever_used = True
        self.news.append((rule, None))

    def remove(self, rule: Rule, why: str) -> None:
        """The rule is gone. `why`: closed, reset, idle, removed."""
        if rule not in self:
            raise ValueError(f"napt.rules does not have the {rule!r}")
        del self._rules[rule.key]
        self.news.append((rule, str(why)))

    def __iter__(self) -> Iterator[Rule]:
        return iter(list(self._rules.values()))

    def __len__(self) -> int:
        return len(self._rules)

    def __contains__(self, rule: object) -> bool:
        return isinstance(rule, Rule) and self._rules.get(rule.key) is rule

    def explicit(self, protocol: str, port: int) -> Rule | None:
        """The explicit rule for an external port."""
        return next(
            (
                rule
                for rule in self._rules.values()
                if rule.explicit and (rule.protocol, rule.external.port) == (protocol, port)
            ),
            None,
        )

    def observe(
        self,
        protocol: str,
        internal: Endpoint,
        external: Endpoint,
        remote: Endpoint,
        *,
        out: bool,
        size: int,
        flags: int | None,
    ) -> None:
        """A packet was translated between these two endpoints: the rule that says so is used.

        `flags` are those of a TCP segment, and tell what its connection is doing.
        """
        for blank in (remote, None, Endpoint(remote.address, 0)):
            rule = self._rules.get((protocol, internal, external, blank))
            if rule is not None:
                break
        else:
            return
        rule.last_used = self.now
        if out:
            rule.packets_out += 1
            rule.bytes_out += size
        else:
            rule.packets_in += 1
            rule.bytes_in += size
        if rule.remote is not None:
            rule.tcp = _followed(rule.tcp, flags, out)
            return
        rule.seen = rule.seen if rule.seen is not None else OrderedDict()
        _, state = rule.seen.get(remote, (0.0, None))
        rule.seen[remote] = (self.now, _followed(state, flags, out))
        rule.seen.move_to_end(remote)
        if len(rule.seen) > REMOTES_KEPT:
            rule.seen.popitem(last=False)


def _followed(state: TcpState | None, flags: int | None, out: bool) -> TcpState | None:
    """What a connection does after a segment; None if it is no TCP."""
    if flags is None:
        return None
    if state is None:
        begins = TcpState.OPENING_OUT if out else TcpState.OPENING_IN
        state = begins if flags & SYN else TcpState.ESTABLISHED
    return follow(state, flags, out)


class Napt:
    """This NAPT: its addresses and what its topology wants of it. Times are in seconds."""

    rules: Rules
    external: str
    """The public address, e.g. 24.9.3.7."""
    internal: str
    """The inside address, e.g. 10.0.0.1."""
    ports: range
    """The external ports that rules made by packets may have."""
    mapping: str
    filtering: str
    """`endpoint-independent`, `address-dependent`, `address-and-port-dependent` (RFC 4787)."""
    hairpinning: bool
    port_assignment: str
    tcp_idle: float
    tcp_transitory_idle: float
    closing_hold: float
    udp_idle: float
    icmp_idle: float

    def configure(self, settings: Settings) -> None:
        """Take over what the command line said. Called before the student's file is loaded."""
        self._settings = settings
        self.rules = Rules()
        self.external = show_address(settings.external)
        self.internal = show_address(settings.internal)
        self.ports = settings.ports
        self.mapping, self.filtering = settings.mapping.value, settings.filtering.value
        self.hairpinning = settings.hairpinning
        self.port_assignment = settings.port_assignment.value
        self.tcp_idle, self.tcp_transitory_idle = settings.tcp_idle, settings.tcp_transitory_idle
        self.closing_hold = settings.closing_hold
        self.udp_idle, self.icmp_idle = settings.udp_idle, settings.icmp_idle

    def is_inside(self, address: str) -> bool:
        """Whether the address belongs to the private network behind this NAPT."""
        return self._settings.is_inside(number(address))

    def is_private(self, address: str) -> bool:
        """Whether the address means nothing on the Internet (RFC 1918, RFC 6890)."""
        return self._settings.is_not_routable(number(address))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"napt has no {name!r}; it has {', '.join(self.__annotations__)}")


#: The one NAPT that this process is.
napt = Napt()
