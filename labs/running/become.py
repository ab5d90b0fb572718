"""Become a command as a shell does with `exec`: PATH, scripts, exit statuses 126 and 127.

It is run by its path, without site-packages, so that it starts at once: it imports nothing of the
project.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

NOT_FOUND, CANNOT_RUN = 127, 126
# What leads to no file at all (POSIX, Exit Status for Commands); bash says 126 to some of them.
NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
HEAD = 128  # bytes of a file's first line that are looked at


def main(command: list[str]) -> int:
    """Become the command. If that fails, say why; the exit status is a shell's."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, other programs do not
        signal.signal(number, signal.SIG_DFL)
    word = command[0]
    searched = [f"{folder or '.'}/{word}" for folder in os.get_exec_path() if word]
    paths = filter(os.path.lexists, searched)  # there may be folders that are closed to this user
    status, why = NOT_FOUND, "not found"
    for path in [word] if "/" in word else paths:
        try:
            become(path, command)
        except OSError as error:
            if status == NOT_FOUND:  # the search goes on, but this is what is told
                status = NOT_FOUND if error.errno in NOWHERE else CANNOT_RUN
                why = reason(error, Path(path))
    if status == NOT_FOUND and len(word.split()) > 1:
        why += f"; write the program and its arguments as separate words: {word}"
    print(f"napt-lab: {word}: {why}", file=sys.stderr)
    return status


def become(path: str, command: list[str]) -> None:
    """Become the program in a file; OSError if the kernel refuses it."""
    try:
        os.execv(path, command)
    except OSError as error:
        # A text without `#!` is a script for sh (POSIX, Command Search and Execution).
        if error.errno != errno.ENOEXEC or is_binary(first_line(path)):
            raise
        os.execv("/bin/sh", ["sh", path, *command[1:]])


def first_line(path: str) -> bytes:
    """What tells a script from a program for another machine."""
    with Path(path).open("rb") as file:
        return file.readline(HEAD)


def is_binary(line: bytes) -> bool:
    """Whether a file that begins so is no text."""
    return b"\0" in line or line.startswith(b"\x7fELF")


def reason(error: OSError, path: Path) -> str:
    """Why a file could not be run."""
    if error.errno == errno.EACCES and os.path.isdir(path):  # noqa: PTH112  # raises nothing
        return "is a directory"
    if error.errno == errno.ENOENT:
        return "its interpreter is not found" if path.exists() else "not found"
    return str(error.strerror).lower()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
