"""What an exit status of the command line says, the same for every command."""

from __future__ import annotations

PASSED = 0  # all held
FAILED = 1  # a claim or an assertion does not hold, or the run was quit before its end
WRONG_USAGE = 2  # wrong usage, or a file that must be mended first
CANNOT_RUN = 3  # this machine cannot run it
INTERRUPTED = 130  # ended by Ctrl-C
