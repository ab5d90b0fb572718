"""YAML with line numbers, repeated keys and the text as it was written.

`yaml.safe_load` loses all three: it keeps the last of two equal keys and turns `12:30` into
750 and `no` into False. Here PyYAML only composes the file into YAML's node graph (YAML 1.1,
chapter 3) and constructs no Python objects: every scalar stays the text of the file until a
parser of scalars.py reads it, and no tag can name a Python type.

A file may come from anyone, so the graph is limited before it is walked: bytes of the file,
depth, and nodes *after* aliases are followed (nine lines of aliases can stand for 10^9 nodes; a
node can contain itself).

Reading collects problems instead of raising the first, so that one pass finds all of them.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from yaml.composer import Composer

try:
    from yaml import CSafeLoader as QuickLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as QuickLoader  # type: ignore[assignment]

from napt_lab.topologies.spec.errors import (
    Problems,
    TopologyError,
    nearest,
    not_one_of,
    quoted,
)
from napt_lab.topologies.spec.look_alikes import odd_quote, odd_space
from napt_lab.topologies.spec.yaml_mistakes import explain, no_space

MAX_BYTES = 128 * 1024
MAX_DEPTH = 20
MAX_NODES = 20_000

MERGE = "<<"  # a key of YAML 1.1, which later versions do not have
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,40}")

T = TypeVar("T")


class _Refused(Exception):
    """Correct YAML that topology files may not use; the message says why."""

    def __init__(self, mark: Any, why: str) -> None:
        super().__init__(why)
        self.line: int = mark.line + 1


class _Composer(Composer):
    """PyYAML's composer, with a limit of depth."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[attr-defined]
        if self._depth == MAX_DEPTH:
            what = f"nested too deep; allowed: at most {MAX_DEPTH} levels"
            raise _Refused(event.start_mark, what)
        if getattr(event, "tag", None) is not None:
            what = (
                "a tag (!…) is not allowed; allowed: no tag, and quotes around a text that begins "
                "with '!'"
            )
            raise _Refused(event.start_mark, what)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _QuickComposer(_Composer, QuickLoader):
    """With the parser in C, where there is one: several times as fast as Python's."""

    def __init__(self, text: str) -> None:
        QuickLoader.__init__(self, text)
        Composer.__init__(self)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        node.style = node.style or None  # without quotes it is "" here, and None in Python
        return node


class _TellingComposer(_Composer, yaml.SafeLoader):
    """With the parser in Python, which says more about a mistake."""

    last: yaml.Token | None = None  # the last token that was read without an error

    def get_token(self) -> yaml.Token | None:
        self.last = super().get_token()  # type: ignore[no-untyped-call]
        return self.last


