"""Which labs there are. A lab is imported only when it is asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from napt_lab.labs.stage.steps import Lab, Part
from napt_lab.topologies.spec.checkout import IN_CHECKOUT, TOPOLOGIES


@dataclass(frozen=True, slots=True)
class Entry:
    """A lab's title, the module that has it as LAB, the topology that it begins with."""

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
    "9e": Entry(
        "P2P networking without an explicit rule: STUN and UDP hole punching",
        "napt_lab.labs.level_9e.lab",
        TOPOLOGIES / "level-9e.yaml",
    ),
    "9f": Entry(
        "P2P networking without an explicit rule, by TCP: simultaneous open",
        "napt_lab.labs.level_9f.lab",
        TOPOLOGIES / "level-9f.yaml",
    ),
    "9g": Entry(
        "P2P networking by the best way (ICE)",
        "napt_lab.labs.level_9g.lab",
        TOPOLOGIES / "level-9g.yaml",
    ),
    "9h": Entry(
        "P2P networking behind a carrier's NAPT (carrier-grade NAT)",
        "napt_lab.labs.level_9h.lab",
        TOPOLOGIES / "level-9h.yaml",
    ),
}


def what_next(lab_id: str) -> str:
    """What to do after a level: its exercises, and the next level."""
    exercise, lab = ("make exercise-", "make lab-") if IN_CHECKOUT else (
        "napt-lab exercise ", "napt-lab lab "
    )  # fmt: skip
    ids = list(LABS)
    words = [f"`{exercise}{lab_id}` (do it yourself)"]
    if ids[-1] != lab_id:
        words.append(f"`{lab}{ids[ids.index(lab_id) + 1]}` (the next level)")
    return f"Next: {' or '.join(words)}."


def resume_command(lab_id: str, *, step: bool = True) -> str:
    """What is typed to go on with a run that was stopped; not `step`: without its pauses."""
    if IN_CHECKOUT:
        return f"make lab-{lab_id} RESUME=1{'' if step else ' STEP=0'}"
    return f"napt-lab lab {lab_id} --resume{'' if step else ' --no-step'}"


def parts_of(lab: Lab, part: str | None, first: int) -> list[Part]:
    """The parts that `part` names, if they have the step number `first`; else ValueError."""
    names = [p.name for p in lab.parts]
    wanted = part.split(",") if part is not None else names
    for name in wanted:
        if name not in names:
            there = ", ".join(names)
            raise ValueError(f"lab {lab.id} has no part {name!r} (PART); there are: {there}")
    parts = [p for p in lab.parts if p.name in wanted]
    steps = sum(len(p.steps) for p in parts)
    if not 1 <= first <= steps:
        raise ValueError(f"there is no step {first} (FROM); there are 1 to {steps}")
    return parts
