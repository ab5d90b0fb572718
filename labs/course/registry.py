"""Which labs there are. Nothing of a lab is imported before it is wanted."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.stage.steps import Lab
from napt_lab.topologies.spec.checkout import TOPOLOGIES


@dataclass(frozen=True, slots=True)
class Entry:
    """A lab's name, the module that has it as LAB, and the topology that it begins with."""

    title: str
    module: str
    topology: Path

    def lab(self) -> Lab:
        """The lab itself."""
        lab: Lab = importlib.import_module(self.module).LAB
        return lab


LABS: dict[str, Entry] = {
    "8": Entry(
        "NAPT: proxy, transparent proxy, translator, and the 65,536",
        "napt_lab.labs.level_8.lab",
        TOPOLOGIES / "level-8-proxy.yaml",
    ),
    "9a": Entry(
        "P2P networking via public server",
        "napt_lab.labs.level_9a.lab",
        TOPOLOGIES / "two-sites.yaml",
    ),
    "9b": Entry(
        "P2P networking via public proxy/relay/TURN",
        "napt_lab.labs.level_9b.lab",
        TOPOLOGIES / "two-sites-relay.yaml",
    ),
    "9c": Entry(
        "P2P networking via explicit NAPT rules (port forwarding)",
        "napt_lab.labs.level_9c.lab",
        TOPOLOGIES / "two-sites.yaml",
    ),
    "9d": Entry(
        "P2P networking via rules that a program asks for (PCP, NAT-PMP)",
        "napt_lab.labs.level_9d.lab",
        TOPOLOGIES / "two-sites-pcp.yaml",
    ),
}
