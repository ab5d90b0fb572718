"""The matrix on real packets: cells as predicted, twice; and NAPTs that are not what they are said.

tests/unit/labs/test_matrix_prediction.py compares the model with the translator for every pair.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import xml.etree.ElementTree as ET
from functools import partial

import pytest

from napt_lab.labs.matrix import cell, matrix_command, matrix_page
from napt_lab.labs.matrix.cell import Cell
from napt_lab.labs.matrix.field import Field
from napt_lab.labs.matrix.napt_types import chosen
from napt_lab.labs.matrix.prediction import Forecast, Method, Way
from napt_lab.labs.matrix.trying import try_all
from napt_lab.labs.matrix.user_programs import Commands, try_programs
from napt_lab.labs.records.rundir import RunDirectory
from napt_lab.labs.verdict.verdicts import Verdict
from napt_lab.topologies.network.builder import Network

pytestmark = pytest.mark.network(timeout=90)

METHODS = (Method.UDP, Method.TCP)


def tried(net, field, folder, pairs):
    """The results by method and names."""
    results = {}
    for method in METHODS:
        cells = [Cell(method, a, b) for a, b in pairs]
        for result in try_all(net, field, cells, folder, lambda _: None):
            results[method.value, result.cell.a.name, result.cell.b.name] = result
    return results


SERVER = f"""{sys.executable} -c '
import socket
server = socket.create_server(("", 5000))
print("serving", flush=True)
ends = [server.accept()[0] for _ in "ab"]
said = [end.recv(200, socket.MSG_WAITALL) for end in ends]
for end, heard in zip(ends, said[::-1]):
    end.sendall(heard)
'"""
RELAYED = f"""{sys.executable} -c '
import os, socket
mine = os.urandom(200)
server = socket.create_connection((os.environ["NAPT_SERVER"], 5000))
server.sendall(mine)
heard = server.recv(200, socket.MSG_WAITALL)
assert len(heard) == 200 and heard != mine
'"""


def own_programs(net, field, a, b, server=None, ready=None):
    """The way, and the evidence without words that say nothing."""
    commands = Commands(a, b, server, ready)
    started = commands.start_server(net)
    work = partial(try_programs, commands, started)
    cell = Cell(Method.PROGRAMS, field.types[0], field.types[0])
    (result,) = try_all(net, field, [cell], net["a1"].home, lambda _: None, work)
    if started:
        started.kill()
    said = [line for line in result.evidence if "printed nothing" not in line]
    return result.observed, said + [result.trouble] * bool(result.trouble)


