"""Level 9b: names and addresses at the relay, and what is typed."""

from __future__ import annotations

from napt_lab.labs.capture.turn_message import turn_message
from napt_lab.labs.capture.wire import Captured
from napt_lab.labs.shared_steps.commands import shell
from napt_lab.labs.shared_steps.two_sites import NAPT_B, RELAY, RELAY_PORT
from napt_lab.labs.stage.stage import Stage
from napt_lab.topologies.network.processes import Process
from napt_lab.topologies.network.programs import READY_SECONDS

PLAIN, TURN, NOTHING_HELD = "9b.relay", "9b.turn", "9b.nothing-held"
TURN_PORT = 3478
ALICES, BOBS = "holiday.jpg", "song.mp3"
SIZE = 1 << 18  # bytes: some two hundred packets
WORD = "hello"
ACCOUNT = "alice:secret"
PATIENCE = "600"  # seconds that alice's client waits for bob, while a student reads


def dial(word: str, *, send: str, receive: str) -> tuple[str, ...]:
    """Say the word to the relay, send one file, receive another."""
    return shell(f"(echo {word}; cat {send}) | nc -N {RELAY} {RELAY_PORT} > {receive}")


def rent(stage: Stage, file: str) -> Process:
    """Start alice's TURN client: a relayed address, at which bob will be given the file."""
    return stage.serve(
        "alice", "turn-client", "--server", f"{RELAY}:{TURN_PORT}",
        "--user", ACCOUNT, "--permit", NAPT_B, "--wait", PATIENCE, "--send", file,
        name="turn-client",
    )  # fmt: skip


def answer_datagrams(stage: Stage) -> Process:
    """Start alice's TURN client for datagrams: it sends back, twice, what it gets."""
    return stage.serve(
        "alice", "turn-echo", "--server", f"{RELAY}:{TURN_PORT}",
        "--user", ACCOUNT, "--permit", NAPT_B, name="turn-echo",
    )  # fmt: skip


def relayed_address(stage: Stage, since: int = 0) -> tuple[str, int]:
    """The address and port that alice's client was given (the first after `since`)."""
    given = stage.wait_for_event("alice", "allocated", since=since, deadline=READY_SECONDS)
    address, _, port = str(given.fields["relayed"]).rpartition(":")
    return address, int(port)


def turn_datagrams(stage: Stage, where: str, message: str, since: int) -> list[Captured]:
    """The datagrams with this TURN message that passed `where`."""
    datagrams = stage.wire.packets(where, lambda p: p.protocol == "udp", since=since)
    return [captured for captured in datagrams if turn_message(captured.data) == message]
