"""Prints the tables of keys and facts in README.md; a test compares them.

python -m napt_lab.labs.exercises.key_rows
"""

from __future__ import annotations

from napt_lab.labs.exercises.keys import DONE, EXERCISE, MISTAKE
from napt_lab.labs.exercises.patterns import FACTS

_BELOW = {"done": DONE, "mistakes": MISTAKE}


def key_rows() -> list[str]:
    """A row for each key; those of a list's items follow the list's."""
    rows = []
    for key in EXERCISE:
        rows.append((key.name, key))
        rows += [(f"{key.name}[].{each.name}", each) for each in _BELOW.get(key.name, ())]
    return [f"| `{path}` | {key.default} | {key.what} |" for path, key in rows]


def fact_rows() -> list[str]:
    """A row for each kind of fact."""
    return [f"| `{form}` | {when} |" for form, when in FACTS]


if __name__ == "__main__":
    print(*key_rows(), "", *fact_rows(), sep="\n")
