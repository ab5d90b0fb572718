"""The source as it is, from which every test makes its own copy."""

from __future__ import annotations

import pytest

from tests.saboteurs.saboteur import copy_source


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    return copy_source(tmp_path_factory.mktemp("pristine"))
