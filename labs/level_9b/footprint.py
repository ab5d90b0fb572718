"""What a server leaves on its machine: in files, in its memory, in its kernel's buffers.

Theory of operation (proc(5)). Whatever a process keeps of what passes it must be somewhere:

- *in a file that is still there*: its node's folder is listed;
- *in a file that is open*, even if it has no name any more: /proc/PID/fd;
- *in a file that was written and is gone*: /proc/PID/io counts what was written by write(2)
  (wchar; splice(2) and send(2), with which a relay passes bytes on, are not in it) and what
  was to go to a disk (write_bytes);
- *in its memory*: VmHWM in /proc/PID/status, the most that was ever resident;
- *in the kernel*, on the way from socket to socket: what came in at its interface and has not
  gone out (/proc/net/dev).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from topologies.namespaces import visit
from topologies.node import Node
from topologies.processes import Process


@dataclass(frozen=True, slots=True)
class Footprint:
    """What there was of a server at one moment; everything in bytes."""

    folder: int  # in files of its node
    written: int  # by write(2), since it started
    to_disk: int
    resident: int
    most_resident: int
    came_in: int  # at its interface
    went_out: int

    @property
    def held(self) -> int:
        """What came and has not gone, headers included."""
        return self.came_in - self.went_out


def footprint(node: Node, server: Process) -> Footprint:
    """Look at a server now."""
    io = _numbers(Path(f"/proc/{server.pid}/io"))
    status = _numbers(Path(f"/proc/{server.pid}/status"))
    came_in, went_out = visit(node.pid, _traffic)
    return Footprint(
        folder=sum(path.stat().st_size for path in node.home.rglob("*") if path.is_file()),
        written=io["wchar"],
        to_disk=io["write_bytes"],
        resident=status["VmRSS"] * 1024,
        most_resident=status["VmHWM"] * 1024,
        came_in=came_in,
        went_out=went_out,
    )


def open_files(server: Process) -> list[str]:
    """The files that a server has open, nameless ones too; not its sockets and pipes."""
    descriptors = list(Path(f"/proc/{server.pid}/fd").iterdir())
    files = [str(d.readlink()) for d in descriptors if stat.S_ISREG(d.stat().st_mode)]
    return [path for path in files if path.startswith("/")]  # a namespace has no path


def buffers(node: Node) -> int:
    """How much a node's kernel may hold of one TCP connection that comes in and one that goes out.

    In bytes: the largest receive buffer of the first and the largest send buffer of the second.
    """

    def largest(name: str) -> int:
        return int(Path(f"/proc/sys/net/ipv4/{name}").read_text(encoding="ascii").split()[2])

    return visit(node.pid, lambda: largest("tcp_rmem") + largest("tcp_wmem"))


def _numbers(path: Path) -> dict[str, int]:
    numbers = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if value.split()[:1] and value.split()[0].isdigit():
            numbers[name] = int(value.split()[0])
    return numbers


def _traffic() -> tuple[int, int]:
    """Bytes received and sent at eth0, of the namespace in which this runs."""
    # /proc/net is that of the process; a thread that visits a node has one of its own.
    table = Path("/proc/thread-self/net/dev")
    for line in table.read_text(encoding="ascii").splitlines():
        name, _, columns = line.partition(":")
        if name.strip() == "eth0":
            return int(columns.split()[0]), int(columns.split()[8])
    raise OSError("no eth0 in /proc/net/dev")
