"""A fault that cannot be put in is told; one that can is in every process of the copy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import installed
from tests.saboteurs.planted import anything
from tests.saboteurs.saboteur import Edit, Patch, Setting, copy

WAIT = "napt_lab.labs.shared_steps.evidence:WAIT"


@pytest.mark.parametrize(
    "fault",
    [
        Patch("napt_lab.labs.shared_steps.evidence:GONE", anything.nothing),
        Patch("napt_lab.labs.gone:WAIT", anything.nothing),
        Setting("two-sites.yaml", "sites.c.hosts.printer", "10.0.0.7"),
        Setting("two-sites.yaml", "sites.b.hosts.bob", "10.0.0.9"),
        Edit("labs/shared_steps/evidence.py", "no such text", ""),
    ],
    ids=lambda fault: str(fault.place),
)
def test_a_fault_that_does_not_apply_is_told(fault, pristine, tmp_path):
    copy(pristine, tmp_path / "copy")
    with pytest.raises(AssertionError):
        fault.apply(tmp_path / "copy")


@pytest.mark.parametrize(("faults", "printed"), [((), "5.0\n"), ((2.5,), "2.5\n")])
def test_who_takes_the_thing_from_the_module_gets_the_faulty_one(
    faults, printed, pristine, tmp_path
):
    root = tmp_path / "copy"
    copy(pristine, root)
    for value in faults:
        Patch(WAIT, anything.instead, value).apply(root)
    line = "from napt_lab.labs.shared_steps.evidence import WAIT; print(WAIT)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", line], env=installed.environment(root),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == printed
