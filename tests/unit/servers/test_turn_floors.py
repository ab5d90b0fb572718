"""TURN in one direction: the reading order in the package's docstring is that of its imports."""

import ast
import re
from pathlib import Path

import pytest

from napt_lab.servers import turn

FOLDER = Path(turn.__file__).parent
ORDER = re.findall(r"^ {4}(\w+)\.py ", turn.__doc__, re.MULTILINE)


def imported(name):
    """The files of the folder that a file imports, imports for types alone included."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.module == turn.__name__:
                modules |= {alias.name for alias in node.names}
            elif node.module.startswith(turn.__name__):
                modules.add(node.module.rpartition(".")[2])
    return modules


def test_the_reading_order_names_every_file_once():
    assert sorted(ORDER) == sorted({each.stem for each in FOLDER.glob("*.py")} - {"__init__"})


@pytest.mark.parametrize("name", ORDER)
def test_a_file_imports_only_from_files_before_it(name):
    before = ORDER[: ORDER.index(name)]
    later = imported(name) - set(before)
    assert not later, f"{name}.py imports {later}: move what both need into a file before {name}.py"


def test_the_imports_are_seen():
    assert {"allocation", "turn_state", "error_response"} <= imported("connect")
