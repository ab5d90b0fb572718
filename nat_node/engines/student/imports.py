"""What a student's file can import: Python's own library, and `napt_lab.student`.

The files of all else are behind the wall (wall.py). Here is only said why they are not found.
"""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from typing import NoReturn

_OFFERED = ("nat_node", "napt_lab.student", "napt_lab.student.napt", "napt_lab.student.packet")
_OURS = ("nat_node", "labs", "servers", "topologies", "tests", "napt_lab")


class _NotFound(MetaPathFinder):
    """The last one that is asked for a module."""

    def find_spec(self, name: str, _path: object, _target: object = None) -> NoReturn:
        why = "a translator has Python's own library and napt_lab.student, and is one file"
        if name.partition(".")[0] in _OURS:
            why = "this project's own translators are out of reach for yours: write it yourself"
        raise ModuleNotFoundError(f"No module named {name!r}: {why}", name=name)


def restrict() -> None:
    """Forget the folders that are no longer there, and our modules. Call it behind the wall."""
    sys.path[:] = filter(os.path.exists, sys.path)
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
        if name in _OFFERED:
            continue
        package, _, own = name.rpartition(".")
        if getattr(sys.modules.get(package), own, None) is sys.modules[name]:
            delattr(sys.modules[package], own)
        del sys.modules[name]
    sys.meta_path.append(_NotFound())
