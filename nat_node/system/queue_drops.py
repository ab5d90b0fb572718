"""How many packets were lost in the queues of the translator's devices.

The kernel puts packets for the translator into its devices' queues (tun.py), of some thousand
packets each (routing.py). When packets arrive faster than the translator reads them, a queue is
full and the kernel drops what comes then. It counts these in /proc/self/net/dev:

    Inter-|   Receive                                              |  Transmit
     face |bytes packets errs drop fifo frame compressed multicast | bytes packets errs drop ...
    nat-in: 840   10      0    0    0    0     0         0           840   10      0    8928 ...
"""

from __future__ import annotations

from pathlib import Path

_COUNTERS = Path("/proc/self/net/dev")
_DROPPED = 11  # column behind the name


class QueueDrops:
    """Reads the counters of devices by name. A device that is gone has lost nothing more."""

    def __init__(self, *devices: str) -> None:
        # From the device's beginning: the count of a translator that was killed is lost.
        self._before = dict.fromkeys(devices, 0)

    def new(self) -> dict[str, int]:
        """How many packets each device has lost since the last call."""
        found = {}
        for line in _COUNTERS.read_text(encoding="ascii").splitlines():
            name, _, counters = line.partition(":")
            if (name := name.strip()) in self._before:
                count = int(counters.split()[_DROPPED])
                found[name] = count - self._before[name]
                self._before[name] = count
        return found
