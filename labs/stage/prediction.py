"""What a step asks: the answers to choose from, and the belief behind each wrong one.

No answer is right because it is written here. The step looks at the network and says what it found
(`stage.answer`), as a value; the choice with this value is the right one in this run. So a network
that does otherwise than the course says shows it, and so does a test. What is written here, the
choice without a belief, is only what `QUIZ=1` goes by, which runs no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napt_lab.topologies.spec.checkout import IN_CHECKOUT

LETTERS = "abcdefgh"
Value = str | int


class NotAnAnswer(ValueError):
    """What was typed cannot be an answer to the question; the text says what can be typed."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer. `value`: what the step finds if it is right; `belief`: why one may choose it.

    Exactly one choice of a prediction has no belief: the right one.
    """

    value: Value
    text: str
    belief: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What can be answered. Of a `number`, the choices are the right one and usual mistakes.

    `exercise`: the one that fits, such as `9c/door`, for those who were wrong.
    """

    choices: tuple[Choice, ...]
    number: bool
    exercise: str

    def __post_init__(self) -> None:
        right = [choice.text for choice in self.choices if not choice.belief]
        if len(right) != 1 or not 1 < len({c.value for c in self.choices}) == len(self.choices):
            raise ValueError(f"one right choice and other wrong ones are needed, not {right}")

    @property
    def right(self) -> str:
        """The text of the choice that the course calls right."""
        return next(choice.text for choice in self.choices if not choice.belief)

    @property
    def texts(self) -> list[str]:
        """The choices as they are shown; none for a number."""
        return [] if self.number else [choice.text for choice in self.choices]

    @property
    def usage(self) -> str:
        """What can be typed."""
        last = LETTERS[len(self.choices) - 1]
        return "a number" if self.number else f"a letter, a to {last}"

    def read(self, typed: str) -> str:
        """The answer that was typed, as text. Raises NotAnAnswer."""
        word = typed.strip().lower()
        if self.number:
            digits = word.replace(",", "")
            if digits.isascii() and digits.isdecimal() and len(digits) <= 9:
                return f"{int(digits):,}"
        elif len(word) == 1 and word in LETTERS[: len(self.choices)]:
            return self.texts[LETTERS.index(word)]
        wanted = "a whole number, as in 12" if self.number else self.usage
        raise NotAnAnswer(f"{typed.strip()[:40]!r} is not an answer: type {wanted}")

    def text_of(self, value: Value) -> str:
        """What a step found, in the words of the choice that says so."""
        known = {choice.value: choice.text for choice in self.choices}
        return known.get(value, f"{value:,}" if isinstance(value, int) else value)

    def belief(self, text: str) -> str:
        """The belief behind an answer; "" of one that is right or unheard of."""
        return next((choice.belief for choice in self.choices if choice.text == text), "")


def choose(*choices: Choice, exercise: str = "") -> Prediction:
    """One of several answers, in this order."""
    return Prediction(choices, False, exercise)


def number(right: int, beliefs: Mapping[int, str], *, exercise: str = "") -> Prediction:
    """A number, with the belief behind each usual mistake."""
    wrong = (Choice(value, f"{value:,}", belief) for value, belief in beliefs.items())
    return Prediction((Choice(right, f"{right:,}"), *wrong), True, exercise)


def outcome(
    step: int, ask: str, asked: Prediction, said: str, seen: str | None = None, evidence: str = ""
) -> dict[str, Any]:
    """What became of the answer `said` ("": none) to a step's question: the event `prediction`.

    `seen` is what the step has found, "" if it did not come to it. Without a network it is what the
    course calls right, and there is no evidence.
    """
    seen = asked.right if seen is None else seen
    return {
        "step": step,
        "ask": ask,
        "choices": [choice.text for choice in asked.choices],
        "beliefs": [choice.belief for choice in asked.choices],
        "said": said,
        "seen": seen,
        "expected": asked.right,
        "right": said == seen if said and seen else None,
        "belief": asked.belief(said),
        "evidence": evidence,
        "exercise": asked.exercise,
    }


def exercise_command(name: str) -> str:
    """What is typed to do an exercise, such as `9c/door`."""
    level, _, part = name.partition("/")
    return f"make exercise-{level} PART={part}" if IN_CHECKOUT else f"napt-lab exercise {name}"
