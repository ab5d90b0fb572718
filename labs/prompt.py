"""The prompt between two steps: go on, look at the rules, use a node's shell, or stop."""

from __future__ import annotations

import subprocess

from rich.console import Console
from rich.table import Table
from rich.text import Text

from topologies.builder import Network
from topologies.napt_control import ControlError

HELP = "Enter: next · rules [NAPT] · shell NODE · nodes · quit"


class Prompt:
    """Reads commands from the terminal until one of them says how to go on."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, net: Network) -> bool:
        """True to go on, False to stop."""
        self._say(HELP)
        while True:
            try:
                words = input("> ").split()
            except EOFError:
                return False
            match words:
                case [] | ["next" | "n"]:
                    return True
                case ["quit" | "q" | "exit"]:
                    return False
                case ["rules", *names]:
                    self._rules(net, names)
                case ["nodes"]:
                    self._nodes(net)
                case ["shell", name] if name in net.nodes:
                    self._shell(net, name)
                case ["shell", *_]:
                    self._say(f"shell NODE, where NODE is one of {', '.join(net.nodes)}")
                case _:
                    self._say(HELP)

    def _say(self, text: str) -> None:
        self._console.print(Text(text, style="dim"))

    def _rules(self, net: Network, names: list[str]) -> None:
        napts = {node.name: node.napt for node in net if node.napt is not None}
        for name in names or napts:
            control = napts.get(name)
            if control is None:
                self._say(f"{name} is no NAPT that could be asked; there are {', '.join(napts)}")
                continue
            try:
                rules = control.rules()
            except ControlError as error:
                self._say(str(error))
                continue
            self._console.print(Text(f"{name}: {len(rules)} rules"))
            for rule in rules:
                line = "  {protocol:4} {internal} ↔ {external}, remote {remote}, by {made_by}"
                self._console.print(Text(line.format_map(rule)))

    def _nodes(self, net: Network) -> None:
        table = Table(box=None)
        for column in ("node", "interface", "address"):
            table.add_column(column)
        for node in net:
            for port in node.ports:
                table.add_row(node.name, port.interface, str(port.address))
        self._console.print(table)

    def _shell(self, net: Network, name: str) -> None:
        node = net[name]
        self._say(f"You are on {name}; `exit` or Ctrl-D leads back.")
        subprocess.run(
            [*node.entry, "bash", "--norc", "--noprofile", "-i"],
            env=node.environment,
            cwd=node.home,
            check=False,
        )
