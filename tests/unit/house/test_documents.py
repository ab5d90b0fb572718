"""What documents and the maps of packages name exists: functions, files, targets, commands."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from napt_lab.labs.cli.main import main
from napt_lab.labs.course.registry import LABS
from napt_lab.topologies.spec.errors import TopologyError
from napt_lab.topologies.spec.loader import load
from napt_lab.topologies.spec.services import SERVICES

ROOT = Path(__file__).parents[3]
PAGES = sorted({ROOT / "README.md", ROOT / "CONTRIBUTING.md"}
               | {page for folder in ("docs", "labs", "topologies", "servers", "nat_node")
                  for page in (ROOT / folder).rglob("*.md")})  # fmt: skip
MAPS = sorted(path for folder in ("nat_node", "servers", "topologies", "labs")
              for path in (ROOT / folder).rglob("__init__.py") if path.stat().st_size)  # fmt: skip
NAME = re.compile(r"`(?:napt_lab\.)?((?:nat_node|topologies|labs|servers)(?:\.\w+)+)`")
FILE = re.compile(r"(?<![\w./*-])((?:\w[\w-]*/)*\w+\.(?:py|sh|js|css|md))\b")
FOLDER = re.compile(r"^ {4}(\w+/)(?=\s)", re.MULTILINE)
# A reader's own files, and what an export or a course writes.
OTHERS = {"TASKS.md", "mine.py", "test_mine.py", "labs/conformance/rfcNNNN.py", "expect.sh"}
LINK = re.compile(r"\]\(([^)#]+)(?:#[\w-]*)?\)")
MAKE = re.compile(r"\bmake ([a-z][\w-]*)")
COMMAND = re.compile(r"(?:napt-lab|python -m labs) ([a-z][\w-]*)")


@pytest.fixture(params=PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def page(request):
    return request.param


def in_code(text):
    """What stands between backticks, on a line or in a block: prose may say "make sure"."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])


def imported(path):
    """The documentation of a package that is a map of its folder."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def exists(name, folder):
    """Whether a file that a map or a page names is there: beside it, from the top, or below it."""
    return (
        (folder / name).exists()
        or (ROOT / name).exists()
        or any(path.as_posix().endswith(f"/{name}") for path in folder.rglob(Path(name).name))
    )


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.parent.relative_to(ROOT).as_posix())
def test_maps_name_files_that_exist(path):
    text = imported(path)
    named = {*FILE.findall(text), *FOLDER.findall(text)} - OTHERS
    missing = sorted(name for name in named if not exists(name, path.parent))
    assert not missing, f"{path.relative_to(ROOT)} names {', '.join(missing)}: not in the folder"
    check_names(text)


def test_the_map_of_the_checks_names_every_file():
    folder = ROOT / "labs/check"
    named = {*FILE.findall(imported(folder / "__init__.py")), "__init__.py"}
    missing = sorted({path.name for path in folder.glob("*.py")} - named)
    assert not missing, (
        f"labs/check/__init__.py does not name {', '.join(missing)}: give each a line of the map"
    )


def test_each_service_has_a_row():
    page = (ROOT / "topologies/README.md").read_text(encoding="utf-8")
    section = page.partition("\n## Services\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \| (.*) \|$", section, re.MULTILINE)
    ports = {name: int(port) for name, port, _ in rows}
    assert ports == {name: service.port for name, service in SERVICES.items()}, (
        "topologies/README.md, Services: give each service of SERVICES "
        "(topologies/spec/services.py) a row, with its port"
    )
    for name, _, words in rows:
        missing = [key for key in SERVICES[name].options if f"`{key}" not in words]
        assert not missing, f"topologies/README.md: the row of `{name}` lacks {', '.join(missing)}"


def test_pages_name_files_that_exist(page):
    named = set(FILE.findall(" ".join(re.findall(r"`([^`\n]+)`", page.read_text("utf-8")))))
    missing = sorted(name for name in named - OTHERS if not exists(name, page.parent))
    assert not missing, f"{page.relative_to(ROOT)} names {', '.join(missing)}: no such file"


def test_the_rule_on_maps_can_fail():
    text = "    gone.py     what is gone\n    nowhere/    a room"
    assert {*FILE.findall(text), *FOLDER.findall(text)} == {"gone.py", "nowhere/"}
    assert not exists("gone.py", ROOT / "nat_node")
    assert exists("translator.py", ROOT / "nat_node")
    with pytest.raises(AssertionError):
        check_names("`nat_node.core.translator.Translator.gone`")


def test_functions_and_classes(page):
    check_names(page.read_text(encoding="utf-8"))


def check_names(text):
    for dotted in NAME.findall(text):
        parts = ["napt_lab", *dotted.split(".")]
        for cut in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:cut]))
                break
            except ModuleNotFoundError:
                continue
        for part in parts[cut:]:
            assert hasattr(found, part), f"{dotted}: {found} has no {part}"
            found = getattr(found, part)


def test_the_error_that_the_readme_shows(tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text("utf-8")
    (shown,) = re.findall(r"^home\.yaml:.*$", text, re.MULTILINE)
    topology = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.chdir(tmp_path)
    Path("home.yaml").write_text(topology)
    load(Path("home.yaml"))
    Path("home.yaml").write_text(topology.replace("runs: [web]", "runs: [webserver]"))
    with pytest.raises(TopologyError) as caught:
        load(Path("home.yaml"))
    assert caught.value.problems == [shown], "README.md shows this error: change it there as well"


def test_links(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


def test_make_targets(page):
    makefile = (ROOT / "Makefile").read_text()
    labs = re.search(r"^LABS := (.*)$", makefile, re.MULTILINE)[1].split()
    targets = set(re.findall(r"^([\w -]+):(?!=)", makefile, re.MULTILINE))
    known = {word for line in targets for word in line.split()}
    known |= {f"{kind}-{lab}" for kind in ("lab", "exercise") for lab in labs}
    assert set(MAKE.findall(in_code(page.read_text(encoding="utf-8")))) <= known


def test_commands(page):
    named = set(COMMAND.findall(in_code(page.read_text(encoding="utf-8"))))
    images = {f"lab-{lab}" for lab in LABS}  # `podman run … napt-lab lab-9c`: as make's targets
    assert named <= set(main.commands) | images
