"""The project's own programs under short names, to be typed on a node.

A folder with a small script for each is the first in PATH on every node. So a node's `python` can
be the user's, with packages of its own, and still `file-server` finds ours.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from napt_lab.topologies.sandbox.sandbox import RUN_DIRECTORY

FOLDER = RUN_DIRECTORY / ".programs"  # no node can have this name

ROOM = " " * 8192  # in a nursery's command line, where its children write theirs

COMMANDS = {  # name: module
    "napt": "napt_lab.nat_node",
    "web-server": "napt_lab.servers.web",
    "file-server": "napt_lab.servers.files",
    "relay": "napt_lab.servers.relay.relay",
    "stun": "napt_lab.servers.p2p.stun_client",
    "punch": "napt_lab.servers.p2p.punch",
    "tcp-punch": "napt_lab.servers.p2p.tcp_punch",
    "dns-server": "napt_lab.servers.name_server",
    "stun-server": "napt_lab.servers.stun",
    "turn-server": "napt_lab.servers.turn",
    "turn-client": "napt_lab.servers.turn.client",
    "turn-echo": "napt_lab.servers.turn.client.echo",
    "dial": "napt_lab.servers.dial",
    "pcp": "napt_lab.servers.pcp",
    "ice": "napt_lab.servers.ice",
    "proxy": "napt_lab.servers.proxy.explicit",
    "transparent-proxy": "napt_lab.servers.proxy.transparent",
    "connections": "napt_lab.labs.level_8.connections",
}

_FORMER = {  # what was typed after `python -m` before the commands had names
    "nat_node": "napt",
    "servers.web": "web-server",
    "servers.files": "file-server",
    "servers.relay": "relay",
    "servers.turn": "turn-server",
    "servers.turn.client": "turn-client",
    "servers.turn.client.echo": "turn-echo",
    "servers.dial": "dial",
    "servers.pcp": "pcp",
    "servers.proxy": "proxy",
    "servers.transparent_proxy": "transparent-proxy",
    "labs.level_8.connections": "connections",
}


def program(module: str, *arguments: str) -> list[str]:
    """The words that run a module of the project, whatever lies in the current folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def launched(name: str, arguments: Iterable[str] = ()) -> list[str]:
    """The words that run the program with this short name as if it were typed."""
    return program("napt_lab.topologies.network.launch", COMMANDS[name], *arguments)


def words_of(argv: Sequence[str]) -> list[str] | None:
    """The words of `program` for a command that runs one of ours: these, or by its short name."""
    if list(argv[:3]) == program("")[:3]:
        return list(argv)
    return launched(argv[0], argv[1:]) if argv[0] in COMMANDS else None


def environment() -> dict[str, str]:
    """What Python on a node must know from its start: of the user's own settings, its path."""
    ours = {
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",  # what waits for a program's line must see it
    }
    if path := os.environ.get("PYTHONPATH"):
        # `.` is the user's folder, not the node's: what lies there must not be imported.
        folders = (str(Path(entry).absolute()) for entry in path.split(os.pathsep))
        ours["PYTHONPATH"] = os.pathsep.join(folders)
    if sys.dont_write_bytecode:  # root works in someone else's clone
        ours["PYTHONDONTWRITEBYTECODE"] = "1"
    return ours


def install(folder: Path = FOLDER) -> None:
    """Write the scripts, for the nodes of this sandbox, and settings of curl's (CURL_HOME).

    On a node curl shows no progress meter, but its errors as always: where its output is shown
    again (on the page, in a report) the meter would look like output.
    """
    folder.mkdir(exist_ok=True)
    (folder / ".curlrc").write_text("no-progress-meter\n", encoding="utf-8")
    for name in COMMANDS:
        script = folder / name
        words = shlex.join(launched(name))
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        script.chmod(0o755)


def renamed(words: Sequence[str]) -> list[str] | None:
    """What to type instead of a former `python -m servers.files …`; None if it is not one."""
    if list(words[1:2]) == ["-m"] and words[0] in {"python", "python3"} and words[2:]:
        name = _FORMER.get(words[2])
        if name is not None:
            return [name, *words[3:]]
    return None
