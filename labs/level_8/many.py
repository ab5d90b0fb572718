"""How many connections can one subnet have with one server? As many as there are port numbers.

A port number has 16 bits, so there are 65,536. Port 0 is reserved (RFC 6335) and cannot be used
on the wire, which leaves 65,535. Real NAPTs keep off the well-known ports as well when they map
a client's port (RFC 4787, REQ-3): 64,512. All this for each protocol, for each external address,
and, only where mapping looks at the remote endpoint, for each remote endpoint.
"""

from __future__ import annotations

import math
import os
import resource
import time
from pathlib import Path

from napt_lab.labs.capture.packets import UNREACHABLE
from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.level_8.checks import (
    PUBLIC,
    SERVERFAULT,
    STACKOVERFLOW,
    curl,
    open_connections,
    start_connections,
    story,
    tell_connections,
)
from napt_lab.labs.shared_steps.commands import (
    CURL_REFUSED,
    CURL_TIMED_OUT,
    require_failure,
    require_success,
)
from napt_lab.labs.shared_steps.dropped import wait_for_drop
from napt_lab.labs.shared_steps.evidence import WAIT, is_syn_to
from napt_lab.labs.stage.prediction import Choice, choose, number
from napt_lab.labs.stage.rule_lines import count
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim, Part
from napt_lab.topologies.network.processes import DeadlinePassed, Event
from napt_lab.topologies.network.programs import READY_SECONDS

WEB, OTHER = f"{STACKOVERFLOW}:80", f"{SERVERFAULT}:80"
POOL = range(1, 65_536)  # `ports` in the topology
WANTED = 65_536
PCS = ("pc1", "pc2", "pc3", "pc4")
SHARE = WANTED // len(PCS)
SAMPLE = 250  # connections of each of them that are used again
FILL_SECONDS = 90.0  # for a machine that has much else to do; two processors take some ten
MEMORY = 120 << 20  # bytes that the translator may take
SPARE = 0.2  # of a process's descriptors: the kernel spreads connections only roughly
ADMINISTRATIVELY_PROHIBITED = (UNREACHABLE, 13)
HOLD_SECONDS = 3.0  # `closing-hold` in the topology is 1 s
FEW = 100  # ports of the neighbor's NAPT
ONE_PORT = 5000
# For a port that the system chooses could be one of those that have a rule, and get through by it.
NEW_PORT = 5001
NO_ROUTE = "No route to host"  # strerror(EHOSTUNREACH)
ESTABLISHED = "01"  # in /proc/net/tcp

many = Part(
    "65536", topology="level-8-65536.yaml", title="65,536", watch=("pc", "lodger")
)  # the other wires see some hundred thousand packets each


@many.step(
    "Every port there is",
    say=f"Four PCs of one home open {SHARE:,} connections each to stackoverflow, port 80: "
    f"{WANTED:,} in all. Their NAPT has one public address and may use every port.",
    ask="How many connections will succeed?",
    predict=number(
        65_535,
        {
            65_536: "Every number of 16 bits is a port that can be used.",
            64_512: "A NAPT cannot use the well-known ports.",
            16_384: "A server can have only so many connections as one PC has ports.",
        },
        exercise="8/three-pcs",
    ),
    proves=["8.65536"],
)
def fill(stage: Stage) -> None:
    start_server(stage)
    for pc in PCS:  # by default, Linux uses only 28,232 of its ports for this
        stage.run(pc, "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535")
    napt = stage.net.napt("napt")
    napt.close()  # 65,535 stories of rules would only slow it down
    began = time.monotonic()
    failures = open_all(stage)
    seconds = time.monotonic() - began
    napt.subscribe(stage.log)
    seen = all_ports_at_the_server(stage)
    stage.answer(len(seen), f"stackoverflow's kernel: {len(seen):,} connections from {PUBLIC}")
    with stage.claim("8.65536", f"{len(POOL):,} connections, on every port from 1 on") as claim:
        ports = f"ports {min(seen)} to {max(seen)}, each once" if seen else "no port"
        claim.require(
            seen == set(POOL),
            f"stackoverflow's kernel: {len(seen):,} connections from {PUBLIC}, {ports}",
            f"it should be {len(POOL):,}, on every port from {POOL[0]} to {POOL[-1]}",
        )
        rules = napt.stats()["rules"]
        claim.require(
            rules == len(POOL),
            f"napt: {rules:,} rules; opened in {seconds:.1f} s",
            f"it should be {len(POOL):,} rules",
        )
    with stage.claim("8.65536", "the connection that finds no port gets a clear error") as claim:
        told = "; ".join(
            f"{event.node}'s number {event.fields['number']}: {event.fields['error']}"
            for event in failures
        )
        claim.require(
            [event.fields["errno"] for event in failures] == ["EHOSTUNREACH"],
            told or "no connection failed",
            "exactly one should fail, with EHOSTUNREACH",
        )
        refused = napt.stats()["drops"].get("ports-exhausted", 0)
        claim.require(
            refused > 0,
            f"napt: {refused} packets dropped, ports-exhausted",
            "it should be 1 or more",
        )
    with stage.claim("8.65536", f"{len(POOL):,} rules take little memory") as claim:
        used = translator_memory(stage)
        claim.require(
            0 < used < MEMORY,
            f"the translator has {used / 2**20:.0f} MB resident (bound: {MEMORY >> 20} MB), "
            f"{used // len(POOL):,} bytes a rule with all else",
        )


