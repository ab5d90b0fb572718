"""Level 9d: what is typed, and what counts as evidence. The steps are in lab.py."""

from __future__ import annotations

import shutil
from typing import Any

from napt_lab.labs.capture.packets import Packet
from napt_lab.labs.level_9d import messages
from napt_lab.labs.level_9d.messages import Message
from napt_lab.labs.shared_steps.commands import PORT, require_success
from napt_lab.labs.shared_steps.evidence import WAIT, carries_or_opens, find_handshake, is_syn_to
from napt_lab.labs.shared_steps.served_by_pc import (
    FILE,
    none_was_dropped,
    passes_napts_only,
    went_by,
)
from napt_lab.labs.shared_steps.two_sites import ALICE, NAPT_A, NAPT_B, require_same, wait_for_peer
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.processes import Completed, Event

GATEWAY = "10.0.0.1"
WRONG_NONCE = "0" * 24

Rule = dict[str, Any]


def pcp(*words: str) -> tuple[str, ...]:
    """The command line of the PCP client."""
    return ("pcp", *words)


def natpmpc(*words: str) -> tuple[str, ...]:
    """That of Debian's NAT-PMP client. OSError if this machine has none."""
    if shutil.which("natpmpc") is None:
        raise OSError("the program natpmpc is missing: sudo apt-get install natpmpc")
    return ("natpmpc", *words)


def visit(port: int) -> tuple[str, ...]:
    """The command line of a fetch from a port that should be open."""
    return ("curl", "-sS", "-m", "5", "-o", "/dev/null", f"http://{NAPT_A}:{port}/")


def is_port_control(packet: Packet) -> bool:
    """Whether a packet goes to the port for requests, or comes from it."""
    ports = (packet.source_port, packet.destination_port)
    return packet.protocol == "udp" and messages.PORT in ports


def exchanged(stage: Stage, where: str, since: int) -> list[Message]:
    """The PCP messages that passed `where`, announcements to everyone left out."""
    seen = stage.wire.packets(
        where, lambda p: is_port_control(p) and p.destination != "224.0.0.1", since=since
    )
    return [message for captured in seen if (message := messages.read(captured)) is not None]


def last_answer(stage: Stage, claim: Claim, where: str, since: int, to: str) -> Message:
    """The answer to a request, once it has passed; both become evidence."""
    stage.wire.wait_for(
        where,
        lambda p: is_port_control(p) and (p.source, p.destination) == (GATEWAY, to),
        deadline=WAIT,
        what="an answer",
        since=since,
    )
    passed = exchanged(stage, where, since)
    for message in passed:
        claim.require(True, f"{where}: {message}")
    answers = [m for m in passed if m.is_answer and m.captured.packet.destination == to]
    claim.require(bool(answers), f"{count(len(answers), 'answer')} of PCP")
    return answers[-1]


def leased(stage: Stage, port: int) -> list[Rule]:
    """napt_a's explicit rules for an external port."""
    external = f"{NAPT_A}:{port}"
    rules = stage.net.napt("napt_a").rules()
    return [rule for rule in rules if rule["explicit"] and rule["external"] == external]


def require_lease(
    claim: Claim, rules: list[Rule], asked_by: str, internal: str, protocol: str = "tcp"
) -> Rule:
    """One explicit rule, for a time, asked for by PCP or NAT-PMP."""
    claim.require(len(rules) == 1, f"{count(len(rules), 'explicit rule')} in napt_a's table")
    rule = rules[0]
    lease = rule["lease"] or {}
    claim.require(
        (rule["protocol"], rule["internal"]) == (protocol, internal)
        and lease.get("protocol") == asked_by,
        f"{rule['protocol']} {rule['external']} → {rule['internal']}, made by {rule['made_by']}",
    )
    return rule


def direct_fetch(stage: Stage, claim_id: str, fetched: Completed, since: int, log: int) -> None:
    """bob has fetched alice's file: end to end, whole, and with no server in between."""
    with stage.claim(claim_id, "one TCP connection: the same sequence numbers") as claim:
        near = find_handshake(stage.wire, "bob:eth0", PORT, since)
        far = find_handshake(stage.wire, "alice:eth0", PORT, since)
        claim.require(near.syn.packet.destination == NAPT_A, f"bob:eth0: {near.syn.packet}")
        claim.require(far.syn.packet.destination == ALICE, f"alice:eth0: {far.syn.packet}")
        claim.require(near.numbers == far.numbers, f"{near.told}; {far.told}")
        none_was_dropped(stage, claim, "napt_a", log)
    with stage.claim(claim_id, "alice's file is at bob's, byte for byte") as claim:
        require_success(claim, fetched, "curl")
        home = stage.net["alice"].home
        require_same(claim, home / "shared" / FILE, stage.net["bob"].home / FILE)
        peer = wait_for_peer(stage, "alice", log, "")
        claim.require(peer.startswith(f"{NAPT_B}:"), f"alice's server was asked by {peer}")
    with stage.claim(claim_id, "no server in between") as claim:
        went_by(stage, claim, "bob:eth0", NAPT_A, since)
        passes_napts_only(stage, claim, since)
        seen = stage.wire.packets("files:eth0", carries_or_opens, since=since)
        claim.require(not seen, f"files:eth0: {count(len(seen), 'packet')}")


def comes_in(stage: Stage, claim: Claim, port: int, visited: Completed, since: int) -> None:
    """bob's fetch from a port was answered, and its SYN came to alice."""
    require_success(claim, visited, "curl")
    syn = stage.wire.wait_for(
        "alice:eth0", is_syn_to(port, ALICE), deadline=WAIT, what="a SYN", since=since
    )
    claim.require(syn.packet.source == NAPT_B, f"alice:eth0: {syn.packet}")


def ended(stage: Stage, port: int, since: int, deadline: float) -> Event:
    """napt_a's report that a leased rule is gone, connections through it included."""
    external = f"{NAPT_A}:{port}"
    return stage.wait_for_event(
        "napt_a",
        "rule-ended",
        lambda event: event.fields["rule"]["external"] == external,
        since=since,
        deadline=deadline,
    )
