"""Prints the rows about a NAPT's settings in topologies/README.md.

    python -m napt_lab.topologies.spec.settings_rows

The rows derive from the declarations in nat_node/core/settings.py; a test compares the README.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from napt_lab.topologies.spec.napt_settings import PORT_CONTROL, SETTINGS, Setting
from napt_lab.topologies.spec.scalars import show_duration


def rows(settings: Iterable[Setting] = (*SETTINGS, *PORT_CONTROL)) -> list[str]:
    """A row of the table for each setting: key, allowed values, default, meaning."""
    return [
        f"| `{each.key}` | {_allowed(each)} | {word(each, each.default)} | {_meaning(each)} |"
        for each in settings
    ]


def _allowed(setting: Setting) -> str:
    if issubclass(setting.kind, Enum):
        return ", ".join(f"`{choice.value}`" for choice in setting.kind)
    if setting.kind is bool:
        return "`true`, `false`"
    if setting.kind is range:
        return "LOW-HIGH within 1-65535"
    return f"{word(setting, setting.least)} to {word(setting, setting.most)}"


def word(setting: Setting, value: Any) -> str:
    """A value of the setting, as a topology file has it."""
    if setting.unit == "s":
        return show_duration(value)
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if setting.kind in (int, range):
        return setting.words(value)[1]
    return f"`{value}`"


def _meaning(setting: Setting) -> str:
    return f"{setting.what} ({setting.rfc})" if setting.rfc else setting.what


if __name__ == "__main__":
    print(*rows(), sep="\n")
