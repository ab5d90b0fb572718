"""What a lab is, and how it is played.

A lab has parts, each on a topology of its own; a part has steps; a step says something, asks
for a prediction, does something (commands that a person could type), and proves claims by
checks. The steps are the same whether a student goes through them one at a time, a terminal
scrolls by, or a test plays them in silence: who listens to the stream (stream.py) decides.

    part = Part("direct", topology="two-sites.yaml")

    @part.step(
        "A title",
        say="What is about to happen.",
        ask="Where does bob's SYN end?",
        predict=choose(
            Choice("alice", "at alice's PC"),
            Choice("napt_a", "at her NAPT", "A NAPT lets nothing in that comes from outside."),
        ),
        proves=[...],
    )
    def _(stage: Stage) -> None:
        fetched = stage.run("bob", "curl", "http://24.9.3.7:8080/")
        with stage.claim("9c.rule", "the file arrives") as claim:
            claim.require(fetched.status == 0, f"curl ended with status {fetched.status}")
        syn = stage.wire.wait_for("alice:eth0", …)
        stage.answer("alice", f"alice:eth0: {syn.packet}")

A check that could not be made never passes. An exception in it, a capture with gaps, and a claim
listed in `proves` that the step never checked are all recorded as broken checks. What the answer to
`ask` is, the step finds out as well (prediction.py): `stage.answer` gets what it saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.prediction import Prediction
from napt_lab.topologies.network.processes import DeadlinePassed
from napt_lab.topologies.spec.checkout import TOPOLOGIES


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `predict`: the answers to `ask`. `proves` are the claims that it must check."""

    title: str
    say: str
    ask: str
    predict: Prediction | None
    proves: tuple[str, ...]
    action: Callable[..., None]

    @property
    def question(self) -> list[str]:
        """Its title, what it asks and what can be answered: the words by which it is the same."""
        told = self.told()
        return [told["title"], told["ask"], told["usage"], *told["choices"]]

    def told(self) -> dict[str, Any]:
        """What is said of it before it acts: the fields of the event `step`."""
        return {
            "title": self.title,
            "say": self.say,
            "ask": self.ask,
            "choices": self.predict.texts if self.predict else [],
            "usage": self.predict.usage if self.predict else "",
            "proves": list(self.proves),
        }


@dataclass(slots=True)
class Part:
    """Steps on one network. `watch` limits the capture to some nodes; None is all of them.

    `offload` lets its links carry unsegmented TCP, for steps that move a lot. `then` is said after
    its last step to those who go step by step: where to have a break.
    """

    name: str
    topology: str
    title: str = ""
    watch: Sequence[str] | None = None
    offload: bool = False
    steps: list[Step] = field(default_factory=list)
    then: str = ""

    @property
    def topology_path(self) -> Path:
        return TOPOLOGIES / self.topology

    def step(
        self,
        title: str,
        *,
        say: str,
        ask: str = "",
        predict: Prediction | None = None,
        proves: Iterable[str] = (),
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Make a function the next step of this part."""

        def add(action: Callable[..., None]) -> Callable[..., None]:
            self.steps.append(Step(title, say, ask, predict, tuple(proves), action))
            return action

        return add


@dataclass(frozen=True, slots=True)
class Lab:
    """A level of the course. `learned`: what it has shown, in three sentences."""

    id: str
    title: str
    intro: str
    parts: tuple[Part, ...]
    learned: tuple[str, ...] = ()


class ClaimFailed(Exception):
    """A requirement of a claim does not hold."""


class Claim:
    """One check of one claim: `with stage.claim(...) as claim:` and at least one `require`.

    The first requirement that does not hold ends the block, and so does a deadline that passes.
    Any other exception makes the check broken, and so does a fault of the machine, which
    `machine_fault` tells. The lab goes on.
    """

    def __init__(
        self,
        stream: Stream,
        claim: str,
        text: str,
        machine_fault: Callable[[], str] = lambda: "",
    ) -> None:
        self.claim = claim
        self.text = text
        self.evidence: list[str] = []
        self._stream = stream
        self._machine_fault = machine_fault

    def require(self, holds: bool, evidence: str, wanted: str = "") -> None:
        """`evidence` says what was seen. If it does not hold, the block ends: the claim fails.

        `wanted` is added to the evidence then: what should have been seen instead.
        """
        if not holds and wanted:
            evidence = f"{evidence}; {wanted}"
        self.evidence.append(evidence)
        if not holds:
            raise ClaimFailed(evidence)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        broken = False
        if isinstance(error, DeadlinePassed):
            self.evidence.append(str(error))
        elif isinstance(error, Exception) and not isinstance(error, ClaimFailed):
            broken = True
            self.evidence.append(f"could not be checked: {why_broken(error)}")
        elif error is None and not self.evidence:
            broken = True
            self.evidence.append("could not be checked: nothing was required")
        elif error is not None and not isinstance(error, Exception):
            return False  # the run is being ended: the claim stays unchecked
        if error is not None and (fault := self._machine_fault()):
            broken = True
            self.evidence.append(f"could not be checked: error of this machine: {fault}")
        emit_check(
            self._stream,
            self.claim,
            self.text,
            passed=error is None and not broken,
            evidence=self.evidence,
            broken=broken,
        )
        return isinstance(error, Exception)


def why_broken(error: Exception) -> str:
    """Why something could not be checked, in words."""
    if isinstance(error, UnboundLocalError):
        return f"it needs what an earlier claim of this step was to find ({error})"
    return f"{type(error).__name__}: {error}"


def emit_check(
    stream: Stream,
    claim: str,
    text: str,
    *,
    passed: bool,
    evidence: Sequence[str],
    broken: bool = False,
) -> None:
    """Say how a check ended. `broken`: it could not be made, which is not a pass."""
    stream.emit(
        "check", claim=claim, text=text, passed=passed, evidence=list(evidence), broken=broken
    )
