"""Which names the file server takes, and how it reads them from a request."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napt_lab.servers.files.names import BadName, check, decode, encode, split_target

GOOD = {
    "/notes.txt": "notes.txt",
    "/na%C3%AFve%20caf%c3%a9.txt": "naïve café.txt",
    "/naïve": "naïve",
    "/%F0%9F%90%B1.gif": "🐱.gif",
    "/a..b": "a..b",
    "/a%3Fb%23c": "a?b#c",
    "/100%25": "100%",
    "/%252e%252e%252fetc": "%2e%2e%2fetc",  # decoded once: just a strange name
    "/+": "+",
    "/" + "a" * 255: "a" * 255,
    "/" + "%C3%A9" * 127: "é" * 127,
}

BAD = [
    "/..", "/.", "/../etc/passwd", "/a/b", "/a/", "//etc", "/a/../b",
    "/%2e%2e", "/%2E%2E%2Fetc", "/..%2fetc", "/a%2Fb", "/a%5Cb", "/..\\etc", "/C:\\x",
    "/.hidden", "/%2ehidden", "/.upload-0123",
    "/a%00", "/%00", "/a%00.txt", "/a%0d%0aX:%20y", "/%7f", "/a%C2%85b",
    "/%ff", "/%c0%ae%c0%ae", "/%ed%a0%80", "/a\udcff", "/%C3",
    "/a%E2%80%AEgpj.exe", "/a%E2%80%A8b",
    "/%", "/%2", "/%zz", "/a%u0041",
    "/" + "a" * 256, "/" + "%C3%A9" * 128,
]  # fmt: skip


@pytest.mark.parametrize(("path", "name"), GOOD.items())
def test_taken(path, name):
    assert decode(path) == name


@pytest.mark.parametrize("path", BAD)
def test_refused(path):
    with pytest.raises(BadName):
        decode(path)


@given(st.text())
def test_whatever_is_taken_stays_in_the_folder_and_comes_back(name):
    try:
        check(name)
    except BadName:
        return
    assert decode(encode(name)) == name
    assert name not in ("", ".", "..")
    assert not set(name) & set("/\\\0\r\n")
    assert len(name.encode()) <= 255


@given(st.text(st.sampled_from("abcé🐱 -_+&<>\"'%?#;.~"), min_size=1, max_size=40))
def test_ordinary_names_are_taken(name):
    if not name.startswith("."):
        assert check(name) == name


@pytest.mark.parametrize("category", ["Cc", "Zl", "Zp"])
def test_no_control_character_at_all_is_taken(category):
    for code in range(0x110000):
        if unicodedata.category(chr(code)) == category:
            with pytest.raises(BadName):
                check(f"a{chr(code)}b")


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("/", ("/", "")),
        ("/a?format=json", ("/a", "format=json")),
        ("http://203.0.113.5:8080/a%20b?x=/y", ("/a%20b", "x=/y")),
        ("/a??", ("/a", "?")),
    ],
)
def test_targets(target, parts):
    assert split_target(target) == parts


@pytest.mark.parametrize("target", ["*", "", "a", "203.0.113.5:80", "ftp://x/y", "/a#b", "/a\nb#"])
def test_targets_that_are_no_path(target):
    with pytest.raises(BadName):
        split_target(target)
