"""A lab whose results or whose story cannot be written: no traceback, and no wrong verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.network(timeout=60)

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "runs"


def mount_runs(size: str) -> None:
    """A disk of the test's own, in the test's own sandbox."""
    RUNS.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", RUNS], check=True)


def lab(**options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "napt_lab.labs", "lab", "9a"]
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
    )


def test_a_full_disk_is_no_failed_claim_and_leaves_nothing_that_looks_like_a_run():
    mount_runs("64k")
    (RUNS / ".9a-older").mkdir()
    for name in ("9a", "latest"):
        (RUNS / name).symlink_to(".9a-older")
    ended = lab()
    assert "Claims: 2 hold." in ended.stdout  # it was played to its end
    assert ended.stderr.startswith("napt-lab: cannot write the results: ")
    assert "No space left on device\n  fix: make room" in ended.stderr
    assert ended.returncode == 3
    assert sorted(path.name for path in RUNS.iterdir()) == [".9a-older", "9a"]


def test_a_folder_in_place_of_latest_is_told_before_anything_runs():
    mount_runs("16m")
    (RUNS / "latest").mkdir()
    ended = lab()
    assert ended.stdout == ""
    assert f"fix: move that folder away: mv {RUNS / 'latest'} " in ended.stderr
    assert ended.returncode == 3
    assert [path.name for path in RUNS.iterdir()] == ["latest"]


def test_a_story_that_cannot_be_written_changes_no_verdict():
    mount_runs("32m")
    with Path("/dev/full").open("w") as full:
        ended = lab(stdout=full)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads((RUNS / "latest" / "results.json").read_text())["passed"]
