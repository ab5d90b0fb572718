"""Errors that leave a network without a result: the machine's, and those of its programs."""

from __future__ import annotations

from collections.abc import Sequence

from napt_lab.topologies.network.processes import ProgramEnded
from napt_lab.topologies.sandbox import limits
from napt_lab.topologies.sandbox.finding import Finding
from napt_lab.topologies.spec.checkout import DOCTOR


class BuildError(Exception):
    """The machine could not build the network; the message says where and why."""

    fix = (
        f"`{DOCTOR}` shows what this machine lacks; if it finds nothing, a limit outside is\n"
        "       reached, for example of a container: end other programs there, or raise it"
    )

    def explain(self) -> str:
        """What to print: the error, and what to do."""
        return f"error of this machine: {self}\n  fix: {self.fix}"


class LimitReached(BuildError):
    """A limit of the machine was reached, so nothing that the network showed can be trusted."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(limits.describe(findings))
        self.fix = "\n       ".join(dict.fromkeys(finding.fix for finding in findings))
        self.add_note(f"fix: {self.fix}")  # pytest shows notes


class ProgramLost(ProgramEnded):
    """A program of the topology ended while the network ran: what was seen proves nothing."""
