"""Level 8: addresses, what is typed, and the checks that several parts share.

pc 10.0.0.7 ── a gateway 24.9.3.7 ── internet ──┬── stackoverflow 151.101.1.69
                                                └── files         198.51.100.10
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napt_lab.labs.capture.packets import ACK, RST, Packet
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.shared_steps.commands import require_success
from napt_lab.labs.shared_steps.evidence import WAIT, Handshake
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.processes import Completed, Event, NodeProgram
from napt_lab.topologies.network.programs import READY_SECONDS

PC, GATEWAY, PUBLIC = "10.0.0.7", "10.0.0.1", "24.9.3.7"
STACKOVERFLOW, SERVERFAULT, FILES = "151.101.1.69", "151.101.1.70", "198.51.100.10"
ROUTER_AT_STACKOVERFLOW = "151.101.1.1"
INITIAL_TTL = 64
COMMAND_SECONDS = 15.0  # longer than connections.py itself waits for answers

Rule = dict[str, Any]


# ── what is typed ──────────────────────────────────────────────────────────────────────────


def curl(url: str, *options: str) -> tuple[str, ...]:
    """The command line of a fetch that takes 5 seconds at most."""
    return ("curl", "-sSf", "-m", "5", *options, url)


def knock(url: str) -> tuple[str, ...]:
    """A fetch that gives up before TCP repeats its SYN (after a second)."""
    return curl(url, "--connect-timeout", "0.5")


def open_connections(
    stage: Stage, node: str, *words: str, fifo: str = "connections", deadline: float = READY_SECONDS
) -> Event:
    """Hold connections on a node (connections.py); returns its report once all were tried."""
    program = start_connections(stage, node, *words, fifo=fifo)
    return program.wait_for("opened", deadline=deadline)


def start_connections(
    stage: Stage, node: str, *words: str, fifo: str = "connections"
) -> NodeProgram:
    """Begin to open connections on a node; `fifo` is where it then takes commands."""
    return stage.serve(node, "connections", *words, "--commands", fifo, name=fifo)


def tell_connections(stage: Stage, node: str, command: str, fifo: str = "connections") -> Event:
    """Give a command to the connections of a node, and return the report of its end."""
    done = {"use": "used", "close": "closed", "reset": "reset"}[command.split()[0]]
    since = stage.log.mark()
    stage.run(node, "sh", "-c", f"echo {command} > {fifo}")
    return stage.wait_for_event(
        node, done, lambda event: event.program == fifo, since=since, deadline=COMMAND_SECONDS
    )


# ── evidence ───────────────────────────────────────────────────────────────────────────────


def server_sees(
    stage: Stage, claim: Claim, completed: Completed, since: int, server: str = "stackoverflow"
) -> str:
    """The page came, and both it and the server's log name the public address. The endpoint."""
    require_success(claim, completed, "curl")
    _, _, rest = completed.stdout.partition("You are ")
    told = rest.partition("<")[0]
    request = stage.wait_for_event(server, "request", since=since)
    peer = str(request.fields["peer"])
    claim.require(
        peer == told and peer.startswith(f"{PUBLIC}:"),
        f"the page says {told or 'nothing'!r}; the server's log: a request from {peer}",
        f"both should name the same port of {PUBLIC}",
    )
    return peer


def require_two_connections(claim: Claim, near: Handshake, far: Handshake) -> None:
    """Both initial sequence numbers differ: a proxy ends one connection and begins another."""
    for handshake in (near, far):
        claim.require(True, f"{handshake.syn.where}: {handshake.syn.packet}")
    apart = all(a != b for a, b in zip(near.numbers, far.numbers, strict=True))
    claim.require(
        apart,
        f"{near.told}; {far.told}",
        "they should differ",
    )


def require_one_connection(claim: Claim, near: Handshake, far: Handshake) -> None:
    """Both initial sequence numbers are the same at both ends."""
    for handshake in (near, far):
        claim.require(True, f"{handshake.syn.where}: {handshake.syn.packet}")
    claim.require(
        near.numbers == far.numbers,
        f"{near.told}; {far.told}",
        "they should be the same",
    )


def require_only_to(stage: Stage, claim: Claim, address: str, since: int) -> None:
    """All packets that the PC sent since then were addressed to `address`."""
    sent = stage.wire.packets("pc:eth0", lambda p: p.source == PC and p.arp is None, since=since)
    others = {captured.packet.destination for captured in sent} - {address}
    claim.require(
        bool(sent) and not others,
        f"pc:eth0: {len(sent)} packets from the PC, "
        + (f"some to {', '.join(map(str, others))}" if others else f"all to {address}"),
    )


def wait_for_reset(stage: Stage, where: str, source: str, to: str, since: int) -> Captured:
    """The RST with which `source` refuses or resets a connection with `to`."""

    def is_it(p: Packet) -> bool:
        return p.is_tcp(flags=RST | ACK, among=RST | ACK) and (
            p.source,
            p.source_port,
            p.destination,
        ) == (source, 80, to)

    return stage.wire.wait_for(
        where, is_it, deadline=WAIT, what=f"a RST from {source}:80", since=since
    )


# ── rules ──────────────────────────────────────────────────────────────────────────────────


def by_internal(rules: Sequence[Rule]) -> dict[str, Rule]:
    """Rules by their internal endpoint."""
    return {rule["internal"]: rule for rule in rules}


def show_rule(rule: Rule) -> str:
    """One rule as one line."""
    kind = rule["made_by"].partition(" to ")[0]
    return f"{rule['internal']} ↔ {rule['external']}, remote {rule['remote']}, by a {kind}"


def in_full(rule: Rule | None) -> list[str]:
    """All that a rule consists of."""
    if rule is None:
        return []
    ends = "".join(f", or in {s['expires_in']:.0f} s without a packet" for s in rule["sessions"])
    return [
        "one of these rules in full:",
        f"  protocol  {rule['protocol']}",
        f"  internal  {rule['internal']:<22} the PC's endpoint",
        f"  external  {rule['external']:<22} what the server sees",
        f"  remote    {rule['remote']:<22} the server",
        f"  age       {rule['age']:.1f} s",
        f"  end       when its connection closes{ends}",
    ]


def wait_for_end(stage: Stage, napt: str, internal: str, since: int, deadline: float) -> Event:
    """The end of the rule of an internal endpoint."""
    return stage.wait_for_event(
        napt,
        "rule-ended",
        lambda event: event.fields["rule"]["internal"] == internal,
        since=since,
        deadline=deadline,
    )


def story(ended: Event) -> str:
    """A rule's life in one sentence."""
    rule = ended.fields["rule"]
    return (
        f"{rule['internal']} ↔ {rule['external']}: made by {rule['made_by']}; "
        f"{rule['packets_out']} packets ({rule['bytes_out']} bytes) out, "
        f"{rule['packets_in']} ({rule['bytes_in']}) in; "
        f"ended after {rule['age']:.1f} s: {ended.fields['why']}"
    )
