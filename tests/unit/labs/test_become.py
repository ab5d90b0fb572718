"""run-in's way to a command, against what sh itself says of the same command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

from napt_lab.labs.running.run_in import BECOME

OURS = [sys.executable, "-I", "-S", BECOME]
SHS = ["sh", "-c", 'exec "$@"', "sh"]
FILES = {  # in the folder: its bytes, whether it may be run
    "script": (b'#!/bin/sh\necho "$0" "$@"; exit 5\n', True),
    "no-interpreter-line": (b'echo "$0" "$@"; exit 6\n', True),
    "empty": (b"", True),
    "not-executable": (b"#!/bin/sh\n", False),
    "lost-interpreter": (b"#!/no/such/interpreter\n", True),
    "closed-interpreter": (b"#!not-executable\n", True),
    "binary": (b"\x7fELF\x01\x00of another machine\n", True),
    "half-a-binary": (b"\x7fELF of another machine\n", True),
    "first/twice": (b"#!/bin/sh\n", False),
    "second/twice": (b"#!/bin/sh\nexit 7\n", True),
    "first/closed": (b"#!/bin/sh\n", False),
    "second/found": (b"#!/bin/sh\nexit 8\n", True),
    "killed": (b"#!/bin/sh\nkill -9 $$\n", True),
    "pipe": (b"#!/bin/sh\nyes | head -1\n", True),
}
COMMANDS = {  # status, and what we say; sh says the same unless it stands beside it
    "./script": (5, ""),
    "../{folder}/script": (5, ""),
    "{path}/script": (5, ""),
    "first/../script": (5, ""),
    "./no-interpreter-line": (6, ""),
    "./empty": (0, ""),
    "twice": (7, ""),
    "found": (8, ""),
    "./killed": (-signal.SIGKILL, ""),
    "./pipe": (0, ""),
    "./not-executable": (126, "permission denied"),
    "closed": (126, "permission denied"),
    "./closed-interpreter": (126, "permission denied"),
    "./first": (126, "is a directory"),
    "/": (126, "is a directory"),
    "./binary": (126, "exec format error"),
    "./half-a-binary": (126, "exec format error"),
    "./lost-interpreter": (127, "its interpreter is not found"),
    "no-such-command": (127, "not found"),
    "./no-such-file": (127, "not found"),
    "./dangling": (127, "not found"),
    "./loop": (127, "too many levels of symbolic links"),
    "./script/x": (127, "not a directory"),
}
# sh may be dash or bash, and they differ: whether a path that leads nowhere is found (POSIX, Exit
# Status for Commands: 126 found, but not executable; 127 not found), and what a text is.
SHS_STATUS = {
    "./loop": {126, 127},
    "./script/x": {126, 127},
    "./half-a-binary": {126, 127},
}
# What some shells call so: dash, bash and others differ.
SHS_WORDS = {
    "is a directory": r"permission denied|is a directory",
    "its interpreter is not found": r"not found|no such file",
    "not found": r"not found|no such file",
    "exec format error": r"exec format error|not found|cannot execute",
    "not a directory": r"not a directory|not found",
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("commands")
    for name, (content, may_run) in FILES.items():
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_bytes(content)
        (made / name).chmod(0o755 if may_run else 0o644)
    (made / "dangling").symlink_to("nowhere")
    (made / "loop").symlink_to("loop")
    return made


def run(argv, folder, **more):
    # Of a folder that is closed to the user shells say different things.
    usual = [each for each in os.get_exec_path() if os.access(each, os.X_OK)]
    path = ":".join([f"{folder}/first", f"{folder}/second", *usual])
    return subprocess.run(
        argv, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False, **more,
    )  # fmt: skip


@pytest.mark.parametrize(("command", "status", "words"), [(c, *w) for c, w in COMMANDS.items()])
def test_a_command_ends_as_in_a_shell(command, status, words, folder):
    command = command.format(path=folder, folder=folder.name)
    ours, shs = (run([*argv, command, "a word", "*"], folder) for argv in (OURS, SHS))
    assert ours.returncode == status, ours.stderr
    assert shs.returncode in SHS_STATUS.get(command, {status}), shs.stderr
    assert ours.stdout == shs.stdout
    if words:
        assert ours.stderr == f"napt-lab: {command}: {words}\n"
        assert re.search(SHS_WORDS.get(words, words), shs.stderr.lower()), shs.stderr


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("true", 0, ""),
        ("no-such-command", 127, "napt-lab: no-such-command: not found\n"),
        ("closed/x", 126, "napt-lab: closed/x: permission denied\n"),
    ],
)
def test_a_folder_that_is_closed_to_the_user_ends_no_search(command, status, words, tmp_path):
    """As after `su`, which keeps root's PATH. Without these rights root is like any user."""
    (tmp_path / "closed").mkdir(mode=0)
    rights = "--bounding-set=-dac_override,-dac_read_search"
    like_any_user = ["setpriv", rights] if os.geteuid() == 0 else []
    ours = subprocess.run(
        [*like_any_user, *OURS, command], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PATH": f"{tmp_path}/closed:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    assert (ours.returncode, ours.stderr) == (status, words)


def test_a_command_that_is_one_word_is_told_how_to_write_it(folder):
    ours = run([*OURS, "echo hi"], folder)
    words = "not found; write the program and its arguments as separate words: echo hi"
    assert (ours.returncode, ours.stderr) == (127, f"napt-lab: echo hi: {words}\n")


def test_a_command_has_the_signals_of_a_shells_command(folder):
    shown = "grep -E '^Sig(Ign|Blk)' /proc/self/status"
    ours, shs = (run([*argv, "sh", "-c", shown], folder) for argv in (OURS, SHS))
    assert ours.stdout == shs.stdout != ""
