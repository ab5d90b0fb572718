"""The commands that every prompt of the lab has.

What follows a node's name goes to a shell on that node, as in Mininet: pipes, redirections into
files of the node's own folder; a last `&` is the prompt's (background.py). Nothing reaches a shell
outside. A name of a node stays a name there (Mininet puts an address in its place, which another
node may have as well).
"""

from __future__ import annotations

import re
import readline
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from textwrap import wrap
from typing import Any, ClassVar, TextIO, cast

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from napt_lab.labs.capture.watching import places, watch
from napt_lab.labs.prompt.at_terminal import in_shell, is_drawn_on, start, terminal_as_it_was, wait
from napt_lab.labs.prompt.background import Background, unquoted, without_ampersand
from napt_lab.labs.prompt.completion import vocabulary
from napt_lab.labs.prompt.examples import EXAMPLES, Examples, suited
from napt_lab.labs.prompt.failed import NOT_FOUND
from napt_lab.labs.prompt.history import History, history
from napt_lab.labs.prompt.pingall import pingall
from napt_lab.labs.prompt.rule_words import ARROWS, without_arrow
from napt_lab.labs.prompt.why import Why
from napt_lab.labs.records.stream import PROMPT
from napt_lab.labs.stage.drawing import draw
from napt_lab.labs.stage.rule_lines import count, rule_lines
from napt_lab.topologies.network import own_programs
from napt_lab.topologies.network.build_error import BuildError
from napt_lab.topologies.network.builder import Network
from napt_lab.topologies.network.mininet_cli import SafeCLI
from napt_lab.topologies.network.napt_control import ControlError, NaptControl
from napt_lab.topologies.network.node import Node
from napt_lab.topologies.network.processes import DeadlinePassed, ProgramEnded
from napt_lab.topologies.spec.errors import nearest
from napt_lab.topologies.spec.happening import USAGE

SHOWN_RULES = 100
LOOKS = frozenset({"rules", "why"})  # commands that only show something
PATIENCE_SECONDS = 5.0  # with a command, until it is said how to end it
ABBREVIATIONS = {"?": "help", "h": "help", "q": "quit", "n": "next"}  # unless a node is called so
SHELLS_OWN = set("|&;<>")
_FORMER = re.compile(r"\s*(python3?)\s+(-m)\s+(\S+)(.*)", re.DOTALL)
_LATER_PROGRAMS = re.compile(r"[|&;]\s*(\w+)")
OTHERWISE_CALLED = {"solution": "solve", "answer": "solve", "list": "rules"}
RULE_USAGE = (
    "Examples: rule add napt_a tcp 24.9.3.7:8080 10.0.0.7:8080  or  "
    "rule del napt_a tcp 24.9.3.7:8080"
)


