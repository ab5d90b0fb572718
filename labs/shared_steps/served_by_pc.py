"""A PC serves a file to those who get in through its NAPT: what is typed, and the evidence.

Levels 9c and 9d. Each check looks at the wires or at the programs' events, and adds to a claim
what it found there.
"""

from __future__ import annotations

from dataclasses import dataclass

from napt_lab.labs.capture.packets import SYN
from napt_lab.labs.shared_steps.commands import PORT, curl
from napt_lab.labs.shared_steps.dropped import is_drop, require_drop
from napt_lab.labs.shared_steps.evidence import WAIT, is_syn_to, is_unreachable
from napt_lab.labs.shared_steps.two_sites import (
    ALICE,
    BOB,
    NAPT_A,
    NAPT_B,
    ROUTER_AT_FILES,
    make_file,
    require_path,
)
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim

FILE = "holiday.jpg"
SIZE = 1 << 18  # bytes: some two hundred packets


@dataclass(frozen=True, slots=True)
class Side:
    """One home as the other sees it: its addresses, its PC, and who dials it from where."""

    public: str
    pc: str
    private: str
    visitor: str
    from_: str

    @property
    def door(self) -> str:
        """The external endpoint that a visitor dials."""
        return f"{self.public}:{PORT}"


SITES = {
    "napt_a": Side(NAPT_A, "alice", ALICE, visitor="bob", from_=NAPT_B),
    "napt_b": Side(NAPT_B, "bob", BOB, visitor="alice", from_=NAPT_A),
}


def share(stage: Stage, pc: str) -> None:
    """Make the file on a PC and serve its folder."""
    folder = stage.net[pc].home / "shared"
    folder.mkdir()
    make_file(stage, pc, f"{folder.name}/{FILE}", SIZE)
    stage.serve(
        pc, "file-server", "--port", str(PORT), "--read-only",
        "--folder", folder.name, name="shared",
    )  # fmt: skip


def fetch_file(address: str) -> tuple[str, ...]:
    """The command line that fetches the file."""
    return curl(address, "-o", FILE, path=f"/{FILE}")


def knock(address: str) -> tuple[str, ...]:
    """A fetch that gives up soon. The SYN is sent again only after a second: one is enough."""
    return curl(address, "--connect-timeout", "0.5")


def no_route(stage: Stage, claim: Claim, wanted: str, since: int) -> None:
    refusal = stage.wire.wait_for(
        "files:eth0",
        is_unreachable(ROUTER_AT_FILES, wanted),
        deadline=WAIT,
        what="the router's ICMP unreachable",
        since=since,
    )
    claim.require(True, f"files:eth0: {refusal.packet}")


def dropped_no_rule(stage: Stage, claim: Claim, napt: str, since: int, log_since: int) -> None:
    """A SYN from the other side is at the NAPT's outside, in its list of drops, and no further."""
    site = SITES[napt]
    arrived = stage.wire.wait_for(
        f"{napt}:wan0", is_syn_to(PORT, site.public), deadline=WAIT, what="a SYN", since=since
    )
    claim.require(
        arrived.packet.source == site.from_,
        f"{napt}:wan0: {arrived.packet}",
        f"its source should be {site.from_}",
    )
    require_drop(
        stage, claim, napt, "no-rule", log_since,
        source=arrived.packet.from_, destination=arrived.packet.to,
    )  # fmt: skip
    for where in (f"{napt}:lan0", f"{site.pc}:eth0"):
        inside = stage.wire.packets(
            where, lambda p: p.is_tcp(flags=SYN) and p.source == site.from_, since=since
        )
        claim.require(
            not inside,
            f"{where}: {count(len(inside), 'SYN')} from {site.from_}",
            "it should be none",
        )


def passes_napts_only(stage: Stage, claim: Claim, since: int) -> None:
    """The first data from alice passed the two NAPTs and the router, and no other node."""
    first = stage.wire.wait_for(
        "alice:eth0",
        lambda p: p.source_port == PORT and p.payload > 0,
        deadline=WAIT,
        what="data from alice",
        since=since,
    )
    nodes = ["alice", "napt_a", "internet", "napt_b", "bob"]
    require_path(stage, claim, first, PORT, since, nodes)


def none_was_dropped(stage: Stage, claim: Claim, napt: str, log_since: int) -> None:
    """The first SYN came through, not only one that TCP repeated after a second."""
    dropped = [
        event for event in stage.log.since(log_since)
        if event.node == napt and is_drop(event, kind="tcp SYN", source=SITES[napt].from_)
    ]  # fmt: skip
    claim.require(not dropped, f"{napt} dropped {len(dropped)} of its SYNs", "it should be 0")


def went_by(stage: Stage, claim: Claim, where: str, source: str, since: int) -> None:
    """The whole file passed `where`: so its absence from another capture proves something."""
    data = stage.wire.packets(
        where, lambda p: p.source == source and p.source_port == PORT, since=since
    )
    total = sum(captured.packet.payload for captured in data)
    claim.require(
        total >= SIZE,
        f"{where}: {total} bytes of data from {source}",
        f"it should be {SIZE} or more",
    )
