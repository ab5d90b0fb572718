"""Level 9f: a refusal must come before the other side dials, as the wires and programs tell."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from napt_lab.labs.level_9f.checks import require_before
from napt_lab.labs.stage.steps import Claim


def check(*times: float) -> dict[str, Any]:
    """What is told of the check."""
    told: list[dict[str, Any]] = []
    stream: Any = SimpleNamespace(emit=lambda _, **fields: told.append(fields))
    with Claim(stream, "9f.refusal-kills", "text") as claim:
        require_before(claim, *times)
    return told[0]


def test_a_refusal_counts_only_before_the_other_side_dials():
    early, late = check(1.0, 1.0015, 2.2015), check(1.0, 1.0015, 0.9)
    assert early["passed"]
    assert early["evidence"] == [
        "refused 1.5 ms after the SYN came, and 1200 ms before dave dialed"
    ]
    assert not late["passed"]
    assert late["evidence"] == [
        "refused 1.5 ms after the SYN came, and 102 ms after dave dialed; it should be before"
    ]
