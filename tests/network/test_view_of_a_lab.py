"""The moving picture of a real run: at any moment its tables are those of the control socket."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from napt_lab.labs.course.registry import LABS
from napt_lab.labs.records.stream import Stream
from napt_lab.labs.stage.play import Play
from napt_lab.labs.view import page
from napt_lab.labs.view.recording import Recording
from napt_lab.labs.view.run_data import run_records

# Of each answer of a control socket: what it says, and what the events alone had led to before.
FOLD = """
import { readFileSync } from 'node:fs';
import { Timeline } from './timeline.js';
import { History } from './state.js';

const timeline = new Timeline();
for (const entry of JSON.parse(readFileSync(0, 'utf8'))) timeline.add(entry);
const history = new History(timeline.cues);
const name = r => `${r.id} ${r.protocol} ${r.internal} ${r.external}`;
const names = rules => [...rules].map(name).sort();
const found = timeline.cues.flatMap(({ entry }, i) => entry.kind !== 'tables' ? []
  : entry.tables.map(table => ({
    told: names(table.rules),
    shown: names([...history.after(i).tables.get(table.node).values()].map(row => row.rule)),
  })));
const lit = timeline.flights.length;
console.log(JSON.stringify({ found, lit }));
"""


@pytest.mark.network(timeout=90)
@pytest.mark.skipif(not shutil.which("node"), reason="node is missing")
def test_the_tables_of_a_lab_are_those_of_the_control_sockets(tmp_path):
    stream, recording = Stream(), Recording()
    stream.listen(recording)
    lab = LABS["9c"].lab()
    assert Play(lab, lab.parts, stream, tmp_path, None).run()
    modules = tmp_path / "js"
    shutil.copytree(page.HERE / "js", modules)
    (modules / "package.json").write_text('{"type": "module"}')
    (modules / "fold.js").write_text(FOLD)
    records = run_records(recording, tmp_path)
    done = subprocess.run(
        ["node", "fold.js"], cwd=modules, input=json.dumps(records), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["found"]) == 32  # two NAPTs, before and after each of eight steps
    assert [moment["shown"] for moment in result["found"]] == [
        moment["told"] for moment in result["found"]
    ]
    assert max(len(moment["told"]) for moment in result["found"]) > 5
    assert result["lit"] > 100