def test_cells_are_as_predicted_and_a_napt_that_does_otherwise_is_seen(tmp_path):
    types, _ = chosen("port-restricted-cone,APDM/EIF,symmetric,nftables", None)
    field = Field(types, behind_carrier=True, rendezvous=True)
    cone, opens, symmetric, kernel = (type_.name for type_ in types)
    with Network(field.topology) as net:
        for _ in range(2):
            results = tried(net, field, tmp_path, list(itertools.product(types, types)))
            assert not [result for result in results.values() if result.verdict.is_bad]
        assert len(results) == 2 * len(types) ** 2

        # Over TCP it counts who begins; over UDP it does not.
        ways = {key: result.observed for key, result in results.items()}
        assert ways["tcp", cone, opens] is Way.DIRECT
        assert ways["tcp", opens, cone] is Way.FAILS
        assert ways["udp", cone, opens] is ways["udp", opens, cone] is Way.FAILS
        assert ways["udp", cone, kernel] is Way.DIRECT

        # Each cell has its packets, and a failure shows which died, where and why.
        died = {
            (j.dropped.node, j.dropped.reason) for j in results["udp", symmetric, cone].journeys
        }
        assert died == {("napt_b1", "filtered"), ("napt_a3", "no-rule")}
        first, *rest = results["udp", cone, cone].journeys
        assert first.dropped.reason == "filtered"
        assert rest
        assert not any(journey.dropped for journey in rest)
        page = matrix_page.render(list(results.values()), field)
        assert "Every cell is as predicted." in page
        assert len(re.findall('<details class="cell"', page)) == len(results)

        # ICE ends at the relay where no hole opens; the checks that died are shown.
        ice = [Cell(Method.ICE, types[0], b) for b in (types[0], types[2])]
        direct, relayed = try_all(net, field, ice, tmp_path, lambda _: None)
        assert [direct.observed, relayed.observed] == [Way.DIRECT, Way.RELAYED]
        assert any("the file went a1 → napt_a1 →" in line for line in direct.evidence)
        assert any("→ server →" in line for line in relayed.evidence)
        assert "filtered" in {j.dropped.reason for j in relayed.journeys if j.dropped}

        # Programs of the user's: whether they succeed, and by which way.
        assert own_programs(net, field, RELAYED, RELAYED, SERVER, "serving") == (
            Way.RELAYED,
            ["a1: status 0", "b1: status 0", "0 bytes came directly, 400 were relayed"],
        )
        assert own_programs(net, field, "true", "true") == (
            None,  # nothing was sent, so there is no way
            [
                "a1: status 0",
                "b1: status 0",
                "both programs ended with status 0, but no data from a1 was seen to reach b1, nor "
                "the other way round; let them send each other 16 bytes or more, not encrypted for "
                "a relay, before they end",
            ],
        )
        assert own_programs(net, field, "sleep 60", "echo no; exit 3") == (
            Way.FAILS,
            ["a1: was still running", "b1: status 3", "b1: no"],
        )
        assert own_programs(net, field, "false", "sleep 60", "echo gone", "gone") == (
            None,
            [
                "a1: status 1",
                "b1: was still running",
                "echo on rendezvous ended with status 0: gone",
            ],
        )

        # A NAPT that does otherwise turns its cells red, and those alone.
        net.happen("set napt_b3 mapping=endpoint-independent")
        pairs = [(types[0], types[2]), (types[0], types[0]), (types[2], types[2])]
        results = tried(net, field, tmp_path, pairs)
        red = {key for key, result in results.items() if result.verdict is Verdict.FAILED}
        assert red == {("udp", cone, symmetric), ("tcp", cone, symmetric)}

        # One that has ended is an error, and no cell that fails as predicted.
        (napt,) = net["napt_a3"].processes
        napt.kill()
        napt.await_end()
        for result in tried(net, field, tmp_path, pairs[2:]).values():
            assert result.verdict is Verdict.ERROR
            assert "a3 gets no answer from server" in result.trouble


def test_a_run_leaves_files_and_a_wrong_prediction_makes_it_fail(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(matrix_command, "RunDirectory", partial(RunDirectory, runs=tmp_path))
    monkeypatch.setattr(cell, "predict", lambda method, *_: Forecast(WAYS[method], "so it is"))
    assert matrix_command.run(chosen("home", None)[0], METHODS, behind_carrier=False) == 1
    written = json.loads((tmp_path / "latest" / "results.json").read_text())
    assert not written["passed"]
    keys = ("a", "b", "method", "predicted", "observed", "why")
    assert [[row[key] for key in keys] for row in written["cells"]] == [
        ["home", "home", "udp", "direct", "direct", "so it is"],
        ["home", "home", "tcp", "fails", "direct", "so it is"],
    ]
    suites = ET.parse(tmp_path / "matrix" / "junit.xml").getroot()
    assert [suite.get("failures") for suite in suites] == ["0", "1"]
    assert "Not every cell is as predicted." in (tmp_path / "matrix" / "report.html").read_text()
    assert (tmp_path / "matrix" / "capture-tcp.pcapng").stat().st_size
    assert "tcp: home and home: predicted fails, direct" in capsys.readouterr().out


WAYS = {Method.UDP: Way.DIRECT, Method.TCP: Way.FAILS}
