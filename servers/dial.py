"""Dial a server, say a word to it if it wants one, and send or receive a file.

    dial 198.51.100.11:9000 --word TOKEN --send photo.jpg     to the plain relay
    dial 198.51.100.11:9000 --word TOKEN --receive photo.jpg  … and from there
    dial 198.51.100.11:61234 --receive photo.jpg              an address of TURN's

What `nc` does, without the shell that its redirections need. The file ends with the other side's
FIN; a reset means that it is not whole, and then no file is left. If `dial` itself ends early, by
Ctrl-C or a kill, it resets the connection too: after the FIN that ends the file, an orderly close
sends nothing more, and a relay would join a second party to a first that is gone. A relay that
refuses says why in one line before the reset.

Events: `connected` (peer), `done` (sent and received, bytes; sha256 of what was received).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import sys
from pathlib import Path

from napt_lab.servers.shared.arguments import address_and_port, file_to_send, file_to_write
from napt_lab.servers.shared.arriving_file import arriving_file
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.splice import fin_when_closed, reset_when_closed

CHUNK = 256 << 10  # bytes
MOST = 1 << 30  # bytes that are received: the sender may be anyone
REFUSAL = b"relay: "  # how the relay's line begins


class RefusedError(Exception):
    """The relay refused; the text is its reason."""


class Incoming:
    """What is received: counted, hashed, and written to `path`."""

    def __init__(self, path: Path) -> None:
        self.bytes = 0
        self.digest = hashlib.sha256()
        self.beginning = b""  # as much as a refusal may have
        self._path = path

    async def receive(self, reader: asyncio.StreamReader, patience: float) -> None:
        """Receive up to the other side's FIN; the file appears when it is whole."""
        with arriving_file(self._path) as file:
            while True:
                # Not asyncio.wait_for: it loses a Ctrl-C that comes together with what it awaits.
                async with asyncio.timeout(patience):
                    chunk = await reader.read(CHUNK)
                if not chunk:
                    return
                file.write(chunk)
                self.digest.update(chunk)
                self.bytes += len(chunk)
                self.beginning = (self.beginning + chunk)[:200]
                if self.bytes > MOST:
                    raise OSError(f"more than {MOST:,} bytes came")


async def dial(options: argparse.Namespace) -> None:
    """The whole conversation.

    RefusedError if the relay refuses, OSError if the connection breaks or too much comes,
    TimeoutError after `wait` seconds of silence.
    """
    host, port = options.server
    async with asyncio.timeout(options.wait):
        reader, writer = await asyncio.open_connection(host, port)
    sock = writer.get_extra_info("socket")
    reset_when_closed(sock)
    emit("connected", peer=endpoint(writer.get_extra_info("peername")))
    if options.word is not None:
        writer.write(options.word.encode() + b"\n")
    incoming = Incoming(options.receive)
    try:
        sent, _ = await asyncio.gather(
            _send(writer, options.send), incoming.receive(reader, options.wait)
        )
    except ConnectionError as error:
        if options.word is not None and incoming.beginning.startswith(REFUSAL):
            reason = incoming.beginning.removeprefix(REFUSAL).decode(errors="replace").strip()
            raise RefusedError(reason) from error
        raise
    fin_when_closed(sock)
    writer.close()
    emit("done", sent=sent, received=incoming.bytes, sha256=incoming.digest.hexdigest())


async def _send(writer: asyncio.StreamWriter, path: Path | None) -> int:
    sent = 0
    if path is None:
        return sent  # a client that only receives ends last: its FIN says that it has read all
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
    writer.write_eof()
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="dial", description="Send or receive a file over one connection."
    )
    add = parser.add_argument
    add("server", type=address_and_port, metavar="ADDRESS:PORT")
    add("--word", metavar="TOKEN", help="the first line, as the plain relay wants it")
    add("--send", type=file_to_send, metavar="FILE")
    add("--receive", type=file_to_write, metavar="FILE", default=Path(os.devnull))
    add("--wait", type=float, default=60.0, metavar="SECONDS",
        help="for the other side (default: %(default)s)")  # fmt: skip
    options = parser.parse_args()
    try:
        asyncio.run(dial(options))
    except TimeoutError:
        sys.exit(f"dial: timed out after {options.wait:g} s of silence")
    except RefusedError as error:
        sys.exit(f"dial: the relay refused: {error}")
    except OSError as error:
        host, port = options.server
        sys.exit(f"dial: {host}:{port}: {os.strerror(error.errno) if error.errno else error}")


if __name__ == "__main__":
    main()
