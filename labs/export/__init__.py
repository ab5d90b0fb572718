"""A topology for engines that run it on more than one machine: `export FILE --to containerlab`.

Theory of operation. A topology is a plan (topologies/network/plan.py): nodes, interfaces,
addresses, routes, programs. Here the plan is written down for somebody else to carry out:

    boot.py          what a node does when it starts, as a script: the same for every engine
    containerlab.py  a containerlab topology; clabernetes runs it on a cluster
    kathara.py       a Kathara network scenario; Megalos runs it on a cluster

Every node is a container of the project's own image. `LEFT_BEHIND` is what does not carry over.
"""

from __future__ import annotations

import re
from pathlib import Path

from napt_lab.labs.export import containerlab, kathara
from napt_lab.topologies.spec.model import Topology

FORMATS = {"containerlab": containerlab.files, "kathara": kathara.files}

LEFT_BEHIND = (
    "the labs, their claims and captures, and expect: they look into the sandbox from outside",
    "offload: links are what that engine makes of them",
    "the sandbox: how well nodes are kept from the machine's own network is that engine's affair",
)


# What is written down is read by other programs: their words, and nothing to be quoted.
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class ExportError(Exception):
    """This topology, or this place, is none for an export; the message says why."""


def export(topology: Topology, form: str, image: str, folder: Path) -> list[Path]:
    """Write the files of an engine's format into a new folder; the files that were written.

    `image`: the name of the project's image there. Raises ExportError, or OSError.
    """
    if not IMAGE.fullmatch(image):
        raise ExportError(f"{image!r} is no image's name; one is napt-lab, or HOST/napt-lab:TAG")
    for site in topology.sites:
        if site.gateway.translator is not None:
            raise ExportError(
                f"{site.gateway.name} runs {site.gateway.translator.name}, which is not in the "
                "image; leave `translator` out"
            )
    if folder.exists():
        raise ExportError(f"{folder} exists already; name another place with --output")
    lab = NOT_IN_NAMES.sub("-", topology.path.stem).strip("-._") or "lab"
    written = FORMATS[form](topology, lab, image)
    for name, text in written.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if name.endswith(".sh"):
            path.chmod(0o755)
    return [folder / name for name in written]
