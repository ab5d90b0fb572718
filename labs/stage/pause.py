"""The pause between two steps: where a student stands, and where to go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from napt_lab.topologies.network.builder import Network


@dataclass(frozen=True, slots=True)
class Go:
    """The step to go on with. Unless `at_once`, there is a pause before it."""

    step: int
    at_once: bool = True


@dataclass(frozen=True, slots=True)
class Here:
    """Where a student stands: before `step`, one of `of`; after the last one it is of + 1.

    `predict` takes an answer to the step's question, as it was typed. NotAnAnswer says what can be
    typed; that is also `usage`, which is "" where nothing is asked.
    """

    step: int
    of: int
    usage: str
    predict: Callable[[str], None]

    @property
    def is_last(self) -> bool:
        """Whether no step is left."""
        return self.step > self.of

    @property
    def on(self) -> Go:
        """To play the step that comes."""
        return Go(self.step)


class Pause(Protocol):
    """What a student may do before a step, and after the last one; None is "quit"."""

    def __call__(self, net: Network, here: Here) -> Go | None: ...