class LabCLI(SafeCLI):
    """Reads commands from the terminal until one of them says how to go on."""

    prompt = "> "
    examples: Examples = EXAMPLES
    _renamed: ClassVar[set[str]] = set()  # former names of programs of which this was said
    #: commands that take no words
    alone = frozenset({"quit", "exit", "draw", "nodes", "pingall", "net", "intfs"})

    def __init__(
        self,
        net: Network,
        console: Console,
        hint: str,
        why: Why,
        background: Background | None = None,
    ) -> None:
        super().__init__(net, cast(TextIO, console.file))
        self.net = net
        self.console = console
        self.goes_on = False  # whether the last command was one to go on with
        self._waits = True  # whether for a line, not for the end of a command
        self._hint = hint
        self._history: History | None = None
        self._why = why
        self._background = background or Background()
        interfaces = {node.name: list(node.interfaces) for node in net}
        self._words = vocabulary(net.topology, interfaces)
        self._words.commands.extend(self.commands())
        self._matches: list[str] = []

    def read(self) -> bool:
        """Do what is typed until the end. True if it ended with a command to go on."""
        self.say(self._hint)
        if sys.stdin.isatty():
            self._history = history()
            readline.set_completer_delims(" \t\n")
        with terminal_as_it_was():
            while True:
                try:
                    self.cmdloop()
                    return self.goes_on
                except KeyboardInterrupt:
                    self.interrupted()

    # ── how lines are read ─────────────────────────────────────────────────────────────

    def precmd(self, line: str) -> str:
        if self._history is not None and line != "EOF":
            self._history.add(line)
        self._waits = False
        return line

    def postcmd(self, stop: bool, _line: str) -> bool:
        self.tell_news()
        self._waits = True
        return stop

    def news(self) -> list[str]:
        """What has failed in the background and would else be silent for ever."""
        return self._background.news()

    def tell_news(self) -> None:
        for text in self.news():
            self.show(Text(text, style="red"))

    def why_not(self, name: str, words: list[str]) -> str | None:
        own = words[: words.index("while")] if "while" in words else words
        if name == "rule":
            own = [word for word in own if word not in ARROWS]
        if name != "time" and SHELLS_OWN & set("".join(own)):
            example = suited("bob ip addr | head -1", self.net.topology)
            return f"{name} takes no | > &. They work in a command on a node, as in: {example}"
        if words and name in self.alone:
            return f"{name} takes no words after it: nothing was done"
        return None

    def emptyline(self) -> bool:
        return False

    def default(self, name: str) -> None:
        """The first word is no command."""
        if name not in self.net.nodes:
            self._no_such_word(name)
        elif self.rest:
            self.rest = self.under_new_name(self.rest)
            self._why.begins(f"{name} {self.rest}")
            self.run_line(self.net[name], self.rest)
        else:
            self.say(f"Type a command for {name} after its name, or: shell {name}")

    def under_new_name(self, line: str) -> str:
        """A line with the present name of our program, which is said once for each program."""
        match = _FORMER.fullmatch(line)
        new = own_programs.renamed(match.groups()[:3]) if match else None
        if match is None or new is None:
            return line
        if match[3] not in self._renamed:
            self._renamed.add(match[3])
            self.say(f"`{match[1]} -m {match[3]}` is called {new[0]} now: type {new[0]} …")
        return new[0] + match[4]

    def _no_such_word(self, name: str) -> None:
        unknown = f"{name} is neither a command (? shows them) nor a node"
        commands = self.commands()
        other = OTHERWISE_CALLED.get(name.lower())
        if name == "clear":
            self.say(f"{unknown}: Ctrl-L clears the screen.")
        elif shutil.which(name):
            node = suited("bob", self.net.topology)
            self.say(f"{unknown}. A program runs on a node, as in: {node} {name}")
        elif near := other if other in commands else nearest(name, [*commands, *self.net.nodes]):
            self.say(f"{unknown}: did you mean {near}?")
        else:
            self.say(f"{unknown}.")
            self._list_nodes()

    def end_of_input(self) -> bool:
        self.console.print()
        return True

    def refuse(self, why: str) -> None:
        self.say(why)

    def interrupted(self) -> None:
        """Ctrl-C was typed: the line is dropped, or the command was."""
        self._waits = True
        self.console.print()
        self.say("Ctrl-D or quit leaves.")

    def complete(self, text: str, state: int) -> str | None:
        """What Tab offers (readline asks for one after the other)."""
        if state == 0:
            before = readline.get_line_buffer()[: readline.get_begidx()].split()
            found = sorted(w for w in self._words.candidates(before) if w.startswith(text))
            self._matches = [word if word.endswith(":") else f"{word} " for word in found]
        return self._matches[state] if state < len(self._matches) else None

    # ── how things are said ────────────────────────────────────────────────────────────

    def say(self, text: str) -> None:
        """A remark of the prompt's own."""
        self.console.print(Text(text, style="dim"))

    def show(self, line: str | Text) -> None:
        """A line as it is: a narrow terminal breaks it."""
        self.console.print(Text(line) if isinstance(line, str) else line, soft_wrap=True)

    def show_sentence(self, line: str) -> None:
        """A line with words: a narrow terminal breaks it between two of them, not within one."""
        if self.console.is_terminal:
            text = line.lstrip()
            self.console.print(Padding(Text(text), (0, 0, 0, len(line) - len(text)), expand=False))
        else:
            self.show(line)

    def _list_nodes(self) -> None:
        self.say(f"The nodes: {', '.join(self.net.nodes)}")

    def _has_nodes(self, *names: str) -> bool:
        for name in names:
            if name not in self.net.nodes:
                near = nearest(name, [*self.net.nodes])
                self.say(f"There is no node {name}" + (f": did you mean {near}?" if near else "."))
                self._list_nodes()
                return False
        return True

    # ── commands ───────────────────────────────────────────────────────────────────────

    def look(self, line: str) -> str:
        """What one of LOOKS shows, for one who is not at this terminal; also in another thread."""
        name, *words = line.split()
        with self.console.capture() as said:
            {"rules": self.do_rules, "why": self.do_why}[name](words)
        return Text.from_ansi(said.get()).plain.rstrip("\n")

    def do_quit(self, _words: list[str]) -> bool:
        """quit: leave (so do exit, q and Ctrl-D)"""
        return True

    def do_exit(self, _words: list[str]) -> bool:
        return True

    def do_help(self, _words: list[str]) -> None:
        """help: this list"""
        column = 34 if self.console.width >= 80 else 0  # else the meaning stands below
        indent = column or 4
        room = self.console.width - indent - 3 if self.console.is_terminal else sys.maxsize
        for usual, meaning in self.examples:
            example = suited(usual, self.net.topology)
            if len(example) > column:
                self.show(f"  {example}")
                example = ""
            for part in wrap(meaning, room):
                self.show(f"  {example.ljust(indent)} {part}")
                example = ""
        self.say("From Mininet there are also net, intfs and time COMMAND.")
        self._list_nodes()
        self.say("Only this prompt knows all these names. In a command use addresses (`draw` shows")
        self.say("them), or the name of a host on the public Internet.")
        self.say(self._hint)

    def onecmd(self, line: str) -> bool:
        if line.strip() in ABBREVIATIONS and line.strip() not in self.net.nodes:
            line = ABBREVIATIONS[line.strip()]
        try:
            return super().onecmd(line)
        except (OSError, ControlError, DeadlinePassed, ProgramEnded) as error:
            self.say(f"That did not work: {error}")
            return False

    def do_draw(self, _words: list[str]) -> None:
        """draw: the network with its addresses"""
        for line in draw(self.net.topology):
            self.show(line)

    def do_nodes(self, _words: list[str]) -> None:
        """nodes: the nodes, their interfaces and addresses"""
        table = Table(box=None)
        for column in ("node", "interface", "address"):
            table.add_column(column)
        for node in self.net:
            for port in node.ports:
                addresses = ", ".join(map(str, port.addresses))
                table.add_row(node.name, port.interface, addresses)
        self.console.print(table)

    def do_why(self, words: list[str]) -> None:
        """why [all|NAPT]: what went wrong with the last command, where, and for what reason"""
        if words and words[0] in self._napts():
            lines = self._why.of_napt(words[0])
        elif not words or words == ["all"]:
            lines = self._why.lines(everything=bool(words))
        else:
            self._no_such_napt(words[0])
            return
        for line in lines:
            self.show_sentence(line)

    def do_pingall(self, _words: list[str]) -> None:
        """pingall: each node pings each other node"""
        for line in pingall(self.net):
            self.show(line)

    def do_event(self, _words: list[str]) -> None:
        """event reboot NODE, event unplug NODE, …: something happens to the network"""
        if not self.rest.strip():
            self.say("What happens? One of:")
            for usage in USAGE.values():
                self.show(f"  event {usage}")
            return
        self._why.begins(f"event {self.rest.strip()}")
        try:
            note = self.net.happen(self.rest)
        except (ValueError, BuildError) as error:
            self.say(str(error))
        else:
            self.show(f"happened: {' '.join(self.rest.split())}")
            if note:
                self.say(note)

    # ── NAPTs ──────────────────────────────────────────────────────────────────────────

    def _napts(self) -> dict[str, NaptControl]:
        return {node.name: node.napt for node in self.net if node.napt is not None}

    def _no_such_napt(self, name: str) -> None:
        there = ", ".join(self._napts()) or "none"
        self.say(f"{name} is not a NAPT with a table of rules; there are: {there}")

    def do_rules(self, names: list[str]) -> None:
        """rules [NAPT]: list the rules of one NAPT, or of all"""
        napts = self._napts()
        if not napts:
            self.say("No node of this network is a NAPT with a table of rules.")
        for name in names or napts:
            if name not in napts:
                self._no_such_napt(name)
                continue
            answer = self._ask(name, {"do": "rules", "limit": SHOWN_RULES})
            if answer is None:
                continue
            self.show(f"{name}: {count(answer['total'], 'rule')}")
            if answer["rules"]:
                for line in rule_lines(answer["rules"], answer["total"]):
                    self.show(f"  {line}")

    def do_rule(self, words: list[str]) -> None:
        """rule add NAPT tcp|udp EXTERNAL [->] INTERNAL, rule del NAPT tcp|udp EXTERNAL"""
        match without_arrow(words):
            case ["add" | "del", name, *_] if name not in self._napts():
                self._no_such_napt(name)
            case ["add", name, protocol, external, internal]:
                asked = {"do": "add", "protocol": protocol, "external": external}
                self._change(name, "added", asked | {"internal": internal})
            case ["del", name, protocol, external]:
                asked = {"do": "remove", "protocol": protocol, "external": external}
                self._change(name, "removed", asked)
            case ["list" | "ls" | "show", *_]:
                self.say("`rules` lists the rules")
            case _:
                self.say(suited(RULE_USAGE, self.net.topology))

    def _change(self, name: str, done: str, request: dict[str, str]) -> None:
        answer = self._ask(name, request)
        if answer is not None:
            rule = answer["rule"]
            self.show(f"{name} {done}: {rule['protocol']} {rule['external']} → {rule['internal']}")

    def _ask(self, name: str, request: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return self._napts()[name].ask(request)
        except ControlError as error:
            self.say(str(error))
            return None

    # ── programs on nodes ──────────────────────────────────────────────────────────────

    def do_shell(self, words: list[str]) -> None:
        """shell NODE: a shell on a node"""
        if len(words) != 1:
            self.say(suited("Type a node's name after it, as in: shell bob", self.net.topology))
        elif self._has_nodes(words[0]):
            self.say(f"You are on {words[0]}; `exit` or Ctrl-D leads back.")
            self._why.begins(f"shell {words[0]}")
            self.net.log.add(words[0], PROMPT, {"event": "shell"})
            with terminal_as_it_was():
                start(self.net[words[0]], ["bash", "--norc", "--noprofile", "-i"]).wait()

    def run_line(self, node: Node, line: str) -> None:
        """A line in a shell on a node: here until its end, or in the background."""
        program = without_ampersand(line)
        if program is None:
            self.run_on(node, line)
        elif said := self._background.start(node, program, self._why.ended):
            self.say(said)

    def run_on(self, node: Node, line: str) -> None:
        """Run a line in a shell on a node to its end, at this terminal."""
        process = start(node, in_shell(line))
        with terminal_as_it_was():
            status = wait(process, PATIENCE_SECONDS, self._tell_how_to_end)
        self._why.ended(status)
        if status != 0:
            how = f"exit status {status}" if status > 0 else signal.strsignal(-status)
            self.say(f"{node.name}: {how}")
        others = set(_LATER_PROGRAMS.findall(unquoted(line))) & set(self.net.nodes)
        if status == NOT_FOUND and others:
            other = min(others)
            self.say(
                f"The whole line ran on {node.name}. Type what {other} is to run in another line."
            )

    def _tell_how_to_end(self) -> None:
        if not is_drawn_on():
            self.say("… it still runs. Ctrl-C ends it.")

    def do_packets(self, words: list[str]) -> None:
        """packets [NODE [INTERFACE …]] [while NODE COMMAND]: packets, live"""
        where, other, line = words, "", ""
        if "while" in words:
            where = words[: words.index("while")]
            _, _, after = f" {self.rest} ".partition(" while ")
            other, line = (*after.strip().split(maxsplit=1), "", "")[:2]
            if not line:
                example = "packets napt_a while bob ping -c 1 10.0.0.1"
                self.say(
                    f"Type a command after `while`, as in: {suited(example, self.net.topology)}"
                )
                return
        if not self._has_nodes(*where[:1], *([other] if other else [])):
            return
        nodes = [self.net[where[0]]] if where else [self.net[name] for name in self._napts()]
        for interface in where[1:]:
            if interface not in nodes[0].interfaces:
                self.say(f"{where[0]} has no {interface}; it has {', '.join(nodes[0].interfaces)}")
                return
        if not nodes:
            example = suited("packets bob eth0", self.net.topology)
            self.say(f"There is no NAPT here: type a node's name, as in: {example}")
            return
        begin: Callable[[], subprocess.Popen[bytes]] | None = None
        if line:
            line = self.under_new_name(line)
            self._why.begins(f"{other} {line}")
            begin = partial(start, self.net[other], in_shell(line), apart=True)
        else:
            names = [place.label.strip() for place in places(nodes, where[1:])]
            at_node = f" at {where[0]}" if where else ""
            self.say(f"Packets{at_node} ({', '.join(names)}), until Enter.")
        status = watch(places(nodes, where[1:]), self.net.log, self.show, begin)
        if status is not None:
            self._why.ended(status)

    def do_watch(self, words: list[str]) -> None:
        """watch NODE …: as packets"""
        if words:
            self.do_packets(words)
        else:
            example = suited("watch bob eth0", self.net.topology)
            self.say(f"Type a node's name after it, as in: {example}")
