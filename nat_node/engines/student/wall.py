"""The wall around a student's file: what its process can see, have, and ask of the kernel.

Theory of operation (user_namespaces(7), mount_setattr(2), seccomp(2)). The file may come from a
stranger, who wants it to mark itself, to read the answers or to do harm. So it runs in a program
started afresh (with nothing of the node's memory or environment), which takes itself behind the
wall before it is given the file:

1. `separate` makes namespaces. In its own user namespace the process has no right over anything
   outside. It sees no other process (PID), no interface (net), no shared memory (IPC), no
   abstract Unix socket (net) and none of the node's mounts.
2. `enter` makes a root folder in which only Python's library is, read-only. There is no /proc,
   no $HOME, no file of this project, no other student's file, and not even the file itself: its
   source comes through the channel.
3. It gives up all capabilities, for ever (no_new_privs).
4. A system-call filter admits what computing needs: no new process or thread, no socket, no
   signal, no memory but its own. So the bound on its own memory is the bound on all of it.

Everything is done once, before the first packet. Where the kernel refuses a part, WallError says
which, and the file is not run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = "/proc"  # where the new root folder is put together: no library is below it

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000
_NEWUSER, _NEWPID, _NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
_NAMESPACES = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWUSER | _NEWPID | _NEWNET

_RDONLY, _NOSUID, _NODEV, _BIND, _MOVE, _REC, _PRIVATE = 1, 2, 4, 4096, 8192, 16384, 1 << 18
_HERE, _RECURSIVE = -100, 0x8000  # AT_FDCWD, AT_RECURSIVE
_MOUNT_SETATTR = 442  # the same number on every processor
_SET_SECCOMP, _FILTER, _NO_NEW_PRIVS = 22, 2, 38
_CAPABILITIES_3 = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)

#: Each system call that a process needs for computing, reading the library and answering the node:
#: its numbers on x86-64 and in the table that newer processors share.
_CALLS = {
    "read": (0, 63), "write": (1, 64), "open": (2, None), "close": (3, 57), "stat": (4, None),
    "fstat": (5, 80), "lstat": (6, None), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67),
    "readv": (19, 65), "writev": (20, 66), "access": (21, None), "sched_yield": (24, 124),
    "mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23), "nanosleep": (35, 101),
    "getpid": (39, 172), "sendto": (44, 206), "recvfrom": (45, 207), "exit": (60, 93),
    "uname": (63, 160), "fcntl": (72, 25), "getcwd": (79, 17), "readlink": (89, None),
    "gettimeofday": (96, 169), "getrusage": (98, 165), "times": (100, 153), "getuid": (102, 174),
    "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "sigaltstack": (131, 132),
    "gettid": (186, 178), "time": (201, None), "futex": (202, 98),
    "sched_getaffinity": (204, 123), "getdents64": (217, 61), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "exit_group": (231, 94),
    "openat": (257, 56), "newfstatat": (262, 79), "readlinkat": (267, 78),
    "faccessat": (269, 48), "getrandom": (318, 278), "membarrier": (324, 283),
    "statx": (332, 291), "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip
#: The kernel's name for the processor (AUDIT_ARCH), and the column above.
_PROCESSORS = {
    "x86_64": (0xC000_003E, 0),
    "aarch64": (0xC000_00B7, 1),
    "riscv64": (0xC000_00F3, 1),
}


class WallError(Exception):
    """This machine refuses a part of the wall; the text says which. The file was not run."""


def separate() -> int:
    """Fork into namespaces of one's own. Returns 0 there, as os.fork() does."""
    uid, gid = os.geteuid(), os.getegid()
    with _saying("namespaces of its own"):
        _must(_libc.unshare(_NAMESPACES))
        for name, text in (
            ("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"),
        ):  # fmt: skip
            Path("/proc/self", name).write_text(text, encoding="ascii")
        return os.fork()


def enter() -> None:
    """Close the wall behind this process, for ever. Call it as the first of its namespaces."""
    with _saying("a root folder of its own"):
        _change_root(list(_libraries()))
    with _saying("to give up capabilities"):
        _must(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
        nothing = struct.pack("6I", *[0] * 6)
        _must(_libc.capset(struct.pack("Ii", _CAPABILITIES_3, 0), nothing))
    with _saying("a filter for system calls"):
        _filter_calls()


def _libraries() -> Iterator[str]:
    """The folders that Python needs: its own library, and those of C."""
    yield from ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
    for prefix in {sys.base_prefix, sys.base_exec_prefix} - {"/usr"}:
        yield f"{prefix}/lib"


def _change_root(folders: list[str]) -> None:
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("tmpfs", ROOT, "tmpfs", _NOSUID | _NODEV, "mode=755,size=1m")
    for folder in [folder for folder in folders if Path(folder).exists()]:
        place = Path(f"{ROOT}{folder}")
        if Path(folder).is_symlink():
            place.symlink_to(Path(folder).readlink())
        else:
            place.mkdir(parents=True)
            _mount(folder, str(place), None, _BIND | _REC)
    # Where this project is installed among the libraries, its solutions are as well.
    ours = Path(f"{ROOT}{Path(__file__).resolve().parents[3]}")
    if ours.exists():
        _mount("tmpfs", str(ours), "tmpfs", _NOSUID | _NODEV, "mode=755,size=1m")
    attributes = struct.pack("4Q", _RDONLY | _NOSUID | _NODEV, 0, 0, 0)
    _must(
        _libc.syscall(_MOUNT_SETATTR, _HERE, ROOT.encode(), _RECURSIVE, attributes, len(attributes))
    )
    os.chdir(ROOT)
    _mount(ROOT, "/", None, _MOVE)  # over the old root, which no path leads to any more
    os.chroot(".")


def _filter_calls() -> None:
    """Every other system call fails with EPERM: "Operation not permitted"."""
    machine = os.uname().machine
    if machine not in _PROCESSORS or struct.calcsize("P") != 8:
        raise OSError(f"it is not written for this processor, {machine}")
    processor, column = _PROCESSORS[machine]
    numbers = [number for call in _CALLS.values() if (number := call[column]) is not None]
    load, equal, answer = 0x20, 0x15, 0x06  # instructions of BPF: u16 what, u8 if, u8 else, u32
    kill, refuse, admit = 0x8000_0000, 0x0005_0001, 0x7FFF_0000
    lines = [(load, 0, 0, 4), (equal, 1, 0, processor), (answer, 0, 0, kill), (load, 0, 0, 0)]
    left = range(len(numbers), 0, -1)
    lines += [(equal, up, 0, number) for up, number in zip(left, numbers, strict=True)]
    lines += [(answer, 0, 0, refuse), (answer, 0, 0, admit)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(code))
    _must(_libc.prctl(_SET_SECCOMP, _FILTER, program, 0, 0))


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    texts = [text.encode() if text is not None else None for text in (source, kind, data)]
    _must(_libc.mount(texts[0], target.encode(), texts[1], ctypes.c_ulong(flags), texts[2]))


def _must(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WallError(f"the kernel refuses {what}: {error.strerror or error}") from error
