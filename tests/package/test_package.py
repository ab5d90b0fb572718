"""What other projects use: the pytest plugin and `run-in`, each started as they would start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.network import their_project

ENVIRONMENT = {**os.environ, "http_proxy": "http://nowhere:1"}

THEIR_TESTS = """\
import pytest

def test_a_network(napt_lab):
    net = napt_lab("two-sites.yaml")
    assert net["alice"].run(["ping", "-c", "1", "198.51.100.10"]).status == 0
    assert net["alice"].run(["ping", "-c", "1", "-W", "1", "10.0.0.99"]).status == 1

def test_a_file_of_their_own_with_a_mistake(napt_lab):
    napt_lab("mine.yaml")

@pytest.mark.napt_lab(timeout=2)
def test_that_never_ends(napt_lab):
    napt_lab("two-sites")["bob"].run(["sleep", "3600"], timeout=3600)

@pytest.mark.napt_lab(5)
def test_with_seconds_that_are_not_named(napt_lab):
    napt_lab("one-site.yaml")

def test_two_networks(napt_lab):
    napt_lab("one-site.yaml")
    napt_lab("one-site.yaml")

def test_with_a_number(napt_lab):
    napt_lab(7)

def test_that_needs_no_network():
    pass
"""


def test_the_plugin_in_a_project_of_others(tmp_path):
    mistake = "internet: {web: {adress: 1.2.3.4}}\n"
    their_project.write(tmp_path, {"test_theirs.py": THEIR_TESTS, "mine.yaml": mistake})
    done = their_project.run(tmp_path)
    assert their_project.counts(done) == "5 failed, 2 passed", done.stdout + done.stderr
    for words in (
        "mine.yaml:1: internet.web.adress: unknown key",
        "test_theirs.py:13: in test_that_never_ends: not done after 2 s\n",
        "napt_lab(5) is not valid: write napt_lab(timeout=SECONDS, capture=True or False)",
        "a sandbox has one network, and one-site.yaml is already built",
        "TypeError: napt_lab(7): give the path of a YAML file",
    ):
        assert words in done.stdout, words


def run_in(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "napt_lab.labs", "run-in", *words],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_a_command_runs_on_a_node_as_if_it_were_typed_there(tmp_path):
    (tmp_path / "mine.txt").write_text("mine\n")
    script = "cat mine.txt; curl -s -m 5 -w '%{http_code}' -o /dev/null http://files:8080/; exit 7"
    done = run_in("two-sites", "bob", "--capture", "seen.pcapng", "--", "sh", "-c", script,
                  cwd=tmp_path)  # fmt: skip
    assert (done.stdout, done.returncode) == ("mine\n200", 7), done.stderr
    assert (tmp_path / "seen.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    killed = run_in("two-sites", "bob", "--", "sh", "-c", "kill -9 $$", cwd=tmp_path)
    assert killed.returncode == 128 + 9


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("two-sites", "carol", "true"), "has no node 'carol'; allowed: internet, files"),
        (("nowhere.yaml", "bob", "true"), "nowhere.yaml"),
        (("two-sites", "bob"), "Missing argument 'COMMAND...'"),
    ],
)
def test_what_cannot_be_run_is_told(words, message, tmp_path):
    done = run_in(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr


ENDS_IN_ORDER = """\
trap 'echo told; exit 9' TERM INT HUP
echo ready
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_the_capture_is_kept(number, tmp_path):
    argv = ["run-in", "two-sites", "bob", "--capture", "seen.pcapng", "--", "bash", "-c"]
    process = subprocess.Popen(
        [sys.executable, "-m", "napt_lab.labs", *argv, ENDS_IN_ORDER],
        cwd=tmp_path, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=20)[0] == "told\n"
    assert process.returncode == 9
    assert (tmp_path / "seen.pcapng").stat().st_size > 0


def test_a_command_that_cannot_be_run_ends_as_in_a_shell(tmp_path):
    (tmp_path / "closed").write_text("#!/bin/sh\n")  # the other cases: tests/unit/labs/test_become
    for command, status, words in (
        ("no-such-command", 127, "no-such-command: not found"),
        ("./closed", 126, "./closed: permission denied"),
        (".", 126, ".: is a directory"),
    ):
        done = run_in("two-sites", "bob", "--", command, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (status, f"napt-lab: {words}\n")


def test_a_command_has_the_users_environment(tmp_path):
    done = run_in("two-sites", "bob", "--", "env", "-0", cwd=tmp_path)
    theirs = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    administrators = theirs.pop("PATH").removeprefix(ENVIRONMENT["PATH"])
    assert administrators in ("", ":/usr/local/sbin:/usr/sbin:/sbin")
    ours = {
        name: value for name, value in ENVIRONMENT.items() if name not in ("PATH", "http_proxy")
    }
    assert theirs == ours


def test_what_the_sandbox_has_for_itself_is_refused(tmp_path):
    for capture in ("/dev/shm/x.pcapng", "nowhere/x.pcapng"):
        done = run_in("two-sites", "bob", "--capture", capture, "--", "true", cwd=tmp_path)
        assert done.returncode == 2
        assert "--capture" in done.stderr
