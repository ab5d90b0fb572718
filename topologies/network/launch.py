"""Runs one of our programs as it is typed on a node: Ctrl-C ends it with status 130, quietly.

`python -P -m napt_lab.topologies.network.launch MODULE WORDS…` is `python -P -m MODULE WORDS…`
without the traceback of KeyboardInterrupt, also while the program is still being imported.
"""

from __future__ import annotations

import runpy
import signal
import sys

if __name__ == "__main__":
    try:
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)  # as a shell has it
