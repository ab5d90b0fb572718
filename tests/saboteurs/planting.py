"""Puts faults into the processes of a copy of the project.

The copy has this file as `sitecustomize`, which Python loads at the start of every process. Beside
it, planted.jsonl names the faults, one a line: the module, the name in it, and the function of the
package `planted` that makes the faulty thing of the right one. The fault is put in as soon as the
module has been imported, before another module takes the right thing from there.

A module that is run (`python -m`) is not imported, so no fault can be put into it.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.machinery import PathFinder
from pathlib import Path

LIST = "planted.jsonl"


class Planter:
    """Finds modules as usual, and alters those for which there are faults."""

    def __init__(self, faults):
        self._faults = faults

    def find_spec(self, name, path, target=None):
        """Python's own answer; the module is altered when it has been executed."""
        faults = [fault for fault in self._faults if fault["module"] == name]
        if not faults:
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def execute_and_alter(module):
            execute(module)
            for fault in faults:
                plant(module, fault)

        vars(spec.loader)["exec_module"] = execute_and_alter
        return spec


def find(module, name):
    """The owner of a dotted name in a module, the last part of the name, and what it is now."""
    *path, last = name.split(".")
    owner = module
    for part in path:
        owner = getattr(owner, part)
    return owner, last, getattr(owner, last)


def plant(module, fault):
    """Replace what the module has under the fault's name."""
    owner, last, original = find(module, fault["name"])
    make = getattr(importlib.import_module(fault["fault_module"]), fault["fault"])
    setattr(owner, last, make(original, *fault["arguments"]))


def read(folder):
    """The faults that are to be put in."""
    path = folder / LIST
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


if __name__ == "sitecustomize" and (found := read(Path(__file__).parent)):
    sys.meta_path.insert(0, Planter(found))
