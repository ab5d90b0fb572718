"""One command on one node of a topology, as if it were typed there: `run-in FILE NODE -- COMMAND`.

Theory of operation. The network is built in the sandbox. The command joins the node's namespaces
(mnexec) and is otherwise where it was started: the same folder, files, terminal and environment.
Only proxy settings are taken out, because they name servers that cannot be reached from there. Its
exit status becomes ours, also where there is no such command (become.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from napt_lab.labs.capture.wire import Wire
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.spec.model import Topology

BECOME = str(Path(__file__).with_name("become.py"))
PROXY_SETTINGS = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"})


def run_in(topology: Topology, name: str, command: Sequence[str], capture: Path | None) -> int:
    """Run `command` on the node `name`; its exit status (128 + n if signal n ended it).

    `capture`: where to write what passed all interfaces of all nodes, as pcapng.
    """
    with Network(topology) as net, ExitStack() as stack:
        if capture is not None:
            wire = stack.enter_context(Wire(net))
            stack.callback(wire.save, capture)
        return _wait(net[name], command)


def environment(node: Node, ours: Mapping[str, str]) -> dict[str, str]:
    """The user's environment without what has no meaning on a node."""
    kept = {key: value for key, value in ours.items() if key.lower() not in PROXY_SETTINGS}
    if node.napt is not None:
        kept["NAPT_CONTROL"] = str(node.napt.path)
    return kept


def _wait(node: Node, command: Sequence[str]) -> int:
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []  # signals that came before the command was started

    def pass_on(number: int, _frame: object) -> None:
        if process is None:
            early.append(number)
        # What is typed at a terminal has reached the command, too.
        elif number != signal.SIGINT or not sys.stdin.isatty():
            process.send_signal(number)

    # First: the command may say at once that it is ready for a signal.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    argv = [*node.entry, sys.executable, "-I", "-S", BECOME, *command]
    process = subprocess.Popen(argv, env=environment(node, os.environ))
    for came in early:
        pass_on(came, None)
    status = process.wait()
    if status < 0:
        return 128 - status
    return status
