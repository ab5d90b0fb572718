"""What a sandbox's child leaves behind when its work goes wrong; the rest is in tests/network."""

from __future__ import annotations

import os

import pytest

from napt_lab.topologies.sandbox import sandbox


def fault() -> int:
    raise ValueError("what the work had to say")


def no_sandbox(terminal: int | None) -> None:
    raise sandbox.SandboxError("the kernel refuses it")


@pytest.mark.parametrize(
    ("enter", "status", "words"),
    [
        (lambda terminal: None, 1, "ValueError: what the work had to say\n"),
        (no_sandbox, 3, "napt-lab: the kernel refuses it\n"),
    ],
    ids=["the-work-fails", "there-is-no-sandbox"],
)
def test_a_fault_is_told_and_is_not_the_machines(monkeypatch, capfd, enter, status, words):
    monkeypatch.setattr(sandbox, "_enter", enter)
    _, ended = os.waitpid(sandbox.fork_into(fault), 0)
    assert os.waitstatus_to_exitcode(ended) == status
    assert capfd.readouterr().err.endswith(words)
