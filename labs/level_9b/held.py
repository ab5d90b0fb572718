"""Level 9b: the relay keeps nothing. A large file is stopped half-way, and we look for its bytes.

The file is larger than all that the relay's kernel may buffer, and bob does not read. So the
transfer stops with most of the file still on alice's PC. What the relay has of it must be
somewhere: footprint.py says where to look. Then bob reads, and the file arrives whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from napt_lab.labs.level_9b.footprint import (
    Footprint,
    bound_buffers,
    buffers,
    confine,
    footprint,
    open_files,
)
from napt_lab.labs.level_9b.who import NOTHING_HELD, TURN_PORT, relayed_address, rent
from napt_lab.labs.shared_steps.commands import curl, require_success, shell, wait_until
from napt_lab.labs.shared_steps.two_sites import (
    FILES,
    NAPT_B,
    RELAY,
    RELAY_PORT,
    make_file,
    require_same,
)
from napt_lab.labs.stage.prediction import Choice, choose
from napt_lab.labs.stage.stage import Stage, Typed
from napt_lab.labs.stage.steps import Claim, Part
from napt_lab.topologies.network.node import Node

LARGE = 64 << 20  # bytes
SMALL = 1 << 18
MEMORY = 8 << 20  # bytes by which the relay's own memory may grow
WRITTEN = 1 << 16  # bytes that it may write: what it reports, line by line
STALLED = 0.2  # seconds without a byte: nothing moves any more
PATIENCE = 10.0  # seconds
FILE, COPY, GATE = "film.mkv", "copy.mkv", "gate"

held = Part(
    "held",
    topology="two-sites-relay.yaml",
    title="What does the relay keep?",
    watch=["relay"],
    offload=True,
)


@held.step(
    "Where to look",
    say="We are going to look for a file on the relay. First a control: does our way of looking "
    "find a file that is kept? alice uploads one to the file server of level 9a, which keeps it.",
    ask="The server keeps a file. Where on its machine can that be seen from outside?",
    predict=choose(
        Choice(
            "its folder",
            "in its folder only",
            "A program leaves no trace but the files that it names.",
        ),
        Choice("all", "in its folder, in the memory that files take, and in what it has written"),
        Choice(
            "",
            "nowhere: only the program knows",
            "What a program keeps can only be known from its source.",
        ),
    ),
    proves=[NOTHING_HELD],
)
def where_to_look(stage: Stage) -> None:
    make_file(stage, "alice", "small", SMALL)
    node = stage.net["files"]
    before = footprint(node)
    upload = stage.run("alice", *curl(FILES, "-o", "/dev/null", "-T", "small", path="/small"))
    after = footprint(node)
    grown_by = {
        "its folder": after.folder - before.folder,
        "memory": after.in_memory - before.in_memory,
        "written": after.written - before.written,
    }
    grew = [place for place, size in grown_by.items() if size >= SMALL]
    told = ", ".join(f"{place}: {size} bytes more" for place, size in grown_by.items())
    stage.answer("all" if len(grew) == len(grown_by) else " and ".join(grew), told)
    with stage.claim(
        NOTHING_HELD, "the same way of looking finds what a file server keeps"
    ) as claim:
        require_success(claim, upload, "curl -T")
        for place, size in grown_by.items():
            claim.require(size >= SMALL, f"files, {place}: {size} bytes more")


@held.step(
    "A large file through the plain relay",
    say="alice sends bob a film of 64 MiB through the relay. For a while bob's program does not "
    "read what comes.",
    ask="alice has started to send, and bob reads nothing yet. Where is most of the film?",
    predict=choose(
        Choice("alice", "on alice's PC: she cannot send more"),
        Choice("relay", "on the relay", "A relay takes in all that comes, until it is wanted."),
        Choice(
            "bob",
            "on bob's PC",
            "What was sent and not lost has arrived, whether it is read or not.",
        ),
        exercise="9b/relay",
    ),
    proves=[NOTHING_HELD],
)
def through_the_plain_relay(stage: Stage) -> None:
    make_file(stage, "alice", FILE, LARGE)
    stage.run("bob", "mkfifo", GATE)
    word = secrets.token_hex(16)

    def begin(since: int) -> Typed:
        receiving = stage.start("bob", *receive(f"echo {word} | nc {RELAY} {RELAY_PORT}"))
        stage.wait_for_event("relay", "waiting", since=since)
        stage.start("alice", *shell(f"(echo {word}; cat {FILE}) | nc -N {RELAY} {RELAY_PORT}"))
        stage.wait_for_event("relay", "joined", since=since)
        return receiving

    look_while_it_passes(stage, f"relay:{RELAY_PORT}", begin, "ended", "bytes_back")


@held.step(
    "The same through TURN",
    say="The same film once more, through an address that alice has rented from the TURN server.",
    ask="While bob does not read, where is most of the film this time?",
    predict=choose(
        Choice(
            "relay",
            "on the relay: the rented address is one of its own",
            "The host whose address it is has what was sent to it.",
        ),
        Choice(
            "bob",
            "on bob's PC: with TURN it goes there directly",
            "TURN only tells the PCs where the other one is.",
        ),
        Choice("alice", "again on alice's PC"),
        exercise="9b/turn",
    ),
    proves=[NOTHING_HELD],
)
def through_turn(stage: Stage) -> None:
    def begin(since: int) -> Typed:
        rent(stage, FILE)
        stage.wait_for_event("alice", "permission", since=since)
        address, port = relayed_address(stage)
        receiving = stage.start("bob", *receive(f"nc {address} {port}"))
        stage.wait_for_event("alice", "connection", since=since)
        return receiving

    look_while_it_passes(stage, f"turn:{TURN_PORT}", begin, "connection-ended", "bytes_to_peer")


def receive(source: str) -> tuple[str, ...]:
    """Receive the film, but read it only once something comes through the gate."""
    return shell(f"{source} | (read go < {GATE}; cat > {COPY})")


def look_while_it_passes(
    stage: Stage, name: str, begin: Callable[[int], Typed], end: str, count: str
) -> None:
    """Begin a transfer, look at the relay while it stands still, let it pass, look again.

    The server reports the end by the event `end`, which has the bytes that passed as `count`.
    """
    node = stage.net["relay"]
    confine(node)
    for each in (node, stage.net["bob"]):
        bound_buffers(each)
    since, wire_since = stage.log.mark(), stage.wire.mark()
    before, copy_before = footprint(node), space_of_copy(stage)
    receiving = begin(since)
    standing = when_it_stands_still(node, before)
    files = open_files(node)
    answer_where_it_waits(stage, standing.came_in - before.came_in, wire_since)
    stage.run("bob", *shell(f"echo go > {GATE}"))
    with stage.claim(NOTHING_HELD, "the film arrives, and all of it crossed the relay") as claim:
        require_success(claim, receiving.finish(), "nc")
        passed = stage.wait_for_event("relay", end, since=since).fields[count]
        claim.require(passed == LARGE, f"{name}: {passed} bytes passed on")
        came = footprint(node).came_in - before.came_in
        claim.require(came >= LARGE, f"relay:eth0: {came} bytes came in")
        require_same(claim, stage.net["alice"].home / FILE, stage.net["bob"].home / COPY)
    after, copy_after = footprint(node), space_of_copy(stage)
    with stage.claim(
        NOTHING_HELD, "while bob did not read, most of the film waited on alice's PC"
    ) as claim:
        came, in_kernel = standing.came_in - before.came_in, buffers(node)
        claim.require(
            0 < came < LARGE // 2, f"{came} bytes of {LARGE} came to the relay, then no more"
        )
        limit = in_kernel + MEMORY
        claim.require(
            came < limit < LARGE,
            f"it cannot have the whole film: TCP buffers hold at most {in_kernel} bytes, "
            f"its own memory may grow by {MEMORY}",
        )
    with stage.claim(NOTHING_HELD, "no file, neither on a disk nor in memory") as claim:
        files |= open_files(node)
        claim.require(not files, f"relay: {len(files)} files open {' '.join(files)}")
        no_file(claim, before, standing, known=0)
        no_file(claim, before, after, known=copy_after - copy_before)
    with stage.claim(NOTHING_HELD, "its memory does not grow with the film") as claim:
        grown = after.most_resident - before.resident
        claim.require(
            grown < MEMORY,
            f"relay: {before.resident >> 10} KiB before, {after.most_resident >> 10} KiB at most",
        )


def answer_where_it_waits(stage: Stage, came: int, since: int) -> None:
    """The step asks where most of the film is; so many bytes have come to the relay."""
    to_bob = stage.wire.packets("relay:eth0", lambda p: p.destination == NAPT_B, since=since)
    went = sum(captured.packet.payload for captured in to_bob)
    most = "alice" if came < LARGE // 2 else "bob" if went > LARGE // 2 else "relay"
    stage.answer(
        most, f"{came} of {LARGE} bytes have come to the relay, {went} have left it for bob"
    )


def when_it_stands_still(node: Node, before: Footprint) -> Footprint:
    """Wait until bytes have come to the node and no more are coming."""
    look = before

    def has_come_to_rest() -> bool:
        nonlocal look
        earlier, look = look, footprint(node)
        return look.came_in == earlier.came_in > before.came_in + SMALL

    wait_until(has_come_to_rest, every=STALLED, deadline=PATIENCE, what="the transfer to stall")
    return look


def space_of_copy(stage: Stage) -> int:
    """Bytes of memory that bob's copy takes: his files and the relay's are in one file system."""
    copy = stage.net["bob"].home / COPY
    return copy.stat().st_blocks * 512 if copy.exists() else 0


def no_file(claim: Claim, before: Footprint, after: Footprint, *, known: int) -> None:
    """Nothing was written. `known`: bytes in files in memory that are bob's."""
    claim.require(
        after.folder == before.folder, f"in its folder: {after.folder - before.folder} bytes more"
    )
    in_memory = after.in_memory - before.in_memory - known
    claim.require(
        in_memory < WRITTEN,
        f"files in memory: {in_memory} bytes more (bob's own copy is not counted)",
    )
    written, to_disk = after.written - before.written, after.to_disk - before.to_disk
    claim.require(
        written < WRITTEN and to_disk < WRITTEN,
        f"{written} bytes written (only its log); {to_disk} to a disk",
    )
