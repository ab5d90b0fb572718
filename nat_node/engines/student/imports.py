"""What a student's file can import: Python's own library, and `napt_lab.student`.

The files of all else are behind the wall (wall.py). Here our modules that are in memory are put out
of reach, and a student is told why something cannot be imported.
"""

from __future__ import annotations

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_OFFERED = "napt_lab.student"
_FORMER = "nat_node.student"  # what it was called in version 0.1
_OURS = ("napt_lab", "nat_node", "labs", "servers", "topologies", "tests")


def restrict() -> None:
    """Forget the folders that are no longer there, and our modules. Call it behind the wall."""
    sys.path[:] = filter(os.path.exists, sys.path)
    sys.path_importer_cache.clear()
    for name in [name for name in sys.modules if name.startswith("napt_lab.")]:
        package, _, own = name.rpartition(".")
        if name.startswith(_OFFERED):
            continue
        if getattr(sys.modules.get(package), own, None) is sys.modules[name]:
            delattr(sys.modules[package], own)
        del sys.modules[name]
    sys.meta_path.append(_Last())


class _Last(MetaPathFinder, Loader):
    """What is asked last for a module: knows the former name, and says why others are missing."""

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec:
        if name in ("nat_node", _FORMER) or name.startswith(f"{_FORMER}."):
            return ModuleSpec(name, self, is_package=True)
        why = f"a translator is one file, and has Python's own library and {_OFFERED}"
        if name.partition(".")[0] in _OURS:
            why = "this project's own translators are out of reach for yours: write it yourself"
        raise ModuleNotFoundError(f"No module named {name!r}: {why}", name=name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        if spec.name == _FORMER:
            print(f"hint: {_FORMER} is called {_OFFERED} now: `from {_OFFERED} import Rule, napt`")
        return sys.modules.get(spec.name.replace(_FORMER, _OFFERED))

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""
