"""Faults of the servers."""

from __future__ import annotations

import mmap
import os
import socket
import stat
import tempfile
from pathlib import Path

_kept = bytearray()
_nameless = []


def own_address(get_extra_info):
    """A server takes its own end of a connection for the other one."""

    def answered(transport, name, default=None):
        return get_extra_info(transport, "sockname" if name == "peername" else name, default)

    return answered


def forgetting_what_it_gave(send):
    """The file server deletes a file once it was fetched."""

    async def sent(request, folder, name, *arguments):
        response = await send(request, folder, name, *arguments)
        Path("files", name).unlink()
        return response

    return sent


def forgetting_what_it_got(put):
    """The file server says that it has stored a file, and deletes it."""

    async def stored(receiver, request, name):
        answer = await put(receiver, request, name)
        Path("files", name).unlink()
        return answer

    return stored


def permitting_every_peer(accepted):
    """Every peer that connects to a relayed transport address has a permission."""

    def accepting(state, allocation, peer, now):
        allocation.permissions.add(peer[0])
        return accepted(state, allocation, peer, now)

    return accepting


# ── a relay that keeps what it passes on ───────────────────────────────────────────────────


class _Peeking:
    """The module os, whose splice(2) has a look at what comes from a socket."""

    def __init__(self, original, keep):
        self._original, self._keep = original, keep

    def __getattr__(self, name):
        return getattr(self._original, name)

    def splice(self, source, goal, count, *arguments):
        """Have a look at what is about to come, and keep what of it is passed on.

        That may be less: pipes of a user who has many of them hold only a page or two.
        """
        if not stat.S_ISSOCK(os.fstat(source).st_mode):
            return self._original.splice(source, goal, count, *arguments)
        with socket.socket(fileno=os.dup(source)) as looking:
            data = looking.recv(count, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        passed = self._original.splice(source, goal, len(data) or 1, *arguments)
        if passed:
            self._keep(data[:passed])
        return passed


def keeping(original, how):
    """A relay that keeps all that it passes on: `how` is a function below."""
    return _Peeking(original, globals()[how])


def in_a_file(data):
    """In its folder."""
    with Path("kept").open("ab") as file:
        file.write(data)


def in_a_nameless_file(data):
    """In a file that has no name."""
    if not _nameless:
        _nameless.append(tempfile.TemporaryFile())  # noqa: SIM115 (open as long as the relay lives)
    _nameless[0].write(data)


def in_a_file_in_memory(data):
    """Not in its folder, not written by write(2), and open for no more than a moment."""
    path = Path(f"/dev/shm/kept-by-{os.getpid()}")
    size = path.stat().st_size if path.exists() else 0
    page = size // mmap.PAGESIZE * mmap.PAGESIZE
    with path.open("r+b" if size else "w+b") as file:
        file.truncate(size + len(data))
        with mmap.mmap(file.fileno(), size + len(data) - page, offset=page) as memory:
            memory[size - page :] = data


def in_memory(data):
    """In its own memory."""
    _kept.extend(data)


# ── STUN, and the programs of peers ────────────────────────────────────────────────────────

_told = []


def lying_once(answer):
    """The STUN server tells its first client another endpoint."""

    def answered(server, request, client, *arguments):
        _told.append(client)
        told = client if _told[1:] else ("203.0.113.66", 4000)
        return answer(server, request, told, *arguments)

    return answered


def also_to_the_relay(use):
    """The file goes to the relay as well, where the peers have met."""

    async def used(sock, peer, options):
        if options.send:
            with socket.create_connection(options.meet) as relay:
                relay.sendall(bytes(16).hex().encode() + b"\n" + options.send.read_bytes())
        await use(sock, peer, options)

    return used


def never(_original):
    """A coroutine that does nothing."""

    async def nothing(*_arguments):
        pass

    return nothing


def never_at_once(parse):
    """The receiver dials half a second later, if not later still."""

    def parsed(parser):
        options = parse(parser)
        if options.receive:
            options.later = max(0.5, options.later)
        return options

    return parsed
