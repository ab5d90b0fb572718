"""The rules of the house, held by reading the source: who imports whom, and what a file opens with.

A room is a folder of source. The rooms stand in the order of their imports, so that there can be
no circle, not even of imports for types alone; and the translator's core, which does no I/O, reads
no clock and takes its randomness from outside, is a folder that uses no other.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[3]

# Each room, and which rooms it may use: those of the list that stand before it. Rooms that
# stand in different groups know each other only as processes, except as USES_ALSO says.
FLOORS = {
    "nat_node": (
        "nat_node/core",
        "nat_node/student",
        "nat_node/fast_path",
        "nat_node/system",
        "nat_node/persistence",
        "nat_node/offload",
        "nat_node/port_control",
        "nat_node/control",
        "nat_node/engines/student",
        "nat_node/engines/nftables",
        "nat_node/engines",
        "nat_node",
    ),
    "servers": (
        "servers/shared",
        "servers/files",
        "servers/ice",
        "servers/pcp",
        "servers/proxy",
        "servers/relay",
        "servers/stun",
        "servers/p2p",
        "servers/turn",
        "servers/turn/client",
        "servers",
    ),
    "labs": (
        "topologies/links",
        "topologies/spec",
        "topologies/sandbox",
        "topologies/network",
        "topologies",
        "labs/setup",
        "labs/records",
        "labs/capture",
        "labs/verdict",
        "labs/stage",
        "labs/shared_steps",
        "labs/course",
        "labs/bench",
        "labs/check",
        "labs/peer_steps",
        "labs/report",
        "labs/conformance",
        "labs/prompt",
        "labs/view",
        "labs/running",
        "labs/exercises",
        "labs/export",
        "labs/matrix",
        "labs/translator",
        "labs/classroom",
        "labs/pytest_plugin",
        "labs/level_8",
        "labs/level_9a",
        "labs/level_9b",
        "labs/level_9c",
        "labs/level_9d",
        "labs/level_9e",
        "labs/level_9f",
        "labs/level_9g",
        "labs/level_9h",
        "labs/cli",
        "labs",
    ),
}
USES_ALSO = {
    # what a student's translator imports; the file that is handed out and graded is one
    "labs/translator": {"nat_node/student"},
    # a NAPT's settings are declared there, once
    "topologies/spec": {"nat_node/core"},
    "topologies/links": {"nat_node/core"},  # the words for a packet
    "nat_node": {"nat_node/student"},
    # a NAPT's rules as text, and what programs tell, in JSON and in words, the same everywhere
    "labs/stage": {"nat_node/control", "servers/shared"},
    "labs/exercises": {"servers/shared"},
    "labs/level_8": {"servers/shared"},
}
LEVELS = "labs/level_"
STUDENTS_API = "nat_node/student/__init__.py"  # what is handed out is imported as one
IMPORTER_OF_MININET = "topologies/network/mininet_import.py"
CORE = "nat_node/core"
KEPT_FROM_CORE = {
    "asyncio", "ctypes", "datetime", "fcntl", "logging", "multiprocessing", "os", "pathlib",
    "random", "secrets", "select", "selectors", "signal", "socket", "subprocess", "sys",
    "threading", "time",
}  # fmt: skip
BUILTINS_WITH_IO = {"open", "print", "input", "__import__", "exec", "eval"}
TOP = ("labs", "nat_node", "servers", "topologies")
MAP = "tests/unit/house/test_house.py, FLOORS"


def sources(folder: str) -> list[str]:
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")]
    assert found, f"no source in {folder}/"
    return sorted(found)


SOURCES = [source for folder in TOP for source in sources(folder)]
ROOMS = sorted({room for rooms in FLOORS.values() for room in rooms})


def room_of(source: str) -> str:
    return PurePosixPath(source).parent.as_posix()


def module_of(source: str) -> str:
    """The name under which a file is imported."""
    parts = list(PurePosixPath(source).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    if parts[:2] == ["nat_node", "student"]:
        parts.pop(0)
    return ".".join(["napt_lab", *parts])


FILES = {module_of(source): source for source in SOURCES}


def parse(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text(encoding="utf-8"), source)


def imports(tree: ast.Module) -> set[str]:
    """The full names of all modules imported anywhere in the file, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write the whole name: from napt_lab.… import …"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in FILES else str(node.module))
    return found