def start_server(stage: Stage) -> None:
    """A web server with as many processes as the limit on file descriptors makes necessary."""
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes = math.ceil(WANTED / (descriptors * (1 - SPARE)))
    server = stage.serve(
        "stackoverflow", "web-server", "--port", "80",
        "--processes", str(max(processes, len(os.sched_getaffinity(0)))), "--quiet-requests",
        name="web",
    )  # fmt: skip
    server.wait_for("ready", deadline=READY_SECONDS)


def open_all(stage: Stage) -> list[Event]:
    """Let all PCs open their connections; returns the failures that they report."""
    mark = start = stage.log.mark()
    for pc in PCS:
        start_connections(stage, pc, WEB, "--count", str(SHARE))
    tried = dict.fromkeys(PCS, 0)
    waiting = set(PCS)
    deadline = time.monotonic() + FILL_SECONDS
    while waiting:
        left = max(0.0, deadline - time.monotonic())
        try:
            stage.log.wait_for(
                lambda event: event.name in ("progress", "opened"),
                deadline=left,
                what="progress",
                since=mark,
            )
        except DeadlinePassed:
            what = f"{WANTED:,} connections, of which {sum(tried.values()):,} were tried by then"
            raise DeadlinePassed(what, FILL_SECONDS) from None
        news = stage.log.since(mark)
        mark += len(news)
        for event in news:
            if event.name in ("progress", "opened"):
                tried[event.node] = event.fields["open"] + event.fields["failed"]
            if event.name == "opened":
                waiting.discard(event.node)
        stage.progress("connections", sum(tried.values()), WANTED)
    return [event for event in stage.log.since(start) if event.name == "failed"]


def all_ports_at_the_server(stage: Stage) -> set[int]:
    """As below, once the last ACK of the last handshake has come, or WAIT seconds later."""
    deadline = time.monotonic() + WAIT
    while (seen := ports_at_the_server(stage)) != set(POOL) and time.monotonic() < deadline:
        pass  # a look at 65,535 lines is a pause in itself
    return seen


def ports_at_the_server(stage: Stage) -> set[int]:
    """The ports of 24.9.3.7 from which stackoverflow has an established connection, by its kernel.

    Raises ValueError if one of them is there twice.
    """
    table = Path(f"/proc/{stage.net['stackoverflow'].pid}/net/tcp").read_text(encoding="ascii")
    # 24.9.3.7 as the kernel writes it: hexadecimal, its first byte last.
    public = bytes(reversed([int(part) for part in PUBLIC.split(".")])).hex().upper()
    ports = []
    for line in table.splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        address, _, port = remote.partition(":")
        if (state, address, int(local[-4:], 16)) == (ESTABLISHED, public, 80):
            ports.append(int(port, 16))
    if len(set(ports)) != len(ports):
        raise ValueError("one endpoint is at the other end of two connections")
    return set(ports)


def translator_memory(stage: Stage) -> int:
    """The translator's resident memory in bytes."""
    pid = stage.net.napt("napt").stats()["pid"]
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise ValueError("the kernel does not say how much memory the translator has")


