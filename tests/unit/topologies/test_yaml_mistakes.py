"""Mistakes that people make in YAML: where each was made, what it is, and how to mend it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.loader import loads

COLUMNS = "allowed: one column for all that belong together"
END = "allowed: the same quote at the end of the text"
NO_COLON = "has no ': '; allowed: key: value, or '- ' before a list's item"
NO_BREAK = "a no-break space (U+00A0) stands"
SPACES = "allowed: spaces as the space bar makes them"
WHOLE = "allowed: one pair of quotes around the whole text, and others within it"

MISTAKES = {
    "title: Lesson 1: A shop": "1: ': ' in column 16 stands in a text without quotes; "
    "allowed: quotes around it, as in title: 'Lesson 1: A shop'",
    "expect:\n  - check: a\n    message: see: b": "3: ': ' in column 17 stands in a text without "
    "quotes; allowed: quotes around it, as in message: 'see: b'",
    "hosts: pc: 10.0.0.7": "1: a key and its value stand behind a key; allowed: a line of "
    "their own each, or braces, as in 'hosts: {pc: 10.0.0.7}', or quotes around what is one text",
    "internet:\n  web1: address: 1.1.1.2, runs: [web]": "2: a key and its value stand behind a "
    "key; allowed: a line of their own each, or braces, as in "
    "'web1: {address: 1.1.1.2, runs: [web]}', or quotes around what is one text",
    "title: x\ninternet\n  a: 1": f"2: 'internet' {NO_COLON}",
    "internet:\n  # two\n\n  a 1\n  b: 2": f"4: 'a 1' {NO_COLON}",
    "a:\n  gateway\n    kind: napt": f"2: 'gateway' {NO_COLON}",
    "title:x\nsites: {}": "1: no space behind the colon of 'title:x'; allowed: 'title: x'",
    "internet:\n  a:198.51.100.2": "2: internet: no space behind the colon of 'a:198.51.100.2'; "
    "allowed: 'a: 198.51.100.2'",
    "internet: {a:198.51.100.2}": "1: internet.'a:198.51.100.2': no space behind the colon of "
    "'a:198.51.100.2'; allowed: 'a: 198.51.100.2'",
    "internet: {a: 1.1.1.2}\nexpect:\n  -a reaches b": "3: expect: no space behind '-' of "
    "'-a reaches b'; allowed: '- a reaches b'",
    "internet: {a: 1.1.1.2}\nexpect:\n  - a reaches b\n   - b": "3: expect[0]: this text goes on "
    "in the next line, where '- ' stands too far to the right; allowed: one column for all '- '",
    "title: x\n internet: {}": f"2: it begins in column 2, and line 1 in column 1; {COLUMNS} "
    "(1 space too many?)",
    "internet:\n    a: 1\n  b: 2": f"3: it begins in column 3, and line 2 in column 5; {COLUMNS} "
    "(2 spaces too few?)",
    "expect:\n  - a\n - c": f"3: it begins in column 2, and line 2 in column 3; {COLUMNS} "
    "(1 space too few?)",
    "expect:\n  - check: y\n     wait: 5s": "3: it begins in column 6, and line 2 in column 5; "
    f"{COLUMNS} (1 space too many?)",
    "expect:\n  -check: x\n  - check: y": "2: no space behind '-' of '-check: x'; "
    "allowed: '- check: x'",
    "expect:\n  - check: y\n  -check: x": "3: no space behind '-' of '-check: x'; "
    "allowed: '- check: x'",
    "expect:\n  - check: y\n  wait: 5s": "3: a key stands among a list's items; allowed: '- ' "
    "before an item, and the column of an item's first key for its others",
    "a:\n  b: 1\n  - c": "3: a list's item stands among keys; allowed: one or the other",
    "expect: - a": "1: a list begins behind a key; allowed: each item on a line of its own, "
    "behind '- '",
    "internet:\n  a: {b: 1\nsites:\n  a: {}": "2: '{' in column 6 is not closed before line 3; "
    "allowed: '}' at its end",
    "internet:\n  a: {b: 1\n": "2: '{' in column 6 is never closed; allowed: '}' at its end",
    "a: {b: 1, c: [web}": "1: '}' in column 18 closes what '[' opened in line 1, column 14; "
    "allowed: ']'",
    "a: {b: 1}}": "1: '}' in column 10 is one too many; allowed: leave it out",
    "a: {b: 1 c: 2}": "1: no comma before column 11, or a text without quotes that needs them; "
    "allowed: a comma between two entries of {…}",
    "a:\n  b: {c: 1\n      d: 2}": "2: no comma at the end, between '{' (line 2, column 6) and "
    "'}'; allowed: a comma between two entries",
    'title: "x\ninternet: {}\n': f"1: the quote that is opened in column 8 is never closed; {END}",
    'title: "x\ninternet:\n  a: "1"': "1: the quote that is opened in column 8 is closed only in "
    f"line 3; {END}",
    "title: 'it's'": "1: something stands behind the quote that ends the text in column 11; "
    f"{WHOLE}",
    'expect:\n  "a"\n  "b"\n  "c"': f"2: '\"a\"' {NO_COLON}",
    "rules:\n  'tcp 80 -> a:80'\n  'b'": f"2: \"'tcp 80 -> a:80'\" {NO_COLON}",
    'title: "a"\n  "b"': f"2: '\"b\"' {NO_COLON}",
    r'title: "C:\dir"': "1: a backslash before 'd' means nothing; allowed: two of them, or quotes "
    "of the other kind (') around the text",
    "title: @home": "1: a text begins with '@'; allowed: quotes around such a text",
    "title: *home": "1: no line before has an anchor '&home'; allowed: '&home' in front of what is "
    "to be repeated, or quotes around a text that begins with '*'",
    "title: *bold* text": "1: a text begins with '*'; allowed: quotes around such a text",
    "title: > b": "1: a text begins with '>'; allowed: quotes around such a text",
    "a: {b: 1} c": "1: something stands behind the bracket that closes in column 9; "
    "allowed: nothing more in this line",
    "internet:\n  a: 1.1.1.2\n\u00a0 b: 1.1.1.3": f"3: {NO_BREAK} before 'b'; {SPACES}",
    "internet:\n  a: 1.1.1.2\n \u00a0b: 1.1.1.3": f"3: {NO_BREAK} before 'b: 1.1.1.3'; {SPACES}",
    "internet:\n \u3000a: 1.1.1.2": "2: internet: an ideographic space (U+3000) stands before 'a'; "
    f"{SPACES}",
    "internet:\n  a:\u00a01.1.1.2": f"2: internet: {NO_BREAK} before '1.1.1.2'; {SPACES}",
    "title:\u00a0x\ninternet: {}": f"1: {NO_BREAK} before 'x'; {SPACES}",
    "internet: {a: 1.1.1.2}\nexpect:\n  \u2013 a": "3: expect: an en dash (U+2013) stands before "
    "'a'; allowed: '- ' before a list's item",
    "internet: {a: 1.1.1.2}\nexpect:\n  - a\n  \u2013 b": "4: an en dash (U+2013) stands before "
    "'b'; allowed: '- ' before a list's item",
    "internet: {a: 1.1.1.2}\nexpect:\n  - \u201ca\u201d": "3: expect[0]: a left double quotation "
    "mark (U+201C) stands before 'a\u201d'; allowed: quotes as \" or '",
    "title: \u201ca: b\u201d": "1: a left double quotation mark (U+201C) stands before "
    "'a: b\u201d'; allowed: quotes as \" or '",
    "a: !!str b": "1: a tag (!…) stands here; allowed: none, and quotes around a text with '!' in "
    "front",
    "a: {b: :}": "1: cannot be read: while parsing a flow node, expected the node content, but "
    "found ':'; allowed: YAML",
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
