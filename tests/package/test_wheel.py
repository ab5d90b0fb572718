"""The wheel in somebody else's project, whose packages have the names of our folders.

Built and installed by pip without a network, into a venv that shares the dependencies: once, so
this is one test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("labs", "servers", "topologies", "nat_node", "tests")
NOT_MODULE = "raise SystemExit('this file must not be imported')\n"

OWN_TEST = """\
import labs, servers, topologies, nat_node, tests

def test_these_are_the_users_own():
    assert {each.OWNER for each in (labs, servers, topologies, nat_node, tests)} == {"user"}
"""
LAB_TEST = """\
import labs

def test_on_a_network(napt_lab):
    net = napt_lab("two-sites")
    alice = net["alice"]
    assert alice.run(["ping", "-c", "1", "198.51.100.10"]).status == 0
    assert labs.OWNER == "user"
    # The lab's own programs import nothing from the folder that they run in.
    (alice.home / "json.py").write_text({not_module!r})
    for program in ("web-server", "napt", "dial"):
        shown = alice.run([program, "--help"])
        assert shown.status == 0, shown
    # A venv of the user's own has its own packages on a node, and no others.
    found = alice.run([{python!r}, "-c", "import click, jinja2; print(click.OWNER, jinja2.OWNER)"])
    assert found.stdout == "user user\\n", found
    assert alice.run([{python!r}, "-c", "import aiohttp"]).status == 1
"""


def run(*argv, cwd, **environment):
    """What a command printed; it must succeed."""
    unwanted = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    done = subprocess.run(
        list(map(str, argv)), cwd=cwd, env=kept | environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def make_venv(folder):
    """A venv without pip; its Python and its folder of packages."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd="/")
    (packages,) = folder.glob("lib/python*/site-packages")
    return folder / "bin" / "python", packages


def write_packages(folder, names):
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text('OWNER = "user"\n')


def build_wheel(source):
    """Built from a copy: setuptools leaves its own files beside the source."""
    for name in ("labs", "nat_node", "servers", "topologies"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, "--wheel-dir", source / "dist", source, cwd=source)
    (built,) = (source / "dist").glob("*.whl")
    return built


def make_project(folder, wheel):
    """A user's project, and the commands of the venv that the wheel is installed in."""
    python, packages = make_venv(folder / "venv")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    write_packages(folder, NAMES)
    write_packages(packages, NAMES)  # an installed project of that name
    before = {name: (packages / name / "__init__.py").stat().st_ino for name in NAMES}
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    run(*pip, "--ignore-installed", wheel, cwd=folder)
    after = {name: (packages / name / "__init__.py").stat().st_ino for name in NAMES}
    assert before == after
    assert {p.name for p in packages.iterdir()} >= {"napt_lab", *NAMES}


def test_the_wheel_beside_packages_of_these_names(tmp_path):
    wheel = build_wheel(tmp_path / "source")
    the_wheel_has_one_name_of_its_own(wheel)
    project = tmp_path / "project"
    make_project(project, wheel)
    for path in ({}, {"PYTHONPATH": "."}):
        the_command_line_runs(project, path)
    pytest_runs_with_and_without_lab_tests(project, tmp_path)
    a_file_in_the_current_folder_is_not_imported(project, tmp_path)


def the_wheel_has_one_name_of_its_own(wheel):
    with zipfile.ZipFile(wheel) as archive:
        files = archive.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in files} == {"napt_lab"}
    for data in ("topologies/two-sites.yaml", "labs/report/page.html", "labs/setup/start.sh"):
        assert f"napt_lab/{data}" in files


def the_command_line_runs(project, path):
    command = project / "venv" / "bin" / "napt-lab"
    assert "9c" in run(command, "labs", cwd=project, **path)
    fetch = ["curl", "-sf", "-m", "5", "http://files:8080/"]
    shown = run(command, "run-in", "two-sites", "bob", "--", *fetch, cwd=project, **path)
    assert '"files"' in shown
    imports = "import labs, servers, topologies, nat_node, tests; print(labs.OWNER)"
    assert run(project / "venv/bin/python", "-c", imports, cwd=project, **path) == "user\n"


def pytest_runs_with_and_without_lab_tests(project, tmp_path):
    python, packages = make_venv(tmp_path / "theirs")
    for name in ("click", "jinja2"):
        (packages / f"{name}.py").write_text('OWNER = "user"\n')
    pytest_ = [project / "venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    (project / "tests" / "test_own.py").write_text(OWN_TEST)
    assert "1 passed" in run(*pytest_, "tests", cwd=project, PYTHONPATH=".")
    text = LAB_TEST.format(not_module=NOT_MODULE, python=str(python))
    (project / "tests" / "test_lab.py").write_text(text)
    assert "2 passed" in run(*pytest_, "tests", cwd=project, PYTHONPATH=".")


def a_file_in_the_current_folder_is_not_imported(project, tmp_path):
    for name in ("json.py", "click.py", "napt_lab.py"):
        (tmp_path / name).write_text(NOT_MODULE)
    command = project / "venv" / "bin" / "napt-lab"
    fetch = ["curl", "-sf", "-m", "5", "http://files:8080/"]
    assert '"files"' in run(command, "run-in", "two-sites", "bob", "--", *fetch, cwd=tmp_path)
    with pytest.raises(AssertionError, match="must not be imported"):  # the control
        run(project / "venv/bin/python", "-c", "import json", cwd=tmp_path)
