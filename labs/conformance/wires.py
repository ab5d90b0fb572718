"""Waiting for more than one packet."""

from __future__ import annotations

import time
from collections.abc import Callable

from napt_lab.labs.capture.wire import Captured, Wire
from napt_lab.topologies.network.processes import DeadlinePassed


def await_all(
    wire: Wire,
    where: str,
    test: Callable[[Captured], bool],
    enough: Callable[[list[Captured]], bool],
    since: int,
    wait: float,
) -> list[Captured]:
    """The packets at `where` that pass `test`, until they are `enough` or after `wait` seconds."""
    end = time.monotonic() + wait
    found: list[Captured] = []
    while True:
        found = wire.captured(where, test, since=since)
        left = end - time.monotonic()
        if enough(found) or left <= 0:
            return found
        known = len(found)
        try:
            wire.wait_for_captured(
                where, _later_than(test, known), deadline=left, what="more", since=since
            )
        except DeadlinePassed:
            return wire.captured(where, test, since=since)


def _later_than(test: Callable[[Captured], bool], known: int) -> Callable[[Captured], bool]:
    """A test that skips the first `known` packets; for one search."""
    count = 0

    def is_new(captured: Captured) -> bool:
        nonlocal count
        count += test(captured)
        return count > known and test(captured)

    return is_new
