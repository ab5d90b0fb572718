"""Levels 9a to 9d: who is who (topologies/two-sites.yaml), and what evidence they share."""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path

from napt_lab.labs.capture.packets import SYN
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.shared_steps.evidence import journey, sha256
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim

ALICE, NAPT_A = "10.0.0.7", "24.9.3.7"
BOB, NAPT_B = "10.0.0.9", "203.0.113.77"
FILES, RELAY, ROUTER_AT_FILES = "198.51.100.10", "198.51.100.11", "198.51.100.1"
RELAY_PORT = 9000
HOME = IPv4Network("10.0.0.0/24")
PUBLIC = {"napt_a": NAPT_A, "napt_b": NAPT_B}


def make_file(stage: Stage, pc: str, name: str, size: int) -> Path:
    """A new file of `size` random bytes in a PC's own folder."""
    path = stage.net[pc].home / name
    path.write_bytes(os.urandom(size))
    return path


def wait_for_peer(stage: Stage, server: str, since: int, start: str) -> str:
    """The endpoint that a server saw at the other end of a request, if it begins with `start`."""
    request = stage.wait_for_event(
        server, "request", lambda e: e.fields["peer"].startswith(start), since=since
    )
    return str(request.fields["peer"])


def require_same(claim: Claim, sent: Path, received: Path) -> None:
    """Two files are the same, byte for byte."""
    here, there = sha256(sent), sha256(received)
    claim.require(
        here == there,
        f"SHA-256 {here[:16]}… sent, {there[:16]}… received",
        "they should be the same",
    )


def only_outbound(stage: Stage, claim: Claim, napt: str, since: int) -> list[Captured]:
    """All connections at a NAPT were opened from inside. Returns their SYNs."""
    syns = stage.wire.packets(f"{napt}:wan0", lambda p: p.is_tcp(flags=SYN), since=since)
    out = [captured for captured in syns if captured.packet.source == PUBLIC[napt]]
    claim.require(
        bool(out),
        f"{napt}:wan0: {count(len(out), 'SYN')} out: {_list(out)}",
        "it should be 1 or more",
    )
    claim.require(
        len(out) == len(syns),
        f"{napt}:wan0: {count(len(syns) - len(out), 'SYN')} in",
        "it should be none",
    )
    return out


def nothing_between_napts(stage: Stage, claim: Claim, since: int) -> None:
    """No packet went from one NAPT to the other, neither way."""
    for leg in stage.net["internet"].interfaces:
        where = f"internet:{leg}"
        seen = stage.wire.packets(
            where, lambda p: {p.source, p.destination} == {NAPT_A, NAPT_B}, since=since
        )
        claim.require(
            not seen,
            f"{where}: {len(seen)} packets between {NAPT_A} and {NAPT_B}",
            "it should be 0",
        )


def require_path(
    stage: Stage, claim: Claim, first: Captured, port: int, since: int, nodes: list[str]
) -> None:
    """The segment `first`, of a connection with `port`, passed exactly these nodes."""
    passed = journey(stage.wire, first.packet.sequence, port, since)
    stage.see(*(f"{captured.where:14} {captured.packet}" for captured in passed))
    seen = list(dict.fromkeys(captured.where.split(":")[0] for captured in passed))
    claim.require(seen == nodes, " → ".join(seen) or "no node", f"it should be {' → '.join(nodes)}")


def _list(captured: list[Captured]) -> str:
    return ", ".join(dict.fromkeys(f"{c.packet.from_} → {c.packet.to}" for c in captured))
