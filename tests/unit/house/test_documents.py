"""What the documents name exists: functions, files, make targets, commands."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from napt_lab.labs.cli.main import main
from napt_lab.labs.course.registry import LABS

ROOT = Path(__file__).parents[3]
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md"}
               | {page for folder in ("docs", "labs", "topologies", "servers", "nat_node")
                  for page in (ROOT / folder).rglob("*.md")})  # fmt: skip
NAME = re.compile(r"`((?:nat_node|topologies|labs|servers)(?:\.\w+)+)`")
LINK = re.compile(r"\]\(([^)#]+)(?:#[\w-]*)?\)")
MAKE = re.compile(r"\bmake ([a-z][\w-]*)")
COMMAND = re.compile(r"(?:napt-lab|python -m labs) ([a-z][\w-]*)")


@pytest.fixture(params=PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def page(request):
    return request.param


def in_code(text):
    """What stands between backticks, on a line or in a block: prose may say "make sure"."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])


def test_functions_and_classes(page):
    for dotted in NAME.findall(page.read_text(encoding="utf-8")):
        parts = dotted.split(".")
        for cut in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:cut]))
                break
            except ModuleNotFoundError:
                continue
        for part in parts[cut:]:
            assert hasattr(found, part), f"{dotted}: {found} has no {part}"
            found = getattr(found, part)


def test_links(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_make_targets(page):
    makefile = (ROOT / "Makefile").read_text()
    labs = re.search(r"^LABS := (.*)$", makefile, re.MULTILINE)[1].split()
    targets = set(re.findall(r"^([\w -]+):(?!=)", makefile, re.MULTILINE))
    known = {word for line in targets for word in line.split()}
    known |= {f"{kind}-{lab}" for kind in ("lab", "exercise") for lab in labs}
    assert set(MAKE.findall(in_code(page.read_text(encoding="utf-8")))) <= known


def test_commands(page):
    named = set(COMMAND.findall(in_code(page.read_text(encoding="utf-8"))))
    images = {f"lab-{lab}" for lab in LABS}  # `podman run … napt-lab lab-9c`: as make's targets
    assert named <= set(main.commands) | images
