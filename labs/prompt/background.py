"""Lines that end in `&`: the prompt starts them itself, to tell later how they ended.

A shell that is given `PROGRAM &` ends at once with status 0, so a failure of PROGRAM would not be
seen. So the prompt takes the `&` off, starts the rest in the background, and watches it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from napt_lab.labs.prompt.at_terminal import in_shell, start
from napt_lab.labs.prompt.labeled import labeled
from napt_lab.labs.stage.output_words import settled
from napt_lab.topologies.network import own_programs
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.processes import Tell

AT_ONCE_SECONDS = 0.2
"""Until a program is taken for one that goes on; what ends later is told later."""
BEGINS_SECONDS = 2.0
"""Until a Python program is expected to say something: that it serves, or why it does not."""
IN_PYTHON = frozenset({*own_programs.COMMANDS, "python", "python3"})
_QUOTED = re.compile(r"""\\.|'[^']*(?:'|$)|"(?:\\.|[^"\\])*(?:"|$)""")
_LAST = re.compile(r"(?<![&|<>])&\s*$")
_COMMENT = re.compile(r"(?:^|\s)#")


def unquoted(line: str) -> str:
    """The line, as long as it was, with `_` for each character that means nothing to a shell."""
    return _QUOTED.sub(lambda quoted: "_" * len(quoted[0]), line)


def without_ampersand(line: str) -> str | None:
    """`PROGRAM …` of `PROGRAM … &`; None of a line that goes on in the foreground."""
    bare = unquoted(line)
    last = _LAST.search(bare)
    if last is None or _COMMENT.search(bare):
        return None
    return line[: last.start()].strip() or None


class Background:
    """What was started in the background at prompts, until its end was told."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []  # "PROGRAM on NODE"

    def start(self, node: Node, line: str, ended: Callable[[int], None]) -> str | None:
        """Have a shell on `node` do a line, without the terminal's keys; what can be said by then.

        What it prints is shown as it comes. If it ends at once, `ended` is called with its exit
        status; None if that is 0.
        """
        word = line.split()[0]
        name = f"{word} on {node.name}"
        # Programs print other things into a pipe, and later, than at a terminal.
        ours, theirs = os.openpty() if sys.stdout.isatty() else os.pipe()
        try:
            process = start(node, in_shell(line), apart=True, output=theirs)
        finally:
            os.close(theirs)
        begun = threading.Event()
        told = labeled(node.name)
        telling = threading.Thread(target=_pass_on, args=(ours, told, begun), daemon=True)
        telling.start()
        if word in IN_PYTHON:
            begun.wait(BEGINS_SECONDS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(AT_ONCE_SECONDS)
            telling.join(AT_ONCE_SECONDS)  # first what it has printed
            ended(status)
            return _end(name, status)
        self._running.append((name, process))
        return f"{name} goes on in the background"

    def news(self) -> list[str]:
        """What has failed since this was asked last."""
        ended = [(name, process) for name, process in self._running if process.poll() is not None]
        self._running = [one for one in self._running if one not in ended]
        ends = [_end(name, process.returncode) for name, process in ended]
        return [end for end in ends if end is not None]


def _pass_on(descriptor: int, tell: Tell, begun: threading.Event) -> None:
    """Tell what is printed there, line by line, until no program is left that could.

    `begun` is set at the first of it, or at the end if there was none.
    """
    rest = b""
    while True:
        try:
            came = os.read(descriptor, 65536)
        except OSError:  # so a terminal ends
            came = b""
        begun.set()
        *lines, rest = (rest + came).split(b"\n")
        if not came and rest:
            lines.append(rest)
        for line in lines:
            tell(settled(line.decode(errors="replace")), False)
        if not came:
            os.close(descriptor)
            return


def _end(name: str, status: int) -> str | None:
    if status == 0:
        return None
    how = f"exit status {status}" if status > 0 else signal.strsignal(-status)
    return f"{name} ended, {how}"
