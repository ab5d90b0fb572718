"""Once only: no two functions of the source have the same body, be their names different or not."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable

from tests.unit.house.test_house import SOURCES, parse

LINES = 5  # a body with fewer says too little to be a copy


class Anonymous(ast.NodeTransformer):
    """Numbers instead of names, in the order in which they occur; no annotations."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def _number(self, name: str) -> str:
        return self._numbers.setdefault(name, f"name{len(self._numbers)}")

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self._number(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self._number(node.arg))

    def visit_Attribute(self, node: ast.Attribute) -> ast.Attribute:
        node.attr = node.attr.lstrip("_")
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.Pass()
        return self.visit(ast.Assign([node.target], node.value, lineno=node.lineno))


def body_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """What it does, without its docstring, and with anonymous names."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    anonymous = Anonymous()
    return "\n".join(ast.unparse(anonymous.visit(statement)) for statement in body)


def copies(trees: Iterable[tuple[str, ast.Module]]) -> list[str]:
    """The functions that have one body, as `a.py:1 f = b.py:9 g`."""
    places = defaultdict(list)
    for source, tree in trees:
        functions = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for place in functions:
            body = body_of(place)
            if body.count("\n") + 1 >= LINES:
                places[body].append(f"{source}:{place.lineno} {place.name}")
    return [" = ".join(same) for same in places.values() if len(same) > 1]


def test_no_function_is_there_twice():
    """Move it into a room that both may use: test_house.py, FLOORS."""
    found = copies((source, parse(source)) for source in SOURCES)
    assert not found, "\n".join(found)


FUNCTION = """
def life(rule: Rule) -> str:
    '''How long it stays.'''
    held: list[str] = rule["sessions"]
    if rule["explicit"]:
        stays = "stays"
    else:
        return "ending"
    return f"{stays}; {count(held)}"
"""


def test_the_rule_on_copies_can_fail():
    renamed = FUNCTION
    for name, new in (("count", "_number"), ("held", "found"), ("life", "_lasts")):
        renamed = renamed.replace(name, new)
    other = FUNCTION.replace('"stays"', '"goes"')
    trees = [(f"{n}.py", ast.parse(text)) for n, text in enumerate((FUNCTION, renamed, other))]
    assert copies(trees) == ["0.py:2 life = 1.py:2 _lasts"]
