"""The user's state between runs: the history of the prompts, and which exercises are solved.

It is in `$XDG_STATE_HOME/napt-lab`, by default `~/.local/state/napt-lab` (XDG base directory
specification). Not in `runs/`: `make clean` empties that, and there may be several clones.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def state_folder() -> Path:
    """The folder, which may not exist yet."""
    said = os.environ.get("XDG_STATE_HOME", "")
    base = Path(said) if said.startswith("/") else Path.home() / ".local" / "state"
    return base / "napt-lab"


def make_state_folder() -> Path:
    """The folder, which is made if it does not exist. Raises OSError if that fails."""
    folder = state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _share(folder)
    return folder


def write_state(name: str, text: str) -> None:
    """Replace the file `name` in one step: a reader sees the old text or the new. OSError."""
    folder = make_state_folder()
    descriptor, path = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    fresh = Path(path)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        _share(fresh)
        fresh.replace(folder / name)
    finally:
        fresh.unlink(missing_ok=True)


def _share(path: Path) -> None:
    """Give a path to the owner of its folder: sudo may keep a user's HOME."""
    owner = next(p for p in path.parents if p.exists()).stat()
    with contextlib.suppress(OSError):
        os.chown(path, owner.st_uid, owner.st_gid)
