"""Translators that are alike after renaming and reformatting are told, with their lines."""

from __future__ import annotations

import ast
import builtins
import sys

from napt_lab.labs.classroom.similar import OURS, REFERENCE, SKELETON, tell_similar
from napt_lab.labs.classroom.submissions import handed_in

MINE = """
from napt_lab.student import napt

inside = {}


def translate(packet, now):
    if packet.side == "inside":
        port = 2000 + inside.setdefault(packet.source, len(inside))
        inside[port] = packet.source
        packet.source = (napt.external, port)
    elif packet.destination.port not in inside:
        return "no-rule"
    else:
        packet.destination = inside[packet.destination.port]
    return packet
"""
OTHER = """
from napt_lab.student import Endpoint, Rule, napt

class Table:
    def __init__(self):
        self.by_port, self.next = {}, 40000
    def new(self, who):
        while self.next in self.by_port:
            self.next = self.next + 1 if self.next < 65535 else 1024
        self.by_port[self.next] = who
        return self.next

tables = {name: Table() for name in ("tcp", "udp", "icmp")}
known = {}

def translate(packet, now):
    table = tables[packet.protocol]
    if packet.side == "outside":
        who = table.by_port.get(packet.destination.port)
        if who is None:
            return "no-rule: nobody asked"
        packet.destination = who
        return packet
    key = packet.protocol, packet.source
    if key not in known:
        known[key] = table.new(packet.source)
    packet.source = Endpoint(napt.external, known[key])
    return packet
"""


class Rename(ast.NodeTransformer):
    """Other names, no comments, another layout: as somebody does who copies."""

    def __init__(self):
        self.names = {}

    def new(self, name):
        kept = hasattr(builtins, name) or name in ("napt", "Rule", "translate", "expire")
        return name if kept else self.names.setdefault(name, f"my_{len(self.names)}")

    def visit_Name(self, node):
        node.id = self.new(node.id)
        return node

    def visit_arg(self, node):
        node.arg = self.new(node.arg)
        return node

    def visit_FunctionDef(self, node):
        node.name = self.new(node.name)
        self.generic_visit(node)
        return node


def test_copies_are_found_whatever_their_names(tmp_path, capsys):
    skeleton = SKELETON.read_text()
    for who, text in {
        "mia": MINE,
        "noah": f"# all my own work\n{ast.unparse(Rename().visit(ast.parse(MINE)))}\n",
        "ada": OTHER,
        "zoe": ast.unparse(Rename().visit(ast.parse(REFERENCE.read_text()))),
        "eve": skeleton,
        "tom": f"{skeleton}\n\ndef add_rule(rule, now):\n    raise ValueError('not yet')\n",
        "big": "#" * (1 << 17),
    }.items():
        (tmp_path / f"{who}.py").write_text(text)
    (tmp_path / "bytes.py").write_bytes(b"\xff")
    (tmp_path / "answers.yaml").touch()
    assert tell_similar(handed_in(tmp_path, {})[0]) == 0
    said = capsys.readouterr().out
    assert "big: not compared: it has more than" in said
    assert "bytes: not compared: 'utf-8' codec" in said
    assert "Compared: 6 translators" in said
    pairs = [
        {line.split(" of ")[1].split(":")[0] for line in pair.splitlines()}
        for pair in said.split("\n\n")[1:-1]
    ]
    assert sorted(pairs, key=len, reverse=True) == pairs
    assert {frozenset(pair) for pair in pairs} == {
        frozenset(("mia", "noah")), frozenset((OURS, "zoe")),
    }  # fmt: skip
    assert " of mia: lines 2-1" in said
    assert "2 pairs alike. A hint for a talk, not a verdict" in said


def test_what_is_missing_is_told(tmp_path, capsys, monkeypatch):
    assert tell_similar([]) == 0
    assert "no translator to compare" in capsys.readouterr().out
    (tmp_path / "mia.py").write_text(MINE)
    monkeypatch.setitem(sys.modules, "copydetect", None)
    assert tell_similar(handed_in(tmp_path, {})[0]) == 3
    said = capsys.readouterr()
    assert "fix: .venv/bin/pip install copydetect" in said.err
    assert not said.out
