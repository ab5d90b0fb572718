"""Finds a topology's file: as it is named, or among those that come with the project."""

from __future__ import annotations

from pathlib import Path

from napt_lab.topologies.spec.checkout import TOPOLOGIES


def find(name: str | Path, beside: Path | None = None) -> Path:
    """The file `name`, below the folder `beside` (the working directory without it).

    If it does not exist, the one that comes with NAPT Lab under that name, with or without `.yaml`.
    If that does not exist either, the loader says so.
    """
    named = Path(name) if beside is None else beside / name
    if named.exists() or Path(name).name != str(name):
        return named
    for shipped in (TOPOLOGIES / name, TOPOLOGIES / f"{name}.yaml"):
        if shipped.is_file():
            return shipped
    return named
