"""Finds the mistake in a file that is not YAML: its line, what is wrong, what is allowed.

Theory of operation. A parser knows what its grammar expected and where it stopped. The mistake is
often some lines above: a quote that is not closed continues to the next quote, and a line without
a colon becomes part of the text before it. So the parser's error, its two marks (where something
began, where the parser stopped), the token before and the lines around are compared with common
mistakes. For any other mistake the message has the parser's own words.

Columns count from 1, as in editors. Text from the file is shown by errors.quoted only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from napt_lab.topologies.spec.errors import quoted
from napt_lab.topologies.spec.look_alikes import odd_dash, odd_quote, odd_space

MAX_MESSAGE = 300  # characters of the parser's own words

_DASHES = re.compile(r"(?:- +)*")
_KEY = re.compile(r"(.+?):(?:[ \t]|$)")
_PAIR = re.compile(r"[a-z][\w-]*: +\S.*")
_TEXTS = {"title", "message", "task", "says"}  # keys with a sentence as value
_GLUED_KEY = re.compile(r"([\w-]+):(\S.*)")
_GLUED_DASH = re.compile(r"-([^\s-].*)")
_GOT = re.compile(r"but (?:got|found) '(.*)'")
_SIGNS = {f"while scanning {what}" for what in ("an alias", "an anchor", "a block scalar")}
_CLOSES = {"{": "}", "[": "]"}

Mistake = tuple[int, str]  # the line, counted from 1, and the message


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of the file: its number, indentation, and the column of its first key or text."""

    number: int
    text: str

    @property
    def indent(self) -> int:
        return len(self.text) - len(self.text.lstrip(" "))

    @property
    def start(self) -> int:
        found = _DASHES.match(self.text, self.indent)
        return found.end() if found else self.indent

    @property
    def body(self) -> str:
        return self.text[self.start :].rstrip()

    @property
    def is_item(self) -> bool:
        return self.start > self.indent

    @property
    def says_something(self) -> bool:
        return bool(self.body) and not self.body.startswith("#")


class _Complaint:
    """The parser's error, with the text."""

    def __init__(self, error: yaml.MarkedYAMLError, text: str, before: yaml.Token | None) -> None:
        self.problem = error.problem or ""
        self.mark: Any = error.problem_mark or error.context_mark
        self.opened: Any = error.context_mark or self.mark
        self.context = error.context or ""
        self.before = before
        found = _GOT.search(self.problem)
        self.got = found[1] if found else ""
        self._lines = [_Line(n, line) for n, line in enumerate(text.splitlines(), 1)]

    @property
    def here(self) -> _Line:
        return self.line(self.mark)

    def line(self, mark: Any) -> _Line:
        is_there = mark.line < len(self._lines)
        return self._lines[mark.line] if is_there else _Line(mark.line + 1, "")

    def above(self, line: _Line) -> list[_Line]:
        """The lines before that are not empty and not comments, the nearest first."""
        return [each for each in reversed(self._lines[: line.number - 1]) if each.says_something]


def explain(error: yaml.MarkedYAMLError, text: str, before: yaml.Token | None) -> Mistake:
    """The line of the mistake and the message. `before`: the last token without an error."""
    if error.problem_mark is None and error.context_mark is None:
        return 1, _in_its_own_words(error)
    complaint = _Complaint(error, text, before)
    mistake: Mistake | None = None
    if odd := odd_space(complaint.here.body) or odd_dash(complaint.here.body):
        mistake = complaint.here.number, odd
    elif complaint.problem.startswith("mapping values are not allowed"):
        mistake = _colon(complaint)
    elif complaint.problem == "could not find expected ':'":
        mistake = _no_colon(complaint.line(complaint.opened))
    elif complaint.context == "while scanning a quoted scalar":
        mistake = _quote(complaint.opened, "is never closed")
    elif complaint.context.startswith("while parsing a flow"):
        mistake = _flow(complaint)
    elif complaint.context.startswith("while parsing a block") and complaint.got:
        mistake = _block(complaint)
    elif "sequence entries are not allowed" in complaint.problem:
        mistake = (
            complaint.here.number,
            "a list cannot begin on the line of its key; allowed: each item on its own line, "
            "after '- '",
        )
    else:
        mistake = _simple(complaint)
    return mistake or (complaint.here.number, _in_its_own_words(error))


