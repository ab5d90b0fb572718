"""`napt-lab shell FILE < script`: the prompt without a terminal, for the CI of other languages."""

from __future__ import annotations

import subprocess

import pytest

from napt_lab.topologies.network.own_programs import program

pytestmark = pytest.mark.network(timeout=60)


def shell(script: str) -> tuple[int, list[str], list[str]]:
    done = subprocess.run(
        program("napt_lab.labs", "shell", "two-sites"),
        input=script,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def test_lines_run_and_their_output_is_labeled():
    status, said, complained = shell(
        """# a comment
bob echo one; echo two >&2
alice python3 -u -m http.server 8080 &
rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080
bob curl -sS --retry 9 --retry-connrefused --retry-delay 1 -o /dev/null http://24.9.3.7:8080/
event unplug alice
"""
    )
    assert (status, said[0]) == (0, "bob: one")
    assert "napt_a added: tcp 24.9.3.7:8080 → 10.0.0.7:8080" in said
    assert "happened: unplug alice" in said
    assert "bob: two" in complained
    assert any("alice: 203.0.113.77 - - [" in line for line in complained)


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("bob exit 7\nbob echo later\n", 7, "line 1 failed with status 7: bob exit 7"),
        ("bob true\nbib true\nbob echo later", 2, "line 2 failed with status 2: bib true"),
        ("event explode bob\nbob echo later", 2, "line 1 failed with status 2: event explode"),
        ("rule add napt_a tcp 1 2\nbob echo later", 2, "line 1 failed with status 2: rule add"),
        ("bob kill -9 $$\nbob echo later", 137, "line 1 failed with status 137: bob kill"),
        ("", 2, "a script on standard input"),
    ],
)
def test_the_first_line_that_fails_ends_it(script, status, words):
    code, said, complained = shell(script)
    assert code == status
    assert not any("later" in line for line in said)
    assert any(words in line for line in complained), complained
