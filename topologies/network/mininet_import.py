"""What the network has of Mininet; no other file imports it.

Mininet takes one class from distutils. Where setuptools is installed, it puts itself in the place
of Python's own distutils, and is imported as a whole: 0.1 s, three times as long as Mininet.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def _own_distutils() -> Iterator[None]:
    """Keep setuptools away; it complains later unless distutils is forgotten again."""
    setuptools: Any = sys.modules.get("_distutils_hack")
    if not hasattr(setuptools, "remove_shim") or "distutils" in sys.modules:
        yield
        return
    setuptools.remove_shim()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
    setuptools.add_shim()
    for name in [name for name in sys.modules if name.partition(".")[0] == "distutils"]:
        del sys.modules[name]


with _own_distutils():
    from mininet.cli import CLI
    from mininet.link import Intf, Link
    from mininet.log import lg
    from mininet.net import Mininet
    from mininet.node import Node, Switch

__all__ = ["CLI", "Intf", "Link", "Mininet", "Node", "Switch", "lg"]