def _simple(complaint: _Complaint) -> Mistake | None:
    """A mistake that can be seen in one line alone."""
    number, problem = complaint.here.number, complaint.problem
    if "'\\t'" in problem:
        return number, "a tab cannot be used for indentation; allowed: spaces"
    if "another document" in problem:
        return number, "'---' begins a second document here; allowed: one document in a file"
    if escape := re.search(r"unknown escape character ('.+')", problem):
        return number, (
            f"a backslash before {escape[1]} is not an escape; allowed: two backslashes, or quotes "
            "of the other kind (') around the text"
        )
    line, column = complaint.line(complaint.opened), complaint.opened.column
    if alias := re.search(r"undefined alias '(.+)'", problem):
        name = quoted("&" + alias[1])
        return number, (
            f"there is no anchor {name} before this line; allowed: {name} before the value to "
            "repeat, or quotes around a text that begins with '*'"
        )
    if "cannot start any token" in problem or complaint.context in _SIGNS:
        sign = quoted(line.text[column : column + 1])
        return number, f"a text cannot begin with {sign}; allowed: quotes around the text"
    return None


def _in_its_own_words(error: yaml.MarkedYAMLError) -> str:
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return f"this is not YAML: {said[:MAX_MESSAGE]}; allowed: YAML"


def _colon(complaint: _Complaint) -> Mistake | None:
    """A colon where there can be no key: in a text, or after a line with a mistake."""
    here, column = complaint.here, complaint.mark.column
    if (key := _KEY.match(here.body)) and here.start + key.end(1) < column:
        value = here.body[key.end() :].strip()
        if odd := odd_quote(value):
            return here.number, odd
        if _PAIR.fullmatch(value) and key[1] not in _TEXTS:
            braces = quoted(f"{key[1]}: {{{value}}}")
            return here.number, (
                "two keys are on one line; allowed: a line for each, or braces, as in "
                f"{braces}, or quotes around a text"
            )
        return here.number, (
            f"': ' in column {column + 1} is inside a text without quotes; "
            f"allowed: quotes around the text, as in {quoted(key[1])[1:-1]}: {quoted(value)}"
        )
    above = complaint.above(here)
    if not above:
        return None
    return _columns(complaint, here) if _KEY.match(above[0].body) else _no_colon(above[0])


def _no_colon(line: _Line) -> Mistake:
    """A line that is not `key: value`."""
    return line.number, no_space(line.body) or (
        f"{quoted(line.body)} has no ': '; allowed: key: value, or '- ' before a list item"
    )


def no_space(text: str) -> str | None:
    """The message for a text that was meant as a list item, or as a key and value; else None."""
    if odd := odd_space(text) or odd_dash(text) or odd_quote(text):
        return odd
    if glued := _GLUED_DASH.fullmatch(text):
        what, right = "'-'", f"- {glued[1]}"
    elif glued := _GLUED_KEY.fullmatch(text):
        what, right = "the colon", f"{glued[1]}: {glued[2]}"
    else:
        return None
    return f"there is no space after {what} in {quoted(text)}; allowed: {quoted(right)}"


def _quote(opened: Any, what: str) -> Mistake:
    return opened.line + 1, (
        f"the quote in column {opened.column + 1} {what}; "
        "allowed: the same quote at the end of the text"
    )


