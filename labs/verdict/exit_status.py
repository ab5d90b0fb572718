"""The exit statuses of the command line, the same for every command."""

from __future__ import annotations

PASSED = 0  # all held
FAILED = 1  # something does not hold or was not checked, or the run was left before its end
WRONG_USAGE = 2  # wrong usage, or a file that must be corrected first
CANNOT_RUN = 3  # an error of this machine, or of a program of the network: nothing is proven
INTERRUPTED = 130  # ended by Ctrl-C


def exit_status(*, passed: bool, error: bool = False) -> int:
    """The status of a run that was not interrupted.

    `error`: of the machine, or of a program of the network. That is never a failed claim, and
    never a pass.
    """
    if error:
        return CANNOT_RUN
    return PASSED if passed else FAILED
