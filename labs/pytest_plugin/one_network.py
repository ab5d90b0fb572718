"""The network of a test: built from its YAML file, or a failure of the test that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from napt_lab.labs.course.topology_files import find
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.sandbox import preflight, sandbox
from napt_lab.topologies.sandbox.machine import Machine
from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.loader import loads, read_file

TYPED = "topology.yaml"  # the name in messages of a topology that is not in a file


class OneNetwork(ExitStack):
    """`with OneNetwork(folder) as network:` at its end, what `network.build` built ends."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where a topology's file is looked for first."""
        super().__init__()
        self._folder = folder
        self._path: Path | None = None

    def build(self, topology: str | Path | Mapping[str, Any]) -> Network:
        """Build the network; the test fails if that cannot be done.

        `topology`: a file's path, its text (of more than one line), or the same as a dictionary.
        """
        if not isinstance(topology, str | Path | Mapping):
            raise TypeError(
                f"napt_lab({topology!r}): give the path of a YAML file, its text or a dictionary"
            )
        if self._path is not None:
            built = self._path.name
            pytest.fail(f"a test has one network, and {built} is already built", pytrace=False)
        bad = [each for each in preflight.examine_fast(Machine()) if not each.ok]
        if bad:
            causes = [f"{each.cause}\n  fix: {each.fix}" for each in bad]
            pytest.fail("\n".join(causes), pytrace=False)
        text = ""
        if isinstance(topology, Mapping):
            text = yaml.safe_dump(dict(topology), sort_keys=False)
        elif "\n" in str(topology):
            text = str(topology)
        self._path = self._folder / TYPED if text else find(str(topology), self._folder)
        # A test that is run again (pytest-rerunfailures) finds the nodes' folders empty.
        sandbox.forget_nodes()
        try:
            source = text.encode() if text else read_file(self._path)
            plan = loads(source, self._path, programs=True)  # as the test itself runs
        except TopologyError as error:
            problems = error.problems
        else:
            return self.enter_context(Network(plan))
        pytest.fail("\n".join(map(str, problems)), pytrace=False)
