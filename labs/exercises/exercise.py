"""Reads an exercise from its YAML file. Those of the levels are in this folder.

README.md has all keys, and all facts that a pattern can ask for (patterns.py). Errors in a file
are reported as for a topology: FILE:LINE: key: what is wrong; what is allowed.

`vary:` and `cases:` say what differs from student to student (variant.py).

A file `9c-1-door.yaml` in this folder is `9c/door`, the first exercise of level 9c. A file anywhere
else is called by its own name.
"""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from napt_lab.labs.exercises import keys
from napt_lab.labs.exercises.answers import check_line, parse_line
from napt_lab.labs.exercises.node_names import NodeNames
from napt_lab.labs.exercises.patterns import KINDS, OF_FILES, Pattern
from napt_lab.labs.exercises.variant import (
    Student,
    Varied,
    draw,
    draw_values,
    replaced,
    words_of,
)
from napt_lab.labs.stage.drawing import draw as draw_network
from napt_lab.topologies.spec.errors import Problems, TopologyError, not_one_of, quoted
from napt_lab.topologies.spec.loader import read_file, read_topology
from napt_lab.topologies.spec.model import Topology
from napt_lab.topologies.spec.yaml_nodes import Entry, Section, compose

FOLDER = Path(__file__).resolve().parent
LEVELS = ("8", "9a", "9b", "9c", "9d", "9e", "9f", "9g", "9h")
MAX_TEXT = 2000  # characters
VARIANT_KEYS = ("vary", "cases")
#: A variant has none of these parts' words in the place of another. (What is handed out to students
#: lacks the solution, and must lead to the same variant.)
HANDED_OUT = ("title", "task", "network", "files", "may-set", "done", "hints", "learned")

