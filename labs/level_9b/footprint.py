"""What a server keeps: in files, in its memory, in its kernel's buffers.

Theory of operation (proc(5), tmpfs(5)). What a node keeps of the bytes that pass it must be in one
of these places. All processes on the node are looked at, the server's children too:

- *in a file that is still there*: its node's folder is listed;
- *in a file in memory* (tmpfs), however it was written, whether it has a name or not: the kernel
  says how much each such file system holds. A node can write only to those of the sandbox, where
  no other program of the machine writes (see `confine`). System V shared memory is as much;
- *in a file on a disk*, even if it is gone: /proc/PID/io counts what was to go to a disk, whether
  by write(2), splice(2) or mmap(2) (write_bytes), and what was written by write(2) to anything
  (wchar; splice(2) and send(2), with which a relay passes bytes on, are not in it);
- *in a file that is open*: /proc/PID/fd, at the moment of the look;
- *in its memory*: VmHWM in /proc/PID/status, the most that was ever resident;
- *in the kernel*, on the way from socket to socket: while nothing is taken out at the far end,
  all that came in at its interface (/proc/net/dev).

Not seen: a process that came and went between two looks, and whose parent had left it, takes
its own counters with it; what it left in a file in memory is found all the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napt_lab.topologies.network.namespaces import visit, write_sysctls
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.sandbox.sandbox import PRIVATE_MEMORY

MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "devtmpfs", "ramfs"})


@dataclass(frozen=True, slots=True)
class Footprint:
    """What there was of a node's programs at one moment; everything in bytes."""

    folder: int  # in files of its node
    in_memory: int  # in files in memory, of all nodes: they share the file systems
    written: int  # by write(2), since it started
    to_disk: int
    resident: int
    most_resident: int
    came_in: int  # at its interface


def footprint(node: Node) -> Footprint:
    """Look at a node now."""
    pids = processes(node)
    io = [_numbers(pid, "io") for pid in pids]
    status = [_numbers(pid, "status") for pid in pids]
    return Footprint(
        folder=sum(path.stat().st_size for path in node.home.rglob("*") if path.is_file()),
        in_memory=_files_in_memory(pids) + _shared_memory(),
        written=sum(numbers.get("wchar", 0) for numbers in io),
        to_disk=sum(numbers.get("write_bytes", 0) for numbers in io),
        resident=sum(numbers.get("VmRSS", 0) for numbers in status) * 1024,
        most_resident=sum(numbers.get("VmHWM", 0) for numbers in status) * 1024,
        came_in=visit(node.pid, _came_in),
    )


def processes(node: Node) -> list[int]:
    """The numbers of all processes on a node, but that which only holds its namespaces."""
    network = Path(f"/proc/{node.pid}/ns/net").readlink()
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(node.pid):
            with contextlib.suppress(OSError):  # it has just ended
                if (entry / "ns/net").readlink() == network:
                    pids.append(int(entry.name))
    return pids


def open_files(node: Node) -> set[str]:
    """The files that a node's programs have open, nameless ones too; not sockets and pipes."""
    files = set()
    for pid in processes(node):
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                if stat.S_ISREG(descriptor.stat().st_mode):
                    files.add(str(descriptor.readlink()))
    return {path for path in files if path.startswith("/")}  # a namespace has no path


def confine(node: Node) -> None:
    """Let a node write to no file system in memory but the sandbox's own.

    To the others, such as /dev, every program of the machine may write, so their bytes cannot be
    attributed to the node. Raises OSError if the kernel refuses.
    """
    own = {path.stat().st_dev for path in PRIVATE_MEMORY if path.exists()}
    for mount in _writable_memory(node.pid):
        if mount.device not in own:
            options = mount.options.replace("rw", "ro", 1)
            done = node.run(["mount", "-o", f"remount,bind,{options}", mount.point])
            if done.status != 0:
                raise OSError(f"{node.name}: {done.stderr.strip()}")


def bound_buffers(node: Node) -> None:
    """Let no TCP connection of a node hold more than 6 MiB that its program has not read.

    Newer kernels allow 32 MiB, and two nodes with as much could hold half of the film.
    """
    visit(node.pid, lambda: write_sysctls({"ipv4/tcp_rmem": "4096 131072 6291456"}))


def buffers(node: Node) -> int:
    """How much a node's kernel may hold of one TCP connection that comes in and one that goes out.

    In bytes: the largest receive buffer of the first and the largest send buffer of the second.
    """

    def largest(name: str) -> int:
        return int(Path(f"/proc/sys/net/ipv4/{name}").read_text(encoding="ascii").split()[2])

    return visit(node.pid, lambda: largest("tcp_rmem") + largest("tcp_wmem"))


@dataclass(frozen=True, slots=True)
class _Mount:
    point: str  # where its process sees it
    seen: Path  # where we see it
    device: int
    options: str


def _writable_memory(pid: int) -> Iterator[_Mount]:
    """The file systems in memory that a process can write to."""
    for line in Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        _, _, device, _, point, options, *_ = before.split()
        if after.split()[0] not in MEMORY_FILE_SYSTEMS or "rw" not in options.split(","):
            continue
        point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point)
        seen = Path(f"/proc/{pid}/root{point}")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            number = seen.stat().st_dev
            if f"{os.major(number)}:{os.minor(number)}" == device:  # else another mount hides it
                yield _Mount(point, seen, number, options)


def _files_in_memory(pids: list[int]) -> int:
    used = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for mount in _writable_memory(pid):
                space = os.statvfs(mount.seen)
                used[mount.device] = (space.f_blocks - space.f_bfree) * space.f_frsize
    return sum(used.values())


def _shared_memory() -> int:
    heading, *segments = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()
    size = heading.split().index("size")
    return sum(int(segment.split()[size]) for segment in segments)


def _numbers(pid: int, file: str) -> dict[str, int]:
    numbers: dict[str, int] = {}
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        text = Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace")
        for line in text.splitlines():
            name, _, value = line.partition(":")
            if value.split()[:1] and value.split()[0].isdigit():
                numbers[name] = int(value.split()[0])
    return numbers


def _came_in() -> int:
    """Bytes received at eth0, of the namespace in which this runs."""
    # /proc/net is that of the process; a thread that visits a node has one of its own.
    table = Path("/proc/thread-self/net/dev")
    for line in table.read_text(encoding="ascii").splitlines():
        name, _, columns = line.partition(":")
        if name.strip() == "eth0":
            return int(columns.split()[0])
    raise OSError("no eth0 in /proc/net/dev")
