"""All requirements, in the order of the reports."""

from __future__ import annotations

import re

from napt_lab.labs.conformance import (
    rfc3022,
    rfc4787,
    rfc5382,
    rfc5508,
    rfc5780,
    rfc6888,
    rfc7857,
)
from napt_lab.labs.conformance.requirement import Chapter, Requirement

CHAPTERS: tuple[Chapter, ...] = tuple(
    module.CHAPTER for module in (rfc4787, rfc5382, rfc5508, rfc5780, rfc7857, rfc6888, rfc3022)
)
REQUIREMENTS: tuple[Requirement, ...] = tuple(
    requirement for chapter in CHAPTERS for requirement in chapter.requirements
)


def named(parts: tuple[str, ...]) -> tuple[Requirement, ...]:
    """The requirements that `parts` name, by their whole id or some of it; all without parts.

    An id may also be written as the reports show it: `RFC 4787, REQ-1` is 4787.REQ-1.
    """
    if not parts:
        return REQUIREMENTS
    wanted = {part for written in parts if (part := _as_id(written))}
    whole = {requirement.id.lower() for requirement in REQUIREMENTS} & wanted
    some = wanted - whole
    return tuple(
        requirement
        for requirement in REQUIREMENTS
        if (name := requirement.id.lower()) in whole or any(part in name for part in some)
    )


def _as_id(written: str) -> str:
    """`RFC 4787, REQ-14 outbound` -> 4787.req-14-outbound."""
    plain = re.sub(r"^rfc\s*", "", written.strip().lower())
    return re.sub(r"\s+", "-", re.sub(r"\s*[,:]\s*", ".", plain))
