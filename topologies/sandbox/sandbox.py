"""The sandbox: namespaces of its own for each lab, which vanish with their first process.

Theory of operation (namespaces(7), user_namespaces(7), pid_namespaces(7), prctl(2)):

    outer    the process the user started: waits, forwards signals, ends with the same status
      └─ init   PID 1 of the sandbox: reaps orphans; when it ends, all processes of the sandbox end
           └─ work   returns from `enter()` and goes on

The outer process gets namespaces of its own for network, mounts, host name, IPC and process
numbers (unshare(2)). A user who may not do that gets a user namespace as well, and is root over
these namespaces and over nothing else. Interfaces, nftables and mounts made inside belong to the
namespaces, and the kernel removes namespaces with their last process. So it is enough that no
process survives:

- when init dies, the kernel kills every process of its PID namespace;
- when outer dies, the kernel kills init (PR_SET_PDEATHSIG). If outer died *before* init asked for
  that, no signal comes; init notices it by a pipe whose writing end only outer holds.

Nothing has to be cleaned up, so nothing is left behind, not even after `kill -9`.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import select
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from napt_lab.topologies.sandbox import process_limit

HOSTNAME = "napt-lab"
PRIVATE_MEMORY = (Path("/run"), Path("/dev/shm"))  # each a tmpfs of the sandbox's own
RUN_DIRECTORY = Path("/run/napt-lab")
GRACE = 3.0  # seconds from a signal until the work is killed if it has not ended
OPEN_FILES = 1024  # files that a lab with its nodes and captures may have open at once …
MOST_OPEN_FILES = 4096  # … and a network of a thousand nodes
FAILED, CANNOT_RUN = 1, 3  # exit statuses; CANNOT_RUN: an error of this machine

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
_NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG = 1
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_ADMIN_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
_MARK = RUN_DIRECTORY / ".sandbox"
_libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(Exception):
    """A sandbox cannot be made on this machine or by this user; the text says which step failed."""


def inside() -> bool:
    """Whether this process runs in a sandbox."""
    return _MARK.exists()


def forget_nodes() -> None:
    """Remove the nodes' folders of a network that has ended: the next one finds them empty."""
    for folder in filter(Path.is_dir, RUN_DIRECTORY.iterdir()):
        shutil.rmtree(folder)


def enter() -> None:
    """Make a sandbox and return inside it, in a new process.

    The calling process becomes the outer process: it ends with the status of the work (128 + the
    signal's number if a signal ended it). It forwards SIGTERM, SIGINT and SIGHUP to the work, which
    then has `GRACE` seconds to end. A terminal follows into the sandbox.
    Call it early, before any thread or child process is started.

    Raises:
        SandboxError: the kernel refused. If it refused a namespace, nothing has been changed. If
            it refused a mount, this is raised in PID 1 of the sandbox: print it and exit.
    """
    _enter(foreground_terminal())


def administrators_path() -> str:
    """PATH with the folders of root's programs: on Debian, users do not have them in PATH."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*folders, *(f for f in _ADMIN_FOLDERS if f not in folders)])


def foreground_terminal() -> int | None:
    """The controlling terminal, if this process's group may read from it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    if os.tcgetpgrp(terminal) == os.getpgrp():
        return terminal
    os.close(terminal)
    return None


def take_terminal(terminal: int) -> None:
    """Let this process's group read from the controlling terminal, and no other group."""
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    os.tcsetpgrp(terminal, os.getpgrp())
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def fork_into(work: Callable[[], int]) -> int:
    """Run `work` in a sandbox, in a child process; its return value is the child's exit status.

    Returns the process number of the child, which ends when the work has ended and the sandbox
    is gone. Killing the child, or the end of the caller, ends the sandbox. The status is
    CANNOT_RUN if no sandbox can be made, FAILED if `work` raises an exception (it is printed).
    """
    sys.stdout.flush()  # else both processes would write the content of the buffers
    sys.stderr.flush()
    caller = os.getpid()
    child = os.fork()
    if child:
        return child
    status = FAILED
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == caller:  # else the caller died before we asked for the signal
            _enter(terminal=None)
            status = work()
    except SandboxError as error:
        print(f"napt-lab: {error}", file=sys.stderr)
        status = CANNOT_RUN
    except Exception:  # noqa: BLE001  # printed; a forked child must not return
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # never return into the caller's stack, even if the reader is gone
            os._exit(status)


def _enter(terminal: int | None) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    process_limit.open_counter()
    _leave_namespaces()
    signals = _passed_on()
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals | {signal.SIGTTOU})
    outer_lives, outer_holds = os.pipe()
    init = os.fork()
    if init:
        os.close(outer_lives)
        os.setpgid(init, init)
        if terminal is not None:
            os.tcsetpgrp(terminal, init)
        with contextlib.suppress(BrokenPipeError):  # init was killed: seen below
            os.write(outer_holds, b"go")
        status = _supervise(init, signals, also_from_terminal=True)
        if terminal is not None:
            os.tcsetpgrp(terminal, os.getpgrp())
        os._exit(status)
    os.close(outer_holds)
    _die_with_outer(outer_lives)
    try:
        _furnish()
    except OSError as error:
        raise SandboxError(f"the sandbox cannot be furnished: {error}") from error
    work = os.fork()
    if work:
        # A terminal sends its signals (Ctrl-C) to the whole process group, the work included.
        os._exit(_supervise(work, signals, also_from_terminal=False))
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    os.environ["PATH"] = administrators_path()
    _allow_open_files()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if number in signals:
            signal.signal(number, _leave)
    if terminal is not None:
        # Ctrl-Z would stop us for ever: the shell knows only the outer process, which goes on.
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)
        os.close(terminal)


