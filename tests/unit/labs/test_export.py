"""What `export` writes is what the other engines' own parsers and schemas take."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from Kathara.parser.netkit.LabParser import LabParser

from napt_lab.labs.export import FORMATS, ExportError, boot, export
from napt_lab.topologies.network.plan import node_plans, segments
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load, loads

SHIPPED = sorted(TOPOLOGIES.glob("*.yaml"))
SCHEMA = Path(__file__).parent / "schemas" / "clab.schema.json"


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(SCHEMA.read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def ports(topology):
    return {
        (plan.name, port.interface): port for plan in node_plans(topology) for port in plan.ports
    }


def assert_is_shell(text):
    read = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
    assert read.returncode == 0, read.stderr


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_containerlab(path, validator, tmp_path):
    topology = load(path)
    written = export(topology, "containerlab", "somewhere/napt-lab:1", tmp_path / "lab")
    document = yaml.safe_load(written[0].read_text())
    assert [error.message for error in validator.iter_errors(document)] == []
    nodes, links = document["topology"]["nodes"], document["topology"]["links"]
    # Every interface is on one link, whose other end is a switch for its segment.
    ends = [end for link in links for end in link["endpoints"]]
    assert len(ends) == len(set(ends))
    assert {tuple(end.split(":")) for end in ends} >= set(ports(topology))
    assert {end.split(":")[0] for end in ends} == set(nodes)
    switches = {name for name in nodes if name.startswith("switch-")}
    assert len(switches) == len(segments(topology))
    for name, node in nodes.items():
        assert node["image"] == "somewhere/napt-lab:1"
        script = tmp_path / "lab" / node["binds"][0].split(":")[0]
        assert script.name == f"{name}.sh"
        assert_is_shell(script.read_text())


def test_the_schema_is_one_that_can_say_no(validator):
    assert list(
        validator.iter_errors({"name": "x", "topology": {"nodes": {"a": {"knid": "linux"}}}})
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_kathara(path, tmp_path):
    topology = load(path)
    export(topology, "kathara", "napt-lab", tmp_path / "lab")
    lab = LabParser.parse(str(tmp_path / "lab"))
    assert lab.description == topology.title
    assert len(lab.links) == len(segments(topology))
    assert set(lab.machines) == {plan.name for plan in node_plans(topology)}
    for plan in node_plans(topology):
        machine = lab.machines[plan.name]
        assert machine.meta["image"] == "napt-lab"
        assert machine.meta["entrypoint"] == "sleep infinity", "the image's own says --help"
        seen = [interface.link.name for interface in machine.interfaces.values()]
        assert seen == [port.segment.replace(".", "_") for port in plan.ports]
        assert_is_shell((tmp_path / "lab" / f"{plan.name}.startup").read_text())


SMALL = """
title: {title}
internet: {{web: 151.101.1.69}}
sites:
  home:
    gateway: {{kind: napt, public: 24.9.3.7, private: 10.0.0.1/24{more}}}
    hosts: {{pc: 10.0.0.7}}
"""


def small(tmp_path, title="A home", more="", file="small.yaml"):
    return loads(SMALL.format(title=title, more=more).encode(), tmp_path / file)


def test_a_title_is_only_a_title_and_a_file_may_have_any_name(tmp_path, validator):
    topology = small(
        tmp_path, title="""'a "quoted" $(reboot) `reboot` x=1'""", file="my 'home'=x.yaml"
    )
    for form in FORMATS:
        export(topology, form, "napt-lab", tmp_path / form)
    document = yaml.safe_load((tmp_path / "containerlab/my--home--x.clab.yml").read_text())
    assert set(document) == {"name", "topology"}
    assert [error.message for error in validator.iter_errors(document)] == []
    lab = LabParser.parse(str(tmp_path / "kathara"))
    assert lab.name == document["name"] == "my--home--x"
    assert lab.description == "a quoted $(reboot) `reboot` x:1"


def test_two_services_of_a_kind_have_a_log_each(tmp_path):
    text = SMALL.format(title="Two", more="").replace(
        "{web: 151.101.1.69}", "{web: {address: 151.101.1.69, runs: [web, {web: {port: 8080}}]}}"
    )
    script = boot.scripts(loads(text.encode(), tmp_path / "two.yaml"))["web"]
    assert re.findall(r" > (\S+\.log)", script) == [
        "/run/napt-lab/web-80.log",
        "/run/napt-lab/web-8080.log",
    ]


def test_what_cannot_be_exported_is_told(tmp_path):
    (tmp_path / "mine.py").write_text("")
    with pytest.raises(ExportError, match=r"napt_home runs mine\.py, which is not in the image"):
        export(small(tmp_path, more=", translator: mine.py"), "kathara", "x", tmp_path / "k")
    for image in ("", "-v", "my image", 'x"\npc[exec]="reboot', "x'y"):
        with pytest.raises(ExportError, match="is no image's name"):
            export(small(tmp_path), "kathara", image, tmp_path / "k")
    with pytest.raises(ExportError, match="exists already; name another place with --output"):
        export(small(tmp_path), "kathara", "x", tmp_path)
