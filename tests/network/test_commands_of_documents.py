"""Every command in the documents is run, in order, with the files that the page has written down.

    ```yaml home.yaml        a file: what stands here is in it
    ```console               commands: each line that begins with `$ `
    $ command # exits with 2   one whose exit status is not 0 says so

`napt-lab`, `make` and `pytest` are those of this checkout; `make` goes past the installation.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "napt_lab.labs.pytest_plugin.plugin"
PAGES = [
    page
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"),
                 *(ROOT / "topologies").glob("*.md"), *(ROOT / "labs").rglob("*.md"))
    if "\n$ " in page.read_text(encoding="utf-8")
]  # fmt: skip
FENCE = re.compile(r"^```(\w*) ?([\w.-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"\s+# exits with (\d+)$")
SECONDS = 60.0  # that one command may take


def commands(page):
    """The fences of a page in order: files to write, and commands with their exit status."""
    for language, name, body in FENCE.findall(page.read_text(encoding="utf-8")):
        if name:
            yield name, body
        elif language == "console":
            for line in body.splitlines():
                if line.startswith("$ "):
                    status = EXPECTED.search(line)
                    yield EXPECTED.sub("", line[2:]), int(status[1]) if status else 0


@pytest.fixture
def programs(tmp_path):
    """A folder with the commands as a reader would have them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python, root = shlex.quote(sys.executable), shlex.quote(str(ROOT))
    for name, line in {
        "napt-lab": f"exec {python} -m napt_lab.labs",
        "python": f"exec {python}",
        "pytest": f"exec {python} -m pytest -p {PLUGIN} -p no:cacheprovider",
        "make": f"cd {root} && exec /usr/bin/make NAPT='@{sys.executable} -m napt_lab.labs'",
    }.items():
        (folder / name).write_text(f'#!/bin/sh\n{line} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def test_there_are_pages_with_commands():
    assert {page.name for page in PAGES} >= {"engineer.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page(page, programs, tmp_path):
    place = tmp_path / "reader"
    place.mkdir()
    environment = {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }  # fmt: skip
    for first, second in commands(page):
        if isinstance(second, str):
            (place / first).write_text(second)
            continue
        done = subprocess.run(
            first, shell=True, cwd=place, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        said = f"$ {first}\n{done.stdout}{done.stderr}"
        assert done.returncode == second, f"exit status {done.returncode}\n{said}"
