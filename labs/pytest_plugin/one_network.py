"""The network of a test: built from its YAML file, or a failure of the test that says why not."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from napt_lab.labs.capture.wire import Wire
from napt_lab.labs.course.topology_files import find
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.sandbox import preflight, sandbox
from napt_lab.topologies.sandbox.machine import Machine
from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.loader import loads, read_file

TYPED = "topology.yaml"  # the name in messages of a topology that is not in a file


class OneNetwork(ExitStack):
    """`with OneNetwork(folder) as network:` at its end, what `network.build` built ends."""

    running: ClassVar[str] = ""  # the file whose network runs in this process

    def __init__(self, folder: Path, *, capture: bool = True) -> None:
        """`folder`: where a topology's file is looked for first."""
        super().__init__()
        self._folder = folder
        self._capture = capture
        self._net: Network | None = None
        self._wire: Wire | None = None

    def build(self, topology: str | Path | Mapping[str, Any]) -> Network:
        """Build the network; the test fails if that cannot be done.

        `topology`: a file's path, its text (of more than one line), or the same as a dictionary.
        """
        if not isinstance(topology, str | Path | Mapping):
            raise TypeError(
                f"napt_lab({topology!r}): give the path of a YAML file, its text or a dictionary"
            )
        if self.running:
            pytest.fail(
                f"a sandbox has one network, and {self.running} is already built", pytrace=False
            )
        bad = [each for each in preflight.examine_fast(Machine()) if not each.ok]
        if bad:
            causes = [f"{each.cause}\n  fix: {each.fix}" for each in bad]
            pytest.fail("\n".join(causes), pytrace=False)
        text = ""
        if isinstance(topology, Mapping):
            text = yaml.safe_dump(dict(topology), sort_keys=False)
        elif "\n" in str(topology):
            text = str(topology)
        path = self._folder / TYPED if text else find(str(topology), self._folder)
        # A test that is run again (pytest-rerunfailures) finds the nodes' folders empty.
        sandbox.forget_nodes()
        try:
            source = text.encode() if text else read_file(path)
            plan = loads(source, path, programs=True)  # as the test itself runs
        except TopologyError as error:
            told = "\n".join(map(str, error.problems))
            raise pytest.fail.Exception(told, pytrace=False) from None  # it is told once
        OneNetwork.running = path.name
        self.callback(setattr, OneNetwork, "running", "")
        self._net = self.enter_context(Network(plan))
        if self._capture:
            self._wire = self.enter_context(Wire(self._net))
        return self._net

    def sections(self, item: pytest.Item) -> list[tuple[str, str]]:
        """What the report of a test that has failed should show of the network."""
        sections = []
        for node in self._net or ():
            for process in node.fallen:
                sections.append((f"{process.name} on {node.name}", str(process.obituary())))
        if self._wire is not None:
            try:
                self._wire.save(file := _capture_file(item))
                sections.append(("Packets of the network", str(file)))
            except OSError as error:
                sections.append(("Packets of the network", f"cannot be kept: {error}"))
        return sections


def _capture_file(item: pytest.Item) -> Path:
    """Where the packets of a test are kept: among pytest's temporary files."""
    factory = getattr(item.config, "_tmp_path_factory", None)
    base = factory.getbasetemp() if factory else Path(tempfile.mkdtemp(prefix="napt_lab_"))
    folder = base / "napt_lab"
    folder.mkdir(exist_ok=True)
    return Path(folder, re.sub(r"[^A-Za-z0-9_.-]+", "_", item.nodeid)[-100:] + ".pcapng")
