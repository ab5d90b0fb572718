"""`napt-lab run FILE --on …`: programs on several nodes, their output, statuses and signals."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from napt_lab.topologies.network.own_programs import program
from tests.waiting import wait_until

pytestmark = pytest.mark.network(timeout=60)

FOR_EVER = "trap 'echo told; exit 5' TERM INT; echo serving; sleep 99 & wait"
SERVER = ["--on", "alice", "sh", "-c", FOR_EVER, "--ready", "serving"]


def run(*words: str, folder=None) -> tuple[int, list[str], list[str]]:
    done = subprocess.run(
        program("napt_lab.labs", "run", "two-sites", *words),
        capture_output=True, text=True, timeout=50, check=False, cwd=folder,
    )  # fmt: skip
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_programs_run_where_the_user_is_until_the_last_has_ended(tmp_path):
    (tmp_path / "page").write_text("hello\n")
    serve = ["python3", "-m", "http.server", "--bind", "198.51.100.10", "80"]
    status, said, complained = run(
        "--on", "files", *serve, "--ready", "Serving HTTP on",
        "--on", "bob", "sh", "-c", "pwd; curl -sS http://files/page; echo $LANG >&2",
        folder=tmp_path,
    )  # fmt: skip
    assert status == 0, complained
    assert said[0].startswith("files: Serving HTTP on 198.51.100.10 port 80")
    assert said[1:] == [f"bob: {tmp_path}", "bob: hello"]
    assert f"bob: {os.environ.get('LANG', '')}" in complained
    assert any(line.startswith("files: 203.0.113.77 - - [") for line in complained)


@pytest.mark.parametrize(
    ("words", "status", "said", "complained"),
    [
        ([*SERVER, "--on", "bob", "sh", "-c", "echo done; exit 7"], 7,
         ["alice: serving", "bob: done", "alice: told"], []),
        (["--on", "bob", "true", *SERVER, "--on", "bob", "sh", "-c", "kill -9 $$"], 137,
         ["alice: serving", "alice: told"], []),
        (["--on", "alice", "sh", "-c", "exit 3", *SERVER], 3,
         ["alice: serving", "alice: told"], ["napt-lab: sh on alice ended with status 3"]),
        (["--on", "alice", "echo", "no", "--ready", "serving", "--on", "bob", "echo", "x"], 1,
         ["alice: no"],
         ["napt-lab: before a line with 'serving': echo on alice ended with status 0: no"]),
        (["--on", "alice", "no-such-program"], 127, [],
         ["alice: napt-lab: no-such-program: not found"]),
        (["--on", "alice", "cat /etc/hosts", "--on", "bob", "sleep", "99"], 127, [],
         ["alice: napt-lab: cat /etc/hosts: not found; write the program and its arguments as "
          "separate words: cat /etc/hosts",
          "napt-lab: cat /etc/hosts on alice ended with status 127"]),
    ],
)  # fmt: skip
def test_the_exit_status_is_that_of_the_first_that_fails(words, status, said, complained):
    assert run(*words) == (status, said, complained)


def test_a_signal_reaches_all_of_them():
    process = subprocess.Popen(
        program("napt_lab.labs", "run", "two-sites", *SERVER, "--on", "bob", "sh", "-c", FOR_EVER),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines == ["alice: serving\n", "bob: serving\n"]
        os.kill(process.pid, signal.SIGINT)
        assert sorted(process.stdout) == ["alice: told\n", "bob: told\n"]
        wait_until(lambda: process.poll() is not None, "its end", 20)
    assert process.returncode == 130


def test_a_signal_that_nobody_heeds_is_why_it_ended():
    deaf = ["sh", "-c", "trap '' INT TERM; echo serving; while :; do sleep 0.2; done"]
    words = [word for node in ("alice", "bob") for word in ("--on", node, *deaf)]
    process = subprocess.Popen(
        program("napt_lab.labs", "run", "two-sites", *words),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(2):
            assert process.stdout.readline().endswith("serving\n")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["alice", "true"], "alice cannot follow FILE; allowed: --on NODE COMMAND"),
        (["--on", "alcie", "true"], "there is no node 'alcie'"),
        (["--on"], "there is no node ''"),
        (["--on", "alice", "--ready", "up", "--on", "bob", "x"], "no command after --on alice"),
    ],
)
def test_wrong_words_are_refused(words, told):
    status, _, complained = run(*words)
    assert (status, told in "\n".join(complained)) == (2, True), complained
