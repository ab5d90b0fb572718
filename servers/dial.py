"""Dial a server, say a word to it if it wants one, and send or receive a file.

    dial 198.51.100.11:9000 --word TOKEN --send photo.jpg     to the plain relay
    dial 198.51.100.11:9000 --word TOKEN --receive photo.jpg  … and from there
    dial 198.51.100.11:61234 --receive photo.jpg              an address of TURN's

What `nc` does, without the shell that its redirections need. The file ends with the other side's
FIN. Events: `connected` (peer), `done` (sent and received, bytes; sha256 of what was received).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
from pathlib import Path

from napt_lab.servers.shared.arguments import address_and_port
from napt_lab.servers.shared.events import emit, endpoint

CHUNK = 256 << 10  # bytes
MOST = 1 << 30  # bytes that are received: whoever sends may be anybody


async def dial(options: argparse.Namespace) -> None:
    """The whole conversation.

    OSError if it breaks or too much comes, TimeoutError after `wait` seconds of silence.
    """
    host, port = options.server
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), options.wait)
    emit("connected", peer=endpoint(writer.get_extra_info("peername")))
    if options.word is not None:
        writer.write(options.word.encode() + b"\n")
    sent, (received, digest) = await asyncio.gather(
        _send(writer, options.send), _receive(reader, options.receive, options.wait)
    )
    writer.close()
    emit("done", sent=sent, received=received, sha256=digest)


async def _send(writer: asyncio.StreamWriter, path: Path | None) -> int:
    sent = 0
    if path is None:
        return sent  # who only receives ends last: its FIN says that it has read everything
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
    writer.write_eof()
    return sent


async def _receive(
    reader: asyncio.StreamReader, path: Path | None, patience: float
) -> tuple[int, str]:
    digest, received = hashlib.sha256(), 0
    with (path or Path("/dev/null")).open("wb") as file:
        while chunk := await asyncio.wait_for(reader.read(CHUNK), patience):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            if received > MOST:
                raise OSError(f"more than {MOST:,} bytes came")
    return received, digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="dial", description="Send or receive a file over one connection."
    )
    add = parser.add_argument
    add("server", type=address_and_port, metavar="ADDRESS:PORT")
    add("--word", metavar="TOKEN", help="the first line, as the plain relay wants it")
    add("--send", type=Path, metavar="FILE")
    add("--receive", type=Path, metavar="FILE")
    add("--wait", type=float, default=60.0, metavar="SECONDS",
        help="for the other side (default: %(default)s)")  # fmt: skip
    options = parser.parse_args()
    try:
        asyncio.run(dial(options))
    except TimeoutError:
        sys.exit(f"dial: nothing came for {options.wait:g} s")
    except OSError as error:
        sys.exit(f"dial: {error}")


if __name__ == "__main__":
    main()
