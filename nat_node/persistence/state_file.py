"""The file in which a translator's table outlives it (memory.py says what is in it).

Theory of operation
-------------------
The file is mapped into memory. So writing a record takes no system call, and what is written stays
in the file when the translator is killed: the pages belong to the kernel. They need not reach a
disk, since the table is useless after the machine's next start.

    magic │ the machine's boot │ settings │ number of records │ checksum │ records …

The head never changes. A file that becomes too small is replaced by a larger copy, which is first
written under another name, so that there is a whole file at every moment. Its space is reserved: a
process that writes to a mapped file for which the disk has no room is killed.

A damaged file is set aside as NAME.bad. A file of another boot or of other settings is out of date
and is overwritten.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.persistence.memory import FEWEST, RECORD, Memory, Places, most_records
from napt_lab.nat_node.persistence.restore import Damaged, restore
from napt_lab.nat_node.system.announce import warn

_HEAD = Struct("!8s36sII")
_CHECKSUM = Struct("!I")
_HEAD_SIZE = _HEAD.size + _CHECKSUM.size
_MAGIC = b"NAPT 002"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class StateFile:
    """The file at `path`, for a table of at most `most` records under these `settings`."""

    def __init__(self, path: Path, settings: bytes, most: int) -> None:
        self._path = path
        self._settings = crc32(settings)
        self._most = most
        self._boot = _BOOT.read_bytes().strip()

    def open(self) -> memoryview | None:
        """The records in the file; None if it is missing or out of date. Raises Damaged."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Damaged(f"it cannot be read: {error.strerror}") from None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Damaged("it is not an ordinary file")
            if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise Damaged("another user may have written it")
            if found.st_size < _HEAD_SIZE:
                raise Damaged(f"it ends after {found.st_size} bytes, within its head")
            head = os.pread(descriptor, _HEAD_SIZE, 0)
            magic, boot, settings, count = _HEAD.unpack_from(head)
            if magic != _MAGIC or crc32(head[: _HEAD.size]) != _CHECKSUM.unpack(head[-4:])[0]:
                raise Damaged("its head is not one that this program has written")
            expected = _HEAD_SIZE + count * RECORD
            if found.st_size != expected:
                raise Damaged(f"it has {found.st_size} bytes where its head says {expected}")
            if (boot, settings) != (self._boot, self._settings):
                warn("state-not-used", f"{self._path}: of another boot, or of other settings")
                return None
            if count > self._most:
                raise Damaged(f"it has {count} records where {self._most} are the most")
            return _map(descriptor, found.st_size)
        finally:
            os.close(descriptor)

    def make_room(self, contents: bytes, count: int) -> memoryview | None:
        """Replace the file by one with `count` records, of which `contents` are the first.

        None, and a warning, if there is no room: what comes then is not remembered.
        """
        new = self._path.with_name(f"{self._path.name}.new")
        size = _HEAD_SIZE + count * RECORD
        head = _HEAD.pack(_MAGIC, self._boot, self._settings, count)
        try:
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
                records = _map(descriptor, size)
                os.pwrite(descriptor, head + _CHECKSUM.pack(crc32(head)), 0)
            finally:
                os.close(descriptor)
            records[: len(contents)] = contents
            new.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            warn(
                "state-not-kept",
                f"{self._path}: {error.strerror}: no room for {count} records; "
                "connections made from now on may be lost if the translator is killed",
            )
            return None
        return records

    def set_aside(self, why: str) -> None:
        """Keep a file that is damaged under another name."""
        bad = self._path.with_name(f"{self._path.name}.bad")
        with contextlib.suppress(OSError):
            self._path.replace(bad)
        warn("state-damaged", f"{self._path}: {why}; set aside as {bad.name}, no rule is known")


class Recovered(NamedTuple):
    """A translator, the picture of its table, and whether it begins with an earlier table."""

    translator: Translator
    memory: Memory | None
    goes_on: bool


def recover(make: Callable[[], Translator], path: Path, settings: bytes, now: float) -> Recovered:
    """A translator whose table outlives it. It begins with the table in the file, if any."""
    translator, places = make(), Places()
    most = most_records(translator.settings)
    file = StateFile(path, settings, most)
    try:
        records = file.open()
        if records is not None:
            places = restore(records, translator.settings, translator.table, now)
            translator.adopt()
    except Damaged as damage:
        file.set_aside(str(damage))
        translator, records = make(), None
    goes_on = records is not None
    if records is None:
        records = file.make_room(b"", FEWEST)
    memory = None
    if records is not None:
        memory = Memory(translator, records, most, file.make_room, places)
    return Recovered(translator, memory, goes_on)


def _map(descriptor: int, size: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, size))[_HEAD_SIZE:]
