"""This machine, as the checks of preflight.py see it.

A check looks at the machine only through the fields of `Machine`, so that a test can replace them
and show it any broken machine.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from napt_lab.topologies.sandbox import neighbor_table, sandbox
from napt_lab.topologies.sandbox.trial import TUN

TRIAL_TIMEOUT = 20.0  # seconds


@dataclass(frozen=True)
class Trial:
    """The result of trial.py: why there is no sandbox, or what was refused in it, and why."""

    no_sandbox: str = ""
    refused: dict[str, str] = field(default_factory=dict)


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _open_tun() -> None:
    os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))


def _which(program: str) -> str | None:
    return shutil.which(program, path=sandbox.administrators_path())


def _sees_mininet() -> bool:
    return importlib.util.find_spec("mininet") is not None


def _try() -> Trial:
    command = [sys.executable, "-P", "-m", "napt_lab.topologies.sandbox.trial"]
    try:
        tried = subprocess.run(
            command, capture_output=True, text=True, timeout=TRIAL_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial(no_sandbox=f"the trial timed out after {TRIAL_TIMEOUT:g} s")
    if tried.returncode:
        *_, said = [
            "",
            *tried.stderr.splitlines(),
        ]  # the last line, also of a traceback, has the error
        return Trial(no_sandbox=said or f"the trial ended with status {tried.returncode}")
    lines = (line.partition("\t")[::2] for line in tried.stdout.splitlines())
    return Trial(refused=dict(lines))


@dataclass(frozen=True)
class Machine:
    """The ways in which a check may look at the machine."""

    system: str = platform.system()
    uid: int = field(default_factory=os.geteuid)
    read: Callable[[str], str] = _read  # raises OSError
    exists: Callable[[str], bool] = os.path.exists
    open_tun: Callable[[], None] = _open_tun  # raises OSError
    which: Callable[[str], str | None] = _which
    sees_mininet: Callable[[], bool] = _sees_mininet
    open_files: Callable[[], tuple[int, int]] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)
    neighbors: Callable[[], neighbor_table.NeighborTable] = neighbor_table.read
    attempt: Callable[[], Trial] = _try
    job: bool = (
        os.environ.get("GITHUB_ACTIONS") == "true"
    )  # whether this is a job on a GitHub runner

    def setting(self, name: str) -> str | None:
        """The value of a sysctl; None if this kernel does not have it."""
        try:
            return self.read(f"/proc/sys/{name.replace('.', '/')}").strip()
        except OSError:
            return None

    def free_memory(self) -> int | None:
        """Bytes that programs may still take; None if the kernel does not say."""
        found = []
        with contextlib.suppress(OSError):  # a system without /proc/meminfo
            lines = self.read("/proc/meminfo").splitlines()
            found = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvail")]
        left = self._left_in_cgroup("memory")
        return min([*found, *([] if left is None else [left])], default=None)

    def free_tasks(self) -> int | None:
        """Processes and threads that may still begin; None if the kernel does not say."""
        threads, left = self.setting("kernel.threads-max"), self._left_in_cgroup("pids")
        found = [int(threads)] if threads else []
        return min([*found, *([] if left is None else [left])], default=None)

    def _left_in_cgroup(self, kind: str) -> int | None:
        """What a container's limit leaves; None if it has none."""
        try:
            most, now = (
                self.read(f"/sys/fs/cgroup/{kind}.{which}").strip() for which in ("max", "current")
            )
        except OSError:
            return None
        return None if most == "max" else int(most) - int(now)

    def mounts_on_proc(self) -> str:
        """The places in /proc with something mounted over them, except the usual one."""
        try:
            lines = self.read("/proc/self/mountinfo").splitlines()
        except OSError:
            return ""
        places = dict.fromkeys(line.split()[4] for line in lines)
        usual = "/proc/sys/fs/binfmt_misc"
        return " ".join(p for p in places if p.startswith("/proc/") and p != usual)

    def container(self) -> bool:
        """Whether this runs in a container."""
        return any(
            map(self.exists, ("/.dockerenv", "/run/.containerenv", "/run/systemd/container"))
        )

    def wsl(self) -> bool:
        """Whether the kernel is that of the Windows Subsystem for Linux."""
        return "microsoft" in (self.setting("kernel.osrelease") or "").lower()

    def sudo(self, command: str) -> str:
        """The command as this user must type it to run it as root."""
        return command if self.uid == 0 else f"sudo {command}"

    def sysctl(self, name: str, value: str) -> str:
        """The fix that sets a sysctl: a command, or in a job on a runner a step of the workflow."""
        command = self.sudo(f"sysctl -w {name}={value}")
        return f"- run: {command}   # a step before this one" if self.job else command

    def modprobe(self, module: str) -> str:
        """The fix that loads a module. Old kernels of WSL have no modules: there, update WSL."""
        command = self.sudo(f"modprobe {module}")
        return f"{command} || wsl.exe --update" if self.wsl() else command