@dataclass(frozen=True, slots=True)
class Entry:
    """One value in the file: its node, the line of its key, and its path from the top."""

    node: yaml.Node
    line: int
    path: str
    problems: Problems

    def refuse(self, message: str) -> None:
        """Note that this value is wrong."""
        self.problems.add(self.line, self.path, message)

    def read(self, parse: Callable[[str], T]) -> T | None:
        """This scalar, read by `parse`; None if that fails, and the problem is noted."""
        if not isinstance(self.node, yaml.ScalarNode):
            self._refuse_kind("a single value")
            return None
        try:
            return parse(self.node.value)
        except ValueError as error:
            text = self.node.value if self.node.style is None else ""
            self.refuse(odd_space(text) or odd_quote(text) or str(error))
            return None

    def is_mapping(self) -> bool:
        """Whether the value is a mapping (`key: value`)."""
        return isinstance(self.node, yaml.MappingNode)

    def is_list(self) -> bool:
        """Whether it has items."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def lines(self) -> int:
        """The number of lines of this value."""
        return int(self.node.end_mark.line - self.node.start_mark.line) + 1

    def named(self) -> dict[str, Entry]:
        """The entries of a mapping whose keys are names that the writer chose."""
        if not isinstance(self.node, yaml.MappingNode):
            self._refuse_kind("keys with values, as in key: value")
            return {}
        entries: dict[str, Entry] = {}
        for key, value in self.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.problems.add(line, self.path, "this key is not a text; allowed: key: value")
                continue
            if key.value == MERGE:
                entry = Entry(value, line, self.join(MERGE), self.problems)
                entry.refuse(
                    "a merge key; allowed: the keys themselves, or an alias in place of all of them"
                )
                continue
            if key.style is None and (odd := odd_space(key.value)):
                self.problems.add(line, self.path, odd)
                continue
            entry = Entry(value, line, self.join(key.value), self.problems)
            if key.value in entries:
                entry.refuse(f"this key is also on line {entries[key.value].line}; allowed: once")
                continue
            if _is_nothing(value) and (glued := no_space(key.value)):
                entry.refuse(glued)
                continue
            entries[key.value] = entry
        return entries

    def merges(self) -> bool:
        """Whether a merge key stands for some of its keys: then nobody knows what is missing."""
        keys = (key for key, _ in self.node.value) if self.is_mapping() else ()
        return any(getattr(key, "value", None) == MERGE for key in keys)

    def section(self, *known: str, required: tuple[str, ...] = ()) -> Section:
        """The entries of a mapping with fixed keys; unknown and missing keys are noted."""
        section = Section(self)
        meant: set[str | None] = set()  # keys that are there, but misspelled
        for key, entry in self.named().items():
            if key in known:
                section[key] = entry
            else:
                section.unknown.append(entry)
                meant.add(nearest(key, known))
                entry.refuse(not_one_of("unknown key", key, known))
        needed = ", ".join(required)
        if self.is_mapping() and not self.merges():
            for key in required:
                if key not in section and key not in meant:
                    self.problems.add(self.line, self.join(key), f"missing; required: {needed}")
        return section

    def items(self) -> list[Entry]:
        """The items of a list; their paths count from 0."""
        if not isinstance(self.node, yaml.SequenceNode):
            self._refuse_kind("a list, as in [a, b]")
            return []
        return [
            Entry(node, node.start_mark.line + 1, f"{self.path}[{index}]", self.problems)
            for index, node in enumerate(self.node.value)
        ]

    def texts(self) -> set[str]:
        """All keys and single values in it."""
        found, waiting = set(), [self.node]
        while waiting:
            node = waiting.pop()
            if isinstance(node, yaml.ScalarNode):
                found.add(node.value)
            elif isinstance(node, yaml.MappingNode):
                waiting += [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                waiting += node.value
        return found

    def join(self, key: str) -> str:
        """The path of `key` in this mapping."""
        step = key if _PLAIN_KEY.fullmatch(key) else quoted(key)
        return f"{self.path}.{step}" if self.path else step

    def _refuse_kind(self, allowed: str) -> None:
        glued = no_space(self.node.value) if isinstance(self.node, yaml.ScalarNode) else None
        if glued:
            self.problems.add(self.node.start_mark.line + 1, self.path, glued)
        else:
            self.refuse(f"this is {self._kind()}; allowed: {allowed}")

    def _kind(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "a group of keys"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        return quoted(self.node.value) if self.node.value else "empty"


class Section(dict[str, Entry]):
    """The entries of a mapping with fixed keys; some may be absent."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entry = entry
        self.unknown: list[Entry] = []  # under other keys; noted as problems

    def value(self, key: str, parse: Callable[[str], T]) -> T | None:
        """The value at `key`; None if it is absent, or wrong (which is noted)."""
        return self[key].read(parse) if key in self else None

    def value_or(self, key: str, parse: Callable[[str], T], default: T) -> T:
        """The value at `key`; `default` if it is absent, or wrong (which is noted)."""
        value = self.value(key, parse)
        return default if value is None else value

    def at(self, key: str) -> Entry:
        """The entry of `key`, or an entry at the place where it would be."""
        whole = self.entry
        return self.get(key) or Entry(whole.node, whole.line, whole.join(key), whole.problems)


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.value and node.style is None


def compose(data: bytes, problems: Problems, what: str = "a topology") -> Entry:
    """The top of the only YAML document in `data`; raises TopologyError if it cannot be read.

    `what` it should be, for the message about an empty one.
    """
    if len(data) > MAX_BYTES:
        raise problems.fatal(1, f"the file is too large; allowed: at most {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"0x{data[error.start]:02x}"
        raise problems.fatal(line, f"the byte {byte} is not UTF-8; allowed: UTF-8") from error
    root = _compose_text(text, problems)
    if root is None:
        raise problems.fatal(1, f"the file is empty; allowed: {what}")
    line = root.start_mark.line + 1
    if _expanded_size(root) > MAX_NODES:
        what = "too many values, or an alias (*name) inside the value that it names"
        raise problems.fatal(
            line, f"{what}; allowed: {MAX_NODES:,} values, those of aliases included"
        )
    return Entry(root, line, "", problems)


def is_no_yaml(data: bytes) -> bool:
    """Whether it is text in UTF-8, but not YAML: a mistake may be in one part of it only."""
    try:
        _compose_text(data.decode("utf-8"), Problems(""))
    except UnicodeDecodeError:
        return False
    except TopologyError:
        return True
    return False


def _compose_text(text: str, problems: Problems) -> yaml.Node | None:
    composer: _TellingComposer | None = None
    with contextlib.suppress(yaml.YAMLError, _Refused, ValueError, OverflowError):
        return _node(_QuickComposer(text))
    try:
        composer = _TellingComposer(text)
        return _node(composer)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character {quoted(text[error.position])} is not allowed in YAML"
        message += "; allowed: text, line ends and tabs"
    except _Refused as refused:
        line, message = refused.line, str(refused)
    except yaml.MarkedYAMLError as error:
        line, message = explain(error, text, composer.last if composer else None)
    except (ValueError, OverflowError):
        # PyYAML raises these for "\U00110000", "\UFFFFFFFF", and a %YAML version of 5,000 digits.
        line = composer.line + 1 if composer else 1
        message = "a number in an escape (\\U…) or a directive (%YAML) is too large; allowed: "
        message += "a smaller one"
    raise problems.fatal(line, message)


def _node(composer: _Composer) -> yaml.Node | None:
    root: yaml.Node | None = composer.get_single_node()
    return root


def _expanded_size(root: yaml.Node) -> int:
    """The number of nodes with all aliases followed; counting ends just above MAX_NODES."""
    count, waiting = 0, [root]
    while waiting and count <= MAX_NODES:
        node = waiting.pop()
        count += 1
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return count
