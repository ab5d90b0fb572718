"""The command line of the file server, and its event loop.

Bounds on what a client can cost before the application sees a request are set here: the
number of connections (shared fairly by addresses), the size of a request's header, and the
time that a connection may take to send one (also the time that it may idle between two).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import warnings
from pathlib import Path

os.environ["SSL_CERT_FILE"] = os.devnull  # aiohttp would read all certificates on import: 50 ms

from aiohttp import BadContentDispositionHeader, BadContentDispositionParam, web
from aiohttp.http import HttpProcessingError

from napt_lab.servers.files.application import Application
from napt_lab.servers.files.connection import Connection, make_request
from napt_lab.servers.files.receiving import PIECE
from napt_lab.servers.files.storage import Folder, Limits
from napt_lab.servers.shared.arguments import port_number
from napt_lab.servers.shared.descriptors import take_all
from napt_lab.servers.shared.events import emit, endpoint
from napt_lab.servers.shared.shares import Shares

LINGER_SECONDS = 10.0  # to read on after a refusal, so that the client gets to see it
STOP_SECONDS = 1.0  # for transfers that are under way at SIGTERM
MAX_HEADERS = 64
BACKLOG = 128


def be_quiet_about_clients() -> None:
    """Keep clients' errors off stderr, so that they cannot fill it, or the disk behind it.

    A malformed request is answered (400); only this server's own errors are worth a traceback.
    """
    clients_errors = (HttpProcessingError, web.RequestPayloadError)

    def is_ours(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], clients_errors))

    logging.getLogger("aiohttp.server").addFilter(is_ours)
    for of_a_form in (BadContentDispositionHeader, BadContentDispositionParam):
        warnings.simplefilter("ignore", of_a_form)


async def serve(
    listener: socket.socket, application: Application, head: float, max_connections: int
) -> None:
    """Serve until SIGTERM or SIGINT. `head`: seconds that a request's header may take."""
    server = web.Server(application.handle, request_factory=make_request)
    places: Shares[Connection] = Shares(max_connections)

    def accept() -> asyncio.Protocol:
        return Connection(
            server,
            places,
            access_log=None,
            auto_decompress=False,  # what is stored is what was sent
            keepalive_timeout=head,
            lingering_time=LINGER_SECONDS,
            max_headers=MAX_HEADERS,
            read_bufsize=PIECE,
        )

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = await loop.create_server(accept, sock=listener, backlog=BACKLOG)
    emit("ready", listening=[endpoint(listener.getsockname())])
    await stop.wait()
    listening.close()
    server.pre_shutdown()
    await server.shutdown(timeout=STOP_SECONDS)


def main() -> int:
    """The command line. Exit status: 0 told to stop, 1 cannot run, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        "file-server",
        description="A public file server.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--listen", default="0.0.0.0", metavar="ADDRESS", help="where to listen")
    parser.add_argument("--port", type=port_number, default=8080, help="0 lets the kernel choose")
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the files are; made if missing"
    )
    parser.add_argument("--read-only", action="store_true", help="no uploads")
    for flag, default, meaning in (
        ("--max-file", 4 << 30, "bytes that one file may have"),
        ("--max-total", 16 << 30, "bytes that all files together may have"),
        ("--max-files", 1000, "files in the folder"),
        ("--max-uploads", 16, "uploads at the same time, shared fairly by addresses"),
        ("--max-connections", 256, "connections at the same time, shared fairly by addresses"),
    ):
        parser.add_argument(flag, type=int, default=default, metavar="N", help=meaning)
    for flag, seconds, meaning in (
        ("--head", 20.0, "for a request's header to come, also after the one before"),
        ("--idle", 60.0, f"within which each {PIECE // 1024} KiB of a file must pass"),
    ):
        parser.add_argument(flag, type=float, default=seconds, metavar="SECONDS", help=meaning)
    options = parser.parse_args()
    take_all()  # a form may have many files open
    limits = Limits(options.max_file, options.max_total, options.max_files, options.max_uploads)
    family = socket.AF_INET6 if ":" in options.listen else socket.AF_INET
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        folder = Folder(options.folder, limits)
    except BlockingIOError:
        return _cannot(f"another server uses {options.folder}")
    except OSError as error:
        return _cannot(f"cannot use the folder {options.folder}: {_reason(error)}")
    try:
        listener = socket.create_server(
            (options.listen, options.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        return _cannot(f"cannot listen on {options.listen}:{options.port}: {_reason(error)}")
    be_quiet_about_clients()
    application = Application(folder, read_only=options.read_only, idle=options.idle)
    asyncio.run(serve(listener, application, options.head, options.max_connections))
    return 0


def _reason(error: OSError) -> str:
    # asyncio and socket put the address into strerror, too; a name that is not found has no errno.
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def _cannot(why: str) -> int:
    print(f"napt_lab.servers.files: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
