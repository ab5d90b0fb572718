"""The other direction: no host outside can dial the PC, so it uploads its file to a server."""

from __future__ import annotations

import os

from napt_lab.labs.level_8.checks import (
    FILES,
    PC,
    PUBLIC,
    ROUTER_AT_STACKOVERFLOW,
    STACKOVERFLOW,
    curl,
    knock,
)
from napt_lab.labs.shared_steps.commands import (
    CURL_HTTP_ERROR,
    CURL_REFUSED,
    CURL_TIMED_OUT,
    require_failure,
    require_success,
)
from napt_lab.labs.shared_steps.dropped import wait_for_drop
from napt_lab.labs.shared_steps.evidence import (
    WAIT,
    answer_where_it_ends,
    is_syn_to,
    is_unreachable,
    sha256,
)
from napt_lab.labs.stage.prediction import Choice, choose, number
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim, Part
from napt_lab.topologies.network.programs import READY_SECONDS

PORT = 8080
FILE = "holiday.jpg"
SIZE = 1 << 20  # bytes
PUBLIC_COPY = f"http://{FILES}:{PORT}/{FILE}"

inbound = Part("inbound", topology="one-site.yaml", title="From outside to the PC")
upload = Part("upload", topology="one-site.yaml", title="The simplest way")


@inbound.step(
    "stackoverflow dials the PC",
    say=f"The PC runs a file server on port {PORT}. stackoverflow wants a file from it, and knows "
    "the PC's address and the address of its NAPT.",
    ask=f"stackoverflow dials {PUBLIC}. Where does its SYN end?",
    predict=choose(
        Choice("napt", "at the NAPT, which drops it"),
        Choice(
            "pc",
            "at the PC, which runs the server",
            "A NAPT knows to which of its PCs a packet from outside should go.",
        ),
        Choice(
            "internet",
            "at the router, which has no way to it",
            "The address of a NAPT is as private as those of its PCs.",
        ),
        exercise="8/visitor",
    ),
    proves=["8.inbound"],
)
def stackoverflow_calls(stage: Stage) -> None:
    shared = stage.net["pc"].home / "shared"
    shared.mkdir()
    (shared / FILE).write_bytes(os.urandom(SIZE))
    server = stage.serve(
        "pc", "file-server", "--port", str(PORT), "--folder", "shared",
        "--read-only", name="shared",
    )  # fmt: skip
    server.wait_for("ready", deadline=READY_SECONDS)
    since, log_since = stage.wire.mark(), stage.log.mark()
    private = stage.start("stackoverflow", *curl(f"http://{PC}:{PORT}/{FILE}"))
    public = stage.start("stackoverflow", *knock(f"http://{PUBLIC}:{PORT}/{FILE}"))
    other = stage.start("stackoverflow", *curl(f"http://{FILES}:{PORT}/", "-o", "/dev/null"))
    neighbor = stage.start("pc2", *curl(f"http://{PC}:{PORT}/{FILE}", "-o", FILE))
    ping = stage.start("stackoverflow", "ping", "-q", "-c", "1", PUBLIC)
    with stage.claim("8.inbound", f"to {PC}: the Internet has no route, and says so") as claim:
        require_failure(claim, private.finish(), CURL_REFUSED)
        _router_has_no_route(stage, claim, since)
    with stage.claim(
        "8.inbound", f"to {PUBLIC}: the SYN reaches the NAPT, which drops it"
    ) as claim:
        syn = stage.wire.wait_for(
            "napt:wan0", is_syn_to(PORT, PUBLIC), deadline=WAIT, what="a SYN", since=since
        ).packet
        claim.require(
            syn.source == STACKOVERFLOW, f"napt:wan0: {syn}", f"it should come from {STACKOVERFLOW}"
        )
        drop = wait_for_drop(stage, "napt", log_since, source=syn.from_, destination=syn.to).fields
        claim.require(
            drop["reason"] == "no-rule",
            f"napt: {drop['reason']}: {drop['meaning']}",
            "the reason should be no-rule",
        )
        require_failure(claim, public.finish(), CURL_TIMED_OUT)
        for where in ("napt:lan0", "pc:eth0"):
            inside = stage.wire.packets(
                where, lambda p: p.source == STACKOVERFLOW and p.protocol == "tcp", since=since
            )
            claim.require(
                not inside, f"{where}: {len(inside)} packets from stackoverflow", "it should be 0"
            )
    answer_where_it_ends(stage, "stackoverflow:eth0", PORT, PUBLIC, since)
    with stage.claim(
        "8.inbound", "the same request succeeds where nothing is in the way (control)"
    ) as claim:
        require_success(claim, other.finish(), "curl to files, a public server")
        require_success(claim, neighbor.finish(), "curl to the PC, from its own network")
        require_success(claim, ping.finish(), f"ping to {PUBLIC}")
        same = sha256(shared / FILE) == sha256(stage.net["pc2"].home / FILE)
        claim.require(same, "the PC's server gives its neighbor the file, byte for byte")


