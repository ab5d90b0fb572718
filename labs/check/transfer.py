"""`gets a file from`: a new file of random bytes, and its hash (SHA-256) at both ends.

Directly, the receiver fetches it from the other host with curl: from the file server that the
topology runs there, or from a listener that the check opens. Through a file server, one host
uploads and the other downloads, and the server's disk must hold the file. Relays are in relayed.py.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napt_lab.labs.check.diagnosis import diagnose
from napt_lab.labs.check.ground import Ground
from napt_lab.labs.check.listeners import Listeners
from napt_lab.labs.check.outcome import CannotTell, Evidence, Unmet
from napt_lab.labs.check.place import Place, served
from napt_lab.labs.check.probes import Prober, Speech, Tried
from napt_lab.labs.check.reaching import require_way
from napt_lab.topologies.spec.assertions import GetsFile, GetsFileThrough, Protocol

SIZE = 1 << 16  # bytes: some forty packets
PATIENCE = 15.0  # seconds that a transfer may take


def check_gets_file(
    ground: Ground, listeners: Listeners, claim: GetsFile, evidence: Evidence
) -> None:
    """Directly from the other host. Raises Unmet if it does not arrive, or by another path."""
    target, name, content = claim.target, new_name(), os.urandom(SIZE)
    assert target.port is not None
    assert target.node is not None
    prober = Prober(ground, claim.receiver, PATIENCE)
    received = ground.net[claim.receiver].home / name
    with (
        served(ground, listeners, target, Protocol.HTTP, claim.receiver) as place,
        _put(ground, listeners, place, name, content),
        removed(received),
    ):
        tried = prober.http(str(target.address), target.port, "-o", name, name=name)
        if not tried.answered:
            end = diagnose(prober, tried, target.address)
            evidence.lines += end.evidence
            raise Unmet(f"{tried.words}: {end}")
        require_same(content, received, claim.receiver, evidence)
    require_way(prober, tried, target.node, claim, evidence)


@contextmanager
def _put(
    ground: Ground, listeners: Listeners, place: Place, name: str, content: bytes
) -> Iterator[None]:
    """Put the file where the server on that host finds it."""
    if place.speech is Speech.LINE:
        with listeners.offering(name, content):
            yield
        return
    if ground.service_at(place.node, place.port or 0) != "file-server":
        raise CannotTell(
            f"port {place.port} of {place.node} is used by a program that is not a file server"
        )
    stored = ground.net[place.node].home / "files" / name
    with removed(stored):
        stored.write_bytes(content)
        yield


def check_through_file_server(ground: Ground, claim: GetsFileThrough, evidence: Evidence) -> None:
    """One uploads, the other downloads. Raises Unmet if it does not arrive, or another way."""
    name, content = new_name(), os.urandom(SIZE)
    server, port = ground.address(claim.server), claim.service.port
    sent, received = (ground.net[node].home / name for node in (claim.sender, claim.receiver))
    held = ground.net[claim.server].home / "files" / name
    with removed(sent, received, held):
        sent.write_bytes(content)
        for node, options in ((claim.sender, ("-T", name)), (claim.receiver, ("-o", name))):
            prober = Prober(ground, node, PATIENCE)
            tried = prober.http(str(server), port, *options, name=name)
            if not tried.answered:
                end = diagnose(prober, tried, server)
                evidence.lines += end.evidence
                raise Unmet(f"{node}: {tried.words}: {end}")
            _show_trail(prober, tried, claim.server, evidence)
        if not held.is_file():
            raise Unmet(f"{claim.server} does not hold the file")
        evidence.add(f"{claim.server} holds it: {held.stat().st_size} bytes")
        require_same(content, received, claim.receiver, evidence)


def _show_trail(prober: Prober, tried: Tried, server: str, evidence: Evidence) -> None:
    trail = prober.trail(tried.payload)
    arrived = trail.at(server, outgoing=False)
    if arrived is None:
        raise Unmet(f"another node answers: {server} received nothing: {trail}")
    evidence.add(f"{trail}, where the request comes from {arrived.packet.from_}")


def new_name() -> str:
    """A file name that is not used yet."""
    return f"check-{secrets.token_hex(8)}"


@contextmanager
def removed(*files: Path) -> Iterator[None]:
    """Delete these files at the end of the block."""
    try:
        yield
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def require_same(content: bytes, received: Path, receiver: str, evidence: Evidence) -> None:
    """Require that the received file is the one that was sent, byte for byte."""
    if not received.is_file():
        raise Unmet(f"{receiver} has received nothing")
    got = received.read_bytes()
    wanted, there = (hashlib.sha256(data).hexdigest() for data in (content, got))
    evidence.require(
        wanted == there,
        f"{receiver} has {len(got)} bytes, SHA-256 {there[:16]}…",
        f"{len(content)} bytes, SHA-256 {wanted[:16]}…",
    )
