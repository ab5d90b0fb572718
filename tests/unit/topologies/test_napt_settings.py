"""A NAPT's settings are declared once: everything else derives from the declaration."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from napt_lab.topologies.spec import gateways, settings_rows
from napt_lab.topologies.spec.napt_settings import PORT_CONTROL, SETTINGS

ROOT = Path(__file__).parents[3]
BEFORE = "    session_limit: int = field("
DECLARATION = """\
    burst: int = field(
        default=7, metadata=_about("new sessions in a second", unit="sessions", least=1, most=99)
    )
"""
#: Shows the new setting as key, in the model, as argument, with the kernel, in the README.
SCRIPT = """
import json
from pathlib import Path
from napt_lab.nat_node.__main__ import _parser
from napt_lab.nat_node.core.settings import SETTINGS, Settings
from napt_lab.topologies.network.programs import nat_node_flags
from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.loader import loads
from napt_lab.topologies.spec.settings_rows import rows

def site(keys):
    text = "sites: {a: {gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1, %s}}}" % keys
    return loads(text.encode(), Path("t.yaml")).sites[0]

def problems(keys):
    try:
        site(keys)
    except TopologyError as error:
        return error.problems
    return []

given = site("burst: 5")
words = nat_node_flags(given, given.gateway.napt, Path("c.sock"), [])
arguments = _parser().parse_args(["run", *words])
(setting,) = [each for each in SETTINGS if each.name == "burst"]
print(json.dumps({
    "model": given.gateway.napt.burst,
    "default": Settings(1, 2, 3).burst,
    "argument": setting.parse(arguments.burst),
    "check": problems("burst: 100"),
    "kernel": problems("engine: nftables, burst: 5"),
    "row": [row for row in rows() if "burst" in row],
}))
"""


def test_a_new_setting_needs_one_place(tmp_path):
    for folder in ("nat_node", "topologies"):
        shutil.copytree(ROOT / folder, tmp_path / "napt_lab" / folder)
    file = tmp_path / "napt_lab/nat_node/core/settings.py"
    text = file.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    file.write_text(text.replace(BEFORE, DECLARATION + BEFORE), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    where = "t.yaml:1: sites.a.gateway.burst:"
    assert json.loads(run.stdout) == {
        "model": 5,
        "default": 7,
        "argument": 5,
        "check": [f"{where} '100' cannot be used; allowed: a whole number, 1 to 99"],
        "kernel": [
            f"{where} burst is not possible with engine nftables; "
            "allowed: no burst, or engine python"
        ],
        "row": ["| `burst` | 1 to 99 | 7 | new sessions in a second |"],
    }


def test_the_translator_is_used_for_its_declarations_and_its_words_for_a_packet_alone():
    used = {
        (path.relative_to(ROOT).as_posix(), module)
        for path in (ROOT / "topologies").rglob("*.py")
        for module in re.findall(r"^from napt_lab\.(nat_node\S*) import", path.read_text(), re.M)
    }
    core = "nat_node.core"
    assert used == {
        ("topologies/links/__main__.py", f"{core}.events"),
        ("topologies/links/__main__.py", f"{core}.packet"),
        ("topologies/spec/address_pool.py", f"{core}.pooling"),
        ("topologies/spec/address_pool.py", f"{core}.settings"),
        ("topologies/spec/napt_settings.py", f"{core}.behavior"),
        ("topologies/spec/napt_settings.py", f"{core}.settings"),
    }


def test_the_readme_has_the_row_of_each_setting():
    lines = (ROOT / "topologies/README.md").read_text(encoding="utf-8").splitlines()
    wanted = settings_rows.rows()
    begin = lines.index(wanted[0])
    assert lines[begin : begin + len(wanted)] == wanted, (
        "put these rows into topologies/README.md: .venv/bin/python -m "
        "napt_lab.topologies.spec.settings_rows prints them"
    )


@pytest.mark.parametrize("setting", [*SETTINGS, *PORT_CONTROL], ids=lambda setting: setting.name)
def test_a_default_reads_as_itself_in_a_file_and_on_the_command_line(setting):
    word = settings_rows.word(setting, setting.default).strip("`")
    assert gateways.parser(setting)(word) == setting.default
    words = setting.words(setting.default)
    if setting.kind is not bool:
        assert setting.parse(words[1]) == setting.default
