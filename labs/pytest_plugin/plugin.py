"""Tests on a network behind NAPTs: a pytest plugin, with the fixture `napt_lab`.

    def test_it_gets_through(napt_lab):
        net = napt_lab("two-sites.yaml")
        server = net["alice"].start(["python3", "/src/my_server.py"])
        server.wait_for("listening")
        assert net["bob"].run(["python3", "/src/my_client.py", "24.9.3.7"]).status == 0

    @pytest.fixture(scope="module")
    def net(napt_lab_module):  # or napt_lab_session: the tests of a module, or all, share it
        return napt_lab_module("two-sites.yaml")

Theory of operation. A test that takes `napt_lab`, or has the marker of that name, runs in a sandbox
of its own (topologies/sandbox/). Pytest's process forks. The child enters the sandbox and runs the
test there from set-up to teardown, fixtures and all other plugins included; it sends every report
to pytest's process, which passes it on as if the test had run there (child.py). So no test
notices another, and tests may run in parallel (pytest-xdist). Tests that share a network run in one
child, which lives until the last of them.

    @pytest.mark.napt_lab(timeout=10)  # seconds; 60 without it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napt_lab.labs.pytest_plugin import SENDER

# Every project that has this plugin installed loads it, used or not: so it imports late.
if TYPE_CHECKING:
    from napt_lab.labs.pytest_plugin.child import Child
    from napt_lab.labs.pytest_plugin.sender import Following
    from napt_lab.topologies.network.builder import Network

NAME = "napt_lab"  # of the fixture and the marker
MODULE, SESSION = f"{NAME}_module", f"{NAME}_session"

Builder = Callable[[str | Path | Mapping[str, Any]], "Network"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "napt_lab(timeout=60, capture=True): run the test in a sandbox, for so many seconds at "
        "most; keep the packets of a test that fails",
    )
    config.pluginmanager.register(_First(), "napt_lab_first")


@pytest.fixture
def napt_lab(request: pytest.FixtureRequest) -> Iterator[Builder]:
    """Build a topology and return the running network, which ends with the test.

    A topology is a YAML file, its text, or the same as a dictionary. The file is looked for beside
    the test, then among those that come with NAPT Lab. A node is `net["alice"]`:
    `run(argv, timeout=…)` to its end, `start(argv)`, `address`, `home`.
    """
    yield from _builder(request, request.path.parent)


@pytest.fixture(scope="module")
def napt_lab_module(request: pytest.FixtureRequest) -> Iterator[Builder]:
    """The same for a network that all tests of a module share."""
    yield from _builder(request, request.path.parent)


@pytest.fixture(scope="session")
def napt_lab_session(request: pytest.FixtureRequest) -> Iterator[Builder]:
    """The same for a network that all tests share; a file is looked for in pytest's rootdir."""
    yield from _builder(request, request.config.rootpath)


def _builder(request: pytest.FixtureRequest, folder: Path) -> Iterator[Builder]:
    sender = request.config.pluginmanager.get_plugin(SENDER)
    if sender is None:
        pytest.fail(
            "this test does not run in a sandbox: take napt_lab as an argument, or with "
            "@pytest.mark.usefixtures('napt_lab'); request.getfixturevalue comes too late",
            pytrace=False,
        )
    from napt_lab.labs.pytest_plugin.one_network import OneNetwork
    from napt_lab.topologies.network.build_error import BuildError, ProgramLost

    marker = request.node.get_closest_marker(NAME)
    capture = marker is None or marker.kwargs.get("capture", True)
    told = ""  # what went wrong while the network ran, in words: no line of ours explains it
    try:
        with OneNetwork(folder, capture=capture) as network:
            sender.network = network
            yield network.build
    except ProgramLost as error:
        told = f"{error}; so what this test has seen proves nothing"
    except BuildError as error:
        told = error.explain()
    if told:
        pytest.fail(told, pytrace=False)


class _First:
    """Runs a test in its sandbox before other plugins prepare for it in pytest's process.

    They prepare in the sandbox. Here pytest-timeout's alarm, for instance, would end pytest.
    """

    def __init__(self) -> None:
        self._set_up: set[pytest.FixtureDef[Any]] = set()  # fixtures, in pytest's process
        self._children: dict[str, Child] = {}  # those that several tests share, by sandbox_of
        self._shared = ExitStack()  # what all children use
        self._has_template = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self._set_up.add(fixturedef)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Iterator[None]:
        if item.config.pluginmanager.hasplugin(SENDER):
            yield
            return
        if (where := sandbox_of(item)) is not None:
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            self._run(item, nextitem, where)
        yield
        ends = item.session.shouldstop or item.session.shouldfail
        self._end_children(item, None if ends else nextitem)

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None, where: str) -> None:
        from napt_lab.labs.pytest_plugin.child import Child
        from napt_lab.topologies.network.nursery import from_template

        if not self._has_template:
            self._has_template = True
            self._shared.enter_context(from_template())
        child = self._children.get(where) or Child(item, self._set_up)
        following: Following = None
        if where and is_in(where, nextitem):
            is_next = nextitem is not None and sandbox_of(nextitem) == where
            following = nextitem if is_next else "session" if where == SESSION else "module"
        self._children[where] = child
        try:
            child.run(item, item.get_closest_marker(NAME), following)
        finally:
            if not child.lives:
                del self._children[where]

    def _end_children(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """End those whose scope ends with `item`; what they report counts for it."""
        for where in [where for where in self._children if not is_in(where, nextitem)]:
            from napt_lab.labs.pytest_plugin.child import report_error

            if (trouble := self._children.pop(where).end(item)) is not None:
                report_error(item, "teardown", trouble)

    @pytest.hookimpl(tryfirst=True)
    def pytest_unconfigure(self) -> None:
        for child in self._children.values():  # after Ctrl-C
            child.kill()
        self._shared.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Finish a test that has run in its sandbox; the first of these hooks that returns True."""
    if item.config.pluginmanager.hasplugin(SENDER) or sandbox_of(item) is None:
        return None
    from napt_lab.labs.pytest_plugin.sender import tear_down

    ends = item.session.shouldstop or item.session.shouldfail
    tear_down(item, None if ends else nextitem)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def sandbox_of(item: pytest.Item) -> str | None:
    """In which sandbox a test runs: a name that others may share, "" for its own, None for none."""
    names = getattr(item, "fixturenames", ())
    if SESSION in names:
        return SESSION
    if MODULE in names:
        return _of_module(item)
    return "" if NAME in names or item.get_closest_marker(NAME) is not None else None


def is_in(where: str, item: pytest.Item | None) -> bool:
    """Whether a test belongs to the session, or the module, that shares this sandbox."""
    return item is not None and where in (SESSION, _of_module(item))


def _of_module(item: pytest.Item) -> str:
    return f"{MODULE} {item.path}"
