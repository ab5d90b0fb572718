"""The rules of the house, held by reading the source: who imports whom, and what a file opens with.

The translator's core does no I/O, reads no clock and takes its randomness from outside; that is
what makes it testable without waiting and readable without knowing sockets. Here its imports are
read, without running them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

MAY_IMPORT = {  # folder: the project's folders it may import from
    "nat_node": {"nat_node"},
    "servers": {"servers"},
    "topologies": {"topologies"},
    "labs": {"labs", "topologies"},
    "tests": {"nat_node", "servers", "topologies", "labs", "tests"},
}
IMPORTERS_OF_MININET = {"topologies/network/builder.py", "topologies/network/mininet_cli.py"}

# The modules of nat_node that talk to the kernel; all others are the core.
WITH_IO = {
    "announce.py",
    "keeper.py",
    "state_file.py",
    "tun.py",
    "port_control/listener.py",
    "kernel_datapath.py",
    "map_counters.py",
    "next_hops.py",
    "netlink.py",
    "routing.py",
    "control.py",
    "client.py",
    "node.py",
    "startup.py",
    "__main__.py",
    *(f"kernel_nat/{name}.py" for name in ("conntrack", "packet_log", "node")),
    # What runs a translator that a student wrote:
    *(
        f"student/{name}.py"
        for name in ("__main__", "bounds", "channel", "faults", "node", "process", "worker")
    ),
}
KEPT_FROM_CORE = {
    "asyncio", "ctypes", "datetime", "fcntl", "logging", "multiprocessing", "os", "pathlib",
    "random", "secrets", "select", "selectors", "signal", "socket", "subprocess", "sys",
    "threading", "time",
}  # fmt: skip
BUILTINS_WITH_IO = {"open", "print", "input", "__import__", "exec", "eval"}


def sources(folder: str) -> list[str]:
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")]
    assert found, f"no source in {folder}/"
    return sorted(found)


ALL = [source for folder in MAY_IMPORT for source in sources(folder)]
CORE = [source for source in sources("nat_node") if source[len("nat_node/") :] not in WITH_IO]
# What a student writes, and nat_node loads: no part of the labs' own programs.
BY_STUDENTS = {"labs/translator/skeleton.py", "nat_node/one_page.py"}


def parse(source: str) -> ast.Module:
    return ast.parse((ROOT / source).read_text(encoding="utf-8"), source)


def imports(tree: ast.Module, source: str) -> set[str]:
    """The full names of all modules imported anywhere in the file, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = Path(source).parent.parts
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (above, node.module)))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def top_levels(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def problems_of_core(tree: ast.Module, source: str) -> set[str]:
    """What a core module uses and should not."""
    found = imports(tree, source)
    bad = top_levels(found) & KEPT_FROM_CORE
    bad |= {f"nat_node.{m[:-3].replace('/', '.')}" for m in WITH_IO} & found
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return bad | called & BUILTINS_WITH_IO


@pytest.mark.parametrize("source", ALL)
def test_folders_import_only_what_they_may(source):
    folder = Path(source).parts[0]
    of_the_project = top_levels(imports(parse(source), source)) & set(MAY_IMPORT)
    assert of_the_project <= ({"nat_node"} if source in BY_STUDENTS else MAY_IMPORT[folder])


@pytest.mark.parametrize("source", [s for s in ALL if not s.startswith("tests/")])
def test_only_the_builder_and_the_prompt_import_mininet(source):
    if source not in IMPORTERS_OF_MININET:
        assert "mininet" not in top_levels(imports(parse(source), source))


@pytest.mark.parametrize("source", CORE)
def test_core_does_no_io_and_reads_no_clock(source):
    assert problems_of_core(parse(source), source) == set()


@pytest.mark.parametrize("source", [s for s in ALL if (ROOT / s).stat().st_size > 0])
def test_every_file_says_what_it_is_about(source):
    assert ast.get_docstring(parse(source)), "the file has no docstring"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("import socket", "socket"),
        ("from os import path", "os"),
        ("def f():\n    import time", "time"),
        ("import asyncio.events as e", "asyncio"),
        ("from random import choice", "random"),
        ("from . import tun", "napt_lab.nat_node.system.tun"),
        (
            "from napt_lab.nat_node.control.server import Control",
            "napt_lab.nat_node.control.server",
        ),
        ("import napt_lab.nat_node.system.routing", "napt_lab.nat_node.system.routing"),
        ("print(1)", "print"),
    ],
)
def test_the_core_rule_can_fail(line, problem):
    assert problem in problems_of_core(ast.parse(line), "nat_node/core/translator.py")


def test_the_files_with_io_exist():
    names = {source[len("nat_node/") :] for source in sources("nat_node")}
    assert names >= WITH_IO, "the list of I/O modules names files that are not there"
