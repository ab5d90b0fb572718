"""Errors that leave a run without a result, and their messages. The exit status is 3."""

from __future__ import annotations

import errno
import sys

from napt_lab.labs.verdict.exit_status import exit_status
from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.napt_control import ControlError
from napt_lab.topologies.network.processes import DeadlinePassed, ProgramEnded
from napt_lab.topologies.network.programs import ProgramError

#: A network that could not be built, did not come up, or lost one of its programs.
NETWORK_ERRORS = (BuildError, ProgramError, ProgramEnded, ControlError, DeadlinePassed)


def tell_network_error(error: Exception) -> int:
    """Print an error of the network; returns the exit status."""
    told = error.explain() if isinstance(error, BuildError) else f"error: {error}"
    print(f"napt-lab: {told}", file=sys.stderr)
    return exit_status(passed=False, error=True)


def tell_unwritten(error: OSError, what: str = "the results") -> int:
    """Print that `what` could not be written, and what to do; returns the exit status."""
    fix = {
        errno.ENOSPC: "make room on the disk that this folder is on, and run it again",
        errno.EDQUOT: "make room within your quota, and run it again",
        errno.EISDIR: f"move that folder away: mv {error.filename} SOMEWHERE-ELSE",
    }
    otherwise = "work in a clone of your own (git clone THIS-FOLDER ~/napt-lab)"
    print(f"napt-lab: cannot write {what}: {error}", file=sys.stderr)
    print(f"  fix: {fix.get(error.errno or 0, otherwise)}", file=sys.stderr)
    return exit_status(passed=False, error=True)
