"""One browser for all these tests."""

from __future__ import annotations

import pytest

from tests.browser.chromium import Chromium


@pytest.fixture(scope="package")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()
