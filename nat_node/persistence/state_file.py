"""The file in which a translator's table outlives it (memory.py says what is in it).

Theory of operation
-------------------
The file is mapped into memory. So writing a record takes no system call, and what is written stays
in the file when the translator is killed: the pages belong to the kernel. They need not reach a
disk, since the table is useless after the machine's next start.

    magic │ the machine's boot │ settings │ number of records │ changes │ checksum │ records …

A file that becomes too small is replaced by a larger copy, which is first written under another
name, so that there is a whole file at every moment. Its space is reserved: a process that writes
to a mapped file for which the disk has no room is killed.

The settings may change while the translator runs. Its successor is started with the old command
line, so the head also has the changes; it is rewritten by one system call. The file is used by a
translator whose command line gives the first settings, or the present ones.

A damaged file is set aside as NAME.bad. A file of another boot or of other settings is out of date
and is overwritten.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from napt_lab.nat_node.core.settings import HOSTS, Settings, changed
from napt_lab.nat_node.core.translator import Translator
from napt_lab.nat_node.persistence.memory import FEWEST, RECORD, Memory, Places, most_records
from napt_lab.nat_node.persistence.restore import Damaged, restore
from napt_lab.nat_node.system.announce import warn

MOST_CHANGES = 2048  # bytes
#: Magic, boot, settings given at first, settings that hold, number of records, changes as JSON.
_HEAD = Struct(f"!8s36sIII{MOST_CHANGES}s")
_CHECKSUM = Struct("!I")
_HEAD_SIZE = _HEAD.size + _CHECKSUM.size
_MAGIC = b"NAPT 003"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


Changes = dict[str, str]
"""Choices that were made while the translator ran: their keys, and texts (settings.py)."""


class StateFile:
    """The file at `path` of a translator that was started with these settings and rules.

    `changes`: what has been changed since; `open` reads it.
    """

    def __init__(self, path: Path, settings: Settings, rules: object) -> None:
        self._path = path
        self._given = settings
        self._rules = rules
        self._boot = _BOOT.read_bytes().strip()
        self._count = 0
        self.changes: Changes = {}

    @property
    def settings(self) -> Settings:
        """The settings that hold now. Raises ValueError if the changes cannot be read."""
        return changed(self._given, self.changes)

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
            magic, boot, given, now, count, changes = _HEAD.unpack_from(head)
            if magic != _MAGIC or crc32(head[: _HEAD.size]) != _CHECKSUM.unpack(head[-4:])[0]:
                raise Damaged("its head is not one that this program has written")
            expected = _HEAD_SIZE + count * RECORD
            if found.st_size != expected:
                raise Damaged(f"it has {found.st_size} bytes where its head says {expected}")
            ours = self._sum(self._given)
            if boot != self._boot or ours not in (given, now):
                warn("state-not-used", f"{self._path}: of another boot, or of other settings")
                return None
            try:
                self.changes = json.loads(changes.rstrip(b"\0"))
            except ValueError as error:
                raise Damaged(f"its changes cannot be read: {error}") from None
            if ours == now:  # the command line says all that was changed, but perhaps not the hosts
                self.changes = {key: self.changes[key] for key in {HOSTS} & {*self.changes}}
            most = most_records(self.settings)
            if count > most:
                raise Damaged(f"it has {count} records where {most} are the most")
            self._count = count
            return _map(descriptor, found.st_size)
        finally:
            os.close(descriptor)

    def make_room(self, contents: bytes, count: int) -> memoryview | None:
        """Replace the file by one with `count` records, of which `contents` are the first.

        None, and a warning, if there is no room: what comes then is not remembered.
        """
        new = self._path.with_name(f"{self._path.name}.new")
        size = _HEAD_SIZE + count * RECORD
        try:
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
                records = _map(descriptor, size)
                self._count = count
                os.pwrite(descriptor, self._head(), 0)
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

    def change(self, changes: Changes) -> None:
        """Note what has been changed since the start. Raises OSError."""
        self.changes = changes
        with self._path.open("r+b", buffering=0) as file:
            file.write(self._head())

    def _head(self) -> bytes:
        words = json.dumps(self.changes).encode()
        if len(words) > MOST_CHANGES:
            raise OSError(errno.ENOSPC, f"{len(words)} bytes of changes; allowed: {MOST_CHANGES}")
        given, now = self._sum(self._given), self._sum(self.settings)
        head = _HEAD.pack(_MAGIC, self._boot, given, now, self._count, words)
        return head + _CHECKSUM.pack(crc32(head))

    def _sum(self, settings: Settings) -> int:
        # Which hosts there are does not matter to the rules in the file.
        return crc32(repr((replace(settings, hosts=frozenset()), self._rules)).encode())

    def set_aside(self, why: str) -> None:
        """Keep a file that is damaged under another name."""
        bad = self._path.with_name(f"{self._path.name}.bad")
        with contextlib.suppress(OSError):
            self._path.replace(bad)
        warn("state-damaged", f"{self._path}: {why}; set aside as {bad.name}, no rule is known")


class Recovered(NamedTuple):
    """A translator, the picture of its table and its file; whether it begins with a table."""

    translator: Translator
    memory: Memory | None
    file: StateFile
    goes_on: bool


def recover(make: Callable[[Settings], Translator], file: StateFile, now: float) -> Recovered:
    """A translator whose table outlives it. It begins with the table in the file, if any."""
    places = Places()
    try:
        records = file.open()
        translator = make(file.settings)
        if records is not None:
            places = restore(records, translator.settings, translator.table, now)
            translator.adopt()
    except Damaged as damage:
        file.set_aside(str(damage))
        file.changes = {}
        translator, records = make(file.settings), None
    goes_on = records is not None
    if records is None:
        records = file.make_room(b"", FEWEST)
    memory = None
    if records is not None:
        most = most_records(translator.settings)
        memory = Memory(translator, records, most, file.make_room, places)
    return Recovered(translator, memory, file, goes_on)


def _map(descriptor: int, size: int) -> memoryview:
    return memoryview(mmap.mmap(descriptor, size))[_HEAD_SIZE:]
