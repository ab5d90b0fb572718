"""The prompt on a network's nodes: between two steps of a lab, or for a topology of one's own.

A line is a command of the prompt, or a node's name and what to run there. Its words are split as
a shell would (quotes count), but there is no shell: who needs pipes types `shell NODE`.
"""

from __future__ import annotations

import readline  # noqa: F401 - gives `input` line editing and a history
import shlex
import subprocess
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labs.rule_lines import count, rule_lines
from labs.watching import watch
from topologies.builder import Network
from topologies.napt_control import ControlError
from topologies.node import Node

COMMANDS = (  # what is typed, what it does
    ("rules napt_a", "list a NAPT's rules (all NAPTs' without a name)"),
    ("shell bob", "a shell on a node"),
    ("bob ping -c 1 10.0.0.1", "run one command on a node, without a shell"),
    ("watch bob eth0", "a node's packets, live, until Enter"),
    ("watch bob while alice COMMAND", "… until the command on the other node ends"),
    ("nodes", "list the nodes and their addresses"),
)
SHOWN_RULES = 100
IN_STEP = "Enter: next step · ? for help · quit"
AT_END = "That was the last step. Enter: finish · ? for help"
IN_SHELL = "? for help · quit"


class Prompt:
    """Reads commands from the terminal until one of them says how to go on."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, net: Network, *, last: bool) -> bool:
        """Before a step, or after the `last` one. True to go on, False to stop."""
        return self._read(net, AT_END if last else IN_STEP, stepping=True)

    def explore(self, net: Network) -> None:
        """No lab, only a network to look at."""
        self._read(net, IN_SHELL, stepping=False)

    def _read(self, net: Network, hint: str, *, stepping: bool) -> bool:
        self._say(hint)
        while True:
            try:
                words = shlex.split(input("> "))
            except EOFError:
                self._console.print()
                return False
            except ValueError as error:  # a quote without its end
                self._say(f"{error}: nothing was done")
                continue
            match words:
                case []:
                    if stepping:
                        return True
                case ["next" | "n"] if stepping:
                    return True
                case ["quit" | "q" | "exit"]:
                    return False
                case ["help" | "?" | "h"]:
                    self._help(net, hint)
                case ["nodes"]:
                    self._nodes(net)
                case _:
                    self._do(net, words)

    def _do(self, net: Network, words: list[str]) -> None:
        """A command that names nodes."""
        match words:
            case ["rules", *names]:
                self._rules(net, names)
            case ["shell", name]:
                self._with_node(net, name, self._shell)
            case ["watch", name, "while", other, *command] if command:
                self._watch(net, name, [], other, command)
            case ["watch", name, interface, "while", other, *command] if command:
                self._watch(net, name, [interface], other, command)
            case ["watch", name, *interfaces] if "while" not in interfaces:
                self._watch(net, name, interfaces)
            case ["shell" | "watch", *_]:
                self._say("say which node, as in: shell bob · watch bob eth0")
            case [name, *command] if name in net.nodes:
                if command:
                    self._run(net[name], command)
                else:
                    self._say(f"say what {name} is to run, or: shell {name}")
            case [name, *_]:
                self._say(f"{name} is neither a command (? lists them) nor a node.")
                self._list_nodes(net)

    def _say(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    def _show(self, line: str) -> None:
        """As it is: whoever has a narrow terminal sees it go on in the next line."""
        self._console.print(Text(line), soft_wrap=True)

    def _help(self, net: Network, hint: str) -> None:
        for example, meaning in COMMANDS:
            self._show(f"  {example:30} {meaning}")
        self._list_nodes(net)
        self._say("These names are the prompt's. In a command use addresses, which `nodes` lists;")
        self._say("only the hosts on the public Internet can be called by their names there.")
        self._say(hint)

    def _list_nodes(self, net: Network) -> None:
        self._say(f"The nodes: {', '.join(net.nodes)}")

    def _with_node(self, net: Network, name: str, act: Callable[[Node], None]) -> None:
        if name in net.nodes:
            act(net[name])
        else:
            self._say(f"There is no node {name}.")
            self._list_nodes(net)

    # ── what the commands do ───────────────────────────────────────────────────────────

    def _rules(self, net: Network, names: list[str]) -> None:
        napts = {node.name: node.napt for node in net if node.napt is not None}
        if not napts:
            self._say("No node here runs a translator that could be asked.")
        for name in names or napts:
            control = napts.get(name)
            if control is None:
                self._say(f"{name} is no NAPT that could be asked; there are {', '.join(napts)}")
                continue
            try:
                answer = control.ask({"do": "rules", "limit": SHOWN_RULES})
            except ControlError as error:
                self._say(str(error))
                continue
            self._show(f"{name}: {count(answer['total'], 'rule')}")
            if answer["rules"]:
                for line in rule_lines(answer["rules"], answer["total"]):
                    self._show(f"  {line}")

    def _nodes(self, net: Network) -> None:
        table = Table(box=None)
        for column in ("node", "interface", "address"):
            table.add_column(column)
        for node in net:
            for port in node.ports:
                table.add_row(node.name, port.interface, str(port.address))
        self._console.print(table)

    def _shell(self, node: Node) -> None:
        self._say(f"You are on {node.name}; `exit` or Ctrl-D leads back.")
        _start(node, ["bash", "--norc", "--noprofile", "-i"]).wait()

    def _run(self, node: Node, command: Sequence[str]) -> None:
        process = _start(node, command)
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt:  # it was meant for the command, which got it as well
                continue
        if status != 0:
            self._say(f"{command[0]} on {node.name}: exit status {status}")

    def _watch(
        self,
        net: Network,
        name: str,
        interfaces: Sequence[str],
        other: str = "",
        command: Sequence[str] = (),
    ) -> None:
        for wanted in (name, other) if command else (name,):
            if wanted not in net.nodes:
                self._with_node(net, wanted, lambda _: None)
                return
        node = net[name]
        for interface in interfaces:
            if interface not in node.interfaces:
                self._say(f"{name} has no {interface}; it has {', '.join(node.interfaces)}")
                return
        chosen = interfaces or node.interfaces
        if not command:
            self._say(f"Packets at {name} ({', '.join(chosen)}), until Enter.")
            watch(node, chosen, self._show)
        else:
            start = partial(_start, net[other], command, stdin=subprocess.DEVNULL)
            watch(node, chosen, self._show, start)


def _start(node: Node, command: Sequence[str], stdin: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*node.entry, *command], env=node.environment, cwd=node.home, stdin=stdin
    )
