"""The process that starts the translator again when it has died.

Theory of operation
-------------------
    keeper            made the devices, the routes and the control socket; waits
      └─ translator   has them too, and does all the work

A TUN device lives as long as a process has its descriptor. The keeper has it, so when a translator
is killed, its devices and routes stay: packets wait in the devices' queues, none passes by, and no
sender is told that the destination is unreachable. The next translator is forked from the keeper,
which has everything loaded, and goes on with the table of the last one (state_file.py). The
connections only see a packet that is a little late.

A translator that ends by itself (status 0: it was asked to; 1: it cannot go on, and has said why)
ends the keeper as well. One that dies too often is not started again. With the keeper the devices
go, and the remaining routes say "unreachable": nothing passes. A translator whose keeper is gone
ends itself, since nothing would start it again.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from napt_lab.nat_node.system.announce import warn

DEATHS, WITHIN = 5, 60.0
"""So many deaths within so many seconds are too many."""
CRASHED = 70
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}


def keep(work: Callable[[int], int]) -> int:
    """Run `work` in a child process until it ends by itself; returns its status.

    `work` is given a descriptor that becomes readable when the keeper is gone. Its status is 0
    or 1; after any other status it is started again.
    """
    alive, held = os.pipe()
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    deaths: deque[float] = deque(maxlen=DEATHS)
    while True:
        child = os.fork()
        if not child:
            os.close(held)
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
            _run(work, alive)
        status, asked = _supervise(child)
        if asked or status in (0, 1):
            # The signal kills a translator that has not come so far as to listen for it.
            return 0 if status in (0, -signal.SIGTERM) else 1
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else "ended by an error"
        deaths.append(time.monotonic())
        if len(deaths) == DEATHS and deaths[-1] - deaths[0] < WITHIN:
            warn(
                "gave-up",
                f"the translator was {how}, the {DEATHS}th time within {WITHIN:g} s: it is not "
                "started again, and nothing passes any more",
            )
            return 1
        warn("died", f"the translator was {how}; it is started again")


def _run(work: Callable[[int], int], alive: int) -> NoReturn:
    status = CRASHED
    try:
        status = work(alive)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else CRASHED
    except BaseException:  # noqa: BLE001  # printed; a forked child must not return
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _supervise(child: int) -> tuple[int, bool]:
    """Wait for the child; its exit status (negative: a signal), and whether it was asked to end."""
    asked = False
    while True:
        received = signal.sigwait(_SIGNALS)
        if received != signal.SIGCHLD:
            asked = True
            os.kill(child, signal.SIGTERM)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), asked
