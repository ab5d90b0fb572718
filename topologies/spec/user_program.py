"""`runs: [{program: …}]` in a topology file: a program of the writer's own, on a host.

    runs:
      - program: ["./my-server", "--port", "5000"]   in this file's folder, absolute, or in PATH
        ready: listening on                          a part of a line that it prints when it serves

It runs in the network's sandbox, but with the user's rights and files: no wall is around it, since
it is to run as it does elsewhere. A topology file may come from a stranger. So a file with such
programs is an error, unless its reader says that they may run (`--programs`).
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from napt_lab.topologies.spec.errors import quoted
from napt_lab.topologies.spec.scalars import one_line
from napt_lab.topologies.spec.yaml_nodes import Entry

MOST_WORDS, LONGEST_WORD = 100, 4096

_ready = one_line("a part of a line", 200)


@dataclass(frozen=True, slots=True)
class UserProgram:
    """A program of the user's, which runs in `folder`, that of the topology file.

    `label`: its name in messages, and in `kill NODE:PROGRAM`. `ready`: see processes.Command.
    """

    label: str
    argv: tuple[str, ...]
    folder: Path
    ready: str | None = None


def read_program(
    item: Entry, folder: Path, taken: Collection[str], *, allowed: bool
) -> UserProgram | None:
    """The program at `item`; None if it is wrong, which is noted.

    `taken`: labels of other programs of this host; `allowed`: whether such programs may run.
    """
    section = item.section("program", "ready", required=("program",))
    entry = section["program"]
    entries = entry.items()
    words = [
        each.read(_word if number else _program_in(folder)) for number, each in enumerate(entries)
    ]
    if entry.is_list() and not 1 <= len(words) <= MOST_WORDS:
        entry.refuse(f"this is a list of {len(words)}; allowed: 1 to {MOST_WORDS} words")
    ready = section.value("ready", _ready)
    argv = tuple(word for word in words if word is not None)
    if not argv or len(argv) != len(words) or len(words) > MOST_WORDS:
        return None
    if not allowed:
        item.refuse(
            f"{quoted(shlex.join(argv))} would run with your rights; allowed: a service, or any "
            "program with --programs (with make: PROGRAMS=1), if you trust this file"
        )
    name = label = Path(argv[0]).name
    number = 1
    while label in taken:
        number += 1
        label = f"{name}.{number}"
    return UserProgram(label, argv, folder.absolute(), ready)


def _word(text: str) -> str:
    if "\0" in text or len(text) > LONGEST_WORD:
        raise ValueError(f"{quoted(text)} cannot be a word of a command; allowed: no zero byte")
    return text


def _program_in(folder: Path) -> Callable[[str], str]:
    """A parser for the first word: a path from `folder` becomes absolute, a name stays."""

    def parse(text: str) -> str:
        form = "allowed: as in ./my-server (in the folder of this file), /usr/bin/nc, or python3"
        if not _word(text):
            raise ValueError(f"this is empty; {form}")
        if "/" not in text:
            return text  # PATH is the node's
        path = str(folder.absolute() / text)
        if shutil.which(path) is None:
            raise ValueError(
                f"there is no program {quoted(text)}, or it is not executable (chmod +x); {form}"
            )
        return path

    return parse
