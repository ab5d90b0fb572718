"""What a person did wrong where YAML cannot be read, and how to mend it.

Theory of operation. A parser knows what its grammar expected, and the place where it gave up. The
mistake itself is often lines above: a quote that was not closed runs on to the next quote, and a
line without a colon becomes part of the text before it. So the parser's complaint, its two marks
(where something began, and where it cannot go on), the token before and the lines around are
compared with the mistakes that people make. What resembles none is told in the parser's words.

Columns count from 1, as in editors. What the file says is shown by errors.quoted alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from napt_lab.topologies.spec.errors import quoted
from napt_lab.topologies.spec.look_alikes import odd_dash, odd_quote, odd_space

MAX_MESSAGE = 300  # characters of a parser's own words

_DASHES = re.compile(r"(?:- +)*")
_KEY = re.compile(r"(.+?):(?:[ \t]|$)")
_PAIR = re.compile(r"[a-z][\w-]*: +\S.*")
_TEXTS = {"title", "message", "task", "says"}  # keys whose values are sentences
_GLUED_KEY = re.compile(r"([\w-]+):(\S.*)")
_GLUED_DASH = re.compile(r"-([^\s-].*)")
_GOT = re.compile(r"but (?:got|found) '(.*)'")
_SIGNS = {f"while scanning {what}" for what in ("an alias", "an anchor", "a block scalar")}
_CLOSES = {"{": "}", "[": "]"}

Told = tuple[int, str]  # a line, counted from 1, and what is wrong there


@dataclass(frozen=True, slots=True)
class _Line:
    """One line: its number, how far it is indented, and where its first key or text begins."""

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
    """What the parser said about a text, with the text."""

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
        """The lines before that say something, the nearest first."""
        return [each for each in reversed(self._lines[: line.number - 1]) if each.says_something]


def explain(error: yaml.MarkedYAMLError, text: str, before: yaml.Token | None) -> Told:
    """The line of the mistake, and its cause and cure. `before`: the last token that fitted."""
    if error.problem_mark is None and error.context_mark is None:
        return 1, _in_its_own_words(error)
    complaint = _Complaint(error, text, before)
    told: Told | None = None
    if odd := odd_space(complaint.here.body) or odd_dash(complaint.here.body):
        told = complaint.here.number, odd
    elif complaint.problem.startswith("mapping values are not allowed"):
        told = _colon(complaint)
    elif complaint.problem == "could not find expected ':'":
        told = _no_colon(complaint.line(complaint.opened))
    elif complaint.context == "while scanning a quoted scalar":
        told = _quote(complaint.opened, "is never closed")
    elif complaint.context.startswith("while parsing a flow"):
        told = _flow(complaint)
    elif complaint.context.startswith("while parsing a block") and complaint.got:
        told = _block(complaint)
    elif "sequence entries are not allowed" in complaint.problem:
        told = (
            complaint.here.number,
            "a list begins behind a key; allowed: each item on a line of its own, behind '- '",
        )
    else:
        told = _simple(complaint)
    return told or (complaint.here.number, _in_its_own_words(error))


def _simple(complaint: _Complaint) -> Told | None:
    """What one line alone says."""
    number, problem = complaint.here.number, complaint.problem
    if "'\\t'" in problem:
        return number, "a tab stands here; allowed: spaces to indent with"
    if "another document" in problem:
        return number, "a second document begins here ('---' parts them); allowed: one in a file"
    if escape := re.search(r"unknown escape character ('.+')", problem):
        return number, (
            f"a backslash before {escape[1]} means nothing; "
            "allowed: two of them, or quotes of the other kind (') around the text"
        )
    line, column = complaint.line(complaint.opened), complaint.opened.column
    if alias := re.search(r"undefined alias '(.+)'", problem):
        name = quoted("&" + alias[1])
        return number, (
            f"no line before has an anchor {name}; allowed: {name} in front of what is to be "
            "repeated, or quotes around a text that begins with '*'"
        )
    if "cannot start any token" in problem or complaint.context in _SIGNS:
        sign = quoted(line.text[column : column + 1])
        return number, f"a text begins with {sign}; allowed: quotes around such a text"
    return None


def _in_its_own_words(error: yaml.MarkedYAMLError) -> str:
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return f"cannot be read: {said[:MAX_MESSAGE]}; allowed: YAML"


def _colon(complaint: _Complaint) -> Told | None:
    """A colon where no key can be: in a text, or behind a line that went wrong."""
    here, column = complaint.here, complaint.mark.column
    if (key := _KEY.match(here.body)) and here.start + key.end(1) < column:
        value = here.body[key.end() :].strip()
        if odd := odd_quote(value):
            return here.number, odd
        if _PAIR.fullmatch(value) and key[1] not in _TEXTS:
            braces = quoted(f"{key[1]}: {{{value}}}")
            return here.number, (
                "a key and its value stand behind a key; allowed: a line of their own each, or "
                f"braces, as in {braces}, or quotes around what is one text"
            )
        return here.number, (
            f"': ' in column {column + 1} stands in a text without quotes; "
            f"allowed: quotes around it, as in {quoted(key[1])[1:-1]}: {quoted(value)}"
        )
    above = complaint.above(here)
    if not above:
        return None
    return _columns(complaint, here) if _KEY.match(above[0].body) else _no_colon(above[0])


def _no_colon(line: _Line) -> Told:
    """A line that is no `key: value`."""
    return line.number, no_space(line.body) or (
        f"{quoted(line.body)} has no ': '; allowed: key: value, or '- ' before a list's item"
    )


def no_space(text: str) -> str | None:
    """What to say of a text that was to be an item, or a key and its value."""
    if odd := odd_space(text) or odd_dash(text) or odd_quote(text):
        return odd
    if glued := _GLUED_DASH.fullmatch(text):
        what, right = "'-'", f"- {glued[1]}"
    elif glued := _GLUED_KEY.fullmatch(text):
        what, right = "the colon", f"{glued[1]}: {glued[2]}"
    else:
        return None
    return f"no space behind {what} of {quoted(text)}; allowed: {quoted(right)}"


def _quote(opened: Any, what: str) -> Told:
    return opened.line + 1, (
        f"the quote that is opened in column {opened.column + 1} {what}; "
        "allowed: the same quote at the end of the text"
    )


def _columns(complaint: _Complaint, here: _Line) -> Told | None:
    """A line that begins in a column of its own."""
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
        f"it begins in column {here.indent + 1}, and line {line.number} in column {column + 1}; "
        f"allowed: one column for all that belong together ({spaces}?)"
    )


def _block(complaint: _Complaint) -> Told | None:
    """Lines of one group that do not fit together, or something behind the end of a value."""
    here, before, got = complaint.here, complaint.before, complaint.got
    if isinstance(before, yaml.ScalarToken) and not before.plain and got == "<scalar>":
        opened, closed = before.start_mark, before.end_mark
        if opened.line != closed.line:
            return _quote(opened, f"is closed only in line {closed.line + 1}")
        if closed.line + 1 < here.number:
            first = complaint.line(opened)
            return _no_colon(first if first.indent == opened.column else here)
        return here.number, (
            f"something stands behind the quote that ends the text in column {closed.column}; "
            "allowed: one pair of quotes around the whole text, and others within it"
        )
    if got in ("}", "]", ","):
        column = complaint.mark.column + 1
        return here.number, f"{got!r} in column {column} is one too many; allowed: leave it out"
    ends = isinstance(before, yaml.FlowMappingEndToken | yaml.FlowSequenceEndToken)
    if before and ends and before.end_mark.line == complaint.mark.line:
        return here.number, (
            f"something stands behind the bracket that closes in column {before.end_mark.column}; "
            "allowed: nothing more in this line"
        )
    group = [here, *complaint.above(here)]
    for line in group:
        if line.number > complaint.opened.line and _GLUED_DASH.fullmatch(line.body):
            return _no_colon(line)
    if got == "<scalar>" and not _KEY.match(here.body):
        return _no_colon(here)
    if got == "-":
        return here.number, "a list's item stands among keys; allowed: one or the other"
    if got == "?":
        return here.number, (
            "a key stands among a list's items; allowed: '- ' before an item, and the column of "
            "an item's first key for its others"
        )
    return _columns(complaint, here) if got.startswith("<block") else None


def _flow(complaint: _Complaint) -> Told | None:
    """Brackets: one that is not closed, or a comma that is missing."""
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
            f"{got!r} in column {complaint.mark.column + 1} closes what {bracket!r} opened in line "
            f"{first.number}, column {opened.column + 1}; allowed: {closing!r}"
        )
    above = complaint.above(here)
    token = complaint.before
    if above and token is not None and token.start_mark.line + 1 < here.number:
        if here.indent <= first.indent:
            before_what = f"is not closed before line {here.number}"
            return first.number, _not_closed(complaint, bracket, before_what)
        return above[0].number, (
            f"no comma at the end, between {bracket!r} (line {first.number}, column "
            f"{opened.column + 1}) and {closing!r}; allowed: a comma between two entries"
        )
    return here.number, (
        f"no comma before column {complaint.mark.column + 1}, or a text without quotes that needs "
        f"them; allowed: a comma between two entries of {bracket}…{closing}"
    )


def _not_closed(complaint: _Complaint, bracket: str, what: str) -> str:
    column = complaint.opened.column + 1
    return f"{bracket!r} in column {column} {what}; allowed: {_CLOSES[bracket]!r} at its end"
