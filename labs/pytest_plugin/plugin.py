"""Tests on a network behind NAPTs: a pytest plugin, with the fixture `napt_lab`.

    def test_it_gets_through(napt_lab):
        net = napt_lab("two-sites.yaml")
        server = net["alice"].start(["python3", "/src/my_server.py"])
        assert net["bob"].run(["python3", "/src/my_client.py", "24.9.3.7"]).status == 0

Theory of operation. A test that takes `napt_lab`, or has the marker of that name, runs in a sandbox
of its own (topologies/sandbox/). Pytest's process forks. The child enters the sandbox and runs the
test there from set-up to teardown, fixtures and all other plugins included; it sends every report
to pytest's process, which passes it on as if the test had run there (receiver.py). So no test
notices another, and tests may run in parallel (pytest-xdist).

    @pytest.mark.napt_lab(timeout=10)  # seconds; 60 without it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napt_lab.labs.pytest_plugin import SENDER

# Every project that has this plugin installed loads it, used or not: so it imports late.
if TYPE_CHECKING:
    from napt_lab.topologies.network.builder import Network

NAME = "napt_lab"  # of the fixture and the marker


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "napt_lab(timeout=60): run the test in a sandbox, for so many seconds at most"
    )
    config.pluginmanager.register(_First(), "napt_lab_first")


@pytest.fixture
def napt_lab(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[str | Path | Mapping[str, Any]], Network]]:
    """Build a topology and return the running network, which ends with the test.

    A topology is a YAML file, its text, or the same as a dictionary. The file is looked for beside
    the test, then among those that come with NAPT Lab. A node is `net["alice"]`:
    `run(argv, timeout=…)` to its end, `start(argv)`, `address`, `home`.
    """
    if not request.config.pluginmanager.hasplugin(SENDER):
        pytest.fail(
            "this test does not run in a sandbox: take napt_lab as an argument, or with "
            "@pytest.mark.usefixtures('napt_lab'); request.getfixturevalue comes too late",
            pytrace=False,
        )
    from napt_lab.labs.pytest_plugin.one_network import OneNetwork

    with OneNetwork(request.path.parent) as network:
        yield network.build


class _First:
    """Runs the test in its sandbox before other plugins prepare for it in pytest's process.

    They prepare in the sandbox. Here pytest-timeout's alarm, for instance, would end pytest.
    """

    def __init__(self) -> None:
        self._set_up: set[pytest.FixtureDef[Any]] = set()  # fixtures, in pytest's process

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self._set_up.add(fixturedef)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        if _belongs_in_sandbox(item):
            from napt_lab.labs.pytest_plugin.receiver import run

            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            run(item, item.get_closest_marker(NAME), self._set_up)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Finish a test that has run in its sandbox; the first of these hooks that returns True."""
    if not _belongs_in_sandbox(item):
        return None
    from napt_lab.labs.pytest_plugin.sender import tear_down

    ends = item.session.shouldstop or item.session.shouldfail
    tear_down(item, None if ends else nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _belongs_in_sandbox(item: pytest.Item) -> bool:
    """Whether the test runs in a sandbox that this process has not entered yet."""
    wanted = NAME in getattr(item, "fixturenames", ()) or item.get_closest_marker(NAME) is not None
    return wanted and not item.config.pluginmanager.hasplugin(SENDER)
