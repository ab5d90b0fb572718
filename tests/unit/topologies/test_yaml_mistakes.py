"""Mistakes that people make in YAML: where each was made, what it is, and how to mend it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.loader import loads

MISTAKES = {
    "title: Lesson 1: A shop": (
        "1: ': ' in column 16 is inside a text without quotes; allowed: quotes around the "
        "text, as in title: 'Lesson 1: A shop'"
    ),
    "expect:\n  - check: a\n    message: see: b": (
        "3: ': ' in column 17 is inside a text without quotes; allowed: quotes around the "
        "text, as in message: 'see: b'"
    ),
    "hosts: pc: 10.0.0.7": (
        "1: two keys are on one line; allowed: a line for each, or braces, as in 'hosts: "
        "{pc: 10.0.0.7}', or quotes around a text"
    ),
    "internet:\n  web1: address: 1.1.1.2, runs: [web]": (
        "2: two keys are on one line; allowed: a line for each, or braces, as in 'web1: "
        "{address: 1.1.1.2, runs: [web]}', or quotes around a text"
    ),
    "title: x\ninternet\n  a: 1": (
        "2: 'internet' has no ': '; allowed: key: value, or '- ' before a list item"
    ),
    "internet:\n  # two\n\n  a 1\n  b: 2": (
        "4: 'a 1' has no ': '; allowed: key: value, or '- ' before a list item"
    ),
    "a:\n  gateway\n    kind: napt": (
        "2: 'gateway' has no ': '; allowed: key: value, or '- ' before a list item"
    ),
    "title:x\nsites: {}": "1: there is no space after the colon in 'title:x'; allowed: 'title: x'",
    "internet:\n  a:198.51.100.2": (
        "2: internet: there is no space after the colon in 'a:198.51.100.2'; allowed: 'a: "
        "198.51.100.2'"
    ),
    "internet: {a:198.51.100.2}": (
        "1: internet.'a:198.51.100.2': there is no space after the colon in "
        "'a:198.51.100.2'; allowed: 'a: 198.51.100.2'"
    ),
    "internet: {a: 1.1.1.2}\nexpect:\n  -a reaches b": (
        "3: expect: there is no space after '-' in '-a reaches b'; allowed: '- a reaches b'"
    ),
    "internet: {a: 1.1.1.2}\nexpect:\n  - a reaches b\n   - b": (
        "3: expect[0]: this item continues on the next line, where '- ' begins further to "
        "the right; allowed: every '- ' of a list in the same column"
    ),
    "title: x\n internet: {}": (
        "2: this line begins in column 2, line 1 in column 1; allowed: the same column for "
        "all lines of a group (1 space too many?)"
    ),
    "internet:\n    a: 1\n  b: 2": (
        "3: this line begins in column 3, line 2 in column 5; allowed: the same column for "
        "all lines of a group (2 spaces too few?)"
    ),
    "expect:\n  - a\n - c": (
        "3: this line begins in column 2, line 2 in column 3; allowed: the same column for "
        "all lines of a group (1 space too few?)"
    ),
    "expect:\n  - check: y\n     wait: 5s": (
        "3: this line begins in column 6, line 2 in column 5; allowed: the same column for "
        "all lines of a group (1 space too many?)"
    ),
    "expect:\n  -check: x\n  - check: y": (
        "2: there is no space after '-' in '-check: x'; allowed: '- check: x'"
    ),
    "expect:\n  - check: y\n  -check: x": (
        "3: there is no space after '-' in '-check: x'; allowed: '- check: x'"
    ),
    "expect:\n  - check: y\n  wait: 5s": (
        "3: a key cannot be among list items; allowed: '- ' before each item, and all keys "
        "of an item in the column of its first key"
    ),
    "a:\n  b: 1\n  - c": (
        "3: a list item cannot be among keys; allowed: only keys, or only list items"
    ),
    "expect: - a": (
        "1: a list cannot begin on the line of its key; allowed: each item on its own "
        "line, after '- '"
    ),
    "internet:\n  a: {b: 1\nsites:\n  a: {}": (
        "2: '{' in column 6 is not closed before line 3; allowed: '}' at the end"
    ),
    "internet:\n  a: {b: 1\n": "2: '{' in column 6 is never closed; allowed: '}' at the end",
    "a: {b: 1, c: [web}": (
        "1: '}' in column 18 does not match the '[' in line 1, column 14; allowed: ']'"
    ),
    "a: {b: 1}}": "1: '}' in column 10 is one too many; allowed: remove it",
    "a: {b: 1 c: 2}": (
        "1: there is no comma before column 11, or a text needs quotes; allowed: a comma "
        "between two entries of {…}"
    ),
    "a:\n  b: {c: 1\n      d: 2}": (
        "2: there is no comma at the end of this line, inside the '{' of line 2, column 6; "
        "allowed: a comma between two entries"
    ),
    'title: "x\ninternet: {}\n': (
        "1: the quote in column 8 is never closed; allowed: the same quote at the end of the text"
    ),
    'title: "x\ninternet:\n  a: "1"': (
        "1: the quote in column 8 is closed on line 3; allowed: the same quote at the end "
        "of the text"
    ),
    "title: 'it's'": (
        "1: there is text after the closing quote in column 11; allowed: one pair of "
        "quotes around the whole text, and other quotes inside"
    ),
    'expect:\n  "a"\n  "b"\n  "c"': (
        "2: '\"a\"' has no ': '; allowed: key: value, or '- ' before a list item"
    ),
    "rules:\n  'tcp 80 -> a:80'\n  'b'": (
        "2: \"'tcp 80 -> a:80'\" has no ': '; allowed: key: value, or '- ' before a list item"
    ),
    'title: "a"\n  "b"': "2: '\"b\"' has no ': '; allowed: key: value, or '- ' before a list item",
    r'title: "C:\dir"': (
        "1: a backslash before 'd' is not an escape; allowed: two backslashes, or quotes "
        "of the other kind (') around the text"
    ),
    "title: @home": "1: a text cannot begin with '@'; allowed: quotes around the text",
    "title: *home": (
        "1: there is no anchor '&home' before this line; allowed: '&home' before the value "
        "to repeat, or quotes around a text that begins with '*'"
    ),
    "title: *bold* text": "1: a text cannot begin with '*'; allowed: quotes around the text",
    "title: > b": "1: a text cannot begin with '>'; allowed: quotes around the text",
    "a: {b: 1} c": (
        "1: there is text after the closing bracket in column 9; allowed: nothing after it "
        "on this line"
    ),
    "internet:\n  a: 1.1.1.2\n\u00a0 b: 1.1.1.3": (
        "3: a no-break space (U+00A0) is before 'b'; allowed: ordinary spaces"
    ),
    "internet:\n  a: 1.1.1.2\n \u00a0b: 1.1.1.3": (
        "3: a no-break space (U+00A0) is before 'b: 1.1.1.3'; allowed: ordinary spaces"
    ),
    "internet:\n \u3000a: 1.1.1.2": (
        "2: internet: an ideographic space (U+3000) is before 'a'; allowed: ordinary spaces"
    ),
    "internet:\n  a:\u00a01.1.1.2": (
        "2: internet: a no-break space (U+00A0) is before '1.1.1.2'; allowed: ordinary spaces"
    ),
    "title:\u00a0x\ninternet: {}": (
        "1: a no-break space (U+00A0) is before 'x'; allowed: ordinary spaces"
    ),
    "internet: {a: 1.1.1.2}\nexpect:\n  \u2013 a": (
        "3: expect: an en dash (U+2013) is before 'a'; allowed: '- ' before a list item"
    ),
    "internet: {a: 1.1.1.2}\nexpect:\n  - a\n  \u2013 b": (
        "4: an en dash (U+2013) is before 'b'; allowed: '- ' before a list item"
    ),
    "internet: {a: 1.1.1.2}\nexpect:\n  - \u201ca\u201d": (
        "3: expect[0]: a left double quotation mark (U+201C) is before 'a\u201d'; allowed: the "
        "quotes \" or '"
    ),
    "title: \u201ca: b\u201d": (
        "1: a left double quotation mark (U+201C) is before 'a: b\u201d'; allowed: the quotes \" "
        "or '"
    ),
    "a: !!str b": (
        "1: a tag (!…) is not allowed; allowed: no tag, and quotes around a text that "
        "begins with '!'"
    ),
    "a: {b: :}": (
        "1: this is not YAML: while parsing a flow node, expected the node content, but "
        "found ':'; allowed: YAML"
    ),
}


@pytest.mark.parametrize(("text", "told"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_named_where_it_was_made(text, told):
    with pytest.raises(TopologyError) as refused:
        loads(text.encode(), Path("t.yaml"))
    assert refused.value.problems == [f"t.yaml:{told}"]


def test_signs_that_only_look_like_yaml_may_stand_in_a_text():
    title = "\u2013 a title: \u201cx\u201d"
    text = f"title: >-\n  {title}\ninternet: {{a: 1.1.1.2}}"
    assert loads(text.encode(), Path("t.yaml")).title == title


@given(st.text(alphabet="ab:-{}[],'\"\\ \n#@*&!|>?\t%", max_size=60))
def test_whatever_it_is_a_topology_error_comes_out(text):
    with contextlib.suppress(TopologyError):
        loads(text.encode(), Path("t.yaml"))
