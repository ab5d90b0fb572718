"""What labs type again and again, and how it must end."""

from __future__ import annotations

import time
from collections.abc import Callable

from napt_lab.labs.stage.steps import Claim
from napt_lab.topologies.network.processes import Completed, DeadlinePassed

CURL_REFUSED, CURL_HTTP_ERROR, CURL_TIMED_OUT, CURL_RESET = 7, 22, 28, 56  # curl's statuses
CURL_NOT_TRIED = frozenset({1, 2, 3, 126, 127})  # wrong usage; no curl (mnexec: 1)
PORT = 8080  # where files are served


def curl(address: str, *options: str, path: str = "/") -> tuple[str, ...]:
    """The command line of a fetch: at most 5 seconds, and an HTTP error is a failure (-f)."""
    return ("curl", "-sSf", "-m", "5", *options, f"http://{address}:{PORT}{path}")


def shell(line: str) -> tuple[str, ...]:
    """A command line with pipes or redirections in it."""
    return ("sh", "-c", line)


def require_success(claim: Claim, completed: Completed, what: str) -> None:
    """A command ended well; its own words are the evidence if it did not."""
    words = completed.stderr.strip() or f"exit status {completed.status}"
    said = "done" if completed.status == 0 else words
    claim.require(completed.status == 0, f"{completed.node}: {what}: {said}")


def require_failure(claim: Claim, completed: Completed, status: int) -> None:
    """curl failed, and in the way it should. That it could not try is not a failure to connect."""
    words = completed.stderr.strip() or "it said nothing"
    if completed.status in CURL_NOT_TRIED:
        raise OSError(f"{completed.argv[0]}: exit status {completed.status}: {words}")
    claim.require(
        completed.status == status,
        f"exit status {completed.status}: {words}",
        f"it should fail with exit status {status}",
    )


def wait_until(holds: Callable[[], bool], *, every: float, deadline: float, what: str) -> None:
    """Return once `holds()`, for what reports no event: ask `every` so many seconds.

    DeadlinePassed after `deadline` seconds.
    """
    end = time.monotonic() + deadline
    while not holds():
        if time.monotonic() > end:
            raise DeadlinePassed(what, deadline)
        time.sleep(every)
