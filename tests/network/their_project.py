"""A project of others, whose pytest has our plugin: its tests are run as they would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

# Where the package is installed, pytest finds the plugin by itself.
INSTALLED = bool(metadata.entry_points(group="pytest11", name="napt_lab"))
LOADED = [] if INSTALLED else ["-p", "napt_lab.labs.pytest_plugin.plugin"]
# At its end, hypothesis' own plugin takes a processor 0.2 s to import what no other test needs.
PYTEST = ["-m", "pytest", *LOADED, "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
# With a folder of its own for temporary files it does not tidy up after earlier runs.
SETTINGS = """\
[pytest]
addopts = --basetemp={folder}/temporary
asyncio_default_fixture_loop_scope = function
filterwarnings = ignore::pytest.PytestConfigWarning
"""


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the project's files."""
    settings = {"pytest.ini": SETTINGS.format(folder=folder)}
    for name, text in (settings | dict(files)).items():
        (folder / name).write_text(text, encoding="utf-8")


def run(
    folder: Path, *arguments: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the project's tests; `before`: what stands before `-m pytest`."""
    return subprocess.run(
        [sys.executable, *before, *PYTEST, *arguments],
        cwd=folder, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


def failed_subtests(done: subprocess.CompletedProcess[str]) -> set[tuple[str, str]]:
    """The test and the subtest of each failed subtest (pytest 9; before it, pytest-subtests)."""
    new = re.findall(r"^SUBFAILED\[(.*?)\] (\S+)", done.stdout, re.MULTILINE)
    old = re.findall(r"^\[(.*?)\] SUBFAIL (\S+)", done.stdout, re.MULTILINE)
    return {(test, subtest) for subtest, test in new + old}


def counts(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of pytest's output without the time: `1 failed, 2 passed`."""
    assert done.stdout, done.stderr
    return done.stdout.strip().splitlines()[-1].strip("= ").partition(" in ")[0]