def _leave_namespaces() -> None:
    """Make the namespaces (unshare(2)), with a user namespace only if there is no other way."""
    uid, gid = os.geteuid(), os.getegid()
    if _may_administer():
        _call("new namespaces", _libc.unshare(_NAMESPACES))
        return
    _call("a user namespace with namespaces in it", _libc.unshare(_NAMESPACES | CLONE_NEWUSER))
    try:
        # An ordinary user may map a group only after giving up setgroups(2).
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="ascii")
    except OSError as error:
        raise SandboxError(f"root cannot be mapped in a user namespace: {error}") from error


def _may_administer() -> bool:
    """Whether this process may make and configure namespaces without a user namespace."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    needed = 1 << _CAP_SYS_ADMIN | 1 << _CAP_NET_ADMIN
    return effective & needed == needed


def _furnish() -> None:
    """Set up mounts, loopback and host name of the new namespaces. Runs as PID 1."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _protect_global_settings()
    for folder, mode in zip(PRIVATE_MEMORY, ("755", "1777"), strict=True):
        if folder.exists():
            options = f"mode={mode},size=512m"
            _mount("tmpfs", str(folder), "tmpfs", _MS_NOSUID | _MS_NODEV, options)
    RUN_DIRECTORY.mkdir(mode=0o755)
    _MARK.touch()
    # /sys/class/net shows the namespace in which it was mounted. A container may refuse the mount;
    # only programs that read /sys/class/net notice.
    with contextlib.suppress(PermissionError):
        _mount("sysfs", "/sys", "sysfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    with contextlib.suppress(
        PermissionError
    ):  # podman's seccomp filter refuses it; the name is only shown
        socket.sethostname(HOSTNAME)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        flags = struct.unpack("16sH14x", answer)[1] | _IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))


def _allow_open_files() -> None:
    """Raise the soft limit of open files to what a network needs, or to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < MOST_OPEN_FILES:
        enough = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MOST_OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


def _protect_global_settings() -> None:
    """Keep root from changing settings that all namespaces share (Mininet raises fs.file-max)."""
    for folder in Path("/proc/sys").iterdir():
        if folder.name != "net" and os.access(folder, os.R_OK) and _any_writable(folder):
            _mount(str(folder), str(folder), None, _MS_BIND)
            hidden = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_RDONLY
            _mount(None, str(folder), None, _MS_REMOUNT | _MS_BIND | hidden)


def _any_writable(folder: Path) -> bool:
    # In a user namespace they are read-only anyway, and a mount over them would keep a sandbox
    # inside this one from mounting its own /proc.
    return any(os.access(setting, os.W_OK) for setting in folder.iterdir() if setting.is_file())


def _die_with_outer(outer_lives: int) -> None:
    """Arrange to be killed when the outer process dies, or has died already. Runs as PID 1."""
    os.setpgid(0, 0)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    started = os.read(outer_lives, 2)
    poll = select.poll()
    poll.register(outer_lives, select.POLLIN)
    if not started or poll.poll(0):  # the writing end is closed: outer is dead
        os._exit(128 + signal.SIGKILL)
    os.close(outer_lives)


def _supervise(child: int, signals: set[signal.Signals], *, also_from_terminal: bool) -> int:
    """Wait for `child`, reap orphans, forward signals; returns the exit status of `child`.

    If it does not end in time after a signal, it is killed, and the status is that of the signal.
    """
    kill_at: float | None = None
    first = killed_for = 0
    while True:
        wait = 3600.0 if kill_at is None else max(0.0, kill_at - time.monotonic())
        received = signal.sigtimedwait(signals, wait)
        if received is None:
            if kill_at is not None:
                os.kill(child, signal.SIGKILL)
                killed_for = first
        elif received.si_signo != signal.SIGCHLD and (also_from_terminal or received.si_code <= 0):
            os.kill(child, received.si_signo)
            first = first or received.si_signo
            kill_at = kill_at or time.monotonic() + GRACE
        while True:
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == child:
                code = os.waitstatus_to_exitcode(status)
                if code == -signal.SIGKILL:
                    code = -(killed_for or signal.SIGKILL)
                return code if code >= 0 else 128 - code
            if not ended:
                break


def _passed_on() -> set[signal.Signals]:
    """The signals that a supervisor waits for, without those that our parent process ignores."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    wanted = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
    return {s for s in wanted if signal.getsignal(s) != signal.SIG_IGN} | {signal.SIGCHLD}


def _leave(number: int, _frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
    raise SystemExit(128 + number)


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    texts = [text.encode() if text is not None else None for text in (source, kind, data)]
    if _libc.mount(texts[0], target.encode(), texts[1], ctypes.c_ulong(flags), texts[2]):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {kind or source or ''}: {os.strerror(number)}", target)


def _call(what: str, result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise SandboxError(f"the kernel refuses {what}: {os.strerror(number)}")
