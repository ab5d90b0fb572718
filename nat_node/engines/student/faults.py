"""What is wrong with a student's program, said by the student's own lines.

A traceback through the node and the worker would hide the one line that counts. So only the
frames of the student's own file are shown, the innermost last, and below them the error.

What is wrong with a file that cannot be loaded is told by its place and without any of its lines:
it may be no translator at all, but a file that someone wants to read by our errors.
"""

from __future__ import annotations

import ast
import errno
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import CodeType

FRAMES = 3  # of the student's, the innermost ones
REQUIRED = "translate"
OPTIONAL = ("expire", "add_rule", "remove_rule")
LONGEST = 1000  # characters of an error's own words


class Overrun(BaseException):
    """A call took too long. No Exception: `except Exception` in a loop must not swallow it."""


class LoadError(Exception):
    """A file that cannot be used as a translator; the text begins with FILE:LINE."""


def explain(error: BaseException, file: Path, doing: str, *, quote: bool = True) -> str:
    """The student's lines that led to an error, and what it says. `doing`: what was called."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = []
    for frame in [frame for frame in frames if frame.filename == str(file)][-FRAMES:]:
        lines.append(f"{file.name}:{frame.lineno}, in {frame.name}")
        if quote and frame.line:
            lines.append(f"    {frame.line}")
    return "\n".join([*lines, _words(error, doing)])


def _words(error: BaseException, doing: str) -> str:
    name, text = type(error).__name__, str(error)[:LONGEST]
    match error:
        case Overrun():
            return f"{doing} {text}"
        case SystemExit():
            return f"{doing} wanted to end the program (exit): a NAPT goes on until it is stopped"
        case EOFError():
            return f"EOFError: {text}: no one types anything at a NAPT"
        case PermissionError(errno=errno.EPERM):
            return (
                f"{name}: {text}: a translator only computes; files, sockets, threads and other "
                "processes are out of its reach"
            )
        case MemoryError():
            return (
                f"MemoryError: {doing} needs more memory than it may have: does a table only grow?"
            )
        case RecursionError():
            return f"RecursionError: {text}: does a function call itself?"
    return f"{name}: {text}" if text else name


def examine(source: bytes, file: Path) -> CodeType:
    """Compile a source. LoadError if it cannot be, or has no translate(packet, now)."""
    try:
        tree = ast.parse(source, str(file))
        code = compile(tree, str(file), "exec")
    except SyntaxError as error:
        where = f"{file}:{error.lineno or 1}"
        raise LoadError(f"{where}: {type(error).__name__}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise LoadError(f"{file}:1: cannot be compiled: {error}") from None
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name, wanted in (
        (REQUIRED, ("packet", "now")),
        ("expire", ("now",)),
        ("add_rule", ("rule", "now")),
        ("remove_rule", ("rule",)),
    ):
        if name in functions:
            _must_take(functions[name], wanted, file)
    if REQUIRED not in _assigned(tree):
        near = get_close_matches(REQUIRED, functions, n=1, cutoff=0.5)
        at = functions[near[0]].lineno if near else 1
        guess = f" (did you mean {near[0]}?)" if near else ""
        raise LoadError(f"{file}:{at}: there is no function translate(packet, now){guess}")
    return code


def _must_take(function: ast.FunctionDef, wanted: tuple[str, ...], file: Path) -> None:
    given = function.args
    most = len(given.posonlyargs) + len(given.args)
    least = most - len(given.defaults)
    missing = [
        one for one, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if not value
    ]
    if missing or len(wanted) < least or (len(wanted) > most and given.vararg is None):
        raise LoadError(
            f"{file}:{function.lineno}: {function.name} is called as "
            f"{function.name}({', '.join(wanted)}), and cannot be"
        )


def _assigned(tree: ast.Module) -> set[str]:
    """All names that the file may give something to, at whatever place."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.add(other or name)
    return found
