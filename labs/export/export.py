"""Write a topology down for another engine, and say what does not carry over."""

from __future__ import annotations

import re
from pathlib import Path

from napt_lab.labs.export import containerlab, expect, kathara
from napt_lab.labs.export.node_names import INTERFACE_NAME, node_names
from napt_lab.labs.export.slow_link import left_out
from napt_lab.topologies.spec.model import Topology

FORMATS = {"containerlab": containerlab, "kathara": kathara}

LEFT_BEHIND = (
    "not carried over: the labs, their claims and captures, which need the sandbox",
    f"carried over in part: expect: ({expect.NAME} says which sentences, and tries them)",
    "not carried over: offload; the links are made by that engine",
    "not carried over: then, since what happens needs the sandbox",
)

# What is written down is read by other programs, so nothing in it may need quoting.
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
NOT_IN_LABELS = re.compile(r"[^a-z0-9-]")
LAB_NAME = 40  # characters: a part of a DNS label, which has 63


class ExportError(Exception):
    """This topology, or this place, cannot be used for an export; the message says why."""


def export(topology: Topology, form: str, image: str, folder: Path) -> list[Path]:
    """Write the files of an engine's format into a new folder; the files that were written.

    `image`: the name of the project's image there. Raises ExportError, or OSError.
    """
    if not IMAGE.fullmatch(image):
        raise ExportError(
            f"{image!r} is not a valid image name; allowed: napt-lab, or HOST/napt-lab:TAG"
        )
    for site in topology.sites:
        if site.gateway.translator is not None:
            raise ExportError(
                f"{site.gateway.name} runs {site.gateway.translator.name}, which is not in the "
                "image; leave `translator` out"
            )
    if folder.exists():
        raise ExportError(f"{folder} exists already; name another place with --output")
    lab = NOT_IN_LABELS.sub("-", topology.path.stem.lower())[:LAB_NAME].strip("-") or "lab"
    engine = FORMATS[form]
    names = node_names(topology, engine.SEPARATOR)
    written, run = engine.files(topology, lab, image, names)
    if topology.expect:
        written[expect.NAME] = expect.script(topology, names, run)
    for name, text in written.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if name.endswith(".sh"):
            path.chmod(0o755)
    return [folder / name for name in written]


def warnings(topology: Topology, form: str, image: str) -> list[str]:
    """What to know before the export is used, a line each."""
    engine = FORMATS[form]
    names = node_names(topology, engine.SEPARATOR)
    own = [f"{host.name}'s {each.label}" for host in topology.hosts() for each in host.programs]
    renamed = [f"{node} is {name}" for node, name in names.items() if node != name]
    lines = [*LEFT_BEHIND, f"Ways around the NAPTs: {engine.LEAK}"]
    links = {host.name: host.link for host in topology.hosts()}
    links |= {site.gateway.name: site.gateway.link for site in topology.sites}
    if slow := {node: link for node, link in links.items() if link is not None}:
        lines.append(engine.LINKS)
        if lost := [each for node, link in slow.items() for each in left_out(node, link)]:
            lines.append(f"not carried over: {', '.join(lost)}")
    if own:
        lines.append(
            f"not carried over: {', '.join(own)}: programs of your own are not in the image"
        )
    if renamed:
        why = f"no underscore; NODE-INTERFACE has at most {INTERFACE_NAME} characters"
        lines.append(f"renamed, for clusters ({why}): {', '.join(renamed)}")
    if "/" not in image:
        lines.append(
            f"image: {image} names no registry, so no machine can pull it: build it on each "
            "(docker build -t napt-lab .), or push it and export with --image HOST/napt-lab:TAG"
        )
    return lines