@many.step(
    "One more, and the old ones",
    say="All ports are in use. Now the PC, which has no connection yet, opens one.",
    ask="What becomes of the PC's connection?",
    predict=choose(
        Choice("refused", "it fails at once: `No route to host`"),
        Choice(
            "open",
            "it is opened, and the oldest one is lost",
            "A NAPT that is full makes room by ending its oldest rule.",
        ),
        Choice(
            "silence",
            "no answer comes, until the PC gives up",
            "A NAPT that drops a packet never says so.",
        ),
        exercise="8/three-pcs",
    ),
    proves=["8.65536"],
)
def one_more(stage: Stage) -> None:
    since, log_since = stage.wire.mark(), stage.log.mark()
    napt = stage.net.napt("napt")
    with Wire(stage.net, nodes=("napt",)) as wire:
        refused = stage.run("pc", *curl(f"http://{STACKOVERFLOW}/", "-v"))
        came = {0: "open", CURL_REFUSED: "refused", CURL_TIMED_OUT: "silence"}
        words = [line for line in refused.stderr.splitlines() if NO_ROUTE in line]
        seen_by_pc = "; ".join(words) or f"curl ended with status {refused.status}"
        stage.answer(came.get(refused.status, "failed"), f"pc: {seen_by_pc}")
        with stage.claim(
            "8.65536", "the next connection fails at once, with a clear error"
        ) as claim:
            claim.require(
                refused.status == CURL_REFUSED,
                f"exit status {refused.status}",
                f"it should be {CURL_REFUSED}",
            )
            claim.require(
                bool(words), "; ".join(words) or refused.stderr, f"curl should say: {NO_ROUTE}"
            )
            told_why(stage, claim, "pc", "napt", since, log_since)
            left = wire.packets("napt:wan0", is_syn_to(80))
            claim.require(not left, f"napt:wan0: {len(left)} SYNs", "it should be 0")
        used = {pc: tell_connections(stage, pc, f"use 0-{SAMPLE - 1}") for pc in PCS}
        with stage.claim("8.65536", "no open connection is disturbed") as claim:
            for pc, report in used.items():
                claim.require(
                    report.fields["answered"] == report.fields["count"] == SAMPLE,
                    f"{pc}: {report.fields['answered']} of {report.fields['count']} carry data, "
                    f"such as {', '.join(report.fields['first'][:1]) or 'none'}",
                    f"all {SAMPLE} should",
                )
            passed = wire.packets("napt:wan0", lambda p: p.payload > 0)
            claim.require(bool(passed), f"napt:wan0: {len(passed)} packets with data (control)")
            seen = ports_at_the_server(stage)
            claim.require(
                seen == set(POOL),
                f"stackoverflow still has {len(seen):,} connections",
                f"it should be {len(POOL):,}",
            )
            rules = napt.stats()["rules"]
            claim.require(
                rules == len(POOL),
                f"napt still has {rules:,} rules",
                f"it should be {len(POOL):,}",
            )


def told_why(stage: Stage, claim: Claim, pc: str, napt: str, since: int, log_since: int) -> None:
    """The NAPT gives the reason, and tells the PC by ICMP (RFC 5508, REQ-8)."""
    drop = wait_for_drop(stage, napt, log_since, kind="tcp SYN").fields
    claim.require(
        drop["reason"] == "ports-exhausted",
        f"{napt}: {drop['reason']}: {drop['meaning']}",
        "the reason should be ports-exhausted",
    )
    answer = stage.wire.wait_for(
        f"{pc}:eth0",
        lambda p: p.icmp == ADMINISTRATIVELY_PROHIBITED and p.quoted is not None,
        deadline=WAIT,
        what="ICMP type 3, code 13",
        since=since,
    )
    claim.require(True, f"{answer.where}: {answer.packet}")


