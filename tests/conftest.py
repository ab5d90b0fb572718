"""Each test marked `network` runs in a sandbox of its own; tests run in parallel.

    @pytest.mark.network              # 60 seconds
    @pytest.mark.network(timeout=10)  # seconds

The plugin that others use for their tests does it: labs/pytest_plugin/.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from napt_lab.labs.pytest_plugin import plugin as pytest_plugin

# How long an example takes depends on what else the machine does. What it finds does not go into
# the checkout.
settings.register_profile("lab", deadline=None, database=None)
settings.load_profile("lab")

# Where tests run in the background SIGINT is ignored, and a program would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is collected stays: the garbage collector has nothing to find there, now or in a test.
gc.disable()

# Which part of all tests has begun when the last of a folder begins: the small ones fill the rest.
LAST = {
    "package": 0.1, "saboteurs": 0.8, "browser": 0.8, "network": 0.9, "loopback": 0.9, "unit": 1,
}  # fmt: skip
GOLDEN_RATIO = 0.618034
LONGEST_NAME = 16  # bytes of a parameter that may stand in a test's name


def pytest_configure(config: pytest.Config) -> None:
    if not config.pluginmanager.is_registered(pytest_plugin):  # it is, where it is installed
        config.pluginmanager.register(pytest_plugin, pytest_plugin.NAME)


def pytest_itemcollected(item: pytest.Item) -> None:
    for marker in item.iter_markers("network"):
        item.add_marker(getattr(pytest.mark, pytest_plugin.NAME)(*marker.args, **marker.kwargs))


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Of several workers one compiles a module; the others wait for it, and find it compiled."""
    if not isinstance(collector, pytest.Module):
        yield
        return
    with collector.path.open("rb") as file:
        with contextlib.suppress(OSError):  # some file systems cannot; then each compiles it
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix tests that wait with tests that compute, so that no processor is ever idle.

    Those of one module are alike. Steps of the golden ratio put each far from those before it, and
    all of a folder evenly. So what takes time to set up lasts for the session: a module's would be
    set up for each test.
    """
    depth = len(Path(__file__).parent.parts)
    folders: dict[str, list[pytest.Item]] = {}
    for item in items:
        folders.setdefault(item.path.parts[depth], []).append(item)
    places = {
        item: LAST[folder] * (n * GOLDEN_RATIO % 1)
        for folder, found in folders.items()
        for n, item in enumerate(found)
    }
    items.sort(key=places.__getitem__)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Packets as names are hard to read, and differ between workers if one holds the time."""
    return argname if isinstance(val, bytes) and len(val) > LONGEST_NAME else None
