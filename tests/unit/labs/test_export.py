"""What `export` writes is what the other engines' own parsers and schemas take."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from napt_lab.labs.export import boot
from napt_lab.labs.export.export import FORMATS, ExportError, export, warnings
from napt_lab.labs.export.node_names import node_names, switch_names
from napt_lab.topologies.network.plan import node_plans, segments
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from napt_lab.topologies.spec.loader import load, loads

SHIPPED = sorted(TOPOLOGIES.glob("*.yaml"))
SCHEMA = Path(__file__).parent / "schemas" / "clab.schema.json"


@pytest.fixture(scope="session")
def validator():
    schema = json.loads(SCHEMA.read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def read_by_kathara(folder):
    from Kathara.parser.netkit.LabParser import LabParser  # slow; each of pytest's workers is here

    return LabParser.parse(str(folder))


def ports(topology):
    return {
        (plan.name, port.interface): port for plan in node_plans(topology) for port in plan.ports
    }


def assert_fit_a_cluster(*groups):
    """They are DNS labels (RFC 1123, section 2.1)."""
    for names in groups:
        for name in [names] if isinstance(names, str) else names:
            assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name)


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
    names = node_names(topology, "-")
    # Every interface is on one link, whose other end is a switch for its segment.
    ends = [end for link in links for end in link["endpoints"]]
    assert len(ends) == len(set(ends))
    assert {tuple(end.split(":")) for end in ends} >= {
        (names[node], interface) for node, interface in ports(topology)
    }
    assert {end.split(":")[0] for end in ends} == set(nodes)
    assert len(set(nodes) - set(names.values())) == len(segments(topology))
    assert_fit_a_cluster(names.values(), nodes, document["name"])
    # clabernetes names the machine's end of a link so.
    assert all(len(end.replace(":", "-")) <= 15 for end in ends)
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
    lab = read_by_kathara(tmp_path / "lab")
    assert lab.description == topology.title
    assert len(lab.links) == len(segments(topology))
    names = node_names(topology, "")
    assert set(lab.machines) == set(names.values())
    assert_fit_a_cluster(lab.machines, lab.links)
    for plan in node_plans(topology):
        machine = lab.machines[names[plan.name]]
        assert machine.meta["image"] == "napt-lab"
        assert machine.meta["entrypoint"] == "sleep infinity", "the image's own says --help"
        seen = [interface.link.name for interface in machine.interfaces.values()]
        assert seen == [port.segment.replace(".", "") for port in plan.ports]
        assert_is_shell((tmp_path / "lab" / f"{names[plan.name]}.startup").read_text())


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
    lab = read_by_kathara(tmp_path / "kathara")
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
        with pytest.raises(ExportError, match="is not a valid image name"):
            export(small(tmp_path), "kathara", image, tmp_path / "k")
    with pytest.raises(ExportError, match="exists already; name another place with --output"):
        export(small(tmp_path), "kathara", "x", tmp_path)


def test_names_stay_apart_when_they_are_cut(tmp_path):
    text = SMALL.format(title="Long", more="").replace(
        "{web: 151.101.1.69}",
        "{stackoverflow: 151.101.1.69, stackoverfeed: 151.101.1.70, a_: 151.101.1.71}",
    )
    topology = loads(text.encode(), tmp_path / "long.yaml")
    names = node_names(topology, "-")
    assert (names["stackoverflow"], names["stackoverfeed"]) == ("stackoverf", "stackover2")
    assert (names["a_"], names["napt_home"]) == ("a", "napt-home")
    assert node_names(topology, "")["napt_home"] == "napthome"


def test_switches_have_names_that_no_node_has():
    assert switch_names(3, ["s1", "pc"]) == ["s2", "s3", "s4"]


@pytest.mark.parametrize(
    ("form", "leak"), [("containerlab", "clabernetes"), ("kathara", "Megalos gives every node an")]
)
def test_what_to_know_before_it_is_used_is_said(form, leak, tmp_path):
    said = warnings(small(tmp_path), form, "napt-lab")
    assert any(line.startswith("Ways around the NAPTs: ") and leak in line for line in said)
    assert any("no machine can pull it" in line for line in said)
    assert any("napt_home is napt" in line for line in said)
    assert not any("pull" in line for line in warnings(small(tmp_path), form, "here.org/napt-lab"))


LINKS = """
internet:
  web:
    address: 151.101.1.69
    link: {delay: 40ms, jitter: 5ms, loss: 1%, rate: 20Mbit, queue: 50}
  server:
    address: 151.101.1.70
    runs: [{program: [sh, -c, exit]}]
