"""A copy of the project, laid out as pip lays it out: programs run there write to no checkout."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "tool"
]["setuptools"]["package-dir"]  # name: folder


def lay_out(root: Path) -> Path:
    """Copy the packages to `root`, whose `napt_lab` folder is returned."""
    for name, folder in PACKAGES.items():
        goal = root.joinpath(*name.split("."))
        shutil.copytree(ROOT / folder, goal, ignore=shutil.ignore_patterns("__pycache__"))
    return root / "napt_lab"


def environment(root: Path) -> dict[str, str]:
    """The environment in which Python finds the copy at `root`, and is told of no lab's options."""
    unwanted = {"STEP", "PART", "FROM", "RESUME", "QUIZ", "PYTHONDONTWRITEBYTECODE"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {"PYTHONPATH": str(root)}
