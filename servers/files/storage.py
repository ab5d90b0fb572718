"""The folder: a file in it is whole or not there at all, and the space it takes is bounded.

Theory of operation. An upload is written to a hidden temporary file in the same folder. When
its last byte is there it is flushed to the disk (fsync) and gets its name in one step:

    a new file      link(2), which fails if the name is taken: two uploads of one name cannot
                    both win
    a replacement   rename(2), under a lock in which the conditions were checked once more

then the folder is flushed, too. Whatever ends an upload early removes the temporary file;
what a crash leaves is removed at the next start. Space is reserved *before* bytes are
written, so uploads that run at the same time cannot exceed the bound together.

Every name is resolved relative to the folder's descriptor and never through a symbolic link.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from napt_lab.servers.files import names
from napt_lab.servers.files.conditions import UNKNOWN, Conditions, entity_tag
from napt_lab.servers.files.digests import Digests

TEMPORARY = ".upload-"


class Refused(Exception):
    """Something that is answered with an HTTP status; the message is for the client."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_file` and `max_total` in bytes; `max_files` in the folder; `max_uploads` at once."""

    max_file: int
    max_total: int
    max_files: int
    max_uploads: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A complete file. `modified` in seconds since 1970; `digest` where SHA-256 is known."""

    name: str
    size: int
    modified: float
    digest: bytes | None


class Folder:
    """The one folder that is served. Raises OSError when it cannot be used."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.limits = limits
        self.digests = Digests(capacity=2 * limits.max_files)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Two servers would count the space twice, and remove each other's temporary files.
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock = threading.Lock()  # uploads end in threads of their own
        self._uploads = 0
        self._reserved = 0
        with os.scandir(self.descriptor) as entries:
            left_behind = [e.name for e in entries if e.name.startswith(TEMPORARY)]
        for name in left_behind:
            os.unlink(name, dir_fd=self.descriptor)
        self._files, self._stored = 0, 0
        self.list()

    @property
    def used(self) -> int:
        """Bytes of complete files, and of those that are being uploaded."""
        return self._stored + self._reserved

    def list(self) -> list[Stored]:
        """The complete files, by name; links, folders and hidden files are none.

        They are counted anew each time: somebody may have put files here by other means.
        """
        found = []
        with self._lock, os.scandir(self.descriptor) as entries:
            for entry in entries:
                with suppress(names.BadName, FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.append(self._stored_as(names.check(entry.name), status))
            self._files = len(found)
            self._stored = sum(file.size for file in found)
        return sorted(found, key=lambda file: file.name)

    def open(self, name: str) -> tuple[BinaryIO, os.stat_result]:
        """A complete file for reading, and what it is. Raises Refused (404)."""
        # O_NONBLOCK: opening a FIFO that somebody put there must not wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES):
                raise Refused(404, "there is no such file") from None
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise Refused(404, "there is no such file")
        return os.fdopen(descriptor, "rb", buffering=0), status

    def current_tag(self, name: str) -> str | None:
        """The entity tag of what has this name now; None: nothing. Raises Refused (409)."""
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise Refused(409, "something that is not a file has this name")
        digest = self.digests.known(status)
        return entity_tag(digest) if digest else UNKNOWN

    @contextmanager
    def upload(self, name: str) -> Iterator[Upload]:
        """An upload that is undone at the end of the block unless it was committed."""
        if self._uploads >= self.limits.max_uploads:
            raise Refused(503, f"{self._uploads} uploads are under way; try again later")
        self.list()  # for the count
        self._uploads += 1
        try:
            upload = Upload(self, name)
            try:
                yield upload
            finally:
                upload.close()
        finally:
            self._uploads -= 1

    def _stored_as(self, name: str, status: os.stat_result) -> Stored:
        return Stored(name, status.st_size, status.st_mtime, self.digests.known(status))

    def reserve(self, more: int) -> None:
        """Set `more` bytes aside. Raises Refused (507) when they are not there."""
        with self._lock:
            if self.used + more > self.limits.max_total:
                raise Refused(507, f"all files together may have {self.limits.max_total} bytes")
            self._reserved += more

    def release(self, reserved: int) -> None:
        """Give back what was set aside."""
        with self._lock:
            self._reserved -= reserved

    def publish(self, upload: Upload, conditions: Conditions) -> Stored:
        """Give a flushed upload its name, if the conditions hold now. Raises Refused."""
        here, name = self.descriptor, upload.name
        with self._lock:
            if refusal := conditions.refusal_to_write(self.current_tag(name)):
                raise Refused(*refusal)
            try:
                replaced = os.stat(name, dir_fd=here, follow_symlinks=False).st_size
            except FileNotFoundError:
                if self._files >= self.limits.max_files:
                    raise Refused(507, f"there may be {self.limits.max_files} files") from None
                try:
                    os.link(upload.temporary, name, src_dir_fd=here, dst_dir_fd=here)
                except FileExistsError:
                    raise Refused(409, "there is a file of this name already") from None
                os.unlink(upload.temporary, dir_fd=here)
                self._files += 1
            else:
                os.rename(upload.temporary, name, src_dir_fd=here, dst_dir_fd=here)
                self._stored -= replaced
            upload.published = True
            status = os.fstat(upload.descriptor)
            self._stored += status.st_size
            self._reserved -= upload.reserved
            upload.reserved = 0
            self.digests.remember(status, upload.sha256.digest())
        os.fsync(here)
        return self._stored_as(name, status)


class Upload:
    """A file on its way in. `write` and `commit` may wait for the disk: call them in a thread."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.name = name
        self.temporary = TEMPORARY + secrets.token_hex(8)
        self.published = False
        self.reserved = 0
        self.sha256 = hashlib.sha256()
        self._folder = folder
        self._size = 0
        # Held while a thread uses the descriptor: closing it then would hand its number to
        # another file, and the thread would write into that one.
        self._lock = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(self.temporary, flags, 0o644, dir_fd=folder.descriptor)

    def reserve(self, size: int) -> None:
        """Make sure that `size` bytes in all may be written. Raises Refused (413, 507)."""
        if size > self._folder.limits.max_file:
            raise Refused(413, f"a file may have {self._folder.limits.max_file} bytes")
        if size > self.reserved:
            self._folder.reserve(size - self.reserved)
            self.reserved = size

    def write(self, piece: bytes | bytearray) -> None:
        """Append. Raises Refused (413, 507), and OSError when the disk is full."""
        self.reserve(self._size + len(piece))
        with self._lock:
            self.sha256.update(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        self._size += len(piece)

    def commit(self, conditions: Conditions) -> Stored:
        """Make the file visible, whole and for good. Raises Refused (409, 412, 507)."""
        with self._lock:
            os.fsync(self.descriptor)
            return self._folder.publish(self, conditions)

    def close(self) -> None:
        """Give back what was reserved and, unless published, remove every trace."""
        with self._lock:
            os.close(self.descriptor)
            self.descriptor = -1  # so that a thread which comes only now fails
            if not self.published:
                os.unlink(self.temporary, dir_fd=self._folder.descriptor)
            self._folder.release(self.reserved)
            self.reserved = 0