sites:
  home:
    gateway: {kind: napt, public: 24.9.3.7, private: 10.0.0.1/24,
              link: {delay: 0.5s, loss: {every: 10}, mtu: 1400, black-hole: true}}
    hosts: {pc: {address: 10.0.0.7, link: {mtu: 1492}}}
"""


def test_slow_links_are_netems_in_each_direction_that_an_engine_has(tmp_path):
    topology = loads(LINKS.encode(), tmp_path / "links.yaml", programs=True)
    for form in FORMATS:
        export(topology, form, "napt-lab", tmp_path / form)
    of_web = " root netem limit 125 delay 40ms 5ms loss 1% rate 20000000bit || echo 'no netem"
    of_home = " root netem limit 100000 delay 500ms || echo 'no netem"
    found = {
        file.relative_to(tmp_path).as_posix(): line.partition(" dev ")[2].partition(" on this")[0]
        for file in tmp_path.rglob("*.s*")
        for line in file.read_text().splitlines()
        if line.startswith("tc ")
    }
    assert found == {
        "containerlab/boot/web.sh": f'"$port"{of_web}',
        "containerlab/boot/napt-home.sh": f"wan0{of_home}",
        "containerlab/boot/s1.sh": f"eth2{of_web}",
        "containerlab/boot/s2.sh": f"eth2{of_home}",
        "kathara/web.startup": f'"$port"{of_web}',
        "kathara/napthome.startup": f"wan0{of_home}",
    }
    for form in FORMATS:
        said = "\n".join(warnings(topology, form, "here.org/napt-lab"))
        assert "loss: {every: 10} of napt_home, black-hole of napt_home" in said
        assert "server's sh: programs of your own" in said
        assert ("what comes in" in said) is (form == "kathara")
    assert "netem" not in "\n".join(warnings(small(tmp_path), "kathara", "x"))


EXPECT = """
expect:
  - pc reaches web:80 as 24.9.3.7 via direct
  - web cannot reach pc:22 because no-route
  - web cannot reach 24.9.3.7
  - pc reaches web:53 by udp
  - napt_home hairpins
  - napt_home maps endpoint-independent
"""


def test_expectations_become_a_script_that_says_what_it_leaves_out(tmp_path):
    topology = loads((SMALL.format(title="Small", more="") + EXPECT).encode(), tmp_path / "x.yaml")
    export(topology, "kathara", "napt-lab", tmp_path / "lab")
    script = (tmp_path / "lab" / "expect.sh").read_text()
    assert_is_shell(script)
    calls = script[script.index("\n}\n\nlisten") :]
    assert "listen web 80\nreaches 'pc reaches web:80" in calls
    assert "not tried here: via direct' 10 http pc 151.101.1.69 80 24.9.3.7" in calls
    assert "listen pc 22\ncannot_reach 'web cannot reach pc:22 because no-route" in calls
    assert "' 0 tcp web 10.0.0.7 22 151.101.1.1 tcp napthome 10.0.0.7 22" in calls
    assert "' 0 ping web 24.9.3.7 '' 151.101.1.1 ping internet 24.9.3.7 ''" in calls
    assert calls.count('verdict "$not_applicable"') == 3
