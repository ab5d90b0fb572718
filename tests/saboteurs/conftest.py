"""The source as it is, from which every test makes its own copy."""

from __future__ import annotations

import fcntl
import os

import pytest

from tests.saboteurs.saboteur import copy_source


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """One for all workers of pytest-xdist: compiling it takes a processor a second."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    made, folder = base / "pristine.made", base / "pristine"
    with (base / "pristine.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            copy_source(folder)
            made.touch()
    return folder