_FILE_NAME = re.compile(rf"({'|'.join(LEVELS)})-[0-9]+-([a-z][a-z-]*)\.yaml")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_SIZE = re.compile(r"([0-9]{1,4})K")
_PLACE = re.compile(r"[a-z][a-z0-9_]*:(?:[A-Za-z0-9_-]+/)?[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Done:
    """Something that must have come about."""

    text: str
    fact: Pattern
    points: int
    message: str


@dataclass(frozen=True, slots=True)
class Mistake:
    """A usual mistake: an answer that makes it, the facts by which it is known, what to say."""

    answer: tuple[str, ...]
    when: tuple[Pattern, ...]
    says: str


@dataclass(frozen=True, slots=True)
class Exercise:
    """One exercise. `number` counts from 1 within its level; `level` is empty for one's own."""

    level: str
    number: int
    name: str
    path: Path
    title: str
    task: str
    files: dict[str, int]  # `node:path` to bytes
    may_set: tuple[str, ...]
    done: tuple[Done, ...]
    hints: tuple[str, ...]
    solution: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    learned: str  # said when it is solved; may be empty
    student: Student | None  # whose variant it is; None: the exercise as it was written
    case: int  # which of its `cases`, from 0

    @property
    def id(self) -> str:
        return f"{self.level}/{self.name}" if self.level else self.name

    @property
    def known_as(self) -> str:
        """Its name where the variants of several students may stand side by side."""
        return self.id if self.student is None else f"{self.id} of {self.student.id}"

    def topology(self, settings: tuple[Setting, ...] = ()) -> Topology:
        """Its network, with some settings of gateways changed. Raises TopologyError."""
        top = _compose(self.path, self.student, self.case)
        return _network(top, self.path, self.may_set, settings)


@dataclass(frozen=True, slots=True)
class Setting:
    """`set napt mapping endpoint-independent`, which came from `line` of `file`, at `path`."""

    gateway: str
    key: str
    value: str
    file: str = "set"
    line: int = 1
    path: str = ""


def series(level: str, student: Student | None = None) -> tuple[Exercise, ...]:
    """The exercises of a level, in order."""
    return tuple(load(path, student) for path in _files(level))


def names(level: str) -> list[str]:
    """The names of a level's exercises, in order, without reading them."""
    matches = (_FILE_NAME.fullmatch(path.name) for path in _files(level))
    return [match[2] for match in matches if match]


def _files(level: str) -> list[Path]:
    return sorted(p for p in FOLDER.glob(f"{level}-*.yaml") if _FILE_NAME.fullmatch(p.name))


@functools.cache
def load(path: Path, student: Student | None = None, case: int | None = None) -> Exercise:
    """The exercise in a file, or a student's variant of it.

    `case`: one of its `cases`, if not the first or the student's. Raises TopologyError with all
    that is wrong with the file.
    """
    plan = _plan(path)
    if case is None:
        case = 0 if student is None else draw(student, path.stem, "case", max(1, plan.cases))
    top = _compose(path, student, case)
    match = _FILE_NAME.fullmatch(path.name) if path.parent == FOLDER else None
    level, name = (match[1], match[2]) if match else ("", path.stem)
    section = top.section(
        *keys.names(keys.EXERCISE), required=keys.names(keys.EXERCISE, required=True)
    )
    names = _node_names(top, path)

    def line(text: str) -> str:
        return _line(text, names)

    def pattern(text: str) -> Pattern:
        return _pattern(text, names)

    exercise = Exercise(
        level=level,
        number=_files(level).index(path) + 1 if level else 1,
        name=name,
        path=path,
        title=section.value_or("title", _text, ""),
        task=section.value_or("task", _text, ""),
        files=_sizes(section["files"], names) if "files" in section else {},
        may_set=_texts(section, "may-set"),
        done=tuple(d for item in _items(section, "done") if (d := _done(item, pattern))),
        hints=_texts(section, "hints"),
        solution=_texts(section, "solution", line),
        mistakes=tuple(
            m for item in _items(section, "mistakes") if (m := _mistake(item, line, pattern))
        ),
        learned=section.value_or("learned", _text, ""),
        student=student,
        case=case,
    )
    if "network" in section:
        read_topology(section["network"], path)  # or every error in it
    top.problems.raise_if_any()
    return exercise


def cases(exercise: Exercise) -> tuple[Exercise, ...]:
    """The exercise with each of its cases; itself if it has none. TopologyError as `load`.

    They must be equally hard: as many points, and as many lines of each kind in the solution.
    """
    number = max(1, _plan(exercise.path).cases)
    found = tuple(load(exercise.path, exercise.student, case) for case in range(number))
    wanted = _hardness(found[0])
    for each in found:
        if _hardness(each) != wanted:
            problems = Problems(str(exercise.path))
            told = f"has {_hardness(each)}; allowed: as cases[0], {wanted}"
            raise problems.fatal(1, f"cases[{each.case}] {told}")
    return found


def unnamed(exercise: Exercise) -> list[str]:
    """Words that vary and are asked for, but that a student is not told: FILE:LINE: and the word.

    They are told by the title, the task and the drawing of the network.
    """
    problems = Problems(str(exercise.path))
    top = replace(_compose(exercise.path, exercise.student, exercise.case), problems=problems)
    parts = top.named()
    values = {} if exercise.student is None else variant_values(exercise.path, exercise.student)
    varied = {values.get(each.word, each.word) for each in _plan(exercise.path).varied}
    told = words_of(" ".join((exercise.title, exercise.task, *draw_network(exercise.topology()))))
    network = parts["network"].named()
    asked = [item.named()["fact"] for item in (parts["done"].items() if "done" in parts else ())]
    for item in network["expect"].items() if "expect" in network else ():
        asked.append(item.named()["check"] if item.is_mapping() else item)
    for entry in asked:
        text = " ".join(entry.texts())
        if not text.startswith("not "):  # what must not be need not be told
            for word in sorted((words_of(text) & varied) - told):
                entry.refuse(f"the task does not name {quoted(word)}; allowed: name it there")
    return problems.lines()


def _hardness(exercise: Exercise) -> str:
    first = [line.split()[0] for line in exercise.solution]
    rules, sets = first.count("rule"), first.count("set")
    points = sum(done.points for done in exercise.done)
    points += sum(expected.points for expected in exercise.topology().expect)
    return f"{rules} rules, {sets} settings, {len(first) - rules - sets} commands, {points} points"


def _node_names(top: Entry, path: Path) -> NodeNames | None:
    """The nodes of an exercise; None if its network has problems of its own."""
    try:
        quiet = replace(top, problems=Problems(str(path)))
        return NodeNames.of(_network(quiet, path, (), ()))
    except (TopologyError, KeyError):
        return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What there is to draw in a file, and the words that no other word may become."""

    graph: bytes  # the file as YAML's nodes, pickled: a copy takes a tenth of reading it again
    words: frozenset[str]
    varied: tuple[Varied, ...]
    cases: int


@functools.cache
def _plan(path: Path) -> _Plan:
    """The `vary:` and `cases:` of a file. Raises TopologyError."""
    top = compose(read_file(path), Problems(str(path)), "an exercise")
    graph = pickle.dumps(top.node)
    there = top.named() if top.is_mapping() else {}
    section = Section(top)
    section.update({key: there[key] for key in VARIANT_KEYS if key in there})
    varied = [each for item in _items(section, "vary") if (each := _varied(item))]
    words = _words(entry for key, entry in there.items() if key != "vary")
    for each in varied:
        if each.word not in words:
            section["vary"].refuse(f"{quoted(each.word)} is not a word of this exercise")
    parts = [there, *(case.named() for case in _items(section, "cases"))]
    for part in parts:
        if "network" in part:
            _note_left_behind(part["network"], varied)
    top.problems.raise_if_any()
    shown = _words(entry for part in parts for key, entry in part.items() if key in HANDED_OUT)
    return _Plan(graph, shown, tuple(varied), len(_items(section, "cases")))


def _words(entries: Iterable[Entry]) -> frozenset[str]:
    """All words in some parts of a file."""
    return frozenset(w for entry in entries for text in entry.texts() for w in words_of(text))


def _note_left_behind(network: Entry, varied: Iterable[Varied]) -> None:
    """Note addresses that stay as they are where others of their /24 vary."""
    words = {each.word for each in varied}
    moved = {word.rpartition(".")[0]: word for word in sorted(words) if _ADDRESS.fullmatch(word)}
    for scalar in _scalars(network.node):
        for address in _ADDRESS.findall(scalar.value):
            near = address.rpartition(".")[0]
            if near in moved and address not in words:
                network.problems.add(
                    scalar.start_mark.line + 1,
                    network.path,
                    f"{address} stays as it is, but {moved[near]} of the same network varies; "
                    f"allowed: list {address} in vary, too",
                )


def _varied(item: Entry) -> Varied | None:
    """One word of `vary:`, or one with the words that may take its place."""

    def parse(text: str) -> Varied:
        varied = Varied(text, choices)
        varied.check()
        return varied

    choices: tuple[str, ...] = ()
    if not item.is_mapping():
        return item.read(parse)
    if len(item.named()) != 1:
        item.refuse("several words; allowed: one word and its choices, as in {pc: [desk, laptop]}")
        return None
    [(word, entry)] = item.named().items()
    choices = tuple(text for choice in entry.items() if (text := choice.read(str)))
    try:
        return parse(word)
    except ValueError as error:
        item.refuse(str(error))
        return None


def variant_values(path: Path, student: Student) -> dict[str, str]:
    """What the words that vary are for this student. Raises TopologyError."""
    plan = _plan(path)
    try:
        return draw_values(plan.words, plan.varied, student, path.stem)
    except ValueError as error:
        raise Problems(str(path)).fatal(1, f"vary: {error}") from error


def distinctive(path: Path) -> list[str]:
    """Those of the words that vary which are hardly the same for two students."""
    return [each.word for each in _plan(path).varied if each.distinctive]


def _compose(path: Path, student: Student | None, case: int) -> Entry:
    """The top of the file, in the student's words, with one of its cases in its place."""
    node: yaml.Node = pickle.loads(_plan(path).graph)
    top = Entry(node, node.start_mark.line + 1, "", Problems(str(path)))
    if student is not None:
        _replace(top.node, variant_values(path, student))
    found = top.named().get("cases") if top.is_mapping() else None
    items = found.items() if found else []
    if items:
        section = items[case].section(
            *(name for name in keys.names(keys.EXERCISE) if name not in VARIANT_KEYS)
        )
        if not section.unknown:
            _merge(top.node, items[case].node)
    return top


def _replace(top: yaml.Node, values: dict[str, str]) -> None:
    """Put other words into every text of a file."""
    for scalar in _scalars(top):
        scalar.value = replaced(scalar.value, values)


def _scalars(top: yaml.Node) -> Iterator[yaml.ScalarNode]:
    """Every key and single value in it, once."""
    waiting, seen = [top], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias leads to a node that was there before
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            yield node
        else:
            for part in node.value:
                waiting += part if isinstance(part, tuple) else (part,)


def _merge(into: yaml.Node, part: yaml.Node) -> None:
    """Put the keys of one mapping into another; of a key that both have, the values are merged."""
    if not (isinstance(into, yaml.MappingNode) and isinstance(part, yaml.MappingNode)):
        return
    there = {key.value: number for number, (key, _) in enumerate(into.value)}
    for key, value in part.value:
        number = there.get(key.value)
        if number is None:
            into.value.append((key, value))
        elif isinstance(value, yaml.MappingNode) and isinstance(
            into.value[number][1], yaml.MappingNode
        ):
            _merge(into.value[number][1], value)
        else:
            into.value[number] = (key, value)


def _network(
    top: Entry, path: Path, may_set: tuple[str, ...], settings: tuple[Setting, ...]
) -> Topology:
    entry = top.named()["network"]
    problems: list[str] = []
    for setting in settings:
        problems += _apply(entry, may_set, setting)
    if problems:
        raise TopologyError(problems)
    topology = read_topology(entry, path)
    entry.problems.raise_if_any()
    return topology


def _apply(network: Entry, may_set: tuple[str, ...], setting: Setting) -> list[str]:
    """Write a setting into the network's YAML, for the loader to judge; what is wrong with it."""
    problems = Problems(setting.file)
    sites = network.named()["sites"].named() if "sites" in network.named() else {}
    gateways = {_gateway_name(name, site): site.named()["gateway"] for name, site in sites.items()}
    if setting.gateway not in gateways:
        wrong = f"{quoted(setting.gateway)} is not a gateway"
        problems.add(setting.line, setting.path, not_one_of(wrong, setting.gateway, gateways))
    elif setting.key not in may_set:
        wrong = f"{quoted(setting.key)} cannot be set in this exercise"
        allowed = may_set or ("only rules, and commands on nodes",)
        problems.add(setting.line, setting.path, not_one_of(wrong, setting.key, allowed))
    else:
        node = gateways[setting.gateway].node
        mark = yaml.Mark(setting.file, 0, setting.line - 1, 0, None, 0)
        pairs = [(k, v) for k, v in node.value if k.value != setting.key]
        key, value = (
            yaml.ScalarNode("tag:yaml.org,2002:str", text, mark, mark)
            for text in (setting.key, setting.value)
        )
        node.value = [*pairs, (key, value)]
        trial = Problems(setting.file)
        read_topology(Entry(network.node, network.line, "", trial), Path(setting.file))
        return trial.lines()
    return problems.lines()


def _gateway_name(site: str, entry: Entry) -> str:
    gateway = entry.named()["gateway"].named()
    if "name" in gateway:
        return str(gateway["name"].node.value)
    return f"napt_{site}"


# ── single values ──────────────────────────────────────────────────────────────────────────


def _section(entry: Entry, known: tuple[keys.Key, ...]) -> Section:
    return entry.section(*keys.names(known), required=keys.names(known, required=True))


def _items(section: Section, key: str) -> list[Entry]:
    return section[key].items() if key in section else []


def _texts(
    section: Section, key: str, parse: Callable[[str], str] | None = None
) -> tuple[str, ...]:
    return tuple(text for item in _items(section, key) if (text := item.read(parse or _text)))


def _done(entry: Entry, pattern: Callable[[str], Pattern]) -> Done | None:
    section = _section(entry, keys.DONE)
    fact = section.value("fact", pattern)
    if fact is None:
        return None
    return Done(
        section.value_or("check", _text, ""),
        fact,
        section.value_or("points", _number(0, keys.MAX_POINTS), keys.POINTS),
        section.value_or("message", _text, ""),
    )


def _mistake(
    entry: Entry, line: Callable[[str], str], pattern: Callable[[str], Pattern]
) -> Mistake | None:
    section = _section(entry, keys.MISTAKE)
    when = tuple(p for item in _items(section, "when") if (p := item.read(pattern)))
    return Mistake(_texts(section, "answer", line), when, section.value_or("says", _text, ""))


def _sizes(entry: Entry, names: NodeNames | None) -> dict[str, int]:
    sizes = {}
    for place, size in entry.named().items():
        if not _PLACE.fullmatch(place):
            size.refuse("not a place; allowed: NODE:FILE or NODE:FOLDER/FILE")
        elif names is not None and (node := place.partition(":")[0]) not in names.nodes:
            size.refuse(not_one_of(f"{quoted(node)} is not a node", node, names.nodes))
        sizes[place] = size.read(_size) or 0
    return sizes


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if not match or not 0 < int(match[1]) << 10 <= keys.LARGEST_FILE:
        raise ValueError(f"{quoted(text)} is not a size; allowed: 1K to 1024K")
    return int(match[1]) << 10


def _text(text: str) -> str:
    lines = text.strip()
    if not lines or len(lines) > MAX_TEXT or not lines.replace("\n", "").isprintable():
        raise ValueError(f"{quoted(text)} is not a text; allowed: at most {MAX_TEXT} characters")
    return lines


def _line(text: str, names: NodeNames | None) -> str:
    """A line of an answer: `solve` does it, so it is bounded as a student's is."""
    line = parse_line(text)
    check_line(line)
    if names is not None:
        names.check_line(line.words)
    return line.text


def _pattern(text: str, names: NodeNames | None) -> Pattern:
    pattern = Pattern.parse(text)
    for way in pattern.text.split(" | "):
        kind = way.partition(" ")[0]
        if kind not in KINDS:
            raise ValueError(not_one_of(f"{quoted(kind)} is not a fact", kind, KINDS))
    if pattern.kind in OF_FILES:
        for where in pattern.text.split()[1:]:
            if not _PLACE.fullmatch(where):
                raise ValueError(f"{quoted(where)} is not a place; allowed: NODE:FILE")
    if names is not None:
        names.check_fact(pattern.text)
    return pattern


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text[:9]) <= most:
            raise ValueError(f"{quoted(text)} is not a number; allowed: {least} to {most}")
        return int(text)

    return parse
