"""Programs on nodes that have the terminal: their start, their end, and what they leave of it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Sequence

from napt_lab.topologies.network.node import Node


def in_shell(line: str) -> list[str]:
    """The command that has a shell do a line."""
    return ["bash", "-c", line]


def start(
    node: Node, command: Sequence[str], *, apart: bool = False, output: int | None = None
) -> subprocess.Popen[bytes]:
    """A process that has the terminal; or, `apart`, a group of processes without its keys.

    `output`: a descriptor that takes all that it prints.
    """
    return subprocess.Popen(
        [*node.entry, *command],
        env=node.environment,
        cwd=node.home,
        stdin=subprocess.DEVNULL if apart else None,
        stdout=output,
        stderr=output,
        process_group=0 if apart else None,
    )


def wait(process: subprocess.Popen[bytes], patience: float, remark: Callable[[], None]) -> int:
    """Its status, at its end; if that does not come within `patience` seconds, after a remark."""
    end = os.pidfd_open(process.pid)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # it was meant for the command
            if not select.select([end], [], [], patience)[0]:
                remark()
    finally:
        os.close(end)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the command got it as well
            continue


def is_drawn_on() -> bool:
    """Whether a program has the terminal's keys one by one (a pager, an editor)."""
    try:
        return not termios.tcgetattr(sys.stdin)[3] & termios.ICANON
    except (termios.error, OSError, ValueError):  # no terminal
        return False


@contextlib.contextmanager
def terminal_as_it_was() -> Iterator[None]:
    """What a program did to the terminal (no echo, raw keys) ends with it, however it ended."""
    try:
        settings = termios.tcgetattr(sys.stdin)
    except (termios.error, OSError, ValueError):  # no terminal
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
