"""How often the kernel refused a new process because a control group has too many (pids.max).

Containers and login sessions have such limits. A command on a node that cannot start a process
fails like a command of a student's that is wrong; only this counter tells the difference. It is a
file of cgroupfs, which a sandbox does not show, so it is opened before the sandbox is made.
"""

from __future__ import annotations

import os
from pathlib import Path

_counter: int | None = None  # the open file, or None where there is no such limit


def open_counter() -> None:
    """Open the counter of this process's control group, for `refused` in the sandbox."""
    global _counter  # a file descriptor belongs to the process
    if _counter is not None:
        return
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or controllers == "pids":  # version 2, or version 1
            folder = Path("/sys/fs/cgroup", controllers, path.lstrip("/"))
            try:
                _counter = os.open(folder / "pids.events", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:  # the root group has no limit
                continue
            return


def refused() -> int:
    """The number of refusals since the control group was made; 0 without a limit."""
    if _counter is None:
        return 0
    return int(os.pread(_counter, 100, 0).split()[1])  # "max 12"