def _columns(complaint: _Complaint, here: _Line) -> Mistake | None:
    """A line that begins in another column than its group."""
    above = complaint.above(here)
    items = [line for line in above if line.is_item] if here.is_item else []
    begins = [(line.indent, line) for line in items] or [(line.start, line) for line in above]
    if not begins:
        return None
    column, line = min(begins, key=lambda begin: abs(begin[0] - here.indent))
    number = abs(here.indent - column)
    if not number:
        return None
    spaces = f"{number} space{'s' * (number > 1)} too {'many' if here.indent > column else 'few'}"
    return here.number, (
        f"this line begins in column {here.indent + 1}, line {line.number} in column {column + 1}; "
        f"allowed: the same column for all lines of a group ({spaces}?)"
    )


def _block(complaint: _Complaint) -> Mistake | None:
    """Lines of one group that do not fit together, or text after the end of a value."""
    here, before, got = complaint.here, complaint.before, complaint.got
    if isinstance(before, yaml.ScalarToken) and not before.plain and got == "<scalar>":
        opened, closed = before.start_mark, before.end_mark
        if opened.line != closed.line:
            return _quote(opened, f"is closed on line {closed.line + 1}")
        if closed.line + 1 < here.number:
            first = complaint.line(opened)
            return _no_colon(first if first.indent == opened.column else here)
        return here.number, (
            f"there is text after the closing quote in column {closed.column}; "
            "allowed: one pair of quotes around the whole text, and other quotes inside"
        )
    if got in ("}", "]", ","):
        column = complaint.mark.column + 1
        return here.number, f"{got!r} in column {column} is one too many; allowed: remove it"
    ends = isinstance(before, yaml.FlowMappingEndToken | yaml.FlowSequenceEndToken)
    if before and ends and before.end_mark.line == complaint.mark.line:
        return here.number, (
            f"there is text after the closing bracket in column {before.end_mark.column}; "
            "allowed: nothing after it on this line"
        )
    group = [here, *complaint.above(here)]
    for line in group:
        if line.number > complaint.opened.line and _GLUED_DASH.fullmatch(line.body):
            return _no_colon(line)
    if got == "<scalar>" and not _KEY.match(here.body):
        return _no_colon(here)
    if got == "-":
        return (
            here.number,
            "a list item cannot be among keys; allowed: only keys, or only list items",
        )
    if got == "?":
        return here.number, (
            "a key cannot be among list items; allowed: '- ' before each item, and all keys of an "
            "item in the column of its first key"
        )
    return _columns(complaint, here) if got.startswith("<block") else None


def _flow(complaint: _Complaint) -> Mistake | None:
    """A bracket that is not closed, or a missing comma."""
    here, opened, got = complaint.here, complaint.opened, complaint.got
    first = complaint.line(opened)
    bracket = first.text[opened.column : opened.column + 1]
    if bracket not in _CLOSES or not got:
        return None
    closing = _CLOSES[bracket]
    if got == "<stream end>":
        return first.number, _not_closed(complaint, bracket, "is never closed")
    if got in _CLOSES.values():
        return here.number, (
            f"{got!r} in column {complaint.mark.column + 1} does not match the {bracket!r} in line "
            f"{first.number}, column {opened.column + 1}; allowed: {closing!r}"
        )
    above = complaint.above(here)
    token = complaint.before
    if above and token is not None and token.start_mark.line + 1 < here.number:
        if here.indent <= first.indent:
            before_what = f"is not closed before line {here.number}"
            return first.number, _not_closed(complaint, bracket, before_what)
        return above[0].number, (
            f"there is no comma at the end of this line, inside the {bracket!r} of line "
            f"{first.number}, column {opened.column + 1}; allowed: a comma between two entries"
        )
    return here.number, (
        f"there is no comma before column {complaint.mark.column + 1}, or a text needs quotes; "
        f"allowed: a comma between two entries of {bracket}…{closing}"
    )


def _not_closed(complaint: _Complaint, bracket: str, what: str) -> str:
    column = complaint.opened.column + 1
    return f"{bracket!r} in column {column} {what}; allowed: {_CLOSES[bracket]!r} at the end"
