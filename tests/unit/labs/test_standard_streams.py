"""What becomes of stdout must not become of the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STURDY = """
import os, sys
from napt_lab.labs.cli.standard_streams import make_sturdy
make_sturdy()
for _ in range(3):
    print("✓", "x" * 100_000)
    sys.stdout.flush()
sys.exit(7)
"""
# What these tests are about: the same without the mend.
PLAIN = STURDY.replace("make_sturdy()\n", "")


def run(script: str, redirected: str = "", **variables: str) -> subprocess.CompletedProcess[bytes]:
    command = ["bash", "-c", f'"$0" -c "$1" {redirected}', sys.executable, script]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=30)


@pytest.mark.parametrize(
    "redirected",
    [">/dev/full", "> >(exec head -c 1)", ">&-", "2>&- >&-", "<&- >&- 2>&-"],
)
def test_a_stdout_that_breaks_changes_no_exit_status(redirected):
    assert run(PLAIN, redirected).returncode != 7
    ended = run(STURDY, redirected)
    assert (ended.returncode, ended.stderr) == (7, b"")


def test_what_is_written_arrives():
    ended = run(STURDY)
    assert ended.stdout.decode() == 3 * ("✓ " + 100_000 * "x" + "\n")
    assert ended.returncode == 7


def test_an_encoding_without_the_mark_gets_a_question_mark():
    assert b"UnicodeEncodeError" in run(PLAIN, PYTHONIOENCODING="latin-1").stderr
    ended = run(STURDY, PYTHONIOENCODING="latin-1")
    assert ended.stdout.startswith(b"? xxx")
    assert ended.returncode == 7


def test_a_file_opened_later_is_not_taken_for_a_closed_stdout(tmp_path):
    kept = tmp_path / "kept"
    script = f"""
import os
from napt_lab.labs.cli.standard_streams import make_sturdy
make_sturdy()
kept = os.open({str(kept)!r}, os.O_WRONLY | os.O_CREAT)
print("lost", flush=True)
os.write(kept, b"kept")
"""
    assert run(script, ">&-").returncode == 0
    assert kept.read_bytes() == b"kept"
