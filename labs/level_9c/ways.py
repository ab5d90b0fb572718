"""Level 9c: the same file by three ways, those of levels 9a, 9b and 9c, in one run.

A time is measured on the wires: from the first SYN until the file's last byte is at bob's PC. So
the start of a program does not count, except bob's fetch from the file server, which cannot begin
before alice has uploaded. The links have no delay, so the times depend on this machine's programs
only: they are shown, and nothing is required of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.capture.packets import SYN
from napt_lab.labs.shared_steps.commands import curl, require_success, shell
from napt_lab.labs.shared_steps.evidence import WAIT
from napt_lab.labs.shared_steps.two_sites import (
    FILES,
    NAPT_A,
    RELAY,
    RELAY_PORT,
    make_file,
    require_same,
)
from napt_lab.labs.stage.stage import Stage
from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.processes import Completed

CLAIM = "9c.direct"
FILM = "film.mkv"
LENGTH = 1 << 19  # bytes
SERVERS = ("files", "relay")
NONE = "no server"


@dataclass(frozen=True, slots=True)
class Way:
    """One way from alice to bob; `via` is the server that passes the file on, if there is one."""

    name: str
    transfer: Callable[[Stage, str], Iterator[Completed]]
    opened_by: str
    via: str = ""


def directly(stage: Stage, copy: str) -> Iterator[Completed]:
    yield stage.run("bob", *curl(NAPT_A, "-o", copy, path=f"/{FILM}"))


def by_relay(stage: Stage, copy: str) -> Iterator[Completed]:
    word, since = secrets.token_hex(16), stage.log.mark()
    bob = stage.start("bob", *shell(f"echo {word} | nc {RELAY} {RELAY_PORT} > {copy}"))
    stage.wait_for_event("relay", "waiting", since=since)
    line = f"(echo {word}; cat shared/{FILM}) | nc -N {RELAY} {RELAY_PORT}"
    alice = stage.start("alice", *shell(line))
    yield alice.finish()
    yield bob.finish()


def by_file_server(stage: Stage, copy: str) -> Iterator[Completed]:
    upload = ("-o", "/dev/null", "-T", f"shared/{FILM}")
    yield stage.run("alice", *curl(FILES, *upload, path=f"/{FILM}"))
    yield stage.run("bob", *curl(FILES, "-o", copy, path=f"/{FILM}"))


WAYS = (
    Way("direct (9c)", directly, "bob:eth0"),
    Way("relay (9b)", by_relay, "alice:eth0", via="relay"),
    Way("file server (9a)", by_file_server, "alice:eth0", via="files"),
)


def three_ways(stage: Stage) -> list[str]:
    """Send the file by each way; show how long it took, who saw it, and who holds it now.

    Returns the servers that have a copy in the end.
    """
    told: list[tuple[str, ...]] = [("way", "passed on by", "seen by", "a copy is left on")]
    sent = make_file(stage, "alice", f"shared/{FILM}", LENGTH)
    for number, way in enumerate(WAYS):
        since = stage.wire.mark()
        with stage.claim(CLAIM, f"{way.name}: the same file arrives, and is timed") as claim:
            for completed in way.transfer(stage, f"copy{number}"):
                require_success(claim, completed, completed.argv[0])
            require_same(claim, sent, stage.net["bob"].home / f"copy{number}")
            milliseconds = duration(stage, way, since) * 1000
            claim.require(True, f"{LENGTH} bytes in {milliseconds:.0f} ms")
            seen_by(stage, claim, way, since)
            holders = [name for name in SERVERS if holds(stage, name, sent)]
            wanted = ["files"] if way.via == "files" else []
            claim.require(
                holders == wanted,
                f"on a server's disk: {', '.join(holders) or 'none'}",
                f"it should be: {', '.join(wanted) or 'none'}",
            )
            via = way.via or NONE
            told.append((way.name, via, via, ", ".join(holders) or NONE))
    stage.see(*("{:<18}{:<14}{:<13}{}".format(*row) for row in told))
    return [name for name in SERVERS if holds(stage, name, sent)]


def holds(stage: Stage, name: str, file: Path) -> bool:
    """Whether a server has the file anywhere in its folder."""
    found = stage.net[name].home.rglob("*")
    return any(path.is_file() and path.read_bytes() == file.read_bytes() for path in found)


def duration(stage: Stage, way: Way, since: int) -> float:
    """Seconds from the first SYN to the last byte at bob's."""
    syn = stage.wire.wait_for(
        way.opened_by, lambda p: p.is_tcp(flags=SYN), deadline=WAIT, what="a SYN", since=since
    )
    here = stage.net["bob"].address
    data = stage.wire.packets(
        "bob:eth0", lambda p: p.destination == str(here) and p.payload > 0, since=since
    )
    return data[-1].time - syn.time


def seen_by(stage: Stage, claim: Claim, way: Way, since: int) -> None:
    """All of the file passed the server on its way; no other server was even dialed."""
    for server in SERVERS:
        where = f"{server}:eth0"
        calls = stage.wire.packets(where, lambda p: p.is_tcp(flags=SYN), since=since)
        # TCP may repeat a segment of an earlier connection even now, so "nothing" is not "0".
        data = stage.wire.packets(where, lambda p: p.payload > 0, since=since)
        total = sum(captured.packet.payload for captured in data)
        if server == way.via:
            claim.require(
                total >= 2 * LENGTH,
                f"{where}: {total} bytes, in and out again",
                f"it should be {2 * LENGTH} or more",
            )
        else:
            claim.require(
                not calls and total < LENGTH // 10,
                f"{where}: {len(calls)} connections, {total} bytes",
                f"it should be no connection, and less than {LENGTH // 10} bytes",
            )
