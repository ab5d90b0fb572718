"""Send or receive one file through a TURN server: `turn-client …`.

The client makes a TCP allocation, permits one peer, and waits. The peer needs no TURN: it
connects to the relayed transport address (printed as `relayed`) as to any server, and the
file passes, ended by the sender's FIN.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import time
from pathlib import Path
from typing import BinaryIO

from napt_lab.servers.shared.arguments import file_to_send, file_to_write
from napt_lab.servers.shared.arriving_file import arriving_file
from napt_lab.servers.shared.events import emit
from napt_lab.servers.shared.events import endpoint as text
from napt_lab.servers.shared.splice import fin_when_closed, reset_when_closed
from napt_lab.servers.stun.attributes import Transport
from napt_lab.servers.turn.client.endpoint import PeerStream, connected
from napt_lab.servers.turn.client.options import add_common, converse

CHUNK = 256 << 10  # bytes


def main() -> None:
    converse(_run(_arguments()))


async def _run(options: argparse.Namespace) -> None:
    name, password = options.user
    async with connected(options.server, name, password, Transport.TCP) as turn:
        granted = await turn.allocate(Transport.TCP)
        emit(
            "allocated",
            relayed=text(granted.relayed),
            mapped=text(granted.mapped),
            lifetime=granted.lifetime,
        )
        await turn.permit(options.permit)
        emit("permission", peer=options.permit)
        async with asyncio.timeout(options.wait):
            stream = await turn.accept()
        emit("connection", peer=text(stream.peer), id=stream.connection_id)
        # If we end early, the peer must not take the file for whole.
        reset_when_closed(stream.writer.get_extra_info("socket"))
        started = time.monotonic()
        size, digest = await (_send if options.send else _receive)(stream, options.file)
        emit("done", bytes=size, sha256=digest, seconds=round(time.monotonic() - started, 6))
        await turn.delete()


async def _receive(stream: PeerStream, path: Path) -> tuple[int, str]:
    """Write what the peer sends until its FIN: how many bytes, and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    with arriving_file(path) as file:
        while chunk := await stream.reader.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    fin_when_closed(stream.writer.get_extra_info("socket"))
    stream.writer.close()
    await stream.writer.wait_closed()
    return size, digest.hexdigest()


async def _send(stream: PeerStream, path: Path) -> tuple[int, str]:
    """Send the file and then FIN, and wait until the peer has taken it all."""
    with path.open("rb") as file:
        size, digest = await _send_open(stream, file)
    # The peer's FIN says that it read ours: only then may the allocation be deleted.
    stream.writer.write_eof()
    while await stream.reader.read(CHUNK):
        pass
    fin_when_closed(stream.writer.get_extra_info("socket"))
    stream.writer.close()
    return size, digest


async def _send_open(stream: PeerStream, file: BinaryIO) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(CHUNK):
        stream.writer.write(chunk)
        await stream.writer.drain()
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="turn-client", description="One file through a TCP allocation."
    )
    add_common(parser)
    direction = parser.add_mutually_exclusive_group(required=True)
    direction.add_argument("--send", action="store_true", help="send FILE to the peer")
    direction.add_argument("--receive", action="store_true", help="receive FILE from the peer")
    parser.add_argument("file", metavar="FILE")
    options = parser.parse_args()
    try:
        options.file = (file_to_send if options.send else file_to_write)(options.file)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    main()
