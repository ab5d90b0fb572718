"""A sandbox one of whose processes is killed, at any moment of its life: nothing is left."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.network.sandbox_host import ROOT

pytestmark = pytest.mark.network(timeout=60)


@pytest.mark.parametrize("victim", ["outer", "init"])
def test_killed_at_any_moment_it_leaves_nothing(victim):
    subprocess.run(
        [sys.executable, "-m", "tests.network.every_moment", victim], cwd=ROOT, check=True
    )
