"""All requirements, in the order of the reports."""

from __future__ import annotations

from labs.conformance import rfc3022, rfc4787, rfc5382, rfc5508, rfc6888, rfc7857
from labs.conformance.requirement import Chapter, Requirement

CHAPTERS: tuple[Chapter, ...] = tuple(
    module.CHAPTER for module in (rfc4787, rfc5382, rfc5508, rfc7857, rfc6888, rfc3022)
)
REQUIREMENTS: tuple[Requirement, ...] = tuple(
    requirement for chapter in CHAPTERS for requirement in chapter.requirements
)


def named(parts: tuple[str, ...]) -> tuple[Requirement, ...]:
    """The requirements whose id contains one of `parts`; all, if there are no parts."""
    if not parts:
        return REQUIREMENTS
    return tuple(r for r in REQUIREMENTS if any(part.lower() in r.id.lower() for part in parts))
