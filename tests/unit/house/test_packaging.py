"""The package: what pip installs is all that runs, and nothing else."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from napt_lab.labs.cli.contributors import CONTRIBUTORS
from napt_lab.labs.cli.main import main
from napt_lab.labs.course import topology_files
from napt_lab.topologies.spec.checkout import TOPOLOGIES
from tests import installed

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("nat_node", "servers", "topologies", "labs")


def test_its_commands_and_its_plugin_exist():
    points = [
        *PROJECT["project"]["scripts"].values(),
        *PROJECT["project"]["entry-points"]["pytest11"].values(),
    ]
    for point in points:
        module, _, name = point.partition(":")
        found = importlib.import_module(module)
        assert not name or callable(getattr(found, name))


def test_every_folder_of_source_is_listed_as_a_package():
    found = {
        ".".join([name, *path.parent.relative_to(ROOT / folder).parts])
        for name, folder in installed.PACKAGES.items()
        for path in (ROOT / folder).rglob("__init__.py")
    }
    found = {name for name in found if not name.startswith("napt_lab.nat_node.student")}
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    assert listed == found, "in pyproject.toml, change `packages` of [tool.setuptools]"


def test_every_file_of_the_packages_is_installed():
    patterns = ["*.py", *PROJECT["tool"]["setuptools"]["package-data"]["*"]]
    files = [
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert len(files) > 100
    left_out = [path for path in files if not any(fnmatch(path.name, each) for each in patterns)]
    assert left_out == []


def test_what_is_for_contributors_is_not_offered_where_it_is_installed(tmp_path):
    installed.lay_out(tmp_path)
    started = [
        subprocess.run(
            [sys.executable, "-m", "napt_lab.labs", *words],
            cwd=tmp_path,
            env=installed.environment(tmp_path),
            capture_output=True,
            text=True,
        )
        for words in (["--help"], ["test"], ["conformance", "--docs"])
    ]
    assert [ended.returncode for ended in started] == [0, 2, 2]
    offered = set(re.findall(r"^  ([a-z-]+)  ", started[0].stdout, re.MULTILINE))
    assert set(main.commands) - offered == {command.name for command in CONTRIBUTORS}
    assert "No such command 'test'" in started[1].stderr
    assert "--docs needs a checkout" in started[2].stderr


def test_a_topology_is_found_by_file_or_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = TOPOLOGIES / "two-sites.yaml"
    assert topology_files.find("two-sites") == shipped
    assert topology_files.find("two-sites.yaml") == shipped
    own = tmp_path / "two-sites.yaml"
    own.touch()
    assert topology_files.find("two-sites.yaml").resolve() == own
    assert topology_files.find("two-sites.yaml", tmp_path) == own
    assert topology_files.find("folder/two-sites.yaml") == Path("folder/two-sites.yaml")
    assert topology_files.find("nowhere") == Path("nowhere")
