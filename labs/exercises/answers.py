"""Answers: what a student does, as lines, one command each.

    set napt mapping endpoint-independent          where the exercise lets a setting be changed
    rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080
    rule del napt_a tcp 24.9.3.7:8080
    bob curl -m 2 -o holiday.jpg http://24.9.3.7:8080/holiday.jpg
    alice turn-client … &         goes on while the next lines are done

They are the lines that are typed at the prompt of an exercise, in their order: a rule that is
added after the connection was tried is so in a file as well. A file has them by exercise:

    door:
      - rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080
      - bob curl -m 2 -o holiday.jpg http://24.9.3.7:8080/holiday.jpg

Commands of the prompt that only look (`why`, `check`) are left out of a file without a word.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.exercises.programs import check_program
from napt_lab.labs.prompt.rule_words import without_arrow
from napt_lab.topologies.network import own_programs
from napt_lab.topologies.spec.errors import Problems, TopologyError, not_one_of, quoted
from napt_lab.topologies.spec.loader import read_file
from napt_lab.topologies.spec.yaml_nodes import MAX_BYTES, Entry, compose, is_no_yaml

WHAT = "the name of an exercise, and below it a list of lines"
MAX_LINES = 50
MOST_PIECES = 200  # each is read with all lines above it
MAX_LINE = 500  # characters
PROTOCOLS = ("tcp", "udp")
#: What is typed at a prompt and changes nothing.
LOOKS = frozenset({"?", "check", "draw", "h", "help", "hint", "intfs", "net", "nodes", "packets",
                   "progress", "rules", "task", "transcript", "why"})  # fmt: skip
_INSTEAD = {
    "shell": "what is typed in a shell cannot be marked; allowed: each command after the name of "
    "its node, as in: bob curl …",
    "packets": "a file has only what is done; allowed: the words after `while`",
    **dict.fromkeys(
        ("reset", "solve", "next", "quit", "exit"),
        "a file has no such command; allowed: only the lines that count, in their order",
    ),
}
_ENDPOINT = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}:[0-9]{1,5}")
_EXTERNAL = re.compile(rf"(?:{_ENDPOINT.pattern}|[0-9]{{1,5}})")  # the NAPT has one address
_PIECE = re.compile(rb"^(?=[^\s#\]}-])", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an answer; where in its file it is: `number`, and `path`, as in `door[0]`."""

    text: str
    words: tuple[str, ...]
    number: int = 1
    path: str = ""

    @property
    def background(self) -> bool:
        return self.words[-1] == "&"


@dataclass(frozen=True, slots=True)
class Answers:
    """A file of answers: lines by the name of an exercise, and what is wrong with the others."""

    path: Path
    lines: dict[str, tuple[Line, ...]]
    problems: Problems


def parse_line(text: str, number: int = 1, path: str = "") -> Line:
    """A line of this language, whatever its words mean. Raises ValueError."""
    if not text.isprintable() or len(text) > MAX_LINE:
        raise ValueError(f"{quoted(text)} is not a line; allowed: at most {MAX_LINE} characters")
    node, *typed = shlex.split(text) or [""]
    if node == "rule":
        typed = without_arrow(typed)
    words = (node, *(own_programs.renamed(typed) or typed))
    if not node:
        raise ValueError("an empty line; allowed: a command, as in: rule add …")
    return Line(" ".join(text.split()), words, number, path)


def load_answers(path: Path, exercises: Iterable[str], *, in_pieces: bool = False) -> Answers:
    """The answers in the file at `path` to these exercises. TopologyError if it is not YAML.

    `in_pieces`: if the file as a whole is not YAML, each exercise in it is read by itself. What is
    wrong with one is noted, and the others count.
    """
    problems = Problems(str(path))
    data = read_file(path)
    names = list(exercises)
    lines: dict[str, tuple[Line, ...]] = {}
    for top in _tops(data, problems, in_pieces=in_pieces):
        for name, entry in top.named().items():
            if name not in names:
                entry.refuse(not_one_of(f"there is no exercise {quoted(name)} here", name, names))
            elif name in lines:
                entry.refuse("this exercise is also above; allowed: once")
            else:
                read = tuple(line for item in entry.items() if (line := _read(item)))
                if len(read) > MAX_LINES:
                    entry.refuse(f"{len(read)} lines; allowed: {MAX_LINES}")
                lines[name] = read[:MAX_LINES]
    return Answers(path, lines, problems)


def _tops(data: bytes, problems: Problems, *, in_pieces: bool) -> list[Entry]:
    """The file's top, or that of each piece that begins at the margin and is YAML."""
    pieces = [data]
    if in_pieces and len(data) <= MAX_BYTES and _PIECE.search(data) and is_no_yaml(data):
        pieces = _PIECE.split(data)
    if not 1 < len(pieces) <= MOST_PIECES:
        return [compose(data, problems, WHAT)]
    tops, above = [], 0
    for piece in pieces:
        if _PIECE.match(piece):  # else it has comments only
            with contextlib.suppress(TopologyError):  # it is noted
                tops.append(compose(b"\n" * above + piece, problems, WHAT))
        above += piece.count(b"\n")
    if not tops:
        problems.raise_if_any()
    return tops


def _read(item: Entry) -> Line | None:
    def parse(text: str) -> Line | None:
        if only_looks(text):
            return None
        line = parse_line(text, item.line, item.path)
        check_line(line)
        return line

    return item.read(parse)


def only_looks(text: str) -> bool:
    """Whether this line of a prompt changes nothing. `packets while bob …` does what it watches."""
    first, *words = text.split() or [""]
    return first in LOOKS and "while" not in words


def check_line(line: Line) -> None:
    """Raises ValueError unless this line may stand in a file that is graded."""
    match line.words:
        case (word, *_) if word in _INSTEAD:
            raise ValueError(f"{quoted(line.text)}: {_INSTEAD[word]}")
        case ("rule", "add" | "del" as do, _napt, protocol, *ends) if (
            protocol in PROTOCOLS
            and len(ends) == (2 if do == "add" else 1)
            and _EXTERNAL.fullmatch(ends[0])
            and all(_ENDPOINT.fullmatch(end) for end in ends[1:])
        ):
            return
        case ("rule", *_):
            raise ValueError(
                f"{quoted(line.text)} is not a rule; allowed: rule add NAPT tcp|udp EXTERNAL "
                "INTERNAL or rule del NAPT tcp|udp EXTERNAL, as in: rule add napt_a tcp "
                "24.9.3.7:8080 10.0.0.7:8080"
            )
        case ("set", _gateway, _key, _value):
            return
        case (_node, *program) if program and program != ["&"]:
            words = program[:-1] if line.background else program
            check_program(words, background=line.background)
        case _:
            raise ValueError(
                f"{quoted(line.text)} is not a command; allowed: rule add …, rule del …, set …, or "
                "a node's name and what to run there"
            )
