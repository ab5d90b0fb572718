"""The page itself: everything gathered, and given to the template.

All that comes from outside (a program's output, a file's name, a server's answer) is text, and
stays text: Jinja2 escapes it, and characters that would steer a terminal or turn the order of
reading around are made visible. A policy in the page forbids it to load anything or to run any
script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from napt_lab.labs.report.capture import pick
from napt_lab.labs.report.ladder import Ladder, make_ladder
from napt_lab.labs.report.ladder_drawing import Picture, draw_flow
from napt_lab.labs.report.story import PartStory, StepStory, Story
from napt_lab.labs.report.tables import Comparison, compare
from napt_lab.labs.report.templates import templates, visible
from napt_lab.labs.report.topology_drawing import draw_topology, kind_of
from napt_lab.labs.stage.code_in_text import pieces
from napt_lab.labs.stage.prediction import exercise_command
from napt_lab.labs.verdict.claims import CLAIMS
from napt_lab.labs.verdict.verdicts import Verdict, verdict_of, worst
from napt_lab.topologies.network.plan import node_plans
from napt_lab.topologies.spec.loader import load
from napt_lab.topologies.spec.model import Site, Topology
from napt_lab.topologies.spec.scalars import ROUTER_NAME

NAME = "report.html"
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Inset:
    """What is put into the page at its top: elements, their style, and a script (a module)."""

    html: Markup
    style: str
    script: str


_NO_INSET = Inset(Markup(), "", "")


@dataclass(frozen=True, slots=True)
class StepPage:
    """One step with its ladder and its tables."""

    story: StepStory
    number: int  # among all steps of the run
    ladder: Ladder
    pictures: list[Picture]  # of the ladder's flows
    tables: list[Comparison]

    @property
    def anchor(self) -> str:
        return f"step-{self.number}"


@dataclass(frozen=True, slots=True)
class PartPage:
    """One part with its network."""

    story: PartStory
    topology: Topology | None
    drawing: Any
    steps: list[StepPage]


def write_report(story: Story, folder: Path, inset: Inset = _NO_INSET) -> Path:
    """Write the page beside the captures of a run; returns its path."""
    path = folder / NAME
    path.write_text(render(story, folder, inset), encoding="utf-8")
    return path


def style() -> str:
    """The page's style, without that of an inset."""
    return (_HERE / "page.css").read_text(encoding="utf-8")


def policy(styles: list[str], scripts: list[str]) -> str:
    """A policy that lets a page use these styles and scripts, and load nothing."""
    by_style, by_script = (
        " ".join(f"'{_hash(text)}'" for text in texts) or "'none'" for texts in (styles, scripts)
    )
    return (
        f"default-src 'none'; img-src data:; style-src {by_style}; script-src {by_script}; "
        "base-uri 'none'; form-action 'none'"
    )


def render(story: Story, folder: Path, inset: Inset = _NO_INSET) -> str:
    """The page as text."""
    environment = templates(_HERE)
    environment.filters["with_code"] = with_code
    both = style() + inset.style
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    parts, number = [], 0
    for part in story.parts:
        parts.append(_part(part, folder, number))
        number += len(part.steps)
    return environment.get_template("page.html").render(
        run=story,
        verdict=verdict_of(passed=story.passed),
        parts=parts,
        claims=_claims(story, parts),
        when=datetime.fromtimestamp(story.began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        kind_of=kind_of,
        exercise_command=exercise_command,
        files=("results.json", "junit.xml", "events.jsonl"),
        inset=inset,
        style=Markup(both),
        script=Markup(script),
        module=Markup(inset.script),
        policy=policy([both], [script, inset.script]),
    )


def with_code(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    forms = {False: Markup("{}"), True: Markup("<code>{}</code>")}
    return Markup().join(forms[code].format(visible(piece)) for piece, code in pieces(text))


def _part(part: PartStory, folder: Path, number: int) -> PartPage:
    topology = load(Path(part.path)) if part.path else None
    plans = list(node_plans(topology)) if topology is not None else []
    ports = {f"{plan.name}:{port.interface}": port for plan in plans for port in plan.ports}
    slow = {where for where, port in ports.items() if port.link is not None}
    order = places_in_order(topology) if topology is not None else []
    played = [step for step in part.steps if step.number and step.ended > step.began]
    capture = folder / part.capture if part.capture else folder / "none"
    windows = pick(capture, [(step.began, step.ended) for step in played])
    ladders = {
        id(step): make_ladder(window, ports, step.drops)
        for step, window in zip(played, windows, strict=True)
    }
    steps = []
    for index, step in enumerate(part.steps, start=number + 1):
        ladder = ladders.get(id(step), Ladder([]))
        pictures = [draw_flow(flow, order, step.began, slow) for flow in ladder.flows]
        steps.append(StepPage(step, index, ladder, pictures, compare(step)))
    drawing = draw_topology(topology) if topology is not None else None
    return PartPage(part, topology, drawing, steps)


def places_in_order(topology: Topology) -> list[str]:
    """Every `node:interface` from left to right: a site, the Internet, all other sites.

    Carriers stand between the Internet and the sites behind them.
    """
    plans = {plan.name: plan for plan in node_plans(topology)}

    def places(name: str, *, reverse: bool = False) -> list[str]:
        found = [f"{name}:{port.interface}" for port in plans[name].ports]
        return found[::-1] if reverse else found

    def beyond(site: Site) -> Iterator[str]:
        if site in to_the_left:
            return
        yield from places(site.gateway.name)
        for host in site.hosts:
            yield from places(host.name)
        for behind in topology.behind(site):
            yield from beyond(behind)

    order: list[str] = []
    to_the_left: list[Site] = []
    site = topology.sites[0] if topology.sites else None
    while site is not None:
        to_the_left.append(site)
        for host in site.hosts:
            order += places(host.name)
        order += places(site.gateway.name, reverse=True)
        site = topology.upstream(site)
    first = topology.isp_of(to_the_left[-1].gateway.public) if to_the_left else None
    legs = places(ROUTER_NAME)
    if first is not None:  # the leg to the left goes to the left
        nearest = legs.pop(topology.isps.index(first))
        legs.insert(0, nearest)
    order += legs
    for host in topology.internet:
        order += places(host.name)
    for carrier in [*to_the_left, None]:
        for site in topology.behind(carrier):
            order += beyond(site)
    return order


def _claims(story: Story, parts: list[PartPage]) -> list[dict[str, Any]]:
    """Each claim with its verdict and the steps that checked it."""
    pages = {id(step.story): step for part in parts for step in part.steps}
    claims = []
    for claim, checks in story.claims.items():
        steps = list(dict.fromkeys(id(step) for step, _ in checks))
        verdict = worst(check.verdict for _, check in checks)
        claims.append(
            {
                "claim": claim,
                "text": CLAIMS.get(claim, ""),
                "verdict": verdict,
                "checks": len(checks),
                "held": sum(check.verdict is Verdict.PASSED for _, check in checks),
                "steps": [pages[step] for step in steps],
            }
        )
    return claims


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