def top_levels(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def may_use(room: str, other: str) -> bool:
    group = next(rooms for rooms in FLOORS.values() if room in rooms)
    allowed = set(group[: group.index(room)]) | USES_ALSO.get(room, set())
    if room.startswith(LEVELS) and other.startswith(LEVELS):
        allowed = set()  # what levels share has a room of its own
    return other in allowed


def wrong_imports(tree: ast.Module, source: str) -> list[str]:
    """Imports that run up the floors or into another group, each with what to do."""
    room = room_of(source)
    used = {(name, room_of(FILES[name])) for name in imports(tree) if name in FILES}
    return [
        f"{source} imports {name}, but {room}/ stands before {other}/ in {MAP}: move what both "
        f"need into a room before {room}/, or pass it in as an argument"
        for name, other in sorted(used)
        if other != room and not may_use(room, other)
    ]


def problems_of_core(tree: ast.Module, source: str) -> list[str]:
    """What a core module uses and should not."""
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    used = top_levels(imports(tree)) & KEPT_FROM_CORE | called & BUILTINS_WITH_IO
    return [
        f"{source} uses {name}: the core does no I/O, reads no clock and takes its randomness "
        "from outside; pass in what it needs"
        for name in sorted(used)
    ]


def bare_sleeps(text: str) -> list[int]:
    """The lines that sleep and do not say for what; `asyncio.sleep(0)` only lets others run."""
    lines = text.splitlines()
    calls = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("time.sleep", "asyncio.sleep", "sleep")
        and ast.unparse(node.args[0]) != "0"
    ]
    return [call.lineno for call in calls if "#" not in lines[call.lineno - 1]]


def imports_of_a_room(tree: ast.Module, source: str) -> list[str]:
    """What comes along with every module of a room, wanted or not: each start waits for it."""
    if PurePosixPath(source).name != "__init__.py" or source == STUDENTS_API:
        return []
    used = {
        name
        for node in at_import(tree)
        for name in imports(ast.Module([node], []))
        if name.partition(".")[0] not in sys.stdlib_module_names
    }
    return [
        f"{source} imports {name}: whoever needs one module of the room would get that as well; "
        "move the code into a file of its own"
        for name in sorted(used)
    ]


