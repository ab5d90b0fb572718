"""A rule may be typed as it is shown: `tcp 8080 -> 10.0.0.7:8080`, `tcp 24.9.3.7:8080 → …`."""

from __future__ import annotations

from collections.abc import Sequence

ARROWS = frozenset({"->", "→"})


def without_arrow(words: Sequence[str]) -> list[str]:
    """`rule add …` without the arrow between its two endpoints."""
    return [word for word in words if word not in ARROWS]
