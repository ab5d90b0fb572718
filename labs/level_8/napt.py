"""The third way: one connection, whose packets are rewritten on their way."""

from __future__ import annotations

from napt_lab.labs.capture.packets import FIN, RST, Packet
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.level_8 import fields
from napt_lab.labs.level_8.checks import (
    FILES,
    INITIAL_TTL,
    PC,
    PUBLIC,
    STACKOVERFLOW,
    curl,
    require_one_connection,
    require_only_to,
    server_sees,
    wait_for_reset,
)
from napt_lab.labs.shared_steps.commands import CURL_REFUSED, require_failure, require_success
from napt_lab.labs.shared_steps.evidence import WAIT, find_handshake, is_syn_to
from napt_lab.labs.stage.prediction import Choice, choose
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim, Part

HOPS = 2  # between a server and the PC: the router and the NAPT
OUTBOUND = fields.SOURCE, fields.SOURCE_PORT
INBOUND = fields.DESTINATION, fields.DESTINATION_PORT
CHECKSUMS = {fields.HEADER_CHECKSUM, fields.TCP_CHECKSUM}
BY_ANY_ROUTER = {fields.TTL}

napt = Part("napt", topology="one-site.yaml", title="A NAPT translator")


@napt.step(
    "The same fetch through a NAPT",
    say="A NAPT makes no connection of its own. It passes the PC's packets on, and rewrites a few "
    "fields in each.",
    ask="How does the PC's SYN look when it comes to stackoverflow?",
    predict=choose(
        Choice(
            "another number",
            "it has another source and another sequence number",
            "A NAPT makes a connection of its own, as a proxy does.",
        ),
        Choice(
            "unchanged",
            "it is as the PC has sent it",
            "Gateways only forward packets; a server sees the PC's own address.",
        ),
        Choice("another source", "it has another source, but the same sequence number"),
        exercise="8/three-pcs",
    ),
    proves=["8.napt"],
)
def through_the_napt(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    fetched = stage.run("pc", *curl(f"http://{STACKOVERFLOW}/"))
    sent = stage.wire.packets("pc:eth0", is_syn_to(80), since=since)
    came = stage.wire.packets("stackoverflow:eth0", is_syn_to(80), since=since)
    for before, after in list(zip(sent, came, strict=False))[:1]:
        same = before.packet.sequence == after.packet.sequence
        moved = before.packet.source != after.packet.source
        found = (
            "unchanged" if same and not moved else "another source" if same else "another number"
        )
        stage.answer(found, f"pc:eth0: {before.packet}; stackoverflow:eth0: {after.packet}")
    with stage.claim("8.napt", "stackoverflow sees the NAPT's public address") as claim:
        peer = server_sees(stage, claim, fetched, log_since)
    with stage.claim("8.napt", "the PC's packets are addressed to stackoverflow") as claim:
        require_only_to(stage, claim, STACKOVERFLOW, since)
    with stage.claim("8.napt", "one TCP connection: the same sequence numbers") as claim:
        near = find_handshake(stage.wire, "pc:eth0", 80, since)
        far = find_handshake(stage.wire, "stackoverflow:eth0", 80, since)
        claim.require(
            far.syn.packet.from_ == peer,
            f"it begins at {peer} there",
            f"but its SYN came from {far.syn.packet.from_}",
        )
        require_one_connection(claim, near, far)
    with stage.claim("8.napt", "only address, port and checksums are rewritten") as claim:
        _await_the_end(stage, near.syn.packet.from_, peer, since)
        pairs = [
            *_pairs(stage, claim, near.syn.packet.from_, peer, since, outbound=True),
            *_pairs(stage, claim, near.syn.packet.from_, peer, since, outbound=False),
        ]
        syn = fields.compare(*pairs[0])
        stage.see(f"{'the SYN':23} {'napt:lan0':>15}   napt:wan0", *map(str, syn))
        for before, after in pairs:
            _only_what_must_be(claim, before, after)
        claim.require(True, f"the same in all {len(pairs)} packets, in both directions")


def _await_the_end(stage: Stage, inside: str, outside: str, since: int) -> None:
    """Return when the ACK of the server's FIN has passed, which is the last packet of all."""
    fin = stage.wire.wait_for(
        "napt:lan0",
        lambda p: p.to == inside and bool(p.flags & FIN),
        deadline=WAIT,
        what="the server's FIN",
        since=since,
    ).packet
    assert fin.sequence is not None
    after = (fin.sequence + fin.payload + 1) % 2**32
    stage.wire.wait_for(
        "napt:wan0",
        lambda p: p.from_ == outside and p.acknowledgment == after,
        deadline=WAIT,
        what="its ACK",
        since=since,
    )


def _pairs(
    stage: Stage, claim: Claim, inside: str, outside: str, since: int, *, outbound: bool
) -> list[tuple[Captured, Captured]]:
    """Every packet of one direction of the connection, as it came and as it went on."""

    def of(end: str) -> list[Captured]:
        def is_it(p: Packet) -> bool:
            return p.protocol == "tcp" and (p.from_ if outbound else p.to) == end

        where = "napt:lan0" if end == inside else "napt:wan0"
        return stage.wire.packets(where, is_it, since=since)

    came, went = (of(inside), of(outside)) if outbound else (of(outside), of(inside))
    claim.require(
        len(came) == len(went) > 0,
        f"{len(came)} packets {'from' if outbound else 'for'} the PC came, {len(went)} went on",
        "all of them should go on, and no others",
    )
    return list(zip(came, went, strict=True))


def _only_what_must_be(claim: Claim, before: Captured, after: Captured) -> None:
    """Rewritten: one endpoint and the checksums. The TTL is one less, as behind any router."""
    compared = fields.compare(before, after)
    changed = fields.rewritten(compared)
    address, port = OUTBOUND if before.where == "napt:lan0" else INBOUND
    ttl = next(field for field in compared if field.name == fields.TTL)
    # The NAPT may happen to choose the port that the PC has, and checksums may come out alike.
    allowed = {address, port, *CHECKSUMS, *BY_ANY_ROUTER}
    if not changed <= allowed or address not in changed or ttl.before[0] - ttl.after[0] != 1:
        claim.require(False, f"{before.packet}: rewritten: {', '.join(sorted(changed))}")


@napt.step(
    "A closed port is closed",
    say="The PC dials port 80 of `files` again, where no program listens.",
    ask="Which host refuses the PC's connection this time?",
    predict=choose(
        Choice("files", "`files` itself"),
        Choice(
            "napt", "the NAPT", "A NAPT speaks for the hosts on its other side, as a proxy does."
        ),
        Choice(
            "none",
            "none: no answer comes through the NAPT",
            "A NAPT lets in what is asked for, and a refusal is not.",
        ),
        exercise="8/three-pcs",
    ),
    proves=["8.napt"],
)
def a_closed_port(stage: Stage) -> None:
    since = stage.wire.mark()
    refused = stage.run("pc", *curl(f"http://{FILES}/"))
    other = stage.run("pc", *curl(f"http://{FILES}:8080/", "-o", "/dev/null"))
    if resets := stage.wire.everywhere(lambda c: bool(c.packet.flags & RST), since=since):
        first = resets[0]
        node = first.where.partition(":")[0]
        stage.answer(node, f"the RST was seen first at {first.where}: {first.packet}")
    else:
        stage.answer("none", f"no RST was seen; pc: {refused.stderr.strip()}")
    with stage.claim("8.napt", "the server itself refuses the connection") as claim:
        require_failure(claim, refused, CURL_REFUSED)
        sent = wait_for_reset(stage, "files:eth0", FILES, PUBLIC, since).packet
        got = wait_for_reset(stage, "pc:eth0", FILES, PC, since).packet
        claim.require(
            (sent.sequence, sent.acknowledgment) == (got.sequence, got.acknowledgment),
            f"files:eth0: {sent} ack {sent.acknowledgment}; pc:eth0: {got} "
            f"ack {got.acknowledgment}",
            "both numbers should be the same",
        )
        claim.require(
            (sent.ttl, got.ttl) == (INITIAL_TTL, INITIAL_TTL - HOPS),
            f"TTL {sent.ttl} there, {got.ttl} here, {HOPS} hops away",
            f"the TTL should be {INITIAL_TTL} there and {INITIAL_TTL - HOPS} here",
        )
    with stage.claim("8.napt", "a port with a server behind it answers (control)") as claim:
        require_success(claim, other, "curl to port 8080")