def at_import(tree: ast.AST) -> Iterator[ast.stmt]:
    """The import statements that are run when a file is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from at_import(ast.Module(node.orelse, []))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from at_import(node)


def repeated_fixtures(tree: ast.Module, source: str) -> list[str]:
    """Fixtures that are set up again and again: tests of other modules come in between."""
    return [
        f"{source}:{node.lineno}: scope={node.value!r}: write scope='session', which lasts"
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.fixture"
        for node in (keyword.value for keyword in call.keywords if keyword.arg == "scope")
        if isinstance(node, ast.Constant) and node.value not in ("function", "session")
    ]


def problems_of_source(tree: ast.Module, source: str) -> list[str]:
    problems = wrong_imports(tree, source) + imports_of_a_room(tree, source)
    if source.startswith(f"{CORE}/"):
        problems += problems_of_core(tree, source)
    if source != IMPORTER_OF_MININET and "mininet" in top_levels(imports(tree)):
        problems.append(f"{source} imports mininet: only {IMPORTER_OF_MININET} does")
    return problems


def circles(uses: dict[str, set[str]]) -> list[str]:
    """Files of one room that import each other; `uses` is what each file imports."""
    problems = []
    for room in ROOMS:
        inside = {source: set(uses[source]) for source in SOURCES if room_of(source) == room}
        for used in inside.values():
            used &= set(inside)
        while free := [source for source, used in inside.items() if not used - {source}]:
            for source in free:
                del inside[source]
            for used in inside.values():
                used.difference_update(free)
        if inside:
            problems.append(
                f"import circle in {room}/, among {', '.join(sorted(inside))}: move what they "
                "share into a file that imports none of them"
            )
    return problems


def test_every_room_has_its_place():
    lost = {room_of(source) for source in SOURCES} - set(ROOMS)
    assert not lost, f"give these folders their place in {MAP}: {', '.join(sorted(lost))}"
    gone = [room for room in ROOMS if not list((ROOT / room).glob("*.py"))]
    assert not gone, f"these rooms are empty, remove them from {MAP}: {', '.join(gone)}"


def test_every_file_keeps_the_rules():
    """In one pass: most of the time goes into parsing the files."""
    problems, uses = [], {}
    for source in SOURCES:
        tree = parse(source)
        problems += without_docstring(tree, source) + problems_of_source(tree, source)
        uses[source] = {FILES[name] for name in imports(tree) if name in FILES}
    assert problems + circles(uses) == []


def test_every_test_file_keeps_the_rules():
    """Await a condition (tests/waiting.py). A span that a test measures says so in a comment.

    What takes long to set up lasts (tests/conftest.py mixes the tests of all modules).
    """
    problems = []
    for source in sources("tests"):
        text = (ROOT / source).read_text(encoding="utf-8")
        tree = ast.parse(text)
        problems += without_docstring(tree, source) + repeated_fixtures(tree, source)
        problems += [f"{source}:{line} sleeps to wait" for line in bare_sleeps(text)]
    assert problems == []


def without_docstring(tree: ast.Module, source: str) -> list[str]:
    said = not tree.body or ast.get_docstring(tree)
    return [] if said else [f"{source} does not say what it is about: give it a docstring"]


def test_labs_has_no_loose_files():
    loose = {source for source in SOURCES if room_of(source) in {"labs", "topologies"}}
    assert loose <= {"labs/__init__.py", "labs/__main__.py", "topologies/__init__.py"}, (
        "a file of labs/ or topologies/ belongs into one of their rooms"
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("import socket", "socket"),
        ("from os import path", "os"),
        ("def f():\n    import time", "time"),
        ("import asyncio.events as e", "asyncio"),
        ("from random import choice", "random"),
        ("print(1)", "print"),
    ],
)
def test_the_core_rule_can_fail(line, problem):
    (told,) = problems_of_source(ast.parse(line), f"{CORE}/ports.py")
    assert told.startswith(f"{CORE}/ports.py uses {problem}:")


def test_the_other_rules_can_fail():
    assert problems_of_source(
        ast.parse("def f():\n    from mininet.net import Mininet"), "labs/a.py"
    )
    assert without_docstring(ast.parse("x = 1"), "a.py")
    for line in (
        "import rich.table",
        "try:\n    from napt_lab.labs.check import run\nfinally: pass",
    ):
        assert problems_of_source(ast.parse(line), "labs/check/__init__.py")
    later = "import os\nif TYPE_CHECKING:\n    import rich\ndef f():\n    import rich"
    assert not problems_of_source(ast.parse(later), "labs/check/__init__.py")
    first, second, *_ = (source for source in SOURCES if room_of(source) == CORE)
    alone = {source: set() for source in SOURCES}
    assert not circles(alone | {first: {second}})
    (told,) = circles(alone | {first: {second}, second: {first}})
    assert first in told
    assert second in told


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("nat_node/core/ports.py", "import napt_lab.nat_node.system.tun"),
        ("nat_node/core/ports.py", "if TYPE_CHECKING:\n    from napt_lab.nat_node import startup"),
        ("topologies/spec/model.py", "from napt_lab.topologies.network.node import Node"),
        ("labs/level_9a/lab.py", "from napt_lab.labs.level_8 import checks"),
        ("servers/web.py", "from napt_lab.nat_node.core import packet"),
        ("labs/check/run.py", "def f():\n    import napt_lab.servers.web"),
    ],
)
def test_the_rule_on_imports_can_fail(source, line):
    (problem,) = wrong_imports(ast.parse(line), source)
    assert source in problem
    assert "FLOORS" in problem


def test_the_rule_on_fixtures_can_fail():
    made = "@pytest.fixture(scope={})\ndef a(): pass\n"
    assert repeated_fixtures(ast.parse(made.format("'module'")), "tests/a.py")
    assert not repeated_fixtures(ast.parse(made.format("'session'")), "tests/a.py")


def test_the_rule_on_sleeping_can_fail():
    assert bare_sleeps("time.sleep(1)\nasyncio.sleep(0)\ntime.sleep(2)  # a span\n") == [1]