@many.step(
    "One is closed",
    say="pc1 closes one of its connections. Then the PC opens one again.",
    ask="Which port will stackoverflow see this time?",
    predict=choose(
        Choice(
            "none",
            "none: the table is still full",
            "A port belongs to a PC until the NAPT is restarted.",
        ),
        Choice("freed", "the one that pc1 has given up"),
        Choice(
            "another",
            "the port that the PC itself has used",
            "A NAPT replaces the address only; the port is the PC's own.",
        ),
        exercise="8/three-pcs",
    ),
    proves=["8.65536"],
)
def one_is_closed(stage: Stage) -> None:
    log_since = stage.log.mark()
    tell_connections(stage, "pc1", "close 7")
    with stage.claim("8.65536", "a freed port is used again") as claim:
        ended = stage.wait_for_event(
            "napt", "rule-ended", since=log_since, deadline=HOLD_SECONDS + WAIT
        )
        freed = ended.fields["rule"]["external"]
        claim.require(True, story(ended))
        again = stage.run("pc", *curl(f"http://{STACKOVERFLOW}/"))
        _, _, told = again.stdout.partition("You are ")
        peer = told.partition("<")[0]
        found = "freed" if peer == freed else "another" if peer else "none"
        stage.answer(found, f"pc1 gave up {freed}; stackoverflow sees {peer or 'nothing'}")
        require_success(claim, again, "curl")
        claim.require(
            peer == freed,
            f"stackoverflow sees {peer}",
            f"it should be the freed port: {freed}",
        )


@many.step(
    "Another server",
    say="The home's NAPT makes a rule for each remote endpoint. The lodger's NAPT has "
    f"endpoint-independent mapping and only {FEW} ports; the lodger uses all of them for "
    f"stackoverflow, one of them from port {ONE_PORT} of its PC. Then the PC, pc1 and the lodger "
    "dial another server, serverfault; the lodger from a port that has no rule yet.",
    ask="Which of the three reach serverfault?",
    predict=choose(
        Choice("", "none: all ports are in use", "A port in use is in use for all servers."),
        Choice(
            "pc lodger",
            "the PC and the lodger, but not pc1 with its 16,384 connections",
            "What is limited is the number of connections of one PC.",
        ),
        Choice("pc pc1", "the PC and pc1, but not the lodger"),
        Choice(
            "pc pc1 lodger",
            "all three: to serverfault there is no connection yet",
            "In every NAPT the limit counts for each server separately.",
        ),
        exercise="8/three-pcs",
    ),
    proves=["8.65536"],
)
def another_server(stage: Stage) -> None:
    url = f"http://{SERVERFAULT}/"
    home = {pc: stage.run(pc, *curl(url)) for pc in ("pc", "pc1")}
    with stage.claim(
        "8.65536", "mapping per destination: for another server all ports are free"
    ) as claim:
        for completed in home.values():
            require_success(claim, completed, "curl")
            peer = completed.stdout.partition("You are ")[2].partition("<")[0]
            claim.require(
                peer.startswith(f"{PUBLIC}:"),
                f"serverfault sees {peer or 'no address'}",
                f"it should be a port of {PUBLIC}",
            )
        seen = ports_at_the_server(stage)
        claim.require(
            len(seen) >= len(POOL) - 1,
            f"while stackoverflow has {len(seen):,} of {len(POOL):,} ports",
            "it should have all of them, or all but one",
        )

    from_one_port = ("--count", "1", "--from-port", str(ONE_PORT))
    open_connections(stage, "lodger", WEB, *from_one_port, fifo="first")
    open_connections(stage, "lodger", WEB, "--count", str(FEW - 1), fifo="rest")
    full = stage.net.napt("napt_b").stats()["rules"]
    since, log_since = stage.wire.mark(), stage.log.mark()
    refused = stage.run("lodger", *curl(url, "--local-port", str(NEW_PORT)))
    tried = home | {"lodger": refused}
    told = (f"{pc}: curl ended with status {done.status}" for pc, done in tried.items())
    stage.answer(" ".join(pc for pc, done in tried.items() if done.status == 0), ", ".join(told))
    with stage.claim(
        "8.65536", "endpoint-independent: without a free port no other server can be reached"
    ) as claim:
        claim.require(
            full == FEW, f"napt_b: {full} rules, all to stackoverflow", f"it should be {FEW}"
        )
        require_failure(claim, refused, CURL_REFUSED)
        told_why(stage, claim, "lodger", "napt_b", since, log_since)
    again = open_connections(stage, "lodger", OTHER, *from_one_port, fifo="second")
    with stage.claim(
        "8.65536", "a PC's port that already has a rule can reach any server by it (control)"
    ) as claim:
        claim.require(
            again.fields["open"] == 1,
            f"{count(again.fields['open'], 'connection')} to {OTHER}",
            "it should be 1",
        )
        rules = stage.net.napt("napt_b").stats()["rules"]
        claim.require(rules == FEW, f"napt_b: still {rules} rules", f"it should be {FEW}")
