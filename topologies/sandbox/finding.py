"""What one look at the machine found: the word that doctor, preflight and limits share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `cause` and `fix` are empty if all is well."""

    name: str
    found: str
    cause: str = ""
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.cause
