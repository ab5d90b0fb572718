"""What is said of a wrong value that came from the environment, as in `make lab-9c STEP=3`.

Whoever typed that knows no option, so the message names the variable and what it may be.
"""

from __future__ import annotations

import os

import click
from click.core import ParameterSource

from napt_lab.labs.cli.gate import WebPort

BY_NUMBER = frozenset({"STEP", "QUIZ"})  # switches that are taken for the number of a step


def wrong_variable(error: click.ClickException) -> str | None:
    """The message, or None if this is not about a variable."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return None
    source = error.ctx.get_parameter_source(error.param.name or "")
    name = str(error.param.envvar)
    if source is not ParameterSource.ENVIRONMENT:
        return None
    value = os.environ.get(name, "")
    allowed = _allowed(error.param.type)
    if allowed is None:  # click's words say it
        return f"{name}={value}: {error.message}"
    meant = f" (did you mean FROM={value} {name}=1?)" if _is_step(name, value) else ""
    return f"{name}={value}: allowed: {allowed}{meant}"


def _is_step(name: str, value: str) -> bool:
    return name in BY_NUMBER and value.isascii() and value.isdecimal()


def _allowed(kind: object) -> str | None:
    match kind:
        case WebPort():
            return kind.allowed
        case click.types.BoolParamType():
            return "1 (yes) or 0 (no)"
        case click.IntRange() | click.FloatRange():
            what = "a whole number" if isinstance(kind, click.IntRange) else "a number"
            if kind.max is None:
                return f"{what}, {kind.min} or more"
            return f"{what}, {kind.min} to {kind.max}"
        case click.types.IntParamType():
            return "a whole number"
        case click.Choice():
            return ", ".join(kind.choices)
    return None
