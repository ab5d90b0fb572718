"""Level 9f: what counts as evidence. The steps are in lab.py."""

from __future__ import annotations

from napt_lab.labs.capture.packets import ACK, RST, SYN, UNREACHABLE, Packet
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.shared_steps.dropped import require_drop
from napt_lab.labs.shared_steps.evidence import connections
from napt_lab.labs.shared_steps.peers import OPEN_SECONDS, Peers
from napt_lab.labs.shared_steps.two_sites import NAPT_A, NAPT_B
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim

CROSSING = ("SYN out", "SYN in", "SYN-ACK out", "SYN-ACK in")


def handshake(stage: Stage, where: str, since: int) -> list[Captured]:
    """What opens a connection between alice's home and bob's at `where`; of repetitions the first.

    The four packets of a simultaneous open, or as many as came.
    """
    seen: dict[str, Captured] = {}
    for captured in stage.wire.packets(where, _opens, since=since):
        seen.setdefault(in_words(captured), captured)
    return list(seen.values())


def _opens(p: Packet) -> bool:
    is_between = {p.source, p.destination} == {NAPT_A, NAPT_B}
    return p.protocol == "tcp" and is_between and bool(p.flags & SYN)


def in_words(captured: Captured) -> str:
    """As in `SYN out`, for a packet with SYN."""
    what = "SYN-ACK" if captured.packet.flags & ACK else "SYN"
    return f"{what} {'out' if captured.outgoing else 'in'}"


def order(stage: Stage, napt: str, since: int) -> tuple[str, ...]:
    """The same in words, as in `SYN out`."""
    return tuple(map(in_words, handshake(stage, f"{napt}:wan0", since)))


def crossed(stage: Stage, claim: Claim, napt: str, since: int) -> list[Captured]:
    """SYN, SYN, SYN-ACK, SYN-ACK at a NAPT's outside: both ends have dialed."""
    where = f"{napt}:wan0"
    opened = handshake(stage, where, since)
    for captured in opened:
        claim.require(True, f"{where}: {in_words(captured)}: {captured.packet}")
    seen = order(stage, napt, since)
    claim.require(seen == CROSSING, ", ".join(seen), f"it should be {', '.join(CROSSING)}")
    ours, theirs, our_answer, their_answer = (captured.packet for captured in opened)
    numbers = (our_answer.sequence, their_answer.sequence)
    claim.require(
        numbers == (ours.sequence, theirs.sequence),
        f"each SYN-ACK has the sequence number of its own side's SYN: {numbers}",
    )
    acknowledged = (their_answer.acknowledgment, our_answer.acknowledgment)
    wanted = tuple(((syn.sequence or 0) + 1) % (1 << 32) for syn in (ours, theirs))
    claim.require(acknowledged == wanted, f"and acknowledges the other side's: {acknowledged}")
    return opened


def one_connection(
    stage: Stage, claim: Claim, node: str, other: str, before: set[frozenset[str]]
) -> None:
    """At a PC's wire one connection with the other home is new, and nobody listens on the PC."""
    new = connections(stage.wire, f"{node}:eth0") - before
    found = [pair for pair in new if any(end.startswith(f"{other}:") for end in pair)]
    claim.require(len(found) == 1, f"{node}:eth0: {count(len(found), 'connection')} with {other}")
    listening = stage.net[node].run(["ss", "-Hltn"]).stdout.splitlines()
    claim.require(not listening, f"{node}: {count(len(listening), 'listening socket')}")


def early_syn(stage: Stage, claim: Claim, peers: Peers, napt: str) -> Captured:
    """alice's SYN came before the other one dialed, and the NAPT dropped it."""
    mine, theirs = (peers.endpoint(node) for node in peers.nodes)
    syn = stage.wire.wait_for(
        f"{napt}:wan0", lambda p: p.is_tcp(flags=SYN) and (p.from_, p.to) == (mine, theirs),
        deadline=OPEN_SECONDS, what="alice's SYN", since=peers.wire_since,
    )  # fmt: skip
    claim.require(True, f"{napt}:wan0: {syn.packet}")
    require_drop(stage, claim, napt, "filtered", peers.log_since, source=mine, destination=theirs)
    return syn


def refusal(stage: Stage, napt: str, about: Packet, since: int) -> Captured | None:
    """What a NAPT has told the sender of a SYN that it dropped: a RST, or an ICMP error."""

    def refuses(p: Packet) -> bool:
        if p.icmp is not None:
            quoted = p.quoted
            return p.icmp[0] == UNREACHABLE and quoted is not None and quoted.from_ == about.from_
        return bool(p.flags & RST) and (p.from_, p.to) == (about.to, about.from_)

    seen = stage.wire.packets(f"{napt}:wan0", refuses, since=since)
    return next((captured for captured in seen if captured.outgoing), None)


def require_before(claim: Claim, came: float, refused: float, dialed: float) -> None:
    """A NAPT refused a SYN that came, and only later the other side dialed. Times of one clock."""
    early = dialed - refused
    claim.require(
        early > 0,
        f"refused {(refused - came) * 1000:.1f} ms after the SYN came, and "
        f"{abs(early) * 1000:.0f} ms {'before' if early > 0 else 'after'} dave dialed",
        "it should be before",
    )
