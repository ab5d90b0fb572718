"""SHA-256 of the files, without hashing a file each time somebody asks.

Theory of operation. An upload is hashed while it streams in, and the digest is remembered
under what identifies that very content on disk: inode, size, and the times of the last change
of content and of inode. A file that was put into the folder by other means is hashed when its
digest is first needed; whoever asks meanwhile waits for the same calculation. Nothing is
stored on disk: a digest that anybody could write there would prove nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from typing import BinaryIO

_Version = tuple[int, int, int, int]


def version(status: os.stat_result) -> _Version:
    """What changes whenever a file's content does."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Digests:
    """A bounded memory of digests, the oldest forgotten first."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._known: dict[_Version, bytes] = {}
        self._lock = threading.Lock()
        self._running: dict[_Version, asyncio.Task[bytes]] = {}

    def known(self, status: os.stat_result) -> bytes | None:
        """The digest if it is known already."""
        return self._known.get(version(status))

    def remember(self, status: os.stat_result, digest: bytes) -> None:
        """Note the digest of the content that `status` describes."""
        with self._lock:
            self._known[version(status)] = digest
            while len(self._known) > self._capacity:
                del self._known[next(iter(self._known))]

    async def of(self, file: BinaryIO, status: os.stat_result) -> bytes:
        """The digest of an open file, calculated if need be. The file's offset is kept."""
        if (digest := self.known(status)) is not None:
            return digest
        key = version(status)
        if (running := self._running.get(key)) is None:
            # A descriptor of its own: who asked first may go away before the others.
            own = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
            running = asyncio.create_task(asyncio.to_thread(_hash, own))
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key))
        digest = await asyncio.shield(running)
        self.remember(status, digest)
        return digest


def _hash(descriptor: int) -> bytes:
    with open(descriptor, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").digest()