def _router_has_no_route(stage: Stage, claim: Claim, since: int) -> None:
    refusal = stage.wire.wait_for(
        "stackoverflow:eth0",
        is_unreachable(ROUTER_AT_STACKOVERFLOW, PC),
        deadline=WAIT,
        what="the router's ICMP",
        since=since,
    )
    claim.require(True, f"stackoverflow:eth0: {refusal.packet}")
    routes = stage.run("internet", "ip", "route", "get", PC)
    claim.require(routes.status != 0, f"internet$ ip route get {PC}: {routes.stderr.strip()}")
    arrived = stage.wire.packets("napt:wan0", lambda p: p.destination == PC, since=since)
    claim.require(not arrived, f"napt:wan0: {len(arrived)} packets for {PC}", "it should be 0")


@upload.step(
    "Upload it",
    say="So the PC uploads its file to a public server, which every host can dial.",
    ask="Two other hosts fetch the file. On how many hosts is it in the end?",
    predict=number(
        4,
        {
            2: "An upload is for the owner and the server; what others fetch is the server's.",
            3: "What is uploaded is moved to the server.",
        },
        exercise="8/visitor",
    ),
    proves=["8.upload"],
)
def upload_it(stage: Stage) -> None:
    mine = stage.net["pc"].home / FILE
    mine.write_bytes(os.urandom(SIZE))
    before = stage.run("stackoverflow", *curl(PUBLIC_COPY, "-o", "/dev/null"))
    sent = stage.run("pc", *curl(PUBLIC_COPY, "-T", FILE))
    fetched = {
        node: stage.run(node, *curl(PUBLIC_COPY, "-o", "copy.jpg"))
        for node in ("stackoverflow", "pc2")
    }
    original = sha256(mine)
    holders = [
        node.name
        for node in stage.net
        if any(path.is_file() and sha256(path) == original for path in node.home.rglob("*"))
    ]
    stage.answer(len(holders), f"SHA-256 {original[:16]}… on {', '.join(holders)}")
    with stage.claim("8.upload", "every host can fetch the PC's file from the server") as claim:
        require_failure(claim, before, CURL_HTTP_ERROR)  # there was no such file before
        require_success(claim, sent, "the upload")
        claim.require(True, f"SHA-256 {original[:16]}… at the PC")
        for node, completed in fetched.items():
            require_success(claim, completed, "the download")
            copy = sha256(stage.net[node].home / "copy.jpg")
            claim.require(
                copy == original, f"SHA-256 {copy[:16]}… at {node}", "it differs from the PC's file"
            )
    with stage.claim("8.upload", "the server's disk holds a copy") as claim:
        held = stage.net["files"].home / "files" / FILE
        claim.require(held.is_file(), f"files: {held}")
        copy = sha256(held)
        claim.require(
            copy == original,
            f"{held.stat().st_size} bytes, SHA-256 {copy[:16]}…",
            "it differs from the PC's file",
        )
