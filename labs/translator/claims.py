"""The claims that a translator is responsible for, in the order in which they are earned.

Each is checked in a part of a lab (labs/level_8, labs/level_9c), by that lab's own steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class Earned:
    """A claim, where it is checked, and what to do for it."""

    claim: str
    lab: str
    part: str
    do: str
    read: str


EARNED = (
    Earned(
        "8.napt",
        "8",
        "napt",
        "outbound: write (napt.external, a port) into packet.source; inbound: find the rule by the "
        "port, and write its internal endpoint into packet.destination",
        "RFC 3022, sections 2.2 and 4.1",
    ),
    Earned(
        "8.upload",
        "8",
        "upload",
        "the same for a longer connection; if only short ones work, look at what you do with "
        "packets that have no SYN",
        "RFC 3022, section 3",
    ),
    Earned(
        "8.inbound",
        "8",
        "inbound",
        "a packet from outside for which there is no rule: return 'no-rule'; TCP and UDP have "
        "ports of their own; and by a rule only those come in to whom the inside has sent, as far "
        "as napt.filtering looks: 'filtered'",
        "RFC 4787, section 5; nat_node/core/verdict.py has the reasons",
    ),
    Earned(
        "9c.private",
        "9c",
        "direct",
        "a private destination: return packet.refused('private-destination'); pings are translated "
        "like the rest (their identifier stands as the port); no private source leaves",
        "RFC 3022, section 4.1; RFC 5508, section 3",
    ),
    Earned(
        "9c.no-rule",
        "9c",
        "direct",
        "as 8.inbound, on both sides; and pings to a public server are translated",
        "RFC 4787, section 5; RFC 5508, section 3",
    ),
    Earned(
        "8.rule-per-connection",
        "8",
        "rules",
        "napt.rules.add(Rule(...)) where a rule is made; its key holds as much of the remote "
        "endpoint as napt.mapping says",
        "RFC 4787, section 4.1; nat_node/core/behavior.py",
    ),
    Earned(
        "8.gc-close",
        "8",
        "rules",
        "follow FIN (both ways) and RST; write expire(now): napt.closing_hold seconds later "
        "napt.rules.remove(rule, 'closed' or 'reset'); what comes for it then: "
        "'no-rule' from outside, 'no-connection' from inside",
        "RFC 7857, section 2; RFC 5382, section 5; nat_node/core/tcp_state.py",
    ),
    Earned(
        "8.gc-idle",
        "8",
        "idle",
        "expire(now): napt.tcp_idle seconds after its last packet napt.rules.remove(rule, 'idle'); "
        "a TCP packet without SYN that belongs to no rule: 'no-connection'",
        "RFC 5382, section 5",
    ),
    Earned(
        "9c.rule",
        "9c",
        "direct",
        "add_rule(rule, now): an explicit rule lets every sender in by its external port, and "
        "the answers go out by it, too",
        "RFC 4787, section 5; RFC 6887, section 2.1, says who asks for them in practice",
    ),
    Earned(
        "9c.direct",
        "9c",
        "direct",
        "ICMP errors: rewrite packet.quoted as the packet that it quotes was rewritten, only the "
        "other way round",
        "RFC 5508, section 4; nat_node/core/icmp_errors.py",
    ),
    Earned(
        "9c.both-ways",
        "9c",
        "direct",
        "remove_rule(rule): afterwards no packet comes in by it",
        "RFC 4787, section 5",
    ),
    Earned(
        "8.65536",
        "8",
        "65536",
        "use every port of napt.ports, and one port for several rules as long as their remote "
        "endpoints differ (mapping and filtering permitting); with no port left return "
        "packet.refused('ports-exhausted')",
        "RFC 4787, section 4.2; RFC 5508, section 4.3; nat_node/core/table.py",
    ),
)


def earned_in(level: str | None) -> tuple[Earned, ...]:
    """The claims of one level, or all. Raises click.UsageError."""
    if level is not None and level not in levels_of_claims():
        raise click.UsageError(nothing_earned_in(level))
    return EARNED if level is None else claimed_in(level)


def levels_of_claims() -> list[str]:
    """The levels in which a translator can earn something."""
    return list(dict.fromkeys(earned.lab for earned in EARNED))


def nothing_earned_in(level: str) -> str:
    """What to say where a translator cannot be graded."""
    there = ", ".join(levels_of_claims())
    where = f"level {level}" if level else "exercises of your own"
    return f"a translator earns nothing in {where}, but in the levels {there}"


def claimed_in(level: str) -> tuple[Earned, ...]:
    """The claims of one level; none if a translator earns nothing there."""
    return tuple(earned for earned in EARNED if earned.lab == level)


#: Without this claim the other parts would only wait for what cannot come.
BASE = "8.napt"
#: What costs most of a minute is only tried when these hold.
COSTLY = {"65536": ("8.napt", "8.rule-per-connection", "8.gc-close")}
