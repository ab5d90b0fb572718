"""Faults that labs of several levels must see."""

from __future__ import annotations

from tests.saboteurs.saboteur import Edit

# Words change places, so every checksum still holds.
FILE_DAMAGED_ON_THE_WAY = Edit(
    "nat_node/fast_path/flow_cache.py",
    "        if flow.refreshes:\n",
    "        if length > 1200:\n"
    "            frame[1000:1006] = frame[1002:1006] + frame[1000:1002]\n"
    "        if flow.refreshes:\n",
)

FILE_SERVER_REPORTS_ITSELF_AS_THE_PEER = Edit(
    "servers/files/application.py", '_info("peername")', '_info("sockname")'
)
