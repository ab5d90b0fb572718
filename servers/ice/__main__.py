"""Connect to another peer by ICE, and send or receive a file: `ice …`.

Both peers say the same word at a relay (servers/relay). It is only their meeting place, where they
tell each other their candidates; the file goes over the pair that ICE selects. With several words
there are as many transfers at once, each with its own `--send` or `--receive`.

Events: `candidates` (host, server-reflexive, relayed), `selected-pair` (local, remote), `done`
(bytes, sha256), `failed` (reason), each with its `file`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from napt_lab.servers.ice.candidates import (
    LINE_BYTES,
    Description,
    NotADescriptionError,
    by_kind,
    kind_and_endpoint,
)
from napt_lab.servers.ice.connection import EITHER, Connection
from napt_lab.servers.shared.arguments import (
    account,
    address_and_port,
    file_to_send,
    file_to_write,
)
from napt_lab.servers.shared.events import emit
from napt_lab.servers.shared.file_in_datagrams import answer_repeats, receive_file, send_file

REFUSAL = b"relay: "  # how the relay's line begins
CHECKS_SECONDS = 8.0  # at most, until one of the pairs must have worked
LINGER_SECONDS = 2.0


async def transfer(options: argparse.Namespace, word: str, sends: bool, path: Path) -> bool:
    """One transfer, from the candidates to its end; whether it succeeded."""
    connection = _connection(options, controlling=sends)
    try:
        await connection.gather_candidates()
        emit("candidates", file=path.name, **by_kind(connection.local_candidates))
        async with _waiting(options.wait, "the meeting place"):
            reader, writer = await asyncio.open_connection(*options.meet, limit=LINE_BYTES)
        with contextlib.closing(writer):
            writer.write(word.encode() + b"\n" + _description(connection).line())
            async with _waiting(options.wait, "the other peer"):
                other = await _read(reader)
            async with _waiting(min(options.wait, CHECKS_SECONDS), "a pair that works"):
                await _connect(connection, other)
            pair = connection.selected()
            emit(
                "selected-pair",
                file=path.name,
                local=kind_and_endpoint(pair.local_candidate),
                remote=kind_and_endpoint(pair.remote_candidate),
            )
            size, digest = await (send_file if sends else receive_file)(connection, path)
            if not sends:
                await _linger(connection, reader)
    except (OSError, NotADescriptionError) as error:
        emit("failed", file=path.name, reason=str(error) or "the other peer has fallen silent")
        return False
    finally:
        await connection.close()
    emit("done", file=path.name, bytes=size, sha256=digest)
    return True


@contextlib.asynccontextmanager
async def _waiting(seconds: float, what: str) -> AsyncIterator[None]:
    """ConnectionError if what is awaited in the block does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ConnectionError(f"timed out after {seconds:g} s waiting for {what}") from None


def _connection(options: argparse.Namespace, *, controlling: bool) -> Connection:
    name, password = options.user or (None, None)
    return Connection(
        ice_controlling=controlling,
        use_ipv6=False,
        stun_server=options.stun,
        turn_server=options.turn,
        turn_username=name,
        turn_password=password,
        turn_transport=options.turn_over,
    )


def _description(connection: Connection) -> Description:
    name, password = connection.local_username, connection.local_password
    return Description(name, password, tuple(connection.local_candidates))


async def _read(reader: asyncio.StreamReader) -> Description:
    """What the other peer says at the meeting. NotADescriptionError, ConnectionError."""
    try:
        line = await reader.readline()
    except ValueError:
        raise NotADescriptionError("the other peer's description is too long") from None
    if line.startswith(REFUSAL) or not line:
        raise ConnectionError(line.decode(errors="replace").strip() or "the other peer has ended")
    return Description.read(line)


async def _connect(connection: Connection, other: Description) -> None:
    """Check all pairs until one works. ConnectionError if none does."""
    connection.remote_username, connection.remote_password = other.username, other.password
    for candidate in other.candidates:
        await connection.add_remote_candidate(candidate)
    await connection.add_remote_candidate(None)  # that was all
    await connection.connect()


async def _linger(connection: Connection, reader: asyncio.StreamReader) -> None:
    """Our last answer may have been lost: answer again until the sender has left the meeting."""
    tasks = {
        asyncio.create_task(answer_repeats(connection)),
        asyncio.create_task(reader.read()),
    }
    await asyncio.wait(tasks, timeout=LINGER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _all(options: argparse.Namespace) -> bool:
    transfers = zip(options.word, options.files, strict=True)
    ended = await asyncio.gather(*(transfer(options, word, *file) for word, file in transfers))
    return all(ended)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ice", description="One file to or from another peer, by the best way (RFC 8445)."
    )
    add = parser.add_argument
    for name, what in (
        ("meet", "relay where the peers meet"), ("stun", "STUN server"), ("turn", "TURN server"),
    ):  # fmt: skip
        add(f"--{name}", type=address_and_port, metavar="ADDRESS:PORT", help=what,
            required=name == "meet")  # fmt: skip
    add("--word", action="append", required=True, help="what both say there; can be repeated")
    add("--user", type=account, metavar="NAME:PASSWORD", help="of the TURN server")
    add("--turn-over", choices=("udp", "tcp", EITHER), default="udp", help="default: %(default)s")
    add("--wait", type=float, default=60.0, metavar="SECONDS",
        help="for the other peer and a way to it, default: %(default)s")  # fmt: skip
    add("--send", dest="files", action="append", default=[], metavar="FILE",
        type=lambda text: (True, file_to_send(text)))  # fmt: skip
    add("--receive", dest="files", action="append", metavar="FILE",
        type=lambda text: (False, file_to_write(text)))  # fmt: skip
    options = parser.parse_args()
    if len(options.word) != len(options.files):
        parser.error("each --word needs one --send or --receive")
    return options


if __name__ == "__main__":
    sys.exit(not asyncio.run(_all(_arguments())))
