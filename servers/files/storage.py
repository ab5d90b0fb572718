"""The folder: a file in it is whole or not there at all, and the space it takes is bounded.

Theory of operation. An upload is written to a hidden temporary file in the same folder. When
its last byte is there it is flushed to the disk (fsync) and gets its name in one step:

    a new file      link(2), which fails if the name is taken: two uploads of one name cannot
                    both win
    a replacement   rename(2), under a lock in which the conditions were checked once more

then the folder is flushed, too. The files of one form get their names together, or none does.
An upload that ends early removes its temporary file; what a crash leaves is removed at the
next start. Bytes are counted *before* they are written, so uploads that run at the same time
cannot exceed the bound together; a size that is only announced takes no space from others.

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
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from napt_lab.servers.files import names
from napt_lab.servers.files.conditions import Conditions, entity_tag

TEMPORARY = ".upload-"


class Refused(Exception):
    """A request is refused with this HTTP status; the message is for the client."""

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
    """A complete file. `modified` in seconds since 1970; `sha256` only right after its upload."""

    name: str
    size: int
    modified: float
    tag: str
    sha256: str | None = None


class Folder:
    """The one folder that is served. Raises OSError when it cannot be used."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.limits = limits
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # Two servers would count the space twice, and remove each other's temporary files.
        fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock = threading.Lock()  # uploads end in threads of their own
        self._arriving = 0
        with os.scandir(self.descriptor) as entries:
            left_behind = [e.name for e in entries if e.name.startswith(TEMPORARY)]
        for name in left_behind:
            os.unlink(name, dir_fd=self.descriptor)
        self._files, self._stored = 0, 0
        self.list()

    @property
    def used(self) -> int:
        """Bytes of complete files, and of those that are being uploaded."""
        return self._stored + self._arriving

    def list(self) -> list[Stored]:
        """The complete files, by name; links, folders and hidden files are not listed.

        They are counted anew each time: files may have been put here by other means.
        """
        found = []
        with self._lock, os.scandir(self.descriptor) as entries:
            for entry in entries:
                with suppress(names.BadName, FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found.append(_stored(names.check(entry.name), status))
            self._files = len(found)
            self._stored = sum(file.size for file in found)
        return sorted(found, key=lambda file: file.name)

    def open(self, name: str) -> tuple[BinaryIO, os.stat_result]:
        """A complete file for reading, and what it is. Raises Refused (404)."""
        # O_NONBLOCK: opening a FIFO must not wait for its writer.
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
        """The entity tag of the file of this name; None: there is none. Raises Refused (409)."""
        status = self._current(name)
        return status and entity_tag(status)

    def _current(self, name: str) -> os.stat_result | None:
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise Refused(409, "something that is not a file has this name")
        return status

    @contextmanager
    def upload(self, name: str, conditions: Conditions) -> Iterator[Upload]:
        """An upload that is undone at the end of the block unless it was published."""
        self.list()  # for the count
        upload = Upload(self, name, conditions)
        try:
            yield upload
        finally:
            upload.close()

    def check_space(self, more: int) -> None:
        """Raise Refused (507) if `more` bytes do not fit now."""
        if self.used + more > self.limits.max_total:
            raise Refused(507, f"all files together may have {self.limits.max_total} bytes")

    def count(self, more: int) -> None:
        """Count `more` bytes that are about to be written. Raises Refused (507)."""
        with self._lock:
            self.check_space(more)
            self._arriving += more

    def uncount(self, written: int) -> None:
        """Count that so many bytes of an unfinished upload are gone again."""
        with self._lock:
            self._arriving -= written

    def publish(self, uploads: Sequence[Upload]) -> Sequence[Stored]:
        """Give uploads their names, for good: all of them, if all conditions hold now, or none.

        Waits for the disk: call it in a thread. Raises Refused (409, 412, 507).
        """
        for upload in uploads:
            upload.flush()
        with self._lock:
            new, replaced = [], 0
            for upload in uploads:
                status = self._current(upload.name)
                refusal = upload.conditions.refusal_to_write(status and entity_tag(status))
                if refusal is not None:
                    raise Refused(*refusal)
                if status is None:
                    new.append(upload)
                else:
                    replaced += status.st_size
            if self._files + len(new) > self.limits.max_files:
                raise Refused(507, f"there may be {self.limits.max_files} files")
            self._link(new)
            for upload in uploads:
                if upload not in new:
                    here = self.descriptor
                    os.rename(upload.temporary, upload.name, src_dir_fd=here, dst_dir_fd=here)
                upload.published = True
            self._files += len(new)
            arrived = sum(upload.size for upload in uploads)
            self._arriving -= arrived
            self._stored += arrived - replaced
        os.fsync(self.descriptor)
        return [upload.stored() for upload in uploads]

    def _link(self, uploads: Sequence[Upload]) -> None:
        """Give new files their names, which must be free, or take them all back."""
        here = self.descriptor
        linked: list[str] = []
        try:
            for upload in uploads:
                os.link(upload.temporary, upload.name, src_dir_fd=here, dst_dir_fd=here)
                linked.append(upload.name)
        except FileExistsError:
            for name in linked:
                os.unlink(name, dir_fd=here)
            raise Refused(409, "there is a file of this name already") from None
        for upload in uploads:
            os.unlink(upload.temporary, dir_fd=here)


def _stored(name: str, status: os.stat_result) -> Stored:
    return Stored(name, status.st_size, status.st_mtime, entity_tag(status))


class Upload:
    """A file on its way in. `write` may wait for the disk: call it in a thread."""

    def __init__(self, folder: Folder, name: str, conditions: Conditions) -> None:
        self.name = name
        self.conditions = conditions
        self.temporary = TEMPORARY + secrets.token_hex(8)
        self.published = False
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._folder = folder
        # Held while a thread uses the descriptor: closing it then would hand its number to
        # another file, and the thread would write into that one.
        self._lock = threading.Lock()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.temporary, flags, 0o644, dir_fd=folder.descriptor)

    def expect(self, size: int) -> None:
        """Refuse a file that is announced with so many bytes, if it cannot be taken (413, 507)."""
        if size > self._folder.limits.max_file:
            raise Refused(413, f"a file may have {self._folder.limits.max_file} bytes")
        self._folder.check_space(size - self.size)

    def write(self, piece: bytes | bytearray) -> None:
        """Append. Raises Refused (413, 507), and OSError when the disk is full."""
        self.expect(self.size + len(piece))
        with self._lock:
            self._folder.count(len(piece))
            self.size += len(piece)
            self._sha256.update(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def flush(self) -> None:
        """Have it on the disk, with a time of change that no other version has."""
        with self._lock:
            now = time.time_ns()
            os.utime(self._descriptor, ns=(now, now))
            os.fsync(self._descriptor)

    def stored(self) -> Stored:
        """The file that it has become."""
        status = os.fstat(self._descriptor)
        return replace(_stored(self.name, status), sha256=self._sha256.hexdigest())

    def close(self) -> None:
        """End it, and remove every trace of it unless it was published."""
        with self._lock:
            os.close(self._descriptor)
            self._descriptor = -1  # so that a thread which comes only now fails
            if not self.published:
                os.unlink(self.temporary, dir_fd=self._folder.descriptor)
                self._folder.uncount(self.size)
