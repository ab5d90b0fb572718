"""Each test marked `network` runs in a sandbox of its own; tests run in parallel.

    @pytest.mark.network              # 60 seconds
    @pytest.mark.network(timeout=10)  # seconds

How, and what else can be had, stands in labs/pytest_plugin/, which others use for their tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from napt_lab.labs.pytest_plugin.plugin import in_sandbox

# How long an example takes depends on what else the machine does. What it finds does not go into
# the checkout.
settings.register_profile("lab", deadline=None, database=None)
settings.load_profile("lab")

SLOW_FIRST = ("saboteurs", "network", "browser", "loopback", "unit")
LONGEST_NAME = 16  # bytes of a parameter that may stand in a test's name


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    marker = item.get_closest_marker("network")
    if marker is None:
        return None
    return in_sandbox(item, nextitem, marker)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: at the end, small ones keep all processors busy until the last."""
    tests = Path(__file__).parent
    items.sort(key=lambda item: SLOW_FIRST.index(item.path.relative_to(tests).parts[0]))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Packets as names are hard to read, and differ between workers if one holds the time."""
    return argname if isinstance(val, bytes) and len(val) > LONGEST_NAME else None
